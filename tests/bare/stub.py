"""A small client of QEMU's debug stub: registers by name, raw packets, breakpoints. No gdb takes part."""

import re
import socket
import time
from pathlib import Path
from typing import Self


class Stub:
    """A connection to the stub. Connecting stops the guest, should it run."""

    def __init__(self, path: Path, timeout: float = 30.0) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        self._socket.connect(str(path))
        self._buffer = b""
        self.ask("qSupported:xmlRegisters=i386")
        self._numbers = {name: number for number, name in enumerate(self._register_names())}

    def _register_names(self) -> list[str]:
        """The registers in the order of their numbers, from the stub's own description of the target."""
        text = self._feature("target.xml")
        for included in re.findall(r'<xi:include href="([^"]+)"', text):
            text += re.sub(r"<!--.*?-->", "", self._feature(included), flags=re.DOTALL)
        return re.findall(r'<reg name="([^"]+)"', text)

    def _feature(self, name: str) -> str:
        parts: list[str] = []
        done = False
        while not done:
            reply = self.ask(f"qXfer:features:read:{name}:{sum(map(len, parts)):x},800")
            parts.append(reply[1:])
            done = reply[0] != "m"
        return "".join(parts)

    def ask(self, packet: str) -> str:
        """The stub's reply to one packet."""
        self.send(packet)
        return self.receive()

    def send(self, packet: str) -> None:
        data = packet.encode("ascii")
        self._socket.sendall(b"$" + data + b"#" + f"{sum(data) & 0xFF:02x}".encode("ascii"))

    def receive(self) -> str:
        """The next packet that comes, acknowledged."""
        while (found := re.search(rb"\$([^#]*)#..", self._buffer)) is None:
            received = self._socket.recv(1 << 16)
            if not received:
                raise ConnectionError("the debug stub has closed the connection")
            self._buffer += received
        self._buffer = self._buffer[found.end() :]
        self._socket.sendall(b"+")
        return found[1].decode("latin-1")

    def register(self, name: str) -> int:
        """A register's value."""
        return int.from_bytes(bytes.fromhex(self.ask(f"p{self._numbers[name]:x}")), "little")

    def set_register(self, name: str, value: int) -> None:
        """Write a register. Outside 64-bit code QEMU keeps only the low 32 bits of most."""
        reply = self.ask(f"P{self._numbers[name]:x}={value.to_bytes(8, 'little').hex()}")
        if reply != "OK":
            raise ConnectionError(f"the debug stub refuses to set {name} to {value:#x}: {reply}")

    def run_until(self, breakpoint_at: int, timeout: float) -> bool:
        """Let the guest run until it gets to a (linear) address; False, and the guest stopped, when it does not."""
        where = f"1,{breakpoint_at:x},1"
        assert self.ask(f"Z{where}") == "OK"
        deadline = time.monotonic() + timeout
        self.send("c")
        before = self._socket.gettimeout()
        self._socket.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            self.receive()
            reached = True
        except TimeoutError:
            reached = False
            self._socket.settimeout(before)
            self._socket.sendall(b"\x03")
            self.receive()
        self._socket.settimeout(before)
        assert self.ask(f"z{where}") == "OK"
        return reached and self.register("rip") == breakpoint_at

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
