"""The callers that asked for chunks, where the kernel records them, and the names of code addresses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gdbext.heap.parts import U64, Chunks
from gdbext.profile.expressions.expression import Expression
from gdbext.profile.language.heaps import Caller
from gdbext.structures.gather import node_values
from gdbext.symbols.model import Symbols
from gdbext.units import VirtAddr, hex_address
from gdbext.x86.virtual import PagedMemory

CallerNames = Callable[[int], str]
"""Names the code at an address."""


def read_callers(
    described: Caller[Expression] | None, chunks: Chunks, memory: PagedMemory
) -> NDArray[np.uint64] | None:
    """The code address of each chunk's caller; 0 for free chunks, and where nothing can be read.

    None where the profile names no callers, or the kernel records none now. Raises MemoryUnavailable.
    """
    if described is None or (described.when is not None and not described.when.evaluate(memory)):
        return None
    which = np.flatnonzero(~chunks.free & chunks.sound)
    at = chunks.address if described.at == "header" else chunks.payload
    nodes = node_values(at[which], (described.expr,), memory)
    found = np.zeros(len(chunks), dtype=U64)
    found[which] = np.where(nodes.seen, nodes.values(described.expr).astype(U64), U64(0))
    return found


def names_of_code(symbols: Symbols) -> CallerNames:
    """A function that names the code at a return address: ``function+offset``, each looked up once."""
    known: dict[int, str] = {}

    def name(address: int) -> str:
        if address not in known:
            known[address] = _name(symbols, address)
        return known[address]

    return name


def _name(symbols: Symbols, address: int) -> str:
    # Look up the call before it: if that ends its function, the return address belongs to the next function.
    found = symbols.name_at(VirtAddr(address - 1)) if address else None
    return hex_address(address) if found is None else f"{found[0]}+{found[1] + 1:#x}"
