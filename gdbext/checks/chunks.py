"""How findings about chunks speak of them."""

from gdbext.checks.finding import Finding, Severity
from gdbext.heap.snapshot import Chunk, HeapSnapshot
from gdbext.units import Word64, hex_address


def describe(chunk: Chunk) -> str:
    """A chunk in a few words, as evidence names it."""
    return f"chunk {hex_address(chunk.address)}, {'free' if chunk.free else 'used'}, {chunk.size} bytes"


def neighbours(heap: HeapSnapshot, index: int) -> tuple[str, ...]:
    """The chunks before and behind one, in the heap's order."""
    lines = []
    if index > 0:
        lines.append(f"before it: {describe(heap.chunks.at(index - 1))}")
    if index + 1 < len(heap.chunks):
        lines.append(f"behind it: {describe(heap.chunks.at(index + 1))}")
    return tuple(lines)


TEXT_LEAST = 3
"""So many letters in a row are text and no accident."""


def text_in(data: bytes) -> str:
    """The text that some bytes are; empty when they are none."""
    end = data.find(b"\0")
    start = data if end < 0 else data[:end]
    return start.decode("ascii") if len(start) >= TEXT_LEAST and all(32 <= byte < 127 for byte in start) else ""


def broken(
    subject: str, address: int | None, expected: str, actual: str, cause: str, evidence: tuple[str, ...] = ()
) -> Finding:
    """A finding whose rule is the one that is being checked."""
    at = None if address is None else Word64(address)
    return Finding("", Severity.ERROR, "", subject, at, expected, actual, evidence, cause)
