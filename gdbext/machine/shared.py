"""Physical memory from files (or arrays) that hold the guest's RAM: the fastest source."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import numpy as np
from numpy.typing import NDArray

from gdbext.errors import NotRam
from gdbext.machine.memory import ENTRIES_PER_FRAME, RamMap, View
from gdbext.units import FRAME_SHIFT, FRAME_SIZE, PhysAddr

U64 = np.uint64


class SharedMemory:
    """A `PhysicalMemory` over one byte array per memory block, mapped read-only from a file.

    A range of RAM starts at a frame border within its block, as every range that QEMU makes does. ``name`` is the
    source's, because other sources map memory too.
    """

    def __init__(self, ram: RamMap, blocks: Mapping[str, NDArray[np.uint8]], name: str = "shared") -> None:
        self.ram = ram
        self.name = name
        self._blocks = dict(blocks)
        self._words = {
            name: block[: len(block) // FRAME_SIZE * FRAME_SIZE].view(np.uint64).reshape(-1, ENTRIES_PER_FRAME)
            for name, block in self._blocks.items()
        }

    def read(self, address: PhysAddr, size: int) -> bytes:
        """Bytes from RAM; NotRam with the first address that is not RAM."""
        parts = []
        for ram, start, length in self.ram.pieces(address, size):
            offset = ram.offset + start - ram.start
            parts.append(self._blocks[ram.block][offset : offset + length].tobytes())
        return b"".join(parts)

    def read_frames(self, frames: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Frames by number, shape ``(len(frames), 512)``; a copy."""
        result = np.empty((len(frames), ENTRIES_PER_FRAME), dtype=U64)
        missing = np.ones(len(frames), dtype=np.bool_)
        for ram in self.ram.ranges:
            first = U64(-(-ram.start // FRAME_SIZE))
            chosen = (frames >= first) & (frames < U64(ram.end >> FRAME_SHIFT))
            if not chosen.any():
                continue
            index = frames[chosen] - U64(ram.start >> FRAME_SHIFT) + U64(ram.offset >> FRAME_SHIFT)
            result[chosen] = self._words[ram.block][index]
            missing &= ~chosen
        if missing.any():
            raise NotRam(PhysAddr(int(frames[missing][0]) << FRAME_SHIFT))
        return result

    def view(self, address: PhysAddr) -> View | None:
        """The range of RAM that holds the address."""
        ram = self.ram.range_at(address)
        if ram is None:
            raise NotRam(address)
        return View(ram.start, self._blocks[ram.block].data[ram.offset : ram.offset + ram.end - ram.start])

    def series(self) -> AbstractContextManager[object]:
        """Nothing needs to be set up around reads."""
        return nullcontext()
