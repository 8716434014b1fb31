"""What a profile may say about heaps whose chunks have no headers: runs of pages, slabs of objects, buddies.

Records as in `heap_kinds`. Where a key is about *one record* of an array, *one cache* or *one slab*, ``self`` in it
points to that object.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from gdbext.profile.language.collections import Collection, array, collection
from gdbext.profile.language.heaps import (
    CALLER,
    COMMON,
    POISON,
    REDZONE,
    Caller,
    Heap,
    Poison,
    Redzone,
    Segments,
    segments,
)
from gdbext.profile.language.keys import Form, Key, Magic, Table, expression, magic, node
from gdbext.symbols.model import Type

E = TypeVar("E")


@dataclass(frozen=True, kw_only=True)
class RunRecords(Generic[E]):
    """Records about pages; some of them begin a run of pages that is in use.

    The first record is about the ``unit`` bytes at virtual address ``base``. All keys from ``first`` on are about one
    record. A run with ``slab`` (not 0) belongs to the slab with that header, a run with ``chunk`` is one chunk.
    """

    collection: Collection[E]
    base: E
    unit: int
    first: E
    length: E
    chunk: E | None
    payload: E | None
    size: E | None
    slab: E | None
    owner: E | None
    fence: int | None


@dataclass(frozen=True, kw_only=True)
class SlabList(Generic[E]):
    """A list of slabs of one cache: ``head`` and ``length`` are about the cache, ``holds`` says which slabs."""

    head: E
    holds: str
    length: E | None


@dataclass(frozen=True, kw_only=True)
class Caches(Generic[E]):
    """Where caches are, and the keys about each of them."""

    collection: Collection[E]
    name: E | None
    internal: E | None
    lists: tuple[SlabList[E], ...]
    stride: E | None
    size: E | None
    capacity: E | None
    used: E | None


@dataclass(frozen=True, kw_only=True)
class Numbers(Generic[E]):
    """Free objects as a list of numbers in the slab's header: ``next`` is an array with one for each object."""

    first: E
    next: E
    end: E
    used: E | None


@dataclass(frozen=True, kw_only=True)
class ObjectLinks(Generic[E]):
    """Free objects as a linked list; the links, of type ``node``, are at offset ``at`` in each object."""

    first: E
    node: E | Type | None
    next: E
    at: E
    leads_to: str
    end: E


@dataclass(frozen=True, kw_only=True)
class ObjectBits(Generic[E]):
    """A bit for each object in the slab's header, lowest first; ``used`` is the value of a used object's bit."""

    at: E
    used: int


@dataclass(frozen=True, kw_only=True)
class SlabHeap(Heap[E]):
    """Slabs of objects of one size. ``node`` is the type of a slab's header once the names are resolved."""

    segments: tuple[Segments[E], ...]
    caches: Caches[E]
    runs: RunRecords[E] | None
    node: E | Type | None
    link_offset: E
    next: E | None
    prev: E | None
    end: E
    cache: E | None
    objects: E
    stride: E | None
    size: E | None
    capacity: E | None
    used: E | None
    magic: Magic[E] | None
    numbers: Numbers[E] | None
    links: ObjectLinks[E] | None
    bits: ObjectBits[E] | None
    poison: Poison[E] | None
    redzone: Redzone[E] | None
    caller: Caller[E] | None

    @property
    def in_headers(self) -> tuple[E | None, ...]:
        """The expressions about one slab, except its links; None for those that are not given."""
        free = (self.numbers.first, self.numbers.next) if self.numbers else ()
        free = (self.links.first, self.links.at) if self.links else free
        marks = (self.magic.expr, self.magic.equals) if self.magic else ()
        bits = (self.bits.at,) if self.bits else ()
        return (self.cache, self.objects, self.stride, self.size, self.capacity, self.used, *free, *bits, *marks)


@dataclass(frozen=True, kw_only=True)
class PageRunsHeap(Heap[E], RunRecords[E]):
    """A heap in which each chunk has its own pages."""

    segments: tuple[Segments[E], ...]
    redzone: Redzone[E] | None
    caller: Caller[E] | None


@dataclass(frozen=True, kw_only=True)
class BuddyHeap(Heap[E]):
    """Blocks of a power of two times ``smallest`` bytes from ``start`` to ``end``, described by a tree of bytes."""

    nodes: E
    height: E
    origin: E
    smallest: E
    start: E
    end: E
    poison: Poison[E] | None
    redzone: Redzone[E] | None
    caller: Caller[E] | None


