"""A heap that hands out memory from one end to the other and knows nothing of chunks."""

import numpy as np

from gdbext.heap.adjacent import read_watermark
from gdbext.heap.chunks import common_without_headers
from gdbext.heap.snapshot import U64, Chunks, HeapSnapshot, Segment
from gdbext.profile.expressions.expression import Expression
from gdbext.profile.language.heaps import BumpHeap
from gdbext.x86.virtual import PagedMemory


def read_bump(heap: BumpHeap[Expression], memory: PagedMemory) -> HeapSnapshot:
    """Read the watermark. Raises MemoryUnavailable."""
    mark = read_watermark(heap, memory)
    none = np.zeros(0, dtype=U64)
    nobody = np.zeros(0, dtype=np.bool_)
    return HeapSnapshot(
        **common_without_headers(heap, memory),
        kind="bump",
        chunks=Chunks(none, none, none.astype(np.int64), nobody, nobody),
        watermark=mark,
        segments=(Segment(mark.start, mark.end),),
        has_magic=False,
    )
