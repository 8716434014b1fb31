"""The mistakes that other tools make on page tables, each on a real QEMU: the reference is QEMU's own translation.

The numbers are those of tests/unit, where most of these stand too, against the manuals. Numbers 11 to 13 are about
commands.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gdbext.machine.cpu import CR0_WP, CpuState
from gdbext.units import FRAME_SIZE, VirtAddr, Word64
from gdbext.x86.access import ERROR_I, ERROR_P, ERROR_RSVD, ERROR_W, Access, predict_fault
from gdbext.x86.modes import NX, PAT_LARGE, PS, A, P, U, W
from gdbext.x86.space import enumerate_space
from gdbext.x86.walk import Outcome, walk
from tests.unit.guest import cpu

from .machine import BareMachine
from .probing import Case, Probe
from .trees import UNASSIGNED_FRAMES

ROOT, SECOND, THIRD, FOURTH, FIFTH, PAGE = (0x20_0000 + number * FRAME_SIZE for number in range(6))
LINK = P | W | U
TWO_MIB_PAGE = 0x40_0000
UPPER_HALF = 0xFFFF_8000_0000_0000

Entries = dict[tuple[int, int], int]
"""Table and index of an entry, and its value."""


def four_levels(**changed: int) -> Entries:
    """Address 0 through four tables to PAGE, some of the entries others."""
    usual = {"pml4e": SECOND | LINK, "pdpte": THIRD | LINK, "pde": FOURTH | LINK, "pte": PAGE | LINK} | changed
    return dict(zip([(table, 0) for table in (ROOT, SECOND, THIRD, FOURTH)], usual.values(), strict=True))


def put(machine: BareMachine, entries: Entries) -> None:
    for table in (ROOT, SECOND, THIRD, FOURTH, FIFTH):
        machine.frame(table // FRAME_SIZE)[:] = 0
    for (table, index), value in entries.items():
        machine.write(table + 8 * index, value.to_bytes(8, "little"))


class Bare:
    """Tables on a machine without guest code, and both translations."""

    def __init__(self, machine: BareMachine) -> None:
        self.machine = machine
        self.memory = machine.memory

    def set(self, entries: Entries, mode: str = "4-level", root: int = ROOT) -> CpuState:
        put(self.machine, entries)
        state = cpu(mode, root, phys_bits=self.machine.phys_bits, offered=self.machine.offered)
        self.machine.enter(state)
        return state

    def same(self, state: CpuState, *addresses: int) -> list[int | None]:
        """The physical addresses that both gdbext and QEMU say."""
        truth = self.machine.translate(addresses)
        assert [walk(self.memory, state, address).physical for address in addresses] == truth
        return truth


@pytest.fixture
def bare(machine: BareMachine) -> Bare:
    return Bare(machine)


class Tried:
    """Accesses under the same tables that the processor makes, each foreseen by gdbext."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.memory = probe.machine.memory

    def __call__(self, address: int, access: Access, user: bool = False, **registers: Any) -> object:
        """What comes of an access: the error code, None when it is granted."""
        state = replace(self.probe.cpu, cr3=Word64(ROOT), **registers)
        foreseen = predict_fault(self.memory, state, address, access, user=user)
        (answer,) = self.probe.run([Case(state, VirtAddr(address), access, user)])
        assert answer.prediction == foreseen
        return foreseen

    def set(self, entries: Entries) -> None:
        put(self.probe.machine, entries)
        self.probe.link(ROOT)


Trying = Callable[..., Tried]


@pytest.fixture
def trying(images: Path) -> Iterator[Trying]:
    """Makes processors that try accesses, given how many bits a physical address has."""
    with ExitStack() as machines:

        def make(entries: Entries, phys_bits: int = 40) -> Tried:
            machine = machines.enter_context(BareMachine(f"max,phys-bits={phys_bits}"))
            tried = Tried(Probe(machine, cpu(phys_bits=phys_bits, offered=machine.offered), images))
            tried.set(entries)
            return tried

        yield make


def test_mistake_1_write_right_is_the_and_of_all_levels(trying: Trying) -> None:
    tried = trying(four_levels(pde=FOURTH | P | U))
    assert tried(0, "write") == ERROR_P | ERROR_W
    assert tried(0, "write", cr0=Word64(tried.probe.cpu.cr0 & ~CR0_WP)) is None


def test_mistake_2_nx_above_a_large_page(trying: Trying) -> None:
    tried = trying(four_levels(pml4e=SECOND | LINK | NX, pde=TWO_MIB_PAGE | LINK | PS))
    assert tried(0x1230, "execute") == ERROR_P | ERROR_I
    assert tried(0x1230, "read") is None
    assert walk(tried.memory, replace(tried.probe.cpu, cr3=Word64(ROOT)), 0x1230).physical == TWO_MIB_PAGE + 0x1230


