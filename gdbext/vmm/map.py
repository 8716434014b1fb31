"""An address space as a readable list: runs merged, with rights, and named by what they are."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gdbext.machine.cpu import CR4_PGE, CpuState
from gdbext.machine.memory import RamMap
from gdbext.symbols.model import Section
from gdbext.units import FRAME_SHIFT, PhysAddr, VirtAddr
from gdbext.vmm.selfmap import self_map_windows
from gdbext.x86.attributes import U64, Attributes, attributes_of
from gdbext.x86.rights import cache_type, supervisor_rights, unknown_keys, user_rights
from gdbext.x86.runs import Runs, matching
from gdbext.x86.space import AddressSpace, Alias, Problem

NAMELESS, IDENTITY, DIRECT_MAP, IMAGE, DEVICE, SELF_MAP, WINDOW = range(7)

WINDOW_SHARE = 8
WINDOW_RUN = 1 << 16
"""Runs of one offset between virtual and physical, each at least ``WINDOW_RUN`` bytes long, are a linear window when
they map more than one in ``WINDOW_SHARE`` bytes of RAM."""


@dataclass(frozen=True)
class Mapping:
    """One stretch of virtual addresses with equal rights, page size and cacheability.

    ``end`` is exclusive, and so may be 2 to the 64th. ``physical`` is that of the first page; ``linear`` says
    whether all pages follow it in order, ``runs`` counts the physically contiguous pieces. ``supervisor`` and
    ``user`` are what each may do there, as ``rwx`` with dashes for what it may not.
    """

    start: VirtAddr
    end: VirtAddr
    physical: PhysAddr
    linear: bool
    page_size: int
    supervisor: str
    user: str
    cache: str
    is_global: bool = field(metadata={"json": "global"})
    runs: int
    name: str


@dataclass(frozen=True)
class SpaceMap:
    """All mappings of a root, in order; ``pages`` counts them by page size in bytes."""

    mode: str
    root: PhysAddr
    pages: dict[int, int]
    mappings: tuple[Mapping, ...]
    aliases: tuple[Alias, ...]
    problems: tuple[Problem, ...]
    problem_count: int
    tables: int
    doubts: tuple[str, ...]


@dataclass(frozen=True)
class Names:
    """What mappings can be named by: the direct map's first address, the kernel's sections, what is RAM."""

    direct_map: VirtAddr | None = None
    why_no_direct_map: str = "no direct map is known"
    sections: tuple[Section, ...] = ()
    ram: RamMap | None = None


@dataclass(frozen=True)
class View:
    """How to list the mappings of a space: joined where frames are contiguous (``physically``), joined further for
    reading (the default), or page by page (``raw``); and only those whose attributes ``wanted`` accepts.
    """

    physically: bool = False
    raw: bool = False
    wanted: Callable[[Attributes], bool] | None = None


def describe(space: AddressSpace, cpu: CpuState, names: Names, view: View) -> SpaceMap:
    """The mappings of a space, as a view selects and joins them."""
    runs = space.runs
    if view.wanted is not None:
        runs = matching(runs, view.wanted)
    runs = _pages(runs) if view.raw else runs
    kinds = kinds_of(space, runs, names)
    groups = np.arange(len(runs)) if view.physically or view.raw else _merge_groups(runs, kinds)
    mappings = _mappings(runs, groups, kinds, cpu, names)
    words = np.unique(space.runs.attributes).tolist()
    doubts = dict.fromkeys(
        doubt for word in words if (doubt := unknown_keys(cpu, attributes_of(word).page)) is not None
    )
    return SpaceMap(
        mode=space.mode,
        root=space.root,
        pages=space.pages,
        mappings=mappings,
        aliases=space.aliases,
        problems=space.problems,
        problem_count=space.problem_count,
        tables=len(space.table_frames),
        doubts=tuple(doubts),
    )


def _pages(runs: Runs) -> Runs:
    """The runs cut into single pages again."""
    size = U64(1) << (runs.attributes >> np.uint32(16)).astype(U64)
    count = (runs.size // size).astype(np.int64)
    index = np.repeat(np.arange(len(runs)), count)
    within = np.arange(len(index)) - np.repeat(np.cumsum(count) - count, count)
    offset = within.astype(U64) * size[index]
    return Runs(runs.start[index] + offset, size[index], runs.physical[index] + offset, runs.attributes[index])


def kinds_of(space: AddressSpace, runs: Runs, names: Names) -> NDArray[np.int8]:
    """The kind of each of some runs of a space, as far as its addresses show."""
    kinds = np.full(len(runs), NAMELESS, dtype=np.int8)
    offset = runs.start - runs.physical
    kinds[_is_any(offset, _window_offsets(space.runs, names))] = WINDOW
    image = _meeting(runs, names.sections)
    # A kernel may map more than its image in the image's window; the offset tells.
    kinds[image | _is_any(offset, np.unique(offset[image]))] = IMAGE
    kinds[offset == 0] = IDENTITY
    if names.direct_map is not None:
        kinds[offset == U64(names.direct_map)] = DIRECT_MAP
    if names.ram is not None:
        kinds[~names.ram.holds_frames(runs.physical >> U64(FRAME_SHIFT))] = DEVICE
    for start, span, _ in self_map_windows(space):
        kinds[(runs.start >= U64(start)) & (runs.start <= U64(start + span - 1))] = SELF_MAP
    return kinds


def _meeting(runs: Runs, sections: tuple[Section, ...]) -> NDArray[np.bool_]:
    """Which runs hold a part of a section."""
    meets = np.zeros(len(runs), dtype=np.bool_)
    for section in sections:
        first, last = U64(section.address), U64(section.address + max(section.size, 1) - 1)
        meets |= (runs.start <= last) & (runs.end >= first)
    return meets


def _is_any(values: NDArray[np.uint64], few: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which values are among a few others. (For a million values numpy's own ``isin`` would sort them.)"""
    found = np.zeros(len(values), dtype=np.bool_)
    for value in few:
        found |= values == value
    return found


