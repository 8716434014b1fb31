"""The walk against expectations derived by hand from the manuals, the mistakes of other tools among them."""

import pytest

from gdbext.machine.cpu import CR0_PG, CR4_PGE, CR4_PKE, CR4_SMAP, CR4_SMEP, EFER_LMA, EFER_LME, EFER_NXE, RFLAGS_AC
from gdbext.units import PhysAddr, Word64
from gdbext.vmm.map import Names, View, describe
from gdbext.x86.space import enumerate_space
from gdbext.x86.walk import Outcome, translated, walk

from .guest import CR0, Guest, cpu

P, W, U, A, PS, G, NX = 1, 2, 4, 0x20, 0x80, 0x100, 1 << 63
LINK = P | W | U


def four_levels(leaf=0x5000 | P | W | U, *, pml4e=0x2000 | LINK, pdpte=0x3000 | LINK, pde=0x4000 | LINK):
    """Address 0 through tables at 0x1000, 0x2000, 0x3000 and 0x4000."""
    guest = Guest()
    guest.entry(0x1000, 0, pml4e)
    guest.entry(0x2000, 0, pdpte)
    guest.entry(0x3000, 0, pde)
    guest.entry(0x4000, 0, leaf)
    return guest


def rights(result):
    return str(result.supervisor), str(result.user)


def test_every_level_is_shown():
    result = walk(four_levels().memory, cpu(), 0x123)
    assert result.physical == 0x5123
    assert result.page_size == 4096
    assert [(s.level, s.table, s.index, s.entry_address, s.value) for s in result.steps] == [
        (4, 0x1000, 0, 0x1000, 0x2007),
        (3, 0x2000, 0, 0x2000, 0x3007),
        (2, 0x3000, 0, 0x3000, 0x4007),
        (1, 0x4000, 0, 0x4000, 0x5007),
    ]
    assert result.steps[-1].flags == ("P", "W", "U")


@pytest.mark.parametrize(("cr4", "expected"), [(0, False), (CR4_PGE, True)])
def test_a_page_is_global_only_while_the_processor_heeds_g(cr4, expected):
    guest, state = four_levels(0x5000 | P | G), cpu(cr4=cr4)
    found = walk(guest.memory, state, 0)
    assert found.is_global is expected
    assert "G" in found.steps[-1].flags  # the bit is there all the same
    (mapping,) = describe(enumerate_space(guest.memory, state), state, Names(), View()).mappings
    assert mapping.is_global is expected


def test_mistake_1_write_right_is_the_and_of_all_levels():
    guest = four_levels(pde=0x4000 | P | U)
    assert rights(walk(guest.memory, cpu(), 0)) == ("r-x", "r-x")
    without_wp = walk(guest.memory, cpu(cr0=CR0_PG | 1), 0)
    assert rights(without_wp) == ("rwx", "r-x")


def test_mistake_2_nx_above_a_large_page():
    guest = four_levels(pml4e=0x2000 | LINK | NX, pde=0x20_0000 | LINK | PS)
    result = walk(guest.memory, cpu(), 0x1234)
    assert (result.physical, result.page_size) == (0x20_1234, 2 << 20)
    assert rights(result) == ("rw-", "rw-")


def test_mistake_4_five_levels():
    guest = Guest()
    guest.entry(0x1000, 0, 0x2000 | LINK)
    guest.entry(0x2000, 256, 0x3000 | LINK)
    guest.entry(0x3000, 0, 0x4000 | LINK)
    guest.entry(0x4000, 0, LINK | PS)
    space = enumerate_space(guest.memory, cpu("5-level"))
    assert space.runs.start.tolist() == [0x0000_8000_0000_0000]
    assert walk(guest.memory, cpu("5-level"), 0x0000_8000_0000_0000).physical == 0
    assert walk(guest.memory, cpu("5-level"), 0xFFFF_8000_0000_0000).outcome is Outcome.NOT_PRESENT


def test_mistakes_5_and_6_pae():
    # CR3 holds bits 31:5 of a table of four entries; a 2-MiB page takes bits 51:21 of its entry.
    guest = Guest()
    guest.entry(0x1020, 1, 0x2000 | P)
    guest.entry(0x2000, 3, 0x8_0060_0000 | P | W | PS)
    result = walk(guest.memory, cpu("pae", root=0x1020), 0x4000_0000 + (3 << 21) + 0x345)
    assert (result.mode, result.physical, result.page_size) == ("pae", 0x8_0060_0345, 2 << 20)
    assert rights(result) == ("rwx", "---")
    space = enumerate_space(guest.memory, cpu("pae", root=0x1020))
    assert (space.runs.start.tolist(), space.runs.physical.tolist()) == ([0x4060_0000], [0x8_0060_0000])


