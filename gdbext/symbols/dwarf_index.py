"""Where each name of the kernel is described: one quick pass over all of .debug_info.

pyelftools decodes an entry in some thirty microseconds, which is fine for the entries that are looked up and
too slow for all of them. So this pass turns each abbreviation into a short program that knows how to step over an
entry, and remembers for each name only where its entry is. Everything else is left to pyelftools.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from elftools.common.exceptions import DWARFError, ELFError
from elftools.dwarf.compileunit import CompileUnit
from elftools.dwarf.dwarfinfo import DWARFInfo
from elftools.dwarf.enums import ENUM_DW_AT, ENUM_DW_FORM, ENUM_DW_TAG

from gdbext.errors import DescriptionError

STRUCT_TAGS = {
    "DW_TAG_structure_type": "struct",
    "DW_TAG_class_type": "struct",
    "DW_TAG_union_type": "union",
    "DW_TAG_enumeration_type": "enum",
}
_OBJECT_TAGS = frozenset({"DW_TAG_variable", "DW_TAG_subprogram", "DW_TAG_enumerator", "DW_TAG_member"})
_SCOPE_TAGS = frozenset({"DW_TAG_namespace", "DW_TAG_module"})
_PLAIN_TYPE_TAGS = frozenset({"DW_TAG_typedef", "DW_TAG_base_type"})
_INDEXED_TAGS = _OBJECT_TAGS | _SCOPE_TAGS | _PLAIN_TYPE_TAGS | frozenset(STRUCT_TAGS)
_C_LANGUAGES = frozenset({0x01, 0x02, 0x0C, 0x1D, 0x2C, 0x8001})
"""C in its versions, and assembler: languages in which a struct is not a scope."""

_FIXED = {
    "DW_FORM_data1": 1, "DW_FORM_ref1": 1, "DW_FORM_flag": 1, "DW_FORM_strx1": 1, "DW_FORM_addrx1": 1,
    "DW_FORM_data2": 2, "DW_FORM_ref2": 2, "DW_FORM_strx2": 2, "DW_FORM_addrx2": 2,
    "DW_FORM_strx3": 3, "DW_FORM_addrx3": 3,
    "DW_FORM_data4": 4, "DW_FORM_ref4": 4, "DW_FORM_strx4": 4, "DW_FORM_addrx4": 4, "DW_FORM_ref_sup4": 4,
    "DW_FORM_data8": 8, "DW_FORM_ref8": 8, "DW_FORM_ref_sig8": 8, "DW_FORM_ref_sup8": 8,
    "DW_FORM_data16": 16, "DW_FORM_flag_present": 0, "DW_FORM_implicit_const": 0,
}  # fmt: skip
_OFFSETS = frozenset(
    {"DW_FORM_strp", "DW_FORM_line_strp", "DW_FORM_sec_offset", "DW_FORM_GNU_strp_alt", "DW_FORM_GNU_ref_alt"}
    | {"DW_FORM_strp_sup", "DW_FORM_ref_addr"}
)
_ULEBS = frozenset(
    {"DW_FORM_udata", "DW_FORM_sdata", "DW_FORM_ref_udata", "DW_FORM_strx", "DW_FORM_addrx"}
    | {"DW_FORM_loclistx", "DW_FORM_rnglistx"}
)
_BLOCKS = {"DW_FORM_block1": 1, "DW_FORM_block2": 2, "DW_FORM_block4": 4}
_ULEB_BLOCKS = frozenset({"DW_FORM_block", "DW_FORM_exprloc"})
_STRX = frozenset({"DW_FORM_strx", "DW_FORM_strx1", "DW_FORM_strx2", "DW_FORM_strx3", "DW_FORM_strx4"})

_TAG_NAMES, _AT_NAMES, _FORM_NAMES = (
    {code: name for name, code in names.items() if isinstance(code, int)}
    for names in (ENUM_DW_TAG, ENUM_DW_AT, ENUM_DW_FORM)
)
_FORM_IMPLICIT_CONST = 0x21

_UNIT_TAGS = frozenset({"DW_TAG_compile_unit", "DW_TAG_partial_unit", "DW_TAG_type_unit"})
_NAME, _LINKAGE, _ORIGIN, _SIBLING = "name", "linkage", "origin", "sibling"
_LANGUAGE, _STRINGS_BASE = "language", "strings base"
_WANTED_OF_UNITS = {"DW_AT_language": _LANGUAGE, "DW_AT_str_offsets_base": _STRINGS_BASE}
_WANTED = {
    "DW_AT_name": _NAME,
    "DW_AT_linkage_name": _LINKAGE,
    "DW_AT_MIPS_linkage_name": _LINKAGE,
    "DW_AT_specification": _ORIGIN,
    "DW_AT_abstract_origin": _ORIGIN,
    "DW_AT_sibling": _SIBLING,
}
_Reader = Callable[[bytes, int], tuple[Any, int]]
"""Reads one attribute at a position: its value (or None when it is not needed), and the position after it."""


@contextmanager
def told_if_damaged() -> Iterator[None]:
    """Turn what pyelftools, or this module, raises on a damaged file into one DescriptionError."""
    try:
        yield
    except (DWARFError, ELFError, LookupError, ValueError, OverflowError, AssertionError, RecursionError) as error:
        problem = str(error) or type(error).__name__
        raise DescriptionError(f"the kernel's ELF file, or its debug information, is damaged: {problem}") from error


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry that describes a name: ``offset`` in .debug_info, and the entry that encloses it (0 for none)."""

    offset: int
    tag: str
    parent: int
    declaration: bool


