"""The snapshot of a heap of any kind: its chunks, its own counters and variables, and a detail of its kind.

All of it is data: a snapshot can be kept, saved and compared with another, and reads no memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gdbext.heap.fill import Fill
from gdbext.heap.index import FreeIndex
from gdbext.heap.parts import U64, Chunks, Lost, Pieces, Segment, Watermark
from gdbext.structures.counter import Counter
from gdbext.units import VirtAddr, hex_address


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How chunks are laid out: ``header`` bytes before a payload and ``trailer`` bytes after it belong to the chunk.

    ``alignment`` and ``minimum`` are of payloads, in bytes. ``coalesces``: free neighbours are always merged.
    ``has_magic``: every intact header has a known value in it.
    """

    header: int = 0
    trailer: int = 0
    alignment: int
    minimum: int
    coalesces: bool = False
    has_magic: bool = False


@dataclass(frozen=True, kw_only=True)
class Detail:
    """What a heap has besides its chunks. Each kind has a subclass, next to its reader.

    Code that handles heaps of every kind asks here what a heap can do, not for its ``kind``, which is for display.
    Chunks of a ``linked`` heap are located by links alone, all others by their addresses; between chunks of a
    ``scattered`` heap there is room that belongs to none. With ``has_headers`` each chunk has a header. A heap without
    ``knows_chunks`` hands out memory in order, and records only how far.
    """

    kind: ClassVar[str]
    linked: ClassVar[bool] = False
    scattered: ClassVar[bool] = False
    has_headers: ClassVar[bool] = False
    knows_chunks: ClassVar[bool] = True

    @property
    def address(self) -> VirtAddr | None:
        """The chunk that its variable for the first chunk points to, if it has such a variable."""
        return None

    @property
    def unseen(self) -> str | None:
        """Why the chunks after some address are unknown; None when all are known."""
        return None

    @property
    def finds_free(self) -> bool:
        """Whether it has a way to find free chunks besides an index of them."""
        return False


@dataclass(frozen=True, kw_only=True)
class InOrder(Detail):
    """Chunks with headers, one after the other; ``tail`` is where the kernel's pointer to the last chunk points."""

    has_headers: ClassVar[bool] = True
    tail: VirtAddr | None


@dataclass(frozen=True, kw_only=True)
class HeapSnapshot:
    """A heap at one stop.

    ``starts`` are the chunks, besides the first, that were not reached from the chunk before them: there something was
    damaged, or another segment begins. ``lost`` is where chunks are unknown. ``pieces`` must be mapped for the
    heap to work (None: its segments). ``index`` has its lists and tree of free chunks, ``fills`` its poison and
    redzones. ``callers`` are the code addresses that asked for each chunk, 0 where unknown; None when the kernel does
    not record them. ``parent`` names the heaps that this heap may be inside of.
    """

    name: str
    detail: Detail
    chunks: Chunks
    segments: tuple[Segment, ...]
    counters: tuple[Counter, ...]
    in_flux: bool
    layout: Layout
    parent: tuple[str, ...] = ()
    starts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    lost: tuple[Lost, ...] = ()
    pieces: Pieces | None = None
    watermark: Watermark | None = None
    index: FreeIndex | None = None
    fills: tuple[Fill, ...] = ()
    callers: NDArray[np.uint64] | None = None

    @property
    def kind(self) -> str:
        """The name of its kind in profiles. A label: what a heap can do is in ``detail``."""
        return self.detail.kind

    @property
    def tail(self) -> VirtAddr | None:
        """Where the kernel's pointer to the last chunk points, if it has such a pointer."""
        return self.detail.tail if isinstance(self.detail, InOrder) else None

    @cached_property
    def sound(self) -> bool:
        """Whether every chunk was reached and every header has its magic value."""
        return self.unseen is None and bool(self.chunks.sound.all())

    @property
    def tells_free(self) -> bool:
        """Whether it is known of each chunk whether it is free or used."""
        return self.index is None or self.index.whole or not self.index.alone

    @property
    def unseen(self) -> str | None:
        """Why not all chunks are known, with their states; None when they are."""
        if self.detail.unseen is not None:
            return self.detail.unseen
        if self.lost:
            first = self.lost[0]
            return f"{hex_address(first.start)}-{hex_address(first.end)}: {first.why}"
        if not self.tells_free:
            return "a list of free chunks ends early, and the chunks after that point seem used"
        return None

    @cached_property
    def pairs(self) -> NDArray[np.int64]:
        """The chunks that have a neighbour after them, as the arrays have it (with room in between if scattered)."""
        pairs = np.arange(max(0, len(self.chunks) - 1))
        return np.delete(pairs, self.starts - 1) if self.detail.linked else pairs

    @cached_property
    def mismatched(self) -> NDArray[np.int64]:
        """The sensible chunks that do not end where the next begins, or reach into it where there may be room."""
        chunks, at = self.chunks, self.pairs
        end, following = self.ends[at], chunks.address[at + 1]
        wrong = (chunks.sound & self.sensible)[at] & chunks.sound[at + 1] & (end != following)
        if self.detail.scattered:
            wrong &= end > following
        elif self.segments:
            wrong &= ~(np.isin(end, self.segment_ends) & np.isin(following, self.segment_starts))
        else:
            wrong &= (chunks.address[at] < following) & (following < end)
        found: NDArray[np.int64] = at[wrong]
        return found

    @cached_property
    def fits(self) -> NDArray[np.bool_]:
        """Whether the size of each chunk is possible, by itself and between its neighbours."""
        fits = self.sensible.copy()
        fits[self.mismatched] = False
        return fits

    @property
    def segment_starts(self) -> NDArray[np.uint64]:
        """Where segments begin."""
        return np.array([segment.start for segment in self.segments], dtype=U64)

    @property
    def segment_ends(self) -> NDArray[np.uint64]:
        """Where segments end."""
        return np.array([segment.end for segment in self.segments], dtype=U64)

    @cached_property
    def ends(self) -> NDArray[np.uint64]:
        """The first byte after each chunk and its trailer."""
        return self.chunks.end + U64(self.layout.trailer)

    @cached_property
    def inside(self) -> NDArray[np.bool_]:
        """Whether each chunk lies in a segment; all do where no segment is known."""
        chunks = self.chunks
        found = np.full(len(chunks), not self.segments)
        for segment in self.segments:
            start, end = U64(segment.start), U64(segment.end)
            first = chunks.payload + U64(self.layout.trailer)
            within = (chunks.address >= start) & (first <= end) & (chunks.size >= 0)
            found |= within & (chunks.size.astype(U64) <= end - np.minimum(first, end))
        return found

    @cached_property
    def sensible(self) -> NDArray[np.bool_]:
        """Whether each chunk is possible by itself: its size, its alignment, its address."""
        aligned: NDArray[np.bool_] = self.chunks.payload % U64(self.layout.alignment) == 0
        return aligned & (self.chunks.size >= self.layout.minimum) & self.inside
