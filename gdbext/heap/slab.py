"""A heap of slabs: caches, the slabs on their lists or named by page records, and the objects in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gdbext.errors import MemoryUnavailable, Stopped
from gdbext.heap.callers import read_callers
from gdbext.heap.chunks import counters_of, in_flux, segments_of
from gdbext.heap.fill import read_fills
from gdbext.heap.page_runs import InPages, PageRuns, read_page_runs
from gdbext.heap.parts import MOST_CHUNKS, U64, Chunks, Lost, Pieces, Segment
from gdbext.heap.slab_objects import Free, Objects, Shape, laid_out, read_free
from gdbext.heap.snapshot import HeapSnapshot, Layout
from gdbext.profile.expressions.expression import Expression
from gdbext.profile.language.slabs import SlabHeap
from gdbext.structures.chain import Break, Chains, Ends, Links, NodeShape, Stop, follow_each
from gdbext.structures.collections import read
from gdbext.structures.counter import Counter, counter_of
from gdbext.structures.gather import NodeValues, gathered, node_values
from gdbext.units import WORD_MASK, VirtAddr
from gdbext.x86.virtual import PagedMemory

MOST_OBJECTS = 1 << 20
"""No slab has more objects than this."""
NAME_MOST = 64
SHOWN = bytes(byte if 33 <= byte < 127 else ord("?") for byte in range(256))
"""The character that is shown for each byte of a name."""
NOBODY = -1


@dataclass(frozen=True)
class ListFound:
    """One list of slabs: ``members`` are their numbers in its order, ``back`` the targets of their links back.

    (0: none). ``holds`` says which slabs belong there, ``at`` is the address of its first link.
    """

    cache: int
    holds: str
    at: VirtAddr | None
    members: NDArray[np.int64]
    back: NDArray[np.uint64] | None
    broken: Break | None
    length: Counter | None


@dataclass(frozen=True)
class CacheFound:
    """One cache: ``internal`` when its objects are the heap's own. ``used`` is how many it counts."""

    name: str
    address: VirtAddr
    internal: bool
    used: Counter | None


@dataclass(frozen=True)
class Slabs:
    """All slabs of a heap, one element of every array for each.

    ``header`` is the address of a slab's header, ``cache`` the number of its cache or NOBODY, ``back`` its pointer back
    to the cache; ``on`` and ``run`` are the numbers of the list and the run of pages that it is on, or NOBODY.
    ``sound`` is False where the header is invalid, because it is not ``marked`` with its magic or for other reasons: of
    such a slab no objects are known. ``size`` is an object's, ``used`` what the kernel counts. ``objects`` are those of
    all slabs, ``chunk`` the number of the chunk that each is, NOBODY for the heap's own.
    """

    caches: tuple[CacheFound, ...]
    lists: tuple[ListFound, ...]
    header: NDArray[np.uint64]
    cache: NDArray[np.int64]
    back: NDArray[np.uint64] | None
    on: NDArray[np.int64]
    run: NDArray[np.int64]
    marked: NDArray[np.bool_]
    sound: NDArray[np.bool_]
    shape: Shape
    size: NDArray[np.int64]
    used: NDArray[np.int64] | None
    objects: Objects
    free: Free
    chunk: NDArray[np.int64]

    def slab_of_chunks(self, count: int) -> NDArray[np.int64]:
        """For each of ``count`` chunks the slab whose object it is, NOBODY for none."""
        found = np.full(count, NOBODY)
        mine = self.chunk != NOBODY
        found[self.chunk[mine]] = self.objects.slab[mine]
        return found

    def at(self, slab: int) -> str:
        """A slab's cache, as text."""
        cache = int(self.cache[slab])
        return "no cache" if cache == NOBODY else f"cache {self.caches[cache].name}"


@dataclass(frozen=True, kw_only=True)
class SlabDetail(InPages):
    """The slabs, and their pages where page records describe them."""

    kind: ClassVar[str] = "slab"
    slabs: Slabs


def slabs_of(heap: HeapSnapshot) -> Slabs | None:
    """The slabs that a heap's chunks are in; None when it has none."""
    return heap.detail.slabs if isinstance(heap.detail, SlabDetail) else None


