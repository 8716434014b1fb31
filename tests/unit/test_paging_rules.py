"""Rules of page tables on made-up trees: findings and their addresses, derived by hand."""

import pytest

from gdbext.checks.finding import run_rules
from gdbext.checks.translation.paging import PAGING_RULES, PagingInputs
from gdbext.machine.memory import RamMap, RamRange
from gdbext.units import PhysAddr
from gdbext.vmm.map import Names
from gdbext.x86.space import enumerate_space
from gdbext.x86.walk import walk

from .guest import Guest, cpu

MIB = 1 << 20
P, W, PCD, PS = 1, 2, 0x10, 0x80
WINDOW = 0xFFFF_8000_0000_0000
RAM = [(0, 10 * MIB), (10 * MIB, 16 * MIB), (17 * MIB, 24 * MIB)]
"""What is RAM: two ranges that touch, and a hole of 1 MiB before the third."""


def devices(first, count, *, flags=0, ram=RAM):
    """PT31 over ``count`` 2-MiB pages from ``WINDOW`` on, physical from ``first``: rule, virtual, what is there."""
    guest = Guest(size=24 * MIB)
    guest.entry(0x1000, 256, 0x2000 | P | W)
    guest.entry(0x2000, 0, 0x3000 | P | W)
    for index in range(count):
        guest.entry(0x3000, index, first + index * 2 * MIB | P | W | PS | flags)
    space = enumerate_space(guest.memory, cpu())
    inputs = PagingInputs(
        space=space,
        cpu=cpu(),
        ram=RamMap(RamRange(PhysAddr(start), PhysAddr(end)) for start, end in ram),
        names=Names(),
        boot_map=None,
        walk=lambda address: walk(guest.memory, cpu(), address),
        roots=(),
    )
    report = run_rules([rule for rule in PAGING_RULES if rule.id == "PT31"], inputs)
    return [(finding.id, finding.address, finding.actual) for finding in report.findings]


@pytest.mark.parametrize(
    ("first", "count", "bare"),
    [
        (4 * MIB, 6, None),  # over the border of two ranges that touch, to the very end of RAM
        (4 * MIB, 7, 16 * MIB),  # RAM in front
        (16 * MIB, 2, 16 * MIB),  # RAM behind
        (14 * MIB, 5, 16 * MIB),  # RAM at both ends
        (18 * MIB, 4, 24 * MIB),  # over the end of all RAM
        (32 * MIB, 3, 32 * MIB),  # none at all
    ],
)
def test_cached_mapping_without_ram_is_named_where_ram_is_missing(first, count, bare):
    expected = [] if bare is None else [("PT31", WINDOW + bare - first, says(bare))]
    assert devices(first, count) == expected


def says(physical):
    return f"physical {physical:#x} is not RAM, and its memory type is wb"


def test_uncached_mapping_without_ram_is_sound():
    assert devices(32 * MIB, 3, flags=PCD) == []


def test_a_hole_that_begins_within_a_page():
    assert devices(0, 1, ram=[(0, 0xA0000), (MIB, 24 * MIB)]) == [("PT31", WINDOW + 0xA0000, says(0xA0000))]


def test_without_any_ram_every_mapping_is_named():
    assert devices(2 * MIB, 2, ram=[]) == [("PT31", WINDOW, says(2 * MIB))]
