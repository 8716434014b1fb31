"""What a profile may say about where pointers to chunks stand besides the kernel's image.

A record holds what was written (``E`` is `Source`), or the same compiled against a kernel (``E`` is `Expression`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from gdbext.profile.language.keys import Form, Key, Table, expression, node
from gdbext.symbols.model import Type

E = TypeVar("E")


@dataclass(frozen=True, kw_only=True)
class PointerRanges(Generic[E]):
    """Ranges of virtual addresses that hold pointers: one, or one for each element of an array or a list.

    ``stack`` tells that a range is a stack, of which only the part from a processor's stack pointer on is in use when
    one points into it. ``element`` is the type of what describes a range, None when there is but one range.
    """

    table: str
    where: str = ""
    detect: tuple[str, ...]
    entries: E | None
    count: E | None
    head: E | None
    next: E | None
    start: E
    end: E
    when: E | None
    stack: E | None
    element: Type | None = None

    @property
    def single(self) -> bool:
        """Whether it is one range."""
        return self.entries is None and self.head is None


POINTERS = Table(
    "Where pointers to chunks stand besides the kernel's variables, for `heapcheck -leaks`: one range of virtual "
    "addresses, or one for each element of an array (`entries`, `count`) or a list (`head`, `next`), whose element is "
    "the node. What of them is not mapped, or belongs to a heap of this profile, is left out.",
    (
        expression("entries", "the array, or a pointer to its first element"),
        expression("count", "number of elements"),
        expression("head", "pointer to the first element"),
        node("next", "pointer to the next element, 0 at the end"),
        node("start", "first virtual address", required=True),
        node("end", "virtual address behind the last", required=True),
        node("when", "true (not 0) when it counts; by default all do"),
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
