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


def check_chunks(session, least=20):
    """The chunks of the one heap, and their figures, are as the kernel reports; its report."""
    report = SerialReport(session.serial())
    told = {state: report.all(state) for state in ("used", "free")}
    assert min(len(told["used"]), len(told["free"])) > least
    assert chunks(session) == sorted((c["address"], c["size"], state) for state in told for c in told[state])
    (heap,) = session.command("heapstat")["heaps"]
    for state, those in told.items():
        assert heap[f"{state}_chunks"] == len(those)
        assert heap[f"{state}_bytes"] == sum(chunk["size"] for chunk in those)
    return report


def chunks(session, *options):
    """Payload, its size and state of what heaplist lists, by address."""
    (heap,) = session.command("heaplist", *options)["heaps"]
    return sorted((int(chunk["payload"], 16), chunk["size"], chunk["state"]) for chunk in heap["chunks"])


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
