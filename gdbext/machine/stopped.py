"""A stopped machine: its memory, its processors, and how they were come by."""

from collections.abc import Callable
from dataclasses import dataclass

from gdbext.errors import MemoryUnavailable
from gdbext.machine.cpu import CpuState, DescriptorRegisters
from gdbext.machine.memory import PhysicalMemory
from gdbext.machine.source import Considered
from gdbext.machine.tables import GeneralRegisters, ProcessorRoot


def _unknown() -> DescriptorRegisters:
    raise MemoryUnavailable("this machine does not tell where its descriptor tables are")


@dataclass(frozen=True)
class Machine:
    """A stopped machine: its memory, the selected processor, and how its memory was come by.

    ``descriptors`` asks where the processor's tables are (MemoryUnavailable when nobody tells), ``roots`` which roots
    the other processors have loaded, ``registers`` what is in the general registers of all.
    """

    memory: PhysicalMemory
    cpu: CpuState
    considered: tuple[Considered, ...]
    descriptors: Callable[[], DescriptorRegisters] = _unknown
    roots: Callable[[], tuple[ProcessorRoot, ...]] = tuple
    registers: Callable[[], GeneralRegisters] = GeneralRegisters
