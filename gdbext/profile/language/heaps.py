"""What a profile may say about heaps: the records of every kind, and their keys.

A record holds what was written (``E`` is `Source`), or the same compiled against a kernel (``E`` is `Expression`).
Where a key is about *one chunk*, ``self`` in it points to the chunk's header, the node.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from gdbext.profile.language.collections import ONLY_ARRAYS, Collection, collection
from gdbext.profile.language.keys import (
    LOCK,
    READY,
    Form,
    Key,
    Magic,
    Table,
    counters,
    expression,
    magic,
    node,
)
from gdbext.symbols.model import Type

E = TypeVar("E")


@dataclass(frozen=True, kw_only=True)
class Heap(Generic[E]):
    """The fields that all kinds have.

    ``when`` says whether the kernel has this heap. ``alignment`` and ``minimum`` are of payloads, in bytes.
    ``counters`` has any of used_bytes, free_bytes, chunks, used_chunks, free_chunks.
    """

    name: str
    where: str = ""
    when: E | None
    ready: E | None
    lock: E | None
    alignment: int
    minimum: int
    counters: Mapping[str, E]
    parent: tuple[str, ...]


@dataclass(frozen=True)
class Segments(Generic[E]):
    """Ranges of virtual addresses that a heap fills: one, or one for each element of a collection."""

    collection: Collection[E]
    start: E
    end: E


@dataclass(frozen=True)
class Poison(Generic[E]):
    """The byte that free payloads are filled with, from offset ``skip`` on, if ``when`` is true or None."""

    byte: int
    skip: E
    when: E | None


@dataclass(frozen=True)
class Redzone(Generic[E]):
    """Guard bytes around the caller's bytes in a used payload, if ``when`` is true or None.

    ``start``, ``front`` and ``size`` are about the structure at the payload's start, of type ``node``. The caller's
    bytes begin at offset ``front``; the redzone before them begins at ``start``. Where ``size`` is None, the last
    ``behind`` bytes of the payload are the redzone after them.
    """

    byte: int
    node: E | Type | None
    start: E
    front: E
    size: E | None
    behind: E
    when: E | None


@dataclass(frozen=True)
class Caller(Generic[E]):
    """The code that allocated a used chunk, if ``when`` is true or None: a code address, 0 where it is not known.

    ``expr`` is about the structure ``at`` the chunk's payload or header, of type ``node``.
    """

    expr: E
    node: E | Type | None
    at: str
    when: E | None


@dataclass(frozen=True)
class Size(Generic[E]):
    """How a chunk's size is recorded: in units of ``unit`` bytes, with or without its header."""

    expr: E
    includes_header: bool
    unit: int


@dataclass(frozen=True)
class Watermark(Generic[E]):
    """Virtual addresses: memory below ``current`` has been handed out, memory above has not."""

    start: E
    current: E
    end: E


@dataclass(frozen=True, kw_only=True)
class Linked(Generic[E]):
    """How an index of free chunks is linked.

    Links point ``link_offset`` bytes into nodes, which are ``at`` the header of a chunk or its payload; ``end`` is the
    value of a link to no node. ``node`` is the type of a node once the names are resolved.
    """

    node: E | Type | None
    at: str
    link_offset: E
    end: E


@dataclass(frozen=True, kw_only=True)
class Bins(Linked[E]):
    """One list of free chunks, or one for each element of an array.

    Chunks on a list have payloads from ``low`` up to ``high`` bytes (exclusive).
    """

    collection: Collection[E]
    head: E
    next: E
    prev: E | None
    circular: bool
    low: E | None
    high: E | None
    length: E | None
    rover: E | None
    sorted: str


@dataclass(frozen=True, kw_only=True)
class Tree(Linked[E]):
    """A binary search tree of free chunks, by ``key`` (None: the payload's size)."""

    root: E
    left: E
    right: E
    parent: E | None
    key: E | None
    kind: str
    height: E | None
    balance: E | None
    red: E | None
    count: E | None


@dataclass(frozen=True, kw_only=True)
class ChunkHeap(Heap[E]):
    """Chunks, each with a header before its payload.

    Once the names are resolved ``node`` is the type of a header, and ``header`` the bytes from it to the payload. Where
    ``free`` is None, headers do not say which chunks are free: those on the heap's lists, or in its tree, are.
    """

    segments: tuple[Segments[E], ...]
    node: E | Type | None
    size: Size[E]
    free: E | None
    header: E | int | None
    magic: Magic[E] | None
    coalesces: bool
    bins: tuple[Bins[E], ...]
    tree: Tree[E] | None
    poison: Poison[E] | None
    redzone: Redzone[E] | None
    caller: Caller[E] | None = None

    @property
    def in_headers(self) -> tuple[E, ...]:
        """The expressions about one header."""
        state = () if self.free is None else (self.free,)
        marks = (self.magic.expr, self.magic.equals) if self.magic else ()
        return (self.size.expr, *state, *marks)

    @property
    def header_size(self) -> int:
        """Bytes from a header to its payload, once the names are resolved."""
        return self.header if isinstance(self.header, int) else 0


