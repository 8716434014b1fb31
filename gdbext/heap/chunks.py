"""From headers' bytes to chunks: shared by the readers of all heaps whose chunks have headers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gdbext.heap.parts import U64, Chunks, Segment, Watermark
from gdbext.heap.snapshot import Layout
from gdbext.machine.memory import VirtualMemory
from gdbext.profile.expressions.expression import Expression
from gdbext.profile.language.heaps import ChunkHeap, Heap, Segments
from gdbext.profile.language.heaps import Watermark as BoundWatermark
from gdbext.profile.language.keys import Magic
from gdbext.structures.chain import values_in
from gdbext.structures.collections import read
from gdbext.structures.counter import Counter, read_counter
from gdbext.units import VirtAddr

_H = TypeVar("_H", bound=ChunkHeap[Expression])


@dataclass(frozen=True)
class Headers:
    """The bytes of headers: a row for each, from ``first`` on relative to its address."""

    address: NDArray[np.uint64]
    data: NDArray[np.uint8]
    first: int
    memory: VirtualMemory

    def values(self, expression: Expression) -> NDArray[Any]:
        """An expression's value in every header."""
        return values_in(expression, self.address, self.data, self.first, self.memory)


def chunks_of(heap: ChunkHeap[Expression], headers: Headers) -> Chunks:
    """The chunks of these headers, without links; none is free where headers do not record it."""
    payload = headers.address + U64(heap.header_size)
    magic = heap.magic
    sound = headers.values(magic.expr) == headers.values(magic.equals) if magic else np.ones(len(payload), dtype=bool)
    free = np.zeros(len(payload), dtype=bool) if heap.free is None else headers.values(heap.free) != 0
    return Chunks(headers.address, payload, payload_sizes(heap, headers.values(heap.size.expr)), free, sound)


def payload_sizes(heap: ChunkHeap[Expression], recorded: NDArray[Any]) -> NDArray[np.int64]:
    """Bytes of payload, from what headers record. A size that exceeds 63 bits stays far too large, or is negative."""
    unit, most = heap.size.unit, (1 << 62) // heap.size.unit
    sizes = np.clip(recorded.astype(np.int64), -most, most) * np.int64(unit)
    return sizes - np.int64(heap.header_size) if heap.size.includes_header else sizes


def settled(heap: _H, memory: VirtualMemory) -> _H:
    """The heap with all that is the same for its headers computed once: a key that links are encoded with, say."""
    changes: dict[str, Any] = {"size": replace(heap.size, expr=heap.size.expr.settled(memory))}
    if heap.magic is not None:
        changes["magic"] = Magic(heap.magic.expr.settled(memory), heap.magic.equals.settled(memory))
    for name in ("free", "next", "prev"):
        if isinstance(written := getattr(heap, name, None), Expression):
            changes[name] = written.settled(memory)
    return replace(heap, **changes)


def segments_of(written: tuple[Segments[Expression], ...], memory: VirtualMemory) -> tuple[Segment, ...]:
    """The segments as they are now, those of a collection by ascending address. Raises MemoryUnavailable."""
    found = []
    for segments in written:
        asked = {"start": segments.start, "end": segments.end}
        rows = read(segments.collection, memory, asked, "segments").whole()
        start, end = (rows[name].astype(U64) for name in asked)
        for at in np.argsort(start, kind="stable").tolist():
            found.append(Segment(VirtAddr(int(start[at])), VirtAddr(int(end[at]))))
    return tuple(found)


def layout_of(heap: ChunkHeap[Expression], trailer: int = 0) -> Layout:
    """How chunks with headers are laid out."""
    return Layout(
        header=heap.header_size,
        trailer=trailer,
        alignment=heap.alignment,
        minimum=heap.minimum,
        coalesces=heap.coalesces,
        has_magic=heap.magic is not None,
    )


def in_flux(heap: Heap[Expression], memory: VirtualMemory) -> bool:
    """Whether the heap's lock is held."""
    return bool(heap.lock and heap.lock.evaluate(memory))


def counters_of(heap: Heap[Expression], memory: VirtualMemory) -> tuple[Counter, ...]:
    """The heap's own counters."""
    return tuple(read_counter(meaning, counter, memory) for meaning, counter in heap.counters.items())


def read_watermark(mark: BoundWatermark[Expression], memory: VirtualMemory) -> Watermark:
    """The bounds of memory that is handed out from one end to the other, and how far."""
    start, current, end = (VirtAddr(e.evaluate(memory)) for e in (mark.start, mark.current, mark.end))
    return Watermark(start, current, end, mark.current.address(memory) if mark.current.is_lvalue else None)
