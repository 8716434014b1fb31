"""Values of expressions for many elements at once, through any number of pointers, without a loop over the elements.

An expression that reads only the element is evaluated over the bytes that have been read already. In every other, the
reads are taken out one by one, from the inside: their addresses are computed for all elements, the bytes there are
gathered for all, and replace the read. The rest reads nothing. In parallel, and by the same means, it is computed
which elements have a value: not those where a pointer is null or not mapped, or where a divisor is zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gdbext.errors import MemoryUnavailable
from gdbext.machine.memory import VirtualMemory
from gdbext.profile.expressions.expression import Expression
from gdbext.profile.expressions.operations import (
    S32,
    U64,
    Arithmetic,
    Choose,
    Compare,
    Const,
    Convert,
    EvaluationError,
    Load,
    Operation,
    OuterAddress,
    SelfAddress,
    Width,
    convert,
    walk,
    width_of,
)
from gdbext.profile.expressions.vectors import vector
from gdbext.structures.chain import values_in
from gdbext.structures.gather import gathered

WIDEST = 4096
"""Elements that would need more bytes than this are not kept whole: each read is gathered by itself."""

_YES, _NO = Const(1, S32), Const(0, S32)
_BYTE = Width(8, False)


@dataclass(frozen=True)
class Elements:
    """Elements at virtual addresses ``nodes``; ``data`` has a row of bytes for each, from offset ``first``.

    ``outer`` are the addresses of the elements that they are nested in, 0 where they are not nested.
    """

    nodes: NDArray[np.uint64]
    data: NDArray[np.uint8]
    first: int
    outer: NDArray[np.uint64]
    memory: VirtualMemory
    _fetched: dict[Load, tuple[NDArray[np.uint8], NDArray[np.bool_]]] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.nodes)

    def taken(self, which: NDArray[Any]) -> Elements:
        """The elements with these indexes, or where this is true."""
        return Elements(self.nodes[which], self.data[which], self.first, self.outer[which], self.memory)

    def values(self, expression: Expression) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """An expression's value in every element, and which elements have a value: the others' are 0."""
        settled = expression.settled(self.memory)
        flat, end = settled.flat, self.first + self.data.shape[1]
        if flat is not None and (not flat.reads or (self.first <= flat.span[0] and flat.span[1] <= end)):
            try:
                found = values_in(settled, self.nodes, self.data, self.first, self.memory)
                # Side by side, so that the bytes of whole elements are not kept for the sake of a column.
                return np.ascontiguousarray(found), np.ones(len(self), dtype=np.bool_)
            except EvaluationError:
                pass  # in some of the elements
        assert settled.operation is not None  # the binder guarantees it
        stages = _Stages(self)
        return stages.computed(*stages.without_reads(settled.operation))

    def link(self, expression: Expression) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
        """The values, as `values` does, of an expression that is an address or a link."""
        values, known = self.values(expression)
        return values.astype(np.uint64), known

    def why_not(self, expression: Expression, number: int) -> str:
        """Why an expression has no value in one element."""
        try:
            expression.evaluate(self.memory, int(self.nodes[number]), int(self.outer[number]))
        except MemoryUnavailable as error:
            return str(error)
        return f"{expression.text} could not be read together with its neighbours"

    def fetched(
        self, load: Load, addresses: NDArray[np.uint64], where: NDArray[np.bool_]
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """The bytes of a read for each element, and which could be read; each read is made once."""
        if load not in self._fetched:
            rows, seen = np.zeros((len(self), load.size), dtype=np.uint8), np.zeros(len(self), dtype=np.bool_)
            which = np.flatnonzero(where)
            rows[which], seen[which] = gathered(addresses[which], (load.offset, load.offset + load.size), self.memory)
            self._fetched[load] = rows, seen
        return self._fetched[load]


def one_element(memory: VirtualMemory) -> Elements:
    """A single element for expressions that refer to no element."""
    zero = np.zeros(1, dtype=np.uint64)
    return Elements(zero, np.zeros((1, 1), dtype=np.uint8), 0, zero, memory)


def own_span(*expressions: Expression | None) -> tuple[int, int]:
    """The bytes of an element that expressions read: first, and end, relative to its address."""
    loads = [
        found
        for expression in expressions
        if expression is not None and expression.operation is not None
        for found in walk(expression.operation)
        if isinstance(found, Load) and isinstance(found.base, SelfAddress)
    ]
    first = min((load.offset for load in loads), default=0)
    end = max((load.offset + load.size for load in loads), default=1)
    return (first, end) if end - first <= WIDEST else (0, 1)


def as_link(link: Expression, value: int) -> int:
    """A value converted to a link's type, as C does."""
    width = width_of(link.type)
    return width.wrap(value) if width else value


