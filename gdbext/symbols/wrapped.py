"""Symbols that add something to others: what a class does not override is delegated to those that it wraps."""

from functools import cache

from gdbext.symbols.model import Detail, Section, Symbol, Symbols, Type
from gdbext.units import VirtAddr


class WrappedSymbols:
    """The same `Symbols`."""

    def __init__(self, symbols: Symbols) -> None:
        self._symbols = symbols

    def find_symbol(self, name: str) -> Symbol | None:
        """A symbol of the kernel."""
        return self._symbols.find_symbol(name)

    def find_type(self, name: str) -> Type | None:
        """A type of the kernel."""
        return self._symbols.find_type(name)

    def detail(self) -> Detail:
        """How much the kernel's symbols contain."""
        return self._symbols.detail()

    def nearest(self, name: str) -> tuple[str, ...]:
        """Names of symbols that look like it."""
        return self._symbols.nearest(name)

    def remains(self, name: str) -> tuple[str, ...] | None:
        """What the compiler has left of a name of the kernel's source."""
        return self._symbols.remains(name)

    def sections(self) -> tuple[Section, ...]:
        """The kernel's sections."""
        return self._symbols.sections()

    def name_at(self, address: VirtAddr) -> tuple[str, int] | None:
        """The symbol that holds an address."""
        return self._symbols.name_at(address)


class RememberedSymbols(WrappedSymbols):
    """The same symbols, cached while they do not change: each name is looked up once and yields one object."""

    def __init__(self, symbols: Symbols) -> None:
        super().__init__(symbols)
        self._symbol = cache(symbols.find_symbol)
        self._type = cache(symbols.find_type)

    def find_symbol(self, name: str) -> Symbol | None:
        """A symbol of the kernel."""
        return self._symbol(name)

    def find_type(self, name: str) -> Type | None:
        """A type of the kernel."""
        return self._type(name)
