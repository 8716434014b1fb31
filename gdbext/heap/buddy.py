"""A heap of buddies, kept as a tree of bytes: each has the size of the largest free block below its node.

Whole levels are computed at once: from the leaves up to check which bytes follow from their halves, and from the root
down to see which nodes are blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gdbext.errors import MemoryUnavailable
from gdbext.heap.callers import read_callers
from gdbext.heap.chunks import counters_of, in_flux
from gdbext.heap.fill import read_fills
from gdbext.heap.parts import U64, Chunks, Segment
from gdbext.heap.snapshot import Detail, HeapSnapshot, Layout
from gdbext.profile.expressions.expression import Expression
from gdbext.profile.language.slabs import BuddyHeap
from gdbext.units import VirtAddr, hex_address
from gdbext.x86.virtual import PagedMemory

MOST_HEIGHT = 48
MOST_LEAVES = 1 << 26
WRONG_KEPT = 64
"""How many wrong nodes a snapshot keeps: more than rules list. Overwritten memory may have millions."""


@dataclass(frozen=True)
class WrongNode:
    """A node whose byte does not follow from its halves' (both None at a leaf), for a block of ``size`` bytes.

    ``expected`` is the byte that would follow, ``at`` the address of the wrong one.
    """

    at: VirtAddr
    block: VirtAddr
    size: int
    byte: int
    halves: tuple[int, int] | None
    expected: int


@dataclass(frozen=True, kw_only=True)
class BuddyDetail(Detail):
    """The nodes of the tree that are wrong, the first ones from the leaves up."""

    kind: ClassVar[str] = "buddy"
    wrong_nodes: tuple[WrongNode, ...]

    @property
    def finds_free(self) -> bool:
        """The tree leads to free blocks."""
        return True


@dataclass(frozen=True)
class _Level:
    """The nodes of one height that overlap the segment: the number of the first, and their bytes."""

    height: int
    first: int
    bytes: NDArray[np.uint8]

    @property
    def whole(self) -> NDArray[np.bool_]:
        """Which nodes are free blocks, or would be if no node above them were."""
        return np.equal(self.bytes, self.height + 1)


def read_buddy(heap: BuddyHeap[Expression], memory: PagedMemory) -> HeapSnapshot:
    """Read a heap of buddies. Raises MemoryUnavailable when not all of its tree can be read."""
    tree = _Tree(heap, memory)
    chunks = tree.chunks()
    return HeapSnapshot(
        name=heap.name,
        detail=BuddyDetail(wrong_nodes=tree.wrong()),
        chunks=chunks,
        segments=(Segment(VirtAddr(tree.start), VirtAddr(tree.end)),),
        counters=counters_of(heap, memory),
        in_flux=in_flux(heap, memory),
        layout=Layout(alignment=heap.alignment, minimum=heap.minimum),
        parent=heap.parent,
        fills=read_fills(heap.poison, heap.redzone, chunks, memory),
        callers=read_callers(heap.caller, chunks, memory),
    )


class _Tree:
    """The tree of one heap."""

    def __init__(self, heap: BuddyHeap[Expression], memory: PagedMemory) -> None:
        self._nodes, self._height = heap.nodes.evaluate(memory), heap.height.evaluate(memory)
        self._origin, self._smallest = heap.origin.evaluate(memory), heap.smallest.evaluate(memory)
        self.start, self.end = heap.start.evaluate(memory), heap.end.evaluate(memory)
        if not 0 <= self._height <= MOST_HEIGHT or self._smallest < 1:
            why = f"a tree of height {self._height} over blocks of {self._smallest} bytes"
            raise MemoryUnavailable(f"{why} is impossible: {heap.height.text}, {heap.smallest.text}")
        room = self._smallest << self._height
        fits = self._origin <= self.start <= self.end <= self._origin + room
        if not fits or self.end - self.start > MOST_LEAVES * self._smallest:
            segment = f"{hex_address(self.start)}-{hex_address(self.end)}"
            raise MemoryUnavailable(
                f"a segment of {segment} does not fit under a tree over {room} bytes at {self._origin:#x}"
            )
        empty = self.start == self.end
        self._levels = [] if empty else [self._level(height, memory) for height in range(self._height + 1)]

    def _level(self, height: int, memory: PagedMemory) -> _Level:
        size, number = self._smallest << height, 1 << (self._height - height)
        first = number + (self.start - self._origin) // size
        last = number + (self.end - 1 - self._origin) // size
        data = memory.read(VirtAddr(self._nodes + first), last + 1 - first)
        return _Level(height, first, np.frombuffer(data, dtype=np.uint8))

    def _address(self, level: _Level, index: int) -> int:
        """The address of a node's block."""
        number = level.first + index - (1 << (self._height - level.height))
        return self._origin + number * (self._smallest << level.height)

    def wrong(self) -> tuple[WrongNode, ...]:
        """The first nodes that are wrong, from the leaves up; not those that follow from a wrong one below."""
        wrong: list[WrongNode] = []
        mended = np.zeros(0, dtype=np.uint8)
        for level, below in zip(self._levels, [None, *self._levels], strict=False):
            if below is None:
                expected = np.minimum(level.bytes, 1)
                bad = level.bytes > 1
            else:
                found, halves = _over(level, below, below.bytes)
                other, _ = _over(level, below, mended)
                taken = (level.bytes == 0) & halves
                bad = (level.bytes != found) & (level.bytes != other) & ~taken
                expected = found
            mended = np.where(bad, expected, level.bytes).astype(np.uint8)
            pairs = None if below is None else _halves(level, below, below.bytes)
            for index in np.flatnonzero(bad)[: WRONG_KEPT - len(wrong)].tolist():
                pair = None if pairs is None else (int(pairs[0][index]), int(pairs[1][index]))
                wrong.append(self._wrong(level, index, pair, int(expected[index])))
        return tuple(wrong)

    def _wrong(self, level: _Level, index: int, halves: tuple[int, int] | None, expected: int) -> WrongNode:
        at = VirtAddr(self._nodes + level.first + index)
        block, size = VirtAddr(self._address(level, index)), self._smallest << level.height
        return WrongNode(at, block, size, int(level.bytes[index]), halves, expected)

    def chunks(self) -> Chunks:
        """The blocks, by ascending address: free blocks as large as they are, used blocks as they were handed out."""
        found: list[tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.bool_]]] = []
        covered = np.zeros(1, dtype=np.bool_)
        for level, below in zip(self._levels[::-1], [*self._levels[::-1][1:], None], strict=True):
            size, whole = self._smallest << level.height, level.whole
            block = ~covered & (whole | (_over(level, below, below.bytes)[1] & (level.bytes == 0) if below else True))
            which = np.flatnonzero(block)
            address = U64(self._address(level, 0)) + which.astype(U64) * U64(size)
            found.append((address, np.full(len(which), size, dtype=np.int64), whole[which]))
            if below is not None:
                inside = np.repeat(covered | block, 2)
                first = below.first - 2 * level.first
                covered = inside[first : first + len(below.bytes)]
        none = np.zeros(0, dtype=U64)
        address = np.concatenate([none, *(one[0] for one in found)])
        sizes = np.concatenate([none.astype(np.int64), *(one[1] for one in found)])
        free = np.concatenate([none.astype(np.bool_), *(one[2] for one in found)])
        order = np.argsort(address)
        return Chunks(address[order], address[order], sizes[order], free[order], np.ones(len(order), dtype=np.bool_))


def _halves(level: _Level, below: _Level, bytes_of: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The bytes of each node's halves; those outside the segment are 0."""
    pairs = np.zeros(2 * len(level.bytes), dtype=np.uint8)
    first = below.first - 2 * level.first
    pairs[first : first + len(bytes_of)] = bytes_of
    return pairs[0::2], pairs[1::2]


def _over(level: _Level, below: _Level, bytes_of: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Each node's byte if it is not a used block, and whether both of its halves are whole."""
    left, right = _halves(level, below, bytes_of)
    both: NDArray[np.bool_] = (left == level.height) & (right == level.height)
    return np.where(both, level.height + 1, np.maximum(left, right)).astype(np.uint8), both
