"""Results as text: one function per kind of result, aligned tables, colour only where a terminal shows it."""

import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import singledispatch

from tabulate import tabulate

from gdbext.progress import counted

_COLOURS = {
    "bold": "1",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
    "grey": "90",
}


@dataclass(frozen=True)
class Style:
    """How text is shown: its width in columns (0: no limit), whether it may be coloured, and be more than ASCII."""

    width: int = 0
    colour: bool = False
    unicode: bool = False

    def wrapped(self, text: str, indent: int = 0, hanging: int = 0) -> str:
        """Prose moved right by ``indent`` and broken at the width; further lines have ``hanging`` columns more."""
        lead = " " * indent
        if not self.width:
            return lead + text
        return textwrap.fill(
            text,
            max(self.width, 40),
            initial_indent=lead,
            subsequent_indent=lead + " " * hanging,
            break_long_words=False,
            break_on_hyphens=False,
        )

    def paint(self, text: str, colour: str) -> str:
        """The text in a colour, where colours are shown."""
        return f"\033[{_COLOURS[colour]}m{text}\033[0m" if self.colour and text else text


def shows_unicode(encoding: str | None) -> bool:
    """Whether a terminal of this encoding shows the characters of maps."""
    try:
        return bool(encoding) and bool("·░▒▓█".encode(encoding or ""))
    except (LookupError, UnicodeEncodeError):
        return False


@singledispatch
def render(result: object, style: Style) -> str:
    """A result as text. Each kind of result registers its own form."""
    raise TypeError(f"no text form for a {type(result).__name__}")


@dataclass(frozen=True)
class Narrow:
    """How a table fits a terminal that is too narrow for it: every row stays on its line.

    ``without`` names columns to omit: one group after the other is tried until the rest fits. ``least`` is what
    the last column needs to be of use; what is longer is cut there, or, if it is ``prose``, goes on below itself.
    """

    without: tuple[tuple[str, ...], ...] = ()
    least: int = 16
    prose: bool = False


AS_IT_IS = Narrow()
PROSE = Narrow(prose=True)


def table(
    rows: Iterable[Sequence[object]],
    headers: Sequence[str],
    style: Style,
    right: Sequence[str] = (),
    narrow: Narrow = AS_IT_IS,
) -> str:
    """Aligned columns; those named in ``right`` are aligned to the right. Values are shown as they are."""
    cells = [tuple(map(str, row)) for row in rows]
    widths = [max(_shown(row[at]) for row in (headers, *cells)) for at in range(len(headers))]
    chosen = _columns(headers, widths, style.width, narrow)
    if len(chosen) < len(headers):
        headers = [headers[at] for at in chosen]
        widths = [widths[at] for at in chosen]
        cells = [tuple(row[at] for at in chosen) for row in cells]
    room = style.width - _width(widths[:-1]) - len(_GAP)
    if style.width and 0 < room < widths[-1]:
        fit = _wrapped if narrow.prose else _cut
        cells = [(*row[:-1], fit(row[-1], room)) for row in cells]
        widths[-1] = room
    return _aligned(cells, headers, widths, right)


_GAP = "  "
_COLOUR = re.compile("\033\\[[0-9]+m")
_MANY = 2000
"""From this many rows on tabulate, which examines every cell many times, takes seconds."""


def _shown(cell: str) -> int:
    """The columns that a text takes on the terminal."""
    return len(_COLOUR.sub("", cell)) if "\033" in cell else len(cell)


def _width(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * max(len(widths) - 1, 0)


def _columns(headers: Sequence[str], widths: Sequence[int], width: int, narrow: Narrow) -> list[int]:
    """The numbers of the columns that are shown in a width."""
    chosen = list(range(len(headers)))
    for without in ((), *narrow.without):
        chosen = [at for at, header in enumerate(headers) if header not in without]
        needed = [widths[at] for at in chosen]
        needed[-1] = min(needed[-1], max(narrow.least, len(headers[-1])))
        if not width or _width(needed) <= width:
            break
    return chosen


def _cut(cell: str, room: int) -> str:
    return cell if len(cell) <= room else cell[: max(room - 3, 0)] + "..."[:room]


def _wrapped(cell: str, room: int) -> str:
    return "\n".join(textwrap.wrap(cell, room, break_on_hyphens=False))


def _aligned(
    cells: Sequence[Sequence[str]], headers: Sequence[str], widths: Sequence[int], right: Sequence[str]
) -> str:
    """Rows below their headers."""
    if len(cells) < _MANY:
        align = ["right" if header in right else "left" for header in headers]
        # The headers go in as a row, because tabulate makes columns wider than their header.
        return tabulate([headers, *cells], tablefmt="plain", colalign=align, disable_numparse=True)
    signs = [">" if header in right else "<" for header in headers]
    line = _GAP.join(f"{{:{sign}{width}}}" for sign, width in zip(signs, widths, strict=True)).format
    return "\n".join(line(*row).rstrip() for row in (headers, *counted("writing lines", cells)))


def count(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: ``1 chunk``, ``2 chunks``."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
