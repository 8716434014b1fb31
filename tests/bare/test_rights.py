"""What may be done at an address: gdbext against the processor, which tries each access and says what came of it.

Random trees of entries, every combination of the protections, read, write and fetch, in ring 0 and ring 3: whether
the access is granted, the kind of exception, the error code bit for bit, CR2, and, where it is granted, that it
reached the physical address that gdbext says. Not one difference is allowed; `deviations.OF_THE_PROCESSOR` lists where
QEMU's processor is known not to follow the manual.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdbext.machine.cpu import CR0_WP, CR4_PKE, CR4_SMAP, CR4_SMEP, EFER_NXE, RFLAGS_AC
from gdbext.units import FRAME_SIZE, PhysAddr, VirtAddr, Word64
from gdbext.x86.access import ERROR_I, ERROR_P, ERROR_PK, ERROR_RSVD, ERROR_U, ERROR_W, fault_of
from gdbext.x86.fault import Report, explain
from gdbext.x86.modes import NX, PS, P, PagingMode, U, W
from gdbext.x86.space import enumerate_space
from gdbext.x86.walk import Outcome, Walk, walk
from tests.unit.guest import MODES, cpu

from .deviations import as_the_processor_walks, at_a_device, behind_a_device, next_table
from .machine import BareMachine
from .probing import PAGE_FAULT, STUB, Case, Probe
from .probing import Outcome as Answer
from .trees import JUNK_FRAMES, TABLE_FRAMES, Chain, Tree, address_through, effort, trees, write_junk, write_tree

TREES = 20
TREES_DEEP = 100
CASES_PER_TREE = 120
PROMISED, PROMISED_DEEP = 3_000, 20_000
SLOT_OF_CODE = 16
"""At each physical address that a case may reach lie, on this boundary, a few bytes of code that name it."""

PROTECTIONS = {
    "WP": ("cr0", CR0_WP),
    "NXE": ("efer", EFER_NXE),
    "SMEP": ("cr4", CR4_SMEP),
    "SMAP": ("cr4", CR4_SMAP),
    "PKE": ("cr4", CR4_PKE),
    "AC": ("rflags", RFLAGS_AC),
}
NARROW, USUAL, WIDE = 36, 40, 52
PROCESSORS = [
    *((mode, USUAL) for mode in MODES),
    *((mode, NARROW) for mode in MODES),
    ("4-level", WIDE),
    ("5-level", WIDE),
]
"""Paging modes, with how many bits a physical address has."""

ACCESSES = tuple(STUB)
TWO_MIB = 1 << 21
HARNESS_END = 0x1_0000
"""Below it lies what the harness needs to switch modes on."""
WHO_AND_HOW = {how | who for how in (0, ERROR_W, ERROR_I) for who in (0, ERROR_U)}
EVERY_ANSWER = {None, "gp", *WHO_AND_HOW, *(ERROR_P | code for code in WHO_AND_HOW)}
EVERY_ANSWER |= {ERROR_P | ERROR_RSVD | code for code in WHO_AND_HOW}
EVERY_ANSWER |= {ERROR_P | ERROR_PK | code for code in WHO_AND_HOW if not code & ERROR_I}
"""What an access can come to, all of which must occur."""

EXCUSES = ("changed since", "stale", "used a stale cached entry", "not a page-fault error code", "not a page fault")
"""What vmfault says when it cannot explain a fault by the tables; they are as they were, so it must."""

REASONS: dict[str, Callable[[Case, int], object]] = {
    "hit an unmapped page": lambda case, entry: not entry & P,
    "hit a malformed entry": lambda case, entry: entry & P,
    "U is clear": lambda case, entry: case.user and not entry & U,
    "NX is set": lambda case, entry: case.access == "execute" and entry & NX,
    "W is clear": lambda case, entry: case.access == "write" and (case.user or case.cpu.cr0 & CR0_WP) and not entry & W,
    "CR4.SMEP forbids": lambda case, entry: not case.user and case.access == "execute" and case.cpu.cr4 & CR4_SMEP,
    "CR4.SMAP forbids": lambda case, entry: not (case.user or case.cpu.rflags & RFLAGS_AC) and case.cpu.cr4 & CR4_SMAP,
    "protection key forbids": lambda case, entry: case.access != "execute" and case.cpu.cr4 & CR4_PKE,
    "is not RAM": lambda case, entry: entry & P,
}
"""What vmfault may say, and what must be so of the access and of the entry that it blames."""

compared: Counter[str] = Counter()
combinations: set[tuple[str, frozenset[str]]] = set()
codes: Counter[int | str | None] = Counter()


@pytest.fixture(params=PROCESSORS, ids=lambda pair: f"{pair[0]}-{pair[1]}-bits")
def probe(request: pytest.FixtureRequest, images: Path) -> Iterator[Probe]:
    """A machine in each paging mode, with the probe in it."""
    mode, phys_bits = request.param
    with BareMachine(f"max,phys-bits={phys_bits}") as machine:
        write_junk(machine)
        assert machine.phys_bits == phys_bits
        yield Probe(machine, cpu(mode, phys_bits=phys_bits, offered=machine.offered), images)


@dataclass(frozen=True)
class Plan:
    """A case with what gdbext says of it; ``value`` is what the access has to bring back, None when that is open."""

    case: Case
    found: Walk
    value: int | None = None


def test_random_accesses(probe: Probe, deep: bool) -> None:
    @effort(deep, TREES_DEEP if deep else TREES)
    @given(tree=trees(probe.cpu), seed=st.integers(0, 1 << 32))
    def check(tree: Tree, seed: int) -> None:
        write_tree(probe.machine, probe.mode, tree)
        probe.link(tree.root)
        try_all(probe, list(choose(probe, tree, np.random.default_rng(seed))))

    check()


def test_every_bit_of_every_entry(probe: Probe) -> None:
    """A sane way to a page of each size, with each single bit of each of its entries the other way round."""
    probes_slot = probe.mode.levels[0].entries - 1
    for leaf in [level.number for level in probe.mode.levels if level.number == 1 or level.large]:
        for depth in range(len(probe.mode.levels) - leaf + 1):
            bits = list(range(8 * probe.mode.entry_size))
            at_once = min(len(bits), probes_slot)
            for first in range(0, len(bits), at_once):
                tree = flipped(probe.mode, leaf, depth, bits[first : first + at_once])
                try_everything(probe, tree)


def flipped(mode: PagingMode, leaf: int, depth: int, bits: list[int]) -> Tree:
    """A chain to a page of level ``leaf`` for each bit, with that bit of its entry at ``depth`` the other way round."""
    tables = TABLE_FRAMES[1 : len(mode.levels)]
    links = [
        table << 12 | P | (W | U if level.rights else 0) for table, level in zip(tables, mode.levels, strict=False)
    ]
    page = max(mode.levels[-leaf].span, TWO_MIB) | P | W | U | (PS if leaf > 1 else 0)
    values = [*links[: len(mode.levels) - leaf], page]
    chains = []
    for index, bit in enumerate(bits):
        changed = (*values[:depth], values[depth] ^ 1 << bit, *values[depth + 1 :])
        indices = tuple(index if number == depth else 0 for number in range(len(mode.levels)))
        chains.append(Chain(indices, changed, tables, leaf))
    return Tree(TABLE_FRAMES[0] * FRAME_SIZE, tuple(chains))


def try_everything(probe: Probe, tree: Tree) -> None:
    """Each access from each ring through each chain, with NX in force and without."""
    write_tree(probe.machine, probe.mode, tree)
    probe.link(tree.root)
    state = replace(probe.cpu, cr3=Word64(tree.root), pkru=Word64(0))
    states = (replace(state, efer=Word64(state.efer | EFER_NXE)), replace(state, efer=Word64(state.efer & ~EFER_NXE)))
    plans = [
        prepare(probe, Case(cpu, address_through(probe.mode, chain), access, user))
        for chain, cpu, access, user in product(tree.chains, states, ACCESSES, (False, True))
    ]
    try_all(probe, [plan for plan in plans if plan is not None])


def try_all(probe: Probe, plans: list[Plan]) -> None:
    plans = still_true(probe, plans)
    for plan, answer in zip(plans, probe.run([plan.case for plan in plans]), strict=True):
        judge(probe, plan, answer)


def choose(probe: Probe, tree: Tree, random: np.random.Generator) -> Iterator[Plan]:
    """Accesses to a tree: addresses that its chains and runs lead to, and some others."""
    space = enumerate_space(probe.machine.memory, replace(probe.cpu, cr3=Word64(tree.root)))
    runs = space.runs.take(random.permutation(len(space.runs))[:16])
    pages = [address_through(probe.mode, chain) for chain in tree.chains] * 2
    pages += runs.start.tolist() + (runs.end - np.uint64(FRAME_SIZE - 1)).tolist()
    pages += [problem.address for problem in space.problems[:4]]
    pages += [random_page(probe.mode, random) for _ in range(2)]
    for _ in range(CASES_PER_TREE):
        offset = int(random.choice((0, SLOT_OF_CODE, FRAME_SIZE - SLOT_OF_CODE)))
        plan = prepare(probe, random_case(probe, tree, pages[random.integers(len(pages))] + offset, random))
        if plan is not None:
            yield plan


def still_true(probe: Probe, plans: list[Plan]) -> list[Plan]:
    """The plans that hold after RAM was made ready for all of them: a page of one may be a table of another."""
    return [plan for plan in plans if walk_of(probe, plan.case) == plan.found]


def walk_of(probe: Probe, case: Case) -> Walk:
    memory = probe.machine.memory
    return as_the_processor_walks(memory, case.cpu, case.address, walk(memory, case.cpu, case.address))


def random_page(mode: PagingMode, random: np.random.Generator) -> int:
    """A page anywhere; where addresses have 64 bits, most of them are not canonical."""
    return int(random.integers(1 << 52 if mode.long else 1 << 20)) * FRAME_SIZE


def random_case(probe: Probe, tree: Tree, address: int, random: np.random.Generator) -> Case:
    """Any access to this address, in any ring, under any protections."""
    registers: dict[str, Any] = {name: getattr(probe.cpu, name) for name in ("cr0", "cr4", "efer", "rflags")}
    for register, bit in PROTECTIONS.values():
        on = bool(random.integers(2))
        registers[register] = Word64(registers[register] | bit if on else registers[register] & ~bit)
    pkru = Word64(int(random.integers(1 << 32)))
    state = replace(probe.cpu, cr3=Word64(tree.root), pkru=pkru, **registers)
    access = ACCESSES[random.integers(3)]
    return Case(state, VirtAddr(address), access, user=bool(random.integers(2)))


def prepare(probe: Probe, case: Case) -> Plan | None:
    """What gdbext says of a case, and RAM made ready for it; None when the access must not be made."""
    found = walk_of(probe, case)
    if behind_a_device(found, next_table(case.cpu, found)) or any(probe.owns(step.table) for step in found.steps):
        return None
    if found.physical is None or fault_of(case.cpu, found, case.access, user=case.user) is not None:
        return Plan(case, found)
    return prepare_granted(probe, case, found, found.physical)


def prepare_granted(probe: Probe, case: Case, found: Walk, physical: int) -> Plan | None:
    """The plan of an access that is to succeed at ``physical``: nothing may break, and it should be recognised."""
    if at_a_device(physical) or probe.owns(physical) or physical < HARNESS_END:
        return None
    memory = probe.machine.memory
    in_ram = memory.ram.range_at(PhysAddr(physical)) is not None
    if not in_ram or physical // FRAME_SIZE in (*TABLE_FRAMES, *JUNK_FRAMES):
        # No code can be placed there, and the processor itself changes tables; a write puts back what is there.
        byte = memory.read(PhysAddr(physical), 1)[0] if in_ram else 0
        return None if case.access == "execute" else Plan(replace(case, byte=byte), found)
    code = code_that_names(physical)
    probe.machine.write(physical, code)
    if case.access == "write":
        return Plan(replace(case, byte=code[0]), found)
    brought = code[1:5] if case.access == "execute" else code[: 8 if probe.mode.long else 4]
    return Plan(case, found, int.from_bytes(brought, "little"))


def code_that_names(physical: int) -> bytes:
    """`mov $number, %eax; int3`, where the number is that of the place it is for."""
    return b"\xb8" + (physical // SLOT_OF_CODE & 0xFFFF_FFFF).to_bytes(4, "little") + b"\xcc" + bytes(2)


def judge(probe: Probe, plan: Plan, answer: Answer) -> None:
    """Hold gdbext's word against the processor's."""
    case, found = plan.case, plan.found
    said = fault_of(case.cpu, found, case.access, user=case.user)
    if found.outcome is Outcome.UNREADABLE:  # there is nothing: the processor reads zeros
        said = fault_of(case.cpu, replace(found, outcome=Outcome.NOT_PRESENT), case.access, user=case.user)
    assert answer.prediction == said, (case, answer, found)
    rights = found.user if case.user else found.supervisor
    assert answer.granted == getattr(rights, case.access), (case, answer, found)
    if answer.vector == PAGE_FAULT:
        assert answer.cr2 == case.address, (case, answer)
    if plan.value is not None:
        assert answer.value == plan.value, (case, answer, found)
    if answer.vector == PAGE_FAULT:
        judge_explanation(probe, plan, answer)
    note(probe, case, found, answer)


def judge_explanation(probe: Probe, plan: Plan, answer: Answer) -> None:
    """gdbext explains the fault by the tables as they are, and blames one of their entries."""
    case, memory = plan.case, probe.machine.memory
    if walk(memory, case.cpu, case.address).outcome is not plan.found.outcome:
        return  # a walk that only QEMU's processor makes, see `as_the_processor_walks`
    report = Report(answer.error, case.cpu.rflags, fetch=case.access == "execute", source="the processor")
    fault = explain(memory, case.cpu, case.address, report)
    who, how = "user-mode" if case.user else "supervisor", "fetch" if case.access == "execute" else case.access
    assert fault.access == f"{who} {how}"
    assert not any(word in fault.verdict for word in EXCUSES), (fault, case, answer)
    blamed = {step.entry_address: step.value for step in fault.walk.steps}
    (reason,) = (true for phrase, true in REASONS.items() if phrase in fault.verdict)
    assert fault.blame in blamed, fault
    assert reason(case, blamed[fault.blame]), (fault, case)
    compared["explained"] += 1


def note(probe: Probe, case: Case, found: Walk, answer: Answer) -> None:
    compared[probe.mode.name] += 1
    compared[found.outcome.value] += 1
    compared["granted"] += answer.granted
    codes[answer.prediction] += 1
    on = (name for name, (register, bit) in PROTECTIONS.items() if getattr(case.cpu, register) & bit)
    combinations.add((probe.mode.name, frozenset(on)))


def test_enough_was_compared(deep: bool) -> None:
    """Comes last: the number of cases, every combination of protections, every error code that there is."""
    total = sum(compared[mode] for mode in MODES)
    print(f"\n{total} cases: {dict(compared)}\nerror codes: {dict(codes)}")
    assert total >= (PROMISED_DEEP if deep else PROMISED)
    assert compared["explained"] >= total // 3
    for mode in MODES:
        assert sum(name == mode for name, _ in combinations) == 1 << len(PROTECTIONS)
    assert set(codes) >= EVERY_ANSWER
