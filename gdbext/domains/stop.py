"""The base of all domains: one stopped machine with its kernel's symbols and profile."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from gdbext.checks.finding import CheckReport, Finding, Severity, Skipped
from gdbext.domains.parts import Parts, part
from gdbext.errors import DescriptionError, MemoryUnavailable
from gdbext.machine.stopped import Machine
from gdbext.profile.binding.bind import BoundProfile
from gdbext.profile.choice import ProfileChoice
from gdbext.profile.expressions.expression import Expression
from gdbext.structures.unread import Unread
from gdbext.symbols.model import Symbols
from gdbext.units import PhysAddr
from gdbext.x86.space import AddressSpace, Window, enumerate_space
from gdbext.x86.virtual import PagedMemory

_R = TypeVar("_R")


class Stop:
    """A snapshot: valid until the guest runs, cheap to create again at the next stop.

    What is expensive, or may be missing, is read when it is first needed: ``machine`` returns the machine, or raises
    the error to be shown to the user. ``elf`` is the kernel's file, None if none is loaded. ``evaluate`` evaluates
    an expression that the user typed to an unsigned 64-bit number, ``parts`` keeps what is read.
    """

    def __init__(
        self,
        machine: Callable[[], Machine],
        symbols: Symbols,
        elf: Path | None,
        profiles: ProfileChoice,
        evaluate: Callable[[str], int],
        parts: Parts,
    ) -> None:
        self._machine = machine
        self.symbols = symbols
        self.elf = elf
        self.profiles = profiles
        self.evaluate = evaluate
        self.parts = parts
        parts.begin(self._arrive)

    def _arrive(self) -> object:
        """Get the machine; an object that identifies the kernel."""
        _ = self.machine
        return self.profile if self.has_profile else (self.elf, self.symbols.sections())

    @cached_property
    def machine(self) -> Machine:
        """The stopped machine; MemoryUnavailable or UsageError if there is none."""
        return self.parts.watched(self._machine())

    @cached_property
    def profile(self) -> BoundProfile:
        """The kernel's description; DescriptionError if there is none, or it cannot be read."""
        return self.profiles.bound(self.symbols, self.elf)

    @property
    def has_profile(self) -> bool:
        """Whether there is a description of the kernel that can be read."""
        try:
            return bool(self.profile)
        except DescriptionError:
            return False

    @cached_property
    def problems(self) -> tuple[str, ...]:
        """The parts of the profile that do not match the kernel, and are therefore ignored."""
        return tuple(str(problem) for problem in self.profile.problems) if self.has_profile else ()

    @cached_property
    def virtual(self) -> PagedMemory:
        """Memory as the selected processor sees it."""
        return self.parts.virtual(self.machine, self._seen_through)

    @part
    def space(self, root: PhysAddr | None) -> AddressSpace:
        """Everything that a root maps; None for that of the selected processor. UsageError if paging is off."""
        return enumerate_space(self.machine.memory, self.machine.cpu, root)

    @part
    def window(self, root: PhysAddr | None, window: Window) -> AddressSpace:
        """The same of a window of virtual addresses."""
        return enumerate_space(self.machine.memory, self.machine.cpu, root, window)

    def _seen_through(self, window: Window | None) -> AddressSpace:
        return self.space(None) if window is None else self.window(None, window)

    def value(self, expression: Expression) -> int:
        """The present value of the profile's expression; a constant needs no machine. Raises as ``machine`` does."""
        constant = expression.constant
        return expression.evaluate(self.virtual) if constant is None else constant

    def require(self, table: str, found: bool, what: str) -> None:
        """Raise DescriptionError if the profile has no ``table``, or none that matches the kernel."""
        if found:
            return
        for problem in self.profile.problems:
            if f"({table}." in problem.where:
                raise problem
        raise DescriptionError(f"the profile '{self.profile.kernel.name}' describes no {what}; add [{table}.NAME]")

    def excused(self, manager: _R) -> _R | Unread:
        """A manager as it was read; without paging it is not a fault that the kernel's addresses are not mapped."""
        if isinstance(manager, Unread) and not self.machine.cpu.paging:
            return replace(manager, why=f"paging is off on the selected processor: {manager.why}", absent=True)
        return manager

    def is_off(self, rule: str) -> bool:
        """Whether the profile, if there is one, switches a rule off."""
        return self.has_profile and rule in self.profile.checks.off

    def adjusted(self, report: CheckReport) -> CheckReport:
        """A report adjusted by the profile (if any): rules off, severities changed, known findings removed."""
        if not self.has_profile:
            return report
        checks = self.profile.checks
        known = {(k.id, self._value_or_none(k.address) if k.address else None) for k in self.profile.known}
        findings = tuple(
            _with_severity(finding, checks.severity)
            for finding in report.findings
            if finding.id not in checks.off and not known & {(finding.id, None), (finding.id, finding.address)}
        )
        off = tuple(Skipped(rule, "switched off in the profile") for rule in report.checked if rule in checks.off)
        return CheckReport(
            findings, tuple(rule for rule in report.checked if rule not in checks.off), report.skipped + off
        )

    def _value_or_none(self, expression: Expression) -> int:
        """A value that findings are compared with; -1, which is not an address, if it cannot be read now."""
        try:
            return expression.evaluate(self.virtual)
        except MemoryUnavailable:
            return -1


def _with_severity(finding: Finding, wanted: Mapping[str, str]) -> Finding:
    """A finding with the severity that the profile gives its rule; a finding in flux keeps its severity."""
    if finding.id not in wanted or finding.severity is Severity.IN_FLUX:
        return finding
    return replace(finding, severity=Severity(wanted[finding.id]))
