"""How C spells types: one spelling for each base type, and the types that are built from a name (``struct page *[4]``).

Compilers name the same type differently (``long unsigned int``, ``unsigned long``), and a kernel's debug
information lists only what the kernel uses; so the base types of the x86-64 psABI are listed here.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from gdbext.symbols.model import Kind, Type

POINTER_SIZE = 8
QUALIFIERS = frozenset({"const", "volatile", "restrict", "__restrict", "_Atomic"})
TAGS = ("struct", "union", "enum", "class")


def _integer(name: str, size: int, signed: bool) -> Type:
    return Type(Kind.INTEGER, name, size, signed=signed)


VOID = Type(Kind.VOID, "void", 0)
BOOL = Type(Kind.BOOLEAN, "bool", 1)
CHAR = _integer("char", 1, True)
INT = _integer("int", 4, True)
UNSIGNED_INT = _integer("unsigned int", 4, False)
LONG = _integer("long", 8, True)
UNSIGNED_LONG = _integer("unsigned long", 8, False)

BASE_TYPES = {
    base.name: base
    for base in (
        VOID,
        BOOL,
        CHAR,
        _integer("signed char", 1, True),
        _integer("unsigned char", 1, False),
        _integer("short", 2, True),
        _integer("unsigned short", 2, False),
        INT,
        UNSIGNED_INT,
        LONG,
        UNSIGNED_LONG,
        _integer("long long", 8, True),
        _integer("unsigned long long", 8, False),
        _integer("__int128", 16, True),
        _integer("unsigned __int128", 16, False),
    )
}
"""The base types of the x86-64 psABI, by their one spelling."""

STANDARD_TYPES = {
    "int8_t": BASE_TYPES["signed char"],
    "uint8_t": BASE_TYPES["unsigned char"],
    "int16_t": BASE_TYPES["short"],
    "uint16_t": BASE_TYPES["unsigned short"],
    "int32_t": INT,
    "uint32_t": UNSIGNED_INT,
    "int64_t": LONG,
    "uint64_t": UNSIGNED_LONG,
    "size_t": UNSIGNED_LONG,
    "ssize_t": LONG,
    "uintptr_t": UNSIGNED_LONG,
    "intptr_t": LONG,
    "ptrdiff_t": LONG,
}
"""Names of the C library that an expression may use although the kernel does not."""

_BASE_WORDS = frozenset({"signed", "unsigned", "char", "short", "int", "long", "__int128", "void", "_Bool", "bool"})
_TOKEN = re.compile(r"\s*(?:(\*)|\[\s*(0[xX][0-9a-fA-F]+|\d+)\s*\]|((?:\(anonymous namespace\)|<[^>]*>|[^\s*\[\]<])+))")


def is_base_word(word: str) -> bool:
    """Whether this word can only belong to the name of a base type."""
    return word in _BASE_WORDS


def base_spelling(name: str) -> str | None:
    """The one spelling of a base type (``long unsigned int`` -> ``unsigned long``); None for other names."""
    words = name.split()
    if not words or not all(word in _BASE_WORDS for word in words):
        return None
    for plain, spelling in (("void", "void"), ("_Bool", "bool"), ("bool", "bool")):
        if words == [plain]:
            return spelling
    sign = "unsigned" if "unsigned" in words else "signed" if "signed" in words else ""
    longs = words.count("long")
    if "char" in words:
        return f"{sign} char".strip()
    core = next((word for word in ("short", "__int128") if word in words), " ".join(["long"] * longs) or "int")
    return f"unsigned {core}" if sign == "unsigned" else core


def pointer_to(target: Callable[[], Type], name: str, size: int = POINTER_SIZE) -> Type:
    """The type of pointers to ``target``, whose name is ``name``; the target is resolved on first use.

    ``size`` is how many bytes one takes in memory: 4 in a 32-bit kernel.
    """
    element, is_array, bounds = name.partition(" [")
    if is_array:
        spelling = f"{element} (*)[{bounds}"
    elif " (*" in name:
        spelling = name.replace(" (*", " (**", 1)
    else:
        spelling = name + ("*" if name.endswith("*") else " *")
    return Type(Kind.POINTER, spelling, size, target=target)


def array_of(element: Type, count: int | None) -> Type:
    """The type of arrays of ``count`` elements; None is an open array."""
    count = count or None
    bracket = f"[{count if count is not None else ''}]"
    name, found, dimensions = element.name.partition(" [")
    return Type(
        Kind.ARRAY,
        f"{name} {bracket}{'[' + dimensions if found else ''}",
        (count or 0) * element.size,
        count=count,
        target=lambda: element,
    )


def split_type_name(text: str) -> tuple[str, int, tuple[int, ...]] | None:
    """Parse a type's name: its base, the number of stars, the array bounds. None if it is not such a name."""
    words, stars, bounds, at = [], 0, [], 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            return None
        star, bound, word = match.groups()
        at = match.end()
        if bound is not None:
            bounds.append(int(bound, 0))
        elif bounds or (word and stars and word not in QUALIFIERS):
            return None
        elif star:
            stars += 1
        elif word not in QUALIFIERS:
            words.append(word)
    return (" ".join(words), stars, tuple(bounds)) if words else None


def resolve_type_name(text: str, find_base: Callable[[str], Type | None]) -> Type | None:
    """The type that ``text`` names; ``find_base`` resolves the kernel's structs, unions, enums and typedefs."""
    parts = split_type_name(text)
    if parts is None:
        return None
    base, stars, bounds = parts
    spelling = base_spelling(base)
    found = BASE_TYPES[spelling] if spelling else find_base(base) or STANDARD_TYPES.get(base)
    if found is None:
        return None
    for _ in range(stars):
        found = pointer_to(lambda target=found: target, found.name)  # type: ignore[misc]
    for bound in reversed(bounds):
        found = array_of(found, bound)
    return found
