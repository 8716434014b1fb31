"""Lists and figures of heaps, and what chunks are to each other, at the bounds: chunks by hand, headers of 16 bytes."""

import pytest

from gdbext.heap import fill
from gdbext.heap.bump import BumpDetail
from gdbext.heap.fill import filled, touched
from gdbext.heap.listing import Selection, chunk_list, find_chunk
from gdbext.heap.parts import Lost, Watermark
from gdbext.heap.stat import CacheStat, heap_stat
from gdbext.progress import shown_by
from gdbext.units import VirtAddr
from gdbext.x86.virtual import PagedMemory

from .guest import Guest, cpu
from .made_heaps import (
    BAD,
    BASE,
    FREE,
    USED,
    counter,
    flags,
    free_list,
    heap,
    in_a_row,
    lists,
    numbers,
    page_runs,
    paged,
    tree,
    words,
)
from .test_heap_rules_bounds import listed
from .test_heap_slab_bounds import first_of, made
from .test_paging_rules_bounds import Tree

A, B, C = BASE, BASE + 48, BASE + 96
END = BASE + 144
ANY = ("used", "free", "unknown")


def three(*states, **more):
    return heap(in_a_row(*((32, state) for state in states or (USED, FREE, USED))), **more)


def chosen(made, *states, **more):
    """The addresses of the chunks that are listed."""
    found = chunk_list(made, Selection(states or ANY, **more))
    assert (found.listed, found.total) == (len(found.chunks), len(made.chunks))
    return [chunk.address for chunk in found.chunks]


# --- what is listed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("states", "expected"),
    [(("used",), [A]), (("free",), [B]), (("unknown",), [C]), (("used", "free"), [A, B]), (ANY, [A, B, C])],
)
def test_chunks_by_state(states, expected):
    assert chosen(three(USED, FREE, BAD), *states) == expected
    listed_states = {chunk.address: chunk.state for chunk in chunk_list(three(USED, FREE, BAD), Selection(ANY)).chunks}
    assert listed_states == {A: "used", B: "free", C: "unknown"}


@pytest.mark.parametrize(
    ("sizes", "expected"), [((32, 32), [A]), ((33, 64), [B]), ((0, 31), []), ((31, 63), [A]), ((64, 65), [B])]
)
def test_chunks_by_size_from_the_least_to_the_most(sizes, expected):
    assert chosen(heap(in_a_row((32, USED), (64, FREE))), sizes=sizes) == expected


@pytest.mark.parametrize(
    ("window", "expected"),
    [((A, A + 1), [A]), ((B - 1, B), [A]), ((B - 1, B + 1), [A, B]), ((B, C), [B]), ((0, A), []), ((END, END + 9), []),
     ((END - 1, END), [C]), ((0, END), [A, B, C])],
)  # fmt: skip
def test_chunks_that_meet_a_window(window, expected):
    assert chosen(three(), window=window) == expected
    with_trailers = heap(in_a_row((24, USED), (24, USED), (24, USED), trailer=8), trailer=8)
    assert chosen(with_trailers, window=window) == expected


def test_chunks_by_their_caller():
    made = three(callers=words(0x111, 0, 0x222))
    assert chosen(made, caller=lambda caller: caller == 0x111) == [A]
    assert chosen(made, caller=lambda caller: True) == [A, C]  # 0: it is not known
    assert chosen(three(), caller=lambda caller: True) == []
    lines = chunk_list(made, Selection(ANY), lambda caller: f"at {caller:#x}").chunks
    assert [(line.caller, line.caller_name) for line in lines] == [
        (0x111, "at 0x111"),
        (None, None),
        (0x222, "at 0x222"),
    ]


def test_the_largest_are_first_and_of_equal_ones_the_lower():
    rows = in_a_row((32, USED), (64, FREE), (32, FREE), (16, USED))
    assert chosen(heap(rows), by_size=True) == [rows[i][0] for i in (1, 0, 2, 3)]


def test_chunks_as_they_are_on_lists_and_in_a_tree():
    states = (FREE, USED, FREE, USED, FREE)
    made = heap(in_a_row(*((32, state) for state in states)), index=lists(free_list(4, 0), free_list(2, name="big")))
    at = made.chunks.address.tolist()
    assert chosen(made, by_lists=True) == [at[4], at[0], at[2]]
    lines = chunk_list(made, Selection(ANY)).chunks
    assert [line.on for line in lines] == ["list 0", None, "list big", None, "list 0"]
    grown = heap(in_a_row(*((32, s) for s in states)), index=tree((2, 0, 4), (-1, 2, 2), {2: (0, 4)}))
    assert chosen(grown, by_lists=True) == [at[2], at[0], at[4]]
    assert [line.on for line in chunk_list(grown, Selection(ANY)).chunks] == ["tree", None, "tree", None, "tree"]
    assert chosen(three(), by_lists=True) == []


