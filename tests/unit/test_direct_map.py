"""The direct map as a source of memory: what it reaches, what is RAM there, and where it is not believed."""

from dataclasses import replace

import pytest

from gdbext.errors import DescriptionError, MemoryUnavailable
from gdbext.machine.memory import RamMap
from gdbext.pmm.directmap import read_direct_map
from gdbext.profile.binding.bind import bind
from gdbext.profile.toml.load import read_profile
from gdbext.units import PhysAddr, Word64
from gdbext.x86.virtual import PagedMemory

from .guest import cpu, ram_range
from .small_kernel import DIRECT, IMAGE, IMAGE_AT, NX, PS, ROOT, SIZE, P, SmallKernel, W

MAP = '[boot_map]\nentries = "&ranges[0]"\ncount = 3\nbase = "base"\nlength = "length"\ntype = "type"\nusable = [1]\n'
BIG = 2 << 20
WINDOW = 1 << 46
"""64 TiB: so far from its base a direct map is looked at."""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    return SmallKernel(tmp_path_factory.mktemp("small"))


@pytest.fixture
def small(compiled):
    """The machine, which is as it was after each test."""
    before = compiled.bytes.copy()
    yield compiled
    compiled.bytes[:] = before


def found(small, base=DIRECT, rest="", *, ram=None, state=None):
    head = f'[kernel]\nname = "small"\n[address]\n{"" if base is None else f"direct_map = {base:#x}"}\n'
    bound = bind(read_profile(head + rest, "k.toml"), small.symbols)
    assert bound.problems == ()
    state = state or replace(small.cpu, phys_bits=52)
    return read_direct_map(bound, state, PagedMemory(small.memory, small.cpu), ram)


def ram_of(small, *args, **more):
    return [(ram.start, ram.end) for ram in found(small, *args, **more).memory.ram.ranges]


def test_memory_is_read_where_the_kernel_maps_it(small):
    ram = RamMap([ram_range(0, SIZE)])
    memory = found(small, ram=ram).memory
    assert memory.ram is ram
    assert memory.read(PhysAddr(0x2000), 8) == small.bytes[0x2000:0x2008].tobytes()
    assert memory.read(PhysAddr(SIZE - 8), 8) == small.bytes[SIZE - 8 :].tobytes()


def test_without_paging_there_is_none(small):
    with pytest.raises(MemoryUnavailable, match="paging is off"):
        found(small, state=cpu(cr0=1))


def test_a_profile_may_name_none(small):
    with pytest.raises(DescriptionError, match="direct_map"):
        found(small, None)


@pytest.mark.parametrize("base", [DIRECT + 0x1000, DIRECT - 0x1000, DIRECT + BIG, IMAGE, 0])
def test_a_map_that_does_not_lead_to_its_own_tables_is_not_believed(small, base):
    with pytest.raises(MemoryUnavailable):
        found(small, base)


def test_the_root_is_looked_for_where_the_processor_has_it(small):
    """Bits of CR3 that are no address, and a root that is not the first."""
    assert found(small, state=replace(small.cpu, cr3=Word64(ROOT | 0x18))).memory.ram.end == SIZE
    small.entries(0x20_8000, small.bytes[ROOT : ROOT + 0x1000].view("<u8").tolist())
    assert found(small, state=replace(small.cpu, cr3=Word64(0x20_8000))).memory.ram.end == SIZE


@pytest.mark.parametrize(
    ("entry", "reached"),
    [
        (BIG | P | W | PS | NX, [(0, SIZE)]),
        (BIG | P | PS | NX, [(0, SIZE)]),  # with other rights
        (0 | P | W | PS | NX, [(0, BIG)]),  # elsewhere
        (0, [(0, BIG)]),
    ],
)
def test_without_a_boot_map_what_is_mapped_in_its_place_is_ram(small, entry, reached):
    small.entry(0x3000, 1, entry)
    assert ram_of(small) == reached


def test_a_direct_map_is_looked_at_for_64_tib(small):
    """The last GiB of the window is found, the first behind it is not; nor is what lies below the base."""
    gib, last = 1 << 30, WINDOW - (1 << 30)
    for offset in (last, WINDOW):
        small.entry(ROOT, DIRECT + offset >> 39 & 511, 0xC000 + offset // WINDOW * 0x1000 | P | W)
        small.entry(0xC000 + offset // WINDOW * 0x1000, offset >> 30 & 511, offset | P | W | PS)
    assert ram_of(small) == [(0, SIZE), (last, last + gib)]


def test_a_direct_map_may_end_with_the_last_address(small):
    top = (1 << 64) - (1 << 39)
    small.entry(ROOT, 511, 0x2000 | P | W)
    assert ram_of(small, top) == [(0, SIZE)]


def ranges(small, *rows):
    for index, (start, end, kind) in enumerate(rows):
        for offset, value in ((0, start), (8, end - start), (16, kind)):
            small.put("ranges", 24 * index + offset, value)


IMAGE_KEYS = f"image = {{ start = {IMAGE + (IMAGE_AT << 12):#x}, end = {IMAGE + (IMAGE_AT + 1 << 12):#x} }}\n"


@pytest.mark.parametrize(
    ("kinds", "image", "ram"),
    [
        ((1, 1, 1), "", [(0, SIZE)]),
        ((1, 2, 2), "", [(0, 0x10_0000)]),
        ((2, 1, 2), "", [(0, SIZE)]),
        ((2, 1, 3), "", [(0, 0x20_0000)]),  # the first has the root, and so is RAM
        ((1, 5, 2), "", [(0, 0x10_0000)]),
        ((1, 5, 2), IMAGE_KEYS, [(0, 0x20_0000)]),  # the second has the image
        ((1, 5, 5), IMAGE_KEYS, [(0, SIZE)]),
    ],
)
def test_what_is_ram_by_the_boot_map(small, kinds, image, ram):
    """Kinds that may be handed out, and those that have the root table, at 0x1000, or the image, at 0x100000."""
    bounds = (0, 0x10_0000, 0x20_0000, SIZE)
    ranges(small, *zip(bounds[:-1], bounds[1:], kinds, strict=True))
    assert ram_of(small, rest=image + MAP) == ram


def test_an_image_that_is_not_mapped_tells_nothing(small):
    ranges(small, (0, 0x10_0000, 1), (0x10_0000, 0x20_0000, 5), (0x20_0000, SIZE, 2))
    nowhere = IMAGE_KEYS.replace(f"{IMAGE + (IMAGE_AT << 12):#x}", "0x7000000000")
    assert ram_of(small, rest=nowhere + MAP) == [(0, 0x10_0000)]


def test_a_boot_map_that_cannot_be_read_is_said(small):
    with pytest.raises(MemoryUnavailable, match="boot map"):
        found(small, rest=MAP.replace("&ranges[0]", "(struct range *)0x7000000000"))
