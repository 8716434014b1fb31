"""Heaps whose chunks have no headers, bound to a kernel: slabs, runs of pages, buddies."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from gdbext.profile.binding.binder import Binder
from gdbext.profile.binding.chunks import (
    bound_caller,
    bound_magic,
    bound_node,
    bound_poison,
    bound_redzone,
    bound_segments,
    keys_of,
)
from gdbext.profile.binding.collections import bind_elements, context
from gdbext.profile.expressions.expression import Expression
from gdbext.profile.language.keys import Key, Source
from gdbext.profile.language.slabs import (
    BUDDY,
    RUNS,
    SLAB,
    BuddyHeap,
    Caches,
    Numbers,
    ObjectBits,
    ObjectLinks,
    PageRunsHeap,
    RunRecords,
    SlabHeap,
    SlabList,
)
from gdbext.symbols.model import Type
from gdbext.symbols.typenames import VOID

_R = TypeVar("_R", bound=RunRecords[Expression])


def bind_page_runs(binder: Binder, described: PageRunsHeap[Source]) -> PageRunsHeap[Expression]:
    """A page heap."""
    made = _run_records(binder, described, RUNS.keys, PageRunsHeap[Expression])
    return replace(
        made,
        redzone=bound_redzone(binder, described.redzone, RUNS),
        caller=bound_caller(binder, described.caller, RUNS, VOID),
        segments=bound_segments(binder, described.segments),
        counters=binder.counters(described.counters),
    )


def _run_records(binder: Binder, described: RunRecords[Source], keys: tuple[Key, ...], kind: type[_R]) -> _R:
    bound: _R = bind_elements(binder, described, keys, kind)
    return bound


def bind_buddy(binder: Binder, described: BuddyHeap[Source]) -> BuddyHeap[Expression]:
    """A heap of buddies."""
    made = binder.bound(described, BUDDY.keys, BuddyHeap[Expression])
    for source in (described.nodes, described.origin, described.start, described.end):
        binder.address(source)
    return replace(
        made,
        poison=bound_poison(binder, described.poison, BUDDY),
        redzone=bound_redzone(binder, described.redzone, BUDDY),
        caller=bound_caller(binder, described.caller, BUDDY, VOID),
        counters=binder.counters(described.counters),
    )


def bind_slab(binder: Binder, described: SlabHeap[Source]) -> SlabHeap[Expression]:
    """A heap of slabs."""
    _insist_on_shape(binder, described)
    caches = _caches(binder, described.caches)
    node = _slab_node(binder, described, caches)
    made = binder.bound(described, SLAB.keys, SlabHeap[Expression], node)
    binder.constant(described.link_offset)
    runs, keys = described.runs, keys_of(SLAB, "runs")
    return replace(
        made,
        node=node,
        caches=caches,
        runs=None if runs is None else _run_records(binder, runs, keys, RunRecords[Expression]),
        magic=bound_magic(binder, described.magic, node),
        numbers=None if described.numbers is None else _numbers(binder, described.numbers, node),
        links=None if described.links is None else _links(binder, described.links, node),
        bits=None if described.bits is None else _bits(binder, described.bits, node),
        poison=bound_poison(binder, described.poison, SLAB),
        redzone=bound_redzone(binder, described.redzone, SLAB),
        caller=bound_caller(binder, described.caller, SLAB, VOID),
        segments=bound_segments(binder, described.segments),
        counters=binder.counters(described.counters),
    )


def _insist_on_shape(binder: Binder, described: SlabHeap[Source]) -> None:
    """Require the keys that may be in one of two tables, and exactly one of three ways to say what is free."""
    caches, where = described.caches, described.where
    for name in ("stride", "capacity"):
        if getattr(described, name) is None and getattr(caches, name) is None:
            binder.problem(
                where, f"'{name}' is missing: add it to 'caches', or next to 'caches' if slabs of a cache differ"
            )
    ways = [way for way in (described.numbers, described.links, described.bits) if way is not None]
    if len(ways) != 1:
        binder.problem(where, "which objects are free is unknown: give exactly one of 'numbers', 'links' and 'bits'")
    if caches.lists and described.next is None:
        binder.problem(where, "'next' is missing: the lists of slabs cannot be followed")
    if not caches.lists and described.runs is None:
        binder.problem(where, "where slabs are is unknown: add 'caches.lists' or 'runs'")


def _caches(binder: Binder, described: Caches[Source]) -> Caches[Expression]:
    keys = keys_of(SLAB, "caches")
    made = bind_elements(binder, described, keys, Caches[Expression])
    of_list = next(key.keys for key in keys if key.name == "lists")
    about = context(made.collection)
    lists = tuple(binder.bound(one, of_list, SlabList[Expression], *about) for one in described.lists)
    return replace(made, lists=lists)


def _slab_node(binder: Binder, described: SlabHeap[Source], caches: Caches[Expression]) -> Type:
    if isinstance(described.node, Source):
        return binder.type_named(described.node)
    if not caches.lists:
        binder.problem(described.where, "'node' is missing: the type of a slab's header")
        return VOID
    return bound_node(binder, None, described.caches.lists[0].head, caches.lists[0].head)


def _numbers(binder: Binder, described: Numbers[Source], node: Type) -> Numbers[Expression]:
    made = binder.bound(described, keys_of(SLAB, "numbers"), Numbers[Expression], node)
    if node is not VOID:
        binder.element(described.next, made.next)
    return made


def _links(binder: Binder, described: ObjectLinks[Source], node: Type) -> ObjectLinks[Expression]:
    first = binder.about(described.first, node)
    inner = bound_node(binder, described.node, described.first, first) if node is not VOID else VOID
    in_slab = [key for key in keys_of(SLAB, "links") if key.name in ("first", "at", "end")]
    in_object = [key for key in keys_of(SLAB, "links") if key.name == "next"]
    made = binder.bound(binder.record(described, in_object, inner), in_slab, ObjectLinks[Expression], node)
    return replace(made, node=inner)


def _bits(binder: Binder, described: ObjectBits[Source], node: Type) -> ObjectBits[Expression]:
    if node is not VOID:
        binder.address(described.at, node)
    return binder.bound(described, keys_of(SLAB, "bits"), ObjectBits[Expression], node)
