"""The eight physical managers of the reference kernel, against what it reports of each over serial."""

import shlex
import subprocess

import pytest

from ...building import make
from ..conftest import ROOT, TARGET
from ..serial_report import SerialReport
from .pmm_machine import MANAGERS, skipped_of_pmm

FRAME = 4096
HOLES = "map=0x800800,0x800,2 map=0x900000,0x800,2 map=0x1600000,0x10000,2 map=0x2000000,0x723000,4"

WORKLOADS = [
    ("scenario=idle", "16M"),
    ("scenario=workload seed=5", "256M"),
    (f"scenario=churn seed=3 {HOLES}", "64M"),
]
MORE_WORKLOADS = [
    ("scenario=workload seed=11", "16M"),
    ("scenario=fragment", "64M"),
    ("scenario=grow seed=2", "64M"),
    ("scenario=exhaust", "32M"),
    (f"scenario=exhaust seed=9 {HOLES}", "64M"),
    ("scenario=churn seed=8", "256M"),
]


def cases(managers, workloads, *marks):
    return [
        pytest.param(f"pmm={name} {append}", memory, marks=marks, id=f"{name}-{append.split(' map')[0]}-{memory}")
        for name in managers
        for append, memory in workloads
    ]


@pytest.mark.parametrize(
    ("append", "memory"),
    cases(MANAGERS, WORKLOADS)
    + cases(MANAGERS, MORE_WORKLOADS, pytest.mark.deep)
    + cases(("bitmap", "buddy"), [("scenario=workload", "6G")], pytest.mark.deep),
)
def test_a_manager_is_as_the_kernel_reports(boot, append, memory):
    check(boot(append=append, memory=memory))


@pytest.mark.parametrize("manager", ["pages", "buddy"])
def test_with_the_other_compiler(boot, manager):
    make("CC=clang")
    check(boot(TARGET / "build/clang/kernel.elf", append=f"pmm={manager}", memory="64M"))


@pytest.mark.parametrize("manager", [m if m == "stack" else pytest.param(m, marks=pytest.mark.deep) for m in MANAGERS])
def test_without_records_of_frames(boot, manager):
    make("CC=gcc", "BARE=1")
    check(boot(TARGET / "build/gcc-bare/kernel.elf", append=f"pmm={manager} {HOLES}", memory="64M"))


def check(machine):
    report = SerialReport(machine.serial())
    (found,) = machine.command("pmmstat")["managers"]
    (dump,) = machine.command("pmmdump")["managers"]
    answer = machine.command("memcheck")
    assert answer["findings"] == []
    assert skipped_of_pmm(answer) == []
    check_totals(found, report.one("pmm"))
    check_zones(found, report)
    check_parts(found, dump, report)
    check_stretches(dump, report)


def check_totals(found, told):
    assert found["name"] == told["name"]
    assert found["total"] == told["frames"]
    assert found["used"] == told["used"] == told["recount"]
    for ours, theirs in (
        ("free", "free"),
        ("reserved", "reserved"),
        ("largest_run", "largest_run"),
        ("free_runs", "runs"),
    ):
        assert found[ours] == told[theirs], ours
    assert {c["name"]: c["value"] for c in found["counters"]} == {k: told[k] for k in ("used", "reserved")}
    assert not found["in_flux"]
    assert found["unseen"] is None
    if "bitmap" in told:
        assert int(found["at"], 16) == told["bitmap"]
        assert found["hint"] == told["hint"]


def check_zones(found, report):
    def figures(zone):
        return (zone["name"], int(zone["start"], 16), int(zone["end"], 16), zone["free"], zone["largest_run"])

    assert [figures(zone) for zone in found["zones"]] == [
        (zone["name"], zone["first"] * FRAME, zone["end"] * FRAME, zone["free"], zone["largest_run"])
        for zone in report.all("zone")
    ]


def check_parts(found, dump, report):
    """The parts, by the lines that this manager has: regions, levels, lists, orders."""
    parts = [(p["name"], p["frames"], p["free"], p["blocks"], p["at"] and int(p["at"], 16)) for p in found["parts"]]
    told = report.all
    match found["name"]:
        case "bitmap":
            assert parts == []
        case "levels":
            assert parts == []
            assert int(found["at"], 16) == told("level")[0]["bits"]
        case "regions":
            assert [(int(name, 16), frames, frames - free, at) for name, frames, free, _, at in parts] == [
                (r["first"] * FRAME, r["frames"], r["used"], r["bits"]) for r in told("region")
            ]
        case "runs":
            (line,) = told("runs")
            assert [(blocks, at) for _, _, _, blocks, at in parts] == [(line["count"], line["first"])]
        case "stack" | "pages" as kind:
            assert [(name, free, at or 0) for name, _, free, _, at in parts] == [
                (line["zone"], line["count"], line["top"]) for line in told(kind)
            ]
        case "buddy":
            assert [(int(name), free, blocks, at or 0) for name, _, free, blocks, at in parts] == [
                (o["number"], o["blocks"] << o["number"], o["blocks"], o["first"]) for o in told("order")
            ]
        case "tree":
            blocks = {int(name): blocks for name, _, _, blocks, _ in parts if blocks}
            assert blocks == {o["number"]: o["blocks"] for o in told("order") if o["blocks"]}
    check_lists(dump, {name: (free, blocks) for name, _, free, blocks, _ in parts})


def check_lists(dump, parts):
    """Each list in its order: as many nodes, and as many frames, as the part has."""
    for listed in dump["lists"]:
        assert listed["broken"] is None
        assert (sum(run["frames"] for run in listed["runs"]), listed["nodes"]) == parts[listed["name"]]


def check_stretches(dump, report):
    spans = {
        state: [(int(s["start"], 16), int(s["end"], 16)) for s in dump["stretches"] if s["state"] == state]
        for state in ("free", "used")
    }
    assert sum(end - start for start, end in spans["free"]) == report.one("pmm")["free"] * FRAME
    assert sum(end - start for start, end in spans["used"]) == report.one("pmm")["used"] * FRAME
    for frame in report.all("frame"):
        assert any(start <= frame["number"] * FRAME < end for start, end in spans["used"])
    for kept in report.all("reserved"):
        assert not any(start < kept["base"] + kept["length"] and kept["base"] < end for start, end in spans["free"])


def test_batch_run():
    """The command that the documents show, for a manager that is not the default."""
    command = ["scripts/run", "--append", "pmm=stack", "--batch", "pmmstat"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, shlex.join(command) + "\n" + done.stderr
    assert "stack" in done.stdout
    assert "isa" in done.stdout
