"""What any heap looks like once it has been read: its chunks, what it says of itself, and a detail that its kind has.

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
    """How chunks are laid out: ``header`` bytes in front of a payload and ``trailer`` behind it are the chunk's own.

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
    """What a heap has beside its chunks. Each kind's is a subclass, beside its reader.

    Whoever looks at heaps of every kind asks what a heap can do, here, and not what it is called: ``kind`` is for
    people. Chunks of a ``linked`` heap are told by links alone, all others by where they lie; between those of a
    ``scattered`` one there is room that is none's. With ``has_headers`` each chunk has its own. A heap without
    ``knows_chunks`` hands out memory in order, and keeps nothing but how far it has come.
    """

    kind: ClassVar[str]
    linked: ClassVar[bool] = False
    scattered: ClassVar[bool] = False
    has_headers: ClassVar[bool] = False
    knows_chunks: ClassVar[bool] = True

    @property
    def address(self) -> VirtAddr | None:
        """Where its variable for the first chunk leads, if it has one."""
        return None

    @property
    def unseen(self) -> str | None:
        """Why chunks behind some place are not seen; None when nothing keeps them from being."""
        return None

    @property
    def finds_free(self) -> bool:
        """Whether it has something to find free chunks by, besides an index of them."""
        return False


@dataclass(frozen=True, kw_only=True)
class InOrder(Detail):
    """Chunks with headers, one after the other; ``tail`` is where the kernel's pointer to the last one leads."""

    has_headers: ClassVar[bool] = True
    tail: VirtAddr | None


@dataclass(frozen=True, kw_only=True)
class HeapSnapshot:
    """A heap at one stop.

    ``starts`` are the chunks, besides the first, that were not reached from the one before them: there something was
    damaged, or another segment begins. ``lost`` is where no chunks can be told. ``pieces`` must be mapped for the heap
    to work (None: its segments). ``index`` is what it finds free chunks by, ``fills`` are bytes that nobody may write
    to. ``callers`` are the code addresses that asked for each chunk, 0 where that is not known; None when the kernel
    records none. ``parent`` names the heaps that this one may rest on.
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
        """What a profile calls its kind. A label: what a heap can do is in ``detail``."""
        return self.detail.kind

    @property
    def tail(self) -> VirtAddr | None:
        """Where the kernel's pointer to the last chunk leads, if it has one."""
        return self.detail.tail if isinstance(self.detail, InOrder) else None

    @cached_property
    def sound(self) -> bool:
        """Whether every chunk was reached and every header carries its magic."""
        return self.unseen is None and bool(self.chunks.sound.all())

    @property
    def tells_free(self) -> bool:
        """Whether it is known of each chunk that it is free, or that it is used."""
        return self.index is None or self.index.whole or not self.index.alone

    @property
    def unseen(self) -> str | None:
        """Why not all chunks are seen as what they are; None when they are."""
        if self.detail.unseen is not None:
            return self.detail.unseen
        if self.lost:
            first = self.lost[0]
            return f"{hex_address(first.start)}-{hex_address(first.end)}: {first.why}"
        if not self.tells_free:
            return "a list of free chunks breaks off, and those behind that seem used"
        return None

    @cached_property
    def pairs(self) -> NDArray[np.int64]:
        """The chunks that have a neighbour behind them, as the arrays have it (with room in between if scattered)."""
        pairs = np.arange(max(0, len(self.chunks) - 1))
        return np.delete(pairs, self.starts - 1) if self.detail.linked else pairs

    @cached_property
    def mismatched(self) -> NDArray[np.int64]:
        """The sensible chunks that do not end where the next one begins, or reach into it where there may be room."""
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
        """Whether each chunk has a size that can be, by itself and between its neighbours."""
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
        """The first byte behind each chunk, with all that is its own."""
        return self.chunks.end + U64(self.layout.trailer)

    @cached_property
    def inside(self) -> NDArray[np.bool_]:
        """Whether each chunk lies in a segment; all do where none is known."""
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
        """Whether each chunk by itself can be one: its size, its alignment, its place."""
        aligned: NDArray[np.bool_] = self.chunks.payload % U64(self.layout.alignment) == 0
        return aligned & (self.chunks.size >= self.layout.minimum) & self.inside
