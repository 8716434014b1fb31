"""Every fault that the reference kernel can inject, with every manager: the rule that it breaks, at its place, alone.

Each case is a boot of its own, for damage adds up. A fault that a manager cannot have must be refused with the reason
that stands here, so that no combination is passed over in silence.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from .pmm_machine import MANAGERS, Machine, number

BOOKS_IN_FRAMES = "this manager keeps its books in the free frames"
WOULD_DESTROY = "this manager's links would overwrite the very bits that say where they lead"
NO_STATE = "this manager has no state for frames that are not RAM"
NOT_ONE_PIECE = "only the flat bitmap is sized in one piece"
NO_LINKS = "this manager keeps no links in the free frames"
NO_STACK = "this manager keeps no stack of frames"
NO_BUDDIES = "this manager has no buddies"
NO_ORDERS = "this manager has no list for each order"

BITS = ("bitmap", "regions", "levels")
LISTS = ("runs", "stack", "pages")
BUDDIES = ("buddy", "tree")


@dataclass(frozen=True)
class Fault:
    """The rule that is broken, words that the likely cause has, and which managers refuse the fault, by reason."""

    rule: str
    cause: str
    refused: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def refusal(self, manager):
        return next((why for why, managers in self.refused.items() if manager in managers), None)


def all_but(*managers):
    return tuple(name for name in MANAGERS if name not in managers)


METADATA = {BOOKS_IN_FRAMES: LISTS, WOULD_DESTROY: ("buddy",)}
ABSENT = {NO_STATE: all_but("bitmap", "levels", "tree")}
SIZED = {NOT_ONE_PIECE: all_but("bitmap")}
LINKED = {NO_LINKS: (*BITS, "tree")}
STACKED = {NO_STACK: all_but("stack", "pages")}
ORDERS = {NO_ORDERS: all_but("buddy")}

FAULTS = {
    1: Fault("PMM01", "lost update"),
    2: Fault("PMM01", "double free"),
    3: Fault("PMM02", "never marked used"),
    4: Fault("PMM02", "allocated twice"),
    5: Fault("PMM02", "freed while in use"),
    6: Fault("PMM03", "not reserved, or only in part", METADATA),
    7: Fault("PMM03", "not reserved, or only in part", METADATA),
    8: Fault("PMM03", "not reserved, or only in part", METADATA),
    9: Fault("PMM04", "a hole in the memory map was freed", ABSENT),
    10: Fault("PMM04", r"rounded outward .*its end up", ABSENT),
    11: Fault("PMM04", r"rounded outward \(its base down", ABSENT),
    12: Fault("PMM04", "before its tables were saved"),
    13: Fault("PMM05", "sum of all lengths", SIZED),
    14: Fault("PMM05", "one frame short", SIZED),
    15: Fault("PMM05", "too few bits", SIZED),
    16: Fault("PMM04", "reserved too late or only in part"),
    17: Fault("PMM07", "did not lower the hint", {"this manager has no hint": all_but("bitmap", "regions")}),
    18: Fault("PMM07", "frames beyond the end", {"this manager has no bits beyond its last frame": all_but(*BITS)}),
    19: Fault("PMM08", "will not be allocated", {"this manager has no summaries": all_but("levels")}),
    20: Fault("PMM09", "a digit is missing", {"this manager does not compare words": all_but("bitmap")}),
    21: Fault("PMM10", "freed twice", STACKED),
    22: Fault("PMM10", "overwritten with text: 'used aft'", LINKED),
    23: Fault("PMM10", "in the wrong unit", LINKED),
    # Popped, and still listed: without records of frames that is F05's state, and F05's rule names it.
    24: Fault("PMM02", "freed while in use", STACKED),
    25: Fault("PMM11", "chosen by the request", {"this manager has no zones": all_but("stack", "pages")}),
    26: Fault("PMM11", "boundary was checked for the first byte only"),
    27: Fault("PMM11", "frames were allocated one at a time"),
    28: Fault("PMM12", "not merged|were not updated", {NO_BUDDIES: all_but(*BUDDIES)}),
    29: Fault("PMM12", "the list of the request's order", ORDERS),
    30: Fault("PMM12", "on a list while it was on another", ORDERS),
    31: Fault("PMM12", "stray write", {NO_BUDDIES: all_but(*BUDDIES)}),
    32: Fault("PMM12", "its order was lost"),
}

# Ragged borders for F10 and F11, a hole for F13, ACPI memory for F12; and books of more than one page.
MAP = "map=0x1400800,0x800,2 map=0x1500000,0x800,2 map=0x1600000,0x10000,2 map=0x1700000,0x10000,3"
RAM = {"bitmap": "256M", "levels": "256M"}


@pytest.fixture(scope="module", params=MANAGERS)
def rig(request, gcc_kernel, tmp_path_factory):
    """A machine for one manager after the other, healthy when it is first seen."""
    module = tmp_path_factory.mktemp("module") / "module"
    module.write_bytes(b"a module " * 1000)
    name = request.param
    with Machine(
        gcc_kernel, append=f"pmm={name} {MAP}", memory=RAM.get(name, "32M"), qemu_args=("-initrd", str(module))
    ) as machine:
        assert machine.command("memcheck")["findings"] == []
        yield name, machine


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"F{fault:02}")
def test_fault(rig, fault):
    manager, machine = rig
    expected = FAULTS[fault]
    said = machine.inject(fault)
    why = expected.refusal(manager)
    if why is not None:
        assert f"fault: F{fault:02} not injected: {why}\n" in said
        assert number(machine, "fault_done.number") == 0
        return
    try:
        assert f"fault: F{fault:02} injected at " in said
        assert number(machine, "fault_done.number") == fault
        (finding,) = machine.command("memcheck")["findings"]
        assert (finding["id"], finding["severity"]) == (expected.rule, "error")
        assert int(finding["address"], 16) == place(machine, fault)
        assert re.search(expected.cause, finding["cause"])
    finally:
        machine.reset()


def place(machine, fault):
    """Where the kernel says the damage is. Of a block on two lists it names the block, we the link that is too much."""
    where = number(machine, "fault_done.where")
    if fault != 30:
        return where
    view = where + 0xFFFF_8000_0000_0000
    orders = number(machine, "sizeof(pmm_buddy.order) / sizeof(pmm_buddy.order[0])")
    return [
        number(machine, f"&pmm_buddy.order[{order}].first")
        for order in range(orders)
        if number(machine, f"pmm_buddy.order[{order}].first") == view
    ][-1]


def test_every_fault_of_the_kernel_is_here(rig):
    _, machine = rig
    count = number(machine, "sizeof(faults) / sizeof(faults[0])")
    numbers = {number(machine, f"faults[{i}].number") for i in range(count)}
    assert {fault for fault in numbers if fault < 100} == set(FAULTS)  # from 100 on: test_heap_faults.py


def test_a_fault_from_the_command_line(boot):
    machine = boot(append="pmm=stack fault=F21", memory="32M")
    (finding,) = machine.command("memcheck")["findings"]
    assert (finding["id"], int(finding["address"], 16)) == ("PMM10", number(machine, "fault_done.where"))
