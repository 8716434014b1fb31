"""Rules of heaps of chunks at, below and above their bounds: a few chunks by hand, from 0x40000 on, headers of 16."""

import re
from dataclasses import replace

import pytest

from gdbext.checks.heaps.chunks import HEAP_RULES, heap_rules, report_unread_heap
from gdbext.checks.heaps.wording import TEXT_SHOWN, bytes_around, text_in, written_over
from gdbext.errors import MemoryUnavailable
from gdbext.heap.adjacent import AdjacentDetail
from gdbext.heap.buddy import BuddyDetail
from gdbext.heap.bump import BumpDetail
from gdbext.heap.fill import filled
from gdbext.heap.list import ListDetail
from gdbext.heap.page_runs import PageRunsDetail
from gdbext.heap.parts import Lost, Watermark
from gdbext.structures.chain import Break, Stop
from gdbext.structures.unread import Unread
from gdbext.units import VirtAddr

from .guest import Guest
from .made_heaps import (
    BAD,
    BASE,
    FREE,
    USED,
    counter,
    findings,
    flags,
    found,
    free_list,
    heap,
    in_a_row,
    in_text,
    lists,
    numbers,
    page_runs,
    paged,
    report,
    words,
)

A, B, C = BASE, BASE + 48, BASE + 96
END = BASE + 144
"""Three chunks with headers of 16 and payloads of 32 bytes, and where they end."""
TILES = [(32, USED), (32, FREE), (32, USED)]
ALL = {rule.id for rule in HEAP_RULES}


def three(*states, **more):
    """The three chunks in these states."""
    return heap(in_a_row(*((32, state) for state in states or (USED, FREE, USED))), **more)


def listed(rows=None, segments=None, *, circular=False, broken=None, head=A, tail=None, **more):
    """The chunks as a list."""
    detail = ListDetail(
        tail=None if tail is None else VirtAddr(tail), head=VirtAddr(head), rover=None, circular=circular, broken=broken
    )
    return heap(in_a_row(*TILES) if rows is None else rows, segments, detail=detail, **more)


def break_at(source, target, stop=Stop.ASTRAY):
    return Break(stop, None if source is None else VirtAddr(source), VirtAddr(target), "no chunk is there")


# --- which rules there are to look at ---------------------------------------------------------------------------------


def test_three_chunks_that_are_right_break_no_rule():
    assert report(three()).findings == ()


def test_a_heap_that_cannot_be_read_breaks_the_first_rule_and_all_others_are_left_out():
    told = report_unread_heap(Unread("it", "list", "no memory is there", absent=False))
    assert [(finding.id, finding.address) for finding in told.findings] == [("HEAP00", None)]
    assert told.checked == ("HEAP00",)
    assert {skipped.id for skipped in told.skipped} == ALL - {"HEAP00"}


def test_a_heap_that_is_not_there_breaks_no_rule():
    told = report_unread_heap(Unread("it", "list", "not set up yet", absent=True))
    assert (told.findings, told.checked) == ((), ())
    assert {skipped.id for skipped in told.skipped} == ALL


MARK = Watermark(VirtAddr(BASE), VirtAddr(BASE), VirtAddr(END), VirtAddr(0x7000))
RUNS = page_runs()


@pytest.mark.parametrize(
    ("made", "left_out"),
    [
        (three(), {"HEAP63", "HEAP66", "HEAP67"}),
        (three(detail=AdjacentDetail(tail=VirtAddr(C))), {"HEAP66", "HEAP67"}),
        (three(links={"prev": words(0, A, B)}), {"HEAP66", "HEAP67"}),
        (listed(), {"HEAP66", "HEAP67"}),
        (three(watermark=MARK), {"HEAP62", "HEAP63", "HEAP66"}),  # it hands out in order and never looks for free ones
        (three(watermark=MARK, layout={"coalesces": True}), {"HEAP63", "HEAP66"}),
        (three(watermark=MARK, index=lists(free_list(1))), {"HEAP63", "HEAP66"}),
        (heap([], detail=BumpDetail(), watermark=MARK), ALL - {"HEAP00", "HEAP67"}),
        (heap([], detail=PageRunsDetail(page_runs=RUNS)), {"HEAP61", "HEAP62", "HEAP63", "HEAP66", "HEAP67"}),
        (three(detail=BuddyDetail(wrong_nodes=())), {"HEAP61", "HEAP63", "HEAP66", "HEAP67"}),
        (three(detail=BuddyDetail(wrong_nodes=()), layout={"has_magic": True}), {"HEAP63", "HEAP66", "HEAP67"}),
    ],
    ids=["plain", "tail", "prev", "list", "mark", "mark-merges", "mark-index", "bump", "runs", "buddy", "magic"],
)
def test_rules_that_mean_something_for_a_heap(made, left_out):
    assert {rule.id for rule in heap_rules(made)} == ALL - left_out


