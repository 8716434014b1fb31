"""Where QEMU is known to differ from the manuals, in two tables. Everything else is compared without exception.

The first is about the monitor: `gva2gpa` (`info tlb` and the debug stub too) does not translate as QEMU's processor
does, but by a simpler walk for debuggers, which follows entries that fault on a processor. The second is about the
processor that QEMU emulates (TCG). What can be foreseen is foreseen, by a walk under the rules that QEMU follows, and
compared as well; the rest is not asked.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

from gdbext.machine.cpu import CpuState
from gdbext.machine.memory import PhysicalMemory
from gdbext.units import PhysAddr
from gdbext.x86 import modes
from gdbext.x86.access import ERROR_P, ERROR_RSVD
from gdbext.x86.modes import Level, U, W
from gdbext.x86.walk import Outcome, Walk, walk


@dataclass(frozen=True)
class Deviation:
    """A thing that QEMU does otherwise than the manual says, and what judges gdbext there."""

    what: str
    manual: str
    judged_by: str


OF_THE_MONITOR = (
    Deviation(
        "no reserved bit is looked at: bit 7 of a PML5E or PML4E, bits above MAXPHYADDR, NX without EFER.NXE, address"
        " bits below a large page's size, bit 21 of a 4-MiB entry, bits 62:52 in PAE, any of a PDPTE",
        "SDM vol. 3A, 4.3, 4.4.1, 4.4.2, 4.5.4 (the tables' reserved fields), 4.7 (RSVD)",
        "the processor (test_rights.py); `as_the_monitor_walks` foresees what the monitor says",
    ),
    Deviation(
        "a table outside RAM is read: as zeros where there is nothing, else from a device's registers or ROM",
        "none: a processor reads there too. gdbext says `unreadable` rather than touching a device",
        "where there is nothing both come to 'not mapped', which is compared; `behind_a_device` is not asked",
    ),
    Deviation(
        "with paging off and outside long mode the bits above 31 of an address are dropped or kept, not refused",
        "SDM vol. 3A, 3.3.1: linear addresses have 32 bits there",
        "not asked",
    ),
)

OF_THE_PROCESSOR = (
    Deviation(
        "the error code of a reserved-bit fault lacks P",
        "SDM vol. 3A, 4.7: 'bit 3 of the error code can be set only if bit 0 is also set'",
        "`as_a_processor_says` puts P back where RSVD is set; all other bits are compared as they are",
    ),
    Deviation(
        "PAE: bits 1, 2 and 8:5 of a PDPTE are not looked at, and PDPTEs are read anew at each walk",
        "SDM vol. 3A, 4.4.1: they are loaded with CR3, and a reserved bit makes that load a #GP",
        "`as_the_processor_walks` foresees it; the bits themselves rest on the manual (tests/unit)",
    ),
    Deviation(
        "PSE-36: the bits of a 4-MiB entry that stand for address bits above MAXPHYADDR are not reserved",
        "SDM vol. 3A, table 4-4, note on M = min(40, MAXPHYADDR)",
        "`as_the_processor_walks` foresees it; the bits themselves rest on the manual (tests/unit)",
    ),
    Deviation(
        "a page of 1 GiB is accepted from a processor that is not said to have them (pdpe1gb off)",
        "SDM vol. 3A, 4.1.4 'Page1GB'",
        "the processor has them here; without, tests/unit",
    ),
)

_DEVICES = ((0xA_0000, 0x10_0000), (0xE000_0000, 1 << 32))
_PDPTE_BITS_NOT_LOOKED_AT = W | U | 0x1E0
_PSE36_BIT_LOOKED_AT = 1 << 21


def as_a_processor_says(error_code: int) -> int:
    """A page fault's error code with the bit that QEMU omits."""
    return error_code | ERROR_P if error_code & ERROR_RSVD else error_code


def at_a_device(physical: int) -> bool:
    """Whether there may be a device or ROM at a physical address."""
    return any(start <= physical < end for start, end in _DEVICES)


def behind_a_device(found: Walk, table: PhysAddr | None) -> bool:
    """Whether a walk ended because its next ``table`` cannot be read, and a device may be there."""
    return found.outcome is Outcome.UNREADABLE and table is not None and at_a_device(table)


def next_table(cpu: CpuState, found: Walk) -> PhysAddr | None:
    """The table that the last entry of an unfinished walk names."""
    mode = modes.paging_mode(cpu)
    return mode.table_base(found.steps[-1].value) if mode and found.steps else found.root


def as_the_monitor_walks(memory: PhysicalMemory, cpu: CpuState, address: int, true: Walk) -> Walk:
    """The walk by the monitor's rules, given the one by the manual's: another only where that ends at reserved bits."""
    return _walk_by(memory, cpu, address, true, lambda level: replace(level, link_reserved=0, leaf_reserved=0))


def as_the_processor_walks(memory: PhysicalMemory, cpu: CpuState, address: int, true: Walk) -> Walk:
    """The walk by the rules of QEMU's processor, given the one by the manual's."""

    def laxer(level: Level) -> Level:
        if (true.mode, level.number) == ("pae", 3):
            return replace(level, link_reserved=level.link_reserved & ~_PDPTE_BITS_NOT_LOOKED_AT)
        if (true.mode, level.number) == ("32-bit", 2):
            return replace(level, leaf_reserved=level.leaf_reserved & _PSE36_BIT_LOOKED_AT)
        return level

    return _walk_by(memory, cpu, address, true, laxer)


def _walk_by(memory: PhysicalMemory, cpu: CpuState, address: int, true: Walk, change: Callable[[Level], Level]) -> Walk:
    """The walk of an address with every level changed, unless the true one does not end at reserved bits."""
    if true.outcome is not Outcome.RESERVED_BITS:
        return true
    real = modes.paging_mode
    mode = real(cpu)
    assert mode is not None
    changed = replace(mode, levels=tuple(change(level) for level in mode.levels))
    modes.paging_mode = cast(Any, lambda _: changed)
    try:
        return walk(memory, cpu, address)
    finally:
        modes.paging_mode = real
