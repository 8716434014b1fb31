"""Compiling what a profile says against a kernel's symbols, one expression at a time, and collecting the problems."""

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
    """Collects ``problems``; whoever asks for a thing that has one gets a stand-in, and drops the whole in the end."""

    def __init__(self, symbols: Symbols) -> None:
        self.symbols = symbols
        self.problems: list[ProfileError] = []
        self.stand_in = compile_expression("0", symbols)

    def problem(self, where: str, problem: str) -> None:
        """Note a problem at a place of the profile."""
        self._note(ProfileError(where, problem))

    def _note(self, problem: ProfileError) -> None:
        """Keep a problem; what is compiled twice has it once."""
        if str(problem) not in map(str, self.problems):
            self.problems.append(problem)

    def expression(self, source: Source, about: Type | None = None, outer: Type | None = None) -> Expression:
        """An expression that has a number for a value; with ``about`` it may name members of that type.

        With ``outer`` the element of that type is nested in one of this type.
        """
        found = self._compiled(source, about, outer)
        if not found.is_scalar:
            self.problem(
                source.where, f"'{found.text}' is a whole {found.type.name}, not a number; name a member of it"
            )
        return found

    def _compiled(self, source: Source, about: Type | None, outer: Type | None) -> Expression:
        """The first alternative that fits; when none does, the first one's problem counts."""
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
        """An expression that may be left out."""
        return None if source is None else self.expression(source, about)

    def address(self, source: Source, about: Type | None = None) -> Expression:
        """An expression that is the address of something: a pointer, an array, or a number of 8 bytes."""
        found = self.about(source, about) if about is not None else self.expression(source)
        kind = found.type
        if kind.kind not in (Kind.POINTER, Kind.ARRAY, Kind.FUNCTION) and (found.is_lvalue and kind.size < 8):
            self.problem(source.where, f"'{found.text}' is {kind.name}, not an address; put & before it for its own")
        return found

    def range(self, described: Range[Source]) -> Range[Expression]:
        """The two ends of a range of virtual addresses."""
        return Range(self.address(described.start), self.address(described.end))

    def constant(self, source: Source) -> int:
        """An expression whose value is known without a machine."""
        found = self.expression(source)
        if found.constant is None:
            self.problem(source.where, f"'{found.text}' is not a constant")
        return found.constant or 0

    def counters(self, counters: Mapping[str, Source]) -> dict[str, Expression]:
        """A manager's own counters."""
        return {name: self.expression(source) for name, source in counters.items()}

    def element(self, source: Source, found: Expression) -> Type:
        """What an array or pointer is made of, which must be a type with a size."""
        target = found.type.target
        if target is None or not target.size:
            if found is not self.stand_in:
                what = "an array or a pointer to a complete type"
                self.problem(source.where, f"'{found.text}' is {found.type.name}; {what} is wanted")
            return VOID
        return target

    def about(self, source: Source, node: Type, outer: Type | None = None) -> Expression:
        """An expression about one node. When the node's type is a problem itself there is no more to say."""
        return self.stand_in if node is VOID or outer is VOID else self.expression(source, node, outer)

    def in_context(self, source: Source, node: Type | None, outer: Type | None = None) -> Expression:
        """The same, where there need not be a node."""
        return self.expression(source) if node is None else self.about(source, node, outer)

    def in_node_alone(self, source: Source, found: Expression) -> None:
        """Insist that an expression reads nothing but its node, so that it is computed over all nodes at once."""
        if found.flat is None:
            what = f"'{found.text}' reads more than the record itself, which is too slow for every frame's"
            self.problem(source.where, what)

    def frame_size(self, where: str, size: int) -> None:
        """Insist that frames are of a size that there can be."""
        if size < 1 or size & (size - 1):
            self.problem(where, f"frame_size is {size}, not a power of two")

    def type_named(self, source: Source) -> Type:
        """The type of this name, which must be complete."""
        for name in source.alternatives:
            named = self.symbols.find_type(name)
            if named is not None and named.size:
                return named
        self.problem(source.where, f"the kernel has no type '{source.text}'")
        return VOID

    def record(self, described: _R, keys: Iterable[Key], node: Type | None = None, outer: Type | None = None) -> _R:
        """The record with its expressions compiled, those in a node against ``node``; tables in it stay as they are.

        ``outer`` is the type of what the node is nested in, if anything.
        """
        return replace(described, **self._compiled_keys(described, keys, node, outer))

    def bound(
        self, described: Any, keys: Iterable[Key], kind: type[_B], node: Type | None = None, outer: Type | None = None
    ) -> _B:
        """The same, made anew as a record of type ``kind``; tables in it are still to be bound by whoever asks."""
        written = {field.name: getattr(described, field.name) for field in fields(described)}
        return kind(**(written | self._compiled_keys(described, keys, node, outer)))

    def _compiled_keys(
        self, described: Any, keys: Iterable[Key], node: Type | None, outer: Type | None
    ) -> dict[str, Any]:
        """What the expressions among these keys amount to."""
        changes: dict[str, Any] = {}
        for key in keys:
            written = getattr(described, key.name)
            if isinstance(written, Source) and key.form is Form.EXPRESSION:
                changes[key.name] = self.expression(written)
            elif isinstance(written, Source) and key.form is Form.NODE:
                changes[key.name] = self.in_context(written, node, outer)
        return changes
