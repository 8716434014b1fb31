"""How leaked chunks look as text."""

from gdbext.checks.heaps.leaks import Leaks
from gdbext.report.text import Narrow, Style, count, table
from gdbext.units import hex_address, human_size


def leaks_text(leaks: Leaks, style: Style) -> list[str]:
    """The extent of the search, and the leaked chunks by group."""
    lost = sum(group.count for group in leaks.groups)
    line = f"leaks: {lost} of {count(leaks.chunks, 'used chunk')} ({sum(g.bytes for g in leaks.groups)} bytes)"
    parts = [style.wrapped(f"{line}; {human_size(leaks.pointers)} of pointer ranges searched", hanging=2)]
    if not leaks.groups:
        return parts
    callers = any(group.caller_name for group in leaks.groups)
    rows = [
        (
            group.heap,
            group.count,
            group.size,
            group.bytes,
            hex_address(group.addresses[0]),
            *((group.caller_name or "",) if callers else ()),
        )
        for group in leaks.groups
    ]
    headers = ("heap", "chunks", "size", "bytes", "one of them", *(("asked for by",) if callers else ()))
    return [*parts, table(rows, headers, style, ("chunks", "size", "bytes"), Narrow((("bytes",),)))]
