"""What a profile says about who has frames, bound to a kernel: the same records, with every expression compiled."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar, cast

from gdbext.profile.binding.binder import Binder
from gdbext.profile.expressions.expression import Expression
from gdbext.profile.language.keys import Source
from gdbext.profile.language.owners import BUFFERS, HELD, PAGE_RECORDS, Buffers, Held, PageRecords
from gdbext.profile.language.pointers import PointerRanges

_D = TypeVar("_D", PageRecords[Source], Buffers[Source], Held[Source], PointerRanges[Source])


def detected(binder: Binder, *described: _D | None) -> tuple[_D, ...]:
    """The descriptions of what this build of the kernel has, as far as the symbols tell."""
    return tuple(one for one in described if one and all(map(binder.symbols.find_symbol, one.detect)))


def bind_page_records(binder: Binder, described: PageRecords[Source]) -> PageRecords[Expression]:
    """The records about frames."""
    binder.frame_size(described.where, described.frame_size)
    element = binder.element(described.entries, binder.expression(described.entries))
    made = cast(PageRecords[Expression], binder.record(described, PAGE_RECORDS.keys, element))
    for name in ("free", "references", "order"):
        if getattr(made, name) is not None:
            binder.in_node_alone(getattr(described, name), getattr(made, name))
    return replace(made, element=element)


def bind_buffers(binder: Binder, described: Buffers[Source]) -> Buffers[Expression]:
    """Buffers of devices."""
    written = [name for name in ("entries", "count", "head", "next") if getattr(described, name) is not None]
    if written not in (["entries", "count"], ["head", "next"]):
        binder.problem(described.where, "either 'entries' and 'count' are needed, or 'head' and 'next'")
    first = described.entries or described.head or described.physical
    element = binder.element(first, binder.expression(first))
    made = replace(binder.record(described, BUFFERS.keys, element), element=element)
    return cast(Buffers[Expression], made)


def bind_held(binder: Binder, described: Held[Source]) -> Held[Expression]:
    """Frames kept by number or address."""
    binder.frame_size(described.where, described.frame_size)
    element = binder.element(described.entries, binder.expression(described.entries))
    frame = described.frame or Source(("*self",), described.where)
    made = replace(binder.record(replace(described, frame=frame), HELD.keys, element), element=element)
    return cast(Held[Expression], made)
