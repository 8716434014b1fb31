"""Which objects of slabs are free: the free lists of all slabs are followed at once, one step of each at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gdbext.heap.parts import U64
from gdbext.profile.expressions.expression import Expression
from gdbext.profile.language.slabs import Numbers, ObjectBits, ObjectLinks, SlabHeap
from gdbext.structures.gather import NodeValues, gathered, node_values
from gdbext.symbols.model import Type
from gdbext.units import WORD_MASK
from gdbext.x86.virtual import PagedMemory

END, ASTRAY, USED = -1, -2, -3
"""A link that ends the list, a link to no object of its slab, and the mark that a used object has instead of a link;
any other link is the number of an object in its slab."""


@dataclass(frozen=True)
class Objects:
    """The objects of slabs that are known, slab by slab: number ``begin[s] + n`` is object n of slab s.

    ``slab`` and ``number`` are by object. ``free`` says which are free.
    """

    begin: NDArray[np.int64]
    slab: NDArray[np.int64]
    number: NDArray[np.int64]
    address: NDArray[np.uint64]
    free: NDArray[np.bool_]


@dataclass(frozen=True)
class FreeBreak:
    """Where the list of a slab's free objects ends early: the link at ``source`` (an object's number; None for the
    list's first) is ``link``. ``number`` is the object it points to, END, ASTRAY or USED; ``at`` is its address.
    """

    slab: int
    source: int | None
    number: int
    link: int
    at: int


@dataclass(frozen=True)
class Free:
    """The free objects: for each slab how many are on its list; where lists end early; and the objects (by number in
    `Objects`) that are marked as free but not on their slab's list.
    """

    count: NDArray[np.int64]
    breaks: tuple[FreeBreak, ...]
    missed: NDArray[np.int64]


def laid_out(first: NDArray[np.uint64], stride: NDArray[np.int64], capacity: NDArray[np.int64]) -> Objects:
    """The objects of slabs with these first objects, strides and capacities; none of them free yet."""
    begin = np.cumsum(capacity) - capacity
    slab = np.repeat(np.arange(len(capacity)), capacity)
    number = np.arange(len(slab)) - begin[slab]
    address = first[slab] + (number * stride[slab]).astype(U64)
    return Objects(begin, slab, number, address, np.zeros(len(slab), dtype=np.bool_))


def read_free(
    heap: SlabHeap[Expression], nodes: NodeValues, objects: Objects, shape: Shape, memory: PagedMemory
) -> Free:
    """Determine which objects are free, and mark them."""
    if heap.bits is not None:
        return _by_bits(heap.bits, nodes, objects, shape, memory)
    if heap.numbers is not None:
        return _by_numbers(heap.numbers, nodes, objects, shape, memory)
    assert heap.links is not None  # the binder insists on one of three
    return _by_links(heap.links, nodes, objects, shape, memory)


@dataclass(frozen=True)
class Shape:
    """The layout of slabs: address of the first object, stride and capacity of each."""

    first: NDArray[np.uint64]
    stride: NDArray[np.int64]
    capacity: NDArray[np.int64]


def _by_bits(
    bits: ObjectBits[Expression], nodes: NodeValues, objects: Objects, shape: Shape, memory: PagedMemory
) -> Free:
    start = nodes.values(bits.at).astype(U64)
    rows, seen = gathered(start[objects.slab] + (objects.number // 8).astype(U64), (0, 1), memory)
    bit = rows[:, 0] >> (objects.number % 8).astype(np.uint8) & 1
    objects.free[:] = (bit != bits.used) & seen
    count = np.bincount(objects.slab, weights=objects.free, minlength=len(shape.capacity)).astype(np.int64)
    return Free(count, (), np.zeros(0, dtype=np.int64))


def _by_numbers(
    numbers: Numbers[Expression], nodes: NodeValues, objects: Objects, shape: Shape, memory: PagedMemory
) -> Free:
    end = numbers.end.evaluate(memory)
    used = None if numbers.used is None else numbers.used.evaluate(memory)
    width = numbers.next.type.target.size if isinstance(numbers.next.type.target, Type) else 1
    table = nodes.values(numbers.next).astype(U64)
    at = table[objects.slab] + (objects.number * width).astype(U64)
    rows, _ = gathered(at, (0, width), memory)
    values = _little_endian(rows)

    def meant(found: NDArray[np.int64], capacity: NDArray[np.int64]) -> NDArray[np.int64]:
        kept = np.where((found >= 0) & (found < capacity), found, ASTRAY)
        kept = kept if used is None else np.where(found == used, USED, kept)
        return np.where(found == end, END, kept)

    head = nodes.values(numbers.first).astype(np.int64)
    follows = meant(values, shape.capacity[objects.slab])
    first = np.where(shape.capacity > 0, meant(head, shape.capacity), END)  # no objects are known of the other slabs
    free = _walk(_Lists(first, follows, head, values, nodes.nodes, at), objects)
    if used is None:
        return free
    broken = np.isin(objects.slab, [found.slab for found in free.breaks])
    missed = np.flatnonzero((follows != USED) & ~objects.free & ~broken)
    return Free(free.count, free.breaks, missed)


def _little_endian(rows: NDArray[np.uint8]) -> NDArray[np.int64]:
    wide = np.zeros((len(rows), 8), dtype=np.uint8)
    wide[:, : rows.shape[1]] = rows
    return wide.view("<i8")[:, 0]


def _by_links(
    links: ObjectLinks[Expression], nodes: NodeValues, objects: Objects, shape: Shape, memory: PagedMemory
) -> Free:
    end = U64(links.end.evaluate(memory) & WORD_MASK)
    inside = nodes.values(links.at).astype(U64)
    at = objects.address + inside[objects.slab]
    values = node_values(at, (links.next,), memory).values(links.next).astype(U64)
    shift = inside if links.leads_to == "link" else np.zeros_like(inside)

    def meant(found: NDArray[np.uint64], slab: NDArray[np.int64]) -> NDArray[np.int64]:
        offset = (found - shift[slab] - shape.first[slab]).astype(np.int64)
        stride = np.maximum(shape.stride[slab], 1)
        fits = (offset >= 0) & (offset % stride == 0) & (offset // stride < shape.capacity[slab])
        return np.where(found == end, END, np.where(fits, offset // stride, ASTRAY))

    head = nodes.values(links.first).astype(U64)
    first = np.where(shape.capacity > 0, meant(head, np.arange(len(head))), END)
    return _walk(_Lists(first, meant(values, objects.slab), head, values, nodes.nodes, at), objects)


@dataclass(frozen=True)
class _Lists:
    """The lists of all slabs: meaning of the first link of each and of each object's, its value, and its address."""

    first: NDArray[np.int64]
    follows: NDArray[np.int64]
    head: NDArray[np.int64] | NDArray[np.uint64]
    values: NDArray[np.int64] | NDArray[np.uint64]
    headers: NDArray[np.uint64]
    at: NDArray[np.uint64]


