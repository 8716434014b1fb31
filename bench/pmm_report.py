"""The figures of bench/pmm.py as tables, for a terminal or for docs/managers.md, and as a picture."""

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tabulate import tabulate

from bench.pmm import MANAGERS, Cost, Figures
from gdbext.headless.qemu import memory_bytes

PAGE = Path(__file__).resolve().parents[1] / "docs" / "managers.md"
PICTURE = PAGE.with_suffix(".svg")
BEGIN, END = "<!-- figures -->\n", "<!-- /figures -->\n"
"""What stands between these in the page is made here."""

OPERATIONS = {"alloc": "Taking", "free": "Freeing"}
SINGLE = (("churn", "alloc"), ("churn", "free"), ("burst", "alloc"))
"""What is shown of single frames. What giving back a burst costs is the same as in churn, nearly."""
RUNS = {"run-16": "16 frames", "run-512": "512 frames"}
STYLES = {"terminal": "plain", "page": "github"}


def number(value: float) -> str:
    """A number of instructions or bytes, its thousands apart."""
    return f"{value:,.0f}".replace(",", "\N{NO-BREAK SPACE}")


# --- tables ---------------------------------------------------------------------------------------------------------


def both(cost: Cost) -> str:
    """The mean and, where it is another, the worst."""
    mean, worst = number(cost.mean), number(cost.worst)
    return mean if mean == worst else f"{mean} / {worst}"


def of_run(cost: Cost) -> str:
    """The mean, and whether it was spent in vain."""
    return number(cost.mean) + (", none" if cost.failed else "")


def table(title: str, headers: tuple[str, ...], rows: list[list[str]], style: str) -> str:
    """A table under its title."""
    bare = tabulate(rows, headers, tablefmt=STYLES[style], disable_numparse=True, colalign=("left",) * len(headers))
    return f"{title}\n\n{bare}\n"


def by_state(figures: list[Figures], via: str, work: str, op: str, cell: Callable[[Cost], str]) -> list[list[str]]:
    """A row for each state in which there was such a request, a column for each manager."""
    rows = []
    for name in figures[0].states:
        costs = [f.costs.get((name, via, work, op)) for f in figures]
        if any(cost and cost.requests for cost in costs):
            cells = [cell(cost) if cost and cost.requests else "" for cost in costs]
            rows.append([name, *cells])
    return rows


def of_size(figures: list[Figures], style: str) -> list[str]:
    """The tables about one size of RAM; ``figures`` holds every manager with that size."""
    ram, headers = figures[0].memory, ("", *(f.manager for f in figures))
    tables = [
        (f"{OPERATIONS[op]} a frame, {ram}, {work}: mean / worst", by_state(figures, "manager", work, op, both))
        for work, op in SINGLE
    ]
    tables += [
        (f"Taking {what} in a row, {ram}: mean", by_state(figures, "pmm", work, "alloc", of_run))
        for work, what in RUNS.items()
    ]
    callers = [
        [name, *(both(f.costs["empty", "pmm", "burst", op]) for f in figures)] for op, name in OPERATIONS.items()
    ]
    tables.append((f"What a caller pays for a frame, {ram}, empty, burst: mean / worst", callers))
    return [table(title, headers, rows, style) for title, rows in tables]


def single(figures: Figures) -> list[Cost]:
    """What taking one frame cost the manager, in every state and kind of work."""
    return [c for (_, via, _, op), c in figures.costs.items() if (via, op) == ("manager", "alloc")]


def by_ram(figures: list[Figures], style: str) -> str:
    """How the managers grow with the machine."""
    memories = list(dict.fromkeys(f.memory for f in figures))
    cell = {(f.manager, f.memory): f for f in figures}
    worst = [[name, *(number(max(c.worst for c in single(cell[name, m]))) for m in memories)] for name in MANAGERS]
    metadata = [[number(cell[name, m].metadata) for m in memories] for name in MANAGERS]
    headers = ("", *(f"worst, {m}" for m in memories), *(f"bytes, {m}" for m in memories))
    title = "The most expensive frame in any state, and bytes of metadata, by RAM"
    return table(title, headers, [[*left, *right] for left, right in zip(worst, metadata, strict=True)], style)


