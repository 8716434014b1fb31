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
    """The fields that all kinds have.

    ``when`` says whether this manager is in use. Frames are numbered from 0 at physical address ``base``
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
    """How bits are stored in words: the first bit, a used frame's value, bytes of a word (None: not resolved)."""

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

    ``frames`` is how many frames the counters cover, None for only the frames that have a bit.
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

    ``head`` is the link to the first node, ``length`` the kernel's own count, ``start`` and ``end`` the physical
    addresses that members are in.
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
    """The frames that a node lists besides itself: ``count`` numbers at ``at``, at most ``capacity``."""

    at: E
    count: E
    capacity: E | None
    unit: str


@dataclass(frozen=True, kw_only=True)
class LinkedFrames(PhysicalManager[E]):
    """Free frames on lists.

    ``node`` is the type of a node once the names are resolved, ``links`` what a link holds, ``link_offset`` the offset
    in a node that it points to. ``end`` is about one element of ``lists``.
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
    """Lists whose nodes are single frames, runs of frames, or pages that list frames."""

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
    expression("when", "true (not 0) when this manager is in use; otherwise the table is ignored"),
    expression("base", "physical address of frame number 0", default="0"),
    Key("frame_size", Form.INTEGER, "size of a frame in bytes", default=4096),
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
        "whether the `used` counter counts `all` used frames, or only `allocated` frames, without reserved frames",
        default="all",
        choices=("all", "allocated"),
    ),
    READY,
    LOCK,
)
_WORDS = (
    Key("order", Form.TEXT, "which bit of a word comes first", default="lsb", choices=("lsb", "msb")),
    Key("used", Form.INTEGER, "value of a used frame's bit", default=1, choices=(0, 1)),
    Key(
        "word",
        Form.INTEGER,
        "size of a word in bytes; by default that of the type that `bits` points to",
        choices=(1, 2, 4, 8),
    ),
)
_HINT = (
    Key("hint_unit", Form.TEXT, "what `hint` counts", default="bit", choices=("bit", "word")),
    Key(
        "hint_semantics",
        Form.TEXT,
        "`lowest`: nothing below the hint is free; `next`: the hint may be anywhere in range",
        default="next",
        choices=("lowest", "next"),
    ),
    expression("full", "the kernel's constant for a word without a free frame"),
)
_COUNT = expression("count", "number of frames; by default all up to the end of RAM")


BITMAP = Table(
    "One bit for each frame, optionally with summary bitmaps above.",
    (
        expression("bits", "the bitmap: an array, a pointer, or its virtual address as a number", required=True),
        expression("count", "number of bits that represent a frame", required=True),
        *_WORDS,
        expression("hint", "where the next search begins"),
        *_HINT,
        Key(
            "summaries",
            Form.TABLE,
            "the summary levels above, the lowest first; each has a bit for each word of the level below",
            keys=(
                collection("levels", 64),
                node("bits", "one level's bitmap", required=True),
                node("bits_count", "number of its bits that are in use", required=True),
                Key(
                    "free",
                    Form.INTEGER,
                    "value of a bit when the word below has a free frame",
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
        node("count", "number of its bits that represent a frame", required=True),
        node("first", "physical address of the frame that its first bit represents", required=True),
        node("hint", "where the next search in it begins"),
        *_WORDS,
        *_HINT,
        Key(
            "region_counters",
            Form.TABLE,
            "the counters that a region keeps itself",
            default=NO_COUNTERS,
            keys=(node("used", "its frames in use"), node("free", "its frames that are free")),
        ),
        expression(
            "frames",
            "number of frames that the manager's counters cover, including holes between regions; by default only "
            "frames that have a bit",
        ),
        *_COMMON,
    ),
    Bitmaps,
)
_LISTS = Key(
    "lists",
    Form.TABLES,
    "the lists: with `entries` an array of lists, whose element is then the node; else a single list",
    required=True,
    keys=(
        collection("lists", 4096, required=False, without=ONLY_ARRAYS),
        node("head", "the link to the list's first node", required=True),
        node("length", "the kernel's own count of the list"),
        node("start", "lowest physical address that a member may have"),
        node("end", "physical address that all members must be below"),
        Key("name", Form.TEXT, "the list's name; lists of an array get this name and their number"),
        Key("names", Form.TEXTS, "names of the lists of an array, in order", default=()),
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
        "offset in a node that links point to, when they are addresses, such as `offsetof(struct page, link)`",
        default="0",
    ),
    expression("records", "the array of nodes, when links are indexes"),
    node("next", "the link to the next node", required=True),
    node("prev", "the link to the previous node"),
    Key(
        "end",
        Form.NODE,
        "the link that ends a list; about the element of `lists`, whose own address it may be",
        default="0",
    ),
    Key("circular", Form.BOOLEAN, "whether the last node's link points to the first", default=False),
    node(
        "address",
        "physical address of the first frame of a node; by default the node's own (with `index`: of that frame number)",
    ),
)
_REST = (
    Key(
        "length_unit",
        Form.TEXT,
        "what `lists.length` counts: nodes, or their frames",
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
    "Free frames on linked lists. A node is a free frame, a run of free frames, or a page that lists others; or a "
    "record elsewhere that describes one of these.",
    (
        *_NODES,
        node("frames", "number of frames of a node; by default 1; 0 if it only lists others"),
        Key(
            "entries",
            Form.TABLE,
            "the frames that a node lists besides itself",
            keys=(
                node("at", "the array", required=True),
                node("count", "number of its elements in use", required=True),
                node("capacity", "number of elements that it has room for; by default that of its type"),
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
        Key("sorted", Form.BOOLEAN, "whether lists are sorted by address", default=False),
        Key("coalesces", Form.BOOLEAN, "whether adjacent runs are always merged", default=False),
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
            "a bitmap for each list: bit i is set when exactly one of the blocks 2 i and 2 i + 1 of that order is free",
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
    "A buddy allocator as a complete binary tree of bytes: 0 if nothing is free below, k + 1 if the largest free block "
    "below has 2^k frames.",
    (
        expression("nodes", "the tree's bytes", required=True),
        expression("height", "the tree has 2^height leaves, one for each frame", required=True),
        Key(
            "root",
            Form.INTEGER,
            "index of the root: with 1 the halves of node n are 2 n and 2 n + 1, with 0 they are 2 n + 1 and 2 n + 2",
            default=1,
            choices=(0, 1),
        ),
        _COUNT,
        *_COMMON,
    ),
    Tree,
)
FRAME_STATES = Table(
    "An array with a record for each frame, which says whether the frame is free.",
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
"""All kinds of physical managers, by name."""

PmmSource = PmmKind[Source]
