"""HEAP62 at, below and above its bounds: lists and trees of free chunks, made by hand from numbers of chunks."""

import pytest

from gdbext.heap.buddy import BuddyDetail, WrongNode
from gdbext.heap.index import NOBODY, Rover
from gdbext.heap.list import ListDetail
from gdbext.heap.parts import Lost
from gdbext.structures.chain import Break, Stop
from gdbext.units import VirtAddr

from .made_heaps import (
    BAD,
    BASE,
    FREE,
    USED,
    counter,
    findings,
    found,
    free_list,
    heap,
    in_a_row,
    in_text,
    lists,
    numbers,
    tree,
)

STEP = 48
"""Chunks have headers of 16 and payloads of 32 bytes, unless they say otherwise."""


def at(*chunks):
    """The addresses of chunks of 32 bytes by number."""
    return [BASE + number * STEP for number in chunks]


def broken(source, target=0x1, stop=Stop.ASTRAY):
    return Break(stop, None if source is None else VirtAddr(source), VirtAddr(target), "no chunk is there")


def indexed(states, index, **more):
    """Chunks of 32 bytes in these states, and what free ones are found by."""
    return heap(in_a_row(*((32, state) for state in states)), index=index, **more)


# --- free neighbours --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("states", "wrong"),
    [((FREE, USED, FREE), []), ((FREE, FREE, USED), [0]), ((USED, FREE, FREE), [1]), ((FREE, FREE, FREE), [0, 1]),
     ((FREE, BAD, FREE), []), ((USED, USED, USED), [])],
)  # fmt: skip
@pytest.mark.parametrize("coalesces", [True, False])
def test_free_neighbours_are_one_chunk_where_the_heap_merges(states, wrong, coalesces):
    made = heap(
        in_a_row(*((32, state) for state in states)), index=None, detail=BuddyDetail(wrong_nodes=()),
        layout={"coalesces": coalesces},
    )  # fmt: skip
    assert found("HEAP62", made) == (at(*wrong) if coalesces else [])


@pytest.mark.parametrize(("gap", "neighbours"), [(0, True), (16, False), (-16, False)])
def test_free_chunks_are_neighbours_where_one_ends_and_the_other_begins(gap, neighbours):
    rows = [(BASE, 32, FREE), (BASE + STEP + gap, 32, FREE)]
    assert found("HEAP62", heap(rows, layout={"coalesces": True})) == [BASE] * neighbours


def test_free_neighbours_and_their_sizes_are_evidence():
    (finding,) = findings("HEAP62", heap(in_a_row((32, FREE), (64, FREE), (32, USED)), layout={"coalesces": True}))
    assert [in_text(line) for line in finding.evidence] == [[BASE, 32], [BASE + STEP, 64]]


# --- where the next search begins -------------------------------------------------------------------------------------


def roving(rover, **more):
    detail = ListDetail(
        tail=None,
        head=VirtAddr(BASE),
        rover=None if rover is None else VirtAddr(rover),
        circular=False,
        broken=more.pop("broken", None),
    )
    return heap(in_a_row((32, USED), (32, FREE)), detail=detail, layout={"coalesces": True}, **more)


@pytest.mark.parametrize(
    ("rover", "inside"),
    [(BASE + 1, [BASE, 32]), (BASE + STEP - 1, [BASE, 32]), (BASE + STEP + 1, [BASE + STEP, 32]),
     (BASE + 2 * STEP - 1, [BASE + STEP, 32]), (BASE + 2 * STEP, []), (BASE - 1, [])],
)  # fmt: skip
def test_a_search_begins_at_a_chunk(rover, inside):
    (finding,) = findings("HEAP62", roving(rover))
    assert (finding.subject, finding.address) == ("heap", rover)
    assert in_text(finding.evidence[0]) == inside


