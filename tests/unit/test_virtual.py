"""Reading through page tables: every border of a page, a run and a bulk read, against the bytes that were put there."""

import numpy as np
import pytest

from gdbext.errors import NotMapped
from gdbext.machine.memory import RamMap
from gdbext.machine.shared import SharedMemory
from gdbext.units import PhysAddr, VirtAddr
from gdbext.x86.space import enumerate_space
from gdbext.x86.virtual import BULK, PagedMemory

from .guest import Guest, cpu, ram_range

P, W = 1, 2
LINK = P | W
PAGE = 0x1000
FRAMES = [0x90, 0x91, 0x80, 0x93, *range(0xA0, 0xB8)]
"""The frames of pages 0 and up: two that follow each other, one elsewhere, then a long run; then a hole and page 40."""
SIZE = len(FRAMES) * PAGE


@pytest.fixture(params=["walked", "enumerated before"])
def paged(request):
    guest = Guest()
    guest.bytes[:] = np.random.default_rng(7).integers(0, 256, len(guest.bytes))
    for table in range(1, 5):
        guest.write(table * PAGE, bytes(PAGE))
    for table in (0x1000, 0x2000, 0x3000):
        guest.entries(table, [table + PAGE | LINK])
    guest.entries(0x4000, [frame * PAGE | LINK for frame in FRAMES])
    guest.entry(0x4000, 40, 0xC0 * PAGE | LINK)
    guest.entry(0x4000, 41, (1 << 20) + PAGE | LINK)  # no RAM there
    memory = PagedMemory(guest.memory, cpu())
    if request.param != "walked":
        memory.know_all()
    content = b"".join(guest.bytes[frame * PAGE : (frame + 1) * PAGE].tobytes() for frame in FRAMES)
    return memory, content


BORDERS = [
    (0, 0), (0, 1), (0, PAGE - 1), (0, PAGE), (0, PAGE + 1),
    (PAGE - 1, 1), (PAGE - 1, 2), (PAGE, 1), (2 * PAGE - 4, 8), (3 * PAGE - 4, 8), (PAGE + 1, 2 * PAGE),
    (0, BULK - 1), (0, BULK), (0, BULK + 1), (5, BULK), (PAGE - 1, BULK), (3, SIZE - 3), (0, SIZE),
    (SIZE - 1, 1), (SIZE - PAGE, PAGE),
]  # fmt: skip


@pytest.mark.parametrize(("address", "size"), BORDERS)
def test_what_is_there_is_read(paged, address, size):
    memory, content = paged
    wanted = content[address : address + size]
    assert memory.read(VirtAddr(address), size) == wanted
    assert memory.read_near(VirtAddr(address), size) == wanted
    parts = memory.pieces(VirtAddr(address), size) if size else []
    assert b"".join(memory.physical.read(physical, length) for _, physical, length in parts) == wanted


@pytest.mark.parametrize(
    ("address", "size", "first"),
    [
        (SIZE, 1, SIZE),
        (SIZE - 1, 2, SIZE),
        (SIZE - 8, 16, SIZE),
        (0, SIZE + 1, SIZE),
        (PAGE, SIZE, SIZE),
        (40 * PAGE - 1, 2, 40 * PAGE - 1),
        (41 * PAGE - 1, 2, 41 * PAGE),
        (41 * PAGE, 8, 41 * PAGE),
        (SIZE + 5, BULK, SIZE + 5),
    ],
)
def test_the_first_address_that_is_not_there_is_named(paged, address, size, first):
    memory, _ = paged
    for read in (memory.read, memory.read_near):
        with pytest.raises(NotMapped) as refused:
            read(VirtAddr(address), size)
        assert refused.value.address == first


def test_pieces_and_stretches(paged):
    memory, _ = paged
    assert memory.pieces(VirtAddr(0x10), 2 * PAGE) == [
        (0x10, 0x90 * PAGE + 0x10, 2 * PAGE - 0x10),
        (2 * PAGE, 0x80 * PAGE, 0x10),
    ]
    assert memory.pieces(VirtAddr(SIZE), 40 * PAGE - SIZE) == []
    assert memory.pieces(VirtAddr(SIZE - 1), 40 * PAGE - SIZE + 2) == [
        (SIZE - 1, 0xB7 * PAGE + PAGE - 1, 1),
        (40 * PAGE, 0xC0 * PAGE, 1),
    ]
    start, last = memory.mapped(VirtAddr(5), 41 * PAGE)
    assert list(zip(start.tolist(), last.tolist(), strict=True)) == [(5, SIZE - 1), (40 * PAGE, 41 * PAGE - 1)]
    start, last = memory.mapped(VirtAddr(SIZE), 40 * PAGE)
    assert (len(start), len(last)) == (0, 0)
    start, last = memory.mapped(VirtAddr(SIZE - 1), 40 * PAGE + 1)
    assert list(zip(start.tolist(), last.tolist(), strict=True)) == [(SIZE - 1, SIZE - 1), (40 * PAGE, 40 * PAGE)]


@pytest.mark.parametrize(
    ("address", "physical"), [(0, 0x90000), (0xFFF, 0x90FFF), (0x2000, 0x80000), (0x28123, 0xC0123)]
)
def test_translation(paged, address, physical):
    assert paged[0].translate(VirtAddr(address)) == PhysAddr(physical)
    assert paged[0].translate(VirtAddr(address)) == PhysAddr(physical)


