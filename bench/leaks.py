"""How often `heapcheck -leaks` errs on the reference kernel: its reports held against the kernel's word."""

import re
from collections.abc import Iterator
from pathlib import Path

from tabulate import tabulate

from gdbext.headless import Session

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "leaks.md"
BEGIN, END = "<!-- leaks -->\n", "<!-- end -->"
KINDS = ("list", "next", "tags", "avl", "redblack", "bump", "buddy", "slab", "pools", "guard")
"""The kinds of heap whose chunks the reference profile describes."""
SCENARIOS = ("idle", "workload", "churn", "fragment", "heaps", "leaks")
HEADERS = ("scenario", "runs", "used chunks", "lost", "reported", "falsely", "missed")
COMPILERS = ("gcc", "clang")


def lost_chunks(serial: str) -> set[int]:
    """The addresses that the kernel says nothing points to when it is at rest; empty in most scenarios."""
    told = {int(at, 16): what for what, at in re.findall(r"leaks: (\w+) address=0x([0-9a-f]+)", serial)}
    return {address for address, what in told.items() if what != "kept"}


def judged(kernel: Path, kind: str, scenario: str) -> tuple[int, ...]:
    """Used chunks, lost ones, reported ones, those reported falsely, and those missed, in one run."""
    with Session(kernel, memory="64M", append=f"scenario={scenario} heap={kind}") as session:
        session.run_to("kernel_ready")
        leaks = session.command("heapcheck", "-leaks")["leaks"]
        lost = lost_chunks(session.serial())
    reported = sum(group["count"] for group in leaks["groups"])
    right = len({int(address, 16) for group in leaks["groups"] for address in group["addresses"]} & lost)
    return leaks["chunks"], len(lost), reported, reported - right, len(lost) - right


def rows(kernels: list[Path]) -> Iterator[tuple[str | int, ...]]:
    """One for each scenario: the sums over all kinds of heap and compilers."""
    for scenario in SCENARIOS:
        runs = [judged(kernel, kind, scenario) for kernel in kernels for kind in KINDS]
        yield scenario, len(runs), *(sum(column) for column in zip(*runs, strict=True))


def main(kernel: Path, *, write: bool) -> None:
    """Measure with both compilers' kernels, and print the table or put it into the documentation."""
    kernels = [kernel.parent.parent / compiler / kernel.name for compiler in COMPILERS]
    text = tabulate(rows(kernels), headers=HEADERS, tablefmt="github")
    if not write:
        print(text)
        return
    document = DOCUMENT.read_text()
    before, _, rest = document.partition(BEGIN)
    DOCUMENT.write_text(f"{before}{BEGIN}{text}\n{END}{rest.partition(END)[2]}")
