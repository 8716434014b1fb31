"""What a profile says about where pointers to chunks are, bound to a kernel."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from gdbext.profile.binding.binder import Binder
from gdbext.profile.binding.collections import bind_collection, context
from gdbext.profile.expressions.expression import Expression
from gdbext.profile.language.keys import Source
from gdbext.profile.language.pointers import ROOTS, RootRanges


def bind_roots(binder: Binder, described: RootRanges[Source]) -> RootRanges[Expression]:
    """Ranges that hold pointers."""
    ranges = bind_collection(binder, described.collection, or_none=True)
    made = cast(RootRanges[Expression], binder.record(described, ROOTS.keys, *context(ranges)))
    return replace(made, collection=ranges)
