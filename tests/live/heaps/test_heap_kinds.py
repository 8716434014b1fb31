"""Heaps of every kind that the profile describes, read on the reference kernel against its own report; and damaged."""

import pytest

from ..kernel.test_findings import found, poke
from ..serial_report import SerialReport

KINDS = {
    "list": "kernel",
    **{name: name for name in ("next", "tags", "avl", "redblack", "bump", "slab", "pools", "guard", "buddy")},
}
"""The kernel's names, and the profile's."""
NUMBERS = ("chunks", "used_chunks", "free_chunks", "used_bytes", "free_bytes", "largest_free")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scenario", ["workload", "churn seed=3", "fragment"])
def test_heaps_are_as_the_kernel_reports(boot, kind, scenario):
    machine = boot(append=f"scenario={scenario} heap={kind}", memory="64M")
    report = SerialReport(machine.serial())
    told = next(line for line in report.all("heap") if line["name"] == "kernel")
    heap, _ = machine.command("heapstat")["heaps"]
    assert heap["name"] == KINDS[kind]
    assert {name: heap[name] for name in NUMBERS} == {name: told[name] for name in NUMBERS}
    listed, _ = machine.command("heaplist", "-used")["heaps"]
    used = {int(chunk["payload"], 16): chunk["size"] for chunk in listed["chunks"]}
    for chunk in report.all("chunk"):
        assert used[chunk["address"]] >= chunk["size"]
    checks = machine.command("heapcheck")
    assert checks["findings"] == []
    assert not any(skip["partly"] for skip in checks["skipped"])


@pytest.mark.parametrize("scenario", ["workload", "churn seed=3", "heaps"])
def test_caches_are_as_the_kernel_reports(boot, scenario):
    """With `heaps` there are objects of the kernel's own cache too."""
    machine = boot(append=f"scenario={scenario} heap=slab", memory="64M")
    report = SerialReport(machine.serial())
    heaps = {heap["name"]: heap for heap in machine.command("heapstat")["heaps"]}
    for heap, serial_name in ((heaps["slab"], "kernel"), (heaps["objects"], "objects")):
        told = {line["name"]: line for line in report.all("cache") if line["heap"] == serial_name}
        assert {cache["name"] for cache in heap["caches"]} == set(told)
        for cache in heap["caches"]:
            line = told[cache["name"]]
            numbers = {name: line[name] for name in ("used", "full", "partial", "empty")}
            assert {name: cache[name] for name in numbers} == numbers
            if cache["slabs"]:
                assert (cache["size"], cache["stride"]) == (line["size"], line["stride"])
            if not cache["internal"]:
                (listed,) = machine.command("heaplist", heap["name"], "-used", "-cache", cache["name"])["heaps"]
                assert listed["listed"] == line["used"]


def test_pools_are_as_the_kernel_reports(boot):
    machine = boot(append="scenario=churn heap=pools", memory="64M")
    (heap, _) = machine.command("heapstat")["heaps"]
    told = {line["size"]: line for line in SerialReport(machine.serial()).all("class")}
    seen = {cache["stride"]: cache for cache in heap["caches"] if cache["slabs"]}
    assert set(seen) == {size for size, line in told.items() if line["pools"]}
    for size, cache in seen.items():
        assert (cache["slabs"], cache["used"], cache["free"]) == tuple(told[size][n] for n in ("pools", "used", "free"))


@pytest.fixture(params=["tags", "avl", "redblack"])
def victim(request, boot):
    """A machine to be damaged; its kind of heap, its chunks, and the number of a used one between used ones."""
    machine = boot(append=f"scenario=workload heap={request.param}", memory="64M")
    listed, _ = machine.command("heaplist")["heaps"]
    chunks = [(int(c["address"], 16), c["size"], c["state"]) for c in listed["chunks"]]
    used = next(i for i in range(2, len(chunks) - 2) if {c[2] for c in chunks[i - 1 : i + 2]} == {"used"})
    return machine, request.param, chunks, used


def test_a_header_overwritten(victim):
    machine, kind, chunks, used = victim
    poke(machine, f"*(unsigned long *){chunks[used][0]:#x}", "0x4141414141414141")
    if kind != "tags":
        poke(machine, f"*(unsigned long *){chunks[used][0] + 16:#x}", "0x4141414141414141")
    assert found(machine, "heapcheck") == [("HEAP61", chunks[used][0])]
    listed, _ = machine.command("heaplist")["heaps"]
    assert len(listed["chunks"]) == len(chunks)


