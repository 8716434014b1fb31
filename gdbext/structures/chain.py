"""Following a linked list whose nodes a profile describes: bounded, no node twice, and quick.

A million nodes are followed in a second where memory can be read without copying it. So the loop does nothing but
follow; the bytes that the profile's expressions need are gathered from all nodes together, and evaluated together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gdbext.errors import MemoryUnavailable, Stopped
from gdbext.machine.memory import VirtualMemory
from gdbext.profile.expressions.expression import Expression, FlatExpression
from gdbext.profile.language.keys import Magic
from gdbext.progress import progress
from gdbext.units import WORD_MASK, VirtAddr, hex_address
from gdbext.x86.virtual import Linear, PagedMemory

_STEP = 4096
"""Progress is reported every so many nodes, where each costs a message to the debugger."""


Ends = tuple[int, int]
"""The link to a list's first node, and the link that ends it."""


class Stop(Enum):
    """Why following a list ended."""

    END = "end"
    LOOP = "loop"
    SHARED = "shared"
    SHORT = "short"
    UNREADABLE = "unreadable"
    ASTRAY = "astray"
    TOO_LONG = "too-long"


@dataclass(frozen=True)
class Break:
    """Where following the links stopped before the list's end: the link at ``source`` points to ``target``.

    ``source`` is a node's address, None for the list's first link.
    """

    stop: Stop
    source: VirtAddr | None
    target: VirtAddr
    why: str


class Astray(MemoryUnavailable):
    """A link to an address that cannot be a node's."""


class UnreadableNode(MemoryUnavailable):
    """An expression about node number ``index`` of a chain cannot be read: it follows an invalid pointer."""

    def __init__(self, index: int, why: MemoryUnavailable) -> None:
        self.index = index
        super().__init__(f"its contents cannot be read: {why}")


@dataclass(frozen=True)
class Links:
    """How links give nodes' addresses: ``offset + link * scale``, for links from 0 up to ``limit`` (None: any)."""

    offset: int = 0
    scale: int = 1
    limit: int | None = None

    def place(self, link: int) -> int:
        """The virtual address of a link's node. Raises Astray."""
        if self.limit is not None and not 0 <= link < self.limit:
            raise Astray(f"{link} is not the index of a frame: there are {self.limit} frames")
        return (self.offset + link * self.scale) & WORD_MASK

    def places(self, links: NDArray[Any]) -> NDArray[np.uint64]:
        """The addresses of many links' nodes; for an invalid link, the link itself."""
        links = links.astype(np.uint64)
        found = np.uint64(self.offset & WORD_MASK) + links * np.uint64(self.scale)
        return found if self.limit is None else np.where(links < np.uint64(self.limit), found, links)


@dataclass(frozen=True)
class NodeShape:
    """How nodes are read.

    ``expressions`` are all that are evaluated for nodes. ``frame_size`` is not 0 where nodes are at the start of frames
    of this many bytes, of which one begins at physical address ``base``. At most ``most`` nodes are followed.
    """

    next: Expression
    expressions: tuple[Expression, ...]
    links: Links
    frame_size: int
    base: int
    most: int

    @property
    def span(self) -> tuple[int, int]:
        """The bytes of a node that are kept: first, and end, relative to its address."""
        spans = [e.flat.span for e in (self.next, *self.expressions) if e.flat is not None and e.flat.reads]
        return min((first for first, _ in spans), default=0), max((end for _, end in spans), default=1)


