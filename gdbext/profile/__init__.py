"""The kernel description: its language, its expressions, and how both are bound to a kernel's symbols."""
