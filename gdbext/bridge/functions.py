"""gdbext in gdb's own expressions and breakpoint conditions: ``$v2p(va)``, ``$p2v(pa)``, ``$frame_state(pa)``."""

from collections.abc import Callable

import gdb

from gdbext.bridge.evaluate import number
from gdbext.bridge.session import new_session
from gdbext.errors import UsageError
from gdbext.session import Session
from gdbext.structures.unread import Unread
from gdbext.units import WORD_MASK, PhysAddr, VirtAddr, hex_address


def v2p(session: Session, address: int) -> int:
    """The physical address that a virtual address maps to; an error when it is not mapped."""
    found = session.translation.walk(address)
    if found.physical is None:
        raise UsageError(found.verdict)
    return found.physical


def p2v(session: Session, address: int) -> int:
    """The direct-map address of a physical address; an error when the direct map does not map it."""
    base = session.translation.direct_map
    if base is None:
        raise UsageError("the profile has no direct map; add address.direct_map to it")
    virtual = VirtAddr((base + address) & WORD_MASK)
    if session.translation.walk(virtual).physical != address:
        raise UsageError(f"the direct map does not map physical {hex_address(address)}")
    return virtual


def frame_state(session: Session, address: int) -> str:
    """The state of a frame in the physical managers: "free", "used" or "unmanaged"."""
    for manager in session.physical.managers:
        if isinstance(manager, Unread):
            raise UsageError(f"the physical manager '{manager.name}' cannot be read: {manager.why}")
        frame = (PhysAddr(address) - manager.base) // manager.frame_size
        if 0 <= frame < manager.count:
            return "free" if frame in manager.free else "used"
    return "unmanaged"


_FUNCTIONS: dict[str, Callable[[Session, int], int | str]] = {"v2p": v2p, "p2v": p2v, "frame_state": frame_state}


def answer(name: str, argument: gdb.Value) -> str | gdb.Value:
    """The value of a function for an address."""
    try:
        address = number(argument, str(argument))
    except gdb.error as error:
        raise UsageError(f"the address cannot be evaluated: {error}") from error
    result = _FUNCTIONS[name](new_session(), address)
    if isinstance(result, str):
        return result
    return gdb.Value(result).cast(gdb.selected_inferior().architecture().integer_type(64, False))
