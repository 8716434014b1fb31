"""Readers of heaps, on heaps written by plain loops into a made-up guest: what was written is what is read."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gdbext.structures.unread import Unread

from ..budget import examples
from .heap_guest import (
    ADDRESS_MAGIC,
    ARENA,
    ARENA_END,
    BINS,
    COUNTERS,
    LIST,
    MAGIC,
    SORTED,
    TAGS,
    Kernel,
    compiled,
    merged,
    seen,
    tree,
)

plenty = settings(max_examples=examples(60), suppress_health_check=[HealthCheck.too_slow])
tiles_of = st.lists(st.tuples(st.integers(1, 40).map(lambda n: 16 * n), st.booleans()), min_size=1, max_size=60)


@pytest.fixture(scope="module")
def symbols(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("heaps"))


def write_list(kernel, tiles, header=32):
    """Chunks with headers, linked both ways; the headers' addresses."""
    at, places = ARENA, []
    for size, _ in tiles:
        places.append(at)
        at += header + size
    for i, (size, free) in enumerate(tiles):
        following = places[i + 1] if i + 1 < len(places) else 0
        kernel.fields(places[i], free << 32 | MAGIC, size, following, places[i - 1] if i else 0)
    kernel.put("head", places[0])
    kernel.put("tail", places[-1])
    kernel.put("end", at)
    kernel.count(tiles)
    return places


def write_tags(kernel, tiles):
    """Chunks with a word in front and behind; the headers' addresses."""
    at, places = ARENA + 8, []
    kernel.put("start", at)
    for size, free in tiles:
        places.append(at)
        word = size | (not free)
        kernel.fields(at, word)
        kernel.fields(at + 8 + size, word)
        at += 16 + size
    kernel.put("end", at)
    kernel.count(tiles)
    return places


def write_sorted(kernel, tiles):
    """Chunks with a magic that depends on where they are; the headers' addresses."""
    at, places = ARENA, []
    for size, free in tiles:
        kernel.fields(at, ADDRESS_MAGIC ^ at, free, size, places[-1] if places else 0)
        places.append(at)
        at += 32 + size
    kernel.put("top", places[-1])
    kernel.put("end", at)
    kernel.count(tiles)
    return places


def expected(places, tiles, header):
    return [(at + header, size, free) for at, (size, free) in zip(places, tiles, strict=True)]


WRITERS = {LIST: (write_list, 32), TAGS: (write_tags, 8), SORTED: (write_sorted, 32)}
every_kind = pytest.mark.parametrize("profile", WRITERS, ids=["list", "tags", "sorted"])


@every_kind
@plenty
@given(tiles=tiles_of)
def test_what_was_written_is_read(symbols, profile, tiles):
    write, header = WRITERS[profile]
    kernel, tiles = Kernel(symbols, profile), merged(tiles)
    places = write(kernel, tiles)
    assert seen(kernel.read()) == expected(places, tiles, header)
    assert kernel.found() == []


@every_kind
@plenty
@given(tiles=tiles_of)
def test_free_neighbours_are_told_where_they_are(symbols, profile, tiles):
    write, _ = WRITERS[profile]
    kernel = Kernel(symbols, profile)
    places = write(kernel, tiles)
    pairs = [places[i] for i in range(len(tiles) - 1) if tiles[i][1] and tiles[i + 1][1]]
    assert kernel.found() == [("HEAP62", place) for place in pairs[:20]]


RING = (
    'kind = "list"\nhead = "ring"\nnext = "link ^ key"\ncircular = true\nfree = "!(word & 1)"\nheader = 16\n'
    'size = { expr = "word >> 1", unit = 16 }\nrover = "ring"\nsegments = { start = "start", end = "end" }\n' + COUNTERS
)


