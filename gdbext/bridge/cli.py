"""Commands as a person types them: completed, their results printed."""

import os

import gdb

from gdbext.bridge.output import write
from gdbext.bridge.session import new_session, run
from gdbext.commands.completion import candidates, expected, last_word
from gdbext.commands.record import Argument, Command, Value
from gdbext.report import json, render
from gdbext.report.progress import progress_line
from gdbext.report.text import Style, shows_unicode


def print_result(command: Command, line: str) -> None:
    """Run a command and print its result, or write it to the file that ``-output`` names."""
    with progress_line(command.name, wanted=_is_for_a_person()):
        result, arguments = run(command, line)
        path = arguments.text("-output")
        style = _style() if path is None else Style()
        content = json.text(command.name, result) if arguments.has("-json") else render(result, style)
    if path is not None:
        json.write(path, content)
        content = f"{command.name}: written to {path}"
    write(content + "\n")


def _is_for_a_person() -> bool:
    """Whether a user is at gdb's prompt. (A program that talks MI may also use a terminal.)"""
    # gdb.parameter("editing") is False even then.
    return "is on" in gdb.execute("show editing", to_string=True)


def _style() -> Style:
    """How gdb shows text now: its width and character set; coloured where its own style is on, on a terminal."""
    coloured = "NO_COLOR" not in os.environ and gdb.parameter("style enabled") and os.isatty(1)
    width = gdb.parameter("width")
    return Style(width if isinstance(width, int) else 0, bool(coloured), shows_unicode(gdb.host_charset()))


def complete(command: Command, text: str, word: str | None) -> object:
    """The completions that gdb offers for the last word of a line. gdb calls it twice, first without a word."""
    wanted = expected(command, text)
    if isinstance(wanted, Argument) and wanted.value is Value.EXPRESSION:
        return gdb.COMPLETE_EXPRESSION
    if word is None:
        return None
    last = last_word(text)
    if isinstance(wanted, tuple):
        names = tuple(name for name in wanted if name.startswith(last))
    else:
        names = candidates(wanted, last, new_session)
    # gdb cuts words at dashes, slashes and dots too, and wants back only what follows the last of them.
    return [name[len(last) - len(word) :] for name in names]
