"""Maps of address ranges: against maps made by hand, and against a plain count of every byte."""

import re
import textwrap
from collections import Counter
from functools import partial

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gdbext.report import Style, address_map
from gdbext.report import json as report_json
from gdbext.report.address_map import State, Stretches, draw, summary
from gdbext.units import human_size, round_up

FREE = State("free", ".", "·", "grey", -1)
USED = State("used", ":+#", "░▒▓█", "blue")
HEAP = State("heap", "hH", colour="cyan")
TABLES = State("page table", "pP", colour="green", priority=2)
DMA = State("dma", "dD", priority=1)
ABSENT = State("absent", "_", colour="grey", priority=-2, hole=True)
TABLE = (FREE, USED, HEAP, TABLES, DMA, ABSENT)
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


def stretches(start, *parts):
    """Stretches from pairs of length and state, the first at ``start``."""
    borders = np.cumsum([0] + [length for length, _ in parts], dtype=np.uint64) + np.uint64(start)
    state = np.array([TABLE.index(state) for _, state in parts], dtype=np.uint8)
    return Stretches(start, start + sum(length for length, _ in parts), borders[:-1], state, TABLE)


def test_the_example_of_the_documentation():
    parts = [(640, FREE), (384, ABSENT), (576, USED), (404, FREE), (4, TABLES), (40, FREE), (200, HEAP), (824, FREE)]
    parts += [(1024, ABSENT), (88, USED), (936, FREE)]
    drawn = draw(stretches(0, *((size * KIB, state) for size, state in parts)), 16 * KIB, Style(width=80))
    assert textwrap.indent("\n".join(drawn), "    ") in address_map.__doc__


def test_a_cell_for_each_frame():
    frames = stretches(
        0, (4096, USED), (2 * 4096, FREE), (4096, TABLES), (14 * 4096, HEAP), (4096, ABSENT), (4096, DMA)
    )
    assert draw(frames, 4096, Style(width=40)) == [
        "one cell = 4 KiB, one line = 64 KiB",
        "",
        "    0x0  #..PHHHHHHHHHHHH",
        "0x10000  HH_D",
        "",
        "     state         size  share  shown in",
        ".    free         8 KiB  10.0%  2 cells",
        ":+#  used         4 KiB   5.0%  1 cell",
        "hH   heap        56 KiB  70.0%  14 cells",
        "pP   page table   4 KiB   5.0%  1 cell",
        "dD   dma          4 KiB   5.0%  1 cell",
        "_    absent       4 KiB   5.0%  1 cell",
    ]


def map_lines(drawn):
    """The lines between the scale, if there is one, and the legend."""
    first = drawn.index("") + 1 if drawn[0].startswith("one cell") else 0
    return drawn[first : drawn.index("", first)]


def test_shades_say_how_much_of_a_cell():
    parts = [(1, USED), (3, FREE), (2, USED), (2, FREE), (3, USED), (1, FREE), (4, USED), (1, HEAP), (3, FREE)]
    assert map_lines(draw(stretches(0, *parts), 4, Style())) == [" 0x0  :++#h"]
    assert map_lines(draw(stretches(0, *parts), 4, Style(unicode=True))) == [" 0x0  ░▒▓█h"]


def test_a_long_hole_is_one_line_and_cells_end_at_it():
    ram = stretches(0x1800, (0x2800, USED), (3 * GIB, ABSENT), (0x4000, FREE), (8 * GIB, ABSENT))
    assert map_lines(draw(ram, 0x1000, Style(width=40))) == [
        "     0x1800  ###",
        "     0x4000  ... 3 GiB absent ...",
        " 0xc0004000  ....",
        " 0xc0008000  ... 8 GiB absent ...",
    ]
    assert draw(stretches(0, (GIB, ABSENT)), 4096, Style(width=50)) == [
        "       0x0  ... 1 GiB absent ...",
        "",
        "   state    size   share  shown in",
        "_  absent  1 GiB  100.0%  its own line",
    ]


def test_colour_takes_no_room():
    ram = stretches(0, *[(4096, USED), (4096, USED), (4096, FREE), (4096, DMA)] * 3)
    plain, coloured = (draw(ram, 4096, Style(width=60, colour=colour)) for colour in (False, True))
    assert map_lines(coloured)[0].startswith("   0x0  \033[34m##\033[0m\033[90m.\033[0mD\033[34m##\033[0m")
    assert [re.sub("\033\\[[0-9]+m", "", line) for line in coloured] == plain


