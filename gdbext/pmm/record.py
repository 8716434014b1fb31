"""What a physical manager itself says about one frame: its state, and where that is stored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gdbext.pmm.lists import FreeList, ListSnapshot
from gdbext.pmm.snapshot import PmmSnapshot
from gdbext.pmm.tree import TreeSnapshot
from gdbext.units import PhysAddr, VirtAddr


@dataclass(frozen=True)
class ListPlace:
    """A frame's place in a list: that of the run or block from ``start`` to ``end`` (exclusive) that contains it.

    ``place`` counts from 0, ``members`` is how many there are; ``before`` and ``after`` are the starts of its
    neighbours. ``node`` lists it, in its entry number ``entry`` (None: the node itself).
    """

    name: str
    place: int
    members: int
    start: PhysAddr
    end: PhysAddr
    node: VirtAddr
    entry: int | None
    before: PhysAddr | None
    after: PhysAddr | None


@dataclass(frozen=True)
class FrameRecord:
    """What a manager says about a frame: ``free``, ``used`` or, if it has no state for it, ``unmanaged``.

    ``number`` is the manager's own for the frame, of ``frame_size`` bytes; ``record`` says as text where its state
    is stored, ``record_at`` is that word, node or byte. The frames around it, from ``start`` to ``end`` (exclusive),
    are in the same state. ``order`` is that of the free block that has the frame, in a buddy system.
    """

    name: str
    kind: str
    state: str
    number: int | None = None
    frame_size: int | None = None
    record: str | None = None
    record_at: VirtAddr | None = None
    start: PhysAddr | None = None
    end: PhysAddr | None = None
    order: int | None = None
    list: ListPlace | None = None


def frame_record(manager: PmmSnapshot, address: PhysAddr) -> FrameRecord:
    """What a manager says about the frame at a physical address."""
    number = (address - manager.base) // manager.frame_size
    if number not in manager.known:
        return FrameRecord(manager.name, manager.kind, "unmanaged")
    place = list_place(manager, address) if isinstance(manager, ListSnapshot) else None
    first, end = _stretch(manager, number)
    is_free = number in manager.free
    return FrameRecord(
        name=manager.name,
        kind=manager.kind,
        state="free" if is_free else "used",
        number=number,
        frame_size=manager.frame_size,
        record=manager.record_of(number),
        record_at=manager.place_of(number),
        start=manager.frame_address(first),
        end=manager.frame_address(end),
        order=_order(manager, number, place, (first, end)) if is_free else None,
        list=place,
    )


def _stretch(manager: PmmSnapshot, number: int) -> tuple[int, int]:
    """The half-open run of frames around a frame that have its state."""
    first, length = manager.free_runs
    borders = np.concatenate([[0], np.stack([first, first + length], axis=1).ravel(), [manager.count]])
    at = int(np.searchsorted(borders, number, side="right"))
    return int(borders[at - 1]), int(borders[at])


def _order(manager: PmmSnapshot, number: int, place: ListPlace | None, run: tuple[int, int]) -> int | None:
    """The order of the free block that has a frame; in a tree that is the largest aligned block in its run."""
    if place is not None and isinstance(manager, ListSnapshot) and manager.is_buddy:
        return ((place.end - place.start) // manager.frame_size).bit_length() - 1
    if not isinstance(manager, TreeSnapshot):
        return None
    fits = (k for k in range(manager.height + 1) if run[0] <= number >> k << k and ((number >> k) + 1) << k <= run[1])
    return max(fits)


def list_place(manager: ListSnapshot, address: PhysAddr) -> ListPlace | None:
    """The first place in a manager's lists that contains a frame."""
    for found in manager.lists:
        ends = found.members.ends(manager.frame_size)
        at = np.flatnonzero((found.members.start <= np.uint64(address)) & (ends > np.uint64(address)))
        if len(at):
            return _place(found, int(at[0]), PhysAddr(int(ends[at[0]])))
    return None


def _place(found: FreeList, at: int, end: PhysAddr) -> ListPlace:
    members = found.members
    entry = int(members.entry[at])
    return ListPlace(
        name=found.name,
        place=at,
        members=len(members),
        start=PhysAddr(int(members.start[at])),
        end=end,
        node=VirtAddr(int(found.chain.nodes[members.node[at]])),
        entry=entry if entry >= 0 else None,
        before=PhysAddr(int(members.start[at - 1])) if at else None,
        after=PhysAddr(int(members.start[at + 1])) if at + 1 < len(members) else None,
    )
