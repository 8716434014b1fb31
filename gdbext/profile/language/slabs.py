"""What a profile may say about heaps whose chunks have no headers: runs of pages, slabs of objects, buddies.

Records as in `heap_kinds`. Where a key is about *one record* of an array, *one cache* or *one slab*, ``self`` in it
points to that.
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
    """Records about pages, of which some begin a run that is in use.

    The first one is about the ``unit`` bytes at virtual address ``base``. All keys from ``first`` on are about one
    record. A run with ``slab`` (not 0) belongs to the slab whose header is there, one with ``chunk`` is one chunk.
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
    """Where caches are, and what each of them says."""

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
    """Free objects as a list of links that lie ``at`` so many bytes in each object, of type ``node``."""

    first: E
    node: E | Type | None
    next: E
    at: E
    leads_to: str
    end: E


@dataclass(frozen=True, kw_only=True)
class ObjectBits(Generic[E]):
    """A bit for each object in the slab's header, lowest first; ``used`` is what it is for a used one."""

    at: E
    used: int


@dataclass(frozen=True, kw_only=True)
class SlabHeap(Heap[E]):
    """Objects of one size each in slabs. ``node`` is the type of a slab's header once the names are settled."""

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
        """The expressions about one slab, but for its links; None for those that are not given."""
        free = (self.numbers.first, self.numbers.next) if self.numbers else ()
        free = (self.links.first, self.links.at) if self.links else free
        marks = (self.magic.expr, self.magic.equals) if self.magic else ()
        bits = (self.bits.at,) if self.bits else ()
        return (self.cache, self.objects, self.stride, self.size, self.capacity, self.used, *free, *bits, *marks)


@dataclass(frozen=True, kw_only=True)
class PageRunsHeap(Heap[E], RunRecords[E]):
    """Each chunk has pages of its own."""

    segments: tuple[Segments[E], ...]
    redzone: Redzone[E] | None
    caller: Caller[E] | None


@dataclass(frozen=True, kw_only=True)
class BuddyHeap(Heap[E]):
    """Blocks of a power of two times ``smallest`` bytes from ``start`` to ``end``, as a tree of bytes tells of them."""

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
    expression("base", "virtual address of the page that the first is about", required=True),
    Key("unit", Form.INTEGER, "bytes of a page", default=4096),
    node("first", "about a record: true (not 0) when a run that is in use begins there", required=True),
    node("length", "about the first record of a run: how many pages it has", required=True),
    node("chunk", "about that record: true (not 0) when the run is one chunk; by default each is that is no slab"),
    node("payload", "where the payload of such a chunk is; by default at the run's start"),
    node("size", "how many bytes that has; by default all up to the run's end"),
    node("slab", "address of the header of the slab that the run is; 0 for none"),
    node("owner", "about any record of a slab's pages: what must be that address"),
    Key("fence", Form.INTEGER, "the byte that fills what is in front of a payload in its run"),
)
_SEGMENTS = segments("where all of it lies")
_SHAPE = (
    node("stride", "bytes from one object to the next"),
    node("size", "bytes of an object; by default the stride"),
    node("capacity", "objects in a slab"),
)
_CACHES = Key(
    "caches",
    Form.TABLE,
    "the caches, and what each says of all its slabs",
    required=True,
    keys=(
        collection("caches", 4096),
        node("name", "about a cache: its name, a string; by default caches have numbers"),
        node("internal", "true (not 0) when its objects are the heap's own: they are no chunks"),
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
                    "which slabs belong there; `room`: those that are not full",
                    default="any",
                    choices=("full", "partial", "empty", "room", "any"),
                ),
                node("length", "how many slabs the kernel counts there"),
            ),
            record=SlabList,
        ),
        *_SHAPE,
        node("used", "how many used objects the cache counts"),
    ),
    record=Caches,
)
_NUMBERS = Key(
    "numbers",
    Form.TABLE,
    "where free objects are a list of their numbers in the slab's header",
    keys=(
        node("first", "about a slab: number of the first free object", required=True),
        node("next", "the array with the number of the next one for each object", required=True),
        expression("end", "the number that ends the list", required=True),
        expression("used", "what stands there for a used object, where the kernel writes that"),
    ),
    record=Numbers,
)
_LINKS = Key(
    "links",
    Form.TABLE,
    "where free objects are linked through themselves",
    keys=(
        node("first", "about a slab: the link to the first free object", required=True),
        Key("node", Form.TYPE, "type of what stands in a free object; by default what `first` points to"),
        node("next", "about that: the link to the next", required=True),
        Key("at", Form.NODE, "about a slab: how many bytes into an object that stands", default="0"),
        Key(
            "leads_to",
            Form.TEXT,
            "whether links lead to objects or to the links in them",
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
    "where the slab's header has a bit for each object, the lowest first",
    keys=(
        node("at", "about a slab: the bits, an array or a pointer to it", required=True),
        Key("used", Form.INTEGER, "what the bit of a used object is", default=1, choices=(0, 1)),
    ),
    record=ObjectBits,
)
RUNS = Table(
    "A page heap: each chunk has pages of its own, and an array has a record about each page.",
    (*_RUNS, _SEGMENTS, REDZONE, CALLER, *COMMON),
    PageRunsHeap,
)
SLAB = Table(
    "Objects of one size each in slabs; a cache has all slabs of one kind of object. Whether an object is free is told "
    "by one of `numbers`, `links` and `bits`. What `caches` does not say of all its slabs is said of one slab.",
    (
        _CACHES,
        Key(
            "runs",
            Form.TABLE,
            "records about pages, which lead to slabs that are on no list",
            keys=_RUNS,
            record=RunRecords,
        ),
        Key("node", Form.TYPE, "type of a slab's header; by default what the lists' `head` points to"),
        expression(
            "link_offset", "where in a header a link leads, such as `offsetof(struct slab, links)`", default="0"
        ),
        node("next", "about a slab: the link to the next on its list"),
        node("prev", "the link to the one before"),
        expression("end", "the link that leads nowhere", default="0"),
        node("cache", "pointer back to its cache"),
        node("objects", "address of its first object", required=True),
        *_SHAPE,
        node("used", "how many of its objects the kernel counts as used"),
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
    "Buddies, as a complete binary tree in an array of bytes: node 1 is the root, 2 n and 2 n + 1 are the halves of n. "
    "A byte is 1 more than the height of the largest free block below, 0 for none; a used block's is 0, and the bytes "
    "below it are those of a free one.",
    (
        expression("nodes", "the array of bytes, element 0 included", required=True),
        expression("height", "height of the root; leaves have 0", required=True),
        expression("origin", "virtual address of the first leaf's block", required=True),
        expression("smallest", "bytes of a leaf's block", required=True),
        expression("start", "first virtual address of the heap; blocks outside of it count as used", required=True),
        expression("end", "virtual address behind the last", required=True),
        POISON,
        REDZONE,
        CALLER,
        *COMMON,
    ),
    BuddyHeap,
)
