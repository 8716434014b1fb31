"""Memory that is fetched piece by piece over a slow connection: every frame once, kept for one stop of the guest."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
from numpy.typing import NDArray

from gdbext.machine.memory import ENTRIES_PER_FRAME, RamMap, View
from gdbext.units import FRAME_SHIFT, FRAME_SIZE, PhysAddr


class FetchedMemory(ABC):
    """What the slow sources have in common. An object serves one stop of the guest."""

    def __init__(self, ram: RamMap) -> None:
        self.ram = ram
        self._frames: dict[int, NDArray[np.uint64]] = {}

    @abstractmethod
    def _fetch(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes of physical ranges that are RAM, each ``(address, size in bytes)``.

        Raises SourceFailed when the connection does; MemoryUnavailable when only one range is out of reach.
        """

    def read(self, address: PhysAddr, size: int) -> bytes:
        """Bytes from RAM; NotRam with the first address that is not RAM, and what fetching raises."""
        if size <= FRAME_SIZE - address % FRAME_SIZE:
            kept = self._frames.get(address >> FRAME_SHIFT)
            if kept is not None:
                return kept.tobytes()[address % FRAME_SIZE :][:size]
        return b"".join(self._fetch([(start, length) for _, start, length in self.ram.pieces(address, size)]))

    def read_frames(self, frames: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Frames by number, shape ``(len(frames), 512)``; each is fetched once."""
        wanted = [frame for frame in dict.fromkeys(frames.tolist()) if frame not in self._frames]
        for frame in wanted:
            self.ram.pieces(PhysAddr(frame << FRAME_SHIFT), FRAME_SIZE)  # raises NotRam
        if wanted:
            fetched = self._fetch([(frame << FRAME_SHIFT, FRAME_SIZE) for frame in wanted])
            for frame, data in zip(wanted, fetched, strict=True):
                self._frames[frame] = np.frombuffer(data, dtype=np.uint64)
        if not len(frames):
            return np.empty((0, ENTRIES_PER_FRAME), dtype=np.uint64)
        return np.stack([self._frames[frame] for frame in frames.tolist()])

    def view(self, address: PhysAddr) -> View | None:
        """None: nothing can be read without fetching it."""
        return None

    def seen(self, frames: NDArray[np.uint64]) -> None:
        """There are no views to look at."""
        return

    def series(self) -> AbstractContextManager[object]:
        """Nothing needs to be set up around reads."""
        return nullcontext()
