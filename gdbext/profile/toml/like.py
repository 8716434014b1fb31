"""Tables that are like others: what one does not say itself it takes over; and the instance that it speaks of."""

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
"""A ``$`` by itself; or a quoted name, in which it is a sign like any other."""
_POSTFIX = re.compile(r"[\w.:\[\]]+")
"""What needs no parentheses around it to be followed by a member's name."""


def completed(family: str, name: str, tables: Tables, complain: Complain) -> tuple[dict[str, Any], dict[str, str]]:
    """A table with what it takes over from those that it is like, nearest first; and which table each key is from."""
    made: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for ancestor in _line(family, name, tables, complain):
        for key, value in tables[ancestor].items():
            if key not in made and key != "like":
                made[key], origin[key] = value, ancestor
    return made, origin


def _line(family: str, name: str, tables: Tables, complain: Complain) -> Iterator[str]:
    """A table, the one that it is like, the one that this is like, and so on."""
    seen = [name]
    yield name
    while "like" in tables[seen[-1]]:
        place, other = (family, seen[-1], "like"), tables[seen[-1]]["like"]
        if not isinstance(other, str):
            raise complain(place, f"the name of another [{family}.NAME] is expected, as text")
        if other not in tables:
            near = nearest_names(other, tables)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(tables)}"
            raise complain(place, f"there is no [{family}.{other}]; {hint}")
        if other in seen:
            raise complain(place, f"it goes round: {' is like '.join([*seen, other])}")
        seen.append(other)
        yield other


def lines_of(lines: Mapping[Path, int], family: str, name: str, origin: Mapping[str, str]) -> dict[Path, int]:
    """The lines of what a table takes over, as if it were written there: a mistake is where it was written."""
    taken: dict[Path, Path] = {
        (family, source, key): (family, name, key) for key, source in origin.items() if source != name
    }
    return {(*taken[path[:3]], *path[3:]): line for path, line in lines.items() if path[:3] in taken}


@dataclass
class Instance:
    """What ``$`` stands for in one table; ``source`` is None where the table does not say. ``used``: it occurs."""

    source: Source | None
    used: bool = field(default=False)

    def fill(self, text: str) -> tuple[str, ...] | None:
        """An expression with the instance in the place of each ``$``; None when there is no instance to put there."""
        if not any(found[0] == "$" for found in _PLACEHOLDER.finditer(text)):
            return (text,)
        if self.source is None:
            return None
        self.used = True
        return tuple(_put(text, instance) for instance in self.source.alternatives)


def _put(text: str, instance: str) -> str:
    whole = instance if _POSTFIX.fullmatch(instance) else f"({instance})"
    return _PLACEHOLDER.sub(lambda found: whole if found[0] == "$" else found[0], text)
