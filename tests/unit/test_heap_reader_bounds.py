"""Readers of heaps at the bounds of what they believe: sizes, counts and links at, below and above what can be."""

from itertools import pairwise

import numpy as np
import pytest

from gdbext.heap import buddy, page_runs, slab
from gdbext.heap.page_runs import MOST_RECORDS
from gdbext.heap.slab import MOST_OBJECTS, NAME_MOST
from gdbext.heap.slab_objects import ASTRAY
from gdbext.heap.slab_objects import USED as MARKED
from gdbext.heap.snapshot import HeapSnapshot
from gdbext.structures.chain import Stop
from gdbext.structures.unread import Unread

from . import test_heap_slabs
from .heap_guest import ARENA, ARENA_END, LIST, MAGIC, Kernel, compiled, seen
from .test_heap_buddy import HEIGHT, LEAVES, NODES, SMALLEST, Buddies
from .test_heap_readers import RING, write_list
from .test_heap_slabs import CACHES, CAPACITY, END, FIRST_SLAB, NAMES, PAGES, SLAB_STEP, Slabs, point


@pytest.fixture(scope="module")
def symbols(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("heaps"))


# --- bump and buddies -------------------------------------------------------------------------------------------------


def test_a_bump_heap_is_its_watermark(symbols):
    kernel = Kernel(
        symbols, 'kind = "bump"\nstart = "start"\ncurrent = "mark"\nend = "end"\nalignment = 8\nminimum = 4\n'
    )
    kernel.put("mark", ARENA + 24)
    heap = kernel.read()
    mark, layout = heap.watermark, heap.layout
    assert (mark.start, mark.current, mark.end, mark.at) == (ARENA, ARENA + 24, ARENA_END, kernel.at("mark"))
    assert [(one.start, one.end) for one in heap.segments] == [(ARENA, ARENA_END)]
    assert (len(heap.chunks), heap.detail.knows_chunks, layout.alignment, layout.minimum) == (0, False, 8, 4)
    assert seen(heap) == []


@pytest.mark.parametrize(
    ("name", "value", "can_be"),
    [
        ("height", HEIGHT, True),
        ("height", HEIGHT - 1, False),  # the arena is too long for that
        ("height", -1, False),
        ("origin", ARENA, True),
        ("origin", ARENA + 1, False),
        ("origin", ARENA - SMALLEST, False),  # then the arena's end is beyond the tree
        ("end", ARENA + SMALLEST * LEAVES, True),
        ("end", ARENA + SMALLEST * LEAVES + 1, False),
        ("end", ARENA + 1, True),
        ("end", ARENA - 1, False),
    ],
)
def test_an_arena_of_buddies_lies_under_its_tree(symbols, name, value, can_be):
    kernel = Buddies(symbols, [])
    kernel.put(name, value)
    assert isinstance(kernel.read(), HeapSnapshot if can_be else Unread)


def test_the_highest_and_the_widest_tree_of_buddies(symbols, monkeypatch):
    assert (buddy.MOST_HEIGHT, buddy.MOST_LEAVES) == (48, 1 << 26)
    kernel = Buddies(symbols, [])
    for most, height in ((HEIGHT, True), (HEIGHT - 1, False)):
        monkeypatch.setattr(buddy, "MOST_HEIGHT", most)
        assert isinstance(kernel.read(), HeapSnapshot if height else Unread)
    monkeypatch.setattr(buddy, "MOST_HEIGHT", 48)
    for most, wide in ((LEAVES, True), (LEAVES - 1, False)):
        monkeypatch.setattr(buddy, "MOST_LEAVES", most)
        assert isinstance(kernel.read(), HeapSnapshot if wide else Unread)


def test_one_block_is_a_tree_of_buddies_too(symbols):
    kernel = Kernel(symbols, buddies_of(smallest='"key"'))
    for name, value in (("nodes", NODES), ("height", 0), ("origin", ARENA), ("key", 1), ("end", ARENA + 1)):
        kernel.put(name, value)
    for byte, free in ((1, True), (0, False)):
        kernel.write(NODES + 1, bytes([byte]))
        assert seen(kernel.read()) == [(ARENA, 1, free)]
    kernel.put("key", 0)
    assert isinstance(kernel.read(), Unread)


