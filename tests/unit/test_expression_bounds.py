"""Expressions at the bounds of their grammar and of C's types, over names and types made by hand (ISO C17, 6.4 to 6.6).

What ordinary expressions are worth is compared with gcc elsewhere; here is where a token, a type or a bit-field ends.
"""

from typing import Any, cast

import numpy as np
import pytest

from gdbext.errors import NotMapped
from gdbext.profile.expressions.expression import EvaluationError, ExpressionError, compile_expression
from gdbext.profile.expressions.grammar import (
    Binary,
    Cast,
    Conditional,
    ContainerOf,
    Index,
    Member,
    Name,
    Number,
    OffsetOf,
    SizeOf,
    Unary,
    parse,
)
from gdbext.profile.expressions.meaning import field_names, find_member
from gdbext.symbols.model import Field, Kind, Symbol, Symbols, Type
from gdbext.symbols.typenames import BASE_TYPES, BOOL, INT, array_of, pointer_to, resolve_type_name
from gdbext.units import VirtAddr

# Tokens


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("00", 0),
        ("07", 7),
        ("010", 8),
        ("0777", 0o777),
        ("9", 9),
        ("0x0", 0),
        ("0xfF", 255),
        ("0b101", 5),
        ("0B1", 1),
        ("18446744073709551615u", (1 << 64) - 1),
        ("0xffffffffffffffff", (1 << 64) - 1),
        ("1u", 1),
        ("1UL", 1),
        ("1lu", 1),
        ("1ll", 1),
        ("1ULL", 1),
        ("1llu", 1),
    ],
)
def test_numbers(text, value):
    tree = parse(text)
    assert (tree.value, tree.position) == (value, 0)
    assert tree.decimal is (text[0] != "0" or text == "0")


@pytest.mark.parametrize("text", ["08", "0x", "0b2", "1uu", "1lul", "1lll", "0x10000000000000000", "1.5", "1a", "0xg"])
def test_what_is_no_number(text):
    with pytest.raises(ExpressionError):
        parse(text)


ESCAPES = {"\\n": 10, "\\t": 9, "\\r": 13, "\\a": 7, "\\b": 8, "\\f": 12, "\\v": 11, "\\e": 27, "\\\\": 92, "\\'": 39}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *ESCAPES.items(),
        ("a", 97),
        (" ", 32),
        ("~", 126),
        ("\\0", 0),
        ("\\7", 7),
        ("\\177", 127),
        ("\\200", -128),
        ("\\377", -1),
        ("\\400", 0),  # cut to a byte
        ("\\501", 65),
        ("\\x0", 0),
        ("\\x7f", 127),
        ("\\x80", -128),
        ("\\xff", -1),
        ("\\z", 122),
    ],
)
def test_characters_are_signed(text, value):
    assert parse(f"'{text}'") == Number(0, value)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a", Name(0, "a")),
        ("  a ", Name(2, "a")),
        ("::mm::used", Name(0, "mm::used")),
        ("'ns::Pool<4>'", Name(0, "ns::Pool<4>")),
        ("'ns::Pool<4>'::head", Name(0, "ns::Pool<4>::head")),
        ("a.b->c", Member(3, Member(1, Name(0, "a"), "b"), "c")),
        ("a[b[1]]", Index(1, Name(0, "a"), Index(3, Name(2, "b"), Number(4, 1)))),
        ("-~a", Unary(0, "-", Unary(1, "~", Name(2, "a")))),
        ("*a.b", Unary(0, "*", Member(2, Name(1, "a"), "b"))),
        ("sizeof a.b", SizeOf(0, None, Member(8, Name(7, "a"), "b"))),
        ("sizeof(a)", SizeOf(0, None, Name(7, "a"))),
        ("sizeof(int)", SizeOf(0, "int", None)),
        ("offsetof(struct s, a.b[2])", OffsetOf(0, "struct s", ("a", "b", 2))),
        ("offsetof(s, a)", OffsetOf(0, "s", ("a",))),
        ("container_of(p, struct s, a)", ContainerOf(0, Name(13, "p"), "struct s", ("a",))),
        ("offsetof", Name(0, "offsetof")),
        ("a ? b : c", Conditional(2, Name(0, "a"), Name(4, "b"), Name(8, "c"))),
        (
            "a?b:c?d:e",
            Conditional(1, Name(0, "a"), Name(2, "b"), Conditional(5, Name(4, "c"), Name(6, "d"), Name(8, "e"))),
        ),
    ],
)
def test_trees(text, tree):
    assert parse(text) == tree


