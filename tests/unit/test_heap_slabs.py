"""Heaps of slabs in a made-up guest: what plain loops wrote is what is read, and each damage is found where it is."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gdbext.heap.slab import slabs_of as slabs_of_heap
from gdbext.heap.snapshot import HeapSnapshot
from gdbext.structures.chain import Stop

from ..budget import examples
from .heap_guest import COUNTERS, Kernel, compiled

CAPACITY, FIRST_SLAB, SLAB_STEP, HEADER = 8, 0x40000, 0x1000, 96
CACHES, NAMES, PAGES = 0x30000, 0x38000, 0x3A000
STRIDES = (64, 48)
END, USED = 0xFFFE, 0xFFFF
SLAB = (
    'kind = "slab"\nnext = "next"\nprev = "prev"\ncache = "cache"\nobjects = "objects"\nused = "used"\n'
    'magic = { expr = "magic", equals = "0x51ab ^ (unsigned long)self" }\n'
    'segments = { start = "start", end = "end" }\n' + COUNTERS
)
WHERE = (
    '[heap.it.caches]\nhead = "caches"\nnext = "next"\nname = "name"\nstride = "stride"\ncapacity = "capacity"\n'
    'used = "used"\nlists = [{ head = "full", holds = "full", length = "full_count" },'
    ' { head = "partial", holds = "partial", length = "partial_count" },'
    ' { head = "empty", holds = "empty", length = "empty_count" }]\n'
)
RUNS = (
    '[heap.it.runs]\nentries = "pages"\ncount = "page_count"\nbase = "start"\nfirst = "state == 1"\nlength = "pages"\n'
    'slab = "slab"\nowner = "slab"\n'
)
FORMS = {
    "numbers": f'numbers = {{ first = "free", next = "next_free", end = {END}, used = {USED} }}\n',
    "links": 'links = { first = "first", node = "unsigned long", next = "*self" }\n',
    "behind": 'links = { first = "first", node = "unsigned long", next = "*self ^ key", at = "cache->stride - 8",'
    ' leads_to = "link" }\n',
    "bits": 'bits = { at = "&bits", used = 0 }\n',
}


@pytest.fixture(scope="module")
def symbols(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("heaps"))


class Slabs(Kernel):
    """A kernel with two caches; each slab is (number of its cache, numbers of its free objects in the list's order)."""

    def __init__(self, symbols, form, slabs):
        super().__init__(symbols, SLAB + FORMS[form] + WHERE + RUNS)
        self.form = form
        self.slabs = slabs
        self.put("caches", CACHES)
        self.put("key", 0x5A5A if form == "behind" else 0)
        self.put("end", FIRST_SLAB + SLAB_STEP * max(1, len(slabs)))
        self.put("start", FIRST_SLAB)
        self.put("pages", PAGES)
        self.put("page_count", len(slabs))
        for number in range(len(slabs)):
            self._slab(number)
        for cache in (0, 1):
            self._cache(cache)
        tiles = [(STRIDES[c], n in free) for c, free in slabs for n in range(CAPACITY)]
        self.count(tiles)

    def header(self, number):
        """Behind the objects of every second slab, in front of the others'."""
        return FIRST_SLAB + SLAB_STEP * number + (0x800 if number % 2 else 0)

    def object(self, number, n):
        cache = self.slabs[number][0]
        return FIRST_SLAB + SLAB_STEP * number + (0 if number % 2 else 256) + n * STRIDES[cache]

    def link(self, number, n):
        """What leads to an object."""
        if n is None:
            return 0 if self.form == "links" else 0x5A5A
        stride = STRIDES[self.slabs[number][0]]
        return self.object(number, n) if self.form == "links" else (self.object(number, n) + stride - 8) ^ 0x5A5A

    def _slab(self, number):
        cache, free = self.slabs[number]
        at, used = self.header(number), CAPACITY - len(free)
        mine = [i for i, (c, f) in enumerate(self.slabs) if c == cache and self._state(f) == self._state(free)]
        place = mine.index(number)
        following = self.header(mine[place + 1]) if place + 1 < len(mine) else 0
        before = self.header(mine[place - 1]) if place else 0
        first = self.link(number, free[0] if free else None) ^ (0x5A5A if self.form == "behind" else 0)
        bits = sum(1 << n for n in free)
        self.fields(
            at, CACHES + 0x100 * cache, following, before, self.object(number, 0), used, 0x51AB ^ at, first, bits
        )
        table = [USED] * 15
        for n, after in zip(free, [*free[1:], END][: len(free)], strict=True):
            table[n] = after
            stride = STRIDES[cache]
            link = self.link(number, None if after == END else after)
            self.fields(self.object(number, n) + (stride - 8 if self.form == "behind" else 0), link)
        self.write(at + 64, np.array([free[0] if free else END, *table], dtype="<u2").tobytes())
        self.fields(PAGES + 24 * number, 1, 1, at)

    @staticmethod
    def _state(free):
        return "empty" if len(free) == CAPACITY else "partial" if free else "full"

    def _cache(self, cache):
        mine = {state: [] for state in ("full", "partial", "empty")}
        for number, (c, free) in enumerate(self.slabs):
            if c == cache:
                mine[self._state(free)].append(self.header(number))
        self.write(NAMES + 16 * cache, b"red\0" if cache == 0 else b"green\0")
        used = sum(CAPACITY - len(free) for c, free in self.slabs if c == cache)
        heads, counts = ([f(m) for m in mine.values()] for f in (lambda m: m[0] if m else 0, len))
        following = CACHES + 0x100 if cache == 0 else 0
        self.fields(
            CACHES + 0x100 * cache, NAMES + 16 * cache, STRIDES[cache], CAPACITY, used, *heads, *counts, following
        )


slabs_of = st.lists(
    st.tuples(st.integers(0, 1), st.permutations(range(CAPACITY)), st.integers(0, CAPACITY)).map(
        lambda t: (t[0], list(t[1][: t[2]]))
    ),
    max_size=12,
)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.too_slow])
@given(slabs=slabs_of)
def test_what_was_written_is_read(symbols, form, slabs):
    kernel = Slabs(symbols, form, slabs)
    heap = kernel.read()
    assert isinstance(heap, HeapSnapshot)
    expected = {kernel.object(s, n): n in free for s, (_, free) in enumerate(slabs) for n in range(CAPACITY)}
    assert dict(zip(heap.chunks.payload.tolist(), heap.chunks.free.tolist(), strict=True)) == expected
    assert kernel.found() == []
    assert {"HEAP60", "HEAP61", "HEAP65", "HEAP66"} <= set(kernel.report().checked)


