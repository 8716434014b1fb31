"""The reference kernel's heap of buddies: with fences, and with damage in its tree."""

import pytest

from ..kernel.test_findings import found, number, poke
from ..serial_report import SerialReport
from .test_heap_kinds import NUMBERS


def test_with_fences_it_is_as_the_kernel_reports(boot):
    session = boot(append="scenario=churn seed=3 heap=buddy redzone=1", memory="64M")
    told = next(line for line in SerialReport(session.serial()).all("heap") if line["name"] == "kernel")
    (heap,) = session.command("heapstat", "buddy")["heaps"]
    assert {name: heap[name] for name in NUMBERS} == {name: told[name] for name in NUMBERS}
    answer = session.command("heapcheck", "buddy")
    assert answer["findings"] == []
    assert {"HEAP60", "HEAP62", "HEAP64", "HEAP65", "HEAP69"} <= set(answer["checked"])


@pytest.fixture
def session(boot):
    return boot(append="scenario=churn seed=3 heap=buddy", memory="64M")


def node_of(session, chunk):
    """The node of a block, by the kernel's own numbers, as an expression; and its height."""
    size, origin = chunk["size"], number(session, "kernel_heap.buddy.origin")
    height = (size // number(session, "BUDDY_SMALLEST")).bit_length() - 1
    first = 1 << number(session, "kernel_heap.buddy.height") - height
    return first + (int(chunk["address"], 16) - origin) // size, height


def test_a_larger_free_block_that_is_not_merged(session):
    """Its halves stay whole: its byte says that there are two blocks of half the size."""
    listed = session.command("heaplist", "buddy", "-free")["heaps"][0]["chunks"]
    chunk = next(one for one in listed if one["size"] > 64)
    node, height = node_of(session, chunk)
    byte = f"kernel_heap.buddy.nodes[{node}]"
    assert number(session, byte) == height + 1
    poke(session, byte, height)
    at = number(session, f"&{byte}")
    findings = [f for f in session.command("heapcheck", "buddy")["findings"] if f["id"] == "HEAP62"]
    assert [int(f["address"], 16) for f in findings] == [at]
    assert f"{height + 1} for the block of {chunk['size']} bytes at {chunk['address']}" in findings[0]["expected"]
    assert f"whose halves have {height} and {height}" in findings[0]["expected"]
    assert "not merged" in findings[0]["cause"]


def test_a_byte_that_is_none(session):
    used = session.command("heaplist", "buddy", "-used")["heaps"][0]["chunks"][0]
    node, _ = node_of(session, used)
    poke(session, f"kernel_heap.buddy.nodes[{node}]", "200")
    assert ("HEAP62", number(session, f"&kernel_heap.buddy.nodes[{node}]")) in found(session, "heapcheck", "buddy")


@pytest.mark.parametrize("height", [200, 0])
def test_a_height_that_cannot_be(session, height):
    poke(session, "kernel_heap.buddy.height", height)
    assert found(session, "heapcheck", "buddy") == [("HEAP00", None)]
    assert "Traceback" not in session.text("heaplist -map")
