"""What gdbext needs of a kernel's names and types, whether gdb or pyelftools reads them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Protocol

from gdbext.units import VirtAddr


class Kind(Enum):
    """What sort of type a type is."""

    INTEGER = "integer"
    BOOLEAN = "boolean"
    POINTER = "pointer"
    ARRAY = "array"
    STRUCT = "struct"
    UNION = "union"
    ENUM = "enum"
    FUNCTION = "function"
    VOID = "void"
    OTHER = "other"


@dataclass(frozen=True)
class Field:
    """One member of a struct or union.

    ``offset`` is in bytes from the start of the object. A bit-field has ``bit_size`` (in bits), ``offset`` is the
    byte that holds its lowest bit, and ``bit_offset`` (0 to 7) that bit's place in it; other members have
    ``bit_size`` None. An anonymous member has an empty name.
    """

    name: str
    offset: int
    type: Type
    bit_offset: int = 0
    bit_size: int | None = None


class Type:
    """A C or C++ type, typedefs and qualifiers stripped. What it refers to is resolved on first use.

    ``size`` is in bytes (0 for void, functions and incomplete types); ``count`` is an array's number of
    elements, None when it is open or zero. ``name`` is as a C programmer writes it (``struct page *``; an
    unnamed struct is known by its typedef); C++ classes are written with ``struct`` too.
    """

    def __init__(  # noqa: PLR0913 - the facts about a type; all but three are seldom given
        self,
        kind: Kind,
        name: str,
        size: int,
        *,
        signed: bool = False,
        count: int | None = None,
        target: Callable[[], Type] | None = None,
        fields: Callable[[], tuple[Field, ...]] | None = None,
        enumerators: Callable[[], Mapping[int, str]] | None = None,
    ) -> None:
        self.kind = kind
        self.name = name
        self.size = size
        self.signed = signed
        self.count = count
        self._target = target
        self._fields = fields
        self._enumerators = enumerators

    @cached_property
    def target(self) -> Type | None:
        """What a pointer points to, or what an array is made of; None for every other type."""
        return self._target() if self._target else None

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        """The members of a struct or union, base classes included as anonymous members, in order."""
        return self._fields() if self._fields else ()

    @cached_property
    def enumerators(self) -> Mapping[int, str]:
        """The names of an enum's values, without a C++ scope; of several for one value the first."""
        return self._enumerators() if self._enumerators else {}


@dataclass(frozen=True)
class Symbol:
    """A name of the kernel: a variable or function at ``address``, or a constant with a ``value``.

    Exactly one of the two is not None. ``type`` is None for names that only a linker or assembler defines.
    """

    name: str
    address: VirtAddr | None
    value: int | None
    type: Type | None


@dataclass(frozen=True)
class Section:
    """An allocated section of the kernel's ELF file: ``address`` and ``size`` in bytes, rights from its flags."""

    name: str
    address: VirtAddr
    size: int
    writable: bool
    executable: bool


class Detail(Enum):
    """How much the symbols of a kernel contain."""

    NOTHING = "no symbols"
    NAMES = "names and addresses, no types"
    TYPES = "debug information"


class Symbols(Protocol):
    """The kernel's names, types and layouts. Contract, for all: tests/unit/test_symbols_contract.py."""

    def find_symbol(self, name: str) -> Symbol | None:
        """A global or file-static variable, function, enumerator or linker symbol; never a local variable.

        Globals come first; of several file-static ones it is the one at the lowest address.
        """

    def find_type(self, name: str) -> Type | None:
        """A type by its C name: ``struct page``, ``uint64_t``, ``unsigned long``, ``struct page *``."""

    def detail(self) -> Detail:
        """How much is known at all: used to explain why something is missing. May be slow."""

    def nearest(self, name: str) -> tuple[str, ...]:
        """At most three names of symbols that the user may have meant, none that only the compiler uses."""

    def remains(self, name: str) -> tuple[str, ...] | None:
        """What the compiler has left of a variable or function without an address: the names of its pieces.

        Empty when it was removed. None when the kernel's source has no such name either.
        """

    def sections(self) -> tuple[Section, ...]:
        """The allocated sections, by address."""

    def name_at(self, address: VirtAddr) -> tuple[str, int] | None:
        """The function or variable that holds this address, and the offset in bytes into it."""


def nearest_names(name: str, candidates: Iterable[str]) -> tuple[str, ...]:
    """At most three of the candidates that the user may have meant by ``name``, the likeliest first."""
    folded: dict[str, str] = {}
    for candidate in candidates:
        folded.setdefault(candidate.casefold(), candidate)
    return tuple(folded[match] for match in difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.6))


def first_placed(found: Iterable[Symbol]) -> Symbol | None:
    """Of several symbols with one name, the one at the lowest address; constants come last. None if there are none."""
    return min(found, key=lambda symbol: (symbol.address is None, symbol.address or symbol.value or 0), default=None)
