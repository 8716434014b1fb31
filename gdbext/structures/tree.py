"""Binary trees whose nodes a profile describes, with or without colours: all nodes of a level are read at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gdbext.errors import MemoryUnavailable
from gdbext.profile.expressions.expression import Expression
from gdbext.structures.chain import Break, Stop
from gdbext.structures.columns import Elements
from gdbext.structures.gather import gathered
from gdbext.units import WORD_MASK, VirtAddr
from gdbext.x86.virtual import PagedMemory

U64 = np.uint64
MOST_LEVELS = 1 << 14
"""A tree is followed no deeper than this; a balanced tree has at most 40 levels."""
_NOBODY = -1


@dataclass(frozen=True)
class TreeShape:
    """How nodes are read: ``span`` are the bytes of each that are kept, relative to its address.

    Links point ``inside`` bytes into nodes. At most ``most`` nodes are read, of all trees together.
    """

    left: Expression
    right: Expression
    span: tuple[int, int]
    inside: int
    most: int


@dataclass(frozen=True)
class Forest:
    """The nodes of many trees, one tree after the other, each in order from its left end to its right.

    ``tree`` is the number of each node's tree; ``broken`` are invalid links, each with its tree's number.
    """

    nodes: NDArray[np.uint64]
    data: NDArray[np.uint8]
    tree: NDArray[np.int64]
    broken: tuple[tuple[int, Break], ...]


def descend(shape: TreeShape, memory: PagedMemory, roots: NDArray[np.uint64], ends: NDArray[np.uint64]) -> Forest:
    """Read the trees below these links to their roots; ``ends`` are the null links, one for each tree.

    No node is read twice, whether in one tree or in two.
    """
    descent = _Descent(shape, memory, ends)
    frontier = _Frontier(roots, np.arange(len(roots)), np.full(len(roots), _NOBODY), np.zeros(len(roots), dtype=bool))
    for _ in range(MOST_LEVELS):
        if not len(frontier.links):
            break
        frontier = descent.below(frontier)
    else:
        descent.too_deep(frontier)
    return descent.forest()


@dataclass(frozen=True)
class _Frontier:
    """Links to be followed: their trees, the numbers of the nodes that contain them, and their side."""

    links: NDArray[np.uint64]
    tree: NDArray[np.int64]
    up: NDArray[np.int64]
    right: NDArray[np.bool_]

    def taken(self, which: NDArray[np.bool_]) -> _Frontier:
        return _Frontier(self.links[which], self.tree[which], self.up[which], self.right[which])


class _Descent:
    """The part of the trees that has been read so far, level by level."""

    def __init__(self, shape: TreeShape, memory: PagedMemory, ends: NDArray[np.uint64]) -> None:
        self._shape = shape
        self._memory = memory
        self._ends = ends
        self._seen: dict[int, int] = {}
        self._ups: list[int] = []
        self._levels: list[tuple[_Frontier, Elements]] = []
        self._broken: list[tuple[int, Break]] = []

    def below(self, frontier: _Frontier) -> _Frontier:
        """Read the nodes that links point to; the links in these."""
        frontier = frontier.taken(frontier.links != self._ends[frontier.tree])
        places = frontier.links - U64(self._shape.inside & WORD_MASK)
        fresh = np.array([self._enter(frontier, at, node) for at, node in enumerate(places.tolist())], dtype=bool)
        frontier, places = frontier.taken(fresh), places[fresh]
        rows, seen = gathered(places, self._shape.span, self._memory)
        found = Elements(places, rows, self._shape.span[0], np.zeros(len(places), dtype=U64), self._memory)
        sides = []
        for link in (self._shape.left, self._shape.right):
            values, known = found.link(link)
            seen &= known
            sides.append(values)
        for at in np.flatnonzero(~seen).tolist():
            self._unreadable(frontier, at, int(places[at]))
        frontier, found = frontier.taken(seen), found.taken(seen)
        numbers = np.arange(len(self._ups), len(self._ups) + len(found))
        self._seen.update(zip(found.nodes.tolist(), numbers.tolist(), strict=True))
        self._ups += frontier.up.tolist()
        self._levels.append((frontier, found))
        right = np.repeat([False, True], len(found))
        links = np.concatenate([side[seen] for side in sides])
        return _Frontier(links, np.tile(frontier.tree, 2), np.tile(numbers, 2), right)

    def _enter(self, frontier: _Frontier, at: int, node: int) -> bool:
        """Whether a link points to a node that may be read; broken links are noted."""
        if node in self._seen:
            up, above = int(frontier.up[at]), self._seen[node]
            while up > above:
                up = self._ups[up]
            if above != _NOBODY and up == above:
                self._break(frontier, at, Stop.LOOP, node, "this node is its own ancestor: the tree has a cycle")
            else:
                self._break(frontier, at, Stop.SHARED, node, "this node is already in this tree or in another")
        elif len(self._seen) >= self._shape.most:
            self._break(frontier, at, Stop.TOO_LONG, node, f"more than {self._shape.most} nodes")
        else:
            self._seen[node] = _NOBODY
            return True
        return False

    def _unreadable(self, frontier: _Frontier, at: int, node: int) -> None:
        first, end = self._shape.span
        try:
            self._memory.read(VirtAddr((node + first) & WORD_MASK), end - first)
            for link in (self._shape.left, self._shape.right):
                link.evaluate(self._memory, node)
            why = "its links cannot be read"
        except MemoryUnavailable as error:
            why = str(error)
        self._break(frontier, at, Stop.UNREADABLE, node, why)

    def too_deep(self, frontier: _Frontier) -> None:
        """Note the remaining links as broken."""
        frontier = frontier.taken(frontier.links != self._ends[frontier.tree])
        for at, node in enumerate((frontier.links - U64(self._shape.inside & WORD_MASK)).tolist()):
            self._break(frontier, at, Stop.TOO_LONG, node, f"the tree is deeper than {MOST_LEVELS} levels")

    def _break(self, frontier: _Frontier, at: int, stop: Stop, node: int, why: str) -> None:
        up = int(frontier.up[at])
        source = None if up == _NOBODY else VirtAddr(self._node(up))
        self._broken.append((int(frontier.tree[at]), Break(stop, source, VirtAddr(node), why)))

    def _node(self, number: int) -> int:
        """The address of a node by its number."""
        for _, found in self._levels:
            if number < len(found):
                return int(found.nodes[number])
            number -= len(found)
        raise IndexError(number)

    def forest(self) -> Forest:
        """All nodes in order. A node's position is the number of nodes on its left, counted from below."""
        frontiers, levels = zip(*self._levels, strict=True) if self._levels else ((), ())
        if not levels:
            width = self._shape.span[1] - self._shape.span[0]
            none = np.zeros(0, dtype=np.int64)
            return Forest(none.astype(U64), np.zeros((0, width), dtype=np.uint8), none, tuple(self._broken))
        tree = np.concatenate([level.tree for level in frontiers])
        order = _in_order(frontiers, tree, len(self._ends))
        nodes = np.concatenate([level.nodes for level in levels])
        return Forest(nodes[order], np.concatenate([f.data for f in levels])[order], tree[order], tuple(self._broken))


def _in_order(frontiers: tuple[_Frontier, ...], tree: NDArray[np.int64], trees: int) -> NDArray[np.int64]:
    """The numbers of all nodes, from the left end of the first tree to the right end of the last."""
    count = len(tree)
    size, on_left = np.ones(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    begins = np.cumsum([0, *(len(level.links) for level in frontiers)])
    for level, begin, end in zip(frontiers[:0:-1], begins[-2:0:-1], begins[:1:-1], strict=True):
        for right in (False, True):
            which = level.right == right
            size[level.up[which]] += size[begin:end][which]
        on_left[level.up[~level.right]] = size[begin:end][~level.right]
    whole = np.bincount(tree, minlength=trees)
    start = np.empty(count, dtype=np.int64)
    for level, begin, end in zip(frontiers, begins[:-1], begins[1:], strict=True):
        first = (np.cumsum(whole) - whole)[level.tree]
        behind = start[level.up] + np.where(level.right, on_left[level.up] + 1, 0)
        start[begin:end] = np.where(level.up == _NOBODY, first, behind)
    place = start + on_left
    order = np.empty(count, dtype=np.int64)
    order[place] = np.arange(count)
    return order
