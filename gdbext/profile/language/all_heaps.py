"""Every kind of heap that a profile may describe."""

from collections.abc import Mapping
from typing import TypeVar

from gdbext.profile.language.heaps import BUMP, CHUNKS, LIST, AdjacentHeap, BumpHeap, ListHeap
from gdbext.profile.language.keys import Source, Table
from gdbext.profile.language.slabs import BUDDY, RUNS, SLAB, BuddyHeap, PageRunsHeap, SlabHeap

E = TypeVar("E")

HEAP_KINDS: Mapping[str, Table] = {
    "list": LIST,
    "chunks": CHUNKS,
    "bump": BUMP,
    "runs": RUNS,
    "slab": SLAB,
    "buddy": BUDDY,
}
"""All kinds of heaps, by name."""

HeapKind = ListHeap[E] | AdjacentHeap[E] | BumpHeap[E] | PageRunsHeap[E] | SlabHeap[E] | BuddyHeap[E]
HeapSource = HeapKind[Source]
