"""Runs of mappings as arrays: what an enumeration yields, and how neighbours are merged into one run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gdbext.x86.attributes import U64, Attributes, attributes_of


@dataclass(frozen=True)
class Runs:
    """Mappings that are contiguous in virtual and in physical addresses and equal in attributes.

    Four arrays of one length, in order of ``start``: first virtual address, length in bytes, first physical
    address, attribute word.
    """

    start: NDArray[np.uint64]
    size: NDArray[np.uint64]
    physical: NDArray[np.uint64]
    attributes: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.start)

    @property
    def end(self) -> NDArray[np.uint64]:
        """Last virtual address of each run (inclusive, so that the topmost address has one)."""
        return self.start + self.size - U64(1)

    def around(self, address: int) -> tuple[int, int, int] | None:
        """The run that an address is in: its first address, its end, how far these are above the physical ones."""
        at = int(np.searchsorted(self.start, U64(address), side="right")) - 1
        if at < 0:
            return None
        start, size, physical = int(self.start[at]), int(self.size[at]), int(self.physical[at])
        return (start, start + size, start - physical) if address < start + size else None

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Runs:
        """The chosen runs."""
        return Runs(self.start[chosen], self.size[chosen], self.physical[chosen], self.attributes[chosen])


def matching(runs: Runs, wanted: Callable[[Attributes], bool]) -> Runs:
    """The runs whose attributes are wanted; each attribute word is tested once."""
    words = [word for word in np.unique(runs.attributes).tolist() if wanted(attributes_of(word))]
    return runs.take(np.isin(runs.attributes, np.array(words, dtype=np.uint32)))


def joined(parts: Sequence[Runs]) -> Runs:
    """All runs of several parts, sorted by virtual address, neighbours merged."""
    if not parts:
        empty = np.empty(0, dtype=U64)
        return Runs(empty, empty, empty, np.empty(0, dtype=np.uint32))
    whole = Runs(
        np.concatenate([part.start for part in parts]),
        np.concatenate([part.size for part in parts]),
        np.concatenate([part.physical for part in parts]),
        np.concatenate([part.attributes for part in parts]),
    )
    in_order = bool((whole.start[1:] > whole.start[:-1]).all())
    return merged(whole if in_order else whole.take(np.argsort(whole.start, kind="stable")))


def merged(runs: Runs, *, physically: bool = True) -> Runs:
    """Sorted runs with neighbours of equal attributes joined; ``physically`` asks for contiguous frames too.

    Without it a run's ``physical`` is only that of its first page.
    """
    if len(runs) < 2:
        return runs
    same = runs.start[1:] == runs.start[:-1] + runs.size[:-1]
    same &= runs.attributes[1:] == runs.attributes[:-1]
    if physically:
        same &= runs.physical[1:] == runs.physical[:-1] + runs.size[:-1]
    first = np.flatnonzero(np.concatenate(([True], ~same)))
    return Runs(runs.start[first], np.add.reduceat(runs.size, first), runs.physical[first], runs.attributes[first])
