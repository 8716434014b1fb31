"""Maps of made-up trees: what is folded, found, filtered and named, against counts and addresses made by hand."""

import numpy as np
import pytest

from gdbext.errors import UsageError
from gdbext.machine.cpu import CR4_SMEP
from gdbext.units import PhysAddr, VirtAddr
from gdbext.vmm.filter import parse_filter
from gdbext.vmm.find import find
from gdbext.vmm.map import Names, View, describe
from gdbext.vmm.tree import tree
from gdbext.x86.fault import Report, explain
from gdbext.x86.space import enumerate_space
from gdbext.x86.walk import walk

from .guest import Guest, cpu

P, W, U, PS, NX = 1, 2, 4, 0x80, 1 << 63
LINK = P | W | U
HIGH = 0xFFFF_8000_0000_0000


@pytest.fixture
def guest():
    """The first GiB at 0 and again in the upper half, through one PDPT; one of the first 512 small pages is missing."""
    made = Guest(size=64 << 20)
    made.entry(0x1000, 0, 0x2000 | LINK)
    made.entry(0x1000, 256, 0x2000 | LINK)
    made.entry(0x2000, 0, 0x3000 | LINK)
    made.entry(0x3000, 0, 0x4000 | LINK)
    for index in range(1, 512):
        made.entry(0x3000, index, index << 21 | P | W | PS)
    for index in range(512):
        made.entry(0x4000, index, (index << 12 | P | W) if index != 7 else 0)
    return made


def names(guest):
    return Names(direct_map=VirtAddr(HIGH), ram=guest.ram)


def test_a_shared_subtree_is_listed_twice_and_grown_once(guest):
    space = enumerate_space(guest.memory, cpu())
    maps = describe(space, cpu(), names(guest), View(physically=True))
    assert [(m.start, m.name) for m in maps.mappings] == [
        (0, "identity"),
        (0x8000, "identity"),
        (0x20_0000, "identity"),
        (HIGH, "direct map"),
        (HIGH + 0x8000, "direct map"),
        (HIGH + 0x20_0000, "direct map"),
    ]
    grown = tree(space, cpu(), names(guest))
    assert [(b.level, b.first, b.last, b.kind) for b in grown.branches] == [
        (4, 0, 0, "table"),
        (3, 0, 0, "table"),
        (2, 0, 0, "table"),
        (1, 0, 6, "pages"),
        (1, 8, 511, "pages"),
        (2, 1, 511, "pages"),
        (4, 256, 256, "same"),
    ]


def test_full_tables_are_folded():
    guest = Guest(size=64 << 20)
    for table, target in ((0x1000, 0x2000), (0x2000, 0x3000)):
        guest.entry(table, 0, target | LINK)
    for i in range(8):
        guest.entry(0x3000, i, 0x10000 + i * 0x1000 | LINK)
        guest.entries(0x10000 + i * 0x1000, [(i * 512 + k) << 12 | P | W for k in range(512)])
    branches = tree(enumerate_space(guest.memory, cpu()), cpu(), Names()).branches
    assert [(b.level, b.first, b.last, b.kind) for b in branches] == [
        (4, 0, 0, "table"),
        (3, 0, 0, "table"),
        (2, 0, 7, "full"),
    ]


def test_find_lists_both_halves_cut_to_the_range(guest):
    space = enumerate_space(guest.memory, cpu())
    found = find([("CR3", space)], cpu(), names(guest), PhysAddr(0x6FFF), 0x2002)
    assert [(r.mapping.start, r.mapping.end) for r in found.reaches] == [
        (0x6FFF, 0x7000),
        (0x8000, 0x9001),
        (HIGH + 0x6FFF, HIGH + 0x7000),
        (HIGH + 0x8000, HIGH + 0x9001),
    ]
    assert not found.differing
    assert find([("CR3", space)], cpu(), names(guest), PhysAddr(0x3000), 1).tables == ("CR3",)


def test_find_names_folded_repeats():
    guest = Guest()
    for level, table in enumerate((0x1000, 0x2000, 0x3000)):
        guest.entries(table, [0x1000 * (level + 2) | LINK] * 512)
    guest.entry(0x4000, 5, 0x5000 | LINK)
    space = enumerate_space(guest.memory, cpu())
    found = find([("CR3", space)], cpu(), Names(), PhysAddr(0x5000), 1)
    assert found.reaches[0].mapping.start == 0x5000
    assert found.repeats
    for repeat in found.repeats:
        assert walk(guest.memory, cpu(), repeat.start).physical == 0x5000
        assert walk(guest.memory, cpu(), repeat.start + repeat.span * (repeat.count - 1)).physical == 0x5000


def test_raw_cuts_into_pages_and_filters_hold(guest):
    space = enumerate_space(guest.memory, cpu())
    raw = describe(space, cpu(), names(guest), View(raw=True))
    assert len(raw.mappings) == 2 * (511 + 511) == sum(space.pages.values())
    large = describe(space, cpu(), names(guest), View(raw=True, wanted=parse_filter("2m,w", cpu())))
    assert len(large.mappings) == 2 * 511
    assert describe(space, cpu(), names(guest), View(wanted=parse_filter("!x", cpu()))).mappings == ()
    user = describe(space, cpu(cr4=CR4_SMEP), names(guest), View(wanted=parse_filter("user", cpu())))
    assert user.mappings == ()
    for wrong in ("q", "", "!!zz"):
        with pytest.raises(UsageError):
            parse_filter(wrong, cpu())


@pytest.mark.parametrize("address", [0, 0x7000, HIGH, 1 << 40, 0x8000_0000_0000, 0x20_0000])
def test_every_error_code_gets_a_verdict(guest, address):
    for code in [*range(64), 1 << 6, 1 << 15, 1 << 20]:
        fault = explain(guest.memory, cpu(), address, Report(code, None, fetch=False, source="a test"))
        assert fault.verdict
        assert "\n" not in fault.verdict
        mapped = fault.walk.physical is not None
        if mapped and code in (1, 3, 17):
            assert "the tables allow this" in fault.verdict
        if mapped and code == 5:
            assert "U is clear" in fault.verdict
        if not mapped and code == 0 and fault.walk.steps:
            assert fault.blame == fault.walk.steps[-1].entry_address


def test_runs_stay_in_order_whatever_the_levels(guest):
    runs = enumerate_space(guest.memory, cpu()).runs
    assert np.all(runs.start[1:] > runs.start[:-1])
