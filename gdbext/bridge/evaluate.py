"""Addresses and numbers typed by the user, evaluated by gdb, which is kept from changing the guest."""

from collections.abc import Iterator
from contextlib import contextmanager

import gdb

from gdbext.errors import UsageError
from gdbext.units import WORD_MASK

_NO_NUMBER = (gdb.TYPE_CODE_STRUCT, gdb.TYPE_CODE_UNION, gdb.TYPE_CODE_FLT)
_TOUCHES = {
    "may-call-functions": "Cannot call functions",
    "may-write-memory": "Writing to memory is not allowed",
}
"""gdb's settings that keep expressions from changing the guest, and how its refusals begin."""


def evaluate(text: str) -> int:
    """A gdb expression as an unsigned 64-bit number: arrays and functions give their address, as in C."""
    try:
        with _looking_only():
            return number(gdb.parse_and_eval(text), text)
    except gdb.error as error:
        if str(error).startswith(tuple(_TOUCHES.values())):
            raise UsageError(f"'{text}' would change the guest, which gdbext only reads; use print") from error
        raise UsageError(f"cannot evaluate '{text}': {error}") from error


@contextmanager
def _looking_only() -> Iterator[None]:
    """No calls of the guest's functions, no writes to its memory; the user's settings are restored afterwards.

    (gdb has a setting for registers too, but refuses to change it while there is a guest.)
    """
    allowed = [setting for setting in _TOUCHES if gdb.parameter(setting)]
    try:
        for setting in allowed:
            gdb.execute(f"set {setting} off", to_string=True)
        yield
    finally:
        for setting in allowed:
            gdb.execute(f"set {setting} on", to_string=True)


def number(value: gdb.Value, text: str) -> int:
    """A value of gdb's as an unsigned 64-bit number; ``text`` is its name in messages."""
    code = value.type.strip_typedefs().code
    if code in {gdb.TYPE_CODE_ARRAY, gdb.TYPE_CODE_FUNC}:
        if value.address is None:
            raise UsageError(f"'{text}' is not in memory: it has no address")
        value = value.address
    elif code in _NO_NUMBER:
        raise UsageError(f"'{text}' is of type {value.type}, not an address; did you mean &({text})?")
    elif code == gdb.TYPE_CODE_FLAGS:
        # Control registers have gdb's flag types, which convert to a number only by a cast.
        value = value.cast(gdb.selected_inferior().architecture().integer_type(64, False))
    return int(value) & WORD_MASK
