"""Formats of entries, each bit at its place: tables worked out by hand from the manuals, not from the code.

Intel SDM vol. 3A: tables 4-4 to 4-20 (entries), 4.1.1 (modes), 12-10 and 12-11 (PAT); AMD APM vol. 2, 5.3 and 5.4.
"""

from dataclasses import replace

import numpy as np
import pytest

from gdbext.machine.cpu import CR4_PAE, CR4_PGE, EFER_LMA, EFER_LME, EFER_NXE
from gdbext.units import Word64
from gdbext.x86.attributes import Attributes, attributes_of
from gdbext.x86.modes import paging_mode
from gdbext.x86.rights import Permissions
from gdbext.x86.space import enumerate_space
from gdbext.x86.walk import Outcome, bit_list, walk

from .guest import Guest, cpu

P, W, U, PWT, PCD, A, D, PS, G = (1 << bit for bit in range(9))
PAT_SMALL, PAT_LARGE, NX = 1 << 7, 1 << 12, 1 << 63
LINK = P | W | U
TYPES = ["uc", "wc", "wt", "wp", "wb", "uc-", "uc", "wb"]
PAT = sum({"uc": 0, "wc": 1, "wt": 4, "wp": 5, "wb": 6, "uc-": 7}[name] << 8 * i for i, name in enumerate(TYPES))
"""A PAT all of whose neighbours differ: entry i is ``TYPES[i]``."""
LEAVES = {
    "4-level": [(1, 8, PAT_SMALL), (2, 8, PAT_LARGE), (3, 8, PAT_LARGE)],
    "5-level": [(1, 8, PAT_SMALL), (2, 8, PAT_LARGE), (3, 8, PAT_LARGE)],
    "pae": [(1, 8, PAT_SMALL), (2, 8, PAT_LARGE)],
    "32-bit": [(1, 4, PAT_SMALL), (2, 4, PAT_LARGE)],
}
DEPTH = {"4-level": 4, "5-level": 5, "pae": 3, "32-bit": 2}
SHIFTS = {"4-level": (12, 21, 30), "5-level": (12, 21, 30), "pae": (12, 21), "32-bit": (12, 22)}
EACH_LEAF = [(mode, level) for mode, leaves in LEAVES.items() for level, _, _ in leaves]


def mapped(mode, level, flags, base=0):
    """Address 0 mapped by a leaf of this level; the tables are 0x1000, 0x2000 and so on from the root down."""
    guest, size = Guest(), 4 if mode == "32-bit" else 8
    for above in range(DEPTH[mode], level, -1):
        table = 0x1000 * (DEPTH[mode] - above + 1)
        top = P if mode == "pae" and above == 3 else LINK
        guest.entry(table, 0, table + 0x1000 | top, size=size)
    guest.entry(0x1000 * (DEPTH[mode] - level + 1), 0, base | flags | (PS if level > 1 else 0), size=size)
    return guest


@pytest.mark.parametrize(("mode", "level"), EACH_LEAF)
@pytest.mark.parametrize("number", range(8))
def test_pat_pcd_and_pwt_choose_the_memory_type(mode, level, number):
    """The PAT bit is bit 7 of a 4-KiB leaf and bit 12 of every larger one; PCD is bit 4, PWT bit 3."""
    pat = next(bit for of, _, bit in LEAVES[mode] if of == level)
    flags = LINK | (PWT if number & 1 else 0) | (PCD if number & 2 else 0) | (pat if number & 4 else 0)
    guest, state = mapped(mode, level, flags), cpu(mode, pat=Word64(PAT))
    found = walk(guest.memory, state, 0)
    assert (found.outcome, found.physical, found.cache) == (Outcome.MAPPED, 0, TYPES[number])
    assert ("PWT" in found.steps[-1].flags, "PCD" in found.steps[-1].flags, "PAT" in found.steps[-1].flags) == (
        bool(number & 1),
        bool(number & 2),
        bool(number & 4),
    )
    bulk = attributes_of(int(enumerate_space(guest.memory, state).runs.attributes[0]))
    assert (bulk.pwt, bulk.pcd, bulk.pat) == (bool(number & 1), bool(number & 2), bool(number & 4))
    assert (bulk.page, bulk.is_global, bulk.user_lost) == (PLAIN.page, False, False)


