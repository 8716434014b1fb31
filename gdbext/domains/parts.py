"""The parts of a domain: each is read once, when it is first needed."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from gdbext.machine.stopped import Machine
from gdbext.x86.space import AddressSpace, Window
from gdbext.x86.virtual import PagedMemory

P = ParamSpec("P")
T = TypeVar("T")
Key = tuple[Hashable, ...]


@dataclass(frozen=True)
class Before:
    """A part as it was read last, and those of the frames it was read from whose contents have changed."""

    value: Any
    changed: NDArray[np.uint64]


class Parts:
    """The parts that have been read at one stop. A key is the part's name with its arguments."""

    def __init__(self) -> None:
        self._kept: dict[Key, Any] = {}

    def begin(self, arrive: Callable[[], object]) -> None:
        """Begin a stop, from which the parts will be read.

        ``arrive`` gets its machine, and returns an object that identifies the kernel: the same as before, or an equal
        object, as long as its description is the same.
        """

    def watched(self, machine: Machine) -> Machine:
        """The machine of the stop in the form that the parts use."""
        return machine

    def virtual(self, machine: Machine, space: Callable[[Window | None], AddressSpace]) -> PagedMemory:
        """Memory as the selected processor sees it; ``space`` enumerates its address space, or a window of it."""
        return PagedMemory(machine.memory, machine.cpu, space=space)

    def before(self) -> Before | None:
        """The part that is being read, as it was read last, for readers that it saves work; None if there is none."""
        return None

    def get(self, key: Key, read: Callable[[], T]) -> T:
        """The part of this key. If ``read`` raises, so does this, and the part is read again at the next request."""
        if key not in self._kept:
            self._kept[key] = read()
        found: T = self._kept[key]
        return found


class HasParts(Protocol):
    """A domain, as far as its parts go."""

    @property
    def parts(self) -> Parts:
        """The parts that have been read."""


D = TypeVar("D", bound=HasParts)


def part(read: Callable[Concatenate[D, P], T]) -> Callable[Concatenate[D, P], T]:
    """A method that reads a part of its domain: it runs once for each set of (hashable, positional) arguments."""

    @wraps(read)
    def ask(domain: D, /, *arguments: P.args, **named: P.kwargs) -> T:
        return domain.parts.get((read.__qualname__, *arguments), partial(read, domain, *arguments, **named))

    return ask
