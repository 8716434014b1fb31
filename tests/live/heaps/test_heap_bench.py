"""scripts/bench heap: the same figures every time, and what follows from how each kind of heap is made."""

import re

import pytest

from bench.heap import parsed, serial_of
from gdbext.headless import HeadlessError

CHUNKS = {
    "small": 256,
    "mixed": 256,
    "same": 256,
    "queue": 256,
    "stack": 256,
    "ramp": 384,
    "pages": 256,
    "aligned": 256,
    "resize": 256,
}


@pytest.fixture(scope="module")
def serial(gcc_kernel):
    return serial_of(gcc_kernel)


def test_two_boots_count_the_same(gcc_kernel, serial):
    lines = re.findall("^bench .*", serial, re.MULTILINE)
    assert len(lines) > 200
    assert re.findall("^bench .*", serial_of(gcc_kernel), re.MULTILINE) == lines


def test_every_heap_tells_what_must_be_true(serial):
    figures = parsed(serial)
    assert len(figures.kinds) == 10
    asked = {}
    for (kind, work), memory in figures.memory.items():
        assert memory.chunks == CHUNKS[work]
        assert memory.asked <= memory.payload <= memory.committed
        assert asked.setdefault(work, memory.asked) == memory.asked, kind  # the same work for all
        for op in ("alloc", "free"):
            cost = figures.costs[kind, work, op]
            assert cost.failed == 0
            assert 0 < cost.mean <= cost.worst
        assert figures.costs[kind, work, "alloc"].requests == figures.costs[kind, work, "free"].requests
        resized = figures.costs.get((kind, work, "resize"))
        assert (resized.requests, resized.failed) == (4096, 0) if work == "resize" else resized is None


def test_padding_is_that_of_the_kind(serial):
    """48 bytes: a block or a slot of 64, a cache of 48, and 48 where sizes are rounded to 16."""
    same = {kind: figures.padding for (kind, work), figures in parsed(serial).memory.items() if work == "same"}
    assert {kind: same[kind] for kind in ("buddy", "pools")} == pytest.approx({"buddy": 64 / 48, "pools": 64 / 48})
    assert {same[kind] for kind in same if kind not in ("buddy", "pools")} == {1.0}


def test_headers_are_those_of_the_kind(serial):
    """All of the arena is chunks: what is in no payload is a header for each, used or free, and the borders."""
    for (kind, work), memory in parsed(serial).memory.items():
        header = {"list": 32, "next": 32, "avl": 32, "redblack": 32, "tags": 16}.get(kind)
        if header is not None:
            beside = memory.committed - memory.payload - memory.free
            assert beside >= header * memory.chunks
            assert (beside - (16 if kind == "tags" else 0)) % header == 0, (kind, work)


def test_a_watermark_never_looks_for_anything(serial):
    costs = parsed(serial).costs
    assert {costs["bump", work, "free"].mean for work in CHUNKS} == {costs["bump", "same", "free"].worst}


def test_figures_that_are_no_instructions_are_refused(serial):
    with pytest.raises(HeadlessError, match="2001 instructions were counted as 2002"):
        parsed(serial.replace("expected=2001 counted=2001", "expected=2001 counted=2002"))
