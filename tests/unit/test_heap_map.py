"""The map of a heap: heaps cut by hand, and any heap painted byte after byte."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdbext.checks.heaps.heap_map import HeapMap, Part, heap_map
from gdbext.heap.adjacent import AdjacentDetail
from gdbext.heap.bump import BumpDetail
from gdbext.heap.list import ListDetail
from gdbext.heap.page_runs import PageRunsDetail
from gdbext.heap.parts import Chunks, Lost, Pieces, Segment, Watermark
from gdbext.heap.snapshot import HeapSnapshot, Layout
from gdbext.report.heap_map import STATES
from gdbext.report.results import HeapMaps
from gdbext.report.text import Style, render
from gdbext.structures.unread import Unread
from gdbext.units import VirtAddr
from gdbext.x86.runs import Runs

from ..budget import examples

BASE = 0xFFFF_C000_0000_0000
HEADER, TRAILER = 16, 8


def array(values):
    return np.array(values, dtype=np.uint64)


def heap(chunks, segments, **more):
    """A heap of chunks (offset of the header, payload's size, free, sound) in segments of two offsets each."""
    at, size, free, sound = ([chunk[i] for chunk in chunks] for i in range(4))
    address = array([BASE + offset for offset in at])
    facts: dict[str, Any] = {
        "name": "it",
        "detail": AdjacentDetail(tail=None),
        "counters": (),
        "in_flux": False,
        "layout": Layout(header=HEADER, trailer=TRAILER, alignment=1, minimum=0),
    }
    return HeapSnapshot(
        chunks=Chunks(
            address,
            address + np.uint64(HEADER),
            np.array(size, dtype=np.int64),
            np.array(free, dtype=np.bool_),
            np.array(sound, dtype=np.bool_),
        ),
        segments=tuple(Segment(VirtAddr(BASE + start), VirtAddr(BASE + end)) for start, end in segments),
        **(facts | more),
    )


def mapped(*ranges):
    starts = array([BASE + start for start, _ in ranges])
    sizes = array([end - start for start, end in ranges])
    return Runs(starts, sizes, starts * np.uint64(0), np.zeros(len(ranges), dtype=np.uint32))


def stretches(found):
    """A map as offsets and states; every byte of it is counted once."""
    assert isinstance(found, HeapMap)
    borders = [*found.begins, found.end]
    sizes = {}
    for (first, last), state in zip(pairwise(borders), found.states, strict=True):
        assert first < last
        sizes[state] = sizes.get(state, 0) + last - first
    assert sizes == found.sizes
    return [(begin - BASE, state) for begin, state in zip(found.begins, found.states, strict=True)]


def text(found, width=60):
    return render(HeapMaps((found,)), Style(width=width))


def test_every_part_has_a_way_to_be_drawn():
    assert set(STATES) == set(Part)
    assert [STATES[part].name for part in Part] == [part.value for part in Part]
    signs = "".join(state.ascii for state in STATES.values())
    assert len(set(signs)) == len(signs)


def test_two_chunks_in_a_segment():
    found = heap_map(heap([(0, 40, False, True), (64, 104, True, True)], [(0, 192)]), None)
    assert stretches(found) == [
        (0, "overhead"), (16, "used"), (56, "overhead"), (80, "free"), (184, "overhead"),
    ]  # fmt: skip
    assert found.sizes == {"overhead": 48, "used": 40, "free": 104}
    assert text(found) == (
        "it (chunks): 2 chunks, virtual addresses from\n"
        "  0xffffc00000000000 to 0xffffc000000000c0\n"
        "one cell = 16 B, one line = 512 B\n"
        "\n"
        "0xffffc00000000000  H##+H.......\n"
        "\n"
        "     state      size  share  shown in\n"
        ".    free      104 B  54.2%  7 cells\n"
        ":+#  used       40 B  20.8%  3 cells\n"
        "hH   overhead   48 B  25.0%  2 of 4 cells\n"
        "\n"
        "Lighter or in lower case: a cell of several states. It shows\n"
        "the largest; free, overhead last."
    )


def test_two_segments_far_apart_and_a_chunk_that_is_in_none():
    chunks = [(0, 40, False, True), (1 << 30, 40, True, True), (1 << 31, 40, True, True)]
    found = heap_map(heap(chunks, [(0, 64), (1 << 30, (1 << 30) + 64)]), None)
    assert stretches(found) == [
        (0, "overhead"), (16, "used"), (56, "overhead"), (64, "not the heap's"),
        (1 << 30, "overhead"), ((1 << 30) + 16, "free"), ((1 << 30) + 56, "overhead"),
    ]  # fmt: skip
    assert found.outside == 1
    assert "... 1024.0 MiB not the heap's ..." in text(found)
    assert "not in the map: 1 chunk outside the heap's segments" in text(found)


def test_a_gap_that_damage_made_longer_than_all_addresses():
    lost = (Lost(VirtAddr(BASE + 64), VirtAddr((1 << 64) + (1 << 20)), "its end was overwritten"),)
    found = heap_map(heap([(0, 40, False, True)], [(0, 128)], lost=lost), None)
    assert stretches(found) == [(0, "overhead"), (16, "used"), (56, "overhead"), (64, "unknown")]


def test_what_is_damaged():
    """A size too large; a header overwritten, up to the next; a place where no chunk can be told; one not mapped."""
    chunks = [(0, 60, False, True), (64, 40, False, True), (128, 1 << 40, True, False), (192, 40, False, True)]
    lost = (Lost(VirtAddr(BASE + 256), VirtAddr(BASE + 320), "why not"),)
    found = heap_map(heap(chunks, [(0, 320)], lost=lost), mapped((0, 224), (250, 320)))
    assert stretches(found) == [
        (0, "overhead"), (16, "used"), (64, "in two chunks"), (84, "used"), (120, "overhead"),
        (128, "unknown"), (192, "overhead"), (208, "used"), (224, "used, not mapped"), (248, "not mapped"),
        (250, "overhead"), (256, "unknown"),
    ]  # fmt: skip
    assert "not all chunks are known" in text(found)
    assert "why not" in text(found)


def test_what_no_chunk_covers():
    """In a segment that chunks fill that is not known; where they lie scattered there may be room between them."""
    chunks = [(0, 40, False, True), (128, 40, True, True)]
    (_, _, _, *rest) = stretches(heap_map(heap(chunks, [(0, 192)]), None))
    assert rest[0] == (64, "unknown")
    pieces = Pieces(array([BASE + 0]), array([BASE + 96]))
    found = stretches(heap_map(heap(chunks, [(0, 200)], detail=PageRunsDetail(page_runs=None), pieces=pieces), None))
    assert [(at, state) for at, state in found if at in (56, 96, 192)] == [
        (56, "overhead"), (96, "nobody's"), (192, "nobody's"),
    ]  # fmt: skip
    detail = ListDetail(head=VirtAddr(BASE), tail=None, rover=None, circular=False, broken=None)
    found = heap_map(heap(chunks, [], detail=detail), None)
    assert (found.start - BASE, found.end - BASE) == (0, 192)
    assert (64, "not the heap's") in stretches(found)


def test_a_watermark():
    mark = Watermark(VirtAddr(BASE), VirtAddr(BASE + 64), VirtAddr(BASE + 128), None)
    chunked = heap([(0, 40, False, True)], [(0, 64)], watermark=mark)
    assert stretches(heap_map(chunked, None)) == [
        (0, "overhead"), (16, "used"), (56, "overhead"), (64, "not handed out"),
    ]  # fmt: skip
    bare = heap([], [(0, 128)], watermark=mark, detail=BumpDetail())
    assert stretches(heap_map(bare, None)) == [(0, "used"), (64, "not handed out")]


def test_a_part_of_the_addresses():
    found = heap([(0, 40, False, True), (64, 104, True, True)], [(0, 192)])
    part = heap_map(found, None, (BASE + 20, BASE + 81))
    assert stretches(part) == [(20, "used"), (56, "overhead"), (80, "free")]
    assert part.end == BASE + 81
    for window in ((0, 10), (BASE + 192, BASE + 300)):
        nothing = heap_map(found, None, window)
        assert stretches(nothing) == []
        assert text(nothing) == "it: none of its addresses are in this range"


def test_segments_that_cannot_be():
    torn = heap([(0, 40, False, True)], [(0, 64), (-BASE, 64 - BASE)])
    found = heap_map(torn, None)
    assert isinstance(found, Unread)
    assert "segments cannot be right" in text(found)


def painted(found, runs):
    """The state of each byte, one after the other, by the words of `Part`."""
    (segment,) = found.segments
    start, end = int(segment.start), int(segment.end)
    c, states = found.chunks, []
    spans = []
    for i in range(len(c)):
        at, until = int(c.address[i]), int(c.address[i]) + HEADER + int(c.size[i]) + TRAILER
        if not c.sound[i]:
            until = min([int(other) for other in c.address if other > c.address[i]] + [end])
        spans.append((at, until, i))
    for byte in range(start, end):
        within = [(at, i) for at, until, i in spans if at <= byte < until]
        sound = [(at, i) for at, i in within if c.sound[i]]
        payloads = [i for at, i in sound if at + HEADER <= byte < at + HEADER + int(c.size[i])]
        here = any(int(s) <= byte <= int(e) for s, e in zip(runs.start, runs.end, strict=True))
        if len(sound) > 1:
            states.append("in two chunks")
        elif not here:
            states.append("used, not mapped" if any(not c.free[i] for i in payloads) else "not mapped")
        elif not sound:
            states.append("unknown")
        elif payloads:
            states.append("free" if c.free[payloads[0]] else "used")
        else:
            states.append("overhead")
    return states


chunk = st.tuples(st.integers(0, 230), st.integers(0, 90), st.booleans(), st.sampled_from([True, True, True, False]))
chunk_lists = st.lists(chunk, max_size=6, unique_by=lambda made: made[0]).map(sorted)
holes = st.lists(st.integers(0, 256), min_size=2, max_size=4, unique=True).map(sorted)


@settings(max_examples=examples(200))
@given(chunks=chunk_lists, borders=holes)
def test_any_heap_as_painted_byte_by_byte(chunks, borders):
    runs = mapped(*pairwise(borders)) if len(borders) % 2 else mapped(*zip(borders[::2], borders[1::2], strict=True))
    made = heap(chunks, [(0, 256)])
    found = stretches(heap_map(made, runs))
    bytes_of = []
    for (at, state), (until, _) in pairwise([*found, (256, "")]):
        bytes_of += [state] * (until - at)
    assert bytes_of == painted(made, runs)


@pytest.mark.parametrize("size", [-1, -(1 << 63), 1 << 62, (1 << 63) - 1])
def test_sizes_that_cannot_be(size):
    """Whatever a header says, each byte is drawn once; all of it is in the JSON too."""
    found = heap_map(heap([(0, size, False, True), (64, 40, True, True)], [(0, 128)]), None)
    assert sum(found.sizes.values()) == 128
    assert text(found)
