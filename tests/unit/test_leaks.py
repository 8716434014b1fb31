"""The search for leaks in made-up memory: what is expected is worked out by hand from each heap."""

from types import SimpleNamespace

import numpy as np
import pytest

from gdbext.checks.finding import run_rules
from gdbext.checks.heaps.leaks import LEAK_RULES, FoundLeaks, LeakInputs, find_leaks
from gdbext.checks.heaps.pointers import (
    PointerInputs,
    PointerRange,
    PointerSources,
    _floor,
    find_pointers,
    joined,
    without,
)
from gdbext.heap.reach import Links, reached
from gdbext.machine.tables import GeneralRegisters
from gdbext.units import hex_address
from tests.unit.heap_guest import ARENA, ARENA_END, LIST, MAGIC, Kernel, compiled

HEADER, PAYLOAD, COUNT = 32, 64, 8
START = 0x30000
"""Where the tests put pointers outside of the heap."""


@pytest.fixture(scope="module")
def symbols(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("heaps"))


class Graph(Kernel):
    """Eight used chunks of 64 bytes in a list; the last chunk of the arena is free."""

    def __init__(self, symbols):
        super().__init__(symbols, LIST)
        sizes = [PAYLOAD] * COUNT
        sizes.append(ARENA_END - ARENA - COUNT * (HEADER + PAYLOAD) - HEADER)
        at = [ARENA + number * (HEADER + PAYLOAD) for number in range(COUNT + 1)]
        for number, (address, size) in enumerate(zip(at, sizes, strict=True)):
            links = (at[number + 1] if number < COUNT else 0, at[number - 1] if number else 0)
            self.fields(address, MAGIC | (number == COUNT) << 32, size, *links)
        self.put("head", at[0])
        self.put("tail", at[-1])
        self.count([(size, number == COUNT) for number, size in enumerate(sizes)])

    def chunk(self, number):
        """The address of a payload."""
        return ARENA + number * (HEADER + PAYLOAD) + HEADER

    def point(self, number, to, offset=0):
        """Let a chunk's payload hold a pointer."""
        self.fields(self.chunk(number) + offset, to)

    def lost(self, pointers=((START, START + 64),), words=(), width=8, direct_map=None):
        """The numbers of the chunks that leak."""
        heap = self.read()
        found = PointerSources(tuple(pointers), np.array(words, dtype=np.uint64))
        leaks = find_leaks(LeakInputs((heap,), found, self.virtual, width, direct_map, hex_address))
        assert leaks.chunks == COUNT
        addresses = [address for group in leaks.groups for address in group.addresses]
        assert sum(group.count for group in leaks.groups) == len(addresses)
        return sorted((address - ARENA) // (HEADER + PAYLOAD) for address in addresses)


def test_a_chain_is_followed_and_the_rest_is_lost(symbols):
    graph = Graph(symbols)
    graph.fields(START, graph.chunk(2))
    graph.point(2, graph.chunk(5))
    graph.point(5, graph.chunk(0), offset=56)
    assert graph.lost() == [1, 3, 4, 6, 7]


def test_a_circle_is_lost_and_may_point_to_what_is_not(symbols):
    graph = Graph(symbols)
    graph.fields(START, *(graph.chunk(number) for number in (0, 1, 2, 3, 7)))
    for number, to in ((4, 5), (5, 6), (6, 4)):
        graph.point(number, graph.chunk(to))
    graph.point(4, graph.chunk(0), offset=8)
    assert graph.lost() == [4, 5, 6]
    graph.point(7, graph.chunk(6))
    assert graph.lost() == []


@pytest.mark.parametrize(
    ("offset", "counts"), [(0, True), (1, True), (63, True), (64, False), (-1, False), (-HEADER, False)]
)
def test_pointers_into_a_payload_count_and_those_beside_it_do_not(symbols, offset, counts):
    graph = Graph(symbols)
    graph.fields(START, graph.chunk(3) + offset)
    assert (3 in graph.lost()) != counts
    assert len(graph.lost()) == COUNT - counts


def test_a_pointer_that_is_not_aligned_does_not_count(symbols):
    graph = Graph(symbols)
    graph.fields(START + 4, graph.chunk(3))
    assert graph.lost() == list(range(COUNT))
    assert graph.lost(width=4) == [0, 1, 2, 4, 5, 6, 7]
    graph.fields(START, graph.chunk(0))
    graph.point(0, graph.chunk(1), offset=4)
    assert graph.lost() == [1, 2, 3, 4, 5, 6, 7]


def test_registers_count_and_free_payloads_and_headers_are_not(symbols):
    graph = Graph(symbols)
    graph.point(COUNT, graph.chunk(1))  # a free payload
    assert graph.lost(words=[graph.chunk(6) + 8]) == [0, 1, 2, 3, 4, 5, 7]


def test_a_range_of_pointers_ends_where_it_says(symbols):
    graph = Graph(symbols)
    graph.fields(START, graph.chunk(0), graph.chunk(1))
    assert 1 in graph.lost(pointers=[(START, START + 8)])
    assert 0 in graph.lost(pointers=[(START + 1, START + 16)])  # the first word begins before it
    assert graph.lost(pointers=[(START, START + 16)]) == [2, 3, 4, 5, 6, 7]


def test_groups_come_by_size_the_most_bytes_first_and_say_who_holds_whom(symbols):
    graph = Graph(symbols)
    graph.fields(ARENA + 8, 48)  # the first is smaller, with a gap that no rule of the search minds
    graph.point(2, graph.chunk(3))
    heap = graph.read()
    leaks = find_leaks(
        LeakInputs((heap,), PointerSources((), np.zeros(0, np.uint64)), graph.virtual, 8, None, hex_address)
    )
    assert [(g.size, g.count, g.bytes, g.held) for g in leaks.groups] == [(64, 7, 448, 1), (48, 1, 48, 0)]
    report = run_rules(LEAK_RULES, FoundLeaks(leaks, graph.virtual))
    assert [(f.id, f.address, f.severity.value) for f in report.findings] == [
        ("HEAP70", graph.chunk(1), "warning"),
        ("HEAP70", graph.chunk(0), "warning"),
    ]


def test_the_variables_of_a_heap_do_not_count_as_pointers(symbols):
    graph = Graph(symbols)
    graph.put("start", graph.chunk(0) - HEADER)
    graph.put("rover", graph.chunk(5))  # the profile of this heap does not name it: a variable as any other
    graph.put("tail", graph.chunk(4))  # damaged, and still the heap's own
    heap = graph.read()
    inputs = PointerInputs(symbols, (), GeneralRegisters(({},), None), (heap,), (graph.heap,), graph.virtual)
    sources = find_pointers(inputs)
    assert sources.left_out == ()
    leaks = find_leaks(LeakInputs((heap,), sources, graph.virtual, 8, None, hex_address))
    assert graph.chunk(5) not in [address for group in leaks.groups for address in group.addresses]
    assert graph.chunk(4) in [address for group in leaks.groups for address in group.addresses]
    assert not any(start <= graph.at("tail") < end for start, end in sources.ranges)


def test_what_is_below_a_stack_pointer_is_not_in_use():
    named = SimpleNamespace(name_at=lambda address: ("stack", 0x100))
    unnamed = SimpleNamespace(name_at=lambda address: None)
    assert _floor(0x5800, PointerRange(0x5000, 0x6000, stack=True), unnamed) == 0x5000
    assert _floor(0x5800, PointerRange(0x5000, 0x6000, stack=False), named) == 0x5700
    assert _floor(0x5800, PointerRange(0x5000, 0x6000, stack=False), unnamed) == 0x5800  # nobody knows where it begins


def test_holes_are_cut_into_ranges():
    assert joined([(5, 9), (1, 3), (3, 4), (8, 12), (20, 20)]) == [(1, 4), (5, 12)]
    assert without([(0, 10), (20, 30)], [(2, 3), (8, 22), (29, 40)]) == [(0, 2), (3, 8), (22, 29)]
    assert without([(0, 10)], [(0, 10)]) == []
    assert without([(0, 10), (12, 14)], []) == [(0, 10), (12, 14)]


def test_marks_agree_with_a_plain_search():
    """Against the textbook's search over sets, on graphs of all densities; and along a chain of a hundred thousand."""
    rng = np.random.default_rng(5)
    for _ in range(60):
        count = int(rng.integers(1, 3000))
        source = np.sort(rng.integers(0, count, int(rng.integers(0, 3 * count)))).astype(np.int32)
        target = rng.integers(0, count, len(source)).astype(np.int32)
        begin = np.unique(rng.integers(0, count, 3))
        seen, waiting, leads = set(begin.tolist()), begin.tolist(), {}
        for one, other in zip(source.tolist(), target.tolist(), strict=True):
            leads.setdefault(one, []).append(other)
        while waiting:
            fresh = set(leads.get(waiting.pop(), ())) - seen
            seen |= fresh
            waiting += fresh
        assert np.flatnonzero(reached(count, begin, Links(source, target))).tolist() == sorted(seen)
    chain = np.arange(100_000, dtype=np.int32)
    assert reached(100_001, np.array([0]), Links(chain, chain + np.int32(1))).all()
