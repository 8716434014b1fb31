"""Physical memory as the rest of gdbext sees it: a map of what is RAM, and bulk reads limited to it."""

from bisect import bisect_right
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gdbext.errors import NotRam
from gdbext.units import FRAME_SHIFT, FRAME_SIZE, PhysAddr, VirtAddr

ENTRIES_PER_FRAME = FRAME_SIZE // 8


@dataclass(frozen=True, order=True)
class RamRange:
    """A physical range that is RAM, and where its first byte is in the memory block that backs it.

    ``start`` and ``end`` (exclusive) are physical byte addresses, ``block`` is QEMU's name of the memory block
    and ``offset`` the byte offset of ``start`` within that block.
    """

    start: PhysAddr
    end: PhysAddr
    block: str = ""
    offset: int = 0


class RamMap:
    """Which physical addresses are RAM. Every read is checked against it: reading anything else returns false data."""

    def __init__(self, ranges: Iterable[RamRange]) -> None:
        self.ranges = tuple(sorted(ranges))
        self._starts = [ram.start for ram in self.ranges]

    def __eq__(self, other: object) -> bool:
        """Whether the same addresses are RAM, and the same block's."""
        return isinstance(other, RamMap) and self.ranges == other.ranges

    def __hash__(self) -> int:
        return hash(self.ranges)

    @property
    def total(self) -> int:
        """Bytes of RAM."""
        return sum(r.end - r.start for r in self.ranges)

    @property
    def end(self) -> PhysAddr:
        """The first physical address above all RAM; 0 when there is none."""
        return self.ranges[-1].end if self.ranges else PhysAddr(0)

    def range_at(self, address: PhysAddr) -> RamRange | None:
        """The range that holds this address, if it is RAM."""
        index = bisect_right(self._starts, address) - 1
        return self.ranges[index] if index >= 0 and address < self.ranges[index].end else None

    def pieces(self, address: PhysAddr, size: int) -> list[tuple[RamRange, int, int]]:
        """Cut a physical range at the borders of RAM ranges: ``(range, address, size)`` for each piece, in order.

        Raises NotRam with the first address that is not RAM.
        """
        pieces = []
        while size > 0:
            ram = self.range_at(address)
            if ram is None:
                raise NotRam(address)
            length = min(size, ram.end - address)
            pieces.append((ram, int(address), length))
            address, size = PhysAddr(address + length), size - length
        return pieces

    def first_outside(self, addresses: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """For each physical address, the first from there on that is not RAM."""
        found = addresses.copy()
        for ram in self.ranges:  # in order, so that ranges which touch count as one
            inside = (found >= np.uint64(ram.start)) & (found < np.uint64(ram.end))
            found[inside] = np.uint64(ram.end)
        return found

    def holds_frames(self, frames: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """For each frame number, whether the whole frame is RAM of one range. (There are a few ranges at most.)"""
        found = np.zeros(frames.shape, dtype=np.bool_)
        for ram in self.ranges:
            first, end = -(-ram.start // FRAME_SIZE), ram.end >> FRAME_SHIFT
            found |= (frames >= np.uint64(first)) & (frames < np.uint64(end))
        return found


@dataclass(frozen=True)
class View:
    """Memory that can be read without copying it: ``buffer[0]`` is at physical address ``start``."""

    start: PhysAddr
    buffer: memoryview


class PhysicalMemory(Protocol):
    """A source of physical memory. Implementations refuse whatever their ``ram`` map does not list."""

    @property
    def name(self) -> str:
        """The source's short name: ``shared``, ``remote``, ..."""

    @property
    def ram(self) -> RamMap:
        """What is RAM."""

    def read(self, address: PhysAddr, size: int) -> bytes:
        """``size`` bytes from a physical address; NotRam if any of them is not RAM, SourceFailed if the source does."""

    def read_frames(self, frames: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Whole frames by number, as a matrix of shape ``(len(frames), 512)`` of little-endian 64-bit words.

        The caller has made sure with ``ram.holds_frames`` that each frame is RAM; NotRam otherwise.
        """

    def view(self, address: PhysAddr) -> View | None:
        """The memory around a RAM address, in place; None where bytes must be fetched first.

        A caller that reads in a view reports with `seen` what it has read.
        """

    def seen(self, frames: NDArray[np.uint64]) -> None:
        """Record that these frames, by number, were read in a view; for a memory that keeps account of reads."""

    def series(self) -> AbstractContextManager[object]:
        """Groups reads: within the block, the setup and cleanup that each read would need are done once."""


class VirtualMemory(Protocol):
    """Memory as one address space sees it, read through the page tables."""

    def read(self, address: VirtAddr, size: int) -> bytes:
        """``size`` bytes from a virtual address; NotMapped with the first address that cannot be read."""