def test_mistake_7_table_outside_ram():
    guest = four_levels(pde=0x7F_FFFF_F000 | LINK)
    result = walk(guest.memory, cpu(), 0)
    assert (result.outcome, result.stopped_at) == (Outcome.UNREADABLE, 1)
    assert "0x7ffffff000 is not RAM" in result.verdict
    assert "0x3000" in result.verdict
    space = enumerate_space(guest.memory, cpu())
    assert [(p.kind, p.level, p.entry_address) for p in space.problems] == [("unreadable", 1, 0x3000)]


def test_mistake_8_large_bit_in_a_pml4e():
    guest = four_levels(pml4e=0x2000 | LINK | PS)
    result = walk(guest.memory, cpu(), 0)
    assert (result.outcome, result.stopped_at) == (Outcome.RESERVED_BITS, 4)
    assert "bit 7" in result.verdict
    assert [(p.kind, p.entry_address) for p in enumerate_space(guest.memory, cpu()).problems] == [
        ("reserved-bits", 0x1000)
    ]


def test_mistake_10_accessed_is_the_leafs_own():
    result = walk(four_levels(pml4e=0x2000 | LINK | A).memory, cpu(), 0)
    assert "A" not in result.steps[-1].flags


def test_mistake_14_pat_of_a_large_page_is_no_address():
    guest = four_levels(pde=0x20_1000 | LINK | PS)
    result = walk(guest.memory, cpu(), 0)
    assert result.physical == 0x20_0000
    assert "PAT" in result.steps[-1].flags


def test_mistake_15_address_bits_up_to_maxphyaddr():
    guest = four_levels(leaf=1 << 51 | 0x5000 | P)
    assert walk(guest.memory, cpu(phys_bits=52), 0).physical == 1 << 51 | 0x5000
    result = walk(guest.memory, cpu(phys_bits=40), 0)
    assert (result.outcome, result.stopped_at) == (Outcome.RESERVED_BITS, 1)
    assert "bit 51" in result.verdict


def test_mistake_16_paging_off():
    result = walk(Guest().memory, cpu(cr0=0x10), 0x1234)
    assert (result.outcome, result.physical, result.mode) == (Outcome.MAPPED, 0x1234, "none")
    assert "paging is off: virtual = physical" in result.verdict
    assert "segment's base" in result.doubts[0]
    assert walk(Guest().memory, cpu(cr0=0x11), 0x1234).doubts == ()
    assert walk(Guest().memory, cpu(cr0=0x11), 0xFFFF_FFFF_8000_0000).outcome is Outcome.NON_CANONICAL


def test_large_page_with_misaligned_base_has_reserved_bits():
    result = walk(four_levels(pde=0x20_2000 | LINK | PS).memory, cpu(), 0)
    assert result.outcome is Outcome.RESERVED_BITS
    assert "bit 13" in result.verdict


def test_nx_is_reserved_without_nxe():
    guest = four_levels(leaf=0x5000 | LINK | NX)
    result = walk(guest.memory, cpu(efer=EFER_LMA | EFER_LME), 0)
    assert (result.outcome, result.stopped_at) == (Outcome.RESERVED_BITS, 1)


def test_lme_alone_is_not_long_mode():
    assert walk(Guest().memory, cpu("32-bit", efer=EFER_LME | EFER_NXE), 0).mode == "32-bit"


def test_gigabyte_page_needs_a_processor_that_has_them():
    guest = four_levels(pdpte=LINK | PS)
    assert walk(guest.memory, cpu(), 0x1234_5678).physical == 0x1234_5678
    assert walk(guest.memory, cpu(offered=frozenset()), 0).outcome is Outcome.RESERVED_BITS


@pytest.mark.parametrize(
    ("entry", "address", "physical"),
    [
        (0x0080_0000 | P | PS, 0x0040_0123, 0x0080_0123),
        (0x0080_0000 | 0xFF << 13 | P | PS, 0x0040_0123, 0xFF_0080_0123),  # PSE-36
    ],
)
def test_two_levels_with_4_mib_pages(entry, address, physical):
    guest = Guest()
    guest.entry(0x1000, 1, entry, size=4)
    result = walk(guest.memory, cpu("32-bit"), address)
    assert (result.physical, result.page_size) == (physical, 4 << 20)
    space = enumerate_space(guest.memory, cpu("32-bit"))
    assert space.runs.physical.tolist() == [physical - 0x123]


