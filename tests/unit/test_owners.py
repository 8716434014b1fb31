"""What a kernel records about frames and buffers, in other layouts than the reference kernel's."""

import shutil
import struct
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdbext.checks.finding import Severity, run_rules
from gdbext.checks.physical.owners import OWNER_RULES, OwnerInputs, applies
from gdbext.errors import NotMapped
from gdbext.machine.memory import RamMap
from gdbext.pmm.owners import read_buffers, read_held
from gdbext.pmm.page_records import Block, PageRecordsSnapshot, read_page_records
from gdbext.profile.binding.bind import bind
from gdbext.profile.toml.load import read_profile
from gdbext.structures.unread import Unread
from gdbext.symbols.elf import ElfSymbols
from gdbext.x86.virtual import PagedMemory
from tests.unit.guest import ram_range

SOURCE = r"""
#include <stdint.h>
enum use { FREE, HEAP = 7 };
struct record { uint8_t use, order; uint16_t references; uint32_t owner; } records[64];
struct keeper { struct { uint64_t at; } frame[4]; int count; } keeper;
struct buffer { uint64_t bus; uint32_t size; int in_use; char name[8]; } buffers[3];
enum use example = HEAP;
int main(void) { return example; }
"""
COUNT = 64
AT, SIZE = 0x1000, 8
RAM = RamMap([ram_range(0, 1 << 30)])
PROFILE = """
[kernel]
name = "other"
[page_records]
entries = "(struct record *)0x1000"
count = "64"
base = "0x100000"
free = "use == FREE"
type = "(enum use)use"
owner = "owner"
references = "references"
order = "order"
"""


@pytest.fixture(scope="module")
def symbols(tmp_path_factory):
    assert shutil.which("gcc"), "gcc is missing; scripts/setup installs it"
    folder = tmp_path_factory.mktemp("owners")
    (folder / "k.c").write_text(SOURCE)
    subprocess.run(["gcc", "-g", "-no-pie", folder / "k.c", "-o", folder / "k.elf"], check=True)
    return ElfSymbols(folder / "k.elf")


def bound(text, symbols):
    profile = bind(read_profile(text, "k.toml"), symbols)
    assert profile.problems == ()
    return profile


class Bytes(PagedMemory):
    """Memory that has some bytes at one address, and nothing else."""

    def __init__(self, start, data):
        self.start, self.data = start, data

    def read(self, address, size):
        offset = address - self.start
        if not 0 <= offset <= offset + size <= len(self.data):
            raise NotMapped(address, "nothing there")
        return self.data[offset : offset + size]

    def pieces(self, address, size):
        return []  # nothing is known of where it lies


def records(profile, states):
    """A snapshot of records that are (use, order) each."""
    data = b"".join(struct.pack("<BBHI", use, order, 3, 0xABCD) for use, order in states)
    memory = Bytes(AT, data)
    found = read_page_records(profile.page_records, memory, RAM)
    assert isinstance(found, PageRecordsSnapshot)
    return found, memory


def states(**blocks):
    """All frames free but for blocks of used ones: b16_2=1 is one of order 2 at frame 16, less its frame number 1."""
    found = [(0, 0)] * COUNT
    for name, missing in blocks.items():
        first, order = map(int, name[1:].split("_"))
        for i in range(1 << order):
            if i != missing:
                found[first + i] = (7, order)
    return found


def test_one_record(symbols):
    found, memory = records(bound(PROFILE, symbols), states(b16_2=None))
    record = found.record_of(0x100000 + 17 * 4096 + 5, memory)
    assert (record.at, record.type, record.owner, record.references, record.order, record.free) == (
        AT + 17 * SIZE,
        "HEAP",
        0xABCD,
        3,
        2,
        False,
    )
    assert str(record) == "its record at 0x1088 says: in use, type HEAP, owner 0xabcd, order 2"
    assert found.record_of(0x100000 - 1, memory) is None
    assert found.record_of(0x100000, memory).at == AT
    assert found.record_of(0x100000 + 64 * 4096 - 1, memory).at == AT + 63 * SIZE
    assert found.record_of(0x100000 + 64 * 4096, memory) is None