def test_mistake_3_two_root_entries_with_one_value(bare: Bare) -> None:
    state = bare.set({**four_levels(), (ROOT, 256): SECOND | LINK})
    assert bare.same(state, 0, UPPER_HALF) == [PAGE, PAGE]
    assert enumerate_space(bare.memory, state).runs.start.tolist() == [0, UPPER_HALF]


def test_mistake_4_five_levels(bare: Bare) -> None:
    entries = {
        (ROOT, 0): SECOND | LINK,
        (SECOND, 256): THIRD | LINK,
        (THIRD, 0): FOURTH | LINK,
        (FOURTH, 0): TWO_MIB_PAGE | LINK | PS,
    }
    state = bare.set(entries, "5-level")
    assert bare.same(state, 1 << 47, UPPER_HALF) == [TWO_MIB_PAGE, None]
    assert enumerate_space(bare.memory, state).runs.start.tolist() == [1 << 47]


def test_mistakes_5_and_6_pae(bare: Bare) -> None:
    high = 0x8_0060_0000
    state = bare.set({(ROOT + 0x20, 1): SECOND | P, (SECOND, 3): high | P | W | PS}, "pae", ROOT + 0x20)
    address = (1 << 30) + (3 << 21)
    assert bare.same(state, address + 0x345, 0) == [high + 0x345, None]
    assert enumerate_space(bare.memory, state).runs.start.tolist() == [address]


def test_mistake_7_table_outside_ram_is_reported(bare: Bare) -> None:
    state = bare.set(four_levels(pde=UNASSIGNED_FRAMES[-1] * FRAME_SIZE | LINK))
    assert bare.same(state, 0) == [None]
    assert walk(bare.memory, state, 0).outcome is Outcome.UNREADABLE
    (problem,) = enumerate_space(bare.memory, state).problems
    assert (problem.kind, problem.entry_address) == ("unreadable", THIRD)


def test_mistake_8_large_bit_in_a_pml4e(trying: Trying) -> None:
    tried = trying(four_levels(pml4e=SECOND | LINK | PS))
    assert tried(0, "read") == ERROR_P | ERROR_RSVD


def test_mistake_9_512_entries_to_one_frame(bare: Bare) -> None:
    state = bare.set(four_levels() | {(FOURTH, index): PAGE | LINK for index in range(512)})
    assert bare.same(state, *range(0, 1 << 21, FRAME_SIZE)) == [PAGE] * 512
    assert enumerate_space(bare.memory, state).pages == {FRAME_SIZE: 512}


def test_mistake_10_accessed_is_the_leafs_own(trying: Trying) -> None:
    tried = trying(four_levels() | {(FOURTH, 1): PAGE | LINK})
    assert tried(0, "read") is None
    state = replace(tried.probe.cpu, cr3=Word64(ROOT))
    touched, untouched = (walk(tried.memory, state, address).steps for address in (0, FRAME_SIZE))
    assert [bool(step.value & A) for step in touched] == [True] * 4
    assert ["A" in step.flags for step in untouched] == [True] * 3 + [False]


def test_mistake_14_pat_of_a_large_page_is_no_address(bare: Bare) -> None:
    state = bare.set(four_levels(pde=TWO_MIB_PAGE | PAT_LARGE | LINK | PS))
    assert bare.same(state, 0x1234) == [TWO_MIB_PAGE + 0x1234]
    assert enumerate_space(bare.memory, state).runs.physical.tolist() == [TWO_MIB_PAGE]


def test_mistake_15_physical_address_bits_48_to_51(trying: Trying) -> None:
    far = four_levels(pte=1 << 51 | 1 << 48 | PAGE | LINK)
    wide, usual = trying(far, phys_bits=52), trying(far, phys_bits=40)
    assert wide(0, "read") is None
    assert wide.probe.machine.translate([0]) == [1 << 51 | 1 << 48 | PAGE]
    assert walk(wide.memory, replace(wide.probe.cpu, cr3=Word64(ROOT)), 0).physical == 1 << 51 | 1 << 48 | PAGE
    assert usual(0, "read") == ERROR_P | ERROR_RSVD


def test_mistake_16_paging_off_at_the_reset_vector() -> None:
    with BareMachine() as machine:
        names = ("cr0", "cr2", "cr3", "cr4", "efer")
        registers: dict[str, Any] = {name: machine.stub.register(name) for name in names}
        state = CpuState(**registers)
        found = walk(machine.memory, state, 0xFFFF_FFF0)
        assert [found.physical] == machine.translate([0xFFFF_FFF0])
        assert "paging is off" in found.verdict
