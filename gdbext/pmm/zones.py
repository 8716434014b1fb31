"""Ranges of physical memory that a kernel tells apart, such as what a device with 24 address bits can reach."""

from dataclasses import dataclass

from gdbext.errors import DescriptionError, MemoryUnavailable
from gdbext.machine.memory import VirtualMemory
from gdbext.pmm.snapshot import elements
from gdbext.profile.binding.bind import BoundZones
from gdbext.structures.unread import Unread
from gdbext.units import PhysAddr, hex_address

MOST_ZONES = 256


@dataclass(frozen=True)
class Zone:
    """Physical addresses from ``start`` to ``end`` (exclusive)."""

    name: str
    start: PhysAddr
    end: PhysAddr


def read_zones(bound: BoundZones, memory: VirtualMemory) -> tuple[Zone, ...] | Unread:
    """The zones that a profile describes."""
    try:
        count = bound.count.evaluate(memory)
        places = elements(bound.entries.evaluate(memory), count, bound.stride, bound.count.text, MOST_ZONES)
        found = [(bound.start.evaluate(memory, at), bound.end.evaluate(memory, at)) for at in places]
    except (MemoryUnavailable, DescriptionError) as error:
        return Unread("zones", "ranges", str(error), absent=False)
    return tuple(
        Zone(bound.names[i] if i < len(bound.names) else hex_address(start), PhysAddr(start), PhysAddr(end))
        for i, (start, end) in enumerate(found)
    )
