"""Enumerating at its bounds: when equal subtrees are folded, what a window holds, where runs are merged."""

import numpy as np
import pytest

from gdbext.units import VirtAddr
from gdbext.x86.protections import describe_cpu
from gdbext.x86.runs import Runs, joined, matching, merged
from gdbext.x86.space import enumerate_space
from gdbext.x86.walk import walk

from .guest import Guest, cpu

P, W, U, PS, PAT_LARGE = 1, 2, 4, 0x80, 1 << 12
LINK = P | W | U
GIB, PAGE = 1 << 30, 0x1000

# Folding: more ways to the tables of a level than 4096 and two for each table.


def repeated(roots, entries):
    """So many entries of the root name one table; all of its entries but for the last name one table, too."""
    guest = Guest()
    guest.entries(0x1000, [0x2000 | LINK] * roots)
    guest.entries(0x2000, [0x3000 | LINK] * (entries - 1) + [0x4000 | LINK])
    guest.entries(0x3000, [P | W | PS])
    guest.entries(0x4000, [0, 2 << 20 | P | W | PS])
    return enumerate_space(guest.memory, cpu())


@pytest.mark.parametrize(
    ("roots", "entries", "folded"),
    [(1, 2, False), (10, 409, False), (10, 410, False), (14, 293, True), (10, 411, True), (512, 512, True)],
)
def test_subtrees_are_folded_when_there_are_many_ways_to_few_tables(roots, entries, folded):
    """There are ``roots * entries`` ways to two tables: 4100 are not too many, 4102 are."""
    space = repeated(roots, entries)
    ways = roots * entries
    assert space.pages == {2 << 20: ways}
    assert len(space.runs) == (2 if folded else ways)
    assert sum(alias.count for alias in space.aliases) == (ways - 2 if folded else 0)
    starts = [0, (entries - 1) * GIB + (2 << 20)]
    if folded:
        assert space.runs.start.tolist() == starts
    else:
        assert set(starts) <= set(space.runs.start.tolist())
    assert space.table_frames.tolist() == [1, 2, 3, 4]


def test_each_alias_says_which_stretch_it_repeats():
    """256 entries of the upper half, so that one alias would reach from one half into the other."""
    space = repeated(257, 512)
    of_first = [alias for alias in space.aliases if alias.table == 0x3000]
    of_second = [alias for alias in space.aliases if alias.table == 0x4000]
    canonical = [slot << 39 for slot in range(256)] + [0xFFFF_8000_0000_0000]
    assert [(a.start, a.span, a.count, a.same_as, a.level) for a in of_first] == [
        (GIB, GIB, 510, 0, 2),
        *((start, GIB, 511, 0, 2) for start in canonical[1:]),
    ]
    assert [(a.start, a.span, a.count, a.same_as, a.level) for a in of_second] == [
        (start + 511 * GIB, GIB, 1, 511 * GIB, 2) for start in canonical[1:]
    ]


def test_ways_with_other_rights_are_no_repetition():
    guest = Guest()
    guest.entries(0x1000, [0x2000 | LINK] * 256 + [0x2000 | P | W] * 256)
    guest.entries(0x2000, [0x3000 | LINK] * 512)
    guest.entries(0x3000, [P | W | U | PS])
    space = enumerate_space(guest.memory, cpu())
    assert space.pages == {2 << 20: 512 * 512}
    assert space.runs.start.tolist() == [0, 0xFFFF_8000_0000_0000]
    assert len(np.unique(space.runs.attributes)) == 2
    assert {alias.same_as for alias in space.aliases} == {0, 0xFFFF_8000_0000_0000}


# Windows and pages


def chain(entries, *, top=0):
    """The entry ``top`` of the root leads to a lowest table at 0x4000 that has these entries."""
    guest = Guest()
    guest.entry(0x1000, top, 0x2000 | LINK)
    for table in (0x2000, 0x3000):
        guest.entries(table, [table + 0x1000 | LINK])
    guest.entries(0x4000, entries)
    return guest


