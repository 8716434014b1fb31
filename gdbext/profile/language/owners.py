"""What a profile may say about who has frames: records about frames, devices' buffers, frames kept by number.

A record holds what was written (``E`` is `Source`), or the same compiled against a kernel (``E`` is `Expression`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from gdbext.profile.language.collections import Collection, array, collection
from gdbext.profile.language.keys import LOCK, READY, Form, Key, Table, expression, node

E = TypeVar("E")


@dataclass(frozen=True, kw_only=True)
class PageRecords(Generic[E]):
    """An array with a record for each frame, the first for the frame at physical address ``base``.

    ``order_in`` tells where a block's order stands: in the record of its ``first`` frame, or in those of ``all``.
    """

    where: str = ""
    detect: tuple[str, ...]
    collection: Collection[E]
    base: E
    frame_size: int
    free: E | None
    type: E | None
    owner: E | None
    references: E | None
    order: E | None
    order_in: str
    ready: E | None
    lock: E | None


@dataclass(frozen=True, kw_only=True)
class Buffers(Generic[E]):
    """Memory that devices use, a record for each; which of them are in use tells ``live``.

    ``physical`` and ``size`` (bytes) say where a buffer is, ``align``, ``limit`` and ``boundary`` where it must be;
    ``address`` is where the kernel maps it. ``table`` is what the profile calls them all.
    """

    table: str
    where: str = ""
    detect: tuple[str, ...]
    collection: Collection[E]
    live: E | None
    physical: E
    size: E
    align: E | None
    limit: E | None
    boundary: E | None
    address: E | None
    name: E | None
    ready: E | None
    lock: E | None


@dataclass(frozen=True, kw_only=True)
class Held(Generic[E]):
    """Frames that somebody keeps, as ``unit`` says: by number, or by physical address."""

    table: str
    where: str = ""
    detect: tuple[str, ...]
    collection: Collection[E]
    frame: E | None
    unit: str
    frame_size: int
    ready: E | None
    lock: E | None


DETECT = Key(
    "detect",
    Form.TEXTS,
    "symbols; in a build of the kernel that lacks one of them there is nothing of this, and nothing is said",
    default=(),
)
_FRAME_SIZE = Key("frame_size", Form.INTEGER, "bytes of a frame", default=4096)

PAGE_RECORDS = Table(
    "What the kernel records about each frame, beside the manager that hands it out: an array of structs. (A manager "
    "that is nothing but such records is a `[pmm.NAME]` of kind `records`.)",
    (
        array("records"),
        expression("base", "physical address of the frame that the first record is about", default="0"),
        _FRAME_SIZE,
        node("free", "true (not 0) when the record says that its frame is free"),
        node("type", "what the frame is used for; named when it is an enum, so cast it if it is kept as a number"),
        node("owner", "who has the frame: a pointer or a number, shown as it is"),
        node("references", "how many refer to the frame"),
        node("order", "the frame was allocated in a block of 2^order frames, aligned to its size; 0 when alone"),
        Key(
            "order_in",
            Form.TEXT,
            "which records of a block have its order: that of its first frame, or all",
            default="first",
            choices=("first", "all"),
        ),
        DETECT,
        READY,
        LOCK,
    ),
    PageRecords,
)
BUFFERS = Table(
    "Memory that devices read and write by themselves: a record for each buffer.",
    (
        collection("records", 1 << 16, without=("when",)),
        node("live", "true (not 0) when the record is in use; by default every one is"),
        node("physical", "physical address of the buffer", required=True),
        node("size", "its size in bytes", required=True),
        node("align", "`physical` must be a multiple of this; 0: of nothing"),
        node("limit", "all of it must lie below this physical address; 0: anywhere"),
        node("boundary", "no multiple of this may lie inside; 0: no matter"),
        node("address", "virtual address at which the kernel maps it, from its first byte on"),
        node("name", "what to call the buffer: a text, or a pointer to one"),
        DETECT,
        READY,
        LOCK,
    ),
    Buffers,
)
HELD = Table(
    "Frames that somebody took and keeps, mostly in an array, to have them at once: reserves, caches. `count` is how "
    "many of its elements are in use.",
    (
        collection("elements", 1 << 20),
        node("frame", "the frame that an element stands for; by default the element itself"),
        Key(
            "unit",
            Form.TEXT,
            "what `frame` is: the number of a frame, or its physical address",
            default="frame",
            choices=("frame", "address"),
        ),
        _FRAME_SIZE,
        DETECT,
        READY,
        LOCK,
    ),
    Held,
)