FILL = filled("poison", 0xDD, numbers(0), words(BASE), words(BASE))
LOST = Lost(VirtAddr(END), VirtAddr(END + 64), "nothing can be told there")


@pytest.mark.parametrize(
    ("rule", "made", "skipped"),
    [
        ("HEAP61", three(), True),
        ("HEAP61", three(layout={"has_magic": True}), False),
        ("HEAP61", three(links={"closed": flags(True, True, True)}), False),
        ("HEAP64", three(), True),
        ("HEAP64", three(fills=(FILL,)), False),
        ("HEAP62", three(), True),
        ("HEAP62", three(layout={"coalesces": True}), False),
        ("HEAP62", three(index=lists(free_list(1))), False),
        ("HEAP62", three(detail=BuddyDetail(wrong_nodes=())), False),
        ("HEAP65", three(), True),
        ("HEAP65", three(counters=(counter(3, "chunks"),)), False),
        ("HEAP65", three(counters=(counter(3, "chunks"),), lost=(LOST,)), True),
        ("HEAP65", three(USED, BAD, USED, counters=(counter(3, "chunks"),)), True),
        ("HEAP65", heap(in_a_row((32, USED), (15, USED)), counters=(counter(2, "chunks"),)), True),  # a size is wrong
        ("HEAP65", heap(in_a_row((32, USED), (16, USED)), counters=(counter(2, "chunks"),)), False),
    ],
)
def test_a_rule_with_nothing_to_go_by_is_left_out(rule, made, skipped):
    told = report(made, rule=rule)
    assert [each.partly for each in told.skipped] == [False] * skipped
    assert told.checked == (() if skipped else (rule,))


@pytest.mark.parametrize(
    ("rule", "made", "times"),
    [
        # Where a list ends is known by its tail, or by segments that it fills.
        ("HEAP63", listed(segments=[]), 1),
        ("HEAP63", listed(segments=[], tail=C), 0),
        ("HEAP63", listed(), 0),
        # A place where chunks cannot be told counts as one if there is room for more than a header.
        ("HEAP60", three(lost=(replace(LOST, end=VirtAddr(END + 15)), replace(LOST, end=VirtAddr(END + 16)))), 0),
        ("HEAP60", three(lost=(replace(LOST, end=VirtAddr(END + 17)), LOST)), 2),
        ("HEAP62", three(index=lists(free_list(1, broken=break_at(B, 0x1)), alone=True)), 1),
        ("HEAP62", three(index=lists(free_list(1, broken=break_at(B, 0x1)))), 0),
    ],
)
def test_a_rule_says_what_it_could_not_look_at(rule, made, times):
    told = report(made, rule=rule)
    assert [each.partly for each in told.skipped] == [True] * times
    assert told.checked == (rule,)


# --- HEAP61: magic and footers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_a_header_without_its_magic(bad):
    states = [USED] * 3
    states[bad] = BAD
    assert found("HEAP61", three(*states, layout={"has_magic": True})) == [(A, B, C)[bad]]


def footed(*closed, trailer=8, rows=None, segments=None):
    """Chunks of 40 bytes with footers; some do not agree with their headers."""
    rows = rows or in_a_row(*[(40, USED)] * len(closed), trailer=trailer)
    return heap(rows, segments, trailer=trailer, layout={"alignment": 8}, links={"closed": flags(*closed)})


FIRST, SECOND, THIRD = BASE, BASE + 64, BASE + 128


