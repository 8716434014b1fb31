"""How a heap finds its free chunks: lists by size, or a tree. Links are numbers of chunks here: no walk leaves them."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gdbext.heap.parts import U64, Chunks
from gdbext.profile.expressions.expression import Expression
from gdbext.profile.language.heaps import Bins, ChunkHeap, Linked, Tree
from gdbext.structures.chain import Break, Stop, values_in
from gdbext.structures.collections import read
from gdbext.structures.counter import Counter, read_counter
from gdbext.structures.gather import gathered, span_of
from gdbext.units import WORD_MASK, VirtAddr
from gdbext.x86.virtual import PagedMemory

NOBODY, ASTRAY = -1, -2
"""The target of a link that ends the list, and of a link to no chunk; any other link is the number of a chunk."""


@dataclass(frozen=True)
class Rover:
    """A list's variable ``at`` an address: its ``link``, and the number of the chunk that it points to."""

    at: VirtAddr | None
    link: int
    number: int


@dataclass(frozen=True)
class Bin:
    """One list of free chunks: ``members`` are their numbers in its order, ``back`` the targets of their links back.

    ``link_at`` is the address of its first link; payloads on it have from ``low`` up to ``high`` bytes (exclusive).
    ``rover`` is where the next search begins.
    """

    name: str
    link_at: VirtAddr | None
    members: NDArray[np.int64]
    back: NDArray[np.int64] | None
    broken: Break | None
    circular: bool
    low: int | None
    high: int | None
    length: Counter | None
    rover: Rover | None
    sorted: str


@dataclass(frozen=True)
class FreeTree:
    """A tree of free chunks. ``members`` are their numbers from the root down, each before its children.

    ``up`` is the member that points to each. ``left``, ``right``, ``parent``, ``key`` and ``rank`` are by number of
    chunk, for all chunks; ``rank`` is what a node records, and ``ranks`` what that means: height, balance or red.
    """

    kind: str
    ranks: str
    members: NDArray[np.int64]
    up: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    parent: NDArray[np.int64] | None
    key: NDArray[Any]
    rank: NDArray[Any] | None
    broken: tuple[Break, ...]
    count: Counter | None


@dataclass(frozen=True)
class FreeIndex:
    """The lists and the tree of free chunks; ``alone``: nothing else records which chunks are free."""

    bins: tuple[Bin, ...]
    tree: FreeTree | None
    alone: bool

    def times(self, chunks: int) -> NDArray[np.int64]:
        """How often each of the heap's ``chunks`` is in it."""
        members = [found.members for found in self.bins] + ([] if self.tree is None else [self.tree.members])
        return np.bincount(np.concatenate(members), minlength=chunks)

    @property
    def whole(self) -> bool:
        """Whether no link is broken."""
        return all(found.broken is None for found in self.bins) and not (self.tree and self.tree.broken)


def read_index(heap: ChunkHeap[Expression], chunks: Chunks, memory: PagedMemory) -> tuple[Chunks, FreeIndex | None]:
    """The chunks of a heap, the free ones marked, and the index of free chunks, if the profile names one.

    Raises MemoryUnavailable.
    """
    if not heap.bins and heap.tree is None:
        return chunks, None
    bins = tuple(found for written in heap.bins for found in _Bins(written, chunks, memory).read())
    tree = None if heap.tree is None else _read_tree(heap.tree, chunks, memory)
    index = FreeIndex(bins, tree, alone=heap.free is None)
    return (replace(chunks, free=index.times(len(chunks)) > 0) if index.alone else chunks), index


class _Nodes:
    """The nodes of an index: the bytes of all chunks where free chunks have their links."""

    def __init__(
        self, linked: Linked[Expression], asked: tuple[Expression | None, ...], chunks: Chunks, memory: PagedMemory
    ) -> None:
        self.base = chunks.payload if linked.at == "payload" else chunks.address
        self._chunks = chunks
        self._memory = memory
        self._inside = linked.link_offset.constant or 0
        self._end = linked.end.evaluate(memory) & WORD_MASK
        in_order = bool((self.base[1:] > self.base[:-1]).all())
        self._order = None if in_order else np.argsort(self.base)
        self._ordered = self.base if self._order is None else self.base[self._order]
        span = span_of(tuple(expression for expression in asked if expression is not None))
        self._first = span[0]
        self._rows = gathered(self.base, span, memory)[0]

    def values(self, expression: Expression) -> NDArray[Any]:
        """An expression's value in every node."""
        return values_in(expression, self.base, self._rows, self._first, self._memory)

    def chunk_at(self, links: NDArray[Any]) -> NDArray[np.int64]:
        """The number of the chunk that each link points to, NOBODY or ASTRAY."""
        links = links.astype(U64)
        places = links - U64(self._inside & WORD_MASK)
        at = np.minimum(np.searchsorted(self._ordered, places), max(0, len(self.base) - 1))
        if not len(self.base):
            return np.where(links == U64(self._end), NOBODY, ASTRAY)
        found = np.where(self._ordered[at] == places, at if self._order is None else self._order[at], ASTRAY)
        return np.where(links == U64(self._end), NOBODY, found)

    def one_at(self, link: int) -> int:
        """The same for one link."""
        return int(self.chunk_at(np.array([link & WORD_MASK], dtype=U64))[0])

    def chunk(self, number: int) -> VirtAddr:
        """A chunk's address."""
        return VirtAddr(int(self._chunks.address[number]))


