"""Chunks one behind the other, at the bounds of what is believed: where one can begin, and where they begin again."""

import numpy as np
import pytest

from gdbext.heap import adjacent
from gdbext.heap.adjacent import MOST_LOST, MOST_SCANNED, MOST_UNREADABLE
from gdbext.heap.parts import MOST_CHUNKS
from gdbext.progress import shown_by
from gdbext.x86.virtual import PagedMemory

from .guest import cpu
from .heap_guest import ADDRESS_MAGIC, ARENA, SORTED, TAGS, Kernel, compiled, seen
from .test_heap_readers import expected, write_sorted, write_tags

HEADER = 32
TILES = [(64, False), (96, True), (64, False), (48, True), (64, False)]
A, B, C, D, E = 0x40000, 0x40060, 0x400E0, 0x40140, 0x40190
END = 0x401F0
"""Where the headers of these chunks are, and where the last ends."""


@pytest.fixture(scope="module")
def symbols(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("heaps"))


class Paged(Kernel):
    """The same behind page tables that map all of memory to itself, but for some pages."""

    tables = 0xF0000

    def __init__(self, symbols, profile, unmapped=()):
        super().__init__(symbols, profile)
        for level in range(3):
            self.entries(self.tables + 0x1000 * level, [self.tables + 0x1000 * (level + 1) | 3])
        self.entries(self.tables + 0x3000, [0 if n << 12 in unmapped else n << 12 | 3 for n in range(256)])

    @property
    def virtual(self):
        return PagedMemory(self.memory, cpu(root=self.tables))


@pytest.fixture
def kernel(symbols):
    made = Kernel(symbols, SORTED)
    assert write_sorted(made, TILES) == [A, B, C, D, E]
    assert told(made) == ([A, B, C, D, E], [], [])
    return made


def told(kernel):
    """The headers that are seen, those that were not reached from the one before, and where nothing can be told."""
    heap = kernel.read()
    lost = [(int(one.start), int(one.end)) for one in heap.lost]
    return heap.chunks.address.tolist(), [heap.chunks.address.tolist()[n] for n in heap.starts], lost


def size_of(kernel, place, size):
    kernel.fields(place + 16, size)


def sound_at(kernel, place, size, *, free=False):
    """Write a header."""
    kernel.fields(place, ADDRESS_MAGIC ^ place, free, size, 0)


# --- memory is read in blocks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("least", "most"), [(0, 0), (16, 16), (16, 64), (48, 96), (4096, 4096)])
@pytest.mark.parametrize("profile", [SORTED, TAGS], ids=["sorted", "tags"])
def test_the_same_chunks_in_blocks_of_any_size(symbols, monkeypatch, profile, least, most):
    monkeypatch.setattr(adjacent, "LEAST", least)
    monkeypatch.setattr(adjacent, "MOST", most)
    sizes = np.random.default_rng(7).integers(1, 30, 60).tolist()
    tiles = [(16 * size, bool(number % 2)) for number, size in enumerate(sizes)]
    kernel = Kernel(symbols, profile)
    places = (write_sorted if profile == SORTED else write_tags)(kernel, tiles)
    assert seen(kernel.read()) == expected(places, tiles, HEADER if profile == SORTED else 8)
    assert kernel.found() == []


# --- where a chunk can begin ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "can_be"),
    [(64, True), (80, False), (1 << 62, False), (-32, False), ((1 << 63) - 1, False), (56, False), (0, False)],
)
def test_the_last_chunk_ends_with_the_segment(kernel, size, can_be):
    size_of(kernel, E, size)
    assert told(kernel) == ([A, B, C, D, E], [], [] if can_be else [(E, END)])


@pytest.mark.parametrize(("size", "can_be"), [(16, True), (0, False), (8, False)])
def test_the_least_chunk(symbols, size, can_be):
    kernel = Kernel(symbols, SORTED)
    (_, last) = write_sorted(kernel, [(64, False), (size, False)])
    assert told(kernel)[2] == ([] if can_be else [(last, last + HEADER + size)])


@pytest.mark.parametrize(("room", "chunks", "lost"), [(8, 2, True), (7, 1, True), (1, 1, True), (0, 1, False)])
def test_a_segment_that_ends_inside_a_header(symbols, room, chunks, lost):
    """The word that is the header of a tag needs 8 bytes; what it says can be no size."""
    kernel = Kernel(symbols, TAGS)
    (first,) = write_tags(kernel, [(64, False)])
    end = first + 16 + 64
    kernel.put("end", end + room)
    places, starts, gaps = told(kernel)
    assert (len(places), starts) == (chunks, [])
    assert gaps == [(end, end + room)] * lost


def test_without_a_magic_nobody_knows_where_chunks_begin_again(symbols):
    kernel = Kernel(symbols, TAGS)
    places = write_tags(kernel, TILES)
    end = places[-1] + 16 + 64
    kernel.fields(places[2], 1 << 30)
    assert told(kernel) == (places[:3], [], [(places[2], end)])


