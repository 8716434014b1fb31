"""The boot memory map and zones as a kernel keeps them: what may be handed out at once, in time, and never."""

import shutil
import struct
import subprocess

import pytest

from gdbext.machine.memory import RamMap
from gdbext.pmm.bootmap import read_boot_map, read_entries
from gdbext.pmm.owners import LONGEST_NAME, Piece, read_buffers, read_held
from gdbext.pmm.zones import read_zones
from gdbext.structures.unread import Unread
from gdbext.symbols.elf import ElfSymbols
from gdbext.units import PhysAddr
from gdbext.x86.virtual import PagedMemory

from .guest import Guest, cpu, ram_range
from .test_owners import Bytes, bound

AT, SAVED = 0x1000, 0x1000 + 5 * 24
SOURCE = """
#include <stdint.h>
struct range { uint64_t base, length, type; } ranges[5];
struct buffer { uint64_t physical, size, address, align; char name[8]; char *far; char open[]; } buffer;
"""
HEAD = '[kernel]\nname = "k"\n'
MAP = f"""{HEAD}[boot_map]
entries = "(struct range *){AT:#x}"
count = 5
base = "base"
length = "length"
type = "type"
usable = [1, 4]
"""
LATER = f'reclaimable = {{ types = [3, 5], when = "*(char *){SAVED:#x}" }}\n'
RESERVED = f'reserved = {{ entries = "(struct range *){AT:#x}", count = 2, base = "base", length = "length" }}\n'
ROWS = [(0, 0x1000, 1), (0x1000, 0x800, 3), (0x1800, 0x3800, 2), (0x5000, 0x1000, 4), (0x6000, 0x2000, 5)]


@pytest.fixture(scope="module")
def symbols(tmp_path_factory):
    assert shutil.which("gcc"), "gcc is missing; scripts/setup installs it"
    folder = tmp_path_factory.mktemp("ranges")
    (folder / "k.c").write_text(SOURCE + "int main(void) { return ranges[0].type + buffer.size; }")
    subprocess.run(["gcc", "-g", "-no-pie", folder / "k.c", "-o", folder / "k.elf"], check=True)
    return ElfSymbols(folder / "k.elf")


def memory(rows=ROWS, saved=0):
    return Bytes(AT, b"".join(struct.pack("<3Q", *row) for row in rows) + bytes([saved]))


def spans(ranges):
    return [(each.base, each.end) for each in ranges]


@pytest.mark.parametrize(
    ("keys", "saved", "usable", "later"),
    [
        ("", 0, [0, 3], []),
        ("", 1, [0, 3], []),
        (LATER, 0, [0, 3], [1, 4]),
        (LATER, 1, [0, 1, 3, 4], []),
        (LATER, 255, [0, 1, 3, 4], []),
    ],
)
def test_what_is_usable_at_once_and_what_once_it_is_saved(symbols, keys, saved, usable, later):
    found = read_boot_map(bound(MAP + keys, symbols).boot_map, memory(saved=saved))
    rows = [(base, base + length) for base, length, _ in ROWS]
    assert spans(found.usable) == [rows[index] for index in usable]
    assert spans(found.reclaimable) == [rows[index] for index in later]
    assert found.until == (f"*(char *){SAVED:#x}" if keys else "")
    assert [entry.type for entry in found.entries] == [kind for _, _, kind in ROWS]
    assert spans(found.entries) == rows
    assert found.reserved == ()


def test_what_the_kernel_keeps(symbols):
    found = read_boot_map(bound(MAP + RESERVED, symbols).boot_map, memory())
    assert spans(found.reserved) == [(0, 0x1000), (0x1000, 0x1800)]


def test_a_map_without_usable_memory_is_not_there_yet_and_one_that_is_torn_is_wrong(symbols):
    described = bound(MAP + LATER, symbols).boot_map
    empty = read_boot_map(described, memory([(0, 0, 0)] * 5))
    assert (isinstance(empty, Unread), empty.absent) == (True, True)
    reclaimable_only = read_boot_map(described, memory([(0, 0x1000, 3)] * 5))
    assert (isinstance(reclaimable_only, Unread), reclaimable_only.absent) == (True, True)
    torn = read_boot_map(described, Bytes(AT, memory().data[:-30]))
    assert (isinstance(torn, Unread), torn.absent) == (True, False)
    assert len(read_entries(described, memory())) == 5


