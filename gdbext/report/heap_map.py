"""How the map of a heap looks as text."""

from collections.abc import Iterator

import numpy as np

from gdbext.checks.heaps.heap_map import HeapMap, Part
from gdbext.report.address_map import State, Stretches, draw
from gdbext.report.managers import incomplete, unread_text
from gdbext.report.results import HeapMaps
from gdbext.report.text import Style, count, render
from gdbext.structures.unread import Unread
from gdbext.units import hex_address

STATES = {
    Part.TWICE: State("in two chunks", "!", colour="red", priority=7),
    Part.MISSING: State("used, not mapped", "xX", colour="red", priority=6),
    Part.UNKNOWN: State("unknown", "?", colour="red", priority=5),
    Part.FREE: State("free", ".", "·", "grey", priority=-1),
    Part.USED: State("used", ":+#", "░▒▓█", "blue"),
    Part.OVERHEAD: State("overhead", "hH", colour="cyan", priority=-1),
    Part.AHEAD: State("not handed out", "-", colour="grey", priority=-1, hole=True),
    Part.NOBODYS: State("nobody's", ",", colour="grey", priority=-2, hole=True),
    Part.UNMAPPED: State("not mapped", "_", colour="grey", priority=-2, hole=True),
    Part.OUTSIDE: State("not the heap's", "/", colour="grey", priority=-2, hole=True),
}
"""How each state is drawn: states that the map of physical memory has too look the same there."""
UNIT = 16
"""The bytes of the smallest cell."""


@render.register
def _(result: HeapMaps, style: Style) -> str:
    return "\n".join(line for heap in result.heaps for line in _heap_map(heap, style))


def _heap_map(heap: HeapMap | Unread, style: Style) -> Iterator[str]:
    if isinstance(heap, Unread):
        yield unread_text(heap, style)
        return
    if not heap.begins:
        yield f"{heap.name}: none of its addresses are in this range"
        return
    span = f"virtual addresses from {hex_address(heap.start)} to {hex_address(heap.end)}"
    yield style.wrapped(f"{heap.name} ({heap.kind}): {count(heap.chunks, 'chunk')}, {span}", hanging=2)
    numbers = {part.value: number for number, part in enumerate(STATES)}
    stretches = Stretches(
        start=heap.start,
        end=heap.end,
        begin=np.array(heap.begins, dtype=np.uint64),
        state=np.array([numbers[state] for state in heap.states], dtype=np.int64),
        table=tuple(STATES.values()),
    )
    yield from draw(stretches, UNIT, style)
    if heap.outside:
        yield style.wrapped(f"not in the map: {count(heap.outside, 'chunk')} outside the heap's segments", hanging=2)
    if heap.why_incomplete is not None:
        yield incomplete(f"not all chunks are known: {heap.why_incomplete}; run heapcheck", style)