def test_blocks_with_their_order_in_every_record(symbols):
    everywhere = bound(PROFILE + 'order_in = "all"', symbols)
    whole = states(b0_3=None, b8_3=None, b16_2=None, b20_0=None, b60_2=None)
    assert list(records(everywhere, whole)[0].broken_blocks()) == []
    for missing, left in ((0, 9), (5, 8), (7, 8)):
        found, _ = records(everywhere, states(b0_3=None, b8_3=missing, b16_2=None))
        assert list(found.broken_blocks()) == [Block(8, 3, left, 7)]
    for order, taken_for in ((40, 40), (52, 52), (53, 52), (255, 52)):  # no block is larger than memory can be
        lonely, _ = records(everywhere, [*states()[:63], (7, order)])
        assert list(lonely.broken_blocks()) == [Block(0, taken_for, 63, 1)]
    mixed = states(b16_2=None)
    mixed[17] = (7, 1)  # of another block, it says
    assert list(records(everywhere, mixed)[0].broken_blocks()) == [Block(16, 2, 16, 3)]


def test_blocks_with_their_order_in_the_first_record(symbols):
    def with_heads(**blocks):
        told = states(**blocks)
        heads = {int(name[1:].split("_")[0]) for name in blocks}
        return [(use, order if i in heads else 0) for i, (use, order) in enumerate(told)]

    first = bound(PROFILE, symbols)
    assert list(records(first, with_heads(b0_3=None, b8_3=None, b60_2=None))[0].broken_blocks()) == []
    found, _ = records(first, with_heads(b0_3=None, b8_3=5, b16_2=None))
    assert list(found.broken_blocks()) == [Block(8, 3, 8, 7)]
    beyond, _ = records(first, [*states()[:62], (7, 2), (7, 0)])
    assert list(beyond.broken_blocks()) == [Block(62, 2, 62, 2)]


@given(st.lists(st.tuples(st.sampled_from([0, 7]), st.integers(0, 4)), min_size=COUNT, max_size=COUNT))
def test_broken_blocks_are_those_that_a_look_at_each_frame_finds(symbols, told):
    found, _ = records(bound(PROFILE + 'order_in = "all"', symbols), told)
    wrong = set()
    for number, (use, order) in enumerate(told):
        first = number >> order << order
        if use and order and any(state != (7, order) for state in told[first : first + (1 << order)]):
            wrong.add((first, number))
    # A frame of a broken block whose neighbours are like it does not say so; the one at the edge does.
    assert {block.left for block in found.broken_blocks()} <= {number for _, number in wrong}
    assert {block.first for block in found.broken_blocks()} == {first for first, _ in wrong}


