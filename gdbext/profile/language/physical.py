"""What a profile may say about physical memory managers: the records of every kind, and their keys.

A record holds what was written (``E`` is `Source`), or the same compiled against a kernel (``E`` is `Expression`).
Where a key is about *one element* of an array or list, ``self`` in it points to that element.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from gdbext.profile.language.collections import ONLY_ARRAYS, Collection, array, collection
from gdbext.profile.language.keys import (
    LOCK,
    NO_COUNTERS,
    READY,
    Form,
    Key,
    Magic,
    Source,
    Table,
    counters,
    expression,
    magic,
    node,
)
from gdbext.symbols.model import Type

E = TypeVar("E")


@dataclass(frozen=True, kw_only=True)
class PhysicalManager(Generic[E]):
    """What all kinds have in common.

    ``when`` tells whether this manager is the one that serves. Frames are numbered from 0 at physical address ``base``
    and are ``frame_size`` bytes each. ``counters`` has any of used, free, total, reserved; ``counter_scope`` is ``all``
    or ``allocated``.
    """

    name: str
    where: str = ""
    when: E | None
    ready: E | None
    lock: E | None
    base: E
    frame_size: int
    counters: Mapping[str, E]
    counter_scope: str


@dataclass(frozen=True, kw_only=True)
class Words:
    """How bits lie in words: the first one's end, the polarity, the size of a word in bytes (None: not settled)."""

    order: str
    used: int
    word: int | None


@dataclass(frozen=True, kw_only=True)
class Summaries(Generic[E]):
    """The levels above a bitmap; a bit is ``free`` when the word below it has a free frame."""

    collection: Collection[E]
    bits: E
    bits_count: E
    free: int


@dataclass(frozen=True, kw_only=True)
class Bitmap(PhysicalManager[E], Words):
    """A bit for each frame."""

    bits: E
    count: E
    hint: E | None
    hint_unit: str
    hint_semantics: str
    full: E | None
    summaries: Summaries[E] | None


@dataclass(frozen=True, kw_only=True)
class Bitmaps(PhysicalManager[E], Words):
    """A bitmap for each region of memory; ``region_counters`` has any of used and free.

    ``frames`` is how many frames the counters are about, None when only those that have a bit.
    """

    regions: Collection[E]
    bits: E
    count: E
    first: E
    hint: E | None
    hint_unit: str
    hint_semantics: str
    region_counters: Mapping[str, E]
    full: E | None
    frames: E | None


@dataclass(frozen=True, kw_only=True)
class Lists(Generic[E]):
    """One list, or one for each element of an array.

    ``head`` is the link to the first node, ``length`` what the kernel counts, ``start`` and ``end`` the physical
    addresses that members lie in.
    """

    collection: Collection[E]
    head: E
    length: E | None
    start: E | None
    end: E | None
    name: str | None
    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Entries(Generic[E]):
    """What a node lists besides itself: ``count`` numbers at ``at``, of at most ``capacity``."""

    at: E
    count: E
    capacity: E | None
    unit: str


@dataclass(frozen=True, kw_only=True)
class LinkedFrames(PhysicalManager[E]):
    """Free frames on lists.

    ``node`` is the type of a node once the names are settled, ``links`` what a link holds, ``link_offset`` how far
    into a node it leads. ``end`` is about one element of ``lists``.
    """

    lists: tuple[Lists[E], ...]
    node: E | Type | None
    links: str
    link_offset: E
    records: E | None
    next: E
    prev: E | None
    end: E
    circular: bool
    address: E | None
    length_unit: str
    magic: Magic[E] | None
    count: E | None


@dataclass(frozen=True, kw_only=True)
class FreeLists(LinkedFrames[E]):
    """Lists whose nodes stand for a frame each, for runs of frames, or for pages that list frames."""

    frames: E | None
    entries: Entries[E] | None
    sorted: bool
    coalesces: bool


@dataclass(frozen=True, kw_only=True)
class Pairs(Generic[E]):
    """Bits about pairs of buddies, for one element of ``lists``."""

    bits: E
    count: E


@dataclass(frozen=True, kw_only=True)
class Buddy(LinkedFrames[E]):
    """Free blocks of 2^order frames, a list for each order from ``lowest_order`` up."""

    lowest_order: int
    order: E | None
    pairs: Pairs[E] | None
    merges: bool


