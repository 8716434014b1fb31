"""Every mapping of an address space: tables are read in bulk, a level at a time, each table once.

An *instance* is one way to reach a table: the table, the first virtual address that goes through it, and what
the levels above allow. A tree may reach one table through many instances. While they are few compared
with the tables, all are followed. Where they are many (512 entries that all name one table,
at every level, make 512 to the fourth mappings out of 16 KiB), equal instances are folded: one is followed, and
an `Alias` says for each of the others which one it repeats. The page counts are those of the unfolded tree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gdbext.errors import MemoryUnavailable, UsageError
from gdbext.machine.cpu import CpuState
from gdbext.machine.memory import PhysicalMemory
from gdbext.units import FRAME_SHIFT, FRAME_SIZE, PhysAddr, VirtAddr, Word64, hex_address
from gdbext.x86 import modes
from gdbext.x86.attributes import ATTR_U, ATTR_W, ATTR_X, U64, decoder_of
from gdbext.x86.modes import Level, PagingMode, paging_mode
from gdbext.x86.runs import Runs, joined, merged
from gdbext.x86.walk import bit_list

Window = tuple[VirtAddr, VirtAddr]
"""The first and the last virtual address of interest."""

INSTANCES_PER_TABLE = 2
INSTANCES_FREE = 4096
"""Instances are folded when there are more than ``INSTANCES_PER_TABLE`` per table plus ``INSTANCES_FREE``."""

TABLES_AT_ONCE = 1024
"""How many tables are decoded together; bounds the memory that decoding takes."""

PROBLEMS_KEPT = 1000
"""How many broken entries are listed one by one; the rest are counted."""


@dataclass(frozen=True)
class Problem:
    """An entry that the processor would fault on, or whose table cannot be read.

    ``kind`` is ``reserved-bits`` or ``unreadable``; ``address`` is the first virtual address it affects and
    ``entry_address`` the physical address of the entry, None when it is the root itself.
    """

    kind: str
    level: int
    address: VirtAddr
    entry_address: PhysAddr | None
    value: Word64
    detail: str


@dataclass(frozen=True)
class Alias:
    """A stretch of virtual addresses whose tables repeat those of another stretch, and is not followed again.

    ``count`` neighbouring stretches of ``span`` bytes each, from ``start``, translate as the one at ``same_as``
    does, through the same ``table`` of ``level``.
    """

    start: VirtAddr
    span: int
    count: int
    same_as: VirtAddr
    table: PhysAddr
    level: int


@dataclass(frozen=True)
class Links:
    """The entries that name tables, each once; arrays of one length.

    ``entry`` is the entry's physical address, ``table`` that of the table it names, ``level`` the level that this
    table has there, ``start`` the first virtual address that goes that way (of several, the lowest).
    """

    entry: NDArray[np.uint64]
    table: NDArray[np.uint64]
    level: NDArray[np.uint8]
    start: NDArray[np.uint64]


@dataclass(frozen=True)
class AddressSpace:
    """All that one root maps.

    ``pages`` counts mappings by page size in bytes, folded ones included. ``table_frames`` are the frames that
    are read as tables, sorted. ``problem_count`` is exact; ``problems`` holds the first of them.
    ``level_spans`` are the bytes that one entry of each level covers, from the root down.
    """

    mode: str
    root: PhysAddr
    level_spans: tuple[int, ...]
    runs: Runs
    pages: dict[int, int]
    table_frames: NDArray[np.uint64]
    links: Links
    aliases: tuple[Alias, ...] = ()
    problems: tuple[Problem, ...] = ()
    problem_count: int = 0

    @cached_property
    def contiguous(self) -> Runs:
        """The runs merged wherever they are contiguous, whatever may be done with them."""
        return merged(replace(self.runs, attributes=np.zeros_like(self.runs.attributes)))


@dataclass(frozen=True)
class _Instances:
    """Ways to reach tables of one level, in order of virtual address; arrays of one length.

    ``inherited`` is the attribute word (W, U, X) that the levels above leave, ``weight`` how many instances of
    the unfolded tree each one stands for, ``parent`` the physical address of the entry that names the table.
    """

    table: NDArray[np.uint64]
    start: NDArray[np.uint64]
    inherited: NDArray[np.uint32]
    weight: NDArray[np.int64]
    parent: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.table)

    def take(self, chosen: NDArray[np.int64] | NDArray[np.bool_] | slice) -> _Instances:
        return _Instances(
            self.table[chosen], self.start[chosen], self.inherited[chosen], self.weight[chosen], self.parent[chosen]
        )


@dataclass
class _Collected:
    """The results of an enumeration so far."""

    runs: list[Runs] = field(default_factory=list)
    pages: dict[int, int] = field(default_factory=dict)
    frames: list[NDArray[np.uint64]] = field(default_factory=list)
    links: list[tuple[int, _Instances]] = field(default_factory=list)
    aliases: list[Alias] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    problem_count: int = 0

    def add_problem(self, problem: Problem) -> None:
        self.problem_count += 1
        if len(self.problems) < PROBLEMS_KEPT:
            self.problems.append(problem)


def enumerate_space(
    memory: PhysicalMemory,
    cpu: CpuState,
    root: PhysAddr | None = None,
    window: Window | None = None,
) -> AddressSpace:
    """Everything that ``root`` (default: CR3) maps, or that part of it which meets ``window``.

    Runs are cut at page borders, not at the window's. Raises UsageError when paging is off: there is nothing to
    enumerate.
    """
    mode = paging_mode(cpu)
    if mode is None:
        raise UsageError("paging is off: virtual = physical, there are no tables to list")
    if root is None:
        root = mode.root_of(cpu.cr3)
    return _Enumeration(memory, mode, window).run(root)


class _Enumeration:
    """One pass over the tables of a root, from the top level down."""

    def __init__(self, memory: PhysicalMemory, mode: PagingMode, window: Window | None) -> None:
        self.memory = memory
        self.mode = mode
        self.window = window
        self.found = _Collected()
        self.attributes = decoder_of(mode)

    def run(self, root: PhysAddr) -> AddressSpace:
        everything = ATTR_W | ATTR_U | ATTR_X
        instances = _Instances(
            np.array([root], dtype=U64),
            np.zeros(1, dtype=U64),
            np.array([everything], dtype=np.uint32),
            np.ones(1, dtype=np.int64),
            np.zeros(1, dtype=U64),
        )
        for depth, level in enumerate(self.mode.levels):
            instances = self._fold(instances, level)
            children = [
                self._decode(part, entries, level) for part, entries in self._tables(instances, level, depth == 0)
            ]
            instances = _chained(children)
            self.found.links.append((level.number - 1, instances))
            if not len(instances):
                break
        found = self.found
        frames = np.unique(np.concatenate(found.frames)) if found.frames else np.empty(0, dtype=U64)
        return AddressSpace(
            mode=self.mode.name,
            root=root,
            level_spans=tuple(level.span for level in self.mode.levels),
            runs=joined(found.runs),
            pages=dict(sorted(found.pages.items())),
            table_frames=frames,
            links=self._joined_links(),
            aliases=tuple(found.aliases),
            problems=tuple(found.problems),
            problem_count=found.problem_count,
        )

    def _joined_links(self) -> Links:
        """The links of all levels, each entry once."""
        parts = [part for _, part in self.found.links]
        level = np.concatenate([np.full(len(part), number, dtype=np.uint8) for number, part in self.found.links])
        every = _chained(parts)
        # An entry may be read at several levels (a table that names its root): keep each such use.
        _, first = np.unique(every.parent << U64(3) | level.astype(U64), return_index=True)
        return Links(every.parent[first], every.table[first], level[first], self._extended(every.start[first]))

    def _fold(self, instances: _Instances, level: Level) -> _Instances:
        """Keep one of each group of equal instances when there are too many to follow them all."""
        if len(instances) <= INSTANCES_FREE:
            return instances
        keys = instances.table << U64(3) | instances.inherited.astype(U64)
        _, first, group = np.unique(keys, return_index=True, return_inverse=True)
        if len(instances) <= INSTANCES_FREE + INSTANCES_PER_TABLE * len(first):
            return instances
        weight = np.zeros(len(first), dtype=np.int64)
        np.add.at(weight, group, instances.weight)
        repeated = np.ones(len(instances), dtype=np.bool_)
        repeated[first] = False
        originals = instances.start[first][group]
        self._note_aliases(instances.take(repeated), originals[repeated], level)
        order = np.argsort(first)
        kept = instances.take(first[order])
        return _Instances(kept.table, kept.start, kept.inherited, weight[order], kept.parent)

    def _note_aliases(self, instances: _Instances, originals: NDArray[np.uint64], level: Level) -> None:
        """Record folded instances, neighbours that repeat the same stretch as one."""
        span = level.span * level.entries
        if not len(instances):
            return
        follows = instances.start[1:] == instances.start[:-1] + U64(span)
        follows &= originals[1:] == originals[:-1]
        if self.mode.long:  # the two canonical halves follow each other here, but not in virtual addresses
            follows &= instances.start[1:] != U64(1 << (self.mode.address_bits - 1))
        first = np.flatnonzero(np.concatenate(([True], ~follows)))
        counts = np.diff(np.append(first, len(instances)))
        for index, count in zip(first.tolist(), counts.tolist(), strict=True):
            self.found.aliases.append(
                Alias(
                    start=self.mode.sign_extend(int(instances.start[index])),
                    span=span,
                    count=count,
                    same_as=self.mode.sign_extend(int(originals[index])),
                    table=PhysAddr(int(instances.table[index])),
                    level=level.number,
                )
            )

    def _tables(
        self, instances: _Instances, level: Level, is_root: bool
    ) -> Iterator[tuple[_Instances, NDArray[np.uint64]]]:
        """The readable instances, in batches, each with the entries of its tables as 64-bit words."""
        frames = instances.table >> U64(FRAME_SHIFT)
        good = self.memory.ram.holds_frames(frames)
        if not good.all():
            self._note_unreadable(instances.take(~good), level, "it is not RAM")
            instances, frames = instances.take(good), frames[good]
        for begin in range(0, len(instances), TABLES_AT_ONCE):
            part = instances.take(slice(begin, begin + TABLES_AT_ONCE))
            unique, inverse = np.unique(frames[begin : begin + TABLES_AT_ONCE], return_inverse=True)
            try:
                words = self.memory.read_frames(unique)
            except MemoryUnavailable as error:
                self._note_unreadable(part, level, str(error))
                continue
            self.found.frames.append(unique)
            in_order = np.array_equal(inverse, np.arange(len(part)))
            yield part, self._entries(words if in_order else words[inverse], part, level, is_root)

    def _entries(self, words: NDArray[np.uint64], part: _Instances, level: Level, is_root: bool) -> NDArray[np.uint64]:
        """The entries of each table, given whole frames in the order of the instances."""
        if self.mode.entry_size == 4:
            return words.view(np.uint32).astype(U64)
        if is_root and level.entries < words.shape[1]:
            # PAE's root is four entries, anywhere on a 32-byte boundary in its frame.
            offset = int(part.table[0]) % FRAME_SIZE // 8
            return words[:, offset : offset + level.entries]
        return words

    def _note_unreadable(self, instances: _Instances, level: Level, why: str) -> None:
        self.found.problem_count += max(0, len(instances) - PROBLEMS_KEPT)
        for index in range(min(len(instances), PROBLEMS_KEPT)):
            table, parent = int(instances.table[index]), int(instances.parent[index])
            is_root = level is self.mode.levels[0]
            self.found.add_problem(
                Problem(
                    kind="unreadable",
                    level=level.number,
                    address=self.mode.sign_extend(int(instances.start[index])),
                    entry_address=None if is_root else PhysAddr(parent),
                    value=Word64(table),
                    detail=f"the level-{level.number} table at {hex_address(table)} cannot be read: {why}",
                )
            )

    def _decode(self, part: _Instances, entries: NDArray[np.uint64], level: Level) -> _Instances:
        """Collect the leaves of these tables; returns the instances of the level below."""
        present = (entries & U64(modes.P)).astype(np.bool_)
        if self.window is not None:
            present &= self._in_window(part, level)
        leaf = present if level.number == 1 else self._leaves(entries, present, level)
        link = None if level.number == 1 else present & ~leaf
        leaf = self._without_reserved(part, entries, leaf, level.leaf_reserved, level)
        self._collect_leaves(part, entries, leaf, level)
        if link is None:
            return _no_instances()
        return self._links(
            part, entries, self._without_reserved(part, entries, link, level.link_reserved, level), level
        )

    def _leaves(self, entries: NDArray[np.uint64], present: NDArray[np.bool_], level: Level) -> NDArray[np.bool_]:
        if not level.large:
            return np.zeros_like(present)
        return present & (entries & U64(modes.PS)).astype(np.bool_)

    def _in_window(self, part: _Instances, level: Level) -> NDArray[np.bool_]:
        """Which entries translate an address of the window."""
        assert self.window is not None
        mask = (1 << self.mode.address_bits) - 1
        first, last = (U64(address & mask) for address in self.window)
        start = part.start[:, None] + (np.arange(level.entries, dtype=U64) << U64(level.shift))[None, :]
        inside: NDArray[np.bool_] = (start <= last) & (start + U64(level.span - 1) >= first)
        return inside

    def _without_reserved(
        self,
        part: _Instances,
        entries: NDArray[np.uint64],
        chosen: NDArray[np.bool_],
        reserved: int,
        level: Level,
    ) -> NDArray[np.bool_]:
        """The chosen entries that have no reserved bit set; the others become problems."""
        if not reserved:
            return chosen
        bad = chosen & (entries & U64(reserved)).astype(np.bool_)
        if not bad.any():
            return chosen
        table, index = np.nonzero(bad)
        self.found.problem_count += max(0, len(table) - PROBLEMS_KEPT)
        for row, column in zip(table[:PROBLEMS_KEPT].tolist(), index[:PROBLEMS_KEPT].tolist(), strict=True):
            value = int(entries[row, column])
            self.found.add_problem(
                Problem(
                    kind="reserved-bits",
                    level=level.number,
                    address=self.mode.sign_extend(int(part.start[row]) + (column << level.shift)),
                    entry_address=self.mode.entry_address(PhysAddr(int(part.table[row])), column),
                    value=Word64(value),
                    detail=f"{bit_list(value & reserved)} must be 0",
                )
            )
        return chosen & ~bad

    def _collect_leaves(
        self, part: _Instances, entries: NDArray[np.uint64], leaf: NDArray[np.bool_], level: Level
    ) -> None:
        """Add the runs of leaves of these tables, without a loop over entries."""
        per_table = np.count_nonzero(leaf, axis=1)
        total = int(per_table @ part.weight)
        if not total:
            return
        self.found.pages[level.span] = self.found.pages.get(level.span, 0) + total
        first, length = _stretches(entries, leaf, self._significant(level), level.span)
        row, column = np.divmod(first, level.entries)
        value = entries.reshape(-1)[first]
        self.found.runs.append(
            Runs(
                start=self._extended(part.start[row] + (column.astype(U64) << U64(level.shift))),
                size=length.astype(U64) << U64(level.shift),
                physical=self._page_base(value, level),
                attributes=self.attributes.words(value, part.inherited[row], level),
            )
        )

    def _significant(self, level: Level) -> int:
        """The bits of a leaf that two neighbours of one run must agree on, its address included."""
        bits = modes.P | modes.W | modes.U | modes.PWT | modes.PCD | modes.PS | modes.G
        if level.number > 1:
            bits |= modes.PAT_LARGE
        if self.mode.nx:
            bits |= modes.NX
        if self.mode.long:
            bits |= modes.KEY
        return bits | self.mode.address_mask

    def _extended(self, address: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Canonical addresses from their translated bits."""
        if not self.mode.long:
            return address
        sign = U64(1 << (self.mode.address_bits - 1))
        return (address ^ sign) - sign

    def _page_base(self, value: NDArray[np.uint64], level: Level) -> NDArray[np.uint64]:
        if self.mode.entry_size == 4 and level.number == 2:
            return (value & U64(0xFFC0_0000)) | ((value >> U64(13)) & U64(0xFF)) << U64(32)
        return value & U64(self.mode.address_mask & -level.span)

    def _links(
        self, part: _Instances, entries: NDArray[np.uint64], link: NDArray[np.bool_], level: Level
    ) -> _Instances:
        """The instances of the level below that these entries make."""
        row, column = np.nonzero(link)
        value = entries[row, column]
        return _Instances(
            table=value & U64(self.mode.address_mask),
            start=part.start[row] + (column.astype(U64) << U64(level.shift)),
            inherited=part.inherited[row] & self.attributes.own_rights(value, level),
            weight=part.weight[row],
            parent=part.table[row] + column.astype(U64) * U64(self.mode.entry_size),
        )


