"""The parts of the language of profiles: forms of values, keys, tables, and keys that many tables share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any, Generic, TypeVar

E = TypeVar("E")


class Form(Enum):
    """The form of a key's value."""

    EXPRESSION = "expression"
    NODE = "expression, in a node"
    EXPRESSIONS = "list of expressions"
    TYPE = "type"
    INTEGER = "integer"
    BOOLEAN = "true or false"
    TEXT = "string"
    TEXTS = "list of strings"
    NAMES = "string, or list of strings"
    TABLE = "table"
    TABLES = "table, or list of tables"
    COLLECTION = "a collection"
    RULE = "rule"
    RULES = "list of rules"
    SEVERITIES = "table of choices"


@dataclass(frozen=True)
class Source:
    """An expression as written in a profile, and where.

    Builds of a kernel may differ: of several alternatives, the first that fits the symbols counts.
    """

    alternatives: tuple[str, ...]
    where: str

    @property
    def text(self) -> str:
        """The first alternative."""
        return self.alternatives[0]


@dataclass(frozen=True)
class Key:
    """One key. ``choices`` are the only values that a string or a number may have. ``keys`` are the keys of a table;
    ``shorthand`` is the key that a plain value in place of the table sets. The keys of an ``inline`` table are
    written among the keys of the table around it.
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
        """The names that may be written for it."""
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
    """A field by which a node is recognised, and the value that it must have."""

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
    """The key for a manager's own counters; ``names`` are the counters, each with what it counts."""
    keys = tuple(expression(name, doc) for name, doc in names.items())
    return Key("counters", Form.TABLE, "the counters that the manager keeps itself", default=NO_COUNTERS, keys=keys)


RANGE = (
    expression("start", "first virtual address", required=True),
    expression("end", "virtual address after the last", required=True),
)
READY = expression("ready", "true (not 0) once the kernel has initialised the manager; until then nothing is checked")
LOCK = expression("lock", "true (not 0) while the manager is being changed: findings are then `in-flux`")