SOME = [(0, [3, 1, 6]), (0, []), (1, [0, 7, 2, 5]), (1, list(range(CAPACITY))), (0, [2, 4])]
"""Slabs 0, 2 and 4 are partial, 1 is full, 3 empty."""


@pytest.fixture(params=FORMS)
def kernel(request, symbols):
    made = Slabs(symbols, request.param, SOME)
    assert made.found() == []
    return made


@pytest.fixture(params=["links", "behind", "numbers"])
def linked(request, symbols):
    return Slabs(symbols, request.param, SOME)


def point(kernel, slab, n, to):
    """Make the link in a free object lead to another, or, if that is text, hold it. Where it stands."""
    if kernel.form == "numbers":
        at = kernel.header(slab) + 66 + 2 * n
        kernel.write(at, to if isinstance(to, bytes) else to.to_bytes(2, "little"))
        return at
    at = kernel.object(slab, n) + (STRIDES[SOME[slab][0]] - 8 if kernel.form == "behind" else 0)
    kernel.write(at, to if isinstance(to, bytes) else kernel.link(slab, to).to_bytes(8, "little"))
    return at


def test_an_object_freed_twice(linked):
    point(linked, 2, 7, 0)  # 0 -> 7 -> 0
    assert linked.found() == [("HEAP66", linked.object(2, 0))]
    (finding,) = linked.report().findings
    assert "freed twice" in finding.cause
    assert linked.read().unseen is not None


def test_an_object_that_is_its_own_successor(linked):
    point(linked, 0, 3, 3)
    assert linked.found() == [("HEAP66", linked.object(0, 3))]


