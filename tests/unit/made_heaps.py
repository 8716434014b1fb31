"""Heaps made by hand, without a kernel: chunks by address, size and state, and what the rules say of them."""

import re
from typing import Any

import numpy as np

from gdbext.checks.finding import run_rules
from gdbext.checks.heaps.chunks import heap_rules
from gdbext.checks.heaps.inputs import HeapInputs
from gdbext.heap.adjacent import AdjacentDetail
from gdbext.heap.index import NOBODY, Bin, FreeIndex, FreeTree
from gdbext.heap.page_runs import PageRuns
from gdbext.heap.parts import Chunks, Segment
from gdbext.heap.snapshot import HeapSnapshot, Layout
from gdbext.structures.counter import Counter
from gdbext.units import VirtAddr
from gdbext.x86.virtual import PagedMemory

from .guest import Guest, cpu

BASE, HEADER = 0x40000, 16
USED, FREE, BAD = "used", "free", "bad"
"""States of chunks; the header of a bad one is overwritten."""


def words(*values):
    return np.array(values, dtype=np.uint64)


def numbers(*values):
    return np.array(values, dtype=np.int64)


def flags(*values):
    return np.array(values, dtype=np.bool_)


def in_a_row(*tiles, start=BASE, header=HEADER, trailer=0):
    """Chunks of (size, state) one behind the other, as (address, size, state)."""
    rows, at = [], start
    for size, state in tiles:
        rows.append((at, size, state))
        at += header + size + trailer
    return rows


def heap(rows, segments=None, *, header=HEADER, trailer=0, layout=(), links=(), **more):
    """A heap of (address, size, state); without others given, the one segment is what the chunks fill.

    ``layout`` and ``links`` are further parts of its layout and its chunks.
    """
    address = words(*(at for at, _, _ in rows))
    if segments is None:
        segments = [(rows[0][0], rows[-1][0] + header + rows[-1][1] + trailer)] if rows else []
    facts: dict[str, Any] = {"name": "it", "detail": AdjacentDetail(tail=None), "counters": (), "in_flux": False}
    return HeapSnapshot(
        chunks=Chunks(
            address,
            address + np.uint64(header),
            numbers(*(size for _, size, _ in rows)),
            flags(*(state == FREE for _, _, state in rows)),
            flags(*(state != BAD for _, _, state in rows)),
            **dict(links),
        ),
        segments=tuple(Segment(VirtAddr(start), VirtAddr(end)) for start, end in segments),
        layout=Layout(**({"header": header, "trailer": trailer, "alignment": 16, "minimum": 16} | dict(layout))),
        **(facts | more),
    )


def free_list(*members, **more):
    """One list of free chunks, by their numbers."""
    facts: dict[str, Any] = {
        "name": "0",
        "link_at": VirtAddr(0x7000),
        "back": None,
        "broken": None,
        "circular": False,
        "low": None,
    }
    facts |= {"high": None, "length": None, "rover": None, "sorted": "nothing"}
    return Bin(members=numbers(*members), **(facts | more))


def lists(*bins, alone=False):
    return FreeIndex(tuple(bins), None, alone)


def tree(members, up, sides, *, kind="plain", rank=None, ranks="height", key=(), parent=None, broken=(), count=None):
    """A tree of free chunks: members from the root down, what each hangs below, and {member: (left, right)}."""
    size = max([*members, *(kid for both in sides.values() for kid in both)], default=-1) + 1
    left, right = (numbers(*(sides.get(n, (NOBODY, NOBODY))[side] for n in range(size))) for side in (0, 1))
    made = FreeTree(
        kind, ranks, numbers(*members), numbers(*up), left, right, parent,
        numbers(*(key or range(size))), rank, tuple(broken), count,
    )  # fmt: skip
    return FreeIndex((), made, alone=False)


def page_runs(*runs, owned=()):
    """Runs of pages of (record, start, pages, room, header of the slab that it is or 0 for a chunk)."""
    record, start, length, room, slab = (words(*(run[i] for run in runs)) for i in range(5))
    end = start + np.minimum(length, room) * np.uint64(0x1000)
    size = (end - start).astype(np.int64)
    yes = flags(*(owned or [True] * len(runs)))
    counts = length.astype(np.int64), room.astype(np.int64)
    return PageRuns(record, start, end, *counts, slab == 0, start, size, slab, yes)


def counter(value, meaning="length", address=0x7100):
    return Counter(meaning, value, VirtAddr(address), "the_counter")


def paged(guest):
    """A guest's memory without paging."""
    return PagedMemory(guest.memory, cpu(cr0=1))


def report(made, guest=None, rule=None):
    """What the rules say of a heap, or one of them."""
    rules = [each for each in heap_rules(made) if rule in (None, each.id)]
    return run_rules(rules, HeapInputs(made, paged(guest or Guest())))


def findings(rule, made, guest=None):
    return list(report(made, guest, rule).findings)


def found(rule, made, guest=None):
    """The addresses at which a rule is broken."""
    return [finding.address for finding in findings(rule, made, guest)]


def in_text(text):
    """The numbers in a text, in its order."""
    return [int(number, 0) for number in re.findall(r"0x[0-9a-f]+|[0-9]+", text)]
