"""One line on a terminal that shows a command's progress: after its first second, and erased at its end."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gdbext.progress import shown_by

PATIENCE = 1.0
"""Seconds before anything is shown."""
_PAUSE = 0.2
"""Seconds between two changes of the line."""
_STDERR = 2


class ProgressLine:
    """The line. ``write`` takes text for a terminal, ``clock`` returns seconds."""

    def __init__(self, name: str, write: Callable[[str], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._write = write
        self._clock = clock
        self._next = clock() + PATIENCE
        self._width = 0

    def show(self, what: str, done: int, total: int) -> None:
        """Write the line again, if it is time."""
        now = self._clock()
        if now < self._next:
            return
        self._next = now + _PAUSE
        far = f"{done * 100 // total}%" if done <= total else str(done)  # a broken list has no known length
        line = f"{self._name}: {what}, {far} (Ctrl-C to stop)"
        self._write("\r" + line.ljust(self._width))  # no escape sequences, so that it works on every terminal
        self._width = len(line)

    def wipe(self) -> None:
        """Erase the line."""
        if self._width:
            self._write("\r" + " " * self._width + "\r")
            self._width = 0


@contextmanager
def progress_line(name: str, *, wanted: bool = True) -> Iterator[None]:
    """Within the block progress is shown on standard error, if that is a terminal that supports it (and ``wanted``)."""
    if not wanted or not os.isatty(_STDERR) or os.environ.get("TERM", "dumb") == "dumb":
        yield
        return
    line = ProgressLine(name, lambda text: os.write(_STDERR, text.encode()))
    try:
        with shown_by(line.show):
            yield
    finally:
        line.wipe()
