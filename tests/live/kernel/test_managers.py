"""Physical manager and heap of the running reference kernel, against what it reports of itself over serial."""

import pytest

from ..serial_report import SerialReport

WORKLOADS = [
    ("scenario=idle", "16M"),
    ("scenario=workload", "256M"),
    ("scenario=workload seed=7", "64M"),
    ("scenario=fragment", "64M"),
    ("scenario=grow", "64M"),
    ("scenario=churn seed=3", "128M"),
    ("scenario=exhaust", "32M"),
    ("scenario=heaps", "64M"),
    ("scenario=workload", "6G"),
]


@pytest.fixture(params=WORKLOADS, ids=[f"{append}-{memory}" for append, memory in WORKLOADS])
def machine(request, boot):
    append, memory = request.param
    return boot(append=append, memory=memory)


def spans(manager, state):
    return [(int(s["start"], 16), int(s["end"], 16)) for s in manager["stretches"] if s["state"] == state]


def test_managers_are_as_the_kernel_reports(machine):
    report = SerialReport(machine.serial())
    check_frames(machine, report)
    check_heap(machine, report)
    assert machine.command("memcheck")["findings"] == []


def check_frames(machine, report):
    told = report.one("pmm")
    (manager,) = machine.command("pmmstat")["managers"]
    assert manager["total"] == told["frames"]
    assert manager["used"] == told["recount"] == told["used"]
    assert manager["free"] == told["free"]
    assert manager["reserved"] == told["reserved"]
    assert manager["hint"] == told["hint"]
    assert manager["largest_run"] == told["largest_run"]
    assert int(manager["at"], 16) == told["bitmap"]
    (dump,) = machine.command("pmmdump")["managers"]
    free, used = spans(dump, "free"), spans(dump, "used")
    assert sum(end - start for start, end in free) == told["free"] * 4096
    assert sum(end - start for start, end in used) == told["used"] * 4096
    for frame in report.all("frame"):
        assert any(start <= frame["number"] * 4096 < end for start, end in used)
    for reserved in report.all("reserved"):
        first, end = reserved["base"], reserved["base"] + reserved["length"]
        assert not any(start < end and first < stop for start, stop in free)


def check_heap(machine, report):
    (told,) = (line for line in report.all("heap") if line["name"] == "kernel")
    (heap,) = machine.command("heapstat", "kernel")["heaps"]
    for ours, theirs in (
        ("chunks", "chunks"),
        ("used_chunks", "used_chunks"),
        ("free_chunks", "free_chunks"),
        ("used_bytes", "used_bytes"),
        ("free_bytes", "free_bytes"),
        ("largest_free", "largest_free"),
    ):
        assert heap[ours] == told[theirs], ours
    (segment,) = heap["segments"]
    assert (int(segment["start"], 16), int(segment["end"], 16)) == (told["start"], told["end"])
    (listed,) = machine.command("heaplist", "kernel", "-used")["heaps"]
    used = {int(chunk["payload"], 16): chunk["size"] for chunk in listed["chunks"]}
    ledger = [chunk for chunk in report.all("chunk") if chunk["heap"] == "kernel"]
    for chunk in ledger:
        assert used[chunk["address"]] >= chunk["size"]
    assert len(used) == told["used_chunks"] >= len(ledger)


def test_the_heap_list_can_be_narrowed_and_sorted(boot):
    machine = boot(memory="64M")
    whole, free, used, by_size = (
        machine.command("heaplist", "kernel", *options)["heaps"][0]
        for options in ((), ("-free",), ("-used",), ("-sort", "size"))
    )
    assert free["listed"] + used["listed"] == whole["listed"] == whole["total"]
    assert {chunk["state"] for chunk in free["chunks"]} == {"free"}
    sizes = [chunk["size"] for chunk in by_size["chunks"]]
    assert sizes == sorted(sizes, reverse=True)
    assert sorted(c["address"] for c in by_size["chunks"]) == sorted(c["address"] for c in whole["chunks"])


def test_multiboot_1(boot, gcc_kernel):
    machine = boot(gcc_kernel.with_name("kernel-mb1.elf"), memory="64M")
    report = SerialReport(machine.serial())
    check_frames(machine, report)
    check_heap(machine, report)
    assert machine.command("memcheck")["findings"] == []
