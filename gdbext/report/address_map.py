"""A range of addresses as a map: a character for each cell, as many bytes to a cell as it takes to fit a terminal.

    one cell = 16 KiB, one line = 1 MiB

         0x0  ........................................________________________
    0x100000  ####################################.........................p..
    0x200000  HHHHHHHHHHHHh...................................................
    0x300000  ... 1 MiB absent ...
    0x400000  #####+..........................................................

         state          size  share  shown in
    .    free        2.8 MiB  55.5%  176 of 179 cells
    :+#  used        664 KiB  13.0%  42 cells
    hH   heap        200 KiB   3.9%  13 cells
    pP   page table    4 KiB   0.1%  1 cell
    _    absent      1.4 MiB  27.5%  24 cells

    Lighter or in lower case: a cell of several states. It shows page table first;
    then the largest; free last.

What a cell shows, where it holds several states: the one of the highest priority in it, of equal ones the largest.

- below 0: shows only where there is nothing else, as free memory does;
- 0: the usual one: the largest part shows;
- above 0: shows wherever there is any, however little. That is for what is rare: a state found in more than one cell of
  eight would hide all others, so it counts as 0 then, and shows at least in the cell that holds most of it.

All amounts are exact: stretches are cut at the cells' edges, and every byte of the range is counted once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

import numpy as np
from numpy.typing import NDArray

from gdbext.report.text import Narrow, Style, count, table
from gdbext.units import hex_address, human_size, round_down

Ints = NDArray[np.int64]

_MOST_LINES = 34
"""Where RAM is a power of two it takes 32 lines, or 16; the hole below 4 GiB needs another."""
_NARROWEST = 40
_UNLIMITED = 64
"""The cells of a line where no width is given."""
_MOST_COLUMNS = 256
_RARE = 8
"""What is in more than one cell of so many is not rare."""
_GAP = "  "


@dataclass(frozen=True)
class State:
    """What memory can be, and how it is drawn.

    The characters go from a little of a cell to the whole of it: ``pP``. Those of ``unicode``, if any, are for
    terminals that show more than ASCII. A ``hole`` that would fill a line is written as text.
    """

    name: str
    ascii: str
    unicode: str = ""
    colour: str = ""
    priority: int = 0
    hole: bool = False

    def characters(self, style: Style) -> str:
        """The characters that a terminal shows."""
        return self.unicode if style.unicode and self.unicode else self.ascii

    def paint(self, text: str, style: Style) -> str:
        """The text in this state's colour."""
        return style.paint(text, self.colour) if self.colour else text


@dataclass(frozen=True)
class Stretches:
    """The addresses from ``start`` up to ``end``, fewer than 2^62, cut into stretches of one state each.

    Stretch ``i`` is in state ``table[state[i]]``. It begins at the address ``begin[i]`` and goes up to the next one,
    the last one up to ``end``; the first begins at ``start``. An empty range has none.
    """

    start: int
    end: int
    begin: NDArray[np.integer]
    state: NDArray[np.integer]
    table: Sequence[State]


@dataclass(frozen=True)
class Summary:
    """An address map in numbers: the bytes of a cell, and of each state that occurs, by name."""

    cell_size: int
    states: dict[str, int]


def summary(stretches: Stretches, unit: int, width: int = 0) -> Summary:
    """The numbers of the map that ``draw`` makes in a width."""
    if stretches.start == stretches.end:
        return Summary(unit, {})
    cells = _cells(stretches, unit, width)
    return Summary(cells.scale, {stretches.table[state].name: size for state, size in cells.totals})


def draw(stretches: Stretches, unit: int, style: Style) -> list[str]:
    """The lines of a map, its legend below. A cell stands for ``unit`` bytes, or that times a power of two."""
    if stretches.start == stretches.end:
        return ["an empty range"]
    cells = _cells(stretches, unit, style.width)
    style = replace(style, width=_at_least(style.width))
    return _AddressMap(stretches, cells, _chosen(cells.amounts, stretches.table), style).lines()


@dataclass(frozen=True)
class _Cells:
    """The cells of a range. Places are in bytes from the start of the range; a hole of a line or more is one cell.

    Cell ``i`` goes from ``edges[i]`` to ``edges[i + 1]``; ``amounts[i, s]`` of its bytes are in state ``s``;
    ``hole[i]`` says whether it is such a hole. ``lines`` holds the first cell of each line and the one after the last.
    """

    scale: int
    columns: int
    edges: Ints
    amounts: Ints
    hole: NDArray[np.bool_]
    lines: list[tuple[int, int]]

    @property
    def totals(self) -> list[tuple[int, int]]:
        """The states that occur: number and bytes."""
        return [(state, size) for state, size in enumerate(self.amounts.sum(axis=0).tolist()) if size]


