"""What an expression computes, once names and types are resolved: integers of 32 and 64 bits, and loads from memory.

One tree of operations is turned into three kinds of Python closure, which must agree (the third in ``vectors.py``):

    over memory     (memory, the node, its outer element)         one value, through any number of pointers
    over bytes      (buffer, offset of the node, its address)     one node, whose bytes have been read already
    over arrays     (buffer, offsets of nodes, their addresses)   many nodes at once, with numpy

The last two exist only for operations that read nothing but the node itself. Arithmetic is C's: two's complement
that wraps at the width of the operation.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gdbext.errors import MemoryUnavailable
from gdbext.symbols.model import Kind, Type
from gdbext.units import WORD_MASK, VirtAddr


class EvaluationError(MemoryUnavailable):
    """An expression that has no value in the kernel's present state: a null pointer, a division by zero."""


@dataclass(frozen=True, slots=True)
class Width:
    """How an integer is stored: ``bits``, and whether it is signed. One bit is a truth value."""

    bits: int
    signed: bool

    def wrap(self, value: int) -> int:
        """The value that this width holds when ``value`` is put into it."""
        if self.bits == 1:
            return int(value != 0)
        value &= (1 << self.bits) - 1
        return value - (1 << self.bits) if self.signed and value >> (self.bits - 1) else value

    @property
    def dtype(self) -> np.dtype[Any]:
        """The same in numpy."""
        if self.bits == 1:
            return np.dtype(np.uint8)
        return np.dtype(f"<{'i' if self.signed else 'u'}{self.bits // 8}")


TRUTH = Width(1, False)
S32, U32, S64, U64 = Width(32, True), Width(32, False), Width(64, True), Width(64, False)


def width_of(kind: Type) -> Width | None:
    """How values of a type are held; None for types that are not integers of at most 64 bits."""
    if kind.kind is Kind.BOOLEAN:
        return TRUTH
    if kind.kind is Kind.POINTER:
        return U64
    if kind.kind in (Kind.INTEGER, Kind.ENUM) and kind.size in (1, 2, 4, 8):
        return Width(8 * kind.size, kind.signed)
    return None


@dataclass(frozen=True, slots=True)
class Const:
    """A number."""

    value: int
    width: Width


@dataclass(frozen=True, slots=True)
class SelfAddress:
    """The virtual address of the node."""

    width: Width = U64


@dataclass(frozen=True, slots=True)
class OuterAddress:
    """The virtual address of the element that the node is nested in."""

    width: Width = U64


@dataclass(frozen=True, slots=True)
class Load:
    """What memory holds at ``base + offset``: ``size`` bytes, or ``bits`` of them from bit ``shift`` up.

    ``pointer`` says that ``base`` was read from memory or computed, so that 0 in it is a null pointer.
    """

    base: Operation
    offset: int
    size: int
    width: Width
    shift: int = 0
    bits: int | None = None
    pointer: bool = False
    title: str = ""


@dataclass(frozen=True, slots=True)
class Convert:
    """The operand, put into another width."""

    operand: Operation
    width: Width


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """``+ - * / % & | ^ << >>`` on two operands that both have this width (the count of a shift may differ)."""

    operator: str
    left: Operation
    right: Operation
    width: Width
    title: str = ""


@dataclass(frozen=True, slots=True)
class Compare:
    """``== != < <= > >=`` on two operands of one width."""

    operator: str
    left: Operation
    right: Operation
    width: Width = S32


@dataclass(frozen=True, slots=True)
class Choose:
    """``condition ? yes : no``; ``&&``, ``||`` and ``!`` are written with it."""

    condition: Operation
    yes: Operation
    no: Operation
    width: Width


Operation = Const | SelfAddress | OuterAddress | Load | Convert | Arithmetic | Compare | Choose
Scalar = Callable[[Any, int, int], int]

COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
WRAPPING: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
}


def children(operation: Operation) -> tuple[Operation, ...]:
    """The operands of an operation."""
    match operation:
        case Load(base=base):
            return (base,)
        case Convert(operand=operand):
            return (operand,)
        case Arithmetic(left=left, right=right) | Compare(left=left, right=right):
            return (left, right)
        case Choose(condition=condition, yes=yes, no=no):
            return (condition, yes, no)
        case _:
            return ()


