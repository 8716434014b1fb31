"""The grammar of expressions: from text to a syntax tree. It has C's operators, and no knowledge of any kernel.

An expression can read memory and nothing else: there are no calls and no assignments, and its size is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from gdbext.errors import ProfileError
from gdbext.symbols.typenames import QUALIFIERS, TAGS, is_base_word

MAX_TOKENS = 400
MAX_DEPTH = 100

BINARY_LEVELS: tuple[tuple[str, ...], ...] = (
    ("||",),
    ("&&",),
    ("|",),
    ("^",),
    ("&",),
    ("==", "!="),
    ("<", "<=", ">", ">="),
    ("<<", ">>"),
    ("+", "-"),
    ("*", "/", "%"),
)
"""The binary operators, from the loosest to the tightest (ISO C17, 6.5)."""
_LEVEL = {operator: level for level, operators in enumerate(BINARY_LEVELS) for operator in operators}
UNARY_OPERATORS = ("*", "&", "-", "~", "!", "+")

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>(?:0[xX][0-9a-fA-F]+|0[bB][01]+|[0-9]+)[uUlL]*(?![\w.]))
    | (?P<character>'(?:\\[^x0-7\n]|\\x[0-9a-fA-F]{1,2}|\\[0-7]{1,3}|[^\\'\n])')
    | (?P<quoted>'[^'\n]{2,}'(?:::[A-Za-z_]\w*)*)
    | (?P<name>(?:::)?[A-Za-z_$][\w$]*(?:::~?[A-Za-z_][\w$]*)*)
    | (?P<operator>->|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^~!<>?:().,\[\]])
    )""",
    re.VERBOSE,
)
_ESCAPES = {"n": 10, "t": 9, "r": 13, "a": 7, "b": 8, "f": 12, "v": 11, "e": 27}


class ExpressionError(ProfileError):
    """An expression that cannot be used; ``column`` (from 1) is the position in its text."""

    def __init__(self, where: str, text: str, position: int, problem: str) -> None:
        self.text = text
        self.column = position + 1
        super().__init__(where or "expression", f"'{text}', column {self.column}: {problem}")


@dataclass(frozen=True, slots=True)
class Number:
    """An integer or character; ``suffix`` is its u and l letters, ``decimal`` whether it was written in base ten."""

    position: int
    value: int
    suffix: str = ""
    decimal: bool = True


@dataclass(frozen=True, slots=True)
class Name:
    """A symbol, a field of the node, or ``self``."""

    position: int
    name: str


@dataclass(frozen=True, slots=True)
class Unary:
    """``* & - ~ ! +`` before an operand."""

    position: int
    operator: str
    operand: Ast


@dataclass(frozen=True, slots=True)
class Binary:
    """An operator between two operands, ``&&`` and ``||`` included."""

    position: int
    operator: str
    left: Ast
    right: Ast


@dataclass(frozen=True, slots=True)
class Conditional:
    """``condition ? yes : no``."""

    position: int
    condition: Ast
    yes: Ast
    no: Ast


@dataclass(frozen=True, slots=True)
class Member:
    """``object.name`` or ``object->name``: either works on an object and on a pointer to an object."""

    position: int
    operand: Ast
    name: str


@dataclass(frozen=True, slots=True)
class Index:
    """``array[index]``."""

    position: int
    array: Ast
    index: Ast


@dataclass(frozen=True, slots=True)
class Cast:
    """``(type)operand``."""

    position: int
    type_name: str
    operand: Ast


@dataclass(frozen=True, slots=True)
class SizeOf:
    """``sizeof(type)`` (``type_name``) or ``sizeof(expression)`` (``operand``)."""

    position: int
    type_name: str | None
    operand: Ast | None


@dataclass(frozen=True, slots=True)
class OffsetOf:
    """``offsetof(type, member)``; ``member`` is a path of member names and constant indexes."""

    position: int
    type_name: str
    member: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class ContainerOf:
    """``container_of(pointer, type, member)``: the object whose member ``pointer`` points to."""

    position: int
    operand: Ast
    type_name: str
    member: tuple[str | int, ...]


Ast = Number | Name | Unary | Binary | Conditional | Member | Index | Cast | SizeOf | OffsetOf | ContainerOf


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    position: int


def looks_like_type(name: str) -> bool:
    """A guess at whether a name is a type, for parsing without symbols: C's base words, and ``..._t``."""
    return is_base_word(name) or name.endswith("_t")


