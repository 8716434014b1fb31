"""The parts of heap snapshots: chunks as arrays, and the addresses of a heap."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gdbext.units import VirtAddr

U64 = np.uint64
MOST_CHUNKS = 1 << 24
"""Chunks are followed no further than this many."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk: its header's address, its payload's address and size in bytes, and its state.

    ``sound`` is False when its header does not have its magic value.
    """

    address: VirtAddr
    payload: VirtAddr
    size: int
    free: bool
    sound: bool

    @property
    def end(self) -> int:
        """The first byte after the payload."""
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

    ``address`` is the header's, ``size`` in bytes and as the header has it, so it may be nonsense. ``next`` and
    ``prev`` are the headers that the links point to, None where headers have no such links. ``closed`` says whether the
    footer matches the header, None where there are no footers.
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
        """The first byte after each payload."""
        return self.payload + self.size.astype(U64)

    def taken(self, which: NDArray[np.int64]) -> Chunks:
        """The chunks with these indexes, in that order."""
        arrays: list[Any] = [None if array is None else array[which] for array in self._arrays]
        return Chunks(*arrays)

    def joined(self, behind: Chunks) -> Chunks:
        """These chunks, and others after them."""
        pairs = zip(self._arrays, behind._arrays, strict=True)
        arrays: list[Any] = [None if one is None or two is None else np.concatenate([one, two]) for one, two in pairs]
        return Chunks(*arrays)

    @property
    def _arrays(self) -> tuple[Any, ...]:
        return tuple(getattr(self, field.name) for field in fields(self))

    def at(self, index: int) -> Chunk:
        """The chunk with this index."""
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
    """Addresses of a segment, ``end`` exclusive, in which chunks are unknown, and why."""

    start: VirtAddr
    end: VirtAddr
    why: str


@dataclass(frozen=True)
class Watermark:
    """Memory from ``start`` to ``end``, handed out up to ``current``; ``at`` is the address of that variable."""

    start: VirtAddr
    current: VirtAddr
    end: VirtAddr
    at: VirtAddr | None
