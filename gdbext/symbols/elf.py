"""The kernel's symbols from its ELF file, through pyelftools: for use outside gdb, and where gdb has no symbols.

Opening reads the section headers. The symbol table and the debug information are read on first use.
"""

from __future__ import annotations

import mmap
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from elftools.common.exceptions import ELFError
from elftools.dwarf.die import DIE
from elftools.dwarf.dwarfinfo import DWARFInfo
from elftools.elf.elffile import ELFFile
from numpy.typing import NDArray

from gdbext.errors import DescriptionError
from gdbext.symbols.dwarf_index import STRUCT_TAGS, Entry, Index, build_index, read_uleb, told_if_damaged
from gdbext.symbols.dwarf_types import TypeReader, referenced
from gdbext.symbols.model import Detail, Kind, Section, Symbol, Type, first_placed, nearest_names
from gdbext.symbols.typenames import resolve_type_name
from gdbext.units import WORD_MASK, VirtAddr

_SHF_WRITE, _SHF_ALLOC, _SHF_EXECINSTR = 1, 2, 4
_SHN_ABS, _SHN_LORESERVE = 0xFFF1, 0xFF00
_STT_NAMED = (0, 1, 2, 10)  # notype, object, function, indirect function; not sections, files, thread-locals
_OP_ADDR, _OP_ADDRX, _OP_PLUS_UCONST = 0x03, 0xA1, 0x23
_LAYOUTS = {
    64: [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8")],
    32: [("name", "<u4"), ("value", "<u4"), ("size", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2")],
}
"""ELF's symbol table entries, by the file's class (System V gABI, chapter 4, Symbol Table)."""
_DEBUG_INFO = (".debug_info", ".zdebug_info")
_MANGLED = re.compile(r"_ZN?[VK]*(L?\d.*)")
_PIECE = re.compile(r"(.+?)(?:\.\d+)+")
"""What LLVM calls the parts of a static struct or array that it takes apart (scalar replacement in GlobalOpt)."""
_OVERLAPS = 16
"""How many symbols to look back for one that holds an address: labels inside a function come in between."""


@dataclass(frozen=True)
class _SymbolTable:
    """.symtab without what has no address: ``names[i]`` is at ``addresses[i]`` and ``sizes[i]`` bytes long.

    ``order`` lists what lies in a section, by address.
    """

    names: tuple[str, ...]
    addresses: NDArray[np.uint64]
    sizes: NDArray[np.uint64]
    sections: NDArray[np.uint16]
    order: NDArray[np.int64]
    by_name: dict[str, int]


class ElfSymbols:
    """The symbols of one ELF file, all addresses moved up by ``slide`` bytes.

    A stripped file is not an error: it has no names and no types. DescriptionError when the file cannot be read, is not
    ELF, or turns out to be damaged on a lookup.
    """

    def __init__(self, path: str | Path, slide: int = 0) -> None:
        self.path = Path(path)
        self.slide = slide
        try:
            with self.path.open("rb") as file:
                self._image = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._elf = ELFFile(cast("IO[bytes]", self._image))
        except OSError as error:
            raise DescriptionError(f"{path} cannot be read: {error.strerror}") from error
        except (ELFError, ValueError) as error:  # ValueError: an empty file cannot be mapped
            raise DescriptionError(f"{path} is not an ELF file") from error

    @told_if_damaged()
    def find_symbol(self, name: str) -> Symbol | None:
        """A global or file-static variable, function, enumerator or linker symbol.

        Globals come first; of several file-static ones it is the one at the lowest address.
        """
        statics: list[Symbol] = []
        for entry in self._index.objects.get(name, ()):
            die = self._types.entry_at(entry.offset)
            symbol = self._described(name, entry, die)
            if symbol and self._is_external(die):
                return symbol
            statics += [symbol] if symbol else []
        return first_placed(statics) or self._linked(name)

    @told_if_damaged()
    def find_type(self, name: str) -> Type | None:
        """A type by its C name: ``struct page``, ``uint64_t``, ``unsigned long``, ``struct page *``."""
        return resolve_type_name(name, self._find_base)

    @told_if_damaged()
    def detail(self) -> Detail:
        """How much the file has: debug information, or a symbol table alone, or nothing."""
        if any(self._elf.get_section_by_name(name) for name in _DEBUG_INFO):
            return Detail.TYPES
        return Detail.NAMES if self._table.names else Detail.NOTHING

    @told_if_damaged()
    def nearest(self, name: str) -> tuple[str, ...]:
        """At most three names of symbols that the user may have meant."""
        # With a dot in it a name is the compiler's own: a variable inside a function (names.1), a part of one (f.cold).
        linked = (n for n in self._table.by_name if not n.startswith("_Z") and "." not in n)
        return nearest_names(name, [*self._index.objects, *linked])

    @told_if_damaged()
    def remains(self, name: str) -> tuple[str, ...] | None:
        """The pieces of a variable that the compiler split; empty if it was removed, None if it never existed."""
        if all(entry.declaration for entry in self._index.objects.get(name, ())):
            return None
        pieces = ((piece, _PIECE.fullmatch(piece)) for piece in self._table.by_name)
        return tuple(sorted(piece for piece, of in pieces if of and self._readable(of[1]) == name))

    @told_if_damaged()
    def sections(self) -> tuple[Section, ...]:
        """The allocated sections, by address."""
        found = [
            Section(
                section.name,
                self._moved(section["sh_addr"]),
                section["sh_size"],
                bool(section["sh_flags"] & _SHF_WRITE),
                bool(section["sh_flags"] & _SHF_EXECINSTR),
            )
            for section in self._elf.iter_sections()
            if section["sh_flags"] & _SHF_ALLOC
        ]
        return tuple(sorted(found, key=lambda section: section.address))

    @told_if_damaged()
    def name_at(self, address: VirtAddr) -> tuple[str, int] | None:
        """The function or variable that holds this address, and the offset in bytes into it."""
        table, wanted = self._table, address - self.slide
        if not 0 <= wanted <= WORD_MASK:
            return None
        after = int(np.searchsorted(table.addresses[table.order], np.uint64(wanted), side="right"))
        label: tuple[str, int] | None = None
        passed_an_object = False
        for rank in range(after - 1, max(-1, after - 1 - _OVERLAPS), -1):
            at = int(table.order[rank])
            offset = wanted - int(table.addresses[at])
            if offset < int(table.sizes[at]):
                return self._readable(table.names[at]), offset
            if table.sizes[at]:
                passed_an_object = True
            elif not passed_an_object and label is None and self._in_section(int(table.sections[at]), wanted):
                label = self._readable(table.names[at]), offset
        return label

    def _moved(self, address: int) -> VirtAddr:
        return VirtAddr((address + self.slide) & WORD_MASK)

    def _readable(self, name: str) -> str:
        return self._index.linkage.get(name) or unmangled(name)

    def _in_section(self, number: int, address: int) -> bool:
        section = self._elf.get_section(number)
        return bool(section["sh_addr"] <= address < section["sh_addr"] + section["sh_size"])

    def _find_base(self, name: str) -> Type | None:
        tag, _, rest = name.partition(" ")
        key = f"struct {rest}" if tag == "class" else name
        entries = self._index.types.get(key) or self._untagged(name)
        for entry in entries:
            if not entry.declaration:
                return self._types.type_at(entry.offset)
        return None

    def _untagged(self, name: str) -> list[Entry]:
        """C++ lets a class be named without its tag; in C that is not a type."""
        keys = (f"{tag} {name}" for tag in dict.fromkeys(STRUCT_TAGS.values()))
        entries = (entry for key in keys for entry in self._index.types.get(key, ()))
        return [entry for entry in entries if not self._index.is_c(entry.offset)]

    def _described(self, name: str, entry: Entry, die: DIE) -> Symbol | None:
        """What the debug information records; None when the name has neither a value nor an address there."""
        if entry.tag == "DW_TAG_enumerator":
            return Symbol(name, None, die.attributes["DW_AT_const_value"].value, self._types.type_at(entry.parent))
        if entry.tag == "DW_TAG_subprogram":
            low = die.attributes.get("DW_AT_low_pc")
            return Symbol(name, self._moved(low.value), None, Type(Kind.FUNCTION, "function", 0)) if low else None
        kind = self._types.type_of(self._declaring(die))
        address = self._location(die)
        if address is not None:
            return Symbol(name, self._moved(address), None, self._completed(kind, die))
        constant = die.attributes.get("DW_AT_const_value")
        if constant is None or not isinstance(constant.value, int):
            return None
        return Symbol(name, None, _as_type(constant.value, kind), kind)

    def _declaring(self, die: DIE) -> DIE:
        """The entry that carries the type: the declaration in the class or namespace, when there are two."""
        if "DW_AT_type" not in die.attributes and "DW_AT_specification" in die.attributes:
            return referenced(die, "DW_AT_specification")
        return die

    def _completed(self, kind: Type, die: DIE) -> Type:
        return self._types.type_of(die) if "DW_AT_type" in die.attributes else kind

    def _is_external(self, die: DIE) -> bool:
        return "DW_AT_external" in die.attributes or (
            "DW_AT_specification" in die.attributes
            and "DW_AT_external" in referenced(die, "DW_AT_specification").attributes
        )

    def _location(self, die: DIE) -> int | None:
        """The fixed address of a variable; None when it has no address, or not always the same."""
        location = die.attributes.get("DW_AT_location")
        if location is None or not isinstance(location.value, list):
            return None
        operations = bytes(location.value)
        size = die.cu["address_size"]
        if operations[:1] == bytes([_OP_ADDR]):
            address, after = int.from_bytes(operations[1 : 1 + size], "little"), 1 + size
        elif operations[:1] == bytes([_OP_ADDRX]):
            index, after = read_uleb(operations, 1)
            address = int(self._dwarf.get_addr(die.cu, index))
        else:
            return None
        if operations[after : after + 1] == bytes([_OP_PLUS_UCONST]):  # clang merges small variables into one
            offset, after = read_uleb(operations, after + 1)
            address += offset
        return address if after == len(operations) else None

    def _linked(self, name: str) -> Symbol | None:
        """A name of the symbol table, which has no type."""
        at = self._table.by_name.get(name)
        return None if at is None else Symbol(name, self._moved(int(self._table.addresses[at])), None, None)

    @cached_property
    def _dwarf(self) -> DWARFInfo:
        return self._elf.get_dwarf_info()

    @cached_property
    def _index(self) -> Index:
        if not self._elf.has_dwarf_info():
            return Index()
        return build_index(self._dwarf)

    @cached_property
    def _types(self) -> TypeReader:
        return TypeReader(self._dwarf, self._index)

    @cached_property
    def _table(self) -> _SymbolTable:
        section: Any = self._elf.get_section_by_name(".symtab")
        layout = np.dtype(_LAYOUTS[self._elf.elfclass])
        rows = np.frombuffer(section.data() if section else b"", dtype=layout)
        strings: bytes = self._elf.get_section(section["sh_link"]).data() if section else b""
        kinds = rows["info"] & 15
        in_section = (rows["section"] > 0) & ((rows["section"] < _SHN_LORESERVE) | (rows["section"] == _SHN_ABS))
        rows = rows[in_section & np.isin(kinds, _STT_NAMED) & (rows["name"] > 0)]
        names = tuple(strings[at : strings.index(0, at)].decode("utf-8", "replace") for at in rows["name"].tolist())
        by_name: dict[str, int] = {}
        for at in np.argsort(rows["info"] >> 4 == 0, kind="stable").tolist():  # globals before locals
            by_name.setdefault(names[at], at)
        placed = np.flatnonzero(rows["section"] != _SHN_ABS)
        keys = (rows["info"][placed] >> 4, rows["size"][placed], rows["value"][placed])
        return _SymbolTable(
            names,
            rows["value"].astype(np.uint64),
            rows["size"].astype(np.uint64),
            rows["section"],
            placed[np.lexsort(keys)],
            by_name,
        )


def unmangled(name: str) -> str:
    """The C++ name of a mangled name, for plain names in namespaces and classes (Itanium ABI, 5.1).

    It is for file-static variables, whose mangled names the debug information omits; others are returned unchanged.
    """
    found = _MANGLED.match(name)
    if found is None:
        return name
    parts, rest = [], found.group(1)
    while rest[:1].isdigit() or rest[:1] == "L":
        rest = rest.removeprefix("L")
        digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
        end = len(digits) + int(digits or 0)
        parts.append(rest[len(digits) : end].replace("_GLOBAL__N_1", "(anonymous namespace)"))
        rest = rest[end:]
    return "::".join(parts) if parts and rest[:1] in ("", "E") else name


def _as_type(value: int, kind: Type) -> int:
    """A constant as its type holds it: DWARF's fixed-size forms do not say whether they are signed."""
    bits = 8 * kind.size
    if not bits or kind.kind not in (Kind.INTEGER, Kind.ENUM):
        return value
    value &= (1 << bits) - 1
    return value - (1 << bits) if kind.signed and value >> (bits - 1) else value
