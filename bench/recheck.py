"""What it costs to ask a rule again at the next stop: when nothing that it reads has changed, and when one page has."""

import json
import statistics
from pathlib import Path
from typing import Any

from tabulate import tabulate

from gdbext.headless import Session

ROOT = Path(__file__).resolve().parents[1]
HEADERS = (
    *("rule", "pages", "alone", "nothing changed", "a page changed", "at most"),
    *("processor: alone", "nothing", "a page", "memcheck / nothing", "/ a page"),
)


def measured(kernel: Path) -> dict[str, Any]:
    """The figures of each rule, in a guest of 1 GiB."""
    with Session(kernel, memory="1G", append="scenario=idle pmm=bitmap", timeout=600) as session:
        session.run_to("kernel_ready")
        answer = session.qemu.directory / "figures.json"
        session.execute(f"python import sys; sys.path.insert(0, '{ROOT}')")
        session.execute(f"python from bench import recheck_in_gdb; recheck_in_gdb.write('{answer}')")
        figures: dict[str, Any] = json.loads(answer.read_text())
        return figures


def main(kernel: Path) -> None:
    """Measure and print."""
    figures = measured(kernel)
    (session, _), (monitor, _), everything = (figures["stop"][name] for name in ("session", "monitor", "all"))
    rules = {name: f for name, f in figures["rules"].items() if f["checked"]}
    print("Measured inside gdb, a guest of 1 GiB whose RAM is shared; milliseconds, medians: by the clock, with a new")
    print("session each, and of gdb's processor. By the clock:")
    print(
        f"  a session alone {session * 1e3:.2f}, of which QEMU's monitor takes {monitor * 1e3:.2f} to say what is RAM"
    )
    print(f"  all rules in a session that remembers nothing {everything[0] * 1e3:.1f}")
    print(f"of the processor {everything[1] * 1e3:.1f}, to which the last two columns compare.\n")
    rows = [row(name, f, everything[1]) for name, f in rules.items()]
    print(tabulate(rows, headers=HEADERS, tablefmt="plain", floatfmt=("", ".0f", *[".2f"] * 7, ".0f", ".0f")))
    left_out = [name for name in figures["rules"] if name not in rules]
    print(f"\nNot looked at in this guest: {' '.join(left_out)}")


def row(name: str, f: dict[str, Any], everything: float) -> tuple[str | float, ...]:
    """One rule's figures: by the clock, and of the processor."""
    pages = [statistics.median(each) for each in zip(*f["changed"], strict=True)]
    most = max(clock for clock, _ in f["changed"])
    clock, processor = zip(f["alone"], f["same"], pages, strict=True)
    times = [seconds * 1e3 for seconds in (*clock, most, *processor)]
    return (name, f["frames"], *times, everything / f["same"][1], everything / pages[1])
