"""Buddy heaps in a made-up guest: trees as plain recursion writes them are read back, and each wrong byte is found."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gdbext.heap.buddy import WRONG_KEPT
from gdbext.heap.snapshot import HeapSnapshot
from gdbext.structures.unread import Unread

from ..budget import examples
from .heap_guest import ARENA, COUNTERS, Kernel, compiled, seen

SMALLEST, HEIGHT, NODES = 32, 5, 0x30000
LEAVES = 1 << HEIGHT
PROFILE = (
    'kind = "buddy"\nnodes = "nodes"\nheight = "height"\norigin = "origin"\nsmallest = 32\n'
    'start = "start"\nend = "end"\n' + COUNTERS
)


@pytest.fixture(scope="module")
def symbols(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("heaps"))


class Buddies(Kernel):
    """The arena is the leaves from ``first`` up to ``end``; ``used`` are the blocks (first leaf, height) in use."""

    def __init__(self, symbols, used, first=0, end=LEAVES):
        super().__init__(symbols, PROFILE)
        self.used, self.first, self.last = used, first, end
        self.put("nodes", NODES)
        self.put("height", HEIGHT)
        self.put("origin", ARENA)
        self.put("start", ARENA + SMALLEST * first)
        self.put("end", ARENA + SMALLEST * end)
        self.blocks = []
        self.write(NODES, bytes([0x77]) * (2 * LEAVES))  # what is outside the arena may be anything
        self._byte(1, HEIGHT, 0)
        self._list(1, HEIGHT, 0)
        self.count([(size, free) for _, size, free in self.blocks])

    def _byte(self, node, height, leaf):
        """Write a node's byte and those below; the byte."""
        if leaf >= self.last or leaf + (1 << height) <= self.first:
            return 0
        if height == 0:
            byte = int((leaf, 0) not in self.used)
        else:
            halves = [self._byte(2 * node + side, height - 1, leaf + (side << height - 1)) for side in (0, 1)]
            byte = height + 1 if halves == [height, height] else max(halves)
            byte = 0 if (leaf, height) in self.used else byte
        self.write(NODES + node, bytes([byte]))
        return byte

    def _list(self, node, height, leaf):
        """The blocks below a node."""
        if leaf >= self.last or leaf + (1 << height) <= self.first:
            return
        byte, used = int(self.bytes[NODES + node]), (leaf, height) in self.used
        if byte == height + 1 or used:
            self.blocks.append((ARENA + SMALLEST * leaf, SMALLEST << height, not used))
            return
        for side in (0, 1):
            self._list(2 * node + side, height - 1, leaf + (side << height - 1))


def blocks_of(leaves, first, end):
    """Blocks at some leaves, as large as there is room for none of them to meet another."""
    used, at = [], first
    for leaf, most in leaves:
        place, height = max(leaf, at), most
        while height and (place % (1 << height) or place + (1 << height) > end):
            height -= 1
        if place < end:
            used.append((place, height))
            at = place + (1 << height)
    return used


arenas = st.tuples(st.integers(0, 10), st.integers(20, LEAVES))
leaves_of = st.lists(st.tuples(st.integers(0, LEAVES - 1), st.integers(0, 3)), max_size=12).map(sorted)


@settings(max_examples=examples(150), suppress_health_check=[HealthCheck.too_slow])
@given(leaves=leaves_of, arena=arenas)
def test_what_was_written_is_read(symbols, leaves, arena):
    kernel = Buddies(symbols, blocks_of(leaves, *arena), *arena)
    heap = kernel.read()
    assert isinstance(heap, HeapSnapshot)
    assert seen(heap) == kernel.blocks
    assert kernel.found() == []
    assert {"HEAP60", "HEAP62", "HEAP65"} <= set(kernel.report().checked)


SOME = [(0, 0), (2, 1), (8, 3), (20, 2)]


@pytest.fixture
def kernel(symbols):
    made = Buddies(symbols, SOME)
    assert made.found() == []
    return made


def wrong(kernel):
    return [(rule, address) for rule, address in kernel.found() if rule != "HEAP65"]


def test_two_free_buddies_that_were_not_merged(kernel):
    """Leaves 16 to 19 are free: two blocks of two leaves, and the byte above them says that they are one of two."""
    node = NODES + (1 << HEIGHT - 2) + 16 // 4
    assert kernel.bytes[node] == 3
    kernel.write(node, b"\2")
    assert wrong(kernel) == [("HEAP62", node)]
    (finding,) = [f for f in kernel.report().findings if f.id == "HEAP62"]
    assert "not merged" in finding.cause
    assert "whose halves have 2 and 2" in finding.expected


