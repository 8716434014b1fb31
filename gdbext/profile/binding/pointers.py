"""What a profile says about where pointers to chunks are, bound to a kernel."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from gdbext.profile.binding.binder import Binder
from gdbext.profile.expressions.expression import Expression
from gdbext.profile.language.keys import Source
from gdbext.profile.language.pointers import POINTERS, PointerRanges


def bind_pointers(binder: Binder, described: PointerRanges[Source]) -> PointerRanges[Expression]:
    """Ranges that hold pointers."""
    written = [name for name in ("entries", "count", "head", "next") if getattr(described, name) is not None]
    if written not in ([], ["entries", "count"], ["head", "next"]):
        binder.problem(described.where, "either 'entries' and 'count' are needed, or 'head' and 'next', or none")
    first = described.entries or described.head
    element = None if first is None else binder.element(first, binder.expression(first))
    return cast(PointerRanges[Expression], replace(binder.record(described, POINTERS.keys, element), element=element))