@pytest.mark.parametrize(("base", "count"), [(0x100000, 64), (0, 400), (0x108000, 70), (0x108000, 8), (0x2000000, 5)])
def test_frames_by_a_managers_numbers(symbols, base, count):
    found, _ = records(bound(PROFILE, symbols), states(b3_0=None, b9_0=None, b32_4=None))
    known, free = found.free_from(base, count)
    used = [3, 9, *range(32, 48)]
    numbers = [(0x100000 - base) // 4096 + i for i in range(COUNT)]
    expected = [n for n in numbers if 0 <= n < count]
    assert known.numbers().tolist() == expected
    assert free.numbers().tolist() == [n for i, n in enumerate(numbers) if 0 <= n < count and i not in used]


def test_frames_with_one_reference(symbols):
    counts = {3: 1, 4: 2, 5: 0, 63: 1}
    data = b"".join(struct.pack("<BBHI", 7, 0, counts.get(number, 3), 0) for number in range(COUNT))
    found = read_page_records(bound(PROFILE, symbols).page_records, Bytes(AT, data), RAM)
    assert found.single.numbers().tolist() == [3, 63]
    assert found.free.numbers().tolist() == []
    uncounted = bound(PROFILE.replace('references = "references"\n', ""), symbols).page_records
    assert read_page_records(uncounted, Bytes(AT, data), RAM).single is None


@pytest.mark.parametrize(("entries", "count", "absent"), [("0", "0", True), ("0x1000", "0", False), ("0", "64", False)])
def test_records_that_are_not_there_yet(symbols, entries, count, absent):
    text = PROFILE.replace("0x1000", entries).replace('count = "64"', f'count = "{count}"')
    unread = read_page_records(bound(text, symbols).page_records, Bytes(AT, bytes(COUNT * SIZE)), RAM)
    assert (isinstance(unread, Unread), unread.absent) == (True, absent)


def test_torn_records(symbols):
    profile = bound(PROFILE, symbols)
    for memory, said in ((Bytes(0, b""), "nothing there"), (Bytes(AT, bytes(100)), "nothing there")):
        unread = read_page_records(profile.page_records, memory, RAM)
        assert isinstance(unread, Unread)
        assert said in unread.why
    absurd = bound(PROFILE.replace('"64"', '"1ul << 40"'), symbols)
    assert "cannot be the number of frames" in read_page_records(absurd.page_records, Bytes(0, b""), RAM).why


def test_frames_kept_by_address(symbols):
    text = """
[kernel]
name = "other"
[held.keeper]
entries = "((struct keeper *)0x1000)->frame"
count = "((struct keeper *)0x1000)->count"
frame = "at & ~0xful"
unit = "address"
"""
    (described,) = bound(text, symbols).held
    held = read_held(described, Bytes(AT, struct.pack("<4Qi", 0x5001, 0x7002, 0, 0, 2)))
    assert held.frames.tolist() == [0x5000, 0x7000]
    assert held.frames.dtype == np.uint64
    full = read_held(described, Bytes(AT, struct.pack("<4Qi", 0, 0, 0, 0, 5)))
    assert isinstance(full, Unread)
    assert full.why.endswith("is 5, but ((struct keeper *)0x1000)->frame has room for 4")


def test_what_a_build_lacks_is_no_problem(symbols):
    absent = PROFILE.replace("[page_records]", '[page_records]\ndetect = ["page_array"]')
    assert bound(absent, symbols).page_records is None
    present = PROFILE.replace("[page_records]", '[page_records]\ndetect = ["records"]')
    assert bound(present, symbols).page_records is not None
    misspelt = present.replace('"owner"', '"ower"')
    (problem,) = bind(read_profile(misspelt, "k.toml"), symbols).problems
    assert str(problem) == (
        "k.toml:11 (page_records.owner): 'ower', column 1: neither struct record nor the kernel has a 'ower'; "
        "did you mean owner or order?"
    )


def test_buffers_are_an_array_or_a_list(symbols):
    text = """
[kernel]
name = "other"
[dma.rings]
entries = "buffers"
physical = "bus"
size = "size"
"""
    (problem,) = bind(read_profile(text, "k.toml"), symbols).problems
    assert str(problem) == "k.toml:4 (dma.rings): either 'entries' and 'count' are needed, or 'head' and 'next'"
    assert len(bound(text + 'count = "3"', symbols).dma) == 1


def test_buffers_in_an_array(symbols):
    """Slots that are not live are passed over; one that cannot be is no reason to take anybody's frames for its own."""
    text = """
[kernel]
name = "other"
[dma.rings]
entries = "(struct buffer *)0x1000"
count = "4"
live = "in_use"
physical = "(int64_t)bus"
size = "size"
name = "name"
"""
    slots = ((0x5000, 100, 1, b"rx"), (0x6000, 100, 0, b"idle"), (0x7000, 100, 1, b""), (1 << 63, 100, 1, b"12345678"))
    memory = Bytes(AT, b"".join(struct.pack("<QIi8s", *slot) for slot in slots))
    (described,) = bound(text, symbols).dma
    found = read_buffers(described, memory, RAM)
    assert (found.broken, [buffer.name for buffer in found.buffers]) == (None, ["rx", "rings", "12345678"])
    assert [buffer.sound for buffer in found.buffers] == [((0x5000, 0x5064),), ((0x7000, 0x7064),), ()]
    wild = read_buffers(described, Bytes(AT, memory.data[:72]), RAM)
    assert (len(wild.buffers), "nothing there" in str(wild.broken)) == (2, True)


def test_a_block_of_which_some_frames_are_free_is_a_finding(symbols):
    told = states(b0_3=None, b8_3=5, b16_2=None)
    everywhere, plain = (bound(PROFILE + more, symbols) for more in ('order_in = "all"', ""))
    for in_flux, severity in ((False, Severity.ERROR), (True, Severity.IN_FLUX)):
        found, memory = records(everywhere, told)
        inputs = OwnerInputs(replace(found, in_flux=in_flux), (), (), (), RAM, memory)
        (rule,) = (each for each in OWNER_RULES if each.id == "PMM12")
        assert applies(rule, inputs)
        (finding,) = run_rules([rule], inputs).findings
        assert (finding.address, finding.severity) == (0x100000 + 8 * 4096, severity)
        assert (" 8 frames" in finding.expected, "0x108000" in finding.expected) == (True, True)
        assert ([each for each in finding.actual if each.isdigit()], finding.evidence) == (
            ["7", "1"],
            ("its record at 0x1040 says: in use, type HEAP, owner 0xabcd, order 3",),
        )
    unordered = replace(plain.page_records, order=None)
    found, memory = records(plain, told)
    inputs = OwnerInputs(replace(found, described=unordered), (), (), (), RAM, memory)
    assert [each.id for each in OWNER_RULES if applies(each, inputs)] == ["PMM00"]
