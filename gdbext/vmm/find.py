"""Every virtual address that reaches a physical range, in every address space that is known."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from gdbext.machine.cpu import CpuState
from gdbext.units import PhysAddr, VirtAddr
from gdbext.vmm.map import Mapping, Names, View, describe
from gdbext.x86.attributes import U64
from gdbext.x86.space import AddressSpace, Alias


@dataclass(frozen=True)
class Reach:
    """A stretch of virtual addresses that reaches the range, in the address space that ``space`` names."""

    space: str
    mapping: Mapping


@dataclass(frozen=True)
class Repeat:
    """Further stretches that repeat the one at ``same_as``: ``count`` of them, ``span`` bytes apart, from ``start``."""

    space: str
    start: VirtAddr
    span: int
    count: int
    same_as: VirtAddr


@dataclass(frozen=True)
class Found:
    """What reaches ``size`` bytes from ``physical``. ``differing``: the rights are not the same everywhere.

    ``is_ram`` is False where there is no RAM at the address, ``tables`` names the spaces that use it as a page table.
    """

    physical: PhysAddr
    size: int
    is_ram: bool
    spaces: tuple[str, ...]
    reaches: tuple[Reach, ...]
    repeats: tuple[Repeat, ...]
    tables: tuple[str, ...]
    differing: bool


def find(
    spaces: Iterable[tuple[str, AddressSpace]], cpu: CpuState, names: Names, physical: PhysAddr, size: int
) -> Found:
    """All mappings of a physical range, cut to it."""
    reaches: list[Reach] = []
    repeats: list[Repeat] = []
    tables = []
    looked_at = []
    frames = np.arange(physical >> 12, (physical + size - 1 >> 12) + 1, dtype=U64)
    for name, space in spaces:
        looked_at.append(name)
        mappings = _cut(space, cpu, names, physical, size)
        reaches += [Reach(name, mapping) for mapping in mappings]
        repeats += [repeat for mapping in mappings for repeat in _repeats(name, space.aliases, mapping.start)]
        if np.isin(frames, space.table_frames).any():
            tables.append(name)
    rights = {(reach.mapping.supervisor, reach.mapping.user, reach.mapping.cache) for reach in reaches}
    return Found(
        physical=physical,
        size=size,
        is_ram=names.ram is None or names.ram.range_at(physical) is not None,
        spaces=tuple(looked_at),
        reaches=tuple(reaches),
        repeats=tuple(repeats),
        tables=tuple(tables),
        differing=len(rights) > 1,
    )


def _cut(space: AddressSpace, cpu: CpuState, names: Names, physical: PhysAddr, size: int) -> tuple[Mapping, ...]:
    """The mappings of the range in one space, physically contiguous, cut to the range."""
    runs = space.runs
    first, end = U64(physical), U64(physical + size)
    inside = runs.take((runs.physical < end) & (runs.physical + runs.size > first))
    skipped = np.where(inside.physical < first, first - inside.physical, U64(0))
    stop = np.minimum(inside.physical + inside.size, end)
    cut = type(runs)(
        inside.start + skipped, stop - inside.physical - skipped, inside.physical + skipped, inside.attributes
    )
    part = AddressSpace(**{**vars(space), "runs": cut})
    return describe(part, cpu, names, View(physically=True)).mappings


def _repeats(name: str, aliases: tuple[Alias, ...], address: VirtAddr) -> list[Repeat]:
    """The folded stretches that repeat the one with an address, shifted to where they repeat that address."""
    return [
        Repeat(name, VirtAddr(alias.start + address - alias.same_as), alias.span, alias.count, address)
        for alias in aliases
        if alias.same_as <= address < alias.same_as + alias.span
    ]
