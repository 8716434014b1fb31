"""Torn structures of every kind of heap: answered in seconds, by the right rule, with what is sound still shown."""

import random
import time
from contextlib import contextmanager

import pytest

from ..physical.pmm_machine import number
from .heap_machine import HEAPS, HeapMachine, described

WORD = (1 << 64) - 1
PATIENCE = 5.0
HEAP_RULES = {"HEAP00", *(f"HEAP{rule}" for rule in range(60, 71))}

# Of each kind whose chunks have headers: where in a chunk its size stands, and how long a header is.
SIZE_AT = {"list": 8, "next": 8, "avl": 16, "redblack": 16, "tags": 0, "bump": 8}
HEADER = {"list": 32, "next": 32, "avl": 32, "redblack": 32, "tags": 8, "bump": 16}
LISTS = ("list", "next")
TREES = ("avl", "redblack")
NOWHERE = {
    "unmapped": 0xFFFF_C000_7000_0000,
    "non-canonical": 0xDEAD_0000_0000_0000,
    "low": 0x1000,
    "device": 0xFFFF_8000_FEE0_0000,
    "all-ones": WORD,
}
ABSURD = {"2^40": 1 << 40, "negative": WORD - 31, "ones": WORD, "zero": 0}
FILLS = {
    "zeros": bytes,
    "ones": lambda size: b"\xff" * size,
    "random": lambda size: random.Random(size).randbytes(size),
}


@pytest.fixture(scope="module", params=HEAPS)
def heap(request, gcc_kernel):
    """A machine for one kind after the other, and its chunks. What a test tears is mended."""
    kind = request.param
    if not described(kind) or kind not in HEADER:
        pytest.skip(f"the profile does not describe the kind {kind}, or its chunks have no headers")
    with HeapMachine(gcc_kernel, append=f"heap={kind}", memory="32M") as machine:
        assert machine.command("heapcheck")["findings"] == []
        listed = machine.command("heaplist")["heaps"][0]
        yield kind, machine, [(int(c["address"], 16), c["state"], c["size"]) for c in listed["chunks"]]
        assert machine.command("heapcheck")["findings"] == []


@contextmanager
def torn(machine, address, data):
    """Guest memory changed, and put right again."""
    for at in range(0, len(data), 8):
        word = int.from_bytes(data[at : at + 8], "little")
        machine.execute(f"set var *(unsigned long *){address + at:#x} = {word:#x}ul")
    try:
        yield
    finally:
        machine.restore()


def found(machine):
    """What is found, in time."""
    start = time.monotonic()
    answer = machine.command("heapcheck")
    assert time.monotonic() - start < PATIENCE
    assert {finding["id"] for finding in answer["findings"]} <= HEAP_RULES
    return [
        (finding["id"], finding["address"] and int(finding["address"], 16)) for finding in answer["findings"]
    ], answer


def people_are_answered(machine):
    """In no way that shows our own insides."""
    for command in ("heapcheck", "heapstat", "heaplist", "heapchunk kernel_heap.start + 100"):
        assert "Traceback" not in machine.text(command)


def shown(machine):
    """The addresses of the chunks that are still shown."""
    listed = machine.command("heaplist")["heaps"][0]
    return {int(chunk["address"], 16) for chunk in listed["chunks"]}


def in_the_middle(chunks):
    """The number of a used chunk with used neighbours, with many before it."""
    return next(i for i in range(20, len(chunks) - 2) if {c[1] for c in chunks[i - 1 : i + 2]} == {"used"})


def word(value):
    return value.to_bytes(8, "little")


@pytest.mark.parametrize("value", ABSURD)
def test_an_absurd_size(heap, value):
    kind, machine, chunks = heap
    at = in_the_middle(chunks)
    size = ABSURD[value]
    if kind == "tags":
        size = 0x7461670000000001 | size & 0xFFFFFFFFF0
    with torn(machine, chunks[at][0] + SIZE_AT[kind], word(size)):
        findings, answer = found(machine)
        assert findings[0] in {("HEAP60", chunks[at][0]), ("HEAP61", chunks[at][0])}
        assert {rule for rule, _ in findings} <= {"HEAP60", "HEAP61", "HEAP62"}
        beside = " ".join(answer["findings"][0]["evidence"])
        assert f"{chunks[at - 1][0]:#x}" in beside
        assert f"{chunks[at + 1][0]:#x}" in beside
        assert {address for address, *_ in chunks[:at] + chunks[at + 1 :]} <= shown(machine)