@pytest.mark.parametrize(("mode", "level"), EACH_LEAF)
@pytest.mark.parametrize(("flag", "name"), [(W, "W"), (U, "U"), (A, "A"), (D, "D"), (G, "G"), (NX, "NX")])
def test_each_flag_alone(mode, level, flag, name):
    """A flag shows under its name and in the bulk attributes under its meaning, and nothing else does."""
    if flag == NX and mode == "32-bit":
        return
    guest, state = mapped(mode, level, P | flag), cpu(mode, cr4=CR4_PGE)
    found = walk(guest.memory, state, 0)
    assert set(found.steps[-1].flags) == {"P", name} | ({"PS"} if level > 1 else set())
    bulk = attributes_of(int(enumerate_space(guest.memory, state).runs.attributes[0]))
    assert bulk.page.writable is (flag == W)
    assert bulk.page.user is (flag == U)
    assert bulk.page.executable is (flag != NX)
    assert bulk.is_global is found.is_global is (flag == G)
    assert bulk.page_size == found.page_size == 1 << SHIFTS[mode][level - 1]
    assert (bulk.pwt, bulk.pcd, bulk.pat, bulk.user_lost, bulk.page.key) == (False, False, False, False, 0)


PLAIN = Attributes(
    Permissions(writable=True, user=True, executable=True),
    is_global=False, pwt=False, pcd=False, pat=False, user_lost=False, page_size=4096,
)  # fmt: skip


@pytest.mark.parametrize("key", [0, 1, 2, 4, 8, 15])
@pytest.mark.parametrize("level", [1, 2, 3])
def test_the_protection_key_is_bits_62_to_59(level, key):
    guest = mapped("4-level", level, LINK | key << 59)
    bulk = attributes_of(int(enumerate_space(guest.memory, cpu()).runs.attributes[0]))
    flags = walk(guest.memory, cpu(), 0).steps[-1].flags
    page = replace(PLAIN.page, key=key)
    assert bulk == replace(PLAIN, page=page, page_size=1 << SHIFTS["4-level"][level - 1])
    assert [flag for flag in flags if flag.startswith("PK")] == ([f"PK={key}"] if key else [])


@pytest.mark.parametrize("bit", [A, D, *(1 << bit for bit in (9, 10, 11, *range(52, 59)))])
def test_what_the_processor_ignores_changes_nothing(bit):
    guest = mapped("4-level", 1, LINK | bit)
    assert attributes_of(int(enumerate_space(guest.memory, cpu()).runs.attributes[0])) == PLAIN
    assert walk(guest.memory, cpu(), 0).physical == 0


def test_a_leaf_for_users_below_an_entry_that_is_not():
    guest = mapped("4-level", 1, P | U)
    guest.entry(0x2000, 0, 0x3000 | P)
    bulk = attributes_of(int(enumerate_space(guest.memory, cpu()).runs.attributes[0]))
    assert bulk == replace(PLAIN, page=Permissions(writable=False, user=False, executable=True), user_lost=True)


# Address bits of each leaf: what lies above the offset and below MAXPHYADDR.
BASES = [
    *(("4-level", level, bit, 52) for level in (1, 2, 3) for bit in (SHIFTS["4-level"][level - 1], 39, 51)),
    *(("5-level", level, bit, 40) for level in (1, 2, 3) for bit in (SHIFTS["5-level"][level - 1], 39)),
    *(("pae", level, bit, 52) for level in (1, 2) for bit in (SHIFTS["pae"][level - 1], 39, 51)),
    *(("32-bit", 1, bit, 40) for bit in (12, 31)),
    *(("32-bit", 2, bit, 40) for bit in (22, 31)),
]