def walk(operation: Operation) -> Iterator[Operation]:
    """The operation, and everything below it."""
    yield operation
    for child in children(operation):
        yield from walk(child)


def folded(operation: Operation) -> Operation:
    """The result of an operation on constants, as a constant; any other operation unchanged.

    What has no value (a division by zero) is left unchanged: it may be in a branch that is never taken.
    """
    below = children(operation)
    if isinstance(operation, Load) or not below or not all(isinstance(child, Const) for child in below):
        return operation
    try:
        return Const(scalar_over_memory(operation)(None, 0, 0), operation.width)
    except EvaluationError:
        return operation


def settled(operation: Operation, memory: Any) -> Operation:
    """The operation with everything computed now that does not depend on the node.

    What has no value now is left unchanged: it may be in a branch that is never taken.
    """
    if not mentions_self(operation):
        try:
            return Const(scalar_over_memory(operation)(memory, 0, 0), operation.width)
        except MemoryUnavailable:
            return operation
    match operation:
        case Load(base=base):
            return replace(operation, base=settled(base, memory))
        case Convert(operand=operand):
            return replace(operation, operand=settled(operand, memory))
        case Arithmetic(left=left, right=right) | Compare(left=left, right=right):
            return replace(operation, left=settled(left, memory), right=settled(right, memory))
        case Choose(condition=condition, yes=yes, no=no):
            return replace(
                operation, condition=settled(condition, memory), yes=settled(yes, memory), no=settled(no, memory)
            )
        case _:
            return operation


def mentions_self(operation: Operation) -> bool:
    """Whether it needs the node's address, or anything in the node or in the element that the node is nested in."""
    return isinstance(operation, SelfAddress | OuterAddress) or any(
        mentions_self(child) for child in children(operation)
    )


def convert(operation: Operation, width: Width) -> Operation:
    """The operation put into a width, without a step when it has that width."""
    return operation if operation.width == width else folded(Convert(operation, width))


def offset_from_base(operation: Operation) -> tuple[Operation, int]:
    """An address as a base and a constant offset in bytes."""
    match operation:
        case Arithmetic(operator="+", left=left, right=Const(value=value)):
            return left, value - (1 << 64) if value >> 63 else value
        case _:
            return operation, 0


def add_offset(operation: Operation, offset: int) -> Operation:
    """An address moved by a constant number of bytes."""
    base, already = offset_from_base(operation)
    total = (already + offset) & WORD_MASK
    return folded(Arithmetic("+", base, Const(total, U64), U64)) if total else base


def scalar_over_memory(operation: Operation) -> Scalar:
    """``f(memory, address of the node, address of the element that the node is nested in)``.

    Raises EvaluationError, and whatever the memory raises.
    """
    own = _Scalars(_load_from_memory, lambda memory, address, outer: address, lambda memory, address, outer: outer)
    return own.build(operation)


def address_over_memory(address: Operation, pointer: bool, title: str) -> Scalar:
    """The address of a place, with the same arguments. Raises EvaluationError when it follows a null pointer."""
    base, offset = offset_from_base(address)
    start = scalar_over_memory(base)

    def locate(memory: Any, node: int, outer: int) -> int:
        found = start(memory, node, outer)
        if pointer and not found:
            raise EvaluationError(f"{title} follows a null pointer")
        return (found + offset) & WORD_MASK

    return locate


def scalar_over_bytes(operation: Operation) -> Scalar:
    """``f(buffer, offset of the node, address of the node)`` for an operation that reads only the node."""
    return _Scalars(_load_from_bytes, lambda buffer, offset, address: address).build(operation)


def _load_from_memory(load: Load, base: Scalar) -> Scalar:
    size, offset = load.size, load.offset
    extract = _extractor(load)

    def read(memory: Any, address: int, outer: int) -> int:
        pointer = base(memory, address, outer)
        if load.pointer and not pointer:
            raise EvaluationError(f"{load.title} follows a null pointer")
        return extract(memory.read(VirtAddr((pointer + offset) & WORD_MASK), size))

    return read


_FORMATS = {
    (1, False): "<B",
    (1, True): "<b",
    (2, False): "<H",
    (2, True): "<h",
    (4, False): "<I",
    (4, True): "<i",
    (8, False): "<Q",
    (8, True): "<q",
}