@pytest.mark.parametrize(
    ("closed", "wrong"),
    [((True, True, True), []), ((False, True, True), [FIRST]), ((True, False, True), [SECOND]),
     ((True, True, False), [THIRD]), ((False, True, False), [FIRST, THIRD])],
)  # fmt: skip
def test_a_footer_that_does_not_agree(closed, wrong):
    assert found("HEAP61", footed(*closed)) == wrong


def test_the_last_footer_may_lie_where_a_header_would():
    rows = in_a_row((48, USED), (48, USED))
    assert found("HEAP61", footed(True, False, trailer=0, rows=rows)) == [SECOND]
    assert found("HEAP61", footed(False, True, trailer=0, rows=rows)) == [FIRST]


@pytest.mark.parametrize(
    ("size", "tells"),
    [(40, True), (39, False), (41, False), (48, False), (32, False), (-8, False)],
)
def test_a_footer_is_looked_at_only_where_the_size_leads_to_the_next_chunk(size, tells):
    rows = [(FIRST, size, USED), (SECOND, 40, USED)]
    assert found("HEAP61", footed(False, True, rows=rows)) == [FIRST] * tells


@pytest.mark.parametrize(("size", "tells"), [(40, True), (32, False), (48, False)])
def test_the_last_footer_is_looked_at_only_where_the_segment_ends(size, tells):
    rows = [(FIRST, 40, USED), (SECOND, size, USED)]
    assert found("HEAP61", footed(True, False, rows=rows, segments=[(BASE, BASE + 128)])) == [SECOND] * tells


def test_a_footer_in_front_of_another_segment():
    far = BASE + 0x1000
    rows = [(FIRST, 40, USED), (far, 40, USED)]
    both = [(BASE, SECOND), (far, far + 64)]
    assert found("HEAP61", footed(False, True, rows=rows, segments=both)) == [FIRST]


def test_a_footer_of_a_chunk_that_cannot_be_is_not_looked_at():
    rows = in_a_row((40, USED), (8, USED), trailer=8)  # too small
    assert found("HEAP61", footed(True, False, rows=rows)) == []


def test_one_that_came_over_a_footer_into_the_next_header_is_told_once():
    rows = [(FIRST, 40, USED), (SECOND, 40, BAD)]
    assert found("HEAP61", footed(False, True, rows=rows)) == [SECOND]
    far = BASE + 0x1000
    rows = [(FIRST, 40, USED), (far, 40, BAD)]  # the footer is not in front of that header
    assert found("HEAP61", footed(False, True, rows=rows, segments=[(BASE, SECOND), (far, far + 64)])) == [far, FIRST]


# --- what was written over a header -----------------------------------------------------------------------------------


def cause_over(made, at, written):
    """The likely cause of the header that is overwritten, and the numbers in it."""
    guest = Guest()
    guest.write(at, written)
    (finding,) = findings("HEAP61", made, guest)
    return finding.cause, in_text(finding.cause)


def test_an_overrun_is_measured_to_its_end_over_a_page_border():
    """The header at 8 bytes before a page's end was overwritten by 39 letters and a NUL."""
    at = BASE + 0x1000 - 8
    rows = [(BASE, at - BASE - 16, USED), (at, 32, BAD)]
    made = heap(rows, layout={"has_magic": True, "alignment": 8})
    assert cause_over(made, at, b"x" * 39 + b"\0")[1][:3] == [BASE + 16, at - BASE - 16, 40]


def test_an_overrun_begins_with_the_trailer_of_the_chunk_before():
    rows = [(FIRST, 40, USED), (SECOND, 40, BAD)]
    made = heap(rows, trailer=8, layout={"has_magic": True, "alignment": 8})
    assert cause_over(made, SECOND - 8, b"y" * 20 + b"\0")[1][:3] == [FIRST + 16, 40, 21]


def test_the_cause_tells_a_chunk_that_was_freed_from_one_in_use():
    written = b"y" * 20 + b"\0"
    magic = {"layout": {"has_magic": True}}
    in_use, freed = (cause_over(three(state, BAD, USED, **magic), B, written)[0] for state in (USED, FREE))
    assert in_use != freed
    in_use, freed = (cause_over(three(state, BAD, USED, **magic), B, b"\1\2")[0] for state in (USED, FREE))
    assert in_use != freed


