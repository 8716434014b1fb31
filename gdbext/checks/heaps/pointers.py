"""Where pointers to chunks may be outside of heaps: the kernel's variables, registers, stacks in use, and the ranges
that the profile names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from gdbext.errors import DescriptionError, MemoryUnavailable
from gdbext.heap.reach import Words
from gdbext.heap.snapshot import HeapSnapshot
from gdbext.machine.tables import GeneralRegisters
from gdbext.profile.binding.heaps import BoundHeap
from gdbext.profile.expressions.expression import Expression
from gdbext.profile.language.pointers import PointerRanges
from gdbext.structures.collections import read
from gdbext.symbols.model import Section, Symbols
from gdbext.units import FRAME_SIZE, WORD_MASK, VirtAddr, round_down
from gdbext.x86.virtual import PagedMemory

MOST_STACK = 1 << 16
"""Bytes that are searched of a stack that neither a section nor the profile names."""

Range = tuple[int, int]
"""Virtual addresses, the second exclusive."""


@dataclass(frozen=True)
class PointerRange:
    """A range that may hold pointers; ``stack``: the part below a stack pointer into it does not count."""

    start: int
    end: int
    stack: bool


@dataclass(frozen=True)
class PointerSources:
    """Where the search begins: ranges of memory, and ``words`` that processors have in registers.

    ``left_out`` lists what could not be searched, and why.
    """

    ranges: tuple[Range, ...]
    words: Words
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class PointerInputs:
    """The inputs of `find_pointers`. ``bound`` are the profile's heaps, ``heaps`` those that could be read."""

    symbols: Symbols
    described: tuple[PointerRanges[Expression], ...]
    registers: GeneralRegisters
    heaps: tuple[HeapSnapshot, ...]
    bound: tuple[BoundHeap, ...]
    memory: PagedMemory


def find_pointers(inputs: PointerInputs) -> PointerSources:
    """All ranges and registers that may hold pointers, without the memory and variables of heaps."""
    sections = inputs.symbols.sections()
    left_out = [] if sections else ["the kernel's variables: its file has no sections"]
    left_out += [inputs.registers.doubt] if inputs.registers.doubt else []
    named = [_of_section(section) for section in sections if section.writable]
    for one in inputs.described:
        try:
            named += _of_profile(one, inputs.memory)
        except (MemoryUnavailable, DescriptionError) as error:
            left_out.append(f"[pointers.{one.table}]: {error}")
    stacks, dead = _stacks(inputs, named)
    # Where a heap's chunks are not known, all that it handed out counts as reached.
    marks = [heap.watermark for heap in inputs.heaps if heap.watermark and not heap.detail.knows_chunks]
    handed_out = [(int(mark.start), int(mark.current)) for mark in marks]
    wanted = [(one.start, one.end) for one in named] + stacks
    ranges = [*without(joined(wanted), [*dead, *heaps_own(inputs)]), *handed_out]
    words = {value & WORD_MASK for values in inputs.registers.processors for value in values.values()}
    return PointerSources(tuple(joined(ranges)), np.array(sorted(words), dtype=np.uint64), tuple(left_out))


def _of_section(section: Section) -> PointerRange:
    return PointerRange(section.address, section.address + section.size, "stack" in section.name)


def _of_profile(described: PointerRanges[Expression], memory: PagedMemory) -> list[PointerRange]:
    """The ranges that one table of the profile names. Raises MemoryUnavailable, DescriptionError."""
    asked = {"start": described.start, "end": described.end, "stack": described.stack}
    rows = read(described.collection, memory, asked, "ranges").whole()
    stack = rows.get("stack")
    stacks = np.zeros(len(rows), dtype=np.bool_) if stack is None else stack != 0
    ends = (rows[name].astype(np.uint64).tolist() for name in ("start", "end"))
    found = zip(*ends, stacks.tolist(), strict=True)
    return [PointerRange(start, end, stack) for start, end, stack in found if start < end]


def _stacks(inputs: PointerInputs, named: list[PointerRange]) -> tuple[list[Range], list[Range]]:
    """Stacks in use outside the named ranges, and the parts of named ranges that are below stack pointers."""
    live, dead = [], []
    for registers in inputs.registers.processors:
        pointer = registers.get("rsp")
        if pointer is None:
            continue
        around = next((one for one in named if one.start <= pointer < one.end), None)
        if around is None:
            live += _mapped_from(pointer, inputs.memory)
        else:
            dead.append((_floor(pointer, around, inputs.symbols), pointer))
    return live, dead


def _floor(pointer: int, around: PointerRange, symbols: Symbols) -> int:
    """The lowest address of the stack that a stack pointer is in: other variables may be below it."""
    if around.stack:
        return around.start
    held = symbols.name_at(VirtAddr(pointer))
    return pointer if held is None else max(around.start, pointer - held[1])


def _mapped_from(pointer: int, memory: PagedMemory) -> list[Range]:
    """A stack outside the named ranges, from its pointer on as far as it is mapped without a gap."""
    end = pointer
    for start, _, length in memory.pieces(VirtAddr(round_down(pointer, FRAME_SIZE)), MOST_STACK):
        if start > end:
            break
        end = start + length
    return [(pointer, end)] if end > pointer else []


def heaps_own(inputs: PointerInputs) -> list[Range]:
    """The ranges that belong to heaps: their memory, and the variables that locate it."""
    own = [(int(s.start), int(s.end)) for heap in inputs.heaps for s in heap.segments]
    for heap in inputs.heaps:
        if not heap.segments and len(heap.chunks):
            own += zip(heap.chunks.address.tolist(), heap.ends.tolist(), strict=True)
    return own + [one for heap in inputs.bound for one in _variables(heap, inputs.memory)]


def _variables(described: Any, memory: PagedMemory) -> Iterator[Range]:
    """The variables that the expressions of a heap name."""
    values = [getattr(described, field.name) for field in fields(described)]
    for value in values:
        for one in value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple) else (value,):
            if isinstance(one, Expression) and one.is_lvalue:
                try:
                    start = int(one.address(memory))
                    yield start, start + one.type.size
                except (MemoryUnavailable, DescriptionError):
                    continue  # it is about a chunk, or cannot be read now
            elif is_dataclass(one) and not isinstance(one, type):
                yield from _variables(one, memory)


def joined(ranges: Iterable[Range]) -> list[Range]:
    """The same ranges in ascending order, those that overlap or touch merged."""
    found: list[Range] = []
    for start, end in sorted(ranges):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        elif start < end:
            found.append((start, end))
    return found


def without(ranges: list[Range], holes: Iterable[Range]) -> list[Range]:
    """The ranges, ascending and disjoint, without the holes."""
    found, at, cuts = [], 0, joined(holes)
    for start, end in ranges:
        while at < len(cuts) and cuts[at][1] <= start:
            at += 1
        number, begin = at, start
        while number < len(cuts) and cuts[number][0] < end:
            if begin < cuts[number][0]:
                found.append((begin, cuts[number][0]))
            begin = min(end, max(begin, cuts[number][1]))
            number += 1
        if begin < end:
            found.append((begin, end))
    return found
