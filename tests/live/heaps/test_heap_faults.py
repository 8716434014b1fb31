"""Every fault of heaps that the reference kernel can inject, with every kind of heap: its rule, at its place, alone.

A fault that a kind cannot have must be refused with the reason that stands here.
"""

import re
from dataclasses import dataclass, field

import pytest

from ..physical.pmm_machine import number
from .heap_machine import HEAPS, HeapMachine

HEADERS = ("list", "next", "tags", "avl", "redblack", "bump")
NO_HEADERS = "chunks of this heap have no headers"
NO_LISTS = "this heap finds free chunks by walking over all of them"
NO_SLABS = "this heap has no slabs"
NO_FREE_LIST = "a bitmap says which slots are free"


@dataclass(frozen=True)
class Fault:
    """The rule that is broken, words that the likely cause has; who refuses, by reason; what else may be found."""

    rule: str
    cause: str
    refused: dict[str, tuple[str, ...]] = field(default_factory=dict)
    besides: tuple[str, ...] = ()

    def refusal(self, kind):
        return next((why for why, kinds in self.refused.items() if kind in kinds), None)


def all_but(*kinds):
    return tuple(kind for kind in HEAPS if kind not in kinds)


IN_HEADERS = {NO_HEADERS: all_but(*HEADERS)}
IN_LISTS = {NO_LISTS: all_but("tags", "avl", "redblack")}
NO_FENCES = "the kernel was booted without redzones"
FAULTS = {
    100: Fault("HEAP61", r"was overrun by 24 bytes: .* 'tail of one long string'", IN_HEADERS),
    101: Fault("HEAP60", "its size was overwritten", IN_HEADERS),
    102: Fault("HEAP60", "its size was overwritten", IN_HEADERS),
    103: Fault("HEAP61", "the header at .* was overwritten", IN_HEADERS),
    104: Fault(
        "HEAP62",
        "did not merge it|were not merged",
        {
            "this heap merges nothing": ("bump", "slab", "pools", "guard"),
        },
    ),
    105: Fault("HEAP62", "inserted or removed|never", IN_LISTS),
    106: Fault("HEAP62", "", {NO_LISTS: all_but("next", "tags", "avl", "redblack")}),
    107: Fault(
        "HEAP63",
        "a link was overwritten|without updating both",
        {
            "this heap keeps no pointer to its last chunk": ("tags", "bump", "buddy", "slab", "pools", "guard"),
        },
    ),
    108: Fault("HEAP64", "wrote beyond its end", {NO_FENCES: HEAPS}),
    109: Fault("HEAP64", "wrote before its start", {NO_FENCES: all_but("guard")}),
    110: Fault(
        "HEAP64",
        "after it was freed",
        {
            "what was freed is not there any more, so a write to it faults at once": ("guard",),
        },
    ),
    111: Fault("HEAP65", "lost update"),
    112: Fault("HEAP66", "lost update", {NO_SLABS: all_but("slab", "pools")}),
    113: Fault("HEAP66", "an object of cache .* was freed to cache", {NO_SLABS: all_but("slab")}),
    114: Fault("HEAP66", "was not moved", {NO_SLABS: all_but("slab", "pools")}),
    115: Fault("HEAP66", "overwritten", {NO_SLABS: all_but("slab", "pools"), NO_FREE_LIST: ("pools",)}),
    116: Fault("HEAP66", "freed twice", {NO_SLABS: all_but("slab", "pools"), NO_FREE_LIST: ("pools",)}),
    # Up to the mark there should be memory, and chunks.
    117: Fault("HEAP67", "a sum that wrapped", {"this heap has no mark": all_but("bump")}, ("HEAP61", "HEAP69")),
    118: Fault(
        "HEAP68",
        "freed or shrunk",
        {
            "this heap takes the memory of large chunks away when they are freed": ("slab", "pools", "guard"),
        },
    ),
    119: Fault("HEAP69", "pages were freed"),
    121: Fault("HEAP60", "its size was overwritten", IN_HEADERS),
}


@pytest.fixture(scope="module", params=HEAPS)
def rig(request, gcc_kernel):
    """A machine for one kind after the other, healthy when it is first seen."""
    with HeapMachine(gcc_kernel, append=f"scenario=workload heap={request.param}", memory="32M") as machine:
        assert machine.command("memcheck")["findings"] == []
        yield request.param, machine


@pytest.fixture(scope="module", params=all_but("guard"))
def fenced(request, gcc_kernel):
    """The same with fences around payloads."""
    with HeapMachine(gcc_kernel, append=f"scenario=workload heap={request.param} redzone=1", memory="32M") as machine:
        assert machine.command("memcheck")["findings"] == []
        yield request.param, machine


def check(machine, expected, fault):
    findings = machine.command("heapcheck")["findings"]
    first = next((f for f in findings if f["id"] == expected.rule), None)
    others = [f["id"] for f in findings if f is not first]
    assert first is not None, findings
    assert set(others) <= set(expected.besides), findings
    assert first["severity"] == "error"
    assert int(first["address"], 16) == number(machine, "fault_done.where"), findings
    assert re.search(expected.cause, first["cause"]), findings
    assert first["evidence"] or expected.rule in ("HEAP65", "HEAP67", "HEAP68", "HEAP69") or first["subject"] == "node"


def injected(machine, fault, why=None):
    """Have the kernel break something, or refuse to for this reason; whether it did."""
    said = machine.inject(fault)
    if why is not None:
        assert f"fault: F{fault} not injected: {why}\n" in said
        assert number(machine, "fault_done.number") == 0
        return False
    assert f"fault: F{fault} injected at " in said, said
    return True


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"F{fault}")
def test_fault(rig, fault):
    kind, machine = rig
    try:
        if injected(machine, fault, FAULTS[fault].refusal(kind)):
            check(machine, FAULTS[fault], fault)
    finally:
        machine.restore()


@pytest.mark.parametrize("fault", [108, 109, 110], ids=lambda fault: f"F{fault}")
def test_fault_with_fences(fenced, fault):
    _, machine = fenced
    try:
        assert injected(machine, fault)
        check(machine, FAULTS[fault], fault)
    finally:
        machine.restore()


def test_a_lost_pointer(rig):
    """F120. The kernel keeps the complement of the address, or it would not be lost."""
    _, machine = rig
    try:
        assert machine.command("heapcheck", "-leaks")["findings"] == []
        assert injected(machine, 120)
        (finding,) = machine.command("heapcheck", "-leaks")["findings"]
        assert (finding["id"], finding["severity"]) == ("HEAP70", "warning")
        assert int(finding["address"], 16) == number(machine, "fault_done.where") ^ ((1 << 64) - 1)
    finally:
        machine.restore()


def test_every_fault_of_the_kernel_is_here(rig):
    _, machine = rig
    count = number(machine, "sizeof(faults) / sizeof(faults[0])")
    numbers = {number(machine, f"faults[{i}].number") for i in range(count)}
    assert {fault for fault in numbers if fault >= 100} == {*FAULTS, 120}