def test_a_free_chunk_that_nobody_finds(victim):
    machine, kind, *_ = victim
    if kind == "tags":
        number = next(n for n in range(64) if int(machine.execute(f"output/d kernel_heap.tags.bin[{n}] != 0")))
        poke(machine, f"kernel_heap.tags.bin[{number}]", "0")
    else:
        poke(machine, "kernel_heap.sorted.tree.root", "0")
        poke(machine, "kernel_heap.sorted.tree.count", "0")
    assert {rule for rule, _ in found(machine, "heapcheck")} == {"HEAP62"}


def test_bytes_that_nobody_may_write(boot):
    """Used after it was freed; one byte beyond the end; one in front of the beginning."""
    machine = boot(append="scenario=workload heap=tags redzone=1", memory="64M")
    listed, _ = machine.command("heaplist")["heaps"]
    free = next(c for c in listed["chunks"] if c["state"] == "free" and c["size"] > 64)
    used = next(c for c in listed["chunks"] if c["state"] == "used")
    zone, payload = f"(*(struct heap_redzone *) {used['payload']})", int(used["payload"], 16)
    front, size = (int(machine.execute(f"output/d {zone}.{name}")) for name in ("front", "size"))
    spoilt = (
        (free, int(free["payload"], 16) + 40, "after it was freed"),
        (used, payload + front + size, "beyond its end"),
        (used, payload + front - 1, "wrote before its start"),
    )
    for chunk, at, cause in spoilt:
        before = int(machine.execute(f"output/d *(unsigned char *){at:#x}"))
        poke(machine, f"*(unsigned char *){at:#x}", "1")
        (finding,) = machine.command("heapcheck")["findings"]
        assert (finding["id"], finding["address"]) == ("HEAP64", chunk["address"])
        assert f"{at:#x}" in finding["actual"]
        assert cause in finding["cause"]
        poke(machine, f"*(unsigned char *){at:#x}", str(before))
    assert machine.command("heapcheck")["findings"] == []


def test_a_chunk_is_found_by_any_address_in_it(boot):
    machine = boot(append="scenario=workload heap=avl", memory="64M")
    listed, _ = machine.command("heaplist")["heaps"]
    chunks = listed["chunks"]
    for i in (0, 1, len(chunks) - 1):
        header, payload = int(chunks[i]["address"], 16), int(chunks[i]["payload"], 16)
        for at, part, offset in (
            (header, "header", 0),
            (payload - 1, "header", payload - 1 - header),
            (payload, "payload", 0),
            (payload + chunks[i]["size"] - 1, "payload", chunks[i]["size"] - 1),
        ):
            (found_there,) = machine.command("heapchunk", f"{at:#x}")["chunks"]
            assert (found_there["part"], found_there["offset"]) == (part, offset)
            assert found_there["chunk"] == chunks[i]
            assert found_there["before"] == (chunks[i - 1] if i else None)
            assert found_there["behind"] == (chunks[i + 1] if i + 1 < len(chunks) else None)
            header_bytes = bytes.fromhex(found_there["bytes"][0]["hex"].replace(" ", ""))
            assert int.from_bytes(header_bytes[:8], "little") == 0x454C4954454C4954 ^ header
    assert machine.command("heapchunk", "kernel_heap.end")["chunks"] == []


def test_free_chunks_as_they_are_found(boot):
    machine = boot(append="scenario=workload heap=tags", memory="64M")
    (whole, _), (found_by, _) = (machine.command("heaplist", *options)["heaps"] for options in (("-free",), ("-bins",)))
    by_address = {c["address"]: c for c in whole["chunks"]}
    assert {c["address"]: c for c in found_by["chunks"]} == by_address
    numbers = [int(c["on"].removeprefix("list ")) for c in found_by["chunks"]]
    assert numbers == sorted(numbers)
    for number in set(numbers):
        first = next(c for c, n in zip(found_by["chunks"], numbers, strict=True) if n == number)
        assert int(machine.execute(f"output/d (long) kernel_heap.tags.bin[{number}]")) & (1 << 64) - 1 == int(
            first["payload"], 16
        )