def buddies_of(smallest="32"):
    return (
        'kind = "buddy"\nnodes = "nodes"\nheight = "height"\norigin = "origin"\n'
        f'smallest = {smallest}\nstart = "start"\nend = "end"\n'
    )


@pytest.mark.parametrize(("first", "end"), [(0, LEAVES), (4, 30)])
def test_a_wrong_node_of_buddies_says_where_it_is_and_what_it_is_about(symbols, first, end):
    """Leaves 8 and 9 are a used block, 10 and 11 a free one; that one's byte is overwritten."""
    kernel = Buddies(symbols, [(8, 1)], first, end)
    node = NODES + (1 << HEIGHT - 1) + 5
    assert kernel.bytes[node] == 2
    kernel.write(node, b"\7")
    (wrong,) = kernel.read().detail.wrong_nodes
    assert (wrong.at, wrong.block, wrong.size) == (node, ARENA + 10 * SMALLEST, 2 * SMALLEST)
    assert (wrong.byte, wrong.halves, wrong.expected) == (7, (1, 1), 2)


@pytest.mark.parametrize(("byte", "wrong"), [(0, False), (1, False), (2, True), (255, True)])
def test_a_leaf_of_buddies_is_used_or_free(symbols, byte, wrong):
    kernel = Buddies(symbols, [(8, 0)])
    node = NODES + LEAVES + 8
    assert kernel.bytes[node] == 0
    kernel.write(node, bytes([byte]))
    told = kernel.read().detail.wrong_nodes
    assert [(one.at, one.halves, one.expected) for one in told if one.at == node] == [(node, None, 1)] * wrong


def test_as_many_wrong_nodes_as_are_kept(symbols, monkeypatch):
    kernel = Buddies(symbols, [])
    above = NODES + (1 << HEIGHT - 2) + 6
    kernel.write(NODES + LEAVES, b"\xff" * 5)
    kernel.write(above, b"\xff")
    wrong = [*(NODES + LEAVES + number for number in range(5)), above]
    for most in (1, 4, 5, 6, 7):
        monkeypatch.setattr(buddy, "WRONG_KEPT", most)
        assert [one.at for one in kernel.read().detail.wrong_nodes] == wrong[:most]


def test_two_free_buddies_that_were_not_merged_are_two_blocks(symbols):
    """The byte above them would be 0 over a used block, and 3 if they were one free block."""
    kernel = Buddies(symbols, [(0, 2)])
    node = NODES + (1 << HEIGHT - 2) + 1
    size = SMALLEST << 1
    for byte, blocks in ((3, [(2 * size, True)]), (0, [(2 * size, False)]), (2, [(size, True), (size, True)])):
        kernel.write(node, bytes([byte]))
        found = [(length, free) for at, length, free in seen(kernel.read()) if 0 <= at - ARENA - 2 * size < 2 * size]
        assert found == blocks


# --- runs of pages ----------------------------------------------------------------------------------------------------

RUNS = (
    'kind = "runs"\nentries = "pages"\ncount = "page_count"\nbase = "start"\nunit = 4096\nfirst = "state == 1"\n'
    'length = "pages"\n'
)


def runs(symbols, records, more="", count=None):
    """A heap of runs of pages; records are (state, pages, slab)."""
    kernel = Kernel(symbols, RUNS + more)
    kernel.put("pages", PAGES)
    kernel.put("page_count", len(records) if count is None else count)
    for number, record in enumerate(records):
        kernel.fields(PAGES + 24 * number, *record)
    return kernel


