"""Memory as one address space sees it: reads that go through the page tables, never through gdb's own."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gdbext.errors import MemoryUnavailable, NotMapped
from gdbext.machine.cpu import CpuState
from gdbext.machine.memory import PhysicalMemory
from gdbext.units import FRAME_SIZE, PhysAddr, VirtAddr
from gdbext.x86.runs import Runs, joined, merged
from gdbext.x86.space import AddressSpace, enumerate_space
from gdbext.x86.walk import Walk, walk

BULK = 16 * FRAME_SIZE
"""From this size on a read enumerates the tables of its range at once instead of walking page by page."""


@dataclass(frozen=True)
class Linear:
    """Virtual addresses from ``start`` to ``end`` (exclusive) that are ``shift`` above their physical addresses.

    ``buffer[0]`` is at ``start``, where the source can show memory without copying it; else ``buffer`` is None.
    """

    start: int
    end: int
    shift: int
    buffer: memoryview | None


class PagedMemory:
    """A `VirtualMemory` over one root. Valid as long as the guest does not run: translations are kept."""

    def __init__(self, memory: PhysicalMemory, cpu: CpuState, root: PhysAddr | None = None) -> None:
        self.physical = memory
        self.cpu = cpu
        self.root = root
        self._pages: dict[int, PhysAddr] = {}
        self._linear: dict[int, Linear] = {}
        self._known: Runs | None = None

    def translate(self, address: VirtAddr) -> PhysAddr:
        """The physical address that a virtual address maps to; NotMapped when there is none."""
        page, offset = divmod(address, FRAME_SIZE)
        base = self._pages.get(page)
        if base is None:
            base = self._pages[page] = self._walk_to(VirtAddr(page * FRAME_SIZE), address)
        return PhysAddr(base + offset)

    def _walk_to(self, page: VirtAddr, wanted: VirtAddr) -> PhysAddr:
        found: Walk = walk(self.physical, self.cpu, page, self.root)
        if found.physical is None:
            raise NotMapped(wanted, found.verdict)
        return found.physical

    def read(self, address: VirtAddr, size: int) -> bytes:
        """``size`` bytes; NotMapped with the first address that does not translate into RAM."""
        if size >= BULK and self.cpu.paging:
            return self._read_bulk(address, size)
        parts = []
        while size > 0:
            length = min(size, FRAME_SIZE - address % FRAME_SIZE)
            parts.append(self._read_piece(address, self.translate(address), length))
            address, size = VirtAddr(address + length), size - length
        return b"".join(parts)

    def _read_piece(self, address: VirtAddr, physical: PhysAddr, size: int) -> bytes:
        try:
            return self.physical.read(physical, size)
        except MemoryUnavailable as error:
            off = "" if self.cpu.paging else "paging is off on the selected processor, so nothing is translated, and "
            raise NotMapped(address, f"{off}{error}") from error

    def _read_bulk(self, address: VirtAddr, size: int) -> bytes:
        parts = []
        position = address
        for start, physical, length in self.pieces(address, size):
            if start > position:
                break
            parts.append(self._read_piece(start, physical, length))
            position = VirtAddr(start + length)
        if position < address + size:
            self.translate(position)  # raises the reason why this address does not translate
            raise NotMapped(position, "its tables changed while they were read")
        return b"".join(parts)

    def read_near(self, address: VirtAddr, size: int) -> bytes:
        """The same as ``read``, for many small reads: none costs a walk, but the first enumerates every mapping."""
        here = self.linear(address)
        if address + size > here.end:
            return self.read(address, size)
        if here.buffer is not None:
            return bytes(here.buffer[address - here.start : address - here.start + size])
        return self.physical.read(PhysAddr(address - here.shift), size)

    def pieces(self, address: VirtAddr, size: int) -> list[tuple[VirtAddr, PhysAddr, int]]:
        """The physically contiguous pieces of a range: virtual address, physical address, size in bytes.

        What is not mapped is skipped.
        """
        if not self.cpu.paging:
            return [(address, PhysAddr(address), size)]
        end = address + size
        runs = self._within(address, end)
        found = []
        for run, length, physical in zip(runs.start.tolist(), runs.size.tolist(), runs.physical.tolist(), strict=True):
            start = max(run, address)
            found.append((VirtAddr(start), PhysAddr(physical + start - run), min(run + length, end) - start))
        return found

    def mapped(self, address: VirtAddr, end: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """The stretches of a range that are mapped, in order of address: their first and their last addresses."""
        runs = merged(self._within(address, end) if self.cpu.paging else self._runs, physically=False)
        start, last = np.maximum(runs.start, np.uint64(address)), np.minimum(runs.end, np.uint64(end - 1))
        return start[start <= last], last[start <= last]

    def know(self, space: AddressSpace) -> None:
        """Use an enumeration of this root that was already made, so that it need not be repeated."""
        if not space.aliases:  # else its runs are not everything that is mapped
            self._known = _ignoring_rights(space.runs)

    def _within(self, address: VirtAddr, end: int) -> Runs:
        """The runs that have a part between two addresses."""
        if self._known is None:
            window = (address, VirtAddr(end - 1))
            return _ignoring_rights(enumerate_space(self.physical, self.cpu, self.root, window).runs)
        runs = self._known
        low = int(np.searchsorted(runs.end, np.uint64(address)))
        return runs.take(np.arange(low, int(np.searchsorted(runs.start, np.uint64(end - 1), side="right"))))

    @cached_property
    def _runs(self) -> Runs:
        """All that is mapped (except folded stretches); without paging all of RAM, at its own addresses."""
        if not self.cpu.paging:
            ranges = self.physical.ram.ranges
            start = np.array([ram.start for ram in ranges], dtype=np.uint64)
            size = np.array([ram.end - ram.start for ram in ranges], dtype=np.uint64)
            return Runs(start, size, start, np.zeros(len(ranges), dtype=np.uint32))
        if self._known is None:
            self.know(enumerate_space(self.physical, self.cpu, self.root))
        return joined([]) if self._known is None else self._known

    def linear(self, address: VirtAddr) -> Linear:
        """The memory around an address, as far as it is contiguous in both kinds of addresses.

        For walks that jump about: reading from the result costs no translation. NotMapped where there is no RAM.
        """
        at = int(np.searchsorted(self._runs.start, np.uint64(address), side="right")) - 1
        known = self._linear.get(at)
        if known is None or not known.start <= address < known.end:
            known = self._linear[at] = self._linear_around(address, at)
        return known

    def _linear_around(self, address: VirtAddr, at: int) -> Linear:
        """The same; run number ``at`` is the last that begins at or below the address."""
        runs = self._runs
        if at >= 0 and address <= int(runs.end[at]):
            start, end = int(runs.start[at]), int(runs.end[at]) + 1
            shift = start - int(runs.physical[at])
        else:
            start = address - address % FRAME_SIZE
            end, shift = start + FRAME_SIZE, address - self.translate(address)
            self._read_piece(address, PhysAddr(address - shift), 1)  # raises the reason
        ram = self.physical.ram.range_at(PhysAddr(address - shift))
        if ram is None:
            raise NotMapped(address, f"its physical address {address - shift:#x} is not RAM")
        start, end = max(start, ram.start + shift), min(end, ram.end + shift)
        view = self.physical.view(PhysAddr(start - shift))
        if view is None:
            return Linear(start, end, shift, None)
        offset = start - shift - view.start
        return Linear(start, end, shift, view.buffer[offset : offset + end - start])


def _ignoring_rights(runs: Runs) -> Runs:
    """The runs merged wherever they are contiguous, whatever their rights."""
    return merged(Runs(runs.start, runs.size, runs.physical, np.zeros_like(runs.attributes)))
