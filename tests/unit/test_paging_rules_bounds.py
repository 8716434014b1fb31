"""Each rule of page tables at its bounds, on trees made by hand: a mapping in its place, and the same one step off."""

from dataclasses import replace

import numpy as np
import pytest

from gdbext.checks.finding import Severity, run_rules
from gdbext.checks.translation.paging import PAGING_RULES, PagingInputs
from gdbext.machine.memory import RamMap
from gdbext.pmm.bootmap import BootMap, BootRange
from gdbext.symbols.model import Section
from gdbext.units import PhysAddr, VirtAddr
from gdbext.vmm.map import Names
from gdbext.x86.space import enumerate_space
from gdbext.x86.walk import walk

from .guest import CR0, MODES, Guest, cpu, ram_range

P, W, U, A, PS, G, NX = 1, 2, 4, 0x20, 0x80, 0x100, 1 << 63
PAGE, MIB, HALF = 0x1000, 1 << 20, 1 << 63
TABLES, FRAME = 0x10_0000, 0x5000
DIRECT = 0xFFFF_8000_0000_0000


class Tree:
    """Four-level tables from 0x100000 on, made as pages are mapped; 2 MiB of RAM."""

    def __init__(self):
        self.guest = Guest(2 * MIB)
        self.tables = {}
        self.next = TABLES
        self.root = self.table(())

    def table(self, path):
        if path not in self.tables:
            self.tables[path], self.next = self.next, self.next + PAGE
            if path:
                self.guest.entry(self.table(path[:-1]), path[-1], self.tables[path] | P | W | U)
        return self.tables[path]

    def map(self, address, physical, flags=P | W | NX):
        path = tuple(address >> shift & 511 for shift in (39, 30, 21, 12))
        self.guest.entry(self.table(path[:-1]), path[-1], physical | flags)
        return self.table(path[:-1]) + 8 * path[-1]

    def report(self, rule, names=None, *, state=None, ram=((0, 2 * MIB),), **more):
        state = state or cpu(root=self.root)
        inputs = PagingInputs(
            space=enumerate_space(self.guest.memory, state),
            cpu=state,
            ram=RamMap(ram_range(*part) for part in ram),
            names=names or Names(),
            boot_map=None,
            walk=lambda address: walk(self.guest.memory, state, address),
            roots=(),
        )
        return run_rules([each for each in PAGING_RULES if each.id == rule], replace(inputs, **more))

    def found(self, rule, names=None, **more):
        return [finding.address for finding in self.report(rule, names, **more).findings]


@pytest.fixture
def tree():
    return Tree()


# PT20, PT21: tables


def test_a_table_is_named_once(tree):
    tree.map(0, FRAME)
    tree.map(1 << 39, FRAME)
    assert tree.found("PT20") == []
    shared = tree.table((0,))
    tree.guest.entry(tree.root, 1, shared | P | W | U)
    (finding,) = tree.report("PT20").findings
    assert (finding.address, finding.severity, finding.actual) == (shared, Severity.WARNING, "referenced 2 times")
    assert [line.split(":")[0] for line in finding.evidence] == ["level 3", "level 3"]


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 20])
def test_eight_uses_of_a_table_are_listed_and_all_are_counted(tree, count):
    tree.map(0, FRAME)
    for slot in range(count):
        tree.guest.entry(tree.root, slot, tree.table((0,)) | P | W | U)
    findings = tree.report("PT20").findings
    assert [finding.actual for finding in findings] == [f"referenced {count} times"] * (count > 1)
    for finding in findings:
        places = [f"{tree.root + 8 * slot:#x}" for slot in range(min(count, 8))]
        starts = [f"{slot << 39:#x}" for slot in range(len(places))]
        assert all(
            f"{place}," in line and line.endswith(f" {start}")
            for place, start, line in zip(places, starts, finding.evidence, strict=True)
        )


