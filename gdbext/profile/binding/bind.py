"""A profile bound to a kernel: every expression compiled against its symbols, or every problem named.

Nothing here reads memory. The bound records are what the readers of managers work from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import TypeVar

from gdbext.errors import ProfileError
from gdbext.profile.binding.binder import Binder
from gdbext.profile.binding.heaps import BoundHeap, bind_heap
from gdbext.profile.binding.owners import bind_buffers, bind_held, bind_page_records, detected
from gdbext.profile.binding.physical import BoundPmm, bind_pmm
from gdbext.profile.binding.pointers import bind_pointers
from gdbext.profile.expressions.expression import Expression
from gdbext.profile.language.keys import Range, Source
from gdbext.profile.language.owners import Buffers, Held, PageRecords
from gdbext.profile.language.physical import Buddy, FreeLists
from gdbext.profile.language.pointers import PointerRanges
from gdbext.profile.language.schema import (
    KINDS,
    NAMED,
    BootMap,
    Checks,
    Handled,
    Kernel,
    Known,
    Profile,
    Reclaimable,
    Reserved,
    Zones,
)
from gdbext.symbols.model import Detail, Symbols, Type
from gdbext.symbols.wrapped import RememberedSymbols

_D = TypeVar("_D")
_B = TypeVar("_B")


@dataclass(frozen=True)
class BoundArray:
    """An array of ``count`` structs at ``entries``, each a physical range and ``stride`` bytes after the one before.

    ``base`` (a physical address) and ``length`` (in bytes) are about one entry, of type ``element``.
    """

    entries: Expression
    count: Expression
    element: Type
    stride: int
    base: Expression
    length: Expression


@dataclass(frozen=True)
class BoundReclaimable:
    """Types of memory that are for free use ``when`` that is not 0."""

    types: tuple[int, ...]
    when: Expression


@dataclass(frozen=True)
class BoundBootMap:
    """The firmware's ranges; ``type`` is about one of them, ``usable`` holds the types for free use.

    ``reclaimable`` are types that come to be so, ``reserved`` the ranges that the kernel keeps for itself.
    """

    where: str
    ranges: BoundArray
    type: Expression
    usable: tuple[int, ...]
    reclaimable: BoundReclaimable | None
    reserved: BoundArray | None


@dataclass(frozen=True)
class BoundZones:
    """Ranges of physical memory, an array; ``start`` and ``end`` (exclusive) are about one element."""

    where: str
    entries: Expression
    count: Expression
    stride: int
    start: Expression
    end: Expression
    names: tuple[str, ...]


@dataclass(frozen=True)
class BoundException:
    """The exception being handled, while ``when`` is not 0; ``address`` None stands for CR2."""

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
    """A profile that fits a kernel, as far as it does: what has a problem is left out and listed in ``problems``."""

    title: str
    kernel: Kernel
    direct_map: Expression | None
    image: Range[Expression] | None
    boot_map: BoundBootMap | None
    exception: BoundException | None
    zones: BoundZones | None
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
    Detail.NOTHING: "the kernel has no symbols: its file is stripped, or not loaded",
}


def bind(profile: Profile, symbols: Symbols) -> BoundProfile:
    """Compile all of a profile's expressions against a kernel's symbols. Never raises: problems are in the result.

    When there are no symbols, or no types, nearly every expression has a problem, and all have one cause: then it is
    told once for each part of the profile that needs them.
    """
    bound = _Binder(RememberedSymbols(symbols)).profile(profile)
    detail = symbols.detail() if bound.problems else Detail.TYPES
    if detail is Detail.TYPES or (detail is Detail.NAMES and not any("no type" in p.problem for p in bound.problems)):
        return bound  # casts do without types, so a misspelt name may be all that is wrong
    cause = _ONE_CAUSE[detail]
    parts = dict.fromkeys(_part(problem.where) for problem in bound.problems)
    return replace(bound, problems=tuple(ProfileError(part, cause) for part in parts))


def _part(where: str) -> str:
    """The place of a part of a profile, from that of a key in it: without the key, and the line that was the key's.

    ``k.toml:9 (pmm.main.bits)`` is in ``k.toml (pmm.main)``, ``k.toml:5 (address.direct_map)`` in ``k.toml (address)``.
    """
    title, _, path = where.removesuffix(")").rpartition(" (")
    names = path.split(".")
    return f"{title.rpartition(':')[0]} ({'.'.join(names[: 2 if names[0] in (*KINDS, *NAMED) else 1])})"


class _Binder(Binder):
    """Binds the parts of a profile one by one; a part that has a problem is left out."""

    def profile(self, profile: Profile) -> BoundProfile:
        address = profile.address
        return BoundProfile(
            profile.title,
            profile.kernel,
            self._sound(address.direct_map, self.expression),
            self._sound(address.image, self.range),
            self._sound(profile.boot_map, self._boot_map),
            self._sound(profile.exception, self._exception),
            self._sound(profile.zones, self._zones),
            self._sound(next(iter(detected(self, profile.page_records)), None), partial(bind_page_records, self)),
            self._all(detected(self, *profile.dma), partial(bind_buffers, self)),
            self._all(detected(self, *profile.held), partial(bind_held, self)),
            self._all(detected(self, *profile.pointers), partial(bind_pointers, self)),
            self._all(profile.pmm, partial(bind_pmm, self)),
            self._all(profile.heap, partial(bind_heap, self)),
            profile.checks,
            # One whose address does not fit is dropped: without an address it would excuse its rule everywhere.
            self._all(profile.checks.known, self._known),
            tuple(self.problems),
        )

    def _all(self, descriptions: tuple[_D, ...], make: Callable[[_D], _B]) -> tuple[_B, ...]:
        """What ``make`` makes of each description; those that have a problem are left out."""
        made = [self._sound(description, make) for description in descriptions]
        return tuple(bound for bound in made if bound is not None)

    def _sound(self, described: _D | None, make: Callable[[_D], _B]) -> _B | None:
        """What ``make`` makes of a description; None when there is none, or when it has a problem."""
        if described is None:
            return None
        before = len(self.problems)
        made = make(described)
        return made if len(self.problems) == before else None

    def _known(self, described: Known) -> BoundKnown:
        return BoundKnown(described.id, self.maybe(described.address), described.reason)

    def _boot_map(self, described: BootMap) -> BoundBootMap:
        ranges = self._array(described)
        return BoundBootMap(
            described.where,
            ranges,
            self.about(described.type, ranges.element),
            self._constants(described.usable),
            self._reclaimable(described.reclaimable) if described.reclaimable else None,
            self._array(described.reserved) if described.reserved else None,
        )

    def _constants(self, sources: tuple[Source, ...]) -> tuple[int, ...]:
        return tuple(self.constant(source) for source in sources)

    def _reclaimable(self, described: Reclaimable) -> BoundReclaimable:
        return BoundReclaimable(self._constants(described.types), self.expression(described.when))

    def _zones(self, described: Zones) -> BoundZones:
        entries = self.expression(described.entries)
        element = self.element(described.entries, entries)
        start, end = (self.about(source, element) for source in (described.start, described.end))
        return BoundZones(
            described.where, entries, self.expression(described.count), element.size, start, end, described.names
        )

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

    def _array(self, described: BootMap | Reserved) -> BoundArray:
        entries = self.expression(described.entries)
        element = self.element(described.entries, entries)
        base, length = (self.about(source, element) for source in (described.base, described.length))
        return BoundArray(entries, self.expression(described.count), element, element.size, base, length)
