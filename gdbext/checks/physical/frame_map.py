"""Physical memory as one map: the state of every frame in the managers, the machine's RAM, and the owners."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial

import numpy as np
from numpy.typing import NDArray

from gdbext.checks.physical.inputs import PhysicalRange, joined
from gdbext.checks.ranges import Ranges, coverage
from gdbext.machine.memory import RamMap
from gdbext.pmm.bootmap import BootMap
from gdbext.pmm.frames import FrameSet
from gdbext.pmm.page_records import PageRecordsSnapshot
from gdbext.pmm.snapshot import PmmSnapshot
from gdbext.pmm.stat import Window
from gdbext.structures.unread import Unread
from gdbext.units import FRAME_SIZE, PhysAddr, round_down, round_up

TOP = PhysAddr(1 << 52)
"""All physical addresses of the architecture are below this."""


class Held(Enum):
    """The state of a piece of physical memory: the first that applies. An owner's state has the name of its kind.

    ``CONTESTED``: free, but an owner or its record has it in use. ``UNFIT``: free, but not RAM that may be handed out.
    ``RESERVED``: RAM that the boot map does not call usable, or that the kernel reserves. ``USED``: not free, owner
    unknown. ``UNMANAGED``: RAM that no manager has a state for.
    """

    CONTESTED = "free but in use"
    UNFIT = "free, not usable"
    FREE = "free"
    ABSENT = "absent"
    PAGE_TABLE = "page table"
    MANAGER = "manager"
    DMA = "dma"
    HELD = "held"
    IMAGE = "kernel image"
    HEAP = "heap"
    MAPPING = "mapping"
    RESERVED = "reserved"
    USED = "used"
    UNMANAGED = "unmanaged"


OWNERS = (Held.PAGE_TABLE, Held.MANAGER, Held.DMA, Held.HELD, Held.IMAGE, Held.HEAP, Held.MAPPING)


@dataclass(frozen=True)
class Piece:
    """Physical addresses of one state, ``end`` exclusive."""

    start: PhysAddr
    end: PhysAddr
    state: Held


@dataclass(frozen=True)
class FrameMap:
    """The physical addresses from ``start`` up to ``end`` as ``pieces``; ``sizes`` are the bytes of each state.

    ``left_out`` says which owners could not be determined; their frames are shown as used.
    """

    start: PhysAddr
    end: PhysAddr
    sizes: dict[str, int]
    pieces: tuple[Piece, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class FrameMapInputs:
    """The inputs of a map; ``records`` are the kernel's own about frames, if it has any."""

    managers: tuple[PmmSnapshot, ...]
    ram: RamMap
    boot_map: BootMap | Unread | None
    owners: tuple[PhysicalRange, ...]
    records: PageRecordsSnapshot | None = None
    left_out: tuple[str, ...] = ()


def frame_map(inputs: FrameMapInputs, window: Window | None = None) -> FrameMap:
    """The map of all physical memory, or of the frames that overlap a window, up to the end of RAM and free frames."""
    layers = _Layers.of(inputs)
    start, end = window or (PhysAddr(0), TOP)
    start, end = PhysAddr(round_down(start, FRAME_SIZE)), PhysAddr(min(round_up(end, FRAME_SIZE), layers.top))
    if start >= end:
        return FrameMap(start, start, {}, (), inputs.left_out)
    begin, state = _composed(layers, start, end)
    borders = np.append(begin, end).tolist()
    numbers, held = state.tolist(), list(Held)
    sizes = np.zeros(len(held), dtype=np.int64)
    np.add.at(sizes, state, np.diff(borders))
    return FrameMap(
        start=start,
        end=end,
        sizes={held[number].value: size for number, size in enumerate(sizes.tolist()) if size},
        pieces=tuple(
            Piece(PhysAddr(first), PhysAddr(last), held[number])
            for first, last, number in zip(borders[:-1], borders[1:], numbers, strict=True)
        ),
        left_out=inputs.left_out,
    )


