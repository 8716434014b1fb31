"""HEAP64, HEAP68 and HEAP69: poison and redzones are untouched; a heap's memory is its own, and mapped as data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gdbext.checks.finding import Broken, Rule
from gdbext.checks.heaps.inputs import HeapInputs
from gdbext.checks.heaps.wording import bytes_around, describe, neighbours
from gdbext.heap.fill import touched
from gdbext.heap.parts import Pieces, Segment
from gdbext.heap.snapshot import HeapSnapshot
from gdbext.structures.unread import Unread
from gdbext.units import FRAME_SIZE, hex_address
from gdbext.x86.runs import Runs, matching

_DEEDS = {
    "poison": ("poison in a free payload", "use after free: the chunk was written to after it was freed"),
    "underrun": (
        "the redzone before the caller's bytes",
        "underrun: the code that uses the chunk wrote before its start",
    ),
    "overrun": ("the redzone after the caller's bytes", "overrun: the code that uses the chunk wrote beyond its end"),
}


def check_fills(inputs: HeapInputs) -> Iterator[Broken]:
    """HEAP64: poison and redzones are untouched."""
    heap = inputs.heap
    for fill in heap.fills:
        expected, cause = _DEEDS[fill.what]
        for one in touched(fill, inputs.memory):
            number = int(fill.chunk[one.number])
            if not heap.fits[number]:
                continue  # where it ends is not known
            chunk = heap.chunks.at(number)
            bytes_differ = "byte differs" if one.count == 1 else "bytes differ"
            there = bytes_around(inputs.memory, one.address, min(16, one.count))
            yield Broken(
                "chunk",
                chunk.address,
                f"{expected}: {fill.byte:#x}",
                f"{one.count} {bytes_differ}, the first at {hex_address(one.address)}, payload + "
                f"{one.address - chunk.payload}",
                cause,
                (there, describe(chunk), *neighbours(heap, number)),
            )


@dataclass(frozen=True)
class HeapPlace:
    """A heap, all mapped memory (None: paging is off), and the heap that it lies in (None: none is known)."""

    heap: HeapSnapshot
    mapped: Runs | None
    parent: HeapSnapshot | Unread | None


def check_parent(place: HeapPlace) -> Iterator[Broken]:
    """HEAP68: each segment lies in one used chunk of the parent."""
    heap, parent = place.heap, place.parent
    assert isinstance(parent, HeapSnapshot)
    chunks = parent.chunks
    for segment in heap.segments:
        within = (chunks.payload <= np.uint64(segment.start)) & (chunks.end >= np.uint64(segment.end))
        which = np.flatnonzero(within & chunks.sound & parent.sensible)
        if len(which) and not chunks.free[which[0]]:
            continue
        actual = "it is in no chunk" if not len(which) else f"it is in {describe(chunks.at(int(which[0])))}"
        yield Broken(
            "heap",
            segment.start,
            f"{_range(segment)} of '{heap.name}' in one used chunk of '{parent.name}'",
            actual,
            "the parent's chunk was freed or shrunk while the heap in it is still in use",
        )


def _range(segment: Segment) -> str:
    return f"{hex_address(segment.start)}-{hex_address(segment.end)}"


def check_mapped(place: HeapPlace) -> Iterator[Broken]:
    """HEAP69: every page of a heap is mapped, writable and not executable."""
    assert place.mapped is not None
    name, pieces = place.heap.name, _pieces(place.heap)
    cause = "pages were freed, or the heap's bounds were moved without mapping memory there"
    for hole in _holes(pieces, place.mapped):
        yield Broken("page", hole, f"all pages of '{name}' mapped", "it is not mapped", cause)
    locked = matching(place.mapped, lambda attributes: not attributes.page.writable)
    code = matching(place.mapped, lambda attributes: attributes.page.executable)
    cause = "its entry, or an entry of a level above, was created with other rights than the rest of the heap"
    for wrong, expected, actual in ((locked, "writable", "read-only"), (code, "not executable", "executable")):
        for page in _met(pieces, wrong):
            yield Broken("page", page, f"all pages of '{name}' {expected}", f"it is {actual}", cause)


def _pieces(heap: HeapSnapshot) -> Pieces:
    """The ranges that must be mapped, by ascending address."""
    if heap.pieces is None:
        start, end = (np.array([s.start for s in heap.segments]), np.array([s.end for s in heap.segments]))
    else:
        start, end = heap.pieces.start, heap.pieces.end
    some = np.flatnonzero(end > start)
    order = some[np.argsort(start[some], kind="stable")]
    return Pieces(start[order].astype(np.uint64), end[order].astype(np.uint64))


def _holes(pieces: Pieces, runs: Runs) -> list[int]:
    """The first address of each piece that is not mapped."""
    if not len(runs):
        return [int(start) for start in pieces.start[:1]]
    breaks = np.flatnonzero(runs.start[1:] != runs.end[:-1] + np.uint64(1))  # adjacent runs count as one
    start = runs.start[np.append(0, breaks + 1)]
    last = runs.end[np.append(breaks, len(runs) - 1)]
    at = np.searchsorted(start, pieces.start, side="right") - 1
    until = last[np.maximum(at, 0)]
    mapped = (at >= 0) & (until >= pieces.start)
    whole = mapped & (until >= pieces.end - np.uint64(1))
    first = np.where(mapped, until + np.uint64(1), pieces.start)
    return list(dict.fromkeys(first[~whole].tolist()))


def _met(pieces: Pieces, wrong: Runs) -> list[int]:
    """The first page of each piece that lies in one of these runs."""
    if not len(wrong):
        return []
    at = np.searchsorted(wrong.end, pieces.start, side="left")
    begin = wrong.start[np.minimum(at, len(wrong) - 1)]
    met = (at < len(wrong)) & (begin < pieces.end)
    first = np.maximum(begin, pieces.start & ~np.uint64(FRAME_SIZE - 1))
    return list(dict.fromkeys(first[met].tolist()))


def _no_parent(place: HeapPlace) -> str | None:
    if isinstance(place.parent, HeapSnapshot):
        return None
    if place.parent is not None:
        return "its parent cannot be read"
    names = " or ".join(f"'{name}'" for name in place.heap.parent)
    return f"the kernel has no heap {names}" if names else "the profile names no parent heap"


def _no_paging(place: HeapPlace) -> str | None:
    if place.mapped is None:
        return "paging is off on the selected processor"
    return None if place.heap.segments or place.heap.pieces is not None else "the profile names no segments"


HEAP_PLACE_RULES: tuple[Rule[HeapPlace], ...] = (
    Rule("HEAP68", "a heap inside another lies in one used chunk of it", check_parent, _no_parent),
    Rule("HEAP69", "a heap's pages are mapped, writable and not executable", check_mapped, _no_paging),
)
"""The rules about the memory that a heap is in."""


def heap_place_rules(heap: HeapSnapshot) -> tuple[Rule[HeapPlace], ...]:
    """The rules of these that apply to this heap."""
    return tuple(rule for rule in HEAP_PLACE_RULES if heap.parent or rule.id != "HEAP68")
