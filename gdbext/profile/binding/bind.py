"""A profile bound to a kernel: every expression is compiled against its symbols, or its problem is listed.

Nothing here reads memory. The readers of managers work from the bound records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import Any, TypeVar

from gdbext.errors import ProfileError
from gdbext.profile.binding.binder import Binder
from gdbext.profile.binding.collections import bind_elements
from gdbext.profile.binding.heaps import BoundHeap, bind_heap
from gdbext.profile.binding.owners import bind_buffers, bind_held, bind_page_records, detected
from gdbext.profile.binding.physical import BoundPmm, bind_pmm
from gdbext.profile.binding.ranges import bind_boot_map
from gdbext.profile.expressions.expression import Expression
from gdbext.profile.language.keys import Range, Table
from gdbext.profile.language.owners import Buffers, Held, PageRecords
from gdbext.profile.language.physical import Buddy, FreeLists
from gdbext.profile.language.pointers import PointerRanges
from gdbext.profile.language.ranges import ZONES, BootMap, Zones
from gdbext.profile.language.schema import (
    KINDS,
    NAMED,
    Checks,
    Handled,
    Kernel,
    Known,
    Profile,
)
from gdbext.symbols.model import Detail, Symbols
from gdbext.symbols.wrapped import RememberedSymbols

_D = TypeVar("_D")
_B = TypeVar("_B")


@dataclass(frozen=True)
class BoundException:
    """The exception being handled, while ``when`` is not 0; ``address`` None means CR2."""

    where: str
    when: Expression
    vector: Expression
    error_code: Expression
    address: Expression | None
    rip: Expression | None
    flags: Expression | None


@dataclass(frozen=True)
class BoundKnown:
    """An expected finding of rule ``id``, at ``address`` or anywhere."""

    id: str
    address: Expression | None
    reason: str


@dataclass(frozen=True)
class BoundProfile:
    """The parts of a profile that fit a kernel; parts with a problem are omitted, and listed in ``problems``."""

    title: str
    kernel: Kernel
    direct_map: Expression | None
    image: Range[Expression] | None
    boot_map: BootMap[Expression] | None
    exception: BoundException | None
    zones: Zones[Expression] | None
    page_records: PageRecords[Expression] | None
    dma: tuple[Buffers[Expression], ...]
    held: tuple[Held[Expression], ...]
    pointers: tuple[PointerRanges[Expression], ...]
    pmm: tuple[BoundPmm, ...]
    heap: tuple[BoundHeap, ...]
    checks: Checks
    known: tuple[BoundKnown, ...]
    problems: tuple[ProfileError, ...] = field(default=())

    @property
    def zone_names(self) -> tuple[str, ...]:
        """The names that the profile gives to zones, and to the lists of physical managers."""
        lists = (found for manager in self.pmm if isinstance(manager, Buddy | FreeLists) for found in manager.lists)
        named = ((*found.names, *((found.name,) if found.name else ())) for found in lists)
        return tuple(dict.fromkeys(chain(self.zones.names if self.zones else (), *named)))


_ONE_CAUSE = {
    Detail.NAMES: "the kernel has symbols but no debug information: build it with -g",
    Detail.NOTHING: "the kernel has no symbols: its file is stripped or not loaded; load the unstripped file",
}


def bind(profile: Profile, symbols: Symbols) -> BoundProfile:
    """Compile all of a profile's expressions against a kernel's symbols. Never raises: problems are in the result.

    Without symbols, or without types, nearly every expression has a problem, all for the same reason: it is then
    reported once for each part of the profile that needs them.
    """
    bound = _Binder(RememberedSymbols(symbols)).profile(profile)
    detail = symbols.detail() if bound.problems else Detail.TYPES
    if detail is Detail.TYPES or (detail is Detail.NAMES and not any("no type" in p.problem for p in bound.problems)):
        return bound  # casts to base types work without debug information, so only a name may be misspelt
    cause = _ONE_CAUSE[detail]
    parts = dict.fromkeys(_part(problem.where) for problem in bound.problems)
    return replace(bound, problems=tuple(ProfileError(part, cause) for part in parts))


def _part(where: str) -> str:
    """The location of a part of a profile, from that of a key in it: without the key and its line.

    ``k.toml:9 (pmm.main.bits)`` is in ``k.toml (pmm.main)``, ``k.toml:5 (address.direct_map)`` in ``k.toml (address)``.
    """
    title, _, path = where.removesuffix(")").rpartition(" (")
    names = path.split(".")
    return f"{title.rpartition(':')[0]} ({'.'.join(names[: 2 if names[0] in (*KINDS, *NAMED) else 1])})"


_OWN: Mapping[str, Callable[[Binder, Any], Any]] = {"dma": bind_buffers, "held": bind_held}
"""The families of tables with more to bind than the elements of a collection."""


class _Binder(Binder):
    """Binds the parts of a profile one by one; a part with a problem is omitted."""

    def profile(self, profile: Profile) -> BoundProfile:
        address = profile.address
        return BoundProfile(
            profile.title,
            profile.kernel,
            self._sound(address.direct_map, self.expression),
            self._sound(address.image, self.range),
            self._sound(profile.boot_map, partial(bind_boot_map, self)),
            self._sound(profile.exception, self._exception),
            self._sound(profile.zones, partial(self._elements, ZONES)),
            self._sound(next(iter(detected(self, profile.page_records)), None), partial(bind_page_records, self)),
            **{name: self._named(name, getattr(profile, name)) for name in NAMED},
            pmm=self._all(profile.pmm, partial(bind_pmm, self)),
            heap=self._all(profile.heap, partial(bind_heap, self)),
            checks=profile.checks,
            # An entry whose address does not compile is dropped: without it the entry would excuse its rule everywhere.
            known=self._all(profile.checks.known, self._known),
            problems=tuple(self.problems),
        )

    def _named(self, family: str, described: tuple[Any, ...]) -> Any:
        """The tables of one family that apply to this build of the kernel."""
        bound_by = _OWN.get(family)
        make = partial(self._elements, NAMED[family]) if bound_by is None else partial(bound_by, self)
        return self._all(detected(self, *described), make)

    def _all(self, descriptions: tuple[_D, ...], make: Callable[[_D], _B]) -> tuple[_B, ...]:
        """The result of ``make`` for each description; descriptions with a problem are omitted."""
        made = [self._sound(description, make) for description in descriptions]
        return tuple(bound for bound in made if bound is not None)

    def _sound(self, described: _D | None, make: Callable[[_D], _B]) -> _B | None:
        """The result of ``make`` for a description; None when there is none, or when it has a problem."""
        if described is None:
            return None
        before = len(self.problems)
        made = make(described)
        return made if len(self.problems) == before else None

    def _elements(self, table: Table, described: Any) -> Any:
        """A table that is only about the elements of a collection."""
        return bind_elements(self, described, table.keys, type(described))

    def _known(self, described: Known) -> BoundKnown:
        return BoundKnown(described.id, self.maybe(described.address), described.reason)

    def _exception(self, described: Handled) -> BoundException:
        return BoundException(
            described.where,
            self.expression(described.when),
            self.expression(described.vector),
            self.expression(described.error_code),
            self.maybe(described.address),
            self.maybe(described.rip),
            self.maybe(described.flags),
        )