def test_a_table_of_two_levels(tree):
    tree.map(0, FRAME)
    upper = tree.table((0,))
    tree.guest.entry(tree.table((0, 0)), 5, upper | P | W | U)
    findings = tree.report("PT20").findings
    first = next(finding for finding in findings if finding.address == upper)
    assert first.severity is Severity.ERROR
    assert "at different levels" in first.actual


def test_the_root_named_from_below_is_a_loop_and_a_recursive_slot_is_not(tree):
    tree.map(0, FRAME)
    tree.guest.entry(tree.root, 510, tree.root | P | W)
    assert tree.found("PT20") == []
    tree.guest.entry(tree.root, 510, 0)
    tree.guest.entry(tree.table((0,)), 7, tree.root | P | W)
    (finding, *_) = [f for f in tree.report("PT20").findings if f.address == tree.root]
    assert finding.evidence[0] == "level 4: the root"


def test_a_table_outside_ram(tree):
    place = tree.table((0, 0))
    tree.guest.entry(place, 3, 2 * MIB | P | W)
    assert tree.found("PT20") == [place + 24]
    tree.guest.entry(place, 3, 2 * MIB - PAGE | P | W)
    assert tree.found("PT20") == []
    (finding,) = tree.report("PT20", state=cpu(root=2 * MIB)).findings
    assert (finding.address, finding.subject) == (2 * MIB, "root")


def test_reserved_bits_are_named(tree):
    place = tree.map(0, FRAME, P | W | 1 << 40)
    (finding,) = tree.report("PT21").findings
    assert (finding.address, finding.actual) == (place, f"{FRAME | P | W | 1 << 40:#x}")
    assert finding.evidence == ("level 1, first virtual address 0x0",)


def test_beside_a_recursive_slot_tables_are_still_looked_at(tree):
    tree.map(0, FRAME)
    tree.guest.entry(tree.root, 510, tree.root | P | W)
    shared = tree.table((0,))
    tree.guest.entry(tree.root, 509, shared | P | W | U)
    assert tree.found("PT20") == [shared]
    tree.guest.entry(tree.root, 509, 0)
    tree.guest.entry(tree.root, 511, shared | P | W | U)
    assert tree.found("PT20") == [shared]


def test_the_leaf_is_the_evidence(tree):
    place = tree.map(0xFFFF_9000_0000_0000, FRAME, P | W)
    (finding,) = tree.report("PT27").findings
    assert finding.evidence == (
        "4 KiB from 0xffff900000000000",
        f"level-1 entry at {place:#x} = 0x5003 (P W)",
    )


# PT23: the kernel's half in every root


def roots(tree, change=None):
    own = np.zeros(512, dtype=np.uint64)
    own[255], own[256], own[511] = 0x7000 | P, 0x8000 | P | W, 0x9000 | P | W
    other = own.copy()
    for index, value in (change or {}).items():
        other[index] = value
    return (("this", PhysAddr(tree.root), own), ("another", PhysAddr(0x3_0000), other))


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({}, []),
        ({255: 0}, []),  # the lower half is each process's own
        ({256: 0}, [256]),
        ({511: 0}, [511]),
        ({256: 0xA000 | P | W}, [256]),
        ({256: 0x8000 | P}, [256]),
        ({256: 0x8000 | P | W | U}, [256]),
        ({256: 0x8000 | P | W | NX}, [256]),
        ({256: 0x8000 | P | W | A}, []),
        ({256: 0x8000 | P | W | 1 << 9}, []),  # software's
        ({256: 0x8000 | P | W | 1 << 52}, []),
        ({256: 1 << 51 | 0x8000 | P | W}, [256]),
        ({256: 0x8000 | W}, [256]),
        ({257: 0xB000 | P}, [257]),
    ],
)
def test_roots_have_one_kernel_half(tree, change, wrong):
    assert tree.found("PT23", roots=roots(tree, change)) == [0x3_0000 + 8 * index for index in wrong]