def read_slab(heap: SlabHeap[Expression], memory: PagedMemory) -> HeapSnapshot:
    """Read a heap of slabs. Raises MemoryUnavailable when not even its caches can be read."""
    runs = None if heap.runs is None else read_page_runs(heap.runs, memory)
    inside = segments_of(heap.segments, memory)
    slabs = _Reader(heap, memory, runs, inside).read()
    chunks, slabs = _chunks_of(slabs, runs)
    return HeapSnapshot(
        name=heap.name,
        detail=SlabDetail(page_runs=runs, slabs=slabs),
        chunks=chunks,
        segments=inside,
        counters=counters_of(heap, memory),
        in_flux=in_flux(heap, memory),
        layout=Layout(alignment=heap.alignment, minimum=heap.minimum, has_magic=heap.magic is not None),
        parent=heap.parent,
        lost=_lost(slabs),
        pieces=_pieces(slabs, runs),
        fills=read_fills(heap.poison, heap.redzone, chunks, memory),
        callers=read_callers(heap.caller, chunks, memory),
    )


def _chunks_of(slabs: Slabs, runs: PageRuns | None) -> tuple[Chunks, Slabs]:
    """The objects except the heap's own, and the runs that are one chunk each, by ascending address."""
    objects = slabs.objects
    internal = np.array([cache.internal for cache in slabs.caches] + [False])  # the last is that of NOBODY
    mine = np.flatnonzero(~internal[slabs.cache[objects.slab]])
    address, slab = objects.address[mine], objects.slab[mine]
    yes = np.ones(len(mine), dtype=np.bool_)
    chunks = Chunks(address, address, slabs.size[slab], objects.free[mine], yes)
    if runs is not None:
        chunks = chunks.joined(runs.chunks)
    order = np.argsort(chunks.address, kind="stable")
    number = np.full(len(objects.slab), NOBODY)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    number[mine] = place[: len(mine)]
    return chunks.taken(order), replace(slabs, chunk=number)


def _lost(slabs: Slabs) -> tuple[Lost, ...]:
    """What is missing: objects of slabs with invalid headers, slabs after a broken link, free objects after one."""
    lost = [
        Lost(VirtAddr(int(at)), VirtAddr(int(at) + 1), "there is no valid slab header")
        for at in slabs.header[~slabs.sound].tolist()
    ]
    for one in slabs.lists:
        if one.broken is not None:
            at = one.broken.source or one.broken.target
            lost.append(Lost(at, VirtAddr(at + 1), f"a list of slabs ends early there: {one.broken.why}"))
    for found in slabs.free.breaks:
        at = VirtAddr(int(slabs.header[found.slab]))
        lost.append(Lost(at, VirtAddr(at + 1), "which objects of the slab are free is unknown"))
    return tuple(lost)


def _pieces(slabs: Slabs, runs: PageRuns | None) -> Pieces:
    """The objects of each slab, and the runs that are chunks."""
    shape = slabs.shape
    some = np.flatnonzero(shape.capacity > 0)
    start, bytes_of = shape.first[some], (shape.capacity * shape.stride)[some].astype(U64)
    end = start + bytes_of
    if runs is None:
        return Pieces(start, end)
    large = runs.chunks
    return Pieces(np.concatenate([start, large.payload]), np.concatenate([end, large.end]))


def _asked_of_caches(heap: SlabHeap[Expression]) -> dict[str, Expression | None]:
    """The expressions that are read of each cache; its list number n has ``head n`` and ``length n``."""
    caches = heap.caches
    return {
        "name": caches.name,
        "internal": caches.internal,
        "stride": caches.stride,
        "size": caches.size if heap.size is None else None,
        "capacity": caches.capacity if heap.capacity is None else None,
        "used": caches.used,
        **{f"head {number}": written.head for number, written in enumerate(caches.lists)},
        **{f"length {number}": written.length for number, written in enumerate(caches.lists)},
    }


