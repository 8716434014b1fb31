"""Expressions mean what C means by them: gcc is the oracle, and the three ways of evaluating agree."""

import contextlib
import random
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given, settings
from hypothesis import strategies as st

from gdbext.errors import NotMapped, ProfileError
from gdbext.profile.expressions.expression import EvaluationError, ExpressionError, compile_expression
from gdbext.profile.expressions.grammar import Binary, Cast, Name, Number, SizeOf, Unary, parse
from gdbext.symbols.elf import ElfSymbols
from gdbext.symbols.model import Symbols, Type
from gdbext.units import VirtAddr

from ..budget import examples

SOURCE = r"""
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#define container_of(p, type, member) ((type *)((char *)(p) - offsetof(type, member)))
enum state { FREE = 0, USED = 3, BAD = -2 };
struct link { struct link *next, *prev; };
struct node {
    int8_t s8; uint8_t u8; int16_t s16; uint16_t u16; int32_t s32; uint32_t u32; int64_t s64; uint64_t u64;
    unsigned b3 : 3; unsigned b29 : 29; int c5 : 5; unsigned full : 32; bool flag : 1;
    bool ok; enum state state;
    struct { uint16_t inner; uint8_t deep[3]; };
    struct node *next, *null; struct link link; int table[2][3];
};
struct node second;
struct node first = { -100, 200, -30000, 60000, -2000000000, 4000000000u, -9000000000000000000, 18000000000000000000u,
    5, 300000000, -9, 4123456789u, 1, true, BAD, { 777, { 8, 9, 250 } }, &second, 0, { &second.link, 0 },
    { { 1, -2, 3 }, { 4, 5, -6 } } };
struct node second = { 7, 8, 9, 10, 11, 12, 13, 14, 2, 3, 4, 5, 0, false, USED, { 1, { 2, 3, 4 } }, &first, 0,
    { 0, &first.link }, { { 10, 20, 30 }, { 40, 50, 60 } } };
struct node *head = &first;
struct node *nowhere = (struct node *)0x10;
struct node nodes[4];
void *any = &first;
uint16_t words[5] = { 1, 2, 3, 60000, 5 };
static int64_t minus = -1;
int function(int x) { return x; }
"""


class ElfMemory:
    """What a process would find in memory: the file's load segments."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            segments = [s for s in ELFFile(file).iter_segments() if s["p_type"] == "PT_LOAD"]
            self._parts = [(s["p_vaddr"], s.data() + bytes(s["p_memsz"] - s["p_filesz"])) for s in segments]

    def read(self, address: VirtAddr, size: int) -> bytes:
        for start, content in self._parts:
            if start <= address and address + size <= start + len(content):
                return content[address - start : address - start + size]
        raise NotMapped(address, "nothing is there")


class Compiled:
    """A C source, compiled: its symbols, its memory, and what C makes of expressions."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        if shutil.which("gcc") is None:
            pytest.fail("gcc is missing; scripts/setup installs it")
        self.path = self._compile("int main(void) { return (int)minus; }")
        self.symbols: Symbols = ElfSymbols(self.path)
        self.memory = ElfMemory(self.path)

    def _compile(self, main: str) -> Path:
        (self._folder / "oracle.c").write_text(SOURCE + main)
        output = self._folder / "oracle"
        # -fwrapv: signed overflow wraps, as it does here
        options = ["-w", "-g", "-O0", "-no-pie", "-fwrapv"]
        subprocess.run(["gcc", *options, self._folder / "oracle.c", "-o", output], check=True, capture_output=True)
        return output

    def oracle(self, expressions: list[str]) -> tuple[list[int], "ElfMemory", Symbols]:
        """Each expression's value as gcc computes it, widened to 64 bits; and what the same file holds."""
        prints = "".join(f'printf("%lld\\n", (long long)({text}));\n' for text in expressions)
        path = self._compile(f"int main(void) {{ {prints} return 0; }}")
        output = subprocess.run([path], check=True, capture_output=True, text=True).stdout
        return [int(line) for line in output.split()], ElfMemory(path), ElfSymbols(path)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return Compiled(tmp_path_factory.mktemp("oracle"))


def signed64(value: int) -> int:
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def check_against_gcc(compiled: Compiled, expressions: list[str]) -> None:
    expected, memory, symbols = compiled.oracle(expressions)
    computed = [signed64(compile_expression(text, symbols).evaluate(memory)) for text in expressions]
    wrong = [row for row in zip(expressions, computed, expected, strict=True) if row[1] != row[2]]
    assert wrong == []


