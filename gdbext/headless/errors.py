"""The errors of a machine and a debugger that a program runs.

HeadlessError
StartFailed     QEMU or gdb did not start
NotReached      the guest did not reach its goal, in time or at all
CommandFailed   gdb refused a command; the message is gdb's own
"""

from gdbext.errors import GdbextError


class HeadlessError(GdbextError):
    """The base of everything that a headless session raises on purpose."""


class StartFailed(HeadlessError):
    """QEMU or gdb did not start, or ended."""


class NotReached(HeadlessError):
    """The guest did not reach its goal; ``serial`` holds what it has printed so far."""

    def __init__(self, problem: str, serial: str) -> None:
        self.serial = serial
        tail = serial.splitlines()[-8:]
        shown = "\n".join(f"    {line}" for line in tail) if tail else "    (nothing)"
        super().__init__(f"{problem}; the last lines on its serial port:\n{shown}")


class CommandFailed(HeadlessError):
    """gdb refused a command; ``reason`` is gdb's error message."""

    def __init__(self, command: str, reason: str) -> None:
        self.command = command
        self.reason = reason
        super().__init__(f"{command}: {reason}")