@pytest.mark.parametrize("rover", [BASE, BASE + STEP, 0, None])
def test_a_search_that_begins_at_a_chunk_or_nowhere_is_right(rover):
    assert found("HEAP62", roving(rover)) == []


def test_where_a_search_begins_in_a_list_that_is_not_seen_whole_is_not_judged():
    assert found("HEAP62", roving(BASE + 1, broken=broken(BASE))) == []


@pytest.mark.parametrize(("number", "wrong"), [(0, False), (2, False), (NOBODY, False), (1, True)])
def test_a_search_in_a_list_begins_on_it(number, wrong):
    rover = Rover(VirtAddr(0x7200), at(number)[0], number)
    made = indexed((FREE, FREE, FREE), lists(free_list(0, 2, rover=rover), free_list(1)))
    told = findings("HEAP62", made)
    assert [(finding.subject, finding.address) for finding in told] == [("heap", 0x7200)] * wrong
    assert [in_text(finding.evidence[0]) for finding in told] == [[*at(1), 32]] * wrong
    made = indexed((FREE, FREE), lists(free_list(0, rover=rover, broken=broken(at(0)[0]))))
    assert (0x7200 in found("HEAP62", made)) is False


# --- lists ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("states", "members", "wrong"),
    [
        ((FREE, USED, FREE), [0, 2], []),
        ((FREE, USED, FREE), [0, 1, 2], [1]),
        ((FREE, USED, FREE), [0], [2]),
        ((FREE, USED, FREE), [], [0, 2]),
        ((FREE, USED, BAD), [0], []),
        ((FREE, USED, BAD), [0, 2], []),
    ],
)
def test_free_chunks_and_no_others_are_on_a_list(states, members, wrong):
    assert found("HEAP62", indexed(states, lists(free_list(*members)))) == at(*wrong)


def test_a_chunk_is_on_one_list():
    (finding,) = findings("HEAP62", indexed((FREE, FREE), lists(free_list(0, 1), free_list(1), free_list(1))))
    assert finding.address == at(1)[0]
    assert in_text(finding.actual) == [3]
    assert found("HEAP62", indexed((FREE, FREE), lists(free_list(0), free_list(1)))) == []


def test_who_is_missing_is_not_known_where_not_all_is_seen():
    states = (FREE, FREE, USED)
    torn = lists(free_list(0, broken=broken(at(0)[0])))
    assert found("HEAP62", indexed(states, torn)) == at(0)  # the link
    lost = Lost(VirtAddr(BASE + 3 * STEP), VirtAddr(BASE + 4 * STEP), "why not")
    assert found("HEAP62", indexed(states, lists(free_list(0)), lost=(lost,))) == []
    assert found("HEAP62", indexed(states, lists(free_list(0)))) == at(1)


@pytest.mark.parametrize(
    ("source", "subject", "address"), [(BASE, "chunk", BASE), (None, "heap", 0x7000)], ids=["chunk", "variable"]
)
def test_a_link_that_leads_nowhere(source, subject, address):
    told = findings("HEAP62", indexed((FREE, USED), lists(free_list(0, broken=broken(source, 0x123450)))))
    assert [(f.subject, f.address, in_text(f.actual)) for f in told] == [(subject, address, [0x123450])]
    assert (f"{BASE:#x}" in told[0].evidence[0]) == (source is not None)


@pytest.mark.parametrize(
    ("low", "high", "wrong"),
    [(32, 33, False), (33, None, True), (32, None, False), (31, None, False), (None, 33, False), (None, 32, True),
     (None, 31, True), (16, 32, True), (None, None, False)],
)  # fmt: skip
def test_sizes_on_a_list_are_from_its_least_up_to_its_end(low, high, wrong):
    told = findings("HEAP62", indexed((USED, FREE), lists(free_list(1, low=low, high=high))))
    assert [finding.address for finding in told] == at(1) * wrong
    for finding in told:
        bounds = [bound for bound in (low, high) if bound is not None]
        assert in_text(finding.expected) == [*bounds, 0]  # and the list's name
        assert in_text(finding.actual) == [32]


