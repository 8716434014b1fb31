"""What all domains have in common: a stop, parts that are read once, and rules that can be checked alone."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, TypeVar

from gdbext.checks.finding import CheckReport, Rule, not_looked_at
from gdbext.domains.parts import Parts
from gdbext.domains.stop import Stop

Inputs = TypeVar("Inputs")
Wanted = Callable[[str], bool]
"""Whether the rule with an id is to be checked."""


def every(_: str) -> bool:
    """All rules are to be checked."""
    return True


class Domain(ABC):
    """A domain of knowledge about one stop. Its constructor takes the domains that it builds on."""

    rules: ClassVar[tuple[Rule[Any], ...]]
    """All rules that `check` can check, whether or not this kernel can break them."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop

    @property
    def parts(self) -> Parts:
        """What has been read."""
        return self._stop.parts

    @abstractmethod
    def check(self, wanted: Wanted = every) -> CheckReport:
        """The wanted rules, and of the domain's data no more than they need.

        DescriptionError when the profile describes nothing that they could be about.
        """

    def _has_any(self, wanted: Wanted) -> bool:
        """Whether a rule of this domain is wanted at all."""
        return any(wanted(rule.id) for rule in self.rules)

    def _asked(
        self, rules: Iterable[Rule[Inputs]], wanted: Wanted, look: Callable[[Rule[Inputs]], CheckReport]
    ) -> Sequence[CheckReport]:
        """A report for each wanted rule; rules that the profile switches off are not checked."""
        asked = [rule for rule in rules if wanted(rule.id)]
        off = [rule for rule in asked if self._stop.is_off(rule.id)]
        reports = [look(rule) for rule in asked if rule not in off]
        return [*reports, not_looked_at(off, "switched off in the profile")]
