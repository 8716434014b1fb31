"""Physical memory from a QEMU process on this machine: for guests whose RAM is not a file that can be located.

QEMU's monitor reports the process (by the ids of its threads) and at which address of that process each block of RAM
starts. ``/proc/PID/mem`` then gives the bytes; RAM that is a memfd, or a file that has been deleted, and that the
process shares is mapped. The open ``mem`` file belongs to that process: once the process has ended, nothing more can
be read, even if another process gets its number.
"""

import os
import re
import weakref
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from gdbext.errors import MemoryUnavailable, NotRam, SourceFailed
from gdbext.machine.memory import ENTRIES_PER_FRAME, PhysicalMemory, RamMap, View
from gdbext.machine.qemu import Monitor, host_address, thread_ids
from gdbext.machine.shared import SharedMemory
from gdbext.units import FRAME_SHIFT, FRAME_SIZE, PhysAddr

# man 5 proc, /proc/pid/maps: address, perms, offset, dev, inode.
_READABLE = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) r..([sp]) ([0-9a-f]+) ([0-9a-f]+):([0-9a-f]+) (\d+)", re.MULTILINE)
_GROUP = re.compile(r"^Tgid:\s*(\d+)", re.MULTILINE)
_YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")


@dataclass(frozen=True)
class Area:
    """A readable piece of a process's memory: its addresses (``end`` exclusive) and the file that backs it.

    ``file`` is a device number and an inode; ``offset`` is where in that file ``start`` lies, in bytes.
    """

    start: int
    end: int
    shared: bool
    offset: int
    file: tuple[int, int]


class QemuProcess:
    """The process behind a monitor, open for reading. It is located once; `memory` is called at each stop."""

    def __init__(self, monitor: Monitor, ram: RamMap) -> None:
        """MemoryUnavailable when the process is not on this machine, or may not be read."""
        threads = thread_ids(monitor)
        self._hosts = {name: _host_of(monitor, ram, name) for name in _blocks(ram)}
        self.pid = _process_of(threads)
        self._mem = _open_memory(self.pid)
        areas = readable_areas(_read_maps(self.pid))
        for name, size in _blocks(ram).items():
            if not _covered(areas, self._hosts[name], size):
                raise MemoryUnavailable(f"process {self.pid} on this machine does not hold the guest's RAM '{name}'")
        found = {name: _map_block(self.pid, areas, self._hosts[name], size) for name, size in _blocks(ram).items()}
        files = {name: file for name, file in found.items() if file is not None}
        self._files = files if len(files) == len(found) else None

    def memory(self, ram: RamMap) -> PhysicalMemory:
        """The guest's memory at one stop."""
        if self._files is not None:
            return SharedMemory(ram, self._files, "process")
        return ProcessMemory(ram, self._mem, self._hosts)

    @property
    def how(self) -> str:
        """Where the bytes come from, as text."""
        if self._files is not None:
            return f"guest RAM is an unnamed file of QEMU's process {self.pid} on this machine, mapped into gdb"
        return f"guest RAM is memory of QEMU's process {self.pid} on this machine, read through /proc/{self.pid}/mem"


