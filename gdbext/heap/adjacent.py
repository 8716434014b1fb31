"""A heap whose chunks are adjacent: the size of each determines where the next begins.

The memory is read in blocks. Every aligned address of a block is decoded as if a chunk began there, all at once;
following the chunks is then stepping through a list of numbers. Where a header is invalid, the next address at which
chunks begin again is searched for, which takes a magic or a footer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from gdbext.errors import MemoryUnavailable, NotMapped, Stopped
from gdbext.heap.callers import read_callers
from gdbext.heap.chunks import (
    Headers,
    chunks_of,
    counters_of,
    in_flux,
    layout_of,
    payload_sizes,
    read_watermark,
    segments_of,
    settled,
)
from gdbext.heap.fill import read_fills
from gdbext.heap.index import read_index
from gdbext.heap.parts import MOST_CHUNKS, U64, Chunks, Lost, Segment
from gdbext.heap.snapshot import HeapSnapshot, InOrder
from gdbext.machine.memory import VirtualMemory
from gdbext.profile.expressions.expression import EvaluationError, Expression
from gdbext.profile.language.heaps import AdjacentHeap
from gdbext.progress import progress
from gdbext.structures.chain import values_in
from gdbext.structures.gather import gathered, span_of
from gdbext.units import FRAME_SIZE, VirtAddr, round_up
from gdbext.x86.virtual import PagedMemory

LEAST, MOST = 1 << 12, 1 << 20
"""Bytes of a block: the least for a single address, the most where chunk follows chunk."""
MOST_SCANNED = 1 << 12
"""Blocks that are searched for an address where chunks begin again."""
MOST_UNREADABLE = 1 << 9
"""Pages in that search that may be unreadable."""
MOST_LOST = 64
"""The rest of a segment is skipped after this many interruptions of its chunks."""


@dataclass(frozen=True, kw_only=True)
class AdjacentDetail(InOrder):
    """Chunks one after the other."""

    kind: ClassVar[str] = "chunks"


def read_adjacent(heap: AdjacentHeap[Expression], memory: PagedMemory) -> HeapSnapshot:
    """Read a heap of adjacent chunks. Raises MemoryUnavailable when not even its own variables can be read."""
    heap, segments = settled(heap, memory), segments_of(heap.segments, memory)
    walks = [_Walk(heap, memory, segment) for segment in segments]
    try:
        for walk in walks:
            walk.run()
    except KeyboardInterrupt:
        raise Stopped(f"{sum(map(len, walks))} chunks of '{heap.name}' read") from None
    headers = _headers(heap, walks, memory)
    chunks = chunks_of(heap, headers)
    if heap.prev is not None:
        chunks = replace(chunks, prev=headers.values(heap.prev).astype(U64))
    chunks, index = read_index(heap, chunks, memory)
    return HeapSnapshot(
        name=heap.name,
        detail=AdjacentDetail(tail=None if heap.tail is None else VirtAddr(heap.tail.evaluate(memory))),
        chunks=replace(chunks, closed=_closed(heap, chunks, headers, memory)),
        segments=segments,
        counters=counters_of(heap, memory),
        in_flux=in_flux(heap, memory),
        layout=layout_of(heap, heap.trailer),
        parent=heap.parent,
        starts=_starts(walks),
        lost=tuple(lost for walk in walks for lost in walk.lost),
        watermark=read_watermark(heap.watermark, memory) if heap.watermark else None,
        index=index,
        fills=read_fills(heap.poison, heap.redzone, chunks, memory),
        callers=read_callers(heap.caller, chunks, memory),
    )


def _headers(heap: AdjacentHeap[Expression], walks: list[_Walk], memory: VirtualMemory) -> Headers:
    first, end = span_of(heap.in_headers)
    empty = np.zeros((0, end - first), dtype=np.uint8)
    address = np.concatenate([np.zeros(0, dtype=U64), *(found for walk in walks for found in walk.addresses)])
    return Headers(address, np.concatenate([empty, *(rows for walk in walks for rows in walk.rows)]), first, memory)


def _starts(walks: list[_Walk]) -> NDArray[np.int64]:
    """The chunks, besides the first, that were not reached from the chunk before them."""
    before, found = 0, []
    for walk in walks:
        found += [before, *(before + at for at in walk.starts)]
        before += len(walk)
    return np.array([at for at in found if 0 < at < before], dtype=np.int64)


def _closed(
    heap: AdjacentHeap[Expression], chunks: Chunks, headers: Headers, memory: PagedMemory
) -> NDArray[np.bool_] | None:
    """Whether each footer agrees with its header; None when there are no footers."""
    if heap.footer is None:
        return None
    first, end = span_of((heap.footer.expr,))
    rows, seen = gathered(chunks.end, (first, end), memory)
    expected = headers.values(heap.footer.equals)
    agree: NDArray[np.bool_] = values_in(heap.footer.expr, chunks.end, rows, first, memory) == expected
    return agree & seen


@dataclass(frozen=True)
class _Block:
    """Places from ``start`` on, ``grid`` bytes apart, as if a chunk began at each.

    ``hops`` is how many places further the next chunk would begin, 0 where no chunk can be; ``sound`` says whether the
    header's magic is right. ``rows`` has the header's bytes. Where it is empty nothing could be read, for the reason
    ``why``.
    """

    start: int
    hops: NDArray[np.int64]
    sound: NDArray[np.bool_]
    rows: NDArray[np.uint8]
    why: str | None = None


class _Walk:
    """Follows the chunks of one segment. ``starts`` and ``lost`` are relative to its first chunk."""

    def __init__(self, heap: AdjacentHeap[Expression], memory: PagedMemory, segment: Segment) -> None:
        self.addresses: list[NDArray[np.uint64]] = []
        self.rows: list[NDArray[np.uint8]] = []
        self.starts: list[int] = []
        self.lost: list[Lost] = []
        self._heap = heap
        self._memory = memory
        self._segment = segment
        self._count = 0
        self._first, self._end = span_of(heap.in_headers)
        self._grid = heap.alignment
        self._flat = all(e.flat is not None for e in (heap.size.expr, *self._magic))

    def __len__(self) -> int:
        return self._count

    @property
    def _magic(self) -> tuple[Expression, ...]:
        magic = self._heap.magic
        return (magic.expr, magic.equals) if magic else ()

    def run(self) -> None:
        """From the segment's start to its end, as far as there are chunks."""
        at: int | None = self._segment.start
        while at is not None and at < self._segment.end and len(self.lost) < MOST_LOST:
            at = self._trouble(self._follow(at))

    def _follow(self, at: int) -> int:
        """Follow sound headers from an address on; the address where there is no such header, or the segment's end."""
        size = LEAST
        while at < self._segment.end:
            progress(f"following the chunks of '{self._heap.name}'", at - self._segment.start, self._size)
            block = self._block(at, size)
            if not len(block.hops) or self._count >= MOST_CHUNKS:
                return at
            ways = np.where(block.sound, block.hops, 0).tolist()
            places, place, hop = [], 0, 1
            while place < len(ways) and (hop := ways[place]):
                places.append(place)
                place += hop
            self._take(block, places)
            at = block.start + place * self._grid
            if not hop:
                return at
            size = min(2 * size, MOST) if place < 2 * len(ways) else LEAST
        return at

    @property
    def _size(self) -> int:
        return self._segment.end - self._segment.start

    def _take(self, block: _Block, places: list[int]) -> None:
        """Take these places of a block as chunks."""
        if not places:
            return
        which = np.array(places, dtype=np.int64)
        self.addresses.append(U64(block.start) + (which * self._grid).astype(U64))
        self.rows.append(block.rows[which])
        self._count += len(places)

    def _block(self, at: int, size: int) -> _Block:
        """The places from ``at`` on, decoded, in about ``size`` bytes."""
        end = min(at + size + self._end, self._segment.end)
        try:
            data, why = self._readable(at + self._first, end)
        except MemoryUnavailable as error:
            data, why = b"", str(error)
        count = max(0, len(data) - (self._end - self._first)) // self._grid + (len(data) >= self._end - self._first)
        if not self._flat:
            count = min(count, 1)
        rows = np.zeros((0, self._end - self._first), dtype=np.uint8)
        if not count:
            return _Block(at, np.zeros(0, dtype=np.int64), np.zeros(0, dtype=bool), rows, why)
        buffer = np.frombuffer(data, dtype=np.uint8)
        rows = sliding_window_view(buffer, self._end - self._first)[:: self._grid][:count]
        addresses = U64(at) + np.arange(count, dtype=U64) * U64(self._grid)
        try:
            return _Block(at, *self._judged(addresses, buffer), rows, why)
        except EvaluationError:
            # A place that is no header has no size. Taken one at a time, only that place is lost.
            return self._block(at, 0) if count > 1 else _Block(at, np.zeros(1, np.int64), np.zeros(1, bool), rows, why)

    def _readable(self, start: int, end: int) -> tuple[bytes, str | None]:
        """The bytes from ``start`` to ``end``, or as far as they can be read, and why no further."""
        try:
            return self._memory.read(VirtAddr(start), max(0, end - start)), None
        except NotMapped as error:
            known = max(0, error.address - start)
            return (self._memory.read(VirtAddr(start), known) if known else b""), str(error)

    def _judged(
        self, addresses: NDArray[np.uint64], buffer: NDArray[np.uint8]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The hop from each place, and whether its magic is right."""
        offsets = np.arange(len(addresses), dtype=np.int64) * self._grid - self._first

        def values(expression: Expression) -> NDArray[np.int64]:
            if expression.flat is not None:
                return expression.flat.evaluate_array(buffer, offsets, addresses)
            return np.array([expression.evaluate(self._memory, int(address)) for address in addresses])

        sizes = payload_sizes(self._heap, values(self._heap.size.expr))
        room = (U64(self._segment.end) - addresses).astype(np.int64)
        steps = np.clip(sizes, -1, 1 << 62) + (self._heap.header_size + self._heap.trailer)
        fits = (sizes >= self._heap.minimum) & (steps > 0) & (steps <= room) & (steps % self._grid == 0)
        sound = values(self._magic[0]) == values(self._magic[1]) if self._magic else np.ones(len(addresses), dtype=bool)
        return np.where(fits, steps // self._grid, 0), np.broadcast_to(sound, fits.shape)

    def _trouble(self, at: int) -> int | None:
        """Handle an address where the chunks are interrupted; where to go on, None at the segment's end."""
        if at >= self._segment.end:
            return None
        if self._count >= MOST_CHUNKS:
            self.lost.append(Lost(VirtAddr(at), self._segment.end, f"more than {MOST_CHUNKS} chunks"))
            return None
        block = self._block(at, 0)
        readable = len(block.hops) > 0
        hop = int(block.hops[0]) * self._grid if readable else 0
        if hop and self._begins(at + hop):  # only its magic is gone: its size leads to a chunk
            self._take(block, [0])
            return at + hop
        resume = self._inside(at) or self._scan(at + self._grid, self._segment.end)
        least = self._heap.header_size + max(self._heap.minimum, 1) + self._heap.trailer
        if readable and not (resume is not None and resume < at + least):
            self._take(block, [0])
        self.lost.append(Lost(VirtAddr(at), VirtAddr(resume or self._segment.end), self._why(block, hop)))
        if resume is not None:
            self.starts.append(self._count)
        return resume

    def _why(self, block: _Block, hop: int) -> str:
        if not len(block.hops):
            return block.why or "the segment ends inside a header"
        return "the size there is impossible" if not hop else "the magic value of a header is missing there"

    def _begins(self, at: int) -> bool:
        """Whether the segment ends at an address, or a sound header begins there."""
        if at == self._segment.end:
            return True
        block = self._block(at, 0)
        return bool(len(block.hops) and block.hops[0] and block.sound[0])

    def _inside(self, at: int) -> int | None:
        """A header inside the chunk before an address, if its chunk reaches beyond that: then that size is too large.

        (The chunk of a stale header, left from before chunks were merged, reaches no further than the chunk around it.)
        """
        if not self._count or (self.starts and self.starts[-1] == self._count):
            return None
        return self._scan(int(self.addresses[-1][-1]) + self._grid, at)

    def _scan(self, start: int, stop: int) -> int | None:
        """The first sound header between two addresses whose chunk ends at or after the second, or at a header."""
        if not self._magic:
            return None
        unreadable = 0
        for _ in range(MOST_SCANNED):
            if start >= stop or unreadable > MOST_UNREADABLE:
                return None
            progress(
                f"searching where chunks of '{self._heap.name}' begin again", start - self._segment.start, self._size
            )
            block = self._block(start, min(MOST, stop - start))
            unreadable += not len(block.hops)
            for place in np.flatnonzero(block.sound & (block.hops > 0)).tolist():
                at = start + place * self._grid
                end = at + int(block.hops[place]) * self._grid
                if at < stop and (stop == self._segment.end or end > stop) and self._begins(end):
                    return at
            start += max(len(block.hops), 1) * self._grid if block.why is None else self._skip(start)
        return None

    def _skip(self, start: int) -> int:
        """The distance from ``start`` to the next place that might be readable."""
        return (round_up(start + 1, FRAME_SIZE) - start + self._grid - 1) // self._grid * self._grid
