"""Random trees in every paging mode: gdbext's walk and its enumeration against QEMU's own translation.

Not one difference is allowed. What QEMU's monitor is known to leave out stands in `deviations.OF_THE_MONITOR`.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdbext.machine.cpu import EFER_LMA, EFER_LME, CpuState
from gdbext.units import FRAME_SIZE, Word64
from gdbext.x86.attributes import Attributes, attributes_of
from gdbext.x86.modes import PAT_4K, PAT_LARGE, PCD, PWT, G, PagingMode, U, paging_mode
from gdbext.x86.space import AddressSpace, enumerate_space
from gdbext.x86.walk import Outcome, Walk, permissions, walk
from tests.unit.guest import CR0, MODES, cpu

from .deviations import as_the_monitor_walks, behind_a_device, next_table
from .machine import BareMachine
from .trees import Tree, address_through, effort, trees, write_junk, write_tree

TREES = 40
TREES_DEEP = 500
ADDRESSES_PER_TREE = 40
ADDRESSES_OFF = 400
"""How much is tried per mode; `test_enough_was_compared` holds the sums against what was promised."""
PROMISED, PROMISED_DEEP, EACH_OUTCOME = 5_000, 100_000, 20

compared: Counter[str] = Counter()

STATES = {
    **{mode: (mode, {}) for mode in MODES},
    "32-bit without PSE": ("32-bit", {"cr4": Word64(0)}),
    "4-level without NXE": ("4-level", {"efer": Word64(EFER_LME | EFER_LMA)}),
}
"""Paging modes, two of them a second time without a feature."""


def state(name: str, machine: BareMachine) -> CpuState:
    """The processor in one of the states, as `machine`'s is made."""
    mode, special = STATES[name]
    return replace(cpu(mode, phys_bits=machine.phys_bits, offered=machine.offered), **special)


@pytest.mark.parametrize("name", list(STATES))
def test_random_trees(name: str, machine: BareMachine, deep: bool) -> None:
    write_junk(machine)
    start = state(name, machine)
    machine.enter(start)
    mode = paging_mode(start)
    assert mode is not None

    @effort(deep, TREES_DEEP if deep else TREES)
    @given(tree=trees(start), seed=st.integers(0, 1 << 32))
    def check(tree: Tree, seed: int) -> None:
        write_tree(machine, mode, tree)
        machine.set_root(tree.root)
        compare(machine, mode, replace(start, cr3=Word64(tree.root)), tree, seed)

    check()


def compare(machine: BareMachine, mode: PagingMode, cpu: CpuState, tree: Tree, seed: int) -> None:
    """The same addresses to QEMU, to `walk` and to `enumerate_space`."""
    space = enumerate_space(machine.memory, cpu)
    addresses = choose_addresses(mode, tree, space, seed)
    for address, truth in zip(addresses, machine.translate(addresses), strict=True):
        found = walk(machine.memory, cpu, address)
        followed = as_the_monitor_walks(machine.memory, cpu, address, found)
        if behind_a_device(followed, next_table(cpu, followed)):
            continue
        assert followed.physical == truth, (hex(address), found)
        assert in_bulk(space, mode, address) == one_by_one(mode, found), (hex(address), found)
        compared[mode.name] += 1
        compared[found.outcome.value] += 1


