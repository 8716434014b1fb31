"""Expressions over a kernel's symbols: compiled once against names and types, evaluated any number of times.

``grammar.py`` says what may be written, ``meaning.py`` gives it C's meaning, ``operations.py``
computes it. This module is the interface to the three.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gdbext.machine.memory import VirtualMemory
from gdbext.profile.expressions.grammar import Ast, ExpressionError, parse
from gdbext.profile.expressions.meaning import Compiler
from gdbext.profile.expressions.operations import (
    Const,
    EvaluationError,
    Load,
    Operation,
    OuterAddress,
    Scalar,
    SelfAddress,
    address_over_memory,
    children,
    mentions_self,
    scalar_over_bytes,
    scalar_over_memory,
    settled,
)
from gdbext.profile.expressions.vectors import Offsets, Vector, vector
from gdbext.symbols.model import Symbols, Type
from gdbext.units import VirtAddr

__all__ = ["Ast", "EvaluationError", "Expression", "ExpressionError", "FlatExpression", "compile_expression", "parse"]


@dataclass(frozen=True)
class FlatExpression:
    """An expression that reads nothing but its node, for walks: it works on bytes that have been read already.

    ``span`` is the range of bytes it needs, ``(first, end)`` relative to the node; ``(0, 0)`` when it needs none.
    ``uses_address`` says whether its value depends on where the node is.
    """

    operation: Operation
    span: tuple[int, int]
    uses_address: bool

    @property
    def reads(self) -> bool:
        """Whether it needs any bytes. (Those right in front of the node end with 0.)"""
        return self.span != (0, 0)

    @cached_property
    def evaluate_bytes(self) -> Scalar:
        """``f(buffer, offset, address)``: the value for the node at ``offset`` in ``buffer``.

        ``address`` is the node's virtual address (0 will do unless ``uses_address``). The caller ensures that
        the span is inside the buffer.
        """
        return scalar_over_bytes(self.operation)

    def evaluate_array(
        self,
        buffer: NDArray[np.uint8],
        offsets: Offsets,
        addresses: NDArray[np.uint64] | None = None,
    ) -> NDArray[Any]:
        """The values for the nodes at ``offsets`` (in bytes) in ``buffer``, which are at virtual ``addresses``.

        A range of offsets is for adjacent nodes. Raises IndexError when a node's span leaves the
        buffer, EvaluationError when a node has no value.
        """
        if len(offsets) == 0:
            return np.zeros(0, dtype=self.operation.width.dtype)
        lowest, highest = (offsets[0], offsets[-1]) if isinstance(offsets, range) else (offsets.min(), offsets.max())
        if self.reads and (lowest + self.span[0] < 0 or highest + self.span[1] > len(buffer)):
            raise IndexError("a node's bytes are outside the buffer")
        if addresses is None:
            if self.uses_address:
                raise ValueError("this expression needs the nodes' addresses")
            addresses = np.zeros(1, dtype=np.uint64)
        return np.broadcast_to(self._vector(buffer, offsets, addresses), len(offsets))

    @cached_property
    def _vector(self) -> Vector:
        return vector(self.operation)


class Expression:
    """An expression whose names and types are resolved.

    ``text`` is its source text and ``where`` its location; ``type`` is the type of its value, before
    an array becomes a pointer. ``operation`` computes it, None for a whole struct.
    """

    def __init__(self, text: str, where: str, compiler: Compiler) -> None:
        self.text = text
        self.where = where
        self._place = compiler.place_or_none
        self.operation: Operation | None = compiler.operation
        self.type: Type = compiler.type

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    @property
    def is_scalar(self) -> bool:
        """Whether it has a value that is a number: not so for a whole struct."""
        return self.operation is not None

    @property
    def is_lvalue(self) -> bool:
        """Whether it has an address in memory (a bit-field has none of its own)."""
        return self._place is not None and self._place.bits is None

    @property
    def constant(self) -> int | None:
        """Its value, when that depends on nothing at run time."""
        return self.operation.value if isinstance(self.operation, Const) else None

    def evaluate(self, memory: VirtualMemory, self_address: int | None = None, outer_address: int = 0) -> int:
        """Its value: signed or unsigned as its type is; 0 or 1 for a truth value; the address of an array.

        ``self_address`` is the node's virtual address, for expressions in a node's context, and ``outer_address`` that
        of the element that the node is nested in. Raises EvaluationError (null pointer, division by zero),
        ExpressionError when it is a struct, and what the memory raises.
        """
        if self._evaluate is None:
            raise ExpressionError(self.where, self.text, 0, f"{self.type.name} is not a number; name a member of it")
        return self._evaluate(memory, self._node(self_address), outer_address)

    def address(self, memory: VirtualMemory, self_address: int | None = None) -> VirtAddr:
        """The address of its object in memory. Raises as ``evaluate`` does; ExpressionError if it has no address."""
        if self._address is None:
            raise ExpressionError(self.where, self.text, 0, "this is a value and has no address")
        return VirtAddr(self._address(memory, self._node(self_address), 0))

    @cached_property
    def flat(self) -> FlatExpression | None:
        """The same for bytes that have been read already; None when it reads anything besides its node."""
        return None if self.operation is None else _flat(self.operation)

    def settled(self, memory: VirtualMemory) -> Expression:
        """The same at this stop: parts that do not depend on the node become constants, so that more of it is flat."""
        if self.operation is None or self.flat is not None:
            return self
        found = copy(self)
        for name in ("flat", "_evaluate", "_needs_node"):  # cached properties of the original
            found.__dict__.pop(name, None)
        found.operation = settled(self.operation, memory)
        return found

    def _node(self, self_address: int | None) -> int:
        if self_address is None and self._needs_node:
            raise ExpressionError(self.where, self.text, 0, "this expression needs the address of a node")
        return self_address or 0

    @cached_property
    def _needs_node(self) -> bool:
        roots = [operation for operation in (self.operation, self._place and self._place.address) if operation]
        return any(mentions_self(root) for root in roots)

    @cached_property
    def _evaluate(self) -> Scalar | None:
        return scalar_over_memory(self.operation) if self.operation is not None else None

    @cached_property
    def _address(self) -> Scalar | None:
        if self._place is None or not self.is_lvalue:
            return None
        return address_over_memory(self._place.address, self._place.pointer, self._place.title)


def compile_expression(
    text: str, symbols: Symbols, self_type: Type | None = None, where: str = "", outer_type: Type | None = None
) -> Expression:
    """Resolve an expression's names and types.

    With ``self_type`` (a node's type) bare names are its fields first, then symbols, and ``self`` points to the
    node; with ``outer_type`` ``outer`` points to the element of that type that the node is nested in. Raises
    ExpressionError, which carries ``where``, the column and the nearest existing name.
    """
    return Expression(text, where, Compiler(text, symbols, self_type, where, outer_type))


def _flat(operation: Operation) -> FlatExpression | None:
    """An operation on bytes that have been read already; None when it reads anything besides its node."""
    loads, uses_address = _reads(operation)
    if loads is None:
        return None
    spans = [(load.offset, load.offset + load.size) for load in loads]
    span = (min(first for first, _ in spans), max(end for _, end in spans)) if spans else (0, 0)
    return FlatExpression(operation, span, uses_address)


def _reads(operation: Operation) -> tuple[list[Load] | None, bool]:
    """An operation's loads from the node, and whether it uses the node's address otherwise.

    None instead of the loads when it also loads from elsewhere.
    """
    if isinstance(operation, SelfAddress):
        return [], True
    if isinstance(operation, OuterAddress):
        return None, False
    if isinstance(operation, Load):
        return ([operation], False) if isinstance(operation.base, SelfAddress) else (None, False)
    loads: list[Load] = []
    uses_address = False
    for child in children(operation):
        below, uses = _reads(child)
        if below is None:
            return None, False
        loads += below
        uses_address |= uses
    return loads, uses_address
