"""The walk of one address: each level, where it ends, and what the processor grants there."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum

from gdbext.errors import MemoryUnavailable
from gdbext.machine.cpu import CR0_PE, CR0_WP, CR4_PGE, CR4_SMAP, CR4_SMEP, RFLAGS_AC, CpuState
from gdbext.machine.memory import PhysicalMemory
from gdbext.units import PhysAddr, VirtAddr, Word64, hex_address
from gdbext.x86 import modes
from gdbext.x86.modes import Level, PagingMode
from gdbext.x86.rights import (
    NO_RIGHTS,
    Permissions,
    Rights,
    cache_type,
    supervisor_rights,
    unknown_keys,
    user_rights,
)


class Outcome(Enum):
    """How a walk ends."""

    MAPPED = "mapped"
    NOT_PRESENT = "not-present"
    RESERVED_BITS = "reserved-bits"
    NON_CANONICAL = "non-canonical"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Step:
    """One entry of a walk: its table, its address and its value."""

    level: int
    table: PhysAddr
    index: int
    entry_address: PhysAddr
    value: Word64
    flags: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Walk:
    """The result of translating one address.

    ``stopped_at`` is the level of the entry (or of the table) that ended the walk, None when the address is
    mapped or was never translated. ``page_size`` is in bytes. ``verdict`` states the outcome in one sentence,
    ``limits`` name what restricts the rights and where, ``doubts`` what the machine did not report.
    """

    address: VirtAddr
    mode: str
    root: PhysAddr | None
    steps: tuple[Step, ...] = ()
    outcome: Outcome
    stopped_at: int | None = None
    physical: PhysAddr | None = None
    page_size: int | None = None
    supervisor: Rights = NO_RIGHTS
    user: Rights = NO_RIGHTS
    cache: str | None = None
    is_global: bool = field(default=False, metadata={"json": "global"})
    verdict: str
    limits: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def walk(memory: PhysicalMemory, cpu: CpuState, address: int, root: PhysAddr | None = None) -> Walk:
    """Translate an address as the processor would, from ``root`` (default: CR3).

    Reads one entry a level. Whatever stops the walk is in the result; nothing is raised for it.
    """
    mode = modes.paging_mode(cpu)
    if mode is None:
        return _without_paging(memory, cpu, PhysAddr(address))
    if root is None:
        root = mode.root_of(cpu.cr3)
    linear = mode.linear(address)
    if linear is None:
        return Walk(
            address=VirtAddr(address),
            mode=mode.name,
            root=root,
            outcome=Outcome.NON_CANONICAL,
            verdict=_not_canonical(mode),
        )
    return _descend(
        memory, cpu, mode, Walk(address=linear, mode=mode.name, root=root, outcome=Outcome.MAPPED, verdict="")
    )


def translated(memory: PhysicalMemory, cpu: CpuState, address: int, root: PhysAddr | None = None) -> PhysAddr | None:
    """The physical address that a walk leads to, None when it leads nowhere: `walk` without all else that it says."""
    mode = modes.paging_mode(cpu)
    if mode is None:
        return _without_paging(memory, cpu, PhysAddr(address)).physical
    linear = mode.linear(address)
    if linear is None:
        return None
    table = mode.root_of(cpu.cr3) if root is None else root
    try:
        for level in mode.levels:
            value = _entry(memory, mode, mode.entry_address(table, level.index(linear)))
            if _faults(level, value):
                return None
            if level.is_leaf(value):
                return PhysAddr(mode.page_base(value, level) + (linear & (level.span - 1)))
            table = mode.table_base(value)
    except MemoryUnavailable:
        return None
    raise AssertionError("level 1 entries are leaves")


def _entry(memory: PhysicalMemory, mode: PagingMode, place: PhysAddr) -> int:
    return int.from_bytes(memory.read(place, mode.entry_size), "little")


def _faults(level: Level, value: int) -> int:
    """Not 0 when an entry ends every walk: it is not present, or has reserved bits set."""
    if not value & modes.P:
        return modes.P
    return value & (level.leaf_reserved if level.is_leaf(value) else level.link_reserved)


def _descend(memory: PhysicalMemory, cpu: CpuState, mode: PagingMode, start: Walk) -> Walk:
    """Follow the entries from ``start.root`` and fill in what ``start`` lacks."""
    assert start.root is not None
    table = start.root
    steps: tuple[Step, ...] = ()
    for level in mode.levels:
        index = level.index(start.address)
        place = mode.entry_address(table, index)
        try:
            value = _entry(memory, mode, place)
        except MemoryUnavailable as error:
            return _stopped(start, steps, Outcome.UNREADABLE, level, _unreadable(level, table, steps, error))
        steps += (Step(level.number, table, index, place, Word64(value), modes.flag_names(value, level, mode)),)
        entry = f"the level-{level.number} entry at {hex_address(place)}"
        faults = _faults(level, value)
        if not value & modes.P:
            return _stopped(start, steps, Outcome.NOT_PRESENT, level, f"not present: {entry} has P clear")
        if faults:
            why = f"reserved bits: {entry} has {bit_list(faults)} set, any access faults"
            return _stopped(start, steps, Outcome.RESERVED_BITS, level, why)
        if level.is_leaf(value):
            return _mapped(memory, cpu, mode, replace(start, steps=steps), level)
        table = mode.table_base(value)
    raise AssertionError("level 1 entries are leaves")


def _stopped(start: Walk, steps: tuple[Step, ...], outcome: Outcome, level: Level, verdict: str) -> Walk:
    return replace(start, steps=steps, outcome=outcome, stopped_at=level.number, verdict=verdict)


def _unreadable(level: Level, table: PhysAddr, steps: tuple[Step, ...], error: MemoryUnavailable) -> str:
    why = f"the level-{level.number} table at {hex_address(table)} cannot be read: {error}"
    if not steps:
        return f"{why}; it is the root"
    return f"{why}; the entry at {hex_address(steps[-1].entry_address)} points to it"


def _mapped(memory: PhysicalMemory, cpu: CpuState, mode: PagingMode, found: Walk, level: Level) -> Walk:
    """The complete walk ``found`` with what its leaf, of ``level``, maps and what the processor grants."""
    value = found.steps[-1].value
    page = permissions(mode, found.steps)
    physical = PhysAddr(mode.page_base(value, level) + (found.address & (level.span - 1)))
    pat = value & (modes.PAT_4K if level.number == 1 else modes.PAT_LARGE)
    doubt = unknown_keys(cpu, page)
    verdict = f"{hex_address(found.address)} is mapped to physical {hex_address(physical)}"
    return replace(
        found,
        physical=physical,
        page_size=level.span,
        supervisor=supervisor_rights(cpu, page),
        user=user_rights(cpu, page),
        cache=cache_type(cpu, bool(value & modes.PWT), bool(value & modes.PCD), bool(pat)),
        is_global=bool(value & modes.G and cpu.cr4 & CR4_PGE),
        verdict=verdict + _unless_ram(memory, physical),
        limits=_limits(cpu, mode, found.steps),
        doubts=(doubt,) if doubt else (),
    )


def _unless_ram(memory: PhysicalMemory, physical: PhysAddr) -> str:
    return "" if memory.ram.range_at(physical) else f"; physical {hex_address(physical)} is not RAM"


def permissions(mode: PagingMode, steps: tuple[Step, ...]) -> Permissions:
    """What the entries of a complete walk allow together."""
    carrying = [step.value for step in _carrying(mode, steps)]
    return Permissions(
        writable=all(value & modes.W for value in carrying),
        user=all(value & modes.U for value in carrying),
        executable=not (mode.nx and any(value & modes.NX for value in carrying)),
        key=(steps[-1].value & modes.KEY) >> modes.KEY_SHIFT if mode.long else 0,
    )


def _limits(cpu: CpuState, mode: PagingMode, steps: tuple[Step, ...]) -> tuple[str, ...]:
    """What restricts the rights to a mapped page, a sentence each, with the entry responsible."""
    page = permissions(mode, steps)
    carrying = _carrying(mode, steps)
    limits = []
    if not page.writable:
        who = "not writable" if cpu.cr0 & CR0_WP else "writable for the supervisor alone (CR0.WP is 0)"
        limits.append(f"{who}: W is clear in {_places(carrying, lambda value: not value & modes.W)}")
    if not page.user:
        limits.append(f"closed to user mode: U is clear in {_places(carrying, lambda value: not value & modes.U)}")
    if not page.executable:
        limits.append(f"not executable: NX is set in {_places(carrying, lambda value: bool(value & modes.NX))}")
    if page.user and cpu.cr4 & CR4_SMEP:
        limits.append("the supervisor may not execute it: a user page, and CR4.SMEP is 1")
    if page.user and cpu.cr4 & CR4_SMAP:
        allowed = cpu.rflags & RFLAGS_AC
        limits.append(
            "the supervisor may touch it only because RFLAGS.AC is 1: a user page, and CR4.SMAP is 1"
            if allowed
            else "the supervisor may not touch it: a user page, CR4.SMAP is 1 and RFLAGS.AC is 0"
        )
    return tuple(limits)


def _places(steps: tuple[Step, ...], guilty: Callable[[int], bool]) -> str:
    """The entries responsible, with their addresses unless it is all of them."""
    found = [f"level {step.level} ({hex_address(step.entry_address)})" for step in steps if guilty(step.value)]
    return "every entry" if len(found) == len(steps) > 1 else " and ".join(found)


def entries_with_rights(cpu: CpuState, found: Walk) -> tuple[Step, ...]:
    """The steps of a walk under these control registers whose entries grant or take rights."""
    mode = modes.paging_mode(cpu)
    return _carrying(mode, found.steps) if mode else ()


def _carrying(mode: PagingMode, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The steps whose entries have rights: all but PAE's top level."""
    levels = {level.number: level for level in mode.levels}
    return tuple(step for step in steps if levels[step.level].rights)


