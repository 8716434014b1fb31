"""What is said of a manager and of one of its frames: figures, contents and places, at the borders of frames."""

import numpy as np
import pytest

from gdbext.errors import MemoryUnavailable
from gdbext.machine.memory import RamMap
from gdbext.pmm.frames import FrameSet
from gdbext.pmm.lists import Members
from gdbext.pmm.record import frame_record, list_place
from gdbext.pmm.snapshot import FRAMES_BESIDE, Place, sensible_count, touched
from gdbext.pmm.stat import pmm_dump, pmm_stat
from gdbext.pmm.tree import FrameStatesSnapshot, TreeSnapshot
from gdbext.pmm.zones import Zone
from gdbext.structures.chain import Break, Stop
from gdbext.structures.counter import Counter
from gdbext.units import PhysAddr, VirtAddr

from .guest import ram_range
from .test_bitmap_rules_bounds import bitmap, patch
from .test_list_rules_bounds import HIGH, LINK, free_list, longs, words
from .test_list_rules_bounds import manager as of_lists
from .test_pmm_rules_bounds import BASE, COUNT, FRAME, manager, numbers

END = BASE + COUNT * FRAME


def at(number):
    return BASE + number * FRAME


# Frames by their addresses


@pytest.mark.parametrize(
    ("start", "end", "frames"),
    [
        (BASE, BASE + 1, (0, 1)),
        (BASE, BASE + FRAME, (0, 1)),
        (BASE, BASE + FRAME + 1, (0, 2)),
        (BASE + FRAME - 1, BASE + FRAME, (0, 1)),
        (BASE - 1, BASE, (-1, 0)),
        (0, BASE, (-2, 0)),
        (END - 1, END + 1, (11, 13)),
    ],
)
def test_the_frames_that_a_range_touches(start, end, frames):
    assert touched(manager(), PhysAddr(start), PhysAddr(end)) == frames


@pytest.mark.parametrize(
    ("address", "number"),
    [(BASE - 1, None), (BASE, 0), (BASE + FRAME - 1, 0), (BASE + FRAME, 1), (END - 1, 11), (END, None)],
)
def test_the_frame_that_an_address_is_in(address, number):
    found = frame_record(manager({0, 1, 11}), PhysAddr(address))
    if number is None:
        assert (found.state, found.number, found.start) == ("unmanaged", None, None)
    else:
        stretch = (at(0), at(2)) if number < 2 else (at(11), END)
        assert (found.state, found.number, found.frame_size) == ("free", number, FRAME)
        assert (found.record, found.record_at, (found.start, found.end)) == (f"frame {number}", number, stretch)


@pytest.mark.parametrize(
    ("number", "state", "stretch"),
    [(0, "used", (0, 2)), (1, "used", (0, 2)), (2, "free", (2, 5)), (4, "free", (2, 5)), (5, "used", (5, 12))],
)
def test_the_frames_around_one_that_are_in_its_state(number, state, stretch):
    found = frame_record(manager({2, 3, 4}), PhysAddr(at(number)))
    assert (found.state, (found.start, found.end)) == (state, tuple(map(at, stretch)))
    assert found.order is None


# Places in lists


def lists(**more):
    """Frames 1-3 and 5 on one list, 4 on another, 8 to 11 on a third; list numbers are counted from 0x1000 on."""
    runs = (free_list((0x2000, 3), 0x6000, name="a"), free_list(0x5000, name="b"), free_list((0x9000, 4), name="c"))
    free = FrameSet.of_ranges([(1, 6), (8, 12)], 64)
    return of_lists(*runs, free=free, **more)