def test_a_run_goes_from_its_first_record_over_as_many_pages_as_that_says(symbols):
    heap = runs(symbols, [(0, 9, 0), (1, 2, 0), (5, 9, 0), (1, 1, 0), (0, 0, 0)]).read()
    found = heap.detail.page_runs
    assert found.record.tolist() == [PAGES + 24, PAGES + 72]
    assert (found.length.tolist(), found.room.tolist()) == ([2, 1], [2, 2])
    assert seen(heap) == [(ARENA + 0x1000, 0x2000, False), (ARENA + 0x3000, 0x1000, False)]
    assert list(zip(heap.pieces.start.tolist(), heap.pieces.end.tolist(), strict=True)) == [
        (ARENA + 0x1000, ARENA + 0x3000), (ARENA + 0x3000, ARENA + 0x4000),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("length", "pages", "fits"), [(0, 0, False), (1, 1, True), (3, 3, True), (4, 3, False), (-1, 0, False)]
)
def test_a_run_reaches_no_further_than_to_the_next(symbols, length, pages, fits):
    found = runs(symbols, [(1, length, 0), (0, 0, 0), (0, 0, 0), (1, 1, 0)]).read().detail.page_runs
    assert (found.end - found.start).tolist() == [pages * 0x1000, 0x1000]
    assert found.fits.tolist() == [fits, True]


@pytest.mark.parametrize(("count", "can_be"), [(MOST_RECORDS + 1, False), (-1, False), (1, True)])
def test_how_many_records_there_can_be(symbols, count, can_be):
    assert MOST_RECORDS == 1 << 22
    assert isinstance(runs(symbols, [(1, 1, 0)], count=count).read(), HeapSnapshot if can_be else Unread)


def test_as_many_records_as_there_can_be(symbols, monkeypatch):
    kernel = runs(symbols, [(1, 1, 0)] * 4)
    for most, can_be in ((3, False), (4, True), (5, True)):
        monkeypatch.setattr(page_runs, "MOST_RECORDS", most)
        assert isinstance(kernel.read(), HeapSnapshot if can_be else Unread)


def test_a_run_that_is_a_slab_is_no_chunk(symbols):
    kernel = runs(symbols, [(1, 1, 0), (1, 1, 0x50000)], 'slab = "slab"\n')
    assert seen(kernel.read()) == [(ARENA, 0x1000, False)]
    assert kernel.read().detail.page_runs.slab.tolist() == [0, 0x50000]
    said = runs(symbols, [(1, 1, 0), (1, 1, 0x50000)], 'chunk = "slab"\n')
    assert seen(said.read()) == [(ARENA + 0x1000, 0x1000, False)]


def test_what_records_say_of_payloads_and_sizes(symbols):
    kernel = runs(
        symbols, [(1, 1, 100)], 'payload = "start + ((unsigned long)self - 0x3a000) / 24 * 4096 + 32"\nchunk = "1"\n'
    )
    assert seen(kernel.read()) == [(ARENA + 32, 0x1000 - 32, False)]
    kernel = runs(symbols, [(1, 1, 100)], 'size = "slab"\nchunk = "1"\n')
    assert seen(kernel.read()) == [(ARENA, 100, False)]


def test_the_fence_in_front_of_a_payload(symbols):
    kernel = runs(
        symbols, [(1, 1, 0)], 'payload = "start + ((unsigned long)self - 0x3a000) / 24 * 4096 + 32"\nfence = 0xfd\n'
    )
    kernel.write(ARENA, b"\xfd" * 32)
    assert kernel.found("HEAP64") == []
    for offset, told in ((0, True), (31, True), (32, False)):
        kernel.bytes[ARENA + offset] = 0
        assert kernel.found("HEAP64") == [("HEAP64", ARENA + 32)] * told
        kernel.bytes[ARENA + offset] = 0xFD


@pytest.mark.parametrize(
    ("owners", "owned"),
    [((7, 7, 7), True), ((8, 7, 7), False), ((7, 8, 7), False), ((7, 7, 8), False), ((7, 7, 0), False)],
)
def test_all_records_of_a_run_name_the_slab(symbols, owners, owned):
    """The slab is said by the first record (its state plus 6); each names an owner. Another run is right before it."""
    records = [(1, 1, 7), *((int(not n), 3, owner) for n, owner in enumerate(owners)), (0, 0, 99)]
    kernel = runs(symbols, records, 'slab = "state + 6"\nowner = "slab"\n')
    assert kernel.read().detail.page_runs.owned.tolist() == [True, owned]