@pytest.mark.parametrize("top", [0, 255, 256, 511])
@pytest.mark.parametrize(
    ("first", "last", "pages"),
    [(0, 0, [0]), (PAGE - 1, PAGE, [0, 1]), (PAGE, 2 * PAGE - 1, [1]), (2 * PAGE, 2 * PAGE, [2]), (3 * PAGE, GIB, [])],
)
def test_a_window_anywhere(top, first, last, pages):
    guest = chain([0x5000 | LINK, 0x7000 | LINK, 0x9000 | LINK], top=top)
    base = top << 39 | (0xFFFF << 48 if top > 255 else 0)
    window = (VirtAddr(base + first), VirtAddr(base + last))
    found = enumerate_space(guest.memory, cpu(), window=window)
    assert found.runs.start.tolist() == [base + page * PAGE for page in pages]
    assert found.runs.physical.tolist() == [0x5000 + page * 0x2000 for page in pages]


@pytest.mark.parametrize(
    ("table", "shift", "attribute"),
    [(0x2000, 30, 0), (0x2000, 30, PAT_LARGE), (0x3000, 21, 0), (0x3000, 21, PAT_LARGE)],
)
def test_the_base_of_a_large_page_has_no_pat_bit(table, shift, attribute):
    guest, state = chain([]), cpu()
    guest.entries(table, [3 << shift | attribute | LINK | PS])
    found = enumerate_space(guest.memory, state)
    assert (found.runs.physical.tolist(), found.runs.size.tolist()) == ([3 << shift], [1 << shift])
    assert found.pages == {1 << shift: 1}
    assert walk(guest.memory, state, 5).physical == 3 << shift | 5


@pytest.mark.parametrize("bit", [1 << 13, 1 << 20])
def test_the_base_of_a_4_mib_page_reaches_beyond_32_bits(bit):
    """PSE-36: bits 20:13 of the entry are bits 39:32 of the address (SDM vol. 3A, table 4-4)."""
    guest = Guest()
    guest.entry(0x1000, 1, 0xFFC0_0000 | bit | PAT_LARGE | LINK | PS, size=4)
    found = enumerate_space(guest.memory, cpu("32-bit"))
    assert found.runs.physical.tolist() == [0xFFC0_0000 | bit << 19]
    assert (found.runs.start.tolist(), found.runs.size.tolist()) == ([4 << 20], [4 << 20])


@pytest.mark.parametrize(
    ("flag", "together"),
    [
        (0, True),
        (W, False),
        (U, False),
        (8, False),
        (16, False),
        (32, True),
        (64, True),
        (256, False),
        (PAT_LARGE, False),
        (1 << 63, False),
        (1 << 59, False),
    ],
)
def test_large_neighbours_are_one_run_when_all_is_equal(flag, together):
    """Bit 3 is PWT, 4 PCD, 5 A, 6 D, 8 G (SDM vol. 3A, table 4-18)."""
    guest = chain([])
    guest.entries(0x3000, [P | PS, (2 << 20 | P | PS) ^ flag])
    found = enumerate_space(guest.memory, cpu())
    assert found.runs.start.tolist() == ([0] if together else [0, 2 << 20])
    assert (int(found.runs.size.sum()), found.pages) == (4 << 20, {2 << 20: 2})


def test_every_entry_that_names_a_table_is_a_link():
    """Neighbours, too, and one that is used at two levels."""
    guest = Guest()
    guest.entries(0x1000, [0x2000 | LINK] * 8)
    guest.entries(0x2000, [0x3000 | LINK] * 8)
    guest.entries(0x3000, [0x2000 | LINK] * 8)  # the level-3 table is a level-1 table as well
    links = enumerate_space(guest.memory, cpu()).links
    found = set(zip(links.entry.tolist(), links.table.tolist(), links.level.tolist(), strict=True))
    expected = {(0x1000 + 8 * index, 0x2000, 3) for index in range(8)}
    expected |= {(0x2000 + 8 * index, 0x3000, 2) for index in range(8)}
    expected |= {(0x3000 + 8 * index, 0x2000, 1) for index in range(8)}
    assert found == expected
    assert len(links.entry) == len(expected)


