"""The examples of collections in docs/profile.md, each read from memory that the compiler laid out.

As in `test_profile_guide`, the page's declarations stand at the top of a file that gives them contents, in a made-up
machine where virtual and physical addresses are one; what must be read is worked out by hand.
"""

import re
from typing import Any

import pytest

from gdbext.checks.heaps.pointers import PointerInputs, find_pointers
from gdbext.heap.snapshot import HeapSnapshot
from gdbext.machine.tables import GeneralRegisters
from tests.unit.test_profile_guide import PAGE, compiled, examples, loaded, session_over

EXAMPLES = examples("Collections")


def zones(session):
    return [(zone.name, zone.start, zone.end) for zone in session.physical.zones]


def usable(session):
    return [(ram.base, ram.end) for ram in session.translation.boot_map.usable]


def buffers(session):
    (table,) = session.physical.buffers
    assert table.broken is None
    return [(buffer.physical, buffer.size) for buffer in table.buffers]


def pointers(session):
    registers = GeneralRegisters((), None)
    inputs = PointerInputs(session.symbols, session.profile.pointers, registers, (), (), session.virtual)
    found = find_pointers(inputs)
    assert found.left_out == ()
    return [root for root in found.ranges if root[0] >= 0x300000]


def segments(session):
    (heap,) = session.heaps.all
    assert isinstance(heap, HeapSnapshot), heap
    return [(segment.start, segment.end) for segment in heap.segments], heap.chunks.size.tolist()


LIST = "struct buffer last = { 0x303000, 300 }, middle = { 0x302000, 200, &last }, first = { 0x301000, 100, &middle };"
THREE = [(0x301000, 100), (0x302000, 200), (0x303000, 300)]
CONTENTS: dict[str, tuple[str, Any, Any]] = {
    "An array": (
        "struct zone zones[4] = { { 0, 0x1000000, 1 }, { 7, 8, 0 }, { 0x1000000, 0x2000000, 1 } };",
        zones,
        [("low", 0, 0x1000000), ("normal", 0x1000000, 0x2000000)],
    ),
    "An array with an end marker": (
        "struct range map[] = { { 0x1000, 0x8000, 1 }, { 0x9000, 0x1000, 2 }, { 0x100000, 0x200000, 1 }, { 5, 0, 1 } };"
        "struct range *memory_map = map;",
        usable,
        [(0x1000, 0x9000), (0x100000, 0x300000)],
    ),
    "A linked list": (f"{LIST} struct buffer *buffers = &first;", buffers, THREE),
    "A list linked through members": (
        "extern struct list_head buffers; extern struct buffer second;"
        "struct buffer first = { 0x301000, 100, { &second.all, &buffers } };"
        "struct buffer second = { 0x302000, 200, { &buffers, &first.all } };"
        "struct list_head buffers = { &first.all, &second.all };",
        buffers,
        THREE[:2],
    ),
    "Records of different lengths": (
        "struct { struct record a; uint32_t more; struct record b; struct record c; } __attribute__((packed)) map ="
        "{ { 24, 0x1000, 0x8000, 1 }, 0, { 20, 0x9000, 0x1000, 2 }, { 20, 0x100000, 0x200000, 1 } };"
        "uint64_t map_start = (uint64_t)&map; uint32_t map_bytes = sizeof(map);",
        usable,
        [(0x1000, 0x9000), (0x100000, 0x300000)],
    ),
    "A tree": (
        "struct area low = { 0x301000, 1 }, high = { 0x309000, 2 }, top = { 0x304000, 3, &low, &high };"
        "struct area *areas = &top;",
        pointers,
        [(0x301000, 0x302000), (0x304000, 0x307000), (0x309000, 0x30B000)],
    ),
    "An array of pointers": (
        "struct thread one = { 0x301000, 0x302000 }, two = { 0x303000, 0x305000 };"
        "struct thread *threads[4] = { &one, 0, &two };",
        pointers,
        [(0x301000, 0x302000), (0x303000, 0x305000)],
    ),
    "A hash table": (
        "struct buffer last = { 0x303000, 300 }, middle = { 0x302000, 200, 0 }, first = { 0x301000, 100, &middle };"
        "struct buffer *buckets[8] = { [2] = &first, [7] = &last };",
        buffers,
        THREE,
    ),
    "A list in each element of a list": (
        "struct thread c = { 0x308000 }, b = { 0x304000 }, a = { 0x301000, &b };"
        "struct process idle = { 0x1000 }, other = { 0x3000, &c, &idle }, init = { 0x2000, &a, &other };"
        "struct process *processes = &init;",
        pointers,
        [(0x301000, 0x303000), (0x304000, 0x306000), (0x308000, 0x30B000)],
    ),
    "A list of arrays": (
        'char low[64] __attribute__((aligned(16))) = "\\x21", mid[32] __attribute__((aligned(16))) = "\\x20",'
        'high[48] __attribute__((aligned(16))) = "\\x30";'
        "struct segment later = { 0, 1, { { high, 48 } } }, first = { &later, 2, { { low, 32 }, { mid, 32 } } };"
        "struct segment *segments = &first; struct chunk *any;",
        None,
        None,
    ),
}


def test_every_example_is_here():
    assert list(EXAMPLES) == list(CONTENTS)
    listed = re.findall(r"\]\(#([a-z-]+)\)", PAGE.read_text())
    assert set(listed) >= {heading.lower().replace(",", "").replace(" ", "-") for heading in CONTENTS}


def made(folder, compiler, heading):
    """The session over an example's kernel."""
    elf = compiled(folder, compiler, f"{EXAMPLES[heading][0]}\n{CONTENTS[heading][0]}\n")
    session = session_over(loaded(elf), elf, EXAMPLES[heading][1])
    assert session.problems == ()
    return session


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("heading", [heading for heading in CONTENTS if CONTENTS[heading][1]])
def test_an_example_reads_what_the_compiler_laid_out(tmp_path, compiler, heading):
    _, ask, expected = CONTENTS[heading]
    assert ask(made(tmp_path, compiler, heading)) == expected


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_segments_of_a_heap_may_be_a_collection(tmp_path, compiler):
    session = made(tmp_path, compiler, "A list of arrays")
    low, mid, high = (session.symbols.find_symbol(name).address for name in ("low", "mid", "high"))
    found, sizes = segments(session)
    assert found == sorted([(low, low + 32), (mid, mid + 32), (high, high + 48)])
    assert dict(zip([start for start, _ in found], sizes, strict=True)) == {low: 24, mid: 24, high: 40}
    assert session.heaps.check().findings == ()