@pytest.mark.parametrize(("gap", "by_it"), [(0, True), (16, False), (-16, False)])
def test_only_the_chunk_that_ends_there_can_have_overrun_a_header(gap, by_it):
    rows = [(A, 32, USED), (B + gap, 32, BAD)]
    _, seen = cause_over(heap(rows, layout={"has_magic": True}), B + gap, b"y" * 20 + b"\0")
    assert ((A + 16) in seen) == by_it
    assert ((B + gap) in seen) != by_it


# --- HEAP60: chunks fill their segments -------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "wrong"), [(16, False), (15, True), (0, True), (-1, True)])
def test_the_least_size(size, wrong):
    rows = [(A, 32, USED), (B, size, USED)]
    made = heap(rows, [(A, B + 16 + max(size, 0))])
    assert (B in found("HEAP60", made)) == wrong
    if wrong:
        assert next(in_text(f.expected) + in_text(f.actual) for f in findings("HEAP60", made)) == [16, abs(size)]


@pytest.mark.parametrize(("offset", "wrong"), [(0, False), (8, True), (1, True)])
def test_the_alignment_of_payloads(offset, wrong):
    rows = [(A, 32 + offset, USED), (B + offset, 16, USED)]
    (*told,) = findings("HEAP60", heap(rows))
    assert [f.address for f in told] == [B + offset] * wrong
    assert [in_text(f.expected) + in_text(f.actual) for f in told] == [[16, B + 16 + offset]] * wrong


@pytest.mark.parametrize(("end", "wrong"), [(C, False), (C - 1, True), (B + 16, True), (C + 16, True)])
def test_a_chunk_within_its_segment_and_the_last_at_its_end(end, wrong):
    told = findings("HEAP60", heap(in_a_row((32, USED), (32, USED)), [(A, end)]))
    assert [finding.address for finding in told] == [B] * wrong
    assert [in_text(f.expected) + in_text(f.actual) for f in told if end < C] == [[A, end, B, C, 32]] * (end < C)


@pytest.mark.parametrize(("start", "wrong"), [(A, set()), (A - 16, {A}), (A + 16, {A})])
def test_the_first_chunk_begins_a_segment(start, wrong):
    assert set(found("HEAP60", three(segments=[(start, END)]))) == wrong


@pytest.mark.parametrize(
    ("distance", "wrong"),
    [(0, False), (16, True), (-16, True)],
)
def test_a_chunk_ends_where_the_next_begins(distance, wrong):
    rows = [(A, 48, USED), (A + 64 - distance, 32, USED), (A + 112 - distance, 32, USED)]
    told = findings("HEAP60", heap(rows))
    assert [finding.address for finding in told] == [A] * wrong
    for finding in told:
        assert in_text(finding.expected) == [A + 64 - distance]
        assert in_text(finding.actual) == [A + 64, abs(distance)]


def test_an_overlap_and_a_gap_are_told_apart():
    overlaps, gaps = (
        {findings("HEAP60", heap([(A, 48, USED), (at, 32, USED)], layout={"alignment": 1}))[0].actual for at in places}
        for places in ((A + 63, A + 48), (A + 65, A + 80))
    )
    without_numbers = [{re.sub("[0-9]+", "", actual) for actual in both} for both in (overlaps, gaps)]
    assert [len(both) for both in without_numbers] == [1, 1]
    assert without_numbers[0] != without_numbers[1]


FAR = BASE + 0x1000


@pytest.mark.parametrize(
    ("rows", "wrong"),
    [
        ([(A, 32, USED), (FAR, 32, USED)], []),
        ([(A, 16, USED), (FAR, 32, USED)], [A]),  # ends before its segment does
        ([(A, 32, USED), (FAR + 16, 16, USED)], [A]),  # the next does not begin its segment
        ([(A + 16, 16, USED), (FAR, 32, USED)], [A + 16]),  # the first does not
        ([(A, 32, USED), (FAR, 16, USED)], [FAR]),
    ],
)
def test_two_segments_with_room_between_them(rows, wrong):
    assert found("HEAP60", heap(rows, [(A, B), (FAR, FAR + 48)])) == wrong


