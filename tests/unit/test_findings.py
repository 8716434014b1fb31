"""What becomes of what a rule yields: how many findings are kept, how severe they are, how reports are put together."""

import pytest

from gdbext.checks.finding import (
    FINDINGS_KEPT,
    Broken,
    CheckReport,
    Rule,
    Severity,
    Skipped,
    combined,
    in_order,
    look,
    not_looked_at,
    only,
    run_rules,
)


def broken(number, severity=Severity.ERROR):
    return Broken("frame", number, "used", "free", "no cause", (f"evidence {number}",), severity)


def rule(count, name="R1", **more):
    """A rule that finds so many things, and that counts in ``asked`` how many it was asked for."""
    asked = []

    def check(inputs):
        for number in range(count):
            asked.append(number)
            yield broken(number)

    return Rule(name, "a title", check, **more), asked


@pytest.mark.parametrize("count", [0, 1, FINDINGS_KEPT - 1, FINDINGS_KEPT, FINDINGS_KEPT + 1, FINDINGS_KEPT + 2, 1000])
def test_twenty_findings_of_a_rule_are_kept_and_no_more_are_looked_for(count):
    assert FINDINGS_KEPT == 20
    many, asked = rule(count)
    findings = look(many, None).findings
    assert [finding.address for finding in findings] == list(range(min(count, 20)))
    assert len(asked) == min(count, 21)
    more = [len(finding.evidence) > 1 for finding in findings]
    assert more == [False] * 19 + [True] if count > 20 else not any(more)
    assert [finding.evidence[0] for finding in findings] == [f"evidence {number}" for number in range(min(count, 20))]


@pytest.mark.parametrize("ask", [look, lambda one, inputs, **more: run_rules([one], inputs, **more)])
def test_findings_are_in_flux_when_the_lock_was_held_and_only_then(ask):
    one, _ = rule(2)
    assert [finding.severity for finding in ask(one, None).findings] == [Severity.ERROR] * 2
    assert [finding.severity for finding in ask(one, None, in_flux=False).findings] == [Severity.ERROR] * 2
    assert [finding.severity for finding in ask(one, None, in_flux=True).findings] == [Severity.IN_FLUX] * 2


def test_a_finding_without_a_place_has_no_address():
    nowhere = Rule("R1", "a title", lambda _: [Broken("manager", None, "a", "b", "c")])
    assert [finding.address for finding in look(nowhere, None).findings] == [None]
    at_zero = Rule("R1", "a title", lambda _: [broken(0)])
    assert [finding.address for finding in look(at_zero, None).findings] == [0]


def test_a_rule_that_cannot_be_looked_at_is_not_asked():
    one, asked = rule(3, missing=lambda _: "nothing is known")
    assert look(one, None) == CheckReport((), (), (Skipped("R1", "nothing is known", partly=False),))
    assert asked == []


def test_a_rule_that_leaves_something_out_is_looked_at():
    one, _ = rule(1, partly=lambda _: ("this", "that"))
    report = look(one, None)
    assert (len(report.findings), report.checked) == (1, ("R1",))
    assert report.skipped == (Skipped("R1", "this", partly=True), Skipped("R1", "that", partly=True))


def test_reports_on_the_same_rules_are_one():
    """What is severe comes first; a rule that was looked at somewhere was skipped elsewhere only in part."""
    warned = Rule("R2", "a title", lambda _: [broken(7, Severity.WARNING), broken(8)])
    one, _ = rule(1)
    held = look(one, None, in_flux=True)
    elsewhere = not_looked_at([one, Rule("R3", "a title", lambda _: ())], "not set up yet")
    whole = combined([look(warned, None), held, elsewhere, elsewhere])
    assert [(finding.id, finding.address) for finding in whole.findings] == [("R2", 8), ("R2", 7), ("R1", 0)]
    assert whole.checked == ("R1", "R2")
    assert whole.skipped == (
        Skipped("R1", "not set up yet", partly=True),
        Skipped("R3", "not set up yet", partly=False),
    )


def test_reports_on_different_rules_stay_in_their_order():
    (one, _), (other, _) = rule(1), rule(2, "R0")
    report = in_order([look(one, None), look(other, None)])
    assert [finding.id for finding in report.findings] == ["R1", "R0", "R0"]
    assert report.checked == ("R1", "R0")
    assert only(report, "R0".__eq__) == look(other, None)
