"""Reading physical managers, measured inside gdb: results as JSON in the file that the caller named."""

import json
import statistics
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import gdb
import numpy as np
from numpy.typing import NDArray

from bench import pmm_images
from bench.in_gdb import connection, execute, over_remote, seconds
from gdbext.bridge.session import new_session
from gdbext.checks.finding import CheckReport
from gdbext.pmm.lists import ListSnapshot
from gdbext.pmm.snapshot import PmmSnapshot
from gdbext.session import Session
from gdbext.units import FRAME_SHIFT

SAMPLE = 5000
"""Turns of the loop over gdb.Value; the whole is reckoned from them."""
OVER_REMOTE = 100_000
"""Nodes followed over the stub; a million are reckoned from them."""


def peak_of(deed: Callable[[], object]) -> int:
    """The most that Python and numpy had taken for a deed at any time, in bytes. (The process's own size would count
    what it maps of the guest.)"""
    tracemalloc.start()
    try:
        deed()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def processor_seconds(deed: Callable[[], object]) -> float:
    """What a deed takes of a processor: the same however many others want it. The median of five."""
    times = []
    for _ in range(5):
        begin = time.process_time()
        deed()
        times.append(time.process_time() - begin)
    return statistics.median(times)


def every_other(frames: NDArray[np.int64]) -> NDArray[np.int64]:
    """As many runs as there can be."""
    even: NDArray[np.int64] = frames[frames % 2 == 0]
    return even


def in_stretches(frames: NDArray[np.int64]) -> NDArray[np.int64]:
    """Stretches of one to some hundred frames, half of all."""
    lengths = np.random.default_rng(2).integers(1, 256, len(frames) // 64)
    borders = np.repeat(np.arange(len(lengths)) % 2 == 0, lengths)[: len(frames)]
    stretches: NDArray[np.int64] = frames[: len(borders)][borders]
    return stretches


IMAGES: dict[str, Callable[[pmm_images.Ground], None]] = {
    "bitmap": lambda ground: pmm_images.bitmap(ground, in_stretches),
    "bitmap, every other frame": lambda ground: pmm_images.bitmap(ground, every_other),
    "levels": lambda ground: pmm_images.levels(ground, in_stretches),
    "tree": lambda ground: pmm_images.tree(ground, in_stretches),
    "stack": lambda ground: pmm_images.stack(ground, 1_000_000),
    "pages": lambda ground: pmm_images.pages(ground, 1_000_000),
    "runs": lambda ground: pmm_images.runs(ground, 100_000),
    "buddy": lambda ground: pmm_images.buddy(ground, 100_000),
}


def checked() -> CheckReport:
    """What the rules say, in a session of its own."""
    return new_session().physical.check()


def checked_over_remote() -> CheckReport:
    """The same, read through the debug stub."""
    return over_remote().physical.check()


def manager_of(session: Session) -> PmmSnapshot:
    (manager,) = session.physical.managers
    assert isinstance(manager, PmmSnapshot), manager
    return manager


def measure() -> dict[str, float]:
    """All figures about the manager that serves."""
    manager = manager_of(new_session())
    report = checked()
    assert not report.findings, report.findings[0]
    assert not report.skipped, report.skipped[0]
    theirs, things = by_values(manager)
    return {
        "frames": manager.count,
        "free": manager.free_count,
        "things": things,
        "copy": seconds(copying(manager)),
        "read": seconds(lambda: new_session().physical.managers),
        "checked": seconds(checked),
        "pmmstat": seconds(execute("gdbext pmmstat")),
        "processor": processor_seconds(execute("gdbext pmmstat")),
        "peak": peak_of(execute("gdbext pmmstat")),
        "by_values": theirs,
    }


def copying(manager: PmmSnapshot) -> Callable[[], object]:
    """Copying what must be read just once; of nodes, the bytes that are asked, their places being known before."""
    memory = new_session().virtual
    if not isinstance(manager, ListSnapshot):
        return lambda: [memory.read(place.start, place.size) for place in manager.places]
    ways = [copying_nodes(manager, at) for at in range(len(manager.lists))]
    return lambda: [way() for way in ways]


def copying_nodes(manager: ListSnapshot, number: int) -> Callable[[], object]:
    """The bytes of one list's nodes and of what they list."""
    chain = manager.lists[number].chain
    if not len(chain):
        return lambda: None
    memory = new_session().machine.memory
    first, end = chain.shape.span
    if manager.lists[number].entries is not None:
        end = 1 << FRAME_SHIFT
    pieces = []
    for ram in memory.ram.ranges:
        view = memory.view(ram.start)
        assert view is not None
        mine = chain.physical[(chain.physical >= ram.start) & (chain.physical < ram.end)].astype(np.int64) - ram.start
        frames = np.frombuffer(view.buffer, dtype=np.uint8)[: (ram.end - ram.start) >> FRAME_SHIFT << FRAME_SHIFT]
        pieces.append((frames.reshape(-1, 1 << FRAME_SHIFT)[:, first:end], mine >> FRAME_SHIFT))
    return lambda: [frames[mine] for frames, mine in pieces]


WALKS = {
    "bitmap": ("pmm.bits", "pmm.frames / 64"),
    "levels": ("pmm_levels.level[0].bits", "pmm_levels.frames / 64"),
    "tree": ("pmm_tree.nodes", "2 << pmm_tree.height"),
}
HEADS = {"stack": "pmm_stack.zone[2].top", "pages": "pmm_pages.zone[2].top", "runs": "pmm_runs.head.next[0]"}


def by_values(manager: PmmSnapshot) -> tuple[float, int]:
    """The same with gdb.Value in a loop, which only looks at each word, node or entry: seconds, reckoned from the first
    SAMPLE of them; and how many there are."""
    if manager.name in WALKS:
        array, length = (gdb.parse_and_eval(text) for text in WALKS[manager.name])
        begin = time.perf_counter()
        for index in range(SAMPLE):
            int(array[index])
        return (time.perf_counter() - begin) / SAMPLE * int(length), int(length)
    assert isinstance(manager, ListSnapshot)
    nodes = sum(len(found.members if manager.name == "pages" else found.chain) for found in manager.lists)
    node = gdb.parse_and_eval(HEADS.get(manager.name, "pmm_buddy.order[0].first"))
    count = 0
    begin = time.perf_counter()
    while int(node) and count < SAMPLE:
        followed = node.dereference()
        int(followed["mark"])
        count += 1
        if manager.name == "pages":
            for index in range(int(followed["count"])):
                int(followed["frames"][index])
                count += 1
        node = followed["next"][0] if manager.name == "runs" else followed["next"]
    return (time.perf_counter() - begin) / count * nodes, nodes


def measure_remote(ground: pmm_images.Ground) -> dict[str, float]:
    """A shorter stack, read and checked over the debug stub."""
    pmm_images.stack(ground, OVER_REMOTE)
    packets = connection()
    address = int(gdb.parse_and_eval("pmm_stack.zone[2].top"))
    bare = seconds(lambda: packets.send_packet(f"m{address:x},10"), 1000)
    return {
        "nodes": OVER_REMOTE,
        "packet": bare,
        "remote": seconds(checked_over_remote, 1),
        "shared": seconds(checked),
    }


def write(path: str, names: list[str]) -> None:
    """Make each image, measure, and write the figures."""
    ground = pmm_images.Ground()
    figures: dict[str, dict[str, float]] = {}
    for name in names:
        if name == "remote":
            figures[name] = measure_remote(ground)
        else:
            IMAGES[name](ground)
            figures[name] = measure()
    Path(path).write_text(json.dumps(figures))
