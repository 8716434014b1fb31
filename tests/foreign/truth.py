"""What a foreign kernel says of itself, from its shadow, and what gdbext says of it."""

from ..live.serial_report import SerialReport


def check_frames(session):
    """The free frames by the kernel's report and by gdbext are the same; the kernel's report."""
    report = SerialReport(session.serial())
    told = report.one("frames")
    (manager,) = session.command("pmmstat")["managers"]
    assert manager["name"] == "frames"
    assert (manager["free"], manager["free_runs"], manager["largest_run"]) == (
        told["free"],
        told["runs"],
        told["largest_run"],
    )
    assert told["runs"] > 20, "a workload that leaves frames in few pieces shows little"
    assert free_stretches(session) == [(run["start"], run["end"]) for run in report.all("run")]
    return report


def free_stretches(session):
    """The stretches of free frames as pmmdump has them."""
    (dump,) = session.command("pmmdump")["managers"]
    return [(int(s["start"], 16), int(s["end"], 16)) for s in dump["stretches"] if s["state"] == "free"]


def found(session, command="memcheck"):
    """What is found, as rule and address, in order."""
    findings = session.command(command)["findings"]
    return [(finding["id"], finding["address"] and int(finding["address"], 16)) for finding in findings]


def number(session, expression):
    """The value of an expression of gdb's."""
    return int(session.execute(f"output/d (long)({expression})").strip()) & (1 << 64) - 1


def frame_of(session, expression):
    """The physical address of the frame behind a virtual address."""
    return int(session.command("vmwalk", expression)["physical"], 16) & ~0xFFF
