"""Evaluates an expression over many nodes at once, with numpy: the third kind of closure of ``operations.py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gdbext.profile.expressions.operations import (
    COMPARISONS,
    TRUTH,
    WRAPPING,
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
    bad_shift,
)

Offsets = NDArray[np.int64] | range
"""Where nodes are in a buffer, in bytes; a range where they are adjacent, which is read several times faster."""
Vector = Callable[[NDArray[np.uint8], Offsets, NDArray[np.uint64]], NDArray[Any]]


def vector(operation: Operation) -> Vector:
    """``f(buffer, offsets, addresses)`` for an operation that reads only the node: one value for each offset.

    Results of constants have one element, which numpy spreads over all nodes.
    """
    match operation:
        case Const(value=value, width=width):
            constant = np.array([value], dtype=width.dtype)
            return lambda buffer, offsets, addresses: constant
        case SelfAddress():
            return lambda buffer, offsets, addresses: addresses
        case OuterAddress():
            raise ValueError("the outer element is not among a node's bytes")
        case Load():
            return _load_vector(operation)
        case Convert(operand=operand, width=width):
            inner, dtype = vector(operand), width.dtype
            if width == TRUTH:
                return lambda buffer, offsets, addresses: (inner(buffer, offsets, addresses) != 0).astype(dtype)
            return lambda buffer, offsets, addresses: inner(buffer, offsets, addresses).astype(dtype)
        case Choose():
            return _choose_vector(operation)
        case Compare(operator=sign, left=left, right=right):
            first, second, compare = vector(left), vector(right), COMPARISONS[sign]
            return _compare_vector(compare, first, second)
        case Arithmetic():
            return _arithmetic_vector(operation)


def _compare_vector(compare: Callable[[Any, Any], Any], left: Vector, right: Vector) -> Vector:
    def compute(buffer: NDArray[np.uint8], offsets: Offsets, addresses: NDArray[np.uint64]) -> NDArray[Any]:
        truth: NDArray[np.bool_] = compare(left(buffer, offsets, addresses), right(buffer, offsets, addresses))
        return truth.astype(np.int32)

    return compute


def _load_vector(load: Load) -> Vector:
    if load.bits is not None:
        return _bits_vector(load)
    dtype = load.width.dtype
    stored = np.dtype(f"<u{load.size}") if load.size < dtype.itemsize else dtype  # a pointer of a 32-bit kernel

    def gather(buffer: NDArray[np.uint8], offsets: Offsets, addresses: NDArray[np.uint64]) -> NDArray[Any]:
        values = gather_values(buffer, shifted(offsets, load.offset), stored)
        return (values != 0).astype(np.uint8) if load.width == TRUTH else values.astype(dtype, copy=False)

    return gather


def gather_values(buffer: NDArray[np.uint8], offsets: Offsets, dtype: np.dtype[Any]) -> NDArray[Any]:
    """The values of one type at many offsets, aligned or not: every byte starts an element of this view."""
    starts = max(0, len(buffer) - dtype.itemsize + 1)
    view: NDArray[Any] = np.ndarray((starts,), dtype, buffer=np.ascontiguousarray(buffer), strides=(1,))
    return view[slice(offsets.start, offsets.stop, offsets.step) if isinstance(offsets, range) else offsets]


def shifted(offsets: Offsets, by: int) -> Offsets:
    """The offsets, each plus ``by`` bytes."""
    if isinstance(offsets, range):
        return range(offsets.start + by, offsets.stop + by, offsets.step)
    return offsets + by


def _bits_vector(load: Load) -> Vector:
    """Bit-fields, byte by byte: they may be narrower than any type, and end at the end of the node."""
    bits, shift, signed = load.bits or 0, load.shift, load.width.signed

    def gather(buffer: NDArray[np.uint8], offsets: Offsets, addresses: NDArray[np.uint64]) -> NDArray[Any]:
        value = np.zeros(len(offsets), dtype=np.uint64)
        for place in range(load.size):
            byte = gather_values(buffer, shifted(offsets, load.offset + place), np.dtype(np.uint8)).astype(np.uint64)
            up = 8 * place - shift
            value |= byte << np.uint64(up) if up >= 0 else byte >> np.uint64(-up)
        top = np.uint64(64 - bits)
        value <<= top
        if load.width == TRUTH:
            field: NDArray[Any] = value != 0
        else:
            field = value.view(np.int64) >> np.int64(64 - bits) if signed else value >> top
        held: NDArray[Any] = field.astype(load.width.dtype)
        return held

    return gather


def _choose_vector(operation: Choose) -> Vector:
    """Each branch is computed only for the nodes that take it, as C does: the other may divide by zero."""
    condition, yes, no = vector(operation.condition), vector(operation.yes), vector(operation.no)
    dtype = operation.width.dtype

    def choose(buffer: NDArray[np.uint8], offsets: Offsets, addresses: NDArray[np.uint64]) -> NDArray[Any]:
        offsets, addresses = np.asarray(offsets, dtype=np.int64), np.broadcast_to(addresses, len(offsets))
        taken = np.broadcast_to(condition(buffer, offsets, addresses) != 0, offsets.shape)
        result = np.empty(offsets.shape, dtype=dtype)
        for mask, branch in ((taken, yes), (~taken, no)):
            if mask.any():
                result[mask] = branch(buffer, offsets[mask], addresses[mask])
        return result

    return choose


def _arithmetic_vector(operation: Arithmetic) -> Vector:
    left, right, sign = vector(operation.left), vector(operation.right), operation.operator
    combine = WRAPPING.get(sign) or (_shift_arrays(operation) if sign in ("<<", ">>") else _divide_arrays(operation))

    def compute(buffer: NDArray[np.uint8], offsets: Offsets, addresses: NDArray[np.uint64]) -> NDArray[Any]:
        result: NDArray[Any] = combine(left(buffer, offsets, addresses), right(buffer, offsets, addresses))
        return result

    return compute


def _shift_arrays(operation: Arithmetic) -> Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]:
    move = np.left_shift if operation.operator == "<<" else np.right_shift

    def shift(value: NDArray[Any], count: NDArray[Any]) -> NDArray[Any]:
        wrong = (count < 0) | (count >= operation.width.bits)
        if wrong.any():
            raise EvaluationError(bad_shift(operation, int(count[wrong][0])))
        moved: NDArray[Any] = move(value, count.astype(value.dtype))
        return moved

    return shift


def _divide_arrays(operation: Arithmetic) -> Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]:
    """Division that truncates toward zero, where numpy's rounds down."""

    def divide(value: NDArray[Any], divisor: NDArray[Any]) -> NDArray[Any]:
        if not divisor.all():
            raise EvaluationError(f"{operation.title} divides by zero")
        with np.errstate(over="ignore"):
            quotient = value // divisor
            rest = value - quotient * divisor
            quotient = quotient + ((rest != 0) & ((value < 0) != (divisor < 0))).astype(value.dtype)
            result: NDArray[Any] = quotient if operation.operator == "/" else value - quotient * divisor
        return result

    return divide
