"""Where many things of one kind are: an array, a list, a tree, a pointer; and such collections nested in one another.

Whatever a profile says about many things (zones, buffers, caches, stacks) takes the keys of one `Collection`, and says
the rest about one of its elements. A hash table is an array in each element of which there is a list, the threads of
all processes are a list in each element of which there is another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from gdbext.profile.language.keys import Form, Key, expression, node
from gdbext.symbols.model import Type

E = TypeVar("E")

DEPTH = 4
"""So many collections may be nested in one another."""
LARGEST = 1 << 22
"""No collection may be said to have more elements than this."""


@dataclass(frozen=True, kw_only=True)
class Collection(Generic[E]):
    """Elements of one type; which keys are given tells how they are found.

    ``entries`` with ``count`` or ``until`` is an array, ``head`` with ``next`` a list, ``tree`` with ``left`` and
    ``right`` a binary tree, ``at`` a single element. ``until``, ``next``, ``left``, ``right`` and ``when`` are about
    one element, all others about what this collection is nested in, if anything. More than ``most`` elements there
    cannot be. With ``each`` the elements that count are those of the collections in the elements. ``element`` is their
    type once the names are settled.
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
        """The collection whose elements are meant."""
        return self if self.each is None else self.each.innermost

    @property
    def single(self) -> bool:
        """Whether nothing says where elements are: then there is one, and what is said of it is about no node."""
        return self.start is None

    @property
    def start(self) -> E | None:
        """What leads to the first element."""
        return next((found for found in (self.entries, self.head, self.tree, self.at) if found is not None), None)


_EACH = (
    "in each element another collection, whose elements are meant then: it has these keys too, and what is no "
    "expression in a node here is one in the outer element there. In its `until` and `when`, and in what is said of "
    "its elements, `outer` points to the outer one; or, where that is a mere pointer, to what it is nested in itself"
)


def _keys(most: int | None, depth: int = 1) -> tuple[Key, ...]:
    own = (
        expression("entries", "an array, or a pointer to its first element"),
        expression("count", "number of its elements"),
        node("until", "in place of `count`: true (not 0) for the element behind the last"),
        expression("head", "the link to the first element of a linked list"),
        node("next", "the link to the next"),
        Key("circular", Form.BOOLEAN, "whether the last one's link leads to the first", default=False),
        expression("tree", "the link to the root of a binary tree"),
        node("left", "the link to what comes before"),
        node("right", "the link to what comes after"),
        expression("at", "a pointer to a single element, such as `*self` in each element of an array of pointers"),
        expression("terminator", "the link, or pointer, that leads nowhere", default="0"),
        expression(
            "link_offset", "where in an element links lead, such as `offsetof(struct task, siblings)`", default="0"
        ),
        Key("node", Form.TYPE, "type of an element; by default what the array consists of, or what the link points to"),
        node("when", "true (not 0) when the element counts; by default every one does"),
        Key("most", Form.INTEGER, "with more elements than this it is torn, and not read on", default=most),
    )
    return own if depth == DEPTH else (*own, Key("each", Form.COLLECTION, _EACH, keys=_keys(most, depth + 1)))


ONLY_ARRAYS = ("head", "next", "circular", "tree", "left", "right", "at", "terminator", "link_offset", "node")
"""The keys that arrays, with or without a count, and collections in their elements do without."""
COLLECTION_KEYS = _keys(None)
"""All keys of a collection, as the documentation lists them; those of `each` are the same."""


def collection(what: str, most: int, *, name: str = "", required: bool = True, without: tuple[str, ...] = ()) -> Key:
    """The keys of a `Collection`: in a table called ``name``, or side by side with the other keys of their table.

    ``what`` is what its elements are called, ``most`` how many there may be. Where it is not required, nothing need be
    said of where elements are: then there is one. It is ``without`` keys that mean something else in the table.
    """
    return Key(
        name or "collection",
        Form.COLLECTION,
        f"where the {what} are" if required else f"where the {what} are; without these keys it is about one",
        required=required,
        keys=tuple(key for key in _keys(most) if key.name not in without),
        inline=not name,
    )


def array(what: str) -> Key:
    """The keys of a `Collection` that can be nothing but an array with a count, side by side with the others."""
    keys = (
        expression("entries", "the array, or a pointer to its first element", required=True),
        expression("count", "number of its elements", required=True),
    )
    return Key("collection", Form.COLLECTION, f"where the {what} are", required=True, keys=keys, inline=True)
