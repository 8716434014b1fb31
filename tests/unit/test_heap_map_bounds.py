"""The map of a heap at the bounds of what it is made of: spans, sizes, windows, and which state wins over which."""

import pytest

from gdbext.checks.heaps.heap_map import WIDEST, HeapMap, heap_map
from gdbext.heap.bump import BumpDetail
from gdbext.heap.list import ListDetail
from gdbext.heap.page_runs import PageRunsDetail
from gdbext.heap.parts import Lost, Pieces, Watermark
from gdbext.structures.unread import Unread
from gdbext.units import VirtAddr

from .test_heap_map import BASE, array, heap, mapped, stretches

LIST = ListDetail(head=VirtAddr(BASE), tail=None, rover=None, circular=False, broken=None)
SCATTERED = PageRunsDetail(page_runs=None)
LOW = 1 << 40
"""Far below BASE, so that spans up to the widest are addresses."""


def span(made):
    found = heap_map(made, None)
    return found.start - BASE, found.end - BASE


def test_a_heap_without_segments_and_chunks_has_no_addresses():
    found = heap_map(heap([], []), None)
    assert (found.start, found.end, found.begins, found.sizes) == (0, 0, (), {})


@pytest.mark.parametrize(("width", "drawn"), [(WIDEST - 1, True), (WIDEST, False), (WIDEST + 1, False)])
def test_segments_that_are_too_far_apart_to_be_drawn(width, drawn):
    assert WIDEST == 1 << 61
    torn = heap([], [(LOW - BASE, LOW - BASE + 64), (LOW - BASE + width - 64, LOW - BASE + width)])
    found = heap_map(torn, None)
    assert isinstance(found, HeapMap if drawn else Unread)
    assert not getattr(found, "absent", False)  # it is there, and damaged


def test_the_span_of_a_heap_is_that_of_its_segments_and_its_watermark():
    assert span(heap([], [(64, 128), (0, 32)])) == (0, 128)
    assert span(heap([], [(64, 128), (32, 32), (200, 190)])) == (64, 128)  # those without bytes do not count
    mark = Watermark(VirtAddr(BASE), VirtAddr(BASE + 16), VirtAddr(BASE + 256), None)
    assert span(heap([], [(64, 128)], watermark=mark)) == (0, 256)
    empty = Watermark(VirtAddr(BASE), VirtAddr(BASE), VirtAddr(BASE), None)
    assert span(heap([], [(64, 128)], watermark=empty)) == (64, 128)


def test_the_span_of_a_list_without_segments_is_that_of_its_chunks_that_can_be():
    chunks = [(64, 40, False, True), (0, 40, True, True), (512, -1, False, True)]
    assert span(heap(chunks, [], detail=LIST)) == (0, 128)
    found = heap_map(heap([(0, -1, False, True)], [], detail=LIST), None)
    assert (found.start, found.end) == (0, 0)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (1, [(0, "overhead"), (16, "used"), (17, "overhead"), (25, "unknown")]),
        (0, [(0, "overhead"), (24, "unknown")]),  # header and trailer
        (-1, [(0, "overhead"), (16, "unknown")]),  # how far it goes is not known: the header
    ],
)
def test_a_chunk_of_the_least_size(size, expected):
    assert stretches(heap_map(heap([(0, size, False, True)], [(0, 64)]), None)) == expected


@pytest.mark.parametrize(
    ("at", "outside"),
    [(0, 1), (63, 1), (64, 1), (65, 0), (127, 0), (191, 0), (192, 1), (256, 1)],
)
def test_chunks_that_do_not_touch_a_segment_are_outside(at, outside):
    """Chunks of 64 bytes; the segment is from 128 up to 192."""
    found = heap_map(heap([(at, 40, False, True)], [(128, 192)]), None)
    assert (found.chunks, found.outside) == (1, outside)
    assert heap_map(heap([(at, 40, False, True)], [(128, 192)]), None, (BASE, BASE + 8)).outside == 0


def test_a_heap_may_begin_with_the_first_of_all_addresses():
    found = heap_map(heap([(-BASE, 40, False, True)], [(-BASE, 72 - BASE)]), None)
    assert [begin + BASE for begin, _ in stretches(found)] == [0, 16, 56, 64]
    assert found.sizes == {"overhead": 24, "used": 40, "unknown": 8}


