"""What a profile is written in: the forms of values, keys, tables, and the keys that many tables share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any, Generic, TypeVar

E = TypeVar("E")


class Form(Enum):
    """What is written as a key's value."""

    EXPRESSION = "expression"
    NODE = "expression, in a node"
    EXPRESSIONS = "list of expressions"
    TYPE = "type"
    INTEGER = "integer"
    BOOLEAN = "true or false"
    TEXT = "text"
    TEXTS = "list of texts"
    NAMES = "text, or list of texts"
    TABLE = "table"
    TABLES = "table, or list of tables"
    COLLECTION = "a collection"
    RULE = "rule"
    RULES = "list of rules"
    SEVERITIES = "table of choices"


@dataclass(frozen=True)
class Source:
    """An expression as a profile has it: what was written, and where.

    Where builds of a kernel differ there are alternatives: the first one that fits the symbols is meant.
    """

    alternatives: tuple[str, ...]
    where: str

    @property
    def text(self) -> str:
        """The first alternative."""
        return self.alternatives[0]


@dataclass(frozen=True)
class Key:
    """One key. ``choices`` limits a text or a number; ``keys`` are those of a table, and ``shorthand`` the one of
    them that is meant when a plain value stands in the table's place. Those of an ``inline`` one stand side by side
    with the keys around it.
    """

    name: str
    form: Form
    doc: str
    required: bool = False
    default: Any = None
    choices: tuple[str | int, ...] = ()
    keys: tuple[Key, ...] = ()
    record: Callable[..., Any] | None = None
    shorthand: str | None = None
    inline: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """What may be written in its place."""
        return tuple(key.name for key in self.keys) if self.inline else (self.name,)


@dataclass(frozen=True)
class Table:
    """One table: its keys, and the record that it is read into."""

    doc: str
    keys: tuple[Key, ...]
    record: Callable[..., Any]


NO_COUNTERS: Mapping[str, Source] = MappingProxyType({})


@dataclass(frozen=True)
class Range(Generic[E]):
    """Virtual addresses from ``start`` to ``end`` (exclusive)."""

    start: E
    end: E


@dataclass(frozen=True)
class Magic(Generic[E]):
    """A field by which a node is recognised, and what it must be."""

    expr: E
    equals: E


def expression(name: str, doc: str, *, required: bool = False, default: str | None = None) -> Key:
    """A key whose value is an expression."""
    return Key(name, Form.EXPRESSION, doc, required=required, default=default)


def node(name: str, doc: str, *, required: bool = False) -> Key:
    """A key whose value is an expression about one node."""
    return Key(name, Form.NODE, doc, required=required)


def magic(equals: str) -> tuple[Key, ...]:
    """The keys of a `Magic`."""
    return node("expr", "the field", required=True), node("equals", equals, required=True)


def counters(names: dict[str, str]) -> Key:
    """The manager's own counters, by meaning, with what each counts."""
    keys = tuple(expression(name, doc) for name, doc in names.items())
    return Key(
        "counters", Form.TABLE, "the manager's own numbers, each where it has one", default=NO_COUNTERS, keys=keys
    )


RANGE = (
    expression("start", "first virtual address", required=True),
    expression("end", "virtual address behind the last", required=True),
)
READY = expression("ready", "true (not 0) once the kernel has set the manager up; before, nothing is checked")
LOCK = expression("lock", "true (not 0) while the manager is being changed: findings are then in flux")
