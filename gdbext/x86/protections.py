"""A processor's state for the user: how it translates, and which protections are on, off or unsupported."""

from dataclasses import dataclass

from gdbext.machine.cpu import (
    CR0_WP,
    CR4_LA57,
    CR4_PCIDE,
    CR4_PGE,
    CR4_PKE,
    CR4_SMAP,
    CR4_SMEP,
    CR4_UMIP,
    EFER_NXE,
    CpuState,
)
from gdbext.units import PhysAddr, VirtAddr, Word64
from gdbext.x86.descriptors import DescriptorTables
from gdbext.x86.modes import paging_mode


@dataclass(frozen=True)
class Protection:
    """One feature: whether it is on, whether the processor has it (None: unknown), the effect of its being off."""

    name: str
    on: bool
    offered: bool | None
    where: str
    meaning: str


@dataclass(frozen=True)
class CpuReport:
    """The registers that decide translation, in the processor's own terms. ``phys_bits`` is MAXPHYADDR.

    ``tables`` are the descriptor tables, if requested.
    """

    mode: str
    root: PhysAddr | None
    address_bits: int
    phys_bits: int
    cpl: int
    cr0: Word64
    cr2: VirtAddr
    cr3: Word64
    cr4: Word64
    efer: Word64
    rflags: Word64
    pcid: int | None
    protections: tuple[Protection, ...]
    doubts: tuple[str, ...]
    tables: DescriptorTables | None = None


def describe_cpu(cpu: CpuState) -> CpuReport:
    """What the processor's registers say, and what that means."""
    mode = paging_mode(cpu)
    doubts = []
    if cpu.offered is None:
        doubts.append(f"the machine does not report MAXPHYADDR: {cpu.phys_bits} bits are assumed")
    doubts.append("the debug stub does not report IA32_PAT: memory types assume its power-on value")
    return CpuReport(
        mode=mode.name if mode else "none",
        root=mode.root_of(cpu.cr3) if mode else None,
        address_bits=mode.address_bits if mode else 32,
        phys_bits=cpu.phys_bits,
        cpl=cpu.cpl,
        cr0=cpu.cr0,
        cr2=cpu.cr2,
        cr3=cpu.cr3,
        cr4=cpu.cr4,
        efer=cpu.efer,
        rflags=cpu.rflags,
        pcid=cpu.cr3 & 0xFFF if cpu.cr4 & CR4_PCIDE else None,
        protections=_protections(cpu),
        doubts=tuple(doubts),
    )


def _protections(cpu: CpuState) -> tuple[Protection, ...]:
    table = (
        ("WP", cpu.cr0 & CR0_WP, True, "CR0 bit 16", "the kernel may write read-only pages, its own text included"),
        ("NX", cpu.efer & EFER_NXE, cpu.offers("nx"), "EFER bit 11", "every page is executable; bit 63 is reserved"),
        ("SMEP", cpu.cr4 & CR4_SMEP, cpu.offers("smep"), "CR4 bit 20", "the kernel may execute user pages"),
        ("SMAP", cpu.cr4 & CR4_SMAP, cpu.offers("smap"), "CR4 bit 21", "the kernel may touch user pages by mistake"),
        ("UMIP", cpu.cr4 & CR4_UMIP, cpu.offers("umip"), "CR4 bit 11", "user code may read where the GDT and IDT are"),
        ("PKE", cpu.cr4 & CR4_PKE, cpu.offers("pku"), "CR4 bit 22", "protection keys of user pages are ignored"),
        ("PGE", cpu.cr4 & CR4_PGE, True, "CR4 bit 7", "G has no effect: loading CR3 flushes kernel pages too"),
        ("LA57", cpu.cr4 & CR4_LA57, cpu.offers("la57"), "CR4 bit 12", "addresses have 48 bits, not 57"),
        ("PCID", cpu.cr4 & CR4_PCIDE, cpu.offers("pcid"), "CR4 bit 17", "each load of CR3 flushes the TLB"),
    )
    return tuple(Protection(name, bool(bit), offered, where, meaning) for name, bit, offered, where, meaning in table)