def test_a_header_may_lie_in_front_of_what_its_node_is(symbols):
    """The word in front of a payload has its size; the last is followed by such a word without a chunk."""
    profile = (
        TAGS.split("trailer")[0].replace('"word &', '"self[-1].word &').replace('"!(word', '"!(self[-1].word')
        + 'trailer = 8\nheader = 0\nsegments = { start = "start", end = "end" }\nalignment = 16\nminimum = 8\n'
    ).replace("~15ul", "~7ul")
    kernel = Kernel(symbols, profile)
    sizes, at = [40, 24, 56], ARENA + 16
    kernel.put("start", at)
    rows = []
    for number, size in enumerate(sizes):
        kernel.fields(at - 8, size | number % 2)
        rows.append((at, size, not number % 2))
        at += size + 8
    kernel.put("end", at)
    assert seen(kernel.read()) == rows
    assert told(kernel)[1:] == ([], [])


# --- where chunks begin again -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 8, 1 << 40, 72])
def test_behind_a_size_that_cannot_be_the_next_header_is_looked_for(kernel, size):
    size_of(kernel, B, size)
    assert told(kernel) == ([A, B, C, D, E], [C], [(B, C)])


def test_a_magic_alone_is_no_reason_to_doubt_the_size(kernel):
    for place in (A, C, E):
        kernel.fields(place, 0x1234)
    assert told(kernel) == ([A, B, C, D, E], [], [])


def test_without_its_magic_a_size_must_lead_to_a_header_or_to_the_end(kernel):
    kernel.fields(B, 0x1234)
    size_of(kernel, B, 96 - 16)
    assert told(kernel) == ([A, B, C, D, E], [C], [(B, C)])
    kernel.fields(E, 0x1234)
    size_of(kernel, E, 64 - 16)
    assert told(kernel) == ([A, B, C, D, E], [C], [(B, C), (E, END)])


@pytest.mark.parametrize(
    ("trailer", "distance", "a_chunk"), [(0, 48, True), (0, 32, False), (0, 16, False), (16, 64, True), (16, 48, False)]
)
def test_a_header_too_near_behind_a_place_leaves_no_room_for_a_chunk_there(symbols, trailer, distance, a_chunk):
    """The least chunk has a header of 32 bytes, 16 of payload, and its trailer. (It is cut off payloads here.)"""
    kernel = Kernel(symbols, SORTED + f"trailer = {trailer}\n")
    write_sorted(kernel, TILES)
    for place, (size, _) in zip((A, B, C, D, E), TILES, strict=True):
        size_of(kernel, place, size - trailer)
    kernel.write(B, b"A" * HEADER)
    there = B + distance
    sound_at(kernel, there, C - there - HEADER - trailer)
    assert told(kernel) == ([A, *[B] * a_chunk, there, C, D, E], [there], [(B, there)])


def test_a_size_that_reaches_over_headers_leads_back_to_the_first_of_a_chunk_that_reaches_further(kernel):
    size_of(kernel, A, 64 + 16)  # into the second chunk
    found = told(kernel)
    assert found[:2] == ([A, B, C, D, E], [B])
    size_of(kernel, A, 64 + 128 + 16)  # into the third
    assert told(kernel)[:2] == ([A, C, D, E], [C])


def test_what_once_was_a_header_inside_a_chunk_is_none(kernel):
    """Before chunks were merged: a header within the payload of the second, of a chunk that ends where that does."""
    old = B + 48
    sound_at(kernel, old, C - old - HEADER)
    assert told(kernel) == ([A, B, C, D, E], [], [])
    size_of(kernel, C, 1 << 40)
    assert told(kernel) == ([A, B, C, D, E], [D], [(C, D)])


def test_a_header_counts_where_its_chunk_ends_at_another_or_at_the_end(kernel):
    kernel.write(B, b"A" * HEADER)
    fake = B + 64
    sound_at(kernel, fake, 16)  # it ends in the middle of nothing
    assert told(kernel) == ([A, B, C, D, E], [C], [(B, C)])
    sound_at(kernel, fake, END - fake - HEADER)  # it ends with the segment
    assert told(kernel) == ([A, B, fake], [fake], [(B, fake)])


def test_the_reason_is_the_magic_where_the_size_could_be(kernel):
    kernel.fields(B, 0x1234)
    size_of(kernel, B, 96 - 16)
    size_of(kernel, E, 0)
    assert ["magic" in lost.why for lost in kernel.read().lost] == [True, False]


def test_damage_twice_in_a_row(kernel):
    size_of(kernel, B, 0)
    size_of(kernel, C, 0)
    places, starts, lost = told(kernel)
    assert (places, starts, lost) == ([A, B, D, E], [D], [(B, D)])  # the third cannot be told from what is in a payload


def test_nothing_is_left_behind_the_last_damage(kernel):
    size_of(kernel, D, 0)
    kernel.write(E, b"A" * HEADER)
    assert told(kernel) == ([A, B, C, D], [], [(D, END)])


