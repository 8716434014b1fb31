"""Physical managers' structures of our own making, written into a stopped guest: run by gdb's Python.

The reference kernel has booted with its bitmap. What is free in an image is always a part of what was free then, and
the image's own data lie in frames that were free and are not any more: so every rule must find it in order.
"""

from collections.abc import Callable
from pathlib import Path

import gdb
import numpy as np
from numpy.typing import NDArray

from gdbext.bridge.machine import GdbMonitor
from gdbext.bridge.session import new_session
from gdbext.machine.qemu import memory_backends
from gdbext.pmm.snapshot import PmmSnapshot

DIRECT_MAP = 0xFFFF_8000_0000_0000
FREE_MARK = 0x45455246
ZONES = ((0, 1 << 12), (1 << 12, 1 << 20), (1 << 20, 1 << 52))
"""Frames of the kernel's zones, end exclusive."""

Frames = NDArray[np.int64]
Words = NDArray[np.uint64]


def pointers(frames: Frames) -> Words:
    """What points to frames, in the direct map."""
    return (frames.astype(np.uint64) << np.uint64(12)) + np.uint64(DIRECT_MAP)


def marks(frames: Frames) -> Words:
    """What the kernel writes into free frames to know them by."""
    return frames.astype(np.uint64) << np.uint64(32) | np.uint64(FREE_MARK)


