"""The map of physical memory and single frames of kernels that know no zones, against their own reports."""

import pytest

from gdbext.headless import CommandFailed

from .truth import SerialReport, frame_of, number

RAM = 64 << 20
VGA_HOLE = 128 << 10
"""QEMU has no RAM from 0xa0000 to 0xc0000."""


@pytest.fixture(params=["threaded", "records"])
def session(request, boot):
    return boot(request.param, memory="64M")


def test_free_memory_is_drawn_as_reported(session):
    report = SerialReport(session.serial())
    frames = session.command("pmmdump", "-map")["map"]
    free = [(int(p["start"], 16), int(p["end"], 16)) for p in frames["pieces"] if p["state"] == "free"]
    assert free == [(run["start"], run["end"]) for run in report.all("run")]
    assert sum(frames["sizes"].values()) == RAM
    assert frames["sizes"]["absent"] == VGA_HOLE
    first, end = free[0]
    assert session.command("pmmframe", f"{first:#x}")["managers"][0]["state"] == "free"
    assert session.command("pmmframe", f"{end:#x}")["managers"][0]["state"] == "used"
    with pytest.raises(CommandFailed, match="no zone 'isa'"):
        session.text("pmmdump -zone isa")


def test_a_mapped_frame_that_is_free(boot):
    session = boot("records", memory="64M")
    frame = frame_of(session, "0xffffc00000000000")
    record = (frame - (1 << 20)) // 4096
    for field, value in (("is_first", 1), ("order", 0), ("prev", 0xFFFFFFFF), ("next", "free_blocks[0]")):
        session.execute(f"set var records[{record}].{field} = {value}")
    session.execute(f"set var free_blocks[0] = {record}")
    found = session.command("pmmframe", f"{frame:#x}")
    assert ("PMM02", frame) in [(f["id"], int(f["address"], 16)) for f in found["findings"]]
    (managed,) = found["managers"]
    assert managed["list"]["place"] == 0
    assert int(managed["list"]["node"], 16) == number(session, f"&records[{record}]")
    assert session.command("pmmdump", "-map")["map"]["sizes"]["free but in use"] == 4096
