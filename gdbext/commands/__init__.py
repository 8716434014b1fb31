"""The commands: what a person types, and how each is helped with and completed."""

from gdbext.commands import description, managers, physical, translation
from gdbext.commands.record import Command

COMMANDS: tuple[Command, ...] = (*translation.COMMANDS, *physical.COMMANDS, *managers.COMMANDS, *description.COMMANDS)
"""Every command of gdbext."""
