"""What a heap of chunks looks like once it has been read: its chunks as arrays, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gdbext.errors import MemoryUnavailable
from gdbext.machine.memory import VirtualMemory
from gdbext.structures.chain import Break
from gdbext.structures.counter import Counter
from gdbext.units import VirtAddr, hex_address
from gdbext.x86.virtual import PagedMemory

if TYPE_CHECKING:
    from gdbext.heap.buddy import WrongNode
    from gdbext.heap.callers import CallerRecord
    from gdbext.heap.index import FreeIndex
    from gdbext.heap.page_runs import PageRuns
    from gdbext.heap.slab import Slabs

U64 = np.uint64
MOST_CHUNKS = 1 << 24
"""Chunks are followed no further than this many."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk: its header's address, its payload's address and size in bytes, and its state.

    ``sound`` is False when its header does not have the magic that it should.
    """

    address: VirtAddr
    payload: VirtAddr
    size: int
    free: bool
    sound: bool

    @property
    def end(self) -> int:
        """The first byte behind the payload."""
        return self.payload + self.size

    @property
    def state(self) -> str:
        """``used``, ``free``, or ``unknown``."""
        if not self.sound:
            return "unknown"
        return "free" if self.free else "used"


@dataclass(frozen=True)
class Chunks:
    """Many chunks, one element of every array for each.

    ``address`` is the header's, ``size`` in bytes and as the header says, so it may be nonsense. ``next`` and ``prev``
    are the headers that the links lead to, None where headers have none. ``closed`` says whether the footer agrees with
    the header, None where there are none.
    """

    address: NDArray[np.uint64]
    payload: NDArray[np.uint64]
    size: NDArray[np.int64]
    free: NDArray[np.bool_]
    sound: NDArray[np.bool_]
    next: NDArray[np.uint64] | None = None
    prev: NDArray[np.uint64] | None = None
    closed: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.address)

    @cached_property
    def end(self) -> NDArray[np.uint64]:
        """The first byte behind each payload."""
        return self.payload + self.size.astype(U64)

    def taken(self, which: NDArray[np.int64]) -> Chunks:
        """Those with these indexes, in that order."""
        arrays: list[Any] = [None if array is None else array[which] for array in self._arrays]
        return Chunks(*arrays)

    def joined(self, behind: Chunks) -> Chunks:
        """These, and others behind them."""
        pairs = zip(self._arrays, behind._arrays, strict=True)
        arrays: list[Any] = [None if one is None or two is None else np.concatenate([one, two]) for one, two in pairs]
        return Chunks(*arrays)

    @property
    def _arrays(self) -> tuple[Any, ...]:
        return tuple(getattr(self, field.name) for field in fields(self))

    def at(self, index: int) -> Chunk:
        """One of them."""
        return Chunk(
            VirtAddr(int(self.address[index])),
            VirtAddr(int(self.payload[index])),
            int(self.size[index]),
            bool(self.free[index]),
            bool(self.sound[index]),
        )


@dataclass(frozen=True)
class Segment:
    """Addresses that chunks fill without a gap, ``end`` exclusive."""

    start: VirtAddr
    end: VirtAddr


@dataclass(frozen=True)
class Pieces:
    """Addresses that must be mapped for a heap to work, many ranges of them: starts, and ends (exclusive)."""

    start: NDArray[np.uint64]
    end: NDArray[np.uint64]


@dataclass(frozen=True)
class Lost:
    """Addresses of a segment, ``end`` exclusive, in which no chunks can be told, and why."""

    start: VirtAddr
    end: VirtAddr
    why: str


@dataclass(frozen=True)
class Watermark:
    """Memory from ``start`` to ``end``; what is below ``current`` has been handed out. ``at`` is where that is said."""

    start: VirtAddr
    current: VirtAddr
    end: VirtAddr
    at: VirtAddr | None


@dataclass(frozen=True)
class Fill:
    """Memory that must hold one byte over and over: stretches in order of address, and the numbers of their chunks.

    ``what`` is the misdeed that changes it: writing into ``poison`` of free chunks, ``underrun`` or ``overrun``.
    """

    what: str
    byte: int
    chunk: NDArray[np.int64]
    start: NDArray[np.uint64]
    end: NDArray[np.uint64]


@dataclass(frozen=True, kw_only=True)
class HeapSnapshot:
    """A heap at one stop.

    ``starts`` are the chunks, besides the first, that were not reached from the one before them: there something was
    damaged, or another segment begins. ``broken`` is where a list's links lead nowhere, ``lost`` what is not seen where
    chunks lie one behind the other; where they are ``scattered`` there is room between them that is none's. ``head``,
    ``tail`` and ``rover`` are where those variables lead. A chunk's own are ``header`` bytes in front of its payload
    and ``trailer`` behind it. With ``free_if_indexed`` nothing but the index tells which chunks are free.
    """

    name: str
    kind: str
    chunks: Chunks
    starts: NDArray[np.int64]
    broken: Break | None = None
    lost: tuple[Lost, ...] = ()
    head: VirtAddr | None = None
    tail: VirtAddr | None = None
    circular: bool = False
    rover: VirtAddr | None = None
    scattered: bool = False
    runs: PageRuns | None = None
    slabs: Slabs | None = None
    pieces: Pieces | None = None
    watermark: Watermark | None = None
    index: FreeIndex | None = None
    wrong_nodes: tuple[WrongNode, ...] | None = None
    fills: tuple[Fill, ...] = ()
    parent: tuple[str, ...] = ()
    caller: CallerRecord | None = None
    segments: tuple[Segment, ...]
    counters: tuple[Counter, ...]
    in_flux: bool
    header: int
    trailer: int = 0
    alignment: int
    minimum: int
    coalesces: bool
    has_magic: bool
    free_if_indexed: bool = False
    memory: PagedMemory

    @cached_property
    def callers(self) -> NDArray[np.uint64] | None:
        """The code address that asked for each chunk, 0 where it is not known; None when the kernel records none."""
        return None if self.caller is None else self.caller.read(self.chunks, self.memory)

    @cached_property
    def sound(self) -> bool:
        """Whether every chunk was reached and every header carries its magic."""
        return self.unseen is None and bool(self.chunks.sound.all())

    @property
    def tells_free(self) -> bool:
        """Whether it is known of each chunk that it is free, or that it is used."""
        return not self.free_if_indexed or self.index is None or self.index.whole

    @property
    def unseen(self) -> str | None:
        """Why not all chunks are seen as what they are; None when they are."""
        if self.broken is not None:
            return self.broken.why
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
        return pairs if self.tiled else np.delete(pairs, self.starts - 1)

    @cached_property
    def mismatched(self) -> NDArray[np.int64]:
        """The sensible chunks that do not end where the next one begins, or reach into it where there may be room."""
        chunks, at = self.chunks, self.pairs
        end, following = self.ends[at], chunks.address[at + 1]
        wrong = (chunks.sound & self.sensible)[at] & chunks.sound[at + 1] & (end != following)
        if self.scattered:
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

    @property
    def tiled(self) -> bool:
        """Whether chunks are found by where they lie, and not by links."""
        return self.kind != "list"

    @cached_property
    def ends(self) -> NDArray[np.uint64]:
        """The first byte behind each chunk, with all that is its own."""
        return self.chunks.end + U64(self.trailer)

    @cached_property
    def inside(self) -> NDArray[np.bool_]:
        """Whether each chunk lies in a segment; all do where none is known."""
        chunks = self.chunks
        found = np.full(len(chunks), not self.segments)
        for segment in self.segments:
            start, end = U64(segment.start), U64(segment.end)
            first = chunks.payload + U64(self.trailer)
            within = (chunks.address >= start) & (first <= end) & (chunks.size >= 0)
            found |= within & (chunks.size.astype(U64) <= end - np.minimum(first, end))
        return found

    @cached_property
    def sensible(self) -> NDArray[np.bool_]:
        """Whether each chunk by itself can be one: its size, its alignment, its place."""
        aligned: NDArray[np.bool_] = self.chunks.payload % U64(self.alignment) == 0
        return aligned & (self.chunks.size >= self.minimum) & self.inside


def bytes_around(memory: VirtualMemory, address: VirtAddr, size: int) -> str:
    """Some bytes as a person compares them: hexadecimal, and as text where they are text; or why they are not there."""
    try:
        data = memory.read(address, size)
    except MemoryUnavailable as error:
        return str(error)
    text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in data)
    return f"{hex_address(address)}: {data.hex(' ')}  |{text}|"
