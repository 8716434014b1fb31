"""Memory that a heap fills because no code may write to it: poison in free payloads, redzones around used ones."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gdbext.errors import MemoryUnavailable
from gdbext.heap.parts import U64, Chunks
from gdbext.machine.memory import VirtualMemory
from gdbext.profile.expressions.expression import Expression
from gdbext.profile.language.heaps import Poison, Redzone
from gdbext.progress import progress
from gdbext.structures.chain import values_in
from gdbext.structures.gather import gathered, span_of
from gdbext.units import FRAME_SIZE, WORD_MASK, VirtAddr, round_up
from gdbext.x86.virtual import PagedMemory

BLOCK = 1 << 20
"""Bytes that are checked together."""


@dataclass(frozen=True)
class Fill:
    """Memory that must hold one repeated byte: stretches in order of address, and the numbers of their chunks.

    ``what`` is the error that changes it: writing into ``poison`` of free chunks, ``underrun`` or ``overrun``.
    """

    what: str
    byte: int
    chunk: NDArray[np.int64]
    start: NDArray[np.uint64]
    end: NDArray[np.uint64]


def read_fills(
    poison: Poison[Expression] | None, redzone: Redzone[Expression] | None, chunks: Chunks, memory: PagedMemory
) -> tuple[Fill, ...]:
    """Poison and redzones, as far as the profile describes them. Raises MemoryUnavailable."""
    fills = []
    if poison is not None and _is_done(poison.when, memory):
        fills.append(_poison(poison, chunks, memory))
    if redzone is not None and _is_done(redzone.when, memory):
        fills += _redzones(redzone, chunks, memory)
    return tuple(fills)


def _is_done(when: Expression | None, memory: VirtualMemory) -> bool:
    return when is None or bool(when.evaluate(memory))


def _poison(poison: Poison[Expression], chunks: Chunks, memory: VirtualMemory) -> Fill:
    which = np.flatnonzero(chunks.free & chunks.sound & (chunks.size >= 0))
    start = chunks.payload[which] + U64(poison.skip.evaluate(memory))
    return filled("poison", poison.byte, which, start, chunks.end[which])


def _redzones(redzone: Redzone[Expression], chunks: Chunks, memory: PagedMemory) -> list[Fill]:
    """The redzones before the caller's bytes, and those after them."""
    which = np.flatnonzero(~chunks.free & chunks.sound & (chunks.size >= 0))
    nodes, size = chunks.payload[which], chunks.size[which]
    asked = tuple(e for e in (redzone.start, redzone.front, redzone.size) if e is not None)
    span = span_of(asked)
    rows, _ = gathered(nodes, span, memory)
    # Recorded bounds are trusted only as far as the payload reaches.
    start, front, *own = (
        np.minimum(values_in(e, nodes, rows, span[0], memory).astype(U64), size.astype(U64)) for e in asked
    )
    last = size.astype(U64) - np.minimum(U64(redzone.behind.evaluate(memory)), size.astype(U64))
    behind = np.minimum(front + own[0], size.astype(U64)) if own else last
    return [
        filled("underrun", redzone.byte, which, nodes + start, nodes + front),
        filled("overrun", redzone.byte, which, nodes + behind, nodes + size.astype(U64)),
    ]


def filled(what: str, byte: int, which: NDArray[np.int64], start: NDArray[np.uint64], end: NDArray[np.uint64]) -> Fill:
    """The stretches that are not empty, in order of address."""
    some = np.flatnonzero(end > start)
    order = some[np.argsort(start[some], kind="stable")]
    return Fill(what, byte, which[order], start[order], end[order])


@dataclass(frozen=True)
class Touched:
    """A stretch that was written into: its number, the first wrong byte, and how many are wrong."""

    number: int
    address: VirtAddr
    count: int


def touched(fill: Fill, memory: PagedMemory) -> list[Touched]:
    """The stretches with a wrong byte. Memory that cannot be read is skipped."""
    found: dict[int, Touched] = {}
    if not len(fill.start):
        return []
    # A stretch may span the whole address space, where a heap's end or a size is overwritten.
    first, end = int(fill.start[0]), int(fill.end.max())
    mapped, mapped_last = memory.mapped(VirtAddr(first), end)
    at, last = 0, 0
    while at < len(fill.start):
        block = max(last, int(fill.start[at]))
        there = int(np.searchsorted(mapped_last, U64(block)))
        if there == len(mapped):
            break
        block = max(block, int(mapped[there]))
        progress("checking bytes of poison and redzones", block - first, end - first)
        last = min(block + BLOCK, WORD_MASK)
        until = int(np.searchsorted(fill.start, U64(last)))
        for one in _touched_in(fill, slice(at, until), block, memory):
            known = found.get(one.number)
            found[one.number] = one if known is None else Touched(one.number, known.address, known.count + one.count)
        # A stretch that reaches beyond the block is checked again in the next.
        at = until - (until > at and int(fill.end[until - 1]) > last)
    return [found[number] for number in sorted(found)]


def _as_far_as_readable(start: int, end: int, filler: int, memory: VirtualMemory) -> bytes:
    """The bytes between two addresses; where a page cannot be read, ``filler``."""
    try:
        return memory.read(VirtAddr(start), end - start)
    except MemoryUnavailable:
        if end - start <= FRAME_SIZE - start % FRAME_SIZE:
            return bytes([filler]) * (end - start)
    borders = [start, *range(round_up(start + 1, FRAME_SIZE), end, FRAME_SIZE), end]
    return b"".join(_as_far_as_readable(*piece, filler, memory) for piece in pairwise(borders))


def _touched_in(fill: Fill, which: slice, block: int, memory: VirtualMemory) -> list[Touched]:
    """The same for some stretches, as far as they lie in one block of memory."""
    end = min(block + BLOCK, int(fill.end[which].max()))
    wrong = np.flatnonzero(
        np.frombuffer(_as_far_as_readable(block, end, fill.byte, memory), dtype=np.uint8) != fill.byte
    )
    start = np.maximum(fill.start[which], U64(block)) - U64(block)
    stop = np.clip(fill.end[which], U64(block), U64(end)) - U64(block)
    first, behind = np.searchsorted(wrong, start), np.searchsorted(wrong, stop)
    return [
        Touched(which.start + at, VirtAddr(block + int(wrong[first[at]])), int(behind[at] - first[at]))
        for at in np.flatnonzero(behind > first).tolist()
    ]
