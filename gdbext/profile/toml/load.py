"""From a TOML file to a profile: the form of every value is checked against the schema; each error names its line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from gdbext.errors import ProfileError
from gdbext.profile.language import collections, schema
from gdbext.profile.language.keys import Form, Key, Source, Table
from gdbext.profile.language.schema import Profile
from gdbext.profile.toml import positions
from gdbext.profile.toml.like import Instance, completed, lines_of
from gdbext.symbols.model import Symbols, nearest_names

_T = TypeVar("_T", int, str)

_PROFILE_NAMES = ("gdbext.toml",)
"""Names of a profile next to a kernel's ELF file, besides the ELF file's own stem with ``.toml``."""


def load_profile(path_or_name: str | Path, rules: Collection[str] | None = None) -> Profile:
    """A profile from a file, or a built-in profile by its name (``reference``).

    ``rules`` are the ids that its [checks] may name, None for any. Raises ProfileError with the line of the first
    mistake, or when there is no such profile.
    """
    path = Path(path_or_name)
    if path.suffix != ".toml" and not path.is_file():
        built_in = resources.files("gdbext") / "profiles" / f"{path_or_name}.toml"
        if not built_in.is_file():
            near = nearest_names(str(path_or_name), built_in_profiles())
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ProfileError(str(path_or_name), f"no such file, and no built-in profile of this name{hint}")
        return read_profile(built_in.read_text(encoding="utf-8"), f"{path_or_name}.toml", rules)
    try:
        return read_profile(path.read_text(encoding="utf-8"), str(path), rules)
    except OSError as error:
        raise ProfileError(str(path), f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ProfileError(str(path), "is not UTF-8 text") from error


def built_in_profiles() -> tuple[str, ...]:
    """The names of the profiles that come with gdbext."""
    folder = resources.files("gdbext") / "profiles"
    return tuple(sorted(Path(item.name).stem for item in folder.iterdir() if item.name.endswith(".toml")))


def find_profile(elf_path: str | Path | None, symbols: Symbols, rules: Collection[str] | None = None) -> Profile | None:
    """The profile that belongs to a kernel, when the user has named none.

    It is ``gdbext.toml`` or ``STEM.toml`` next to the ELF file, else the first built-in profile whose ``detect``
    symbols the kernel has; None when there is neither. Raises ProfileError when the file next to it is wrong.
    ``rules`` as in `load_profile`.
    """
    if elf_path is not None:
        elf = Path(elf_path)
        for name in (*_PROFILE_NAMES, f"{elf.stem}.toml"):
            if (elf.parent / name).is_file():
                return load_profile(elf.parent / name, rules)
    for built_in in built_in_profiles():
        profile = load_profile(built_in, rules)
        detect = profile.kernel.detect
        if detect and all(symbols.find_symbol(name) for name in detect):
            return profile
    return None


def read_profile(text: str, title: str, rules: Collection[str] | None = None) -> Profile:
    """A profile from its text; ``title`` is the file's name in errors, ``rules`` are as in `load_profile`.

    Raises ProfileError.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(title, text, error) from error
    return _Reader(title, positions.key_lines(text), rules).profile(document)


def _syntax_error(title: str, text: str, error: tomllib.TOMLDecodeError) -> ProfileError:
    found = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", str(error))
    line = (found and found.group(1)) or str(text.count("\n") + 1)
    problem = str(error)[: found.start()] if found else str(error)
    return ProfileError(f"{title}:{line}", f"invalid TOML: {problem[:1].lower()}{problem[1:]}")


