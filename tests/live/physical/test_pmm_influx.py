"""Stopped anywhere: through a call of each physical manager one instruction at a time, with the rules asked after each.

While the manager's lock is held, findings may be in flux. An error never, and nothing at all once the call is done.
"""

import pytest

from ..stepping import check, stepped
from .pmm_machine import MANAGERS

CALLS = [("pmm_alloc", 0), ("pmm_free_run", 0)]
MORE_CALLS = [("pmm_alloc", 150), ("pmm_free_run", 7), ("pmm_free_run", 39)]
# Others survey all of memory for a run, which is too many instructions to go through.
FIND_RUNS = ("bitmap", "regions", "levels", "runs", "buddy", "tree")


def step_through(kernel, manager, calls, tmp_path):
    """In a small machine with few free frames: short lists are walked in few steps."""
    return stepped(kernel, f"pmm={manager} map=0x600000,0x9e0000,2", calls, "pmm", tmp_path)


@pytest.mark.parametrize("manager", MANAGERS)
def test_every_instruction_of_a_call(manager, gcc_kernel, tmp_path):
    check(step_through(gcc_kernel, manager, CALLS, tmp_path))


@pytest.mark.deep
@pytest.mark.parametrize("manager", MANAGERS)
def test_every_instruction_of_more_calls(manager, kernel, tmp_path):
    runs = [("pmm_alloc_where", 1)] if manager in FIND_RUNS else []
    check(step_through(kernel, manager, MORE_CALLS[:1] + runs + MORE_CALLS[1:], tmp_path))