LEVELS = [level.split() for level in ("||", "&&", "|", "^", "&", "== !=", "< <= > >=", "<< >>", "+ -", "* / %")]
"""C's binary operators, the loosest first (6.5.5 to 6.5.14)."""


def test_the_tighter_operator_binds_first_and_equals_from_the_left():
    for level, operators in enumerate(LEVELS):
        for first in operators:
            for other_level, others in enumerate(LEVELS):
                for second in others:
                    tree = parse(f"a {first} b {second} c")
                    assert isinstance(tree, Binary)
                    outer, inner = (second, tree.left) if other_level <= level else (first, tree.right)
                    assert tree.operator == outer
                    assert inner.operator == (first if other_level <= level else second)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("(int)x", "int"),
        ("(unsigned long)x", "unsigned long"),
        ("(struct s *)x", "struct s *"),
        ("(struct s **)x", "struct s **"),
        ("(const struct s *)x", "const struct s *"),
        ("(struct s const *)x", "struct s const *"),
        ("(struct s * const)x", "struct s *"),
        ("(s * const *)x", "s **"),
        ("(s *)x", "s *"),  # no product: nothing follows the star
        ("(size_t)x", "size_t"),
        ("('ns::T<4>' *)x", "ns::T<4> *"),
        ("(known)x", "known"),
        ("(const known)x", "const known"),
    ],
)
def test_a_cast(text, name):
    tree = parse(text, lambda word: word == "known" or word.endswith("_t"))
    assert tree == Cast(0, name, Name(len(text) - 1, "x"))


@pytest.mark.parametrize("text", ["(s)-x", "(s * t)", "(s)", "(s)[x]", "(s).x", "(s * x) - x"])
def test_what_is_no_cast(text):
    assert not isinstance(parse(text, lambda word: False), Cast)


@pytest.mark.parametrize("text", ["(s t)x", "(unsigned s)x", "(const)x", "(struct s t)x", "(struct s *t)x"])
def test_what_is_no_type(text):
    with pytest.raises(ExpressionError):
        parse(text, lambda word: False)


# Bounds


def refused(text):
    try:
        parse(text)
    except ExpressionError as error:
        return error.column
    return None


def test_400_tokens_are_the_most():
    assert refused("-1" + "+1" * 199) is None
    assert refused("1" + "+1" * 200) == 1


@pytest.mark.parametrize(
    ("deepest", "deeper"),
    [
        ("(" * 49 + "1" + ")" * 49, "(" * 50 + "1" + ")" * 50),
        ("-" * 98 + "1", "-" * 99 + "1"),
        ("a[" * 49 + "1" + "]" * 49, "a[" * 50 + "1" + "]" * 50),
        ("1?" * 98 + "1" + ":1" * 98, "1?" * 99 + "1" + ":1" * 99),
        ("1?1:" * 98 + "1", "1?1:" * 99 + "1"),
    ],
)
def test_a_hundred_levels_are_the_deepest(deepest, deeper):
    assert refused(deepest) is None
    with pytest.raises(ExpressionError, match="deep"):
        parse(deeper)


