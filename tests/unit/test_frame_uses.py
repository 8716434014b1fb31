"""Who uses frames, by page tables made by hand; and what is said of one frame, at its first and its last byte."""

from typing import Any

import numpy as np
import pytest

from gdbext.checks.finding import Broken, CheckReport, Rule, Skipped
from gdbext.checks.physical.frame import FrameInputs, about_frame, check_frame, describe_frame, table_uses
from gdbext.checks.physical.inputs import PmmInputs, Recorded
from gdbext.checks.physical.uses import (
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
from gdbext.machine.memory import RamMap
from gdbext.pmm.bootmap import BootEntry, BootMap, BootRange
from gdbext.pmm.owners import Buffer, BuffersSnapshot, HeldSnapshot, Piece
from gdbext.pmm.snapshot import Place
from gdbext.pmm.zones import Zone
from gdbext.structures.unread import Unread
from gdbext.symbols.model import Section
from gdbext.units import PhysAddr, VirtAddr
from gdbext.vmm.find import find
from gdbext.vmm.map import Names
from gdbext.x86.space import enumerate_space
from gdbext.x86.virtual import PagedMemory

from .guest import cpu, ram_range
from .test_paging_rules_bounds import DIRECT, MIB, Tree
from .test_pmm_rules_bounds import BASE, COUNT, FRAME, boot, manager, numbers, ranges

HIGH = 0xFFFF_FFFF_8000_0000


@pytest.fixture
def tree():
    """Frame 0x5000 at HIGH, 0x7000 behind it, nothing behind that, 0x9000 and 0xa000 at 3 and 4 pages."""
    tree = Tree()
    for page, physical in ((0, 0x5000), (1, 0x7000), (3, 0x9000), (4, 0xA000)):
        tree.map(HIGH + page * FRAME, physical)
    return tree


def space_of(tree):
    return enumerate_space(tree.guest.memory, cpu(root=tree.root))


def memory_of(tree):
    return PagedMemory(tree.guest.memory, cpu(root=tree.root))


def bounds(some):
    return [(used.start, used.end) for used in some]


# Where virtual ranges lie


@pytest.mark.parametrize(
    ("offset", "size", "physical"),
    [
        (0, 0, []),
        (0, 1, [(0x5000, 0x5001)]),
        (0xFFF, 1, [(0x5FFF, 0x6000)]),
        (0xFFF, 2, [(0x5FFF, 0x6000), (0x7000, 0x7001)]),
        (0x1FFF, 0x1001, [(0x7FFF, 0x8000)]),  # then a page that is not mapped
        (0x1FFF, 0x1002, [(0x7FFF, 0x8000), (0x9000, 0x9001)]),
        (0x2000, 0x1000, []),
        (0x3800, 0x1000, [(0x9800, 0xA800)]),
    ],
)
def test_the_frames_behind_virtual_addresses(tree, offset, size, physical):
    memory = memory_of(tree)
    assert bounds(physical_ranges(memory, VirtAddr(HIGH + offset), size, "manager", "it is so")) == physical
    own = metadata_of(memory, [Place(VirtAddr(HIGH), 1, "a bit"), Place(VirtAddr(HIGH + offset), size, "more")])
    assert bounds(own) == [(0x5000, 0x5001), *physical]
    assert {used.kind for used in own} == {"manager"}


def section(name, offset, size):
    return Section(name, VirtAddr(HIGH + offset), size, writable=False, executable=True)


@pytest.mark.parametrize(
    ("offset", "size", "physical"),
    [
        (0, 0x2000, [(0x5000, 0x6000), (0x7000, 0x8000)]),
        (0x10, 0x20, [(0x5010, 0x5030)]),
        (0xFF0, 0x20, [(0x5FF0, 0x6000), (0x7000, 0x7010)]),
        (0x1800, 0x2000, [(0x7800, 0x8000), (0x9000, 0x9800)]),
        (0x3000, 0x2000, [(0x9000, 0xB000)]),
    ],
)
def test_each_section_has_the_frames_behind_it_and_no_more(tree, offset, size, physical):
    around = [section("before", 0, 0x5000), section("it", offset, size), section("nothing", 0, 0)]
    image, left_out = image_of(memory_of(tree), around)
    assert left_out == ()
    assert bounds(used for used in image if "kernel's it" in used.use) == physical
    whole = [used for used in image if "kernel's before" in used.use]
    assert bounds(whole) == [(0x5000, 0x6000), (0x7000, 0x8000), (0x9000, 0xB000)]
    assert {used.kind for used in image} == {"kernel image"}


def test_sections_that_are_not_mapped_are_named(tree):
    image, (left_out,) = image_of(memory_of(tree), [section("here", 0, 1), section("hole", 0x2000, 0x1000)])
    assert bounds(image) == [(0x5000, 0x5001)]
    assert ("hole" in left_out, "here" in left_out) == (True, False)


@pytest.mark.parametrize(("gap", "together"), [(0, True), ((2 << 20) - 1, True), (2 << 20, False), (1 << 30, False)])
def test_sections_near_each_other_are_looked_up_together(tree, gap, together):
    asked = []

    class Asked(PagedMemory):
        def pieces(self, address, size):
            asked.append((address - HIGH, size))
            return super().pieces(address, size)

    sections = [section("second", 0x10 + gap, 0x20), section("first", 0, 0x10)]
    image_of(Asked(tree.guest.memory, cpu(root=tree.root)), sections)
    assert asked == ([(0, 0x30 + gap)] if together else [(0, 0x10), (0x10 + gap, 0x20)])


# Who uses frames


def test_page_tables_are_used_as_whole_frames(tree):
    tables = tables_of(space_of(tree))
    assert bounds(tables) == [(table, table + FRAME) for table in sorted(tree.tables.values())]


def test_a_buffer_has_the_frames_that_are_surely_its_own():
    pieces = (Piece(0, PhysAddr(0x2000), 0x800), Piece(0x800, PhysAddr(0x9000), 0x800))
    facts: dict[str, Any] = {
        "name": "ring", "at": VirtAddr(0x77), "physical": PhysAddr(0x2000), "size": 0x1000, "in_ram": True,
        "align": 0, "limit": 0, "boundary": 0, "address": None, "pieces": None,
    }  # fmt: skip
    buffers = [Buffer(**(facts | more)) for more in ({}, {"in_ram": False}, {"pieces": pieces})]
    own = buffers_of([BuffersSnapshot("rings", tuple(buffers), None, in_flux=False)])
    assert bounds(own) == [(0x2000, 0x3000), (0x2000, 0x2800)]
    assert all("'ring'" in used.use and "0x77" in used.use for used in own)


def test_frames_that_are_kept_are_used_as_whole_frames():
    frames = np.array([0x2000, 0x8000], dtype=np.uint64)
    own = held_of([HeldSnapshot("keeper", "kept", frames, frames, 0x4000, in_flux=False)])
    assert bounds(own) == [(0x2000, 0x6000), (0x8000, 0xC000)]
    assert "kept[1]" in own[1].use


def test_what_is_mapped_for_a_purpose_is_neither_the_direct_map_nor_the_image(tree):
    tree.map(DIRECT + 0x3000, 0x3000)
    tree.map(0x4000, 0x4000)
    tree.map(HIGH + 0x6000, 0x8000)
    names = Names(direct_map=VirtAddr(DIRECT), sections=(section("it", 0x6000, 1),), ram=tree.guest.ram)
    mapped = mapped_of(space_of(tree), names)
    assert [start - HIGH for start, _ in mapped] == [0, 0x1000, 0x3000]
    assert bounds(used for _, used in mapped) == [(0x5000, 0x6000), (0x7000, 0x8000), (0x9000, 0xB000)]
    assert f"{HIGH:#x}" in mapped[0][1].use
    assert mapped_of(space_of(tree), Names(ram=tree.guest.ram)) == ()
    at_zero = Names(direct_map=VirtAddr(0), ram=tree.guest.ram)
    assert len(mapped_of(space_of(tree), at_zero)) == 5  # all but 0x4000, which is where a direct map at 0 has it


@pytest.mark.parametrize(
    ("place", "size", "beside"),
    [
        (0x0FFF, 1, True),
        (0x0FFF, 2, False),
        (0x1000, 1, False),
        (0x2FFF, 1, False),
        (0x3000, 1, True),
        (0x0, 0x4000, False),
    ],
)
def test_a_mapping_of_a_managers_own_data_is_no_other_use(place, size, beside):
    (used,) = ranges((0x5000, 0x7000))  # mapped at 0x1000-0x3000
    assert mapped_beside(((VirtAddr(0x1000), used),), [Place(VirtAddr(place), size, "bits")]) == (used,) * beside
    assert mapped_beside(((VirtAddr(0x1000), used),), []) == (used,)


def test_what_is_not_known_of_users_is_said(tree):
    names = Names(direct_map=VirtAddr(DIRECT))
    assert left_out_of(space_of(tree), names) == ()
    assert left_out_of(space_of(tree), Names(direct_map=VirtAddr(0))) == ()
    assert len(left_out_of(None, names)) == 1
    (unnamed,) = left_out_of(space_of(tree), Names(why_no_direct_map="nobody told"))
    assert "nobody told" in unnamed
    for unreadable in (1, 2):
        tree.guest.entry(tree.root, unreadable, 2 * MIB | 3)
        (said,) = left_out_of(space_of(tree), names)
        assert said.startswith(f"{unreadable} page table{'s' * (unreadable > 1)} ")
    tree.guest.entry(tree.table((511, 510, 0)), 9, 1 << 45 | 3)  # a reserved bit, not a table
    assert len(left_out_of(space_of(tree), names)) == 1


# One frame


def frame(tree, start=0x5000, *, names=None, **more):
    space, state = space_of(tree), cpu(root=tree.root)
    facts: dict[str, Any] = {
        "managers": (), "report": CheckReport((), (), ()), "owners": (), "boot_map": None, "zones": (),
        "record": None, "found": find([("it", space)], state, names or Names(), PhysAddr(start), FRAME),
        "tables": table_uses([("it", space)], PhysAddr(start)), "direct_map": None, "memory": tree.guest.memory,
        "left_out": (),
    }  # fmt: skip
    return describe_frame(PhysAddr(start), FrameInputs(**(facts | more)))


BESIDE = [
    ((0x4000, 0x5000), False),
    ((0x4000, 0x5001), True),
    ((0x5000, 0x6000), True),
    ((0x5800, 0x5801), True),
    ((0x5FFF, 0x7000), True),
    ((0x6000, 0x7000), False),
    ((0x0, 0x10000), True),
]


@pytest.mark.parametrize(("pair", "meets"), BESIDE)
def test_what_is_said_of_a_frame_is_said_of_its_bytes(tree, pair, meets):
    zone = Zone("low", *map(PhysAddr, pair))
    kept = boot([], [pair])
    (owner,) = ranges(pair)
    found = frame(tree, zones=(zone,), boot_map=kept, owners=(owner, owner))
    assert found.zones == ("low",) * meets
    assert [(each.base, each.end, each.use, each.type) for each in found.boot] == [(*pair, "reserved", None)] * meets
    assert found.owners == (owner,) * meets


def test_what_the_boot_map_says_of_a_frame(tree):
    entries = ((0, 0x5800, 1), (0x5800, 0x5900, 3), (0x5900, 0x8000, 2))
    one, two, three = (BootEntry(PhysAddr(start), PhysAddr(end), kind) for start, end, kind in entries)
    usable, later = (BootRange(each.base, each.end) for each in (one, two))
    found = frame(tree, boot_map=BootMap((usable,), (), (later,), "then", (one, two, three)))
    assert [(each.base, each.use, each.type) for each in found.boot] == [
        (0, "usable", 1),
        (0x5800, "reclaimable", 3),
        (0x5900, "not usable", 2),
    ]
    assert frame(tree, boot_map=Unread("boot_map", "boot map", "torn", absent=False)).boot == ()


@pytest.mark.parametrize(("start", "is_ram"), [(0x5000, True), (2 * MIB - FRAME, True), (2 * MIB, False)])
def test_the_first_bytes_of_a_frame_that_is_ram(tree, start, is_ram):
    tree.guest.bytes[start : start + FRAME] = 7
    found = frame(tree, start)
    assert (found.pfn, found.start, found.end, found.is_ram) == (start >> 12, start, start + FRAME, is_ram)
    assert found.content == ("07" * 64 if is_ram else None)


def test_where_the_direct_map_has_a_frame(tree):
    assert frame(tree, direct_map=VirtAddr(DIRECT)).direct_map is None  # it is not mapped there
    tree.map(DIRECT + 0x5000, 0x5000)
    assert frame(tree, direct_map=VirtAddr(DIRECT)).direct_map == DIRECT + 0x5000
    assert frame(tree, direct_map=None).direct_map is None
    assert frame(tree, 0x7000, direct_map=VirtAddr(DIRECT)).direct_map is None
    around = (HIGH - 0x5000) & (1 << 64) - 1
    assert frame(tree, direct_map=VirtAddr(around)).direct_map == HIGH
    tree.map(0, 0x5000)
    assert frame(tree, direct_map=VirtAddr((1 << 64) - 0x5000)).direct_map == 0  # it begins again at 0


@pytest.mark.parametrize("count", [1, 31, 32, 33, 40])
def test_32_mappings_of_a_frame_are_listed_and_all_are_counted(tree, count):
    for page in range(count):
        tree.map(0x10_0000 + 2 * page * FRAME, 0xC000)
    found = frame(tree, 0xC000)
    assert (found.mapping_count, len(found.found.reaches)) == (count, min(count, 32))
    assert found.found.reaches[0].mapping.start == 0x10_0000


@pytest.mark.parametrize("count", [1, 31, 32, 33])
def test_32_entries_that_name_a_table_are_listed_and_all_are_counted(tree, count):
    for slot in range(count):
        tree.guest.entry(tree.root, slot, 0x20_0000 - FRAME | 3)
    (use,) = table_uses([("it", space_of(tree))], PhysAddr(0x20_0000 - FRAME))
    assert (use.space, use.level, use.start, use.entry_count) == ("it", 3, 0, count)
    assert use.entries == tuple(tree.root + 8 * slot for slot in range(min(count, 32)))


def test_which_tables_a_frame_holds(tree):
    space = space_of(tree)
    assert table_uses([("it", space)], PhysAddr(0x5000)) == ()
    (root,) = table_uses([("it", space)], PhysAddr(tree.root))
    assert (root.level, root.start, root.entries, root.entry_count) == (4, 0, (), 0)
    (top,) = table_uses([("it", space)], PhysAddr(tree.table((511,))))
    assert (top.level, top.start, top.entries) == (3, HIGH & -(1 << 39), (tree.root + 8 * 511,))
    (last,) = table_uses([("it", space)], PhysAddr(tree.table((511, 510, 0))))
    assert (last.level, last.start) == (1, HIGH)
    upper, lower = tree.table((511,)), tree.table((511, 510))
    tree.guest.entry(lower, 3, upper | 3)  # now it is a table of two levels
    uses = table_uses([("it", space_of(tree))], PhysAddr(upper))
    assert [(use.level, use.entries) for use in uses] == [(1, (lower + 24,)), (3, (tree.root + 8 * 511,))]
    assert [use.space for use in table_uses([("a", space), ("b", space)], PhysAddr(tree.root))] == ["a", "b"]


def test_the_verdict_on_a_frame(tree):
    finding = Rule("PMM02", "a title", lambda _: ()).finding(Broken("frame", 0x5000, "used", "free", "no cause"))
    wrong = frame(tree, report=CheckReport((finding, finding), (), ()))
    assert "PMM02 broken" in wrong.verdict
    assert wrong.verdict.count("PMM02") == 1
    assert "no RAM" in frame(tree, 2 * MIB).verdict
    (owner,) = ranges((0x5000, 0x6000))
    assert owner.use in frame(tree, owners=(owner,)).verdict
    assert owner.use not in frame(tree, 0x6000, owners=(owner,)).verdict


def test_a_used_frame_that_was_never_the_allocators_is_told_from_one_that_somebody_took(tree):
    whose = {
        frame(tree, boot_map=boot_map).verdict
        for boot_map in (None, BootMap((), (), entries=()), boot([], [(0x6000, 0x7000)]))
    }
    entry = BootEntry(PhysAddr(0), PhysAddr(0x10000), 1)
    usable, unusable = (
        BootMap((BootRange(entry.base, entry.end),), (), entries=(entry,)),
        BootMap((), (), entries=(entry,)),
    )
    kept = {frame(tree, boot_map=boot_map).verdict for boot_map in (boot([], [(0x5000, 0x6000)]), unusable)}
    assert whose == {frame(tree, boot_map=usable).verdict}
    assert len(kept) == 1
    assert whose.isdisjoint(kept)


def test_what_is_left_out_is_said_once(tree):
    skipped = (Skipped("PMM02", "this", partly=True), Skipped("PMM05", "that"), Skipped("PMM01", "so", partly=True))
    assert frame(tree, left_out=("this",), report=CheckReport((), (), skipped)).left_out == ("this", "so")


# The rules, looked at for one frame


def checked(start, free=(), **more):
    facts: dict[str, Any] = {"boot_map": None, "recorded": None, "ram": RamMap([ram_range(0, MIB)])}
    facts |= dict.fromkeys(("metadata", "tables", "image", "buffers", "held", "mapped"), ())
    facts |= {"left_out": (), "image_left_out": ()}
    inputs = PmmInputs(manager=manager(free), **(facts | more))
    return [(each.id, each.address) for each in check_frame(inputs, PhysAddr(start)).findings]


@pytest.mark.parametrize("number", [0, 5, COUNT - 1])
def test_a_frame_breaks_the_rules_that_it_would_break_among_all(number):
    """All frames are free: the one that is asked for is found, and no other."""
    start = BASE + number * FRAME
    everything = range(COUNT)
    used = ranges((0, 1 << 20))
    assert checked(start, everything, mapped=used) == [("PMM02", start)]
    assert checked(start, everything, metadata=used) == [("PMM03", start)]
    assert checked(start, everything, image=used) == [("PMM06", start)]
    assert checked(start, everything, boot_map=boot([(0, start), (start + FRAME, 1 << 20)])) == [("PMM04", start)]
    assert checked(start, everything, boot_map=boot([(0, 1 << 20)], [(start, start + 1)])) == [("PMM04", start)]
    assert checked(start, set(everything) - {number}, mapped=used, image=used) == []
    assert checked(start, {number}, mapped=used, image=used) == [("PMM02", start), ("PMM06", start)]


@pytest.mark.parametrize(("pair", "meets"), BESIDE)
def test_the_metadata_of_one_frame_is_what_lies_in_it(pair, meets):
    assert checked(0x5000, range(COUNT), metadata=ranges(pair)) == [("PMM03", 0x5000)] * meets
    both = {"metadata": ranges(pair), "mapped": ranges((0x5000, 0x6000))}
    assert checked(0x5000, **both) == [("PMM03", 0x5000)] * meets


@pytest.mark.parametrize("start", [BASE - FRAME, BASE + COUNT * FRAME, BASE + COUNT * FRAME + FRAME])
def test_a_usable_frame_that_is_not_managed(start):
    managed = start >= BASE
    usable = boot([(0, 1 << 20)])
    assert checked(start, boot_map=usable) == [("PMM05", start)] * managed
    assert checked(start, boot_map=boot([(start + FRAME, 1 << 20)])) == []
    assert checked(start, boot_map=boot([(0, start + FRAME - 1)])) == []


def test_the_record_of_one_frame():
    def recorded(free):
        return Recorded(numbers(range(COUNT)), numbers(free), None, lambda address: f"{address:#x}")

    usable = boot([(BASE, BASE + COUNT * FRAME)])
    assert checked(0x5000, {3}, recorded=recorded({3, 4}), boot_map=usable) == []
    assert checked(0x5000, {3}, recorded=recorded({3, 4})) == []
    assert checked(0x5000, {3, 4}, recorded=recorded(()), boot_map=usable) == [("PMM02", 0x5000)]
    assert checked(0x5000, {4}, recorded=recorded({3, 4}), boot_map=usable) == [("PMM02", 0x5000)]


def test_what_a_report_on_all_frames_says_of_one():
    def finding(subject, address, rule="PMM10", actual="twice"):
        return Rule(rule, "a title", lambda _: ()).finding(Broken(subject, address, "once", actual, "no cause"))

    places = [0x4FFF, 0x5000, 0x5FFF, 0x6000, None]
    every = tuple(finding("frame", place) for place in places)
    others = (finding("node", 0x5000), finding("frame", 0x5000, "PMM02"), finding("frame", 0x5000, "PMM10", "told"))
    report = CheckReport(every + others, ("PMM10",), (Skipped("PMM11", "no zones"),))
    nothing = CheckReport((), (), ())
    found = about_frame(report, PhysAddr(0x5000), nothing)
    assert found.findings == (every[1], every[2], others[1], others[2])
    assert (found.checked, found.skipped) == (("PMM10",), ())
    told = CheckReport((others[2], finding("frame", 0x5000, "PMM02", "other words")), (), ())
    assert about_frame(report, PhysAddr(0x5000), told).findings == (every[1], every[2], others[1])