def _without_paging(memory: PhysicalMemory, cpu: CpuState, physical: PhysAddr) -> Walk:
    if physical >> 32:
        return Walk(
            address=VirtAddr(physical),
            mode="none",
            root=None,
            outcome=Outcome.NON_CANONICAL,
            verdict="paging is off on the selected processor: addresses have 32 bits, and this one has more",
        )
    everything = Rights(read=True, write=True, execute=True)
    doubt = "real mode: the segment's base (CS x 16; after a reset 0xffff0000 for code) is not added to this offset"
    return Walk(
        address=VirtAddr(physical),
        mode="none",
        root=None,
        outcome=Outcome.MAPPED,
        physical=physical,
        supervisor=everything,
        user=everything,
        verdict="paging is off: virtual = physical" + _unless_ram(memory, physical),
        doubts=() if cpu.cr0 & CR0_PE else (doubt,),
    )


def _not_canonical(mode: PagingMode) -> str:
    if not mode.long:
        return f"{mode.name} paging translates addresses of 32 bits, and this one has more"
    return (
        f"non-canonical: bits 63 to {mode.address_bits - 1} of an address must be equal with {mode.name} paging;"
        " an access raises #GP (#SS through the stack), not a page fault"
    )


def bit_list(mask: int) -> str:
    """The set bits of a mask as text: ``bit 7``, ``bits 13 and 52``."""
    bits = [str(bit) for bit in range(mask.bit_length()) if mask >> bit & 1]
    if len(bits) == 1:
        return f"bit {bits[0]}"
    return f"bits {', '.join(bits[:-1])} and {bits[-1]}"
