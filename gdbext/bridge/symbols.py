"""The kernel's symbols as gdb has read them: the same contract as over ELF, and nothing is read twice.

gdb looks up a bare name in the selected frame first, so that a local variable hides a global of the same name. The
lookups used here never start from a frame.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import gdb

from gdbext.errors import DescriptionError, MemoryUnavailable
from gdbext.symbols.model import Detail, Field, Kind, Section, Symbol, Type, first_placed
from gdbext.symbols.typenames import VOID, array_of, base_spelling, pointer_to, resolve_type_name
from gdbext.units import WORD_MASK, VirtAddr

if TYPE_CHECKING:
    from gdbext.symbols.elf import ElfSymbols

_TAGS = {gdb.TYPE_CODE_STRUCT: "struct", gdb.TYPE_CODE_UNION: "union", gdb.TYPE_CODE_ENUM: "enum"}
_KINDS = {"struct": Kind.STRUCT, "union": Kind.UNION}
_POINTERS = (gdb.TYPE_CODE_PTR, gdb.TYPE_CODE_REF, gdb.TYPE_CODE_RVALUE_REF)
_INTEGERS = (gdb.TYPE_CODE_INT, gdb.TYPE_CODE_CHAR)
_FUNCTIONS = (gdb.TYPE_CODE_FUNC, gdb.TYPE_CODE_METHOD)
_NO_PLACE = (gdb.SYMBOL_LOC_UNRESOLVED, gdb.SYMBOL_LOC_OPTIMIZED_OUT, gdb.SYMBOL_LOC_TYPEDEF)
_LISTED_FILE = re.compile(r"^File (.+):$", re.MULTILINE)
_SECTION = re.compile(r"^ \[\d+\]\s+0x([0-9a-f]+)->0x([0-9a-f]+) at 0x[0-9a-f]+: (\S+) (.*)$")
_AT = re.compile(r"^(.+?)(?: \+ (\d+))? in section \S+(?: of .*)?$")


class GdbSymbols:
    """The symbols of gdb's current program. With none loaded every result is None or empty."""

    def find_symbol(self, name: str) -> Symbol | None:
        """A global or file-static variable, function, enumerator or linker symbol; never a local variable.

        Globals come first; of several file-static ones it is the one at the lowest address. MemoryUnavailable when gdb
        cannot say where it is without the guest's memory, and neither can the program's file.
        """
        # A pointer's type depends on what it points to where that ends in an array without a length, for which gdb 16
        # reads the pointer even when only asked for its address. There may be no guest, or not yet that mapping.
        try:
            return self._find_symbol(name)
        except gdb.error as error:
            symbol = self._find_in_file(name)
            if symbol is None or symbol.type is None:
                why = f"gdb cannot say where '{name}' is without reading it ({error}): ask again once it is mapped"
                raise MemoryUnavailable(why) from error
            return symbol

    def _find_symbol(self, name: str) -> Symbol | None:
        found = gdb.lookup_global_symbol(name)
        if found is not None:
            only_declared = found.addr_class == gdb.SYMBOL_LOC_UNRESOLVED
            symbol = _defined(name) if only_declared else _described(name, found)
            if symbol:
                return symbol
        statics = (_described(name, static) for static in gdb.lookup_static_symbols(name))
        return first_placed(static for static in statics if static) or _linked(name)

    def find_type(self, name: str) -> Type | None:
        """A type by its C name: ``struct page``, ``uint64_t``, ``unsigned long``, ``struct page *``."""
        return resolve_type_name(name, _find_base)

    def detail(self) -> Detail:
        """How much gdb has read: debug information, also from a file of its own, or only the ELF file's symbols."""
        if "debug_info " in gdb.execute("maintenance info sections -all-objects", to_string=True):
            return Detail.TYPES
        return self._elf.detail() if self._elf else Detail.NOTHING

    def nearest(self, name: str) -> tuple[str, ...]:
        """At most three names of symbols that the user may have meant. Slow: it goes through all of them."""
        elf = self._elf
        return elf.nearest(name) if elf else ()

    def remains(self, name: str) -> tuple[str, ...] | None:
        """What the compiler has left of a name of the source; None where only gdb has the debug information."""
        return self._elf.remains(name) if self._elf else None

    def sections(self) -> tuple[Section, ...]:
        """The allocated sections of the first object file, where gdb has loaded them, by address."""
        objfile = _main_objfile()
        if objfile is None:
            return ()
        listing = gdb.execute("maintenance info sections -all-objects ALLOC", to_string=True)
        return tuple(sorted(_sections_of(objfile, listing), key=lambda section: section.address))

    def name_at(self, address: VirtAddr) -> tuple[str, int] | None:
        """The function or variable that holds this address, and the offset in bytes into it."""
        if not 0 <= address <= WORD_MASK:
            return None
        match = _AT.match(gdb.execute(f"info symbol {address:#x}", to_string=True).splitlines()[0])
        if match is None:
            return None
        name = match.group(1).removesuffix("()")
        return name.split("(", 1)[0] if not name.startswith("(") else name, int(match.group(2) or 0)

    def _find_in_file(self, name: str) -> Symbol | None:
        """What the program's file says of a symbol, moved to where gdb has loaded the program."""
        elf, loaded = self._elf, self.sections()
        if elf is None or not loaded:
            return None
        elf.slide += loaded[0].address - elf.sections()[0].address
        return elf.find_symbol(name)

    @cached_property
    def _elf(self) -> ElfSymbols | None:
        objfile = _main_objfile()
        if objfile is None or not objfile.filename or not Path(objfile.filename).is_file():
            return None
        from gdbext.symbols.elf import ElfSymbols  # noqa: PLC0415 - costs 50 ms, and few sessions need it

        try:
            return ElfSymbols(objfile.filename)
        except DescriptionError:
            return None