def test_a_run_that_is_no_slab_needs_no_owner(symbols):
    kernel = runs(symbols, [(1, 2, 0), (0, 0, 5), (1, 1, 6)], 'slab = "slab == 6 ? 6 : 0"\nowner = "slab"\n')
    assert kernel.read().detail.page_runs.owned.tolist() == [True, True]
    assert runs(symbols, [(0, 0, 0)], 'owner = "slab"\nslab = "slab"\n').read().detail.page_runs.owned.tolist() == []


# --- slabs ------------------------------------------------------------------------------------------------------------


def one_slab(symbols, form="bits", free=()):
    """A slab of eight objects of 64 bytes, 256 bytes into its segment of a page."""
    kernel = Slabs(symbols, form, [(0, list(free))])
    assert kernel.found() == []
    return kernel


def sound(kernel):
    return kernel.read().detail.slabs.sound.tolist()


STRIDE_AT, CAPACITY_AT = CACHES + 8, CACHES + 16


@pytest.mark.parametrize(("capacity", "can_be"), [(0, False), (1, True), (60, True), (61, False), (-1, False)])
def test_as_many_objects_as_fit_into_the_segment(symbols, capacity, can_be):
    kernel = one_slab(symbols)
    kernel.fields(CAPACITY_AT, capacity)
    assert sound(kernel) == [can_be]
    assert len(kernel.read().chunks) == (capacity if can_be else 0)


@pytest.mark.parametrize(("stride", "can_be"), [(0, False), (1, True), (480, True), (481, False), (-64, False)])
def test_objects_as_large_as_fit_into_the_segment(symbols, stride, can_be):
    kernel = one_slab(symbols)
    kernel.fields(STRIDE_AT, stride)
    assert sound(kernel) == [can_be]


@pytest.mark.parametrize(
    ("offset", "can_be"), [(-1, False), (0, True), (0xE00, True), (0xE01, False), (0x1000, False), (0x1001, False)]
)
def test_the_objects_of_a_slab_lie_in_a_segment(symbols, offset, can_be):
    kernel = one_slab(symbols)
    kernel.fields(kernel.header(0) + 24, FIRST_SLAB + offset)
    assert sound(kernel) == [can_be]


@pytest.mark.parametrize(("stride", "can_be"), [(1 << 40, True), ((1 << 40) + 1, False)])
def test_the_largest_stride(symbols, stride, can_be):
    kernel = one_slab(symbols)
    kernel.put("end", 1 << 63)
    kernel.fields(STRIDE_AT, stride)
    assert sound(kernel) == [can_be]


@pytest.mark.parametrize(("size", "can_be"), [(0, False), (1, True), (64, True), (65, False)])
def test_an_object_is_no_larger_than_its_stride(symbols, monkeypatch, size, can_be):
    monkeypatch.setattr(test_heap_slabs, "SLAB", test_heap_slabs.SLAB + 'size = "bits"\n')
    kernel = Slabs(symbols, "numbers", [(0, [])])
    kernel.fields(kernel.header(0) + 56, size)
    assert sound(kernel) == [can_be]
    assert [chunk[1] for chunk in seen(kernel.read())] == [size] * (CAPACITY * can_be)


def test_the_most_objects_of_a_slab_and_of_all(symbols, monkeypatch):
    assert MOST_OBJECTS == 1 << 20
    kernel = Slabs(symbols, "bits", [(0, []), (0, []), (0, [])])
    for most, can_be in ((CAPACITY, True), (CAPACITY - 1, False)):
        monkeypatch.setattr(slab, "MOST_OBJECTS", most)
        assert sound(kernel) == [can_be] * 3
    monkeypatch.setattr(slab, "MOST_OBJECTS", 1 << 20)
    for most, how_many in ((3 * CAPACITY, 3), (3 * CAPACITY - 1, 2), (CAPACITY, 1), (CAPACITY - 1, 0)):
        monkeypatch.setattr(slab, "MOST_CHUNKS", most)
        assert sound(kernel).count(True) == how_many


@pytest.mark.parametrize(
    ("written", "name"),
    [(b"red\0", "red"), (b"a b\x7f\x21~\0", "a?b?!~"), (b"\0", "?"), (b"x" * 63 + b"\0", "x" * 63),
     (b"x" * 64 + b"\0", "x" * 64), (b"x" * 65 + b"\0", "x" * 64)],
)  # fmt: skip
def test_the_name_of_a_cache(symbols, written, name):
    assert NAME_MOST == 64
    kernel = one_slab(symbols)
    kernel.write(NAMES, written)
    assert kernel.read().detail.slabs.caches[0].name == name