def _cells(stretches: Stretches, unit: int, width: int) -> _Cells:
    """The range cut into cells that fit a width."""
    columns, size = _columns(stretches, width), stretches.end - stretches.start
    begin, state = _merged(stretches)
    at = np.flatnonzero(np.array([kind.hole for kind in stretches.table])[state])
    holes = np.stack([begin[at], np.append(begin, size)[at + 1]])
    scale, borders = _fitted(holes, stretches.start, size, unit, columns)
    edges, hole, lines = _cut(borders, stretches.start % scale, scale, columns)
    return _Cells(scale, columns, edges, _amounts(begin, state, edges, len(stretches.table)), hole, lines)


def _label(stretches: Stretches) -> int:
    """The characters of the longest address."""
    return len(hex_address(stretches.end - 1))


def _at_least(width: int) -> int:
    """A width that is of use; 0 remains no limit."""
    return max(width, _NARROWEST) if width else 0


def _room(stretches: Stretches, width: int) -> int:
    """The columns beside an address in a width, 0 for no limit."""
    return _at_least(width) - _label(stretches) - len(_GAP) if width else 0


def _columns(stretches: Stretches, width: int) -> int:
    """The cells of a line: a power of two, so that lines begin at round addresses."""
    room = _room(stretches, width) or _UNLIMITED
    return min(1 << room.bit_length() - 1, _MOST_COLUMNS)


def _merged(stretches: Stretches) -> tuple[Ints, Ints]:
    """Where stretches begin, and their states; neighbours in the same state are one."""
    begin = (stretches.begin.astype(np.uint64) - np.uint64(stretches.start)).astype(np.int64)
    state = stretches.state.astype(np.int64)
    first = np.flatnonzero(np.append(True, state[1:] != state[:-1]))
    return begin[first], state[first]