@pytest.mark.parametrize(("mode", "level", "bit", "phys_bits"), BASES)
def test_address_bits_of_a_leaf(mode, level, bit, phys_bits):
    """The lowest and the highest address bit reach the physical address; the offset is that of the address."""
    offset = (1 << SHIFTS[mode][level - 1]) - 1
    found = walk(mapped(mode, level, LINK, 1 << bit).memory, cpu(mode, phys_bits=phys_bits), offset)
    assert (found.outcome, found.physical) == (Outcome.MAPPED, 1 << bit | offset)


@pytest.mark.parametrize(("bit", "physical"), [(13, 1 << 32), (20, 1 << 39)])
def test_pse_36_address_bits(bit, physical):
    assert walk(mapped("32-bit", 2, LINK, 1 << bit).memory, cpu("32-bit"), 0).physical == physical


def reserved(mode, level, leaf, *, phys_bits=40, nxe=True, gigabyte=True):
    """The bits whose being set makes an entry of a level malformed, found by setting each alone."""
    efer = (EFER_LME | EFER_LMA if mode.endswith("level") else 0) | (EFER_NXE if nxe and mode != "32-bit" else 0)
    state = cpu(mode, efer=efer, phys_bits=phys_bits, offered=None if gigabyte else frozenset())
    table, size = 0x1000 * (DEPTH[mode] - level + 1), 4 if mode == "32-bit" else 8
    found = set()
    for bit in range(1, 8 * size):
        guest = mapped(mode, level, P) if leaf else mapped(mode, level - 1, P)
        if bit == 7 and level > 1:
            if leaf:
                continue
            guest.entry(table, 0, table + 0x1000 | P | PS, size=size)
        else:
            value = P | 1 << bit | (PS if leaf and level > 1 else 0) | (0 if leaf else table + 0x1000)
            guest.entry(table, 0, value, size=size)
        stopped = walk(guest.memory, state, 0)
        if stopped.outcome is Outcome.RESERVED_BITS and stopped.stopped_at == level:
            assert bit_list(1 << bit) in stopped.verdict
            assert [p.kind for p in enumerate_space(guest.memory, state).problems] == ["reserved-bits"]
            found.add(bit)
    return found


def bits(*ranges):
    """The bits of ranges whose both ends are included, as manuals write them."""
    return {bit for high, low in ranges for bit in range(low, high + 1)}


RESERVED = [
    # Long mode: bits 51:MAXPHYADDR, bit 7 where an entry cannot be a leaf, what is below a large page's base.
    ("4-level", 4, False, {}, bits((51, 40), (7, 7))),
    ("4-level", 3, True, {}, bits((51, 40), (29, 13))),
    ("4-level", 3, False, {"gigabyte": False}, bits((51, 40), (7, 7))),
    ("4-level", 2, True, {}, bits((51, 40), (20, 13))),
    ("4-level", 1, True, {}, bits((51, 40))),
    ("4-level", 1, True, {"phys_bits": 52}, set()),
    ("4-level", 1, True, {"phys_bits": 51}, {51}),
    ("4-level", 1, True, {"nxe": False}, bits((63, 63), (51, 40))),
    ("5-level", 5, False, {}, bits((51, 40), (7, 7))),
    ("5-level", 4, False, {}, bits((51, 40), (7, 7))),
    # PAE: bits 62:MAXPHYADDR; a PDPTE has neither rights nor NX, and bits 8:5 and 2:1 are reserved.
    ("pae", 3, False, {}, bits((63, 40), (8, 5), (2, 1))),
    ("pae", 2, True, {}, bits((62, 40), (20, 13))),
    ("pae", 1, True, {}, bits((62, 40))),
    ("pae", 1, True, {"nxe": False}, bits((63, 40))),
    # 32-bit: bit 21 of a 4-MiB page, and of bits 20:13 those that would reach beyond MAXPHYADDR.
    ("32-bit", 2, True, {}, {21}),
    ("32-bit", 2, True, {"phys_bits": 52}, {21}),
    ("32-bit", 2, True, {"phys_bits": 39}, {21, 20}),
    ("32-bit", 2, True, {"phys_bits": 36}, bits((21, 17))),
    ("32-bit", 1, True, {}, set()),
]


