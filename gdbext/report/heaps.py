"""How heaps and their chunks look as text."""

from gdbext.heap.listing import ChunkFound, ChunkLine, ChunkList
from gdbext.heap.stat import CacheStat, HeapStat
from gdbext.report.managers import counters_text, heap_head, incomplete, unread_text
from gdbext.report.results import ChunkLists, ChunksFound, HeapStats
from gdbext.report.text import Narrow, Style, count, render, table
from gdbext.structures.unread import Unread
from gdbext.units import hex_address


@render.register
def _(result: HeapStats, style: Style) -> str:
    return "\n".join(_heap_stat(heap, style) for heap in result.heaps)


def _heap_stat(heap: HeapStat | Unread, style: Style) -> str:
    if isinstance(heap, Unread):
        return unread_text(heap, style)
    rows = [
        ("used", heap.used_chunks, heap.used_bytes, ""),
        ("free", heap.free_chunks, heap.free_bytes, f"largest {heap.largest_free}"),
        ("headers", heap.chunks, heap.overhead, ""),
    ]
    parts = [
        style.wrapped(heap_head(heap), hanging=2),
        table(rows, ("", "chunks", "bytes", ""), style, ("chunks", "bytes")),
    ]
    parts.append(f"fragmentation {heap.fragmentation:.1%}")
    if heap.caches:
        parts.append(_cache_table(heap.caches, style))
    if heap.counters:
        parts.append(counters_text(heap.counters, style))
    if not heap.complete:
        parts.append(incomplete("the heap is damaged: not all chunks are counted; run heapcheck", style))
    return "\n".join(parts)


def _cache_table(caches: tuple[CacheStat, ...], style: Style) -> str:
    """The caches that have slabs."""
    rows = [
        (c.name, c.size, c.slabs, c.full, c.partial, c.empty, c.used, c.free, "the heap's own" if c.internal else "")
        for c in caches
        if c.slabs
    ]
    empty = len(caches) - len(rows)
    numbers = ("size", "slabs", "full", "partial", "empty", "used", "free")
    rest = [f"{count(empty, 'cache')} without a slab"] if empty else []
    return "\n".join(
        [
            *(
                [
                    table(
                        rows,
                        ("cache", *numbers, ""),
                        style,
                        numbers,
                        Narrow((("full", "partial", "empty"), ("slabs",))),
                    )
                ]
                if rows
                else []
            ),
            *rest,
        ]
    )


@render.register
def _(result: ChunkLists, style: Style) -> str:
    return "\n".join(_chunk_list(heap, style) for heap in result.heaps)


def _chunk_list(heap: ChunkList | Unread, style: Style) -> str:
    if isinstance(heap, Unread):
        return unread_text(heap, style)
    parts = [f"{heap.name}: {heap.listed} of {count(heap.total, 'chunk')}"]
    if heap.chunks:
        parts.append(_chunk_table(heap.chunks, style))
    if not heap.complete:
        parts.append(incomplete(f"not all chunks are known: {heap.why_incomplete}; run heapcheck", style))
    return "\n".join(parts)


def _chunk_table(chunks: tuple[ChunkLine, ...], style: Style) -> str:
    """Chunks as rows; where any is on a list, of a cache, or its caller is known, a column for that."""
    extra = [
        (title, member)
        for title, member in (("on", "on"), ("cache", "cache"), ("asked for by", "caller_name"))
        if any(getattr(chunk, member) for chunk in chunks)
    ]
    rows = [
        (
            hex_address(c.address),
            hex_address(c.payload),
            c.size,
            c.state if c.sound else f"{c.state}, header overwritten",
            *(getattr(c, member) or "" for _, member in extra),
        )
        for c in chunks
    ]
    headers = ("header", "payload", "size", "state", *(title for title, _ in extra))
    return table(rows, headers, style, ("size",), Narrow((("payload",),)))


@render.register
def _(result: ChunksFound, style: Style) -> str:
    parts = [_chunk_found(found, style) for found in result.chunks]
    if not parts:
        where = f"but in a segment of {', '.join(result.around)}" if result.around else "and in no heap's segment"
        parts.append(style.wrapped(f"{hex_address(result.address)} is in no chunk, {where}", hanging=2))
    return "\n".join([*parts, *(unread_text(heap, style) for heap in result.unread)])


def _chunk_found(found: ChunkFound, style: Style) -> str:
    """A chunk between its neighbours, and its bytes."""
    chunk = found.chunk
    state = f"{chunk.state}, {count(chunk.size, 'byte')}" + (f", on {chunk.on}" if chunk.on else "")
    state += f", asked for by {chunk.caller_name}" if chunk.caller_name else ""
    head = f"{found.heap}: byte {found.offset} of the {found.part} of a chunk, {state}"
    if found.slab is not None:
        cache = f" of cache {found.slab.cache}" if found.slab.cache else ""
        head += f": object {found.slab.number} in the slab {hex_address(found.slab.header)}{cache}"
    around = (("before", found.before), ("chunk", chunk), ("after", found.behind))
    rows = [
        (name, hex_address(one.address), hex_address(one.payload), one.size, one.state if one.sound else "overwritten")
        for name, one in around
        if one is not None
    ]
    headers = ("", "header", "payload", "size", "state")
    shown = [(line.part, hex_address(line.address), line.hex, _text(line.hex)) for line in found.bytes]
    return "\n".join(
        [
            style.wrapped(head, hanging=2),
            table(rows, headers, style, ("size",), Narrow((("payload",),))),
            table(shown, ("part", "address", "bytes", "text"), style, narrow=Narrow((("text",), ("part", "text")))),
        ]
    )


def _text(bytes_in_hex: str) -> str:
    """Bytes as characters, a dot for those that cannot be printed."""
    return "".join(chr(byte) if 32 <= byte < 127 else "." for byte in bytes.fromhex(bytes_in_hex))