def test_a_link_overwritten_with_text(linked):
    at = point(linked, 0, 1, b"overrun!"[: 2 if linked.form == "numbers" else 8])
    assert linked.found() == [("HEAP66", at)]
    (finding,) = linked.report().findings
    if linked.form == "links":
        assert "overwritten with text: 'overrun!'" in finding.cause


def test_an_object_of_another_cache(linked):
    """Freed to slab 0 of red: an object of green's slab 2, which is told by name."""
    if linked.form == "numbers":
        number = (linked.object(2, 4) - linked.object(0, 0)) // STRIDES[0]
        point(linked, 0, 6, number)
    else:
        linked.slabs = [*SOME[:2], (0, SOME[2][1]), *SOME[3:]] if linked.form == "behind" else SOME
        at = linked.object(0, 6) + (STRIDES[0] - 8 if linked.form == "behind" else 0)
        there = FIRST_SLAB + 2 * SLAB_STEP + 256 + 4 * STRIDES[1]
        linked.fields(at, there ^ (0x5A5A if linked.form == "behind" else 0))
        linked.slabs = SOME
    (finding,) = linked.report().findings
    assert finding.id == "HEAP66"
    assert "an object of cache green was freed to cache red" in finding.cause


def test_a_list_cut_short(symbols):
    numbers = Slabs(symbols, "numbers", SOME)
    point(numbers, 0, 1, END)
    numbers.fields(numbers.header(0) + 32, CAPACITY - 2)
    assert ("HEAP66", numbers.object(0, 6)) in numbers.found()


def test_a_count_of_used_objects(kernel):
    kernel.fields(kernel.header(2) + 32, 3)
    assert kernel.found() == [("HEAP66", kernel.header(2))]


def test_a_cache_that_counts_wrong(kernel):
    kernel.fields(CACHES + 0x100 + 24, 99)
    assert kernel.found() == [("HEAP66", CACHES + 0x100 + 24)]


def test_a_list_that_counts_wrong(kernel):
    kernel.fields(CACHES + 64, 3)
    assert kernel.found() == [("HEAP66", CACHES + 64)]


def test_a_slab_on_the_wrong_list(kernel):
    """The full slab of red hangs with the empty ones."""
    kernel.fields(CACHES + 32, 0)
    kernel.fields(CACHES + 48, kernel.header(1), 0)
    kernel.fields(CACHES + 72, 1)
    assert kernel.found() == [("HEAP66", kernel.header(1))]
    (finding,) = kernel.report().findings
    assert "the list of empty slabs of cache red" in finding.actual


def test_a_slab_on_no_list(kernel):
    kernel.fields(CACHES + 32, 0, kernel.header(0), 0, 0)
    assert kernel.found() == [("HEAP66", kernel.header(1))]


def test_a_slab_that_names_another_cache(kernel):
    kernel.fields(kernel.header(1), CACHES + 0x100)
    assert kernel.found() == [("HEAP66", kernel.header(1))]
    (finding,) = kernel.report().findings
    assert finding.actual == "it names cache green"


def test_a_link_back(kernel):
    kernel.fields(kernel.header(4) + 16, kernel.header(2))
    assert kernel.found() == [("HEAP66", kernel.header(4))]


def test_a_list_of_slabs_in_a_circle(kernel):
    kernel.fields(kernel.header(4) + 8, kernel.header(0))
    assert ("HEAP66", kernel.header(4)) in kernel.found()
    assert len(kernel.read().chunks) == CAPACITY * len(SOME)


