"""Heaps whose chunks have headers, bound to a kernel: the same records, with every expression compiled."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from gdbext.profile.binding.binder import Binder
from gdbext.profile.binding.collections import bind_collection, bind_elements, context
from gdbext.profile.expressions.expression import Expression
from gdbext.profile.language.heaps import (
    BUMP,
    CHUNKS,
    LIST,
    AdjacentHeap,
    Bins,
    BumpHeap,
    Caller,
    ChunkHeap,
    Footer,
    ListHeap,
    Poison,
    Redzone,
    Segments,
    Size,
    Tree,
    Watermark,
)
from gdbext.profile.language.keys import Key, Magic, Source, Table
from gdbext.symbols.model import Type
from gdbext.symbols.typenames import BASE_TYPES, VOID

_H = TypeVar("_H", bound=ChunkHeap[Expression])


def bind_chunks(
    binder: Binder, described: ListHeap[Source] | AdjacentHeap[Source] | BumpHeap[Source]
) -> ListHeap[Expression] | AdjacentHeap[Expression] | BumpHeap[Expression]:
    """A heap whose chunks have headers, or a bump heap."""
    match described:
        case ListHeap():
            return _list(binder, described)
        case AdjacentHeap():
            return _tiled(binder, described)
        case BumpHeap():
            made = binder.bound(described, BUMP.keys, BumpHeap[Expression])
            return replace(made, counters=binder.counters(described.counters))


def _list(binder: Binder, described: ListHeap[Source]) -> ListHeap[Expression]:
    head = binder.address(described.head)
    if described.tail is not None:
        binder.address(described.tail)
    binder.constant(described.link_offset)
    node = bound_node(binder, described.node, described.head, head)
    return _chunks(binder, described, LIST, node, ListHeap[Expression])


def _tiled(binder: Binder, described: AdjacentHeap[Source]) -> AdjacentHeap[Expression]:
    node = binder.type_named(described.node) if isinstance(described.node, Source) else VOID
    made = _chunks(binder, described, CHUNKS, node, AdjacentHeap[Expression])
    if not described.segments:
        binder.problem(described.where, "'segments' is empty: add the addresses that the chunks fill")
    if described.watermark is not None:
        made = replace(made, watermark=binder.bound(described.watermark, BUMP.keys[:3], Watermark[Expression]))
    if described.footer is None:
        return made
    kind = binder.type_named(described.footer.node) if isinstance(described.footer.node, Source) else VOID
    expr, equals = binder.about(described.footer.expr, kind), binder.about(described.footer.equals, node)
    return replace(made, footer=Footer(kind, expr, equals))


def bound_segments(binder: Binder, described: tuple[Segments[Source], ...]) -> tuple[Segments[Expression], ...]:
    """The ranges that a heap fills."""
    made = []
    keys = keys_of(CHUNKS, "segments")
    for segments in described:
        found = bind_elements(binder, segments, keys, Segments[Expression])
        element = context(found.collection)[0]
        for source in (segments.start, segments.end):
            binder.address(source, element)
        made.append(found)
    return tuple(made)


def bound_node(binder: Binder, written: Source | Type | None, source: Source, pointer: Expression) -> Type:
    """The type of a header: the named type, or what a pointer points to."""
    return binder.type_named(written) if isinstance(written, Source) else binder.element(source, pointer)


def _chunks(binder: Binder, described: ChunkHeap[Source], table: Table, node: Type, kind: type[_H]) -> _H:
    """The keys that all heaps of chunks have in common, and the kind's own expressions."""
    size = described.size
    if described.alignment < 1 or size.unit < 1:
        binder.problem(described.where, "'alignment' and 'size.unit' must be at least 1")
    if described.free is None and not described.bins and described.tree is None:
        binder.problem(
            described.where, "which chunks are free is unknown: add 'free', or the 'bins' or 'tree' that hold them"
        )
    made = binder.bound(described, table.keys, kind, node)
    return replace(
        made,
        node=node,
        size=Size(binder.about(size.expr, node), size.includes_header, size.unit),
        header=binder.constant(described.header) if isinstance(described.header, Source) else node.size,
        magic=bound_magic(binder, described.magic, node),
        bins=tuple(_bins(binder, bins, table) for bins in described.bins),
        tree=None if described.tree is None else _tree(binder, described.tree, table),
        poison=bound_poison(binder, described.poison, table),
        redzone=bound_redzone(binder, described.redzone, table),
        caller=bound_caller(binder, described.caller, table, node),
        segments=bound_segments(binder, described.segments),
        counters=binder.counters(described.counters),
    )


def _bins(binder: Binder, described: Bins[Source], table: Table) -> Bins[Expression]:
    lists = bind_collection(binder, described.collection, or_none=True)
    element = context(lists)[0]
    head = binder.address(described.head, element)
    node = bound_node(binder, described.node, described.head, head)
    about_nodes = [key for key in keys_of(table, "bins") if key.name in ("next", "prev")]
    of_list = [key for key in keys_of(table, "bins") if key not in about_nodes]
    made = binder.record(described, about_nodes, node)
    bound = binder.bound(made, of_list, Bins[Expression], element)
    binder.constant(described.link_offset)
    return replace(bound, node=node, collection=lists)


def _tree(binder: Binder, described: Tree[Source], table: Table) -> Tree[Expression]:
    node = bound_node(binder, described.node, described.root, binder.address(described.root))
    binder.constant(described.link_offset)
    if described.kind == "redblack" and described.red is None:
        binder.problem(described.root.where, "kind = \"redblack\" needs 'red'")
    return replace(binder.bound(described, keys_of(table, "tree"), Tree[Expression], node), node=node)


def bound_magic(binder: Binder, described: Magic[Source] | None, node: Type) -> Magic[Expression] | None:
    """The magic value of headers, bound against their type."""
    if described is None:
        return None
    return Magic(binder.about(described.expr, node), binder.about(described.equals, node))


def bound_poison(binder: Binder, described: Poison[Source] | None, table: Table) -> Poison[Expression] | None:
    """The byte that free payloads are filled with."""
    return None if described is None else binder.bound(described, keys_of(table, "poison"), Poison[Expression])


def bound_redzone(binder: Binder, described: Redzone[Source] | None, table: Table) -> Redzone[Expression] | None:
    """A redzone, bound against the type that it is about."""
    if described is None:
        return None
    node = binder.type_named(described.node) if isinstance(described.node, Source) else BASE_TYPES["unsigned char"]
    return replace(binder.bound(described, keys_of(table, "redzone"), Redzone[Expression], node), node=node)


def bound_caller(
    binder: Binder, described: Caller[Source] | None, table: Table, header: Type
) -> Caller[Expression] | None:
    """The caller that allocated a chunk, bound against the type that it is about."""
    if described is None:
        return None
    node = binder.type_named(described.node) if isinstance(described.node, Source) else header
    return replace(binder.bound(described, keys_of(table, "caller"), Caller[Expression], node), node=node)


def keys_of(table: Table, name: str) -> tuple[Key, ...]:
    """The keys of a table within a table."""
    return next(key.keys for key in table.keys if key.name == name)