@pytest.mark.parametrize("rows", [[(BASE, 32, BAD), (BASE + STEP, 32, USED)], [(BASE, 8, FREE)]])
def test_a_size_that_cannot_be_is_on_no_wrong_list(rows):
    assert found("HEAP62", heap(rows, [(BASE, BASE + 2 * STEP)], index=lists(free_list(0, low=64)))) == []


@pytest.mark.parametrize(("value", "wrong"), [(1, True), (2, False), (3, True)])
def test_a_list_counts_its_chunks(value, wrong):
    made = indexed((FREE, USED, FREE), lists(free_list(0, 2, length=counter(value, address=0x7300))))
    told = findings("HEAP62", made)
    assert [finding.address for finding in told] == [0x7300] * wrong
    assert [in_text(f.expected)[:1] + in_text(f.actual)[-1:] for f in told] == [[2, value]] * wrong


def test_the_length_of_a_list_that_breaks_off_is_not_judged():
    torn = free_list(0, 2, length=counter(7), broken=broken(at(2)[0]))
    assert found("HEAP62", indexed((FREE, USED, FREE), lists(torn))) == at(2)


@pytest.mark.parametrize(
    ("back", "circular", "wrong"),
    [
        ((NOBODY, 0, 2), False, []),
        ((4, 0, 2), False, []),  # the first may lead to the list itself
        ((NOBODY, NOBODY, 2), False, [2]),
        ((NOBODY, 0, 0), False, [4]),
        ((4, 0, 2), True, []),
        ((NOBODY, 0, 2), True, [0]),
        ((2, 0, 2), True, [0]),
    ],
)
def test_links_back_on_a_list(back, circular, wrong):
    made = indexed((FREE, USED) * 3, lists(free_list(0, 2, 4, back=numbers(*back), circular=circular)))
    assert found("HEAP62", made) == at(*wrong)


def test_a_link_back_is_expected_to_the_chunk_before():
    made = indexed((FREE, USED) * 3, lists(free_list(0, 4, 2, back=numbers(NOBODY, 2, 4))))
    assert in_text(findings("HEAP62", made)[0].expected)[:1] == at(0)


def test_what_is_before_the_first_on_a_torn_circle_is_not_known():
    torn = free_list(0, 2, 4, back=numbers(2, 0, 2), circular=True, broken=broken(at(4)[0]))
    assert found("HEAP62", indexed((FREE, USED) * 3, lists(torn))) == at(4)


@pytest.mark.parametrize(
    ("by", "members", "wrong"),
    [
        ("nothing", (4, 2, 0), []),
        ("address", (0, 2, 4), []),
        ("address", (0, 4, 2), [2]),
        ("address", (2, 0, 4), [0]),
        ("size", (0, 2, 4), []),  # 32, 32 and 64 bytes
        ("size", (2, 0, 4), []),
        ("size", (4, 0, 2), [0]),
        ("size", (0, 4, 2), [2]),
    ],
)
def test_the_order_of_a_list(by, members, wrong):
    rows = in_a_row((32, FREE), (32, USED), (32, FREE), (32, USED), (64, FREE))
    told = findings("HEAP62", heap(rows, index=lists(free_list(*members, sorted=by))))
    assert [finding.address for finding in told] == at(*wrong)
    for finding in told:
        before = members[members.index(wrong[0]) - 1]
        assert in_text(finding.actual) == at(before)


# --- trees ------------------------------------------------------------------------------------------------------------

N = NOBODY
FOUR = (3, (1, 5), {3: (1, 5)})
"""A tree of three: 3 at its root, 1 on its left, 5 on its right."""


def grown(members, up, sides, chunks=None, **more):
    """A heap whose free chunks hang in a tree; the others are used."""
    count = chunks or max(members) + 1
    states = [FREE if number in members else USED for number in range(count)]
    return indexed(states, tree(members, up, sides, **more))