@pytest.mark.parametrize("both", [False, True], ids=["one", "both"])
def test_a_list_that_leads_through_strangers_into_another(symbols, both):
    """What names no cache is no slab, and what it leads to is still on the list that it is on."""
    kernel = Slabs(symbols, "numbers", [(0, [3]), (0, [1, 2]), (1, [4]), (1, [5, 6]), (1, list(range(CAPACITY)))])
    strangers = 0x60000, 0x61000
    kernel.fields(strangers[0], 0xDEAD, strangers[1], 0)
    kernel.fields(strangers[1], 0xBEEF, kernel.header(2), 0)
    for last in (1, 3) if both else (1,):
        kernel.fields(kernel.header(last) + 8, strangers[0])
    slabs = slabs_of_heap(kernel.read())
    lists = {(one.cache, one.holds): one for one in slabs.lists}
    headers = {place: slabs.header[one.members].tolist() for place, one in lists.items() if len(one.members)}
    assert headers == {
        (0, "partial"): [kernel.header(0), kernel.header(1)],
        (1, "partial"): [kernel.header(2), kernel.header(3)],
        (1, "empty"): [kernel.header(4)],
    }
    assert slabs.cache.tolist() == [0, 0, 1, 1, 1]
    astray = {
        place: (one.broken.stop, one.broken.source, one.broken.target) for place, one in lists.items() if one.broken
    }
    expected = {(0, "partial"): (Stop.ASTRAY, kernel.header(1), strangers[0])}
    if both:
        expected[1, "partial"] = (Stop.ASTRAY, kernel.header(3), strangers[0])
    assert astray == expected


def test_a_list_whose_last_slab_names_no_cache(symbols):
    """With what follows that cannot be read, it is no slab; with nothing that follows it is one that was written to."""
    kernel = Slabs(symbols, "numbers", [(0, [3]), (0, [1, 2])])
    kernel.put("page_count", 0)
    kernel.fields(kernel.header(1), 0xDEAD)
    assert len(slabs_of_heap(kernel.read()).header) == 2
    kernel.fields(kernel.header(1) + 8, 0x7000_0000)
    slabs = slabs_of_heap(kernel.read())
    assert slabs.header.tolist() == [kernel.header(0)]
    assert [one.broken.stop for one in slabs.lists if one.broken] == [Stop.ASTRAY]


def test_a_link_out_of_memory(kernel):
    kernel.fields(kernel.header(0) + 8, 0x7FFF_0000_0000)
    found = kernel.found()
    assert ("HEAP66", kernel.header(0)) in found
    assert len(kernel.read().chunks) == CAPACITY * len(SOME)  # the records of pages lead to the rest


def test_a_header_overwritten(kernel):
    kernel.write(kernel.header(2), b"A" * 64)
    assert [rule for rule, address in kernel.found() if address == kernel.header(2)] == ["HEAP61"]
    assert len(kernel.read().chunks) == CAPACITY * (len(SOME) - 1)


def test_records_of_pages(kernel):
    kernel.fields(PAGES + 24 * 2, 0, 0, 0)
    assert kernel.found() == [("HEAP66", kernel.header(2))]


def test_a_run_of_pages_that_is_too_long(kernel):
    kernel.fields(PAGES + 24 * 1, 1, 3)
    assert ("HEAP60", PAGES + 24) in kernel.found()


WORDS = st.one_of(
    st.integers(0, (1 << 64) - 1),
    st.sampled_from([0, (1 << 64) - 1, 1 << 40, 1 << 63, FIRST_SLAB, CACHES, PAGES, NAMES]),
)
PLACES = st.one_of(
    st.integers(0, 5 * SLAB_STEP // 8 - 1).map(lambda n: FIRST_SLAB + 8 * n),
    st.integers(0, 0x200 // 8 - 1).map(lambda n: CACHES + 8 * n),
    st.integers(0, 14).map(lambda n: PAGES + 8 * n),
)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=examples(120), suppress_health_check=[HealthCheck.too_slow])
@given(pokes=st.lists(st.tuples(PLACES, WORDS), max_size=8))
def test_whatever_memory_holds(symbols, form, pokes):
    kernel = Slabs(symbols, form, SOME)
    for at, value in pokes:
        kernel.fields(at, value)
    kernel.found_in_anything()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("fill", [0, 0xFF, "random"])
def test_memory_full_of_one_thing(symbols, form, fill):
    kernel = Slabs(symbols, form, SOME)
    size = kernel.bytes[0x30000:].shape
    kernel.bytes[0x30000:] = np.random.default_rng(1).integers(0, 256, size) if fill == "random" else fill
    heap = kernel.read()
    if isinstance(heap, HeapSnapshot):
        kernel.found()
        assert not len(heap.chunks)
