"""A heap whose chunks, used and free, are linked in one list: each chunk a header followed by its payload.

The list is followed from its head. If it ends early, or before its tail, it is followed back from the tail too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gdbext.errors import Stopped
from gdbext.heap.callers import read_callers
from gdbext.heap.chunks import Headers, chunks_of, counters_of, in_flux, layout_of, segments_of, settled
from gdbext.heap.fill import read_fills
from gdbext.heap.index import read_index
from gdbext.heap.parts import MOST_CHUNKS, U64, Chunks
from gdbext.heap.snapshot import HeapSnapshot, InOrder
from gdbext.profile.expressions.expression import Expression
from gdbext.profile.language.heaps import ListHeap
from gdbext.structures.chain import Break, Chain, Links, NodeShape, Stop, follow
from gdbext.units import WORD_MASK, VirtAddr
from gdbext.x86.virtual import PagedMemory


@dataclass(frozen=True, kw_only=True)
class ListDetail(InOrder):
    """A list of all chunks. ``broken`` is its broken link; ``head`` and ``rover`` are the headers these point to."""

    kind: ClassVar[str] = "list"
    linked: ClassVar[bool] = True
    head: VirtAddr
    rover: VirtAddr | None
    circular: bool
    broken: Break | None

    @property
    def address(self) -> VirtAddr | None:
        """The header that the head points to."""
        return self.head

    @property
    def unseen(self) -> str | None:
        """Why the list ends early."""
        return None if self.broken is None else self.broken.why

    @property
    def finds_free(self) -> bool:
        """Whether there is a rover, at which searches begin."""
        return self.rover is not None


def read_list(heap: ListHeap[Expression], memory: PagedMemory) -> HeapSnapshot:
    """Read a list heap. Raises MemoryUnavailable when not even its own variables can be read."""
    return _Reader(settled(heap, memory), memory).read()


class _Reader:
    """Reads one list heap."""

    def __init__(self, heap: ListHeap[Expression], memory: PagedMemory) -> None:
        self._heap = heap
        self._memory = memory
        self._end = heap.end.evaluate(memory)
        self._links = Links(-(heap.link_offset.constant or 0))

    def read(self) -> HeapSnapshot:
        heap, memory = self._heap, self._memory
        head = heap.head.evaluate(memory)
        tail = heap.tail.evaluate(memory) if heap.tail else None
        known: set[int] = set()
        ahead, broken = self._ahead(head, known)
        back = None if tail is None else self._back(tail, ahead, broken, known)
        if back is not None:
            broken = broken or Break(Stop.SHORT, _last(ahead), VirtAddr(0), "the list ends before its tail")
        whole = self._in_order(ahead) if back is None and broken is None else ahead
        chunks, index = read_index(heap, whole if back is None else whole.joined(back), memory)
        return HeapSnapshot(
            name=heap.name,
            detail=ListDetail(
                head=self._node(head),
                tail=None if tail is None else self._node(tail),
                rover=self._node(heap.rover.evaluate(memory)) if heap.rover else None,
                circular=heap.circular,
                broken=broken,
            ),
            chunks=chunks,
            segments=segments_of(heap.segments, memory),
            counters=counters_of(heap, memory),
            in_flux=in_flux(heap, memory),
            layout=layout_of(heap),
            parent=heap.parent,
            starts=np.array([len(ahead)] if back is not None and len(ahead) else [], dtype=np.int64),
            index=index,
            fills=read_fills(heap.poison, heap.redzone, chunks, memory),
            callers=read_callers(heap.caller, chunks, memory),
        )

    def _node(self, link: int) -> VirtAddr:
        """The header that a link points to; 0 for the link that ends the list."""
        return VirtAddr(0 if link == self._end else self._links.place(link))

    def _ahead(self, head: int, known: set[int]) -> tuple[Chunks, Break | None]:
        """The chunks from the head on, and where the list ends early, if it does."""
        chain = self._follow(self._heap.next, head, known, circular=self._heap.circular)
        chunks = self._chunks(chain.nodes, chain.data, chain.shape.span[0])
        lost = _stranger(chunks, self._heap.magic is not None, chain.broken is not None)
        if lost is None:
            return chunks, chain.broken or self._open(chunks)
        known.difference_update(chain.nodes[lost:].tolist())
        ahead = chunks.taken(np.arange(lost))
        why = "the magic value of a header is missing there"
        return ahead, Break(Stop.ASTRAY, _last(ahead), VirtAddr(int(chain.nodes[lost])), why)

    def _open(self, chunks: Chunks) -> Break | None:
        """The last link of a list that should be circular, but ends."""
        assert chunks.next is not None
        if not self._heap.circular or not len(chunks) or chunks.next[-1] == chunks.address[0]:
            return None
        return Break(Stop.SHORT, _last(chunks), VirtAddr(0), "the list should be circular, but ends here")

    def _back(self, tail: int, ahead: Chunks, broken: Break | None, known: set[int]) -> Chunks | None:
        """The chunks reached only by the links back from the tail, in the list's order; None where there are none."""
        if self._heap.prev is None or (broken is None and self._node(tail) in (_last(ahead), 0)):
            return None
        chain = self._follow(self._heap.prev, tail, known, circular=False)
        back = self._chunks(chain.nodes[::-1], chain.data[::-1], chain.shape.span[0])
        return back if len(back) else None

    def _follow(self, link: Expression, first: int, known: set[int], *, circular: bool) -> Chain:
        """The headers that one kind of link points to, none of them known before."""
        shape = NodeShape(link, self._heap.in_headers, self._links, 0, 0, MOST_CHUNKS)
        try:
            return follow(shape, self._memory, (first, self._end), known, circular=circular)
        except Stopped as stopped:
            raise Stopped(f"the list of '{self._heap.name}': {stopped.so_far}") from None

    def _chunks(self, nodes: NDArray[np.uint64], data: NDArray[np.uint8], first: int) -> Chunks:
        headers = Headers(nodes, np.ascontiguousarray(data), first, self._memory)
        back = None if self._heap.prev is None else self._leads_to(headers, self._heap.prev)
        return replace(chunks_of(self._heap, headers), next=self._leads_to(headers, self._heap.next), prev=back)

    def _leads_to(self, headers: Headers, link: Expression) -> NDArray[np.uint64]:
        """The header that each link points to; 0 for the link that ends the list."""
        links = headers.values(link).astype(U64)
        return np.where(links == U64(self._end & WORD_MASK), U64(0), self._links.places(links))

    def _in_order(self, chunks: Chunks) -> Chunks:
        """A circular list may begin anywhere: its chunks from the lowest address on."""
        if not self._heap.circular or not len(chunks):
            return chunks
        return chunks.taken(np.roll(np.arange(len(chunks)), -int(chunks.address.argmin())))


def _last(chunks: Chunks) -> VirtAddr | None:
    return VirtAddr(int(chunks.address[-1])) if len(chunks) else None


def _stranger(chunks: Chunks, has_magic: bool, breaks_off: bool) -> int | None:
    """The first node that is not a chunk at all, None when all are chunks.

    A node without its magic may be a chunk that was written into. It is, if the chunk before it ends there, or if the
    node after it has its magic again. Otherwise a link was overwritten.
    """
    if not has_magic or chunks.sound.all():
        return None
    beside = np.append(True, chunks.end[:-1] == chunks.address[1:])
    lost = np.flatnonzero(~chunks.sound & ~beside & np.append(~chunks.sound[1:], breaks_off))
    return int(lost[0]) if len(lost) else None
