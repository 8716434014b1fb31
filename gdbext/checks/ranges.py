"""Overlaid half-open ranges of addresses, the layers of memory maps."""

import numpy as np
from numpy.typing import NDArray

Ranges = NDArray[np.int64]
"""Half-open ranges of addresses, shape (n, 2)."""


def coverage(borders: NDArray[np.int64], ranges: Ranges) -> NDArray[np.int64]:
    """How many ranges cover each piece between two borders (the last piece has no end); ranges end at borders."""
    change = np.zeros(len(borders) + 1, dtype=np.int64)
    np.add.at(change, np.searchsorted(borders, ranges[:, 0]), 1)
    np.add.at(change, np.searchsorted(borders, ranges[:, 1]), -1)
    return np.cumsum(change[:-1])
