"""How fast tables are read and shown: against QEMU's own ``info tlb``, against copying the tables, on the same tables.

The reference kernel is booted to its stop; then page tables of our own making are written into the guest's RAM
file, far above what the kernel uses, and CR3 is set to them. The guest never runs again.
"""

import json
import mmap
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tabulate import tabulate

from gdbext.headless import Session

MEMORY = "1G"
TABLES_AT = 256 << 20
"""Where the made-up tables begin, physically."""
START = 0x0000_1000_0000_0000
"""The first virtual address that they map."""
P, W, U, NX = 1, 2, 4, 1 << 63
MAPPINGS = 1 << 20
FRAMES = (1 << 30) >> 12
"""Frames of RAM there are."""


class Tables:
    """Page tables being written into a guest's RAM file; RAM below 3 GiB lies in it at its physical address."""

    def __init__(self, ram: Path) -> None:
        with ram.open("r+b") as file:
            self.bytes = mmap.mmap(file.fileno(), 0)
        self.next = TABLES_AT

    def table(self, entries: dict[int, int] | np.ndarray) -> int:
        """Write one table; returns its physical address."""
        at, self.next = self.next, self.next + 4096
        words = np.zeros(512, dtype=np.uint64)
        if isinstance(entries, dict):
            for index, value in entries.items():
                words[index] = value
        else:
            words[: len(entries)] = entries
        self.bytes[at : at + 4096] = words.tobytes()
        return at

    def root(self, pages: np.ndarray) -> int:
        """A root that maps the frames ``pages`` (physical addresses) in order from START."""
        level = pages | np.uint64(P | W | U)
        for shift in (12, 21, 30):
            groups = [level[i : i + 512] for i in range(0, len(level), 512)]
            level = np.array([self.table(group) for group in groups], dtype=np.uint64) | np.uint64(P | W | U)
            assert shift == 30 or len(level) >= 1
        return self.table({START >> 39: int(level[0])})


def linear(tables: Tables) -> int:
    """1 048 576 pages whose frames follow each other."""
    return tables.root(np.arange(MAPPINGS, dtype=np.uint64) << np.uint64(12))


def scattered(tables: Tables) -> int:
    """1 048 576 pages, no frame beside its neighbour."""
    frames = np.random.default_rng(1).permutation(MAPPINGS).astype(np.uint64) % np.uint64(FRAMES)
    return tables.root(frames << np.uint64(12))


def aliased(tables: Tables) -> int:
    """Four tables whose 512 entries all name the next one: 512 to the fourth pages."""
    below = tables.table(np.full(512, 0x5000 | P | W | U, dtype=np.uint64))
    for _ in range(3):
        below = tables.table(np.full(512, below | P | W | U, dtype=np.uint64))
    return below


def seconds(deed: Callable[[], object], repeat: int = 3) -> float:
    """The median time of a deed."""
    times = []
    for _ in range(repeat):
        begin = time.perf_counter()
        deed()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def measured(session: Session, root: int) -> dict[str, float]:
    """Everything that is measured inside gdb, on one root."""
    session.execute(f"set var $cr3 = (long){root:#x}")
    answer = session.qemu.directory / "figures.json"
    session.execute(f"python import sys; sys.path.insert(0, '{Path(__file__).parent}')")
    session.execute(f"python import in_gdb; in_gdb.write('{answer}', '{START:#x}')")
    figures: dict[str, float] = json.loads(answer.read_text())
    return figures


def main(kernel: Path) -> None:
    """Measure and print."""
    with Session(kernel, memory=MEMORY, append="scenario=idle", timeout=300) as session:
        session.run_to("kernel_ready")
        session.execute("set var $cr4 = (long)$cr4 & ~0x300000")  # SMEP and SMAP have nothing to say here
        for name, make in (("linear", linear), ("scattered", scattered), ("aliased", aliased)):
            tables = Tables(session.qemu.directory / "ram")
            figures = measured(session, make(tables))
            theirs = seconds(lambda: session.monitor("info tlb")) if name != "aliased" else None
            print(report(name, figures, theirs))
            tables.bytes.close()


def report(name: str, f: dict[str, float], theirs: float | None) -> str:
    """One tree's figures as a table."""

    def against(value: float) -> str:
        return f"{theirs / value:.0f} x" if theirs else "-"

    rows = [
        ("copying the tables once (the floor)", _ms(f["copy"]), "", ""),
        ("enumerating", _ms(f["enumerate"]), against(f["enumerate"]), f"{f['enumerate'] / f['copy']:.1f}"),
        ("vmmap, text included", _ms(f["vmmap"]), against(f["vmmap"]), f"{f['vmmap'] / f['copy']:.1f}"),
        ("vmwalk, printed", _ms(f["vmwalk"]), "", ""),
        ("vmwalk over the debug stub, printed", _ms(f["vmwalk_remote"]), "", ""),
        ("transfer of the tables over the stub", _ms(f["transfer"]), "", ""),
        ("enumerating over the stub", _ms(f["remote_map"]), f"{f['remote_map'] / f['transfer']:.2f} transfers", ""),
    ]
    if theirs:
        rows.insert(0, ("QEMU's info tlb over QMP", _ms(theirs), "1", ""))
    head = f"{name}: {f['mappings']:.0f} mappings, {f['tables']:.0f} tables, {f['aliases']:.0f} folded stretches"
    peak = f"peak memory of vmmap {f['vmmap_peak'] / 1e6:.0f} MB"
    return (
        f"{head}; {peak}\n"
        + tabulate(rows, headers=("", "ms", "against info tlb", "of the floor"), tablefmt="plain")
        + "\n"
    )


def _ms(value: float) -> str:
    return f"{value * 1e3:.3f}"
