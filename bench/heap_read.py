"""How fast heaps are read and checked: against copying their memory once, against gdb.Value in a loop."""

import json
from pathlib import Path

from tabulate import tabulate

from gdbext.headless import Session

ROOT = Path(__file__).resolve().parents[1]


def measured(kernel: Path) -> dict[str, dict[str, float]]:
    """The figures of each image, in a guest of its own."""
    with Session(kernel, memory="1G", append="scenario=idle", timeout=600) as session:
        session.run_to("kernel_ready")
        answer = session.qemu.directory / "figures.json"
        session.execute(f"python import sys; sys.path.insert(0, '{ROOT}')")
        session.execute(f"python from bench import heap_in_gdb; heap_in_gdb.write('{answer}')")
        figures: dict[str, dict[str, float]] = json.loads(answer.read_text())
        return figures


def main(kernel: Path) -> None:
    """Measure and print."""
    figures = measured(kernel)
    leaks = figures.pop("leaks")
    rows = [row(name, f) for name, f in figures.items()]
    headers = ("", "chunks", "copied", "read", "and checked", "peak MB", "gdb.Value", "times")
    print(
        "Inside gdb, guest RAM shared; milliseconds. The loop over gdb.Value is reckoned from its first 5000 turns.\n"
    )
    print(tabulate(rows, headers=headers, tablefmt="plain", floatfmt=".1f"))
    print(
        f"\nLeaks: {leaks['chunks']} chunks in {leaks['bytes'] / (1 << 20):.0f} MiB, each with four pointers: read in "
        f"{leaks['read']:.2f} s, searched in {leaks['search']:.2f} s (peak {leaks['peak'] / 1e6:.0f} MB). To look at "
        f"each word with gdb.Value takes {leaks['by_values']:.0f} s: {leaks['by_values'] / leaks['search']:.0f} times."
    )


def row(name: str, f: dict[str, float]) -> tuple[str | float, ...]:
    """One image's figures."""
    times = [f[key] * 1e3 for key in ("copy", "read", "checked")]
    return (name, f["chunks"], *times, f["peak"] / 1e6, f["by_values"] * 1e3, f["by_values"] / f["checked"])
