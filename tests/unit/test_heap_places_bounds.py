"""HEAP64, HEAP68 and HEAP69 at their bounds: fills in made-up memory, heaps on heaps, and what is mapped of one."""

import numpy as np
import pytest

from gdbext.checks.finding import run_rules
from gdbext.checks.heaps.places import HeapPlace, heap_place_rules
from gdbext.heap.fill import filled
from gdbext.heap.parts import Pieces
from gdbext.structures.unread import Unread
from gdbext.x86.attributes import ATTR_W, ATTR_X
from gdbext.x86.runs import Runs

from .guest import Guest
from .made_heaps import BAD, BASE, FREE, USED, findings, heap, in_a_row, in_text, numbers, words

PAGE = 0x1000


# --- HEAP64: what nobody may write to ---------------------------------------------------------------------------------

PAYLOAD = BASE + 16
KINDS = {"poison": FREE, "underrun": USED, "overrun": USED}


def written_into(what, offset, count, *, size=64, rows=None):
    """What is told where ``count`` bytes from an offset into a payload on are not as they were filled."""
    guest = Guest()
    guest.write(PAYLOAD, b"\xdd" * size)
    guest.write(PAYLOAD + offset, b"\x11" * count)
    rows = rows or in_a_row((size, KINDS[what]), (32, USED))
    fill = filled(what, 0xDD, numbers(0), words(PAYLOAD), words(PAYLOAD + size))
    return findings("HEAP64", heap(rows, fills=(fill,)), guest)


@pytest.mark.parametrize("what", KINDS)
@pytest.mark.parametrize(("offset", "inside"), [(-1, False), (0, True), (63, True), (64, False)])
def test_a_byte_that_nobody_may_write_to(what, offset, inside):
    told = written_into(what, offset, 1)
    assert [finding.address for finding in told] == [BASE] * inside
    for finding in told:
        assert in_text(finding.expected) == [0xDD]
        assert in_text(finding.actual) == [1, PAYLOAD + offset, offset]


def test_the_cause_is_the_misdeed():
    assert len({written_into(what, 3, 1)[0].cause for what in KINDS}) == len(KINDS)


@pytest.mark.parametrize(("count", "shown"), [(1, 1), (15, 15), (16, 16), (17, 16), (40, 16)])
def test_as_many_bytes_as_a_line_has_are_evidence(count, shown):
    (finding,) = written_into("poison", 8, count)
    assert in_text(finding.actual) == [count, PAYLOAD + 8, 8]
    assert finding.evidence[0].count("11") == shown


def test_a_chunk_whose_end_is_not_known_is_not_judged():
    assert written_into("poison", 8, 1, rows=[(BASE, 64, FREE), (BASE + 64, 32, USED)]) == []


# --- HEAP68: a heap in a used chunk of another ------------------------------------------------------------------------

OUTER = in_a_row((64, USED), (64, FREE), (64, BAD))
FIRST = BASE + 16


def report(made, mapped=None, parent=None, rule=None):
    rules = [each for each in heap_place_rules(made) if rule in (None, each.id)]
    return run_rules(rules, HeapPlace(made, mapped, parent))


@pytest.mark.parametrize(
    ("start", "end", "wrong"),
    [
        (FIRST, FIRST + 64, False),
        (FIRST + 1, FIRST + 63, False),
        (FIRST - 1, FIRST + 64, True),
        (FIRST, FIRST + 65, True),
        (FIRST + 80, FIRST + 144, True),  # free
        (FIRST + 160, FIRST + 224, True),  # its header is overwritten
    ],
)
def test_a_heap_lies_in_a_used_chunk_of_its_parent(start, end, wrong):
    made = heap([], [(start, end)], parent=("outer",))
    told = report(made, None, heap(OUTER, name="outer"), "HEAP68").findings
    assert [(f.address, in_text(f.expected)) for f in told] == [(start, [start, end])] * wrong
    if start == FIRST + 80:
        assert in_text(told[0].actual) == [BASE + 80, 64]


