"""Binds any heap of a profile: the same record, with every expression compiled."""

from gdbext.profile.binding.binder import Binder
from gdbext.profile.binding.chunks import bind_chunks
from gdbext.profile.binding.slabs import bind_buddy, bind_page_runs, bind_slab
from gdbext.profile.expressions.expression import Expression
from gdbext.profile.language.all_heaps import HeapKind, HeapSource
from gdbext.profile.language.slabs import BuddyHeap, PageRunsHeap, SlabHeap

BoundHeap = HeapKind[Expression]


def bind_heap(binder: Binder, described: HeapSource) -> BoundHeap:
    """One heap. An expression with a problem is a stand-in, and the binder has the problem."""
    match described:
        case PageRunsHeap():
            return bind_page_runs(binder, described)
        case SlabHeap():
            return bind_slab(binder, described)
        case BuddyHeap():
            return bind_buddy(binder, described)
        case _:
            return bind_chunks(binder, described)