def test_the_name_of_a_cache_as_far_as_it_can_be_read(symbols):
    kernel = one_slab(symbols)
    end = len(kernel.bytes)
    kernel.fields(CACHES, end - 2)
    kernel.write(end - 2, b"ab")
    assert kernel.read().detail.slabs.caches[0].name == "ab"
    kernel.fields(CACHES, end)
    assert kernel.read().detail.slabs.caches[0].name == "?"


def test_a_slab_that_only_its_pages_know_has_the_cache_that_it_names(symbols):
    kernel = Slabs(symbols, "bits", [(0, []), (1, []), (1, [])])
    kernel.fields(CACHES + 0x100 + 32, 0)  # green's list of full slabs
    slabs = kernel.read().detail.slabs
    assert slabs.header.tolist() == [kernel.header(0), kernel.header(1), kernel.header(2)]
    assert (slabs.cache.tolist(), slabs.on.tolist(), slabs.run.tolist()) == ([0, 1, 1], [0, -1, -1], [0, 1, 2])


def test_a_slab_without_pages_has_no_run(symbols):
    kernel = Slabs(symbols, "bits", [(0, []), (0, [1]), (0, [])])
    for number, runs_expected in ((0, [-1, 0, 1]), (1, [0, -1, 1]), (2, [0, 1, -1])):
        kernel.fields(PAGES + 24 * number, 0, 0, 0)
        slabs = kernel.read().detail.slabs
        runs_of = dict(zip(slabs.header.tolist(), slabs.run.tolist(), strict=True))
        assert [runs_of[kernel.header(slab_number)] for slab_number in range(3)] == runs_expected
        kernel.fields(PAGES + 24 * number, 1, 1, kernel.header(number))
    kernel.put("page_count", 0)
    assert kernel.read().detail.slabs.run.tolist() == [-1, -1, -1]


def test_the_objects_of_slabs_must_be_mapped(symbols):
    pieces = Slabs(symbols, "bits", [(0, []), (1, [])]).read().pieces
    assert list(zip(pieces.start.tolist(), pieces.end.tolist(), strict=True)) == [
        (FIRST_SLAB + 256, FIRST_SLAB + 256 + 8 * 64), (FIRST_SLAB + SLAB_STEP, FIRST_SLAB + SLAB_STEP + 8 * 48),
    ]  # fmt: skip


def test_a_list_of_slabs_ends_before_what_names_no_cache(symbols):
    """Three full slabs in a list; the last, or the last two, are no slabs at all."""
    kernel = Slabs(symbols, "bits", [(0, [])] * 3)
    kernel.put("page_count", 0)
    for number in (2, 1):
        kernel.fields(kernel.header(number), 0x1234)
        if number == 2:  # one that is followed by the list's end is a slab that somebody wrote into
            assert len(kernel.read().detail.slabs.header) == 3
    (full, *_) = kernel.read().detail.slabs.lists
    assert (full.members.tolist(), full.broken.stop, full.broken.source) == ([0], Stop.ASTRAY, kernel.header(0))
    assert full.broken.target == kernel.header(1)
    kernel.put("page_count", 3)  # records of pages name them: they are slabs
    assert len(kernel.read().detail.slabs.lists[0].members) == 3


# --- free objects of slabs --------------------------------------------------------------------------------------------


def breaks(kernel):
    return [(found.slab, found.source, found.number, found.link) for found in kernel.read().detail.slabs.free.breaks]


@pytest.mark.parametrize(("number", "astray"), [(0, False), (7, False), (8, True), (9, True), (END, False)])
def test_numbers_of_free_objects_are_below_the_capacity(symbols, number, astray):
    kernel = one_slab(symbols, "numbers", free=[5])
    point(kernel, 0, 5, number)
    if number != END:
        kernel.write(kernel.header(0) + 66 + 2 * (number % 15), END.to_bytes(2, "little"))
    assert [(source, found) for _, source, found, _ in breaks(kernel)] == [(5, ASTRAY)] * astray


