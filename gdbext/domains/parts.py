"""The parts of a domain: each is read when it is first asked for, once."""

from collections.abc import Callable, Hashable
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from gdbext.machine.stopped import Machine
from gdbext.x86.space import AddressSpace
from gdbext.x86.virtual import PagedMemory

P = ParamSpec("P")
T = TypeVar("T")
Key = tuple[Hashable, ...]


class Parts:
    """What has been read at one stop. A key is the part's name with what it was asked for."""

    def __init__(self) -> None:
        self._kept: dict[Key, Any] = {}

    def begin(self, arrive: Callable[[], object]) -> None:
        """A stop begins, of which the parts will be.

        ``arrive`` asks for its machine, and returns which kernel is looked at: the same object as before, or one equal
        to it, as long as its description is the same.
        """

    def watched(self, machine: Machine) -> Machine:
        """The machine of the stop as the parts are to see it."""
        return machine

    def virtual(self, machine: Machine, whole: Callable[[], AddressSpace]) -> PagedMemory:
        """Memory as the selected processor sees it; ``whole`` enumerates its address space."""
        return PagedMemory(machine.memory, machine.cpu, whole=whole)

    def get(self, key: Key, read: Callable[[], T]) -> T:
        """The part of this key. What ``read`` raises is raised, and the part read anew when it is next asked for."""
        if key not in self._kept:
            self._kept[key] = read()
        found: T = self._kept[key]
        return found


class HasParts(Protocol):
    """A domain, as far as its parts go."""

    @property
    def parts(self) -> Parts:
        """What has been read."""


D = TypeVar("D", bound=HasParts)


def part(read: Callable[Concatenate[D, P], T]) -> Callable[Concatenate[D, P], T]:
    """A method that reads a part of its domain: it runs once for each set of (hashable, positional) arguments."""

    @wraps(read)
    def ask(domain: D, /, *arguments: P.args, **named: P.kwargs) -> T:
        return domain.parts.get((read.__qualname__, *arguments), partial(read, domain, *arguments, **named))

    return ask
