"""A made-up machine for tests: RAM in one array, with helpers to write page tables into it."""

import struct

import numpy as np

from gdbext.machine.cpu import (
    CR0_PG,
    CR0_WP,
    CR4_LA57,
    CR4_PAE,
    CR4_PSE,
    EFER_LMA,
    EFER_LME,
    EFER_NXE,
    CpuState,
)
from gdbext.machine.memory import RamMap, RamRange
from gdbext.machine.shared import SharedMemory
from gdbext.units import PhysAddr, VirtAddr, Word64

CR0 = CR0_PG | CR0_WP | 1
MODES = {
    "32-bit": (CR4_PSE, 0),
    "pae": (CR4_PAE, EFER_NXE),
    "4-level": (CR4_PAE, EFER_LME | EFER_LMA | EFER_NXE),
    "5-level": (CR4_PAE | CR4_LA57, EFER_LME | EFER_LMA | EFER_NXE),
}


def cpu(mode="4-level", root=0x1000, *, cr0=CR0, cr4=0, efer=None, phys_bits=40, **rest):
    """A processor in one of the paging modes, with extra bits in CR4."""
    mode_cr4, mode_efer = MODES[mode]
    return CpuState(
        cr0=Word64(cr0),
        cr2=VirtAddr(0),
        cr3=Word64(root),
        cr4=Word64(mode_cr4 | cr4),
        efer=Word64(mode_efer if efer is None else efer),
        phys_bits=phys_bits,
        **rest,
    )


def ram_range(start, end, backend="", offset=0):
    """A stretch of RAM, its addresses given as plain numbers."""
    return RamRange(PhysAddr(start), PhysAddr(end), backend, offset)


class Guest:
    """RAM from physical 0, ``size`` bytes of it."""

    def __init__(self, size=1 << 20):
        self.bytes = np.zeros(size, dtype=np.uint8)
        self.ram = RamMap([ram_range(0, size, "ram")])
        self.memory = SharedMemory(self.ram, {"ram": self.bytes})

    def write(self, address, data):
        self.bytes[address : address + len(data)] = np.frombuffer(data, dtype=np.uint8)

    def entry(self, table, index, value, size=8):
        """Write one entry of a table."""
        self.write(table + index * size, struct.pack("<Q" if size == 8 else "<I", value))

    def entries(self, table, values):
        """Write 64-bit entries from a table's start."""
        self.write(table, struct.pack(f"<{len(values)}Q", *values))
