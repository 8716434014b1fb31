"""Two physical managers: a buddy system as a complete binary tree of bytes, and a record for each frame."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gdbext.errors import MemoryUnavailable
from gdbext.machine.memory import RamMap
from gdbext.pmm.frames import FrameSet
from gdbext.pmm.snapshot import PartStat, Place, PmmSnapshot, frames_of, read_common, sensible_count
from gdbext.profile.expressions.expression import Expression
from gdbext.profile.language.physical import FrameStates, Tree
from gdbext.structures.collections import extent, read
from gdbext.units import VirtAddr, hex_address
from gdbext.x86.virtual import PagedMemory

MOST_HEIGHT = 40


@dataclass(frozen=True)
class WrongNode:
    """A node whose byte does not match its halves (or, in a leaf, is neither 0 nor 1)."""

    address: VirtAddr
    height: int
    first: int
    says: int
    should: int


@dataclass(frozen=True, kw_only=True)
class TreeSnapshot(PmmSnapshot):
    """A byte tree at one stop: the root's position, and the wrong nodes (the first of them, lowest first).

    ``beyond`` are the leaves after the last frame whose value is "free". ``blocks`` has, for each order, how many
    free blocks there are that are not half of a larger free block.
    """

    nodes_at: VirtAddr
    height: int
    root: int
    wrong: tuple[WrongNode, ...]
    wrong_count: int
    beyond: NDArray[np.int64]
    blocks: tuple[int, ...]

    @property
    def kind(self) -> str:
        """``tree``."""
        return "tree"

    @property
    def counted_from(self) -> str:
        """What the counted values come from."""
        return "the leaves"

    def place_of(self, number: int) -> VirtAddr:
        """A frame's leaf."""
        return VirtAddr(self.nodes_at + (1 << self.height) - 1 + self.root + number)

    def record_of(self, number: int) -> str:
        """A frame's leaf, as text."""
        return f"leaf {number} of '{self.name}', the byte at {hex_address(self.place_of(number))}"

    @property
    def parts(self) -> tuple[PartStat, ...]:
        """The orders that have a free block."""
        return tuple(
            PartStat("order", str(order), count << order, count << order, count, None, None, None, order)
            for order, count in enumerate(self.blocks)
        )


WRONG_KEPT = 64
"""At most this many wrong nodes are kept in a snapshot."""


def read_tree(manager: Tree[Expression], memory: PagedMemory, ram: RamMap) -> TreeSnapshot | None:
    """Read a byte tree; None if it is not set up yet. Raises MemoryUnavailable."""
    common = read_common(manager, memory)
    nodes_at, height = VirtAddr(manager.nodes.evaluate(memory)), manager.height.evaluate(memory)
    if not nodes_at:
        return None
    if not 0 <= height <= MOST_HEIGHT:
        raise MemoryUnavailable(f"{manager.height.text} is {height}, which cannot be the height of a tree of frames")
    sensible_count(1 << height, f"2 to the power of {manager.height.text}", common.frame_size, ram)
    count = min(frames_of(manager.count, common, memory, ram), 1 << height)
    size = (2 << height) - 1
    nodes = np.frombuffer(memory.read(VirtAddr(nodes_at + manager.root), size), dtype=np.uint8)
    levels = [nodes[(1 << depth) - 1 : (2 << depth) - 1] for depth in range(height + 1)][::-1]
    wrong, wrong_count = _wrong_nodes(levels, VirtAddr(nodes_at + manager.root))
    return TreeSnapshot(
        **vars(common),
        free=FrameSet(np.packbits(levels[0] != 0, bitorder="little"), count),
        covers=True,
        places=(Place(nodes_at, size + manager.root, f"the tree of '{common.name}'"),),
        nodes_at=nodes_at,
        height=height,
        root=manager.root,
        wrong=wrong,
        wrong_count=wrong_count,
        beyond=np.flatnonzero(levels[0][count:]) + count,
        blocks=_blocks(levels[0]),
    )


def _wrong_nodes(levels: list[NDArray[np.uint8]], start: VirtAddr) -> tuple[tuple[WrongNode, ...], int]:
    """The nodes that do not match the leaves below them; ``levels`` has the leaves first.

    Correct values are computed from the leaves up, so that a wrong node does not make those above it wrong too. A
    wrong leaf does: of such a column only the lowest node is kept.
    """
    found: list[WrongNode] = []
    count = 0
    truth = np.minimum(levels[0], 1)
    wrong_below = np.zeros(0, dtype=np.int64)
    for height, level in enumerate(levels):
        if height:
            left, right = truth[::2], truth[1::2]
            whole = (left == height) & (right == height)
            truth = np.maximum(left, right) + whole
        wrong = np.flatnonzero(level != truth)
        new = np.setdiff1d(wrong, wrong_below // 2)
        count += len(new)
        at = start + len(level) - 1
        found += [
            WrongNode(VirtAddr(at + i), height, i << height, int(level[i]), int(truth[i]))
            for i in new[: WRONG_KEPT - len(found)].tolist()
        ]
        wrong_below = wrong
    return tuple(found), count


def _blocks(leaves: NDArray[np.uint8]) -> tuple[int, ...]:
    """The number of free blocks of each order, by the leaves, without halves of larger free blocks."""
    free = leaves != 0
    counts = []
    while True:
        whole = free[::2] & free[1::2] if len(free) > 1 else np.zeros(0, dtype=np.bool_)
        counts.append(int(free.sum()) - 2 * int(whole.sum()))
        if not len(whole):
            break
        free = whole
    while counts and not counts[-1]:
        counts.pop()
    return tuple(counts)


@dataclass(frozen=True, kw_only=True)
class FrameStatesSnapshot(PmmSnapshot):
    """The records of all frames at one stop: the first is at ``records_at``, each is ``stride`` bytes."""

    records_at: VirtAddr
    stride: int

    @property
    def kind(self) -> str:
        """``records``."""
        return "records"

    @property
    def counted_from(self) -> str:
        """What the counted values come from."""
        return "the records"

    def place_of(self, number: int) -> VirtAddr:
        """A frame's record."""
        return VirtAddr(self.records_at + number * self.stride)

    def record_of(self, number: int) -> str:
        """A frame's record, as text."""
        return f"record {number} of '{self.name}', at {hex_address(self.place_of(number))}"


def read_frame_states(manager: FrameStates[Expression], memory: PagedMemory, ram: RamMap) -> FrameStatesSnapshot | None:
    """Read a manager of records; None if it is not set up yet. Raises MemoryUnavailable."""
    common = read_common(manager, memory)
    array = extent(manager.collection, memory)
    if not array.start and not array.count:
        return None
    sensible_count(array.count, array.text, common.frame_size, ram)
    states = replace(manager.collection, most=array.count)
    free = read(states, memory, {"free": manager.free}, "records").whole()["free"] != 0
    return FrameStatesSnapshot(
        **vars(common),
        free=FrameSet(np.packbits(free, bitorder="little"), array.count),
        covers=True,
        places=(Place(array.start, array.size, f"the records of '{common.name}'"),),
        records_at=array.start,
        stride=array.stride,
    )
