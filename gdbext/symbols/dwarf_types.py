"""From DWARF entries to types: the layout of a C or C++ type from an entry of .debug_info."""

from __future__ import annotations

from elftools.dwarf.die import DIE
from elftools.dwarf.dwarfinfo import DWARFInfo

from gdbext.symbols.dwarf_index import STRUCT_TAGS, Index, read_uleb, told_if_damaged
from gdbext.symbols.model import Field, Kind, Type
from gdbext.symbols.typenames import VOID, array_of, base_spelling, pointer_to

_TRANSPARENT = frozenset(
    {"DW_TAG_typedef", "DW_TAG_const_type", "DW_TAG_volatile_type", "DW_TAG_restrict_type", "DW_TAG_atomic_type"}
)
_POINTERS = frozenset({"DW_TAG_pointer_type", "DW_TAG_reference_type", "DW_TAG_rvalue_reference_type"})
_ATE_BOOLEAN = 0x02
_INTEGER_ENCODINGS = {0x05: True, 0x06: True, 0x07: False, 0x08: False, 0x10: False}
"""DW_ATE_signed, _signed_char, _unsigned, _unsigned_char, _UTF: integers, and whether they are signed."""
_KINDS = {"struct": Kind.STRUCT, "union": Kind.UNION, "enum": Kind.ENUM}
_OP_PLUS_UCONST = 0x23


class TypeReader:
    """Turns entries into types, each at most once."""

    def __init__(self, dwarf: DWARFInfo, index: Index) -> None:
        self._dwarf = dwarf
        self._index = index
        self._known: dict[int, Type] = {}

    def entry_at(self, offset: int) -> DIE:
        """The entry at this offset of .debug_info."""
        return self._dwarf.get_DIE_from_refaddr(offset)

    @told_if_damaged()
    def type_at(self, offset: int) -> Type:
        """The type that the entry at this offset describes."""
        known = self._known.get(offset)
        if known is None:
            known = self._known[offset] = self._read(self.entry_at(offset), "")
        return known

    @told_if_damaged()
    def type_of(self, entry: DIE) -> Type:
        """The type that DW_AT_type names: of a variable, a member, a target; void when there is none."""
        reference = entry.attributes.get("DW_AT_type")
        if reference is None:
            return VOID
        if reference.form == "DW_FORM_ref_sig8":
            return Type(Kind.OTHER, "a type of another unit", 0)
        return self.type_at(referenced(entry, "DW_AT_type").offset)

    def _read(self, entry: DIE, alias: str) -> Type:
        tag = str(entry.tag)
        passed: set[int] = set()
        while tag in _TRANSPARENT:
            if entry.offset in passed:
                raise ValueError("a type is defined by itself")
            passed.add(entry.offset)
            if tag == "DW_TAG_typedef":
                alias = self._index.qualified.get(entry.offset, alias)
            if "DW_AT_type" not in entry.attributes:
                return VOID
            entry = referenced(entry, "DW_AT_type")
            tag = str(entry.tag)
        if tag in STRUCT_TAGS:
            return self._tagged(entry, STRUCT_TAGS[tag], alias)
        if tag in _POINTERS:
            return self._pointer(entry)
        if tag == "DW_TAG_array_type":
            return self._array(entry)
        return _base(entry) if tag == "DW_TAG_base_type" else _other(entry, tag)

    def _pointer(self, entry: DIE) -> Type:
        size = int(entry.cu["address_size"])
        return pointer_to(lambda: self.type_of(entry), self.type_of(entry).name, size)

    def _array(self, entry: DIE) -> Type:
        found = self.type_of(entry)
        bounds = [_bound(child) for child in entry.iter_children() if child.tag == "DW_TAG_subrange_type"]
        for bound in reversed(bounds):
            found = array_of(found, bound)
        return found

    def _tagged(self, entry: DIE, tag: str, alias: str) -> Type:
        """A struct, union or enum; an incomplete one is completed from whichever unit defines it."""
        name = self._index.qualified.get(entry.offset)
        if "DW_AT_declaration" in entry.attributes and name:
            entry = self._definition(f"{tag} {name}") or entry
        title = f"{tag} {name}" if name else alias or f"{tag} {{...}}"
        size = _number(entry, "DW_AT_byte_size") or 0
        if tag == "enum":
            signed = self._enum_is_signed(entry)
            return Type(Kind.ENUM, title, size, signed=signed, enumerators=lambda: _enumerators(entry, size, signed))
        return Type(_KINDS[tag], title, size, fields=lambda: self._fields(entry))

    def _definition(self, key: str) -> DIE | None:
        for candidate in self._index.types.get(key, ()):
            if not candidate.declaration:
                return self.entry_at(candidate.offset)
        return None

    def _enum_is_signed(self, entry: DIE) -> bool:
        if "DW_AT_type" in entry.attributes:
            return self.type_of(entry).signed
        enumerators = (child for child in entry.iter_children() if child.tag == "DW_TAG_enumerator")
        return any(enumerator.attributes["DW_AT_const_value"].value < 0 for enumerator in enumerators)

    @told_if_damaged()
    def _fields(self, entry: DIE) -> tuple[Field, ...]:
        members = (child for child in entry.iter_children() if child.tag in ("DW_TAG_member", "DW_TAG_inheritance"))
        found = (self._field(member) for member in members)
        return tuple(member for member in found if member)

    def _field(self, member: DIE) -> Field | None:
        """One member; None for a static member and a virtual base, which have no fixed offset in the object."""
        if "DW_AT_external" in member.attributes or "DW_AT_declaration" in member.attributes:
            return None
        if "DW_AT_virtuality" in member.attributes:
            return None
        name = "" if member.tag == "DW_TAG_inheritance" else _text(member, "DW_AT_name") or ""
        kind = self.type_of(member)
        offset = _member_offset(member)
        bits = _number(member, "DW_AT_bit_size")
        if bits is None:
            return Field(name, offset, kind)
        first = _first_bit(member, offset, kind.size, bits)
        return Field(name, first >> 3, kind, first & 7, bits)