@dataclass(frozen=True)
class Nodes:
    """Nodes of lists: their virtual addresses, and their bytes, a row of ``shape.span`` for each."""

    shape: NodeShape
    nodes: NDArray[np.uint64]
    data: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.nodes)

    def values(self, expression: Expression, memory: VirtualMemory) -> NDArray[Any]:
        """An expression's value in every node. Raises UnreadableNode."""
        flat = expression.flat or self._settled(expression, memory)
        if flat is not None:
            return _in_rows(flat, self.nodes, self.data, self.shape.span[0])
        found: list[int] = []
        for node in self.nodes.tolist():
            try:
                found.append(expression.evaluate(memory, node) & WORD_MASK)
            except MemoryUnavailable as error:
                raise UnreadableNode(len(found), error) from None
        return np.array(found, dtype=np.uint64).view(np.int64 if expression.type.signed else np.uint64)

    def _settled(self, expression: Expression, memory: VirtualMemory) -> FlatExpression | None:
        """An expression with the kernel's variables put in, if the bytes that are kept of nodes suffice for it."""
        flat, (first, end) = expression.settled(memory).flat, self.shape.span
        enough = flat is not None and (not flat.reads or (first <= flat.span[0] and flat.span[1] <= end))
        return flat if enough else None


@dataclass(frozen=True)
class Chain(Nodes):
    """The nodes of one list, in its order; ``physical`` are their physical addresses."""

    physical: NDArray[np.uint64]
    broken: Break | None

    def cut(self, count: int, stop: Stop, why: str) -> Chain:
        """The first ``count`` nodes: the link to the next one is broken."""
        source = VirtAddr(int(self.nodes[count - 1])) if count else None
        return replace(
            self,
            nodes=self.nodes[:count],
            physical=self.physical[:count],
            data=self.data[:count],
            broken=Break(stop, source, VirtAddr(int(self.nodes[count])), why),
        )


def values_in(
    expression: Expression, nodes: NDArray[np.uint64], data: NDArray[np.uint8], first: int, memory: VirtualMemory
) -> NDArray[Any]:
    """An expression's value in every node; ``data`` has a row of bytes for each, from offset ``first``."""
    flat = expression.flat
    if flat is None:
        found = [expression.evaluate(memory, node) & WORD_MASK for node in nodes.tolist()]
        return np.array(found, dtype=np.uint64).view(np.int64 if expression.type.signed else np.uint64)
    return _in_rows(flat, nodes, data, first)


def _in_rows(flat: FlatExpression, nodes: NDArray[np.uint64], data: NDArray[np.uint8], first: int) -> NDArray[Any]:
    width = data.shape[1]
    return flat.evaluate_array(data.reshape(-1), range(-first, len(nodes) * width - first, width), nodes)


def follow(
    shape: NodeShape, memory: PagedMemory, ends: Ends, known: set[int], *, circular: bool = False, expected: int = 0
) -> Chain:
    """Follow the list between two links (or, if circular, back to its first node).

    ``known`` are the nodes of lists that have been followed before: none of them may occur again; the new nodes are
    added. ``expected`` is how many nodes there should be, 0 if not known. Ctrl-C ends it with Stopped.
    """
    walk = _Walk(shape, memory, expected)
    ((_, broken),) = _followed(walk, [ends], known, circular=circular)
    nodes = np.array(walk.nodes, dtype=np.uint64)
    physical, data = walk.gathered(nodes)
    return Chain(shape, nodes, data, physical, broken)


@dataclass(frozen=True)
class Chains(Nodes):
    """The nodes of many lists, one list after the other: how many each has, and where it breaks off."""

    lengths: NDArray[np.int64]
    broken: tuple[Break | None, ...]

    def cut(self, at: int, stop: Stop, why: str) -> Chains:
        """The same as far as node number ``at``: the link to it is broken, and there are no further lists."""
        last = int(np.searchsorted(np.cumsum(self.lengths), at, side="right"))
        left = at - int(self.lengths[:last].sum())
        source = VirtAddr(int(self.nodes[at - 1])) if left else None
        broken = Break(stop, source, VirtAddr(int(self.nodes[at])), why)
        lengths = np.append(self.lengths[:last], left)
        return Chains(self.shape, self.nodes[:at], self.data[:at], lengths, (*self.broken[:last], broken))

    def joined(self, other: Chains) -> Chains:
        """These lists, and others of the same shape behind them."""
        return Chains(
            self.shape,
            np.concatenate([self.nodes, other.nodes]),
            np.concatenate([self.data, other.data]),
            np.concatenate([self.lengths, other.lengths]),
            self.broken + other.broken,
        )


