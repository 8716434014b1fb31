"""Runs of pages, as an array of page records describes them; and heaps whose chunks each have such a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gdbext.errors import MemoryUnavailable
from gdbext.heap.callers import read_callers
from gdbext.heap.chunks import counters_of, in_flux, segments_of
from gdbext.heap.fill import Fill, filled, read_fills
from gdbext.heap.parts import U64, Chunks, Pieces
from gdbext.heap.snapshot import Detail, HeapSnapshot, Layout
from gdbext.profile.expressions.expression import Expression
from gdbext.profile.language.slabs import PageRunsHeap, RunRecords
from gdbext.structures.collections import extent
from gdbext.structures.gather import NodeValues, node_values
from gdbext.x86.virtual import PagedMemory

MOST_RECORDS = 1 << 22
"""Records of more pages than this are not read."""


@dataclass(frozen=True)
class PageRuns:
    """Runs of pages that are in use, by ascending address; one element of every array for each.

    ``record`` is the address of a run's first record, ``start`` and ``end`` are its pages' (end exclusive). ``chunk``
    says whether it is one chunk, ``slab`` is the header of the slab that it is, 0 for none, ``owned`` whether all of
    its records name that slab. ``room`` is how many records there are up to the next run.
    """

    record: NDArray[np.uint64]
    start: NDArray[np.uint64]
    end: NDArray[np.uint64]
    length: NDArray[np.int64]
    room: NDArray[np.int64]
    chunk: NDArray[np.bool_]
    payload: NDArray[np.uint64]
    size: NDArray[np.int64]
    slab: NDArray[np.uint64]
    owned: NDArray[np.bool_]

    @property
    def fits(self) -> NDArray[np.bool_]:
        """Whether each run ends before the next begins."""
        return (self.length >= 1) & (self.length <= self.room)

    @property
    def chunks(self) -> Chunks:
        """The runs that are one chunk each."""
        which = np.flatnonzero(self.chunk)
        payload, yes = self.payload[which], np.ones(len(which), dtype=np.bool_)
        return Chunks(payload, payload, self.size[which], ~yes, yes)


@dataclass(frozen=True, kw_only=True)
class InPages(Detail):
    """Chunks in pages that page records describe, as far as the kernel has such records."""

    scattered: ClassVar[bool] = True
    page_runs: PageRuns | None


@dataclass(frozen=True, kw_only=True)
class PageRunsDetail(InPages):
    """Each chunk has a run of pages."""

    kind: ClassVar[str] = "runs"


def read_page_runs(runs: RunRecords[Expression], memory: PagedMemory) -> PageRuns:
    """The runs of an array of records. Raises MemoryUnavailable."""
    array, base = extent(runs.collection, memory), runs.base.evaluate(memory)
    if not 0 <= array.count <= MOST_RECORDS:
        raise MemoryUnavailable(f"{array.text} is {array.count}, which cannot be a number of pages")
    count = array.count
    records = U64(array.start) + np.arange(count, dtype=U64) * U64(array.stride)
    asked = (runs.first, runs.length, runs.chunk, runs.payload, runs.size, runs.slab, runs.owner)
    nodes = node_values(records, asked, memory)
    first = np.flatnonzero((nodes.values(runs.first) != 0) & nodes.seen)
    found = nodes.taken(first)
    length, room = found.values(runs.length).astype(np.int64), np.diff(np.append(first, count))
    start = U64(base) + first.astype(U64) * U64(runs.unit)
    end = start + (np.clip(length, 0, room) * runs.unit).astype(U64)
    payload = start if runs.payload is None else found.values(runs.payload).astype(U64)
    size = (end - payload).astype(np.int64) if runs.size is None else found.values(runs.size).astype(np.int64)
    slab = np.zeros(len(first), dtype=U64) if runs.slab is None else found.values(runs.slab).astype(U64)
    chunk = slab == 0 if runs.chunk is None else found.values(runs.chunk) != 0
    owned = _owned(runs, nodes, first, np.clip(length, 1, room), slab)
    return PageRuns(records[first], start, end, length, room, chunk, payload, size, slab, owned)


def _owned(
    runs: RunRecords[Expression],
    nodes: NodeValues,
    first: NDArray[np.int64],
    length: NDArray[np.int64],
    slab: NDArray[np.uint64],
) -> NDArray[np.bool_]:
    """Whether all records of each run that is a slab name that slab."""
    if runs.owner is None or not len(first):
        return np.ones(len(first), dtype=np.bool_)
    run_of = np.repeat(np.arange(len(first)), length)
    number = np.arange(len(run_of)) - np.repeat(np.cumsum(length) - length, length)
    wrong = nodes.taken(first[run_of] + number).values(runs.owner).astype(U64) != slab[run_of]
    whole = np.ones(len(first), dtype=np.bool_)
    whole[run_of[wrong]] = False
    owned: NDArray[np.bool_] = whole | (slab == 0)
    return owned


def read_page_runs_heap(heap: PageRunsHeap[Expression], memory: PagedMemory) -> HeapSnapshot:
    """Read a page heap. Raises MemoryUnavailable when its records cannot be read."""
    runs = read_page_runs(heap, memory)
    chunks = runs.chunks
    fills: tuple[Fill, ...] = ()
    if heap.fence is not None:
        which = np.flatnonzero(runs.chunk)
        fills = (filled("underrun", heap.fence, np.arange(len(which)), runs.start[which], runs.payload[which]),)
    return HeapSnapshot(
        name=heap.name,
        detail=PageRunsDetail(page_runs=runs),
        chunks=chunks,
        segments=segments_of(heap.segments, memory),
        counters=counters_of(heap, memory),
        in_flux=in_flux(heap, memory),
        layout=Layout(alignment=heap.alignment, minimum=heap.minimum),
        parent=heap.parent,
        pieces=Pieces(np.minimum(runs.start[runs.chunk], chunks.payload), chunks.end),
        fills=fills + read_fills(None, heap.redzone, chunks, memory),
        callers=read_callers(heap.caller, chunks, memory),
    )