class _Reader:
    """Reads the slabs of one heap."""

    def __init__(
        self,
        heap: SlabHeap[Expression],
        memory: PagedMemory,
        runs: PageRuns | None,
        inside: tuple[Segment, ...],
    ) -> None:
        self._heap = heap
        self._memory = memory
        self._runs = runs
        self._inside = inside
        self._caches = read(heap.caches.collection, memory, _asked_of_caches(heap), "caches").whole()
        self._offset = -(heap.link_offset.constant or 0)
        self._end = heap.end.evaluate(memory)

    def read(self) -> Slabs:
        heap = self._heap
        numbers = {address: number for number, address in enumerate(self._caches.nodes.tolist())}
        listed, cache, on, lists = self._listed()
        headers, run = self._with_runs(listed)
        cache, on = (np.append(a, np.full(len(headers) - len(listed), NOBODY)) for a in (cache, on))
        nodes = node_values(headers, heap.in_headers, self._memory)
        back = None if heap.cache is None else nodes.values(heap.cache).astype(U64)
        if back is not None:
            named = np.array([numbers.get(address, NOBODY) for address in back.tolist()], dtype=np.int64)
            cache = np.where(cache == NOBODY, named, cache)
        cache = self._by_stride(cache, nodes)
        shape, size = self._shape(nodes, cache)
        marked = np.ones(len(headers), dtype=np.bool_)
        if heap.magic is not None:
            marked = nodes.values(heap.magic.expr) == nodes.values(heap.magic.equals)
        sound = marked & nodes.seen & self._possible(shape, size)
        shape = replace(shape, capacity=np.where(sound, shape.capacity, 0))
        objects = laid_out(shape.first, shape.stride, shape.capacity)
        free = read_free(heap, nodes, objects, shape, self._memory)
        return Slabs(
            caches=self._described(),
            lists=lists,
            header=headers,
            cache=cache,
            back=back,
            on=on,
            run=run,
            marked=marked,
            sound=sound,
            shape=shape,
            size=size,
            used=None if heap.used is None else nodes.values(heap.used).astype(np.int64),
            objects=objects,
            free=free,
            chunk=np.zeros(0, dtype=np.int64),
        )

    def _listed(self) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64], tuple[ListFound, ...]]:
        """The slabs on all lists: headers, and the numbers of their caches and lists; and the lists."""
        if not self._heap.caches.lists:
            return np.zeros(0, dtype=U64), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), ()
        chains, prev = self._followed(), self._heap.prev
        back = None if prev is None else self._headers(chains.values(prev, self._memory).astype(U64))
        lists: list[ListFound] = []
        end = 0
        for cache, (number, written) in product(range(len(self._caches)), enumerate(self._heap.caches.lists)):
            begin, end = end, end + int(chains.lengths[len(lists)])
            lists.append(
                ListFound(
                    cache=cache,
                    holds=written.holds,
                    at=written.head.address(self._memory, self._address(cache)) if written.head.is_lvalue else None,
                    members=np.arange(begin, end),
                    back=None if back is None else back[begin:end],
                    broken=chains.broken[len(lists)],
                    length=self._counter("length", written.length, f"length {number}", cache),
                )
            )
        on = np.repeat(np.arange(len(lists)), chains.lengths)
        cache_of = np.array([one.cache for one in lists], dtype=np.int64)[on]
        return chains.nodes, cache_of, on, tuple(lists)

    def _followed(self) -> Chains:
        """The lists of all caches, cut where a link is wrong."""
        heap, memory = self._heap, self._memory
        assert heap.next is not None  # the binder insists
        asked = tuple(e.settled(memory) for e in (heap.prev, heap.cache) if e is not None)
        shape = NodeShape(heap.next.settled(memory), asked, Links(self._offset), 0, 0, MOST_CHUNKS)
        heads = [self._caches[f"head {number}"].tolist() for number in range(len(heap.caches.lists))]
        ends = [(head, self._end) for of_cache in zip(*heads, strict=True) for head in of_cache]
        known: set[int] = set()
        found = self._unless_astray(shape, ends, known)
        while len(found.lengths) < len(ends):
            # Nodes after a wrong link may be on a later list, so the later lists are followed again after the cut.
            one = ends[len(found.lengths)]
            found = found.joined(self._unless_astray(shape, [one], known))
        return found

    def _unless_astray(self, shape: NodeShape, ends: Sequence[Ends], known: set[int]) -> Chains:
        """Lists of slabs, up to a list with a slab that names no cache of this heap: it ends before that slab."""
        try:
            chains = follow_each(shape, self._memory, ends, known)
        except Stopped as stopped:
            raise Stopped(f"a list of slabs of '{self._heap.name}': {stopped.so_far}") from None
        if self._heap.cache is None or not len(chains):
            return chains
        strange = ~np.isin(chains.values(self._heap.cache, self._memory).astype(U64), self._caches.nodes)
        strange &= self._runs is None or ~np.isin(chains.nodes, self._runs.slab)
        if not strange.any():
            return chains
        some = np.flatnonzero(chains.lengths)
        follows = np.append(strange[1:], False)
        follows[np.cumsum(chains.lengths)[some] - 1] = [chains.broken[number] is not None for number in some.tolist()]
        lost = np.flatnonzero(strange & follows)
        if not len(lost):
            return chains
        known.difference_update(chains.nodes[lost[0] :].tolist())
        return chains.cut(int(lost[0]), Stop.ASTRAY, "the slab there names no cache of this heap")

    def _headers(self, links: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """The headers that links point to; 0 for the link that ends a list."""
        return np.where(links == U64(self._end & WORD_MASK), U64(0), links + U64(self._offset & WORD_MASK))

    def _with_runs(self, listed: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """The slabs on lists, then those that only page records name; and for each the number of its run."""
        if self._runs is None:
            return listed, np.full(len(listed), NOBODY)
        which = np.flatnonzero(self._runs.slab)
        slab = self._runs.slab[which]
        more = np.unique(slab[~np.isin(slab, listed)])
        headers = np.concatenate([listed, more])
        order = np.argsort(slab)
        at = np.minimum(np.searchsorted(slab[order], headers), max(0, len(slab) - 1))
        if not len(slab):
            return headers, np.full(len(headers), NOBODY)
        found = order[at]
        return headers, np.where(slab[found] == headers, which[found], NOBODY)

    def _by_stride(self, cache: NDArray[np.int64], nodes: NodeValues) -> NDArray[np.int64]:
        """Slabs whose cache nothing else names belong to the only cache with objects of that stride."""
        caches, own = self._heap.caches.stride, self._heap.stride
        if caches is None or own is None:
            return cache
        strides = self._caches["stride"].tolist()
        only = {stride: number for number, stride in enumerate(strides) if strides.count(stride) == 1}
        told = nodes.values(own).astype(np.int64).tolist()
        return np.where(cache == NOBODY, np.array([only.get(s, NOBODY) for s in told], dtype=np.int64), cache)

    def _shape(self, nodes: NodeValues, cache: NDArray[np.int64]) -> tuple[Shape, NDArray[np.int64]]:
        heap = self._heap

        def said(of_slab: Expression | None, of_cache: str) -> NDArray[np.int64] | None:
            if of_slab is not None:
                return nodes.values(of_slab).astype(np.int64)
            values = self._caches.get(of_cache)
            return None if values is None else np.append(values.astype(np.int64), 0)[cache]

        stride, capacity = said(heap.stride, "stride"), said(heap.capacity, "capacity")
        assert stride is not None  # the binder insists on both
        assert capacity is not None
        size = said(heap.size, "size")
        return Shape(nodes.values(heap.objects).astype(U64), stride, capacity), stride if size is None else size

    def _possible(self, shape: Shape, size: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether slabs like these are possible."""
        good = (shape.stride >= 1) & (shape.capacity >= 1) & (shape.capacity <= MOST_OBJECTS) & (size <= shape.stride)
        good &= (size >= 1) & (shape.stride <= 1 << 40)
        bytes_of = np.where(good, shape.stride * np.where(good, shape.capacity, 0), 0).astype(U64)
        within = np.full(len(good), not self._inside)
        for segment in self._inside:
            start, end = U64(segment.start), U64(segment.end)
            first = shape.first
            within |= (first >= start) & (first <= end) & (bytes_of <= end - np.minimum(first, end))
        good &= within & (shape.first + bytes_of >= shape.first)
        good &= np.cumsum(np.where(good, shape.capacity, 0)) <= MOST_CHUNKS
        return good

    def _described(self) -> tuple[CacheFound, ...]:
        caches, used = self._caches, self._heap.caches.used
        texts, internal = caches.get("name"), caches.get("internal")
        names = [str(n) for n in range(len(caches))] if texts is None else _texts(texts.astype(U64), self._memory)
        own = np.zeros(len(caches), dtype=np.bool_) if internal is None else internal != 0
        return tuple(
            CacheFound(name, self._address(number), bool(own[number]), self._counter("used", used, "used", number))
            for number, name in enumerate(names)
        )

    def _address(self, cache: int) -> VirtAddr:
        return VirtAddr(int(self._caches.nodes[cache]))

    def _counter(self, meaning: str, counter: Expression | None, column: str, cache: int) -> Counter | None:
        """A counter of a cache, if it has one."""
        if counter is None:
            return None
        value = int(self._caches[column][cache])
        return counter_of(meaning, counter, value, self._memory, self._address(cache))


def _texts(addresses: NDArray[np.uint64], memory: PagedMemory) -> list[str]:
    """The strings at these addresses, as far as they can be read and shown."""
    rows, seen = gathered(addresses, (0, NAME_MOST), memory)
    found = []
    for row, whole, address in zip(rows, seen.tolist(), addresses.tolist(), strict=True):
        data = (row.tobytes() if whole else _readable(address, memory)).partition(b"\0")[0]
        found.append(data.translate(SHOWN).decode("ascii") or "?")
    return found


def _readable(address: int, memory: PagedMemory) -> bytes:
    """As much of a string as can be read."""
    data = b""
    try:
        while len(data) < NAME_MOST and not data.endswith(b"\0"):
            data += memory.read(VirtAddr(address + len(data)), 1)
    except MemoryUnavailable:
        pass
    return data
