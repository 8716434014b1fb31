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
    """What all kinds have in common.

    ``when`` tells whether the kernel has this heap. ``alignment`` and ``minimum`` are of payloads, in bytes.
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
    """What free payloads are filled with, from ``skip`` bytes on, ``when`` that is done."""

    byte: int
    skip: E
    when: E | None


@dataclass(frozen=True)
class Redzone(Generic[E]):
    """What stands around the bytes that the caller got, in a used payload, ``when`` that is done.

    ``start``, ``front`` and ``size`` are about what stands at the payload's start, of type ``node``. The caller's
    bytes begin ``front`` bytes from there; the fence in front of them at ``start``. Where ``size`` is None the last
    ``behind`` bytes of the payload are fence.
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
    """Who asked for a used chunk, ``when`` that is recorded: a code address, 0 where it is not known.

    ``expr`` is about what lies ``at`` the chunk's payload or header, of type ``node``.
    """

    expr: E
    node: E | Type | None
    at: str
    when: E | None


@dataclass(frozen=True)
class Size(Generic[E]):
    """How a chunk's size is recorded: times ``unit`` it is bytes, with its header or without."""

    expr: E
    includes_header: bool
    unit: int


@dataclass(frozen=True)
class Watermark(Generic[E]):
    """Virtual addresses: what is below ``current`` has been handed out, what is above has not."""

    start: E
    current: E
    end: E


@dataclass(frozen=True, kw_only=True)
class Linked(Generic[E]):
    """How an index of free chunks is linked.

    Links lead ``link_offset`` bytes into nodes, which lie ``at`` the header of a chunk or its payload; ``end`` is the
    link that leads nowhere. ``node`` is the type of a node once the names are settled.
    """

    node: E | Type | None
    at: str
    link_offset: E
    end: E


@dataclass(frozen=True, kw_only=True)
class Bins(Linked[E]):
    """One list of free chunks, or one for each element of an array.

    Chunks on it have payloads from ``low`` up to ``high`` bytes (exclusive).
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
    """Chunks, each with a header in front of its payload.

    Once the names are settled ``node`` is the type of a header, and ``header`` the bytes from it to the payload. Where
    ``free`` is None no header tells: the chunks on the heap's lists, or in its tree, are the free ones.
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
        """Bytes from a header to its payload, once that is settled."""
        return self.header if isinstance(self.header, int) else 0


@dataclass(frozen=True, kw_only=True)
class ListHeap(ChunkHeap[E]):
    """Chunks, used and free, that are linked in one list. ``link_offset`` is how far into a header a link leads."""

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
        """The expressions about one header, the links among them."""
        links = (self.next,) if self.prev is None else (self.next, self.prev)
        return (*links, *super().in_headers)


@dataclass(frozen=True)
class Footer(Generic[E]):
    """What stands behind a payload: ``expr`` is about the footer, of type ``node``, and ``equals`` about the header."""

    node: E | Type
    expr: E
    equals: E