class _Reader:
    """Reads one document; every method takes a value together with its path in the document."""

    def __init__(self, title: str, lines: Mapping[positions.Path, int], rules: Collection[str] | None) -> None:
        self._title = title
        self._lines = dict(lines)
        self._instance = Instance(None)
        self._rules = rules
        self._forms: dict[Form, Callable[[Key, Any, positions.Path], Any]] = {
            Form.EXPRESSION: self._expression,
            Form.NODE: self._expression,
            Form.TYPE: self._expression,
            Form.EXPRESSIONS: self._expressions,
            Form.INTEGER: self._integer,
            Form.BOOLEAN: self._boolean,
            Form.TEXT: self._text,
            Form.TEXTS: self._texts,
            Form.NAMES: self._names,
            Form.TABLE: self._table,
            Form.TABLES: self._tables,
            Form.COLLECTION: self._collection,
            Form.RULE: self._rule,
            Form.RULES: self._rule_list,
            Form.SEVERITIES: self._severities,
        }

    def profile(self, document: dict[str, Any]) -> Profile:
        for name in document:
            if name not in (known := [*schema.SINGLE, *schema.NAMED, *schema.KINDS]):
                raise self._unknown(name, (name,), known)
        tables: dict[str, Any] = {
            name: self._single(name, document.get(name, {})) if name in (*document, *schema.ALWAYS) else None
            for name in schema.SINGLE
        }
        tables |= {family: self._named(family, document.get(family, {})) for family in schema.NAMED}
        tables |= {family: self._managers(family, document.get(family, {})) for family in schema.KINDS}
        return Profile(self._title, **tables)

    def _where(self, place: positions.Path) -> str:
        known = place
        while known not in self._lines:
            known = known[:-1]
        dotted = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).lstrip(".")
        return f"{self._title}:{self._lines[known]}" + (f" ({dotted})" if dotted else "")

    def _error(self, place: positions.Path, problem: str) -> ProfileError:
        return ProfileError(self._where(place), problem)

    def _unknown(self, name: str, place: positions.Path, known: list[str]) -> ProfileError:
        near = nearest_names(name, known)
        hint = f"did you mean {near[0]}?" if near else f"the keys here are {', '.join(known)}"
        return self._error(place, f"unknown key '{name}'; {hint}")

    def _single(self, name: str, raw: Any) -> Any:
        return self._record(schema.SINGLE[name], raw, (name,), {})

    def _named(self, family: str, raw: Any) -> tuple[Any, ...]:
        table = schema.NAMED[family]
        return tuple(
            self._record(table, below, (family, name), {"table": name}) for name, below in self._tables_in(family, raw)
        )

    def _managers(self, family: str, raw: Any) -> tuple[Any, ...]:
        tables = dict(self._tables_in(family, raw))
        managers = tuple(self._manager(family, name, tables) for name in tables)
        for name, parent in ((found.name, parent) for found in managers for parent in getattr(found, "parent", ())):
            if parent not in tables or parent == name:
                raise self._error(
                    (family, name, "parent"), f"there is no other [{family}.{parent}] that could be its parent"
                )
        return managers

    def _tables_in(self, family: str, raw: Any) -> Iterable[tuple[str, dict[str, Any]]]:
        if not isinstance(raw, dict) or not all(isinstance(table, dict) for table in raw.values()):
            raise self._error((family,), f"these tables need names: write [{family}.main], for example")
        return raw.items()

    def _manager(self, family: str, name: str, tables: dict[str, dict[str, Any]]) -> Any:
        kinds = schema.KINDS[family]
        place = (family, name)
        raw, origin = completed(family, name, tables, self._error)
        self._lines |= lines_of(self._lines, family, name, origin)
        kind = raw.pop("kind", None)
        if kind is None:
            raise self._error(place, f"'kind' is missing; the kinds are {', '.join(kinds)}")
        if not isinstance(kind, str) or kind not in kinds:
            raise self._error((*place, "kind"), f"there is no kind {kind!r}; the kinds are {', '.join(kinds)}")
        return self._of_instance(kinds[kind], raw, place)

    def _of_instance(self, table: Table, raw: dict[str, Any], place: tuple[str, str]) -> Any:
        """A manager's record; while it is read, ``$`` stands for the table's instance."""
        here = (*place, schema.INSTANCE.name)
        written = raw.pop(schema.INSTANCE.name, None)
        self._instance = Instance(None if written is None else self._expression(schema.INSTANCE, written, here))
        made = self._record(table, raw, place, {"name": place[1]})
        if written is not None and not self._instance.used:
            raise self._error(here, "it is never used: no expression of this table contains '$'")
        self._instance = Instance(None)
        return made

    def _record(self, table: Table, raw: Any, place: positions.Path, extra: dict[str, Any]) -> Any:
        also = [key.name for key in schema.ANY_KIND.keys] if "name" in extra else []
        values = self._values(table.keys, raw, place, also)
        return table.record(**extra, **values, where=self._where(place))

    def _values(
        self, keys: tuple[Key, ...], raw: Any, place: positions.Path, also: Iterable[str] = ()
    ) -> dict[str, Any]:
        """The value of each key, the default where it is not given."""
        names = [name for key in keys for name in key.names]
        if not isinstance(raw, dict):
            raise self._error(place, f"a table is expected, with the keys {', '.join(names)}")
        for name in raw:
            if name not in names:
                raise self._unknown(name, (*place, name), [*names, *also])
        return {key.name: self._value(key, raw, place) for key in keys}

    def _value(self, key: Key, raw: dict[str, Any], place: positions.Path) -> Any:
        if key.inline:
            return self._forms[key.form](key, {name: raw[name] for name in key.names if name in raw}, place)
        here = (*place, key.name)
        if key.name in raw:
            return self._forms[key.form](key, raw[key.name], here)
        if key.required:
            raise self._error(place, f"'{key.name}' is missing: {key.doc}")
        if key.form in (Form.EXPRESSION, Form.NODE) and key.default is not None:
            return Source((key.default,), self._where(place))
        return key.default

    def _expression(self, key: Key, raw: Any, place: positions.Path) -> Source:
        """A string or a number; a list of them gives alternatives."""
        items = raw if isinstance(raw, list) else [raw]
        if not items or not all(isinstance(item, str | int) and not isinstance(item, bool) for item in items):
            raise self._error(
                place, f"{'a type' if key.form is Form.TYPE else 'an expression'} is expected, as a string"
            )
        texts = (item if isinstance(item, str) else _number_text(item) for item in items)
        return Source(tuple(filled for text in texts for filled in self._filled(text, place)), self._where(place))

    def _filled(self, text: str, place: positions.Path) -> tuple[str, ...]:
        """An expression with each ``$`` replaced by the instance."""
        filled = self._instance.fill(text)
        if filled is None:
            raise self._error(place, f"'{text}': '$' stands for the table's 'instance', and there is none here")
        return filled

    def _expressions(self, key: Key, raw: Any, place: positions.Path) -> tuple[Source, ...]:
        items = raw if isinstance(raw, list) else [raw]
        return tuple(self._expression(key, item, (*place, at)) for at, item in enumerate(items))

    def _integer(self, key: Key, raw: Any, place: positions.Path) -> int:
        if not isinstance(raw, int) or isinstance(raw, bool) or raw < 0:
            raise self._error(place, "an integer of at least 0 is expected")
        return self._chosen(key, raw, place)

    def _boolean(self, key: Key, raw: Any, place: positions.Path) -> bool:
        if not isinstance(raw, bool):
            raise self._error(place, "true or false is expected")
        return raw

    def _text(self, key: Key, raw: Any, place: positions.Path) -> str:
        if not isinstance(raw, str):
            raise self._error(place, "a string is expected" if not key.choices else f"{_listed(key)} is expected")
        return self._chosen(key, raw, place)

    def _chosen(self, key: Key, raw: _T, place: positions.Path) -> _T:
        if key.choices and raw not in key.choices:
            raise self._error(place, f"{_listed(key)} is expected, not {raw!r}")
        return raw

    def _texts(self, key: Key, raw: Any, place: positions.Path) -> tuple[str, ...]:
        """A list of strings; a single string counts as a list of one."""
        raw = [raw] if isinstance(raw, str) else raw
        if not isinstance(raw, list) or not all(isinstance(item, str) for item in raw):
            raise self._error(place, "a list of strings is expected")
        return tuple(raw)

    def _names(self, key: Key, raw: Any, place: positions.Path) -> tuple[str, ...]:
        if isinstance(raw, str):
            return (raw,)
        if not isinstance(raw, list):
            raise self._error(place, "a string or a list of strings is expected")
        return self._texts(key, raw, place)

    def _table(self, key: Key, raw: Any, place: positions.Path) -> Any:
        if key.shorthand and not isinstance(raw, dict):
            raw = {key.shorthand: raw}
            values = self._values(key.keys, raw, place)
            values[key.shorthand] = self._expression(key, raw[key.shorthand], place)
        else:
            values = self._values(key.keys, raw, place)
        if key.record is None:
            return {name: value for name, value in values.items() if value is not None}
        return key.record(**values)

    def _tables(self, key: Key, raw: Any, place: positions.Path) -> tuple[Any, ...]:
        if isinstance(raw, dict):
            return (self._table(key, raw, place),)
        if not isinstance(raw, list):
            raise self._error(place, "a table or a list of tables is expected")
        return tuple(self._table(key, item, (*place, at)) for at, item in enumerate(raw))

    def _collection(self, key: Key, raw: Any, place: positions.Path) -> Any:
        return collections.Collection(**self._values(key.keys, raw, place), where=self._where(place))

    def _rule(self, key: Key, raw: Any, place: positions.Path) -> str:
        """A rule's id, which must exist: a misspelt id would have no effect, or a wrong one, without a message."""
        rule = self._text(key, raw, place)
        if self._rules is not None and rule not in self._rules:
            near = nearest_names(rule, self._rules)
            hint = f"did you mean {near[0]}?" if near else f"the rules are {', '.join(self._rules)}"
            raise self._error(place, f"there is no rule '{rule}'; {hint}")
        return rule

    def _rule_list(self, key: Key, raw: Any, place: positions.Path) -> tuple[str, ...]:
        return tuple(self._rule(key, rule, (*place, at)) for at, rule in enumerate(self._texts(key, raw, place)))

    def _severities(self, key: Key, raw: Any, place: positions.Path) -> dict[str, str]:
        if not isinstance(raw, dict):
            raise self._error(place, "a table is expected")
        # The key's choices apply to the values.
        no_choices = replace(key, choices=())
        return {
            self._rule(no_choices, name, (*place, name)): self._text(key, value, (*place, name))
            for name, value in raw.items()
        }


def _number_text(value: int) -> str:
    """A number as an expression; in hexadecimal when it is large, as messages about addresses need."""
    return str(value) if abs(value) < 1 << 20 else f"{value:#x}"


def _listed(key: Key) -> str:
    return " or ".join(repr(choice) for choice in key.choices)
