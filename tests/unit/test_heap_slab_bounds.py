"""HEAP66 at, below and above its bounds: slabs made by hand, of two caches, red at 0x30000 and green at 0x30100."""

import numpy as np
import pytest

from gdbext.heap.slab import NOBODY, CacheFound, ListFound, SlabDetail, Slabs
from gdbext.heap.slab_objects import ASTRAY, USED, Free, FreeBreak, Shape, laid_out
from gdbext.structures.chain import Break, Stop
from gdbext.units import VirtAddr

from .made_heaps import counter, findings, flags, found, heap, in_text, numbers, page_runs, words

RED, GREEN = 0, 1
CACHES = (0x30000, 0x30100)
STRIDE, CAPACITY = 64, 8


def at(*slabs):
    """Where the headers of slabs are, by number."""
    return [0x50000 + 0x100 * slab for slab in slabs]


def first_of(slab):
    """Where the objects of a slab are: a page for each."""
    return 0x60000 + 0x1000 * slab


def made(free, *, cache=RED, first=None, strides=STRIDE, capacity=CAPACITY, lists=(), runs=None, counted=(None, None),
         breaks=(), missed=(), segments=(), run=None, **more):  # fmt: skip
    """A heap of slabs, of which so many objects are ``free`` in each; ``lists`` are those that slabs are on."""
    count = len(free)
    shape = Shape(
        words(*(first or (first_of(slab) for slab in range(count)))),
        np.broadcast_to(numbers(strides), count) if np.ndim(strides) == 0 else numbers(*strides),
        np.broadcast_to(numbers(capacity), count) if np.ndim(capacity) == 0 else numbers(*capacity),
    )
    on = np.full(count, NOBODY)
    for number, one in enumerate(lists):
        on[one.members] = number
    known = {
        "caches": tuple(
            CacheFound(name, VirtAddr(address), False, used)
            for name, address, used in zip(("red", "green"), CACHES, counted, strict=True)
        ),
        "lists": tuple(lists),
        "header": words(*at(*range(count))),
        "cache": np.full(count, cache) if np.ndim(cache) == 0 else numbers(*cache),
        "back": None,
        "on": on,
        "run": np.zeros(count, dtype=np.int64) if run is None else numbers(*run),
        "marked": np.ones(count, dtype=np.bool_),
        "sound": np.ones(count, dtype=np.bool_),
        "shape": shape,
        "size": shape.stride,
        "used": None,
        "objects": laid_out(shape.first, shape.stride, shape.capacity),
        "free": Free(numbers(*free), tuple(breaks), numbers(*missed)),
        "chunk": numbers(),
    } | more  # fmt: skip
    return heap([], segments, layout={"has_magic": True}, detail=SlabDetail(page_runs=runs, slabs=Slabs(**known)))


def slab_list(*members, holds="any", cache=RED, back=None, broken=None, length=None):
    back = None if back is None else words(*back)
    return ListFound(cache, holds, VirtAddr(0x7000), numbers(*members), back, broken, length)


def broken(source, target=0x123450, why="no slab is there"):
    return Break(Stop.ASTRAY, None if source is None else VirtAddr(source), VirtAddr(target), why)


# --- headers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("marked", "sound", "rules"), [(True, True, []), (True, False, ["HEAP66"]), (False, False, ["HEAP61"])]
)
def test_a_header_that_cannot_be_and_one_without_its_magic(marked, sound, rules):
    slabs = made([0, 0], marked=flags(True, marked), sound=flags(True, sound))
    for rule in ("HEAP61", "HEAP66"):
        assert found(rule, slabs) == at(1) * (rule in rules)
    if rules == ["HEAP66"]:
        assert in_text(findings("HEAP66", slabs)[0].actual) == [first_of(1), STRIDE]


@pytest.mark.parametrize(
    ("cache", "back", "wrong"),
    [
        (RED, CACHES[RED], False),
        (GREEN, CACHES[GREEN], False),
        (RED, CACHES[GREEN], True),
        (RED, CACHES[RED] + 1, True),
        (NOBODY, 0x1234, False),  # no list has it, nor does any cache know it
    ],
)
def test_a_slab_names_its_cache(cache, back, wrong):
    slabs = made([0], cache=[cache], back=words(back))
    told = findings("HEAP66", slabs)
    assert [finding.address for finding in told] == at(0) * wrong
    assert [("green" in f.actual, in_text(f.actual)) for f in told] == [
        (back == CACHES[GREEN], [] if back == CACHES[GREEN] else [back])
    ] * wrong
    assert found("HEAP66", made([0], cache=[cache], back=words(back), marked=flags(False), sound=flags(False))) == []


