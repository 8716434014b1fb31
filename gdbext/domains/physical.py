"""Physical memory: who manages it, what is recorded about frames, who uses them, and whether that agrees."""

from collections.abc import Iterable
from functools import cached_property

from gdbext.checks.finding import CheckReport, combined, run_rules
from gdbext.checks.physical.frame import Frame, FrameInputs, about_frame, check_frame, describe_frame, table_uses
from gdbext.checks.physical.frame_map import FrameMap, FrameMapInputs, frame_map
from gdbext.checks.physical.inputs import PhysicalRange, PmmInputs, Recorded
from gdbext.checks.physical.managers import PMM_RULES, pmm_rules, report_unread, reserved_frames
from gdbext.checks.physical.owners import OwnerInputs, owner_rules
from gdbext.checks.physical.uses import FrameUses, frame_uses, physical_ranges
from gdbext.domains.chosen import chosen, readable
from gdbext.domains.heaps import Heaps
from gdbext.domains.stop import Stop
from gdbext.domains.translation import Translation
from gdbext.pmm.bootmap import BootMap
from gdbext.pmm.owners import BuffersSnapshot, HeldSnapshot, read_buffers, read_held
from gdbext.pmm.page_records import PageRecord, PageRecordsSnapshot, read_page_records
from gdbext.pmm.read import kind_of, read_pmm, serves
from gdbext.pmm.snapshot import PmmSnapshot
from gdbext.pmm.stat import PmmStat, Window, pmm_stat
from gdbext.pmm.zones import Zone, read_zones
from gdbext.structures.unread import NONE_SERVES, Unread
from gdbext.units import FRAME_SIZE, PhysAddr, VirtAddr
from gdbext.vmm.find import find


