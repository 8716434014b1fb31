"""Of several managers the named one, and of several answers those that could be read."""

from typing import Protocol, TypeVar

from gdbext.errors import UsageError
from gdbext.structures.unread import Unread


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_N = TypeVar("_N", bound=_Named)
_R = TypeVar("_R")


def chosen(what: str, name: str | None, things: tuple[_N, ...]) -> tuple[_N, ...]:
    """The thing of this name, or all of them; UsageError lists the names that exist."""
    found = tuple(thing for thing in things if name in (None, thing.name))
    if not found:
        raise UsageError(f"there is no {what} '{name}'; there is {', '.join(thing.name for thing in things)}")
    return found


def readable(found: tuple[_R | Unread, ...]) -> tuple[_R, ...]:
    """The answers that could be read."""
    return tuple(one for one in found if not isinstance(one, Unread))
