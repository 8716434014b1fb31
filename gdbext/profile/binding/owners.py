"""What a profile says about owners of frames, bound to a kernel: the same records, with every expression compiled."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from gdbext.profile.binding.binder import Binder
from gdbext.profile.binding.collections import bind_elements
from gdbext.profile.expressions.expression import Expression
from gdbext.profile.language.keys import Source
from gdbext.profile.language.owners import BUFFERS, HELD, PAGE_RECORDS, Buffers, Held, PageRecords
from gdbext.profile.language.pointers import PointerRanges

_D = TypeVar("_D", PageRecords[Source], Buffers[Source], Held[Source], PointerRanges[Source])


def detected(binder: Binder, *described: _D | None) -> tuple[_D, ...]:
    """The descriptions whose ``detect`` symbols this build of the kernel has."""
    return tuple(one for one in described if one and all(map(binder.symbols.find_symbol, one.detect)))


def bind_page_records(binder: Binder, described: PageRecords[Source]) -> PageRecords[Expression]:
    """The records about frames."""
    binder.frame_size(described.where, described.frame_size)
    made = bind_elements(binder, described, PAGE_RECORDS.keys, PageRecords[Expression])
    for name in ("free", "references", "order"):
        if getattr(made, name) is not None:
            binder.in_node_alone(getattr(described, name), getattr(made, name))
    return made


def bind_buffers(binder: Binder, described: Buffers[Source]) -> Buffers[Expression]:
    """Buffers of devices; records that are not live are ignored."""
    live = replace(described.collection, when=described.live)
    return bind_elements(binder, replace(described, collection=live), BUFFERS.keys, Buffers[Expression])


def bind_held(binder: Binder, described: Held[Source]) -> Held[Expression]:
    """Frames kept by number or address."""
    binder.frame_size(described.where, described.frame_size)
    frame = described.frame or Source(("*self",), described.where)
    return bind_elements(binder, replace(described, frame=frame), HELD.keys, Held[Expression])
