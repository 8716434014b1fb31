"""Memory as one address space sees it: reads that go through the page tables, never through gdb's own."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gdbext.errors import MemoryUnavailable, NotMapped
from gdbext.machine.cpu import CpuState
from gdbext.machine.memory import PhysicalMemory
from gdbext.units import FRAME_SHIFT, FRAME_SIZE, WORD_MASK, PhysAddr, VirtAddr
from gdbext.x86.runs import Runs, joined, merged
from gdbext.x86.space import AddressSpace, Window, enumerate_space
from gdbext.x86.walk import translated, walk

FEW = 4
"""So many pages that a walk jumps to are translated one by one. For more, all that is mapped is enumerated once."""
BULK = 16 * FRAME_SIZE
"""From this size on a read enumerates the tables of its range at once instead of walking page by page."""

WINDOW = 32 << 20
"""The tables of so many bytes, aligned, are enumerated together: the ranges of many reads lie in one such window."""


@dataclass(frozen=True)
class Linear:
    """Virtual addresses from ``start`` to ``end`` (exclusive) that are ``shift`` above their physical addresses.

    ``buffer[0]`` is at ``start``, where the source can show memory without copying it; else ``buffer`` is None.
    """

    start: int
    end: int
    shift: int
    buffer: memoryview | None

    def copy(self, starts: NDArray[np.uint64], which: NDArray[np.int64], rows: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Fill those of the rows with what lies at their ``starts``; whether each lies whole in the buffer, and was."""
        width = rows.shape[1]
        if self.buffer is None or len(self.buffer) < width:
            return np.zeros(len(which), dtype=np.bool_)
        last = len(self.buffer) - width
        places = (starts[which] - np.uint64(self.start)).astype(np.int64)
        whole: NDArray[np.bool_] = (places >= 0) & (places <= last)
        windows = np.ndarray((last + 1, width), np.uint8, buffer=self.buffer, strides=(1, 1))  # one from every byte on
        rows[which[whole]] = windows[places[whole]]
        return whole


@dataclass
class Translations:
    """What has been found out about one root. Valid as long as the guest does not run.

    ``pages`` are physical addresses by number of page, ``linear`` stretches by number of their run, ``near`` the single
    pages that a walk came to first. ``runs`` is all that is mapped, contiguous, None before it has been looked at;
    ``folded`` says that there is more than they say.
    """

    pages: dict[int, PhysAddr] = field(default_factory=dict)
    linear: dict[int, Linear] = field(default_factory=dict)
    near: list[Linear] = field(default_factory=list)
    runs: Runs | None = None
    folded: bool = False


def window_of(first: VirtAddr, last: VirtAddr) -> Window:
    """The window that two addresses are in, and all between them."""
    return VirtAddr(first & -WINDOW), VirtAddr(last | (WINDOW - 1))


