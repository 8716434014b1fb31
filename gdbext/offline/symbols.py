"""The names that the user may use over a dump: the kernel's, if its ELF file is given, and the registers'."""

from collections.abc import Mapping

from gdbext.symbols.model import Detail, Kind, Section, Symbol, Symbols, Type, nearest_names
from gdbext.symbols.typenames import resolve_type_name
from gdbext.symbols.wrapped import WrappedSymbols
from gdbext.units import VirtAddr

_WORD = Type(Kind.INTEGER, "unsigned long", 8)
_ALIASES = {"$pc": "$rip", "$sp": "$rsp", "$fp": "$rbp", "$eflags": "$rflags"}


class NoSymbols:
    """A kernel without an ELF file: no names, and only C's own types."""

    def find_symbol(self, name: str) -> Symbol | None:
        """None: there are no symbols."""
        return None

    def find_type(self, name: str) -> Type | None:
        """None: there is no debug information."""
        return resolve_type_name(name, lambda _: None)

    def detail(self) -> Detail:
        """Nothing is known."""
        return Detail.NOTHING

    def nearest(self, name: str) -> tuple[str, ...]:
        """Empty: there are no symbols."""
        return ()

    def remains(self, name: str) -> tuple[str, ...] | None:
        """None: the source is not known."""
        return None

    def sections(self) -> tuple[Section, ...]:
        """Empty: no sections are known."""
        return ()

    def name_at(self, address: VirtAddr) -> tuple[str, int] | None:
        """None: nothing has a name."""
        return None


class SymbolsAndRegisters(WrappedSymbols):
    """A kernel's symbols, and registers as gdb writes them: ``$cr3``, ``$rip``, ``$pc``."""

    def __init__(self, symbols: Symbols, registers: Mapping[str, int]) -> None:
        super().__init__(symbols)
        self._registers = {f"${name}": value for name, value in registers.items()}

    def find_symbol(self, name: str) -> Symbol | None:
        """A register, or a symbol of the kernel."""
        if not name.startswith("$"):
            return self._symbols.find_symbol(name)
        value = self._registers.get(_ALIASES.get(name, name))
        return None if value is None else Symbol(name, None, value, _WORD)

    def nearest(self, name: str) -> tuple[str, ...]:
        """Names that look like it: of registers, or of symbols."""
        return nearest_names(name, self._registers) if name.startswith("$") else self._symbols.nearest(name)