BY_HAND = [
    *("head->u64", "head->next->s8", "first.s16", "(&first)->u16", "head->next->next->u8", "first.inner"),
    *("first.deep[2]", "head->table[1][2]", "first.table[0][1]", "*head->table[1]", "words[3]", "*(words + 3)"),
    *("first.b3", "first.b29", "first.c5", "first.full", "first.flag", "first.ok", "first.state", "head->state == BAD"),
    *("USED", "BAD", "sizeof(struct node)", "sizeof first", "sizeof(first.table)", "sizeof(words) / sizeof(words[0])"),
    *("sizeof(int *)", "sizeof(head->s8 + 1)", "offsetof(struct node, table[1][2])", "offsetof(struct node, deep[1])"),
    *("offsetof(struct node, link.prev)", "container_of(head->link.next, struct node, link)->u32"),
    *("head + 1", "head - 1", "&nodes[3] - nodes", "&first == head", "(uint64_t)head & 0xfff", "(long)any", "any + 3"),
    *("*(uint32_t *)any", "*(int16_t *)(any + 2)", "((struct node *)any)->s32", "(uint8_t)first.u64", "(int8_t)200"),
    *("-1 < 0u", "-1 < 0ul", "-1l < 0u", "1 ? -1 : 0u", "0x80000000 > -1", "2147483648 > -1", "~0", "~0u", "~0ul"),
    *("-first.u32", "-first.u8", "!first.s8", "!!head", "first.u32 * first.u32", "first.u16 * first.u16", "7 / -2"),
    *(
        "-7 / 2",
        "-7 % 3",
        "7 % -3",
        "first.s32 >> 3",
        "first.u32 >> 3",
        "1ul << 63",
        "1 << 31",
        "-1 >> 1",
        "'a' + '\\n'",
    ),
    *("'\\xff'", "017 + 0x1F + 0b11", "1 | 2 ^ 3 & 4", "1 + 2 * 3 << 1 == 14", "1 < 2 == 1", "2 - 1 - 1", "8 / 4 / 2"),
    *("head && head->next", "head->null || 0", "!head->null && first.u8 > 100", "head->null ? head->null->u8 : 42"),
    *("(bool)256", "(bool)first.u64", "(uint8_t)256", "(char)200", "(unsigned char)200", "(short)70000", "minus"),
    *("(minus)-1", "(uint32_t)-1", "(long)(int)-1", "(uint64_t)(uint32_t)-1", "(words)[1]", "(head)->u8", "+first.s8"),
    *(
        "first.b3 - 6",
        "first.full - 5000000000",
        "first.flag << 3",
        "1 ? head : 0",
        "function == function",
        "(char)-1 == 255",
    ),
    *(
        "(uintptr_t)function != 0",
        "&words[2] - &words[0]",
        "(uint8_t *)&words[2] - (uint8_t *)words",
        "&head->table[1][0]",
    ),
    *("18446744073709551615u", "0xffffffffffffffff", "9223372036854775807", "4294967295", "0xffffffff", "4294967296"),
    *("(unsigned)first.s8 >> 28", "(enum state)3 == USED", "(const struct node *)any == head"),
]


def test_the_same_value_as_gcc(compiled: Compiled) -> None:
    check_against_gcc(compiled, BY_HAND)


LEAVES = [
    *("head->s8", "first.u8", "head->s16", "first.u16", "first.s32", "head->u32", "first.s64", "head->u64", "first.b3"),
    *("first.b29", "first.c5", "first.full", "first.flag", "first.ok", "first.state", "first.inner", "head->deep[1]"),
    *("head->next->u16", "words[3]", "minus", "USED", "BAD", "0", "1", "-1", "255", "0x80000000", "2147483647", "7u"),
    *("0xffffffffffffffff", "3l", "4096ul", "'x'", "sizeof(struct node)", "first.table[1][2]", "nodes[2].s64"),
]
TYPES = ["int8_t", "uint8_t", "int16_t", "uint16_t", "int", "unsigned", "long", "uint64_t", "bool", "char", "short"]