@pytest.mark.parametrize(
    ("number", "listed"),
    [
        (0, None),
        (1, ("a", 0x2000)),
        (3, ("a", 0x2000)),
        (4, ("b", 0x5000)),
        (5, ("a", 0x6000)),
        (6, None),
        (7, None),
        (8, ("c", 0x9000)),
        (11, ("c", 0x9000)),
        (12, None),
    ],
)
def test_the_list_and_the_node_that_have_a_frame(number, listed):
    managed = lists()
    place = list_place(managed, managed.frame_address(number))
    node = managed.place_of(number)
    if listed is None:
        assert (place, node) == (None, None)
        assert "0x" not in managed.record_of(number)
    else:
        name, start = listed
        assert (place.name, place.node, node) == (name, HIGH + start, HIGH + start)
        assert (f"list {name} of" in managed.record_of(number), f"{HIGH + start:#x}" in managed.record_of(number)) == (
            True,
            True,
        )


def test_a_place_in_a_list_and_its_neighbours():
    first, last = (list_place(lists(), PhysAddr(address)) for address in (0x3FFF, 0x6000))
    assert (first.place, first.members, first.start, first.end, first.entry) == (0, 2, 0x2000, 0x5000, None)
    assert (first.before, first.after) == (None, 0x6000)
    assert (last.place, last.before, last.after, last.end) == (1, 0x2000, None, 0x7000)
    assert list_place(lists(), PhysAddr(0x7000)) is None
    middle = list_place(of_lists(free_list(0x2000, 0x6000, 0x4000)), PhysAddr(0x6000))
    assert (middle.place, middle.members, middle.before, middle.after) == (1, 3, 0x2000, 0x4000)


def test_the_entry_of_a_node_that_has_a_frame():
    members = Members(words([0x2000, 0x5000]), longs([1, 1]), longs([0, 0]), longs([-1, 0]))
    entries = free_list(0x2000, 0x8000, members=members)
    first, second = (list_place(of_lists(entries), PhysAddr(address)) for address in (0x2000, 0x5000))
    assert ((first.entry, first.node), (second.entry, second.node)) == ((None, HIGH + 0x2000), (0, HIGH + 0x2000))


@pytest.mark.parametrize(("number", "order"), [(0, None), (1, 0), (8, 2), (11, 2), (12, None)])
def test_the_order_of_a_free_block(number, order):
    blocks = free_list(0x2000, name="0", order=0), free_list((0x9000, 4), name="2", order=2)
    free = FrameSet.of_ranges([(1, 2), (8, 12)], 64)
    managed = of_lists(*blocks, free=free, is_buddy=True)
    assert frame_record(managed, managed.frame_address(number)).order == order
    assert frame_record(of_lists(*blocks, free=free), managed.frame_address(number)).order is None


@pytest.mark.parametrize(
    ("number", "order"), [(0, None), (1, 0), (2, 1), (3, 1), (4, 2), (7, 2), (8, 0), (9, None), (12, 2), (15, 2)]
)
def test_the_order_of_a_free_block_of_a_tree(number, order):
    """Free are 1 to 8 and 12 to 15: the largest aligned block around each that is free as a whole."""
    facts = {
        "name": "t", "base": PhysAddr(BASE), "frame_size": FRAME, "free": numbers({*range(1, 9), *range(12, 16)}, 16),
        "covers": True, "counters": (), "counts_reserved": True, "in_flux": False, "places": (),
        "nodes_at": VirtAddr(0x9000), "height": 4, "root": 1, "wrong": (), "wrong_count": 0, "beyond": longs([]),
        "blocks": (2, 1, 2),
    }  # fmt: skip
    tree = TreeSnapshot(**facts)
    found = frame_record(tree, tree.frame_address(number))
    assert found.order == order
    assert found.record_at == 0x9000 + 1 + 15 + number  # the leaves are behind 15 nodes, the root is at 1
    figures = [(part.order, part.blocks, part.frames, part.free) for part in tree.parts]
    assert figures == [(0, 2, 2, 2), (1, 1, 2, 2), (2, 2, 8, 8)]
    whole = TreeSnapshot(**(facts | {"free": numbers(range(16), 16)}))
    assert frame_record(whole, whole.frame_address(number)).order == 4


