"""A heap that hands out memory from one end to the other and does not record chunks."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdbext.heap.chunks import counters_of, in_flux, read_watermark
from gdbext.heap.parts import U64, Chunks, Segment
from gdbext.heap.snapshot import Detail, HeapSnapshot, Layout
from gdbext.profile.expressions.expression import Expression
from gdbext.profile.language.heaps import BumpHeap
from gdbext.x86.virtual import PagedMemory


@dataclass(frozen=True, kw_only=True)
class BumpDetail(Detail):
    """Nothing but the watermark."""

    kind: ClassVar[str] = "bump"
    knows_chunks: ClassVar[bool] = False


def read_bump(heap: BumpHeap[Expression], memory: PagedMemory) -> HeapSnapshot:
    """Read the watermark. Raises MemoryUnavailable."""
    mark = read_watermark(heap, memory)
    none = np.zeros(0, dtype=U64)
    nobody = np.zeros(0, dtype=np.bool_)
    return HeapSnapshot(
        name=heap.name,
        detail=BumpDetail(),
        chunks=Chunks(none, none, none.astype(np.int64), nobody, nobody),
        segments=(Segment(mark.start, mark.end),),
        counters=counters_of(heap, memory),
        in_flux=in_flux(heap, memory),
        layout=Layout(alignment=heap.alignment, minimum=heap.minimum),
        parent=heap.parent,
        watermark=mark,
    )
