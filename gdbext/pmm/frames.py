"""Sets of frames, eight to a byte, so that sixteen million frames are counted and compared in milliseconds."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

U8 = np.uint8


class FrameSet:
    """A set of units numbered from 0 to ``count - 1``: frames of RAM, or other units with a bit in a bitmap.

    Bit ``i % 8`` of byte ``i // 8`` of ``packed`` says whether unit ``i`` is in the set. Bits beyond ``count`` are 0.
    """

    def __init__(self, packed: NDArray[np.uint8], count: int) -> None:
        size = -(-count // 8)
        packed = np.array(packed[:size], dtype=U8)
        if len(packed) < size:
            packed = np.concatenate([packed, np.zeros(size - len(packed), dtype=U8)])
        if count % 8:
            packed[-1] &= (1 << count % 8) - 1
        self.count = count
        self.packed = packed

    def __eq__(self, other: object) -> bool:
        """Whether both have the same units and the same count."""
        return isinstance(other, FrameSet) and self.count == other.count and np.array_equal(self.packed, other.packed)

    __hash__ = None  # type: ignore[assignment]  # its bits are an array

    @classmethod
    def of_ranges(cls, ranges: Iterable[tuple[int, int]], count: int) -> FrameSet:
        """The units of half-open ranges of numbers; numbers from ``count`` are cut off."""
        packed = np.zeros(-(-count // 8), dtype=U8)
        for first, end in ranges:
            _fill(packed, max(0, first), min(end, count))
        return cls(packed, count)

    @classmethod
    def of_runs(cls, first: NDArray[np.int64], length: NDArray[np.int64], count: int) -> FrameSet:
        """The units of many runs at once, which may overlap; numbers from ``count`` are cut off."""
        order = np.argsort(first, kind="stable")
        start, end = np.clip(first[order], 0, count), np.clip((first + length)[order], 0, count)
        reach = np.maximum.accumulate(end)
        # Only the borders that remain when runs that meet are merged, so each border occurs just once.
        begins = np.append(True, start[1:] > reach[:-1])[: len(start)]
        edges = np.zeros(count + 1, dtype=np.int8)
        edges[start[begins]] = 1
        edges[np.append(reach[:-1][begins[1:]], reach[-1:])] -= 1
        return cls(np.packbits(np.cumsum(edges[:-1], dtype=np.int8).view(np.bool_), bitorder="little"), count)

    @classmethod
    def of_numbers(cls, numbers: NDArray[np.uint64], count: int) -> FrameSet:
        """The units of these numbers; numbers from ``count`` are ignored."""
        flags = np.zeros(count, dtype=np.bool_)
        flags[numbers[numbers < np.uint64(count)].astype(np.int64)] = True
        return cls(np.packbits(flags, bitorder="little"), count)

    def __len__(self) -> int:
        """How many units are in the set."""
        whole = len(self.packed) // 8 * 8
        words, rest = self.packed[:whole].view(np.uint64), self.packed[whole:]
        return int(np.bitwise_count(words).sum(dtype=np.int64)) + int(np.bitwise_count(rest).sum(dtype=np.int64))

    def __contains__(self, number: int) -> bool:
        return 0 <= number < self.count and bool(self.packed[number >> 3] >> (number & 7) & 1)

    def __and__(self, other: FrameSet) -> FrameSet:
        size = min(len(self.packed), len(other.packed))
        return FrameSet(self.packed[:size] & other.packed[:size], self.count)

    def __sub__(self, other: FrameSet) -> FrameSet:
        taken = np.zeros_like(self.packed)
        size = min(len(self.packed), len(other.packed))
        taken[:size] = other.packed[:size]
        return FrameSet(self.packed & ~taken, self.count)

    def first(self) -> int | None:
        """The lowest number in the set, None if it is empty."""
        some = np.flatnonzero(self.packed)
        if not len(some):
            return None
        byte = int(self.packed[some[0]])
        return int(some[0]) * 8 + (byte & -byte).bit_length() - 1

    def __or__(self, other: FrameSet) -> FrameSet:
        packed = self.packed.copy()
        size = min(len(packed), len(other.packed))
        packed[:size] |= other.packed[:size]
        return FrameSet(packed, self.count)

    def __xor__(self, other: FrameSet) -> FrameSet:
        """The units in exactly one of two sets of the same size."""
        return FrameSet(self.packed ^ other.packed, self.count)

    def moved(self, first: int, count: int) -> FrameSet:
        """The same units numbered from ``first``, in a set of ``count``."""
        if first % 8 == 0:
            return FrameSet(np.concatenate([np.zeros(first // 8, dtype=U8), self.packed]), count)
        bits = np.concatenate([np.zeros(first % 8, dtype=U8), np.unpackbits(self.packed, bitorder="little")])
        return FrameSet(np.packbits(bits, bitorder="little"), count - first // 8 * 8).moved(first // 8 * 8, count)

    def words_with_any(self, size: int) -> FrameSet:
        """The words of ``size`` bytes, by number, that have any unit in them."""
        count = -(-self.count // (8 * size))
        padded = np.zeros(count * size, dtype=U8)
        padded[: len(self.packed)] = self.packed
        return FrameSet(np.packbits(padded.reshape(count, size).any(axis=1), bitorder="little"), count)

    def numbers(self) -> NDArray[np.int64]:
        """The numbers in the set, in order."""
        return _set_bits(self.packed)

    def runs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The stretches of consecutive numbers: first number and length of each, in order."""
        if not self.count:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        # A bit of `edges` is set where a number's membership differs from its predecessor's.
        before = np.left_shift(self.packed, 1)
        before[1:] |= self.packed[:-1] >> 7
        borders = _set_bits(np.append(self.packed ^ before, U8(self.packed[-1] >> 7)))
        return borders[::2], borders[1::2] - borders[::2]


def _set_bits(packed: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The numbers of the bits that are 1, in order."""
    some = np.flatnonzero(packed != 0)
    if 4 * len(some) > len(packed):  # bits nearly everywhere: the code below would only take more memory
        return np.flatnonzero(np.unpackbits(packed, bitorder="little").view(np.bool_))
    found = np.flatnonzero(np.unpackbits(packed[some], bitorder="little").view(np.bool_))
    numbers: NDArray[np.int64] = some[found >> 3] * 8 + (found & 7)
    return numbers


def _fill(packed: NDArray[np.uint8], first: int, end: int) -> None:
    """Set the bits from ``first`` up to ``end``, whole bytes at once."""
    if first >= end:
        return
    low, high = first // 8, (end - 1) // 8
    low_mask, high_mask = 0xFF << first % 8 & 0xFF, 0xFF >> 7 - (end - 1) % 8
    if low == high:
        packed[low] |= low_mask & high_mask
        return
    packed[low] |= low_mask
    packed[low + 1 : high] = 0xFF
    packed[high] |= high_mask