def test_what_has_ended_is_no_depth():
    assert refused("+".join(["(1)"] * 90)) is None
    assert refused("+".join(["-a[1]"] * 60)) is None
    assert refused("+".join(["(1?1:1)"] * 45)) is None


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("1 +", 4),
        ("1 +  ", 4),
        ("  $ @", 5),
        ("a b", 3),
        ("f(1)", 2),
        ("a.1", 3),
        ("a->", 4),
        ("a.b.", 5),
        ("(1", 3),
        ("a[1", 4),
        ("1 ? 2", 6),
        ("1 ? 2 : ", 8),
        ("offsetof(struct s)", 18),
        ("offsetof(1, a)", 10),
        ("offsetof(s, a[b])", 15),
        ("offsetof(s, 1)", 13),
        ("container_of(p, s)", 18),
        ("container_of(p, 1, a)", 17),
        ("1 08", 3),
        ("99 + 1uu", 6),
    ],
)
def test_where_an_expression_goes_wrong(text, column):
    assert refused(text) == column


# Types and values


SHORT, LONG, UNSIGNED, BYTE, ENUM = (
    BASE_TYPES["short"], BASE_TYPES["long"], BASE_TYPES["unsigned int"], BASE_TYPES["unsigned char"],
    Type(Kind.ENUM, "enum kind", 4, signed=True),
)  # fmt: skip
UNSIGNED_LONG, UNSIGNED_SHORT = BASE_TYPES["unsigned long"], BASE_TYPES["unsigned short"]
DEEP = Type(Kind.UNION, "union", 2, fields=lambda: (Field("deep", 0, BYTE), Field("wide", 0, UNSIGNED_SHORT)))
UNNAMED = Type(Kind.STRUCT, "struct", 4, fields=lambda: (Field("inner", 0, SHORT), Field("", 2, DEEP)))
EMPTY = Type(Kind.STRUCT, "struct empty", 0)
THING: Type = Type(
    Kind.STRUCT, "struct thing", 64,
    fields=lambda: (
        Field("byte", 0, BYTE),
        Field("low", 4, UNSIGNED, 0, 3), Field("across", 4, UNSIGNED, 3, 13), Field("five", 6, INT, 2, 5),
        Field("truth", 7, BOOL, 6, 1), Field("last", 7, UNSIGNED, 7, 1),
        Field("next", 8, pointer_to(lambda: THING, "struct thing")), Field("four", 16, array_of(INT, 4)),
        Field("", 32, UNNAMED),
        Field("whole", 36, UNSIGNED, 0, 32), Field("long33", 40, UNSIGNED_LONG, 0, 33),
        Field("signed32", 48, INT, 0, 32),
        Field("short6", 52, UNSIGNED_SHORT, 0, 6), Field("number", 56, LONG),
    ),
)  # fmt: skip
POINTER = pointer_to(lambda: THING, "struct thing")
AT, OTHER = 0xFFFF_8000_0000_1000, 0xFFFF_8000_0000_1040
FUNCTION = Type(Kind.FUNCTION, "int (int)", 0)


SYMBOLS = {
    "one": Symbol("one", VirtAddr(AT), None, THING),
    "things": Symbol("things", VirtAddr(AT), None, array_of(THING, 2)),
    "head": Symbol("head", VirtAddr(AT + 8), None, POINTER),
    "none": Symbol("none", VirtAddr(OTHER + 8), None, POINTER),
    "void_at": Symbol("void_at", VirtAddr(AT + 8), None, pointer_to(lambda: BASE_TYPES["void"], "void")),
    "empty_at": Symbol("empty_at", VirtAddr(AT + 8), None, pointer_to(lambda: EMPTY, "struct empty")),
    "linker": Symbol("linker", VirtAddr(AT), None, None),
    "wide3": Symbol("wide3", VirtAddr(AT), None, Type(Kind.INTEGER, "_BitInt(24)", 3)),
    "wide16": Symbol("wide16", VirtAddr(AT), None, BASE_TYPES["__int128"]),
    "function": Symbol("function", VirtAddr(0x5000), None, FUNCTION),
    "SMALL": Symbol("SMALL", None, -(1 << 31), ENUM),
    "LARGEST": Symbol("LARGEST", None, (1 << 31) - 1, ENUM),
    "LARGE": Symbol("LARGE", None, 1 << 31, ENUM),
    "LOW": Symbol("LOW", None, -(1 << 31) - 1, ENUM),
    "PLAIN": Symbol("PLAIN", None, 5, None),
    "BYTE": Symbol("BYTE", None, -1, BYTE),
    "NOTHING": Symbol("NOTHING", None, 0, None),
}
TYPES = {"struct thing": THING, "struct empty": EMPTY, "enum kind": ENUM, "thing_t": THING}
"""The symbols of a kernel with two things and a few numbers."""


