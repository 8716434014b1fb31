"""What a profile may say about owners of frames: records about frames, devices' buffers, frames kept by number.

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

    ``order_in`` says where a block's order is recorded: in the record of its ``first`` frame, or in those of ``all``.
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
    """Memory that devices use, a record for each buffer; ``live`` says which records are in use.

    ``physical`` and ``size`` (bytes) say where a buffer is, ``align``, ``limit`` and ``boundary`` where it must be;
    ``address`` is where the kernel maps it. ``table`` is the table's name in the profile.
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
    """Frames that the kernel keeps in reserve; ``unit`` says whether by number or by physical address."""

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
    "symbols; when the kernel lacks one of them, this table is ignored, and no problem is reported",
    default=(),
)
_FRAME_SIZE = Key("frame_size", Form.INTEGER, "size of a frame in bytes", default=4096)

PAGE_RECORDS = Table(
    "What the kernel records about each frame, apart from the manager that hands it out: an array of structs. (A "
    "manager that consists only of such records is a `[pmm.NAME]` of kind `records`.)",
    (
        array("records"),
        expression("base", "physical address of the frame that the first record describes", default="0"),
        _FRAME_SIZE,
        node("free", "true (not 0) when the record says that its frame is free"),
        node(
            "type",
            "what the frame is used for; an enum is shown by name, so cast a number to its enum",
        ),
        node("owner", "the frame's owner: a pointer or a number, shown unchanged"),
        node("references", "number of references to the frame"),
        node(
            "order",
            "order of the block that the frame was allocated in (2^order frames, aligned to its size); 0: one frame",
        ),
        Key(
            "order_in",
            Form.TEXT,
            "which records of a block hold its order: that of its first frame, or all",
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
    "Memory that devices access directly (DMA): a record for each buffer.",
    (
        collection("records", 1 << 16, without=("when",)),
        node("live", "true (not 0) when the record is in use; by default all are"),
        node("physical", "physical address of the buffer", required=True),
        node("size", "its size in bytes", required=True),
        node("align", "`physical` must be a multiple of this; 0: any address"),
        node("limit", "all of it must be below this physical address; 0: no limit"),
        node("boundary", "the buffer must not cross a multiple of this; 0: no boundary"),
        node("address", "virtual address at which the kernel maps its first byte"),
        node("name", "the buffer's name: a string, or a pointer to one"),
        DETECT,
        READY,
        LOCK,
    ),
    Buffers,
)
HELD = Table(
    "Frames that were allocated and are kept in reserve, usually in an array: reserves, caches. `count` is the number "
    "of its elements in use.",
    (
        collection("elements", 1 << 20),
        node("frame", "the frame that an element describes; by default the element itself"),
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
