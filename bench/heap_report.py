"""The figures of bench/heap.py as tables, for a terminal or for docs/heaps.md, and as a picture."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.heap import Figures, Memory
from bench.pmm_report import BEGIN, END, both, number, table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "heaps.md"
PICTURE = PAGE.with_suffix(".svg")
OPERATIONS = {"alloc": "kmalloc", "resize": "krealloc", "free": "kfree"}
EXAMPLE = "small"
"""The work that shows what care costs."""


def by_work(figures: Figures, cell: Callable[[str, str], str]) -> list[list[str]]:
    """A row for each work that has any cells, a column for each kind."""
    rows = [[work, *(cell(kind, work) for kind in figures.kinds)] for work in figures.works]
    return [row for row in rows if any(row[1:])]


def share(value: float | None) -> str:
    """A share in percent."""
    return "" if value is None else f"{value:.0%}"


def tables(figures: Figures, careful: dict[str, Figures], style: str) -> list[str]:
    """All tables; ``careful`` are the figures under boot options that make a heap find more."""
    headers = ("", *figures.kinds)

    def cost(op: str, kind: str, work: str) -> str:
        found = figures.costs.get((kind, work, op))
        return both(found) if found else ""

    made = [
        table(
            f"{name}, instructions: mean / worst",
            headers,
            by_work(figures, partial(cost, op)),
            style,
        )
        for op, name in OPERATIONS.items()
    ]
    made.append(care(figures, careful, headers, style))
    numbers: dict[str, Callable[[Memory], str]] = {
        "Payload for each byte asked for (internal fragmentation)": lambda m: f"{m.padding:.2f}",
        "Bytes in no payload, for each used chunk (headers, tables, ends of pages)": lambda m: number(m.beside),
        "Free bytes outside of the largest free chunk (external fragmentation)": lambda m: share(m.scattered),
        "Memory taken from the system for each byte asked for": lambda m: f"{m.footprint:.2f}",
    }

    def kept(told: Callable[[Memory], str], kind: str, work: str) -> str:
        return told(figures.memory[kind, work])

    for title, told in numbers.items():
        rows = by_work(figures, partial(kept, told))
        made.append(table(title, headers, rows, style))
    return made


def care(figures: Figures, careful: dict[str, Figures], headers: tuple[str, ...], style: str) -> str:
    """What poison and redzones add to a pair of requests, in times."""

    def pair(of: Figures, kind: str) -> float:
        return of.costs[kind, EXAMPLE, "alloc"].mean + of.costs[kind, EXAMPLE, "free"].mean

    rows = [
        [name, *(f"{pair(of, kind) / pair(figures, kind):.2f}" for kind in figures.kinds)]
        for name, of in careful.items()
    ]
    return table(
        f"kmalloc and kfree with boot options, by what they are without (work: {EXAMPLE})", headers, rows, style
    )


def text(figures: Figures, careful: dict[str, Figures]) -> str:
    """All tables, for a terminal."""
    return "\n".join(tables(figures, careful, "terminal"))


def write(figures: Figures, careful: dict[str, Figures]) -> None:
    """Put the tables into the page, and draw its picture."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + BEGIN + "\n" + "\n".join(tables(figures, careful, "page")) + "\n" + END + after)
    draw(figures)


def draw(figures: Figures) -> None:
    """The picture: a point for each work, instructions of both operations and memory, a line for each kind."""
    with mpl.rc_context({"svg.hashsalt": "gdbext", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(14, 5), layout="constrained")
        taking, giving, memory = figure.subplots(1, 3)
        for axes, op in ((taking, "alloc"), (giving, "free")):
            for value, marker, shift in (("mean", "bo", -0.15), ("worst", "rx", 0.15)):
                points = [
                    (getattr(figures.costs[kind, work, op], value), line + shift)
                    for line, kind in enumerate(figures.kinds)
                    for work in figures.works
                ]
                axes.plot(*zip(*points, strict=True), marker, label=value)
            axes.set_title(OPERATIONS[op])
            axes.set_xlabel("instructions")
        spots = [
            (figures.memory[kind, work].footprint, line)
            for line, kind in enumerate(figures.kinds)
            for work in figures.works
        ]
        memory.plot(*zip(*spots, strict=True), "gs", label="a kind of work")
        memory.set_title("memory")
        memory.set_xlabel("taken from the system for each byte asked for")
        for axes in (taking, giving, memory):
            axes.set_xscale("log")
            axes.set_yticks(range(len(figures.kinds)), figures.kinds)
            axes.invert_yaxis()
            axes.grid(axis="x", alpha=0.3)
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
        figure.savefig(PICTURE, metadata={"Date": None})