def test_a_rare_state_shows_wherever_it_is_and_a_common_one_does_not():
    cells = 16 * 32
    rare = [(255, USED), (1, TABLES)] * (cells // 8) + [(256, USED)] * (cells - cells // 8)
    assert "".join(map_lines(draw(stretches(0, *rare), 256, Style(width=40)))).count("p") == cells // 8
    common = [(255, USED), (1, TABLES)] * (cells // 8) + [(254, USED), (2, TABLES)]
    common += [(256, USED)] * (cells - cells // 8 - 1)
    drawn = draw(stretches(0, *common), 256, Style(width=40))
    assert drawn[-1] == "page table where there is most of it."
    assert [line for line in drawn if "p" in line and "0x" in line] == [" 0x4000  p###############"]


def test_of_two_common_states_the_higher_one_gets_the_cell():
    drawn = draw(stretches(0, *[(250, USED), (3, TABLES), (3, DMA)] * 16), 256, Style())
    assert map_lines(drawn) == ["  0x0  p+++++++++++++++"]
    assert drawn[-3].endswith("1.2%  0 of 16 cells")
    assert drawn[-1].endswith("It shows the largest; page table where there is most of it.")


def test_what_is_rare_but_alone_in_its_cell_needs_no_explanation():
    drawn = draw(stretches(0, (4, DMA), (3, FREE), (1, HEAP)), 4, Style())
    assert drawn[-1] == "Lighter or in lower case: a cell of several states. It shows the largest; free last."


def test_a_little_is_not_nothing_and_nearly_all_is_not_all():
    assert draw(stretches(0, (3 * GIB - 1, FREE), (1, HEAP)), 256 * MIB, Style()) == [
        "one cell = 256 MiB, one line = 16 GiB",
        "",
        "       0x0  ...........h",
        "",
        "    state     size   share  shown in",
        ".   free   3.0 GiB  >99.9%  11 of 12 cells",
        "hH  heap       1 B   <0.1%  1 cell",
        "",
        "Lighter or in lower case: a cell of several states. It shows the largest; free last.",
    ]


def test_the_numbers_for_programs():
    ram = stretches(0xFFFF_8000_0000_0000, (3 * 4096, USED), (1, HEAP), (4095, FREE), (2 * GIB, ABSENT))
    assert report_json.document("x", summary(ram, 4096)) == {
        "schema": 1,
        "command": "x",
        "cell_size": 4096,
        "states": {"free": 4095, "used": 3 * 4096, "heap": 1, "absent": 2 * GIB},
    }
    assert summary(stretches(0x1000), 16) == summary(stretches(0x1000), 16, 80) == address_map.Summary(16, {})
    assert draw(stretches(0x1000), 16, Style()) == ["an empty range"]


lengths = st.integers(1, 300) | st.integers(1, 8)
small = st.lists(st.tuples(lengths, st.sampled_from(TABLE)), min_size=1, max_size=60)
starts = st.integers(0, 5000) | st.just(2**64 - 20000)


def cells_by_bytes(drawn, ram, contents, scale):
    """Each cell of a map: its character, None for a hole's line, and its bytes' states, counted one by one."""
    lines = [(int(line.split()[0], 16) - ram.start, line.strip().partition("  ")[2]) for line in map_lines(drawn)]
    ends = [*(at for at, _ in lines[1:]), len(contents)]
    for (at, text), end in zip(lines, ends, strict=True):
        if text == f"... {human_size(end - at)} absent ...":
            yield None, Counter(contents[at:end])
            continue
        cell = at
        for character in text:
            after = min(round_up(ram.start + cell + 1, scale) - ram.start, end)
            yield character, Counter(contents[cell:after])
            cell = after
        assert cell == end


def characters_by_rule(held):
    """What cells with these contents are to show."""
    there = {state: sum(state in cell for cell in held) for state in TABLE}
    common = {state for state in TABLE if state.priority > 0 and there[state] > max(len(held) // 8, 1)}

    def rank(cell, state):
        return 0 if state in common else state.priority, cell[state], -TABLE.index(state)

    shown = [max(cell, key=partial(rank, cell)) for cell in held]
    for state in sorted((s for s in common if s not in shown), key=lambda state: state.priority):
        room = [at for at in range(len(held)) if shown[at].priority < state.priority and held[at][state]]
        if room:
            shown[max(room, key=lambda at: held[at][state])] = state
    return [
        state.ascii[cell[state] * (len(state.ascii) - 1) // cell.total()]
        for cell, state in zip(held, shown, strict=True)
    ]


@given(small, starts, st.sampled_from([1, 4, 64]), st.sampled_from([0, 40, 80, 120]))
def test_cells_show_what_a_count_of_every_byte_says(parts, start, unit, width):
    ram = stretches(start, *parts)
    contents = [state for length, state in parts for _ in range(length)]
    drawn, numbers = draw(ram, unit, Style(width=width)), summary(ram, unit, width)
    assert numbers.states == {state.name: size for state, size in Counter(contents).items()}
    cells = list(cells_by_bytes(drawn, ram, contents, numbers.cell_size))
    expected = characters_by_rule([held for _, held in cells])
    assert [character for character, _ in cells] == [
        None if shown is None else wanted for (shown, _), wanted in zip(cells, expected, strict=True)
    ]
    assert all(set(held) == {ABSENT} for shown, held in cells if shown is None)
    highest = max(contents, key=lambda state: state.priority)
    assert highest.priority <= 0 or {shown for shown, _ in cells} & set(highest.ascii)


large = st.lists(
    st.tuples(st.integers(1, 1 << 44) | st.integers(1, 9), st.sampled_from(TABLE)), min_size=1, max_size=90
)


@given(large, starts.filter(lambda start: start < 2**63), st.sampled_from([1, 16, 4096]), st.integers(1, 200))
def test_any_range_fits(parts, start, unit, width):
    ram = stretches(start, *parts)
    drawn, numbers = draw(ram, unit, Style(width=width)), summary(ram, unit, width)
    assert all(len(line) <= max(width, 40) for line in drawn)
    assert all(line.isascii() for line in drawn)
    assert len(map_lines(drawn)) <= 34
    assert len(drawn) <= 34 + 4 + 1 + len(TABLE) + 6
    assert sum(numbers.states.values()) == ram.end - ram.start
    assert set(numbers.states) == {state.name for _, state in parts}
    legend = drawn[drawn.index(map_lines(drawn)[-1]) + 1 :]
    for name, size in numbers.states.items():
        assert any(f"{name} " in line and f" {human_size(size)} " in line for line in legend)