def _load_from_bytes(load: Load, base: Scalar) -> Scalar:
    offset, size = load.offset, load.size
    if load.bits is None and load.width != TRUTH:
        unpack = struct.Struct(_FORMATS[size, load.width.signed]).unpack_from
        if offset:
            return lambda buffer, at, address: unpack(buffer, at + offset)[0]
        return lambda buffer, at, address: unpack(buffer, at)[0]
    extract = _extractor(load)
    return lambda buffer, at, address: extract(bytes(buffer[at + offset : at + offset + size]))


def _extractor(load: Load) -> Callable[[bytes], int]:
    """How a value is taken out of its bytes."""
    from_bytes, signed = int.from_bytes, load.width.signed
    if load.width == TRUTH:
        mask = ((1 << load.bits) - 1) << load.shift if load.bits else -1
        return lambda data: int(from_bytes(data, "little") & mask != 0)
    if load.bits is None:
        return lambda data: from_bytes(data, "little", signed=signed)
    shift, field = load.shift, Width(load.bits, signed)
    return lambda data: field.wrap(from_bytes(data, "little") >> shift)


class _Scalars:
    """Builds closures that compute one Python integer; the caller decides how memory is read."""

    def __init__(
        self, load: Callable[[Load, Scalar], Scalar], self_address: Scalar, outer_address: Scalar | None = None
    ) -> None:
        self._load = load
        self._self_address = self_address
        self._outer_address = outer_address

    def build(self, operation: Operation) -> Scalar:
        match operation:
            case Const(value=value):
                return lambda a, b, c: value
            case SelfAddress():
                return self._self_address
            case OuterAddress():
                assert self._outer_address is not None  # operations over bytes have no outer element
                return self._outer_address
            case Load(base=base):
                return self._load(operation, self.build(base))
            case Convert(operand=operand, width=width):
                inner, wrap = self.build(operand), width.wrap
                if _holds(width, operand.width):
                    return inner
                return lambda a, b, c: wrap(inner(a, b, c))
            case Choose():
                condition, yes, no = (self.build(child) for child in children(operation))
                return lambda a, b, c: yes(a, b, c) if condition(a, b, c) else no(a, b, c)
            case Compare(operator=sign):
                left, right = (self.build(child) for child in children(operation))
                compare = COMPARISONS[sign]
                return lambda a, b, c: int(compare(left(a, b, c), right(a, b, c)))
            case Arithmetic():
                return self._arithmetic(operation)

    def _arithmetic(self, operation: Arithmetic) -> Scalar:
        left, right = self.build(operation.left), self.build(operation.right)
        sign, wrap = operation.operator, operation.width.wrap
        if sign in "&|^":  # two values in range stay in range
            combine = WRAPPING[sign]
            return lambda a, b, c: combine(left(a, b, c), right(a, b, c))
        if sign in WRAPPING:
            combine = WRAPPING[sign]
            return lambda a, b, c: wrap(combine(left(a, b, c), right(a, b, c)))
        partial = _shift if sign in ("<<", ">>") else _divide
        return lambda a, b, c: wrap(partial(operation, left(a, b, c), right(a, b, c)))


def _holds(width: Width, other: Width) -> bool:
    """Whether every value of the other width is a value of this one."""
    if width.bits == 1:
        return other.bits == 1
    return width.signed >= other.signed and width.bits - width.signed >= other.bits - other.signed


def _shift(operation: Arithmetic, value: int, count: int) -> int:
    if not 0 <= count < operation.width.bits:
        raise EvaluationError(bad_shift(operation, count))
    return value << count if operation.operator == "<<" else value >> count


def bad_shift(operation: Arithmetic, count: int) -> str:
    """What is wrong with a shift by this count."""
    return f"{operation.title} shifts a {operation.width.bits}-bit number by {count}"


def _divide(operation: Arithmetic, value: int, divisor: int) -> int:
    if not divisor:
        raise EvaluationError(f"{operation.title} divides by zero")
    quotient = abs(value) // abs(divisor)
    quotient = quotient if (value < 0) == (divisor < 0) else -quotient
    return quotient if operation.operator == "/" else value - quotient * divisor