def test_a_segment_without_chunks():
    assert found("HEAP60", heap([], [(A, END)])) == [A]
    assert found("HEAP60", listed([], [(A, END)], head=0)) == [0]
    assert found("HEAP60", heap([], [])) == []
    assert found("HEAP60", heap([], [(A, END)], detail=PageRunsDetail(page_runs=RUNS))) == []


def test_no_chunks_and_the_reason_why():
    (finding,) = findings("HEAP60", heap([], [(A, END)], lost=(LOST,)))
    assert "nothing can be told there" in finding.actual


@pytest.mark.parametrize(
    ("broken", "starts", "wrong"),
    [(None, (), True), (break_at(C, 0x1), (), False), (break_at(A, 0x1), (1,), True)],
    ids=["whole", "broken", "followed back from the tail"],
)
def test_where_a_list_ends_is_known_unless_it_breaks_off_there(broken, starts, wrong):
    made = listed(segments=[(A, END + 16)], broken=broken, starts=numbers(*starts))
    assert found("HEAP60", made) == [C] * wrong


def test_a_list_without_segments_may_have_room_between_its_chunks_and_no_overlap():
    assert found("HEAP60", listed([(A, 32, USED), (A + 64, 32, USED)], [])) == []
    assert found("HEAP60", listed([(A, 32, USED), (A + 32, 32, USED)], [])) == [A]


@pytest.mark.parametrize(("length", "wrong"), [(0, True), (1, False), (3, False), (4, True)])
def test_a_run_of_pages_ends_before_the_next_begins(length, wrong):
    runs = page_runs((0x9000, A, length, 3, 0xA000))
    told = findings("HEAP60", heap([], detail=PageRunsDetail(page_runs=runs)))
    assert [finding.address for finding in told] == [0x9000] * wrong
    assert [in_text(finding.expected)[:3] + in_text(finding.actual) for finding in told] == [[A, 1, 3, length]] * wrong


# --- HEAP63: links ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tail", "wrong"), [(C, []), (B, [B]), (0, [0])])
@pytest.mark.parametrize("make", [listed, lambda tail: three(detail=AdjacentDetail(tail=VirtAddr(tail)))])
def test_the_tail_is_the_last_chunk(make, tail, wrong):
    told = findings("HEAP63", make(tail=tail))
    assert [finding.address for finding in told] == wrong
    assert [in_text(f.expected) + in_text(f.actual) for f in told] == [[C, tail]] * len(wrong)


@pytest.mark.parametrize(("tail", "wrong"), [(0, []), (A, [A])])
def test_the_tail_of_a_list_without_chunks(tail, wrong):
    assert found("HEAP63", listed([], [], head=0, tail=tail)) == wrong


def test_the_tail_of_a_list_that_is_not_seen_whole_is_not_judged():
    made = three(detail=AdjacentDetail(tail=VirtAddr(B)), lost=(LOST,))
    assert found("HEAP63", made) == []


@pytest.mark.parametrize(("head", "tail"), [(A, C), (B, A), (C, B)])
def test_the_tail_of_a_circle_is_the_chunk_before_its_head(head, tail):
    for given in (A, B, C):
        assert found("HEAP63", listed(circular=True, head=head, tail=given)) == ([] if given == tail else [given])


@pytest.mark.parametrize(
    ("prev", "wrong"),
    [((0, A, B), []), ((A, A, B), [A]), ((0, 0, B), [B]), ((0, A, C), [C])],
)
def test_links_back_in_a_list(prev, wrong):
    told = findings("HEAP63", listed(links={"prev": words(*prev)}))
    assert [finding.address for finding in told] == wrong
    before = {A: 0, B: A, C: B}
    assert [in_text(f.expected) for f in told] == [[before[at]] for at in wrong]
    assert [in_text(f.actual) for f in told] == [[prev[(A, B, C).index(at)]] for at in wrong]


@pytest.mark.parametrize(("prev", "wrong"), [((C, A, B), []), ((0, A, B), [A]), ((B, A, B), [A])])
def test_links_back_in_a_circle(prev, wrong):
    assert found("HEAP63", listed(circular=True, links={"prev": words(*prev)})) == wrong


