"""One kernel on one machine under one gdb, for programs: boot it, run it to a place, run gdbext's commands on it.

    with Session("kernel.elf", profile="kernel.toml") as session:
        session.run_to("kernel_ready")
        assert session.command("memcheck")["findings"] == []

Every wait has a limit, and errors include what the guest printed last.
"""

import json
import os
from pathlib import Path
from typing import Any

from gdbext.headless.errors import CommandFailed, HeadlessError, NotReached, StartFailed
from gdbext.headless.install import LOADER, directory_command
from gdbext.headless.kernel import KernelKind, kernel_kind
from gdbext.headless.mi import Gdb, Output, Stop, quoted
from gdbext.headless.qemu import MachineOptions, Qemu

# Users set these to taste; a program needs them the same everywhere.
_SETTINGS = (
    "set confirm off",
    "set pagination off",
    "set width 0",
    "set style enabled off",
    "set debuginfod enabled off",
    "set mi-async on",
)
CONNECT_SETTINGS = ("set architecture i386:x86-64",)
"""Needed before connecting: QEMU sends 64-bit registers even when the kernel's file claims to be 32-bit."""


class Session:
    """QEMU and gdb around one kernel, from boot to the end of the ``with`` block, whatever happens inside it."""

    def __init__(  # noqa: PLR0913 - a machine has that many knobs; all but the kernel have names and defaults
        self,
        kernel: str | os.PathLike[str],
        *,
        profile: str | os.PathLike[str] | None = None,
        symbols: str | os.PathLike[str] | None = None,
        append: str = "",
        memory: str = "256M",
        cpu: str = "max",
        machine: str = "pc",
        qemu_args: tuple[str, ...] = (),
        shared: bool = True,
        timeout: float = 60.0,
    ) -> None:
        """Start both; the guest waits before its first instruction.

        ``kernel`` is an ELF kernel, a bzImage, or a CD-ROM or disk image; ``symbols`` the ELF file with its symbols,
        when that is another file. ``profile`` describes the kernel to gdbext. ``timeout`` limits, in seconds, every
        wait.
        """
        self.timeout = timeout
        kernel = Path(kernel)
        if symbols is None and kernel_kind(kernel) is KernelKind.ELF:
            symbols = kernel
        for file in (profile, symbols):
            if file is not None and not Path(file).is_file():
                raise StartFailed(f"file {file} does not exist")
        options = MachineOptions(
            kernel, append=append, memory=memory, cpu=cpu, machine=machine, shared=shared, qemu_args=tuple(qemu_args)
        )
        self.qemu = Qemu(options)
        try:
            self.gdb = self._start_gdb(symbols)
            try:
                self.qemu.await_ready()
                self._prepare(profile)
            except BaseException:
                self.gdb.close()
                raise
        except BaseException:
            self.qemu.close()
            raise

    def _start_gdb(self, symbols: str | os.PathLike[str] | None) -> Gdb:
        # Without -nx the user's own .gdbinit would change what tests see. The history file is never written; naming
        # it tells the workspace's guard that this gdb is ours to end.
        command = ["gdb", "-nx", "-q", "--interpreter=mi3", "-iex", f"set history filename {self.qemu.directory}/gdb"]
        if symbols is not None:
            command.append(str(Path(symbols).resolve()))
        gdb = Gdb(command)
        self.qemu.adopt(gdb.process)
        return gdb

    def _prepare(self, profile: str | os.PathLike[str] | None) -> None:
        for setting in (*_SETTINGS, *CONNECT_SETTINGS, directory_command(LOADER.parent)):
            self.execute(setting)
        loading = self._console(f"source {LOADER}")
        if "not loaded" in loading.log:
            raise StartFailed(loading.log.strip())
        self._request(f"-target-select remote {self.qemu.gdb_socket}", f"target remote {self.qemu.gdb_socket}")
        if profile is not None:
            self.execute(f"memprofile use {Path(profile).resolve()}")

    # Running and stopping the guest

    def run_to(self, location: str, *, timeout: float | None = None) -> Stop:
        """Let the guest run until it gets to a symbol (or ``*ADDRESS``) for the first time."""
        # A hardware breakpoint needs no memory to be mapped there yet.
        number = self._request(f"-break-insert -t -h {quoted(location)}", f"break {location}")["bkpt"]["number"]
        stop = self.cont(timeout=timeout, goal=location)
        if stop.breakpoint != number:
            raise NotReached(f"the guest did not reach {location}: {stop}", self.serial())
        return stop

    def cont(self, *, timeout: float | None = None, goal: str = "a stop") -> Stop:
        """Let the guest run until it stops by itself."""
        limit = self.timeout if timeout is None else timeout
        self.start()
        stopped = self.gdb.await_stop(limit, gone=self._qemu_has_ended)
        if self._qemu_has_ended():
            raise NotReached(f"QEMU ended ({self.qemu.last_words()}) before the guest reached {goal}", self.serial())
        if stopped and self.gdb.last_stop is not None:
            return self.gdb.last_stop
        self.interrupt()
        raise NotReached(f"the guest did not reach {goal} within {limit:g} s", self.serial())

    def start(self) -> None:
        """Let the guest run and return at once."""
        self._request("-exec-continue", "continue")

    def interrupt(self) -> Stop:
        """Stop the running guest."""
        self._request("-exec-interrupt", "interrupt")
        if not self.gdb.await_stop(self.timeout, gone=self._qemu_has_ended) or self.gdb.last_stop is None:
            raise NotReached("the guest cannot be stopped", self.serial())
        return self.gdb.last_stop

    def wait_for_exit(self, *, timeout: float | None = None) -> int:
        """Let the guest run until QEMU ends; QEMU's exit status (for isa-debug-exit: 2 * N + 1)."""
        self.start()
        return self.qemu.wait(self.timeout if timeout is None else timeout)

    def _qemu_has_ended(self) -> bool:
        return self.qemu.exit_status() is not None

    # Commands

    def command(self, name: str, *arguments: str) -> Any:
        """The result of a gdbext command, as the Python objects of its JSON."""
        answer = self.qemu.directory / "answer.json"
        answer.unlink(missing_ok=True)
        # Over MI each word arrives unchanged, blanks included. After a `--` nothing is an option, so ours come first.
        words = ["-output", str(answer), *arguments]
        self._request(" ".join([f"-gdbext-{name}", *map(quoted, words)]), f"{name} {' '.join(arguments)}".strip())
        try:
            return json.loads(answer.read_bytes())
        except FileNotFoundError as error:
            raise HeadlessError(f"gdbext {name} wrote no result") from error

    def text(self, command: str) -> str:
        """What a gdbext command prints as text."""
        return self.execute(f"gdbext {command}")

    def execute(self, command: str) -> str:
        """What gdb prints on any command."""
        return self._console(command).text

    def run_command(self, command: str) -> Output:
        """What gdb prints on any command, with its warnings separate."""
        return self._console(command)

    def errors_found(self) -> int:
        """How many findings of severity error the last check had; 0 when there was none, or it failed."""
        answer = self.execute("python print(int(gdb.convenience_variable('_memcheck_errors') or 0))")
        return int(answer)

    def monitor(self, command: str) -> str:
        """What QEMU's monitor prints; not through gdb, so it can verify what gdbext reports."""
        return self.qemu.monitor(command)

    def read_physical(self, address: int, size: int) -> bytes:
        """Bytes of physical memory as QEMU sees them; addresses without memory read as zeros."""
        dump = self.qemu.directory / "dump"
        self.qemu.qmp("pmemsave", {"val": address, "size": size, "filename": str(dump)})
        content = dump.read_bytes()
        dump.unlink()
        return content

    def serial(self) -> str:
        """All that the guest has printed on its first serial port so far."""
        return self.qemu.serial()

    def _console(self, command: str) -> Output:
        return self.gdb.console(command, self.timeout)

    def _request(self, command: str, shown: str) -> dict[str, Any]:
        """The answer to an MI command; an error names it as the user knows it."""
        result = self.gdb.request(command, self.timeout)
        if result["message"] == "error":
            raise CommandFailed(shown, result["payload"]["msg"].strip())
        return result["payload"] or {}

    def close(self) -> None:
        """End both processes and remove their files."""
        self.gdb.close()
        self.qemu.close()

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
