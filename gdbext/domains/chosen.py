"""Choosing from several managers by name, and from several results those that could be read."""

from typing import Protocol, TypeVar

from gdbext.errors import UsageError
from gdbext.structures.unread import Unread


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_N = TypeVar("_N", bound=_Named)
_R = TypeVar("_R")


def chosen(what: str, name: str | None, things: tuple[_N, ...]) -> tuple[_N, ...]:
    """The thing of this name, or all of them; if there is none, UsageError lists the names."""
    found = tuple(thing for thing in things if name in (None, thing.name))
    if not found:
        raise UsageError(f"there is no {what} '{name}'; choose from: {', '.join(thing.name for thing in things)}")
    return found


def readable(found: tuple[_R | Unread, ...]) -> tuple[_R, ...]:
    """The results that could be read."""
    return tuple(one for one in found if not isinstance(one, Unread))
