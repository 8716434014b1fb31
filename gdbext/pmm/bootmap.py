"""The boot memory map as the kernel keeps it: what is RAM that may be handed out, what somebody keeps for himself."""

from dataclasses import dataclass

from gdbext.errors import DescriptionError, MemoryUnavailable
from gdbext.machine.memory import VirtualMemory
from gdbext.profile.binding.bind import BoundArray, BoundBootMap
from gdbext.structures.unread import Unread
from gdbext.units import PhysAddr, VirtAddr

MOST_ENTRIES = 4096
"""A map of more entries than this is taken for a torn count."""


@dataclass(frozen=True)
class BootRange:
    """A physical range in bytes, ``end`` exclusive."""

    base: PhysAddr
    end: PhysAddr


@dataclass(frozen=True)
class BootEntry(BootRange):
    """An entry of the map, with the number that stands for its kind of memory."""

    type: int


@dataclass(frozen=True)
class BootMap:
    """What an allocator may hand out (``usable``), and of that what the kernel keeps for itself (``reserved``).

    ``reclaimable`` is what it may hand out later: when ``until``, an expression of the profile, is true.
    ``entries`` are those of the map, usable or not.
    """

    usable: tuple[BootRange, ...]
    reserved: tuple[BootRange, ...]
    reclaimable: tuple[BootRange, ...] = ()
    until: str = ""
    entries: tuple[BootEntry, ...] = ()


def read_boot_map(bound: BoundBootMap, memory: VirtualMemory) -> BootMap | Unread:
    """The map that a profile describes, its ranges in the kernel's own order."""
    try:
        kinds = [(bound.type.evaluate(memory, entry), ram) for entry, ram in _entries(bound.ranges, memory)]
        later = bound.reclaimable
        reclaimed = later is not None and bool(later.when.evaluate(memory))
        now = (*bound.usable, *(later.types if later and reclaimed else ()))
        usable = tuple(ram for kind, ram in kinds if kind in now)
        waiting = tuple(ram for kind, ram in kinds if later and not reclaimed and kind in later.types)
        reserved = tuple(ram for _, ram in _entries(bound.reserved, memory)) if bound.reserved else ()
    except (MemoryUnavailable, DescriptionError) as error:
        return Unread("boot map", "ranges", str(error), absent=False)
    if not usable:
        return Unread("boot map", "ranges", f"no usable range in it ({bound.ranges.count.text} ranges)", absent=True)
    entries = tuple(BootEntry(ram.base, ram.end, kind) for kind, ram in kinds)
    return BootMap(usable, reserved, waiting, later.when.text if later else "", entries)


def _entries(array: BoundArray, memory: VirtualMemory) -> list[tuple[VirtAddr, BootRange]]:
    """Each entry's address with the range that it holds."""
    count = array.count.evaluate(memory)
    if not 0 <= count <= MOST_ENTRIES:
        raise MemoryUnavailable(f"{array.count.text} is {count}, which cannot be a number of ranges")
    start = array.entries.evaluate(memory)
    found = []
    for index in range(count):
        entry = VirtAddr(start + index * array.stride)
        base = array.base.evaluate(memory, entry)
        found.append((entry, BootRange(PhysAddr(base), PhysAddr(base + array.length.evaluate(memory, entry)))))
    return found
