"""Physical memory managers of a profile, bound to a kernel: the same records, with every expression compiled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar, cast

from gdbext.profile.binding.binder import Binder
from gdbext.profile.binding.collections import bind_collection, bind_elements, context
from gdbext.profile.expressions.expression import Expression
from gdbext.profile.expressions.operations import width_of
from gdbext.profile.language.keys import Key, Magic, Source, Table
from gdbext.profile.language.physical import (
    BITMAP,
    BITMAPS,
    BUDDY,
    FRAME_STATES,
    LIST,
    TREE,
    Bitmap,
    Bitmaps,
    Buddy,
    Entries,
    FrameStates,
    FreeLists,
    LinkedFrames,
    Lists,
    Pairs,
    PhysicalManager,
    PmmKind,
    PmmSource,
    Summaries,
    Tree,
)
from gdbext.symbols.model import Kind, Type
from gdbext.symbols.typenames import VOID

BoundPmm = PmmKind[Expression]

_WORDS = (1, 2, 4, 8)
_M = TypeVar("_M", bound=PhysicalManager[Source])


def bind_pmm(binder: Binder, described: PmmSource) -> BoundPmm:
    """One manager. An expression with a problem is a stand-in, and the binder has the problem."""
    match described:
        case Bitmap():
            return _bitmap(binder, described)
        case Bitmaps():
            return _bitmaps(binder, described)
        case Buddy():
            return _buddy(binder, described)
        case FreeLists():
            return _free_lists(binder, described)
        case Tree():
            made = _common(binder, described, TREE)
            binder.address(described.nodes)
            return cast(Tree[Expression], made)
        case FrameStates():
            array = bind_collection(binder, described.collection)
            records = cast(FrameStates[Expression], _common(binder, described, FRAME_STATES, array.element))
            binder.in_node_alone(described.free, records.free)
            return replace(records, collection=array)


def _common(binder: Binder, described: _M, table: Table, node: Type | None = None) -> _M:
    """The keys that every kind has, and the kind's own expressions."""
    binder.frame_size(described.where, described.frame_size)
    made = binder.record(described, table.keys, node)
    return replace(made, counters=cast(Any, binder.counters(described.counters)))


def _keys_of(table: Table, name: str) -> tuple[Key, ...]:
    """The keys of a table within a table."""
    return next(key.keys for key in table.keys if key.name == name)


def _bitmap(binder: Binder, described: Bitmap[Source]) -> Bitmap[Expression]:
    made = cast(Bitmap[Expression], _common(binder, described, BITMAP))
    bits = binder.address(described.bits)
    made = replace(made, bits=bits, word=described.word or _word_of(bits.type))
    if described.summaries is None:
        return made
    summaries = bind_elements(binder, described.summaries, _keys_of(BITMAP, "summaries"), Summaries[Expression])
    return replace(made, summaries=summaries)


def _bitmaps(binder: Binder, described: Bitmaps[Source]) -> Bitmaps[Expression]:
    regions = bind_collection(binder, described.regions)
    element = context(regions)[0] or VOID
    made = cast(Bitmaps[Expression], _common(binder, described, BITMAPS, element))
    bits = binder.address(described.bits, element)
    return replace(
        made,
        regions=regions,
        bits=bits,
        word=described.word or _word_of(bits.type),
        region_counters={name: binder.about(source, element) for name, source in described.region_counters.items()},
    )


def _free_lists(binder: Binder, described: FreeLists[Source]) -> FreeLists[Expression]:
    made = cast(FreeLists[Expression], _linked(binder, described, LIST))
    if described.entries is None:
        return made
    node = made.node if isinstance(made.node, Type) else None
    entries = cast(Entries[Expression], binder.record(described.entries, _keys_of(LIST, "entries"), node))
    listed = entries.at.type.target
    if listed is not None and width_of(listed) is None:
        what = f"an element of '{entries.at.text}' is {listed.name}, not a number"
        binder.problem(described.entries.at.where, what)
    return replace(made, entries=entries)


def _buddy(binder: Binder, described: Buddy[Source]) -> Buddy[Expression]:
    made = cast(Buddy[Expression], _linked(binder, described, BUDDY))
    for lists in (written.collection.innermost for written in described.lists):
        if lists.when is not None:
            binder.problem(
                lists.where,
                "a list's index in the array is its order: remove 'when', which would shift the lists after it",
            )
    if described.pairs is None or not made.lists:
        return made
    pairs = binder.record(described.pairs, _keys_of(BUDDY, "pairs"), context(made.lists[0].collection)[0])
    return replace(made, pairs=cast(Pairs[Expression], pairs))


def _linked(binder: Binder, described: LinkedFrames[Source], table: Table) -> LinkedFrames[Expression]:
    """What lists of frames and buddies have in common."""
    lists = tuple(_list(binder, written, _keys_of(table, "lists")) for written in described.lists)
    if not lists:
        binder.problem(described.where, "'lists' is empty: add at least one list")
    if (described.links == "index") != (described.records is not None):
        binder.problem(described.where, "links = \"index\" and 'records' need each other")
    if binder.constant(described.link_offset) and described.links not in ("virtual", "physical"):
        why = f"links of kind {described.links} point to whole nodes: remove 'link_offset'"
        binder.problem(described.link_offset.where, why)
    node = _node_type(binder, described, lists[0]) if lists else VOID
    element = context(lists[0].collection)[0] if lists else None
    end = binder.about(described.end, element) if element else binder.expression(described.end)
    made = cast(LinkedFrames[Expression], _common(binder, replace(described, end=cast(Any, end)), table, node))
    made = replace(made, lists=lists, node=node)
    if described.magic is None:
        return made
    expr, equals = (binder.about(source, node) for source in (described.magic.expr, described.magic.equals))
    return replace(made, magic=Magic(expr, equals))


def _list(binder: Binder, written: Lists[Source], keys: tuple[Key, ...]) -> Lists[Expression]:
    return bind_elements(binder, written, keys, Lists[Expression])


def _node_type(binder: Binder, described: LinkedFrames[Source], first: Lists[Expression]) -> Type:
    """The type of a node: the named type, or what the records or the links point to."""
    if isinstance(described.node, Source):
        return binder.type_named(described.node)
    if described.records is not None:
        return binder.element(described.records, binder.expression(described.records))
    return binder.element(described.lists[0].head, first.head)


def _word_of(bits: Type) -> int:
    """The word size that a bitmap's type implies, in bytes; 8 when it implies none."""
    size = bits.target.size if bits.kind in (Kind.POINTER, Kind.ARRAY) and bits.target else 0
    return size if size in _WORDS else 8