# --- lists of slabs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "wrong"), [(1, True), (2, False), (3, True)])
def test_a_list_counts_its_slabs(value, wrong):
    told = findings("HEAP66", made([0, 0], lists=[slab_list(0, 1, length=counter(value))]))
    assert [(f.address, in_text(f.expected), in_text(f.actual)) for f in told] == [(0x7100, [2], [value])] * wrong


def test_the_length_of_a_list_that_breaks_off_is_not_judged():
    torn = slab_list(0, 1, length=counter(9), broken=broken(at(1)[0]))
    assert found("HEAP66", made([0, 0], lists=[torn])) == at(1)


def test_a_list_that_breaks_off_at_a_slab_or_at_once():
    (finding,) = findings("HEAP66", made([0, 0], lists=[slab_list(0, 1, broken=broken(at(1)[0]))]))
    assert (finding.subject, finding.address, in_text(finding.actual)) == ("slab", at(1)[0], [0x123450])
    assert [in_text(line)[0] for line in finding.evidence] == [at(1)[0], 2]  # the last slab, and how many there are
    (finding,) = findings("HEAP66", made([], lists=[slab_list(broken=broken(None))]))
    assert (finding.subject, finding.address) == ("list", 0x7000)
    assert [in_text(line) for line in finding.evidence] == [[0]]


def test_where_an_overwritten_header_leads_is_a_consequence():
    torn = [slab_list(0, 1, broken=broken(at(1)[0]))]
    assert found("HEAP66", made([0, 0], lists=torn, sound=flags(True, False), marked=flags(True, False))) == []
    assert found("HEAP66", made([0, 0], lists=torn, sound=flags(False, True), marked=flags(False, True))) == at(1)


def test_a_link_that_was_overwritten_with_text():
    torn = broken(at(0)[0], int.from_bytes(b"overrun!", "little"))
    (finding,) = findings("HEAP66", made([0], lists=[slab_list(0, broken=torn)]))
    assert "overrun!" in finding.cause


@pytest.mark.parametrize(
    ("back", "wrong", "beside"),
    [
        ((0, at(0)[0], at(1)[0]), [], []),
        ((at(2)[0], at(0)[0], at(1)[0]), [0], [0, 1]),
        ((0, 0, at(1)[0]), [1], [0, 1, 2]),
        ((0, at(0)[0], at(0)[0]), [2], [1, 2]),
    ],
)
def test_links_back_between_slabs(back, wrong, beside):
    told = findings("HEAP66", made([0, 0, 0], lists=[slab_list(0, 1, 2, back=back)]))
    assert [finding.address for finding in told] == at(*wrong)
    for finding in told:
        assert in_text(finding.expected) == ([0] if wrong == [0] else at(wrong[0] - 1))
        assert in_text(finding.actual) == [back[wrong[0]]]
        assert [in_text(line)[0] for line in finding.evidence] == at(*beside)


def test_the_link_back_in_an_overwritten_header_is_not_looked_at():
    torn = {"sound": flags(True, False), "marked": flags(True, False)}
    assert found("HEAP66", made([0, 0], lists=[slab_list(0, 1, back=(0, 0x1))], **torn)) == []


# --- free objects -----------------------------------------------------------------------------------------------------


def astray(slab, link, source=None, number=ASTRAY, place=0x7700):
    return FreeBreak(slab, source, number, link, place)


@pytest.mark.parametrize(("source", "before"), [(None, []), (2, [2, first_of(1) + 2 * STRIDE])])
def test_an_object_that_comes_twice_on_a_list(source, before):
    slabs = made([0, 3], breaks=[FreeBreak(1, source, 5, 0, 0x7700)])
    (finding,) = findings("HEAP66", slabs)
    assert (finding.subject, finding.address) == ("object", first_of(1) + 5 * STRIDE)
    assert in_text(finding.actual) == [*before, 5]
    assert [in_text(line)[0] for line in finding.evidence] == [at(1)[0], 3]


def test_object_0_may_come_twice_too():
    assert found("HEAP66", made([1], breaks=[FreeBreak(0, 0, 0, 0, 0x7700)])) == [first_of(0)]


def test_a_link_to_no_free_object_of_its_slab():
    (finding,) = findings("HEAP66", made([1], breaks=[astray(0, 0x123456, source=2)]))
    assert (finding.subject, finding.address) == ("slab", 0x7700)
    assert in_text(finding.actual) == [2, 0x123456]
    (first,) = findings("HEAP66", made([1], breaks=[astray(0, 0x123456)]))
    assert in_text(first.actual) == [0x123456]
    (used,) = findings("HEAP66", made([1], breaks=[astray(0, 3, number=USED)]))
    assert in_text(used.actual) == []
    assert used.cause != first.cause


