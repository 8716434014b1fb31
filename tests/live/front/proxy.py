"""A debug stub with faults of our choice: a proxy between gdb and QEMU's stub that answers some packets itself."""

import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_PACKET = re.compile(rb"\$([^#]*)#..", re.DOTALL)

UNKNOWN = b""
"""The answer of a stub that does not know a packet."""


class Drop(Exception):
    """Raised by a rule: the connection is to break off here, without an answer."""


Rule = Callable[[bytes], bytes | None]
"""The answer to a packet of gdb's; None lets QEMU answer."""


class StubProxy:
    """Listens at ``path`` for one gdb and serves it from QEMU's stub at ``stub``. ``rule`` may be changed any time."""

    def __init__(self, path: Path, stub: Path, rule: Rule) -> None:
        self.rule = rule
        self.seen: list[bytes] = []
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen(1)
        self._stub = stub
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with self._server:
            gdb, _ = self._server.accept()
        qemu = socket.socket(socket.AF_UNIX)
        qemu.connect(str(self._stub))
        threading.Thread(target=_pump, args=(qemu, gdb), daemon=True).start()
        buffer = b""
        with suppress(Drop, OSError):
            while received := gdb.recv(1 << 16):
                buffer = self._forward(buffer + received, gdb, qemu)
        _end(gdb)
        _end(qemu)

    def _forward(self, buffer: bytes, gdb: socket.socket, qemu: socket.socket) -> bytes:
        """Handle the whole packets in a buffer; what is left of it."""
        while (found := _PACKET.search(buffer)) is not None:
            packet = found[1]
            self.seen.append(packet)
            answer = self.rule(packet)
            if answer is None:
                qemu.sendall(buffer[: found.end()])
            else:
                gdb.sendall(b"+$" + answer + b"#%02x" % (sum(answer) & 0xFF))
            buffer = buffer[found.end() :]
        if b"$" in buffer:
            return buffer
        qemu.sendall(buffer)  # acknowledgements, and the byte that interrupts
        return b""


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):  # the other side may go at any time
        while received := source.recv(1 << 16):
            sink.sendall(received)
    _end(sink)


def _end(connection: socket.socket) -> None:
    with suppress(OSError):  # it may not be connected any more
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


# Rules


def transparent(packet: bytes) -> bytes | None:
    """Nothing is changed."""
    return None


def monitor_command(packet: bytes) -> str:
    """What a packet asks QEMU's monitor; empty when it does not."""
    return bytes.fromhex(packet[6:].decode()).decode() if packet.startswith(b"qRcmd,") else ""


def without_host_addresses(packet: bytes) -> bytes | None:
    """QEMU's monitor does not know gpa2hva: nothing can be read out of its process."""
    if monitor_command(packet).startswith("gpa2hva"):
        return b"unknown command: 'gpa2hva'\r\n".hex().encode()
    return None


def virtual_only(packet: bytes) -> bytes | None:
    """A stub that has neither a physical memory mode nor a monitor."""
    return UNKNOWN if packet.startswith((b"qRcmd,", b"qqemu.", b"Qqemu.")) else None


def without_physical_mode(packet: bytes) -> bytes | None:
    """A stub that has a monitor, but no physical memory mode."""
    return UNKNOWN if packet.startswith((b"qqemu.", b"Qqemu.")) else None
