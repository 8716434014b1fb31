"""Overlapping half-open ranges of addresses, from which maps of memory are composed."""

import numpy as np
from numpy.typing import NDArray

Ranges = NDArray[np.int64]
"""Half-open ranges of addresses, shape (n, 2)."""


def coverage(borders: NDArray[np.int64], ranges: Ranges) -> NDArray[np.int64]:
    """For each piece between two borders (the last has no end) how many ranges, which end at borders, cover it."""
    change = np.zeros(len(borders) + 1, dtype=np.int64)
    np.add.at(change, np.searchsorted(borders, ranges[:, 0]), 1)
    np.add.at(change, np.searchsorted(borders, ranges[:, 1]), -1)
    return np.cumsum(change[:-1])
