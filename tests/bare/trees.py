"""Random trees of page tables: sane, sparse, corrupt, aliased and recursive ones, as data and as bytes in RAM.

A tree is a list of *chains*: each names the tables that it passes through, from the root to a leaf, with the entry to
write at each level. Chains that share tables overwrite one another and make aliases; in a tree whose levels share
one pool of frames a table may serve at several levels, its own among them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gdbext.machine.cpu import CpuState
from gdbext.units import FRAME_SIZE
from gdbext.x86.modes import KEY_SHIFT, NX, PAT_LARGE, PCD, PS, PWT, A, D, G, Level, P, PagingMode, U, W, paging_mode

from .machine import BareMachine

ALL = P | W | U

TABLE_FRAMES = (*range(0x200, 0x208), *range(0x8_0000, 0x8_0004), *range(0x10_0000, 0x10_0004))
"""Where tables may lie: near the start of RAM, below its hole, and from 4 GiB on."""
JUNK_FRAMES = (0x300, 0x301, 0x302)
"""Frames of RAM that hold anything but tables: random words; random entries; text."""
UNASSIGNED_FRAMES = (0xC_8000, 0x20_0000, 0x100_0000, 0xFFC_8000)
"""Frames at which there is nothing: in the hole below 4 GiB, above all RAM, near the end of MAXPHYADDR (40)."""
TOO_HIGH_FRAMES = (0x1000_0000, 1 << 39)
"""Frames above MAXPHYADDR."""

ROOT_OFFSETS = (0, 0x20, 0xFE0)
"""Where in its frame PAE's root may lie; other roots fill theirs."""


@dataclass(frozen=True)
class Chain:
    """A way from the root down, by level from the top: the ``indices`` and the ``values`` of its entries.

    ``tables`` are the frames of the tables below the root. ``leaf`` is the number of the level that the chain ends at.
    At the depths in ``filled`` (0 is the root) all entries of the table are written alike.
    """

    indices: tuple[int, ...]
    values: tuple[int, ...]
    tables: tuple[int, ...]
    leaf: int
    filled: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Tree:
    """Chains under one root; ``root`` is the physical address that CR3 is to hold."""

    root: int
    chains: tuple[Chain, ...]


def write_junk(machine: BareMachine, seed: int = 1) -> None:
    """Fill the frames that are no tables."""
    random = np.random.default_rng(seed)
    machine.frame(JUNK_FRAMES[0])[:] = random.integers(0, 1 << 64, 512, dtype=np.uint64, endpoint=False)
    frames = random.choice(np.array([*TABLE_FRAMES, *JUNK_FRAMES, 0x5000], dtype=np.uint64), 512)
    flags = random.choice(np.array([0, P, ALL, ALL | A | D, P | PS, ALL | PS | G, P | NX], dtype=np.uint64), 512)
    machine.frame(JUNK_FRAMES[1])[:] = frames << np.uint64(12) | flags
    machine.frame(JUNK_FRAMES[2])[:] = np.frombuffer(b"once upon a time " * 256, dtype=np.uint64)[:512]