class Physical:
    """The physical managers of one stop and the frames. Stands on the translation, and for owners on the heaps."""

    rules = PMM_RULES

    def __init__(self, stop: Stop, translation: Translation, heaps: Heaps) -> None:
        self._stop = stop
        self._translation = translation
        self._heaps = heaps

    @cached_property
    def managers(self) -> tuple[PmmSnapshot | Unread, ...]:
        """The physical managers that serve, read as far as they can be."""
        stop, described = self._stop, self._stop.profile.pmm
        stop.require("pmm", bool(described), "physical memory manager")
        ram = stop.machine.memory.ram
        # Without paging addresses are physical.
        direct_map = self._translation.direct_map if stop.machine.cpu.paging else VirtAddr(0)
        found = [read_pmm(m, stop.virtual, ram, direct_map) for m in described if serves(m, stop.virtual)]
        if not found:
            found = [Unread(described[0].name, kind_of(described[0]), NONE_SERVES, absent=True)]
        return tuple(stop.excused(manager) for manager in found)

    def chosen(self, name: str | None) -> tuple[PmmSnapshot | Unread, ...]:
        """All physical managers, or the one of this name; UsageError names those that there are."""
        return chosen("physical manager", name, self.managers)

    @cached_property
    def zones(self) -> tuple[Zone, ...] | Unread:
        """The ranges of physical memory that the kernel tells apart; none when no profile names them."""
        described = self._stop.profile.zones
        return read_zones(described, self._stop.virtual) if described else ()

    @cached_property
    def page_records(self) -> PageRecordsSnapshot | Unread | None:
        """What the kernel records about each frame; None when no profile says."""
        stop = self._stop
        described = stop.profile.page_records if stop.has_profile else None
        return stop.excused(read_page_records(described, stop.virtual, stop.machine.memory.ram)) if described else None

    def page_record(self, address: PhysAddr) -> PageRecord | None:
        """The kernel's record of the frame at a physical address, if it has one that can be read."""
        records = self.page_records
        return records.record_of(address, self._stop.virtual) if isinstance(records, PageRecordsSnapshot) else None

    @cached_property
    def buffers(self) -> tuple[BuffersSnapshot | Unread, ...]:
        """The buffers of devices, as far as the profile names them."""
        stop = self._stop
        tables = stop.profile.dma if stop.has_profile else ()
        return tuple(stop.excused(read_buffers(table, stop.virtual, stop.machine.memory.ram)) for table in tables)

    @cached_property
    def held(self) -> tuple[HeldSnapshot | Unread, ...]:
        """The frames that somebody keeps by number, as far as the profile names them."""
        stop = self._stop
        tables = stop.profile.held if stop.has_profile else ()
        return tuple(stop.excused(read_held(table, stop.virtual)) for table in tables)

    @cached_property
    def uses(self) -> FrameUses:
        """Who uses frames, as far as it is known."""
        space = self._translation.space() if self._stop.machine.cpu.paging else None
        names = self._translation.names
        return frame_uses(self._stop.virtual, space, names, readable(self.buffers), readable(self.held))

    def check(self) -> CheckReport:
        """The rules of every physical manager."""
        reports = [self._report(manager) for manager in self.managers]
        return self._stop.adjusted(combined((*reports, self._owner_report())))

    def _report(self, manager: PmmSnapshot | Unread) -> CheckReport:
        if isinstance(manager, Unread):
            return report_unread(manager)
        return run_rules(pmm_rules(manager), self._inputs(manager), in_flux=manager.in_flux)

    def _owner_report(self) -> CheckReport:
        """The rules of what the kernel records about frames and buffers."""
        found = [one for one in (self.page_records, *self.buffers, *self.held) if isinstance(one, Unread)]
        inputs = OwnerInputs(
            records=self.page_records if isinstance(self.page_records, PageRecordsSnapshot) else None,
            buffers=readable(self.buffers),
            held=readable(self.held),
            unread=tuple(one for one in found if not one.absent),
            ram=self._stop.machine.memory.ram,
            memory=self._stop.virtual,
        )
        return run_rules(owner_rules(inputs), inputs)

    def _inputs(self, manager: PmmSnapshot) -> PmmInputs:
        uses = self.uses
        return PmmInputs(
            manager=manager,
            ram=self._stop.machine.memory.ram,
            boot_map=self._translation.boot_map,
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

    def _metadata(self, manager: PmmSnapshot) -> tuple[PhysicalRange, ...]:
        """Where a manager's own data lie."""
        own = [
            physical_ranges(self._stop.virtual, place.start, place.size, "manager", f"it holds {place.what}")
            for place in manager.places
        ]
        return tuple(piece for pieces in own for piece in pieces)

    def _recorded(self, manager: PmmSnapshot) -> Recorded | None:
        """What records say of a manager's frames, if there are such, and of frames like the manager's."""
        records = self.page_records
        if not isinstance(records, PageRecordsSnapshot) or records.frame_size != manager.frame_size:
            return None
        found = records.free_from(manager.base, manager.count)
        single = records.numbered_from(manager.base, manager.count, records.single)
        return found and Recorded(*found, single, lambda address: str(records.record_of(address, self._stop.virtual)))

    def stats(self) -> tuple[PmmStat | Unread, ...]:
        """The figures of every physical manager."""
        return tuple(m if isinstance(m, Unread) else self._stat(m) for m in self.managers)

    def _stat(self, manager: PmmSnapshot) -> PmmStat:
        boot_map = self._translation.boot_map
        reserved = reserved_frames(manager, boot_map) if isinstance(boot_map, BootMap) else None
        return pmm_stat(manager, reserved, () if isinstance(self.zones, Unread) else self.zones)

    def map(self, managers: Iterable[PmmSnapshot], window: Window | None) -> FrameMap:
        """All of physical memory (in a window) as these managers have it, by owner."""
        managers, left_out = tuple(managers), (*self.uses.left_out, *self.uses.image_left_out)
        records = self.page_records if isinstance(self.page_records, PageRecordsSnapshot) else None
        ram, boot_map = self._stop.machine.memory.ram, self._translation.boot_map
        return frame_map(FrameMapInputs(managers, ram, boot_map, self._owners(managers), records, left_out), window)

    def frame(self, address: PhysAddr) -> Frame:
        """All that is known of the frame that begins at a physical address."""
        machine, translation = self._stop.machine, self._translation
        there = readable(self.managers)
        spaces = [(name, translation.space(root)) for name, root in translation.spaces()] if machine.cpu.paging else []
        report = self._stop.adjusted(combined(check_frame(self._inputs(m), address) for m in there))
        inputs = FrameInputs(
            managers=self.managers,
            report=combined((report, about_frame(self.check(), address, report))),
            owners=self._owners(there),
            boot_map=translation.boot_map,
            zones=self.zones,
            record=self.page_record(address),
            found=find(spaces, machine.cpu, translation.names, address, FRAME_SIZE) if spaces else None,
            tables=table_uses(spaces, address),
            direct_map=translation.direct_map,
            memory=machine.memory,
            left_out=self.uses.left_out,
        )
        return describe_frame(address, inputs)

    def _owners(self, managers: Iterable[PmmSnapshot]) -> tuple[PhysicalRange, ...]:
        """Everybody who is known to use frames, these managers for their own data and the heaps among them."""
        own = [used for manager in managers for used in self._metadata(manager)]
        heaps = readable(self._heaps.all) if self._stop.profile.heap else ()
        for name, segment in ((heap.name, segment) for heap in heaps for segment in heap.segments):
            use, size = f"it belongs to the heap '{name}'", segment.end - segment.start
            own += physical_ranges(self._stop.virtual, segment.start, size, "heap", use)
        return (*own, *self.uses.owners())