@plenty
@given(tiles=tiles_of, first=st.integers(0), key=st.integers(0, (1 << 64) - 1))
def test_a_ring_of_encoded_links_that_begins_anywhere(symbols, tiles, first, key):
    kernel, at, places = Kernel(symbols, RING), ARENA, []
    for size, _ in tiles:
        places.append(at)
        at += 16 + size
    for i, (size, free) in enumerate(tiles):
        kernel.fields(places[i], places[(i + 1) % len(places)] ^ key, size // 16 << 1 | (not free))
    kernel.put("key", key)
    kernel.put("ring", places[first % len(places)])
    kernel.put("end", at)
    kernel.count(tiles)
    assert seen(kernel.read()) == expected(places, tiles, 16)
    assert kernel.found() == []
    if len(places) > 1:
        kernel.put("ring", places[-1] + 16)
        assert "HEAP63" in {rule for rule, _ in kernel.found()}


def free_lists(kernel, places, tiles, header):
    """Put the free chunks on the lists that fit them."""
    lists = [[], [], [], []]
    for at, (size, free) in zip(places, tiles, strict=True):
        if free:
            lists[next(n for n in range(4) if size < 32 << 2 * (n + 1))].append(at + header)
    for n, members in enumerate(lists):
        kernel.put("bins", members[0] if members else 0, 2 * n)
        kernel.put("bins", len(members), 2 * n + 1)
        for i, node in enumerate(members):
            following = members[i + 1] if i + 1 < len(members) else 0
            kernel.fields(node, following, members[i - 1] if i else 0)
    return lists


@every_kind
@plenty
@given(tiles=tiles_of, data=st.data())
def test_lists_of_free_chunks(symbols, profile, tiles, data):
    write, header = WRITERS[profile]
    kernel, tiles = Kernel(symbols, profile + BINS), merged(tiles)
    places = write(kernel, tiles)
    lists = free_lists(kernel, places, tiles, header)
    assert kernel.found() == []
    members = [node for found in lists for node in found]
    if not members:
        return
    lost = data.draw(st.sampled_from(members))
    number = next(n for n in range(4) if lost in lists[n])
    rest = [node for node in lists[number] if node != lost]
    kernel.put("bins", rest[0] if rest else 0, 2 * number)
    for i, node in enumerate(rest):
        kernel.fields(node, rest[i + 1] if i + 1 < len(rest) else 0, rest[i - 1] if i else 0)
    # It is missing, and the list's own count is one too many.
    count = kernel.at("bins") + 16 * number + 8
    assert sorted(kernel.found(), key=str) == sorted([("HEAP62", lost - header), ("HEAP62", count)], key=str)


def balanced(nodes):
    """A tree of nodes in order, as flat as can be: {node: (left, right, height)} and the root."""
    if not nodes:
        return {}, 0, 0
    middle = len(nodes) // 2
    left, one, low = balanced(nodes[:middle])
    right, two, high = balanced(nodes[middle + 1 :])
    height = 1 + max(low, high)
    return {**left, **right, nodes[middle]: (one, two, height)}, nodes[middle], height


def write_tree(kernel, nodes, rank):
    shape, root, height = balanced(nodes)
    parents = {kid: node for node, (left, right, _) in shape.items() for kid in (left, right) if kid}
    for node, (left, right, own) in shape.items():
        kernel.fields(node, left, right, parents.get(node, 0), rank(own, height))
    kernel.put("root", root)
    kernel.put("tree_count", len(nodes))
    return shape, root


# The deepest level of a tree as flat as can be is red; all others, which are full, are black.
RANKS = {"avl": ("height", lambda own, height: own), "redblack": ("red", None)}


def reds(shape, root):
    """Red are those on the deepest level, if there is another above it."""
    depth = {root: 0}
    for node in sorted(shape, key=lambda n: -shape[n][2]):
        for kid in shape[node][:2]:
            if kid:
                depth[kid] = depth[node] + 1
    deepest = max(depth.values(), default=0)
    return {node for node, d in depth.items() if d == deepest and d}


def by_size(places, tiles):
    return [at + 32 for at, (size, free) in sorted(zip(places, tiles, strict=True), key=lambda t: t[1][0]) if free]


def grown(symbols, tiles, kind):
    """A sorted heap with its tree."""
    kernel = Kernel(symbols, SORTED + tree(kind, RANKS[kind][0]))
    tiles = merged([(max(size, 32), free) for size, free in tiles])
    places = write_sorted(kernel, tiles)
    nodes = by_size(places, tiles)
    shape, root = write_tree(kernel, nodes, lambda own, height: own)
    if kind == "redblack":
        red = reds(shape, root)
        for node in shape:
            kernel.fields(node + 24, node in red)
    return kernel, shape, root


@pytest.mark.parametrize("kind", ["avl", "redblack"])
@plenty
@given(tiles=tiles_of, data=st.data())
def test_trees_of_free_chunks(symbols, kind, tiles, data):
    kernel, shape, _ = grown(symbols, tiles, kind)
    assert kernel.found() == []
    if not shape:
        return
    node = data.draw(st.sampled_from(sorted(shape)))
    kernel.fields(node + 16, 0x123450)
    assert kernel.found() == [("HEAP62", node - 32)]


@plenty
@given(tiles=tiles_of, data=st.data())
def test_a_tree_that_is_not_flat_or_not_in_order(symbols, tiles, data):
    kernel, shape, root = grown(symbols, tiles, "avl")
    nodes = sorted(shape)
    if not nodes:
        return
    node = data.draw(st.sampled_from(nodes))
    kernel.fields(node + 24, shape[node][2] + 1)
    assert kernel.found() == [("HEAP62", node - 32)]
    kernel.fields(node + 24, shape[node][2])
    kernel.put("root", 0)
    kernel.put("tree_count", 0)
    assert sorted(kernel.found()) == sorted(("HEAP62", node - 32) for node in nodes)[: len(kernel.found())]
    kernel.put("root", root)
    kernel.put("tree_count", len(nodes) + 1)
    assert kernel.found() == [("HEAP62", kernel.at("tree_count"))]


def test_red_below_red_and_too_many_blacks(symbols):
    sizes = [32, 64, 96, 128, 160, 192, 224]
    tiles = [tile for size in sizes for tile in ((size, True), (16, False))]
    kernel, shape, root = grown(symbols, tiles, "redblack")
    assert len(shape) == 7
    left = shape[root][0]
    kernel.fields(left + 24, 1)  # its children are red, and the ways below it are one black node shorter
    assert {address for _, address in kernel.found()} == {shape[left][0] - 32, shape[left][1] - 32, root - 32}
    kernel.fields(left + 24, 0)
    kernel.fields(root + 24, 1)
    assert kernel.found() == [("HEAP62", root - 32)]


def test_unmade_heaps_are_not_set_up_yet(symbols):
    for profile in WRITERS:
        kernel = Kernel(symbols, profile)
        kernel.put("start", 0)
        kernel.put("end", 0)
        assert isinstance(kernel.read(), Unread)
        assert kernel.read().absent


def test_a_watermark(symbols):
    kernel = Kernel(symbols, 'kind = "bump"\nstart = "start"\ncurrent = "mark"\nend = "end"\n')
    for mark, wrong in ((ARENA, False), (ARENA_END, False), (ARENA_END + 1, True), (ARENA - 1, True)):
        kernel.put("mark", mark)
        assert kernel.found() == ([("HEAP67", kernel.at("mark"))] if wrong else [])