@pytest.mark.parametrize(
    ("names", "expected"),
    [("", ["0x0", "0x1000"]), ('names = ["low"]\n', ["low", "0x1000"]), ('names = ["a", "b", "c"]\n', ["a", "b"])],
)
def test_zones(symbols, names, expected):
    text = f'{HEAD}[zones]\nentries = "(struct range *){AT:#x}"\ncount = 2\nstart = "base"\nend = "base + length"\n'
    zones = read_zones(bound(text + names, symbols).zones, memory())
    assert [(zone.name, zone.start, zone.end) for zone in zones] == [
        (expected[0], 0, 0x1000),
        (expected[1], 0x1000, 0x1800),
    ]
    torn = read_zones(bound(text, symbols).zones, Bytes(AT, bytes(47)))
    assert (isinstance(torn, Unread), torn.absent) == (True, False)


# Buffers of devices


BUFFERS = f"""{HEAD}[dma.rings]
entries = "(struct buffer *){AT:#x}"
count = 1
physical = "physical"
size = "size"
name = "name"
"""
HELD = f'{HEAD}[held.it]\nentries = "(uint64_t *){AT:#x}"\ncount = 3\n'
RAM = RamMap([ram_range(0x1000, 0x8000), ram_range(0x8000, 0x9000), ram_range(0xA000, 0x10000)])


def buffers(symbols, keys="", *, text=BUFFERS, behind=b"", **fields):
    """The one buffer that lies at AT, with some bytes behind it."""
    facts = {"physical": 0x2000, "size": 0x1000, "address": 0, "align": 0, "name": b"ring", "far": 0} | fields
    record = struct.pack("<4Q8sQ", *(facts[name] for name in ("physical", "size", "address", "align", "name", "far")))
    (described,) = bound(text + keys, symbols).dma
    return read_buffers(described, Bytes(AT, record + behind), RAM)


@pytest.mark.parametrize(
    ("physical", "size", "in_ram"),
    [
        (0x2000, 1, True),
        (0x2000, 0, False),
        (0x1000, 0x8000, True),  # two ranges that touch
        (0x1000, 0x8001, False),
        (0xFFF, 1, False),
        (0x9000, 1, False),
        (0x8FFF, 1, True),
        (0x8FFF, 0x1002, False),
        (0xFFFF, 1, True),
        (0xFFFF, 2, False),
        (1 << 63, 1, False),
    ],
)
def test_a_buffer_in_ram(symbols, physical, size, in_ram):
    (found,) = buffers(symbols, physical=physical, size=size).buffers
    assert (found.at, found.physical, found.size, found.in_ram) == (AT, physical, size, in_ram)
    assert found.sound == (((physical, physical + size),) if in_ram else ())
    assert (found.align, found.limit, found.boundary, found.address, found.pieces) == (0, 0, 0, None, None)


@pytest.mark.parametrize(
    ("name", "shown"),
    [(b"ring", "ring"), (b"", "rings"), (b"12345678", "12345678"), (b"a\nb", "rings"), ("é".encode(), "é")],
)
def test_the_name_of_a_buffer_is_its_own_text(symbols, name, shown):
    assert buffers(symbols, name=name).buffers[0].name == shown


@pytest.mark.parametrize(
    ("far", "shown"),
    [
        (b"far away\0" + bytes(64), "far away"),
        (b"x" * (LONGEST_NAME - 1) + bytes(64), "x" * (LONGEST_NAME - 1)),
        (b"x" * 100, "x" * LONGEST_NAME),
        (b"x" * 10, "rings"),  # memory ends before the text does
    ],
)
def test_the_name_of_a_buffer_is_what_it_points_to(symbols, far, shown):
    assert LONGEST_NAME == 64
    text = BUFFERS.replace('name = "name"', 'name = "far"')
    assert buffers(symbols, text=text, behind=far, far=AT + 48).buffers[0].name == shown


@pytest.mark.parametrize(
    ("behind", "shown"),
    [(b"ring 0\0rest" + bytes(64), "ring 0"), (b"x" * 100, "x" * LONGEST_NAME), (bytes(64), "rings")],
)
def test_the_name_of_a_buffer_in_an_array_without_an_end(symbols, behind, shown):
    text = BUFFERS.replace('name = "name"', 'name = "open"')
    assert buffers(symbols, text=text, behind=behind).buffers[0].name == shown