@pytest.mark.parametrize(("mode", "level", "leaf", "processor", "expected"), RESERVED)
def test_reserved_bits(mode, level, leaf, processor, expected):
    assert reserved(mode, level, leaf, **processor) == expected


# Addresses


@pytest.mark.parametrize(
    ("mode", "address", "canonical"),
    [
        ("4-level", 0x0000_7FFF_FFFF_FFFF, True),
        ("4-level", 0x0000_8000_0000_0000, False),
        ("4-level", 0xFFFF_7FFF_FFFF_FFFF, False),
        ("4-level", 0xFFFF_8000_0000_0000, True),
        ("4-level", 0x0001_0000_0000_0000, False),
        ("5-level", 0x00FF_FFFF_FFFF_FFFF, True),
        ("5-level", 0x0100_0000_0000_0000, False),
        ("5-level", 0xFEFF_FFFF_FFFF_FFFF, False),
        ("5-level", 0xFF00_0000_0000_0000, True),
        ("32-bit", 0xFFFF_FFFF, True),
        ("32-bit", 0x1_0000_0000, False),
        ("32-bit", 0xFFFF_FFFF_8000_0000, True),
        ("32-bit", 0xFFFF_FFFF_7FFF_FFFF, False),
        ("pae", 0xFFFF_FFFF, True),
        ("pae", 0x1_0000_0000, False),
        ("pae", 0xFFFF_FFFE_8000_0000, False),
    ],
)
def test_canonical_addresses(mode, address, canonical):
    assert (walk(Guest().memory, cpu(mode), address).outcome is not Outcome.NON_CANONICAL) == canonical


@pytest.mark.parametrize("mode", ["32-bit", "pae"])
def test_an_address_that_a_debugger_extended_is_cut_back(mode):
    assert walk(Guest().memory, cpu(mode), 0xFFFF_FFFF_C000_1008).address == 0xC000_1008
    assert walk(Guest().memory, cpu(mode), 0xC000_1008).address == 0xC000_1008


@pytest.mark.parametrize(
    ("mode", "address", "extended"),
    [
        ("4-level", 0x7FFF_FFFF_FFFF, 0x7FFF_FFFF_FFFF),
        ("4-level", 0x8000_0000_0000, 0xFFFF_8000_0000_0000),
        ("5-level", 0x8000_0000_0000, 0x8000_0000_0000),
        ("5-level", 1 << 56, 0xFF00_0000_0000_0000),
        ("pae", 0x8000_0000, 0x8000_0000),
        ("32-bit", 0xFFFF_FFFF, 0xFFFF_FFFF),
    ],
)
def test_the_highest_translated_bit_is_repeated(mode, address, extended):
    assert paging_mode(cpu(mode)).sign_extend(address) == extended
    assert paging_mode(cpu(mode)).long is mode.endswith("level")


HALF, TOP = 1 << 47, (1 << 64) - 1


@pytest.mark.parametrize(
    ("mode", "first", "last", "part"),
    [
        ("4-level", 0, TOP, (0, TOP)),
        ("4-level", 0, HALF - 1, (0, HALF - 1)),
        ("4-level", 0, HALF, (0, HALF - 1)),
        ("4-level", HALF - 1, HALF, (HALF - 1, HALF - 1)),
        ("4-level", HALF, TOP - HALF, None),
        ("4-level", HALF, TOP - HALF + 1, (TOP - HALF + 1, TOP - HALF + 1)),
        ("4-level", TOP, TOP, (TOP, TOP)),
        ("5-level", 1 << 56, 1 << 57, None),
        ("32-bit", 5, 1 << 40, (5, 0xFFFF_FFFF)),
        ("pae", 5, 1 << 40, (5, 0xFFFF_FFFF)),
        ("pae", 1 << 32, 1 << 40, None),
        ("32-bit", 0xFFFF_FFFF, 1 << 32, (0xFFFF_FFFF, 0xFFFF_FFFF)),
        ("32-bit", 1 << 32, 1 << 33, None),
    ],
)
def test_the_part_of_a_range_that_can_be_translated(mode, first, last, part):
    assert paging_mode(cpu(mode)).clipped(first, last) == part


