"""Commands for programs that drive gdb: ``-gdbext-NAME`` over GDB/MI, with the structure that ``-json`` prints."""

from gdbext.bridge.output import printable
from gdbext.bridge.session import run
from gdbext.commands.record import Command
from gdbext.report import json


def answer(command: Command, words: list[str]) -> dict[str, object]:
    """A command's result in MI's types; empty when ``-output`` sends it to a file, there as JSON."""
    result, arguments = run(command, ["-json", *words])
    path = arguments.text("-output")
    if path is not None:
        json.write(path, json.text(command.name, result))
        return {}
    return {key: mi_form(value) for key, value in json.document(command.name, result).items() if value is not None}


def mi_form(value: object) -> object:
    """JSON's types in those of GDB/MI.

    MI has neither null nor booleans, and its names begin with a letter: absent members are omitted, booleans
    become ``true`` and ``false``, and a name that is a number gets an ``n`` before it.
    """
    if isinstance(value, dict):
        named = {key if key[:1].isalpha() else f"n{key}": item for key, item in value.items()}
        return {key: mi_form(item) for key, item in named.items() if item is not None}
    if isinstance(value, list):
        return [mi_form(item) for item in value]
    if isinstance(value, str):
        return printable(value)
    return str(value).lower() if isinstance(value, bool) else value