@dataclass(frozen=True, kw_only=True)
class ListHeap(ChunkHeap[E]):
    """Chunks, used and free, linked in one list. ``link_offset`` is the offset in a header that links point to."""

    head: E
    tail: E | None
    next: E
    prev: E | None
    end: E
    circular: bool
    link_offset: E
    rover: E | None

    @property
    def in_headers(self) -> tuple[E, ...]:
        """The expressions about one header, including the links."""
        links = (self.next,) if self.prev is None else (self.next, self.prev)
        return (*links, *super().in_headers)


@dataclass(frozen=True)
class Footer(Generic[E]):
    """A structure after a payload: ``expr`` is about the footer, of type ``node``, and ``equals`` about the header."""

    node: E | Type
    expr: E
    equals: E


@dataclass(frozen=True, kw_only=True)
class AdjacentHeap(ChunkHeap[E]):
    """Adjacent chunks: the next chunk begins where the size of this one says.

    ``trailer`` is how many bytes after the payload belong to the chunk.
    """

    trailer: int
    footer: Footer[E] | None
    prev: E | None
    tail: E | None
    watermark: Watermark[E] | None

    @property
    def in_headers(self) -> tuple[E, ...]:
        """The expressions about one header."""
        more = (self.prev, self.footer.equals if self.footer else None)
        return (*super().in_headers, *(expression for expression in more if expression is not None))


@dataclass(frozen=True, kw_only=True)
class BumpHeap(Heap[E], Watermark[E]):
    """Memory that is handed out in order of address, with nothing known about single allocations."""


COMMON = (
    expression("when", "true (not 0) when the kernel has this heap; otherwise the table is ignored"),
    Key("alignment", Form.INTEGER, "every payload's address is a multiple of this", default=1),
    Key("minimum", Form.INTEGER, "smallest payload in bytes", default=0),
    counters(
        {
            "used_bytes": "payload bytes in use",
            "free_bytes": "payload bytes that are free",
            "chunks": "number of chunks",
            "used_chunks": "number of used chunks",
            "free_chunks": "number of free chunks",
        }
    ),
    Key(
        "parent",
        Form.NAMES,
        "the heap of this profile that its memory comes from: each segment is inside one used chunk of that heap; of "
        "several names, the first whose heap the kernel has",
        default=(),
    ),
    READY,
    LOCK,
)


def segments(doc: str, *, required: bool = False) -> Key:
    """The key for the addresses that a heap occupies."""
    return Key(
        "segments",
        Form.TABLES,
        doc,
        required=required,
        default=(),
        keys=(
            collection("segments", 1024, required=False),
            node("start", "first virtual address", required=True),
            node("end", "virtual address after the last", required=True),
        ),
        record=Segments,
    )