def generate(chance: random.Random, depth: int) -> str:
    """A random expression that C defines: divisors are not zero, shifts stay in range."""
    if depth == 0 or chance.random() < 0.15:
        return chance.choice(LEAVES)
    below = lambda: generate(chance, depth - 1)  # noqa: E731
    kind = chance.randrange(12)
    if kind == 0:
        return f"({chance.choice(TYPES)})({below()})"
    if kind == 1:
        return f"({chance.choice('-~!')}({below()}))"
    if kind == 2:
        return f"(({below()}) ? ({below()}) : ({below()}))"
    if kind == 3:
        return f"(({below()}) {chance.choice(['<<', '>>'])} (({below()}) & 31))"
    if kind == 4:
        return f"(({below()}) {chance.choice('/%')} ((({below()}) & 63) + 1))"
    operator = chance.choice(["+", "-", "*", "&", "|", "^", "==", "!=", "<", "<=", ">", ">=", "&&", "||"])
    return f"({below()} {operator} {below()})"


@pytest.mark.parametrize("seed", range(3))
def test_generated_expressions_as_gcc(compiled: Compiled, seed: int) -> None:
    chance = random.Random(seed)
    check_against_gcc(compiled, [generate(chance, 4) for _ in range(300)])


FIELDS = ["s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64", "b3", "b29", "c5", "full", "flag", "ok", "state"]
FLAT_LEAVES = [
    *FIELDS,
    "inner",
    "deep[1]",
    "table[1][2]",
    "link.prev == 0",
    "(uint64_t)next",
    "self->u16",
    "(uint64_t)self",
]