@pytest.mark.parametrize(
    ("offset", "number"),
    [(-64, ASTRAY), (-1, ASTRAY), (0, 0), (1, ASTRAY), (63, ASTRAY), (64, 1), (7 * 64, 7), (8 * 64, ASTRAY)],
)
def test_links_of_free_objects_lead_to_the_first_byte_of_one(symbols, offset, number):
    kernel = one_slab(symbols, "links", free=[5])
    kernel.fields(kernel.object(0, 5), kernel.object(0, 0) + offset)
    kernel.fields(kernel.object(0, 0) + (offset if number != ASTRAY else 0), 0)
    found = breaks(kernel)
    assert found == ([(0, 5, ASTRAY, kernel.object(0, 0) + offset)] if number == ASTRAY else [])
    free = np.flatnonzero(kernel.read().detail.slabs.objects.free).tolist()
    assert free == sorted({5, *([] if number == ASTRAY else [number])})


@pytest.mark.parametrize("last", [0, 1, 7])
def test_where_a_link_of_a_list_of_free_objects_stands(symbols, last):
    kernel = one_slab(symbols, "links", free=[5, last])
    kernel.fields(kernel.object(0, last), 0x123)
    (found,) = kernel.read().detail.slabs.free.breaks
    assert (found.at, found.source, found.link) == (kernel.object(0, last), last, 0x123)
    kernel.fields(kernel.header(0) + 48, 0x456)
    (found,) = kernel.read().detail.slabs.free.breaks
    assert (found.at, found.source, found.link) == (kernel.header(0), None, 0x456)


def test_used_objects_have_a_mark_in_their_place(symbols):
    kernel = one_slab(symbols, "numbers", free=[5, 3])
    kernel.write(kernel.header(0) + 66 + 2 * 6, (2).to_bytes(2, "little"))  # object 6 is used, and not marked so
    assert kernel.read().detail.slabs.free.missed.tolist() == [6]
    point(kernel, 0, 5, 1)  # which is marked as used
    assert [one[1:] for one in breaks(kernel)] == [(1, MARKED, 0xFFFF)]
    assert kernel.read().detail.slabs.free.missed.tolist() == []  # where the list breaks off that is not known


@pytest.mark.parametrize("number", range(CAPACITY))
def test_a_bit_for_each_object(symbols, number):
    kernel = one_slab(symbols, "bits", free=[number])
    assert np.flatnonzero(kernel.read().detail.slabs.objects.free).tolist() == [number]
    assert kernel.read().detail.slabs.free.count.tolist() == [1]


def test_bits_of_more_objects_than_a_byte_has(symbols):
    kernel = one_slab(symbols)
    kernel.fields(CAPACITY_AT, 20)
    kernel.fields(kernel.header(0) + 56, 1 << 7 | 1 << 8 | 1 << 16 | 1 << 19 | 1 << 20)
    assert np.flatnonzero(kernel.read().detail.slabs.objects.free).tolist() == [7, 8, 16, 19]


# --- lists ------------------------------------------------------------------------------------------------------------

TILES = [(64, False), (48, True), (64, False), (48, True), (64, False)]


def a_list(symbols, profile=LIST):
    kernel = Kernel(symbols, profile)
    return kernel, write_list(kernel, TILES)


def seen_from(kernel):
    """The headers that are seen, where it goes on behind a break, and the break."""
    heap = kernel.read()
    broken = heap.detail.broken
    return heap.chunks.address.tolist(), heap.starts.tolist(), broken and (broken.stop, broken.source, broken.target)


def test_a_list_that_ends_too_early_is_followed_back_from_its_tail(symbols):
    kernel, places = a_list(symbols)
    kernel.fields(places[1] + 16, 0)
    assert seen_from(kernel) == (places, [2], (Stop.SHORT, places[1], 0))
    kernel.put("head", 0)
    assert seen_from(kernel) == (places, [], (Stop.SHORT, None, 0))


