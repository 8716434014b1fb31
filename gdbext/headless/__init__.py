"""gdbext for programs: starts QEMU and gdb, drives gdb over MI, hands results back as Python objects."""

from gdbext.headless.errors import CommandFailed, HeadlessError, NotReached, StartFailed
from gdbext.headless.session import Session

__all__ = ["CommandFailed", "HeadlessError", "NotReached", "Session", "StartFailed"]