def test_an_overwritten_chunk_reaches_up_to_the_next_or_to_its_segments_end():
    chunks = [(0, 40, False, True), (64, 1 << 40, False, False), (128, 40, True, True), (192, 7, True, False)]
    found = heap_map(heap(chunks, [(0, 224), (288, 320)]), None)
    assert stretches(found)[3:] == [
        (64, "unknown"), (128, "overhead"), (144, "free"), (184, "overhead"), (192, "unknown"),
        (224, "not the heap's"), (288, "unknown"),
    ]  # fmt: skip


def test_what_is_not_known_is_so_wherever_it_lies():
    """A chunk that is overwritten, and a place where none can be told: in room that is nobody's, and in no segment."""
    chunks = [(0, 40, False, False), (128, 40, True, True)]
    lost = (Lost(VirtAddr(BASE + 192), VirtAddr(BASE + 200), "why not"),)
    scattered = {"detail": SCATTERED, "pieces": Pieces(array([BASE]), array([BASE + 256])), "lost": lost}
    assert stretches(heap_map(heap(chunks, [(0, 256)], **scattered), None)) == [
        (0, "unknown"), (128, "overhead"), (144, "free"), (184, "overhead"), (192, "unknown"), (200, "overhead"),
    ]  # fmt: skip
    assert stretches(heap_map(heap(chunks, [(128, 256)], detail=SCATTERED, lost=lost), None)) == [
        (128, "overhead"), (144, "free"), (184, "overhead"), (192, "unknown"), (200, "nobody's"),
    ]  # fmt: skip
    apart = heap([(0, 40, True, True), (64, 40, False, False), (128, 40, True, True)], [], detail=LIST)
    assert (64, "unknown") in stretches(heap_map(apart, None))


def test_what_is_overwritten_is_no_second_chunk():
    chunks = [(0, 104, False, True), (64, 48, True, False)]
    found = stretches(heap_map(heap(chunks, [(0, 128)]), None))
    assert found == [(0, "overhead"), (16, "used"), (120, "overhead")]


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([(0, 128)], [(0, "overhead"), (16, "used"), (56, "overhead"), (64, "unknown")]),
        ([(0, 64)], [(0, "overhead"), (16, "used"), (56, "overhead"), (64, "not mapped")]),
        ([(16, 128)], [(0, "not mapped"), (16, "used"), (56, "overhead"), (64, "unknown")]),
        ([(17, 128)], [(0, "not mapped"), (16, "used, not mapped"), (17, "used"), (56, "overhead"), (64, "unknown")]),
        ([(-64, 0), (128, 192)], [(0, "not mapped"), (16, "used, not mapped"), (56, "not mapped")]),
        ([(-64, 1), (127, 192)], [(0, "overhead"), (1, "not mapped"), (16, "used, not mapped"), (56, "not mapped"),
                                  (127, "unknown")]),
        ([], [(0, "not mapped"), (16, "used, not mapped"), (56, "not mapped")]),
    ],
)  # fmt: skip
def test_what_is_mapped_of_a_heap(runs, expected):
    found = heap_map(heap([(0, 40, False, True)], [(0, 128)]), mapped(*runs))
    assert stretches(found) == expected


def test_a_watermark_that_is_not_all_mapped():
    mark = Watermark(VirtAddr(BASE), VirtAddr(BASE + 64), VirtAddr(BASE + 128), None)
    bare = heap([], [(0, 128)], watermark=mark, detail=BumpDetail())
    assert stretches(heap_map(bare, mapped((0, 32), (96, 128)))) == [
        (0, "used"), (32, "used, not mapped"), (64, "not mapped"), (96, "not handed out"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ((0, 192), (0, 128)),
        ((1, 127), (1, 127)),
        ((-16, 16), (0, 16)),
        ((127, 128), (127, 128)),
        ((128, 192), (128, 128)),
        ((-16, 0), (0, 0)),
    ],
)
def test_a_window_is_cut_to_the_heap(window, expected):
    made = heap([(0, 40, False, True), (64, 40, True, True)], [(0, 128)])
    found = heap_map(made, None, tuple(BASE + bound for bound in window))
    assert (found.start - BASE, found.end - BASE) == expected
    assert sum(found.sizes.values()) == expected[1] - expected[0]
