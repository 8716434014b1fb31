"""Sessions over gdb's current machine and program, and running a command in one."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import gdb

from gdbext.bridge.evaluate import evaluate
from gdbext.bridge.machine import forget, stopped_machine
from gdbext.bridge.symbols import GdbSymbols
from gdbext.checks.catalogue import RULE_IDS
from gdbext.commands.record import Arguments, Command
from gdbext.domains.parts import Parts
from gdbext.profile.choice import ProfileChoice
from gdbext.report.results import Judgement
from gdbext.session import Session

profiles = ProfileChoice(RULE_IDS)
"""The kernel's profile: gdb has one kernel at a time."""

# What is kept from one command to the next is dropped when its connection or symbols go.
gdb.events.connection_removed.connect(forget)
for _event in (gdb.events.new_objfile, gdb.events.clear_objfiles, gdb.events.free_objfile):
    _event.connect(lambda _: profiles.forget())


def new_session(parts: Parts | None = None) -> Session:
    """A session over gdb's current machine and program. Nothing is read before it is needed; ``parts`` may keep it."""
    symbols, elf = GdbSymbols(), _kernel_file()
    machine = partial(stopped_machine, lambda: profiles.bound(symbols, elf))
    return Session(machine, symbols, elf, profiles, evaluate, parts)


def _kernel_file() -> Path | None:
    """The file that the kernel's symbols come from."""
    space = gdb.current_progspace()
    name = space.filename if space else None
    return Path(name) if name else None


def run(command: Command, typed: str | Sequence[str]) -> tuple[object, Arguments]:
    """A command's result for a typed line or its words, in a session of its own; a GdbextError when it fails.

    A check leaves the number of its findings in ``$_memcheck_findings``, and of those that are errors in
    ``$_memcheck_errors``, for scripts and conditions. A check that fails leaves them void.
    """
    if command.checks:
        _leave(None, None)
    arguments = command.parse(typed)
    result = command.run(new_session(), arguments)
    if isinstance(result, Judgement):
        _leave(result.found, result.errors)
    return result, arguments


def _leave(findings: int | None, errors: int | None) -> None:
    """Publish the counts of a check to gdb's expressions."""
    gdb.set_convenience_variable("_memcheck_findings", findings)
    gdb.set_convenience_variable("_memcheck_errors", errors)