def choose_addresses(mode: PagingMode, tree: Tree, space: AddressSpace, seed: int) -> list[int]:
    """Borders of all runs, holes and chains with their neighbours, random addresses, unusable ones; a fixed number."""
    random = np.random.default_rng(seed)
    some = space.runs.take(random.permutation(len(space.runs))[:64])
    points = set(some.start.tolist()) | set((some.end + np.uint64(1)).tolist())
    within = (random.random(len(some)) * some.size).astype(np.uint64)
    points |= set((some.start + within).tolist())
    points |= {problem.address for problem in space.problems}
    for alias in space.aliases[:9]:
        points.add(alias.start + alias.span * int(random.integers(alias.count)) + int(random.integers(alias.span)))
    points |= {address_through(mode, chain) for chain in tree.chains}
    limit = (1 << 64) if mode.long else 1 << 32
    near = sorted({int(p) + d & limit - 1 for p in points for d in (0, -1, -FRAME_SIZE, 0x123)})
    chosen = [near[i] for i in random.permutation(len(near))[: ADDRESSES_PER_TREE * 3 // 4]]
    while len(chosen) < ADDRESSES_PER_TREE:
        chosen.append(int(random.integers(limit, dtype=np.uint64)) if limit < 1 << 64 else _random_long(mode, random))
    return chosen


def _random_long(mode: PagingMode, random: np.random.Generator) -> int:
    """A 64-bit address: canonical, or not, or at the border of both."""
    address = int(random.integers(0, 1 << 64, dtype=np.uint64, endpoint=False))
    match int(random.integers(4)):
        case 0:
            return address
        case 1:
            return (1 << mode.address_bits - 1) - 1 + int(random.integers(-1, 2))
        case _:
            return mode.sign_extend(address & (1 << mode.address_bits) - 1)


def one_by_one(mode: PagingMode, found: Walk) -> tuple[int, Attributes] | None:
    """What a walk says of its address: where it leads and what holds there; None when it leads nowhere."""
    if found.physical is None or found.page_size is None:
        return None
    leaf, page = found.steps[-1].value, permissions(mode, found.steps)
    pat = leaf & (PAT_4K if found.page_size == FRAME_SIZE else PAT_LARGE)
    return found.physical, Attributes(
        page=page,
        is_global=bool(leaf & G),  # the entry's own bit: whether it has an effect is CR4.PGE's to say
        pwt=bool(leaf & PWT),
        pcd=bool(leaf & PCD),
        pat=bool(pat),
        user_lost=bool(leaf & U) and not page.user,
        page_size=found.page_size,
    )


def in_bulk(space: AddressSpace, mode: PagingMode, address: int) -> tuple[int, Attributes] | None:
    """What the enumeration says of one address, through as many aliases as it takes."""
    for _ in range(len(mode.levels) + 1):
        at = int(np.searchsorted(space.runs.start, np.uint64(address), side="right")) - 1
        if at >= 0 and address <= int(space.runs.end[at]):
            physical = int(space.runs.physical[at]) + address - int(space.runs.start[at])
            return physical, attributes_of(int(space.runs.attributes[at]))
        alias = next((a for a in space.aliases if a.start <= address < a.start + a.span * a.count), None)
        if alias is None:
            return None
        address = alias.same_as + (address - alias.start) % alias.span
    raise AssertionError("aliases that lead to no run")


def off_addresses() -> Iterator[int]:
    random = np.random.default_rng(7)
    yield from (0, 0xFFF, 0x1000, 0xFFFF_FFF0, 0xFFFF_FFFF)
    yield from random.integers(0, 1 << 32, ADDRESSES_OFF - 5, dtype=np.uint64).tolist()


def test_paging_off(machine: BareMachine) -> None:
    off = cpu("32-bit", cr0=CR0 & ~(1 << 31))
    machine.enter(off)
    addresses = list(off_addresses())
    for address, truth in zip(addresses, machine.translate(addresses), strict=True):
        assert walk(machine.memory, off, address).physical == truth
        compared["paging off"] += 1


def test_enough_was_compared(deep: bool) -> None:
    """Comes last: how many addresses, and that every outcome was among them often enough to mean something."""
    total = sum(compared[mode] for mode in (*MODES, "paging off"))
    print(f"\n{total} addresses compared: {dict(compared)}")
    assert total >= (PROMISED_DEEP if deep else PROMISED)
    for outcome in Outcome:
        assert compared[outcome.value] >= EACH_OUTCOME, outcome
