"""The chunks of a heap as a list, and a single chunk with all that is known about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gdbext.errors import MemoryUnavailable
from gdbext.heap.callers import CallerNames
from gdbext.heap.slab import NOBODY, Slabs, slabs_of
from gdbext.heap.snapshot import HeapSnapshot
from gdbext.machine.memory import VirtualMemory
from gdbext.units import VirtAddr, hex_address

ROW = 16
"""Bytes on a line."""
SHOWN = 64
"""Bytes that are shown of a payload."""


@dataclass(frozen=True)
class ChunkLine:
    """One chunk: addresses of its header and payload, payload size in bytes; ``state`` is used, free or unknown.

    ``on`` is the list of free chunks that it is on, or ``tree``; None for none. ``cache`` is the cache whose object it
    is. ``caller`` is the code address that asked for it and ``caller_name`` the name of that; both are None where the
    kernel does not record it.
    """

    address: VirtAddr
    payload: VirtAddr
    size: int
    state: str
    sound: bool
    on: str | None
    cache: str | None = None
    caller: VirtAddr | None = None
    caller_name: str | None = None


@dataclass(frozen=True)
class ChunkList:
    """The selected chunks of a heap; ``listed`` counts them, ``total`` all chunks.

    ``by_lists``: as they are on the lists of free chunks, in their order.
    """

    name: str
    total: int
    listed: int
    complete: bool
    why_incomplete: str | None
    by_lists: bool
    chunks: tuple[ChunkLine, ...]


@dataclass(frozen=True)
class Selection:
    """Which chunks are wanted, by state, payload size (least, most), address (end exclusive), cache; in which order.

    ``caller`` is whether the chunks that a code address asked for are wanted; None: all chunks are.
    """

    states: tuple[str, ...]
    sizes: tuple[int, int] | None = None
    window: tuple[int, int] | None = None
    cache: str | None = None
    by_size: bool = False
    by_lists: bool = False
    caller: Callable[[int], bool] | None = None


def chunk_list(heap: HeapSnapshot, wanted: Selection, names: CallerNames = hex_address) -> ChunkList:
    """The wanted chunks, in the heap's order, or the largest first, or as they are on the lists of free chunks."""
    lines, chunks = _Lines(heap, names), heap.chunks
    chosen = _chosen(heap, wanted)
    if wanted.cache is not None:
        chosen = chosen[[name == wanted.cache for name in lines.caches(chosen)]]
    if wanted.by_lists:
        members = np.concatenate([np.zeros(0, dtype=np.int64), *(found for _, found in _lists(heap))])
        chosen = members[np.isin(members, chosen)]
    if wanted.by_size:
        chosen = chosen[np.lexsort((chunks.address[chosen], -chunks.size[chosen]))]
    return ChunkList(
        name=heap.name,
        total=len(chunks),
        listed=len(chosen),
        complete=heap.unseen is None,
        why_incomplete=heap.unseen,
        by_lists=wanted.by_lists,
        chunks=tuple(lines.line(index) for index in chosen.tolist()),
    )


def _chosen(heap: HeapSnapshot, wanted: Selection) -> NDArray[np.int64]:
    """The numbers of the wanted chunks, in the heap's order."""
    chunks = heap.chunks
    chosen = np.where(chunks.sound, np.where(chunks.free, "free" in wanted.states, "used" in wanted.states), False)
    chosen |= ~chunks.sound & ("unknown" in wanted.states)
    if wanted.sizes is not None:
        chosen &= (chunks.size >= wanted.sizes[0]) & (chunks.size <= wanted.sizes[1])
    if wanted.window is not None:
        start, end = (np.uint64(bound) for bound in wanted.window)
        chosen &= (chunks.address < end) & (heap.ends > start)
    if wanted.caller is not None:
        callers = np.zeros(len(chunks), dtype=np.uint64) if heap.callers is None else heap.callers
        known = [caller for caller in np.unique(callers).tolist() if caller and wanted.caller(caller)]
        chosen &= np.isin(callers, np.array(known, dtype=np.uint64))
    return np.flatnonzero(chosen)


def _lists(heap: HeapSnapshot) -> list[tuple[str, NDArray[np.int64]]]:
    """The free lists and the tree: name, and the numbers of the chunks in order."""
    if heap.index is None:
        return []
    found = [(f"list {one.name}", one.members) for one in heap.index.bins]
    return found if heap.index.tree is None else [*found, ("tree", heap.index.tree.members)]


def _places(heap: HeapSnapshot) -> tuple[list[str | None], NDArray[np.int64]]:
    """Names of lists, and for each chunk the number of the list that it is on; the first name is None."""
    names: list[str | None] = [None]
    place = np.zeros(len(heap.chunks), dtype=np.int64)
    for name, members in _lists(heap):
        place[members] = len(names)
        names.append(name)
    return names, place


