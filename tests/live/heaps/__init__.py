"""The reference kernel's heaps."""
