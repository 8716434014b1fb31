"""Physical managers with free frames on linked lists: stacks, lists of runs, stacks of pages, buddy systems."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gdbext.machine.memory import RamMap
from gdbext.pmm.frames import FrameSet
from gdbext.pmm.snapshot import PartStat, PmmSnapshot
from gdbext.structures.chain import Chain
from gdbext.structures.counter import Counter
from gdbext.units import PhysAddr, VirtAddr, hex_address

U64 = np.uint64


@dataclass(frozen=True)
class Members:
    """Runs of free frames on lists: first physical address, number of frames, and index of the node that lists them.

    ``entry`` is the index in that node's own list, -1 for the node itself.
    """

    start: NDArray[np.uint64]
    frames: NDArray[np.int64]
    node: NDArray[np.int64]
    entry: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.start)

    def ends(self, frame_size: int) -> NDArray[np.uint64]:
        """The end of each run: the physical address after it."""
        return self.start + (self.frames * frame_size).astype(U64)

    def overlapping(self, frame_size: int) -> NDArray[np.int64]:
        """The members, given in order of address, that begin before the end of an earlier member."""
        reach = np.maximum.accumulate(self.ends(frame_size))
        return np.flatnonzero((self.start[1:] < reach[:-1]) & (self.frames[1:] > 0)) + 1


@dataclass(frozen=True)
class PairBits:
    """A bit for each pair of buddies of one order: bit ``i % 8`` of byte ``i // 8``."""

    at: VirtAddr
    count: int
    bits: FrameSet


@dataclass(frozen=True)
class FreeList:
    """One list at one stop.

    ``link_at`` is the address of the link to its first node, ``broken_at`` that of the link that is broken,
    ``length`` the kernel's own count (of frames if ``counts_frames``), ``start`` and ``end`` the physical addresses
    that its members must be in. Arrays are by node: its ``frames``, the ``entries`` that it lists (as it says;
    None where nodes list nothing), ``room`` its capacity for them, ``bad_magic``, ``prev`` its back link
    as a node's address, the ``orders`` it records. ``order`` is that of the list.
    """

    name: str
    link_at: VirtAddr | None
    broken_at: VirtAddr | None
    chain: Chain
    members: Members
    frames: NDArray[np.int64]
    entries: NDArray[np.int64] | None
    room: NDArray[np.int64] | None
    bad_magic: NDArray[np.bool_]
    prev: NDArray[np.uint64] | None
    orders: NDArray[np.int64] | None
    length: Counter | None
    counts_frames: bool
    start: PhysAddr | None
    end: PhysAddr | None
    order: int | None
    pairs: PairBits | None

    @property
    def counted(self) -> int:
        """The correct value of ``length``."""
        return int(self.members.frames.sum()) if self.counts_frames else len(self.chain)


@dataclass(frozen=True, kw_only=True)
class ListSnapshot(PmmSnapshot):
    """A manager of lists at one stop.

    ``by_address`` has the members of all lists in order of address, and the number of each one's list.
    ``circular``, ``sorted``, ``coalesces`` and ``merges`` are as in the profile; ``is_buddy`` means that list number i
    is that of an order, and ``in_frames`` that nodes are inside the frames that they list.
    """

    lists: tuple[FreeList, ...]
    by_address: tuple[Members, NDArray[np.int64]]
    circular: bool
    sorted: bool
    coalesces: bool
    merges: bool
    is_buddy: bool
    in_frames: bool
    ram: RamMap

    @property
    def kind(self) -> str:
        """``list`` or ``buddy``."""
        return "buddy" if self.is_buddy else "list"

    @property
    def counted_from(self) -> str:
        """What the counted values come from."""
        return "the lists"

    @property
    def has_zones(self) -> bool:
        """Whether any list is limited to an address range."""
        return any(found.start is not None or found.end is not None for found in self.lists)

    def place_of(self, number: int) -> VirtAddr | None:
        """The node that lists a frame as free."""
        found = self._member_at(number)
        return VirtAddr(int(found[0].chain.nodes[found[1]])) if found else None

    def record_of(self, number: int) -> str:
        """The list and node that list a frame as free."""
        found = self._member_at(number)
        if found is None:
            return f"not on a list of '{self.name}'"
        in_list, node = found
        return f"on list {in_list.name} of '{self.name}', node {hex_address(int(in_list.chain.nodes[node]))}"

    def _member_at(self, number: int) -> tuple[FreeList, int] | None:
        members, lists = self.by_address
        address = self.frame_address(number)
        at = int(np.searchsorted(members.start, U64(address), side="right")) - 1
        if at < 0 or address >= int(members.start[at]) + int(members.frames[at]) * self.frame_size:
            return None
        return self.lists[int(lists[at])], int(members.node[at])

    @property
    def parts(self) -> tuple[PartStat, ...]:
        """The lists."""
        kind = "order" if self.is_buddy else "list"
        return tuple(
            PartStat(
                kind,
                found.name,
                int(found.members.frames.sum()),
                int(found.members.frames.sum()),
                len(found.chain),
                found.length.value if found.length else None,
                found.counted if found.chain.broken is None else None,
                VirtAddr(int(found.chain.nodes[0])) if len(found.chain) else None,
                found.order,
            )
            for found in self.lists
        )


def joined(parts: list[Members]) -> Members:
    """The members of several lists, one list after the other."""
    if not parts:
        nothing = np.empty(0, dtype=np.int64)
        return Members(nothing.astype(U64), nothing, nothing, nothing)
    return Members(*(np.concatenate([getattr(p, f) for p in parts]) for f in ("start", "frames", "node", "entry")))


def taken(members: Members, chosen: NDArray[Any]) -> Members:
    """The chosen members."""
    return Members(members.start[chosen], members.frames[chosen], members.node[chosen], members.entry[chosen])


def in_order(parts: list[Members]) -> tuple[Members, NDArray[np.int64]]:
    """All members in order of address, and the number of each one's list."""
    whole = joined(parts)
    number = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    order = np.argsort(whole.start, kind="stable")
    return taken(whole, order), number[order]
