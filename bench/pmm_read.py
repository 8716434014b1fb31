"""How fast physical managers are read and checked: against copying their bytes once, against gdb.Value in a loop."""

import json
import re
from pathlib import Path

from tabulate import tabulate

from gdbext.headless import Session

GUESTS = {
    "64G": ("bitmap", "bitmap, every other frame", "levels", "tree"),
    "6G": ("stack", "pages", "runs", "buddy", "remote"),
}
"""The images by the RAM of the guest that holds them. Its file is sparse: what nobody touches takes no room."""
HEADERS = (
    *("", "RAM", "copied", "read", "and checked", "pmmstat", "processor", "peak MB"),
    *("checked / copied", "gdb.Value", "times longer"),
)
ROOT = Path(__file__).resolve().parents[1]


def profile_without_records(directory: Path) -> Path:
    """The kernel's profile but for its record of each frame, which would have to be made up too."""
    text = (ROOT / "gdbext" / "profiles" / "reference.toml").read_text()
    path = directory / "bench.toml"
    path.write_text(re.sub(r"^\[page_records\]\n(?:[^\[\n].*\n)*", "", text, flags=re.MULTILINE))
    return path


def measured(kernel: Path, memory: str, names: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """The figures of each image, in a guest of its own making."""
    with Session(kernel, memory=memory, append="scenario=idle pmm=bitmap", timeout=600) as session:
        session.run_to("kernel_ready")
        session.execute(f"memprofile use {profile_without_records(session.qemu.directory)}")
        answer = session.qemu.directory / "figures.json"
        session.execute(f"python import sys; sys.path.insert(0, '{ROOT}')")
        session.execute(f"python from bench import pmm_in_gdb; pmm_in_gdb.write('{answer}', {list(names)})")
        figures: dict[str, dict[str, float]] = json.loads(answer.read_text())
        return figures


def main(kernel: Path) -> None:
    """Measure and print."""
    rows: list[tuple[str | float, ...]] = []
    remote: dict[str, float] = {}
    for memory, names in GUESTS.items():
        figures = measured(kernel, memory, names)
        remote = figures.pop("remote", remote)
        rows += [row(name, memory, f) for name, f in figures.items()]
    print("Measured inside gdb, guest RAM shared; milliseconds, medians. 'processor' is what pmmstat takes of one.")
    print("The loop over gdb.Value only looks at each word, node or entry; reckoned from its first 5000 turns.\n")
    print(tabulate(rows, headers=HEADERS, tablefmt="plain", floatfmt=".1f"))
    print(report_remote(remote))


def row(name: str, memory: str, f: dict[str, float]) -> tuple[str | float, ...]:
    """One image's figures."""
    title = f"{name}: {f['things']:.0f}, {f['free']:.0f} of {f['frames']:.0f} frames free"
    times = [f[key] * 1e3 for key in ("copy", "read", "checked", "pmmstat", "processor")]
    theirs = f["by_values"]
    ratios = (f["checked"] / f["copy"], theirs * 1e3, theirs / f["checked"])
    return (title, memory, *times, f["peak"] / 1e6, *ratios)


def report_remote(f: dict[str, float]) -> str:
    """What a stack costs over the debug stub."""
    node = f["remote"] / f["nodes"]
    return (
        f"\nOver the debug stub: a stack of {f['nodes']:.0f} frames in {f['remote']:.2f} s ({f['shared'] * 1e3:.0f} ms"
        f" shared), {node * 1e6:.0f} us a node, a packet alone {f['packet'] * 1e6:.0f} us;"
        f" so 1 000 000 would take {node * 1e6:.0f} s."
    )