def _window_offsets(runs: Runs, names: Names) -> NDArray[np.uint64]:
    """The offsets under which much of RAM is mapped in order."""
    if names.ram is None or not len(runs):
        return np.empty(0, dtype=U64)
    long = runs.take(runs.size >= U64(WINDOW_RUN))
    offsets, which = np.unique(long.start - long.physical, return_inverse=True)
    sizes = np.bincount(which, weights=long.size.astype(np.float64), minlength=len(offsets))
    wide: NDArray[np.uint64] = offsets[sizes > names.ram.total / WINDOW_SHARE]
    return wide


def _merge_groups(runs: Runs, kinds: NDArray[np.int8]) -> NDArray[np.int64]:
    """A number for each run; neighbours with the same number are contiguous and differ only in their frames."""
    if not len(runs):
        return np.empty(0, dtype=np.int64)
    same = runs.start[1:] == runs.start[:-1] + runs.size[:-1]
    same &= (runs.attributes[1:] == runs.attributes[:-1]) & (kinds[1:] == kinds[:-1])
    return np.concatenate(([0], np.cumsum(~same)))


def _mappings(
    runs: Runs, groups: NDArray[np.int64], kinds: NDArray[np.int8], cpu: CpuState, names: Names
) -> tuple[Mapping, ...]:
    """One mapping for each group of runs. Each attribute word is decoded once."""
    if not len(runs):
        return ()
    first = np.flatnonzero(np.concatenate(([True], groups[1:] != groups[:-1])))
    last = np.append(first[1:], len(runs)) - 1
    meanings = {word: _meaning(word, cpu) for word in np.unique(runs.attributes).tolist()}
    columns = (
        runs.start[first],
        runs.end[last],
        runs.physical[first],
        runs.attributes[first],
        last - first + 1,
        kinds[first],
    )
    return tuple(
        Mapping(
            VirtAddr(start),
            VirtAddr(end + 1),
            PhysAddr(physical),
            pieces == 1,
            *meanings[word],
            pieces,
            _name(kind, VirtAddr(start), VirtAddr(end + 1), names) if kind != NAMELESS else "",
        )
        for start, end, physical, word, pieces, kind in zip(*(c.tolist() for c in columns), strict=True)
    )


def _meaning(word: int, cpu: CpuState) -> tuple[int, str, str, str, bool]:
    """An attribute word as a mapping shows it: page size, rights of supervisor and user, memory type, global."""
    attributes = attributes_of(word)
    return (
        attributes.page_size,
        str(supervisor_rights(cpu, attributes.page)),
        str(user_rights(cpu, attributes.page)),
        cache_type(cpu, attributes.pwt, attributes.pcd, attributes.pat),
        attributes.is_global and bool(cpu.cr4 & CR4_PGE),
    )


_NAMES = {
    IDENTITY: "identity",
    DIRECT_MAP: "direct map",
    IMAGE: "kernel",
    DEVICE: "not RAM",
    SELF_MAP: "recursive slot",
    WINDOW: "linear window",
}


def _name(kind: int, start: VirtAddr, end: VirtAddr, names: Names) -> str:
    inside = [s.name for s in names.sections if s.address < end and s.address + s.size > start]
    return " ".join([_NAMES.get(kind, ""), *inside]).strip()
