"""Stopped anywhere: through calls of each kind of heap one instruction at a time, with the rules asked after each.

While the heap's lock is held, findings may be in flux. An error never, and nothing at all once the call is done.
"""

import pytest

from ..stepping import check, stepped
from .heap_machine import HEAPS, described

CALLS = [("heap_alloc", 1), ("heap_free", 0)]
MORE_CALLS = [("heap_alloc", 4), ("heap_realloc", 0), ("heap_free", 7), ("heap_realloc", 3)]


def step_through(kernel, kind, words, calls, tmp_path):
    if not described(kind):
        pytest.skip(f"the profile does not describe the kind {kind}")
    return stepped(kernel, f"heap={kind} {words}", calls, "heap", tmp_path)


ORDINARY = ("list", "tags", "redblack", "buddy", "slab")
EVERY = [kind if kind in ORDINARY else pytest.param(kind, marks=pytest.mark.deep) for kind in HEAPS]


@pytest.mark.parametrize("kind", EVERY)
def test_every_instruction_of_a_call(kind, gcc_kernel, tmp_path):
    check(step_through(gcc_kernel, kind, "", CALLS, tmp_path))


@pytest.mark.deep
@pytest.mark.parametrize("words", ["scenario=churn", "scenario=churn redzone=1"])
@pytest.mark.parametrize("kind", HEAPS)
def test_every_instruction_of_more_calls(kind, words, kernel, tmp_path):
    # A bump heap's realloc stays in place where the size allows.
    in_place = ("heap_realloc",) if kind == "bump" else ()
    check(step_through(kernel, kind, words, MORE_CALLS, tmp_path), in_place)