@dataclass(frozen=True)
class _Layers:
    """The layers of the map: ranges of addresses, in whole frames. ``usable`` is None where it is not known."""

    ram: Ranges
    usable: Ranges | None
    kept: Ranges
    free: Ranges
    managed: Ranges
    owners: Mapping[str, Ranges]

    @classmethod
    def of(cls, inputs: FrameMapInputs) -> _Layers:
        known = inputs.boot_map if isinstance(inputs.boot_map, BootMap) else None
        kinds = {used.kind for used in inputs.owners}
        owners = {kind: _outward((u.start, u.end) for u in inputs.owners if u.kind == kind) for kind in kinds}
        return cls(
            ram=_inward((r.start, r.end) for r in inputs.ram.ranges),
            usable=_inward((r.base, r.end) for r in known.usable) if known else None,
            kept=_outward((r.base, r.end) for r in known.reserved) if known else _outward(()),
            free=_all(_addresses(m.free, m.base, m.frame_size) for m in inputs.managers),
            managed=_all(_addresses(m.known, m.base, m.frame_size) for m in inputs.managers),
            owners=owners | {"record": _recorded(inputs.records)},
        )

    @property
    def top(self) -> int:
        """The end of all RAM and of all free frames."""
        return max(int(ranges[:, 1].max(initial=0)) for ranges in (self.ram, self.free))

    def __iter__(self) -> Iterator[Ranges]:
        yield from (self.ram, self.kept, self.free, self.managed, *self.owners.values())
        if self.usable is not None:
            yield self.usable


def _composed(layers: _Layers, start: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the pieces of a range begin, and the state of each as its number in `Held`."""
    borders = np.unique(np.concatenate([[start], *(layer.ravel() for layer in layers)]))
    borders = borders[(borders >= start) & (borders < end)]
    covered = partial(_covered, borders)
    ram, free = covered(layers.ram), covered(layers.free)
    usable = ram & ~covered(layers.kept)
    if layers.usable is not None:
        usable &= covered(layers.usable)
    owned = {kind: covered(ranges) for kind, ranges in layers.owners.items()}
    nobody = np.zeros(len(borders), dtype=np.bool_)
    conditions = {
        Held.CONTESTED: free & np.logical_or.reduce([nobody, *owned.values()]),
        Held.UNFIT: free & ~usable,
        Held.FREE: free,
        Held.ABSENT: ~ram,
        **{kind: owned.get(kind.value, nobody) for kind in OWNERS},
        Held.RESERVED: ~usable,
        Held.USED: covered(layers.managed),
        Held.UNMANAGED: ~nobody,
    }
    state = np.argmax([conditions[kind] for kind in Held], axis=0)
    first = np.append(True, state[1:] != state[:-1])
    return borders[first], state[first]


def _covered(borders: NDArray[np.int64], ranges: Ranges) -> NDArray[np.bool_]:
    return coverage(borders, ranges) > 0


def _array(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """The ranges that are not empty, cut to physical addresses."""
    cut = ((min(start, TOP), min(end, TOP)) for start, end in ranges)
    return np.array([(start, end) for start, end in cut if start < end], dtype=np.int64).reshape(-1, 2)


def _outward(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """All frames that ranges touch."""
    return _array((round_down(start, FRAME_SIZE), round_up(end, FRAME_SIZE)) for start, end in ranges)


def _inward(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """The frames that are wholly within ranges, where adjacent ranges count as one."""
    return _array((round_up(start, FRAME_SIZE), round_down(end, FRAME_SIZE)) for start, end in joined(ranges))


def _recorded(records: PageRecordsSnapshot | None) -> Ranges:
    """The frames whose records say that they are in use."""
    if records is None or records.free is None:
        return _outward(())
    known = FrameSet.of_ranges([(0, records.count)], records.count)
    return _addresses(known - records.free, records.base, records.frame_size)


def _addresses(frames: FrameSet, base: PhysAddr, frame_size: int) -> Ranges:
    """The physical addresses of frames numbered from ``base`` on."""
    most = max(0, TOP - base) // frame_size
    first, length = frames.runs()
    ends = np.clip(np.stack([first, first + length], axis=1), 0, most)
    return ends[ends[:, 0] < ends[:, 1]] * frame_size + (base if most else 0)


def _all(parts: Iterable[Ranges]) -> Ranges:
    return np.concatenate([np.empty((0, 2), dtype=np.int64), *parts])