def _stretches(
    entries: NDArray[np.uint64], leaf: NDArray[np.bool_], significant: int, step: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Stretches of leaves within a table whose entries grow by exactly ``step``: flat index of the first, length."""
    keys = np.where(leaf, entries & U64(significant), U64(0))
    breaks = np.ones(leaf.shape, dtype=np.bool_)
    np.not_equal(keys[:, 1:], keys[:, :-1] + U64(step), out=breaks[:, 1:])
    # An absent entry ends a stretch; one that follows another absent entry changes nothing.
    breaks[:, 1:] &= leaf[:, 1:] | leaf[:, :-1]
    edges = np.flatnonzero(breaks)
    lengths = np.diff(np.append(edges, leaf.size))
    real = leaf.reshape(-1)[edges]
    return edges[real], lengths[real]


def _no_instances() -> _Instances:
    empty = np.empty(0, dtype=U64)
    return _Instances(empty, empty, np.empty(0, dtype=np.uint32), np.empty(0, dtype=np.int64), empty)


def _chained(parts: list[_Instances]) -> _Instances:
    """The instances of several batches, in order."""
    if not parts:
        return _no_instances()
    return _Instances(
        np.concatenate([p.table for p in parts]),
        np.concatenate([p.start for p in parts]),
        np.concatenate([p.inherited for p in parts]),
        np.concatenate([p.weight for p in parts]),
        np.concatenate([p.parent for p in parts]),
    )