@dataclass
class Index:
    """The entries of each name: variables, functions and enumerators in ``objects``, the rest in ``types``.

    Keys are qualified names; in ``types`` with their tag (``struct page``). ``linkage`` maps a mangled name to
    the qualified one; ``c_units`` holds each unit's offset and whether it is C.
    """

    objects: dict[str, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    types: dict[str, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    linkage: dict[str, str] = field(default_factory=dict)
    qualified: dict[int, str] = field(default_factory=dict)
    pending: list[tuple[Entry, int, str | None]] = field(default_factory=list)
    c_units: list[tuple[int, bool]] = field(default_factory=list)

    def is_c(self, offset: int) -> bool:
        """Whether the entry at this offset is written in C, where a struct is no scope and needs its tag."""
        at = bisect_right(self.c_units, (offset, True)) - 1
        return at >= 0 and self.c_units[at][1]

    def settle(self) -> None:
        """Give each entry that is named only through another entry the name of that entry."""
        for entry, origin, linkage in self.pending:
            name = self.qualified.get(origin)
            if name is None:
                continue
            self.qualified[entry.offset] = name
            self.objects[name].append(entry)
            if linkage:
                self.linkage[linkage] = name
        self.pending.clear()


@dataclass(frozen=True, slots=True)
class _Plan:
    """How to step over the entries of one abbreviation, and what to record on the way."""

    tag: str
    has_children: bool
    declaration: bool
    defines: bool
    enum_class: bool
    steps: tuple[tuple[str | None, _Reader | int], ...]


@dataclass(frozen=True, slots=True)
class _Sections:
    """The contents of the sections that the pass reads."""

    info: bytes
    abbreviations: bytes
    strings: bytes
    line_strings: bytes
    string_offsets: bytes


def _abbreviations(section: bytes, at: int) -> dict[int, tuple[str, bool, list[tuple[str, str]]]]:
    """One abbreviation table: for each code the tag, whether children follow, and the attributes with their forms."""
    found: dict[int, tuple[str, bool, list[tuple[str, str]]]] = {}
    while True:
        code, at = read_uleb(section, at)
        if code == 0:
            return found
        tag, at = read_uleb(section, at)
        has_children = section[at] != 0
        at += 1
        specs = []
        while True:
            attribute, at = read_uleb(section, at)
            form, at = read_uleb(section, at)
            if form == _FORM_IMPLICIT_CONST:
                _, at = read_uleb(section, at)
            if not attribute and not form:
                break
            specs.append((_AT_NAMES.get(attribute, ""), _FORM_NAMES.get(form, f"form {form:#x}")))
        found[code] = (_TAG_NAMES.get(tag, ""), has_children, specs)


def _string_at(strings: bytes, start: int) -> str:
    return strings[start : strings.index(0, start)].decode("utf-8", "replace")


def _read_string(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(0, at)
    return data[at:end].decode("utf-8", "replace"), end + 1


def read_uleb(data: bytes, at: int) -> tuple[int, int]:
    """The unsigned LEB128 number at a position, and the position after it (DWARF 5, section 7.6)."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _skip_string(data: bytes, at: int) -> tuple[None, int]:
    return None, data.index(0, at) + 1


def _skip_uleb_block(data: bytes, at: int) -> tuple[None, int]:
    length, at = read_uleb(data, at)
    return None, at + length


def _skip_block(width: int) -> _Reader:
    return lambda data, at: (None, at + width + int.from_bytes(data[at : at + width], "little"))


def _read_fixed(width: int) -> _Reader:
    return lambda data, at: (int.from_bytes(data[at : at + width], "little"), at + width)


_SKIPPERS: dict[str, _Reader] = {
    **dict.fromkeys(_ULEBS, read_uleb),
    **dict.fromkeys(_ULEB_BLOCKS, _skip_uleb_block),
    **{form: _skip_block(width) for form, width in _BLOCKS.items()},
    "DW_FORM_string": _skip_string,
}


class _UnitScanner:
    """Steps over one unit's entries and notes their names in the index."""

    def __init__(self, index: Index, unit: CompileUnit, sections: _Sections) -> None:
        self._index = index
        self._unit = unit
        self._sections = sections
        self._abbreviations = _abbreviations(sections.abbreviations, unit["debug_abbrev_offset"])
        self._plans: dict[int, _Plan] = {}
        self._structs_are_scopes = True
        self._str_offsets_base = 8
        self._offset_size = 8 if unit.structs.dwarf_format == 64 else 4

    def _begin(self, top: dict[str, Any]) -> None:
        """Take from the unit's own entry what its other entries depend on."""
        language = top.get(_LANGUAGE)
        self._structs_are_scopes = language is None or language not in _C_LANGUAGES
        self._str_offsets_base = top.get(_STRINGS_BASE, 8)
        self._index.c_units.append((self._unit.cu_offset, not self._structs_are_scopes))

    def scan(self) -> None:  # noqa: PLR0912 - the one hot loop: a call for each entry would double its time
        """Note every name of the unit, in one pass and without recursion."""
        data, unit = self._sections.info, self._unit
        at = unit.cu_die_offset
        end = unit.cu_offset + unit.size
        scopes: list[tuple[str | None, int]] = []  # (prefix of names inside, entry); prefix None: nothing to note
        while at < end:
            start = at
            code = data[at]
            if code < 0x80:
                at += 1
            else:
                code, at = read_uleb(data, at)
            if code == 0:
                if scopes:
                    scopes.pop()
                if not scopes:
                    return
                continue
            plan = self._plans.get(code) or self._plan(code)
            prefix = scopes[-1][0] if scopes else None
            found: dict[str, Any] = {}
            for wanted, step in plan.steps:
                if isinstance(step, int):
                    at += step
                else:
                    value, at = step(data, at)
                    if wanted:
                        found[wanted] = value
            if not scopes:
                self._begin(found)
            inner: str | None = None if scopes else ""
            if prefix is not None and plan.tag in _INDEXED_TAGS:
                inner = self._note(start, plan, found, prefix, scopes[-1][1])
            if plan.has_children:
                sibling = found.get(_SIBLING)
                if inner is None and sibling:
                    at = sibling
                else:
                    scopes.append((inner, start))
            elif not scopes:
                return

    def _note(self, start: int, plan: _Plan, found: dict[str, Any], prefix: str, parent: int) -> str | None:
        """Put one entry in the index; the prefix for the names inside it, None when none of them count."""
        name, tag = found.get(_NAME), plan.tag
        entry = Entry(start, tag, parent, plan.declaration)
        if tag in _SCOPE_TAGS:
            return f"{prefix}{name or '(anonymous namespace)'}::"
        if tag in _OBJECT_TAGS:
            self._note_object(entry, plan, found, prefix)
            return None
        if name is None:
            return prefix if tag == "DW_TAG_enumeration_type" else None
        kind = STRUCT_TAGS.get(tag)
        qualified = prefix + name
        self._index.types[f"{kind} {qualified}" if kind else qualified].append(entry)
        self._index.qualified[start] = qualified
        if kind and self._structs_are_scopes and (kind != "enum" or plan.enum_class):
            return f"{qualified}::"
        return prefix if kind == "enum" else None

    def _note_object(self, entry: Entry, plan: _Plan, found: dict[str, Any], prefix: str) -> None:
        if entry.tag == "DW_TAG_member" and not plan.declaration:
            return
        linkage = found.get(_LINKAGE)
        name = found.get(_NAME)
        if name is None:
            if _ORIGIN in found:
                self._index.pending.append((entry, found[_ORIGIN], linkage))
            return
        qualified = prefix + name
        self._index.qualified[entry.offset] = qualified
        if plan.defines or not plan.declaration:
            self._index.objects[qualified].append(entry)
        if linkage:
            self._index.linkage[linkage] = qualified

    def _plan(self, code: int) -> _Plan:
        tag, has_children, specs = self._abbreviations[code]
        names = {name for name, _ in specs}
        steps: list[tuple[str | None, _Reader | int]] = []
        for name, form in specs:
            wanted = _WANTED.get(name) if name == "DW_AT_sibling" or tag in _INDEXED_TAGS else None
            if tag in _UNIT_TAGS:
                wanted = _WANTED_OF_UNITS.get(name)
            width = self._width(form)
            if wanted is None and width is not None:
                if steps and isinstance(steps[-1][1], int):
                    steps[-1] = (None, steps[-1][1] + width)
                else:
                    steps.append((None, width))
            else:
                steps.append((wanted, self._reader(wanted, form, width)))
        plan = _Plan(
            tag,
            has_children,
            "DW_AT_declaration" in names or (tag == "DW_TAG_member" and "DW_AT_external" in names),
            bool(names & {"DW_AT_const_value", "DW_AT_location", "DW_AT_low_pc"}),
            "DW_AT_enum_class" in names,
            tuple(steps),
        )
        self._plans[code] = plan
        return plan

    def _width(self, form: str) -> int | None:
        """The bytes that a form always takes; None when it varies."""
        if form in _OFFSETS:
            return self._offset_size
        return int(self._unit["address_size"]) if form == "DW_FORM_addr" else _FIXED.get(form)

    def _reader(self, wanted: str | None, form: str, width: int | None) -> _Reader:
        if wanted in (_NAME, _LINKAGE):
            return self._string_reader(form, width)
        if wanted in (_LANGUAGE, _STRINGS_BASE):
            return read_uleb if width is None else _read_fixed(width)
        if wanted in (_ORIGIN, _SIBLING):
            return self._reference_reader(form, width)
        found = self._indirect if form == "DW_FORM_indirect" else _SKIPPERS.get(form)
        if found is None:
            raise DescriptionError(f"the debug information uses {form}, which is not supported")
        return found

    def _indirect(self, data: bytes, at: int) -> tuple[None, int]:
        code, at = read_uleb(data, at)
        form = _FORM_NAMES[code]
        width = self._width(form)
        return (None, at + width) if width is not None else (None, self._reader(None, form, None)(data, at)[1])

    def _reference_reader(self, form: str, width: int | None) -> _Reader:
        """Reads a reference as an offset in .debug_info: all forms but one are relative to the unit."""
        read = read_uleb if width is None else _read_fixed(width)
        base = 0 if form == "DW_FORM_ref_addr" else self._unit.cu_offset

        def read_reference(data: bytes, at: int) -> tuple[int, int]:
            value, at = read(data, at)
            return base + value, at

        return read_reference

    def _string_reader(self, form: str, width: int | None) -> _Reader:
        if form == "DW_FORM_string":
            return _read_string
        read = read_uleb if width is None else _read_fixed(width)
        strings = self._sections.line_strings if form == "DW_FORM_line_strp" else self._sections.strings
        if form not in _STRX and form not in ("DW_FORM_strp", "DW_FORM_line_strp"):
            return lambda data, at: (None, read(data, at)[1])
        by_index = form in _STRX

        def read_name(data: bytes, at: int) -> tuple[str, int]:
            value, at = read(data, at)
            start = self._string_offset(value) if by_index else value
            return _string_at(strings, start), at

        return read_name

    def _string_offset(self, index: int) -> int:
        at = self._str_offsets_base + index * self._offset_size
        return int.from_bytes(self._sections.string_offsets[at : at + self._offset_size], "little")


def build_index(dwarf: DWARFInfo) -> Index:
    """Index all of the debug information; DescriptionError if it uses an unsupported form."""
    index = Index()
    sections = _Sections(
        _section(dwarf.debug_info_sec),
        _section(dwarf.debug_abbrev_sec),
        _section(dwarf.debug_str_sec),
        _section(dwarf.debug_line_str_sec),
        _section(dwarf.debug_str_offsets_sec),
    )
    for unit in dwarf.iter_CUs():
        _UnitScanner(index, unit, sections).scan()
    index.settle()
    return index


def _section(descriptor: Any) -> bytes:
    if descriptor is None:
        return b""
    descriptor.stream.seek(0)
    content: bytes = descriptor.stream.read()
    return content