def referenced(entry: DIE, attribute: str) -> DIE:
    """The entry that an attribute refers to; ValueError when it is not a reference, or refers to another file."""
    form = str(entry.attributes[attribute].form)
    if not form.startswith("DW_FORM_ref"):
        raise ValueError(f"{attribute} is {form}, not a reference")
    return entry.get_DIE_from_attribute(attribute)


def _first_bit(member: DIE, offset: int, unit: int, bits: int) -> int:
    """The lowest bit of a bit-field, counted from the start of the object.

    DWARF 4 and later count it so; older ones count from the top of a storage unit (DWARF 3, section 5.6.6).
    """
    modern = _number(member, "DW_AT_data_bit_offset")
    if modern is not None:
        return modern
    storage = _number(member, "DW_AT_byte_size") or unit
    from_top = _number(member, "DW_AT_bit_offset") or 0
    if from_top >= 1 << 63:  # a packed field may begin above its storage unit, and clang writes that unsigned
        from_top -= 1 << 64
    return 8 * (offset + storage) - from_top - bits


def _member_offset(member: DIE) -> int:
    location = member.attributes.get("DW_AT_data_member_location")
    if location is None:
        return 0
    if isinstance(location.value, int):
        return location.value
    operations = bytes(location.value)  # DWARF 2 and 3: an expression, in practice always this one
    if not operations or operations[0] != _OP_PLUS_UCONST:
        return 0
    return read_uleb(operations, 1)[0]


def _bound(subrange: DIE) -> int | None:
    """The number of elements of one dimension; None when it is open, zero or known only at run time."""
    count = _number(subrange, "DW_AT_count")
    if count is None:
        upper = _number(subrange, "DW_AT_upper_bound")
        count = None if upper is None else (upper + 1) & 0xFFFFFFFFFFFFFFFF
    return count or None


def _base(entry: DIE) -> Type:
    name = _text(entry, "DW_AT_name") or ""
    size = _number(entry, "DW_AT_byte_size") or 0
    encoding = _number(entry, "DW_AT_encoding") or 0
    spelling = base_spelling(name) or name
    if encoding == _ATE_BOOLEAN:
        return Type(Kind.BOOLEAN, spelling, size)
    if encoding in _INTEGER_ENCODINGS:
        return Type(Kind.INTEGER, spelling, size, signed=_INTEGER_ENCODINGS[encoding])
    return Type(Kind.OTHER, spelling, size)


def _other(entry: DIE, tag: str) -> Type:
    if tag == "DW_TAG_subroutine_type":
        return Type(Kind.FUNCTION, "function", 0)
    name = _text(entry, "DW_AT_name") or tag.removeprefix("DW_TAG_")
    return Type(Kind.OTHER, name, _number(entry, "DW_AT_byte_size") or 0)


@told_if_damaged()
def _enumerators(entry: DIE, size: int, signed: bool) -> dict[int, str]:
    """The names of an enum's values. (A compiler may write a large one as if it were negative.)"""
    found: dict[int, str] = {}
    for child in entry.iter_children():
        value, name = _number(child, "DW_AT_const_value"), _text(child, "DW_AT_name")
        if child.tag == "DW_TAG_enumerator" and value is not None and name:
            found.setdefault(value if signed else value & ((1 << 8 * size) - 1), name)
    return found


def _number(entry: DIE, attribute: str) -> int | None:
    found = entry.attributes.get(attribute)
    return found.value if found is not None and isinstance(found.value, int) else None


def _text(entry: DIE, attribute: str) -> str | None:
    found = entry.attributes.get(attribute)
    return found.value.decode("utf-8", "replace") if found is not None and isinstance(found.value, bytes) else None