def threesome(**more):
    return grown((3, 1, 5), (N, 3, 3), {3: (1, 5)}, **more)


def test_a_tree_that_is_right():
    assert found("HEAP62", threesome()) == []


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ((0, 10, 0, 20, 0, 30), []),
        ((0, 20, 0, 20, 0, 20), []),
        ((0, 21, 0, 20, 0, 30), [3]),
        ((0, 10, 0, 20, 0, 19), [5]),
    ],
)
def test_the_order_of_a_tree(key, wrong):
    told = findings("HEAP62", threesome(key=key))
    assert [finding.address for finding in told] == at(*wrong)
    before = {3: 1, 5: 3}
    for finding, number in zip(told, wrong, strict=True):
        assert in_text(finding.expected) == [key[before[number]], *at(before[number])]
        assert in_text(finding.actual) == [key[number]]


def test_the_order_of_a_tree_counts_far_down_too():
    """2 hangs on the right of 1, on the left of 4: it comes before 4, and not behind it."""
    shape = ((4, 1, 2), (N, 4, 1), {4: (1, N), 1: (N, 2)})
    assert found("HEAP62", grown(*shape, key=(0, 1, 2, 0, 4))) == []
    assert found("HEAP62", grown(*shape, key=(0, 1, 5, 0, 4))) == at(4)


@pytest.mark.parametrize(("parent", "wrong"), [((N, 3, N, N, N, 3), []), ((N, 3, N, 1, N, 3), [3]),
                                               ((N, N, N, N, N, 1), [1, 5])])  # fmt: skip
def test_links_up_in_a_tree(parent, wrong):
    told = findings("HEAP62", threesome(parent=numbers(*parent)))
    assert [finding.address for finding in told] == at(*wrong)
    above = {3: [], 1: at(3), 5: at(3)}
    assert [in_text(finding.expected) for finding in told] == [above[number] for number in wrong]


@pytest.mark.parametrize(("value", "wrong"), [(2, True), (3, False), (4, True)])
def test_a_tree_counts_its_chunks(value, wrong):
    told = findings("HEAP62", threesome(count=counter(value, "count", 0x7400)))
    assert [finding.address for finding in told] == [0x7400] * wrong
    assert [in_text(f.expected)[:1] + in_text(f.actual)[-1:] for f in told] == [[3, value]] * wrong


def test_the_shape_and_the_count_of_a_torn_tree_are_not_judged():
    torn = threesome(
        kind="avl", rank=numbers(*[9] * 6), count=counter(9), broken=[broken(at(5)[0]), broken(None, 0x123450)]
    )
    told = findings("HEAP62", torn)
    assert [(finding.subject, finding.address) for finding in told] == [("chunk", at(5)[0]), ("heap", None)]


ONE = ((0,), (N,), {})
TWO = ((1, 0), (N, 1), {1: (0, N)})
LEFT = ((2, 1, 0), (N, 2, 1), {2: (1, N), 1: (0, N)})
RIGHT = ((0, 1, 2), (N, 0, 1), {0: (N, 1), 1: (N, 2)})
LEAN = ((3, 1, 4, 0), (N, 3, 3, 1), {3: (1, 4), 1: (0, N)})


def shaped(shape, **more):
    """A tree as high as its shape, the free chunks with a used one behind each."""
    members, up, sides = shape
    double = {2 * n: tuple(kid if kid == N else 2 * kid for kid in kids) for n, kids in sides.items()}
    spread = [2 * n for n in members], [n if n == N else 2 * n for n in up], double
    return grown(*spread, **more)