def test_two_levels_with_4_kib_pages_and_a_sign_extended_address():
    guest = Guest()
    guest.entry(0x1000, 0x300, 0x2000 | LINK, size=4)
    guest.entry(0x2000, 1, 0x6000 | LINK, size=4)
    for address in (0xC000_1008, 0xFFFF_FFFF_C000_1008):
        assert walk(guest.memory, cpu("32-bit"), address).physical == 0x6008
    assert walk(guest.memory, cpu("32-bit"), 0x1_C000_1008).outcome is Outcome.NON_CANONICAL


def test_non_canonical_is_general_protection():
    result = walk(Guest().memory, cpu(), 0x0000_8000_0000_0000)
    assert result.outcome is Outcome.NON_CANONICAL
    assert "#GP" in result.verdict


def test_smep_and_smap_close_user_pages_to_the_supervisor():
    guest = four_levels()
    assert rights(walk(guest.memory, cpu(cr4=CR4_SMEP), 0)) == ("rw-", "rwx")
    assert rights(walk(guest.memory, cpu(cr4=CR4_SMAP), 0)) == ("--x", "rwx")
    with_ac = cpu(cr4=CR4_SMAP, rflags=Word64(RFLAGS_AC))
    assert rights(walk(guest.memory, with_ac, 0)) == ("rwx", "rwx")


def test_protection_keys():
    guest = four_levels(leaf=0x5000 | LINK | 3 << 59)
    closed = cpu(cr4=CR4_PKE, pkru=Word64(1 << 6))
    assert rights(walk(guest.memory, closed, 0)) == ("--x", "--x")
    no_write = cpu(cr4=CR4_PKE, pkru=Word64(2 << 6))
    assert rights(walk(guest.memory, no_write, 0)) == ("r-x", "r-x")
    no_write_no_wp = cpu(cr4=CR4_PKE, pkru=Word64(2 << 6), cr0=CR0 & ~(1 << 16))
    assert rights(walk(guest.memory, no_write_no_wp, 0)) == ("rwx", "r-x")
    unknown = walk(guest.memory, cpu(cr4=CR4_PKE), 0)
    assert "protection key 3" in unknown.doubts[0]


def test_user_needs_u_at_every_level():
    result = walk(four_levels(pdpte=0x3000 | P | W).memory, cpu(), 0)
    assert rights(result) == ("rwx", "---")
    assert result.limits == ("closed to user mode: U is clear in level 3 (0x2000)",)


def test_root_outside_ram_is_named():
    result = walk(Guest().memory, cpu(), 0, PhysAddr(0x7F_FFFF_F000))
    assert result.outcome is Outcome.UNREADABLE
    assert "it is the root" in result.verdict


@pytest.mark.parametrize(
    ("entries", "address", "physical"),
    [
        ({}, 0, 0x5000),
        ({}, 0xFFF, 0x5FFF),
        ({}, 0x1000, None),
        ({"pde": 0x60_0000 | LINK | PS}, 0x1F_FFFF, 0x7F_FFFF),
        ({"pdpte": 3 << 30 | LINK | PS}, 0x3FFF_FFFF, 0xFFFF_FFFF),
        ({"leaf": 0}, 0, None),
        ({"leaf": 0x5000 | W | U}, 0, None),  # all but P
        ({"pde": 0x4000 | W | U}, 0, None),
        ({"leaf": 0x5000 | LINK | 1 << 45}, 0, None),
        ({"pml4e": 0x2000 | LINK | PS}, 0, None),
        ({"pde": 0x7F_FFFF_F000 | LINK}, 0, None),
        ({}, 1 << 47, None),
        ({"leaf": 0x7F_FFFF_F000 | LINK}, 1, 0x7F_FFFF_F001),
    ],
)
def test_where_an_address_leads(entries, address, physical):
    """By the whole walk, and by the short one that says nothing else."""
    memory, state = four_levels(**entries).memory, cpu()
    found = walk(memory, state, address)
    assert found.physical == translated(memory, state, address) == physical
    assert (found.outcome is Outcome.MAPPED) == (physical is not None)
    assert not found.is_global
    assert translated(memory, cpu(root=0x9000), address, PhysAddr(0x1000)) == physical
    assert translated(memory, cpu(root=0x9000), address) is None


def test_where_an_address_leads_without_paging():
    memory = Guest().memory
    assert translated(memory, cpu(cr0=1), 0x1234) == walk(memory, cpu(cr0=1), 0x1234).physical == 0x1234
    assert translated(memory, cpu(cr0=1), 1 << 32) is None