@dataclass(frozen=True, kw_only=True)
class AdjacentHeap(ChunkHeap[E]):
    """Chunks that lie one behind the other: each one's size tells where the next begins.

    ``trailer`` is how many bytes behind its payload are the chunk's own.
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
    """Memory that is handed out from one end to the other, and nothing more is known of it."""


COMMON = (
    expression("when", "true (not 0) when the kernel has this heap; else it is left out"),
    Key("alignment", Form.INTEGER, "bytes that every payload's address is a multiple of", default=1),
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
        "the heap of this profile that it rests on: each segment lies in one used chunk of it; of several names the "
        "first of a heap that the kernel has",
        default=(),
    ),
    READY,
    LOCK,
)


def segments(doc: str, *, required: bool = False) -> Key:
    """The key for where all of a heap lies."""
    return Key(
        "segments",
        Form.TABLES,
        doc,
        required=required,
        default=(),
        keys=(
            collection("segments", 1024, required=False),
            node("start", "first virtual address", required=True),
            node("end", "virtual address behind the last", required=True),
        ),
        record=Segments,
    )


_SIZE = Key(
    "size",
    Form.TABLE,
    "the size of a chunk; a plain expression stands for `{ expr = ... }`",
    required=True,
    keys=(
        node("expr", "the recorded size", required=True),
        Key("includes_header", Form.BOOLEAN, "whether it counts the header too", default=False),
        Key("unit", Form.INTEGER, "bytes that one step of it means", default=1),
    ),
    record=Size,
    shorthand="expr",
)
_HEADERS = (
    _SIZE,
    node("free", "true (not 0) when the chunk is free; without it those are that its `bins` or its `tree` hold"),
    expression("header", "bytes from a header to its payload; by default the size of the node"),
    Key(
        "magic",
        Form.TABLE,
        "a field that has a known value in every intact header",
        keys=magic("its value; `self` is the header's address"),
        record=Magic,
    ),
    Key("coalesces", Form.BOOLEAN, "whether neighbours that are both free are always merged", default=False),
)
_LINKED = (
    Key(
        "at",
        Form.TEXT,
        "where in a free chunk the links lie: from its payload on, or in its header",
        default="payload",
        choices=("payload", "header"),
    ),
    expression(
        "link_offset", "where in a node a link leads, such as `offsetof(struct chunk, free_links)`", default="0"
    ),
    expression("end", "the link that leads nowhere", default="0"),
)
_BINS = Key(
    "bins",
    Form.TABLES,
    "lists of the free chunks: with `entries` an array of them, whose element is then the node; else a single list",
    default=(),
    keys=(
        collection("lists", 4096, required=False, without=ONLY_ARRAYS),
        node("head", "the link to the list's first chunk", required=True),
        Key("node", Form.TYPE, "type of what links lead to; by default what `head` points to"),
        node("next", "about that type: the link to the next", required=True),
        node("prev", "the link to the one before"),
        Key("circular", Form.BOOLEAN, "whether the last one's link leads to the first", default=False),
        node("low", "about one element: the smallest payload that belongs on the list, in bytes"),
        node("high", "the payload from which on one is too large for it"),
        node("length", "what the kernel counts on this list"),
        expression("rover", "the link to the node where the next search begins; `end` stands for the list's own start"),
        Key(
            "sorted",
            Form.TEXT,
            "what its chunks are in rising order of",
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
        Key("node", Form.TYPE, "type of what links lead to; by default what `root` points to"),
        node("left", "about that type: the link to what comes before", required=True),
        node("right", "the link to what comes after", required=True),
        node("parent", "the link up"),
        node("key", "what it is ordered by; by default the size of the payload"),
        Key(
            "kind",
            Form.TEXT,
            "how it is kept flat",
            default="bst",
            choices=("bst", "avl", "redblack"),
        ),
        node("height", "AVL: the height of what hangs below, 1 for a leaf"),
        node("balance", "AVL: height of the right side less that of the left"),
        node("red", "red-black: true (not 0) when the node is red"),
        expression("count", "how many nodes the kernel counts"),
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
        expression("skip", "so many bytes at a payload's start are the heap's own: links", default="0"),
        expression("when", "true (not 0) when it is done"),
    ),
    record=Poison,
)
REDZONE = Key(
    "redzone",
    Form.TABLE,
    "what stands around the caller's bytes, within a used payload",
    keys=(
        Key("byte", Form.INTEGER, "the byte that nobody may change", required=True),
        Key("node", Form.TYPE, "type of what stands at a payload's start, which the next three are about"),
        Key("start", Form.NODE, "where in the payload the fence in front begins", default="0"),
        node("front", "where it ends, and the caller's bytes begin", required=True),
        node("size", "how many bytes are the caller's; behind them there is fence to the payload's end"),
        expression("behind", "without `size`: how many bytes at the payload's end are fence", default="0"),
        expression("when", "true (not 0) when there are any"),
    ),
    record=Redzone,
)
CALLER = Key(
    "caller",
    Form.TABLE,
    "the code that asked for a used chunk, where the kernel records that",
    keys=(
        node("expr", "its address, such as a return address; 0 when it is not known", required=True),
        Key("node", Form.TYPE, "type of what stands there; by default that of a header"),
        Key(
            "at",
            Form.TEXT,
            "where: at the payload's start, or in the header",
            default="payload",
            choices=("payload", "header"),
        ),
        expression("when", "true (not 0) when it is recorded"),
    ),
    record=Caller,
)
_INDEX = (_BINS, _TREE, POISON, REDZONE, CALLER)
_WATERMARK = (
    expression("start", "first virtual address", required=True),
    expression("current", "the first that has not been handed out", required=True),
    expression("end", "virtual address behind the last", required=True),
)
LIST = Table(
    "Chunks, used and free, in one linked list; each begins with a header, the node.",
    (
        expression("head", "the link to the first header", required=True),
        expression("tail", "the link to the last header"),
        Key("node", Form.TYPE, "type of a header; by default what `head` points to"),
        node("next", "the link to the next header", required=True),
        node("prev", "the link to the header before"),
        expression("end", "the link that ends the list, and before its first header leads back", default="0"),
        Key("circular", Form.BOOLEAN, "whether the last header's link leads to the first", default=False),
        expression(
            "link_offset",
            "where in a header a link leads, such as `offsetof(struct chunk, links)`",
            default="0",
        ),
        expression("rover", "the link to the header where the next search begins; 0 when there is none"),
        segments("the addresses that the chunks fill without a gap"),
        *_HEADERS,
        *_INDEX,
        *COMMON,
    ),
    ListHeap,
)
CHUNKS = Table(
    "Chunks, used and free, one behind the other: the size of each tells where the next begins (boundary tags).",
    (
        segments("the addresses that the chunks fill", required=True),
        Key("node", Form.TYPE, "type of a header", required=True),
        *_HEADERS,
        Key("trailer", Form.INTEGER, "bytes behind each payload that are not the next chunk's: a footer", default=0),
        Key(
            "footer",
            Form.TABLE,
            "what stands behind a payload, and must agree with the header",
            keys=(
                Key("node", Form.TYPE, "type of a footer", required=True),
                node("expr", "about the footer: what it says", required=True),
                node("equals", "about the header: what that must be", required=True),
            ),
            record=Footer,
        ),
        node("prev", "pointer to the chunk that ends where this one begins, 0 in the first"),
        expression("tail", "pointer to the last header"),
        Key(
            "watermark",
            Form.TABLE,
            "where memory is handed out from one end to the other",
            keys=_WATERMARK,
            record=Watermark,
        ),
        *_INDEX,
        *COMMON,
    ),
    AdjacentHeap,
)
BUMP = Table(
    "Memory that is handed out from one end to the other. Where chunks have headers, kind `chunks` shows more.",
    (*_WATERMARK, *COMMON),
    BumpHeap,
)
