"""Bulk enumeration against the walk of single addresses, over random trees, and against counts made by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdbext.machine.cpu import CR4_PGE
from gdbext.units import PhysAddr
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
@settings(max_examples=examples(150), deadline=None)
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
@settings(max_examples=examples(60), deadline=None)
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
        here, there = walk(guest.memory, cpu(), alias.start), walk(guest.memory, cpu(), alias.same_as)
        assert here.physical == there.physical


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