class _MemoryFile:
    """``/proc/PID/mem``, closed when no longer used."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._descriptor = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)

    def read_into(self, buffer: memoryview, address: int) -> None:
        """Fill the buffer from an address of the process; SourceFailed when it ends or refuses."""
        while buffer:
            try:
                done = os.preadv(self._descriptor, [buffer], address)
            except OSError as error:
                raise SourceFailed(f"QEMU's process {self.pid} cannot be read: {error.strerror}") from error
            if done == 0:
                raise SourceFailed(f"QEMU's process {self.pid} has ended")
            buffer, address = buffer[done:], address + done


class ProcessMemory:
    """A `PhysicalMemory` over ``/proc/PID/mem``. ``hosts`` has the address of each block's first byte there."""

    name = "process"

    def __init__(self, ram: RamMap, mem: _MemoryFile, hosts: Mapping[str, int]) -> None:
        self.ram = ram
        self._mem = mem
        self._hosts = hosts

    def read(self, address: PhysAddr, size: int) -> bytes:
        """Bytes from RAM; NotRam with the first address that is not RAM, SourceFailed when QEMU is gone."""
        result = bytearray(size)
        view = memoryview(result)
        for ram, start, length in self.ram.pieces(address, size):
            at = start - address
            self._mem.read_into(view[at : at + length], self._hosts[ram.block] + ram.offset + start - ram.start)
        return bytes(result)

    def read_frames(self, frames: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Frames by number, shape ``(len(frames), 512)``; neighbouring frames are read together."""
        if not len(frames):
            return np.empty((0, ENTRIES_PER_FRAME), dtype=np.uint64)
        wanted, place = np.unique(frames, return_inverse=True)
        hosts = self._host_addresses(wanted)
        buffer = bytearray(len(wanted) * FRAME_SIZE)
        view = memoryview(buffer)
        starts = np.flatnonzero(np.diff(hosts, prepend=-FRAME_SIZE) != FRAME_SIZE)
        for first, end in zip(starts.tolist(), [*starts.tolist()[1:], len(wanted)], strict=True):
            self._mem.read_into(view[first * FRAME_SIZE : end * FRAME_SIZE], int(hosts[first]))
        result = np.frombuffer(buffer, dtype=np.uint64).reshape(len(wanted), ENTRIES_PER_FRAME)
        return result if np.array_equal(wanted, frames) else result[place]

    def view(self, address: PhysAddr) -> View | None:
        """None: another process's memory cannot be read without copying it."""
        return None

    def seen(self, frames: NDArray[np.uint64]) -> None:
        """There are no views to look at."""

    def series(self) -> AbstractContextManager[object]:
        """Nothing needs to be set up around reads."""
        return nullcontext()

    def _host_addresses(self, frames: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Where each frame is in QEMU's process; NotRam for the first that is not wholly RAM of one range."""
        result = np.full(len(frames), -1, dtype=np.int64)
        for ram in self.ram.ranges:
            first, end = -(-ram.start // FRAME_SIZE), ram.end >> FRAME_SHIFT
            chosen = (frames >= np.uint64(first)) & (frames < np.uint64(end))
            delta = self._hosts[ram.block] + ram.offset - ram.start
            result[chosen] = (frames[chosen] << np.uint64(FRAME_SHIFT)).astype(np.int64) + delta
        if (result < 0).any():
            raise NotRam(PhysAddr(int(frames[result < 0][0]) << FRAME_SHIFT))
        return result


def readable_areas(maps: str) -> tuple[Area, ...]:
    """The readable pieces of a process's memory, by address, from the text of its ``maps``."""
    return tuple(
        Area(
            int(start, 16),
            int(end, 16),
            kind == "s",
            int(offset, 16),
            (os.makedev(int(major, 16), int(minor, 16)), int(inode)),
        )
        for start, end, kind, offset, major, minor, inode in _READABLE.findall(maps)
    )


def _blocks(ram: RamMap) -> dict[str, int]:
    """The blocks that the guest's RAM is made of, and how many bytes of each are used."""
    sizes: dict[str, int] = {}
    for piece in ram.ranges:
        sizes[piece.block] = max(sizes.get(piece.block, 0), piece.offset + piece.end - piece.start)
    return sizes


def _host_of(monitor: Monitor, ram: RamMap, block: str) -> int:
    """The address, in QEMU's process, of a block's first byte."""
    piece = next(piece for piece in ram.ranges if piece.block == block)
    return host_address(monitor, piece.start, block) - piece.offset


def _process_of(threads: tuple[int, ...]) -> int:
    """The id of the process whose threads these are; MemoryUnavailable when it is not one of this machine."""
    try:
        pid = int(_GROUP.findall(Path(f"/proc/{threads[0]}/status").read_text())[0])
        tasks = {int(name) for name in os.listdir(f"/proc/{pid}/task")}
    except OSError as error:
        raise MemoryUnavailable(
            f"QEMU is not on this machine, or is in a container: there is no thread {threads[0]} here"
        ) from error
    if not tasks.issuperset(threads):
        raise MemoryUnavailable(f"QEMU is not on this machine, or is in a container: process {pid} here is not it")
    return pid


def _open_memory(pid: int) -> _MemoryFile:
    try:
        return _MemoryFile(pid)
    except OSError as error:
        _refused(pid, error)


def _read_maps(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/maps").read_text(errors="replace")
    except OSError as error:
        _refused(pid, error)


def _refused(pid: int, error: OSError) -> NoReturn:
    """Raise an error that says what permission is missing to read another process."""
    if not isinstance(error, PermissionError):
        raise MemoryUnavailable(f"QEMU's process {pid} cannot be read: {error.strerror}") from error
    scope = _YAMA.read_text().strip() if _YAMA.exists() else "0"
    reason = "gdb must run as the same user as QEMU"
    if scope != "0":
        reason += f", and kernel.yama.ptrace_scope must be 0 (it is {scope}) or gdb must have CAP_SYS_PTRACE"
    raise MemoryUnavailable(f"reading QEMU's process {pid} is not permitted: {reason}") from error


def _covered(areas: tuple[Area, ...], start: int, size: int) -> bool:
    """Whether a range of the process's memory is readable without a gap."""
    for area in areas:
        if area.start <= start < area.end:
            size -= area.end - start
            start = area.end
    return size <= 0


def _map_block(pid: int, areas: tuple[Area, ...], host: int, size: int) -> NDArray[np.uint8] | None:
    """A block as a file that the process shares, mapped read-only; None when it is not one that can be opened."""
    area = next((area for area in areas if area.start <= host and host + size <= area.end), None)
    if area is None or not area.shared:
        return None
    try:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            found = descriptor.stat()
            if (found.st_dev, found.st_ino) == area.file:
                offset = area.offset + host - area.start
                return np.memmap(descriptor, dtype=np.uint8, mode="r", offset=offset, shape=(size,))
    except (OSError, ValueError):  # not allowed, or closed meanwhile: the bytes can still be read
        return None
    return None
