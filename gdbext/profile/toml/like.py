"""Tables that are ``like`` others and inherit the keys that they lack; and the ``instance`` that a table describes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gdbext.errors import ProfileError
from gdbext.profile.language.keys import Source
from gdbext.profile.toml.positions import Path
from gdbext.symbols.model import nearest_names

Tables = Mapping[str, dict[str, Any]]
Complain = Callable[[Path, str], ProfileError]

_PLACEHOLDER = re.compile(r"'[^'\n]+'|(?<![\w$])\$(?![\w$])")
"""A ``$`` by itself; or a quoted name, in which ``$`` is an ordinary character."""
_POSTFIX = re.compile(r"[\w.:\[\]]+")
"""An expression that a member's name can follow without parentheses around it."""


def completed(family: str, name: str, tables: Tables, complain: Complain) -> tuple[dict[str, Any], dict[str, str]]:
    """A table with the keys that it inherits, those of the nearest table first; and the table that each key is from."""
    made: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for ancestor in _line(family, name, tables, complain):
        for key, value in tables[ancestor].items():
            if key not in made and key != "like":
                made[key], origin[key] = value, ancestor
    return made, origin


def _line(family: str, name: str, tables: Tables, complain: Complain) -> Iterator[str]:
    """A table, the table that it is like, the table that this is like, and so on."""
    seen = [name]
    yield name
    while "like" in tables[seen[-1]]:
        place, other = (family, seen[-1], "like"), tables[seen[-1]]["like"]
        if not isinstance(other, str):
            raise complain(place, f"the name of another [{family}.NAME] is expected, as a string")
        if other not in tables:
            near = nearest_names(other, tables)
            hint = f"did you mean {near[0]}?" if near else f"the tables are {', '.join(tables)}"
            raise complain(place, f"there is no [{family}.{other}]; {hint}")
        if other in seen:
            raise complain(place, f"the tables form a circle: {' is like '.join([*seen, other])}")
        seen.append(other)
        yield other


def lines_of(lines: Mapping[Path, int], family: str, name: str, origin: Mapping[str, str]) -> dict[Path, int]:
    """The lines of the keys that a table inherits, under its own name: an error names the line that has the mistake."""
    taken: dict[Path, Path] = {
        (family, source, key): (family, name, key) for key, source in origin.items() if source != name
    }
    return {(*taken[path[:3]], *path[3:]): line for path, line in lines.items() if path[:3] in taken}


@dataclass
class Instance:
    """What ``$`` stands for in one table; ``source`` is None without an ``instance``. ``used``: a ``$`` occurs."""

    source: Source | None
    used: bool = field(default=False)

    def fill(self, text: str) -> tuple[str, ...] | None:
        """An expression with each ``$`` replaced by the instance; None if it has a ``$`` and the table no instance."""
        if not any(found[0] == "$" for found in _PLACEHOLDER.finditer(text)):
            return (text,)
        if self.source is None:
            return None
        self.used = True
        return tuple(_put(text, instance) for instance in self.source.alternatives)


def _put(text: str, instance: str) -> str:
    whole = instance if _POSTFIX.fullmatch(instance) else f"({instance})"
    return _PLACEHOLDER.sub(lambda found: whole if found[0] == "$" else found[0], text)