@pytest.mark.parametrize(("broken_at", "back_at"), [(0, 4), (1, 4), (1, 3), (2, 4), (3, 4)])
def test_what_lies_between_two_breaks_is_not_seen(symbols, broken_at, back_at):
    """The link forward of one chunk leads astray, and the link back of another."""
    kernel, places = a_list(symbols)
    kernel.fields(places[broken_at] + 16, 0x7FFF_0000_0000)
    kernel.fields(places[back_at] + 24, 0x7FFF_0000_0000)
    front, back = places[: broken_at + 1], places[back_at:]
    assert seen_from(kernel)[:2] == ([*front, *back], [len(front)])


def test_a_whole_list_is_not_followed_back(symbols):
    kernel, places = a_list(symbols)
    kernel.fields(places[4] + 24, 0x7FFF_0000_0000)
    assert seen_from(kernel) == (places, [], None)


def test_a_tail_that_leads_to_no_chunk_of_a_whole_list(symbols):
    kernel, places = a_list(symbols)
    for tail in (0, places[2]):
        kernel.put("tail", tail)
        assert seen_from(kernel) == (places, [], None)


def test_a_chunk_without_its_magic_is_one_where_it_lies_between_two_that_are(symbols):
    kernel, places = a_list(symbols)
    kernel.fields(places[2], 0x1234)
    assert seen_from(kernel) == (places, [], None)
    kernel.fields(places[3], 0x1234)  # its neighbours lead to it, and end where it begins
    assert seen_from(kernel) == (places, [], None)


@pytest.mark.parametrize(("magic", "chunks"), [(MAGIC, 6), (0x1234, 2)])
def test_a_link_to_what_is_no_chunk(symbols, magic, chunks):
    """The second chunk's link leads elsewhere, and from there back to the third."""
    kernel, places = a_list(symbols)
    astray = ARENA + 0x1000
    kernel.put("tail", 0)
    kernel.fields(places[1] + 16, astray)
    kernel.fields(astray, magic, 32, astray + 0x100, 0)
    kernel.fields(astray + 0x100, 0x99, 32, 0, 0)
    found = seen_from(kernel)
    if magic == MAGIC:  # the one behind that has no magic, and nothing follows it
        assert found[0] == [*places[:2], astray, astray + 0x100]
    else:
        assert found == (places[:2], [], (Stop.ASTRAY, places[1], astray))


def test_the_head_may_lead_to_what_is_no_chunk(symbols):
    kernel, places = a_list(symbols)
    kernel.fields(places[0], 0x1234)
    assert seen_from(kernel) == (places, [], None)


def ring(symbols, order, closes=True):
    """A circular list of three chunks of 32 bytes, in this order from its head on."""
    kernel = Kernel(symbols, RING)
    places = [ARENA + 48 * number for number in range(3)]
    for one, following in pairwise([*order, order[0]]):
        kernel.fields(places[one], places[following], 2 << 1 | 1)
    if not closes:
        kernel.fields(places[order[-1]], 0)
    kernel.put("ring", places[order[0]])
    return kernel, places


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 0, 1)])
def test_a_circular_list_is_seen_from_its_lowest_chunk_on(symbols, order):
    kernel, places = ring(symbols, order)
    assert seen_from(kernel) == (places, [], None)


def test_a_circle_that_does_not_close(symbols):
    kernel, places = ring(symbols, (1, 2, 0), closes=False)
    assert seen_from(kernel) == ([places[1], places[2], places[0]], [], (Stop.SHORT, places[0], 0))


@pytest.mark.parametrize("offset", [0, 8, 16])
def test_links_may_lead_into_headers_and_another_link_than_0_end_the_list(symbols, offset):
    end = 0x77
    kernel = Kernel(symbols, LIST + f'link_offset = {offset}\nend = "key"\nrover = "rover"\n')
    places = write_list(kernel, TILES)
    kernel.put("key", end)
    for number, place in enumerate(places):
        following = places[number + 1] + offset if number < 4 else end
        kernel.fields(place + 16, following, places[number - 1] + offset if number else end)
    for name, place in (("head", places[0]), ("tail", places[4]), ("rover", places[2])):
        kernel.put(name, place + offset)
    assert seen_from(kernel) == (places, [], None)
    heap = kernel.read()
    assert (heap.detail.head, heap.detail.tail, heap.detail.rover) == (places[0], places[4], places[2])
    assert (heap.chunks.prev.tolist(), heap.chunks.next.tolist()) == ([0, *places[:4]], [*places[1:], 0])
    assert kernel.found() == []
    for name in ("tail", "rover"):
        kernel.put(name, end)
    detail = kernel.read().detail
    assert (detail.tail, detail.rover) == (0, 0)


