"""Who asked for a chunk: where the kernel records that, and what the code at such an address is called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gdbext.heap.snapshot import U64, Chunks
from gdbext.machine.memory import VirtualMemory
from gdbext.profile.expressions.expression import Expression
from gdbext.profile.language.heaps import Caller
from gdbext.structures.chain import values_in
from gdbext.structures.gather import gathered, span_of
from gdbext.symbols.model import Symbols
from gdbext.units import VirtAddr, hex_address
from gdbext.x86.virtual import PagedMemory

CallerNames = Callable[[int], str]
"""What to call the code at an address."""


@dataclass(frozen=True)
class CallerRecord:
    """Where it stands who asked for a used chunk: ``expr`` is about its payload, or (``in_header``) its header."""

    expr: Expression
    in_header: bool

    def read(self, chunks: Chunks, memory: PagedMemory) -> NDArray[np.uint64]:
        """The code address of each chunk's caller; 0 for free chunks, and where nothing can be read."""
        found = np.zeros(len(chunks), dtype=U64)
        which = np.flatnonzero(~chunks.free & chunks.sound)
        nodes = (chunks.address if self.in_header else chunks.payload)[which]
        span = span_of((self.expr,))
        rows, seen = gathered(nodes, span, memory)
        found[which] = np.where(seen, values_in(self.expr, nodes, rows, span[0], memory).astype(U64), U64(0))
        return found


def caller_record(described: Caller[Expression] | None, memory: VirtualMemory) -> CallerRecord | None:
    """Where a heap's callers stand; None where the profile names none, or the kernel records none now."""
    if described is None or (described.when is not None and not described.when.evaluate(memory)):
        return None
    return CallerRecord(described.expr.settled(memory), described.at == "header")


def names_of_code(symbols: Symbols) -> CallerNames:
    """A function that says what to call the code at a return address: ``function+offset``, each looked up once."""
    known: dict[int, str] = {}

    def name(address: int) -> str:
        if address not in known:
            known[address] = _name(symbols, address)
        return known[address]

    return name


def _name(symbols: Symbols, address: int) -> str:
    # The call is what lies before: where nothing follows it, the return address is already another function's.
    found = symbols.name_at(VirtAddr(address - 1)) if address else None
    return hex_address(address) if found is None else f"{found[0]}+{found[1] + 1:#x}"