def test_a_chunk_that_cannot_be_holds_no_heap():
    outer = heap([(BASE, 1 << 40, USED)], [(BASE, BASE + 0x1000)])
    made = heap([], [(FIRST, FIRST + 64)], parent=("outer",))
    assert [finding.address for finding in report(made, None, outer, "HEAP68").findings] == [FIRST]


@pytest.mark.parametrize(
    ("parent", "names", "checked"),
    [
        (heap(OUTER), ("outer",), ["HEAP68"]),
        (Unread("outer", "list", "no memory", absent=False), ("outer",), []),
        (None, ("outer",), []),
        (None, (), []),
    ],
    ids=["known", "cannot be read", "not there", "none"],
)
def test_a_heap_on_another_is_looked_at_where_that_is_known(parent, names, checked):
    told = report(heap([], [(FIRST, FIRST + 64)], parent=names), None, parent)
    assert [rule for rule in told.checked if rule == "HEAP68"] == checked
    skipped = [each.why for each in told.skipped if each.id == "HEAP68"]
    assert len(skipped) == (bool(names) and not checked)
    assert ["'outer'" in why for why in skipped] == [parent is None] * len(skipped)  # the kernel has none of that name


# --- HEAP69: the pages of a heap --------------------------------------------------------------------------------------


def pages(*runs):
    """What is mapped: (first page, page behind the last, rights), pages counted from the arena's start."""
    start = words(*(BASE + first * PAGE for first, _, _ in runs))
    size = words(*((end - first) * PAGE for first, end, _ in runs))
    rights = [ATTR_W * ("w" in r) | ATTR_X * ("x" in r) for _, _, r in runs]
    return Runs(start, size, start * np.uint64(0), np.array(rights, dtype=np.uint32))


def wrong(runs, *pieces, segments=False):
    """Where the pages of a heap are wrong; pieces are (first, end), offsets in bytes from the arena's start."""
    bounds = [(BASE + first, BASE + end) for first, end in pieces]
    made = (
        heap([], bounds)
        if segments
        else heap([], [], pieces=Pieces(*(words(*one) for one in zip(*bounds, strict=True))))
    )
    told = report(made, pages(*runs), rule="HEAP69")
    assert told.checked == ("HEAP69",)
    return [finding.address - BASE for finding in told.findings]


RW = "w"


@pytest.mark.parametrize("segments", [True, False])
@pytest.mark.parametrize(
    ("runs", "piece", "holes"),
    [
        ([(0, 2, RW)], (0, 2 * PAGE), []),
        ([(0, 2, RW)], (1, 2 * PAGE - 1), []),
        ([(0, 2, RW)], (0, 2 * PAGE + 1), [2 * PAGE]),
        ([(0, 2, RW)], (2 * PAGE - 1, 2 * PAGE), []),
        ([(0, 2, RW)], (2 * PAGE, 3 * PAGE), [2 * PAGE]),
        ([(1, 2, RW)], (PAGE - 1, 2 * PAGE), [PAGE - 1]),
        ([(1, 2, RW)], (0, PAGE), [0]),
        ([(0, 1, RW), (1, 2, "")], (0, PAGE), []),  # the second is another's
        ([(0, 1, RW), (1, 2, RW)], (0, 2 * PAGE), []),  # runs that touch are one
        ([(0, 1, RW), (1, 2, RW), (3, 4, RW)], (0, 4 * PAGE), [2 * PAGE]),
        ([(0, 1, RW), (2, 3, RW), (3, 4, RW)], (0, 4 * PAGE), [PAGE]),
        ([(0, 1, RW), (2, 3, RW)], (2 * PAGE, 3 * PAGE), []),
        ([(0, 1, RW), (2, 3, RW)], (PAGE, 2 * PAGE), [PAGE]),
        ([], (PAGE, 2 * PAGE), [PAGE]),
    ],
)
def test_a_heap_is_mapped_from_its_first_byte_to_its_last(segments, runs, piece, holes):
    assert wrong(runs, piece, segments=segments) == holes