def _main_objfile() -> gdb.Objfile | None:
    objfiles = gdb.objfiles()
    return objfiles[0] if objfiles else None


def _described(name: str, found: gdb.Symbol) -> Symbol | None:
    """A symbol that debug information describes; None when it has neither an address nor a value."""
    if found.addr_class in _NO_PLACE or found.needs_frame:
        return None
    kind = to_type(found.type) if found.type is not None else VOID
    if found.addr_class == gdb.SYMBOL_LOC_CONST:
        return Symbol(name, None, int(found.value()), kind)
    place = found.value().address
    return Symbol(name, VirtAddr(int(place) & WORD_MASK), None, kind) if place is not None else None


def _defined(name: str) -> Symbol | None:
    """The definition of a variable for which gdb returned a declaration: an ``extern`` line in a header.

    gdb takes the first that it has read. A listing makes it read the definition's unit and names its file, in
    which the variable can then be looked up by file, again without any frame.
    """
    listing = gdb.execute(f"info variables -q -n ^{re.escape(name)}$", to_string=True)
    match = _LISTED_FILE.search(listing)
    if match is None:
        return None
    place = _place(f"'{match.group(1)}'::{name}", name)
    if place is None:
        return None
    return Symbol(name, VirtAddr(int(place) & WORD_MASK), None, to_type(place.type.target()))


def _linked(name: str) -> Symbol | None:
    """A name that only the linker defines. ``::name`` is looked up outside all blocks, in C as in C++."""
    if not name or "'" in name or _main_objfile() is None:
        return None
    place = _place(f"::'{name}'", name)
    return Symbol(name, VirtAddr(int(place) & WORD_MASK), None, None) if place is not None else None


def _place(expression: str, name: str) -> gdb.Value | None:
    """A pointer to what an expression means, read in the language of this name; None when it means nothing."""
    with _language(name):
        try:
            return gdb.parse_and_eval(f"&{expression}")
        except gdb.MemoryError:
            raise
        except gdb.error:
            return None


