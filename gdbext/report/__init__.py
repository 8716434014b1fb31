"""Results as text for people and as JSON for programs. Reports use results, never readers, and read no memory."""

from gdbext.report import heap_map, heaps, managers, physical, translation  # noqa: F401 - they register their forms
from gdbext.report.text import Style, render

__all__ = ["Style", "render"]