def test_recursive_slots_of_roots_differ(tree):
    (name, root, own), (other, there, _) = roots(tree)
    own[510] = root | P | W
    entries = own.copy()
    entries[510] = there | P | W
    assert tree.found("PT23", roots=((name, root, own), (other, there, entries))) == []
    entries[510] = there + PAGE | P | W
    assert tree.found("PT23", roots=((name, root, own), (other, there, entries))) == [there + 8 * 510]


# PT24: the recursive slot


@pytest.mark.parametrize(
    ("flags", "wrong"),
    [
        (P | W, None),
        (P | W | NX, None),
        (P, "tables cannot be written through it"),
        (P | W | U, "user mode can access every page table"),
        (P | U, "user mode can access every page table, tables cannot be written through it"),
    ],
)
def test_the_recursive_slot(tree, flags, wrong):
    tree.map(0, FRAME)
    tree.guest.entry(tree.root, 510, tree.root | flags)
    findings = tree.report("PT24").findings
    assert [finding.address for finding in findings] == ([tree.root + 8 * 510] if wrong else [])
    if wrong:
        assert findings[0].actual.endswith(wrong)


# PT25: the direct map


MAPPED = Names(direct_map=VirtAddr(DIRECT))
FOUR = ((0, 4 * PAGE),)


def direct(tree, *, skip=(), **flags):
    for number in range(4):
        if number not in skip:
            tree.map(DIRECT + number * PAGE, number * PAGE, flags.get(f"frame{number}", P | W | NX))


def usable(*ranges):
    return BootMap(tuple(BootRange(PhysAddr(start), PhysAddr(end)) for start, end in ranges), ())


def test_a_direct_map_in_its_place(tree):
    direct(tree)
    assert tree.found("PT25", MAPPED, ram=FOUR, boot_map=usable((0, 4 * PAGE))) == []


@pytest.mark.parametrize("frame", range(4))
def test_a_page_of_the_direct_map_elsewhere(tree, frame):
    direct(tree)
    tree.map(DIRECT + frame * PAGE, 0x9000)
    (finding,) = tree.report("PT25", MAPPED, ram=FOUR).findings
    assert finding.address == DIRECT + frame * PAGE
    assert (finding.expected, finding.actual) == (f"physical {frame * PAGE:#x}", "physical 0x9000")


def test_what_is_beside_the_direct_map_is_not_its_own(tree):
    direct(tree)
    tree.map(DIRECT + 4 * PAGE, 0x9000)  # after the end of RAM
    assert tree.found("PT25", MAPPED, ram=FOUR) == []


@pytest.mark.parametrize("flags", [P | W, P | W | U | NX])
def test_rights_of_what_follows_the_direct_map_are_not_its_own(tree, flags):
    direct(tree)
    tree.map(DIRECT + 4 * PAGE, 4 * PAGE, flags)
    assert tree.found("PT25", MAPPED, ram=FOUR) == []
    assert tree.found("PT25", MAPPED, ram=((0, 5 * PAGE),)) == [DIRECT + 4 * PAGE]


def test_how_much_the_direct_map_lacks(tree):
    direct(tree, skip=(1, 2, 3))
    (finding,) = tree.report("PT25", MAPPED, ram=FOUR, boot_map=usable((0, 4 * PAGE))).findings
    assert finding.evidence == ("12 KiB from 0xffff800000001000", *finding.evidence[1:])


def test_other_things_in_the_holes_of_ram(tree):
    holes = ((0, 2 * PAGE), (3 * PAGE, 4 * PAGE))
    direct(tree)
    tree.map(DIRECT + 2 * PAGE, 0x9000)
    assert tree.found("PT25", MAPPED, ram=holes) == []
    tree.map(DIRECT + PAGE, 0x9000)
    assert tree.found("PT25", MAPPED, ram=holes) == [DIRECT + PAGE]


@pytest.mark.parametrize(("flags", "says"), [(P | W | U | NX, "user mode can access it"), (P | W, "executable")])
def test_rights_of_the_direct_map(tree, flags, says):
    direct(tree, frame2=flags)
    (finding,) = tree.report("PT25", MAPPED, ram=FOUR).findings
    assert (finding.address, finding.actual) == (DIRECT + 2 * PAGE, says)
    assert finding.severity is (Severity.WARNING if says == "executable" else Severity.ERROR)
    assert "4 KiB from 0xffff800000002000" in finding.evidence


