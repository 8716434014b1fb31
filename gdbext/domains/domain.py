"""The base of all domains: a stop to read from, parts that are read once, and rules that can be checked singly."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, TypeVar

from gdbext.checks.finding import CheckReport, Rule, not_looked_at
from gdbext.domains.parts import Parts
from gdbext.domains.stop import Stop

Inputs = TypeVar("Inputs")
Wanted = Callable[[str], bool]
"""Whether to check the rule with this id."""


def every(_: str) -> bool:
    """Check all rules."""
    return True


class Domain(ABC):
    """One subject of a stop. Its constructor takes the domains that it depends on."""

    rules: ClassVar[tuple[Rule[Any], ...]]
    """All rules that `check` checks, whether or not they apply to this kernel."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop

    @property
    def parts(self) -> Parts:
        """The parts that have been read."""
        return self._stop.parts

    @abstractmethod
    def check(self, wanted: Wanted = every) -> CheckReport:
        """Check the wanted rules, and read no more of the domain's data than they need.

        DescriptionError if the profile describes nothing that they apply to.
        """

    def _has_any(self, wanted: Wanted) -> bool:
        """Whether any rule of this domain is wanted."""
        return any(wanted(rule.id) for rule in self.rules)

    def _asked(
        self, rules: Iterable[Rule[Inputs]], wanted: Wanted, look: Callable[[Rule[Inputs]], CheckReport]
    ) -> Sequence[CheckReport]:
        """A report for each wanted rule; those that the profile switches off are not checked."""
        asked = [rule for rule in rules if wanted(rule.id)]
        off = [rule for rule in asked if self._stop.is_off(rule.id)]
        reports = [look(rule) for rule in asked if rule not in off]
        return [*reports, not_looked_at(off, "switched off in the profile")]
