"""The boot memory map as the kernel keeps it: the RAM that may be handed out, and the ranges reserved from it."""

from dataclasses import dataclass

from gdbext.errors import DescriptionError, MemoryUnavailable
from gdbext.machine.memory import VirtualMemory
from gdbext.profile.expressions.expression import Expression
from gdbext.profile.language.ranges import BootMap as Described
from gdbext.profile.language.ranges import PhysicalRanges
from gdbext.structures.collections import Rows, read
from gdbext.structures.unread import Unread
from gdbext.units import PhysAddr

BoundBootMap = Described[Expression]


@dataclass(frozen=True)
class BootRange:
    """A physical range in bytes, ``end`` exclusive."""

    base: PhysAddr
    end: PhysAddr


@dataclass(frozen=True)
class BootEntry(BootRange):
    """An entry of the map, with the number of its kind of memory."""

    type: int


@dataclass(frozen=True)
class BootMap:
    """The ranges that an allocator may hand out (``usable``), except those that the kernel keeps (``reserved``).

    ``reclaimable`` are those that it may hand out later: when ``until``, an expression of the profile, is true.
    ``entries`` are all entries of the map, usable or not.
    """

    usable: tuple[BootRange, ...]
    reserved: tuple[BootRange, ...]
    reclaimable: tuple[BootRange, ...] = ()
    until: str = ""
    entries: tuple[BootEntry, ...] = ()


def read_boot_map(bound: BoundBootMap, memory: VirtualMemory) -> BootMap | Unread:
    """The map that a profile describes, with its ranges in the kernel's own order."""
    later = bound.reclaimable
    try:
        entries = read_entries(bound, memory)
        reclaimed = later is not None and bool(later.when.evaluate(memory))
        reserved = () if bound.reserved is None else _ranges(bound.reserved, memory, {})[0]
    except (MemoryUnavailable, DescriptionError) as error:
        return Unread("boot map", "ranges", str(error), absent=False)
    at_once, in_time = _types(bound.usable), _types(later.types if later else ())
    usable = _of_types(entries, at_once | in_time if reclaimed else at_once)
    if not usable:
        return Unread("boot map", "ranges", f"none of its {len(entries)} ranges is usable", absent=True)
    waiting = () if reclaimed else _of_types(entries, in_time)
    return BootMap(usable, reserved, waiting, later.when.text if later else "", entries)


def read_entries(bound: BoundBootMap, memory: VirtualMemory) -> tuple[BootEntry, ...]:
    """The ranges of the map with their types. Raises MemoryUnavailable if not all of it can be read."""
    ranges, rows = _ranges(bound, memory, {"type": bound.type})
    return tuple(BootEntry(ram.base, ram.end, kind) for ram, kind in zip(ranges, rows["type"].tolist(), strict=True))


def _ranges(
    bound: PhysicalRanges[Expression], memory: VirtualMemory, more: dict[str, Expression]
) -> tuple[tuple[BootRange, ...], Rows]:
    """Physical ranges, and the rows with further columns of them."""
    rows = read(bound.collection, memory, {"base": bound.base, "length": bound.length, **more}, "ranges").whole()
    both = zip(rows["base"].tolist(), rows["length"].tolist(), strict=True)
    return tuple(BootRange(PhysAddr(base), PhysAddr(base + length)) for base, length in both), rows


def _types(constants: tuple[Expression, ...]) -> set[int | None]:
    return {expression.constant for expression in constants}


def _of_types(entries: tuple[BootEntry, ...], types: set[int | None]) -> tuple[BootRange, ...]:
    return tuple(BootRange(entry.base, entry.end) for entry in entries if entry.type in types)