def test_where_records_of_frames_are():
    records = FrameStatesSnapshot(
        name="r", base=PhysAddr(BASE), frame_size=FRAME, free=numbers({3}), covers=True, counters=(),
        counts_reserved=True, in_flux=False, places=(), records_at=VirtAddr(0x9000), stride=24,
    )  # fmt: skip
    assert [records.place_of(number) for number in (0, 1, 3)] == [0x9000, 0x9018, 0x9048]
    assert "0x9048" in records.record_of(3)


# Figures of lists


def test_the_figures_of_lists():
    length = Counter("length", 9, VirtAddr(0x55), "n")
    torn = Break(Stop.ASTRAY, VirtAddr(HIGH + 0x8000), VirtAddr(0), "it leads nowhere")
    managed = of_lists(
        free_list((0x2000, 3), 0x6000, name="a", length=length),
        free_list((0x9000, 4), name="b", length=length, counts_frames=True),
        free_list(name="c"),
        free_list(0x8000, name="d", broken=torn),
    )
    assert [(p.name, p.frames, p.free, p.blocks, p.said, p.counted, p.at) for p in managed.parts] == [
        ("a", 4, 4, 2, 9, 2, HIGH + 0x2000),
        ("b", 4, 4, 1, 9, 4, HIGH + 0x9000),
        ("c", 0, 0, 0, None, 0, None),
        ("d", 1, 1, 1, None, None, HIGH + 0x8000),
    ]
    assert {part.kind for part in managed.parts} == {"list"}
    assert of_lists(free_list(order=0), is_buddy=True).parts[0].kind == "order"


@pytest.mark.parametrize(
    ("zone", "has"), [({}, False), ({"start": 0}, True), ({"end": 0x8000}, True), ({"start": 0, "end": 0x8000}, True)]
)
def test_lists_that_are_for_certain_addresses(zone, has):
    assert of_lists(free_list(), free_list(**zone)).has_zones is has
    assert of_lists().has_zones is False


def test_members_in_order_that_overlap():
    def overlapping(*runs):
        managed = of_lists(*(free_list(run) for run in runs))
        return managed.by_address[0].overlapping(FRAME).tolist()

    assert overlapping((0x2000, 1), (0x3000, 1)) == []
    assert overlapping((0x2000, 2), (0x3000, 1)) == [1]
    assert overlapping((0x2000, 2), (0x3000, 0)) == []  # a run of nothing
    assert overlapping((0x2000, 4), (0x3000, 1), (0x4000, 1)) == [1, 2]
    assert overlapping() == []


# Figures of managers


@pytest.mark.parametrize(
    ("free", "runs", "largest", "place", "fragmentation"),
    [
        (set(), 0, 0, None, 0.0),
        ({3}, 1, 1, 3, 0.0),
        ({3, 4, 7}, 2, 2, 3, 1 / 3),
        ({1, 3, 4, 7, 8}, 3, 2, 3, 3 / 5),
        (set(range(COUNT)), 1, COUNT, 0, 0.0),
    ],
)
def test_the_figures_of_a_manager(free, runs, largest, place, fragmentation):
    stat = pmm_stat(manager(free), None, ())
    assert (stat.total, stat.free, stat.used) == (COUNT, len(free), COUNT - len(free))
    assert (stat.free_runs, stat.largest_run) == (runs, largest)
    assert stat.largest_run_at == (None if place is None else at(place))
    assert stat.fragmentation == pytest.approx(fragmentation)
    assert (stat.reserved, stat.hint, stat.at, stat.in_flux) == (None, None, None, False)


def test_what_is_free_is_not_reserved():
    stat = pmm_stat(manager({3, 4}, places=(Place(VirtAddr(0x77), 1, "it"),)), numbers({0, 1, 4}), ())
    assert (stat.reserved, stat.used, stat.at) == (2, 10, 0x77)


