"""One frame of physical memory: its state in the managers, its owners and mappings, and whether these agree."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from gdbext.checks.finding import CheckReport, Finding, run_rules
from gdbext.checks.physical.inputs import PhysicalRange, PmmInputs
from gdbext.checks.physical.managers import PMM_RULES
from gdbext.machine.memory import PhysicalMemory
from gdbext.pmm.bootmap import BootEntry, BootMap, BootRange
from gdbext.pmm.frames import FrameSet
from gdbext.pmm.page_records import PageRecord
from gdbext.pmm.record import FrameRecord, frame_record
from gdbext.pmm.snapshot import PmmSnapshot, touched
from gdbext.pmm.zones import Zone
from gdbext.structures.unread import Unread
from gdbext.units import FRAME_SIZE, WORD_MASK, Pfn, PhysAddr, VirtAddr, pfn_of
from gdbext.vmm.find import Found
from gdbext.x86.space import AddressSpace

LISTED = 32
"""At most this many mappings, and this many entries that point to a table, are listed."""
CONTENT = 64
"""The number of a frame's first bytes that are shown."""


@dataclass(frozen=True)
class TableUse:
    """A space that uses the frame as a table of ``level``, first for the virtual address ``start``.

    ``entries`` are the physical addresses of the entries that point to it, the first of ``entry_count``; for the root,
    which CR3 points to, there are none.
    """

    space: str
    level: int
    start: VirtAddr
    entries: tuple[PhysAddr, ...]
    entry_count: int


@dataclass(frozen=True)
class Origin:
    """What the boot map says about the frame: its entry of this ``type`` is ``usable``, ``reclaimable`` (later) or
    ``not usable``, or the kernel lists the range as ``reserved``.
    """

    base: PhysAddr
    end: PhysAddr
    use: str
    type: int | None