def test_whether_a_list_is_complete():
    whole = chunk_list(three(), Selection(ANY))
    assert (whole.complete, whole.why_incomplete) == (True, None)
    torn = chunk_list(three(lost=(Lost(VirtAddr(END), VirtAddr(END + 8), "why not"),)), Selection(ANY))
    assert not torn.complete
    assert "why not" in (torn.why_incomplete or "")


# --- one chunk --------------------------------------------------------------------------------------------------------


def part_at(made, address, guest=None):
    found = find_chunk(made, address, paged(guest or Guest()))
    return found and (found.chunk.address, found.part, found.offset)


@pytest.mark.parametrize(
    ("offset", "expected"),
    [(-1, None), (0, (A, "header", 0)), (15, (A, "header", 15)), (16, (A, "payload", 0)), (39, (A, "payload", 23)),
     (40, (A, "trailer", 0)), (47, (A, "trailer", 7)), (48, (B, "header", 0)), (143, (C, "trailer", 7)), (144, None)],
)  # fmt: skip
def test_the_part_of_a_chunk_that_an_address_lies_in(offset, expected):
    with_trailers = heap(in_a_row((24, USED), (24, FREE), (24, USED), trailer=8), trailer=8, layout={"alignment": 8})
    assert part_at(with_trailers, A + offset) == expected


def test_a_chunk_without_a_trailer_ends_with_its_payload():
    assert part_at(three(), B - 1) == (A, "payload", 31)
    assert part_at(three(), B) == (B, "header", 0)


def test_what_reaches_into_the_next_chunk_ends_where_that_begins():
    rows = [(A, 64, USED), (B, 32, USED)]
    assert part_at(heap(rows), B - 1) == (A, "payload", 31)
    assert part_at(heap(rows), B) == (B, "header", 0)


@pytest.mark.parametrize("size", [8, -1, 1 << 40])
def test_of_a_chunk_whose_size_cannot_be_the_header_is_known(size):
    made = heap([(A, size, USED)], [(A, END)])
    assert part_at(made, A + 15) == (A, "header", 15)
    assert part_at(made, A + 16) is None


def test_chunks_in_any_order():
    rows = in_a_row((32, USED), (32, FREE), (32, USED))
    shuffled = listed([rows[2], rows[0], rows[1]], [])
    assert [part_at(shuffled, at)[0] for at in (A, B - 1, B, C, END - 1)] == [A, A, B, C, C]


@pytest.mark.parametrize(("address", "before", "behind"), [(A, None, B), (B, A, C), (C, B, None)])
def test_the_neighbours_of_a_chunk(address, before, behind):
    found = find_chunk(three(), address, paged(Guest()))
    assert [one and one.address for one in (found.before, found.behind)] == [before, behind]


@pytest.mark.parametrize(
    ("size", "payload_rows"),
    [(0, []), (1, [1]), (16, [16]), (17, [16, 1]), (64, [16] * 4), (65, [16] * 4), (-1, [])],
)
def test_the_bytes_of_a_chunk_in_rows_of_16_and_64_of_its_payload(size, payload_rows):
    guest = Guest()
    guest.write(A, bytes(range(200)))
    made = heap([(A, size, USED)], [(A, A + 256)], trailer=8, layout={"minimum": 0})
    found = find_chunk(made, A, paged(guest)).bytes
    header, *rest = found
    assert (header.address, header.part, header.hex) == (A, "header", bytes(range(16)).hex(" "))
    payload = [one for one in rest if one.part == "payload"]
    assert [len(bytes.fromhex(one.hex)) for one in payload] == payload_rows
    assert [one.address for one in payload] == [A + 16 + 16 * row for row in range(len(payload_rows))]
    trailer = [(one.address, one.hex) for one in rest if one.part == "trailer"]
    behind = 16 + size
    assert trailer == ([] if size < 0 else [(A + behind, bytes(range(behind, behind + 8)).hex(" "))])


def test_the_bytes_of_a_chunk_as_far_as_they_can_be_read():
    guest = Guest(A + 32)
    found = find_chunk(heap([(A, 64, USED)]), A, paged(guest))
    assert [one.part for one in found.bytes] == ["header", "payload"]


def test_an_object_of_a_slab():
    slabs = of_slabs()
    address = first_of(1) + 3 * 64
    found = find_chunk(slabs, address + 63, paged(Guest()))
    assert (found.chunk.address, found.offset, found.chunk.cache) == (address, 63, "green")
    assert (found.slab.header, found.slab.cache, found.slab.number) == (0x50100, "green", 3)


