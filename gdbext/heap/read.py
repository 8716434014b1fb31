"""The entry point of the readers: any heap of a profile, read into a snapshot."""

from gdbext.errors import DescriptionError, MemoryUnavailable
from gdbext.heap.adjacent import read_adjacent
from gdbext.heap.blocks import ReadAhead
from gdbext.heap.buddy import read_buddy
from gdbext.heap.bump import read_bump
from gdbext.heap.list import read_list
from gdbext.heap.page_runs import read_page_runs_heap
from gdbext.heap.slab import read_slab
from gdbext.heap.snapshot import HeapSnapshot
from gdbext.profile.binding.heaps import BoundHeap
from gdbext.profile.language.all_heaps import HEAP_KINDS
from gdbext.profile.language.heaps import AdjacentHeap, BumpHeap, ListHeap
from gdbext.profile.language.slabs import BuddyHeap, PageRunsHeap, SlabHeap
from gdbext.structures.unread import NOT_YET, Unread
from gdbext.x86.virtual import PagedMemory


def kind_of(heap: BoundHeap) -> str:
    """The name of a heap's kind in profiles."""
    return next(kind for kind, table in HEAP_KINDS.items() if table.record is type(heap))


def is_there(heap: BoundHeap, memory: PagedMemory) -> bool:
    """Whether the kernel has this heap; True when that is unknown."""
    try:
        return heap.when is None or bool(heap.when.evaluate(memory))
    except (MemoryUnavailable, DescriptionError):
        return True


def read_heap(heap: BoundHeap, memory: PagedMemory) -> HeapSnapshot | Unread:
    """Read a heap. The snapshot has what could be read, and where reading ended early."""
    kind, ahead = kind_of(heap), memory if memory.is_shown else ReadAhead(memory)
    try:
        if heap.ready is not None and not heap.ready.evaluate(ahead):
            return Unread(heap.name, kind, NOT_YET, absent=True)
        found = _read(heap, ahead)
    except (MemoryUnavailable, DescriptionError) as error:
        return Unread(heap.name, kind, str(error), absent=False)
    if _is_not_set_up(found):
        return Unread(heap.name, kind, NOT_YET, absent=True)
    return found


def _is_not_set_up(heap: HeapSnapshot) -> bool:
    """Whether its variables show that it is not set up yet."""
    empty = all(segment.start == segment.end for segment in heap.segments)
    return empty and not heap.detail.address and (bool(heap.segments) or not heap.detail.scattered)


def _read(heap: BoundHeap, memory: PagedMemory) -> HeapSnapshot:
    match heap:
        case ListHeap():
            return read_list(heap, memory)
        case AdjacentHeap():
            return read_adjacent(heap, memory)
        case BumpHeap():
            return read_bump(heap, memory)
        case PageRunsHeap():
            return read_page_runs_heap(heap, memory)
        case SlabHeap():
            return read_slab(heap, memory)
        case BuddyHeap():
            return read_buddy(heap, memory)