class _Bins:
    """Reads the lists that one table of a profile describes."""

    def __init__(self, written: Bins[Expression], chunks: Chunks, memory: PagedMemory) -> None:
        self._written = written
        self._memory = memory
        self._chunks = chunks
        follows = written.next.settled(memory)
        before = written.prev.settled(memory) if written.prev else None
        self._nodes = _Nodes(written, (follows, before), chunks, memory)
        self._links = self._nodes.values(follows)
        self._next = self._nodes.chunk_at(self._links).data
        self._back = None if before is None else self._nodes.chunk_at(self._nodes.values(before))

    def read(self) -> list[Bin]:
        written = self._written
        if written.collection.single:
            return [self._bin(None, written.head.text)]
        places = read(written.collection, self._memory, {}, "lists").whole().nodes.tolist()
        return [self._bin(VirtAddr(at), str(index)) for index, at in enumerate(places)]

    def _bin(self, at: VirtAddr | None, name: str) -> Bin:
        written, memory = self._written, self._memory
        head = written.head.evaluate(memory, at)
        members, broken = self._follow(head)
        return Bin(
            name=name,
            link_at=written.head.address(memory, at) if written.head.is_lvalue else None,
            members=members,
            back=None if self._back is None else self._back[members],
            broken=broken,
            circular=written.circular,
            low=None if written.low is None else written.low.evaluate(memory, at),
            high=None if written.high is None else written.high.evaluate(memory, at),
            length=None if written.length is None else read_counter("length", written.length, memory, at),
            rover=None if written.rover is None else self._rover(written.rover),
            sorted=written.sorted,
        )

    def _rover(self, written: Expression) -> Rover:
        link = written.evaluate(self._memory) & WORD_MASK
        at = written.address(self._memory) if written.is_lvalue else None
        return Rover(at, link, self._nodes.one_at(link))

    def _follow(self, head: int) -> tuple[NDArray[np.int64], Break | None]:
        """The numbers of the chunks on a list, and where it ends early."""
        members, seen = array("q"), bytearray(len(self._chunks))
        number, broken = self._nodes.one_at(head), None
        while number != NOBODY:
            if number == ASTRAY or seen[number]:
                broken = self._broken(members, head, number)
                break
            seen[number] = True
            members.append(number)
            number = self._next[number]
        return np.frombuffer(members, dtype=np.int64), broken

    def _broken(self, members: array[int], head: int, number: int) -> Break | None:
        """Why a list does not go on to a chunk; None when that closes the circle."""
        source = self._nodes.chunk(members[-1]) if members else None
        if number == ASTRAY:
            link = int(self._links[members[-1]]) if members else head
            return Break(Stop.ASTRAY, source, VirtAddr(link & WORD_MASK), "no chunk begins there")
        if self._written.circular and number == members[0]:
            return None
        return Break(Stop.LOOP, source, self._nodes.chunk(number), "this chunk is on the list already")


def _read_tree(tree: Tree[Expression], chunks: Chunks, memory: PagedMemory) -> FreeTree:
    rank = tree.red if tree.kind == "redblack" else tree.height or tree.balance
    asked = tuple(e.settled(memory) if e else None for e in (tree.left, tree.right, tree.parent, tree.key, rank))
    nodes = _Nodes(tree, asked, chunks, memory)
    links = [nodes.values(e) if e else None for e in asked]
    assert links[0] is not None  # these two are required
    assert links[1] is not None
    left, right = (nodes.chunk_at(found) for found in links[:2] if found is not None)
    root = tree.root.evaluate(memory)
    members, up, broken = _descend(nodes, root, (left, right), (links[0], links[1]))
    return FreeTree(
        kind=tree.kind,
        ranks="red" if tree.kind == "redblack" else "height" if tree.height else "balance",
        members=members,
        up=up,
        left=left,
        right=right,
        parent=None if links[2] is None else nodes.chunk_at(links[2]),
        key=chunks.size if links[3] is None else links[3],
        rank=links[4],
        broken=broken,
        count=read_counter("count", tree.count, memory) if tree.count else None,
    )


Sides = tuple[NDArray[Any], NDArray[Any]]


def _descend(
    nodes: _Nodes, root: int, sides: Sides, links: Sides
) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[Break, ...]]:
    """The numbers of a tree's chunks from the root down, the parent of each, and the broken links."""
    kids = sides[0].tolist(), sides[1].tolist()
    first = nodes.one_at(root)
    members, up, broken = [first] * (first >= 0), [NOBODY] * (first >= 0), []
    if first == ASTRAY:
        broken.append(Break(Stop.ASTRAY, None, VirtAddr(root & WORD_MASK), "no chunk begins there"))
    seen = set(members)
    for above in members:
        for kid, link in zip(kids, links, strict=True):
            number = kid[above]
            if number == ASTRAY:
                target = VirtAddr(int(link[above]) & WORD_MASK)
                broken.append(Break(Stop.ASTRAY, nodes.chunk(above), target, "no chunk begins there"))
            elif number in seen:
                broken.append(Break(Stop.SHARED, nodes.chunk(above), nodes.chunk(number), "it is in the tree already"))
            elif number != NOBODY:
                seen.add(number)
                members.append(number)
                up.append(above)
    return np.array(members, dtype=np.int64), np.array(up, dtype=np.int64), tuple(broken)