class _Lines:
    """Makes lines of the chunks of one heap."""

    def __init__(self, heap: HeapSnapshot, names: CallerNames) -> None:
        self._heap = heap
        self._callers = names
        self._names, self._place = _places(heap)
        self.slabs = slabs_of(heap)
        self._slab = None if self.slabs is None else self.slabs.slab_of_chunks(len(heap.chunks))

    def line(self, index: int) -> ChunkLine:
        """The chunk with this number."""
        chunk, callers = self._heap.chunks.at(index), self._heap.callers
        caller = VirtAddr(0 if callers is None else int(callers[index]))
        return ChunkLine(
            address=chunk.address,
            payload=chunk.payload,
            size=chunk.size,
            state=chunk.state,
            sound=chunk.sound,
            on=self._names[self._place[index]],
            cache=self._cache(index),
            caller=caller or None,
            caller_name=self._callers(caller) if caller else None,
        )

    def caches(self, chosen: NDArray[np.int64]) -> list[str | None]:
        """The names of the caches whose objects these chunks are."""
        return [self._cache(index) for index in chosen.tolist()]

    def _cache(self, index: int) -> str | None:
        slab, slabs = self.slab(index), self.slabs
        if slab is None or slabs is None or slabs.cache[slab] == NOBODY:
            return None
        return slabs.caches[int(slabs.cache[slab])].name

    def slab(self, index: int) -> int | None:
        """The number of the slab whose object a chunk is."""
        if self._slab is None or self._slab[index] == NOBODY:
            return None
        return int(self._slab[index])


@dataclass(frozen=True)
class Bytes:
    """Bytes from an address on, in hexadecimal; ``part`` is what they belong to: header, payload, trailer."""

    address: VirtAddr
    part: str
    hex: str


@dataclass(frozen=True)
class ChunkFound:
    """The chunk that holds an address: ``offset`` bytes into its ``part`` (header, payload or trailer).

    ``before`` and ``behind`` are its neighbours, ``slab`` is the slab whose object it is. ``bytes`` are those of its
    header, its trailer, and the first of its payload.
    """

    heap: str
    part: str
    offset: int
    chunk: ChunkLine
    before: ChunkLine | None
    behind: ChunkLine | None
    bytes: tuple[Bytes, ...]
    slab: SlabPlace | None = None


@dataclass(frozen=True)
class SlabPlace:
    """Which object of a slab a chunk is: the slab's header, its cache, and the object's number in it."""

    header: VirtAddr
    cache: str | None
    number: int


def find_chunk(
    heap: HeapSnapshot, address: int, memory: VirtualMemory, names: CallerNames = hex_address
) -> ChunkFound | None:
    """The chunk whose header, payload or trailer an address lies in; its bytes as ``memory`` has them."""
    index = _index_at(heap, address)
    if index is None:
        return None
    lines = _Lines(heap, names)
    before, chunk, behind = (
        lines.line(at) if 0 <= at < len(heap.chunks) else None for at in range(index - 1, index + 2)
    )
    assert chunk is not None
    part, start = "header", int(chunk.address)
    if address >= chunk.payload:
        part, start = "payload", int(chunk.payload)
    if address >= chunk.payload + chunk.size and heap.layout.trailer:
        part, start = "trailer", chunk.payload + chunk.size
    place = _slab_place(lines.slabs, lines.slab(index), chunk)
    return ChunkFound(heap.name, part, address - start, chunk, before, behind, _bytes_of(heap, chunk, memory), place)


def _slab_place(slabs: Slabs | None, slab: int | None, chunk: ChunkLine) -> SlabPlace | None:
    if slab is None or slabs is None:
        return None
    shape = slabs.shape
    number = (chunk.address - int(shape.first[slab])) // int(shape.stride[slab])
    return SlabPlace(VirtAddr(int(slabs.header[slab])), chunk.cache, number)


def _index_at(heap: HeapSnapshot, address: int) -> int | None:
    """The number of the chunk that holds an address. A chunk that reaches into the next ends where that begins."""
    order = np.argsort(heap.chunks.address, kind="stable")
    at = int(np.searchsorted(heap.chunks.address[order], np.uint64(address), side="right")) - 1
    if at < 0:
        return None
    index = int(order[at])
    end = max(int(heap.ends[index]) if heap.sensible[index] else 0, int(heap.chunks.payload[index]))
    return index if address < end else None


def _bytes_of(heap: HeapSnapshot, chunk: ChunkLine, memory: VirtualMemory) -> tuple[Bytes, ...]:
    """The bytes of a chunk, in lines."""
    parts = [
        ("header", int(chunk.address), heap.layout.header),
        ("payload", int(chunk.payload), max(0, min(chunk.size, SHOWN))),
        ("trailer", chunk.payload + chunk.size, heap.layout.trailer if chunk.size >= 0 else 0),
    ]
    lines = []
    for part, start, size in parts:
        for at in range(start, start + size, ROW):
            try:
                data = memory.read(VirtAddr(at), min(ROW, start + size - at))
            except MemoryUnavailable:
                break
            lines.append(Bytes(VirtAddr(at), part, data.hex(" ")))
    return tuple(lines)