@pytest.mark.parametrize(
    ("skip", "ranges", "missing"),
    [
        ((3,), [(0, 4 * PAGE)], [3]),
        ((0,), [(0, 4 * PAGE)], [0]),
        ((1, 2), [(0, 4 * PAGE)], [1]),
        ((3,), [(0, 3 * PAGE)], []),
        ((3,), [(0, 3 * PAGE + 1)], []),  # less than a frame
        ((3,), [(0, 4 * PAGE - 1)], []),
        ((0,), [(1, 4 * PAGE)], []),
        ((0,), [(PAGE, 4 * PAGE)], []),
        ((1,), [(0, PAGE), (PAGE, 2 * PAGE)], [1]),
        ((), [(PAGE, 2 * PAGE), (3 * PAGE, 4 * PAGE)], []),
    ],
)
def test_usable_ram_that_the_direct_map_lacks(tree, skip, ranges, missing):
    direct(tree, skip=skip)
    found = tree.found("PT25", MAPPED, ram=FOUR, boot_map=usable(*ranges))
    assert found == [DIRECT + frame * PAGE for frame in missing]


# PT26: user mode


@pytest.mark.parametrize(
    ("address", "found"),
    [(0x7FFF_FFFF_F000, False), (0xFFFF_8000_0000_0000, True), (0xFFFF_FFFF_FFFF_F000, True)],
)
def test_users_have_the_lower_half(tree, address, found):
    tree.map(address, FRAME, P | U | NX)
    assert tree.found("PT26") == ([address] if found else [])
    tree.map(address, FRAME, P | NX)
    assert tree.found("PT26") == []


def test_a_user_page_below_a_table_that_is_not(tree):
    tree.map(0x40_0000, FRAME, P | U | NX)
    tree.guest.entry(tree.table((0,)), 0, tree.table((0, 0)) | P | W)
    (finding,) = tree.report("PT26").findings
    assert (finding.address, finding.severity) == (0x40_0000, Severity.WARNING)


# PT27: nothing is writable and executable


@pytest.mark.parametrize(("flags", "found"), [(P | W, True), (P, False), (P | W | NX, False), (P | NX, False)])
def test_writable_and_executable(tree, flags, found):
    tree.map(0xFFFF_9000_0000_0000, FRAME, flags)
    assert tree.found("PT27") == ([0xFFFF_9000_0000_0000] if found else [])


def test_registers_that_hold_the_kernel_to_it(tree):
    tree.map(0xFFFF_9000_0000_0000, FRAME, P | W)
    without_wp = tree.report("PT27", state=cpu(root=tree.root, cr0=CR0 & ~(1 << 16))).findings
    assert [(f.subject, f.severity) for f in without_wp] == [("CR0", Severity.ERROR), ("mapping", Severity.ERROR)]
    plain = MODES["4-level"][1] & ~0x800
    without_nx = tree.report("PT27", state=cpu(root=tree.root, efer=plain)).findings
    assert [(f.subject, f.severity) for f in without_nx] == [("EFER", Severity.WARNING)]
    assert "lacks it" not in without_nx[0].cause
    lacking = tree.report("PT27", state=cpu(root=tree.root, efer=plain, offered=frozenset())).findings
    assert "the processor lacks it" in lacking[0].cause


TEXT = 0xFFFF_FFFF_8000_0000