def test_pieces_of_a_heap_in_any_order_and_each_hole_once():
    assert wrong([(0, 1, RW), (2, 3, RW)], (2 * PAGE, 4 * PAGE), (0, 2 * PAGE)) == [PAGE, 3 * PAGE]
    assert wrong([(0, 1, RW)], (8, 2 * PAGE), (16, 3 * PAGE)) == [PAGE]
    assert wrong([(0, 1, RW)], (PAGE, 2 * PAGE), (2 * PAGE, 3 * PAGE)) == [PAGE, 2 * PAGE]
    assert wrong([], (PAGE, 2 * PAGE), (2 * PAGE, 3 * PAGE)) == [PAGE]  # where nothing is mapped the first will do


@pytest.mark.parametrize("piece", [(3 * PAGE, 3 * PAGE), (4 * PAGE, 3 * PAGE)])
def test_a_piece_without_bytes_need_not_be_mapped(piece):
    assert wrong([(0, 1, RW)], (0, PAGE), piece) == []


@pytest.mark.parametrize("rights", ["", "wx"], ids=["read-only", "executable"])
@pytest.mark.parametrize(
    ("piece", "pages_told"),
    [
        ((PAGE, 2 * PAGE), [PAGE]),
        ((PAGE + 8, 2 * PAGE), [PAGE]),  # the page where it begins
        ((PAGE - 1, PAGE), []),
        ((PAGE - 1, PAGE + 1), [PAGE]),
        ((2 * PAGE - 1, 2 * PAGE), [PAGE]),
        ((2 * PAGE, 3 * PAGE), []),
        ((0, 4 * PAGE), [PAGE]),
    ],
)
def test_pages_of_a_heap_are_writable_and_not_executable(rights, piece, pages_told):
    assert wrong([(0, 1, RW), (1, 2, rights), (2, 4, RW)], piece) == pages_told


def test_pages_with_wrong_rights_for_each_piece_that_meets_them():
    runs = [(0, 1, RW), (1, 2, ""), (2, 3, RW), (3, 4, ""), (4, 5, RW)]
    assert wrong(runs, (0, PAGE), (PAGE, 2 * PAGE), (3 * PAGE, 5 * PAGE)) == [PAGE, 3 * PAGE]
    assert wrong(runs, (PAGE, PAGE + 8), (PAGE + 8, PAGE + 16)) == [PAGE]
    assert wrong(runs, (4 * PAGE, 5 * PAGE), (2 * PAGE, 3 * PAGE)) == []
    assert wrong([(0, 8, "")], (2 * PAGE + 8, 3 * PAGE), (5 * PAGE + 4095, 6 * PAGE)) == [2 * PAGE, 5 * PAGE]
    assert wrong([(0, 1, "x")], (0, PAGE)) == [0, 0]  # neither written to nor data


@pytest.mark.parametrize(
    ("made", "mapped", "checked"),
    [
        (heap([], [(BASE, BASE + PAGE)]), pages((0, 1, RW)), True),
        (heap([], [], pieces=Pieces(words(BASE), words(BASE + PAGE))), pages((0, 1, RW)), True),
        (heap([], []), pages((0, 1, RW)), False),
        (heap([], [(BASE, BASE + PAGE)]), None, False),
    ],
    ids=["segments", "pieces", "neither", "no paging"],
)
def test_pages_are_looked_at_where_paging_is_on_and_it_is_known_where_the_heap_lies(made, mapped, checked):
    told = report(made, mapped)
    assert told.checked == ("HEAP69",) * checked
    assert [each.id for each in told.skipped] == ["HEAP69"] * (not checked)
