"""A physical manager in figures, and its contents: stretches of frames of one state, and lists in their order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gdbext.pmm.bitmap import BitmapSnapshot
from gdbext.pmm.frames import FrameSet
from gdbext.pmm.lists import FreeList, ListSnapshot
from gdbext.pmm.snapshot import PartStat, PmmSnapshot, touched
from gdbext.pmm.zones import Zone
from gdbext.structures.counter import CounterStat
from gdbext.units import PhysAddr, VirtAddr


@dataclass(frozen=True)
class ZoneStat:
    """A zone in figures: ``free`` frames in ``free_runs`` stretches, cut at its borders.

    ``usable`` counts the frames there that the manager could ever hand out, None without a boot map.
    ``fragmentation`` is that of `PmmStat`, within the zone.
    """

    name: str
    start: PhysAddr
    end: PhysAddr
    usable: int | None
    free: int
    free_runs: int
    largest_run: int
    fragmentation: float


@dataclass(frozen=True)
class PmmStat:
    """A physical manager in figures; all but ``frame_size`` (bytes) and ``fragmentation`` count frames.

    ``used`` are all that are not free: of them ``reserved`` are not usable RAM in the boot map (holes are among them),
    or the kernel keeps them for itself (None without a boot map); the others were allocated.
    ``fragmentation`` is the share of the free frames that are not in the largest free run: 0 when all are together.
    ``at`` is where the manager's own data begin, ``unseen`` why not all free frames are known.
    """

    name: str
    kind: str
    frame_size: int
    total: int
    free: int
    used: int
    reserved: int | None
    free_runs: int
    largest_run: int
    largest_run_at: PhysAddr | None
    fragmentation: float
    counters: tuple[CounterStat, ...]
    zones: tuple[ZoneStat, ...]
    parts: tuple[PartStat, ...]
    hint: int | None
    at: VirtAddr | None
    in_flux: bool
    unseen: str | None


def pmm_stat(manager: PmmSnapshot, reserved: FrameSet | None, zones: Sequence[Zone]) -> PmmStat:
    """The figures of a manager; ``reserved`` are the frames that it could never hand out, None if not known."""
    first, length = manager.free_runs
    best = int(np.argmax(length)) if len(length) else None
    largest = int(length[best]) if best is not None else 0
    free = manager.free_count
    return PmmStat(
        name=manager.name,
        kind=manager.kind,
        frame_size=manager.frame_size,
        total=manager.total,
        free=free,
        used=manager.total - free,
        reserved=None if reserved is None else len(reserved - manager.free),
        free_runs=len(length),
        largest_run=largest,
        largest_run_at=manager.frame_address(int(first[best])) if best is not None else None,
        fragmentation=_fragmentation(largest, free),
        counters=tuple(CounterStat(c.meaning, c.value, manager.counted.get(c.meaning)) for c in manager.counters),
        zones=tuple(_zone(manager, zone, reserved) for zone in zones),
        parts=_with_unusable(manager.parts),
        hint=_hint(manager),
        at=manager.places[0].start if manager.places else None,
        in_flux=manager.in_flux,
        unseen=manager.unseen,
    )


def _fragmentation(largest: int, free: int) -> float:
    return 1 - largest / free if free else 0.0


def _with_unusable(parts: tuple[PartStat, ...]) -> tuple[PartStat, ...]:
    """The orders with the share of the free frames that cannot serve each; other parts unchanged."""
    free = sum(part.free for part in parts)
    held: Counter[int] = Counter()
    for part in parts:
        held[part.order or 0] += part.free

    def unusable(order: int) -> float:
        return sum(frames for lower, frames in held.items() if lower < order) / free

    return tuple(
        part if part.order is None or not free else replace(part, unusable=unusable(part.order)) for part in parts
    )


def _hint(manager: PmmSnapshot) -> int | None:
    """The hint of a manager with one bitmap."""
    if not isinstance(manager, BitmapSnapshot) or manager.regional:
        return None
    return manager.patches[0].hint


def _zone(manager: PmmSnapshot, zone: Zone, reserved: FrameSet | None) -> ZoneStat:
    size, base = manager.frame_size, manager.base
    first, end = -(-(zone.start - base) // size), (zone.end - base) // size
    mine = FrameSet.of_ranges([(first, end)], manager.count)
    lengths = _lengths_within(manager, first, end)
    free, largest = int(lengths.sum()), int(lengths.max(initial=0))
    return ZoneStat(
        name=zone.name,
        start=zone.start,
        end=zone.end,
        usable=None if reserved is None else len((manager.known & mine) - reserved),
        free=free,
        free_runs=len(lengths),
        largest_run=largest,
        fragmentation=_fragmentation(largest, free),
    )


def _lengths_within(manager: PmmSnapshot, first: int, end: int) -> NDArray[np.int64]:
    """The lengths of the stretches of free frames from number ``first`` up to ``end``, cut at both."""
    start, length = manager.free_runs
    low, high = (int(at) for at in np.searchsorted(start, (first, end)))
    if low and start[low - 1] + length[low - 1] > first:
        low -= 1
    within = length[low:high].copy()
    if len(within):
        within[-1] = min(start[high - 1] + within[-1], end) - start[high - 1]
        within[0] -= max(0, first - int(start[low]))
    return within


@dataclass(frozen=True)
class Stretch:
    """Consecutive frames of one state: physical addresses (``end`` exclusive), and the address of the first's state.

    ``number`` is the first frame's; ``record_at`` is the word, node or record with its state (None for a frame that is
    on no list).
    """

    start: PhysAddr
    end: PhysAddr
    frames: int
    state: str
    number: int
    record_at: VirtAddr | None


@dataclass(frozen=True)
class ListedRun:
    """Neighbours in a list that are also neighbours in memory: from place ``first`` to ``last`` in the list.

    ``start`` and ``end`` (exclusive) are physical; ``step`` is the distance from one member's address to
    the next, in bytes (0 if there is only one member). ``node`` is the first member's node.
    """

    first: int
    last: int
    start: PhysAddr
    end: PhysAddr
    frames: int
    step: int
    node: VirtAddr


@dataclass(frozen=True)
class ListDump:
    """One list in its order. ``link_at`` is the address of its first link, ``broken`` why it cannot be followed on."""

    name: str
    link_at: VirtAddr | None
    nodes: int
    runs: tuple[ListedRun, ...]
    broken: str | None


@dataclass(frozen=True)
class BitLayout:
    """The layout of a bitmap's bits: bytes of a word, the first bit's end of it, the value of a used frame's bit."""

    words: int
    word_size: int
    bit_order: str
    used_bit: int


