"""The common form of every physical manager that has been read: its free frames, and its own figures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gdbext.errors import MemoryUnavailable
from gdbext.machine.memory import RamMap, VirtualMemory
from gdbext.pmm.frames import FrameSet
from gdbext.profile.expressions.expression import Expression
from gdbext.profile.language.physical import PhysicalManager
from gdbext.structures.counter import Counter, read_counter
from gdbext.units import PhysAddr, VirtAddr, human_size

RAM_TIMES = 4
FRAMES_BESIDE = 1 << 24
"""A count above ``RAM_TIMES`` the frames up to the end of RAM plus ``FRAMES_BESIDE`` is corrupted: it is not used."""


@dataclass(frozen=True)
class Place:
    """Where a manager keeps its own data: virtual address, bytes, and what the data is."""

    start: VirtAddr
    size: int
    what: str


@dataclass(frozen=True)
class PartStat:
    """A part of a manager in figures: a region, a list, an order. ``said`` is the kernel's own count of ``counted``.

    ``blocks`` counts the manager's own units there (runs, nodes, blocks), ``at`` is where it begins. ``order``
    is a buddy system's, and ``unusable`` the share of all free frames that cannot serve a request of that order: those
    in smaller blocks.
    """

    kind: str
    name: str
    frames: int
    free: int
    blocks: int
    said: int | None
    counted: int | None
    at: VirtAddr | None
    order: int | None = None
    unusable: float | None = None


@dataclass(frozen=True, kw_only=True)
class PmmSnapshot:
    """A physical manager at one stop.

    ``free`` holds the frames that are free, numbered from 0 at physical address ``base``; each is ``frame_size``
    bytes. ``covers`` says whether the manager records how many frames there are: a mere list of free frames does
    not. ``counts_reserved`` says whether the ``used`` counter counts frames that were never free. ``places`` are where
    its own data are, ``unseen`` why not all free frames are known (None: they are).
    """

    name: str
    base: PhysAddr
    frame_size: int
    free: FrameSet
    covers: bool
    counters: tuple[Counter, ...]
    counts_reserved: bool
    in_flux: bool
    places: tuple[Place, ...]
    unseen: str | None = None

    @property
    def kind(self) -> str:
        """The kind, as profiles call it."""
        raise NotImplementedError

    @property
    def counted_from(self) -> str:
        """What the counted values come from, as text."""
        raise NotImplementedError

    def record_of(self, number: int) -> str:
        """Where the manager records that a free frame is free, as text."""
        raise NotImplementedError

    def place_of(self, number: int) -> VirtAddr | None:
        """The address of the word, node or record with a frame's state."""
        raise NotImplementedError

    @property
    def parts(self) -> tuple[PartStat, ...]:
        """Its parts in figures; none if it has no parts."""
        return ()

    @property
    def count(self) -> int:
        """The number of frame numbers, holes included."""
        return self.free.count

    @cached_property
    def known(self) -> FrameSet:
        """The frames that the manager has a state for."""
        return FrameSet.of_ranges([(0, self.count)], self.count)

    @cached_property
    def total(self) -> int:
        """How many frames the manager has a state for."""
        return len(self.known)

    @cached_property
    def free_count(self) -> int:
        """How many of them are free, by counting."""
        return len(self.free)

    @cached_property
    def free_runs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The stretches of free frames: first frame number and length of each."""
        return self.free.runs()

    def frame_address(self, number: int) -> PhysAddr:
        """The physical address of a frame of this manager."""
        return PhysAddr(self.base + number * self.frame_size)

    @cached_property
    def counted(self) -> dict[str, int]:
        """The correct value of each counter, by meaning; without those that cannot be determined."""
        if self.unseen is not None:
            return {}
        numbers = {"free": self.free_count}
        if not self.covers:
            return numbers
        kept = {counter.meaning: counter.value for counter in self.counters}
        numbers["total"] = self.total
        if self.counts_reserved:
            numbers["used"] = self.total - self.free_count
        elif "reserved" in kept:
            numbers["used"] = self.total - self.free_count - kept["reserved"]
        return numbers


def touched(manager: PmmSnapshot, start: PhysAddr, end: PhysAddr) -> tuple[int, int]:
    """The numbers of the frames that a physical range touches, half-open; the manager need not have all of them."""
    return (start - manager.base) // manager.frame_size, -(-(end - manager.base) // manager.frame_size)


@dataclass(frozen=True)
class Common:
    """The fields that all readers read first."""

    name: str
    base: PhysAddr
    frame_size: int
    counters: tuple[Counter, ...]
    counts_reserved: bool
    in_flux: bool


def read_common(manager: PhysicalManager[Expression], memory: VirtualMemory) -> Common:
    """The parts that every kind has. Raises MemoryUnavailable."""
    return Common(
        manager.name,
        PhysAddr(manager.base.evaluate(memory)),
        manager.frame_size,
        tuple(read_counter(meaning, counter, memory) for meaning, counter in manager.counters.items()),
        manager.counter_scope == "all",
        bool(manager.lock and manager.lock.evaluate(memory)),
    )


def sensible_count(count: int, what: str, frame_size: int, ram: RamMap) -> int:
    """The count of frames; MemoryUnavailable if it is not possible in a machine with this RAM."""
    most = RAM_TIMES * -(-ram.end // frame_size) + FRAMES_BESIDE
    if count == 0:
        raise MemoryUnavailable(f"{what} is 0: if this is not set up yet, add 'ready' to the profile")
    if not 0 < count <= most:
        raise MemoryUnavailable(
            f"{what} is {count}, which cannot be the number of frames in {human_size(ram.total)} of RAM"
        )
    return count


def frames_of(count: Expression | None, common: Common, memory: VirtualMemory, ram: RamMap) -> int:
    """How many frames a manager covers: what the kernel says, or else as many as RAM has from its base."""
    if count is None:
        return max(0, -(-(ram.end - common.base) // common.frame_size))
    return sensible_count(count.evaluate(memory), count.text, common.frame_size, ram)