_RUNS = (
    array("records about pages"),
    expression("base", "virtual address of the page that the first record describes", required=True),
    Key("unit", Form.INTEGER, "size of a page in bytes", default=4096),
    node("first", "about a record: true (not 0) when a run that is in use begins at its page", required=True),
    node("length", "about the first record of a run: number of pages in the run", required=True),
    node("chunk", "about that record: true (not 0) when the run is one chunk; by default all are but slabs"),
    node("payload", "address of that chunk's payload; by default the run's start"),
    node("size", "bytes in the payload; by default all up to the run's end"),
    node("slab", "address of the slab's header when the run is a slab; else 0"),
    node("owner", "about any record of a slab's pages: must be that address"),
    Key("fence", Form.INTEGER, "the byte that fills the run before the payload"),
)
_SEGMENTS = segments("the addresses that the heap occupies")
_SHAPE = (
    node("stride", "bytes from one object to the next"),
    node("size", "size of an object in bytes; by default the stride"),
    node("capacity", "objects in a slab"),
)
_CACHES = Key(
    "caches",
    Form.TABLE,
    "the caches, and what is the same for all slabs of a cache",
    required=True,
    keys=(
        collection("caches", 4096),
        node("name", "about a cache: its name, a string; by default caches are numbered"),
        node("internal", "true (not 0) when its objects are for the heap's own use, and not chunks"),
        Key(
            "lists",
            Form.TABLES,
            "the lists of slabs that each cache has",
            default=(),
            keys=(
                node("head", "about a cache: the link to the first slab", required=True),
                Key(
                    "holds",
                    Form.TEXT,
                    "which slabs belong on the list; `room`: those that are not full",
                    default="any",
                    choices=("full", "partial", "empty", "room", "any"),
                ),
                node("length", "the kernel's own count of slabs on the list"),
            ),
            record=SlabList,
        ),
        *_SHAPE,
        node("used", "the cache's own count of used objects"),
    ),
    record=Caches,
)
_NUMBERS = Key(
    "numbers",
    Form.TABLE,
    "when free objects are a list of object numbers in the slab's header",
    keys=(
        node("first", "about a slab: number of the first free object", required=True),
        node("next", "the array that holds the number of the next free object, for each object", required=True),
        expression("end", "the number that ends the list", required=True),
        expression("used", "the array's value for a used object, if the kernel writes one"),
    ),
    record=Numbers,
)
_LINKS = Key(
    "links",
    Form.TABLE,
    "when free objects are linked through the objects themselves",
    keys=(
        node("first", "about a slab: the link to the first free object", required=True),
        Key(
            "node",
            Form.TYPE,
            "type of the structure in a free object that holds the link; by default what `first` points to",
        ),
        node("next", "about that structure: the link to the next free object", required=True),
        Key("at", Form.NODE, "about a slab: offset of that structure in an object, in bytes", default="0"),
        Key(
            "leads_to",
            Form.TEXT,
            "whether links point to objects or to the links in them",
            default="object",
            choices=("object", "link"),
        ),
        expression("end", "the link that ends the list", default="0"),
    ),
    record=ObjectLinks,
)
_BITS = Key(
    "bits",
    Form.TABLE,
    "when the slab's header has a bit for each object, the lowest first",
    keys=(
        node("at", "about a slab: the bits, an array or a pointer to it", required=True),
        Key("used", Form.INTEGER, "value of a used object's bit", default=1, choices=(0, 1)),
    ),
    record=ObjectBits,
)
RUNS = Table(
    "A page heap: each chunk has its own pages, and an array has a record for each page.",
    (*_RUNS, _SEGMENTS, REDZONE, CALLER, *COMMON),
    PageRunsHeap,
)
SLAB = Table(
    "Slabs of objects of one size; a cache has all slabs of one kind of object. Exactly one of `numbers`, `links` and "
    "`bits` says which objects are free. `stride`, `size` and `capacity` may be in `caches`, or next to it if slabs of "
    "a cache differ.",
    (
        _CACHES,
        Key(
            "runs",
            Form.TABLE,
            "records about pages, by which slabs that are on no list are located",
            keys=_RUNS,
            record=RunRecords,
        ),
        Key("node", Form.TYPE, "type of a slab's header; by default what the lists' `head` points to"),
        expression(
            "link_offset", "offset in a header that links point to, such as `offsetof(struct slab, links)`", default="0"
        ),
        node("next", "about a slab: the link to the next slab on its list"),
        node("prev", "the link to the previous slab"),
        expression("end", "the value of a link to no slab", default="0"),
        node("cache", "pointer to its cache"),
        node("objects", "address of its first object", required=True),
        *_SHAPE,
        node("used", "the kernel's own count of its used objects"),
        Key(
            "magic",
            Form.TABLE,
            "a field that has a known value in every intact header",
            keys=magic("its value; `self` is the header's address"),
            record=Magic,
        ),
        _NUMBERS,
        _LINKS,
        _BITS,
        _SEGMENTS,
        POISON,
        REDZONE,
        CALLER,
        *COMMON,
    ),
    SlabHeap,
)
BUDDY = Table(
    "A buddy allocator as a complete binary tree in an array of bytes: node 1 is the root, nodes 2 n and 2 n + 1 are "
    "the halves of node n. A byte is 1 plus the height of the largest free block below, 0 if there is none; a used "
    "block's byte is 0, and the bytes below it are those of a free block.",
    (
        expression("nodes", "the array of bytes, element 0 included", required=True),
        expression("height", "height of the root; leaves have 0", required=True),
        expression("origin", "virtual address of the first leaf's block", required=True),
        expression("smallest", "size of a leaf's block in bytes", required=True),
        expression("start", "first virtual address of the heap; blocks outside the heap count as used", required=True),
        expression("end", "virtual address after the last", required=True),
        POISON,
        REDZONE,
        CALLER,
        *COMMON,
    ),
    BuddyHeap,
)