@dataclass(frozen=True)
class Frame:
    """Everything known about the frame at ``start``, whose number is ``pfn``.

    ``zones`` are those that contain it, ``boot`` what the boot map and the kernel's list of reserved ranges say about
    it, ``record`` is the kernel's own record of it. ``found`` has the mappings (None without paging), the first of
    ``mapping_count``; ``direct_map`` is its address in the direct map. ``content`` are its first bytes in hexadecimal,
    None where there is no RAM. ``findings`` are the managers' rules that this frame breaks, ``verdict`` sums them up in
    one line, ``left_out`` says what could not be determined.
    """

    pfn: Pfn
    start: PhysAddr
    end: PhysAddr
    is_ram: bool
    verdict: str
    boot: tuple[Origin, ...]
    zones: tuple[str, ...]
    managers: tuple[FrameRecord | Unread, ...]
    owners: tuple[PhysicalRange, ...]
    tables: tuple[TableUse, ...]
    record: PageRecord | None
    found: Found | None
    mapping_count: int
    direct_map: VirtAddr | None
    content: str | None
    findings: tuple[Finding, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class FrameInputs:
    """The inputs of a frame's description.

    ``report`` has the rules' findings about the frame; ``record``, ``found`` and ``tables`` are about it too, the rest
    is about all of memory. ``direct_map`` is the virtual address of physical address 0.
    """

    managers: tuple[PmmSnapshot | Unread, ...]
    report: CheckReport
    owners: tuple[PhysicalRange, ...]
    boot_map: BootMap | Unread | None
    zones: tuple[Zone, ...] | Unread
    record: PageRecord | None
    found: Found | None
    tables: tuple[TableUse, ...]
    direct_map: VirtAddr | None
    memory: PhysicalMemory
    left_out: tuple[str, ...]


def describe_frame(start: PhysAddr, inputs: FrameInputs) -> Frame:
    """Describe the frame that begins at a physical address."""
    end, found = PhysAddr(start + FRAME_SIZE), inputs.found
    reaches = found.reaches if found else ()
    direct = None if inputs.direct_map is None else VirtAddr((inputs.direct_map + start) & WORD_MASK)
    is_ram = bool(inputs.memory.ram.holds_frames(np.array([pfn_of(start)], dtype=np.uint64)).all())
    zones = inputs.zones if isinstance(inputs.zones, tuple) else ()
    frame = Frame(
        pfn=pfn_of(start),
        start=start,
        end=end,
        is_ram=is_ram,
        verdict="",
        boot=_origins(inputs.boot_map, start, end),
        zones=tuple(zone.name for zone in zones if zone.start < end and zone.end > start),
        managers=tuple(m if isinstance(m, Unread) else frame_record(m, start) for m in inputs.managers),
        owners=_owners_of(inputs.owners, start, end),
        tables=inputs.tables,
        record=inputs.record,
        found=replace(found, reaches=reaches[:LISTED]) if found else None,
        mapping_count=len(reaches),
        direct_map=direct if any(reach.mapping.start == direct for reach in reaches) else None,
        content=inputs.memory.read(start, CONTENT).hex() if is_ram else None,
        findings=inputs.report.findings,
        left_out=tuple(dict.fromkeys((*inputs.left_out, *(s.why for s in inputs.report.skipped if s.partly)))),
    )
    return replace(frame, verdict=_verdict(frame))


def table_uses(spaces: Iterable[tuple[str, AddressSpace]], frame: PhysAddr) -> tuple[TableUse, ...]:
    """The spaces that use a frame as a table, at which level, and the entries that point to it."""
    uses: list[TableUse] = []
    for name, space in spaces:
        if space.root // FRAME_SIZE == frame // FRAME_SIZE:
            uses.append(TableUse(name, len(space.level_spans), VirtAddr(0), (), 0))
        links = space.links
        here = links.table // np.uint64(FRAME_SIZE) == np.uint64(frame // FRAME_SIZE)
        for level in np.unique(links.level[here]).tolist():
            at = np.flatnonzero(here & (links.level == level))
            entries = tuple(PhysAddr(entry) for entry in links.entry[at[:LISTED]].tolist())
            uses.append(TableUse(name, level, VirtAddr(int(links.start[at].min())), entries, len(at)))
    return tuple(uses)


def _origins(boot_map: BootMap | Unread | None, start: PhysAddr, end: PhysAddr) -> tuple[Origin, ...]:
    """What a boot map says about a physical range."""
    if not isinstance(boot_map, BootMap):
        return ()
    uses = {(r.base, r.end): "reclaimable" for r in boot_map.reclaimable}
    uses |= {(r.base, r.end): "usable" for r in boot_map.usable}
    said = [_origin(entry, uses.get((entry.base, entry.end), "not usable")) for entry in boot_map.entries]
    said += [_origin(kept, "reserved") for kept in boot_map.reserved]
    return tuple(origin for origin in said if origin.base < end and origin.end > start)


def _origin(found: BootRange, use: str) -> Origin:
    return Origin(found.base, found.end, use, found.type if isinstance(found, BootEntry) else None)


def _owners_of(owners: Iterable[PhysicalRange], start: PhysAddr, end: PhysAddr) -> tuple[PhysicalRange, ...]:
    """The owners of any part of a physical range, each once."""
    return tuple(dict.fromkeys(used for used in owners if used.start < end and used.end > start))


def check_frame(inputs: PmmInputs, start: PhysAddr) -> CheckReport:
    """Check the rules of a manager that one frame can break, for its frame (of any size) at ``start`` only."""
    manager, boot_map = inputs.manager, inputs.boot_map
    first, behind = touched(manager, start, PhysAddr(start + FRAME_SIZE))
    start, end = manager.frame_address(first), manager.frame_address(behind)
    mine = FrameSet.of_ranges([(first, behind)], manager.count)
    own = _owners_of(inputs.metadata, start, end)
    said = inputs.recorded
    narrow = replace(
        inputs,
        manager=replace(manager, free=manager.free & mine),
        metadata=tuple(replace(used, start=max(used.start, start), end=min(used.end, end)) for used in own),
        recorded=said and replace(said, free=said.free & mine),
    )
    chosen = {"PMM02", "PMM03", "PMM04", "PMM06"}
    if isinstance(boot_map, BootMap):
        usable, later = _cut(boot_map.usable, start, end), _cut(boot_map.reclaimable, start, end)
        narrow = replace(narrow, boot_map=replace(boot_map, usable=usable, reclaimable=later))
        chosen |= {"PMM05"} if usable else set()
    rules = [rule for rule in PMM_RULES if rule.id in chosen]
    return run_rules(rules, narrow, in_flux=manager.in_flux)


def about_frame(report: CheckReport, start: PhysAddr, told: CheckReport) -> CheckReport:
    """What a report on all frames says about the frame at ``start``, without the findings that ``told`` has."""
    known = {(finding.id, finding.actual) for finding in told.findings}
    findings = tuple(
        finding
        for finding in report.findings
        if finding.subject == "frame"
        and finding.address is not None
        and start <= finding.address < start + FRAME_SIZE
        and (finding.id, finding.actual) not in known
    )
    return replace(report, findings=findings, skipped=())


def _cut(ranges: Iterable[BootRange], start: PhysAddr, end: PhysAddr) -> tuple[BootRange, ...]:
    """The parts of ranges that are inside another."""
    return tuple(BootRange(max(r.base, start), min(r.end, end)) for r in ranges if r.base < end and r.end > start)


def _verdict(frame: Frame) -> str:
    """The frame in one line: the contradiction, if there is one, or else its state and its users."""
    state = _state(frame)
    if frame.findings:
        first = frame.findings[0]
        rules = ", ".join(dict.fromkeys(finding.id for finding in frame.findings))
        return f"{rules} broken ({first.title}): {first.actual}"
    if not frame.is_ram:
        return f"no RAM at this address, {state}"
    if frame.owners:
        return f"{state}: {frame.owners[0].use}"
    if state == "free":
        return "free, and no user of it is known"
    kept = any(origin.use != "usable" for origin in frame.boot)
    return state + (": not available to the allocator" if kept else ": owner unknown")


def _state(frame: Frame) -> str:
    """The state in the manager that has the frame."""
    states = [found.state for found in frame.managers if isinstance(found, FrameRecord)]
    known = [state for state in states if state != "unmanaged"]
    return known[0] if known else "unmanaged" if states else "state unknown"
