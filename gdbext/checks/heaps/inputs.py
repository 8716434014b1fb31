"""What the rules of heaps look at."""

from dataclasses import dataclass

from gdbext.heap.snapshot import HeapSnapshot
from gdbext.x86.virtual import PagedMemory


@dataclass(frozen=True)
class HeapInputs:
    """A heap as it was read, and the memory of the same stop: for what findings show of it, and for the bytes that
    nobody may write to, which are too many to be kept.
    """

    heap: HeapSnapshot
    memory: PagedMemory
