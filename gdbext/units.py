"""Addresses, frame numbers and sizes: their types, the only conversions between them, and how they are printed.

At run time every one of these is a plain ``int``; the types exist so that mypy keeps a physical address from
being used as a virtual one, and so that reports know which numbers are printed in hexadecimal.
"""

from typing import NewType

VirtAddr = NewType("VirtAddr", int)
"""A virtual (linear) address, unsigned, in bytes."""
PhysAddr = NewType("PhysAddr", int)
"""A physical address, in bytes."""
Pfn = NewType("Pfn", int)
"""A physical frame number: a physical address divided by ``FRAME_SIZE``."""
Word64 = NewType("Word64", int)
"""An unsigned 64-bit value whose bits matter more than its magnitude: a raw entry, a control register."""

FRAME_SHIFT = 12
FRAME_SIZE = 1 << FRAME_SHIFT
WORD_MASK = (1 << 64) - 1


def pfn_of(address: PhysAddr) -> Pfn:
    """The frame that holds this physical address."""
    return Pfn(address >> FRAME_SHIFT)


def frame_base(pfn: Pfn) -> PhysAddr:
    """The physical address of a frame's first byte."""
    return PhysAddr(pfn << FRAME_SHIFT)


def round_down(value: int, unit: int) -> int:
    """The largest multiple of ``unit`` that is not above ``value``."""
    return value - value % unit


def round_up(value: int, unit: int) -> int:
    """The smallest multiple of ``unit`` that is not below ``value``."""
    return -(-value // unit) * unit


def hex_address(value: int) -> str:
    """An address or a 64-bit value as every report prints it: ``0x`` and lower-case digits, unsigned."""
    return f"{value & WORD_MASK:#x}"


_UNITS = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def human_size(size: int) -> str:
    """A number of bytes in readable units: exact when it is a whole number of units, else with one decimal."""
    for unit, name in _UNITS:
        if size >= unit:
            whole, rest = divmod(size, unit)
            return f"{whole} {name}" if rest == 0 else f"{size / unit:.1f} {name}"
    return f"{size} B"
