"""The outcome of one access: granted, or an exception with its error code.

Source: Intel SDM vol. 3A, 4.7 "Page-Fault Exceptions"; AMD APM vol. 2, 8.4.2. Only explicit accesses are
covered, not those that the processor makes on its own behalf (to a descriptor table, to its shadow stack).
"""

from typing import Literal

from gdbext.machine.cpu import CR4_PAE, CR4_SMEP, CpuState
from gdbext.machine.memory import PhysicalMemory
from gdbext.units import PhysAddr
from gdbext.x86.modes import paging_mode
from gdbext.x86.rights import Permissions, key_denies
from gdbext.x86.walk import Outcome, Walk, permissions, walk

ERROR_P = 1 << 0
"""The entries are present: rights or a reserved bit cause the fault."""
ERROR_W = 1 << 1
"""The access was a write."""
ERROR_U = 1 << 2
"""The access was made at CPL 3."""
ERROR_RSVD = 1 << 3
"""A reserved bit is set in an entry."""
ERROR_I = 1 << 4
"""The access was an instruction fetch, on a processor that reports fetches."""
ERROR_PK = 1 << 5
"""A protection key forbids the access, possibly among other causes."""

Access = Literal["read", "write", "execute"]
Prediction = int | Literal["gp", "unknown"] | None
"""The error code of the page fault; ``gp`` for a general-protection exception instead; None when the access is
granted; ``unknown`` when it depends on a table that cannot be read, or the mode has no such address."""


def predict_fault(
    memory: PhysicalMemory, cpu: CpuState, address: int, access: Access, *, user: bool, root: PhysAddr | None = None
) -> Prediction:
    """The result of an access to a virtual address, at CPL 3 (``user``) or below, under these control registers."""
    return fault_of(cpu, walk(memory, cpu, address, root), access, user=user)


def fault_of(cpu: CpuState, found: Walk, access: Access, *, user: bool) -> Prediction:
    """The result of an access to the address of a walk made under the same control registers."""
    who_and_how = _who_and_how(cpu, access, user=user)
    match found.outcome:
        case Outcome.NON_CANONICAL:
            return "gp" if cpu.long_mode else "unknown"
        case Outcome.UNREADABLE:
            return "unknown"
        case Outcome.NOT_PRESENT:
            return who_and_how
        case Outcome.RESERVED_BITS:
            return ERROR_P | ERROR_RSVD | who_and_how
    rights = found.user if user else found.supervisor
    if getattr(rights, access):
        return None
    return ERROR_P | who_and_how | (ERROR_PK if _key_forbids(cpu, found, access, user=user) else 0)


def as_the_manual_has_it(error_code: int) -> int:
    """An error code with P wherever RSVD is: the manual says that RSVD implies P, QEMU omits P."""
    return error_code | ERROR_P if error_code & ERROR_RSVD else error_code


def _who_and_how(cpu: CpuState, access: Access, *, user: bool) -> int:
    """The part of an error code that describes the access rather than the entries."""
    code = ERROR_U if user else 0
    if access == "write":
        code |= ERROR_W
    if access == "execute" and (cpu.cr4 & CR4_SMEP or (cpu.cr4 & CR4_PAE and cpu.nx_enabled)):
        code |= ERROR_I
    return code


def _key_forbids(cpu: CpuState, found: Walk, access: Access, *, user: bool) -> bool:
    """Whether the page's protection key by itself forbids the access."""
    mode = paging_mode(cpu)
    if mode is None or access == "execute":
        return False
    page: Permissions = permissions(mode, found.steps)
    no_access, no_write = key_denies(cpu, page, user=user)
    return no_access or (access == "write" and no_write)