def of_slabs():
    """Two slabs of eight objects, of red and of green, each object a chunk; and a chunk that is none's."""
    objects = [first_of(slab) + 64 * number for slab in (0, 1) for number in range(8)]
    rows = [(at, 64, USED) for at in [*objects, first_of(2)]]
    slabs = made([3, 0], cache=(0, 1), chunk=numbers(*range(16)))
    return heap(rows, [], header=0, detail=slabs.detail)


def test_objects_by_their_cache():
    assert chosen(of_slabs(), cache="green") == [first_of(1) + 64 * number for number in range(8)]
    assert chosen(of_slabs(), cache="blue") == []
    lines = chunk_list(of_slabs(), Selection(ANY)).chunks
    assert [line.cache for line in lines] == ["red"] * 8 + ["green"] * 8 + [None]
    nobody = made([0], cache=[-1], chunk=numbers(*range(8)))
    rows = [(first_of(0) + 64 * number, 64, USED) for number in range(8)]
    assert chunk_list(heap(rows, [], header=0, detail=nobody.detail), Selection(ANY)).chunks[0].cache is None
    objects = made([0, 0], chunk=numbers(*[-1] * 8, *range(8)))  # those of slab 0 are the heap's own
    found = find_chunk(heap(rows, [], header=0, detail=objects.detail), first_of(0), paged(Guest()))
    assert found.slab.header == 0x50100


# --- figures ----------------------------------------------------------------------------------------------------------


def test_a_heap_in_figures():
    rows = in_a_row((32, USED), (48, FREE), (16, FREE), (64, USED), (80, BAD), trailer=8)
    stat = heap_stat(heap(rows, trailer=8, counters=(counter(7, "used_bytes"),)))
    assert (stat.chunks, stat.used_chunks, stat.free_chunks, stat.damaged) == (5, 2, 2, 1)
    assert (stat.used_bytes, stat.free_bytes, stat.largest_free) == (96, 64, 48)
    assert stat.overhead == 5 * 24
    assert stat.fragmentation == 0.25  # 16 of 64 bytes
    assert (stat.complete, stat.counters[0].value, stat.counters[0].counted) == (False, 7, None)


def test_counters_beside_what_is_counted():
    stat = heap_stat(three(counters=(counter(7, "used_bytes"), counter(1, "free_chunks"))))
    assert [(c.value, c.counted) for c in stat.counters] == [(7, 64), (1, 1)]
    assert stat.complete


@pytest.mark.parametrize(
    ("states", "share", "largest"), [((USED, USED), 0.0, 0), ((FREE, USED), 0.0, 32), ((FREE, FREE), 0.5, 32)]
)
def test_the_share_of_free_bytes_that_are_not_in_the_largest_chunk(states, share, largest):
    stat = heap_stat(heap(in_a_row(*((32, state) for state in states))))
    assert (stat.fragmentation, stat.largest_free) == (share, largest)


@pytest.mark.parametrize("current", [A, A + 1, END - 1, END])
def test_a_watermark_in_figures(current):
    mark = Watermark(VirtAddr(A), VirtAddr(current), VirtAddr(END), None)
    stat = heap_stat(heap([], [(A, END)], detail=BumpDetail(), watermark=mark))
    assert (stat.used_bytes, stat.free_bytes, stat.largest_free) == (current - A, END - current, END - current)
    assert stat.fragmentation == 0.0
    chunked = heap_stat(three(watermark=mark))
    assert (chunked.used_bytes, chunked.free_bytes) == (64, 32)


def test_caches_in_figures():
    """Red has a full, an almost full, an almost empty, an empty and a damaged slab; green has none."""
    sound = flags(True, True, True, True, False)
    stat = heap_stat(made([0, 1, 7, 8, 8], sound=sound, marked=sound))
    assert stat.caches == (
        CacheStat("red", 64, 64, internal=False, slabs=4, full=1, partial=2, empty=1, used=16, free=16),
        CacheStat("green", 0, 0, internal=False, slabs=0, full=0, partial=0, empty=0, used=0, free=0),
    )
    assert heap_stat(three()).caches == ()


# --- what chunks are to each other ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "inside"),
    [
        ((A, 32, USED), True),
        ((A - 1, 32, USED), False),
        ((END - 48, 32, USED), True),
        ((END - 48, 33, USED), False),
        ((END - 16, 0, USED), True),
        ((END - 15, 0, USED), False),
        ((A, -1, USED), False),
        ((A, (1 << 63) - 1, USED), False),
    ],
)
def test_a_chunk_lies_in_its_segment(row, inside):
    assert heap([row], [(A, END)], layout={"minimum": 0}).inside.tolist() == [inside]
    assert heap([row], [(0, 8), (A, END)]).inside.tolist() == [inside]
    assert heap([row], []).inside.tolist() == [True]


