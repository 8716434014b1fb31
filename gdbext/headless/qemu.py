"""One machine under QEMU: its command line, its process, its monitor, its serial port.

Guest RAM is a file by default, shared with whoever maps it: that is what lets gdbext read page tables at the
speed of memory. gdb's stub and the monitor listen on sockets in a private directory.
"""

import json
import re
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gdbext.headless.errors import HeadlessError, StartFailed
from gdbext.headless.kernel import KernelKind, kernel_kind
from gdbext.headless.workspace import Workspace

QEMU = "qemu-system-x86_64"
EXIT_PORT = 0xF4
"""The port of QEMU's isa-debug-exit device: a guest that writes N there ends QEMU with status 2 * N + 1."""

_POLL_SECONDS = 0.05
_UNITS = {"": 1 << 20, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def memory_bytes(text: str) -> int:
    """The bytes that QEMU understands by ``256M``, ``1.5G`` or a bare number of MiB."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise HeadlessError(f"'{text}' is not a memory size; write it as 256M or 1G")
    return int(float(match[1]) * _UNITS[match[2].upper()])


@dataclass(frozen=True)
class MachineOptions:
    """What machine to build, and what to boot on it."""

    kernel: Path
    """An ELF kernel, a bzImage, or a CD-ROM or disk image."""
    append: str = ""
    """The kernel's command line; only for kernels that QEMU loads itself."""
    memory: str = "256M"
    """The size of RAM, as QEMU spells it."""
    cpu: str = "max"
    machine: str = "pc"
    """The board: ``pc`` or ``q35``."""
    shared: bool = True
    """Whether RAM is a file that others can map; ordinary QEMU memory otherwise."""
    paused: bool = True
    """Whether the machine waits before its first instruction."""
    qemu_args: tuple[str, ...] = ()
    """Further arguments for QEMU, last on its command line."""


def qemu_command(options: MachineOptions, directory: Path) -> list[str]:
    """The command line that builds this machine, with its sockets and files in ``directory``."""
    memory = memory_bytes(options.memory)
    command = [QEMU, "-S", "-M", options.machine, "-cpu", options.cpu, "-m", f"{memory // 1024}K"]
    if options.shared:
        backend = f"memory-backend-file,id=gdbext-ram,size={memory},mem-path={directory}/ram,share=on"
        command += ["-object", backend, "-machine", "memory-backend=gdbext-ram"]
    command += ["-display", "none", "-nic", "none"]
    # A guest that resets itself, as a triple fault does, is left as it was at that moment, for gdb to examine.
    command += ["-no-reboot", "-action", "shutdown=pause"]
    command += ["-gdb", f"unix:{directory}/gdb,server=on,wait=off"]
    command += ["-qmp", f"unix:{directory}/qmp,server=on,wait=off"]
    command += ["-serial", f"file:{directory}/serial"]
    command += ["-device", f"isa-debug-exit,iobase={EXIT_PORT:#x},iosize=4"]
    return command + _boot_arguments(options) + list(options.qemu_args)


def _boot_arguments(options: MachineOptions) -> list[str]:
    kind = kernel_kind(options.kernel)
    path = str(options.kernel.resolve())
    if kind.loaded_by_qemu:
        return ["-kernel", path] + (["-append", options.append] if options.append else [])
    if options.append:
        raise StartFailed(f"{options.kernel} is a {kind.value}: its boot loader sets the command line, not --append")
    quoted = path.replace(",", ",,")
    if kind is KernelKind.ISO:
        return ["-drive", f"file={quoted},media=cdrom,format=raw,readonly=on", "-boot", "d"]
    return ["-drive", f"file={quoted},format=raw,if=ide,snapshot=on"]


class Qemu:
    """A running machine. Use as a context manager, or call ``close``."""

    def __init__(self, options: MachineOptions) -> None:
        # Any mistake in the options is reported before a directory is made.
        qemu_command(options, Path())
        self.options = options
        self._workspace = Workspace(memory_bytes(options.memory) if options.shared else 0)
        self.directory = self._workspace.path
        self._errors = self.directory / "errors"
        self._monitor: socket.socket | None = None
        self._switched_off = False
        try:
            with self._errors.open("wb") as errors:
                self._process = self._workspace.start(qemu_command(options, self.directory), errors)
            if not options.paused:
                # The monitor reports only what happens after it is connected, so the guest waits for that.
                self.await_ready()
                self.qmp("cont")
        except BaseException:
            self.close()
            raise

    def await_ready(self, patience: float = 20.0) -> None:
        """Return once the machine is built and listens; raise when QEMU ends instead.

        The sockets appear before QEMU has parsed most of its arguments. Its monitor responds only afterwards.
        """
        deadline = time.monotonic() + patience
        while self._process.poll() is None:
            try:
                self.qmp("query-status")
            except HeadlessError as error:
                # The socket may not exist yet, or QEMU may not listen on it yet; or QEMU is about to end.
                if time.monotonic() > deadline:
                    raise StartFailed(f"QEMU is not ready after {patience:.0f} s: {error}") from error
                time.sleep(0.002)
            else:
                return
        raise StartFailed(f"QEMU ended during startup: {self.last_words()}")

    @property
    def gdb_socket(self) -> Path:
        """Where gdb connects to: ``target remote PATH``."""
        return self.directory / "gdb"

    @property
    def pid(self) -> int:
        """QEMU's process id."""
        return self._process.pid

    def adopt(self, process: subprocess.Popen[bytes]) -> None:
        """Have a process that serves this machine end with it; its command line must name ``directory``."""
        self._workspace.adopt(process)

    def exit_status(self) -> int | None:
        """QEMU's exit status; None while it runs."""
        return self._process.poll()

    def wait(self, timeout: float) -> int:
        """Wait until the guest has ended QEMU or switched its machine off; QEMU's exit status.

        isa-debug-exit ends QEMU 7.2 at once. In QEMU 10 it switches the machine off, which leaves it paused (see
        ``qemu_command``); QEMU keeps the guest's status, and ends with it when the monitor tells it to quit.
        """
        deadline = time.monotonic() + timeout
        while self._process.poll() is None:
            # QEMU may end while it is asked.
            with suppress(HeadlessError):
                self.qmp("query-status")  # the events so far come before the answer
                if self._switched_off:
                    self.qmp("quit")
            try:
                return self._process.wait(_POLL_SECONDS)
            except subprocess.TimeoutExpired as error:
                if time.monotonic() > deadline:
                    raise HeadlessError(f"QEMU still runs after {timeout:.0f} s") from error
        return self._process.returncode

    def last_words(self) -> str:
        """The last line that QEMU has printed, or its exit status when it has printed nothing."""
        lines = self._errors.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit status {self._process.poll()}"

    def serial(self) -> str:
        """All that the guest has written to its first serial port so far."""
        return (self.directory / "serial").read_text(errors="replace").replace("\r\n", "\n")

    def monitor(self, command: str) -> str:
        """What QEMU's monitor prints on a command."""
        return str(self.qmp("human-monitor-command", {"command-line": command})).replace("\r\n", "\n")

    def qmp(self, command: str, arguments: dict[str, Any] | None = None) -> Any:
        """The result of one QMP command."""
        try:
            if self._monitor is None:
                self._connect()
            return self._ask(command, arguments or {})
        except OSError as error:
            raise HeadlessError(f"QEMU's monitor does not respond: {error}") from error

    def _connect(self) -> None:
        monitor = socket.socket(socket.AF_UNIX)
        monitor.settimeout(60)
        try:
            monitor.connect(str(self.directory / "qmp"))
        except OSError:
            monitor.close()
            raise
        self._monitor, self._lines = monitor, monitor.makefile("r")
        self._lines.readline()  # the greeting
        self._ask("qmp_capabilities", {})

    def _ask(self, command: str, arguments: dict[str, Any]) -> Any:
        assert self._monitor is not None
        self._monitor.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        for line in self._lines:
            answer = json.loads(line)
            if "error" in answer:
                raise HeadlessError(f"QEMU refused {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
            # Anything else is an event. A guest that resets itself has another reason, and is left as it is.
            if answer.get("event") == "SHUTDOWN" and answer["data"]["reason"] == "guest-shutdown":
                self._switched_off = True
        raise HeadlessError(f"QEMU has ended: {self.last_words()}")

    def close(self) -> None:
        """End QEMU and remove its files."""
        if self._monitor is not None:
            self._lines.close()
            self._monitor.close()
            self._monitor = None
        self._workspace.close()

    def __enter__(self) -> "Qemu":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
