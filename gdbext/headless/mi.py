"""A conversation with gdb over MI: one request, its one result, and what was printed on the way.

pygdbmi reads and parses; this file pairs results with requests, and keeps track of whether the guest runs.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pygdbmi.IoManager import IoManager

from gdbext.headless.errors import CommandFailed, HeadlessError, StartFailed

_SHUTDOWN = "SIGQUIT"  # QEMU's signal for a machine that is paused because it would have ended
_PYTHON_FAILED = "Error while executing Python code."
_POLL_SECONDS = 0.25
# pygdbmi waits this long for more before it hands over what it has; the result record says when there is no more.
_NO_LINGERING = 1e-9


@dataclass(frozen=True)
class Output:
    """What gdb printed during one command."""

    text: str
    """Its normal output."""
    log: str
    """What went to its standard error: warnings, and on failure the reason."""


@dataclass(frozen=True)
class Stop:
    """Why and where the guest stopped."""

    reason: str
    """gdb's term: ``breakpoint-hit``, ``end-stepping-range``, or the name of a signal; empty when it gave none."""
    function: str
    """The function it stopped in; ``??`` when gdb does not know."""
    address: int
    """The instruction pointer."""
    breakpoint: str
    """The number of the breakpoint that was hit; empty for any other reason."""

    def __str__(self) -> str:
        place = f"in {self.function} at {self.address:#x}"
        if self.reason == _SHUTDOWN:
            return f"it shut down or reset itself (as a triple fault does) {place}"
        return f"it stopped {place} ({self.reason or 'no reason given'})"


def quoted(text: str) -> str:
    """A C string as MI wants its arguments."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Gdb:
    """A gdb process that speaks MI."""

    def __init__(self, command: Sequence[str]) -> None:
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # gdb itself reports over MI
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise StartFailed(f"cannot start {command[0]}: {error.strerror}; run scripts/setup") from error
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._channel = IoManager(self.process.stdin, self.process.stdout, None, _NO_LINGERING)
        self._token = 0
        self._text: list[str] = []
        self._log: list[str] = []
        self._results: dict[int, dict[str, Any]] = {}
        self.running = False
        self.last_stop: Stop | None = None

    def request(self, command: str, timeout: float) -> dict[str, Any]:
        """The result record of one MI command: its ``message`` is ``done``, ``running``, ``connected`` or ``error``."""
        self._token += 1
        token = self._token
        try:
            self._channel.write(f"{token}{command}", timeout_sec=0, raise_error_on_timeout=False, read_response=False)
        except OSError as error:
            raise HeadlessError("gdb has ended") from error
        if not self._read_until(lambda: token in self._results, timeout):
            self.signal_interrupt()
            raise CommandFailed(command, f"no answer within {timeout:g} s")
        return self._results.pop(token)

    def console(self, command: str, timeout: float) -> Output:
        """Run a command as typed at gdb's prompt, and wait for the guest to stop again if the command lets it run."""
        if "\n" in command:
            raise CommandFailed(command, "a command must be one line")
        self._text.clear()
        self._log.clear()
        result = self.request(f"-interpreter-exec console {quoted(command)}", timeout)
        if result["message"] == "error":
            reason = result["payload"]["msg"].strip()
            # For Python's errors gdb has no better message than this; the details went to the log before it.
            raise CommandFailed(
                command, "".join(self._log).strip().removesuffix(reason).strip() if reason == _PYTHON_FAILED else reason
            )
        resumed = result["message"] == "running" and not command.rstrip().endswith("&")
        if (resumed or command.strip() == "interrupt") and not self.await_stop(timeout):
            self.signal_interrupt()
            self.await_stop(timeout)
            raise CommandFailed(command, f"the guest was still running after {timeout:g} s, and was stopped")
        if resumed:
            self.request("-list-features", timeout)  # a script may go on from stop to stop: answered when it has ended
        return Output("".join(self._text), "".join(self._log))

    def await_stop(self, timeout: float, gone: Callable[[], bool] = lambda: False) -> bool:
        """Wait until the guest has stopped; False after ``timeout`` seconds, or once ``gone`` returns True."""
        return self._read_until(lambda: not self.running, timeout, gone)

    def signal_interrupt(self) -> None:
        """The equivalent of Ctrl-C: reaches gdb in the middle of a command too."""
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGINT)

    def _read_until(self, done: Callable[[], bool], timeout: float, gone: Callable[[], bool] = lambda: False) -> bool:
        deadline = time.monotonic() + timeout
        while not done():
            left = deadline - time.monotonic()
            if left <= 0 or gone():
                return False
            ended = self.process.poll() is not None
            for record in self._channel.get_gdb_response(min(left, _POLL_SECONDS), raise_error_on_timeout=False):
                self._take(record)
            if ended and not done():
                raise HeadlessError(f"gdb has ended (exit status {self.process.returncode})")
        return True

    def _take(self, record: dict[str, Any]) -> None:
        kind, message, payload = record["type"], record.get("message"), record.get("payload")
        if kind == "result":
            self._results[record["token"]] = record
            # Set before the notification below, which may not have arrived yet.
            self.running = self.running or message == "running"
        elif kind in ("console", "target"):  # the target's output is that of QEMU's monitor
            self._text.append(payload or "")
        elif kind == "log":
            self._log.append(payload or "")
        elif kind == "notify" and message == "running":
            self.running = True
        elif kind == "notify" and message == "stopped":
            self.running = False
            self.last_stop = _stop(payload or {})

    def close(self) -> None:
        """End gdb."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()


def _stop(payload: dict[str, Any]) -> Stop:
    frame = payload.get("frame", {})
    return Stop(
        reason=payload.get("signal-name", payload.get("reason", "")),
        function=frame.get("func", "??"),
        address=int(frame.get("addr", "0"), 16),
        breakpoint=payload.get("bkptno", ""),
    )
