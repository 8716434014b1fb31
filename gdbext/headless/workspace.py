"""A private directory, and the processes that live in it: both go away with this process, however it ends.

A guard (a shell that waits for the end of a pipe which only this process holds open) does the cleaning, so that
it is done even when this process is killed without warning. An ordinary end takes the same path.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from gdbext.headless.errors import StartFailed

_LONGEST_SOCKET_PATH = 107
_ROOM_FOR_A_NAME = 16

# One process id per line; the end of the input is the sign to clean up. A process is only ended when its command
# line names the directory: by then its number may belong to another process.
_GUARD = """
while read -r pid; do pids="$pids $pid"; done
for pid in $pids; do
    grep -qsF -- "$1" "/proc/$pid/cmdline" && kill -KILL "$pid" 2>/dev/null
done
rm -rf -- "$1"
"""


def _roomy_parent(size: int) -> Path:
    """Where a file of this size goes: into memory when it fits there, else where temporary files go."""
    shm = Path("/dev/shm")
    if os.access(shm, os.W_OK) and shutil.disk_usage(shm).free >= size:
        return shm
    parent = Path(tempfile.gettempdir())
    return parent if len(str(parent)) < _LONGEST_SOCKET_PATH - 2 * _ROOM_FOR_A_NAME else Path("/tmp")


class Workspace:
    """A private directory with room for ``size`` bytes, and the processes started for it."""

    def __init__(self, size: int) -> None:
        try:
            self.path = Path(tempfile.mkdtemp(prefix="gdbext-", dir=_roomy_parent(size)))
        except OSError as error:
            raise StartFailed(f"cannot create a temporary directory: {error}") from error
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "gdbext-guard", str(self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, command: Sequence[str], errors: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a process whose command line names this directory; it ends with the workspace.

        It gets a session of its own: a Ctrl-C meant for gdb must not reach it.
        """
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, start_new_session=True
            )
        except OSError as error:
            raise StartFailed(f"cannot start {command[0]}: {error.strerror}; run scripts/setup") from error
        self.adopt(process)
        return process

    def adopt(self, process: subprocess.Popen[bytes]) -> None:
        """Have a process end with the workspace; its command line must name the directory."""
        self._processes.append(process)
        assert self._guard.stdin is not None
        self._guard.stdin.write(f"{process.pid}\n".encode())
        self._guard.stdin.flush()

    def close(self) -> None:
        """End the processes and remove the directory."""
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        self._guard.wait()
        for process in self._processes:
            process.kill()  # does nothing, unless the guard was ended before it could do its work
            process.wait()
