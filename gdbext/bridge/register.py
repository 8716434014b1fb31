"""Registers the commands and functions in gdb, for its prompt and for GDB/MI.

It imports only their names and help. The code that runs them is loaded on first use, so that gdb starts nearly as fast
as without gdbext.
"""

import gdb

from gdbext.bridge.output import failure
from gdbext.commands.record import Command
from gdbext.errors import GdbextError

FUNCTIONS = {
    "v2p": "$v2p(ADDR): the physical address that a virtual address maps to; an error when it is not mapped.",
    "p2v": "$p2v(PA): the direct-map address of a physical address; an error when the direct map does not map it.",
    "frame_state": '$frame_state(PA): "free", "used" or "unmanaged": its state in the physical managers.',
}


def register_command(command: Command, name: str) -> None:
    """Register a command in gdb under a name."""

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
    """Register a command in GDB/MI."""

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
    """Register a convenience function in gdb, ``$name(...)``."""

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