@pytest.mark.parametrize(
    ("mode", "root", "cr3"),
    [
        ("4-level", 0xAB_CDEF_1000, 0xAB_CDEF_1FFF),
        ("4-level", 0xFF_FFFF_F000, 0xFFFF_FFFF_FFFF_FFFF),
        ("pae", 0xCDEF_1FE0, 0xAB_CDEF_1FFF),
        ("32-bit", 0xCDEF_1000, 0xAB_CDEF_1FFF),
    ],
)
def test_the_root_is_part_of_cr3(mode, root, cr3):
    """PCID, PWT and PCD below, what is above MAXPHYADDR (40 bits), and 32 bits of CR3 outside long mode."""
    assert paging_mode(cpu(mode)).root_of(cr3) == root


@pytest.mark.parametrize(
    ("mode", "shifts", "entries"),
    [
        ("4-level", (39, 30, 21, 12), (512, 512, 512, 512)),
        ("5-level", (48, 39, 30, 21, 12), (512,) * 5),
        ("pae", (30, 21, 12), (4, 512, 512)),
        ("32-bit", (22, 12), (1024, 1024)),
    ],
)
def test_each_level_takes_its_bits_of_the_address(mode, shifts, entries):
    kind = paging_mode(cpu(mode))
    assert kind.name == mode
    assert tuple(level.span for level in kind.levels) == tuple(1 << shift for shift in shifts)
    assert tuple(level.entries for level in kind.levels) == entries
    for level, shift, count in zip(kind.levels, shifts, entries, strict=True):
        assert level.index((count - 1) << shift) == count - 1
        assert level.index((count - 1) << shift | (1 << shift) - 1) == count - 1
        assert level.index(count << shift) == 0
    assert kind.sign_extend(1 << kind.address_bits - 2) == 1 << kind.address_bits - 2


def test_without_pse_there_are_no_4_mib_pages():
    guest, state = mapped("32-bit", 2, LINK), cpu("32-bit")
    assert walk(guest.memory, state, 0).page_size == 4 << 20
    found = walk(guest.memory, replace(state, cr4=Word64(CR4_PGE)), 0)
    assert (found.outcome, found.stopped_at) == (Outcome.NOT_PRESENT, 1)


def test_pae_is_chosen_by_cr4_and_long_mode_by_efer():
    assert paging_mode(cpu("32-bit", cr4=CR4_PAE)).name == "pae"
    assert paging_mode(cpu("4-level")).name == "4-level"
    assert paging_mode(cpu("4-level", cr0=1)) is None


# Neighbours become one run, and only those.


def small(*leaves):
    guest = mapped("4-level", 1, 0)
    guest.entries(0x4000, list(leaves))
    return enumerate_space(guest.memory, cpu(cr4=CR4_PGE))


@pytest.mark.parametrize(
    ("second", "runs"),
    [
        (0x6000 | LINK, 1),
        (0x7000 | LINK, 2),  # another frame
        (0x5000 | LINK, 2),  # the same frame
        (0x6000 | P | W, 2),
        (0x6000 | LINK | G, 2),
        (0x6000 | LINK | NX, 2),
        (0x6000 | LINK | PAT_SMALL, 2),
        (0x6000 | LINK | PWT, 2),
        (0x6000 | LINK | PCD, 2),
        (0x6000 | LINK | 1 << 59, 2),
        (0x6000 | LINK | A | D, 1),  # what the processor notes down is no attribute
        (0x6000 | LINK | 1 << 9, 1),  # nor what it ignores
    ],
)
def test_neighbours_are_one_run_when_all_is_equal(second, runs):
    space = small(0x5000 | LINK, second)
    assert len(space.runs) == runs
    assert int(space.runs.size.sum()) == 0x2000
    assert space.runs.end.tolist()[-1] == 0x1FFF
    assert space.pages == {4096: 2}
    assert np.all(space.runs.start[1:] > space.runs.end[:-1])