def _fitted(holes: Ints, start: int, size: int, unit: int, columns: int) -> tuple[int, Ints]:
    """The smallest scale at which the lines are few enough, and the range's borders and those of the holes long then.

    There is one: where the whole range would take eight lines, no more than eight holes are that long.
    """
    scale = unit
    while True:
        holes = holes[:, holes[1] - holes[0] >= columns * scale]
        borders = np.concatenate([[0], holes.T.ravel(), [size]])
        begin, end, phase = borders[::2], borders[1::2], start % scale
        cells = np.where(begin < end, -(-(end + phase) // scale) - (begin + phase) // scale, 0)
        if (-(-cells // columns)).sum() + holes.shape[1] <= _MOST_LINES:
            return scale, borders
        scale *= 2


def _cut(borders: Ints, phase: int, scale: int, columns: int) -> tuple[Ints, NDArray[np.bool_], list[tuple[int, int]]]:
    """All cells' edges, which of them are long holes, and the lines. Every other part between two borders is a hole.

    Edges lie at addresses that the scale divides; ``phase`` is how far the range's start is above one.
    """
    edges, hole, lines = [np.zeros(1, dtype=np.int64)], list[bool](), list[tuple[int, int]]()
    for number, (begin, end) in enumerate(pairwise(borders.tolist())):
        if begin == end:
            continue
        second = round_down(begin + phase, scale) + scale - phase
        is_hole, first = number % 2 == 1, len(hole)
        edges.append(np.append(np.arange(end if is_hole else second, end, scale), end))
        hole += [is_hole] * len(edges[-1])
        lines += [(at, min(at + columns, len(hole))) for at in range(first, len(hole), columns)]
    return np.concatenate(edges), np.array(hole), lines


def _amounts(begin: Ints, state: Ints, edges: Ints, states: int) -> Ints:
    """The bytes of each state in each cell: stretches are cut at the edges, and the pieces added up."""
    cuts, cells = edges[:-1], len(edges) - 1
    at = np.searchsorted(begin, cuts)
    begin, state = np.insert(begin, at, cuts), np.insert(state, at, state[np.maximum(at - 1, 0)])
    cell = np.repeat(np.arange(cells), np.diff(at + np.arange(cells), append=len(begin)))
    amounts = np.zeros(cells * states, dtype=np.int64)
    np.add.at(amounts, cell * states + state, np.diff(begin, append=edges[-1]))
    return amounts.reshape(cells, states)


@dataclass(frozen=True)
class _Choice:
    """The state that each cell shows, and the states that the legend has to explain.

    ``rare`` ones show wherever they are, ``placed`` ones, which would not be seen at all, where there is most of them.
    """

    shown: Ints
    rare: list[int]
    placed: list[int]


def _chosen(amounts: Ints, states: Sequence[State]) -> _Choice:
    """What cells show, by the rule at the top."""
    there = amounts > 0
    given = np.array([state.priority for state in states])
    rare = (given > 0) & there.any(axis=0) & (there.sum(axis=0) <= max(len(amounts) // _RARE, 1))
    ranks = np.where(there, np.where(rare, given, np.minimum(given, 0)), np.iinfo(np.int64).min)
    best = ranks == ranks.max(axis=1, keepdims=True)
    shown = np.where(best, amounts, -1).argmax(axis=1)
    unseen = (given > 0) & there.any(axis=0) & (np.bincount(shown, minlength=len(states)) == 0)
    # The highest comes last, so that no other takes its place.
    placed = sorted(np.flatnonzero(unseen & ~rare).tolist(), key=lambda state: states[state].priority)
    for state in placed:
        room = np.where(given[shown] < given[state], amounts[:, state], 0)
        if room.any():
            shown[room.argmax()] = state
    return _Choice(shown, np.flatnonzero(rare).tolist(), [state for state in placed if (shown == state).any()])


@dataclass(frozen=True)
class _AddressMap:
    """Cells as text."""

    stretches: Stretches
    cells: _Cells
    choice: _Choice
    style: Style

    def lines(self) -> list[str]:
        """The cells, and the legend below them."""
        return [*self._scale(), *(self._line(*line) for line in self.cells.lines), "", *self._legend(), *self._note()]

    def _scale(self) -> list[str]:
        if self.cells.hole.all():
            return []
        line = self.cells.scale * self.cells.columns
        return [f"one cell = {human_size(self.cells.scale)}, one line = {human_size(line)}", ""]

    def _line(self, first: int, last: int) -> str:
        address = hex_address(self.stretches.start + int(self.cells.edges[first]))
        drawn = self._hole(first) if self.cells.hole[first] else self._row(first, last)
        return address.rjust(_label(self.stretches)) + _GAP + drawn

    def _hole(self, cell: int) -> str:
        state, size = self._shown(cell), int(np.diff(self.cells.edges)[cell])
        text = f"... {human_size(size)} {state.name} ..."
        return state.paint(text[: _room(self.stretches, self.style.width) or None], self.style)

    def _row(self, first: int, last: int) -> str:
        """Cells side by side; neighbours of one state are painted at once."""
        return "".join(
            state.paint("".join(map(self._character, cells)), self.style)
            for state, cells in groupby(range(first, last), self._shown)
        )

    def _shown(self, cell: int) -> State:
        return self.stretches.table[int(self.choice.shown[cell])]

    def _character(self, cell: int) -> str:
        """A cell's character: the last one if the state fills it, else one of the others by its part of the cell."""
        characters, amounts = self._shown(cell).characters(self.style), self.cells.amounts[cell]
        part, whole = int(amounts[self.choice.shown[cell]]), int(amounts.sum())
        return characters[part * (len(characters) - 1) // whole]

    def _legend(self) -> list[str]:
        """The states that occur, with the cells that show them, of those that hold them."""
        drawn, states = ~self.cells.hole, self.stretches.table
        showing = np.bincount(self.choice.shown[drawn], minlength=len(states)).tolist()
        holding = (self.cells.amounts[drawn] > 0).sum(axis=0).tolist()
        size = self.stretches.end - self.stretches.start
        rows = [
            (
                states[at].paint(states[at].characters(self.style), self.style),
                states[at].name,
                human_size(amount),
                _share(amount, size),
                _seen(showing[at], holding[at]),
            )
            for at, amount in self.cells.totals
        ]
        headers = ("", "state", "size", "share", "shown in")
        narrow = Narrow((("shown in",),), least=20)
        return table(rows, headers, self.style, ("size", "share"), narrow).splitlines()

    def _note(self) -> list[str]:
        """How to read a cell of several states, where there are any."""
        mixed = self.cells.amounts[(self.cells.amounts > 0).sum(axis=1) > 1]
        if not len(mixed):
            return []
        states = self.stretches.table
        there = sorted(np.flatnonzero(mixed.any(axis=0)).tolist(), key=lambda state: -states[state].priority)
        rare = [states[at].name for at in there if at in self.choice.rare]
        rules = [
            _rule(rare, "first"),
            "then the largest" if rare else "the largest",
            _rule([states[at].name for at in there if states[at].priority < 0], "last"),
            _rule([states[at].name for at in self.choice.placed], "where there is most of it"),
        ]
        text = f"Lighter or in lower case: a cell of several states. It shows {'; '.join(filter(None, rules))}."
        return ["", *self.style.wrapped(text).splitlines()]


def _rule(names: Sequence[str], when: str) -> str:
    return f"{', '.join(names)} {when}" if names else ""


def _share(part: int, whole: int) -> str:
    """A part in per cent; it reads as nothing or as all only where it is."""
    share = f"{part / whole:.1%}"
    if part < whole and share == "100.0%":
        return ">99.9%"
    return "<0.1%" if share == "0.0%" else share


def _seen(showing: int, holding: int) -> str:
    """How many cells show a state, of those that hold some of it."""
    if not holding:
        return "its own line"
    return ("" if showing == holding else f"{showing} of ") + count(holding, "cell")