def test_a_text_that_crosses_a_page(symbols):
    """What is behind the page's end is read only where the text goes on there."""
    text = BUFFERS.replace('name = "name"', 'name = "far"')
    page = 0x2000 - (AT + 48)
    for behind, shown in ((b"abc\0", "abc"), (b"abcd", "rings"), (b"abcdefgh" + bytes(60), "abcdefgh")):
        found = buffers(symbols, text=text, behind=bytes(page - 4) + behind, far=0x2000 - 4)
        assert found.buffers[0].name == shown


def test_what_a_device_asks_for(symbols):
    keys = 'align = "align"\nlimit = 0x1000000\nboundary = "1 << 16"\n'
    (found,) = buffers(symbols, keys, align=64).buffers
    assert (found.align, found.limit, found.boundary) == (64, 0x100_0000, 0x1_0000)


def test_where_the_kernel_maps_a_buffer(symbols):
    """Without paging it is where it says; a number that is signed is an address all the same."""
    guest = Guest()
    guest.write(AT, struct.pack("<4Q8sQ", 0x5000, 0x100, 0x6000, 0, b"ring", 0))
    (described,) = bound(BUFFERS + 'address = "address"\n', symbols).dma
    (found,) = read_buffers(described, PagedMemory(guest.memory, cpu(cr0=1)), guest.ram).buffers
    assert (found.address, found.pieces) == (0x6000, (Piece(0, PhysAddr(0x6000), 0x100),))
    high = 0xFFFF_8000_0000_0000
    (found,) = buffers(symbols, 'address = "(long)address"\n', address=high, physical=1 << 62).buffers
    assert (found.address, found.pieces) == (high, ())


@pytest.mark.parametrize("key", ["ready", "lock"])
@pytest.mark.parametrize(
    ("table", "read"),
    [
        (BUFFERS, lambda told, memory: read_buffers(told.dma[0], memory, RAM)),
        (HELD, lambda told, memory: read_held(told.held[0], memory)),
    ],
)
def test_what_cannot_be_asked_is_torn(symbols, table, read, key):
    unread = read(bound(f'{table}{key} = "*(char *)0x7000000000"\n', symbols), Bytes(AT, bytes(64)))
    assert (isinstance(unread, Unread), unread.absent) == (True, False)
    absent = read(bound(f"{table}ready = 0\n", symbols), Bytes(AT, bytes(64)))
    assert (isinstance(absent, Unread), absent.absent) == (True, True)


@pytest.mark.parametrize(("key", "value"), [("ready", 0), ("ready", 1), ("lock", 0), ("lock", 1)])
def test_whether_buffers_are_there_and_whether_they_change(symbols, key, value):
    found = buffers(symbols, f"{key} = {value}\n")
    if (key, value) == ("ready", 0):
        assert (isinstance(found, Unread), found.absent) == (True, True)
    else:
        assert (len(found.buffers), found.in_flux) == (1, (key, value) == ("lock", 1))


@pytest.mark.parametrize(
    ("unit", "frames"), [("frame", [0x1000, 0x80_0000, (1 << 64) - 0x1000]), ("address", [1, 0x800, (1 << 64) - 1])]
)
def test_frames_that_are_kept(symbols, unit, frames):
    """By number or by address; a number that is none is the highest frame."""
    (described,) = bound(f'{HELD}unit = "{unit}"\n', symbols).held
    held = read_held(described, Bytes(AT, struct.pack("<3Q", 1, 0x800, (1 << 64) - 1)))
    assert held.frames.tolist() == frames
    assert held.places.tolist() == [AT, AT + 8, AT + 16]
    assert (held.in_flux, held.frame_size) == (False, 0x1000)
    assert held.element(2).endswith("[2]")


@pytest.mark.parametrize(
    ("keys", "in_turn"),
    [
        (f'entries = "(uint64_t *){AT:#x}"\ncount = 3\n', True),
        (f'entries = "(uint64_t *){AT:#x}"\ncount = 3\nwhen = "*self != 2"\n', False),
        (f'entries = "(uint64_t *){AT:#x}"\ncount = 1\neach = {{ entries = "self", count = 3 }}\n', False),
    ],
)
def test_an_element_is_told_by_its_index_only_where_elements_are_in_turn(symbols, keys, in_turn):
    (described,) = bound(f"{HEAD}[held.it]\n{keys}", symbols).held
    held = read_held(described, Bytes(AT, struct.pack("<3Q", 1, 2, 3)))
    last = len(held.frames) - 1
    assert held.frames.tolist()[-1] == 0x3000
    assert held.element(last).endswith(f"[{last}]") is in_turn
    assert (f"{int(held.places[last]):#x}" in held.element(last)) is not in_turn
