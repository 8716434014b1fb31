"""A heap as one map: the state of each of its bytes, in chunks and between them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from gdbext.checks.ranges import Ranges, coverage
from gdbext.heap.parts import U64
from gdbext.heap.snapshot import HeapSnapshot
from gdbext.structures.unread import Unread
from gdbext.units import WORD_MASK, VirtAddr, hex_address, human_size
from gdbext.x86.runs import Runs

WIDEST = 1 << 61
"""Bytes that no heap spans."""


class Part(Enum):
    """The state of a byte of a heap; of several that apply, the first.

    ``UNKNOWN``: a chunk whose header is overwritten, or a range in which chunks are unknown. ``OVERHEAD``:
    headers, footers, and the rest of slabs and runs of pages. ``AHEAD``: above the watermark. ``NOBODYS``: gaps
    between scattered chunks. ``OUTSIDE``: between two segments.
    """

    TWICE = "in two chunks"
    MISSING = "used, not mapped"
    UNMAPPED = "not mapped"
    UNKNOWN = "unknown"
    USED = "used"
    FREE = "free"
    OVERHEAD = "overhead"
    AHEAD = "not handed out"
    NOBODYS = "nobody's"
    OUTSIDE = "not the heap's"


@dataclass(frozen=True)
class HeapMap:
    """The addresses from ``start`` up to ``end`` as stretches: the first of each, and its state, a `Part`'s name.

    ``sizes`` are the bytes of each state. ``chunks`` counts all that are known, ``outside`` those outside the heap's
    segments, which are not in the map. ``why_incomplete`` says why not all are known.
    """

    name: str
    kind: str
    start: VirtAddr
    end: VirtAddr
    chunks: int
    outside: int
    why_incomplete: str | None
    sizes: dict[str, int]
    begins: tuple[VirtAddr, ...]
    states: tuple[str, ...]


def heap_map(heap: HeapSnapshot, mapped: Runs | None, window: tuple[int, int] | None = None) -> HeapMap | Unread:
    """The map of a heap, or of the part in a window; ``mapped`` are all mappings (None: paging is off)."""
    start, end = _span(heap)
    if end - start >= WIDEST:
        far = f"{hex_address(start)} to {hex_address(end)} is too large to map: {human_size(end - start)}"
        return Unread(heap.name, heap.kind, f"its segments cannot be right: {far}", absent=False)
    if window is not None:
        start, end = max(start, window[0]), min(end, window[1])
    layers = _Layers(heap, mapped, start, max(start, end))
    begin, state = layers.composed()
    names = [part.value for part in Part]
    sizes = np.zeros(len(names), dtype=np.int64)
    np.add.at(sizes, state, np.diff(np.append(begin, layers.size)))
    return HeapMap(
        name=heap.name,
        kind=heap.kind,
        start=VirtAddr(start),
        end=VirtAddr(max(start, end)),
        chunks=len(heap.chunks),
        outside=int((~layers.touching).sum()) if window is None else 0,
        why_incomplete=heap.unseen,
        sizes={name: size for name, size in zip(names, sizes.tolist(), strict=True) if size},
        begins=tuple(map(VirtAddr, (begin.astype(U64) + U64(start)).tolist())),
        states=tuple(np.array(names, dtype=object)[state].tolist()),
    )


def _span(heap: HeapSnapshot) -> tuple[int, int]:
    """The bounds of a heap, the end exclusive; where no segments are known, those of its chunks."""
    known = [(int(s.start), int(s.end)) for s in heap.segments]
    if heap.watermark is not None:
        known.append((int(heap.watermark.start), int(heap.watermark.end)))
    known = [(start, end) for start, end in known if start < end]
    if not known and len(heap.chunks):
        begin, until = heap.chunks.address[heap.sensible], heap.ends[heap.sensible]
        known = [(int(begin.min()), int(until.max()))] if len(begin) else []
    return (min(start for start, _ in known), max(end for _, end in known)) if known else (0, 0)


class _Layers:
    """The layers of the map: ranges of addresses, as offsets from the start of the map and cut to it."""

    def __init__(self, heap: HeapSnapshot, mapped: Runs | None, start: int, end: int) -> None:
        self.size = end - start
        self._heap, self._start, self._end = heap, start, end
        chunks = heap.chunks
        self._until = np.where(chunks.size < 0, chunks.payload, np.maximum(heap.ends, chunks.address))
        if not chunks.sound.all():
            self._until = np.where(chunks.sound, self._until, self._next_chunks())
        self.touching = (chunks.address < U64(end)) & (self._until > U64(start))
        self._whole = self._ranges(chunks.address, self._until)
        payload_end = np.minimum(np.maximum(chunks.end, chunks.payload), self._until)
        self._payload = self._ranges(chunks.payload, payload_end)
        self._segments = self._of([(s.start, s.end) for s in heap.segments])
        self._mapped = self._of([(start, end)]) if mapped is None else self._mapped_in(mapped)

    def _next_chunks(self) -> NDArray[np.uint64]:
        """Where the next chunk by address begins, or the segment ends: a chunk of unknown size ends there at most."""
        ends = np.array([s.end for s in self._heap.segments], dtype=U64)
        begin = np.sort(np.concatenate([self._heap.chunks.address, ends]))
        at = np.searchsorted(begin, self._heap.chunks.address, side="right")
        following: NDArray[np.uint64] = np.append(begin, self._heap.chunks.payload.max())[at]
        return following

    def _ranges(self, start: NDArray[np.uint64], end: NDArray[np.uint64]) -> Ranges:
        """Ranges of addresses as offsets; those outside the map are empty."""
        low, high = U64(self._start), U64(self._end)
        cut = (np.clip(bound.astype(U64), low, high) - low for bound in (start, end))
        first, last = (bound.astype(np.int64) for bound in cut)
        return np.stack([first, np.maximum(first, last)], axis=1)

    def _of(self, ranges: list[tuple[int, int]]) -> Ranges:
        # Damaged ranges may reach beyond the address space.
        bounds = np.array([[min(max(at, 0), WORD_MASK) for at in ends] for ends in ranges], dtype=U64).reshape(-1, 2)
        return self._ranges(bounds[:, 0], bounds[:, 1])

    def _mapped_in(self, mapped: Runs) -> Ranges:
        """The mapped parts of the heap's addresses."""
        first = int(np.searchsorted(mapped.end, U64(self._start)))
        last = int(np.searchsorted(mapped.start, U64(self._end)))
        return self._ranges(mapped.start[first:last], mapped.end[first:last] + U64(1))

    def _own(self) -> Ranges:
        """Slabs and runs of pages, where chunks lie scattered."""
        pieces = self._heap.pieces if self._heap.detail.scattered else None
        return self._of([]) if pieces is None else self._ranges(pieces.start, pieces.end)

    def composed(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the stretches begin, and the state of each as its number in `Part`."""
        if not self.size:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        heap, own, mark = self._heap, self._own(), self._heap.watermark
        sound, free = heap.chunks.sound, heap.chunks.free
        lost = self._of([(gap.start, gap.end) for gap in heap.lost])
        ahead = self._of([] if mark is None else [(mark.current, mark.end)])
        taken = self._of([(mark.start, mark.current)] if mark is not None and not heap.detail.knows_chunks else [])
        layers = (self._whole, self._payload, self._segments, own, lost, ahead, taken, self._mapped)
        # Not np.unique: it hashes, which takes six times as long as to sort.
        borders = np.sort(np.concatenate([[0], *(layer.ravel() for layer in layers)]))
        borders = borders[np.append(True, borders[1:] != borders[:-1]) & (borders < self.size)]

        def covered(ranges: Ranges) -> NDArray[np.bool_]:
            return coverage(borders, ranges) > 0

        whole = coverage(borders, self._whole[sound])
        used = covered(self._payload[sound & ~free]) | covered(taken)
        here = covered(self._mapped)
        inside = covered(self._segments)
        conditions = {
            Part.TWICE: whole > 1,
            Part.MISSING: used & ~here,
            Part.UNMAPPED: ~here,
            Part.UNKNOWN: (covered(self._whole[~sound]) | covered(lost)) & (whole == 0),
            Part.USED: used,
            Part.FREE: covered(self._payload[sound & free]),
            Part.OVERHEAD: (whole > 0) | covered(own),
            Part.AHEAD: covered(ahead),
            Part.NOBODYS: inside & heap.detail.scattered,
            Part.OUTSIDE: ~inside,
        }
        rest = np.full(len(borders), list(Part).index(Part.UNKNOWN))  # in a segment that chunks should fill
        held = np.array([conditions[part] for part in Part])
        state = np.where(held.any(axis=0), held.argmax(axis=0), rest)
        first = np.append(True, state[1:] != state[:-1])
        return borders[first], state[first]