def flat_expressions() -> st.SearchStrategy[str]:
    leaves = st.sampled_from([*FLAT_LEAVES, "0", "1", "-1", "0x80000000", "77ul", "USED", "sizeof(struct node)"])
    binary = ["+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>", "==", "!=", "<", "<=", ">", ">=", "&&", "||"]

    def extend(below: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        return st.one_of(
            st.tuples(below, st.sampled_from(binary), below).map(lambda t: f"(({t[0]}) {t[1]} ({t[2]}))"),
            st.tuples(st.sampled_from("-~!"), below).map(lambda t: f"({t[0]}({t[1]}))"),
            st.tuples(st.sampled_from(TYPES), below).map(lambda t: f"(({t[0]})({t[1]}))"),
            st.tuples(below, below, below).map(lambda t: f"(({t[0]}) ? ({t[1]}) : ({t[2]}))"),
        )

    return st.recursive(leaves, extend, max_leaves=8)


class OneNode:
    """Memory that holds nothing but some nodes."""

    def __init__(self, start: int, content: bytes) -> None:
        self._elf_like = (start, content)

    def read(self, address: VirtAddr, size: int) -> bytes:
        start, content = self._elf_like
        if start <= address and address + size <= start + len(content):
            return content[address - start : address - start + size]
        raise NotMapped(address, "nothing is there")


def outcome(compute) -> int | str:
    try:
        return int(compute())
    except EvaluationError as error:
        return type(error).__name__


@settings(max_examples=examples(400))
@given(text=flat_expressions(), content=st.binary(min_size=3 * 200, max_size=3 * 200), data=st.data())
def test_three_ways_of_evaluating_agree(compiled: Compiled, text: str, content: bytes, data: st.DataObject) -> None:
    node = node_type(compiled)
    expression = compile_expression(text, compiled.symbols, node)
    flat = expression.flat
    assert flat is not None
    start, offsets = 0xFFFF_8000_0000_1003, data.draw(st.sampled_from([[0, 131, 300], range(0, 393, 131), range(7, 8)]))
    memory = OneNode(start, content)
    by_memory = [outcome(lambda at=at: expression.evaluate(memory, start + at)) for at in offsets]
    by_bytes = [outcome(lambda at=at: flat.evaluate_bytes(content, at, start + at)) for at in offsets]
    assert by_bytes == by_memory
    buffer = np.frombuffer(content, dtype=np.uint8)
    addresses = np.array([start + at for at in offsets], dtype=np.uint64)
    try:
        places = offsets if isinstance(offsets, range) else np.array(offsets)
        by_array = flat.evaluate_array(buffer, places, addresses).tolist()
    except EvaluationError:
        assert "EvaluationError" in by_memory
    else:
        assert by_array == by_memory


ARITHMETIC = ["+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>", "==", "<", "<=", ">", "&&", "||"]


@pytest.mark.parametrize("operator", ARITHMETIC)
def test_arrays_of_every_pair_of_widths(compiled: Compiled, operator: str) -> None:
    """64 nodes of random bytes: numpy computes for all what is computed for each, which gcc has vouched for."""
    node = node_type(compiled)
    content = random.Random(operator).randbytes(64 * node.size)
    buffer, offsets = np.frombuffer(content, dtype=np.uint8), np.arange(64) * node.size
    for left in ("s8", "u16", "s32", "u32", "s64", "u64", "c5", "flag"):
        for right in ("s8", "u8", "s16", "s32", "u32", "s64", "u64", "b3"):
            safe = {"/": f"({right} | 1)", "%": f"({right} | 1)", "<<": f"({right} & 31)", ">>": f"({right} & 31)"}
            text = f"{left} {operator} {safe.get(operator, right)}"
            flat = compile_expression(text, compiled.symbols, node).flat
            assert flat is not None
            one_by_one = [flat.evaluate_bytes(content, int(at), 0) for at in offsets]
            assert flat.evaluate_array(buffer, offsets).tolist() == one_by_one, text
            assert flat.evaluate_array(buffer, range(0, len(content), node.size)).tolist() == one_by_one, text


def node_type(compiled: Compiled) -> Type:
    node = compiled.symbols.find_type("struct node")
    assert node is not None
    return node


def test_span_is_what_is_read(compiled: Compiled) -> None:
    node = node_type(compiled)
    for text, span in {"s8": (0, 1), "u64": (24, 32), "u16 + u64": (4, 32), "7": (0, 0), "self": (0, 0)}.items():
        flat = compile_expression(text, compiled.symbols, node).flat
        assert flat is not None
        assert flat.span == span, text
    for text in ("next->u8", "minus", "table[u8][0]", "head->u8", "head"):
        assert compile_expression(text, compiled.symbols, node).flat is None, text


def test_array_of_nodes_must_lie_in_the_buffer(compiled: Compiled) -> None:
    flat = compile_expression("u64", compiled.symbols, node_type(compiled)).flat
    buffer = np.zeros(64, dtype=np.uint8)
    assert flat.evaluate_array(buffer, np.array([0, 32])).tolist() == [0, 0]
    assert flat.evaluate_array(buffer, np.array([], dtype=np.int64)).tolist() == []
    for outside in (33, -25):
        with pytest.raises(IndexError):
            flat.evaluate_array(buffer, np.array([0, outside]))
        with pytest.raises(IndexError):
            flat.evaluate_array(buffer, range(0, outside + 1, outside) if outside > 0 else range(outside, 32, 32))


def test_fields_come_before_symbols(compiled: Compiled) -> None:
    """``first`` is a symbol, ``next`` a field; a node knows both, and its own fields win."""
    symbols, memory, node = compiled.symbols, compiled.memory, node_type(compiled)
    second = symbols.find_symbol("second").address
    assert second is not None
    assert compile_expression("u8", symbols, node).evaluate(memory, second) == 8
    assert compile_expression("next->u8 + first.u8", symbols, node).evaluate(memory, second) == 400
    assert compile_expression("self == &second", symbols, node).evaluate(memory, second) == 1
    link = symbols.find_type("struct link")
    assert compile_expression("next == &head->link", symbols, link).evaluate(memory, second + 136) in (0, 1)


def test_lvalues_have_addresses(compiled: Compiled) -> None:
    symbols, memory = compiled.symbols, compiled.memory
    first = symbols.find_symbol("first").address
    assert first is not None
    for text, offset in {"first": 0, "first.u64": 24, "head->s16": 2, "head->next->next->u32": 12, "*head": 0}.items():
        expression = compile_expression(text, symbols)
        assert expression.is_lvalue
        assert expression.address(memory) == first + offset, text
    for text in ("first.u64 + 1", "&first", "42", "first.b3", "head ? 1 : 2"):
        expression = compile_expression(text, symbols)
        assert not expression.is_lvalue
        with pytest.raises(ExpressionError):
            expression.address(memory)


WRONG = {
    "hed->u8": (1, "no symbol 'hed'; did you mean head"),
    "head->stat": (5, "has no member 'stat'; did you mean state"),
    "head->u8 +": (11, "the expression is incomplete"),
    "head u8": (6, "'u8' is not expected"),
    "function(3)": (9, "cannot call"),
    "head = 0": (6, "'=' is not understood"),
    "minus++": (8, "the expression is incomplete"),
    "(struct nodd *)head": (1, "no type 'struct nodd *'"),
    "*first.u8": (1, "not a pointer"),
    "first.u8.x": (9, "not a pointer"),
    "*any": (1, "void has no value"),
    "self": (1, "no 'self' here"),
    "&5": (1, "'&' needs something in memory"),
    "&first.b3": (1, "bit-field"),
    "sizeof(struct nothing)": (1, "no type"),
    "first + 1": (1, "not a number"),
    "head * 2": (6, "cannot be applied to a pointer"),
    "head + head": (6, "cannot be applied to these pointers"),
    "099": (1, "octal"),
    "0x1ffffffffffffffff": (1, "64 bits"),
    "1.5": (1, "not understood"),
    '"text"': (1, "not understood"),
    "1 ? 2": (6, "':' is expected"),
    "(1": (3, "')' is expected"),
    "words[1": (8, "']' is expected"),
    "": (1, "the expression is incomplete"),
    "offsetof(struct node, b3)": (1, "bit-field"),
    "_end": (1, "'_end' has no type; use &_end"),
    "first.function": (6, "no member"),
    "(" * 60 + "1" + ")" * 60: (51, "nested too deeply"),
    "1" + "+1" * 300: (1, "longer than"),
}


@pytest.mark.parametrize("text", WRONG, ids=lambda text: text[:24])
def test_errors_say_where_and_what(compiled: Compiled, text: str) -> None:
    column, message = WRONG[text]
    with pytest.raises(ExpressionError) as caught:
        compile_expression(text, compiled.symbols, where="kernel.toml:7 (pmm.main.bits)").evaluate(compiled.memory)
    assert message in str(caught.value)
    assert caught.value.column == column
    assert str(caught.value).startswith("kernel.toml:7 (pmm.main.bits): ")
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ProfileError)