class Ground:
    """A guest at its stop: where there is room, and how to write there."""

    def __init__(self) -> None:
        session = new_session()
        (manager,) = session.physical.managers
        assert isinstance(manager, PmmSnapshot)
        (backend,) = memory_backends(GdbMonitor())
        self.frames = manager.count
        self.free = manager.free.numbers()
        self._ranges = session.machine.memory.ram.ranges
        self._words = np.memmap(Path(str(backend.path)), dtype=np.uint64, mode="r+")
        self._random = np.random.default_rng(1)

    def shuffled(self, frames: Frames) -> Frames:
        """Frames in no order."""
        return self._random.permutation(frames)

    def reserve(self, size: int) -> int:
        """Take the last free frames for ``size`` bytes of data; the number of the first."""
        count = -(-size // 4096)
        taken, self.free = self.free[-count:], self.free[:-count]
        assert taken[-1] - taken[0] == count - 1
        return int(taken[0])

    def write(self, frames: Frames, word: int | Frames, values: Words) -> None:
        """One word of each of many frames."""
        self._words[self._places(frames) + word] = values

    def fill(self, frame: int, data: NDArray[np.uint8]) -> int:
        """Bytes from a frame on; the virtual address of the first."""
        words = np.concatenate([data, np.zeros(-len(data) % 8, dtype=np.uint8)]).view(np.uint64)
        at = int(self._places(np.array([frame]))[0])
        self._words[at : at + len(words)] = words
        return DIRECT_MAP + (frame << 12)

    def _places(self, frames: Frames) -> Frames:
        """The index of each frame's first word in the file."""
        found = np.zeros_like(frames)
        for ram in self._ranges:
            inside = (frames >= ram.start >> 12) & (frames < ram.end >> 12)
            found[inside] = (frames[inside] << 12) - ram.start + ram.offset
        return found >> 3

    def serve(self, name: str, variable: str, free: int, **values: int) -> None:
        """Let the kernel's manager ``name`` serve, with so many frames free, and set members of its variable."""
        members = {"frames": self.frames, "used": self.frames - free, "reserved": 0, **values}
        for member, value in members.items():
            put(f"{variable}.{member}", value)
        put("pmm_manager", int(gdb.parse_and_eval(f"(unsigned long) &pmm_{name}_operations")))


def put(what: str, value: int) -> None:
    """Set a variable of the kernel."""
    gdb.execute(f"set var *(unsigned long *) &({what}) = {value:#x}")


def bits_of(frames: Frames, count: int) -> NDArray[np.uint8]:
    """A bit for each frame, 1 for these; whole 64-bit words."""
    flags = np.zeros(-(-count // 64) * 64, dtype=np.bool_)
    flags[frames] = True
    return np.packbits(flags, bitorder="little")


def bitmap(ground: Ground, choose: Callable[[Frames], Frames]) -> None:
    """A bit for each frame; what ``choose`` takes of the frames is free."""
    at = ground.reserve(ground.frames // 8 + 8)
    free = choose(ground.free)
    ground.serve("bitmap", "pmm", len(free), bits=ground.fill(at, ~bits_of(free, ground.frames)), hint=0)


def levels(ground: Ground, choose: Callable[[Frames], Frames]) -> None:
    """The same with levels above, each with a bit for a word below."""
    at = ground.reserve(ground.frames // 4)
    free = numbers = choose(ground.free)
    count, level = ground.frames, 0
    while True:
        bits = bits_of(numbers, count)
        put(f"pmm_levels.level[{level}].bits", ground.fill(at, bits))
        put(f"pmm_levels.level[{level}].count", count)
        at, level = at + -(-len(bits) // 4096), level + 1
        if count <= 64:
            break
        numbers, count = np.unique(numbers >> 6), -(-count // 64)
    ground.serve("levels", "pmm_levels", len(free), levels=level)


def tree(ground: Ground, choose: Callable[[Frames], Frames]) -> None:
    """A byte for each frame, and for each pair of halves of a tree above them."""
    height = (ground.frames - 1).bit_length()
    at = ground.reserve(2 << height)
    free = choose(ground.free)
    row = np.zeros(1 << height, dtype=np.uint8)
    row[free] = 1
    rows = [row]
    for order in range(1, height + 1):
        left, right = rows[-1][::2], rows[-1][1::2]
        rows.append(np.where((left == order) & (right == order), np.uint8(order + 1), np.maximum(left, right)))
    nodes = np.concatenate([np.zeros(1, dtype=np.uint8), *rows[::-1]])
    ground.serve("tree", "pmm_tree", len(free), height=height, nodes=ground.fill(at, nodes))


def stack(ground: Ground, count: int) -> None:
    """``count`` frames, each leading to another one anywhere in its zone."""
    free = ground.shuffled(ground.free)[:count]
    for zone, (low, high) in enumerate(ZONES):
        mine = free[(free >= low) & (free < high)]
        ground.write(mine, 0, np.append(pointers(mine[1:]), np.uint64(0)))
        ground.write(mine, 1, marks(mine))
        put(f"pmm_stack.zone[{zone}].top", int(pointers(mine[:1])[0]) if len(mine) else 0)
        put(f"pmm_stack.zone[{zone}].count", len(mine))
    ground.serve("stack", "pmm_stack", count)


def pages(ground: Ground, count: int) -> None:
    """``count`` frames, most of them listed by others."""
    room = int(gdb.parse_and_eval("sizeof(((struct frame_page *) 0)->frames)")) // 8
    free = ground.shuffled(ground.free)[:count]
    for zone, (low, high) in enumerate(ZONES):
        mine = free[(free >= low) & (free < high)]
        nodes = mine[:: room + 1]
        ground.write(nodes, 0, marks(nodes))
        ground.write(nodes, 1, np.append(pointers(nodes[1:]), np.uint64(0)))
        for at, node in enumerate(nodes.tolist()):
            listed = mine[at * (room + 1) + 1 : (at + 1) * (room + 1)].astype(np.uint64)
            ground.write(np.full(len(listed) + 1, node), 2 + np.arange(len(listed) + 1), np.append(len(listed), listed))
        put(f"pmm_pages.zone[{zone}].top", int(pointers(nodes[:1])[0]) if len(nodes) else 0)
        put(f"pmm_pages.zone[{zone}].count", len(mine))
    ground.serve("pages", "pmm_pages", count)


def runs(ground: Ground, count: int) -> None:
    """``count`` runs of three frames, every fourth frame being used."""
    room = ground.free[ground.free >= 1 << 12]
    nodes = np.unique(room & ~3)[1:]
    nodes = nodes[np.isin(nodes, room) & np.isin(nodes + 2, room)][:count]
    ground.write(nodes, 0, marks(nodes))
    ground.write(nodes, 1, np.full(len(nodes), 3, dtype=np.uint64))
    ground.write(nodes, 2, np.append(pointers(nodes[1:]), np.uint64(0)))
    put("pmm_runs.head.next[0]", int(pointers(nodes[:1])[0]))
    ground.serve("runs", "pmm_runs", 3 * len(nodes), runs=len(nodes))


def buddy(ground: Ground, count: int) -> None:
    """``count`` blocks of orders 0 to 5, no two of them buddies: one of each order in 64 frames."""
    stretches = ground.free[ground.free % 64 == 0]
    stretches = ground.shuffled(stretches[np.isin(stretches + 63, ground.free)])[: -(-count // 6)]
    at = ground.reserve(ground.frames // 4)
    stretches = stretches[stretches < at - 64]
    orders = int(gdb.parse_and_eval("BUDDY_ORDERS"))
    free = 0
    for order in range(orders):
        nodes = stretches + ((1 << order) if order else 0) if order < 6 else stretches[:0]
        free += len(nodes) << order
        links = pointers(nodes)
        for word, values in enumerate((np.append(links[1:], 0), np.append([0], links[:-1]), marks(nodes))):
            ground.write(nodes, word, values[: len(nodes)].astype(np.uint64))
        ground.write(nodes, 3, np.full(len(nodes), order, dtype=np.uint64))
        put(f"pmm_buddy.order[{order}].first", int(links[0]) if len(nodes) else 0)
        put(f"pmm_buddy.order[{order}].count", len(nodes))
        if order < orders - 1:
            pairs = ((ground.frames - 1) >> (order + 1)) + 1
            bits = bits_of(nodes >> (order + 1), pairs)
            put(f"pmm_buddy.order[{order}].pairs", ground.fill(at, bits))
            put(f"pmm_buddy.order[{order}].pair_count", pairs)
            at += -(-len(bits) // 4096)
    ground.serve("buddy", "pmm_buddy", free)
