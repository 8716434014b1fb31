"""One line on a terminal that says how far a command is: from its second second on, and wiped in the end."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gdbext.progress import shown_by

PATIENCE = 1.0
"""Seconds for which nothing is said."""
_PAUSE = 0.2
"""Seconds between two changes of the line."""
_STDERR = 2


class ProgressLine:
    """The line. ``write`` takes text for a terminal, ``clock`` tells seconds."""

    def __init__(self, name: str, write: Callable[[str], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._write = write
        self._clock = clock
        self._next = clock() + PATIENCE
        self._width = 0

    def show(self, what: str, done: int, total: int) -> None:
        """Put the line there anew, if it is time."""
        now = self._clock()
        if now < self._next:
            return
        self._next = now + _PAUSE
        far = f"{done * 100 // total}%" if done <= total else str(done)  # nobody knows how long a broken list is
        line = f"{self._name}: {what}, {far} (Ctrl-C stops it)"
        self._write("\r" + line.ljust(self._width))  # no escape sequences: terminals that know none show it too
        self._width = len(line)

    def wipe(self) -> None:
        """Take the line away."""
        if self._width:
            self._write("\r" + " " * self._width + "\r")
            self._width = 0


@contextmanager
def progress_line(name: str, *, wanted: bool = True) -> Iterator[None]:
    """Within the block progress is shown on standard error, where that is a terminal that can (and ``wanted``)."""
    if not wanted or not os.isatty(_STDERR) or os.environ.get("TERM", "dumb") == "dumb":
        yield
        return
    line = ProgressLine(name, lambda text: os.write(_STDERR, text.encode()))
    try:
        with shown_by(line.show):
            yield
    finally:
        line.wipe()
