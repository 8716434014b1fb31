"""Physical memory over gdb's own connection, through the physical mode of QEMU's debug stub."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Protocol

from gdbext.errors import SourceFailed
from gdbext.machine.fetched import FetchedMemory
from gdbext.machine.memory import RamMap
from gdbext.progress import progress
from gdbext.units import hex_address

PACKET_BYTES = 2048
"""The most that one ``m`` packet may ask of QEMU (half of its 4096-byte packets, in hexadecimal)."""

READ_MODE = "qqemu.PhyMemMode"
SET_MODE = "Qqemu.PhyMemMode:"
NO_MODE = "the debug stub has no physical memory mode (QEMU has it since version 4.2)"


class PacketConnection(Protocol):
    """A connection to a debug stub that takes raw packets of the remote protocol."""

    def send(self, packet: str) -> bytes:
        """The stub's reply; SourceFailed when the connection is gone."""


class RemoteMemory(FetchedMemory):
    """A `PhysicalMemory` over a debug stub.

    Raw packets bypass gdb's stack and code caches, so no bytes of a physical page can remain in them.
    """

    name = "remote"

    def __init__(self, ram: RamMap, connection: PacketConnection) -> None:
        super().__init__(ram)
        self._connection = connection
        self._in_mode = False

    def _fetch(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        total, done = sum(size for _, size in ranges), 0
        found = []
        with nullcontext() if self._in_mode else physical_mode(self._connection):
            for address, size in ranges:
                found.append(self._transfer(address, size, done, total))
                done += size
        return found

    @contextmanager
    def series(self) -> Iterator[None]:
        """The stub stays in its physical mode; only this object may use it meanwhile."""
        with physical_mode(self._connection):
            self._in_mode = True
            try:
                yield
            finally:
                self._in_mode = False

    def _transfer(self, address: int, size: int, done: int, total: int) -> bytes:
        """The bytes of one range; ``done`` and ``total`` are its position in all ranges, for the progress display."""
        parts = []
        for start in range(address, address + size, PACKET_BYTES):
            progress("reading memory", done + start - address, total)
            length = min(PACKET_BYTES, address + size - start)
            reply = self._connection.send(f"m{start:x},{length:x}")
            if len(reply) != 2 * length:
                raise SourceFailed(
                    f"the debug stub did not return {length} bytes at physical {hex_address(start)}:"
                    f" it replied {reply[:40].decode('ascii', 'replace') or 'with nothing'}"
                )
            parts.append(bytes.fromhex(reply.decode("ascii")))
        return b"".join(parts)


def has_physical_mode(connection: PacketConnection) -> bool:
    """Whether the stub can read physical memory; SourceFailed when the connection is gone."""
    return connection.send(READ_MODE) in {b"0", b"1"}


@contextmanager
def physical_mode(connection: PacketConnection) -> Iterator[None]:
    """Put the stub into physical mode, and back into its previous mode, whatever happens."""
    before = connection.send(READ_MODE)
    if before not in {b"0", b"1"}:
        raise SourceFailed(NO_MODE)
    try:
        if connection.send(SET_MODE + "1") != b"OK":
            raise SourceFailed("the debug stub refused to enter its physical memory mode")
        yield
    finally:
        try:
            connection.send(SET_MODE + before.decode("ascii"))
        except KeyboardInterrupt:  # Ctrl-C right here: the mode is still restored
            connection.send(SET_MODE + before.decode("ascii"))
            raise
