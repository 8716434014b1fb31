"""Leaks on the reference kernel: exactly the chunks that it says it has lost; none where its ledger holds them all."""

import re

import pytest

from ..serial_report import SerialReport
from .test_heap_kinds import KINDS

FRONT = 32
"""Bytes of a redzone in front of what the caller gets."""
CALLERS = {
    "lost": {"lose_some", "lose_a_circle", "plant"},
    "register": {"stop_with_one_in_a_register"},
    "stack": {"stop_with_one_on_the_stack"},
}


@pytest.fixture(scope="session", params=["gcc", pytest.param("clang", marks=pytest.mark.deep)])
def compiler(request):
    """Both compilers, with --deep."""
    return request.param


def told(machine):
    """What the kernel says of each chunk of the scenario: lost, kept, register or stack, by address."""
    lines = re.findall(r"leaks: (\w+) address=0x([0-9a-f]+)", machine.serial())
    return {int(address, 16): what for what, address in lines}


def leaked(machine, front=0):
    """The addresses of all leaked chunks as their callers know them, and the groups."""
    groups = machine.command("heapcheck", "-leaks")["leaks"]["groups"]
    assert all(group["count"] == len(group["addresses"]) for group in groups)
    assert [group["bytes"] for group in groups] == sorted((group["bytes"] for group in groups), reverse=True)
    return {int(address, 16) + front for group in groups for address in group["addresses"]}, groups


@pytest.mark.parametrize("word", ["", "callers=1", "poison=0"])
@pytest.mark.parametrize("kind", KINDS)
def test_exactly_the_lost_chunks_are_found(boot, kernel, kind, word):
    machine = boot(kernel, stop="leaks_ready", append=f"scenario=leaks heap={kind} {word}", memory="64M")
    front = FRONT if word == "callers=1" else 0
    said = told(machine)
    assert set(said.values()) == {"lost", "kept", "register", "stack"}
    assert leaked(machine, front)[0] == {address for address, what in said.items() if what == "lost"}
    machine.run_to("kernel_ready")
    found, groups = leaked(machine, front)
    assert found == {address for address, what in said.items() if what != "kept"}
    if word == "callers=1":
        for group in groups:
            whats = {said[int(address, 16) + front] for address in group["addresses"]}
            assert group["caller_name"].split("+")[0] in set().union(*(CALLERS[what] for what in whats))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scenario", ["workload", "churn seed=2", "fragment callers=1", "heaps"])
def test_what_the_ledger_holds_is_no_leak(boot, kernel, kind, scenario):
    machine = boot(kernel, append=f"scenario={scenario} heap={kind}", memory="64M")
    answer = machine.command("heapcheck", "-leaks")
    held = [chunk for chunk in SerialReport(machine.serial()).all("chunk") if chunk["heap"] == "kernel"]
    assert answer["leaks"]["groups"] == []
    assert answer["leaks"]["chunks"] >= len(held)
    assert "HEAP70" in answer["checked"]
    assert not any(finding["id"] == "HEAP70" for finding in answer["findings"])


def test_a_pointer_more_or_less_changes_what_leaks(boot):
    machine = boot(append="scenario=leaks", memory="64M")
    before, _ = leaked(machine)
    machine.execute(f"set var kept.list = (struct link *) {min(before):#x}")
    assert min(before) not in leaked(machine)[0]
    assert len(leaked(machine)[0]) > len(before)  # the list that hung there


def test_a_header_is_no_payload(boot):
    machine = boot(append="scenario=leaks", memory="64M")
    before, _ = leaked(machine)
    machine.execute(f"set var kept.middle = (char *) {min(before) - 8:#x}")
    assert min(before) in leaked(machine)[0]


def test_findings_are_warnings_and_only_on_request(boot):
    machine = boot(append="scenario=leaks", memory="64M")
    assert "HEAP70" not in machine.command("heapcheck")["checked"]
    answer = machine.command("heapcheck", "-leaks", "kernel")
    found = [finding for finding in answer["findings"] if finding["id"] == "HEAP70"]
    assert {finding["severity"] for finding in found} == {"warning"}
    assert [finding["address"] for finding in found] == [group["addresses"][0] for group in answer["leaks"]["groups"]]
    assert machine.errors_found() == 0
    assert "13 of" not in machine.text("heapcheck -leaks")
    assert "15 of 29 used chunks" in machine.text("heapcheck -leaks")