def test_what_is_before_the_first_chunk_of_a_broken_circle_is_not_known():
    made = listed(circular=True, broken=break_at(C, 0x1), links={"prev": words(B, A, B)})
    assert found("HEAP63", made) == [C]  # the broken link itself


def test_what_is_before_a_chunk_behind_damage_is_not_known():
    made = listed(broken=break_at(A, 0x1), starts=numbers(1), links={"prev": words(0, 0x123, B)})
    assert found("HEAP63", made) == [A]


def test_the_link_back_in_an_overwritten_header_is_not_looked_at():
    assert found("HEAP63", listed(in_a_row((32, USED), (32, BAD), (32, USED)), links={"prev": words(0, 1, B)})) == []


@pytest.mark.parametrize(("prev", "wrong"), [(0, False), (A, False), (1, True)])
def test_the_first_chunk_of_a_segment_may_have_no_link_back(prev, wrong):
    rows = [(A, 32, USED), (FAR, 32, USED)]
    made = heap(rows, [(A, B), (FAR, FAR + 48)], links={"prev": words(0, prev)})
    assert found("HEAP63", made) == [FAR] * wrong


def test_a_chunk_inside_a_segment_needs_its_link_back():
    assert found("HEAP63", three(links={"prev": words(0, 0, B)})) == [B]


def test_a_head_that_leads_nowhere():
    told = findings("HEAP63", listed([], head=0x123450, broken=break_at(None, 0x123450)))
    assert [(finding.subject, finding.address) for finding in told] == [("heap", 0x123450)]


def test_a_link_that_leads_nowhere_and_what_is_seen_in_front_of_it_and_behind():
    rows = in_a_row(*[(32, USED)] * 5)
    made = listed(rows, broken=break_at(B, 0x123450), starts=numbers(2))
    (finding,) = findings("HEAP63", made)
    assert (finding.subject, finding.address, in_text(finding.actual)) == ("chunk", B, [0x123450])
    assert in_text(finding.evidence[-1]) == [2, 3]
    (finding,) = findings("HEAP63", listed(rows, broken=break_at(B, 0x123450)))
    assert in_text(finding.evidence[-1]) == [5, 0]


def test_a_circle_is_told_from_a_link_that_leads_nowhere():
    astray, loop = (
        findings("HEAP63", listed(broken=break_at(C, A, stop)))[0].expected for stop in (Stop.ASTRAY, Stop.LOOP)
    )
    assert (in_text(astray), in_text(loop)) == ([0], [])  # 0 would end it


def test_where_an_overwritten_header_leads_is_a_consequence():
    rows = in_a_row((32, USED), (32, USED), (32, BAD))
    assert found("HEAP63", listed(rows, broken=break_at(C, 0x1))) == []
    assert found("HEAP63", listed(rows, broken=break_at(B, 0x1))) == [B]


# --- HEAP65 and HEAP67: counters, watermark ---------------------------------------------------------------------------

COUNTED = {"used_bytes": 64, "free_bytes": 32, "used_chunks": 2, "free_chunks": 1, "chunks": 3}


@pytest.mark.parametrize("meaning", COUNTED)
@pytest.mark.parametrize("off", [-1, 0, 1])
def test_a_counter_is_what_the_chunks_make(meaning, off):
    told = findings("HEAP65", three(counters=(counter(COUNTED[meaning] + off, meaning, 0x7100),)))
    assert [finding.address for finding in told] == [0x7100] * bool(off)
    assert [in_text(finding.expected) for finding in told] == [[COUNTED[meaning]]] * bool(off)
    assert [f"({off:+d})" in finding.actual for finding in told] == [True] * bool(off)


def marked(current, start=A, end=END):
    """What is said of a watermark: address, and words without the number."""
    mark = Watermark(VirtAddr(start), VirtAddr(current), VirtAddr(end), VirtAddr(0x7000))
    told = findings("HEAP67", heap([], [(A, END)], detail=BumpDetail(), watermark=mark))
    return [(f.address, in_text(f.expected), f.actual.replace(f"{current:#x}", "")) for f in told]