@pytest.mark.parametrize(
    ("at", "size", "rights", "flags", "says"),
    [
        (TEXT, PAGE, (False, True), P, None),
        (TEXT, PAGE, (False, True), P | NX, None),
        (TEXT, PAGE, (False, True), P | W | NX, "writable"),
        (TEXT, PAGE, (False, False), P, "executable"),
        (TEXT, PAGE, (True, False), P | W | NX, None),
        (TEXT, PAGE, (False, False), P | W, "writable and executable"),
        (TEXT + PAGE, PAGE, (False, True), P | W | NX, None),  # begins where the mapping ends
        (TEXT + PAGE - 1, 1, (False, True), P | W | NX, "writable"),
        (TEXT - 8, 8, (False, True), P | W | NX, None),  # ends where it begins
        (TEXT - 8, 9, (False, True), P | W | NX, "writable"),
    ],
)
def test_sections_have_the_rights_of_their_file(tree, at, size, rights, flags, says):
    tree.map(TEXT, FRAME, flags)
    names = Names(sections=(Section(".part", VirtAddr(at), size, *rights),))
    findings = [f for f in tree.report("PT27", names).findings if ".part" in f.expected]
    assert [(f.address, f.actual) for f in findings] == ([(max(at, TEXT), says)] if says else [])


def test_the_part_of_a_section_that_has_too_many_rights_is_named(tree):
    tree.map(TEXT, FRAME, P)
    tree.map(TEXT + PAGE, FRAME + PAGE, P | W | NX)
    tree.map(TEXT + 2 * PAGE, FRAME + 2 * PAGE, P)
    names = Names(sections=(Section(".part", VirtAddr(TEXT), 3 * PAGE, False, True),))
    findings = [f for f in tree.report("PT27", names).findings if ".part" in f.expected]
    assert [(f.address, f.actual) for f in findings] == [(TEXT + PAGE, "writable")]
    (entry,) = findings[0].evidence
    assert f"{tree.table((511, 510, 0)) + 8:#x}" in entry


# PT29: the identity map


@pytest.mark.parametrize(
    ("address", "physical", "flags", "found"),
    [
        (FRAME, FRAME, P | W | NX, True),
        (0, 0, P | W | NX, True),
        (FRAME, FRAME + PAGE, P | W | NX, False),
        (FRAME, FRAME, P | W | U | NX, False),
    ],
)
def test_the_identity_map_is_gone(tree, address, physical, flags, found):
    tree.map(address, physical, flags)
    state = cpu(root=tree.root, rip=VirtAddr(HALF))
    assert tree.found("PT29", state=state) == ([address] if found else [])


@pytest.mark.parametrize(
    ("rip", "section", "checked"),
    [(HALF, HALF, True), (HALF - 1, HALF, False), (HALF, HALF - 1, False), (None, HALF, True)],
)
def test_a_kernel_in_the_lower_half_is_not_blamed(tree, rip, section, checked):
    names = Names(sections=(Section(".text", VirtAddr(section), 1, False, True),))
    report = tree.report("PT29", names, state=cpu(root=tree.root, rip=rip))
    assert report.checked == (("PT29",) if checked else ())


@pytest.mark.parametrize("rule", ["PT26", "PT29"])
def test_halves_are_those_of_long_mode(rule):
    guest, state = Guest(), cpu("32-bit")
    inputs = PagingInputs(
        space=enumerate_space(guest.memory, state),
        cpu=state,
        ram=guest.ram,
        names=Names(),
        boot_map=None,
        walk=lambda address: walk(guest.memory, state, address),
        roots=(),
    )
    (skip,) = run_rules([each for each in PAGING_RULES if each.id == rule], inputs).skipped
    assert "32-bit" in skip.why


def test_what_is_missing_is_said(tree):
    why = {rule: tree.report(rule).skipped[0].why for rule in ("PT23", "PT24", "PT25")}
    assert why == {
        "PT23": "roots have a kernel half only in long mode",
        "PT24": "there is no recursive slot",
        "PT25": "no direct map is known",
    }
    assert tree.report("PT23", roots=roots(tree)[:1]).skipped[0].why == "only one address space is known"
    direct(tree)
    (partly,) = tree.report("PT25", MAPPED, ram=FOUR).skipped
    assert partly.partly
    assert tree.report("PT25", MAPPED, ram=FOUR, boot_map=usable()).skipped == ()