class _Stages:
    """Takes the reads out of one expression; the bytes that they read are ``blocks``, side by side."""

    def __init__(self, elements: Elements) -> None:
        self._elements = elements
        self._blocks: list[NDArray[np.uint8]] = []
        self._width = 0

    def without_reads(self, operation: Operation) -> tuple[Operation, Operation]:
        """The operation over the blocks, and a second operation: whether it has a value."""
        match operation:
            case Const() | SelfAddress():
                return operation, _YES
            case OuterAddress():
                outer = np.ascontiguousarray(self._elements.outer).view(np.uint8).reshape(-1, 8)
                return Load(SelfAddress(), self._added(outer), 8, U64), _YES
            case Load():
                return self._load(operation)
            case Convert(operand=operand):
                value, known = self.without_reads(operand)
                return replace(operation, operand=value), known
            case Compare(left=left, right=right):
                (first, known), (second, also) = self.without_reads(left), self.without_reads(right)
                return replace(operation, left=first, right=second), _both(known, also)
            case Arithmetic(left=left, right=right):
                (first, known), (second, also) = self.without_reads(left), self.without_reads(right)
                made = replace(operation, left=first, right=second)
                return made, _both(_both(known, also), _defined(made))
            case Choose():
                condition, known = self.without_reads(operation.condition)
                (yes, if_yes), (no, if_no) = self.without_reads(operation.yes), self.without_reads(operation.no)
                either = if_yes if if_yes == if_no else Choose(condition, if_yes, if_no, S32)
                return replace(operation, condition=condition, yes=yes, no=no), _both(known, either)

    def _load(self, load: Load) -> tuple[Operation, Operation]:
        elements, own = self._elements, isinstance(load.base, SelfAddress)
        start, end = load.offset - elements.first, load.offset - elements.first + load.size
        if own and start >= 0 and end <= elements.data.shape[1]:
            return replace(load, offset=self._added(elements.data[:, start:end])), _YES
        addresses, where = self.computed(*self.without_reads(load.base))
        rows, seen = elements.fetched(load, addresses, where & (addresses != 0) if load.pointer else where)
        value = replace(load, base=SelfAddress(), offset=self._added(rows), pointer=False)
        flag = Load(SelfAddress(), self._added(seen.view(np.uint8)[:, None]), 1, _BYTE)
        return value, convert(flag, S32)

    def _added(self, block: NDArray[np.uint8]) -> int:
        """Add a block; the offset at which it begins in a row of all blocks."""
        begin = self._width
        self._blocks.append(block)
        self._width += int(block.shape[1])
        return begin

    def computed(self, value: Operation, known: Operation) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """The values, 0 where there is none; and where there is a value."""
        count = len(self._elements)
        empty = np.zeros((count, 0), dtype=np.uint8)
        buffer = np.concatenate([empty, *self._blocks], axis=1).reshape(-1)
        offsets = np.arange(count, dtype=np.int64) * self._width
        where = np.broadcast_to(vector(known)(buffer, offsets, self._elements.nodes) != 0, count)
        which = np.flatnonzero(where)
        values = np.zeros(count, dtype=value.width.dtype)
        values[which] = vector(value)(buffer, offsets[which], self._elements.nodes[which])
        return values, where


def _both(first: Operation, second: Operation) -> Operation:
    """Whether both are true; the second is not computed where the first is false."""
    if first == _YES:
        return second
    return first if second == _YES else Choose(first, second, _NO, S32)


def _defined(operation: Arithmetic) -> Operation:
    """Whether a division or a shift has a result."""
    right = operation.right
    if operation.operator in "/%":
        return Compare("!=", right, Const(0, right.width))
    if operation.operator in ("<<", ">>"):
        return Compare("<", convert(right, U64), Const(operation.width.bits, U64))
    return _YES
