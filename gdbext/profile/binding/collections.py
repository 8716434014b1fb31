"""Collections, bound to a kernel: which shape was written, what their elements are, and every expression compiled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

from gdbext.profile.binding.binder import Binder
from gdbext.profile.expressions.expression import Expression
from gdbext.profile.language.collections import LARGEST, Collection
from gdbext.profile.language.keys import Form, Key, Source
from gdbext.symbols.model import Kind, Type

_B = TypeVar("_B")

_SHAPES = (
    ("entries", "count"),
    ("entries", "until"),
    ("head", "next"),
    ("tree", "left", "right"),
    ("at",),
)
_TELLING = ("entries", "count", "until", "head", "next", "tree", "left", "right", "at")
_ABOUT_LINKS = ("next", "left", "right")


def bind_collection(
    binder: Binder,
    described: Collection[Source],
    within: Type | None = None,
    outer: Type | None = None,
    *,
    or_none: bool = False,
) -> Collection[Expression]:
    """A collection within an element of type ``within``, if it is in one; ``or_none``: it need not be one at all.

    ``outer`` is the type of what ``outer`` points to in what is said of its elements. ``element`` is `VOID` where the
    type cannot be told, which is a problem with the binder, and None where it is none.
    """
    written = tuple(name for name in _TELLING if getattr(described, name) is not None)
    if not 0 < described.most <= LARGEST:
        binder.problem(described.where, f"'most' is {described.most}, which is not from 1 to {LARGEST}")
    if written not in _SHAPES and (written or not or_none):
        binder.problem(described.where, _wrong(written))
    element = None if described.start is None else _element(binder, described, described.start, within)
    made: dict[str, Any] = {"element": element}
    for name in ("entries", "count", "head", "tree", "at", "terminator"):
        if (source := getattr(described, name)) is not None:
            made[name] = binder.in_context(source, within)
    for name in ("until", "next", "left", "right", "when"):
        if (source := getattr(described, name)) is not None:
            made[name] = binder.in_context(source, element, None if name in _ABOUT_LINKS else outer)
    if described.link_offset is not None:
        binder.constant(described.link_offset)
        made["link_offset"] = binder.expression(described.link_offset)
    if described.each is not None:
        if element is None:
            binder.problem(described.each.where, "'each' is about the elements of a collection, and there is none")
        made["each"] = bind_collection(binder, described.each, element, around(element, outer))
    return cast(Collection[Expression], replace(described, node=None, **made))


def bind_elements(binder: Binder, described: Any, keys: Sequence[Key], kind: type[_B]) -> _B:
    """A record about the elements of a collection, of type ``kind``, with all expressions compiled.

    Tables in it are still to be bound by whoever asks.

    Its keys are ``keys``, among them those of the collection.
    """
    (key,) = (key for key in keys if key.form is Form.COLLECTION)
    bound = bind_collection(binder, getattr(described, key.name), or_none=not key.required)
    made: Any = binder.bound(described, keys, kind, *context(bound))
    found: _B = replace(made, **{key.name: bound})
    return found


def context(bound: Collection[Expression]) -> tuple[Type | None, Type | None]:
    """What is said of its elements is about this type; and the one of what they are nested in, if anything."""
    outer = None
    while bound.each is not None:
        outer, bound = around(bound.element, outer), bound.each
    return bound.element, outer


def around(element: Type | None, outer: Type | None) -> Type | None:
    """What the elements in an element are in: that element, or if it is a mere pointer what this is in itself."""
    looked_through = element is not None and element.kind is Kind.POINTER and outer is not None
    return outer if looked_through else element


def _element(binder: Binder, described: Collection[Source], start: Source, within: Type | None) -> Type:
    """The type of an element: the one that is named, or what leads to it points to."""
    if isinstance(described.node, Source):
        return binder.type_named(described.node)
    return binder.element(start, binder.in_context(start, within))


def _wrong(written: tuple[str, ...]) -> str:
    """What is wrong with keys that together are no shape of a collection."""
    if any(name in written for name in ("tree", "left", "right")):
        return "a tree needs 'tree', 'left' and 'right', and none of the keys of arrays and lists"
    if "at" in written:
        return "'at' is a single element: it does not go together with the keys of arrays and lists"
    if "until" in written:
        return "'until' ends an array: it needs 'entries', and stands in the place of 'count'"
    return "either 'entries' and 'count' are needed, or 'head' and 'next'"