@pytest.mark.parametrize(
    ("shape", "high"),
    [(ONE, []), (TWO, []), (LEAN, []), (LEFT, [(4, [2, 0])]), (RIGHT, [(0, [0, 2])])],
    ids=["one", "two", "lean", "left", "right"],
)
def test_the_sides_of_a_node_differ_by_one_in_height_at_most(shape, high):
    told = findings("HEAP62", shaped(shape, kind="avl"))
    assert [(finding.address, in_text(finding.actual)) for finding in told] == [(*at(n), sides) for n, sides in high]
    assert found("HEAP62", shaped(shape, kind="plain")) == []


@pytest.mark.parametrize(
    ("ranks", "shape", "right"),
    [
        ("height", ONE, {0: 1}),
        ("height", LEAN, {6: 3, 2: 2, 8: 1, 0: 1}),
        ("balance", ONE, {0: 0}),
        ("balance", TWO, {2: -1, 0: 0}),
        ("balance", LEAN, {6: -1, 2: -1, 8: 0, 0: 0}),
        ("balance", ((0, 1), (N, 0), {0: (N, 1)}), {0: 1, 2: 0}),
    ],
)
@pytest.mark.parametrize("off", [-1, 0, 1])
def test_what_a_node_records_of_its_height(ranks, shape, right, off):
    """The height of its side of the tree, or by how much the right side is higher than the left."""
    for wrong in right:
        rank = numbers(*(right.get(number, 7) + off * (number == wrong) for number in range(10)))
        told = findings("HEAP62", shaped(shape, kind="avl", rank=rank, ranks=ranks))
        assert [finding.address for finding in told] == at(wrong) * bool(off)
        for finding in told:
            assert finding.expected == f"{ranks} {right[wrong]}"
            assert finding.actual.endswith(f" {right[wrong] + off}")


@pytest.mark.parametrize(
    ("red", "wrong"),
    [
        ((), {}),
        ((1, 5), {}),
        ((3,), {3: []}),  # the root
        ((1,), {3: [1, 2]}),  # one way has a black node less than the other
        ((5,), {3: [2, 1]}),
        ((3, 1, 5), {3: [], 1: [], 5: []}),  # red below red
    ],
)
def test_colours(red, wrong):
    rank = numbers(*(int(number in red) for number in range(6)))
    told = findings("HEAP62", threesome(kind="redblack", rank=rank))
    assert {finding.address: in_text(finding.actual) for finding in told} == {
        address: sides for number, sides in wrong.items() for address in at(number)
    }
    assert len(told) == len(wrong)
    assert found("HEAP62", threesome(kind="redblack")) == []


def test_a_tree_without_chunks():
    for kind in ("avl", "redblack"):
        assert found("HEAP62", grown((), (), {}, chunks=2, kind=kind, rank=numbers())) == []


# --- buddies ----------------------------------------------------------------------------------------------------------


def wrong_node(byte, expected, halves):
    node = WrongNode(VirtAddr(0x7500), VirtAddr(BASE), 64, byte, halves, expected)
    (finding,) = findings("HEAP62", heap(in_a_row((32, USED)), detail=BuddyDetail(wrong_nodes=(node,))))
    assert (finding.subject, finding.address) == ("node", 0x7500)
    assert in_text(finding.actual) == [byte]
    assert in_text(finding.expected)[:3] == [expected, 64, BASE]
    return finding


def test_a_node_of_buddies_and_the_likely_cause():
    """Two free halves of height 2 make 3. 2: they were not merged; 0: taken; less: freed below; more: taken below."""
    causes = {byte: wrong_node(byte, 3, (2, 2)).cause for byte in (0, 1, 2, 4, 5)}
    assert len(set(causes.values())) == 4
    assert causes[4] == causes[5]
    assert wrong_node(1, 2, (2, 1)).cause == causes[1]  # the halves are not both whole
    assert wrong_node(2, 1, None).cause == causes[4]


def test_a_node_is_told_with_its_halves():
    assert in_text(wrong_node(4, 3, (2, 1)).expected) == [3, 64, BASE, 2, 1]
    assert in_text(wrong_node(4, 1, None).expected) == [1, 64, BASE, 1, 0]
