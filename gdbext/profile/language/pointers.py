"""What a profile may say about where pointers to chunks stand besides the kernel's image.

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

    ``stack`` tells that a range is a stack, of which only the part from a processor's stack pointer on is in use when
    one points into it.
    """

    table: str
    where: str = ""
    detect: tuple[str, ...]
    collection: Collection[E]
    start: E
    end: E
    stack: E | None


POINTERS = Table(
    "Where pointers to chunks stand besides the kernel's variables, for `heapcheck -leaks`: one range of virtual "
    "addresses, or one for each element of a collection. What of them is not mapped, or belongs to a heap of this "
    "profile, is left out.",
    (
        collection("ranges", 1 << 16, required=False),
        node("start", "first virtual address", required=True),
        node("end", "virtual address behind the last", required=True),
        node("stack", "true (not 0) when it is a stack: what lies below a stack pointer into it is not in use"),
        Key(
            "detect",
            Form.TEXTS,
            "symbols; in a build of the kernel that lacks one of them there is nothing of this, and nothing is said",
            default=(),
        ),
    ),
    PointerRanges,
)
