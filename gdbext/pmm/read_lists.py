"""Reading physical managers that keep their free frames on linked lists, as a profile describes them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gdbext.errors import MemoryUnavailable, Stopped
from gdbext.machine.memory import RamMap
from gdbext.pmm.frames import FrameSet
from gdbext.pmm.lists import FreeList, ListSnapshot, Members, PairBits, in_order, joined, taken
from gdbext.pmm.snapshot import Common, Place, frames_of, read_common
from gdbext.profile.expressions.expression import Expression
from gdbext.profile.expressions.operations import width_of
from gdbext.profile.language.physical import Buddy, Entries, FreeLists, LinkedFrames, Lists
from gdbext.structures.chain import Chain, Ends, Links, NodeShape, Stop, UnreadableNode, follow, without_strangers
from gdbext.structures.collections import read
from gdbext.structures.counter import read_counter
from gdbext.symbols.model import Kind, Type
from gdbext.units import WORD_MASK, PhysAddr, VirtAddr
from gdbext.x86.virtual import PagedMemory

MOST_ORDERS = 48
"""A buddy system of more orders than this would have blocks larger than the address space."""
U64 = np.uint64


def read_lists(
    manager: LinkedFrames[Expression], memory: PagedMemory, ram: RamMap, direct_map: VirtAddr | None
) -> ListSnapshot:
    """Read a manager of lists. Raises MemoryUnavailable if not even the lists' heads can be read."""
    common = read_common(manager, memory)
    count = frames_of(manager.count, common, memory, ram)
    reader = _Reader(manager, common, memory, ram, direct_map, count)
    lists = tuple(found for written in manager.lists for found in reader.lists(written))
    by_address = in_order([found.members for found in lists])
    return ListSnapshot(
        **vars(common),
        free=free_frames(by_address[0], common, count),
        covers=manager.count is not None,
        places=tuple(
            Place(found.pairs.at, -(-found.pairs.count // 8), f"the pair bits of '{common.name}'")
            for found in lists
            if found.pairs
        ),
        unseen=_unseen(lists, by_address[0], common.frame_size),
        lists=lists,
        by_address=by_address,
        circular=manager.circular,
        sorted=isinstance(manager, FreeLists) and manager.sorted,
        coalesces=isinstance(manager, FreeLists) and manager.coalesces,
        merges=isinstance(manager, Buddy) and manager.merges,
        is_buddy=isinstance(manager, Buddy),
        in_frames=reader.in_frames,
        ram=ram,
    )


def _unseen(lists: tuple[FreeList, ...], by_address: Members, frame_size: int) -> str | None:
    """Why the frames on the lists are not all free frames, if that is so."""
    for found in lists:
        if found.chain.broken is not None and found.chain.broken.stop is not Stop.SHARED:
            return f"list {found.name} is broken, so not all of its frames are known"
        if found.bad_magic.any():
            return f"list {found.name} has a node that was overwritten"
    return "a frame is listed twice" if len(by_address.overlapping(frame_size)) else None


class _Reader:
    """Reads the lists of one manager."""

    def __init__(
        self,
        manager: LinkedFrames[Expression],
        common: Common,
        memory: PagedMemory,
        ram: RamMap,
        direct_map: VirtAddr | None,
        count: int,
    ) -> None:
        self._manager = manager
        self._common = common
        self._memory = memory
        self._ram = ram
        self._count = count
        self._direct_map = direct_map
        self._known: set[int] = set()
        self._entries = manager.entries if isinstance(manager, FreeLists) else None
        self._sizes = manager.frames if isinstance(manager, FreeLists) else None
        node = manager.node
        self._node_size = node.size if isinstance(node, Type) else 0
        self._records = manager.records.evaluate(memory) if manager.records else 0
        self._only_lists = self._sizes is not None and self._sizes.constant == 0
        self.in_frames = manager.address is None and manager.links != "index" and not self._only_lists
        self._shape = NodeShape(
            next=manager.next,
            expressions=self._asked(),
            links=self._links(),
            frame_size=common.frame_size if self.in_frames else 0,
            base=common.base,
            most=count + 1,
        )

    def _asked(self) -> tuple[Expression, ...]:
        """The expressions about a node other than its link."""
        manager = self._manager
        own = [manager.prev, manager.address, self._sizes]
        own += [manager.magic.expr, manager.magic.equals] if manager.magic else []
        own += [self._entries.count, self._entries.capacity] if self._entries else []
        own += [manager.order] if isinstance(manager, Buddy) else []
        return tuple(expression for expression in own if expression is not None)

    def _links(self) -> Links:
        """How links give the addresses of nodes."""
        frame_size, base, direct_map = self._common.frame_size, self._common.base, self._direct_map
        inside = self._manager.link_offset.constant or 0
        match self._manager.links:
            case "virtual":
                return Links(-inside)
            case "index":
                return Links(self._records, self._node_size, self._count)
            case kind if direct_map is None:
                raise MemoryUnavailable(f"links of kind {kind} need address.direct_map: set it in the profile")
            case "physical":
                return Links(direct_map - inside)
            case _:
                return Links(direct_map + base, frame_size)

    def lists(self, written: Lists[Expression]) -> list[FreeList]:
        """The described list, or each list of an array."""
        found = written.collection
        if found.single:
            return [self._list(written, None, 0, written.name or written.head.text)]
        rows = read(found, self._memory, {}, "lists").whole()
        places, within = rows.nodes.tolist(), np.arange(len(rows)) - np.searchsorted(rows.outer, rows.outer)
        if isinstance(self._manager, Buddy) and within.max(initial=0) >= MOST_ORDERS - self._manager.lowest_order:
            raise MemoryUnavailable(f"there are lists for {within.max() + 1} orders, more than are possible")
        numbered = [f"{written.name} {i}" if written.name else str(i) for i in range(len(places))]
        names = [*written.names[: len(places)], *numbered[len(written.names) :]]
        every = zip(places, within.tolist(), names, strict=True)
        return [self._list(written, VirtAddr(at), index, name) for at, index, name in every]

    def _list(self, written: Lists[Expression], at: VirtAddr | None, index: int, name: str) -> FreeList:
        """One list, up to the first node that cannot be read completely."""
        manager = self._manager
        expected = written.length.evaluate(self._memory, at) if written.length and manager.length_unit == "node" else 0
        chain, bad_magic = self._chain(name, self._ends(written, at), expected)
        order = index + manager.lowest_order if isinstance(manager, Buddy) else None
        while True:
            try:
                return self._free_list(written, at, name, order, chain, bad_magic)
            except UnreadableNode as torn:
                self._known.difference_update(chain.nodes[torn.index :].tolist())
                chain, bad_magic = chain.cut(torn.index, Stop.UNREADABLE, str(torn)), bad_magic[: torn.index]

    def _ends(self, written: Lists[Expression], at: VirtAddr | None) -> Ends:
        """The link to a list's first node, and the link that ends the list, compared as C compares them."""
        first, end = written.head.evaluate(self._memory, at), self._manager.end.evaluate(self._memory, at)
        last = _as(self._manager.next, end)
        return last if first == _as(written.head, end) else first, last

    def _free_list(
        self,
        written: Lists[Expression],
        at: VirtAddr | None,
        name: str,
        order: int | None,
        chain: Chain,
        bad_magic: NDArray[np.bool_],
    ) -> FreeList:
        """The list of these nodes. Raises UnreadableNode."""
        manager, memory = self._manager, self._memory

        def value(expression: Expression | None) -> int | None:
            return None if expression is None else expression.evaluate(memory, at)

        recorded = manager.order if isinstance(manager, Buddy) else None
        orders = chain.values(recorded, memory).astype(np.int64) if recorded else None
        frames = self._frames(chain, order, orders)
        room = self._room(chain)
        members, entries = self._members(chain, frames, bad_magic, room)
        low, high = value(written.start), value(written.end)
        link_at = written.head.address(memory, at) if written.head.is_lvalue else None
        return FreeList(
            name=name,
            link_at=link_at,
            broken_at=self._link_of(chain.broken.source) if chain.broken and chain.broken.source else link_at,
            chain=chain,
            members=members,
            frames=frames,
            entries=entries,
            room=room,
            bad_magic=bad_magic,
            prev=self._back_links(chain, manager.end.evaluate(memory, at)),
            orders=orders,
            length=read_counter("length", written.length, memory, at) if written.length else None,
            counts_frames=manager.length_unit == "frame",
            start=None if low is None else PhysAddr(low),
            end=None if high is None else PhysAddr(high),
            order=order,
            pairs=self._pairs(at),
        )

    def _chain(self, name: str, ends: Ends, expected: int) -> tuple[Chain, NDArray[np.bool_]]:
        """The nodes between two links, without any that is on an earlier list; and which have a wrong magic."""
        manager, memory, known = self._manager, self._memory, self._known
        try:
            whole = follow(self._shape, memory, ends, known, circular=manager.circular, expected=expected)
        except Stopped as stopped:
            raise Stopped(f"list {name} of '{self._common.name}': {stopped.so_far}") from None
        if manager.magic is None:
            return whole, np.zeros(len(whole), dtype=np.bool_)
        chain, bad_magic = without_strangers(whole, manager.magic, memory)
        known.difference_update(whole.nodes[len(chain) :].tolist())
        return chain, bad_magic

    def _link_of(self, node: VirtAddr) -> VirtAddr:
        """The address of a node's link."""
        follows = self._manager.next
        return follows.address(self._memory, node) if follows.is_lvalue else node

    def _frames(self, chain: Chain, order: int | None, orders: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """The number of frames of each node, as the node says, which may be nonsense.

        A block that records a lower order than its list's is trusted: to treat it as smaller does less harm.
        """
        if order is not None:
            of_list = np.full(len(chain), order, dtype=np.int64)
            own = of_list if orders is None else np.where((orders >= 0) & (orders < order), orders, of_list)
            return np.left_shift(np.int64(1), own)
        if self._sizes is not None:
            said = chain.values(self._sizes, self._memory).astype(U64)
            return np.minimum(said, U64((1 << 62) // self._common.frame_size)).astype(np.int64)
        return np.ones(len(chain), dtype=np.int64)

    def _starts(self, chain: Chain) -> NDArray[np.uint64]:
        """The physical address of each node's frames."""
        if self._manager.address is not None:
            return chain.values(self._manager.address, self._memory).astype(U64)
        if self._manager.links == "index":
            index = (chain.nodes - U64(self._records)) // U64(self._node_size)
            return U64(self._common.base) + index * U64(self._common.frame_size)
        return chain.physical

    def _back_links(self, chain: Chain, end: int) -> NDArray[np.uint64] | None:
        """The node that each back link points to; 0 where the link is the list's end."""
        if self._manager.prev is None:
            return None
        links = chain.values(self._manager.prev, self._memory).astype(U64)
        return np.where(links == U64(_as(self._manager.prev, end) & WORD_MASK), U64(0), self._shape.links.places(links))

    def _room(self, chain: Chain) -> NDArray[np.int64] | None:
        """Each node's capacity for entries: by the profile, by the array's type, or else the number of frames."""
        if self._entries is None:
            return None
        if self._entries.capacity is not None:
            return self._counts(chain, self._entries.capacity)
        array = self._entries.at.type
        known = array.count if array.kind is Kind.ARRAY else None
        return np.full(len(chain), self._count if known is None else known, dtype=np.int64)

    def _counts(self, chain: Chain, expression: Expression) -> NDArray[np.int64]:
        """A number of frames in each node, which may be nonsense, but is limited so that it can be computed with."""
        said = chain.values(expression, self._memory)
        return (said if said.dtype.kind == "i" else np.minimum(said.astype(U64), U64(1 << 52))).astype(np.int64)

    def _members(
        self, chain: Chain, frames: NDArray[np.int64], bad: NDArray[np.bool_], room: NDArray[np.int64] | None
    ) -> tuple[Members, NDArray[np.int64] | None]:
        """All frames that the nodes say are free, in the lists' order, including those in the nodes' own lists.

        A node with a wrong magic may have been allocated by now, and is not used.
        """
        nodes = np.arange(len(chain))
        own = Members(self._starts(chain), frames, nodes, np.full(len(chain), -1, dtype=np.int64))
        own = taken(own, ~bad & (not self._only_lists))
        listing = self._entries
        if listing is None or room is None:
            return own, None
        said = self._counts(chain, listing.count)
        counts = np.clip(np.minimum(said, room), 0, self._count)
        if counts[~bad].sum() > self._count:
            raise MemoryUnavailable(f"its nodes list {counts[~bad].sum()} frames, but there are only {self._count}")
        listed = [
            self._listed(listing, int(node), at, int(count))
            for at, (node, count, wrong) in enumerate(zip(chain.nodes, counts, bad, strict=True))
            if not wrong
        ]
        return joined([own, *listed]), said

    def _listed(self, listing: Entries[Expression], node: int, index: int, count: int) -> Members:
        target = listing.at.type.target
        size = target.size if target else 8
        try:
            raw = self._memory.read_near(VirtAddr(listing.at.evaluate(self._memory, node)), count * size)
        except MemoryUnavailable as error:
            raise UnreadableNode(index, error) from None
        numbers = np.frombuffer(raw, dtype=f"<u{size}").astype(U64)
        if listing.unit == "frame":
            numbers = U64(self._common.base) + numbers * U64(self._common.frame_size)
        ones = np.ones(count, dtype=np.int64)
        return Members(numbers, ones, ones * index, np.arange(count))

    def _pairs(self, at: VirtAddr | None) -> PairBits | None:
        manager = self._manager
        if not isinstance(manager, Buddy) or manager.pairs is None:
            return None
        bits_at, count = manager.pairs.bits.evaluate(self._memory, at), manager.pairs.count.evaluate(self._memory, at)
        if not bits_at or not count:
            return None
        if not 0 < count <= self._count + 1:
            raise MemoryUnavailable(f"{manager.pairs.count.text} is {count}, more than there are frames")
        raw = np.frombuffer(self._memory.read(VirtAddr(bits_at), -(-count // 8)), dtype=np.uint8)
        return PairBits(VirtAddr(bits_at), count, FrameSet(raw, count))


def _as(link: Expression, value: int) -> int:
    """A value converted to a link's type, as C does."""
    width = width_of(link.type)
    return width.wrap(value) if width else value


def free_frames(members: Members, common: Common, count: int) -> FrameSet:
    """The frames on lists, each once; members that are not frames are ignored."""
    inside = (members.start >= U64(common.base)) & (members.frames > 0)
    first = ((members.start[inside] - U64(common.base)) // U64(common.frame_size)).astype(np.int64)
    frames = members.frames[inside]
    if len(frames) and (frames == 1).all():
        return FrameSet.of_numbers(first.astype(U64), count)
    return FrameSet.of_runs(first, frames, count)