ZONES = [
    ((0, 12), [(2, 3), (6, 2), (11, 1)]),
    ((3, 7), [(3, 2), (6, 1)]),
    ((4, 6), [(4, 1)]),
    ((2, 5), [(2, 3)]),
    ((3, 4), [(3, 1)]),
    ((5, 6), []),
    ((5, 8), [(6, 2)]),
    ((0, 2), []),
    ((0, 3), [(2, 1)]),
    ((11, 40), [(11, 1)]),
    ((12, 40), []),
]
"""Zones by frames, and the runs of the free frames 2-4, 6, 7 and 11 that are in them."""


@pytest.mark.parametrize(("zone", "runs"), ZONES)
def test_the_figures_of_a_zone(zone, runs):
    free = {2, 3, 4, 6, 7, 11}
    for cut in (0, 1):  # frames that a zone has a part of are not its own
        start, end = at(zone[0]) - cut * (FRAME - 1), at(zone[1]) + cut * (FRAME - 1)
        stat = pmm_stat(manager(free), numbers({3, 5, 6}), [Zone("z", PhysAddr(start), PhysAddr(end))]).zones[0]
        lengths = [length for _, length in runs]
        assert (stat.free, stat.free_runs, stat.largest_run) == (sum(lengths), len(runs), max(lengths, default=0))
        share = 1 - max(lengths) / sum(lengths) if runs else 0
        assert stat.fragmentation == pytest.approx(share)
        assert stat.usable == len({*range(zone[0], min(zone[1], COUNT))} - {3, 5, 6})
    assert pmm_stat(manager(free), None, [Zone("z", PhysAddr(BASE), PhysAddr(END))]).zones[0].usable is None


def test_frames_that_are_of_no_use_to_an_order():
    """One frame, two of order 1, eight of order 3: for order 1 one in eleven is too small, for order 3 three."""
    blocks = [
        free_list(0x2000, order=0), free_list((0x5000, 2), order=1), free_list(order=2), free_list((0x9000, 8), order=3)
    ]  # fmt: skip
    parts = pmm_stat(of_lists(*blocks, is_buddy=True), None, ()).parts
    assert [part.unusable for part in parts] == [pytest.approx(share / 11) for share in (0, 1, 3, 3)]
    nothing = pmm_stat(of_lists(free_list(order=0), is_buddy=True), None, ()).parts
    assert [part.unusable for part in nothing] == [None]
    assert [part.unusable for part in pmm_stat(lists(), None, ()).parts] == [None] * 3


def test_the_hint_is_that_of_the_one_bitmap():
    assert pmm_stat(bitmap(patch(hint=7)), None, ()).hint == 7
    assert pmm_stat(bitmap(patch(0, 16, hint=7), patch(16, 24)), None, ()).hint is None


@pytest.mark.parametrize(
    ("facts", "counted"),
    [
        ({}, {"free": 2, "total": 12, "used": 10}),
        ({"covers": False}, {"free": 2}),
        ({"unseen": "torn"}, {}),
        ({"counts_reserved": False}, {"free": 2, "total": 12}),
        (
            {"counts_reserved": False, "counters": (Counter("reserved", 3, None, "r"),)},
            {"free": 2, "total": 12, "used": 7},
        ),
    ],
)
def test_what_counters_must_be(facts, counted):
    assert manager({3, 4}, **facts).counted == counted


@pytest.mark.parametrize(
    ("ram", "count", "sensible"),
    [
        (0x10_0000, 0, False),
        (0x10_0000, -1, False),
        (0x10_0000, 1, True),
        (0x10_0000, 4 * 0x100 + FRAMES_BESIDE, True),
        (0x10_0000, 4 * 0x100 + FRAMES_BESIDE + 1, False),
        (0x10_0001, 4 * 0x101 + FRAMES_BESIDE, True),
        (0, FRAMES_BESIDE, True),
    ],
)
def test_a_count_of_frames_that_can_be(ram, count, sensible):
    machine = RamMap([ram_range(0, ram)] if ram else [])
    if sensible:
        assert sensible_count(count, "it", FRAME, machine) == count
    else:
        with pytest.raises(MemoryUnavailable):
            sensible_count(count, "it", FRAME, machine)
    assert FRAMES_BESIDE == 1 << 24


# Contents


