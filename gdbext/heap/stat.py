"""A heap in figures."""

from dataclasses import dataclass

import numpy as np

from gdbext.heap.parts import Chunks
from gdbext.heap.slab import Slabs, slabs_of
from gdbext.heap.snapshot import HeapSnapshot
from gdbext.structures.counter import CounterStat
from gdbext.units import VirtAddr


@dataclass(frozen=True)
class SegmentStat:
    """Addresses that chunks fill, ``end`` exclusive."""

    start: VirtAddr
    end: VirtAddr


@dataclass(frozen=True)
class CacheStat:
    """A cache in figures: bytes of an object and from one object to the next, slabs, and objects in them.

    ``internal``: its objects are the heap's own, and counted nowhere else.
    """

    name: str
    size: int
    stride: int
    internal: bool
    slabs: int
    full: int
    partial: int
    empty: int
    used: int
    free: int


@dataclass(frozen=True)
class HeapStat:
    """A heap in figures, counted over its chunks; sizes are bytes of payload.

    ``damaged`` counts overwritten headers, whose chunks are not counted otherwise. ``complete`` is False when there are
    any, or when the list is broken so that chunks may be missing. ``overhead`` are the bytes of headers.
    ``fragmentation`` is the share of the free bytes that are not in the largest free chunk.
    """

    name: str
    kind: str
    segments: tuple[SegmentStat, ...]
    chunks: int
    used_chunks: int
    free_chunks: int
    damaged: int
    used_bytes: int
    free_bytes: int
    largest_free: int
    overhead: int
    fragmentation: float
    counters: tuple[CounterStat, ...]
    complete: bool
    in_flux: bool
    caches: tuple[CacheStat, ...] = ()


def heap_stat(heap: HeapSnapshot) -> HeapStat:
    """The figures of a heap, over the chunks that were reached."""
    chunks = heap.chunks
    intact = chunks.taken(np.flatnonzero(chunks.sound))
    counted = count_chunks(intact)
    mark, slabs = heap.watermark, slabs_of(heap)
    if mark is not None and not heap.detail.knows_chunks:
        counted |= {"used_bytes": mark.current - mark.start, "free_bytes": mark.end - mark.current}
    free_bytes = counted["free_bytes"]
    largest = int(intact.size[intact.free].max(initial=0)) if heap.detail.knows_chunks else free_bytes
    return HeapStat(
        name=heap.name,
        kind=heap.kind,
        segments=tuple(SegmentStat(s.start, s.end) for s in heap.segments),
        chunks=len(chunks),
        used_chunks=counted["used_chunks"],
        free_chunks=counted["free_chunks"],
        damaged=len(chunks) - len(intact),
        used_bytes=counted["used_bytes"],
        free_bytes=free_bytes,
        largest_free=largest,
        overhead=len(chunks) * (heap.layout.header + heap.layout.trailer),
        fragmentation=1 - largest / free_bytes if free_bytes > 0 else 0.0,
        counters=tuple(
            CounterStat(c.meaning, c.value, counted[c.meaning] if heap.sound else None) for c in heap.counters
        ),
        complete=heap.sound,
        in_flux=heap.in_flux,
        caches=() if slabs is None else _cache_stats(slabs),
    )


def _cache_stats(slabs: Slabs) -> tuple[CacheStat, ...]:
    free, capacity = slabs.free.count, slabs.shape.capacity
    found = []
    for number, cache in enumerate(slabs.caches):
        mine = np.flatnonzero((slabs.cache == number) & slabs.sound)
        used = capacity[mine] - free[mine]
        full, empty = int((used == capacity[mine]).sum()), int((used == 0).sum())
        size, stride = (int(a[mine[0]]) if len(mine) else 0 for a in (slabs.size, slabs.shape.stride))
        counts = (len(mine), full, len(mine) - full - empty, empty, int(used.sum()), int(free[mine].sum()))
        found.append(CacheStat(cache.name, size, stride, cache.internal, *counts))
    return tuple(found)


def count_chunks(chunks: Chunks) -> dict[str, int]:
    """The right value of each counter of a heap, by its meaning, if these are all chunks."""
    free_chunks, free_bytes = int(chunks.free.sum()), int(chunks.size[chunks.free].sum())
    return {
        "used_bytes": int(chunks.size.sum()) - free_bytes,
        "free_bytes": free_bytes,
        "used_chunks": len(chunks) - free_chunks,
        "free_chunks": free_chunks,
        "chunks": len(chunks),
    }