def cause_of(link, **more):
    """The likely cause of a link of slab 0 that leads nowhere, beside a slab 1 of green."""
    (finding,) = findings("HEAP66", made([1, 0], cache=(RED, GREEN), breaks=[astray(0, link)], **more))
    return finding.cause


NO_IDEA = cause_of(0x123456)


@pytest.mark.parametrize(
    ("link", "in_green"),
    [
        (first_of(1), True),
        (first_of(1) - 1, False),
        (first_of(1) + CAPACITY * STRIDE - 1, True),
        (first_of(1) + CAPACITY * STRIDE, False),
        (first_of(0) + 1, False),  # the slab itself: between two of its objects
        ((first_of(1) - first_of(0)) // STRIDE, True),  # as the number of an object, counted from slab 0 on
        ((first_of(1) - first_of(0)) // STRIDE - 1, False),
        ((first_of(1) - first_of(0)) // STRIDE + CAPACITY - 1, True),
        ((first_of(1) - first_of(0)) // STRIDE + CAPACITY, False),
    ],
)
def test_an_object_of_another_slab_on_a_list(link, in_green):
    cause = cause_of(link)
    assert ("green" in cause) == in_green
    assert (f"{at(1)[0]:#x}" in cause) == in_green
    assert (cause == NO_IDEA) != in_green


@pytest.mark.parametrize(("offset", "in_green"), [(-1, False), (0, True), (8 * 63 - 1, True), (8 * 63, False)])
def test_objects_may_begin_and_end_at_odd_addresses(offset, in_green):
    odd = first_of(1) + 1
    assert ("green" in cause_of(odd + offset, first=(first_of(0), odd), strides=63)) == in_green


def test_a_number_of_an_object_is_below_four_gibi():
    most = (1 << 32) - 1
    for link, in_green in ((most, True), (most + 1, False)):
        far = first_of(0) + link * STRIDE
        assert ("green" in cause_of(link, first=(first_of(0), far))) == in_green


def test_a_link_that_is_no_number_is_not_taken_for_one():
    """Slab 1 begins right behind the only object of slab 0."""
    beside = (first_of(0), first_of(0) + STRIDE)
    assert cause_of(1 << 40, first=beside, capacity=1) == NO_IDEA
    assert "green" in cause_of(1, first=beside, capacity=1)


def test_what_a_number_leads_to_may_lie_beyond_all_addresses():
    high = 0xFFFF_FFFF_FFFF_0000
    assert cause_of((1 << 32) - 1, first=(high, first_of(1))) == NO_IDEA
    wraps = (first_of(1) - high & (1 << 64) - 1) // STRIDE
    assert "green" in cause_of(wraps, first=(high, first_of(1)))


def test_a_link_in_an_object_that_was_overwritten_with_text():
    assert "abc" in cause_of(int.from_bytes(b"abc", "little"))
    assert "overrun!" in cause_of(int.from_bytes(b"overrun!", "little"))
    assert cause_of(int.from_bytes(b"ab", "little")) == NO_IDEA


def test_free_objects_that_a_list_does_not_lead_to_are_told_once_for_each_slab():
    told = findings("HEAP66", made([1, 1, 1], missed=(3, 5, CAPACITY + 2)))
    assert [f.address for f in told] == [first_of(0) + 3 * STRIDE, first_of(1) + 2 * STRIDE]
    assert [in_text(f.actual) for f in told] == [[3], [2]]


# --- counts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("used", "wrong"), [(5, False), (4, True), (6, True)])
def test_a_slab_counts_its_used_objects(used, wrong):
    told = findings("HEAP66", made([0, 3], used=numbers(8, used)))
    assert [(f.address, in_text(f.expected), in_text(f.actual)) for f in told] == [(at(1)[0], [5], [used])] * wrong


def test_what_a_damaged_slab_counts_is_not_judged():
    torn = {"sound": flags(False), "marked": flags(False)}
    assert found("HEAP66", made([3], used=numbers(0), **torn)) == []
    assert found("HEAP66", made([3], used=numbers(0), breaks=[astray(0, 0x1, number=USED)])) == [0x7700]


@pytest.mark.parametrize(("value", "wrong"), [(12, True), (13, False), (14, True)])
def test_a_cache_counts_the_used_objects_of_its_slabs(value, wrong):
    slabs = made([3, 8, 0], cache=(RED, GREEN, RED), counted=(counter(value), counter(0, address=0x7200)))
    told = findings("HEAP66", slabs)
    assert [(f.address, in_text(f.expected), in_text(f.actual)) for f in told] == [(0x7100, [13], [value])] * wrong


@pytest.mark.parametrize("cache", [RED, GREEN])
def test_what_a_cache_counts_is_judged_where_all_of_its_slabs_are_seen(cache):
    counted = (counter(99), None) if cache == RED else (None, counter(99))
    slabs = {"cache": (RED, GREEN), "counted": counted}
    assert found("HEAP66", made([0, 0], **slabs)) == [0x7100]
    for slab in (0, 1):
        sound = flags(slab != 0, slab != 1)
        judged = slab != cache
        assert found("HEAP66", made([0, 0], sound=sound, marked=sound, **slabs)) == [0x7100] * judged
        torn = [slab_list(slab, cache=(RED, GREEN)[slab], broken=broken(at(slab)[0]))]
        assert found("HEAP66", made([0, 0], lists=torn, **slabs)) == [*at(slab), *[0x7100] * judged]


# --- places -----------------------------------------------------------------------------------------------------------

FULL, ALMOST_FULL, ALMOST_EMPTY, EMPTY = 0, 1, CAPACITY - 1, CAPACITY


@pytest.mark.parametrize(
    ("holds", "fitting"),
    [
        ("full", {FULL}),
        ("partial", {ALMOST_FULL, ALMOST_EMPTY}),
        ("empty", {EMPTY}),
        ("room", {ALMOST_FULL, ALMOST_EMPTY, EMPTY}),
        ("any", {FULL, ALMOST_FULL, ALMOST_EMPTY, EMPTY}),
    ],
)
@pytest.mark.parametrize("free", [FULL, ALMOST_FULL, ALMOST_EMPTY, EMPTY])
def test_the_list_of_a_slab_is_that_for_its_free_objects(holds, fitting, free):
    told = findings("HEAP66", made([free], lists=[slab_list(0, holds=holds)]))
    assert [finding.address for finding in told] == at(0) * (free not in fitting)
    assert [in_text(f.expected) for f in told] == [[CAPACITY - free, CAPACITY]] * (free not in fitting)
    # A slab on no list belongs on this one if it fits there.
    assert found("HEAP66", made([free], lists=[slab_list(holds=holds)])) == at(0) * (free in fitting)


def test_a_slab_on_no_list_belongs_on_one_of_its_own_cache():
    assert found("HEAP66", made([0], lists=[slab_list(cache=GREEN)])) == []
    assert found("HEAP66", made([0], lists=[slab_list(cache=GREEN), slab_list()])) == at(0)


def test_a_slab_on_no_list_may_be_behind_where_one_of_its_cache_breaks_off():
    torn = slab_list(holds="empty", broken=broken(None))
    assert found("HEAP66", made([0], lists=[slab_list(), torn])) == [0x7000]
    other = slab_list(cache=GREEN, broken=broken(None))
    assert found("HEAP66", made([0], lists=[slab_list(), other])) == [0x7000, *at(0)]


def test_the_list_of_a_damaged_slab_is_not_judged():
    torn = {"sound": flags(False), "marked": flags(False)}
    assert found("HEAP66", made([FULL], lists=[slab_list(0, holds="empty")], **torn)) == []


# --- pages ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("run", "wrong"), [((0, 1), []), ((NOBODY, 1), [0]), ((0, NOBODY), [1])])
def test_a_slab_has_pages(run, wrong):
    runs = page_runs((0x9000, first_of(0), 1, 1, at(0)[0]), (0x9018, first_of(1), 1, 1, at(1)[0]))
    assert found("HEAP66", made([0, 0], runs=runs, run=run)) == at(*wrong)
    assert found("HEAP66", made([0, 0], run=run)) == []  # without records of pages nothing is known
    torn = {"sound": flags(False, False), "marked": flags(False, False)}
    assert found("HEAP66", made([0, 0], runs=runs, run=run, **torn)) == []


@pytest.mark.parametrize("owned", [(True, True), (True, False), (False, True)])
def test_all_records_of_a_slab_name_it(owned):
    runs = page_runs(
        (0x9000, first_of(0), 1, 1, at(0)[0]), (0x9018, first_of(1), 1, 1, at(1)[0]), owned=owned
    )  # fmt: skip
    told = findings("HEAP66", made([0, 0], runs=runs, run=(0, 1)))
    wrong = [number for number in (0, 1) if not owned[number]]
    assert [(f.subject, f.address) for f in told] == [("run", 0x9000 + 24 * number) for number in wrong]
    assert [in_text(f.expected) for f in told] == [at(number) for number in wrong]
