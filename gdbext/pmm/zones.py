"""Ranges of physical memory that a kernel distinguishes, such as those that a device with 24 address bits can reach."""

from dataclasses import dataclass

from gdbext.errors import DescriptionError, MemoryUnavailable
from gdbext.machine.memory import VirtualMemory
from gdbext.profile.expressions.expression import Expression
from gdbext.profile.language.ranges import Zones
from gdbext.structures.collections import read
from gdbext.structures.unread import Unread
from gdbext.units import PhysAddr, hex_address


@dataclass(frozen=True)
class Zone:
    """Physical addresses from ``start`` to ``end`` (exclusive)."""

    name: str
    start: PhysAddr
    end: PhysAddr


def read_zones(bound: Zones[Expression], memory: VirtualMemory) -> tuple[Zone, ...] | Unread:
    """The zones that a profile describes."""
    try:
        rows = read(bound.collection, memory, {"start": bound.start, "end": bound.end}, "zones").whole()
    except (MemoryUnavailable, DescriptionError) as error:
        return Unread("zones", "ranges", str(error), absent=False)
    return tuple(
        Zone(bound.names[i] if i < len(bound.names) else hex_address(start), PhysAddr(start), PhysAddr(end))
        for i, (start, end) in enumerate(zip(rows["start"].tolist(), rows["end"].tolist(), strict=True))
    )