@dataclass(frozen=True, kw_only=True)
class Tree(PhysicalManager[E]):
    """Buddies as a complete binary tree of bytes in an array, ``root`` being the index of its root."""

    nodes: E
    height: E
    root: int
    count: E | None


@dataclass(frozen=True, kw_only=True)
class FrameStates(PhysicalManager[E]):
    """An array with a record for each frame, which is ``free`` or not."""

    collection: Collection[E]
    free: E


PmmKind = Bitmap[E] | Bitmaps[E] | FreeLists[E] | Buddy[E] | Tree[E] | FrameStates[E]

_COMMON = (
    expression("when", "true (not 0) when this manager is the one that serves; else it is left out"),
    expression("base", "physical address of the frame that number 0 stands for", default="0"),
    Key("frame_size", Form.INTEGER, "bytes of a frame", default=4096),
    counters(
        {
            "used": "frames in use",
            "free": "frames that are free",
            "total": "frames managed",
            "reserved": "frames that are never handed out",
        }
    ),
    Key(
        "counter_scope",
        Form.TEXT,
        "whether the `used` counter counts `all` used frames, or only `allocated` ones, without the reserved",
        default="all",
        choices=("all", "allocated"),
    ),
    READY,
    LOCK,
)
_WORDS = (
    Key("order", Form.TEXT, "which bit of a word comes first", default="lsb", choices=("lsb", "msb")),
    Key("used", Form.INTEGER, "what the bit of a used frame is", default=1, choices=(0, 1)),
    Key(
        "word",
        Form.INTEGER,
        "size of a word in bytes; by default that of what `bits` points to",
        choices=(1, 2, 4, 8),
    ),
)
_HINT = (
    Key("hint_unit", Form.TEXT, "what `hint` counts", default="bit", choices=("bit", "word")),
    Key(
        "hint_semantics",
        Form.TEXT,
        "`lowest`: nothing below the hint is free; `next`: it may be anywhere in range",
        default="next",
        choices=("lowest", "next"),
    ),
    expression("full", "the kernel's constant for a word without a free frame"),
)
_COUNT = expression("count", "number of frames; by default as many as there are up to the end of RAM")


