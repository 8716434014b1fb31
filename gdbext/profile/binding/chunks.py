"""Heaps whose chunks have headers, bound to a kernel: the same records, with every expression compiled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar, cast

from gdbext.profile.binding.binder import Binder
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
    Redzone,
    Size,
    Tree,
)
from gdbext.profile.language.keys import Key, Magic, Source, Table
from gdbext.symbols.model import Type
from gdbext.symbols.typenames import BASE_TYPES, VOID

_H = TypeVar("_H", bound=ChunkHeap[Any])


def bind_chunks(
    binder: Binder, described: ListHeap[Source] | AdjacentHeap[Source] | BumpHeap[Source]
) -> ListHeap[Expression] | AdjacentHeap[Expression] | BumpHeap[Expression]:
    """A heap whose chunks have headers, or that knows of none."""
    match described:
        case ListHeap():
            return _list(binder, described)
        case AdjacentHeap():
            return _tiled(binder, described)
        case BumpHeap():
            made = binder.record(described, BUMP.keys)
            return cast(BumpHeap[Expression], replace(made, counters=cast(Any, binder.counters(described.counters))))


def _list(binder: Binder, described: ListHeap[Source]) -> ListHeap[Expression]:
    head = binder.address(described.head)
    if described.tail is not None:
        binder.address(described.tail)
    binder.constant(described.link_offset)
    node = bound_node(binder, described.node, described.head, head)
    return cast(ListHeap[Expression], _chunks(binder, described, LIST, node))


def _tiled(binder: Binder, described: AdjacentHeap[Source]) -> AdjacentHeap[Expression]:
    node = binder.type_named(described.node) if isinstance(described.node, Source) else VOID
    made = cast(AdjacentHeap[Expression], _chunks(binder, described, CHUNKS, node))
    if not described.segments:
        binder.problem(described.where, "'segments' is empty: there is nowhere to begin")
    mark = described.watermark and binder.record(described.watermark, BUMP.keys[:3])
    made = replace(made, watermark=cast(Any, mark))
    if described.footer is None:
        return made
    kind = binder.type_named(described.footer.node) if isinstance(described.footer.node, Source) else VOID
    expr, equals = binder.about(described.footer.expr, kind), binder.about(described.footer.equals, node)
    return replace(made, footer=Footer(kind, expr, equals))


def bound_node(binder: Binder, written: Source | Type | None, source: Source, pointer: Expression) -> Type:
    """The type of a header: the one that is named, or what a pointer points to."""
    return binder.type_named(written) if isinstance(written, Source) else binder.element(source, pointer)


def _chunks(binder: Binder, described: _H, table: Table, node: Type) -> _H:
    """What all heaps of chunks have in common, and the kind's own expressions."""
    size, magic = described.size, described.magic
    if described.alignment < 1 or size.unit < 1:
        binder.problem(described.where, "'alignment' and 'size.unit' are at least 1")
    if described.free is None and not described.bins and described.tree is None:
        problem = (
            "nothing tells which chunks are free: there is no 'free', and no 'bins' or 'tree' that would hold them"
        )
        binder.problem(described.where, problem)
    made = binder.record(described, table.keys, node)
    return replace(
        made,
        node=node,
        size=Size(binder.about(size.expr, node), size.includes_header, size.unit),
        header=binder.constant(described.header) if isinstance(described.header, Source) else node.size,
        magic=magic and Magic(binder.about(magic.expr, node), binder.about(magic.equals, node)),
        bins=tuple(_bins(binder, bins, table) for bins in described.bins),
        tree=described.tree and _tree(binder, described.tree, table),
        poison=described.poison and binder.record(described.poison, keys_of(table, "poison")),
        redzone=described.redzone and bound_redzone(binder, described.redzone, table),
        caller=described.caller and bound_caller(binder, described.caller, table, node),
        segments=tuple(binder.range(segment) for segment in described.segments),
        counters=binder.counters(described.counters),
    )


def _bins(binder: Binder, described: Bins[Source], table: Table) -> Bins[Expression]:
    if (described.entries is None) != (described.count is None):
        binder.problem(described.head.where, "'entries' and 'count' go together")
    entries = described.entries
    element = None if entries is None else binder.element(entries, binder.expression(entries))
    head = binder.address(described.head, element)
    node = bound_node(binder, described.node, described.head, head)
    about_nodes = [key for key in keys_of(table, "bins") if key.name in ("next", "prev")]
    of_list = [key for key in keys_of(table, "bins") if key not in about_nodes]
    made = binder.record(binder.record(described, about_nodes, node), of_list, element)
    binder.constant(described.link_offset)
    return cast(Bins[Expression], replace(made, node=node, element=element))


def _tree(binder: Binder, described: Tree[Source], table: Table) -> Tree[Expression]:
    node = bound_node(binder, described.node, described.root, binder.address(described.root))
    binder.constant(described.link_offset)
    if described.kind == "redblack" and described.red is None:
        binder.problem(described.root.where, "kind = \"redblack\" needs 'red'")
    made = binder.record(described, keys_of(table, "tree"), node)
    return cast(Tree[Expression], replace(made, node=node))


def bound_redzone(binder: Binder, described: Redzone[Source], table: Table) -> Redzone[Expression]:
    """A redzone, against the type that it is about."""
    node = binder.type_named(described.node) if isinstance(described.node, Source) else BASE_TYPES["unsigned char"]
    return cast(Redzone[Expression], replace(binder.record(described, keys_of(table, "redzone"), node), node=node))


def bound_caller(binder: Binder, described: Caller[Source], table: Table, header: Type) -> Caller[Expression]:
    """Who asked for a chunk, against the type that it is about."""
    node = binder.type_named(described.node) if isinstance(described.node, Source) else header
    return cast(Caller[Expression], replace(binder.record(described, keys_of(table, "caller"), node), node=node))


def keys_of(table: Table, name: str) -> tuple[Key, ...]:
    """The keys of a table within a table."""
    return next(key.keys for key in table.keys if key.name == name)
