"""Results as a person reads them and as programs do. Reports know results, never readers, and read no memory."""

from gdbext.report import heap_map, heaps, managers, physical, translation  # noqa: F401 - they register their forms
from gdbext.report.text import Style, render

__all__ = ["Style", "render"]
