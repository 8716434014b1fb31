"""The bytes of many nodes at any addresses, at once, and the values of expressions about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gdbext.errors import MemoryUnavailable
from gdbext.machine.memory import VirtualMemory
from gdbext.profile.expressions.expression import Expression
from gdbext.structures.chain import values_in
from gdbext.units import WORD_MASK, VirtAddr
from gdbext.x86.virtual import PagedMemory


def span_of(expressions: tuple[Expression, ...]) -> tuple[int, int]:
    """The bytes that flat expressions need, relative to their node: first and end."""
    spans = [e.flat.span for e in expressions if e.flat is not None and e.flat.reads]
    return min((first for first, _ in spans), default=0), max((end for _, end in spans), default=1)


def gathered(
    nodes: NDArray[np.uint64], span: tuple[int, int], memory: VirtualMemory
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A row with the bytes of ``span`` for each node, and which of them could be read; the others' are 0."""
    starts = nodes + np.uint64(span[0] & WORD_MASK)
    rows, seen = np.zeros((len(nodes), span[1] - span[0]), dtype=np.uint8), np.zeros(len(nodes), dtype=np.bool_)
    if not isinstance(memory, PagedMemory):  # the debugger's own reads, before RAM is known
        for index, start in enumerate(starts.tolist()):
            seen[index] = _read(memory.read, start, rows, index)
        return rows, seen
    for here, mine in memory.stretches(starts):
        whole = here.copy(starts, mine, rows)
        memory.seen(starts[mine[whole]] - np.uint64(here.shift & WORD_MASK), (0, rows.shape[1]))
        seen[mine[whole]] = True
        for index in mine[~whole].tolist():
            seen[index] = _read(memory.read_near, int(starts[index]), rows, index)
    return rows, seen


def _read(read: Callable[[VirtAddr, int], bytes], address: int, rows: NDArray[np.uint8], index: int) -> bool:
    """Read one row by itself; whether it could be read."""
    try:
        rows[index] = np.frombuffer(read(VirtAddr(address), rows.shape[1]), dtype=np.uint8)
    except MemoryUnavailable:
        return False
    return True


@dataclass(frozen=True)
class NodeValues:
    """Many nodes with the bytes that expressions about them need; ``seen`` says which nodes could be read."""

    nodes: NDArray[np.uint64]
    rows: NDArray[np.uint8]
    first: int
    seen: NDArray[np.bool_]
    memory: PagedMemory

    def values(self, expression: Expression) -> NDArray[Any]:
        """An expression's value in every node; 0 where it has no value."""
        expression = expression.settled(self.memory)
        try:
            return values_in(expression, self.nodes, self.rows, self.first, self.memory)
        except MemoryUnavailable:
            found = [_value_or_0(expression, self.memory, node) for node in self.nodes.tolist()]
            return np.array(found, dtype=np.uint64).view(np.int64 if expression.type.signed else np.uint64)

    def taken(self, which: NDArray[np.int64]) -> NodeValues:
        """The nodes with these indexes."""
        return replace(self, nodes=self.nodes[which], rows=self.rows[which], seen=self.seen[which])


def node_values(nodes: NDArray[np.uint64], asked: tuple[Expression | None, ...], memory: PagedMemory) -> NodeValues:
    """The bytes of many nodes that these expressions need."""
    span = span_of(tuple(expression.settled(memory) for expression in asked if expression is not None))
    rows, seen = gathered(nodes, span, memory)
    return NodeValues(nodes, rows, span[0], seen, memory)


def _value_or_0(expression: Expression, memory: PagedMemory, node: int) -> int:
    try:
        return expression.evaluate(memory, node) & WORD_MASK
    except MemoryUnavailable:
        return 0
