"""Bulk enumeration against the walk of single addresses, over random trees, and against counts made by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdbext.errors import UsageError
from gdbext.machine.cpu import CR4_PGE
from gdbext.units import PhysAddr, VirtAddr
from gdbext.x86.attributes import attributes_of
from gdbext.x86.modes import paging_mode
from gdbext.x86.space import enumerate_space
from gdbext.x86.walk import Outcome, permissions, walk

from ..budget import examples
from .guest import MODES, Guest, cpu

P, W, U, PS, NX = 1, 2, 4, 0x80, 1 << 63
LINK = P | W | U
TABLES = 12  # frames 1 to 12 of the made-up machine may become tables of any level

flags = st.sampled_from([P, P | W, P | W | U, P | U, P | W | U | PS, P | PS, P | W | NX, P | 0x18, P | 0x100, 0])
frame = st.one_of(st.integers(1, TABLES), st.integers(0, 0x300), st.sampled_from([0xFFFFF, 1 << 27]))
index = st.one_of(st.integers(0, 511), st.sampled_from([0, 1, 2, 3, 255, 256, 510, 511]))
entry = st.tuples(st.integers(1, TABLES), index, frame, flags)


def plant(guest, mode, entries):
    size = paging_mode(cpu(mode)).entry_size
    for table, at, target, bits in entries:
        value = target << 12 | bits
        guest.entry(table << 12, at, value & 0xFFFF_FFFF if size == 4 else value, size=size)


def addresses_of_interest(space, mode):
    """The borders of all runs, aliases and problems, and their neighbours."""
    starts = space.runs.start.tolist() + [p.address for p in space.problems] + [a.start for a in space.aliases]
    ends = space.runs.end.tolist()
    limit = (1 << 64) - 1 if paging_mode(cpu(mode)).long else (1 << 32) - 1
    near = {a + d for a in starts for d in (-1, 0)} | {a + d for a in ends for d in (0, 1)}
    return [a for a in near if 0 <= a <= limit]


def found_in(space, address):
    """The run that holds an address, as physical address, attributes; None when no run does."""
    at = int(np.searchsorted(space.runs.start, np.uint64(address), side="right")) - 1
    if at < 0 or address > int(space.runs.end[at]):
        return None
    physical = int(space.runs.physical[at]) + address - int(space.runs.start[at])
    return physical, attributes_of(int(space.runs.attributes[at]))


@pytest.mark.parametrize("mode", list(MODES))
@given(entries=st.lists(entry, max_size=60))
@settings(max_examples=examples(150))
def test_enumeration_and_walk_agree(mode, entries):
    guest, state = Guest(), cpu(mode, cr4=CR4_PGE)
    plant(guest, mode, entries)
    space = enumerate_space(guest.memory, state)
    assert not space.aliases
    assert np.all(space.runs.start[1:] > space.runs.end[:-1])
    for address in addresses_of_interest(space, mode):
        single = walk(guest.memory, state, address)
        bulk = found_in(space, address)
        if single.outcome is not Outcome.MAPPED:
            assert bulk is None, hex(address)
            continue
        assert bulk is not None, hex(address)
        physical, attributes = bulk
        assert physical == single.physical
        assert attributes.page_size == single.page_size
        mode = paging_mode(state)
        assert mode
        assert attributes.page == permissions(mode, single.steps)
        assert attributes.is_global == single.is_global


@pytest.mark.parametrize("mode", list(MODES))
@given(entries=st.lists(entry, max_size=40), a=st.integers(0, (1 << 64) - 1), size=st.integers(1, 1 << 40))
@settings(max_examples=examples(60))
def test_a_window_is_a_part_of_the_whole(mode, entries, a, size):
    guest, state = Guest(), cpu(mode)
    plant(guest, mode, entries)
    kind = paging_mode(state)
    a = kind.sign_extend(a & ((1 << kind.address_bits) - 1))
    b = kind.linear(min(a + size, (1 << 64) - 1 if kind.long else (1 << 32) - 1))
    if b is None or (a >> 63) != (b >> 63):
        return
    whole, part = enumerate_space(guest.memory, state), enumerate_space(guest.memory, state, window=(a, b))
    inside = (whole.runs.end >= np.uint64(a)) & (whole.runs.start <= np.uint64(b))
    # Runs may be cut at the window's borders, but every address of the window is answered alike.
    for start, end in zip(whole.runs.start[inside].tolist(), whole.runs.end[inside].tolist(), strict=True):
        for address in (max(a, start), min(b, end)):
            assert found_in(part, address) == found_in(whole, address)
    for start in part.runs.start.tolist():
        assert found_in(part, start) == found_in(whole, start)


def test_mistake_3_two_roots_entries_with_one_value_are_both_listed():
    guest = Guest()
    guest.entries(0x1000, [0x2000 | LINK])
    guest.entry(0x1000, 256, 0x2000 | LINK)
    guest.entries(0x2000, [LINK | PS])
    space = enumerate_space(guest.memory, cpu())
    assert space.runs.start.tolist() == [0, 0xFFFF_8000_0000_0000]
    assert space.pages == {1 << 30: 2}


def test_mistake_9_512_entries_to_one_frame():
    guest = Guest()
    guest.entries(0x1000, [0x2000 | LINK])
    guest.entries(0x2000, [0x3000 | LINK])
    guest.entries(0x3000, [0x4000 | LINK])
    guest.entries(0x4000, [0x5000 | LINK] * 512)
    space = enumerate_space(guest.memory, cpu())
    assert space.pages == {4096: 512}
    assert len(space.runs) == 512
    assert set(space.runs.physical.tolist()) == {0x5000}


def test_a_tree_of_aliases_is_folded_and_counted():
    guest = Guest()
    for level, table in enumerate((0x1000, 0x2000, 0x3000)):
        guest.entries(table, [0x1000 * (level + 2) | LINK] * 512)
    guest.entries(0x4000, [0x5000 | LINK] * 512)
    space = enumerate_space(guest.memory, cpu())
    assert space.pages == {4096: 512**4}
    assert space.problem_count == 0
    # Whatever is not listed is an alias of something that is: together they are the whole space.
    listed = int(space.runs.size.sum())
    assert listed + sum(alias.count * alias.span for alias in space.aliases if alias.level == 1) >= 512 * 512 * 4096
    for alias in space.aliases:
        assert alias.start > alias.same_as
        here, there = walk(guest.memory, cpu(), alias.start), walk(guest.memory, cpu(), alias.same_as)
        assert here.physical == there.physical


def chain(entries, guest=None):
    """Address 0 through 0x1000, 0x2000 and 0x3000 to a lowest table at 0x4000 that has these entries."""
    guest = guest or Guest()
    for table in (0x1000, 0x2000, 0x3000):
        guest.entries(table, [table + 0x1000 | LINK])
    guest.entries(0x4000, entries)
    return guest


@pytest.mark.parametrize("count", [0, 1, 512, 513, 999, 1000, 1001, 1024])
@pytest.mark.parametrize("kind", ["reserved-bits", "unreadable"])
def test_problems_are_counted_and_the_first_thousand_listed(kind, count):
    """In two neighbouring tables: of entries with a reserved bit, and of entries that name tables outside RAM."""
    entry, above, shift = (
        (0x5000 | P | 1 << 45, 0x3000, 12) if kind == "reserved-bits" else (1 << 38 | LINK, 0x2000, 21)
    )
    guest = chain([])
    guest.entries(above, [0x6000 | LINK, 0x7000 | LINK])
    guest.entries(0x6000, [entry] * min(count, 512))
    guest.entries(0x7000, [entry] * max(count - 512, 0))
    space = enumerate_space(guest.memory, cpu())
    listed = range(min(count, 1000))
    assert (space.problem_count, {p.kind for p in space.problems}) == (count, {kind} if count else set())
    assert [p.address for p in space.problems] == [number << shift for number in listed]
    assert [p.entry_address for p in space.problems] == [0x6000 + 8 * number for number in listed]


def test_problems_of_both_kinds_add_up():
    guest = chain([0x5000 | P | 1 << 45, 0x5000 | LINK, 0x6000 | P | 1 << 50])
    guest.entry(0x3000, 1, 0x7F_FFFF_F000 | LINK)
    guest.entry(0x1000, 511, 0x2000 | LINK | PS)
    space = enumerate_space(guest.memory, cpu())
    assert space.problem_count == len(space.problems) == 4
    assert {(p.kind, p.level, p.address, p.entry_address, p.value) for p in space.problems} == {
        ("reserved-bits", 1, 0, 0x4000, 0x5000 | P | 1 << 45),
        ("reserved-bits", 1, 0x2000, 0x4010, 0x6000 | P | 1 << 50),
        ("unreadable", 1, 1 << 21, 0x3008, 0x7F_FFFF_F000),
        ("reserved-bits", 4, 0xFFFF_FF80_0000_0000, 0x1FF8, 0x2000 | LINK | PS),
    }
    assert {p.detail for p in space.problems if p.level == 4} == {"bit 7 must be 0"}


def test_entries_that_name_tables():
    guest = chain([0x5000 | LINK])
    guest.entry(0x1000, 511, 0x2000 | LINK)
    space = enumerate_space(guest.memory, cpu())
    links = space.links
    columns = (links.entry, links.table, links.level, links.start)
    assert sorted(zip(*(column.tolist() for column in columns), strict=True)) == [
        (0x1000, 0x2000, 3, 0),
        (0x1FF8, 0x2000, 3, 0xFFFF_FF80_0000_0000),
        (0x2000, 0x3000, 2, 0),
        (0x3000, 0x4000, 1, 0),
    ]
    assert space.table_frames.tolist() == [1, 2, 3, 4]
    assert space.level_spans == (1 << 39, 1 << 30, 1 << 21, 1 << 12)
    assert (space.mode, space.root) == ("4-level", 0x1000)


@pytest.mark.parametrize(
    ("first", "last", "pages"),
    [
        (0, 0xFFF, [0]),
        (0, 0x1000, [0, 1]),
        (0xFFF, 0x1000, [0, 1]),
        (0x1000, 0x1FFF, [1]),
        (0x1001, 0x1001, [1]),
        (0x3000, 0x10_0000, [3]),
        (0x4000, 0x10_0000, []),
    ],
)
def test_a_window_to_the_page(first, last, pages):
    guest = chain([0x5000 | LINK, 0x7000 | LINK, 0x9000 | LINK, 0xB000 | LINK])
    space = enumerate_space(guest.memory, cpu(), window=(VirtAddr(first), VirtAddr(last)))
    assert space.runs.start.tolist() == [0x1000 * page for page in pages]
    assert space.runs.physical.tolist() == [0x5000 + 0x2000 * page for page in pages]


def test_without_paging_there_is_nothing_to_enumerate():
    with pytest.raises(UsageError, match="paging is off"):
        enumerate_space(Guest().memory, cpu(cr0=1))


def test_what_is_folded_and_what_is_listed_are_the_whole():
    """512 x 512 ways to one page directory, whose only table has two pages: each way is listed, or an alias of one."""
    guest = Guest()
    guest.entries(0x1000, [0x2000 | LINK] * 512)
    guest.entries(0x2000, [0x3000 | LINK] * 512)
    guest.entries(0x3000, [0x4000 | LINK])
    guest.entries(0x4000, [0x5000 | LINK, 0x6000 | LINK])
    space = enumerate_space(guest.memory, cpu())
    assert space.pages == {4096: 2 * 512 * 512}
    listed = {start >> 30 for start in space.runs.start.tolist()}
    folded = {
        (alias.start + n * alias.span) % (1 << 64) >> 30
        for alias in space.aliases
        for n in range(alias.count)
        if alias.span == 1 << 30
    }
    assert len(space.runs) == len(listed)
    assert not listed & folded
    assert len(listed) + len(folded) == 512 * 512
    for alias in space.aliases:
        assert alias.table in (0x2000, 0x3000)
        last = alias.start + (alias.count - 1) * alias.span
        assert (alias.start ^ last) >> 47 == 0, "an alias over the hole between the halves"


def test_a_root_that_names_itself_ends():
    guest = Guest()
    guest.entries(0x1000, [0x1000 | LINK] * 512)
    space = enumerate_space(guest.memory, cpu())
    assert space.pages == {4096: 512**4}
    assert space.table_frames.tolist() == [1]


def test_topmost_page():
    guest = Guest()
    guest.entry(0x1000, 511, 0x2000 | LINK)
    guest.entry(0x2000, 511, 0x3000 | LINK)
    guest.entry(0x3000, 511, 0x4000 | LINK)
    guest.entry(0x4000, 511, 0x5000 | LINK)
    runs = enumerate_space(guest.memory, cpu()).runs
    assert (runs.start.tolist(), runs.end.tolist()) == ([0xFFFF_FFFF_FFFF_F000], [0xFFFF_FFFF_FFFF_FFFF])


def test_root_that_is_not_ram_is_a_problem():
    space = enumerate_space(Guest().memory, cpu(), PhysAddr(0x7F_FFFF_F000))
    assert len(space.runs) == 0
    assert [(p.kind, p.entry_address) for p in space.problems] == [("unreadable", None)]
