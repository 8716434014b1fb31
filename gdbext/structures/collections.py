"""The reader of all collections: arrays, lists, trees, pointers, and nested collections, as rows of columns.

An array is read in one piece, lists are followed, a tree is read level by level; collections in many elements are
read together. Then every expression is evaluated over all elements at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gdbext.errors import MemoryUnavailable
from gdbext.machine.memory import VirtualMemory
from gdbext.profile.expressions.expression import Expression
from gdbext.profile.language.collections import Collection
from gdbext.structures.chain import Break, Links, NodeShape, Stop, follow_each
from gdbext.structures.columns import WIDEST, Elements, as_link, one_element, own_span
from gdbext.structures.gather import gathered, span_of
from gdbext.structures.tree import TreeShape, descend
from gdbext.symbols.model import Kind
from gdbext.units import WORD_MASK, VirtAddr, hex_address
from gdbext.x86.virtual import PagedMemory

U64 = np.uint64
_BLOCK = 64
"""So many elements are read first of an array without a count."""


@dataclass(frozen=True)
class Broken(Break):
    """Where a collection ends early, or what could not be read of it, in the form used for lists.

    ``outer`` is the element that it is nested in, None where it is not nested; ``missing`` is how many elements were
    not read, None if that is not known.
    """

    outer: VirtAddr | None = None
    missing: int | None = None

    def __str__(self) -> str:
        """As text, to follow the name of the elements."""
        inside = "" if self.outer is None else f" in {hex_address(self.outer)}"
        where = "before the first" if self.source is None else f"after {hex_address(self.source)}"
        missing = f"; {self.missing} of them were not read" if self.missing else ""
        return f"{inside} end early, {where}: {self.why}{missing}".strip()


@dataclass(frozen=True)
class Rows:
    """The elements of a collection that count, in its order: row i of every array is about the element at ``nodes[i]``.

    ``columns`` has an array of values for each requested expression, of its own type, and ``known`` says which of
    the values exist: the others are 0, and ``unknown`` says why the first of them does not. ``outer`` are the rows in
    ``outers`` of the elements that these are nested in; ``outers`` is None where they are not nested. ``broken`` is
    where this collection ends early, and where the collections do that it is nested in.
    """

    what: str
    nodes: NDArray[np.uint64]
    outer: NDArray[np.int64]
    outers: Rows | None
    columns: Mapping[str, NDArray[Any]]
    known: Mapping[str, NDArray[np.bool_]]
    unknown: Mapping[str, str]
    broken: tuple[Broken, ...]

    def __len__(self) -> int:
        return len(self.nodes)

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.columns[name]

    def get(self, name: str) -> NDArray[Any] | None:
        """A column, None if it was not requested."""
        return self.columns.get(name)

    @property
    def trouble(self) -> str | None:
        """Why some of the elements or values are not known, in one line; None if all are."""
        for broken in self.broken:
            more = f" ({len(self.broken)} such breaks)" if len(self.broken) > 1 else ""
            return f"the {self.what} {broken}{more}"
        for why in self.unknown.values():
            return why
        return None

    def whole(self) -> Rows:
        """The same rows. Raises MemoryUnavailable if not everything is known."""
        if self.trouble is not None:
            raise MemoryUnavailable(self.trouble)
        return self

    def sound(self) -> Rows:
        """The rows of which every value is known."""
        which = np.ones(len(self), dtype=np.bool_)
        for known in self.known.values():
            which &= known
        if which.all():
            return self
        return replace(
            self,
            nodes=self.nodes[which],
            outer=self.outer[which],
            columns={name: values[which] for name, values in self.columns.items()},
            known={name: known[which] for name, known in self.known.items()},
        )


def read(
    bound: Collection[Expression], memory: VirtualMemory, columns: Mapping[str, Expression | None], what: str
) -> Rows:
    """The elements of a collection, called ``what``, with a column for each expression that is not None.

    Raises MemoryUnavailable if not even its start can be read. What must be followed (lists, trees, pointers)
    needs a `PagedMemory`; an array is read from any memory.
    """
    asked = {name: expression for name, expression in columns.items() if expression is not None}
    reader = _Reader(memory, what, tuple(asked.values()))
    level = reader.level(bound, None)
    values = {name: level.elements.values(expression) for name, expression in asked.items()}
    rows = level.rows(what, reader.broken)
    return replace(
        rows,
        columns={name: found for name, (found, _) in values.items()},
        known={name: known for name, (_, known) in values.items()},
        unknown={
            name: level.elements.why_not(asked[name], int(np.argmin(known)))
            for name, (_, known) in values.items()
            if not known.all()
        },
    )


@dataclass(frozen=True)
class Extent:
    """The start of an array, its count of elements (by the expression ``text``), and the bytes of each."""

    start: VirtAddr
    count: int
    stride: int
    text: str

    @property
    def size(self) -> int:
        """Bytes of the whole array."""
        return self.count * self.stride


def extent(bound: Collection[Expression], memory: VirtualMemory) -> Extent:
    """The extent of an array with a count, to be judged before the array is read. Raises MemoryUnavailable."""
    assert bound.entries is not None  # the profile's language has no other keys there
    assert bound.count is not None
    stride = bound.element.size if bound.element else 0
    start, count = VirtAddr(bound.entries.evaluate(memory)), bound.count.evaluate(memory)
    return Extent(start, count, stride, bound.count.text)


@dataclass(frozen=True)
class _Level:
    """The elements of all collections of one depth; ``outer`` is which of those ``above`` each is in.

    ``around`` are the addresses that `outer` has in expressions about the contents of each of these.
    """

    elements: Elements
    outer: NDArray[np.int64]
    above: _Level | None
    around: NDArray[np.uint64]

    def rows(self, what: str, broken: Iterable[Broken]) -> Rows:
        """The elements as rows without columns."""
        outers = None if self.above is None else self.above.rows(what, ())
        return Rows(what, self.elements.nodes, self.outer, outers, {}, {}, {}, tuple(broken))


@dataclass(frozen=True)
class _Found:
    """Elements of all collections of one depth, and in which of the outer elements each is."""

    nodes: NDArray[np.uint64]
    data: NDArray[np.uint8]
    first: int
    outer: NDArray[np.int64]


class _Reader:
    """Reads one collection with all that is nested in it; ``broken`` is where they end early."""

    def __init__(self, memory: VirtualMemory, what: str, asked: tuple[Expression, ...]) -> None:
        self.broken: list[Broken] = []
        self._memory = memory
        self._what = what
        self._asked = asked

    def level(self, bound: Collection[Expression], above: _Level | None) -> _Level:
        """The innermost elements that count, of the collections in the elements ``above``."""
        context = _Context(self, one_element(self._memory) if above is None else above.elements, above is None)
        found = self._found(bound, context)
        around = _spread(0, len(found.nodes), U64) if above is None else above.around[found.outer]
        elements = Elements(found.nodes, found.data, found.first, around, self._memory)
        which = found.outer
        if bound.when is not None:
            values, known = elements.values(bound.when)
            for at in np.flatnonzero(~known).tolist():
                why = f"'when' cannot be evaluated: {elements.why_not(bound.when, at)}"
                context.breaks(int(found.outer[at]), Stop.UNREADABLE, None, int(found.nodes[at]), why)
            elements, which = elements.taken(values != 0), which[values != 0]
        pointers = bound.element is not None and bound.element.kind is Kind.POINTER and above is not None
        level = _Level(elements, which, above, elements.outer if pointers else elements.nodes)
        return level if bound.each is None else self.level(bound.each, level)

    def _found(self, bound: Collection[Expression], context: _Context) -> _Found:
        if bound.entries is not None:
            return _arrays(bound, context)
        if bound.single:
            one = context.elements
            return _Found(one.nodes, one.data, one.first, np.zeros(1, dtype=np.int64))
        if not isinstance(self._memory, PagedMemory):
            what = f"the {self._what} are not an array"
            raise MemoryUnavailable(f"{what}, and only arrays can be read before RAM is known")
        asked = self._of_element(bound)
        if bound.at is not None:
            return _pointed(bound, context, own_span(*asked), self._memory)
        if bound.tree is not None:
            return _trees(bound, context, own_span(*asked), self._memory)
        return _lists(bound, context, asked, self._memory)

    def _of_element(self, bound: Collection[Expression]) -> tuple[Expression, ...]:
        """All expressions that will be evaluated for an element."""
        inner = bound.each
        asked = self._asked
        if inner is not None:
            asked = tuple(
                expression
                for expression in (inner.entries, inner.count, inner.head, inner.tree, inner.at, inner.terminator)
                if expression is not None
            )
        links = (bound.next, bound.left, bound.right, bound.when)
        own = (expression for expression in links if expression is not None)
        return tuple(expression.settled(self._memory) for expression in (*own, *asked))


class _Context:
    """What collections are nested in: elements, or nothing (``top``), where an unreadable collection is an error."""

    def __init__(self, reader: _Reader, elements: Elements, top: bool) -> None:
        self.elements = elements
        self.memory = elements.memory
        self._reader = reader
        self._top = top

    def told(self, expression: Expression) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Where a collection begins, or how many elements it has, for each element; and for which that is known.

        Raises MemoryUnavailable.
        """
        values, known = self.elements.values(expression)
        for at in np.flatnonzero(~known).tolist():
            self.refuse(at, self.elements.why_not(expression, at))
        return values, known

    def refuse(self, number: int, why: str) -> None:
        """Note that the collection in an outer element cannot be read at all. Raises MemoryUnavailable at the top."""
        if self._top:
            raise MemoryUnavailable(why)
        self.breaks(number, Stop.UNREADABLE, None, 0, why)

    def breaks(
        self, number: int, stop: Stop, source: int | None, target: int, why: str, *, missing: int | None = None
    ) -> None:
        """Note where the collection in an outer element ends early."""
        outer = None if self._top else VirtAddr(int(self.elements.nodes[number]))
        at = None if source is None else VirtAddr(source)
        self._reader.broken.append(Broken(stop, at, VirtAddr(target & WORD_MASK), why, outer, missing))

    def inherit(self, number: int, broken: Break) -> None:
        """Note where a list or a tree in an outer element is broken."""
        self.breaks(number, broken.stop, broken.source, broken.target, broken.why)


