"""gdbext in gdb's own expressions and breakpoint conditions: ``$v2p(va)``, ``$p2v(pa)``, ``$frame_state(pa)``."""

from collections.abc import Callable

import gdb

from gdbext.bridge.evaluate import number
from gdbext.bridge.session import new_session
from gdbext.errors import GdbextError, UsageError
from gdbext.profile.unread import Unread
from gdbext.session import Session
from gdbext.units import WORD_MASK, PhysAddr, VirtAddr, hex_address


def v2p(session: Session, address: int) -> int:
    """$v2p(ADDR): the physical address behind a virtual one; an error when it is not mapped."""
    found = session.walk(address)
    if found.physical is None:
        raise UsageError(found.verdict)
    return found.physical


def p2v(session: Session, address: int) -> int:
    """$p2v(PA): where the kernel's direct map has a physical address; an error when it is not mapped there."""
    base = session.direct_map
    if base is None:
        raise UsageError("the profile names no direct map (address.direct_map)")
    virtual = VirtAddr((base + address) & WORD_MASK)
    if session.walk(virtual).physical != address:
        raise UsageError(f"the direct map does not reach {hex_address(address)}")
    return virtual


def frame_state(session: Session, address: int) -> str:
    """$frame_state(PA): "free", "used" or "unmanaged", as the physical managers have it."""
    for manager in session.pmm:
        if isinstance(manager, Unread):
            raise UsageError(f"the physical manager '{manager.name}' cannot be read: {manager.why}")
        frame = (PhysAddr(address) - manager.base) // manager.frame_size
        if 0 <= frame < manager.count:
            return "free" if frame in manager.free else "used"
    return "unmanaged"


def register() -> None:
    """Make gdb know the functions."""
    for name, function in (("v2p", v2p), ("p2v", p2v), ("frame_state", frame_state)):
        _Function(name, function)


class _Function(gdb.Function):
    """One of them, with its docstring as gdb's help."""

    def __init__(self, name: str, function: Callable[[Session, int], int | str]) -> None:
        self.__doc__ = function.__doc__
        super().__init__(name)
        self._function = function
        self._name = name

    def invoke(self, *arguments: gdb.Value) -> str | gdb.Value:
        if len(arguments) != 1:
            raise gdb.GdbError(f"${self._name} takes one address")
        try:
            result = self._function(new_session(), number(arguments[0], str(arguments[0])))
        except GdbextError as error:
            raise gdb.GdbError(f"${self._name}: {error}") from error
        if isinstance(result, str):
            return result
        return gdb.Value(result).cast(gdb.selected_inferior().architecture().integer_type(64, False))