@dataclass(frozen=True)
class PmmDump:
    """The contents of a manager: the stretches of frames in order of address, and its lists in their own order."""

    name: str
    kind: str
    at: VirtAddr | None
    bits: BitLayout | None
    hint: int | None
    stretches: tuple[Stretch, ...]
    lists: tuple[ListDump, ...]


Window = tuple[PhysAddr, PhysAddr]


def pmm_dump(manager: PmmSnapshot, window: Window | None = None, only: str | None = None) -> PmmDump:
    """The contents of a manager, in a window of physical addresses (first, end) or all; ``only`` is a list's name."""
    return PmmDump(
        name=manager.name,
        kind=manager.kind,
        at=manager.places[0].start if manager.places else None,
        bits=_layout(manager) if isinstance(manager, BitmapSnapshot) else None,
        hint=_hint(manager),
        stretches=tuple(_stretches(manager, window)),
        lists=tuple(
            _list_dump(found, manager.frame_size, window) for found in manager.lists if only in (None, found.name)
        )
        if isinstance(manager, ListSnapshot)
        else (),
    )


def _layout(manager: BitmapSnapshot) -> BitLayout:
    words = manager.words
    total = sum(patch.byte_size for patch in manager.patches) // words.size
    return BitLayout(total, words.size, "lsb" if words.lsb_first else "msb", words.used_bit)


def _stretches(manager: PmmSnapshot, window: Window | None) -> Iterator[Stretch]:
    """The stretches of one state, cut to the frames that overlap the window."""
    low, high = (0, manager.count) if window is None else touched(manager, *window)
    first, length = manager.free_runs
    borders = np.unique(np.concatenate(([0, low, high, manager.count], first, first + length)))
    borders = borders[(borders >= max(low, 0)) & (borders <= min(high, manager.count))]
    for begin, end in zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True):
        yield Stretch(
            start=manager.frame_address(begin),
            end=manager.frame_address(end),
            frames=end - begin,
            state="free" if begin in manager.free else "used",
            number=begin,
            record_at=manager.place_of(begin),
        )


def _list_dump(found: FreeList, frame_size: int, window: Window | None) -> ListDump:
    members = found.members
    chosen = np.arange(len(members))
    sizes = members.frames.astype(np.uint64) * np.uint64(frame_size)
    if window is not None:
        meets = (members.start < np.uint64(window[1])) & (members.start + sizes > np.uint64(window[0]))
        chosen = np.flatnonzero(meets)
    broken = found.chain.broken
    return ListDump(
        found.name,
        found.link_at,
        len(found.chain),
        tuple(_listed_runs(found, chosen, sizes)),
        broken.why if broken else None,
    )


def _listed_runs(found: FreeList, chosen: NDArray[np.int64], sizes: NDArray[np.uint64]) -> Iterator[ListedRun]:
    """The chosen members, with those that follow each other in memory, upward or downward, as one run."""
    if not len(chosen):
        return
    start = found.members.start[chosen].astype(np.int64)
    size = sizes[chosen].astype(np.int64)
    in_turn = np.diff(chosen) == 1
    up = in_turn & (start[1:] == start[:-1] + size[:-1])
    down = in_turn & (start[1:] + size[1:] == start[:-1])
    way = up.astype(np.int8) - down.astype(np.int8)
    before = np.concatenate([[0], way[:-1]])
    joined = (way != 0) & ((before == way) | (before == 0))
    firsts = np.concatenate([[0], np.flatnonzero(~joined) + 1])
    lasts = np.append(firsts[1:] - 1, len(chosen) - 1)
    total = np.concatenate([[0], np.cumsum(found.members.frames[chosen])])
    low, high = (
        np.minimum(start[firsts], start[lasts]),
        np.maximum(start[firsts] + size[firsts], start[lasts] + size[lasts]),
    )
    nodes = found.chain.nodes[found.members.node[chosen[firsts]]]
    for i, (first, last) in enumerate(zip(firsts.tolist(), lasts.tolist(), strict=True)):
        yield ListedRun(
            int(chosen[first]),
            int(chosen[last]),
            PhysAddr(int(low[i])),
            PhysAddr(int(high[i])),
            int(total[last + 1] - total[first]),
            int(start[first + 1] - start[first]) if last > first else 0,
            VirtAddr(int(nodes[i])),
        )