@pytest.mark.parametrize(
    ("text", "message"),
    {
        "head->null->u8": "follows a null pointer",
        "*head->null->next": "follows a null pointer",
        "1 / minus + 1 / (minus + 1)": "divides by zero",
        "1 % (head->null != 0)": "divides by zero",
        "1 << 40": "shifts a 32-bit number by 40",
        "1 << minus": "by -1",
        "head->null[3].u8": "null pointer",
    }.items(),
)
def test_no_value_in_this_state(compiled: Compiled, text: str, message: str) -> None:
    expression = compile_expression(text if not text.startswith("*") else text[1:] + "->u8", compiled.symbols)
    if "null[3]" in text:
        with pytest.raises((EvaluationError, NotMapped)):
            expression.evaluate(compiled.memory)
        return
    with pytest.raises(EvaluationError, match=message):
        expression.evaluate(compiled.memory)


def test_unreadable_memory_passes_through(compiled: Compiled) -> None:
    with pytest.raises(NotMapped):
        compile_expression("nowhere->u8", compiled.symbols).evaluate(compiled.memory)


def test_address_behind_a_null_pointer(compiled: Compiled) -> None:
    with pytest.raises(EvaluationError, match="null pointer"):
        compile_expression("head->null->u64", compiled.symbols).address(compiled.memory)
    offset = compile_expression("&head->null->u64", compiled.symbols)
    assert offset.evaluate(compiled.memory) == 24  # C's own way to write offsetof: nothing is read


def test_types_of_results(compiled: Compiled) -> None:
    for text, name in {
        "head": "struct node *",
        "head->table": "int [2][3]",
        "head->u8": "unsigned char",
        "head->u8 + 1": "int",
        "head == 0": "int",
        "first.u32 + 1": "unsigned int",
        "sizeof(int)": "unsigned long",
        "&head->table": "int (*)[2][3]",
        "(uint16_t)head": "unsigned short",
    }.items():
        assert compile_expression(text, compiled.symbols).type.name == name, text


def test_parse_without_symbols() -> None:
    assert parse("(uint32_t)-1") == Cast(0, "uint32_t", Unary(10, "-", Number(11, 1)))
    assert parse("(count)-1") == Binary(7, "-", Name(1, "count"), Number(8, 1))
    assert parse("sizeof(struct page *)") == SizeOf(0, "struct page *", None)
    assert parse("'ns::Pool<4>::head'") == Name(0, "ns::Pool<4>::head")
    assert parse("::mm::used") == Name(0, "mm::used")


@pytest.mark.slow
@settings(max_examples=examples(300))
@given(text=st.text(alphabet="headnxtu816 ()[]*&-+>.<=!?:'0x,%/|^~_\"\\$@\n", max_size=30))
def test_any_text_is_parsed_or_refused(compiled: Compiled, text: str) -> None:
    with contextlib.suppress(ProfileError, EvaluationError, NotMapped):
        compile_expression(text, compiled.symbols).evaluate(compiled.memory)
