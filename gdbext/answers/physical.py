"""The answers of the commands about physical memory and its managers."""

import re

from gdbext.checks.physical.frame import Frame
from gdbext.commands.record import Arguments
from gdbext.errors import UsageError
from gdbext.pmm.lists import FreeList, ListSnapshot
from gdbext.pmm.snapshot import PmmSnapshot
from gdbext.pmm.stat import PmmDump, Window, pmm_dump
from gdbext.report.results import PmmDumps, PmmMap, PmmStats
from gdbext.session import Session
from gdbext.structures.unread import Unread
from gdbext.units import FRAME_SIZE, PhysAddr, hex_address, round_down

Managers = tuple[PmmSnapshot | Unread, ...]


def pmmstat(session: Session, arguments: Arguments) -> PmmStats:
    """Count the frames of every physical manager."""
    report = session.physical.check()
    return PmmStats(session.physical.stats(), report.findings, report.checked, report.skipped, session.problems)


def pmmdump(session: Session, arguments: Arguments) -> PmmDumps | PmmMap:
    """List what a physical manager holds, or draw its map."""
    managers = session.physical.chosen(arguments.text("MANAGER"))
    window, name = _range(session, arguments), arguments.text("-zone")
    zone = _zone(session, managers, name) if name is not None else None
    within = _both(window, zone, f"-range and -zone {name}") if zone else window
    if arguments.has("-map"):
        if name is not None and zone is None:
            raise UsageError(f"-map draws a range of addresses, but '{name}' is a list that may hold any address")
        return _map(session, managers, within)
    return PmmDumps(tuple(_dump(manager, name, window, within) for manager in managers))


def _range(session: Session, arguments: Arguments) -> Window | None:
    """The physical addresses that ``-range`` names."""
    bounds = arguments.options.get("-range")
    if not bounds:
        return None
    start, end = (session.evaluate(text) for text in bounds)
    if start >= end:
        raise UsageError(f"-range {bounds[0]} {bounds[1]} is empty: its start is not below its end")
    return PhysAddr(start), PhysAddr(end)


def _zone(session: Session, managers: Managers, name: str) -> Window | None:
    """The physical addresses of the zone or list of this name; None for a list that may hold any."""
    zones = session.physical.zones if isinstance(session.physical.zones, tuple) else ()
    bounds: dict[str, Window | None] = {zone.name: (zone.start, zone.end) for zone in zones}
    for found in (found for manager in managers for found in _lists(manager)):
        bounds.setdefault(found.name, None if found.end is None else (found.start or PhysAddr(0), found.end))
    if name in bounds:
        return bounds[name]
    if isinstance(session.physical.zones, Unread):
        raise UsageError(f"-zone {name}: the zones cannot be read: {session.physical.zones.why}")
    there = f"there are {', '.join(bounds)}" if bounds else "the profile describes none; add [zones]"
    raise UsageError(f"there is no zone '{name}'; {there}")


def _lists(manager: PmmSnapshot | Unread) -> tuple[FreeList, ...]:
    return manager.lists if isinstance(manager, ListSnapshot) else ()


def _both(window: Window | None, zone: Window, what: str) -> Window:
    """The addresses that are in both."""
    if window is None:
        return zone
    start, end = max(window[0], zone[0]), min(window[1], zone[1])
    if start >= end:
        raise UsageError(f"{what} have no address in common: {hex_address(zone[0])}-{hex_address(zone[1])}")
    return start, end


def _dump(
    manager: PmmSnapshot | Unread, name: str | None, window: Window | None, within: Window | None
) -> PmmDump | Unread:
    """A manager's contents; of a list that is named, every entry, even if it belongs in another list."""
    if isinstance(manager, Unread):
        return manager
    if name in {found.name for found in _lists(manager)}:
        return pmm_dump(manager, window, name)
    return pmm_dump(manager, within)


def _map(session: Session, managers: Managers, window: Window | None) -> PmmMap:
    readable = [manager for manager in managers if isinstance(manager, PmmSnapshot)]
    return PmmMap(
        tuple(manager.name for manager in readable),
        tuple(manager for manager in managers if isinstance(manager, Unread)),
        session.physical.map(readable, window) if readable else None,
    )


_BY_NUMBER = re.compile(r"pfn\s*=(?!=)")


def pmmframe(session: Session, arguments: Arguments) -> Frame:
    """Show everything known about one frame."""
    text = arguments.text("PA") or ""
    numbered = _BY_NUMBER.match(text)
    expression = text[numbered.end() :].strip() if numbered else text
    if not expression:
        raise UsageError(f"pmmframe: give a frame number after {text}")
    value = session.evaluate(expression)
    address = value * FRAME_SIZE if numbered else value
    bits = session.machine.cpu.phys_bits
    if address >> bits:
        what = f"pfn={value:#x}" if numbered else hex_address(value)
        raise UsageError(f"{what} is beyond physical memory: this processor's addresses have {bits} bits")
    return session.physical.frame(PhysAddr(round_down(address, FRAME_SIZE)))