def parse(text: str, is_type: Callable[[str], bool] = looks_like_type, where: str = "") -> Ast:
    """The syntax tree of an expression.

    ``is_type`` says whether a single name is a type: C cannot be parsed without knowing it (``(a)-1``). Raises
    ExpressionError, which carries ``where``.
    """
    return _Parser(text, is_type, where).parse()


class _Parser:
    """Recursive descent, with one method for all binary operators."""

    def __init__(self, text: str, is_type: Callable[[str], bool], where: str) -> None:
        self._text = text
        self._where = where
        self._is_type = is_type
        self._tokens = self._scan()
        self._at = 0
        self._depth = 0

    def parse(self) -> Ast:
        tree = self._conditional()
        if self._token.kind != "end":
            raise self._error(self._unexpected())
        return tree

    def _scan(self) -> list[_Token]:
        tokens, at = [], 0
        while self._text[at:].strip():
            match = _TOKEN.match(self._text, at)
            if match is None:
                start = at + len(self._text[at:]) - len(self._text[at:].lstrip())
                raise ExpressionError(self._where, self._text, start, f"'{self._text[start]}' is not understood here")
            kind = str(match.lastgroup)
            tokens.append(_Token(kind, match.group(kind), match.start(kind)))
            at = match.end()
        if len(tokens) > MAX_TOKENS:
            raise ExpressionError(
                self._where, self._text[:40] + "...", 0, f"the expression is longer than {MAX_TOKENS} tokens"
            )
        return [*tokens, _Token("end", "", len(self._text.rstrip()))]

    @property
    def _token(self) -> _Token:
        return self._tokens[self._at]

    def _error(self, problem: str, token: _Token | None = None) -> ExpressionError:
        return ExpressionError(self._where, self._text, (token or self._token).position, problem)

    def _unexpected(self) -> str:
        token = self._token
        if token.kind == "end":
            return "the expression is incomplete"
        if token.text == "(":
            return "an expression cannot call a function"
        return f"'{token.text}' is not expected here"

    def _take(self) -> _Token:
        token = self._token
        self._at += 1
        return token

    def _accept(self, operator: str) -> bool:
        if self._token.kind == "operator" and self._token.text == operator:
            self._at += 1
            return True
        return False

    def _expect(self, operator: str) -> None:
        if not self._accept(operator):
            raise self._error(f"'{operator}' is expected" + (f", not '{self._token.text}'" if self._token.text else ""))

    def _conditional(self) -> Ast:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error("the expression is nested too deeply")
        condition = self._binary(0)
        position = self._token.position
        if self._accept("?"):
            yes = self._conditional()
            self._expect(":")
            condition = Conditional(position, condition, yes, self._conditional())
        self._depth -= 1
        return condition

    def _binary(self, lowest: int) -> Ast:
        left = self._unary()
        while self._token.kind == "operator" and _LEVEL.get(self._token.text, -1) >= lowest:
            token = self._take()
            left = Binary(token.position, token.text, left, self._binary(_LEVEL[token.text] + 1))
        return left

    def _unary(self) -> Ast:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error("the expression is nested too deeply")
        tree = self._prefixed()
        self._depth -= 1
        return tree

    def _prefixed(self) -> Ast:
        token = self._token
        if token.kind == "operator" and token.text in UNARY_OPERATORS:
            self._take()
            return Unary(token.position, token.text, self._unary())
        if token.kind == "name" and token.text == "sizeof":
            return self._sizeof()
        if token.kind == "operator" and token.text == "(":
            type_name = self._parenthesised_type()
            if type_name:
                return Cast(token.position, type_name, self._unary())
        return self._postfix()

    def _postfix(self) -> Ast:
        tree = self._primary()
        while True:
            token = self._token
            if self._accept(".") or self._accept("->"):
                tree = Member(token.position, tree, self._member_name())
            elif self._accept("["):
                tree = Index(token.position, tree, self._conditional())
                self._expect("]")
            else:
                return tree

    def _member_name(self) -> str:
        if self._token.kind != "name":
            raise self._error("the name of a member is expected")
        return self._take().text

    def _primary(self) -> Ast:
        token = self._token
        if token.kind == "number":
            return self._number(self._take())
        if token.kind == "character":
            return Number(token.position, _character(self._take().text))
        if token.kind == "quoted":
            return Name(token.position, _unquoted(self._take().text))
        if token.kind == "name":
            return self._named(self._take())
        if self._accept("("):
            tree = self._conditional()
            self._expect(")")
            return tree
        raise self._error(self._unexpected())

    def _number(self, token: _Token) -> Number:
        digits = token.text.rstrip("uUlL")
        suffix = token.text[len(digits) :].lower()
        if suffix not in ("", "u", "l", "ul", "lu", "ll", "ull", "llu"):
            raise self._error(f"'{suffix}' is not a number suffix", token)
        octal = digits[0] == "0" and digits.isdigit() and len(digits) > 1
        try:
            value = int(digits, 8) if octal else int(digits, 0)
        except ValueError:
            raise self._error(f"'{digits}' is not an octal number (a leading 0 means octal, as in C)", token) from None
        if value >> 64:
            raise self._error("the number has more than 64 bits", token)
        return Number(token.position, value, suffix, digits.isdigit() and not octal)

    def _named(self, token: _Token) -> Ast:
        special = {"offsetof": self._offsetof, "container_of": self._container_of}.get(token.text)
        if special and self._accept("("):
            tree = special(token)
            self._expect(")")
            return tree
        return Name(token.position, token.text.removeprefix("::"))

    def _sizeof(self) -> Ast:
        token = self._take()
        type_name = self._parenthesised_type()
        return SizeOf(token.position, type_name, None if type_name else self._unary())

    def _offsetof(self, token: _Token) -> Ast:
        type_name = self._type_name()
        self._expect(",")
        return OffsetOf(token.position, type_name, self._designator())

    def _container_of(self, token: _Token) -> Ast:
        operand = self._conditional()
        self._expect(",")
        type_name = self._type_name()
        self._expect(",")
        return ContainerOf(token.position, operand, type_name, self._designator())

    def _designator(self) -> tuple[str | int, ...]:
        path: list[str | int] = [self._member_name()]
        while True:
            if self._accept("."):
                path.append(self._member_name())
            elif self._accept("["):
                if self._token.kind != "number":
                    raise self._error("a constant index is expected")
                path.append(self._number(self._take()).value)
                self._expect("]")
            else:
                return tuple(path)

    def _type_name(self) -> str:
        start = self._at
        name = self._type_words(certain=True)
        if name is None:
            self._at = start
            raise self._error("the name of a type is expected")
        return name

    def _parenthesised_type(self) -> str | None:
        """Consume ``(type)`` here; None, and nothing consumed, when it is anything else."""
        start = self._at
        if self._accept("("):
            name = self._type_words(certain=False)
            if name and self._accept(")"):
                return name
        self._at = start
        return None

    def _type_words(self, *, certain: bool) -> str | None:
        """A type's name. Unless the position is ``certain`` to hold a type, a single unknown name is not a type."""
        words: list[str] = []
        tagged = False
        while self._token.kind in ("name", "quoted"):
            word = _unquoted(self._token.text)
            if words and not (tagged or is_base_word(word) or word in QUALIFIERS or words[-1] in QUALIFIERS):
                break
            tagged = word in TAGS
            words.append(word)
            self._at += 1
        stars = self._stars()
        core = [word for word in words if word not in QUALIFIERS]
        if not core:
            return None
        known = len(core) > 1 or is_base_word(core[0]) or certain or self._is_type(core[0])
        known = known or (bool(stars) and self._token.text == ")")
        return " ".join(words) + (f" {stars}" if stars else "") if known else None

    def _stars(self) -> str:
        stars = ""
        while True:
            if self._accept("*"):
                stars += "*"
            elif stars and self._token.kind == "name" and self._token.text in QUALIFIERS:
                self._at += 1
            else:
                return stars


def _unquoted(text: str) -> str:
    """``'ns::Pool<4>::head'`` is how names with special characters are written, as in gdb."""
    if not text.startswith("'"):
        return text.removeprefix("::")
    quoted, _, rest = text[1:].partition("'")
    return quoted + rest


def _character(text: str) -> int:
    body = text[1:-1]
    if not body.startswith("\\"):
        return ord(body)
    if body[1] == "x":
        value = int(body[2:], 16)
    elif body[1] in "01234567":
        value = int(body[1:], 8) & 0xFF
    else:
        return _ESCAPES.get(body[1], ord(body[1]))
    return value - 256 if value > 127 else value  # char is signed on x86
