"""What may stand where a person is typing: decided from the command's record, and for names from what there is."""

import os
from collections.abc import Callable
from pathlib import Path

from gdbext.checks.catalogue import RULE_IDS
from gdbext.commands.record import Argument, Command, Option, Value, split_words
from gdbext.errors import GdbextError
from gdbext.profile.toml.load import built_in_profiles
from gdbext.session import Session


def last_word(text: str) -> str:
    """The word that is being typed at the end of a line; empty behind a blank."""
    words = split_words(text)
    return words[-1] if words and not text[-1:].isspace() else ""


def expected(command: Command, text: str) -> Argument | tuple[str, ...]:
    """What the last word of a half-typed line may be: option names as they are typed, or an argument's value.

    ``text`` is the line behind the command's name, up to the cursor.
    """
    words, last = split_words(text), last_word(text)
    if last:
        words.pop()
    if last.startswith("-"):
        dashes = "--" if last.startswith("--") else "-"
        return tuple(dashes + option.name.lstrip("-") for option in command.all_options)
    return _argument(command, words) or ()


def _argument(command: Command, words: list[str]) -> Argument | None:
    """The argument that comes after these words; None when nothing may."""
    options = {option.name: option for option in command.all_options}
    position = 0
    awaited: list[Argument] = []
    for word in words:
        option = _option(options, word)
        if awaited:
            awaited.pop(0)
        elif option:
            awaited = list(option.values)
        else:
            position += 1
    if awaited:
        return awaited[0]
    if position < len(command.arguments):
        return command.arguments[position]
    # An expression may go on over several words.
    return command.arguments[-1] if len(command.arguments) == 1 else None


def _option(options: dict[str, Option], word: str) -> Option | None:
    return options.get("-" + word.lstrip("-")) if word.startswith("-") else None


def candidates(argument: Argument, start: str, session: Callable[[], Session]) -> tuple[str, ...]:
    """The words that begin with ``start`` and may stand for an argument; expressions are left to the debugger.

    ``session`` is asked where the names are the profile's.
    """
    if argument.value is Value.FILE:
        return paths(start)
    if argument.value is Value.PROFILE:
        return _beginning(built_in_profiles(), start) + paths(start)
    if argument.value is Value.RULE:
        return _beginning(RULE_IDS, start)
    return _beginning(argument.choices or _named(argument, session), start)


def _beginning(names: tuple[str, ...], start: str) -> tuple[str, ...]:
    return tuple(name for name in names if name.startswith(start))


def _named(argument: Argument, session: Callable[[], Session]) -> tuple[str, ...]:
    """The names of the profile's managers or zones, where one is wanted."""
    if argument.value not in {Value.HEAP, Value.MANAGER, Value.ZONE}:
        return ()
    try:
        profile = session().profile
    except GdbextError:
        return ()  # no profile, no names: completion is no place for an error
    if argument.value is Value.ZONE:
        return profile.zone_names
    return tuple(manager.name for manager in (profile.heap if argument.value is Value.HEAP else profile.pmm))


def paths(start: str) -> tuple[str, ...]:
    """The files and directories whose path begins so. Below a directory that is alone its content is listed too.

    (For only one word a blank would be put behind it.)
    """
    folder, slash, stem = start.rpartition("/")
    try:
        entries = sorted(os.scandir(Path(folder + slash).expanduser()), key=lambda entry: entry.name)
        found = [
            f"{folder}{slash}{entry.name}{'/' * entry.is_dir()}"
            for entry in entries
            if entry.name.startswith(stem) and entry.name.startswith(".") <= stem.startswith(".")
        ]
    except (OSError, RuntimeError):  # RuntimeError: nobody's home directory
        return ()
    if len(found) == 1 and found[0].endswith("/"):
        return (*found, *paths(found[0]))
    return tuple(found)
