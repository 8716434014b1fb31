"""How results are printed: tables in a width, JSON by annotation, a line of progress."""

import dataclasses
import json
from enum import Enum
from typing import Any, cast

import pytest

from gdbext.checks.finding import Skipped
from gdbext.pmm.stat import BitLayout, PmmDump, PmmStat
from gdbext.progress import counted, progress, shown_by
from gdbext.report import Style, render
from gdbext.report import json as report_json
from gdbext.report.progress import ProgressLine
from gdbext.report.results import Checked, PmmDumps, PmmStats
from gdbext.report.text import Narrow, table
from gdbext.units import Pfn, PhysAddr, VirtAddr, Word64
from gdbext.vmm.map import Mapping, SpaceMap

ROWS = [("0xffff800000000000", "0x1000", 4096, "direct map"), ("0x0", "0x123456789000", 1, "a very long name indeed")]
HEADERS = ("start", "physical", "pages", "what")


def lines(width: int, narrow: Narrow) -> list[str]:
    return table(ROWS, HEADERS, Style(width=width), ("pages",), narrow).splitlines()


def test_a_table_as_wide_as_it_is():
    assert lines(0, Narrow()) == [
        "start               physical        pages  what",
        "0xffff800000000000  0x1000           4096  direct map",
        "0x0                 0x123456789000      1  a very long name indeed",
    ]
    assert lines(66, Narrow((("pages",),))) == lines(0, Narrow())


def test_what_does_not_fit_is_left_out_and_the_last_column_cut():
    assert lines(60, Narrow((("pages",),), least=23)) == [
        "start               physical        what",
        "0xffff800000000000  0x1000          direct map",
        "0x0                 0x123456789000  a very long name indeed",
    ]
    assert lines(42, Narrow((("pages",), ("pages", "physical")))) == [
        "start               what",
        "0xffff800000000000  direct map",
        "0x0                 a very long name in...",
    ]
    assert lines(42, Narrow((("pages",), ("pages", "physical")), prose=True))[1:] == [
        "0xffff800000000000  direct map",
        "0x0                 a very long name",
        "                    indeed",
    ]


def test_colours_take_no_room():
    style = Style(width=20, colour=True)
    text = table([(style.paint("on", "green"), "x" * 16)], ("state", "what"), style)
    assert text.splitlines()[1] == "\033[32mon\033[0m     " + "x" * 10 + "..."


def test_a_long_table_looks_like_a_short_one():
    rows = [(hex(n), n * n, "name" * (n % 3)) for n in range(3000)]
    short = table(rows[-1000:], ("address", "square", "what"), Style(), ("square",)).splitlines()
    long = table(rows, ("address", "square", "what"), Style(), ("square",)).splitlines()
    assert long[-1000:] == short[1:]
    assert long[0] == short[0]


def a_map(number: int) -> SpaceMap:
    mappings = tuple(
        Mapping(
            start=VirtAddr(0xFFFF800000000000 + n * 4096), end=VirtAddr(0xFFFF800000000000 + n * 4096 + 4096),
            physical=PhysAddr(n * 7919 % 65536 * 4096), linear=True, page_size=4096, supervisor="rw-", user="---",
            cache="wb", is_global=True, runs=1, name="kernel .rodata .note.Xen",
        )
        for n in range(number)
    )  # fmt: skip
    return SpaceMap("4-level", PhysAddr(0x1000), {4096: number}, mappings, (), (), 0, 10, ())


@pytest.mark.parametrize("width", [60, 80, 100])
def test_rows_of_a_map_stay_on_their_lines(width):
    shown = render(a_map(3), Style(width=width)).splitlines()
    assert len(shown) == 5
    assert max(map(len, shown)) <= width
    assert all(line.startswith("0xffff80000000") and "rw-" in line for line in shown[2:])


@dataclasses.dataclass(frozen=True)
class Inner:
    value: Word64
    maybe: VirtAddr | None = None
    either: str | Word64 = "x"


class Colour(Enum):
    RED = "red"


@dataclasses.dataclass(frozen=True)
class One:
    number: Pfn


@dataclasses.dataclass(frozen=True)
class Outer:
    address: VirtAddr
    renamed: int = dataclasses.field(metadata={"json": "called"})
    flag: bool
    share: float
    colour: Colour
    inner: Inner | None
    nothing: Inner | None
    items: tuple[Inner, ...]
    addresses: tuple[PhysAddr, ...]
    texts: tuple[str, ...]
    sizes: dict[int, int]
    by_name: dict[str, PhysAddr]
    one: One


