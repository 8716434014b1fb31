"""The inputs of the rules of heaps."""

from dataclasses import dataclass

from gdbext.heap.snapshot import HeapSnapshot
from gdbext.x86.virtual import PagedMemory


@dataclass(frozen=True)
class HeapInputs:
    """A heap's snapshot, and the memory at the same stop: for the bytes that findings show, and for poison and
    redzones, which are too large to keep.
    """

    heap: HeapSnapshot
    memory: PagedMemory
