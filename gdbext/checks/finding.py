"""Findings, and the rules that yield them: a rule has an id, and checks snapshots that do not depend on gdb."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum
from itertools import islice
from typing import Generic, TypeVar

from gdbext.units import Word64

Inputs = TypeVar("Inputs")


class Severity(Enum):
    """How bad a finding is.

    ``in-flux``: the manager was being changed at the stop (its lock was held), so this may not be a fault at all.
    """

    ERROR = "error"
    WARNING = "warning"
    IN_FLUX = "in-flux"


@dataclass(frozen=True)
class Broken:
    """A broken rule, as the rule's check yields it; `Rule.finding` makes a finding of it.

    ``address`` is that of the first bad object: virtual for the kernel's structures, physical for a frame;
    ``subject`` says which. ``cause`` is the likely reason, as text.
    """

    subject: str
    address: int | None
    expected: str
    actual: str
    cause: str
    evidence: tuple[str, ...] = ()
    severity: Severity = Severity.ERROR


@dataclass(frozen=True)
class Finding:
    """One broken rule, with its evidence: the rule's id and title, and the fields of `Broken`."""

    id: str
    severity: Severity
    title: str
    subject: str
    address: Word64 | None
    expected: str
    actual: str
    evidence: tuple[str, ...]
    cause: str


@dataclass(frozen=True)
class Skipped:
    """A rule that could not be checked, or (``partly``) not completely, and why."""

    id: str
    why: str
    partly: bool = False


@dataclass(frozen=True)
class CheckReport:
    """The outcome of a set of rules: ``checked`` lists the rules that were checked, completely or in part."""

    findings: tuple[Finding, ...]
    checked: tuple[str, ...]
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True)
class Rule(Generic[Inputs]):
    """A rule over one kind of snapshot.

    ``missing`` says why the rule cannot be checked here, or None if it can; ``partly`` says what it does not check
    here; ``check`` yields what is broken, and the rule adds its id and title.
    """

    id: str
    title: str
    check: Callable[[Inputs], Iterable[Broken]]
    missing: Callable[[Inputs], str | None] = lambda _: None
    partly: Callable[[Inputs], tuple[str, ...]] = lambda _: ()

    def finding(self, broken: Broken) -> Finding:
        """Make a finding of what its check yields."""
        return Finding(
            id=self.id,
            severity=broken.severity,
            title=self.title,
            subject=broken.subject,
            address=None if broken.address is None else Word64(broken.address),
            expected=broken.expected,
            actual=broken.actual,
            evidence=broken.evidence,
            cause=broken.cause,
        )


FINDINGS_KEPT = 20
"""At most this many findings of one rule are listed; the last of them then says that there are more."""


def run_rules(rules: Iterable[Rule[Inputs]], inputs: Inputs, *, in_flux: bool = False) -> CheckReport:
    """Check every rule. With ``in_flux`` all findings are of that severity: the manager's lock was held."""
    return in_order(look(rule, inputs, in_flux=in_flux) for rule in rules)


def look(rule: Rule[Inputs], inputs: Inputs, *, in_flux: bool = False) -> CheckReport:
    """Check one rule. Inputs that it does not use are not read."""
    why = rule.missing(inputs)
    if why is not None:
        return CheckReport((), (), (Skipped(rule.id, why),))
    partly = tuple(Skipped(rule.id, why, partly=True) for why in rule.partly(inputs))
    findings = tuple(map(rule.finding, _capped(rule.check(inputs))))
    if in_flux:
        findings = tuple(replace(finding, severity=Severity.IN_FLUX) for finding in findings)
    return CheckReport(findings, (rule.id,), partly)


def in_order(reports: Iterable[CheckReport]) -> CheckReport:
    """The reports of different rules, one after the other."""
    reports = tuple(reports)
    return CheckReport(
        tuple(finding for report in reports for finding in report.findings),
        tuple(rule for report in reports for rule in report.checked),
        tuple(skipped for report in reports for skipped in report.skipped),
    )


def only(report: CheckReport, wanted: Callable[[str], bool]) -> CheckReport:
    """The part of a report that is about the wanted rules."""
    return CheckReport(
        tuple(finding for finding in report.findings if wanted(finding.id)),
        tuple(rule for rule in report.checked if wanted(rule)),
        tuple(skipped for skipped in report.skipped if wanted(skipped.id)),
    )


def _capped(found: Iterable[Broken]) -> list[Broken]:
    """The first findings of a rule; it does not search for more, as a damaged heap may have millions."""
    findings = list(islice(found, FINDINGS_KEPT + 1))
    if len(findings) <= FINDINGS_KEPT:
        return findings
    last = findings[FINDINGS_KEPT - 1]
    return [
        *findings[: FINDINGS_KEPT - 1],
        replace(last, evidence=(*last.evidence, "further findings of this rule are not listed")),
    ]


def not_looked_at(rules: Iterable[Rule[Inputs]], why: str) -> CheckReport:
    """The report when there is nothing to check: every rule is skipped."""
    return CheckReport((), (), tuple(Skipped(rule.id, why) for rule in rules))


def combined(reports: Iterable[CheckReport]) -> CheckReport:
    """Several reports as one: a rule that one of them skipped and another checked was checked in part."""
    reports = list(reports)
    checked = sorted({rule for report in reports for rule in report.checked})
    findings = [finding for report in reports for finding in report.findings]
    order = {severity: rank for rank, severity in enumerate(Severity)}
    skipped = {replace(skip, partly=skip.id in checked): None for report in reports for skip in report.skipped}
    return CheckReport(
        tuple(sorted(findings, key=lambda finding: order[finding.severity])),
        tuple(checked),
        tuple(sorted(skipped, key=lambda skip: (skip.id, skip.why))),
    )
