"""What a profile says about ranges of physical memory, bound to a kernel."""

from __future__ import annotations

from dataclasses import replace

from gdbext.profile.binding.binder import Binder
from gdbext.profile.binding.collections import bind_elements
from gdbext.profile.expressions.expression import Expression
from gdbext.profile.language.keys import Source
from gdbext.profile.language.ranges import BOOT_MAP, BootMap, PhysicalRanges, Reclaimable


def bind_boot_map(binder: Binder, described: BootMap[Source]) -> BootMap[Expression]:
    """The boot map; its types of memory are constants."""
    later, reserved = described.reclaimable, described.reserved
    made = bind_elements(binder, described, BOOT_MAP.keys, BootMap[Expression])
    return replace(
        made,
        usable=_constants(binder, described.usable),
        reclaimable=None if later is None else _reclaimable(binder, later),
        reserved=None if reserved is None else _reserved(binder, reserved),
    )


def _reclaimable(binder: Binder, described: Reclaimable[Source]) -> Reclaimable[Expression]:
    return Reclaimable(_constants(binder, described.types), binder.expression(described.when))


def _reserved(binder: Binder, described: PhysicalRanges[Source]) -> PhysicalRanges[Expression]:
    keys = next(key.keys for key in BOOT_MAP.keys if key.name == "reserved")
    return bind_elements(binder, described, keys, PhysicalRanges[Expression])


def _constants(binder: Binder, sources: tuple[Source, ...]) -> tuple[Expression, ...]:
    for source in sources:
        binder.constant(source)
    return tuple(binder.expression(source) for source in sources)