BITMAP = Table(
    "One bit for each frame, and perhaps summaries above them.",
    (
        expression("bits", "the bitmap: an array, a pointer, or its virtual address as a number", required=True),
        expression("count", "number of bits that stand for a frame", required=True),
        *_WORDS,
        expression("hint", "where the next search begins"),
        *_HINT,
        Key(
            "summaries",
            Form.TABLE,
            "the levels above, the lowest first; each has a bit for each word of the level below",
            keys=(
                collection("levels", 64),
                node("bits", "one level's bitmap", required=True),
                node("bits_count", "number of its bits that mean something", required=True),
                Key(
                    "free",
                    Form.INTEGER,
                    "what the bit is when the word below has a free frame",
                    default=1,
                    choices=(0, 1),
                ),
            ),
            record=Summaries,
        ),
        *_COMMON,
    ),
    Bitmap,
)
BITMAPS = Table(
    "A bitmap for each region. In `bits`, `count`, `first`, `hint` and `region_counters` the node is a region.",
    (
        collection("regions", 4096, name="regions"),
        node("bits", "a region's bitmap", required=True),
        node("count", "number of its bits that stand for a frame", required=True),
        node("first", "physical address of the frame that its first bit stands for", required=True),
        node("hint", "where the next search in it begins"),
        *_WORDS,
        *_HINT,
        Key(
            "region_counters",
            Form.TABLE,
            "a region's own numbers, each where it has one",
            default=NO_COUNTERS,
            keys=(node("used", "its frames in use"), node("free", "its frames that are free")),
        ),
        expression(
            "frames",
            "how many frames the manager's counters are about, holes between regions among them; by default only "
            "those that have a bit",
        ),
        *_COMMON,
    ),
    Bitmaps,
)
_LISTS = Key(
    "lists",
    Form.TABLES,
    "where the lists begin: with `entries` an array of lists, whose element is then the node; else a single list",
    required=True,
    keys=(
        collection("lists", 4096, required=False, without=ONLY_ARRAYS),
        node("head", "the link to the list's first node", required=True),
        node("length", "what the kernel counts on this list"),
        node("start", "physical address from which on its members lie"),
        node("end", "physical address below which they lie"),
        Key("name", Form.TEXT, "what to call it; lists of an array are called this and their number"),
        Key("names", Form.TEXTS, "what to call the lists of an array", default=()),
    ),
    record=Lists,
)
_NODES = (
    _LISTS,
    Key("node", Form.TYPE, "type of a node; by default what `lists.head` points to"),
    Key(
        "links",
        Form.TEXT,
        "what a link is: a pointer to the node, its physical address, its frame's number, or its index in `records`",
        default="virtual",
        choices=("virtual", "physical", "frame", "index"),
    ),
    expression(
        "link_offset",
        "where in a node an address leads that is a link, such as `offsetof(struct page, link)`",
        default="0",
    ),
    expression("records", "the array of nodes, where links are indexes"),
    node("next", "the link to the next node", required=True),
    node("prev", "the link to the node before"),
    Key(
        "end",
        Form.NODE,
        "the link that ends a list; the node is the element of `lists`, whose own address it may be",
        default="0",
    ),
    Key("circular", Form.BOOLEAN, "whether the last node's link leads to the first", default=False),
    node(
        "address",
        "physical address of the first frame that a node stands for; by default where it lies (index: its frame's)",
    ),
)
_REST = (
    Key(
        "length_unit",
        Form.TEXT,
        "what `lists.length` counts: nodes, or the frames that they stand for",
        default="node",
        choices=("node", "frame"),
    ),
    Key(
        "magic",
        Form.TABLE,
        "a field that has a known value in every intact node",
        keys=magic("its value; `self` is the node's address"),
        record=Magic,
    ),
    _COUNT,
    *_COMMON,
)
LIST = Table(
    "Free frames on linked lists. A node is a free frame, a run of them, or a page that lists others; or a record "
    "elsewhere that stands for one.",
    (
        *_NODES,
        node("frames", "how many frames a node stands for; by default 1; 0 where it only lists others"),
        Key(
            "entries",
            Form.TABLE,
            "what a node lists besides itself",
            keys=(
                node("at", "the array", required=True),
                node("count", "how many of its elements are in use", required=True),
                node("capacity", "how many it has room for; by default as its type says"),
                Key(
                    "unit",
                    Form.TEXT,
                    "what an element holds: the number of a frame, or its physical address",
                    default="frame",
                    choices=("frame", "address"),
                ),
            ),
            record=Entries,
        ),
        Key("sorted", Form.BOOLEAN, "whether lists are in order of address", default=False),
        Key("coalesces", Form.BOOLEAN, "whether runs that touch are always merged", default=False),
        *_REST,
    ),
    FreeLists,
)
BUDDY = Table(
    "Free blocks of 2^order frames, aligned to their size, on a list for each order.",
    (
        *_NODES,
        Key("lowest_order", Form.INTEGER, "order of the blocks on the first list", default=0),
        node("order", "the order that a block's node records"),
        Key(
            "pairs",
            Form.TABLE,
            "a bitmap for each list: bit i says that just one of the blocks 2 i and 2 i + 1 of that order is free",
            keys=(
                node("bits", "about one element of `lists`: the bitmap; 0 where an order has none", required=True),
                node("count", "number of its bits", required=True),
            ),
            record=Pairs,
        ),
        Key("merges", Form.BOOLEAN, "whether free buddies are always merged, below the highest order", default=True),
        *_REST,
    ),
    Buddy,
)
TREE = Table(
    "Buddies as a complete binary tree of bytes: 0 where nothing is free below, k + 1 where the largest free block "
    "below has 2^k frames.",
    (
        expression("nodes", "the tree's bytes", required=True),
        expression("height", "the tree has 2^height leaves, one for each frame", required=True),
        Key(
            "root",
            Form.INTEGER,
            "index of the root: the halves of node n are 2 n and 2 n + 1 with 1, 2 n + 1 and 2 n + 2 with 0",
            default=1,
            choices=(0, 1),
        ),
        _COUNT,
        *_COMMON,
    ),
    Tree,
)
FRAME_STATES = Table(
    "A record for each frame, in an array; each tells whether its frame is free.",
    (
        array("records"),
        node("free", "true (not 0) when the record's frame is free", required=True),
        *_COMMON,
    ),
    FrameStates,
)

PMM_KINDS: Mapping[str, Table] = {
    "bitmap": BITMAP,
    "bitmaps": BITMAPS,
    "list": LIST,
    "buddy": BUDDY,
    "tree": TREE,
    "records": FRAME_STATES,
}
"""The kinds of physical managers that there are."""

PmmSource = PmmKind[Source]
