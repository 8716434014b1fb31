"""What is known of the last page fault: from the kernel's own record, from the handler's stack, or from CR2 alone."""

import struct
from collections.abc import Callable

from gdbext.errors import MemoryUnavailable
from gdbext.machine.cpu import CpuState
from gdbext.machine.memory import VirtualMemory
from gdbext.profile.binding.bind import BoundException
from gdbext.units import VirtAddr
from gdbext.x86.descriptors import PAGE_FAULT, DescriptorTables
from gdbext.x86.fault import Report


def last_fault(
    cpu: CpuState,
    memory: VirtualMemory,
    exception: BoundException | None,
    tables: Callable[[], DescriptorTables],
) -> tuple[VirtAddr, Report]:
    """The address of the last page fault and what else is known of it. ``tables`` is called only if needed."""
    for found in (_recorded(cpu, memory, exception), _at_handler(cpu, memory, tables)):
        if found is not None:
            return found
    unset = " (0: possibly no fault yet)" if not cpu.cr2 else ""
    return cpu.cr2, Report(None, None, fetch=False, source=f"CR2{unset}; the error code is not recorded")


def _recorded(cpu: CpuState, memory: VirtualMemory, exception: BoundException | None) -> tuple[VirtAddr, Report] | None:
    """The kernel's own record of the exception that it is handling, if that is a page fault."""
    if exception is None:
        return None
    try:
        if not exception.when.evaluate(memory) or exception.vector.evaluate(memory) != PAGE_FAULT:
            return None
        code = exception.error_code.evaluate(memory)
        address = VirtAddr(exception.address.evaluate(memory)) if exception.address else cpu.cr2
        flags = exception.flags.evaluate(memory) if exception.flags else None
        fetch = exception.rip is not None and exception.rip.evaluate(memory) == address
    except MemoryUnavailable:
        return None  # the kernel's own record cannot be read: try elsewhere
    return address, Report(code, flags, fetch, f"the kernel's own record ({exception.error_code.text})")


def _at_handler(
    cpu: CpuState, memory: VirtualMemory, tables: Callable[[], DescriptorTables]
) -> tuple[VirtAddr, Report] | None:
    """What the processor has just pushed, if the guest is stopped at the first instruction of its handler."""
    if not cpu.long_mode or cpu.rsp is None:
        return None
    try:
        gate = next((gate for gate in tables().gates if gate.vector == PAGE_FAULT), None)
        if gate is None or gate.offset != cpu.rip:
            return None
        # Error code, RIP, CS, RFLAGS, ... from the top of the stack on (SDM vol. 3A, figure 6-9).
        code, rip, _, flags = struct.unpack("<4Q", memory.read(cpu.rsp, 32))
    except MemoryUnavailable:
        return None  # the IDT's address is unknown, or the stack cannot be read
    return cpu.cr2, Report(code, flags, rip == cpu.cr2, "CR2 and the handler's stack, at its first instruction")
