"""The answers of the command about the kernel's profile."""

from __future__ import annotations

import re
from collections.abc import Iterable

from gdbext.commands.record import Arguments
from gdbext.errors import DescriptionError, MemoryUnavailable, ProfileError, UsageError
from gdbext.heap.read import kind_of as kind_of_heap
from gdbext.pmm.read import kind_of
from gdbext.profile.binding.heaps import BoundHeap
from gdbext.profile.binding.physical import BoundPmm
from gdbext.profile.expressions.expression import Expression
from gdbext.report.results import ManagerLine, ProfileCheck, ProfileReport
from gdbext.report.text import count
from gdbext.session import Session
from gdbext.units import VirtAddr


def memprofile(session: Session, arguments: Arguments) -> ProfileReport:
    """Show the profile in use, check it, or use another."""
    verb = arguments.text("VERB")
    if verb == "use":
        profile = arguments.text("FILE")
        if profile is None:
            raise UsageError("memprofile use needs FILE: a profile's path, or the name of a built-in one")
        session.profiles.use(profile)
    bound = session.profile
    values = _Values(session)
    direct_map = values.ask("the direct map", bound.direct_map)
    make = ProfileCheck if verb == "check" else ProfileReport
    return make(
        title=bound.title,
        kernel=bound.kernel.name,
        managers=(
            *(_line("pmm", manager, kind_of(manager), values) for manager in bound.pmm),
            *(_line("heap", heap, kind_of_heap(heap), values) for heap in bound.heap),
            *(
                ManagerLine("frames", "page_records", "records", r.where, serves=True)
                for r in (bound.page_records,)
                if r
            ),
            *(ManagerLine("frames", table.table, "dma", table.where, serves=True) for table in bound.dma),
            *(ManagerLine("frames", table.table, "held", table.where, serves=True) for table in bound.held),
        ),
        direct_map=None if direct_map is None else VirtAddr(direct_map),
        unread=values.unread,
        problems=_told_once(bound.problems),
    )


def _line(layer: str, manager: BoundPmm | BoundHeap, kind: str, values: _Values) -> ManagerLine:
    truth = 1 if manager.when is None else values.ask("which manager serves", manager.when)
    serves = None if truth is None else truth != 0
    return ManagerLine(layer, manager.name, kind, manager.where, serves)


_ADDRESS = re.compile(r"0x[0-9a-f]+")


class _Values:
    """The values of the profile's expressions, as far as they can be read; for the rest, the reason."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._missing: dict[str, dict[str, None]] = {}

    def ask(self, what: str, expression: Expression | None) -> int | None:
        """The value of an expression; None when there is no expression, or no memory to read it from."""
        try:
            return None if expression is None else self._session.value(expression)
        except (MemoryUnavailable, DescriptionError, UsageError) as error:
            self._missing.setdefault(str(error), {})[what] = None
            return None

    @property
    def unread(self) -> tuple[str, ...]:
        """A line for each reason, with all values that it prevented; reasons that differ in an address share a line."""
        alike: dict[str, list[str]] = {}
        for why, what in self._missing.items():
            line = f"{' and '.join(what)}: {why}"
            alike.setdefault(_ADDRESS.sub("", line), []).append(line)
        return tuple(
            first + (f" (nor can {count(len(others), 'other address', 'other addresses')})" if others else "")
            for first, *others in alike.values()
        )


def _told_once(problems: Iterable[ProfileError]) -> tuple[str, ...]:
    """The problems as lines; a problem that several parts of a profile share is one line that names all of them."""
    places: dict[str, list[str]] = {}
    for problem in problems:
        places.setdefault(problem.problem, []).append(problem.where)
    return tuple(
        f"{first}: {problem}" + (f" (also {', '.join(map(_path, others))})" if others else "")
        for problem, (first, *others) in places.items()
    )


def _path(where: str) -> str:
    """``pmm.main`` of ``k.toml:7 (pmm.main)``."""
    return where.rpartition(" (")[2].removesuffix(")")