class PagedMemory:
    """A `VirtualMemory` over one root. Valid as long as the guest does not run: translations are kept.

    ``space`` enumerates what the root maps, all of it or in a window, where somebody does that already.
    """

    def __init__(
        self,
        memory: PhysicalMemory,
        cpu: CpuState,
        root: PhysAddr | None = None,
        space: Callable[[Window | None], AddressSpace] | None = None,
    ) -> None:
        self.physical = memory
        self.cpu = cpu
        self.root = root
        self._space = space or (lambda window: enumerate_space(memory, cpu, root, window))
        self._own = Translations()

    @property
    def _kept(self) -> Translations:
        return self._own

    def translate(self, address: VirtAddr) -> PhysAddr:
        """The physical address that a virtual address maps to; NotMapped when there is none."""
        page, offset = divmod(address, FRAME_SIZE)
        base = self._kept.pages.get(page)
        if base is None:
            base = self._kept.pages[page] = self._walk_to(VirtAddr(page * FRAME_SIZE), address)
        return PhysAddr(base + offset)

    def _walk_to(self, page: VirtAddr, wanted: VirtAddr) -> PhysAddr:
        physical = translated(self.physical, self.cpu, page, self.root)
        if physical is None:
            raise NotMapped(wanted, walk(self.physical, self.cpu, page, self.root).verdict)
        return physical

    def read(self, address: VirtAddr, size: int) -> bytes:
        """``size`` bytes; NotMapped with the first address that does not translate into RAM."""
        if 0 < size <= FRAME_SIZE - address % FRAME_SIZE:
            return self._read_piece(address, self.translate(address), size)
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
            self.seen(np.array([address - here.shift & WORD_MASK], dtype=np.uint64), (0, size))
            return bytes(here.buffer[address - here.start : address - here.start + size])
        return self.physical.read(PhysAddr(address - here.shift), size)

    @property
    def is_shown(self) -> bool:
        """Whether the source can show memory without copying it."""
        ranges = self.physical.ram.ranges
        return bool(ranges) and self.physical.view(ranges[0].start) is not None

    def seen(self, physical: NDArray[np.uint64], span: tuple[int, int]) -> None:
        """Report that the bytes of ``span`` from each of these physical addresses were read in a view."""
        if not len(physical):
            return
        inside = [*range(*span, FRAME_SIZE), span[1] - 1]  # an address in each frame
        places = [physical + np.uint64(offset & WORD_MASK) for offset in inside]
        self.physical.seen(np.unique(np.concatenate(places) >> np.uint64(FRAME_SHIFT)))

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

    def know_all(self) -> None:
        """Enumerate all that is mapped now, because many reads will follow."""
        kept = self._kept
        if kept.runs is not None:
            return
        if self.cpu.paging:
            space = self._space(None)
            kept.runs, kept.folded = space.contiguous, bool(space.aliases)
        else:
            ranges = self.physical.ram.ranges
            start = np.array([ram.start for ram in ranges], dtype=np.uint64)
            size = np.array([ram.end - ram.start for ram in ranges], dtype=np.uint64)
            kept.runs = Runs(start, size, start, np.zeros(len(ranges), dtype=np.uint32))

    def _within(self, address: VirtAddr, end: int) -> Runs:
        """The runs that have a part between two addresses."""
        runs = self._kept.runs
        if runs is None or self._kept.folded:
            runs = self._space(window_of(address, VirtAddr(end - 1))).contiguous
        low = int(np.searchsorted(runs.end, np.uint64(address)))
        return runs.take(np.arange(low, int(np.searchsorted(runs.start, np.uint64(end - 1), side="right"))))

    @property
    def _runs(self) -> Runs:
        """All that is mapped (nothing if some of it is folded); without paging all of RAM, at its own addresses."""
        self.know_all()
        runs = self._kept.runs
        assert runs is not None
        return joined([]) if self._kept.folded else runs

    def linear(self, address: VirtAddr) -> Linear:
        """The memory around an address, as far as it is contiguous in both kinds of addresses.

        For walks that jump about: reading from the result costs no translation. NotMapped where there is no RAM.
        """
        kept = self._kept
        if kept.runs is None and self.cpu.paging:
            near = next((here for here in kept.near if here.start <= address < here.end), None)
            if near is None and len(kept.near) < FEW:
                near = self._linear_near(address)
                kept.near.append(near)
            if near is not None:
                return near
        at = int(np.searchsorted(self._runs.start, np.uint64(address), side="right")) - 1
        known = kept.linear.get(at)
        if known is None or not known.start <= address < known.end:
            run = self._runs.around(address)
            known = kept.linear[at] = self._linear_page(address) if run is None else self._linear_within(address, *run)
        return known

    def stretches(self, addresses: NDArray[np.uint64]) -> Iterator[tuple[Linear, NDArray[np.int64]]]:
        """The memory around many addresses, each stretch with the indexes of those in it; without what is no RAM."""
        in_order = bool((addresses[1:] >= addresses[:-1]).all())
        order = np.arange(len(addresses)) if in_order else np.argsort(addresses)
        ordered, at = addresses if in_order else addresses[order], 0
        while at < len(addresses):
            start = int(ordered[at])
            try:
                here = self.linear(VirtAddr(start))
            except MemoryUnavailable:  # then nothing on that page can be read
                at = int(np.searchsorted(ordered, np.uint64(start | (FRAME_SIZE - 1)), side="right"))
                continue
            until = int(np.searchsorted(ordered, np.uint64(here.end - 1), side="right"))
            yield here, order[at:until]
            at = until

    def _linear_near(self, address: VirtAddr) -> Linear:
        """The memory around an address, as far as it is known without enumerating everything."""
        return self._linear_page(address)

    def _linear_page(self, address: VirtAddr) -> Linear:
        """The page that an address is in."""
        start = address - address % FRAME_SIZE
        shift = address - self.translate(address)
        self._read_piece(address, PhysAddr(address - shift), 1)  # raises the reason
        return self._linear_within(address, start, start + FRAME_SIZE, shift)

    def _linear_within(self, address: VirtAddr, start: int, end: int, shift: int) -> Linear:
        """What of a contiguous stretch is in the same range of RAM as an address."""
        ram = self.physical.ram.range_at(PhysAddr(address - shift))
        if ram is None:
            raise NotMapped(address, f"its physical address {address - shift:#x} is not RAM")
        start, end = max(start, ram.start + shift), min(end, ram.end + shift)
        view = self.physical.view(PhysAddr(start - shift))
        if view is None:
            return Linear(start, end, shift, None)
        offset = start - shift - view.start
        return Linear(start, end, shift, view.buffer[offset : offset + end - start])