@pytest.mark.parametrize(("height", "leaf", "byte"), [(0, 5, 0x41), (1, 4, 0), (3, 24, 1), (3, 24, 9), (5, 0, 0)])
def test_a_byte_that_does_not_follow(kernel, height, leaf, byte):
    node = NODES + (1 << HEIGHT - height) + (leaf >> height)
    assert kernel.bytes[node] != byte
    kernel.write(node, bytes([byte]))
    if (height, byte) != (1, 0):  # 0 over two free halves is a used block, which only the nodes above contradict
        assert wrong(kernel)[0] == ("HEAP62", node)
        assert len(wrong(kernel)) == 1
    else:
        assert [rule for rule, _ in wrong(kernel)] == ["HEAP62"]


@pytest.mark.parametrize(
    ("name", "value"), [("height", 200), ("nodes", 1 << 40), ("origin", ARENA + 64), ("end", 1 << 60)]
)
def test_variables_that_cannot_be(kernel, name, value):
    kernel.put(name, value)
    assert isinstance(kernel.read(), Unread)


@pytest.mark.parametrize("fill", [0, 0xFF, "random"])
def test_memory_full_of_one_thing(kernel, fill):
    size = 2 * LEAVES
    kernel.write(NODES, np.random.default_rng(3).bytes(size) if fill == "random" else bytes([fill]) * size)
    assert kernel.found()
    assert len(kernel.read().chunks) <= LEAVES


def test_a_large_tree_that_is_overwritten(symbols):
    """Every byte of a million leaves is wrong: some of them are kept, and that takes no time to speak of."""
    kernel = Kernel(symbols, PROFILE, size=1 << 23)
    height, nodes = 20, 0x400000
    for name, value in (("nodes", nodes), ("height", height), ("origin", ARENA), ("start", ARENA)):
        kernel.put(name, value)
    kernel.put("end", ARENA + (SMALLEST << height))
    kernel.write(nodes, b"\xff" * (2 << height))
    heap = kernel.read()
    assert len(heap.chunks) == 1 << height
    assert [(node.at, node.halves) for node in heap.detail.wrong_nodes[:2]] == [
        (nodes + (1 << height), None),
        (nodes + (1 << height) + 1, None),
    ]
    assert len(heap.detail.wrong_nodes) == WRONG_KEPT


ON_LISTS = (
    'kind = "chunks"\nnode = "struct tag"\nsize = { expr = "32ul << (word >> 1)", includes_header = true }\n'
    'free = "!(word & 1)"\nsegments = { start = "start", end = "end" }\n'
    'bins = { entries = "bins", count = 4, head = "first", next = "next", prev = "prev", length = "count",'
    ' low = "(32ul << (self - bins)) - 8", high = "(64ul << (self - bins)) - 8" }\n' + COUNTERS
)
"""Blocks of a power of two whose header has order and state, the free ones on a list for each order."""


def written_on_lists(symbols, blocks):
    """Blocks (order, free) one behind the other; the guest and the headers' addresses."""
    kernel, at, places = Kernel(symbols, ON_LISTS), ARENA, []
    for order, free in blocks:
        kernel.fields(at, order << 1 | (not free))
        places.append(at)
        at += 32 << order
    kernel.put("end", at)
    for order in range(4):
        members = [place + 8 for place, block in zip(places, blocks, strict=True) if block == (order, True)]
        kernel.fields(kernel.at("bins") + 16 * order, members[0] if members else 0, len(members))
        for i, payload in enumerate(members):
            following = members[i + 1] if i + 1 < len(members) else 0
            kernel.fields(payload, following, members[i - 1] if i else 0)
    kernel.count([((32 << order) - 8, free) for order, free in blocks])
    return kernel, places


BLOCKS = [(0, False), (0, True), (1, True), (2, False), (3, True), (1, False), (0, True), (0, False), (2, True)]


def test_buddies_on_lists_are_chunks_with_bins(symbols):
    kernel, places = written_on_lists(symbols, BLOCKS)
    assert seen(kernel.read()) == [
        (place + 8, (32 << order) - 8, free) for place, (order, free) in zip(places, BLOCKS, strict=True)
    ]
    assert kernel.found() == []
    kernel.fields(kernel.at("bins"), places[2] + 8)  # a block of order 1 on the list of order 0
    assert {rule for rule, _ in kernel.found()} == {"HEAP62"}


def test_a_block_of_buddies_that_calls_itself_larger(symbols):
    kernel, places = written_on_lists(symbols, BLOCKS)
    """It swallows half of the free one behind it, whose list still leads to it."""
    kernel.fields(places[3], 3 << 1 | 1)
    found = kernel.found()
    assert wrong(kernel) == [("HEAP62", kernel.at("bins") + 16 * 3)]
    assert {rule for rule, _ in found} == {"HEAP62", "HEAP65"}