def follow_each(
    shape: NodeShape, memory: PagedMemory, ends: Sequence[Ends], known: set[int], *, circular: bool = False
) -> Chains:
    """Follow many lists, each as `follow` does; ``shape.most`` is how many nodes they may have together."""
    walk = _Walk(shape, memory, 0)
    lists = _followed(walk, ends, known, circular=circular)
    nodes = np.array(walk.nodes, dtype=np.uint64)
    lengths = np.array([length for length, _ in lists], dtype=np.int64)
    return Chains(shape, nodes, walk.gathered(nodes)[1], lengths, tuple(broken for _, broken in lists))


def _followed(walk: _Walk, ends: Sequence[Ends], known: set[int], *, circular: bool) -> list[tuple[int, Break | None]]:
    """Let the walk visit every node of each list: how many nodes each has, and where it is broken."""
    lists = []
    with walk.memory.physical.series():
        try:
            for both in ends:
                before = len(walk.nodes)
                broken = _follow(walk, both, known, circular=circular)
                lists.append((len(walk.nodes) - before, broken))
        except KeyboardInterrupt:
            raise Stopped(_so_far(walk.nodes)) from None
    return lists


def _follow(walk: _Walk, ends: Ends, known: set[int], *, circular: bool) -> Break | None:
    """Let the walk visit every node of a list; why it ended early, if it did."""
    nodes, most, begin = walk.nodes, walk.shape.most, len(walk.nodes)
    link, end = ends
    while link != end:
        try:
            node = walk.shape.links.place(link)
            if node in known or len(nodes) >= most:
                return _again(nodes[begin:], node, most if len(nodes) >= most else None, circular=circular)
            following = walk.look(node)
        except Astray as error:
            return Break(Stop.ASTRAY, _last(nodes[begin:]), VirtAddr(link & WORD_MASK), str(error))
        except MemoryUnavailable as error:
            return Break(Stop.UNREADABLE, _last(nodes[begin:]), VirtAddr(node), str(error))
        known.add(node)
        nodes.append(node)
        link = walk.run(following, end, known)
    return None


def _again(nodes: list[int], node: int, most: int | None, *, circular: bool) -> Break | None:
    """Why a list breaks at a node that was visited before, or is one too many; None if it closes the circle."""
    if node in nodes:
        if circular and node == nodes[0]:
            return None
        why = "this node was visited before: the list is circular"
        return Break(Stop.LOOP, _last(nodes), VirtAddr(node), why)
    if most is not None:
        return Break(Stop.TOO_LONG, _last(nodes), VirtAddr(node), f"more than {most} nodes")
    return Break(Stop.SHARED, _last(nodes), VirtAddr(node), "this node is on another list already")


def _last(nodes: list[int]) -> VirtAddr | None:
    return VirtAddr(nodes[-1]) if nodes else None


def _so_far(nodes: list[int]) -> str:
    """What is known about a list when the user interrupts following it."""
    if not nodes:
        return "no node read yet"
    return f"{len(nodes)} nodes read, all different, the last at {hex_address(nodes[-1])}"


_FEW = 4
"""So many stretches of memory are remembered: RAM is below 4 GiB and above, and part of it may be elsewhere."""


