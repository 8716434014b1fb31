"""Makes gdb know the commands and functions, for people and for GDB/MI.

It imports what they are called and how they are helped with, and no more: what answers is loaded when first asked, so
that a gdb which gets no questions starts nearly as fast as without.
"""

import gdb

from gdbext.bridge.output import failure
from gdbext.commands.record import Command
from gdbext.errors import GdbextError

FUNCTIONS = {
    "v2p": "$v2p(ADDR): the physical address behind a virtual one; an error when it is not mapped.",
    "p2v": "$p2v(PA): where the kernel's direct map has a physical address; an error when it is not mapped there.",
    "frame_state": '$frame_state(PA): "free", "used" or "unmanaged", as the physical managers have it.',
}


def register_command(command: Command, name: str) -> None:
    """Make gdb know a command under a name."""

    class Cli(gdb.Command):
        __doc__ = command.help

        def invoke(self, line: str, from_tty: bool) -> None:
            from gdbext.bridge.cli import print_result

            try:
                print_result(command, line)
            except GdbextError as error:
                prefix = "" if str(error).startswith(command.name) else f"{command.name}: "
                raise failure(f"{prefix}{error}") from error

        def complete(self, text: str, word: str | None) -> object:
            from gdbext.bridge.cli import complete

            return complete(command, text, word)

    Cli(name, gdb.COMMAND_DATA)


def register_mi(command: Command) -> None:
    """Make gdb know a command in GDB/MI."""

    class Mi(gdb.MICommand):
        __doc__ = command.summary

        def invoke(self, arguments: list[str]) -> dict[str, object]:
            from gdbext.bridge.mi import answer

            try:
                return answer(command, arguments)
            except GdbextError as error:
                raise failure(str(error)) from error

    Mi(f"-gdbext-{command.name}")


def register_function(name: str) -> None:
    """Make gdb know a convenience function, ``$name(...)``."""

    class Function(gdb.Function):
        __doc__ = FUNCTIONS[name]

        def invoke(self, *arguments: gdb.Value) -> str | gdb.Value:
            from gdbext.bridge.functions import answer

            if len(arguments) != 1:
                raise failure(f"${name} takes one address")
            try:
                return answer(name, arguments[0])
            except GdbextError as error:
                raise failure(f"${name}: {error}") from error

    Function(name)