class Names:
    """These, as expressions look for them."""

    def find_symbol(self, name):
        return SYMBOLS.get(name)

    def find_type(self, name):
        return resolve_type_name(name, TYPES.get)

    def nearest(self, name):
        return ()

    def remains(self, name):
        return {"gone": (), "split": ("split.a", "split.b")}.get(name)


NAMES = cast(Symbols, Names())
PLACES = {"next": (8, 8), "inner": (32, 2), "wide": (34, 2), "whole": (36, 4), "number": (56, 8), "bits": (4, 4)}


def thing(**fields):
    """The bytes of a thing, worked out by hand: bit-fields from the lowest bit of their byte up."""
    data = bytearray(64)
    data[0] = fields.get("byte", 0)
    for name, (place, size) in PLACES.items():
        data[place : place + size] = fields.get(name, 0).to_bytes(size, "little")
    for index, value in enumerate(fields.get("four", ())):
        data[16 + 4 * index : 20 + 4 * index] = (value & 0xFFFF_FFFF).to_bytes(4, "little")
    return bytes(data)


class Memory:
    """Two things, one behind the other."""

    def __init__(self, *things):
        self.data = b"".join(things)

    def read(self, address, size):
        offset = address - AT
        if not 0 <= offset <= offset + size <= len(self.data):
            raise NotMapped(address, "nothing there")
        return self.data[offset : offset + size]


FIRST = thing(byte=200, next=OTHER, four=(1, -2, 3, 4), inner=0x8000, wide=0x1234, number=(1 << 64) - 5)
MEMORY = Memory(FIRST, thing(byte=7, four=(10, 20, 30, 40)))


def value(text, memory=MEMORY, **more):
    return compile_expression(text, NAMES, **more).evaluate(memory, **({"self_address": AT} if more else {}))


@pytest.mark.parametrize(
    ("bits", "fields"),
    [
        (0, {"low": 0, "across": 0, "five": 0, "truth": 0, "last": 0}),
        ((1 << 32) - 1, {"low": 7, "across": 8191, "five": -1, "truth": 1, "last": 1}),
        (1, {"low": 1, "across": 0}),
        (1 << 2, {"low": 4, "across": 0}),
        (1 << 3, {"low": 0, "across": 1}),
        (1 << 15, {"low": 0, "across": 4096, "five": 0}),
        (1 << 16, {"across": 0, "five": 0}),
        (1 << 18, {"across": 0, "five": 1}),
        (1 << 21, {"five": 8}),
        (1 << 22, {"five": -16}),
        (1 << 23, {"five": 0}),
        (1 << 30, {"five": 0, "truth": 1, "last": 0}),
        (1 << 31, {"truth": 0, "last": 1}),
    ],
)
def test_bit_fields(bits, fields):
    """Of memory, of bytes, and of many nodes at once."""
    data = thing(bits=bits)
    for name, expected in fields.items():
        expression = compile_expression(name, NAMES, THING)
        flat = expression.flat
        assert expression.evaluate(Memory(data), AT) == expected
        assert flat.evaluate_bytes(b"\xff" * 3 + data, 3, AT) == expected
        buffer = np.frombuffer(b"\xff" * 64 + data, dtype=np.uint8)
        for places in (np.array([64, 64]), range(64, 65)):
            assert flat.evaluate_array(buffer, places).tolist() == [expected] * len(places)
        assert value(f"one.{name}", Memory(data)) == expected