def test_a_thousand_problems_of_all_levels_are_listed():
    guest = chain([0x5000 | P | 1 << 45] * 512)
    guest.entries(0x3000, [0x4000 | LINK, 0x4000 | LINK] + [1 << 38 | LINK] * 3)
    found = enumerate_space(guest.memory, cpu())
    assert (found.problem_count, len(found.problems)) == (2 * 512 + 3, 1000)
    assert len({(problem.address, problem.level) for problem in found.problems}) == 1000


def test_a_root_that_is_no_ram_has_no_tables():
    found = enumerate_space(Guest().memory, cpu(root=1 << 20))
    assert (found.table_frames.tolist(), len(found.links.entry), found.pages) == ([], 0, {})
    assert (found.problem_count, found.problems[0].value, found.problems[0].entry_address) == (1, 1 << 20, None)


# Runs


def runs(*rows):
    """Each row: start, size, physical, attributes."""
    columns = zip(*rows, strict=True) if rows else ((), (), (), ())
    start, size, physical, attributes = (list(column) for column in columns)
    u64 = np.uint64
    return Runs(np.array(start, u64), np.array(size, u64), np.array(physical, u64), np.array(attributes, np.uint32))


def rows(some):
    columns = (some.start, some.size, some.physical, some.attributes)
    return list(zip(*(column.tolist() for column in columns), strict=True))


PLAIN = [(0x1000, 0x1000, 0x5000, 7), (0x2000, 0x2000, 0x6000, 7), (0x4000, PAGE, 0x8000, 7), (0x5000, PAGE, 0x9000, 7)]


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize(("column", "change"), [(0, 0x10_0000), (2, 0x10_0000), (2, -0x1000), (3, 1)])
def test_runs_are_merged_where_all_is_contiguous(at, column, change):
    """From run number ``at`` on one thing is otherwise: what is before is one run, and what is behind."""
    assert rows(merged(runs(*PLAIN))) == [(0x1000, 0x5000, 0x5000, 7)]
    changed = [
        tuple(value + change * (index >= at and place == column) for place, value in enumerate(row))
        for index, row in enumerate(PLAIN)
    ]
    before, behind = changed[:at], changed[at:]
    expected = [(part[0][0], sum(row[1] for row in part), *part[0][2:]) for part in (before, behind)]
    assert rows(merged(runs(*changed))) == expected
    together = [(0x1000, 0x5000, 0x5000, 7)] if column == 2 else expected
    assert rows(merged(runs(*changed), physically=False)) == together


def test_runs_of_several_parts_are_put_in_order():
    assert rows(joined([])) == []
    assert rows(merged(runs())) == []
    assert rows(merged(runs(PLAIN[0]))) == PLAIN[:1]
    whole = [(0x1000, 0x5000, 0x5000, 7)]
    assert rows(joined([runs(*PLAIN[:2]), runs(*PLAIN[2:])])) == whole
    assert rows(joined([runs(*PLAIN[2:]), runs(*PLAIN[:2])])) == whole
    assert rows(joined([runs(PLAIN[0], PLAIN[2]), runs(PLAIN[1], PLAIN[3])])) == whole
    assert runs(*PLAIN).end.tolist() == [0x1FFF, 0x3FFF, 0x4FFF, 0x5FFF]
    assert rows(runs(*PLAIN).take(np.array([3, 0]))) == [PLAIN[3], PLAIN[0]]


def test_runs_whose_attributes_are_wanted():
    writable, both = (0x1000, 0x1000, 0x5000, 1 | 12 << 16), (0x3000, 0x1000, 0x5000, 3 | 12 << 16)
    some = runs(writable, both)
    assert rows(matching(some, lambda attributes: attributes.page.user)) == [both]
    assert rows(matching(some, lambda attributes: attributes.page.writable)) == [writable, both]
    assert rows(matching(some, lambda attributes: False)) == []


# What the machine does not tell


def test_what_is_doubtful_about_a_processor():
    """MAXPHYADDR is assumed where features are not reported."""
    told, assumed = (describe_cpu(cpu(offered=offered, phys_bits=46)).doubts for offered in (frozenset(), None))
    assert len(assumed) == len(told) + 1
    assert ["46" in doubt for doubt in assumed] == [True, False]
    assert not any("46" in doubt for doubt in told)
