"""Physical memory from files (or arrays) that hold the guest's RAM: the fastest source."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import numpy as np
from numpy.typing import NDArray

from gdbext.errors import NotRam
from gdbext.machine.memory import ENTRIES_PER_FRAME, RamMap, RamRange, View
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
        self._blocks = {name: np.asarray(block).data for name, block in blocks.items()}
        self._words = {
            name: block[: len(block) // FRAME_SIZE * FRAME_SIZE].view(np.uint64).reshape(-1, ENTRIES_PER_FRAME)
            for name, block in ((name, np.asarray(block)) for name, block in blocks.items())
        }

    def read(self, address: PhysAddr, size: int) -> bytes:
        """Bytes from RAM; NotRam with the first address that is not RAM."""
        ram = self.ram.range_at(address)
        if ram is not None and address + size <= ram.end:
            return self._piece(ram, address, size)
        return b"".join(self._piece(*piece) for piece in self.ram.pieces(address, size))

    def _piece(self, ram: RamRange, start: int, size: int) -> bytes:
        offset = ram.offset + start - ram.start
        return bytes(self._blocks[ram.block][offset : offset + size])

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
        return View(ram.start, self._blocks[ram.block][ram.offset : ram.offset + ram.end - ram.start])

    def seen(self, frames: NDArray[np.uint64]) -> None:
        """Nobody keeps account."""

    def series(self) -> AbstractContextManager[object]:
        """Nothing needs to be set up around reads."""
        return nullcontext()
