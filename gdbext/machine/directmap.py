"""Physical memory through the kernel's own linear map: for a debug stub that can read only virtual addresses."""

from collections.abc import Callable, Iterable, Sequence

from gdbext.errors import MemoryUnavailable, SourceFailed
from gdbext.machine.fetched import FetchedMemory
from gdbext.machine.memory import RamMap, RamRange
from gdbext.units import WORD_MASK, PhysAddr, VirtAddr, hex_address

EVERYWHERE = RamMap([RamRange(PhysAddr(0), PhysAddr(1 << 52))])
"""Every possible physical address: for the first reads, before it is known what is RAM."""


class DirectMapMemory(FetchedMemory):
    """A `PhysicalMemory` that reads physical address ``p`` at virtual address ``base + p``.

    ``read_virtual(address, size)`` is the debugger's own read; it raises MemoryUnavailable for what is not mapped.
    """

    name = "direct map"

    def __init__(self, ram: RamMap, base: VirtAddr, read_virtual: Callable[[VirtAddr, int], bytes]) -> None:
        super().__init__(ram)
        self._base = base
        self._read_virtual = read_virtual

    def _fetch(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        return [self._whole(address, size) for address, size in ranges]

    def _whole(self, address: int, size: int) -> bytes:
        try:
            data = self._read_virtual(VirtAddr((self._base + address) & WORD_MASK), size)
        except MemoryUnavailable as error:
            raise MemoryUnavailable(f"physical {hex_address(address)} through the direct map: {error}") from error
        if len(data) != size:
            raise SourceFailed(f"the debug stub returned {len(data)} of {size} bytes at {hex_address(address)}")
        return data


def ram_by_kind(
    ranges: Iterable[tuple[PhysAddr, PhysAddr, int]], usable: Iterable[int], holds: Iterable[int]
) -> RamMap:
    """What is RAM, by a kernel's boot map: ``(start, end, kind)`` each, ``end`` exclusive.

    A kind is RAM when an allocator may hand it out (``usable``), or when a range of it holds something that must
    be in RAM: one of the physical addresses ``holds`` (a page table, the kernel's image). Boot loaders give the
    kernel's image a kind of its own; any other range that they list may be a device.
    """
    listed = list(ranges)
    kinds = {kind for start, end, kind in listed if any(start <= address < end for address in holds)} | set(usable)
    joined: list[RamRange] = []
    for start, end in sorted((start, end) for start, end, kind in listed if kind in kinds and start < end):
        if joined and start <= joined[-1].end:
            joined[-1] = RamRange(joined[-1].start, max(joined[-1].end, end))
        else:
            joined.append(RamRange(start, end))
    return RamMap(joined)
