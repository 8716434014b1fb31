"""scripts/bench pmm: what it counts is instructions, every time the same; what must be true of any manager's figures.

The second opinion on a count is gdb's: it steps through the same requests, one instruction at a time.
"""

import re
from pathlib import Path

import pytest

from bench.pmm import MANAGERS, facts, parsed, serial_of
from gdbext.headless import HeadlessError, Session

MEMORY = "64M"
STEPS = Path(__file__).parents[1] / "single_step.py"


@pytest.fixture(scope="module", params=MANAGERS)
def serial(request, gcc_kernel):
    """What each manager tells."""
    return serial_of(gcc_kernel, request.param, MEMORY)


def test_every_manager_tells_what_must_be_true(serial):
    assert [line["counted"] for line in facts(serial, "calibration")] == ["2001"]  # one mov; 1000 times dec and jnz
    figures = parsed(serial, MEMORY)
    assert figures.metadata < 64 << 10
    # What a state means, in frames: the numbers follow from its name.
    empty, half = figures.states["empty"], figures.states["every-second"]
    assert figures.states["emptied"].free == empty.free
    assert half.free == half.runs == pytest.approx(empty.free / 2, rel=0.01)
    assert half.largest_run == 1
    assert figures.states["99-random"].free == empty.free // 100
    for (state, via, work, op), cost in figures.costs.items():
        if cost.requests:
            assert 0 < cost.mean <= cost.worst, (state, via, work, op)
        # Runs there are in an empty machine, and none where every second frame is used; single frames always.
        if state == "every-second" and work.startswith("run") and op == "alloc":
            assert cost.failed == cost.requests
        elif state == "empty" or not work.startswith("run"):
            assert cost.failed == 0


@pytest.fixture(scope="module")
def bitmap(kernel):
    """What the bitmap tells, as each compiler makes it."""
    return serial_of(kernel, "bitmap", MEMORY)


def bench_lines(serial):
    return re.findall("^bench .*", serial, re.MULTILINE)


def test_two_boots_count_the_same(kernel, bitmap):
    assert len(bench_lines(bitmap)) > 100
    assert bench_lines(serial_of(kernel, "bitmap", MEMORY)) == bench_lines(bitmap)


def number(session, expression):
    return int(session.execute(f"output/u {expression}"))


def test_the_bitmap_pays_for_what_it_passes_over(bitmap):
    (manager,), cost = facts(bitmap, "manager"), parsed(bitmap, MEMORY).costs["ends", "manager", "burst", "alloc"]
    words = int(manager["frames"]) // 64
    # Once, from the lowest free frame to the top: a look and a jump for each word, at least; otherwise next door.
    assert cost.worst > 2 * words
    assert (cost.total - cost.worst) / (cost.requests - 1) < words


def test_gdb_steps_as_many_instructions(kernel, bitmap):
    cost = parsed(bitmap, MEMORY).costs["empty", "pmm", "run-16", "alloc"]
    assert cost.mean == cost.worst  # so the first request, which gdb steps through, cost that
    with Session(kernel, append="scenario=bench pmm=bitmap", memory=MEMORY) as session:
        session.execute(f"source {STEPS}")
        end = number(session, "(unsigned long) &count_end")

        def counted():
            session.run_to("*count_begin")
            session.execute(f"python instructions_until({end})")
            return number(session, "$counted")

        nothing = counted()
        assert [counted() - nothing for _ in range(2)] == [2001, cost.worst]


def test_without_instruction_counting_there_are_no_figures(gcc_kernel, monkeypatch):
    monkeypatch.setattr("bench.pmm.COUNTING", ())
    with pytest.raises(HeadlessError, match="2001 instructions were counted as"):
        parsed(serial_of(gcc_kernel, "bitmap", MEMORY), MEMORY)