def _terminators(bound: Collection[Expression], context: _Context) -> NDArray[Any]:
    assert bound.terminator is not None  # it has a default
    return context.told(bound.terminator)[0]


def _spread(value: int, count: int, dtype: type[np.integer[Any]]) -> NDArray[Any]:
    """An array that has one value everywhere, and takes no memory."""
    return np.broadcast_to(dtype(value), count)


def _inside(bound: Collection[Expression]) -> int:
    return (bound.link_offset.constant or 0) if bound.link_offset is not None else 0


# Arrays


def _arrays(bound: Collection[Expression], context: _Context) -> _Found:
    """The elements of the array that is in each outer element."""
    assert bound.entries is not None
    assert bound.element is not None
    starts, known = context.told(bound.entries)
    counts: NDArray[Any] | None = None
    if bound.count is not None:
        counts, also = context.told(bound.count)
        known = known & also
    pieces = _Pieces(bound, context)
    for number in np.flatnonzero(known).tolist():
        start = int(starts[number]) & WORD_MASK
        if counts is None:
            pieces.up_to_sentinel(number, start)
        else:
            pieces.counted(number, start, int(counts[number]))
    return pieces.joined()


class _Pieces:
    """Arrays, read one after the other."""

    def __init__(self, bound: Collection[Expression], context: _Context) -> None:
        assert bound.entries is not None
        assert bound.element is not None
        self._bound = bound
        self._context = context
        self._stride = bound.element.size
        array = bound.entries.type
        self._room = array.count if array.kind is Kind.ARRAY else None
        self._total = 0
        self._found: list[tuple[int, int, NDArray[np.uint8]]] = []

    def counted(self, number: int, start: int, count: int) -> None:
        """An array of ``count`` elements; an impossible count is refused."""
        bound, what = self._bound, self._context
        assert bound.entries is not None
        assert bound.count is not None
        if self._room is not None and self._room > 1 and count > self._room:  # in old C, [1] means any number
            what.refuse(number, f"{bound.count.text} is {count}, but {bound.entries.text} has room for {self._room}")
            return
        if not 0 <= count <= bound.most:
            what.refuse(number, f"{bound.count.text} is {count}, which cannot be a number of elements")
            return
        if count > bound.most - self._total:
            what.refuse(number, f"{bound.count.text} is {count}, which makes more than {bound.most} elements")
            return
        data, why = self._read(start, count)
        if why is not None:
            last, seen = start + (len(data) - 1) * self._stride, len(data)
            target = start + seen * self._stride
            what.breaks(number, Stop.UNREADABLE, last if seen else None, target, why, missing=count - seen)
        self._add(number, start, data)

    def up_to_sentinel(self, number: int, start: int) -> None:
        """An array that ends with a sentinel element."""
        until, stride, context = self._bound.until, self._stride, self._context
        assert until is not None
        at, size = start, _BLOCK
        while True:
            room = self._bound.most - self._total
            data, why = self._read(at, min(size, room + 1))
            nodes = U64(at) + np.arange(len(data), dtype=U64) * U64(stride)
            outer = np.full(len(data), context.elements.nodes[number])
            elements = Elements(nodes, data, 0, outer, context.memory)
            values, known = elements.values(until)
            ends = np.flatnonzero((values != 0) | ~known)
            end = int(ends[0]) if len(ends) else min(len(data), room)
            self._add(number, at, data[:end])
            if len(ends) and known[end]:
                return
            if len(ends):
                why = f"'until' cannot be evaluated: {elements.why_not(until, end)}"
            elif why is None and end < len(data):
                why = f"none of the first {self._bound.most} elements is the last"
            at, size = at + end * stride, 4 * size
            if why is not None:
                stop = Stop.TOO_LONG if end < len(data) and not len(ends) else Stop.UNREADABLE
                context.breaks(number, stop, at - stride if at > start else None, at, why)
                return

    def _add(self, number: int, start: int, data: NDArray[np.uint8]) -> None:
        self._total += len(data)
        self._found.append((number, start, data))

    def _read(self, start: int, count: int) -> tuple[NDArray[np.uint8], str | None]:
        """The elements of an array, a row each, as far as they can be read; and why some cannot."""
        stride, memory = self._stride, self._context.memory
        fit = min(count, (WORD_MASK + 1 - start) // stride)
        why = None if fit == count else "the array extends past the last address"
        data, low, high = b"", 0, fit
        try:
            data, low = (memory.read(VirtAddr(start), fit * stride) if fit else b""), fit
        except MemoryUnavailable as error:
            why = str(error)
        while high - low > 1:  # `low` elements can be read, `high` cannot
            middle = (low + high) // 2
            try:
                data, low = memory.read(VirtAddr(start), middle * stride), middle
            except MemoryUnavailable as error:
                high, why = middle, str(error)
        return np.frombuffer(data, dtype=np.uint8).reshape(low, stride), why

    def joined(self) -> _Found:
        """All elements."""
        stride = self._stride
        if len(self._found) == 1:
            ((number, start, data),) = self._found
            nodes = np.arange(start, start + len(data) * stride, stride, dtype=U64)
            return _Found(nodes, data, 0, _spread(number, len(data), np.int64))
        lengths = np.array([len(data) for _, _, data in self._found], dtype=np.int64)
        starts = np.array([start for _, start, _ in self._found], dtype=U64)
        index = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        data = np.concatenate([np.zeros((0, stride), dtype=np.uint8), *(data for _, _, data in self._found)])
        numbers = np.array([number for number, _, _ in self._found], dtype=np.int64)
        nodes = np.repeat(starts, lengths) + index.astype(U64) * U64(stride)
        return _Found(nodes, data, 0, np.repeat(numbers, lengths))


# Pointers, lists, trees


def _pointed(bound: Collection[Expression], context: _Context, span: tuple[int, int], memory: PagedMemory) -> _Found:
    """The element that a pointer in each outer element points to."""
    assert bound.at is not None
    pointers, known = context.told(bound.at)
    ends = _terminators(bound, context)
    which = np.flatnonzero(known & (pointers.astype(U64) != ends.astype(U64)))
    nodes = pointers[which].astype(U64) - U64(_inside(bound) & WORD_MASK)
    rows, seen = gathered(nodes, span, memory)
    for at in np.flatnonzero(~seen).tolist():
        node = int(nodes[at])
        context.breaks(int(which[at]), Stop.UNREADABLE, None, node, _why_unread(node, span, memory))
    return _Found(nodes[seen], rows[seen], span[0], which[seen])


def _why_unread(node: int, span: tuple[int, int], memory: PagedMemory) -> str:
    try:
        memory.read(VirtAddr((node + span[0]) & WORD_MASK), span[1] - span[0])
    except MemoryUnavailable as error:
        return str(error)
    return f"{hex_address(node)} could not be read"


def _lists(
    bound: Collection[Expression], context: _Context, asked: tuple[Expression, ...], memory: PagedMemory
) -> _Found:
    """The elements of the list in each outer element."""
    assert bound.head is not None
    assert bound.next is not None
    heads, known = context.told(bound.head)
    ends = _terminators(bound, context).tolist()
    follows, first = bound.next.settled(memory), heads.tolist()
    numbers = np.flatnonzero(known).tolist()
    last = [as_link(follows, ends[number]) for number in numbers]
    begins = [
        last[at] if first[number] == as_link(bound.head, ends[number]) else first[number]
        for at, number in enumerate(numbers)
    ]
    low, high = span_of(asked)
    shape = NodeShape(follows, asked if high - low <= WIDEST else (), Links(-_inside(bound)), 0, 0, bound.most)
    chains = follow_each(shape, memory, list(zip(begins, last, strict=True)), set(), circular=bound.circular)
    for number, broken in zip(numbers, chains.broken, strict=True):
        if broken is not None:
            context.inherit(number, broken)
    return _Found(
        chains.nodes, chains.data, shape.span[0], np.repeat(np.array(numbers, dtype=np.int64), chains.lengths)
    )


def _trees(bound: Collection[Expression], context: _Context, span: tuple[int, int], memory: PagedMemory) -> _Found:
    """The nodes of the tree in each outer element, each tree in order."""
    assert bound.tree is not None
    assert bound.left is not None
    assert bound.right is not None
    roots, known = context.told(bound.tree)
    ends = _terminators(bound, context)
    which = np.flatnonzero(known)
    shape = TreeShape(bound.left, bound.right, span, _inside(bound), bound.most)
    forest = descend(shape, memory, roots[which].astype(U64), ends[which].astype(U64))
    for tree, broken in forest.broken:
        context.inherit(int(which[tree]), broken)
    return _Found(forest.nodes, forest.data, span[0], which[forest.tree])
