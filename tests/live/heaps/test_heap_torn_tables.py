"""Torn tables of the kinds of heap whose chunks have no headers: slabs, pools, records of pages, a tree of bytes."""

from typing import Any

import pytest

from ..physical.pmm_machine import number
from .heap_machine import HeapMachine
from .test_heap_torn import FILLS, found, people_are_answered, shown, torn


def slab(machine):
    """The header of a slab of a general cache."""
    for size in range(4, 15):
        for holds in ("full", "partial"):
            if first := number(machine, f"kernel_heap.slab.sizes[{size}].{holds}.first"):
                return first
    raise AssertionError("no general cache has a slab")


def pool(machine):
    return next(at for size in range(11) if (at := number(machine, f"kernel_heap.pools.open[{size}]")))


LEAF = "(1ul << kernel_heap.buddy.height) + (kernel_heap.start - kernel_heap.buddy.origin) / 32 + 256"
PLACES: dict[tuple[str, str], tuple[Any, int, set[str]]] = {
    ("slab", "header"): (slab, 40, {"HEAP66", "HEAP60"}),
    ("slab", "cache"): ("&kernel_heap.slab.sizes[6].size", 64, {"HEAP66", "HEAP60"}),
    ("slab", "runs"): ("&kernel_heap.slab.runs.pages[8]", 64, {"HEAP60", "HEAP66"}),
    ("pools", "header"): (pool, 40, {"HEAP61", "HEAP66"}),
    ("pools", "runs"): ("&kernel_heap.pools.runs.pages[8]", 64, {"HEAP60", "HEAP66"}),
    ("guard", "runs"): ("&kernel_heap.guard.runs.pages[8]", 64, {"HEAP65"}),
    ("buddy", "top"): ("kernel_heap.buddy.nodes", 64, {"HEAP62"}),
    ("buddy", "leaves"): (f"&kernel_heap.buddy.nodes[{LEAF}]", 64, {"HEAP62"}),
}
"""Where each table lies, how much of it is torn, and the rules that may be broken then.

A guarded run whose record is lost is missing, and nothing else tells of it but the counters.
"""


@pytest.fixture(scope="module")
def heap(request, gcc_kernel):
    with HeapMachine(gcc_kernel, append=f"heap={request.param}", memory="32M") as machine:
        assert machine.command("heapcheck")["findings"] == []
        yield request.param, machine, shown(machine)
        assert machine.command("heapcheck")["findings"] == []


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize(("heap", "table"), PLACES, indirect=["heap"])
def test_a_torn_table(heap, table, fill):
    """The rule is told, and most of the chunks are still shown: of pools, those of the list that breaks off are not."""
    kind, machine, before = heap
    place, size, rules = PLACES[kind, table]
    at = number(machine, place) if isinstance(place, str) else place(machine)
    with torn(machine, at, FILLS[fill](size)):
        findings, _ = found(machine)
        assert rules & {rule for rule, _ in findings}
        people_are_answered(machine)
        assert len(shown(machine) & before) > len(before) / 2