@contextmanager
def _language(name: str) -> Iterator[None]:
    """Expressions are read in the language that this name is written in; the user's setting is restored."""
    before = gdb.parameter("language")
    gdb.execute(f"set language {'c++' if '::' in name else 'c'}", to_string=True)
    try:
        yield
    finally:
        gdb.execute(f"set language {before}", to_string=True)


def _find_base(name: str) -> Type | None:
    tag, _, rest = name.partition(" ")
    try:
        return to_type(gdb.lookup_type(f"struct {rest}" if tag == "class" else name))
    except gdb.error:
        return None


def _sections_of(objfile: gdb.Objfile, listing: str) -> Iterator[Section]:
    """The sections listed under this object file's heading."""
    inside = False
    for line in listing.splitlines():
        if not line.startswith(" "):
            inside = f"`{objfile.filename}'" in line
        match = _SECTION.match(line) if inside else None
        if match:
            start, end, name, flags = match.groups()
            rights = flags.split()
            yield Section(
                name,
                VirtAddr(int(start, 16)),
                int(end, 16) - int(start, 16),
                "READONLY" not in rights,
                "CODE" in rights,
            )


def to_type(found: gdb.Type) -> Type:
    """A gdb type as ours; the types that it refers to are converted on first use."""
    alias = found.name if found.code == gdb.TYPE_CODE_TYPEDEF else None
    plain = found.strip_typedefs().unqualified()
    code = plain.code
    if code in _TAGS:
        return _tagged(plain, _TAGS[code], alias)
    if code in _POINTERS:
        return pointer_to(lambda: to_type(plain.target()), to_type(plain.target()).name, plain.sizeof)
    if code == gdb.TYPE_CODE_ARRAY:
        low, high = plain.range()
        return array_of(to_type(plain.target()), high - low + 1 if plain.sizeof else None)
    if code in _FUNCTIONS:
        return Type(Kind.FUNCTION, "function", 0)
    return _scalar(plain, code)


def _scalar(plain: gdb.Type, code: int) -> Type:
    name = plain.name or ""
    spelling = base_spelling(name) or name
    if code == gdb.TYPE_CODE_VOID:
        return VOID
    if code == gdb.TYPE_CODE_BOOL:
        return Type(Kind.BOOLEAN, spelling, plain.sizeof)
    if code in _INTEGERS:
        return Type(Kind.INTEGER, spelling, plain.sizeof, signed=plain.is_signed)
    return Type(Kind.OTHER, spelling, plain.sizeof)


def _tagged(plain: gdb.Type, tag: str, alias: str | None) -> Type:
    title = f"{tag} {plain.tag}" if plain.tag else alias or f"{tag} {{...}}"
    if tag == "enum":
        return Type(Kind.ENUM, title, plain.sizeof, signed=plain.is_signed, enumerators=lambda: _enumerators(plain))
    return Type(_KINDS[tag], title, plain.sizeof, fields=lambda: _fields(plain))


def _enumerators(plain: gdb.Type) -> dict[int, str]:
    found: dict[int, str] = {}
    for member in plain.fields():
        found.setdefault(int(member.enumval), (member.name or "").rpartition("::")[2])
    return found


def _fields(plain: gdb.Type) -> tuple[Field, ...]:
    found = (_field(member) for member in plain.fields())
    return tuple(member for member in found if member)


def _field(member: gdb.Field) -> Field | None:
    """One member; None for a static member and a virtual base, which have no fixed offset in the object."""
    first: int | None = getattr(member, "bitpos", None)
    if first is None or member.type is None:
        return None
    name = "" if member.is_base_class else member.name or ""
    kind = to_type(member.type)
    if member.bitsize:
        return Field(name, first >> 3, kind, first & 7, member.bitsize)
    return Field(name, first >> 3, kind)
