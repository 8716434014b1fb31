"""The commands: each parses its arguments, asks the session, and hands back a result. No decoding, no printing."""

from gdbext.commands import description, managers, physical, translation
from gdbext.commands.record import Command

COMMANDS: tuple[Command, ...] = (*translation.COMMANDS, *physical.COMMANDS, *managers.COMMANDS, *description.COMMANDS)
"""Every command of gdbext."""