OUTER = Outer(
    VirtAddr(16), 5, True, 0.5, Colour.RED, Inner(Word64(1), VirtAddr(2), Word64(3)), None,
    (Inner(Word64(255)),), (PhysAddr(1 << 40),), ("a", "b"), {4096: 2}, {"x": PhysAddr(9)}, One(Pfn(7)),
)  # fmt: skip
DOCUMENT = {
    "schema": 1, "command": "cmd", "address": "0x10", "called": 5, "flag": True, "share": 0.5, "colour": "red",
    "inner": {"value": "0x1", "maybe": "0x2", "either": "0x3"}, "nothing": None,
    "items": [{"value": "0xff", "maybe": None, "either": "x"}], "addresses": ["0x10000000000"], "texts": ["a", "b"],
    "sizes": {"4096": 2}, "by_name": {"x": "0x9"}, "one": {"number": 7},
}  # fmt: skip


def test_json_follows_the_annotations():
    assert report_json.document("cmd", OUTER) == DOCUMENT
    assert report_json.text("cmd", OUTER) == json.dumps(DOCUMENT, separators=(",", ":"))


def test_long_lists_are_the_same_in_pieces():
    result = a_map(10_000)
    assert json.loads(report_json.text("vmmap", result)) == report_json.document("vmmap", result)
    mappings = report_json.document("vmmap", result)["mappings"]
    assert isinstance(mappings, list)
    assert len(mappings) == 10_000


def test_what_json_has_no_form_for_is_a_mistake():
    with pytest.raises(TypeError, match="a result holds a bytes"):
        report_json.text("cmd", dataclasses.replace(OUTER, inner=cast(Any, b"x")))


def test_progress_is_shown_after_a_second_and_wiped():
    now, written = [0.0], []
    line = ProgressLine("vmmap", written.append, lambda: now[0])
    progress("nobody listens", 0, 1)
    with shown_by(line.show):
        for now[0], done in ((0.5, 1), (1.1, 20), (1.2, 30), (1.5, 100)):
            progress("reading memory", done, 200)
        line.wipe()
        line.wipe()
    progress("nobody listens", 0, 1)
    first, second = "vmmap: reading memory, 10% (Ctrl-C to stop)", "vmmap: reading memory, 50% (Ctrl-C to stop)"
    assert written == ["\r" + first, "\r" + second, "\r" + " " * len(second) + "\r"]


def test_counted_tells_how_many_are_done():
    told = []
    with shown_by(lambda *said: told.append(said)):
        assert list(counted("looking", range(3000))) == list(range(3000))
    assert told == [("looking", 0, 3000), ("looking", 1024, 3000), ("looking", 2048, 3000)]


def pmm(**facts: Any) -> PmmStat:
    whole: dict[str, Any] = {
        "name": "main", "kind": "bitmap", "frame_size": 4096, "total": 64, "free": 0, "used": 64, "free_runs": 0,
        "largest_run": 0, "largest_run_at": None, "fragmentation": 0.0, "counters": (), "hint": 64,
        "at": VirtAddr(0x1000), "in_flux": False,
    }  # fmt: skip
    fields: dict[str, Any] = {field.name: (whole | facts).get(field.name) for field in dataclasses.fields(PmmStat)}
    return PmmStat(**fields)


def test_the_hint_is_printed_when_nothing_is_free():
    shown = render(PmmStats((pmm(),), (), ("PMM00",), (), ()), Style())
    assert "no free frame, hint 64" in shown


def test_one_byte_is_a_byte():
    dump = PmmDump("main", "bitmap", VirtAddr(0), BitLayout(63, 1, "msb", 0), None, (), ())
    assert "63 words of 1 byte, msb first, 0 = used, at 0x0" in render(PmmDumps((dump,)), Style())


def test_what_nobody_looked_at_is_not_clean():
    shown = render(Checked((), (), (Skipped("HEAP62", "the profile does not say"),)), Style())
    assert shown == "no rule was checked\nnot checked: HEAP62: the profile does not say"
    assert render(Checked((), ("PMM00",), ()), Style()) == "clean: 1 rule checked (PMM00)"
