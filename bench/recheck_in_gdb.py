"""What it costs to ask a rule again, measured inside gdb: results as JSON in the file that the caller named."""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.in_gdb import execute
from bench.pmm_images import Ground
from gdbext.bridge.session import new_session
from gdbext.checks.catalogue import RULE_IDS
from gdbext.checks.finding import CheckReport
from gdbext.domains.domain import Wanted, every
from gdbext.domains.memo import Memo
from gdbext.domains.parts import Parts
from gdbext.units import FRAME_SIZE, PhysAddr

FRAMES_CHANGED = 16
"""How many of the frames that a rule rests on are changed, one at a time, spread over all of them."""
LAST_WORD = FRAME_SIZE // 8 - 1
ACCESSED = np.uint64(0x20)


Cost = tuple[float, float]
"""Medians in seconds: by the clock, and of gdb's processor time (without what QEMU does meanwhile)."""


def cost(deed: Callable[[], object], repeat: int = 7) -> Cost:
    """What a deed costs."""
    return medians([once(deed) for _ in range(repeat)])


def once(deed: Callable[[], object]) -> Cost:
    """What it costs this time."""
    clock, processor = time.perf_counter(), time.process_time()
    deed()
    return time.perf_counter() - clock, time.process_time() - processor


def medians(costs: list[Cost]) -> Cost:
    """The medians of several costs."""
    return statistics.median(clock for clock, _ in costs), statistics.median(processor for _, processor in costs)


def ask(parts: Parts, wanted: Wanted) -> list[CheckReport]:
    """What the wanted rules find, in a session of its own, which asks the machine anew: registers, RAM."""
    session = new_session(parts)
    return [domain.check(wanted) for domain in session.domains]


def figures(ground: Ground, wanted: Wanted) -> dict[str, object]:
    """What some rules cost: asked alone, with nothing changed, with one frame changed; and how many frames they read.

    Each includes the making of a session.
    """
    memo = Memo()
    first = ask(memo, wanted)
    frames = memo.frames
    same = cost(lambda: ask(memo, wanted), 30)
    assert ask(memo, wanted) == first
    assert not memo.reread
    which = np.unique(np.linspace(0, len(frames) - 1, FRAMES_CHANGED).astype(np.int64))
    return {
        "checked": any(report.checked for report in first),
        "frames": len(frames),
        "alone": cost(lambda: ask(Parts(), wanted)),
        "same": same,
        "changed": [changed(ground, memo, wanted, int(frame)) for frame in frames[which]] if len(frames) else [],
    }


def changed(ground: Ground, memo: Memo, wanted: Wanted, frame: int) -> Cost:
    """What it costs when a bit of a frame (in a page table: Accessed) is another than at the last stop."""
    at = PhysAddr(frame * FRAME_SIZE + 8 * LAST_WORD)
    before = np.frombuffer(new_session().machine.memory.read(at, 8), dtype=np.uint64)
    times = []
    for value in (before ^ ACCESSED, before) * 3:
        ground.write(np.array([frame]), LAST_WORD, value)
        times.append(once(lambda: ask(memo, wanted)))
        assert memo.reread
    return medians(times)


def write(path: str) -> None:
    """Measure and write."""
    ground = Ground()
    wanted: dict[str, Callable[[str], bool]] = {rule: rule.__eq__ for rule in RULE_IDS}
    rules = {name: figures(ground, one) for name, one in wanted.items()}
    stop = {
        "session": cost(lambda: new_session().machine, 50),
        "monitor": cost(execute("monitor info mtree -f"), 50),
        "all": cost(lambda: ask(Parts(), every)),
    }
    Path(path).write_text(json.dumps({"stop": stop, "rules": rules}))
