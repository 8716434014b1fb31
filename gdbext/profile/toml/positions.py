"""The line of each key of a TOML file, so that an error can name it.

The standard library's reader has no positions. This scanner runs over text which that reader has accepted, so it
only has to distinguish keys, strings, comments and brackets.
"""

from __future__ import annotations

import re

Path = tuple[str | int, ...]
"""A path in the document: names of keys, and indexes into arrays."""

_SPACE = re.compile(r"(?:[ \t\r]|#[^\n]*)*")
_SPACE_AND_LINES = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}#\n]+")


def key_lines(text: str) -> dict[Path, int]:
    """The line (from 1) of each key, table and array element of a valid TOML document; the document's own is 1."""
    return _Scanner(text).scan()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text.replace("\r\n", "\n")
        self._at = 0
        self._lines: dict[Path, int] = {(): 1}
        self._lengths: dict[Path, int] = {}

    def scan(self) -> dict[Path, int]:
        table: Path = ()
        self._skip(_SPACE_AND_LINES)
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_SPACE_AND_LINES)
        return self._lines

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self._text, self._at)
        self._at = match.end() if match else self._at

    def _note(self, path: Path) -> None:
        self._lines.setdefault(path, self._text.count("\n", 0, self._at) + 1)

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _header(self) -> Path:
        """``[table]`` or ``[[array of tables]]``: the path of the keys that follow."""
        is_array = self._text.startswith("[[", self._at)
        self._at += 2 if is_array else 1
        path = self._resolved(self._key())
        for length in range(1, len(path) + (1 if is_array else 0)):
            self._note(path[:length])
        if is_array:
            index = self._lengths.get(path, 0)
            self._lengths[path] = index + 1
            path = (*path, index)
        self._note(path)
        self._at += 2 if is_array else 1
        return path

    def _resolved(self, key: Path) -> Path:
        """A header's key below arrays of tables means the last table of each."""
        path: Path = ()
        for behind, name in enumerate(key, 1):
            path = (*path, name)
            if path in self._lengths and behind < len(key):
                path = (*path, self._lengths[path] - 1)
        return path

    def _key(self) -> Path:
        names: list[str | int] = []
        while True:
            self._skip(_SPACE)
            match = _STRING.match(self._text, self._at) or _BARE.match(self._text, self._at)
            if match is None:
                return tuple(names)
            self._at = match.end()
            names.append(match.group().strip("\"'"))
            self._skip(_SPACE)
            if self._peek() != ".":
                return tuple(names)
            self._at += 1

    def _pair(self, table: Path) -> None:
        start = self._at
        key = self._key()
        after, self._at = self._at, start
        for length in range(1, len(key) + 1):
            self._note((*table, *key[:length]))
        self._at = after + 1  # the equals sign
        self._value((*table, *key))

    def _value(self, path: Path) -> None:
        self._skip(_SPACE_AND_LINES)
        opening = self._peek()
        if opening == "[":
            self._array(path)
        elif opening == "{":
            self._inline_table(path)
        else:
            match = _STRING.match(self._text, self._at) or _SCALAR.match(self._text, self._at)
            self._at = match.end() if match else self._at + 1

    def _array(self, path: Path) -> None:
        self._at += 1
        index = 0
        while True:
            self._skip(_SPACE_AND_LINES)
            if self._peek() in ("]", ""):
                self._at += 1
                return
            self._note((*path, index))
            self._value((*path, index))
            index += 1
            self._skip(_SPACE_AND_LINES)
            self._at += self._peek() == ","

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        while True:
            self._skip(_SPACE_AND_LINES)
            if self._peek() in ("}", ""):
                self._at += 1
                return
            self._pair(path)
            self._skip(_SPACE_AND_LINES)
            self._at += self._peek() == ","
