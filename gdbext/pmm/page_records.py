"""The kernel's records about each frame: its owner, its type, whether it is free, its block's order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gdbext.errors import DescriptionError, MemoryUnavailable
from gdbext.machine.memory import RamMap, VirtualMemory
from gdbext.pmm.frames import FrameSet
from gdbext.pmm.snapshot import Place, sensible_count
from gdbext.profile.expressions.expression import Expression
from gdbext.profile.language.owners import PageRecords
from gdbext.structures.collections import Extent, extent, read
from gdbext.structures.unread import NOT_YET, Unread
from gdbext.units import FRAME_SHIFT, PhysAddr, VirtAddr, hex_address
from gdbext.x86.virtual import PagedMemory

MOST_PATCHES = 32
"""If more frames of records than these have changed, all records are read: that is faster than frame by frame."""
LARGEST_ORDER = 52
"""No block is larger than physical memory can be; a larger order is treated as this one."""


@dataclass(frozen=True)
class PageRecord:
    """One frame's record, which is ``at``; what the profile does not describe, or has no value here, is None.

    ``type`` is the name of an enum's value, else the number as text; ``order`` is that of its block.
    """

    at: VirtAddr
    type: str | None
    owner: int | None
    references: int | None
    order: int | None
    free: bool | None

    def __str__(self) -> str:
        """The record as text."""
        said = [] if self.free is None else ["free" if self.free else "in use"]
        said += [f"type {self.type}"] if self.type is not None else []
        said += [f"owner {hex_address(self.owner)}"] if self.owner else []
        said += [f"order {self.order}"] if self.order else []
        return f"its record at {hex_address(self.at)} says: {', '.join(said)}"


@dataclass(frozen=True)
class Block:
    """A block of 2^``order`` frames from frame ``first``, of which only some are in use: the lowest is ``left``."""

    first: int
    order: int
    left: int
    used: int


@dataclass(frozen=True)
class PageRecordsSnapshot:
    """All records at one stop, numbered as the frames from physical address ``base``.

    ``free`` are the frames that are free by their records, ``single`` those whose records count one reference,
    ``order`` is that of each frame's block; None if records do not have it. The first record is at ``place.start``.
    ``pieces`` are the places of records that need no other memory: addresses, physical addresses, bytes.
    """

    described: PageRecords[Expression]
    base: PhysAddr
    count: int
    place: Place
    free: FrameSet | None
    single: FrameSet | None
    order: NDArray[Any] | None
    pieces: tuple[tuple[VirtAddr, PhysAddr, int], ...]
    in_flux: bool

    @property
    def frame_size(self) -> int:
        """Bytes of a frame."""
        return self.described.frame_size

    def frame_address(self, number: int) -> PhysAddr:
        """The physical address of a record's frame."""
        return PhysAddr(self.base + number * self.frame_size)

    def numbered_from(self, base: PhysAddr, count: int, frames: FrameSet | None) -> FrameSet | None:
        """Frames, numbered as the records, as ``count`` numbers from ``base``; None if the two do not align."""
        shift, rest = divmod(self.base - base, self.frame_size)
        if frames is None or rest:
            return None
        if shift >= 0:
            return frames.moved(shift, count)
        bits = np.unpackbits(frames.packed, bitorder="little")[-shift:]
        return FrameSet(np.packbits(bits, bitorder="little"), count)

    def free_from(self, base: PhysAddr, count: int) -> tuple[FrameSet, FrameSet] | None:
        """The frames that have a record, and those of them that are free, as ``count`` numbers from ``base``.

        None if records do not say.
        """
        free = self.numbered_from(base, count, self.free)
        first = (self.base - base) // self.frame_size
        return None if free is None else (FrameSet.of_ranges([(first, first + self.count)], count), free)

    def record_of(self, address: PhysAddr, memory: VirtualMemory) -> PageRecord | None:
        """The record of the frame at a physical address; None if it has no record."""
        number = (address - self.base) // self.frame_size
        if not 0 <= number < self.count:
            return None
        at = VirtAddr(self.place.start + number * (self.place.size // self.count))
        free = _value(self.described.free, memory, at)
        return PageRecord(
            at=at,
            type=self._type_name(memory, at),
            owner=_value(self.described.owner, memory, at),
            references=_value(self.described.references, memory, at),
            order=_value(self.described.order, memory, at),
            free=None if free is None else bool(free),
        )

    def broken_blocks(self) -> Iterator[Block]:
        """The blocks that are neither free nor in use as a whole."""
        order = self.order
        if order is None:
            return
        used = order > 0
        if self.free is not None:
            used &= ~_flags(self.free)
        yield from self._partly_used(order, used) if self.described.order_in == "all" else self._open(order, used)

    def _partly_used(self, order: NDArray[Any], used: NDArray[np.bool_]) -> Iterator[Block]:
        """Where every frame of a block has its order: blocks with a frame that differs from its neighbours."""
        alike = np.concatenate([[False], used[1:] & used[:-1] & (order[1:] == order[:-1]), [False]])
        number = np.flatnonzero(used)
        size = _sizes(order[number])
        whole = ((number % size == 0) | alike[number]) & (((number + 1) % size == 0) | alike[number + 1])
        broken = np.flatnonzero(~whole)
        first = number[broken] // size[broken] * size[broken]
        for at in np.unique(first, return_index=True)[1].tolist():
            start, length, mine = int(first[at]), int(size[broken[at]]), order[number[broken[at]]]
            block = slice(start, start + length)
            left = np.flatnonzero(used[block] & (order[block] == mine))
            yield Block(start, length.bit_length() - 1, start + int(left[0]), len(left))

    def _open(self, order: NDArray[Any], used: NDArray[np.bool_]) -> Iterator[Block]:
        """If the first frame of a block has its order: blocks that hold a free frame, or extend beyond the last."""
        if self.free is None:
            return
        free_before = np.concatenate([[0], np.cumsum(_flags(self.free))])
        first = np.flatnonzero(used)
        size = _sizes(order[first])
        end = np.minimum(first + size, self.count)
        taken = end - first - (free_before[end] - free_before[first])
        for at in np.flatnonzero(taken != size).tolist():
            start = int(first[at])
            yield Block(start, int(size[at]).bit_length() - 1, start, int(taken[at]))

    def _type_name(self, memory: VirtualMemory, at: VirtAddr) -> str | None:
        value = _value(self.described.type, memory, at)
        if value is None or self.described.type is None:
            return None
        return self.described.type.type.enumerators.get(value, str(value))


def _sizes(order: NDArray[Any]) -> NDArray[np.int64]:
    """The frames in blocks of these orders."""
    sizes: NDArray[np.int64] = np.int64(1) << np.minimum(order, LARGEST_ORDER).astype(np.int64)
    return sizes


def _value(expression: Expression | None, memory: VirtualMemory, at: VirtAddr) -> int | None:
    try:
        return None if expression is None else expression.evaluate(memory, at)
    except (MemoryUnavailable, DescriptionError):
        return None


Columns = dict[str, NDArray[Any]]
_ASKED: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "free": lambda flags: flags != 0,
    "references": lambda counts: counts == 1,
    "order": lambda orders: orders,
}
"""The columns that are kept of records, by the profile's keys."""


def read_page_records(
    described: PageRecords[Expression],
    memory: VirtualMemory,
    ram: RamMap,
    before: PageRecordsSnapshot | None = None,
    changed: NDArray[np.uint64] | None = None,
) -> PageRecordsSnapshot | Unread:
    """The records that a profile describes, of a machine with this RAM.

    With records as they were ``before``, only those on frames that have ``changed`` are read, if that suffices.
    """
    try:
        found = _read(described, memory, ram, before, changed)
        return found or Unread("page records", "records", NOT_YET, absent=True)
    except (MemoryUnavailable, DescriptionError) as error:
        return Unread("page records", "records", str(error), absent=False)


def _read(
    described: PageRecords[Expression],
    memory: VirtualMemory,
    ram: RamMap,
    before: PageRecordsSnapshot | None,
    changed: NDArray[np.uint64] | None,
) -> PageRecordsSnapshot | None:
    if described.ready is not None and not described.ready.evaluate(memory):
        return None
    array = extent(described.collection, memory)
    if not array.start and not array.count:
        return None
    sensible_count(array.count, array.text, described.frame_size, ram)
    asked = {name: expression for name in _ASKED if (expression := getattr(described, name)) is not None}
    pieces = _pieces(asked, array, memory)
    if (
        pieces
        and before is not None
        and before.pieces == pieces
        and changed is not None
        and len(changed) < MOST_PATCHES
    ):
        columns = _patched(asked, before, array, memory, changed)
    else:
        rows = read(replace(described.collection, most=array.count), memory, asked, "records").whole()
        columns = {name: _ASKED[name](rows[name]) for name in asked}
    return PageRecordsSnapshot(
        described,
        PhysAddr(described.base.evaluate(memory)),
        array.count,
        Place(array.start, array.size, "the records about frames"),
        _frames(columns.get("free")),
        _frames(columns.get("references")),
        columns.get("order"),
        pieces,
        bool(described.lock and described.lock.evaluate(memory)),
    )


def _frames(flags: NDArray[Any] | None) -> FrameSet | None:
    return None if flags is None else FrameSet(np.packbits(flags, bitorder="little"), len(flags))


def _flags(frames: FrameSet) -> NDArray[np.bool_]:
    return np.unpackbits(frames.packed, count=frames.count, bitorder="little").view(np.bool_)


def _pieces(
    asked: Mapping[str, Expression], array: Extent, memory: VirtualMemory
) -> tuple[tuple[VirtAddr, PhysAddr, int], ...]:
    """Where the records lie; nothing if what they say depends on anything else, or not all of them can be read."""
    if not isinstance(memory, PagedMemory) or not all(expression.flat for expression in asked.values()):
        return ()
    pieces = tuple(memory.pieces(array.start, array.size))
    return pieces if sum(size for _, _, size in pieces) == array.size else ()


def _patched(
    asked: Mapping[str, Expression],
    before: PageRecordsSnapshot,
    array: Extent,
    memory: VirtualMemory,
    changed: NDArray[np.uint64],
) -> Columns:
    """The columns as they were before, but for records that lie on changed frames, wholly or in part."""
    assert isinstance(memory, PagedMemory)
    sets = {"free": before.free, "references": before.single}
    columns: Columns = {name: _flags(frames) for name, frames in sets.items() if frames is not None}
    if before.order is not None:
        columns["order"] = before.order.copy()
    for virtual, physical, size in before.pieces:
        frames = np.arange(physical >> FRAME_SHIFT, (physical + size - 1 >> FRAME_SHIFT) + 1, dtype=np.uint64)
        memory.physical.seen(frames)  # whoever keeps account: the columns still rest on all of them
        for frame in frames[np.isin(frames, changed)].tolist():
            start = max(frame << FRAME_SHIFT, physical) - physical + virtual - array.start
            end = min((frame + 1) << FRAME_SHIFT, physical + size) - physical + virtual - array.start
            some = slice(start // array.stride, -(-end // array.stride))
            for name, column in _columns(asked, array, some, memory).items():
                columns[name][some] = column
    return columns


def _columns(asked: Mapping[str, Expression], array: Extent, some: slice, memory: VirtualMemory) -> Columns:
    """What is kept of what some records say, which tell all by themselves."""
    start, end = (array.start + number * array.stride for number in (some.start, some.stop))
    data = np.frombuffer(memory.read(VirtAddr(start), end - start), dtype=np.uint8)
    nodes = np.arange(start, end, array.stride, dtype=np.uint64)
    found = {}
    for name, expression in asked.items():
        assert expression.flat is not None
        found[name] = _ASKED[name](expression.flat.evaluate_array(data, range(0, len(data), array.stride), nodes))
    return found
