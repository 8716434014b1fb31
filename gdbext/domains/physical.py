"""Physical memory: its managers, the records about frames, their users, and whether these agree."""

from collections.abc import Iterable, Sequence

from gdbext.checks.finding import CheckReport, Rule, combined, look, only
from gdbext.checks.physical.frame import Frame, FrameInputs, about_frame, check_frame, describe_frame, table_uses
from gdbext.checks.physical.frame_map import FrameMap, FrameMapInputs, frame_map
from gdbext.checks.physical.inputs import PhysicalRange, PmmInputs, Recorded
from gdbext.checks.physical.managers import PMM_RULES, pmm_rules, report_unread, reserved_frames
from gdbext.checks.physical.owners import OWNER_RULES, OwnerInputs, applies
from gdbext.checks.physical.uses import (
    Mapped,
    buffers_of,
    held_of,
    image_of,
    left_out_of,
    mapped_beside,
    mapped_of,
    metadata_of,
    physical_ranges,
    tables_of,
)
from gdbext.domains.chosen import chosen, readable
from gdbext.domains.domain import Domain, Wanted, every
from gdbext.domains.heaps import Heaps
from gdbext.domains.lazily import lazily
from gdbext.domains.parts import part
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


class Physical(Domain):
    """The physical managers of one stop and the frames. Depends on the translation, and for owners on the heaps."""

    rules = PMM_RULES

    def __init__(self, stop: Stop, translation: Translation, heaps: Heaps) -> None:
        super().__init__(stop)
        self._translation = translation
        self._heaps = heaps

    @property
    @part
    def managers(self) -> tuple[PmmSnapshot | Unread, ...]:
        """The physical managers in use, read as far as they can be."""
        self._require()
        described = self._stop.profile.pmm
        found = tuple(self._manager(manager.name) for manager in described if serves(manager, self._stop.virtual))
        none = Unread(described[0].name, kind_of(described[0]), NONE_SERVES, absent=True)
        return found or (self._stop.excused(none),)

    def _require(self) -> None:
        self._stop.require("pmm", bool(self._stop.profile.pmm), "physical memory manager")

    @part
    def _manager(self, name: str) -> PmmSnapshot | Unread:
        """The manager that the profile describes by this name."""
        stop = self._stop
        (described,) = (manager for manager in stop.profile.pmm if manager.name == name)
        # Without paging addresses are physical.
        direct_map = self._translation.direct_map if stop.machine.cpu.paging else VirtAddr(0)
        return stop.excused(read_pmm(described, stop.virtual, stop.machine.memory.ram, direct_map))

    def chosen(self, name: str | None) -> tuple[PmmSnapshot | Unread, ...]:
        """All physical managers, or the manager of this name; if there is none, UsageError lists the names."""
        return chosen("physical manager", name, self.managers)

    @property
    @part
    def zones(self) -> tuple[Zone, ...] | Unread:
        """The ranges of physical memory that the kernel distinguishes; none if no profile describes them."""
        described = self._stop.profile.zones
        return read_zones(described, self._stop.virtual) if described else ()

    @property
    @part
    def page_records(self) -> PageRecordsSnapshot | Unread | None:
        """The kernel's records about frames; None if no profile describes them."""
        stop = self._stop
        described = stop.profile.page_records if stop.has_profile else None
        if described is None:
            return None
        known = self.parts.before()
        before = known.value if known is not None and isinstance(known.value, PageRecordsSnapshot) else None
        changed = None if known is None else known.changed
        return stop.excused(read_page_records(described, stop.virtual, stop.machine.memory.ram, before, changed))

    def page_record(self, address: PhysAddr) -> PageRecord | None:
        """The kernel's record of the frame at a physical address, if it has one and it can be read."""
        records = self.page_records
        return records.record_of(address, self._stop.virtual) if isinstance(records, PageRecordsSnapshot) else None

    @property
    @part
    def buffers(self) -> tuple[BuffersSnapshot | Unread, ...]:
        """The buffers of devices that the profile describes."""
        stop = self._stop
        tables = stop.profile.dma if stop.has_profile else ()
        return tuple(stop.excused(read_buffers(table, stop.virtual, stop.machine.memory.ram)) for table in tables)

    @property
    @part
    def held(self) -> tuple[HeldSnapshot | Unread, ...]:
        """The frames that the kernel keeps by number, as far as the profile describes them."""
        stop = self._stop
        tables = stop.profile.held if stop.has_profile else ()
        return tuple(stop.excused(read_held(table, stop.virtual)) for table in tables)

    @property
    @part
    def _tables(self) -> tuple[PhysicalRange, ...]:
        return tables_of(self._translation.space()) if self._stop.machine.cpu.paging else ()

    @property
    @part
    def _image(self) -> tuple[tuple[PhysicalRange, ...], tuple[str, ...]]:
        return image_of(self._stop.virtual, self._stop.symbols.sections())

    @property
    @part
    def _mapped(self) -> Mapped:
        translation = self._translation
        return mapped_of(translation.space(), translation.names) if self._stop.machine.cpu.paging else ()

    @property
    @part
    def _left_out(self) -> tuple[str, ...]:
        space = self._translation.space() if self._stop.machine.cpu.paging else None
        return left_out_of(space, self._translation.names)

    def check(self, wanted: Wanted = every) -> CheckReport:
        """Check the wanted rules of every physical manager, and of the kernel's records about frames and buffers."""
        self._require()
        if not self._has_any(wanted):
            return combined(())
        reports = [report for manager in self.managers for report in self._reports(manager, wanted)]
        return self._stop.adjusted(combined((*reports, *self._asked(OWNER_RULES, wanted, self._looked_at_owners))))

    def _reports(self, manager: PmmSnapshot | Unread, wanted: Wanted) -> Sequence[CheckReport]:
        if isinstance(manager, Unread):
            return [only(report_unread(manager), wanted)]
        return self._asked(pmm_rules(manager), wanted, lambda rule: self._looked_at(rule, manager.name))

    @part
    def _looked_at(self, rule: Rule[PmmInputs], name: str) -> CheckReport:
        manager = self._manager(name)
        assert isinstance(manager, PmmSnapshot)
        return look(rule, self._inputs(manager), in_flux=manager.in_flux)

    @part
    def _looked_at_owners(self, rule: Rule[OwnerInputs]) -> CheckReport:
        inputs = lazily(
            OwnerInputs,
            records=lambda: self.page_records if isinstance(self.page_records, PageRecordsSnapshot) else None,
            buffers=lambda: readable(self.buffers),
            held=lambda: readable(self.held),
            unread=lambda: tuple(
                one
                for one in (self.page_records, *self.buffers, *self.held)
                if isinstance(one, Unread) and not one.absent
            ),
            ram=lambda: self._stop.machine.memory.ram,
            memory=lambda: self._stop.virtual,
        )
        return look(rule, inputs) if applies(rule, inputs) else combined(())

    def _inputs(self, manager: PmmSnapshot) -> PmmInputs:
        return lazily(
            PmmInputs,
            manager=lambda: manager,
            ram=lambda: self._stop.machine.memory.ram,
            boot_map=lambda: self._translation.boot_map,
            metadata=lambda: metadata_of(self._stop.virtual, manager.places),
            tables=lambda: self._tables,
            image=lambda: self._image[0],
            buffers=lambda: buffers_of(readable(self.buffers)),
            held=lambda: held_of(readable(self.held)),
            mapped=lambda: mapped_beside(self._mapped, manager.places),
            recorded=lambda: self._recorded(manager),
            left_out=lambda: self._left_out,
            image_left_out=lambda: self._image[1],
        )

    def _recorded(self, manager: PmmSnapshot) -> Recorded | None:
        """The records about a manager's frames, if there are records about frames of the same size."""
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
        """The map of all physical memory (in a window) by state in these managers and by owner."""
        managers, left_out = tuple(managers), (*self._left_out, *self._image[1])
        records = self.page_records if isinstance(self.page_records, PageRecordsSnapshot) else None
        ram, boot_map = self._stop.machine.memory.ram, self._translation.boot_map
        return frame_map(FrameMapInputs(managers, ram, boot_map, self._owners(managers), records, left_out), window)

    def frame(self, address: PhysAddr) -> Frame:
        """Describe the frame that begins at a physical address."""
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
            left_out=self._left_out,
        )
        return describe_frame(address, inputs)

    def _owners(self, managers: Iterable[PmmSnapshot]) -> tuple[PhysicalRange, ...]:
        """All known users of frames, including these managers for their own data, and the heaps."""
        memory = self._stop.virtual
        own = [used for manager in managers for used in metadata_of(memory, manager.places)]
        heaps = readable(self._heaps.all) if self._stop.profile.heap else ()
        for name, segment in ((heap.name, segment) for heap in heaps for segment in heap.segments):
            use, size = f"it belongs to the heap '{name}'", segment.end - segment.start
            own += physical_ranges(memory, segment.start, size, "heap", use)
        recorded = (*buffers_of(readable(self.buffers)), *held_of(readable(self.held)))
        # The most informative owners come first.
        return (*own, *self._tables, *self._image[0], *recorded, *(used for _, used in self._mapped))
