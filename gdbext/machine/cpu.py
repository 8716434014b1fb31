"""The registers of one stopped processor that decide how addresses translate and what is allowed."""

from dataclasses import dataclass

from gdbext.units import VirtAddr, Word64

# Intel SDM vol. 3A, 2.5 "Control Registers"; AMD APM vol. 2, 3.1.
CR0_PE = 1 << 0
CR0_WP = 1 << 16
CR0_PG = 1 << 31
CR4_PSE = 1 << 4
CR4_PAE = 1 << 5
CR4_PGE = 1 << 7
CR4_UMIP = 1 << 11
CR4_LA57 = 1 << 12
CR4_PCIDE = 1 << 17
CR4_SMEP = 1 << 20
CR4_SMAP = 1 << 21
CR4_PKE = 1 << 22
CR4_CET = 1 << 23
CR4_PKS = 1 << 24
# Intel SDM vol. 3A, 2.2.1 "Extended Feature Enable Register"; AMD APM vol. 2, 3.1.7.
EFER_LME = 1 << 8
EFER_LMA = 1 << 10
EFER_NXE = 1 << 11
RFLAGS_AC = 1 << 18

POWER_ON_PAT = Word64(0x0007_0406_0007_0406)
"""IA32_PAT after a reset (SDM vol. 3A, 12.12.4): WB, WT, UC-, UC, twice."""


@dataclass(frozen=True)
class CpuState:
    """Control registers and features of one processor.

    ``cpl`` is the current privilege level (0 to 3); ``rip`` and ``rsp`` are None when unknown.
    ``phys_bits`` is MAXPHYADDR in bits. ``offered`` holds the features that the processor has, in use or not, by QEMU's
    names; None when the machine does not report them. ``pkru`` is None when the machine does not report it; ``pat`` is
    the power-on value unless the machine reports it.
    """

    cr0: Word64
    cr2: VirtAddr
    cr3: Word64
    cr4: Word64
    efer: Word64
    rflags: Word64 = Word64(2)
    cpl: int = 0
    rip: VirtAddr | None = None
    rsp: VirtAddr | None = None
    phys_bits: int = 52
    pkru: Word64 | None = None
    pat: Word64 = POWER_ON_PAT
    offered: frozenset[str] | None = None

    def offers(self, feature: str) -> bool | None:
        """Whether the processor has a feature, by QEMU's name for it; None when unknown."""
        return None if self.offered is None else feature in self.offered

    @property
    def gigabyte_pages(self) -> bool:
        """Whether an entry of level 3 may map a page. Assumed when the machine does not report it."""
        return self.offers("pdpe1gb") is not False

    @property
    def paging(self) -> bool:
        """Whether addresses are translated at all."""
        return bool(self.cr0 & CR0_PG)

    @property
    def long_mode(self) -> bool:
        """Whether long mode is *active* (LMA); LME alone only requests it."""
        return bool(self.efer & EFER_LMA)

    @property
    def nx_enabled(self) -> bool:
        """Whether bit 63 of an entry forbids execution; otherwise it is reserved."""
        return bool(self.efer & EFER_NXE)


@dataclass(frozen=True)
class TableRegister:
    """GDTR or IDTR: ``base`` is a virtual address, ``limit`` the offset of the table's last byte."""

    base: VirtAddr
    limit: int


@dataclass(frozen=True)
class DescriptorRegisters:
    """GDTR, IDTR and the task register with the descriptor fields that it has cached."""

    gdt: TableRegister
    idt: TableRegister
    tr_selector: int
    tr: TableRegister
