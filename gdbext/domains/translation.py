"""Page tables: translations, mappings, and whether the tables are in order."""

import numpy as np
from numpy.typing import NDArray

from gdbext.checks.finding import CheckReport, Rule, in_order, look, not_looked_at, only
from gdbext.checks.translation.paging import PAGING_RULES, PagingInputs
from gdbext.domains.domain import Domain, Wanted, every
from gdbext.domains.lazily import lazily
from gdbext.domains.parts import part
from gdbext.errors import DescriptionError, MemoryUnavailable, UsageError
from gdbext.pmm.bootmap import BootMap, read_boot_map
from gdbext.structures.unread import Unread
from gdbext.units import FRAME_SHIFT, PhysAddr, VirtAddr, hex_address
from gdbext.vmm.faults import last_fault
from gdbext.vmm.map import Names
from gdbext.x86.descriptors import DescriptorTables, read_tables
from gdbext.x86.fault import Report
from gdbext.x86.modes import paging_mode
from gdbext.x86.runs import Runs
from gdbext.x86.space import AddressSpace, Window
from gdbext.x86.walk import Walk, walk


class Translation(Domain):
    """The address spaces of one stop, and the kernel's description of its memory. Depends on no other domain."""

    rules = PAGING_RULES

    @property
    @part
    def names(self) -> Names:
        """The information by which mappings are named. Works without a profile too."""
        machine = self._stop.machine
        base, why = self.direct_map, "the profile gives no direct map; set address.direct_map"
        if base is not None and machine.cpu.paging and not self._maps_linearly(base):
            why = f"address.direct_map is {hex_address(base)}, but no RAM is mapped linearly from there"
            base = None
        return Names(base, why, self._stop.symbols.sections(), machine.memory.ram)

    @property
    @part
    def direct_map(self) -> VirtAddr | None:
        """Where the kernel maps physical address 0, if the profile says so and it can be read."""
        try:
            bound = self._stop.profile.direct_map
            return VirtAddr(self._stop.value(bound)) if bound else None
        except (DescriptionError, MemoryUnavailable, UsageError):
            return None  # no profile, or its variable cannot be read yet: then mappings do not get this name

    def _maps_linearly(self, base: VirtAddr) -> bool:
        """Whether some RAM is mapped at its offset from ``base``."""
        runs = self.space().runs
        return bool((runs.start - runs.physical == np.uint64(base)).any())

    @property
    @part
    def boot_map(self) -> BootMap | Unread | None:
        """The kernel's boot memory map, None if no profile describes one."""
        bound = self._stop.profile.boot_map if self._stop.has_profile else None
        return read_boot_map(bound, self._stop.virtual) if bound else None

    def walk(self, address: int, root: PhysAddr | None = None) -> Walk:
        """The walk of one address."""
        return walk(self._stop.machine.memory, self._stop.machine.cpu, address, root)

    def space(self, root: PhysAddr | None = None, window: Window | None = None) -> AddressSpace:
        """Everything that a root maps (within a window of addresses)."""
        if window is not None:
            return self._stop.window(root, window)
        if root is None:
            self._stop.virtual.know_all()  # later reads need not enumerate their ranges
        return self._stop.space(root)

    def mapped(self) -> Runs | None:
        """All mappings of the selected processor; None if paging is off."""
        return self.space().runs if self._stop.machine.cpu.paging else None

    def spaces(self) -> tuple[tuple[str, PhysAddr], ...]:
        """Every known address space, by name: the selected processor's, and those of the others."""
        machine = self._stop.machine
        mode = paging_mode(machine.cpu)
        if mode is None:
            raise UsageError("paging is off: virtual = physical, there are no address spaces")
        own = mode.root_of(machine.cpu.cr3)
        found = {own: "CR3"}
        for other in machine.roots():
            if paging_mode(other.like(machine.cpu)) == mode:
                found.setdefault(mode.root_of(other.cr3), f"CR3 of processor {other.number}")
        return tuple((name, root) for root, name in found.items())

    def descriptors(self) -> DescriptorTables:
        """The selected processor's GDT, IDT and TSS."""
        machine = self._stop.machine
        return read_tables(self._stop.virtual, machine.descriptors(), long_mode=machine.cpu.long_mode)

    def last_fault(self) -> tuple[VirtAddr, Report]:
        """The address of the last page fault, and what is known about it without arguments."""
        exception = self._stop.profile.exception if self._stop.has_profile else None
        return last_fault(self._stop.machine.cpu, self._stop.virtual, exception, self.descriptors)

    def check(self, wanted: Wanted = every, root: PhysAddr | None = None) -> CheckReport:
        """Check the rules of a root's page tables (default: CR3's). Symbols and a profile are used if there are any."""
        if not self._stop.machine.cpu.paging:
            return only(not_looked_at(PAGING_RULES, "paging is off on the selected processor"), wanted)
        reports = self._asked(PAGING_RULES, wanted, lambda rule: self._looked_at(rule, root))
        return self._stop.adjusted(in_order(reports))

    @part
    def _looked_at(self, rule: Rule[PagingInputs], root: PhysAddr | None) -> CheckReport:
        machine = self._stop.machine
        inputs = lazily(
            PagingInputs,
            space=lambda: self.space(root),
            cpu=lambda: machine.cpu,
            ram=lambda: machine.memory.ram,
            names=lambda: self.names,
            boot_map=lambda: self.boot_map,
            walk=lambda: lambda address: self.walk(address, root),
            roots=lambda: self._roots(root),
        )
        return look(rule, inputs)

    def _roots(self, root: PhysAddr | None) -> tuple[tuple[str, PhysAddr, NDArray[np.uint64]], ...]:
        """The root tables of all known spaces, that of ``root`` (default: CR3) first; none outside long mode."""
        machine = self._stop.machine
        if not machine.cpu.long_mode:
            return ()
        spaces = {found: name for name, found in self.spaces()}
        first = self.space(root).root
        ordered = dict.fromkeys((first, *spaces))
        frames = np.array([found >> FRAME_SHIFT for found in ordered], dtype=np.uint64)
        if not machine.memory.ram.holds_frames(frames).all():
            return ()
        tables = machine.memory.read_frames(frames)
        return tuple((spaces.get(found, "-root"), found, table) for found, table in zip(ordered, tables, strict=True))
