"""HEAP70: every used chunk can be reached from pointers outside of heaps. Chunks that are not reached have leaked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gdbext.checks.finding import Broken, Rule, Severity
from gdbext.checks.heaps.pointers import PointerSources, Range, without
from gdbext.checks.heaps.wording import bytes_around
from gdbext.heap.callers import CallerNames
from gdbext.heap.reach import U64, Links, Numbers, Places, Reader, led_to_from, links_between, reached
from gdbext.heap.snapshot import HeapSnapshot
from gdbext.structures.unread import Unread
from gdbext.units import VirtAddr, hex_address, human_size
from gdbext.x86.virtual import PagedMemory

SHOWN = 16
"""Bytes that are shown of an example."""
EXAMPLES = 16
"""Addresses that are kept of a group."""
LISTED = 4
"""Addresses that a finding shows of a group."""


@dataclass(frozen=True)
class LeakGroup:
    """Leaked chunks of one heap, one payload size in bytes and one caller (None: not known).

    Other leaked chunks point to ``held`` of them. ``addresses`` are those of the first few payloads.
    """

    heap: str
    size: int
    caller: int | None
    caller_name: str | None
    count: int
    bytes: int
    held: int
    addresses: tuple[VirtAddr, ...]


@dataclass(frozen=True)
class Leaks:
    """The result of the search, groups with the most bytes first; ``partly`` lists what could not be searched.

    ``chunks`` counts the used chunks, ``pointers`` the bytes of ranges outside of them that were searched.
    """

    chunks: int
    pointers: int
    groups: tuple[LeakGroup, ...]
    partly: tuple[str, ...]
    in_flux: bool


@dataclass(frozen=True)
class LeakInputs:
    """The inputs of the search. ``width`` is a pointer's bytes; ``direct_map`` where physical 0 is mapped, if known."""

    heaps: tuple[HeapSnapshot | Unread, ...]
    sources: PointerSources
    memory: PagedMemory
    width: int
    direct_map: int | None
    names: CallerNames


@dataclass(frozen=True)
class _Used:
    """The used chunks of all heaps by address of payload: the heap's number, and the chunk's number in it."""

    heap: Numbers
    chunk: Numbers
    start: NDArray[np.uint64]
    end: NDArray[np.uint64]


def find_leaks(inputs: LeakInputs, wanted: str | None = None) -> Leaks:
    """The used chunks of a heap (default: of all) that cannot be reached. Raises Stopped."""
    heaps = tuple(heap for heap in inputs.heaps if isinstance(heap, HeapSnapshot))
    used, beside = _without_holders(_used(heaps), heaps)
    places = _places(used, inputs)
    reader = Reader(inputs.memory, inputs.width)
    ranges = [*inputs.sources.ranges, *beside]
    found = np.union1d(led_to_from(ranges, places, reader), places.led_to(inputs.sources.words)[1])
    searched = reader.seen
    links = links_between(places, reader)
    lost = np.flatnonzero(~reached(len(places), found, links))
    chosen = [number for number, heap in enumerate(heaps) if wanted in (None, heap.name) and heap.tells_free]
    lost = lost[np.isin(used.heap[lost], chosen)]
    return Leaks(
        chunks=int(np.isin(used.heap, chosen).sum()),
        pointers=searched,
        groups=tuple(_groups(used, heaps, lost, _held(lost, links, len(places)), inputs.names)),
        partly=(*inputs.sources.left_out, *_doubts(inputs.heaps), *_unseen(reader)),
        in_flux=any(heap.in_flux for heap in heaps),
    )


def _used(heaps: tuple[HeapSnapshot, ...]) -> _Used:
    which = [np.flatnonzero(~heap.chunks.free & heap.chunks.sound & heap.sensible) for heap in heaps]
    none: list[NDArray[np.uint64]] = [np.zeros(0, dtype=U64)]
    start = np.concatenate([*none, *(heap.chunks.payload[mine] for heap, mine in zip(heaps, which, strict=True))])
    end = np.concatenate([*none, *(heap.chunks.end[mine] for heap, mine in zip(heaps, which, strict=True))])
    number = np.repeat(np.arange(len(heaps)), [len(mine) for mine in which])
    order = np.argsort(start, kind="stable")
    chunk = np.concatenate([np.zeros(0, dtype=np.int64), *which])[order]
    # A pointer to an empty payload counts: it is treated as one byte.
    return _Used(number[order], chunk, start[order], np.maximum(end, start + U64(1))[order])


def _without_holders(used: _Used, heaps: tuple[HeapSnapshot, ...]) -> tuple[_Used, list[Range]]:
    """The chunks except those that contain other heaps, and the parts of those outside of the inner heaps.

    Chunks that contain a heap count as reached; their parts outside of it are searched as pointer ranges.
    """
    holders = np.zeros(len(used.start), dtype=np.bool_)
    inner = [segment for heap in heaps if heap.parent for segment in heap.segments]
    for segment in inner:
        holders |= (used.start <= U64(segment.start)) & (U64(segment.end) <= used.end)
    # A heap's own chunk may fill all of its segment: that does not hold the heap.
    for number, heap in enumerate(heaps):
        if not any(heap.name in other.parent for other in heaps):
            holders &= used.heap != number
    outer = list(zip(used.start[holders].tolist(), used.end[holders].tolist(), strict=True))
    beside = without(outer, [(int(segment.start), int(segment.end)) for segment in inner])
    kept = ~holders
    return _Used(used.heap[kept], used.chunk[kept], used.start[kept], used.end[kept]), beside


