"""Compiles a profile's expressions against a kernel's symbols, one by one, and collects the problems."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

from gdbext.errors import ProfileError
from gdbext.profile.expressions.expression import Expression, compile_expression
from gdbext.profile.language.keys import Form, Key, Range, Source
from gdbext.symbols.model import Kind, Symbols, Type
from gdbext.symbols.typenames import VOID

_R = TypeVar("_R", bound=Any)
_B = TypeVar("_B")


class Binder:
    """Collects ``problems``. What has a problem is replaced by a stand-in; its part of the profile is dropped later."""

    def __init__(self, symbols: Symbols) -> None:
        self.symbols = symbols
        self.problems: list[ProfileError] = []
        self.stand_in = compile_expression("0", symbols)

    def problem(self, where: str, problem: str) -> None:
        """Note a problem at a location in the profile."""
        self._note(ProfileError(where, problem))

    def _note(self, problem: ProfileError) -> None:
        """Keep a problem once, though its expression may be compiled twice."""
        if str(problem) not in map(str, self.problems):
            self.problems.append(problem)

    def expression(self, source: Source, about: Type | None = None, outer: Type | None = None) -> Expression:
        """An expression that has a number for a value; with ``about`` it may name members of that type.

        ``outer`` is the type of the element that the node is nested in.
        """
        found = self._compiled(source, about, outer)
        if not found.is_scalar:
            self.problem(
                source.where, f"'{found.text}' is a whole {found.type.name}, not a number; name one of its members"
            )
        return found

    def _compiled(self, source: Source, about: Type | None, outer: Type | None) -> Expression:
        """The first alternative that compiles; when none does, the problem of the first is kept."""
        first: ProfileError | None = None
        for text in source.alternatives:
            try:
                return compile_expression(text, self.symbols, about, source.where, outer)
            except ProfileError as error:
                first = first or error
        if first is not None:
            self._note(first)
        return self.stand_in

    def maybe(self, source: Source | None, about: Type | None = None) -> Expression | None:
        """An optional expression."""
        return None if source is None else self.expression(source, about)

    def address(self, source: Source, about: Type | None = None) -> Expression:
        """An expression that is the address of something: a pointer, an array, or a number of 8 bytes."""
        found = self.about(source, about) if about is not None else self.expression(source)
        kind = found.type
        if kind.kind not in (Kind.POINTER, Kind.ARRAY, Kind.FUNCTION) and (found.is_lvalue and kind.size < 8):
            self.problem(
                source.where, f"'{found.text}' is {kind.name}, not an address; write & before it to take its address"
            )
        return found

    def range(self, described: Range[Source]) -> Range[Expression]:
        """The two ends of a range of virtual addresses."""
        return Range(self.address(described.start), self.address(described.end))

    def constant(self, source: Source) -> int:
        """An expression whose value does not depend on memory."""
        found = self.expression(source)
        if found.constant is None:
            self.problem(source.where, f"'{found.text}' is not a constant: its value depends on memory")
        return found.constant or 0

    def counters(self, counters: Mapping[str, Source]) -> dict[str, Expression]:
        """A manager's own counters."""
        return {name: self.expression(source) for name, source in counters.items()}

    def element(self, source: Source, found: Expression) -> Type:
        """The type that an array consists of or a pointer points to; it must have a size."""
        target = found.type.target
        if target is None or not target.size:
            if found is not self.stand_in:
                what = "an array or a pointer to a complete type"
                self.problem(source.where, f"'{found.text}' is {found.type.name}; {what} is expected")
            return VOID
        return target

    def about(self, source: Source, node: Type, outer: Type | None = None) -> Expression:
        """An expression about one node. A node whose type already has a problem gets no further ones."""
        return self.stand_in if node is VOID or outer is VOID else self.expression(source, node, outer)

    def in_context(self, source: Source, node: Type | None, outer: Type | None = None) -> Expression:
        """The same, where there may be no node."""
        return self.expression(source) if node is None else self.about(source, node, outer)

    def in_node_alone(self, source: Source, found: Expression) -> None:
        """Require that an expression reads only its node, so that it can be computed over all nodes at once."""
        if found.flat is None:
            what = (
                f"'{found.text}' reads memory outside the record, too slow to do for every frame; use only its fields"
            )
            self.problem(source.where, what)

    def frame_size(self, where: str, size: int) -> None:
        """Require a frame size that is possible."""
        if size < 1 or size & (size - 1):
            self.problem(where, f"frame_size is {size}; it must be a power of two")

    def type_named(self, source: Source) -> Type:
        """The type of this name, which must be complete."""
        for name in source.alternatives:
            named = self.symbols.find_type(name)
            if named is not None and named.size:
                return named
        self.problem(source.where, f"the kernel has no type '{source.text}'")
        return VOID

    def record(self, described: _R, keys: Iterable[Key], node: Type | None = None, outer: Type | None = None) -> _R:
        """The record with its expressions compiled, those about a node against ``node``; tables in it stay unbound.

        ``outer`` is the type of the element that the node is nested in, if any.
        """
        return replace(described, **self._compiled_keys(described, keys, node, outer))

    def bound(
        self, described: Any, keys: Iterable[Key], kind: type[_B], node: Type | None = None, outer: Type | None = None
    ) -> _B:
        """The same as a new record of type ``kind``; the caller still has to bind the tables in it."""
        written = {field.name: getattr(described, field.name) for field in fields(described)}
        return kind(**(written | self._compiled_keys(described, keys, node, outer)))

    def _compiled_keys(
        self, described: Any, keys: Iterable[Key], node: Type | None, outer: Type | None
    ) -> dict[str, Any]:
        """The compiled expressions among these keys."""
        changes: dict[str, Any] = {}
        for key in keys:
            written = getattr(described, key.name)
            if isinstance(written, Source) and key.form is Form.EXPRESSION:
                changes[key.name] = self.expression(written)
            elif isinstance(written, Source) and key.form is Form.NODE:
                changes[key.name] = self.in_context(written, node, outer)
        return changes