@pytest.mark.parametrize(("size", "inside"), [(24, True), (25, False)])
def test_a_chunks_trailer_lies_in_its_segment(size, inside):
    assert heap([(END - 48, size, USED)], [(A, END)], trailer=8).inside.tolist() == [inside]


def test_a_heap_is_sound_where_all_is_seen_and_every_header_is_right():
    assert three().sound
    assert not three(USED, BAD, USED).sound
    assert not three(lost=(Lost(VirtAddr(END), VirtAddr(END + 8), "why not"),)).sound
    assert three(lost=(Lost(VirtAddr(A), VirtAddr(B), "why not"),)).unseen.startswith(f"{A:#x}-{B:#x}: ")


def test_chunks_of_a_list_that_were_not_reached_from_the_one_before_are_no_neighbours():
    made = listed(starts=numbers(2))
    assert made.pairs.tolist() == [0]
    assert listed().pairs.tolist() == [0, 1]
    assert three(starts=numbers(2)).pairs.tolist() == [0, 1]
    assert listed([]).pairs.tolist() == []


def test_room_between_scattered_chunks_is_right_and_an_overlap_is_not():
    detail = made([]).detail
    for gap, wrong in ((16, []), (0, []), (-16, [0])):
        rows = [(A, 32, USED), (B + gap, 32, USED)]
        assert heap(rows, [], detail=detail).mismatched.tolist() == wrong
    assert page_runs((0x9000, A, 1, 1, 0)).fits.tolist() == [True]


# --- fills ------------------------------------------------------------------------------------------------------------


def touched_in(stretches, wrong, size=1 << 20, memory=None):
    guest = Guest(size)
    for start, end in stretches:
        guest.write(start, b"\xdd" * min(end - start, max(0, size - start)))
    for at in wrong:
        guest.bytes[at] = 0x11
    start, end = (words(*bounds) for bounds in zip(*stretches, strict=True))
    made = filled("poison", 0xDD, numbers(*range(len(stretches))), start, end)
    return [(one.number, one.address, one.count) for one in touched(made, memory or paged(guest))]


@pytest.mark.parametrize("block", [16, 64, 100, 1 << 20])
@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ([], []),
        ([A - 1, A + 100, B + 99, B + 200], []),
        ([A], [(0, A, 1)]),
        ([A + 99], [(0, A + 99, 1)]),
        ([A + 3, A + 15, A + 16, A + 99], [(0, A + 3, 4)]),
        ([A + 63, A + 64, B + 100, B + 199], [(0, A + 63, 2), (1, B + 100, 2)]),
    ],
)
def test_bytes_that_are_wrong_in_whatever_blocks_memory_is_looked_at(monkeypatch, block, wrong, expected):
    monkeypatch.setattr(fill, "BLOCK", block)
    assert touched_in([(A, A + 100), (B + 100, B + 200)], wrong) == expected


def test_progress_is_counted_in_bytes(monkeypatch):
    monkeypatch.setattr(fill, "BLOCK", 64)
    shown = []
    with shown_by(lambda what, done, total: shown.append((done, total))):
        touched_in([(A, A + 100), (A + 256, A + 264)], [])
    assert shown == [(0, 264), (64, 264), (256, 264)]


def test_stretches_without_bytes_are_none_and_others_in_order():
    made = filled("poison", 1, numbers(7, 8, 9, 10), words(50, 30, 20, 10), words(60, 30, 19, 20))
    assert (made.chunk.tolist(), made.start.tolist(), made.end.tolist()) == ([10, 7], [10, 50], [20, 60])
    assert touched(filled("poison", 1, numbers(), words(), words()), paged(Guest())) == []


def test_where_nothing_is_mapped_nothing_is_wrong():
    """A stretch over four pages, of which the second and the last are mapped; both hold a byte that is wrong."""
    guest = Tree()
    for number, frame in ((1, 0x8000), (3, 0x9000)):
        guest.map(A + number * 0x1000, frame)
        guest.guest.write(frame, b"\xdd" * 0x1000)
        guest.guest.bytes[frame + 0xFFF] = 0
    memory = PagedMemory(guest.guest.memory, cpu(root=guest.root))
    made = filled("poison", 0xDD, numbers(0, 1), words(A + 5, A + 0x4000), words(A + 0x4000, A + 0x5000))
    assert [(one.number, one.address, one.count) for one in touched(made, memory)] == [(0, A + 0x1FFF, 2)]


def test_a_stretch_beyond_the_end_of_ram():
    size = A + 0x1000
    assert touched_in([(A + 8, A + 0x3000)], [size - 1], size=size) == [(0, size - 1, 1)]
    assert touched_in([(A + 8, A + 0x3000)], [], size=size) == []
