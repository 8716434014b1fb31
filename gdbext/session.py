"""One stopped machine with its kernel's symbols and profile: what every command asks, each thing read once."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from gdbext.checks.finding import CheckReport, Finding, Severity, Skipped, combined, not_looked_at, run_rules
from gdbext.checks.heaps.chunks import heap_rules, report_unread_heap
from gdbext.checks.heaps.heap_map import HeapMap, heap_map
from gdbext.checks.heaps.inputs import HeapInputs
from gdbext.checks.heaps.leaks import LEAK_RULES, FoundLeaks, LeakInputs, Leaks, find_leaks
from gdbext.checks.heaps.places import HeapPlace, heap_place_rules
from gdbext.checks.heaps.pointers import PointerInputs, find_pointers
from gdbext.checks.physical.frame import Frame, FrameInputs, about_frame, check_frame, describe_frame, table_uses
from gdbext.checks.physical.frame_map import FrameMap, FrameMapInputs, frame_map
from gdbext.checks.physical.inputs import PhysicalRange, PmmInputs, Recorded
from gdbext.checks.physical.managers import pmm_rules, report_unread, reserved_frames
from gdbext.checks.physical.owners import OwnerInputs, owner_rules
from gdbext.checks.physical.uses import FrameUses, frame_uses, physical_ranges
from gdbext.checks.translation.paging import PAGING_RULES, PagingInputs
from gdbext.errors import DescriptionError, MemoryUnavailable, UsageError
from gdbext.heap.callers import CallerNames, names_of_code
from gdbext.heap.read import is_there, read_heap
from gdbext.heap.read import kind_of as kind_of_heap
from gdbext.heap.snapshot import HeapSnapshot
from gdbext.machine.cpu import CpuState, DescriptorRegisters
from gdbext.machine.memory import PhysicalMemory
from gdbext.machine.source import Considered
from gdbext.machine.tables import GeneralRegisters, ProcessorRoot
from gdbext.pmm.bootmap import BootMap, read_boot_map
from gdbext.pmm.owners import BuffersSnapshot, HeldSnapshot, read_buffers, read_held
from gdbext.pmm.page_records import PageRecord, PageRecordsSnapshot, read_page_records
from gdbext.pmm.read import kind_of, read_pmm, serves
from gdbext.pmm.snapshot import PmmSnapshot
from gdbext.pmm.stat import PmmStat, Window, pmm_stat
from gdbext.pmm.zones import Zone, read_zones
from gdbext.profile.binding.bind import BoundProfile
from gdbext.profile.choice import ProfileChoice
from gdbext.profile.expressions.expression import Expression
from gdbext.structures.unread import NONE_SERVES, Unread
from gdbext.symbols.model import Symbols
from gdbext.units import FRAME_SHIFT, FRAME_SIZE, PhysAddr, VirtAddr, hex_address
from gdbext.vmm.faults import last_fault
from gdbext.vmm.find import find
from gdbext.vmm.map import Names
from gdbext.x86.descriptors import DescriptorTables, read_tables
from gdbext.x86.fault import Report
from gdbext.x86.modes import paging_mode
from gdbext.x86.runs import Runs
from gdbext.x86.space import AddressSpace, enumerate_space
from gdbext.x86.virtual import PagedMemory
from gdbext.x86.walk import Walk, walk

_R = TypeVar("_R")
_T = TypeVar("_T", PmmSnapshot | Unread, HeapSnapshot | Unread)


def _read(found: tuple[_R | Unread, ...]) -> tuple[_R, ...]:
    """Those that could be read."""
    return tuple(one for one in found if not isinstance(one, Unread))


def _unknown() -> DescriptorRegisters:
    raise MemoryUnavailable("this machine does not tell where its descriptor tables are")


@dataclass(frozen=True)
class Machine:
    """A stopped machine: its memory, the selected processor, and how its memory was come by.

    ``descriptors`` asks where the processor's tables are (MemoryUnavailable when nobody tells), ``roots`` which roots
    the other processors have loaded, ``registers`` what is in the general registers of all.
    """

    memory: PhysicalMemory
    cpu: CpuState
    considered: tuple[Considered, ...]
    descriptors: Callable[[], DescriptorRegisters] = _unknown
    roots: Callable[[], tuple[ProcessorRoot, ...]] = tuple
    registers: Callable[[], GeneralRegisters] = GeneralRegisters


class Session:
    """A snapshot: valid until the guest runs, cheap to make again at the next stop.

    What costs something, or may be missing, is asked for when it is first needed: ``machine`` returns it, or raises
    the error that a person is to read. ``elf`` is the kernel's file, None when none is loaded. ``evaluate`` takes
    an expression that a person typed to an unsigned 64-bit number.
    """

    def __init__(
        self,
        machine: Callable[[], Machine],
        symbols: Symbols,
        elf: Path | None,
        profiles: ProfileChoice,
        evaluate: Callable[[str], int],
    ) -> None:
        self._machine = machine
        self.symbols = symbols
        self.elf = elf
        self.profiles = profiles
        self.evaluate = evaluate
        self._spaces: dict[PhysAddr | None, AddressSpace] = {}

    @cached_property
    def machine(self) -> Machine:
        """The stopped machine; MemoryUnavailable or UsageError when there is none to ask."""
        return self._machine()

    @cached_property
    def profile(self) -> BoundProfile:
        """The kernel's description; DescriptionError when there is none, or it cannot be read."""
        return self.profiles.bound(self.symbols, self.elf)

    @cached_property
    def virtual(self) -> PagedMemory:
        """Memory as the selected processor sees it."""
        return PagedMemory(self.machine.memory, self.machine.cpu)

    @cached_property
    def names(self) -> Names:
        """What mappings can be named by. Works without a profile too."""
        base, why = self.direct_map, "the profile names no direct map (address.direct_map)"
        if base is not None and self.machine.cpu.paging and not self._maps_linearly(base):
            why = f"address.direct_map is {hex_address(base)}, and no RAM is mapped in order from there"
            base = None
        return Names(base, why, self.symbols.sections(), self.machine.memory.ram)

    @cached_property
    def direct_map(self) -> VirtAddr | None:
        """Where the kernel maps physical address 0, if the profile says so and it can be read."""
        try:
            bound = self.profile.direct_map
            return VirtAddr(self.value(bound)) if bound else None
        except (DescriptionError, MemoryUnavailable, UsageError):
            return None  # no profile, or one whose variable cannot be read yet: mappings then go without this name

    def value(self, expression: Expression) -> int:
        """What an expression of the profile amounts to now; a constant needs no machine. Raises as ``machine`` does."""
        constant = expression.constant
        return expression.evaluate(self.virtual) if constant is None else constant

    def _maps_linearly(self, base: VirtAddr) -> bool:
        """Whether some RAM is mapped at its place in a direct map from ``base``."""
        runs = self.space().runs
        return bool((runs.start - runs.physical == np.uint64(base)).any())

    def walk(self, address: int, root: PhysAddr | None = None) -> Walk:
        """The walk of one address."""
        return walk(self.machine.memory, self.machine.cpu, address, root)

    def space(self, root: PhysAddr | None = None, window: tuple[VirtAddr, VirtAddr] | None = None) -> AddressSpace:
        """Everything that a root maps (within a window of addresses)."""
        if window is not None:
            return enumerate_space(self.machine.memory, self.machine.cpu, root, window)
        if root not in self._spaces:
            self._spaces[root] = enumerate_space(self.machine.memory, self.machine.cpu, root)
            if root is None:
                self.virtual.know(self._spaces[root])
        return self._spaces[root]

    @cached_property
    def pmm(self) -> tuple[PmmSnapshot | Unread, ...]:
        """The physical managers that serve, read as far as they can be."""
        self._require("pmm", bool(self.profile.pmm), "physical memory manager")
        ram = self.machine.memory.ram
        direct_map = self.direct_map if self.machine.cpu.paging else VirtAddr(0)  # without, addresses are physical
        found = [read_pmm(m, self.virtual, ram, direct_map) for m in self.profile.pmm if serves(m, self.virtual)]
        if not found:
            found = [Unread(self.profile.pmm[0].name, kind_of(self.profile.pmm[0]), NONE_SERVES, absent=True)]
        return tuple(self._excused(manager) for manager in found)

    @cached_property
    def zones(self) -> tuple[Zone, ...] | Unread:
        """The ranges of physical memory that the kernel tells apart; none when no profile names them."""
        return read_zones(self.profile.zones, self.virtual) if self.profile.zones else ()

    @cached_property
    def page_records(self) -> PageRecordsSnapshot | Unread | None:
        """What the kernel records about each frame; None when no profile says."""
        described = self.profile.page_records if self._has_profile() else None
        return self._excused(read_page_records(described, self.virtual, self.machine.memory.ram)) if described else None

    def page_record(self, address: PhysAddr) -> PageRecord | None:
        """The kernel's record of the frame at a physical address, if it has one that can be read."""
        records = self.page_records
        return records.record_of(address, self.virtual) if isinstance(records, PageRecordsSnapshot) else None

    @cached_property
    def buffers(self) -> tuple[BuffersSnapshot | Unread, ...]:
        """The buffers of devices, as far as the profile names them."""
        tables = self.profile.dma if self._has_profile() else ()
        return tuple(self._excused(read_buffers(table, self.virtual, self.machine.memory.ram)) for table in tables)

    @cached_property
    def held(self) -> tuple[HeldSnapshot | Unread, ...]:
        """The frames that somebody keeps by number, as far as the profile names them."""
        tables = self.profile.held if self._has_profile() else ()
        return tuple(self._excused(read_held(table, self.virtual)) for table in tables)

    @cached_property
    def heaps(self) -> tuple[HeapSnapshot | Unread, ...]:
        """The heaps, read as far as they can be."""
        self._require("heap", bool(self.profile.heap), "heap")
        found = [read_heap(heap, self.virtual) for heap in self.profile.heap if is_there(heap, self.virtual)]
        if not found:
            first = self.profile.heap[0]
            found = [Unread(first.name, kind_of_heap(first), NONE_SERVES, absent=True)]
        return tuple(self._excused(heap) for heap in found)

    def _excused(self, manager: _R) -> _R | Unread:
        """A manager as it was read; without paging it is no fault that the kernel's addresses lead nowhere."""
        if isinstance(manager, Unread) and not self.machine.cpu.paging:
            return replace(manager, why=f"paging is off on the selected processor: {manager.why}", absent=True)
        return manager

    def chosen_heaps(self, name: str | None) -> tuple[HeapSnapshot | Unread, ...]:
        """All heaps, or the one of this name; UsageError names those that there are."""
        return _chosen("heap", name, self.heaps)

    def chosen_pmm(self, name: str | None) -> tuple[PmmSnapshot | Unread, ...]:
        """All physical managers, or the one of this name; UsageError names those that there are."""
        return _chosen("physical manager", name, self.pmm)

    def _require(self, table: str, found: bool, what: str) -> None:
        """Raise when no part of the profile's ``table`` fits the kernel, or it has none."""
        if found:
            return
        for problem in self.profile.problems:
            if f"({table}." in problem.where:
                raise problem
        raise DescriptionError(f"the profile '{self.profile.kernel.name}' describes no {what} ([{table}.NAME])")

    @cached_property
    def problems(self) -> tuple[str, ...]:
        """What of the profile does not fit the kernel, and is therefore left out."""
        return tuple(str(problem) for problem in self.profile.problems) if self._has_profile() else ()

    @cached_property
    def boot_map(self) -> BootMap | Unread | None:
        """The kernel's boot memory map, None when no profile names one."""
        bound = self.profile.boot_map if self._has_profile() else None
        return read_boot_map(bound, self.virtual) if bound else None

    def check_pmm(self) -> CheckReport:
        """The rules of every physical manager."""
        return self._adjusted(combined((*(self._pmm_report(manager) for manager in self.pmm), self._owner_report())))

    def _owner_report(self) -> CheckReport:
        """The rules of what the kernel records about frames and buffers."""
        found = [one for one in (self.page_records, *self.buffers, *self.held) if isinstance(one, Unread)]
        inputs = OwnerInputs(
            records=self.page_records if isinstance(self.page_records, PageRecordsSnapshot) else None,
            buffers=_read(self.buffers),
            held=_read(self.held),
            unread=tuple(one for one in found if not one.absent),
            ram=self.machine.memory.ram,
            memory=self.virtual,
        )
        return run_rules(owner_rules(inputs), inputs)

    def _pmm_report(self, manager: PmmSnapshot | Unread) -> CheckReport:
        if isinstance(manager, Unread):
            return report_unread(manager)
        return run_rules(pmm_rules(manager), self._pmm_inputs(manager), in_flux=manager.in_flux)

    def check_heaps(self, name: str | None = None) -> CheckReport:
        """The rules of every heap, or of one."""
        return self._adjusted(combined(self._heap_report(heap) for heap in self.chosen_heaps(name)))

    def _heap_report(self, heap: HeapSnapshot | Unread) -> CheckReport:
        if isinstance(heap, Unread):
            return report_unread_heap(heap)
        there = {other.name: other for other in self.heaps}
        parent = next((there[name] for name in heap.parent if name in there), None)
        place = HeapPlace(heap, self._mapped(), parent)
        in_flux = heap.in_flux or (isinstance(place.parent, HeapSnapshot) and place.parent.in_flux)
        places = run_rules(heap_place_rules(heap), place, in_flux=in_flux)
        if any(finding.id == "HEAP68" for finding in places.findings):
            why = f"the memory of '{heap.name}' is another's (HEAP68), so what is in it says nothing"
            return combined((places, not_looked_at(heap_rules(heap), why)))
        return combined((run_rules(heap_rules(heap), HeapInputs(heap, self.virtual), in_flux=heap.in_flux), places))

    @cached_property
    def code_names(self) -> CallerNames:
        """What to call the code at a return address."""
        return names_of_code(self.symbols)

    def leaks(self, name: str | None = None) -> Leaks:
        """The chunks of all heaps, or of one, that nothing leads to."""
        heaps, readable = self.heaps, _read(self.heaps)
        bound = tuple(heap for heap in self.profile.heap if heap.name in {one.name for one in readable})
        if self.machine.cpu.paging:
            self.space()  # all that is mapped is looked at once, not for each range anew
        sources = find_pointers(
            PointerInputs(self.symbols, self.profile.pointers, self.machine.registers(), readable, bound, self.virtual)
        )
        width = 8 if self.machine.cpu.long_mode else 4
        return find_leaks(LeakInputs(heaps, sources, self.virtual, width, self.direct_map, self.code_names), name)

    def check_leaks(self, leaks: Leaks) -> CheckReport:
        """What the search for leaks has found, as the rule HEAP70."""
        absent = "there is no heap whose chunks are seen" if not _read(self.heaps) else None
        return self._adjusted(run_rules(LEAK_RULES, FoundLeaks(leaks, self.virtual, absent), in_flux=leaks.in_flux))

    def _mapped(self) -> Runs | None:
        """All that the selected processor maps; None when paging is off."""
        return self.space().runs if self.machine.cpu.paging else None

    def heap_map(self, heap: HeapSnapshot, window: tuple[int, int] | None = None) -> HeapMap | Unread:
        """What a heap's addresses are, or those of them in a window."""
        return heap_map(heap, self._mapped(), window)

    def check_paging(self, root: PhysAddr | None = None) -> CheckReport:
        """The rules of a root's page tables (default: CR3's). Needs neither symbols nor profile, uses them if there."""
        if not self.machine.cpu.paging:
            return not_looked_at(PAGING_RULES, "paging is off on the selected processor")
        inputs = PagingInputs(
            space=self.space(root),
            cpu=self.machine.cpu,
            ram=self.machine.memory.ram,
            names=self.names,
            boot_map=self.boot_map,
            walk=lambda address: self.walk(address, root),
            roots=self._roots(root),
        )
        report = run_rules(PAGING_RULES, inputs)
        return self._adjusted(report) if self._has_profile() else report

    def _roots(self, root: PhysAddr | None) -> tuple[tuple[str, PhysAddr, NDArray[np.uint64]], ...]:
        """The root tables of all known spaces, that of ``root`` (default: CR3) first; none outside long mode."""
        if not self.machine.cpu.long_mode:
            return ()
        spaces = {found: name for name, found in self.spaces()}
        first = self.space(root).root
        ordered = dict.fromkeys((first, *spaces))
        frames = np.array([found >> FRAME_SHIFT for found in ordered], dtype=np.uint64)
        if not self.machine.memory.ram.holds_frames(frames).all():
            return ()
        tables = self.machine.memory.read_frames(frames)
        return tuple((spaces.get(found, "-root"), found, table) for found, table in zip(ordered, tables, strict=True))

    def _has_profile(self) -> bool:
        try:
            return bool(self.profile)
        except DescriptionError:
            return False

    def pmm_stats(self) -> tuple[PmmStat | Unread, ...]:
        """The figures of every physical manager."""
        return tuple(m if isinstance(m, Unread) else self._pmm_stat(m) for m in self.pmm)

    def _pmm_stat(self, manager: PmmSnapshot) -> PmmStat:
        boot_map = self.boot_map
        reserved = reserved_frames(manager, boot_map) if isinstance(boot_map, BootMap) else None
        return pmm_stat(manager, reserved, () if isinstance(self.zones, Unread) else self.zones)

    def spaces(self) -> tuple[tuple[str, PhysAddr], ...]:
        """Every address space that is known, by name: the selected processor's, and those of the others."""
        mode = paging_mode(self.machine.cpu)
        if mode is None:
            raise UsageError("paging is off: virtual = physical, there are no address spaces")
        own = mode.root_of(self.machine.cpu.cr3)
        found = {own: "CR3"}
        for other in self.machine.roots():
            if paging_mode(other.like(self.machine.cpu)) == mode:
                found.setdefault(mode.root_of(other.cr3), f"CR3 of processor {other.number}")
        return tuple((name, root) for root, name in found.items())

    def tables(self) -> DescriptorTables:
        """The selected processor's GDT, IDT and TSS."""
        return read_tables(self.virtual, self.machine.descriptors(), long_mode=self.machine.cpu.long_mode)

    def last_fault(self) -> tuple[VirtAddr, Report]:
        """The address of the last page fault, and what is known of it without being told."""
        exception = self.profile.exception if self._has_profile() else None
        return last_fault(self.machine.cpu, self.virtual, exception, self.tables)

    @cached_property
    def uses(self) -> FrameUses:
        """Who uses frames, as far as it is known."""
        space = self.space() if self.machine.cpu.paging else None
        return frame_uses(self.virtual, space, self.names, _read(self.buffers), _read(self.held))

    def frame_map(self, managers: Iterable[PmmSnapshot], window: Window | None) -> FrameMap:
        """All of physical memory (in a window) as these managers have it, by owner."""
        managers, left_out = tuple(managers), (*self.uses.left_out, *self.uses.image_left_out)
        records = self.page_records if isinstance(self.page_records, PageRecordsSnapshot) else None
        inputs = FrameMapInputs(
            managers, self.machine.memory.ram, self.boot_map, self._owners(managers), records, left_out
        )
        return frame_map(inputs, window)

    def frame(self, address: PhysAddr) -> Frame:
        """All that is known of the frame that begins at a physical address."""
        readable = [manager for manager in self.pmm if isinstance(manager, PmmSnapshot)]
        spaces = [(name, self.space(root)) for name, root in self.spaces()] if self.machine.cpu.paging else []
        report = self._adjusted(combined(check_frame(self._pmm_inputs(m), address) for m in readable))
        inputs = FrameInputs(
            managers=self.pmm,
            report=combined((report, about_frame(self.check_pmm(), address, report))),
            owners=self._owners(readable),
            boot_map=self.boot_map,
            zones=self.zones,
            record=self.page_record(address),
            found=find(spaces, self.machine.cpu, self.names, address, FRAME_SIZE) if spaces else None,
            tables=table_uses(spaces, address),
            direct_map=self.direct_map,
            memory=self.machine.memory,
            left_out=self.uses.left_out,
        )
        return describe_frame(address, inputs)

    def _owners(self, managers: Iterable[PmmSnapshot]) -> tuple[PhysicalRange, ...]:
        """Everybody who is known to use frames, these managers for their own data and the heaps among them."""
        own = [used for manager in managers for used in self._metadata(manager)]
        heaps = [heap for heap in (self.heaps if self.profile.heap else ()) if not isinstance(heap, Unread)]
        for name, segment in ((heap.name, segment) for heap in heaps for segment in heap.segments):
            use, size = f"it belongs to the heap '{name}'", segment.end - segment.start
            own += physical_ranges(self.virtual, segment.start, size, "heap", use)
        return (*own, *self.uses.owners())

    def _metadata(self, manager: PmmSnapshot) -> tuple[PhysicalRange, ...]:
        """Where a manager's own data lie."""
        own = [
            physical_ranges(self.virtual, place.start, place.size, "manager", f"it holds {place.what}")
            for place in manager.places
        ]
        return tuple(piece for pieces in own for piece in pieces)

    def _pmm_inputs(self, manager: PmmSnapshot) -> PmmInputs:
        uses = self.uses
        return PmmInputs(
            manager=manager,
            ram=self.machine.memory.ram,
            boot_map=self.boot_map,
            metadata=self._metadata(manager),
            tables=uses.tables,
            image=uses.image,
            buffers=uses.buffers,
            held=uses.held,
            mapped=uses.mapped_beside(manager.places),
            recorded=self._recorded(manager),
            left_out=uses.left_out,
            image_left_out=uses.image_left_out,
        )

    def _recorded(self, manager: PmmSnapshot) -> Recorded | None:
        """What records say of a manager's frames, if there are such, and of frames like the manager's."""
        records = self.page_records
        if not isinstance(records, PageRecordsSnapshot) or records.frame_size != manager.frame_size:
            return None
        found = records.free_from(manager.base, manager.count)
        single = records.numbered_from(manager.base, manager.count, records.single)
        return found and Recorded(*found, single, lambda address: str(records.record_of(address, self.virtual)))

    def _adjusted(self, report: CheckReport) -> CheckReport:
        """A report as the profile wants it: rules off, severities changed, known findings left out."""
        checks = self.profile.checks
        known = {(k.id, self._value_or_none(k.address) if k.address else None) for k in self.profile.known}
        findings = tuple(
            _with_severity(finding, checks.severity)
            for finding in report.findings
            if finding.id not in checks.off and not known & {(finding.id, None), (finding.id, finding.address)}
        )
        off = tuple(Skipped(rule, "switched off in the profile") for rule in report.checked if rule in checks.off)
        return CheckReport(
            findings, tuple(rule for rule in report.checked if rule not in checks.off), report.skipped + off
        )

    def _value_or_none(self, expression: Expression) -> int:
        """A value that findings are compared with; -1, which no address is, when it cannot be read now."""
        try:
            return expression.evaluate(self.virtual)
        except MemoryUnavailable:
            return -1


def _with_severity(finding: Finding, wanted: Mapping[str, str]) -> Finding:
    """A finding with the severity that the profile gives its rule; one in flux stays so."""
    if finding.id not in wanted or finding.severity is Severity.IN_FLUX:
        return finding
    return replace(finding, severity=Severity(wanted[finding.id]))


def _chosen(what: str, name: str | None, things: tuple[_T, ...]) -> tuple[_T, ...]:
    """The thing of this name, or all of them; UsageError names those that there are."""
    chosen = tuple(thing for thing in things if name in (None, thing.name))
    if not chosen:
        raise UsageError(f"there is no {what} '{name}'; there is {', '.join(thing.name for thing in things)}")
    return chosen