def text(figures: list[Figures]) -> str:
    """All tables, for a terminal."""
    memories = dict.fromkeys(f.memory for f in figures)
    sizes = [of_size([f for f in figures if f.memory == m], "terminal") for m in memories]
    return "\n".join([t for size in sizes for t in size] + [by_ram(figures, "terminal")])


# --- the page -------------------------------------------------------------------------------------------------------


def write(figures: list[Figures]) -> None:
    """Put the tables of the largest RAM into the page, and draw its picture."""
    largest = [f for f in figures if f.memory == figures[-1].memory]
    tables = [by_ram(figures, "page"), *of_size(largest, "page")]
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + BEGIN + "\n" + "\n".join(tables) + "\n" + END + after)
    draw(figures, largest)


def draw(figures: list[Figures], largest: list[Figures]) -> None:
    """The picture: one frame, runs, and growth with RAM."""
    # Nothing in the file may depend on when and where it was made.
    with mpl.rc_context({"svg.hashsalt": "gdbext", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(14, 5), layout="constrained")
        one, runs, growth = figure.subplots(1, 3)
        draw_single(one, largest)
        draw_runs(runs, largest)
        draw_growth(growth, figures)
        figure.savefig(PICTURE, metadata={"Date": None})


def lay_out(axes: Axes, title: str) -> None:
    """A line for each manager, the first on top; instructions to the right, by powers of ten; the legend below."""
    axes.set_title(title)
    axes.set_xscale("log")
    axes.set_xlabel("instructions")
    axes.set_yticks(range(len(MANAGERS)), MANAGERS)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)


def scatter(axes: Axes, points: list[tuple[float, float]], marker: str, label: str, hollow: bool = True) -> None:
    """Points, each as a manager's line and instructions."""
    lines, values = zip(*points, strict=True)
    axes.plot(values, lines, marker, label=label, fillstyle="none" if hollow else "full")


def draw_single(axes: Axes, figures: list[Figures]) -> None:
    """What one frame costs: a point for each state and kind of work."""
    costs = [(line, cost) for line, f in enumerate(figures) for cost in single(f)]
    scatter(axes, [(line - 0.15, cost.mean) for line, cost in costs], "bo", "mean", hollow=False)
    scatter(axes, [(line + 0.15, cost.worst) for line, cost in costs], "rx", "worst")
    lay_out(axes, f"taking a frame, {figures[0].memory}")


def draw_runs(axes: Axes, figures: list[Figures]) -> None:
    """What runs cost: a point for each state."""
    for (work, what), marker, shift in zip(RUNS.items(), ("bo", "gs"), (-0.15, 0.15), strict=True):
        costs = [
            (n + shift, c)
            for n, f in enumerate(figures)
            for (_, _, w, op), c in f.costs.items()
            if (w, op) == (work, "alloc")
        ]
        scatter(axes, [(line, c.mean) for line, c in costs if not c.failed], marker, what, hollow=False)
        scatter(axes, [(line, c.mean) for line, c in costs if c.failed], marker, f"{what}: there are none")
    lay_out(axes, f"taking a run, {figures[0].memory}, mean")


def draw_growth(axes: Axes, figures: list[Figures]) -> None:
    """The most expensive frame over the size of RAM."""
    for manager, marker in zip(MANAGERS, "osv^D*Xp", strict=True):
        mine = [f for f in figures if f.manager == manager]
        sizes = [memory_bytes(f.memory) for f in mine]
        axes.plot(sizes, [max(c.worst for c in single(f)) for f in mine], marker=marker, label=manager)
    axes.set_title("taking a frame, the worst of all states")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sizes, [f.memory for f in mine])
    axes.set_xlabel("RAM")
    axes.set_ylabel("instructions")
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