_SIZE = Key(
    "size",
    Form.TABLE,
    "the size of a chunk; a plain expression is short for `{ expr = ... }`",
    required=True,
    keys=(
        node("expr", "the recorded size", required=True),
        Key("includes_header", Form.BOOLEAN, "whether it includes the header", default=False),
        Key("unit", Form.INTEGER, "bytes in one unit of the recorded size", default=1),
    ),
    record=Size,
    shorthand="expr",
)
_HEADERS = (
    _SIZE,
    node("free", "true (not 0) when the chunk is free; without this key, the chunks in `bins` or `tree` are free"),
    expression("header", "bytes from a header to its payload; by default the size of the node"),
    Key(
        "magic",
        Form.TABLE,
        "a field that has a known value in every intact header",
        keys=magic("its value; `self` is the header's address"),
        record=Magic,
    ),
    Key("coalesces", Form.BOOLEAN, "whether adjacent free chunks are always merged", default=False),
)
_LINKED = (
    Key(
        "at",
        Form.TEXT,
        "where in a free chunk the links are: at the start of its payload, or in its header",
        default="payload",
        choices=("payload", "header"),
    ),
    expression(
        "link_offset", "offset in a node that links point to, such as `offsetof(struct chunk, free_links)`", default="0"
    ),
    expression("end", "the value of a link to no node", default="0"),
)
_BINS = Key(
    "bins",
    Form.TABLES,
    "lists of the free chunks: with `entries` an array of lists, whose element is then the node; else a single list",
    default=(),
    keys=(
        collection("lists", 4096, required=False, without=ONLY_ARRAYS),
        node("head", "the link to the list's first chunk", required=True),
        Key("node", Form.TYPE, "type of what links point to; by default what `head` points to"),
        node("next", "about that type: the link to the next chunk", required=True),
        node("prev", "the link to the previous chunk"),
        Key("circular", Form.BOOLEAN, "whether the last chunk's link points to the first", default=False),
        node("low", "about one element: size of the smallest payload that belongs on the list, in bytes"),
        node("high", "size of the smallest payload that is too large for the list"),
        node("length", "the kernel's own count of chunks on the list"),
        expression("rover", "the link to the node where the next search begins; `end` means the start of the list"),
        Key(
            "sorted",
            Form.TEXT,
            "what the list is sorted by, in rising order",
            default="nothing",
            choices=("nothing", "address", "size"),
        ),
        *_LINKED,
    ),
    record=Bins,
)
_TREE = Key(
    "tree",
    Form.TABLE,
    "a binary search tree of the free chunks",
    keys=(
        expression("root", "the link to the root", required=True),
        Key("node", Form.TYPE, "type of what links point to; by default what `root` points to"),
        node("left", "about that type: the link to the left child, which comes before", required=True),
        node("right", "the link to the right child, which comes after", required=True),
        node("parent", "the link to the parent node"),
        node("key", "what the tree is ordered by; by default the size of the payload"),
        Key(
            "kind",
            Form.TEXT,
            "how it is balanced",
            default="bst",
            choices=("bst", "avl", "redblack"),
        ),
        node("height", "AVL: height of the node's subtree, 1 for a leaf"),
        node("balance", "AVL: height of the right subtree minus that of the left"),
        node("red", "red-black: true (not 0) when the node is red"),
        expression("count", "the kernel's own count of nodes"),
        *_LINKED,
    ),
    record=Tree,
)
POISON = Key(
    "poison",
    Form.TABLE,
    "what free payloads are filled with",
    keys=(
        Key("byte", Form.INTEGER, "the byte", required=True),
        expression("skip", "bytes at a payload's start that the heap uses itself, such as links", default="0"),
        expression("when", "true (not 0) when free payloads are filled"),
    ),
    record=Poison,
)
REDZONE = Key(
    "redzone",
    Form.TABLE,
    "guard bytes around the caller's bytes, within a used payload",
    keys=(
        Key("byte", Form.INTEGER, "the value of the guard bytes, which must not change", required=True),
        Key(
            "node", Form.TYPE, "type of the structure at a payload's start, which `start`, `front` and `size` are about"
        ),
        Key(
            "start",
            Form.NODE,
            "offset in the payload at which the guard bytes before the caller's bytes begin",
            default="0",
        ),
        node("front", "offset at which they end and the caller's bytes begin", required=True),
        node("size", "number of the caller's bytes; all bytes after them in the payload are guard bytes"),
        expression("behind", "without `size`: number of guard bytes at the payload's end", default="0"),
        expression("when", "true (not 0) when there are guard bytes"),
    ),
    record=Redzone,
)
CALLER = Key(
    "caller",
    Form.TABLE,
    "the code that allocated a used chunk, if the kernel records it",
    keys=(
        node("expr", "its address, such as a return address; 0 when it is not known", required=True),
        Key("node", Form.TYPE, "type of the structure that holds it; by default that of a header"),
        Key(
            "at",
            Form.TEXT,
            "where that structure is: at the payload's start, or at the header",
            default="payload",
            choices=("payload", "header"),
        ),
        expression("when", "true (not 0) when the caller is recorded"),
    ),
    record=Caller,
)
_INDEX = (_BINS, _TREE, POISON, REDZONE, CALLER)
_WATERMARK = (
    expression("start", "first virtual address", required=True),
    expression("current", "first address that has not been handed out", required=True),
    expression("end", "virtual address after the last", required=True),
)
LIST = Table(
    "Chunks, used and free, in one linked list; each begins with a header, the node.",
    (
        expression("head", "the link to the first header", required=True),
        expression("tail", "the link to the last header"),
        Key("node", Form.TYPE, "type of a header; by default what `head` points to"),
        node("next", "the link to the next header", required=True),
        node("prev", "the link to the previous header"),
        expression("end", "the link that ends the list, in either direction", default="0"),
        Key("circular", Form.BOOLEAN, "whether the last header's link points to the first", default=False),
        expression(
            "link_offset",
            "offset in a header that links point to, such as `offsetof(struct chunk, links)`",
            default="0",
        ),
        expression("rover", "the link to the header where the next search begins; 0 when there is none"),
        segments("the addresses that the chunks fill without gaps"),
        *_HEADERS,
        *_INDEX,
        *COMMON,
    ),
    ListHeap,
)
CHUNKS = Table(
    "Chunks, used and free, one after the other: the size of each gives the start of the next (boundary tags).",
    (
        segments("the addresses that the chunks fill", required=True),
        Key("node", Form.TYPE, "type of a header", required=True),
        *_HEADERS,
        Key("trailer", Form.INTEGER, "bytes after each payload that belong to the same chunk: a footer", default=0),
        Key(
            "footer",
            Form.TABLE,
            "a structure after each payload that must agree with the header",
            keys=(
                Key("node", Form.TYPE, "type of a footer", required=True),
                node("expr", "about the footer: its value", required=True),
                node("equals", "about the header: what that value must be", required=True),
            ),
            record=Footer,
        ),
        node("prev", "pointer to the chunk that ends where this one begins, 0 in the first"),
        expression("tail", "pointer to the last header"),
        Key(
            "watermark",
            Form.TABLE,
            "the limit up to which memory has been handed out, when it is handed out in order of address",
            keys=_WATERMARK,
            record=Watermark,
        ),
        *_INDEX,
        *COMMON,
    ),
    AdjacentHeap,
)
BUMP = Table(
    "Memory that is handed out in order of address. If chunks have headers, use kind `chunks`, which shows more.",
    (*_WATERMARK, *COMMON),
    BumpHeap,
)
