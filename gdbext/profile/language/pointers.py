"""What a profile may say about where pointers to chunks are stored, besides the kernel's image.

A record holds what was written (``E`` is `Source`), or the same compiled against a kernel (``E`` is `Expression`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from gdbext.profile.language.collections import Collection, collection
from gdbext.profile.language.keys import Form, Key, Table, node

E = TypeVar("E")


@dataclass(frozen=True, kw_only=True)
class PointerRanges(Generic[E]):
    """Ranges of virtual addresses that hold pointers: one, or one for each element of a collection.

    ``stack`` is true for a stack; when a processor's stack pointer points into it, only the part from there on is in
    use.
    """

    table: str
    where: str = ""
    detect: tuple[str, ...]
    collection: Collection[E]
    start: E
    end: E
    stack: E | None


POINTERS = Table(
    "Where pointers to chunks are stored besides the kernel's variables, for `heapcheck -leaks`: one range of virtual "
    "addresses, or one for each element of a collection. Parts of it that are not mapped, or belong to a heap of this "
    "profile, are skipped.",
    (
        collection("ranges", 1 << 16, required=False),
        node("start", "first virtual address", required=True),
        node("end", "virtual address after the last", required=True),
        node("stack", "true (not 0) when it is a stack: memory below a stack pointer into it is not in use"),
        Key(
            "detect",
            Form.TEXTS,
            "symbols; when the kernel lacks one of them, this table is ignored, and no problem is reported",
            default=(),
        ),
    ),
    PointerRanges,
)