@pytest.mark.parametrize(("current", "wrong"), [(A - 1, True), (A, False), (END, False), (END + 1, True)])
def test_a_watermark_lies_between_start_and_end(current, wrong):
    told = marked(current)
    assert [(address, bounds) for address, bounds, _ in told] == [(0x7000, [A, END])] * wrong


def test_a_watermark_below_the_start_is_told_from_one_beyond_the_end():
    ((_, _, below),), ((_, _, beyond),) = marked(A - 1), marked(END + 1)
    assert below != beyond
    ((_, _, at_an_end_that_is_below_the_start),) = marked(END, start=END + 16)
    assert at_an_end_that_is_below_the_start == below


# --- the words of findings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bad", "beside"), [(0, [B]), (1, [A, C]), (2, [B])])
def test_the_neighbours_of_a_chunk_are_evidence(bad, beside):
    states = [USED] * 3
    states[bad] = BAD
    (finding,) = findings("HEAP61", three(*states, layout={"has_magic": True}))
    assert [in_text(line) for line in finding.evidence[1:]] == [[at, 32] for at in beside]


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"ab", ""), (b"abc", "abc"), (b"ab\0c", ""), (b"abc\0\xff", "abc"), (b"abc\xff", ""), (b"\0abc", ""),
     (b"a c~", "a c~"), (b"ab\x1f", ""), (b"ab\x7f", ""), (b"", "")],
)  # fmt: skip
def test_three_letters_in_a_row_are_text(data, text):
    assert text_in(data) == text


def test_bytes_are_shown_as_text_where_they_are():
    guest = Guest()
    guest.write(BASE, b"\x1f\x20\x7e\x7f")
    assert bytes_around(paged(guest), VirtAddr(BASE), 4) == f"{BASE:#x}: 1f 20 7e 7f  |. ~.|"


def written(data, room=16, at=BASE):
    guest = Guest()
    guest.bytes[:] = 1
    guest.write(at, data)
    return written_over(paged(guest), VirtAddr(at), room)


@pytest.mark.parametrize(
    ("data", "count"),
    [(b"ab\0", None), (b"abc", None), (b"abc\0", 4), (b"abcd", 4), (b"abcd\0", 5), (b"a ~\0", 4), (b"\x1fbcd\0", None),
     (b"bcd\x1f", None), (b"bcd\x7f", None), (b"\x7fbcd\0", None), (b"\xaa" * 3, None), (b"\xaa" * 4, 4),
     (b"\xaa" * 100, 100), (b"\0" * 100, None)],
)  # fmt: skip
def test_how_many_bytes_were_written_by_one_hand(data, count):
    found = written(data)
    assert (found and found.count) == count
    assert found is None or found.whole


@pytest.mark.parametrize(("length", "shown"), [(64, 64), (65, 64)])
def test_so_much_of_a_string_is_shown(length, shown):
    assert TEXT_SHOWN == 64
    what = written(b"x" * length + b"\0").what
    assert what.count("x") == shown
    assert ("..." in what) == (length > shown)


@pytest.mark.parametrize(
    ("offset", "count"),
    [(0, 0x1000), (0x1000 - 17, 17), (0x1000 - 16, 0x1010), (0x1000 - 15, 0x100F)],
)
@pytest.mark.parametrize("byte", [b"\xaa", b"x"])
def test_what_goes_on_beyond_the_page_is_not_looked_at(offset, count, byte):
    """The page where the 16 bytes that are known to be overwritten end, or the next, if they end with it."""
    found = written(byte * 0x3000, at=BASE + offset)
    assert (found.count, found.whole) == (count, False)


def test_where_the_next_page_cannot_be_read_what_is_known_counts():
    guest = Guest(BASE + 0x1000)
    guest.write(BASE + 0xFF0, b"x" * 16)
    found = written_over(paged(guest), VirtAddr(BASE + 0xFF0), 16)
    assert (found.count, found.whole) == (16, False)
    with pytest.raises(MemoryUnavailable):
        written_over(paged(guest), VirtAddr(BASE + 0xFF8), 16)


def test_a_number_of_bytes_that_may_be_more_says_so():
    some, more = written(b"abcd").length, written(b"x" * 0x3000).length
    assert (in_text(some), in_text(more)) == ([4], [0x1000])
    assert some.startswith("4")
    assert not more.startswith("4096")
