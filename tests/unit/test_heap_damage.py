"""Damage to heaps in a made-up guest: the broken rule is told at the right chunk, and what lies behind is seen."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gdbext.checks.heaps.places import HeapPlace, check_mapped, check_parent
from gdbext.heap.parts import Segment
from gdbext.heap.snapshot import HeapSnapshot
from gdbext.units import VirtAddr
from gdbext.x86.space import enumerate_space
from tests.unit.guest import cpu

from ..budget import examples
from .heap_guest import ADDRESS_MAGIC, ARENA, ARENA_END, BINS, LIST, SORTED, TAGS, Kernel, compiled, seen, tree
from .test_heap_readers import RING, free_lists, write_list, write_sorted, write_tags

TILES = [(64, False), (48, True), (64, False), (48, True), (64, False)]
PLACES = [0x40000, 0x40060, 0x400B0, 0x40110, 0x40160]
"""Where the headers of 32 bytes of these chunks are; the last ends at 0x401c0."""


@pytest.fixture(scope="module")
def symbols(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("heaps"))


@pytest.fixture
def tiles(symbols):
    kernel = Kernel(symbols, SORTED)
    assert write_sorted(kernel, TILES) == PLACES
    assert kernel.found() == []
    return kernel


def addresses(kernel):
    return kernel.read().chunks.address.tolist()


def test_a_magic_alone(tiles):
    tiles.fields(PLACES[2], 0x1234)
    assert tiles.found() == [("HEAP61", PLACES[2])]
    assert addresses(tiles) == PLACES
    assert tiles.read().unseen is None


@pytest.mark.parametrize("at", [0, 2, 4])
def test_a_whole_header(tiles, at):
    tiles.write(PLACES[at], b"A" * 32)
    assert tiles.found() == [("HEAP61", PLACES[at])]
    assert addresses(tiles) == PLACES


@pytest.mark.parametrize(
    ("written", "says"),
    [
        (
            b"a tail of 19 bytes\0",
            "overrun by 19 bytes: the next header now holds the tail of a string, 'a tail",
        ),
        (b"no end and 27 bytes of text\xff", "overrun by 27 bytes: the next header now holds the tail of a string"),
        (b"x" * 40 + b"\0", "overrun by 41 bytes: the next header now holds the tail of a string, 'xxx"),
        (b"\xaa" * 21 + b"\xbb" * 3, "overrun by 21 bytes: the next header now holds repeated 0xaa bytes"),
        (b"\xaa" * 5000, "overrun by at least 3920 bytes"),
        (b"\x12\x34\x56\x78\x9a", "was overwritten by a stray write, or the chunk before it"),
        (b"ab\0", "was overwritten by a stray write, or the chunk before it"),
        (bytes(32), "was overwritten by a stray write, or the chunk before it"),
    ],
)
def test_how_far_an_overrun_went(tiles, written, says):
    """Over the header at 0x400b0. The page ends 3920 bytes behind it, and no further is looked."""
    tiles.write(PLACES[2], written)
    finding = next(finding for finding in tiles.report().findings if finding.address == PLACES[2])
    assert finding.id == "HEAP61"
    assert says in finding.cause


def test_a_size_that_reaches_over_the_next_header(tiles):
    tiles.fields(PLACES[0] + 16, 64 + 16)
    assert tiles.found() == [("HEAP60", PLACES[0])]
    assert addresses(tiles) == PLACES


def test_a_size_that_ends_too_early(tiles):
    tiles.fields(PLACES[0] + 16, 64 - 16)
    assert tiles.found() == [("HEAP60", PLACES[0])]
    assert addresses(tiles) == PLACES


@pytest.mark.parametrize("size", [1 << 40, (1 << 64) - 32, 1 << 63, 24, 0])
def test_a_size_that_cannot_be(tiles, size):
    tiles.fields(PLACES[1] + 16, size)
    assert tiles.found()[0] == ("HEAP60", PLACES[1])
    assert addresses(tiles)[-3:] == PLACES[2:]


def test_a_header_that_once_was_one(tiles):
    """Inside a chunk lies what was a header before chunks were merged, and a real header is damaged."""
    old = PLACES[0] + 64
    tiles.fields(old, ADDRESS_MAGIC ^ old, 0, 0, PLACES[0])
    tiles.write(PLACES[1], b"B" * 32)
    assert tiles.found() == [("HEAP61", PLACES[1])]


def test_links_back_and_the_last_chunk(tiles):
    tiles.fields(PLACES[2] + 24, PLACES[0])
    assert tiles.found() == [("HEAP63", PLACES[2])]
    tiles.fields(PLACES[2] + 24, PLACES[1])
    tiles.put("top", PLACES[3])
    assert [rule for rule, _ in tiles.found()] == ["HEAP63"]


def test_an_end_that_moved(tiles):
    tiles.put("end", 0x401C0 + 16)
    assert tiles.found()[0][0] == "HEAP60"
    tiles.put("end", 0x401C0 - 16)
    assert tiles.found()[0] == ("HEAP60", PLACES[4])


def test_footers(symbols):
    kernel = Kernel(symbols, TAGS)
    places = write_tags(kernel, TILES)
    kernel.fields(places[2] + 8 + 64, 0x4141414141414141)
    assert kernel.found() == [("HEAP61", places[2])]
    kernel.fields(places[2] + 8 + 64, 64 | 1)
    assert kernel.found() == []
    kernel.fields(places[3], 1 << 30)  # without a magic nobody knows where chunks begin again
    assert kernel.found() == [("HEAP60", places[3])]
    assert kernel.read().unseen


def test_two_segments(symbols):
    two = SORTED.replace(
        'segments = { start = "start", end = "end" }',
        'segments = [{ start = "start", end = "mark" }, { start = "key", end = "end" }]',
    )
    kernel = Kernel(symbols, two.replace('prev = "below"\ntail = "top"\n', ""))
    write_sorted(kernel, TILES)
    kernel.put("mark", PLACES[2])
    kernel.put("key", PLACES[2])
    assert (addresses(kernel), kernel.found()) == (PLACES, [])
    kernel.put("mark", PLACES[1])
    kernel.count([TILES[0], *TILES[2:]])
    assert (addresses(kernel), kernel.found()) == ([PLACES[0], *PLACES[2:]], [])


def listed(symbols):
    """A tags heap with lists; the free chunks, of 48 bytes, are on the first but one."""
    kernel = Kernel(symbols, TAGS + BINS)
    places = write_tags(kernel, TILES)
    free_lists(kernel, places, TILES, 8)
    assert kernel.found() == []
    return kernel, places


def test_a_used_chunk_on_a_list(symbols):
    kernel, places = listed(symbols)
    kernel.fields(places[3], 48 | 1)
    kernel.fields(places[3] + 8 + 48, 48 | 1)
    assert kernel.found("HEAP62") == [("HEAP62", places[3])]


def test_a_list_that_leads_astray_or_in_a_circle(symbols):
    kernel, places = listed(symbols)
    nodes = [places[1] + 8, places[3] + 8]
    for target in (nodes[0], nodes[1], 0x123450, 0x8000_0000_0000, places[0]):
        kernel.fields(nodes[1], target)
        assert ("HEAP62", places[3]) in kernel.found()
    kernel.fields(nodes[1], 0)
    kernel.fields(nodes[1] + 8, 0)
    assert kernel.found() == [("HEAP62", places[3])]


def test_a_chunk_on_two_lists_and_on_the_wrong_one(symbols):
    kernel, places = listed(symbols)
    first = kernel.at("bins")
    kernel.fields(first + 32, places[1] + 8, 2)
    found = kernel.found()
    assert found.count(("HEAP62", places[1])) == 2  # too small for it; there twice
    assert ("HEAP62", places[3]) in found


def test_a_rover_on_no_chunk(symbols):
    kernel = Kernel(symbols, LIST + 'rover = "rover"\n')
    places = write_list(kernel, TILES)
    kernel.put("rover", places[2])
    assert kernel.found() == []
    kernel.put("rover", places[2] + 16)
    assert kernel.found() == [("HEAP62", places[2] + 16)]


FILLED = (
    'poison = { byte = 0xdd, skip = 16, when = "key" }\n'
    'redzone = { byte = 0xfd, node = "struct links", start = "16", front = "(uint64_t)prev",'
    ' size = "(uint64_t)next" }\n'
)


def test_poison_and_redzones(symbols):
    """In a used payload of 64 bytes: 30 bytes for the caller, from 24 on; a fence of 8 in front and of 10 behind."""
    kernel = Kernel(symbols, SORTED + FILLED)
    write_sorted(kernel, TILES)
    kernel.put("key", 1)
    payloads = [place + 32 for place in PLACES]
    for payload, (size, free) in zip(payloads, TILES, strict=True):
        kernel.write(payload, b"\xdd" * size if free else bytes(size))
        if not free:
            kernel.fields(payload, 30, 24)
            kernel.write(payload + 16, b"\xfd" * 8)
            kernel.write(payload + 54, b"\xfd" * 10)
    assert kernel.found() == []
    for place, offset in ((1, 16), (1, 47), (2, 16), (2, 23), (2, 54), (2, 63)):
        at = payloads[place] + offset
        before = kernel.bytes[at]
        kernel.bytes[at] = 0
        (finding,) = kernel.report().findings
        assert (finding.id, finding.address) == ("HEAP64", PLACES[place])
        assert f"{at:#x}" in finding.actual
        kernel.bytes[at] = before
    kernel.bytes[payloads[1]] = 0  # the heap's own links
    kernel.bytes[payloads[2] + 24] = 1  # the caller's
    assert kernel.found() == []
    kernel.bytes[payloads[3] + 16] = 0
    kernel.put("key", 0)  # no poison in this boot
    assert kernel.found() == []


def test_a_heap_that_rests_on_another(symbols):
    kernel = Kernel(symbols, SORTED)
    write_sorted(kernel, TILES)
    parent = kernel.read()
    for start, end, wrong in (
        (PLACES[2] + 32, PLACES[2] + 96, False),
        (PLACES[2] + 40, PLACES[2] + 80, False),
        (PLACES[2] + 32, PLACES[2] + 97, True),
        (PLACES[1] + 32, PLACES[1] + 48, True),  # that one is free
        (0x90000, 0x90010, True),
    ):
        child = replace(parent, segments=(Segment(VirtAddr(start), VirtAddr(end)),))
        found = [finding.address for finding in check_parent(HeapPlace(child, None, parent))]
        assert found == ([start] if wrong else [])


def test_pages_of_a_heap(symbols):
    kernel = Kernel(symbols, SORTED)
    write_sorted(kernel, TILES)
    table = 0xA0000
    kernel.entries(table, [table + 0x1003])
    kernel.entries(table + 0x1000, [table + 0x2003])
    kernel.entries(table + 0x2000, [table + 0x3003])
    good = 1 << 63 | 3

    def found(first, second):
        kernel.entries(table + 0x3000 + 8 * 0x40, [0x40000 | first if first else 0, 0x41000 | second if second else 0])
        heap = replace(kernel.read(), segments=(Segment(VirtAddr(0x40000), VirtAddr(0x42000)),))
        runs = enumerate_space(kernel.memory, cpu(root=table), None).runs
        return [finding.address for finding in check_mapped(HeapPlace(heap, runs, None))]

    assert found(good, good) == []
    assert found(good, 0) == [0x41000]
    assert found(0, good) == [0x40000]
    assert found(good, 3) == [0x41000]  # executable
    assert found(1 << 63 | 1, good) == [0x40000]  # read-only


def test_a_free_chunk_over_all_of_memory(symbols):
    """Where the end of the heap and a size are overwritten, only what is there is looked at."""
    kernel = Kernel(symbols, SORTED + FILLED)
    write_sorted(kernel, TILES)
    kernel.put("key", 1)
    kernel.put("end", 1 << 61)
    kernel.fields(PLACES[3] + 16, (1 << 61) - PLACES[3] - 32)
    assert ("HEAP64", PLACES[3]) in kernel.found()


EVERY = {
    "list": (LIST + BINS + 'rover = "rover"\n', write_list),
    "tags": (TAGS + BINS, write_tags),
    "sorted": (SORTED + FILLED + tree("avl", "height"), write_sorted),
    "redblack": (SORTED + tree("redblack", "red"), write_sorted),
    "ring": (RING, write_list),
}
WORDS = st.one_of(
    st.integers(0, (1 << 64) - 1),
    st.sampled_from([0, (1 << 64) - 1, 1 << 40, 1 << 63, ARENA, ARENA_END, ARENA_END - 8, *PLACES, PLACES[1] + 8]),
)


NAMES = ["head", "tail", "rover", "ring", "key", "start", "end", "root", "top", "tree_count", "bins"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", EVERY)
@settings(max_examples=examples(150), suppress_health_check=[HealthCheck.too_slow])
@given(
    pokes=st.lists(st.tuples(st.integers(0, 0x400 // 8), WORDS), max_size=8),
    names=st.lists(st.tuples(st.sampled_from(NAMES), WORDS), max_size=4),
)
def test_whatever_memory_holds(symbols, kind, pokes, names):
    profile, write = EVERY[kind]
    kernel = Kernel(symbols, profile)
    write(kernel, TILES)
    for word, value in pokes:
        kernel.fields(ARENA + 8 * word, value)
    for name, value in names:
        kernel.put(name, value)
    kernel.found_in_anything()


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("fill", [0, 0xFF, "random"])
def test_memory_full_of_one_thing(symbols, kind, fill):
    kernel = Kernel(symbols, EVERY[kind][0])
    size = kernel.bytes[0x20000:].shape
    kernel.bytes[0x20000:] = np.random.default_rng(1).integers(0, 256, size) if fill == "random" else fill
    kernel.put("start", ARENA)
    kernel.put("end", ARENA_END)
    heap = kernel.read()
    if isinstance(heap, HeapSnapshot):
        assert kernel.found()
        assert len(seen(heap)) <= 1 << 16