@pytest.mark.parametrize(
    ("name", "span"),
    [
        ("low", (4, 5)),
        ("across", (4, 6)),
        ("five", (6, 7)),
        ("last", (7, 8)),
        ("long33", (40, 45)),
        ("whole", (36, 40)),
    ],
)
def test_a_bit_field_reads_the_bytes_that_it_is_in(name, span):
    assert compile_expression(name, NAMES, THING).flat.span == span


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("+one.low", "int"),  # all its values fit (6.3.1.1)
        ("+one.short6", "int"),
        ("+one.five", "int"),
        ("+one.signed32", "int"),
        ("+one.whole", "unsigned int"),
        ("+one.long33", "unsigned long"),
        ("one.truth", "bool"),
        ("one.byte", "unsigned char"),
        ("+one.byte", "int"),
        ("one.byte + 1u", "unsigned int"),
        ("1u + 1l", "long"),
        ("1l + 1u", "long"),
        ("1l + 1ul", "unsigned long"),
        ("1 + 1u", "unsigned int"),
        ("1 < 1ul", "int"),
        ("1ul && 1", "int"),
        ("!1ul", "int"),
        ("1ul << 1", "unsigned long"),
        ("1 << 1ul", "int"),
        ("~one.byte", "int"),
        ("1 ? head : 0", "struct thing *"),
        ("0 ? 0 : head", "struct thing *"),
        ("1 ? 1 : 1ul", "unsigned long"),
        ("head - head", "long"),
        ("head & 1", "unsigned long"),
        ("1 + head", "struct thing *"),
        ("&one.four", "int (*)[4]"),
        ("one.four + 1", "int *"),
        ("sizeof one", "unsigned long"),
        ("(enum kind)1", "enum kind"),
        ("SMALL", "int"),
        ("LARGEST", "int"),
        ("LARGE", "long"),
        ("LOW", "long"),
        ("PLAIN", "long"),
    ],
)
def test_the_type_of_a_value(text, kind):
    assert compile_expression(text, NAMES).type.name == kind


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("2147483647", "int"),
        ("2147483648", "long"),
        ("9223372036854775807", "long"),
        ("0x7fffffff", "int"),
        ("0x80000000", "unsigned int"),
        ("0xffffffff", "unsigned int"),
        ("0x100000000", "long"),
        ("0x7fffffffffffffff", "long"),
        ("0x8000000000000000", "unsigned long"),
        ("4294967295u", "unsigned int"),
        ("4294967296u", "unsigned long"),
        ("1l", "long"),
        ("0xffffffffffffffffl", "unsigned long"),
        ("1ul", "unsigned long"),
        ("037777777777", "unsigned int"),
    ],
)
def test_the_type_of_a_constant(text, kind):
    """The first that holds it; a decimal one stays signed (6.4.4.1)."""
    compiled = compile_expression(text, NAMES)
    assert (compiled.type.name, compiled.constant) == (kind, int(text.rstrip("ul").replace("037", "0o37"), 0))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SMALL", -(1 << 31)),
        ("LARGEST", (1 << 31) - 1),
        ("LARGE", 1 << 31),
        ("LOW", -(1 << 31) - 1),
        ("LARGEST + 1", -(1 << 31)),
        ("LARGEST << 1", -2),
        ("-SMALL", -(1 << 31)),
        ("LARGE + 1", (1 << 31) + 1),
        ("NOTHING", 0),
        ("BYTE", 255),
        ("one.byte", 200),
        ("(signed char)one.byte", -56),
        ("one.inner", -32768),
        ("one.deep", 0x34),
        ("one.wide", 0x1234),
        ("one.number", -5),
        ("head->byte", 7),
        ("head->four[3]", 40),
        ("one.four[1]", -2),
        ("*one.four", 1),
        ("*(one.four + 2)", 3),
        ("things[1].byte", 7),
        ("(*head).byte", 7),
        ("head.byte", 7),  # more lenient than C
        ("one->byte", 200),
        ("&one", AT),
        ("&one.four[2]", AT + 24),
        ("one.four + 1", AT + 20),
        ("head - 1", AT),
        ("head + 1", OTHER + 64),
        ("1 + head", OTHER + 64),
        ("head - &one", 1),
        ("&one - head", -1),
        ("void_at + 3", OTHER + 3),
        ("(char *)head + 3", OTHER + 3),
        ("function", 0x5000),
        ("function + 2", 0x5002),
        ("&linker", AT),
        ("*(unsigned char *)&linker", 200),
        ("container_of(&head->number, struct thing, number)", OTHER),
        ("container_of(&one.four[2], struct thing, four[2])", AT),
        ("offsetof(struct thing, four[3])", 28),
        ("offsetof(struct thing, deep)", 34),
        ("offsetof(struct thing, inner)", 32),
        ("3 * sizeof(struct thing)", 192),
        ("sizeof one.four", 16),
        ("sizeof one.four[0]", 4),
        ("sizeof head", 8),
        ("-7 / 2", -3),
        ("7 / -2", -3),
        ("-7 / -2", 3),
        ("-7 % 2", -1),
        ("7 % -2", 1),
        ("0 / -3", 0),
        ("-1 >> 1", -1),
        ("-1u >> 1", (1 << 31) - 1),
        ("1 << 31", -(1 << 31)),
        ("1ul << 63", 1 << 63),
        ("1 << 0", 1),
        ("2147483647 + 1", -(1 << 31)),
        ("0u - 1", (1 << 32) - 1),
        ("-one.byte", -200),
        ("~0ul", (1 << 64) - 1),
        ("~one.byte", -201),
        ("!one.byte", 0),
        ("!none", 1),
        ("none ? none->byte : 9", 9),
        ("none && none->byte", 0),
        ("head || none->byte", 1),
        ("head && head->byte", 1),
        ("none || head", 1),
        ("none || NOTHING", 0),
        ("1 || none->byte", 1),
        ("0 && none->byte", 0),
        ("0 ? none->byte : 1", 1),
        ("(bool)256", 1),
        ("(bool)one.byte", 1),
        ("(bool)none", 0),
        ("-1 < 1u", 0),
        ("-1l < 1u", 1),
        ("SMALL < 0", 1),
    ],
)  # fmt: skip
def test_values(text, expected):
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("1 << 31", None),
        ("1 << 32", 32),
        ("1 << -1", 32),
        ("1ul << 63", None),
        ("1ul << 64", 64),
        ("one.byte >> 32", 32),
    ],
)
def test_shifts_by_less_than_the_width(text, bits):
    if bits is None:
        value(text)
    else:
        with pytest.raises(EvaluationError, match=f"{bits}-bit"):
            value(text)


