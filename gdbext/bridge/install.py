"""Puts gdbext into gdb: every command under its short name and under the prefix, for people and for GDB/MI."""

from collections.abc import Callable

import gdb

from gdbext import __version__
from gdbext.bridge.output import failure, write
from gdbext.bridge.register import FUNCTIONS, register_command, register_function, register_mi
from gdbext.commands import COMMANDS
from gdbext.errors import GdbextError
from gdbext.headless import install as gdbinit


class _Prefix(gdb.Command):
    __doc__ = f"""gdbext {__version__}: the memory managers of an x86-64 kernel, shown and checked.

Each command has a short name and a prefixed one: vmwalk is the same as gdbext vmwalk."""

    def __init__(self) -> None:
        super().__init__("gdbext", gdb.COMMAND_DATA, gdb.COMPLETE_NONE, True)


class _Install(gdb.Command):
    """Make 'source gdbext' work in every gdb of yours: a few lines in your gdbinit. Usage: gdbext install"""

    def __init__(self) -> None:
        super().__init__("gdbext install", gdb.COMMAND_SUPPORT, gdb.COMPLETE_NONE)

    def invoke(self, line: str, from_tty: bool) -> None:
        _say(gdbinit.install)


class _Uninstall(gdb.Command):
    """Take back what 'gdbext install' did. Usage: gdbext uninstall"""

    def __init__(self) -> None:
        super().__init__("gdbext uninstall", gdb.COMMAND_SUPPORT, gdb.COMPLETE_NONE)

    def invoke(self, line: str, from_tty: bool) -> None:
        _say(gdbinit.uninstall)


def _say(deed: Callable[[], str]) -> None:
    """Print what was done, or why it could not be."""
    try:
        write(deed() + "\n")
    except (GdbextError, OSError) as error:
        raise failure(str(error)) from error


def load() -> None:
    """Register everything with gdb; called once for each gdb."""
    _Prefix()
    _Install()
    _Uninstall()
    taken = [command.name for command in COMMANDS if _is_taken(command.name)]
    for command in COMMANDS:
        register_command(command, f"gdbext {command.name}")
        if command.name not in taken:
            register_command(command, command.name)
        register_mi(command)
    for name in FUNCTIONS:
        register_function(name)
    if taken:
        write(f"gdbext: another extension has {', '.join(taken)}; gdbext's are under 'gdbext {taken[0]}' and so on\n")


def _is_taken(name: str) -> bool:
    """Whether gdb has a command of this name already."""
    try:
        gdb.execute(f"help {name}", to_string=True)
    except gdb.error:
        return False
    return True
