"""A heap of each kind beside the kernel's own, and one that rests on it: each described as an instance of its kind."""

import pytest

from ..kernel.test_findings import found, number, poke
from ..serial_report import SerialReport
from .test_heap_kinds import KINDS, NUMBERS

INSTANCES = {"chained": "chained", "objects": "objects", **{kind: f"own_{kind}" for kind in KINDS}}
"""The kernel's names of its heaps, and the profile's."""


@pytest.fixture(params=["list", "tags", "buddy", "slab", "pools", "guard"])
def machine(request, boot):
    return request.param, boot(append=f"scenario=heaps heap={request.param}", memory="64M")


def test_every_heap_is_as_the_kernel_reports(machine):
    kind, session = machine
    names = INSTANCES | {"kernel": KINDS[kind]}
    told = {names[line["name"]]: line for line in SerialReport(session.serial()).all("heap")}
    heaps = {heap["name"]: heap for heap in session.command("heapstat")["heaps"]}
    assert set(heaps) == set(told) == set(names.values())
    for name, line in told.items():
        assert {key: heaps[name][key] for key in NUMBERS} == {key: line[key] for key in NUMBERS}, name
    checks = session.command("heapcheck")
    assert checks["findings"] == []
    assert "HEAP68" in checks["checked"]


def test_memory_below_a_heap_that_is_freed(boot):
    """The chunk that holds the chained heap is freed: its tag says so in front and behind."""
    session = boot(append="scenario=heaps heap=tags", memory="64M")
    (chunk,) = session.command("heapchunk", "chained_heap.start")["chunks"][:1]
    assert chunk["heap"] == "tags"
    header, size = int(chunk["chunk"]["address"], 16), chunk["chunk"]["size"]
    freed = number(session, f"*(unsigned long *){header:#x}") & ~1
    for at in (header, header + 8 + size):
        poke(session, f"*(unsigned long *){at:#x}", freed)
    findings = found(session, "heapcheck", "chained")
    assert findings == [("HEAP68", number(session, "chained_heap.start") + 8)]
