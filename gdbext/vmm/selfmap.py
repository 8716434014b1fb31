"""The recursive slot: an entry of the root that names the root, so that tables appear as pages."""

import numpy as np

from gdbext.units import VirtAddr
from gdbext.x86.space import AddressSpace


def self_map_windows(space: AddressSpace) -> tuple[tuple[VirtAddr, int, int], ...]:
    """For each entry of the root that names the root: its first virtual address, the bytes it spans, its address."""
    if not len(space.links.entry):
        return ()
    top = int(space.links.level.max())
    links = space.links
    root = np.uint64(space.root)
    own = (links.table == root) & (links.level == top) & (links.entry >> np.uint64(12) == root >> np.uint64(12))
    span = space.level_spans[0]
    return tuple(
        (VirtAddr(start), span, entry)
        for start, entry in zip(links.start[own].tolist(), links.entry[own].tolist(), strict=True)
    )