def test_two_segments_begin_anew(symbols):
    two = SORTED.replace(
        'segments = { start = "start", end = "end" }',
        'segments = [{ start = "start", end = "mark" }, { start = "key", end = "end" }]',
    )
    kernel = Kernel(symbols, two)
    write_sorted(kernel, TILES)
    kernel.put("mark", C)
    kernel.put("key", C)
    assert told(kernel) == ([A, B, C, D, E], [C], [])
    size_of(kernel, A, 0)
    size_of(kernel, D, 0)
    assert told(kernel) == ([A, B, C, D, E], [B, C, E], [(A, B), (D, E)])
    kernel.put("mark", A)  # an empty segment
    assert told(kernel) == ([C, D, E], [E], [(D, E)])


# --- how long one looks -----------------------------------------------------------------------------------------------


def test_after_so_many_places_a_segment_is_given_up(kernel, monkeypatch):
    assert MOST_LOST == 64
    size_of(kernel, A, 0)
    size_of(kernel, D, 0)
    for most, places in ((1, [A]), (2, [A, B, C, D]), (3, [A, B, C, D, E])):
        monkeypatch.setattr(adjacent, "MOST_LOST", most)
        assert told(kernel)[0] == places


def test_chunks_are_followed_no_further_than_so_many(kernel, monkeypatch):
    """With small blocks, as the chunks of a block are counted together."""
    assert MOST_CHUNKS == 1 << 24
    monkeypatch.setattr(adjacent, "LEAST", 16)
    monkeypatch.setattr(adjacent, "MOST", 16)
    for most, places, lost in ((5, [A, B, C, D, E], []), (4, [A, B, C, D], [(E, END)]), (1, [A], [(B, END)])):
        monkeypatch.setattr(adjacent, "MOST_CHUNKS", most)
        assert told(kernel) == (places, [], lost)
    assert "1" in kernel.read().unseen


def wide(symbols, unmapped):
    """A chunk over four pages whose size is wrong, and another behind it."""
    kernel = Paged(symbols, SORTED, unmapped)
    places = write_sorted(kernel, [(0x4000 - HEADER, False), (64, False)])
    assert places == [ARENA, ARENA + 0x4000]
    return kernel


GAP = (0x41000, 0x42000, 0x43000)


def test_pages_that_are_not_mapped_are_skipped(symbols, monkeypatch):
    assert (MOST_UNREADABLE, MOST_SCANNED) == (512, 4096)
    kernel = wide(symbols, GAP)
    second, end = ARENA + 0x4000, ARENA + 0x4000 + HEADER + 64
    assert told(kernel) == ([ARENA, second], [], [])
    size_of(kernel, ARENA, 0)
    again, not_again = ([ARENA, second], [second], [(ARENA, second)]), ([ARENA], [], [(ARENA, end)])
    assert told(kernel) == again
    for most, result in ((3, again), (2, not_again)):  # three pages
        monkeypatch.setattr(adjacent, "MOST_UNREADABLE", most)
        assert told(kernel) == result
    monkeypatch.setattr(adjacent, "MOST_UNREADABLE", 512)
    for most, result in ((5, again), (4, not_again)):  # the first one, these, and the one with the header
        monkeypatch.setattr(adjacent, "MOST_SCANNED", most)
        assert told(kernel) == result


def test_a_header_that_cannot_be_read(symbols):
    kernel = wide(symbols, (0x44000,))
    end = ARENA + 0x4000 + HEADER + 64
    assert told(kernel) == ([ARENA], [], [(ARENA + 0x4000, end)])
    assert f"{ARENA + 0x4000:#x}" in kernel.read().unseen


def test_a_header_of_which_the_last_bytes_cannot_be_read(symbols):
    kernel = Paged(symbols, SORTED, (0x41000,))
    places = write_sorted(kernel, [(0x1000 - 16 - HEADER, False), (64, False)])
    assert places[1] == 0x40FF0
    assert told(kernel)[0] == [ARENA]


def test_progress_is_counted_in_bytes_of_the_segment(kernel):
    size_of(kernel, B, 0)
    shown = []
    with shown_by(lambda what, done, total: shown.append((done, total))):
        kernel.read()
    assert {total for _, total in shown} == {END - A}
    done = {done for done, _ in shown}
    assert {0, B - A + 16, C - A} <= done  # the first chunk, where a header is looked for, and where chunks go on
    assert max(done) < END - A


# --- footers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("word", "closed"), [(64 | 1, True), (64, False), (48 | 1, False), (0, False)])
def test_a_footer_is_the_same_word_as_its_header(symbols, word, closed):
    kernel = Kernel(symbols, TAGS)
    places = write_tags(kernel, TILES)
    kernel.fields(places[2] + 8 + 64, word)
    assert kernel.read().chunks.closed.tolist() == [True, True, closed, True, True]


def test_a_footer_that_cannot_be_read_agrees_with_no_header(symbols):
    """The header says what the bytes of a footer that cannot be read would be: 0."""
    profile = TAGS.replace('equals = "word"', 'equals = "0"')
    kernel = Paged(symbols, profile, (0x41000,))
    (place,) = write_tags(kernel, [(0x2000 - 16, False)])
    kernel.put("end", 0x42008)
    assert place == 0x40008
    size = 0x1000 - 0x10
    kernel.fields(place, size | 1)
    assert kernel.read().chunks.closed.tolist()[0] is False