def _walk(lists: _Lists, objects: Objects) -> Free:
    """Follow every slab's list; what is reached is free."""
    free, begin = objects.free, objects.begin
    target = np.where(lists.follows >= 0, begin[objects.slab] + lists.follows, lists.follows)
    slab = np.arange(len(lists.first))
    here = np.where(lists.first >= 0, begin + lists.first, lists.first)  # by number in `Objects`, as the target is
    before = np.full(len(here), -1)
    count, breaks = np.zeros(len(here), dtype=np.int64), []
    while len(slab):
        good = here >= 0
        good[good] = ~free[here[good]]
        if not good.all():
            for wrong in np.flatnonzero(~good & (here != END)).tolist():
                breaks.append(_break(lists, objects, int(slab[wrong]), int(before[wrong]), int(here[wrong])))
            slab, here = slab[good], here[good]
        free[here] = True
        count[slab] += 1
        before, here = here, target[here]
    return Free(count, tuple(breaks), np.zeros(0, dtype=np.int64))


def _break(lists: _Lists, objects: Objects, slab: int, before: int, leads_to: int) -> FreeBreak:
    number = leads_to - int(objects.begin[slab]) if leads_to >= 0 else leads_to
    if before < 0:
        return FreeBreak(slab, None, number, int(lists.head[slab]) & WORD_MASK, int(lists.headers[slab]))
    source = before - int(objects.begin[slab])
    return FreeBreak(slab, source, number, int(lists.values[before]) & WORD_MASK, int(lists.at[before]))