NULL = ["none->byte", "none->next->byte", "(*none->next).byte", "none[0].byte", "none->four[1]"]


@pytest.mark.parametrize("text", [*NULL, "1 / NOTHING", "1 % (none != 0)"])
def test_what_has_no_value(text):
    with pytest.raises(EvaluationError):
        value(text)


def test_a_null_pointer_is_told_from_an_address():
    """What a kernel's variable leads to may be null; its own arrays, and node 0, may not."""
    zero = Memory(bytes(64))
    assert value("one.four[0]", zero) == 0
    assert value("things[0].byte", zero) == 0
    with pytest.raises(NotMapped):
        compile_expression("byte", NAMES, THING).evaluate(zero, 0)
    with pytest.raises(NotMapped):
        value("((struct thing *)0)->byte", zero)
    assert value("&none->four") == 16  # nothing is read
    located = compile_expression("none->four", NAMES)
    with pytest.raises(EvaluationError):
        located.address(MEMORY)
    assert compile_expression("head->four", NAMES).address(MEMORY) == OTHER + 16
    with pytest.raises(ExpressionError):
        compile_expression("one.low", NAMES).address(MEMORY)
    with pytest.raises(ExpressionError):
        compile_expression("one", NAMES).evaluate(MEMORY)


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("nothing", 1),
        ("1 + gone", 5),
        ("split", 1),
        ("one.nothing", 4),
        ("1 + one", 5),
        ("linker", 1),
        ("*void_at", 1),
        ("*PLAIN", 1),
        ("PLAIN[1]", 6),
        ("head[head]", 5),
        ("empty_at + 1", 10),
        ("empty_at[1]", 9),
        ("sizeof(struct empty)", 1),
        ("sizeof(void)", 1),
        ("&1", 1),
        ("&one.low", 1),
        ("(struct thing)1", 1),
        ("head * 2", 6),
        ("2 << head", 3),
        ("head + head", 6),
        ("1 - head", 3),
        ("function.x", 9),
        ("offsetof(struct thing, low)", 1),
        ("offsetof(struct thing, byte[1])", 1),
        ("offsetof(struct thing, byte.x)", 1),
        ("offsetof(struct thing, nothing)", 1),
        ("container_of(1, struct thing, byte)", 1),
        ("self", 1),
        ("outer", 1),
        ("1 + void_at->x", 12),
    ],
)
def test_where_a_meaning_goes_wrong(text, column):
    with pytest.raises(ExpressionError) as refused:
        compile_expression(text, NAMES)
    assert refused.value.column == column