class _Walk:
    """Visits one node after another; remembers the linear stretches of memory that contain the last nodes.

    ``nodes`` are those that were visited. Nodes that cannot be read in place are kept as they were fetched.
    """

    def __init__(self, shape: NodeShape, memory: PagedMemory, expected: int) -> None:
        self.shape = shape
        self.nodes: list[int] = []
        self.memory = memory
        self._expected = expected
        self._first, self._end = shape.span
        self._unaligned = shape.frame_size - 1 if shape.frame_size else 0
        self._flat = shape.next.flat.evaluate_bytes if shape.next.flat else None
        self._stretches: list[Linear] = []
        self._fetched: dict[int, bytes] = {}

    def look(self, node: int) -> int:
        """A node's link. Raises MemoryUnavailable."""
        here = self._lately(node)
        if here is None:
            here = self.memory.linear(VirtAddr(node))
            self._stretches = [here, *self._stretches[: _FEW - 1]]
        if node - here.shift - self.shape.base & self._unaligned:
            raise Astray(f"{hex_address(node - here.shift)} is not the start of a frame")
        if here.buffer is None or node + self._first < here.start or node + self._end > here.end:
            return self._fetch(node)
        if self._flat is not None:
            return self._flat(here.buffer, node - here.start, node)
        return self.shape.next.evaluate(self.memory, node)

    def _lately(self, node: int) -> Linear | None:
        """The stretch that a node is in, if it is one of the last few stretches."""
        for here in self._stretches:
            if here.start <= node < here.end:
                return here
        return None

    def run(self, link: int, end: int, known: set[int]) -> int:
        """Follow links as long as they are valid and in the last few stretches; the first link that is not, or the end.

        It takes the same steps as one node at a time, with as few calls as possible.
        """
        flat, nodes = self._flat, self.nodes
        if flat is None:
            return link
        offset, scale, limit = self.shape.links.offset, self.shape.links.scale, self.shape.links.limit
        low = high = -1  # the addresses that a node may have in the present stretch: none, so far
        buffer, start, unaligned, base = memoryview(b""), 0, self._unaligned, 0
        for _ in range(self.shape.most - len(nodes)):
            node = (offset + link * scale) & WORD_MASK
            if link == end or node in known or (limit is not None and not 0 <= link < limit):
                break
            if not low <= node <= high:
                here = self._lately(node)
                if here is None or here.buffer is None:
                    break
                buffer, start, base = here.buffer, here.start, here.shift + self.shape.base
                low, high = start - min(self._first, 0), here.end - self._end
                if not low <= node <= high:
                    break
            if node - base & unaligned:
                break
            link = flat(buffer, node - start, node)
            known.add(node)
            nodes.append(node)
        return link

    def _fetch(self, node: int) -> int:
        """The link of a node that is not in one piece of memory."""
        if len(self._fetched) % _STEP == 0:
            progress("following a list, node", len(self.nodes), self._expected)
        data = self.memory.read_near(VirtAddr(node + self._first), self._end - self._first)
        self._fetched[len(self.nodes)] = data
        if self._flat is not None:
            return self._flat(data, -self._first, node)
        return self.shape.next.evaluate(self.memory, node)

    def gathered(self, nodes: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
        """The physical addresses of all nodes, and a row of bytes for each."""
        physical = np.empty(len(nodes), dtype=np.uint64)
        rows = np.empty((len(nodes), self._end - self._first), dtype=np.uint8)
        starts = nodes + np.uint64(self._first & WORD_MASK)
        for here, mine in self.memory.stretches(nodes):
            physical[mine] = nodes[mine] - np.uint64(here.shift & WORD_MASK)
            here.copy(starts, mine, rows)
        for index, data in self._fetched.items():
            rows[index] = np.frombuffer(data, dtype=np.uint8)
        self.memory.seen(physical, self.shape.span)
        return physical, rows


def without_strangers(chain: Chain, magic: Magic[Expression], memory: VirtualMemory) -> tuple[Chain, NDArray[np.bool_]]:
    """The chain up to the first address that is no node, and for each node whether its magic is wrong.

    A node whose magic is wrong may be a node that was overwritten, or not a node at all. The nodes after it are trusted
    if the next magic is right again; if two in a row are wrong, or the list is broken at once, it is not a node.
    """
    found = chain.values(magic.expr, memory)
    wrong = found != chain.values(magic.equals, memory).astype(found.dtype)  # as C compares: an int with 0xdeadbeef
    follows_wrong = np.append(wrong[1:], chain.broken is not None)
    lost = np.flatnonzero(wrong & follows_wrong)
    if not len(lost):
        return chain, wrong
    at = int(lost[0])
    why = "its magic value is wrong" + ("" if at == len(chain) - 1 else ", and so is the next node's")
    return chain.cut(at, Stop.ASTRAY, why), wrong[:at]