def test_the_fifth_page_that_a_walk_jumps_to_is_why_all_is_enumerated():
    guest = Guest()
    for table in (0x1000, 0x2000, 0x3000):
        guest.entries(table, [table + PAGE | LINK])
    guest.entries(0x4000, [frame * PAGE | LINK for frame in FRAMES])
    asked = []

    def space(window):
        asked.append(window)
        return enumerate_space(guest.memory, cpu())

    memory = PagedMemory(guest.memory, cpu(), space=space)
    for page in (0, 2, 1, 3, 0, 3):
        near = memory.linear(VirtAddr(page * PAGE + 5))
        assert (near.start, near.end) == (page * PAGE, (page + 1) * PAGE)
        assert near.shift == page * PAGE - FRAMES[page] * PAGE
        assert asked == []
    for page in (4, 5, 0):
        around = memory.linear(VirtAddr(page * PAGE + 5))
        assert (around.start, around.end) == ((0, 2 * PAGE) if page == 0 else (4 * PAGE, 28 * PAGE))
        assert around.buffer is not None
        assert len(around.buffer) == around.end - around.start
        assert asked == [None]


@pytest.mark.parametrize(
    ("address", "size", "frames"),
    [
        (5, 8, [0x90]),
        (PAGE - 8, 8, [0x90]),
        (PAGE - 4, 8, [0x90, 0x91]),
        (PAGE, 8, [0x91]),
        (4 * PAGE + 1, 2 * PAGE, [0xA0, 0xA1, 0xA2]),
        (4 * PAGE, 2 * PAGE, [0xA0, 0xA1]),
    ],
)
def test_what_is_read_in_place_is_accounted_for(paged, address, size, frames):
    memory, content = paged
    memory.know_all()
    seen = []
    memory.physical.seen = lambda numbers: seen.extend(numbers.tolist())
    assert memory.is_shown
    assert memory.read_near(VirtAddr(address), size) == content[address : address + size]
    assert seen == frames


def test_memory_that_cannot_be_shown(monkeypatch):
    guest = Guest()
    monkeypatch.setattr(guest.memory, "view", lambda address: None)
    assert not PagedMemory(guest.memory, cpu()).is_shown
    empty = SharedMemory(RamMap([]), {})
    assert not PagedMemory(empty, cpu()).is_shown
    assert PagedMemory(Guest().memory, cpu()).is_shown


def test_without_paging_addresses_are_physical():
    guest = Guest()
    guest.write(0x5000, b"as it is")
    memory = PagedMemory(guest.memory, cpu(cr0=1))
    assert memory.read(VirtAddr(0x5000), 8) == memory.read_near(VirtAddr(0x5000), 8) == b"as it is"
    assert memory.pieces(VirtAddr(0x5000), 8) == [(0x5000, 0x5000, 8)]
    with pytest.raises(NotMapped, match="paging is off"):
        memory.read(VirtAddr(1 << 20), 8)
    with pytest.raises(NotMapped):
        memory.read(VirtAddr((1 << 20) - BULK + 1), BULK)


@pytest.fixture
def parts():
    """Three ranges of RAM, of which two touch, each with bytes of its own; physical 0x5000 to 0xb000 at HIGH."""
    ranges = {"low": (0x1000, 0x8000), "next": (0x8000, 0x10000), "far": (0x20000, 0x28000)}
    random = np.random.default_rng(7)
    blocks = {name: random.integers(0, 256, end - start, np.uint8) for name, (start, end) in ranges.items()}
    tables = blocks["low"][:0x4000].view(np.uint64).reshape(4, 512)
    tables[:] = 0
    tables[0, 256], tables[1, 0], tables[2, 0] = 0x2000 | LINK, 0x3000 | LINK, 0x4000 | LINK
    tables[3, :6] = [0x5000 + page * PAGE | LINK for page in range(6)]
    ram = RamMap([ram_range(start, end, name) for name, (start, end) in ranges.items()])
    return SharedMemory(ram, blocks), blocks


HIGH = 0xFFFF_8000_0000_0000


def test_a_stretch_of_memory_ends_with_its_range_of_ram(parts):
    memory, blocks = parts
    paged = PagedMemory(memory, cpu())
    paged.know_all()
    for _ in range(2):
        for address in (HIGH, HIGH + 3 * PAGE - 1, HIGH + 3 * PAGE, HIGH + 6 * PAGE - 1):
            first = address < HIGH + 3 * PAGE
            here = paged.linear(VirtAddr(address))
            start, end = (HIGH, HIGH + 3 * PAGE) if first else (HIGH + 3 * PAGE, HIGH + 6 * PAGE)
            assert (here.start, here.end, here.shift) == (start, end, HIGH - 0x5000)
            content = blocks["low"][0x4000:0x7000] if first else blocks["next"][:0x3000]
            assert bytes(here.buffer or b"") == content.tobytes()
    for outside in (HIGH - 1, HIGH + 6 * PAGE):
        with pytest.raises(NotMapped):
            paged.linear(VirtAddr(outside))


@pytest.mark.parametrize(
    ("address", "name"),
    [(0x1000, "low"), (0x7FFF, "low"), (0x8000, "next"), (0xFFFF, "next"), (0x20000, "far"), (0x27FFF, "far")],
)
def test_without_paging_a_stretch_is_a_range_of_ram(parts, address, name):
    memory, blocks = parts
    paged = PagedMemory(memory, cpu(cr0=1))
    here = paged.linear(VirtAddr(address))
    assert here.shift == 0
    assert here.start <= address < here.end
    assert bytes(here.buffer or b"") == blocks[name].tobytes()
    for outside in (0xFFF, 0x10000, 0x1FFFF, 0x28000):
        with pytest.raises(NotMapped):
            paged.linear(VirtAddr(outside))
    start, last = paged.mapped(VirtAddr(0x7000), 0x21000)
    assert list(zip(start.tolist(), last.tolist(), strict=True)) == [(0x7000, 0xFFFF), (0x20000, 0x20FFF)]