def test_the_node_and_what_it_is_nested_in():
    def inside(text):
        return compile_expression(text, NAMES, THING, outer_type=THING)

    assert inside("byte").evaluate(MEMORY, OTHER, AT) == 7
    assert inside("self->byte").evaluate(MEMORY, OTHER, AT) == 7
    assert inside("outer->byte").evaluate(MEMORY, OTHER, AT) == 200
    assert inside("self - outer").evaluate(MEMORY, OTHER, AT) == 1
    assert inside("(self)-1").evaluate(MEMORY, OTHER, AT) == AT  # no cast
    assert inside("(outer)-1").evaluate(MEMORY, OTHER, OTHER) == AT
    assert inside("(long)outer").evaluate(MEMORY, OTHER) == 0
    with pytest.raises(NotMapped):  # it is an address, not a pointer that may be null
        inside("outer->byte").evaluate(MEMORY, OTHER, 0)
    assert inside("one.byte").evaluate(MEMORY) == 200
    assert (inside("outer->byte").flat, inside("outer").flat) == (None, None)
    assert inside("self").flat.uses_address
    assert not inside("byte").flat.uses_address
    assert not inside("byte + 1").flat.uses_address
    assert inside("byte + (long)self").flat.uses_address
    for text in ("byte", "self", "outer", "&four[1]"):
        with pytest.raises(ExpressionError):
            inside(text).evaluate(MEMORY)
    assert inside("four[1]").address(MEMORY, OTHER) == OTHER + 20


@pytest.mark.parametrize("away", [-64, -1, 0, 1, 64])
def test_what_lies_before_the_node_and_behind(away):
    """An offset is a signed number of bytes; an address wraps at 64 bits."""
    sign = "+" if away >= 0 else "-"
    expression = compile_expression(f"((struct thing *)((char *)self {sign} {abs(away)}))->byte", NAMES, THING)
    flat, data = expression.flat, bytes(range(200))
    assert flat.span == (away, away + 1)
    assert flat.evaluate_bytes(data, 100, 0) == 100 + away
    buffer = np.frombuffer(data, dtype=np.uint8)
    assert flat.evaluate_array(buffer, np.array([100, 101])).tolist() == [100 + away, 101 + away]
    assert expression.evaluate(Memory(data), AT + 100) == 100 + away
    top = (1 << 64) - 32
    with pytest.raises(NotMapped) as refused:
        expression.evaluate(MEMORY, top)
    assert refused.value.address == (top + away) % (1 << 64)