def test_the_contents_are_all_stretches():
    dump = pmm_dump(manager({2, 3, 11}))
    assert [(s.number, s.frames, s.state, s.start, s.end, s.record_at) for s in dump.stretches] == [
        (0, 2, "used", at(0), at(2), 0),
        (2, 2, "free", at(2), at(4), 2),
        (4, 7, "used", at(4), at(11), 4),
        (11, 1, "free", at(11), END, 11),
    ]
    assert (dump.at, dump.bits, dump.hint, dump.lists) == (None, None, None, ())


@pytest.mark.parametrize(
    ("window", "numbered"),
    [
        ((at(3), at(4)), [(3, 1)]),
        ((at(3) + 1, at(3) + 2), [(3, 1)]),
        ((at(3), at(4) + 1), [(3, 1), (4, 1)]),
        ((at(4) - 1, at(4)), [(3, 1)]),
        ((0, at(1)), [(0, 1)]),
        ((at(11), END + FRAME), [(11, 1)]),
        ((END, END + FRAME), []),
        ((0, BASE), []),
        ((at(1), at(3)), [(1, 1), (2, 1)]),
    ],
)
def test_contents_in_a_window(window, numbered):
    dump = pmm_dump(manager({2, 3, 11}), (PhysAddr(window[0]), PhysAddr(window[1])))
    assert [(stretch.number, stretch.frames) for stretch in dump.stretches] == numbered


def test_how_bits_lie():
    dump = pmm_dump(bitmap(patch(0, 16), patch(16, 24), places=(Place(VirtAddr(0x9000), 6, "bits"),)))
    assert (dump.at, dump.bits.words, dump.bits.word_size, dump.bits.bit_order, dump.bits.used_bit) == (
        0x9000,
        3,
        2,
        "lsb",
        1,
    )


def listed(*runs, window=None):
    (found,) = pmm_dump(of_lists(free_list(*runs)), window).lists
    assert (found.name, found.link_at, found.nodes, found.broken) == ("some", LINK, len(runs), None)
    return [(run.first, run.last, run.start, run.end, run.frames, run.step) for run in found.runs]


@pytest.mark.parametrize(
    ("runs", "joined"),
    [
        ([], []),
        ([0x2000], [(0, 0, 0x2000, 0x3000, 1, 0)]),
        ([0x2000, 0x3000, 0x4000], [(0, 2, 0x2000, 0x5000, 3, FRAME)]),
        ([0x4000, 0x3000, 0x2000], [(0, 2, 0x2000, 0x5000, 3, -FRAME)]),
        ([0x2000, 0x4000], [(0, 0, 0x2000, 0x3000, 1, 0), (1, 1, 0x4000, 0x5000, 1, 0)]),
        ([0x2000, 0x3000, 0x2000], [(0, 1, 0x2000, 0x4000, 2, FRAME), (2, 2, 0x2000, 0x3000, 1, 0)]),
        ([(0x2000, 2), (0x4000, 3), 0x9000], [(0, 1, 0x2000, 0x7000, 5, 2 * FRAME), (2, 2, 0x9000, 0xA000, 1, 0)]),
        ([(0x2000, 2), (0x4000, 3), (0x7000, 1)], [(0, 2, 0x2000, 0x8000, 6, 2 * FRAME)]),
        ([(0x7000, 1), (0x4000, 3), (0x2000, 2)], [(0, 2, 0x2000, 0x8000, 6, -3 * FRAME)]),
        ([(0x4000, 3), (0x2000, 2)], [(0, 1, 0x2000, 0x7000, 5, -2 * FRAME)]),
    ],
)
def test_neighbours_in_a_list_that_are_neighbours_in_memory(runs, joined):
    assert listed(*runs) == joined


