"""The reference kernel's physical managers, and who has its frames."""