@pytest.mark.parametrize("divisor", [1, 2, 3, 7, -1, -2, -3, -7])
def test_division_cuts_toward_zero_over_many_nodes_too(divisor):
    """And what remains has the sign of what is divided (6.5.5)."""
    values = [*range(-9, 10), (1 << 63) - 1, -(1 << 63) + 1]
    data = b"".join(thing(number=value & (1 << 64) - 1) for value in values)
    quotients = [(abs(value) // abs(divisor)) * (1 if (value < 0) == (divisor < 0) else -1) for value in values]
    rests = [value - quotient * divisor for value, quotient in zip(values, quotients, strict=True)]
    for sign, expected in (("/", quotients), ("%", rests)):
        flat = compile_expression(f"number {sign} {divisor}", NAMES, THING).flat
        buffer = np.frombuffer(data, dtype=np.uint8)
        assert flat.evaluate_array(buffer, range(0, len(data), 64)).tolist() == expected
        assert [flat.evaluate_bytes(data, at, 0) for at in range(0, len(data), 64)] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(bool)byte", [0, 1, 1, 1]),
        ("!byte", [1, 0, 0, 0]),
        ("byte && 1", [0, 1, 1, 1]),
        ("(bool)(byte & 2)", [0, 0, 1, 0]),
    ],
)
def test_truth_is_0_or_1_over_many_nodes_too(text, expected):
    data = b"".join(thing(byte=value) for value in (0, 1, 2, 200))
    flat = compile_expression(text, NAMES, THING).flat
    assert flat.evaluate_array(np.frombuffer(data, dtype=np.uint8), range(0, 256, 64)).tolist() == expected
    assert [flat.evaluate_bytes(data, at, 0) for at in range(0, 256, 64)] == expected


def test_what_has_no_number_for_a_value():
    whole, number = (compile_expression(text, NAMES) for text in ("one", "one.byte + 1"))
    assert (whole.is_scalar, whole.is_lvalue, whole.flat, whole.constant) == (False, True, None, None)
    assert whole.settled(cast(Any, MEMORY)) is whole
    assert (number.is_scalar, number.is_lvalue) == (True, False)
    node = compile_expression("byte", NAMES, THING)
    for ask in (lambda: whole.evaluate(MEMORY), lambda: number.address(MEMORY), lambda: node.evaluate(MEMORY)):
        with pytest.raises(ExpressionError) as refused:
            ask()
        assert refused.value.column == 1
    for size in (3, 16):
        with pytest.raises(ExpressionError):
            compile_expression(f"wide{size} + 1", NAMES)


def test_the_names_of_members():
    """Those of members without a name too, if they have any; padding has none."""
    names = ["byte", "low", "across", "five", "truth", "last", "next", "four", "inner", "deep", "wide"]
    assert field_names(THING) == [*names, "whole", "long33", "signed32", "short6", "number"]
    padded = Type(Kind.STRUCT, "struct padded", 8, fields=lambda: (Field("", 0, INT), Field("after", 4, INT)))
    assert field_names(padded) == ["after"]
    assert find_member(THING, "wide") == (Field("wide", 0, UNSIGNED_SHORT), 34)
    assert find_member(THING, "nothing") is None


def test_members_before_symbols_and_types():
    hidden = Type(Kind.STRUCT, "struct hidden", 8, fields=lambda: (Field("one", 0, INT), Field("thing_t", 4, INT)))
    data = Memory((5).to_bytes(4, "little") + (6).to_bytes(4, "little"))
    assert compile_expression("one", NAMES, hidden).evaluate(data, AT) == 5
    assert compile_expression("(thing_t)-1", NAMES, hidden).evaluate(data, AT) == 5  # no cast
    assert compile_expression("(one)-1", NAMES, hidden).evaluate(data, AT) == 4
    with pytest.raises(ExpressionError):  # a cast to a struct
        compile_expression("(thing_t)-1", NAMES)