@pytest.mark.parametrize(
    ("window", "places"),
    [
        ((0x3000, 0x4000), [(0, 0)]),  # the run of two from 0x2000 on
        ((0x4000, 0x5000), []),
        ((0x3FFF, 0x6001), [(0, 1)]),
        ((0x6000, 0x7000), [(1, 1)]),
        ((0x7000, 0x8000), [(2, 2)]),
        ((0x2000, 0x2001), [(0, 0)]),
        ((0x1000, 0x2000), []),
    ],
)
def test_lists_in_a_window(window, places):
    found = listed((0x2000, 2), (0x6000, 1), (0x7000, 1), window=(PhysAddr(window[0]), PhysAddr(window[1])))
    joined = [(1, 2)] if len(places) > 1 else places
    assert [(first, last) for first, last, *_ in found] == ([(0, 0), (1, 1)] if places == [(0, 1)] else joined)


def test_one_list_of_several():
    dump = pmm_dump(lists(), None, "c")
    assert [(found.name, found.runs[0].node) for found in dump.lists] == [("c", HIGH + 0x9000)]
    assert [found.name for found in pmm_dump(lists()).lists] == ["a", "b", "c"]
    torn = Break(Stop.ASTRAY, VirtAddr(0), VirtAddr(0), "it leads nowhere")
    assert pmm_dump(of_lists(free_list(broken=torn))).lists[0].broken == "it leads nowhere"


# Sets of frames


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 63, 64, 65])
def test_a_set_is_told_from_others(count):
    every = FrameSet.of_ranges([(0, count)], count)
    assert every == numbers(range(count), count)
    assert (every == numbers(range(count), count + 1)) is False
    assert (every == numbers(range(count - 1), count)) is (count == 0)
    assert (every == every.packed.tolist()) is False
    assert len(FrameSet(np.full(20, 255, np.uint8), count)) == count  # bits beyond the count are cut off
    assert len(FrameSet(np.full(0, 255, np.uint8), count)) == 0  # missing ones are 0


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([], []),
        ([(2, 3)], [2, 3, 4]),
        ([(2, 3), (5, 1)], [2, 3, 4, 5]),
        ([(5, 1), (2, 3)], [2, 3, 4, 5]),
        ([(2, 3), (6, 1)], [2, 3, 4, 6]),
        ([(2, 9), (3, 1), (4, 1)], [*range(2, 11)]),
        ([(2, 3), (2, 3)], [2, 3, 4]),
        ([(2, 3), (4, 3)], [2, 3, 4, 5, 6]),
        ([(18, 5), (25, 1)], [18, 19]),
        ([(2, 0), (4, 1)], [4]),
        ([(-3, 5)], [0, 1]),
    ],
)
def test_a_set_of_runs(runs, expected):
    first, length = (longs([run[i] for run in runs]) for i in (0, 1))
    assert FrameSet.of_runs(first, length, 20).numbers().tolist() == expected


@pytest.mark.parametrize("first", [0, 1, 7, 8, 9, 15, 16, 17])
def test_a_set_that_is_moved(first):
    some = numbers({0, 1, 6, 7, 8, 12}, 13)
    for count in (first + 13, first + 8, 200):
        moved = some.moved(first, count)
        expected = [first + number for number in (0, 1, 6, 7, 8, 12) if first + number < count]
        assert (moved.count, moved.numbers().tolist()) == (count, expected)


@pytest.mark.parametrize("some", [{0}, {7}, {8}, {1, 3}, {9, 14, 60}, {15, 16}, {99}, set(), set(range(100))])
def test_the_lowest_of_a_set(some):
    assert numbers(some, 100).first() == min(some, default=None)


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_words_that_have_any(size):
    width = 8 * size
    some = numbers({0, width - 1, 3 * width, 4 * width - 1, 6 * width + 1}, 6 * width + 2)
    found = some.words_with_any(size)
    assert (found.count, found.numbers().tolist()) == (7, [0, 3, 6])


@pytest.mark.parametrize("every", [1, 2, 8, 16, 31, 32, 33, 40, 100])
def test_the_numbers_of_sets_full_and_thin(every):
    chosen = list(range(0, 1000, every))
    assert numbers(chosen, 1000).numbers().tolist() == chosen
    assert words(chosen).tolist() == chosen