def write_tree(machine: BareMachine, mode: PagingMode, tree: Tree) -> None:
    """Put a tree into RAM, and nothing else where tables may lie."""
    frames = {number: machine.frame(number) for number in TABLE_FRAMES}
    for words in frames.values():
        words[:] = 0
    for chain in tree.chains:
        table = tree.root
        for depth, level in enumerate(mode.levels):
            if (frame := frames.get(table // FRAME_SIZE)) is not None:
                entries = _entries(frame, table % FRAME_SIZE, mode, level)
                index = slice(None) if depth in chain.filled else chain.indices[depth] & level.entries - 1
                entries[index] = chain.values[depth]
            if level.number == chain.leaf:
                break
            table = chain.tables[depth] * FRAME_SIZE


def _entries(words: NDArray[Any], offset: int, mode: PagingMode, level: Level) -> NDArray[Any]:
    """The entries of the table that starts ``offset`` bytes into a frame."""
    entries = words.view(np.uint32) if mode.entry_size == 4 else words[offset // 8 :]
    return entries[: level.entries]


SANE_FLAGS = (ALL, ALL, ALL, ALL | A | D, P | W, P | U, P, ALL | NX, P | NX, ALL | PWT, ALL | PCD, ALL | G)
LEAF_FRAMES = (0, 0x400, 0x600, 0x4_0000, 0x8_0000, 0x10_0000, 0x400_0000, 0x800_0000)
OFFSET_BITS = (1 << 12) - 1
INDICES = st.one_of(st.integers(0, 511), st.sampled_from((0, 1, 2, 3, 255, 256, 510, 511)))


def _flags(mode: PagingMode) -> st.SearchStrategy[int]:
    flags = st.sampled_from(SANE_FLAGS)
    if not mode.long:
        return flags
    return st.one_of(flags, st.builds(lambda flags, key: flags | key << KEY_SHIFT, flags, st.integers(0, 15)))


@st.composite
def chains(draw: st.DrawFn, mode: PagingMode, *, broken: bool, shared: bool) -> Chain:
    """A chain; ``broken`` lets some of its entries be anything, ``shared`` lets any table serve at any level."""
    depth = len(mode.levels)
    leaf = draw(st.sampled_from([1, 1, 1, 2, 2, 3] if depth > 3 else [1, 1, 2]))
    pools: list[Sequence[int]] = [TABLE_FRAMES if shared else TABLE_FRAMES[1 + d :: 4] for d in range(depth - 1)]
    tables = [draw(st.sampled_from(pool)) for pool in pools]
    flags = draw(st.tuples(*[_flags(mode)] * depth))
    targets = [table << 12 for table in tables[: depth - leaf]] + [draw(_leaf_targets(mode, mode.levels[depth - leaf]))]
    values = [target | _fitting(flag, level) for target, flag, level in zip(targets, flags, mode.levels, strict=False)]
    if broken:
        for at, flaw in draw(st.lists(st.tuples(st.integers(0, depth - leaf), _flaws(mode)), max_size=2)):
            values[at] = flaw(values[at])
    indices = draw(st.tuples(*[INDICES] * depth))
    filled = draw(st.one_of(*[st.just(frozenset[int]())] * 4, st.frozensets(st.integers(0, depth - 1))))
    limit = (1 << 8 * mode.entry_size) - 1
    return Chain(indices, tuple(value & limit for value in values), tuple(tables), leaf, filled)


def _fitting(flags: int, level: Level) -> int:
    """The flags that an entry of this level may have: hardly any in PAE's top level."""
    return flags if level.rights else flags & (P | PWT | PCD)


def _leaf_targets(mode: PagingMode, level: Level) -> st.SearchStrategy[int]:
    """The page that a leaf of a level maps, with the bits that its size requires."""
    frames = st.one_of(st.sampled_from((*LEAF_FRAMES, *UNASSIGNED_FRAMES)), st.sampled_from(TABLE_FRAMES))
    if level.number == 1:
        return st.builds(lambda frame, more: frame + more << 12, frames, st.integers(0, 3))
    page = st.builds(
        lambda frame, pat: (frame << 12 & -level.span) | PS | pat, frames, st.sampled_from((0, 0, PAT_LARGE))
    )
    if mode.entry_size == 8:
        return page
    return st.builds(lambda page, high: page | high << 13, page, st.sampled_from((0, 0, 1, 2, 0x80, 0xFF)))  # PSE-36


def _flaws(mode: PagingMode) -> st.SearchStrategy[Callable[[int], int]]:
    """What may happen to an entry: another value of a bit, another target, or nothing left of it."""
    bits = st.integers(0, 8 * mode.entry_size - 1)
    nowhere = st.one_of(*(st.sampled_from(frames) for frames in (UNASSIGNED_FRAMES, JUNK_FRAMES, TOO_HIGH_FRAMES)))
    return st.one_of(
        bits.map(lambda bit: lambda value: value ^ 1 << bit),
        nowhere.map(lambda frame: lambda value: value & OFFSET_BITS | frame << 12),
        st.integers(0, (1 << 64) - 1).map(lambda anything: lambda value: anything),
        st.just(lambda value: value & ~P),
    )


@st.composite
def trees(draw: st.DrawFn, cpu: CpuState) -> Tree:
    """A tree for this processor's paging mode."""
    mode = paging_mode(cpu)
    assert mode is not None
    broken, shared = draw(st.booleans()), draw(st.booleans())
    root = TABLE_FRAMES[0] * FRAME_SIZE
    if mode.name == "pae":
        root += draw(st.sampled_from(ROOT_OFFSETS))
    elif mode.long and draw(st.booleans()):
        root = TABLE_FRAMES[-1] * FRAME_SIZE
    parts = draw(st.lists(chains(mode, broken=broken, shared=shared), min_size=1, max_size=12))
    return Tree(root, tuple(parts))


def effort(deep: bool, examples: int) -> settings:
    """How many trees hypothesis is to try: the same in every ordinary run, others in each long one."""
    return settings(max_examples=examples, derandomize=not deep, suppress_health_check=list(HealthCheck))


def address_through(mode: PagingMode, chain: Chain) -> int:
    """The first virtual address that a chain translates."""
    low = 0
    for depth, level in enumerate(mode.levels):
        low |= (chain.indices[depth] & level.entries - 1) << level.shift
        if level.number == chain.leaf:
            break
    return mode.sign_extend(low)