def _places(used: _Used, inputs: LeakInputs) -> Places:
    """The payloads that pointers may point to. Where damaged heaps overlap, each ends where the next begins."""
    start, end = used.start, used.end.copy()
    if len(start):
        end[:-1] = np.minimum(end[:-1], start[1:])
    empty = np.zeros(0, dtype=U64)
    if inputs.direct_map is None or not len(start) or not inputs.memory.cpu.paging:
        return Places(start, end, empty, empty, empty)
    first, last = int(start[0]), int(end[-1])
    pieces = [p for p in inputs.memory.pieces(VirtAddr(first), last - first) if p[0] != p[1] + inputs.direct_map]
    rows = np.array(pieces, dtype=U64).reshape(-1, 3)
    rows = rows[np.argsort(rows[:, 1], kind="stable")]
    alias = rows[:, 1] + U64(inputs.direct_map)
    return Places(start, end, alias, alias + rows[:, 2], rows[:, 0].copy())


def _held(lost: Numbers, links: Links, count: int) -> NDArray[np.bool_]:
    """Which chunks other lost chunks point to."""
    gone = np.zeros(count, dtype=np.bool_)
    gone[lost] = True
    held = np.zeros(count, dtype=np.bool_)
    held[links.target[gone[links.source]]] = True
    return held


def _groups(
    used: _Used, heaps: tuple[HeapSnapshot, ...], lost: Numbers, held: NDArray[np.bool_], names: CallerNames
) -> Iterator[LeakGroup]:
    """The lost chunks by heap, size and caller, the most bytes first."""
    sizes, callers = np.zeros(len(lost), dtype=np.int64), np.zeros(len(lost), dtype=U64)
    for number, heap in enumerate(heaps):
        mine = np.flatnonzero(used.heap[lost] == number)
        chunks = used.chunk[lost[mine]]
        sizes[mine] = heap.chunks.size[chunks]
        if len(mine) and heap.callers is not None:
            callers[mine] = heap.callers[chunks]
    keys = np.stack([used.heap[lost].astype(U64), sizes.astype(U64), callers], axis=1)
    kinds, which, count = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    which = which.reshape(-1)
    by_group = np.split(np.argsort(which, kind="stable"), np.cumsum(count)[:-1]) if len(lost) else []
    totals = kinds[:, 1].astype(np.int64) * count
    for at in np.lexsort((-count, -totals)).tolist():
        number, size, caller = (int(value) for value in kinds[at])
        members = lost[by_group[at]]
        yield LeakGroup(
            heap=heaps[number].name,
            size=size,
            caller=caller or None,
            caller_name=names(caller) if caller else None,
            count=len(members),
            bytes=int(totals[at]),
            held=int(held[members].sum()),
            addresses=tuple(VirtAddr(address) for address in used.start[members[:EXAMPLES]].tolist()),
        )


def _doubts(heaps: tuple[HeapSnapshot | Unread, ...]) -> Iterator[str]:
    """What may hold pointers and was not searched, or not reliably."""
    for heap in heaps:
        if isinstance(heap, Unread):
            if not heap.absent:
                yield f"the heap '{heap.name}', and what only it points to: {heap.why}"
        elif not heap.tells_free:
            yield f"'{heap.name}': {heap.unseen}"
        elif not heap.sound:
            yield f"the damaged chunks of '{heap.name}', and what only they point to"
        elif heap.in_flux:
            yield f"'{heap.name}' is being changed: the pointer to a chunk may not be stored yet"


def _unseen(reader: Reader) -> Iterator[str]:
    if reader.unseen:
        yield f"{human_size(reader.unseen)} of mapped memory that cannot be read"


@dataclass(frozen=True)
class FoundLeaks:
    """The result of the search, and the memory to read examples from; ``why_not`` says why there was no search."""

    leaks: Leaks | None
    memory: PagedMemory
    why_not: str | None = None


def check_leaks(found: FoundLeaks) -> Iterator[Broken]:
    """HEAP70: every used chunk can be reached."""
    assert found.leaks is not None
    for group in found.leaks.groups:
        caller = f", asked for by {group.caller_name}" if group.caller_name else ""
        chunks = "1 chunk" if group.count == 1 else f"{group.count} chunks"
        more = ", ".join(hex_address(address) for address in group.addresses[1:LISTED])
        evidence = [bytes_around(found.memory, group.addresses[0], min(SHOWN, group.size))] if group.size else []
        evidence += [f"others: {more}" + (", ..." if group.count > LISTED else "")] if more else []
        evidence += [f"other leaked chunks point to {group.held} of them"] if group.held else []
        yield Broken(
            severity=Severity.WARNING,
            subject="payload",
            address=group.addresses[0],
            expected="a pointer to it in the pointer ranges or a register, or in a chunk that is reached from there",
            actual=f"none: {chunks} of {group.size} bytes in '{group.heap}'{caller}, {group.bytes} bytes in total",
            evidence=tuple(evidence),
            cause="the last pointer to it was lost before it was freed",
        )


LEAK_RULES: tuple[Rule[FoundLeaks], ...] = (
    Rule(
        "HEAP70",
        "every used chunk can be reached through pointers",
        check_leaks,
        lambda found: found.why_not,
        lambda found: found.leaks.partly if found.leaks else (),
    ),
)
"""The rule that is checked only on request: heapcheck -leaks."""
