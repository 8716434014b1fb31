"""The tables of an address space as a tree, folded: what continues or repeats what was shown is one line."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from gdbext.machine.cpu import CpuState
from gdbext.units import PhysAddr, VirtAddr
from gdbext.vmm.map import Mapping, Names, View, describe
from gdbext.vmm.selfmap import self_map_windows
from gdbext.x86.attributes import U64
from gdbext.x86.space import AddressSpace

LINES = 100_000
"""A tree is cut after so many lines."""


@dataclass(frozen=True)
class Branch:
    """Neighbouring entries of one table of ``level``, from index ``first`` to ``last``; ``start`` is where they map.

    ``kind`` says what they are: ``table`` (one entry; what its table holds follows), ``full`` (tables whose pages all
    belong to the run ``mapping``), ``same`` (they name ``table``, which was shown before), ``recursive`` (the root
    names itself) or ``pages`` (leaves of the run ``mapping``).
    """

    level: int
    first: int
    last: int
    start: VirtAddr
    kind: str
    table: PhysAddr | None
    mapping: Mapping | None


@dataclass(frozen=True)
class SpaceTree:
    """The branches of a root, in order of virtual address, upper levels first; ``complete`` unless they were cut."""

    mode: str
    root: PhysAddr
    levels: int
    branches: tuple[Branch, ...]
    complete: bool


def tree(space: AddressSpace, cpu: CpuState, names: Names) -> SpaceTree:
    """The tables that a root reaches, as a tree."""
    branches = _folded(sorted(_Grower(space, cpu, names).branches(), key=lambda b: (b.start, -b.level)))
    return SpaceTree(space.mode, space.root, len(space.level_spans), tuple(branches[:LINES]), len(branches) <= LINES)


class _Grower:
    """Turns links and runs into branches, each table visited once."""

    def __init__(self, space: AddressSpace, cpu: CpuState, names: Names) -> None:
        self.space = space
        self.mappings = describe(space, cpu, names, View(physically=True)).mappings
        self.recursive = self_map_windows(space)
        self.spans = dict(zip(range(len(space.level_spans), 0, -1), space.level_spans, strict=True))

    def branches(self) -> Iterator[Branch]:
        """All branches, in no order."""
        top = len(self.spans)
        yield from self._leaves(top, VirtAddr(0), 1 << 64)
        for start, _, _ in self.recursive:
            yield self._branch(top, start, "recursive", self.space.root, None)
        links = self.space.links
        shown: set[tuple[int, int]] = set()
        order = np.argsort(links.start, kind="stable")
        for start, table, level in zip(
            links.start[order].tolist(), links.table[order].tolist(), links.level[order].tolist(), strict=True
        ):
            if any(window <= start < window + span for window, span, _ in self.recursive):
                continue
            if (table, level) in shown:
                yield self._branch(level + 1, start, "same", table, None)
                continue
            shown.add((table, level))
            run = self._run_over(start, self.spans[level + 1])
            yield self._branch(level + 1, start, "full" if run else "table", table, run)
            if run is None:
                yield from self._leaves(level, start, self.spans[level + 1])

    def _branch(
        self, level: int, start: int, kind: str, table: int | None, mapping: Mapping | None, last: int | None = None
    ) -> Branch:
        span = self.spans[level]
        count = self.spans[level + 1] // span if level + 1 in self.spans else 1 << 64
        first = start // span % min(count, 512)
        name = None if table is None else PhysAddr(table)
        return Branch(level, first, first if last is None else last, VirtAddr(start), kind, name, mapping)

    def _run_over(self, start: int, size: int) -> Mapping | None:
        """The run that covers a whole window, if one does."""
        at = self._first_run(start)
        run = self.mappings[at] if at < len(self.mappings) else None
        return run if run is not None and run.start <= start and run.end >= start + size else None

    def _first_run(self, start: int) -> int:
        """The number of the first run that does not end before an address."""
        return int(np.searchsorted(self.space.runs.end, U64(start)))

    def _leaves(self, level: int, start: int, size: int) -> Iterator[Branch]:
        """The leaves of one table, which maps a window."""
        span = self.spans[level]
        for mapping in self.mappings[self._first_run(start) :]:
            if mapping.start >= start + size:
                break
            if mapping.page_size == span:
                first = max(mapping.start, start)
                count = (min(mapping.end, start + size) - first) // span
                branch = self._branch(level, first, "pages", None, mapping)
                yield replace(branch, last=branch.first + count - 1)


def _folded(branches: list[Branch]) -> list[Branch]:
    """Neighbours that continue one another, or that repeat the same table, as one branch."""
    result: list[Branch] = []
    for branch in branches:
        before = result[-1] if result else None
        if (
            before is not None
            and branch.kind in {"full", "same"}
            and (before.kind, before.level, before.last + 1) == (branch.kind, branch.level, branch.first)
            and (before.mapping is branch.mapping if branch.kind == "full" else before.table == branch.table)
        ):
            result[-1] = replace(before, last=branch.last)
        else:
            result.append(branch)
    return result
