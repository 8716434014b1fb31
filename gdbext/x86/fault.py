"""Why an access faulted: the decoded error code, the walk, and the entry or register that caused it.

Source: Intel SDM vol. 3A, 4.7 "Page-Fault Exceptions" and 6.15 (vector 14); AMD APM vol. 2, 8.2.15.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from gdbext.machine.cpu import CR0_WP, CR4_SMAP, CR4_SMEP, RFLAGS_AC, CpuState
from gdbext.machine.memory import PhysicalMemory
from gdbext.units import PhysAddr, VirtAddr, Word64, hex_address
from gdbext.x86.access import (
    ERROR_I,
    ERROR_P,
    ERROR_PK,
    ERROR_RSVD,
    ERROR_U,
    ERROR_W,
    Access,
    as_the_manual_has_it,
    fault_of,
)
from gdbext.x86.modes import NX, U, W
from gdbext.x86.walk import Outcome, Step, Walk, entries_with_rights, walk

_MEANT = ERROR_P | ERROR_W | ERROR_U | ERROR_RSVD | ERROR_I | ERROR_PK
_SHADOW_STACK_SGX = 1 << 6 | 1 << 15


@dataclass(frozen=True)
class Report:
    """What is known of a fault besides its address; each field is None if unknown.

    ``flags`` is RFLAGS at the access (a handler may have changed AC since), ``fetch`` says that the address is that
    of the instruction itself. ``source`` describes where address and error code come from.
    """

    error_code: int | None
    flags: int | None
    fetch: bool
    source: str


@dataclass(frozen=True)
class Fault:
    """Why an access faults, or what its tables allow when they do not forbid it.

    ``access`` is the attempted access, by the error code. ``blame`` is the physical address of the entry that caused
    the fault, None when a register did or the cause is unknown. ``walk`` is the address's walk with the tables as they
    are now.
    """

    address: VirtAddr
    error_code: Word64 | None
    source: str
    access: str | None
    verdict: str
    blame: PhysAddr | None
    walk: Walk


def explain(memory: PhysicalMemory, cpu: CpuState, address: int, report: Report) -> Fault:
    """The verdict on a fault at an address, in one sentence, with the entry to blame."""
    if report.flags is not None:
        cpu = replace(cpu, rflags=Word64(report.flags))
    found = walk(memory, cpu, address)
    if report.error_code is None:
        verdict, blame = _without_code(found)
        return Fault(found.address, None, report.source, None, verdict, blame, found)
    access, user = access_of(report)
    tried = f"{'user-mode' if user else 'supervisor'} {'fetch' if access == 'execute' else access}"
    verdict, blame = _verdict(cpu, found, as_the_manual_has_it(report.error_code), access, tried)
    return Fault(found.address, Word64(report.error_code), report.source, tried, verdict, blame, found)


def access_of(report: Report) -> tuple[Access, bool]:
    """The attempted access, and whether it was at CPL 3. A fetch shows as a read where neither NX nor SMEP is on."""
    code = report.error_code or 0
    if code & ERROR_W:
        return "write", bool(code & ERROR_U)
    return ("execute" if code & ERROR_I or report.fetch else "read"), bool(code & ERROR_U)


def _without_code(found: Walk) -> tuple[str, PhysAddr | None]:
    """The verdict when only the address is known."""
    if found.outcome is Outcome.MAPPED:
        return (
            f"the address is mapped (supervisor {found.supervisor}, user {found.user}): without the error code the"
            " attempted access is unknown; run vmfault ADDR ERRORCODE",
            None,
        )
    return f"any access fails: {found.verdict}", _last(found)


def _last(found: Walk) -> PhysAddr | None:
    return found.steps[-1].entry_address if found.steps else None


def _verdict(cpu: CpuState, found: Walk, code: int, access: Access, tried: str) -> tuple[str, PhysAddr | None]:
    """Compare the error code with the one that these tables would give now, and explain the result."""
    if code & ~(_MEANT | _SHADOW_STACK_SGX):
        unknown = code & ~(_MEANT | _SHADOW_STACK_SGX)
        return f"{code:#x} is not a page-fault error code: unknown bits {unknown:#x}", None
    if found.outcome is Outcome.NON_CANONICAL:
        return f"this was not a page fault: {found.verdict}", None
    if found.outcome is Outcome.UNREADABLE:
        return f"the {tried} went through a table that is not RAM: {found.verdict}", _last(found)
    expected = fault_of(cpu, found, access, user=bool(code & ERROR_U))
    if expected is None and code & ERROR_PK:
        why = f"the {tried} was denied by a protection key, but the machine does not report the key register"
        return why, _last(found)
    if expected is None:
        return _allowed(found, code, tried), None
    if isinstance(expected, int) and (expected ^ code) & (ERROR_P | ERROR_RSVD | ERROR_PK):
        now, blame = _reason(cpu, found, access, tried, user=bool(code & ERROR_U))
        then = f"the error code says '{_condition(code)}', but the tables have changed since, or a TLB entry was stale"
        return f"{then}; now {now}", blame
    return _reason(cpu, found, access, tried, user=bool(code & ERROR_U))


def _allowed(found: Walk, code: int, tried: str) -> str:
    if not code & ERROR_P:
        return (
            f"the tables allow this {tried} now, but the page was not present at the fault: the tables have changed"
            " since, or the processor used a stale cached entry"
        )
    return (
        f"the tables allow this {tried}: the TLB entry was stale (rights were widened without invlpg or a load of CR3,"
        " or on another processor without a TLB shootdown), or the tables have changed since the fault"
        f" ('{_condition(code)}')"
    )


def _condition(code: int) -> str:
    """What an error code says about the entries."""
    if not code & ERROR_P:
        return "not present"
    if code & ERROR_RSVD:
        return "reserved bit set"
    return "denied by a protection key" if code & ERROR_PK else "denied by access rights"


def _reason(cpu: CpuState, found: Walk, access: Access, tried: str, *, user: bool) -> tuple[str, PhysAddr | None]:
    """Why the tables and registers refuse an access."""
    if found.outcome is Outcome.NOT_PRESENT:
        return f"the {tried} hit an unmapped page: {found.verdict}", _last(found)
    if found.outcome is Outcome.RESERVED_BITS:
        return f"the {tried} hit a malformed entry: {found.verdict}", _last(found)
    steps = entries_with_rights(cpu, found)
    user_page = all(step.value & U for step in steps)
    if user and not user_page:
        return _blame(steps, f"a {tried} of a supervisor-only page: U is clear", lambda value: not value & U)
    if access == "execute":
        if user_page and not user and cpu.cr4 & CR4_SMEP:
            return f"a {tried} from a user page, which CR4.SMEP forbids", _last(found)
        return _blame(steps, f"a {tried} from a page that is not executable: NX is set", lambda value: bool(value & NX))
    if user_page and not user and cpu.cr4 & CR4_SMAP and not cpu.rflags & RFLAGS_AC:
        return f"a {tried} of a user page with RFLAGS.AC clear, which CR4.SMAP forbids", _last(found)
    if access == "write" and not all(step.value & W for step in steps) and (user or cpu.cr0 & CR0_WP):
        protected = "" if user else " (CR0.WP is set)"
        return _blame(steps, f"a {tried} to a read-only page{protected}: W is clear", lambda value: not value & W)
    return f"a {tried} that the page's protection key forbids", _last(found)


def _blame(steps: tuple[Step, ...], what: str, guilty: Callable[[int], bool]) -> tuple[str, PhysAddr | None]:
    """The sentence, and the topmost entry that caused the fault."""
    step = next(step for step in steps if guilty(step.value))
    return f"{what} in the level-{step.level} entry at {hex_address(step.entry_address)}", step.entry_address
