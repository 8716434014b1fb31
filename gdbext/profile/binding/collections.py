"""Collections, bound to a kernel: their shape, the type of their elements, and every expression compiled."""

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
    """A collection within an element of type ``within``, if any; with ``or_none`` its keys may all be absent.

    ``outer`` is the type that ``outer`` points to in expressions about its elements. ``element`` is `VOID` where the
    type is unknown, which the binder has as a problem, and None where there is no collection.
    """
    written = tuple(name for name in _TELLING if getattr(described, name) is not None)
    if not 0 < described.most <= LARGEST:
        binder.problem(described.where, f"'most' is {described.most}; it must be from 1 to {LARGEST}")
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
            binder.problem(
                described.each.where, "'each' needs an outer collection: add 'entries', 'head', 'tree' or 'at'"
            )
        made["each"] = bind_collection(binder, described.each, element, around(element, outer))
    return cast(Collection[Expression], replace(described, node=None, **made))


def bind_elements(binder: Binder, described: Any, keys: Sequence[Key], kind: type[_B]) -> _B:
    """A record about the elements of a collection, of type ``kind``, with all expressions compiled.

    Its keys are ``keys``, including those of the collection. The caller still has to bind the tables in it.
    """
    (key,) = (key for key in keys if key.form is Form.COLLECTION)
    bound = bind_collection(binder, getattr(described, key.name), or_none=not key.required)
    made: Any = binder.bound(described, keys, kind, *context(bound))
    found: _B = replace(made, **{key.name: bound})
    return found


def context(bound: Collection[Expression]) -> tuple[Type | None, Type | None]:
    """The type that expressions about its elements refer to, and the type that the elements are nested in, if any."""
    outer = None
    while bound.each is not None:
        outer, bound = around(bound.element, outer), bound.each
    return bound.element, outer


def around(element: Type | None, outer: Type | None) -> Type | None:
    """What the inner elements are nested in: the outer element or, if it is only a pointer, what that is nested in."""
    looked_through = element is not None and element.kind is Kind.POINTER and outer is not None
    return outer if looked_through else element


def _element(binder: Binder, described: Collection[Source], start: Source, within: Type | None) -> Type:
    """The type of an element: the named type, or what the array or first link points to."""
    if isinstance(described.node, Source):
        return binder.type_named(described.node)
    return binder.element(start, binder.in_context(start, within))


def _wrong(written: tuple[str, ...]) -> str:
    """Why these keys together do not describe a collection."""
    if any(name in written for name in ("tree", "left", "right")):
        return "a tree needs 'tree', 'left' and 'right', without the keys of arrays and lists"
    if "at" in written:
        return "'at' is a single element: remove the keys of arrays, lists and trees"
    if "until" in written:
        return "'until' ends an array: it needs 'entries', and replaces 'count'"
    return "either 'entries' and 'count' are needed, or 'head' and 'next'"
