"""The map of the reference kernel's heaps: its amounts are those of the kernel's own report, and damage shows."""

import pytest

from ..kernel.test_findings import poke
from ..serial_report import SerialReport
from .test_heap_kinds import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_amounts_are_as_the_kernel_reports(boot, kind):
    machine = boot(append=f"scenario=churn seed=3 heap={kind}", memory="64M")
    (told,) = (line for line in SerialReport(machine.serial()).all("heap") if line["name"] == "kernel")
    drawn = machine.command("heaplist", KINDS[kind], "-map")["heaps"][0]
    assert drawn["sizes"]["used"] == told["used_bytes"]
    assert drawn["sizes"].get("free", 0) == told["free_bytes"]
    assert drawn["chunks"] == told["chunks"]
    assert drawn["outside"] == 0
    start, end = int(drawn["start"], 16), int(drawn["end"], 16)
    assert sum(drawn["sizes"].values()) == end - start
    assert not {"in two chunks", "unknown", "used, not mapped", "not the heap's"} & set(drawn["sizes"])
    if kind in ("list", "next", "tags", "avl", "redblack"):
        (stat,) = machine.command("heapstat", KINDS[kind])["heaps"]
        assert drawn["sizes"]["overhead"] == stat["overhead"]
    text = machine.text(f"heaplist {KINDS[kind]} -map")
    for state in drawn["sizes"]:
        assert f" {state} " in text


def test_damage_shows(boot):
    machine = boot(append="scenario=workload heap=tags", memory="64M")
    listed = machine.command("heaplist", "tags")["heaps"][0]["chunks"]
    chunk = next(one for one in listed[1:] if one["state"] == "used")
    poke(machine, f"*(unsigned long *){chunk['address']}", "0x4141414141414141")
    drawn = machine.command("heaplist", "tags", "-map")["heaps"][0]
    at = drawn["begins"].index(chunk["address"])
    assert drawn["states"][at] == "unknown"
    assert drawn["sizes"]["unknown"] == 8 + chunk["size"] + 8
    assert "?" in machine.text("heaplist tags -map").split("\n\n")[1]
