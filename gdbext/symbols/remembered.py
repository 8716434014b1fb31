"""Symbols that are asked for the same names over and over, and for no longer than they stay what they are."""

from functools import cache

from gdbext.symbols.model import Detail, Section, Symbol, Symbols, Type
from gdbext.units import VirtAddr


class RememberedSymbols:
    """The same `Symbols`, each name looked up once: what is found for it is the same object every time."""

    def __init__(self, symbols: Symbols) -> None:
        self._symbols = symbols
        self._symbol = cache(symbols.find_symbol)
        self._type = cache(symbols.find_type)

    def find_symbol(self, name: str) -> Symbol | None:
        """As of the symbols themselves."""
        return self._symbol(name)

    def find_type(self, name: str) -> Type | None:
        """As of the symbols themselves."""
        return self._type(name)

    def detail(self) -> Detail:
        """As of the symbols themselves."""
        return self._symbols.detail()

    def nearest(self, name: str) -> tuple[str, ...]:
        """As of the symbols themselves."""
        return self._symbols.nearest(name)

    def remains(self, name: str) -> tuple[str, ...] | None:
        """As of the symbols themselves."""
        return self._symbols.remains(name)

    def sections(self) -> tuple[Section, ...]:
        """As of the symbols themselves."""
        return self._symbols.sections()

    def name_at(self, address: VirtAddr) -> tuple[str, int] | None:
        """As of the symbols themselves."""
        return self._symbols.name_at(address)