@pytest.mark.parametrize("fill", FILLS)
def test_a_torn_header(heap, fill):
    kind, machine, chunks = heap
    at = in_the_middle(chunks)
    with torn(machine, chunks[at][0], FILLS[fill](HEADER[kind])):
        findings, answer = found(machine)
        assert ("HEAP61", chunks[at][0]) in findings or (kind in LISTS and ("HEAP63", chunks[at - 1][0]) in findings)
        beside = " ".join(answer["findings"][0]["evidence"])
        assert f"{chunks[at - 1][0]:#x}" in beside
        assert {address for address, *_ in chunks[:at] + chunks[at + 1 :]} <= shown(machine)


@pytest.mark.parametrize("half", [8, 16, 24])
def test_a_header_half_written(heap, half):
    """Torn: the first words are of one header, the rest of what was there before."""
    kind, machine, chunks = heap
    at = in_the_middle(chunks)
    if half >= HEADER[kind]:
        pytest.skip("a header of this kind is no longer than that")
    with torn(machine, chunks[at][0], b"\xdd" * half):
        findings, _ = found(machine)
        assert findings[0] == ("HEAP61", chunks[at][0])


@pytest.mark.parametrize("fill", FILLS)
def test_the_heaps_own_variables(heap, fill):
    _, machine, _ = heap
    at, size = number(machine, "&kernel_heap.start"), 8 * 12
    with torn(machine, at, FILLS[fill](size)):
        people_are_answered(machine)
        start = time.monotonic()
        answer = machine.command("heapcheck")
        assert time.monotonic() - start < PATIENCE
        assert answer["findings"] or answer["skipped"]


@pytest.mark.parametrize("fill", FILLS)
def test_the_whole_arena(heap, fill):
    _, machine, chunks = heap
    start = chunks[0][0]
    base = number(machine, "kernel_heap.start")
    size = 0x4000 - (start - base)
    with torn(machine, start, FILLS[fill](size & ~7)):
        findings, _ = found(machine)
        assert findings
        people_are_answered(machine)
        behind = {address for address, *_ in chunks if address >= base + 0x8000}
        assert behind <= shown(machine)


def link_of(kind, machine, chunks, at):
    """A link that leads from one chunk to another: where it lies, whose it is, and the rule about it."""
    if kind in LISTS:
        return chunks[at][0] + 16, chunks[at][0], "HEAP63"
    if kind in TREES:
        node = number(machine, "kernel_heap.sorted.tree.root")
        return node, node - 32, "HEAP62"
    bins = number(machine, "&kernel_heap.tags.bin[0]")
    first = next(n for n in range(64) if number(machine, f"kernel_heap.tags.bin[{n}]"))
    node = number(machine, f"*(unsigned long *){bins + 8 * first:#x}")
    return node, node - 8, "HEAP62"


@pytest.mark.parametrize("target", [*NOWHERE, "itself", "before"])
def test_a_link_that_leads_nowhere_or_in_a_circle(heap, target):
    kind, machine, chunks = heap
    if kind == "bump":
        pytest.skip("chunks of this kind have no links")
    if kind not in LISTS and target == "before":
        pytest.skip("a used chunk among those that are free: that is F106")
    at = in_the_middle(chunks)
    place, owner, rule = link_of(kind, machine, chunks, at)
    offset = 0 if kind in LISTS else HEADER[kind]
    target = NOWHERE.get(target) or (owner if target == "itself" else chunks[3][0]) + offset
    with torn(machine, place, word(target)):
        findings, answer = found(machine)
        assert (rule, owner) in findings
        assert {found_rule for found_rule, _ in findings} == {rule}
        assert f"{target - offset:#x}" in str(answer["findings"]) or f"{target:#x}" in str(answer["findings"])
        assert {address for address, *_ in chunks} <= shown(machine)
