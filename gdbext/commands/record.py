"""What a command is: one record holds its name, arguments, options, help and who answers; all else derives from it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from importlib import import_module, resources
from typing import TYPE_CHECKING

from gdbext.errors import UsageError

if TYPE_CHECKING:
    from gdbext.session import Session


class Value(Enum):
    """What stands in an argument's place; decides its completion and how it is read."""

    EXPRESSION = "expression"
    HEAP = "heap"
    MANAGER = "manager"
    PROFILE = "profile"
    RULE = "rule"
    ZONE = "zone"
    FILE = "file"
    WORD = "word"


@dataclass(frozen=True)
class Argument:
    """A positional argument. ``choices`` are the only words allowed, when there are any."""

    name: str
    value: Value
    help: str
    required: bool = True
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Option:
    """An option, written ``-name`` or ``--name``, with the values that follow it."""

    name: str
    help: str
    values: tuple[Argument, ...] = ()

    @property
    def usage(self) -> str:
        """How it is typed."""
        return " ".join([self.name, *("|".join(value.choices) or value.name for value in self.values)])


COMMON = (
    Option("-json", "print the result as one JSON object"),
    Option("-output", "write the result to a file instead", (Argument("FILE", Value.FILE, "the file to write"),)),
)
"""The options that every command has."""


@dataclass(frozen=True)
class Arguments:
    """What a person typed, taken apart: texts of positional arguments and of options' values, by name."""

    positional: Mapping[str, str]
    options: Mapping[str, tuple[str, ...]]

    def text(self, name: str) -> str | None:
        """A positional argument, or the (first) value of an option; None when it was not given."""
        if name.startswith("-"):
            values = self.options.get(name)
            return values[0] if values else None
        return self.positional.get(name)

    def has(self, option: str) -> bool:
        """Whether an option was given."""
        return option in self.options


@dataclass(frozen=True)
class Command:
    """A command. ``answered_by`` names the module of `gdbext.answers` whose function of its name does the work."""

    name: str
    summary: str
    answered_by: str
    arguments: tuple[Argument, ...] = ()
    options: tuple[Option, ...] = ()
    details: str = ""
    checks: bool = False
    """Whether it looks at rules, so that its result has findings."""

    def run(self, session: Session, arguments: Arguments) -> object:
        """A result that reports know. What answers is imported now: it is nearly all that there is to load."""
        return getattr(import_module(f"gdbext.answers.{self.answered_by}"), self.name)(session, arguments)

    @property
    def all_options(self) -> tuple[Option, ...]:
        """The command's own options and those that every command has."""
        return self.options + COMMON

    @property
    def usage(self) -> str:
        """One line: how the command is typed."""
        words = [self.name]
        for argument in self.arguments:
            shown = "|".join(argument.choices) or argument.name
            words.append(shown if argument.required else f"[{shown}]")
        words += [f"[{option.usage}]" for option in self.all_options]
        return " ".join(words)

    @property
    def help(self) -> str:
        """The whole help text: summary, usage, arguments, options, what the columns mean, an example."""
        # In the usage a line may end between two words, but not between an option and its values.
        words = [self.name, *self.usage.removeprefix(self.name).replace("] [", "]\n[").split("\n")]
        parts = [self.summary, _filled("Usage: " + " ".join(word.strip().replace(" ", _NO_BREAK) for word in words), 2)]
        listed = [(argument.name, argument.help) for argument in self.arguments]
        listed += [(option.usage, option.help) for option in self.all_options]
        column = max(len(name) for name, _ in listed) + 4
        parts += [_filled(f"  {name}".ljust(column).replace(" ", _NO_BREAK) + help, column) for name, help in listed]
        parts += ["\n" + _filled(paragraph) for paragraph in self.details.strip().split("\n\n") if paragraph]
        parts.append(f"\nExample:\n{self.example}")
        return "\n".join(parts)

    @property
    def example(self) -> str:
        """The command as it is typed once and what it prints, from the reference kernel."""
        text: str = (resources.files("gdbext.commands") / "examples" / f"{self.name}.txt").read_text(encoding="utf-8")
        return text.strip()

    def parse(self, typed: str | Sequence[str]) -> Arguments:
        """Take a typed line apart, or the words of one; UsageError says in one line what is wrong with it."""
        options: dict[str, tuple[str, ...]] = {}
        words: list[str] = []
        rest = [unquoted(word) for word in (split_words(typed) if isinstance(typed, str) else typed)]
        while rest:
            word = rest.pop(0)
            if word == "--":
                words += rest
                break
            if not _looks_like_option(word):
                words.append(word)
                continue
            option = self._option(word)
            if len(rest) < len(option.values):
                needs = " ".join(value.name for value in option.values)
                raise UsageError(f"{self.name}: {option.name} needs {needs}; usage: {self.usage}")
            options[option.name] = tuple(
                self._allowed(value, text) for value, text in zip(option.values, rest, strict=False)
            )
            rest = rest[len(option.values) :]
        return Arguments(self._positional(words), options)

    def _option(self, word: str) -> Option:
        name = "-" + word.lstrip("-")
        for option in self.all_options:
            if option.name == name:
                return option
        known = ", ".join(option.name for option in self.all_options)
        raise UsageError(f"{self.name}: no option {word}; its options are {known}")

    def _positional(self, words: list[str]) -> dict[str, str]:
        if len(self.arguments) == 1 and self.arguments[0].value is Value.EXPRESSION and words:
            words = [" ".join(words)]  # an expression may hold spaces
        if len(words) > len(self.arguments):
            raise UsageError(f"{self.name}: '{words[len(self.arguments)]}' is one too many; usage: {self.usage}")
        given = {}
        for argument, word in zip(self.arguments, words, strict=False):
            given[argument.name] = self._allowed(argument, word)
        for argument in self.arguments[len(words) :]:
            if argument.required:
                raise UsageError(f"{self.name} needs {argument.name}; usage: {self.usage}")
        return given

    def _allowed(self, argument: Argument, word: str) -> str:
        """The word, if it is one that the argument allows."""
        if argument.choices and word not in argument.choices:
            raise UsageError(f"{self.name}: '{word}' is not one of {', '.join(argument.choices)}")
        return word


_NO_BREAK = "\xa0"
_HELP_WIDTH = 80


def _filled(text: str, hanging: int = 0) -> str:
    """A paragraph of a help text, broken at its width; further lines stand ``hanging`` columns to the right."""
    lines = textwrap.fill(text, _HELP_WIDTH, subsequent_indent=" " * hanging, break_on_hyphens=False)
    return lines.replace(_NO_BREAK, " ")


def split_words(line: str) -> list[str]:
    """Cut a line at white space that is not within quotes, parentheses or brackets; nothing is taken away."""
    words: list[str] = []
    word, depth, quote = "", 0, ""
    for char in line:
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
        if char.isspace() and not quote and depth <= 0:
            if word:
                words.append(word)
            word = ""
        else:
            word += char
    return [*words, word] if word else words


def unquoted(word: str) -> str:
    """A word without the double quotes around it, if it has them."""
    return word[1:-1] if len(word) > 1 and word[0] == word[-1] == '"' and '"' not in word[1:-1] else word


def _looks_like_option(word: str) -> bool:
    """``-root`` and ``--root`` do, ``-4096`` and ``-(x)`` are expressions."""
    stripped = word.lstrip("-")
    return word.startswith("-") and stripped[:1].isalpha()
