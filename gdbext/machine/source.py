"""Where a connected machine's physical memory is read from: the best source that works, and why better ones do not."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gdbext.errors import DescriptionError, MemoryUnavailable, SourceFailed
from gdbext.machine.memory import PhysicalMemory, RamMap
from gdbext.machine.process import QemuProcess
from gdbext.machine.qemu import Backend, Monitor, memory_backends, ram_map
from gdbext.machine.remote import NO_MODE, PacketConnection, RemoteMemory, has_physical_mode
from gdbext.machine.shared import SharedMemory
from gdbext.units import FRAME_SHIFT

FRAMES_COMPARED = 8
"""How many frames of a file are compared with the debug stub's before the file is trusted."""

NAMES = ("shared", "process", "remote", "direct map", "dump")
"""The sources, best first."""


@dataclass(frozen=True)
class Considered:
    """A source that was considered: ``status`` is ``in use``, ``not usable`` or ``not needed``."""

    name: str
    status: str
    why: str


@dataclass(frozen=True)
class Sources:
    """The sources of physical memory that were considered, best first, and how much RAM there is, in bytes."""

    ram: int
    sources: tuple[Considered, ...]


@dataclass(frozen=True)
class DirectMap:
    """Memory through the kernel's direct map, and how it was obtained, as text."""

    memory: PhysicalMemory
    how: str


MakeDirectMap = Callable[[RamMap | None], DirectMap]
"""Makes the direct map's memory for one stop, given what is RAM if that is known; GdbextError when it cannot."""


@dataclass(frozen=True)
class _Chosen:
    """The source in use as long as the connection lasts, how it was obtained, and what makes its memory at a stop."""

    name: str
    how: str
    memory: Callable[[RamMap], PhysicalMemory]


_NOT_NEEDED = {
    "process": "the guest's RAM file is mapped already: reading QEMU's process would be no faster",
    "remote": "the debug stub's physical mode works too, but is slower",
    "direct map": "physical memory can be read without the kernel's own mapping of it",
    "dump": "the machine itself can be read; to open a dump, run gdbext open DUMP outside gdb",
}


class Source:
    """How the memory of one connected machine is read. Decided once; `at_stop` is called at each stop."""

    def __init__(self, monitor: Monitor, connection: PacketConnection) -> None:
        """SourceFailed when the connection is gone; other failures are kept with their reasons."""
        self._monitor = monitor
        self._connection = connection
        self._names: set[str] = set()
        self._why_not: dict[str, str] = {}
        self._chosen = self._choose(has_physical_mode(connection))

    def at_stop(self, direct_map: MakeDirectMap) -> tuple[PhysicalMemory, tuple[Considered, ...]]:
        """The machine's memory for this stop, and all sources, best first.

        The RAM map is read from QEMU each time, because it may change. MemoryUnavailable when no source works.
        """
        ram = ram_map(self._monitor, self._names) if self._names else None
        if self._chosen is not None and ram is not None:
            return self._chosen.memory(ram), self._considered(self._chosen.name, self._chosen.how)
        try:
            found = direct_map(ram)
        except (MemoryUnavailable, DescriptionError) as error:
            remote = self._why_not["remote"]
            raise MemoryUnavailable(f"physical memory cannot be read: {remote}; no direct map: {error}") from error
        return found.memory, self._considered("direct map", found.how)

    def _considered(self, used: str, how: str) -> tuple[Considered, ...]:
        listed = []
        for name in NAMES:
            if name == used:
                listed.append(Considered(name, "in use", how))
            elif name in self._why_not:
                listed.append(Considered(name, "not usable", self._why_not[name]))
            else:
                listed.append(Considered(name, "not needed", _NOT_NEEDED[name]))
        return tuple(listed)

    def _choose(self, physical_mode: bool) -> _Chosen | None:
        """The best source that needs no kernel; None when there is none."""
        if not physical_mode:
            unproved = f"its contents cannot be compared with the guest's: {NO_MODE}"
            self._why_not = {"shared": unproved, "process": unproved, "remote": NO_MODE}
        try:
            backends = memory_backends(self._monitor)
            ram = ram_map(self._monitor, {backend.name for backend in backends})
        except MemoryUnavailable as error:
            self._why_not = dict.fromkeys(("shared", "process", "remote"), str(error)) | self._why_not
            return None
        self._names = {backend.name for backend in backends}
        if not physical_mode:
            return None
        for name, attempt in (("shared", self._shared), ("process", self._process)):
            try:
                return attempt(backends, ram)
            except (MemoryUnavailable, SourceFailed) as error:
                self._why_not[name] = str(error)
        return _Chosen("remote", "the debug stub has a physical memory mode", self._remote)

    def _remote(self, ram: RamMap) -> PhysicalMemory:
        return RemoteMemory(ram, self._connection)

    def _shared(self, backends: tuple[Backend, ...], ram: RamMap) -> _Chosen:
        blocks = {backend.name: _map_file(backend) for backend in backends}
        _compare(SharedMemory(ram, blocks), self._remote(ram), "the file of that name on this machine")
        paths = ", ".join(str(backend.path) for backend in backends)
        how = f"guest RAM is the file {paths}, mapped into gdb"
        return _Chosen("shared", how, lambda ram: SharedMemory(ram, blocks))

    def _process(self, backends: tuple[Backend, ...], ram: RamMap) -> _Chosen:
        process = QemuProcess(self._monitor, ram)
        _compare(process.memory(ram), self._remote(ram), f"process {process.pid} on this machine")
        return _Chosen("process", process.how, process.memory)


def _map_file(backend: Backend) -> NDArray[np.uint8]:
    """A block's file, mapped read-only."""
    start_so = "start QEMU with -object memory-backend-file,share=on,... and -machine memory-backend=..."
    if backend.path is None:
        raise MemoryUnavailable(f"the guest's RAM '{backend.name}' is not a shared file; {start_so}")
    path = Path(backend.path)
    if not path.is_file():
        raise MemoryUnavailable(f"the guest's RAM file {path} is not a file on this machine")
    try:
        return np.memmap(path, dtype=np.uint8, mode="r")
    except (OSError, ValueError) as error:
        raise MemoryUnavailable(f"the guest's RAM file {path} cannot be mapped: {error}") from error


def _compare(candidate: PhysicalMemory, stub: PhysicalMemory, what: str) -> None:
    """Make sure that ``what`` a candidate reads is this guest's RAM and not another's that looks like it.

    Frames spread over all RAM are compared. Their bytes agree by chance only where nothing was ever written.
    """
    frames = _spread(candidate.ram)
    try:
        same = np.array_equal(candidate.read_frames(frames), stub.read_frames(frames))
    except IndexError as error:
        raise MemoryUnavailable(f"{what} is smaller than the guest's RAM") from error
    if not same:
        raise MemoryUnavailable(f"{what} does not hold the guest's RAM: compared frames differ")


def _spread(ram: RamMap) -> NDArray[np.uint64]:
    """A few frame numbers, from each range of RAM and spread over it."""
    per_range = max(2, FRAMES_COMPARED // max(1, len(ram.ranges)))
    chosen = [
        np.linspace(start, last, per_range).astype(np.uint64)
        for start, last in ((-(-r.start >> FRAME_SHIFT), (r.end >> FRAME_SHIFT) - 1) for r in ram.ranges)
    ]
    return np.unique(np.concatenate(chosen))
