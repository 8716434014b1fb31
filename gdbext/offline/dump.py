"""A dump with its kernel's symbols and profile, or these alone: what a session uses instead of gdb."""

from pathlib import Path

from gdbext.checks.catalogue import RULE_IDS
from gdbext.errors import UsageError
from gdbext.machine.dump import Dump
from gdbext.machine.registers import GENERAL
from gdbext.machine.source import NAMES, Considered
from gdbext.machine.stopped import Machine
from gdbext.machine.tables import GeneralRegisters
from gdbext.offline.symbols import NoSymbols, SymbolsAndRegisters
from gdbext.profile.choice import ProfileChoice
from gdbext.profile.expressions.expression import ExpressionError, compile_expression
from gdbext.session import Session
from gdbext.symbols.elf import ElfSymbols
from gdbext.units import WORD_MASK

_OTHERS = "the registers and stacks of the processors that were not opened"
_NO_MACHINE = "there is no running machine, only its dump"


class OpenDump:
    """An open dump, or without a dump a kernel's description.

    The profile that the user chooses is kept from one command to the next.
    """

    def __init__(self, dump: Dump | None, elf: Path | None, slide: int = 0) -> None:
        """DescriptionError when the kernel's file cannot be read; its addresses are moved up by ``slide`` bytes."""
        self.profiles = ProfileChoice(RULE_IDS)
        self._elf = elf
        self._symbols = ElfSymbols(elf, slide) if elf is not None else NoSymbols()
        self._names = SymbolsAndRegisters(self._symbols, dump.registers.values if dump else {})
        self._dump = dump

    def session(self) -> Session:
        """A session over the dump."""
        session = Session(
            self._machine, self._symbols, self._elf, self.profiles, lambda text: self._evaluate(session, text)
        )
        return session

    def _machine(self) -> Machine:
        if self._dump is None:
            raise UsageError("there is no memory to read: give a DUMP too")
        own = {name: value for name, value in self._dump.registers.values.items() if name in GENERAL}
        told = GeneralRegisters((own,), _OTHERS) if own else GeneralRegisters()
        return Machine(self._dump.memory, self._dump.cpu, _considered(self._dump), registers=lambda: told)

    def _evaluate(self, session: Session, text: str) -> int:
        """An expression that the user typed, as an unsigned 64-bit number."""
        try:
            return compile_expression(text, self._names).evaluate(session.virtual) & WORD_MASK
        except ExpressionError as error:
            raise UsageError(f"cannot evaluate {error.problem}") from error


def _considered(dump: Dump) -> tuple[Considered, ...]:
    """All sources, best first; a dump leaves no choice."""
    how = "; ".join((dump.how, *(f"doubt: {doubt}" for doubt in dump.doubts)))
    return tuple(
        Considered(name, "in use", how) if name == "dump" else Considered(name, "not usable", _NO_MACHINE)
        for name in NAMES
    )