def test_what_of_slabs_is_not_seen(symbols):
    """A header overwritten, a list of slabs that breaks off, a list of free objects that does."""
    kernel = Slabs(symbols, "links", [(0, []), (0, [3]), (1, []), (1, [])])
    assert kernel.read().lost == ()
    kernel.fields(kernel.object(1, 3), 0x123)
    kernel.fields(kernel.header(3) + 8, 0x7FFF_0000_0000)
    kernel.fields(kernel.header(0) + 40, 0)  # its magic
    lost = [(one.start, one.end) for one in kernel.read().lost]
    assert lost == [(at, at + 1) for at in (kernel.header(0), kernel.header(3), kernel.header(1))]


def test_a_list_of_slabs_whose_first_link_leads_astray(symbols):
    kernel = Slabs(symbols, "links", [(0, [])])
    kernel.fields(CACHES + 48, 0x7FFF_0000_0000)  # the empty ones of red
    assert [(one.start, one.end) for one in kernel.read().lost] == [(0x7FFF_0000_0000, 0x7FFF_0000_0001)]


def test_objects_that_are_the_heaps_own_are_no_chunks(symbols, monkeypatch):
    monkeypatch.setattr(test_heap_slabs, "WHERE", test_heap_slabs.WHERE + 'internal = "self == caches"\n')
    kernel = Slabs(symbols, "bits", [(0, [2]), (1, [3]), (0, [])])
    heap = kernel.read()
    assert seen(heap) == [(kernel.object(1, n), 48, n == 3) for n in range(CAPACITY)]
    slabs = heap.detail.slabs
    assert [cache.internal for cache in slabs.caches] == [True, False]
    assert slabs.chunk.tolist() == [-1] * 16 + list(range(8))  # as on lists: the slabs of red, then that of green
    assert slabs.slab_of_chunks(CAPACITY).tolist() == [2] * CAPACITY
    assert len(slabs.objects.free) == 24


@pytest.mark.parametrize(("strides", "cache"), [((64, 48), 1), ((48, 64), 0), ((48, 48), -1), ((64, 32), -1)])
def test_a_slab_of_which_nothing_else_tells_is_of_the_only_cache_with_its_stride(symbols, monkeypatch, strides, cache):
    monkeypatch.setattr(
        test_heap_slabs, "SLAB", test_heap_slabs.SLAB.replace('cache = "cache"\n', 'stride = "bits"\ncapacity = "8"\n')
    )
    kernel = Slabs(symbols, "numbers", [(1, [])])
    for number, stride in enumerate(strides):
        kernel.fields(CACHES + 0x100 * number + 8, stride)
        kernel.fields(CACHES + 0x100 * number + 32, 0, 0, 0)  # on no list
    kernel.fields(kernel.header(0) + 56, 48)
    slabs = kernel.read().detail.slabs
    assert (slabs.cache.tolist(), slabs.shape.stride.tolist(), slabs.sound.tolist()) == ([cache], [48], [True])


def test_links_may_lead_to_payloads_with_all_that_is_read_in_front_of_them(symbols):
    kernel = Kernel(
        symbols,
        'kind = "list"\nhead = "head"\nnext = "self[-1].next"\nprev = "self[-1].prev"\nsize = "self[-1].size"\n'
        'free = "self[-1].free"\n'
        "header = 0\n",
    )
    places = [place + 32 for place in write_list(kernel, TILES)]
    for before, place, following in zip([0, *places], places, [*places[1:], 0], strict=False):
        kernel.fields(place - 16, following, before)
    kernel.put("head", places[0])
    assert kernel.found() == []
    assert seen(kernel.read()) == [(place, size, free) for place, (size, free) in zip(places, TILES, strict=True)]
