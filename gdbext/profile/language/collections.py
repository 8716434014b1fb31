"""Collections of things of one kind: an array, a list, a tree, a pointer; and collections nested in one another.

A table about many things (zones, buffers, caches, stacks) has the keys of one `Collection`; its other keys are about
one element. A hash table is an array with a list in each element; the threads of all processes are a list with another
list in each element.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from gdbext.profile.language.keys import Form, Key, expression, node
from gdbext.symbols.model import Type

E = TypeVar("E")

DEPTH = 4
"""The maximum depth of nested collections."""
LARGEST = 1 << 22
"""The largest value of ``most``."""


@dataclass(frozen=True, kw_only=True)
class Collection(Generic[E]):
    """Elements of one type; the keys that are given determine the shape.

    ``entries`` with ``count`` or ``until`` is an array, ``head`` with ``next`` a list, ``tree`` with ``left`` and
    ``right`` a binary tree, ``at`` a single element. ``until``, ``next``, ``left``, ``right`` and ``when`` are about
    one element, all others about what this collection is nested in, if anything. ``most`` is the largest plausible
    number of elements. With ``each``, the elements are those of the inner collections. ``element`` is their type once
    the names are resolved.
    """

    where: str
    entries: E | None
    count: E | None
    until: E | None = None
    head: E | None = None
    next: E | None = None
    circular: bool = False
    tree: E | None = None
    left: E | None = None
    right: E | None = None
    at: E | None = None
    terminator: E | None = None
    link_offset: E | None = None
    node: E | None = None
    when: E | None = None
    most: int = LARGEST
    each: Collection[E] | None = None
    element: Type | None = None

    @property
    def innermost(self) -> Collection[E]:
        """The innermost collection, whose elements are the ones described."""
        return self if self.each is None else self.each.innermost

    @property
    def single(self) -> bool:
        """Whether no key says where elements are: then there is a single element, and no node for expressions."""
        return self.start is None

    @property
    def start(self) -> E | None:
        """The expression that locates the first element."""
        return next((found for found in (self.entries, self.head, self.tree, self.at) if found is not None), None)


_EACH = (
    "another collection in each element, whose elements are then the ones described. It has these keys too; those that "
    "are plain expressions here are about the outer element there. In its `until` and `when`, and in the keys about "
    "its elements, `outer` points to the outer element or, if that is only a pointer, to what the pointer is nested in"
)


def _keys(most: int | None, depth: int = 1) -> tuple[Key, ...]:
    own = (
        expression("entries", "an array, or a pointer to its first element"),
        expression("count", "number of its elements"),
        node("until", "in place of `count`: true (not 0) for the element after the last"),
        expression("head", "the link to the first element of a linked list"),
        node("next", "the link to the next element"),
        Key("circular", Form.BOOLEAN, "whether the last element's link points to the first", default=False),
        expression("tree", "the link to the root of a binary tree"),
        node("left", "the link to the left child, which comes before"),
        node("right", "the link to the right child, which comes after"),
        expression("at", "a pointer to a single element, such as `*self` in each element of an array of pointers"),
        expression("terminator", "the value of a link, or pointer, to no element", default="0"),
        expression(
            "link_offset",
            "offset in an element that links point to, such as `offsetof(struct task, siblings)`",
            default="0",
        ),
        Key("node", Form.TYPE, "type of an element; by default the array's element type, or what the link points to"),
        node("when", "true (not 0) when the element counts; by default all count"),
        Key(
            "most",
            Form.INTEGER,
            "a collection with more elements than this is treated as corrupted and not read further",
            default=most,
        ),
    )
    return own if depth == DEPTH else (*own, Key("each", Form.COLLECTION, _EACH, keys=_keys(most, depth + 1)))


ONLY_ARRAYS = ("head", "next", "circular", "tree", "left", "right", "at", "terminator", "link_offset", "node")
"""The keys that a collection of nothing but arrays does not have."""
COLLECTION_KEYS = _keys(None)
"""All keys of a collection, as the documentation lists them; `each` has the same keys."""


def collection(what: str, most: int, *, name: str = "", required: bool = True, without: tuple[str, ...] = ()) -> Key:
    """The keys of a `Collection`: in a table called ``name``, or side by side with the other keys of their table.

    ``what`` is what its elements are called, ``most`` how many there may be. Unless it is ``required``, all its keys
    may be absent: then there is one element. ``without`` are keys that mean something else in the table.
    """
    return Key(
        name or "collection",
        Form.COLLECTION,
        f"where the {what} are" if required else f"where the {what} are; without these keys there is only one",
        required=required,
        keys=tuple(key for key in _keys(most) if key.name not in without),
        inline=not name,
    )


def array(what: str) -> Key:
    """The keys of a `Collection` that can only be an array with a count, side by side with the other keys."""
    keys = (
        expression("entries", "the array, or a pointer to its first element", required=True),
        expression("count", "number of its elements", required=True),
    )
    return Key("collection", Form.COLLECTION, f"where the {what} are", required=True, keys=keys, inline=True)
