"""Runs inside gdb: goes through one call of the guest's an instruction at a time, and asks the rules after each.

    source tests/live/single_step.py
    python through([("pmm_alloc", 0), ("pmm_free_run", 3)], "answer.json")
    python through([("kmalloc", 0)], "answer.json", "heap")

A rule's answer follows from memory. So the rules are asked again only when the instruction has changed memory, other
than the stack of the call itself.
"""

import json

import gdb
import numpy as np

from gdbext.bridge.session import new_session
from gdbext.checks.finding import Severity
from gdbext.units import PhysAddr

LOCKS = {"pmm": "pmm_manager->common->lock.locked", "heap": "kernel_heap.lock.locked"}
DOMAINS = {"pmm": "physical", "heap": "heaps"}
"""For each part of the kernel: the lock that it holds while it changes, and what of a session checks it."""
RUN_THROUGH = ("survey_free", "memset", "memcpy", "is_filled", "vm_commit", "vm_decommit")
"""Functions that change nothing of a manager's, or make only what is no part of it yet, and take long: run through."""
RAM_START = PhysAddr(0x100000)
STACK_MOST = 0x4000
REGISTERS = ("rip", "rsp", "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", *(f"r{n}" for n in range(8, 16)), "eflags")


def through(calls, answer, part="pmm", most=20000):
    """Step through the calls of functions, by name and how many calls to let pass first; answer with what was seen."""
    gdb.Breakpoint("kernel_ready", type=gdb.BP_HARDWARE_BREAKPOINT, internal=True)  # for calls that do not come
    seen = [_Call(part, function, skip).step(most) for function, skip in calls]
    with open(answer, "w") as file:
        json.dump(seen, file)


def instructions_until(end, most=20000):
    """Set $counted to how many instructions the guest executes from here until it comes to an address.

    QEMU now and then reports a step before it has executed anything. Then no register has changed, and nothing counts.
    """
    count, state = 0, _registers()
    while state[0] != end and count < most:
        gdb.execute("stepi", to_string=True)
        before, state = state, _registers()
        count += state != before
    gdb.set_convenience_variable("counted", count)


def _registers():
    frame = gdb.newest_frame()
    return [int(frame.read_register(name)) & (1 << 64) - 1 for name in REGISTERS]


def _number(expression):
    return int(gdb.parse_and_eval(f"(unsigned long)({expression})"))


class _Call:
    """One call, from the first instruction of its function to the one that it returns to."""

    def __init__(self, part, function, skip):
        stop = gdb.Breakpoint(f"*{function}", type=gdb.BP_HARDWARE_BREAKPOINT, internal=True)
        stop.ignore_count = skip
        gdb.execute("continue", to_string=True)
        stop.delete()
        self.seen = {"function": function, "steps": 0, "asked": 0, "in_flux": 0, "held": 0, "wrong": [], "ended": False}
        assert _number("$rip") == _number(f"&{function}"), "the call was not reached"
        self._lock, self._domain = LOCKS[part], DOMAINS[part]
        self._run_through = {_number(f"&{name}") for name in RUN_THROUGH}
        self._top = _number("$rsp")
        self._back = _number("*(unsigned long *)$rsp")
        session = new_session()
        view = session.machine.memory.view(RAM_START)
        self._ram = np.frombuffer(view.buffer, dtype=np.uint64)
        self._before = self._ram.copy()
        self._stack = (session.virtual.translate(self._top) - view.start) // 8

    def step(self, most):
        """Go through it; whoever finds the end missing has asked for too long a call."""
        self._ask()
        while self.seen["steps"] < most and not self.seen["ended"]:
            gdb.execute("stepi", to_string=True)
            if _number("$rip") in self._run_through:
                gdb.execute(f"tbreak *{_number('*(unsigned long *)$rsp'):#x}", to_string=True)
                gdb.execute("continue", to_string=True)
            self.seen["steps"] += 1
            self.seen["ended"] = _number("$rip") == self._back and _number("$rsp") > self._top
            self._ask()
        return self.seen

    def _ask(self):
        if not self._has_changed():
            return
        held = bool(_number(self._lock))
        allowed = {Severity.IN_FLUX} if held and not self.seen["ended"] else set()
        findings = getattr(new_session(), self._domain).check().findings
        self.seen["asked"] += 1
        self.seen["held"] += held
        self.seen["in_flux"] += bool(findings)
        self.seen["wrong"] += [
            f"step {self.seen['steps']}, {_where()}: {f.id} {f.severity.value}: {f.expected}, {f.actual}"
            for f in findings
            if f.severity not in allowed
        ]

    def _has_changed(self):
        """Whether RAM is other than at the last stop, leaving out the stack below the call."""
        changed = np.flatnonzero(self._ram != self._before)
        self._before[changed] = self._ram[changed]
        return (
            bool(((changed >= self._stack) | (changed < self._stack - STACK_MOST // 8)).any()) or not self.seen["asked"]
        )


def _where():
    line = gdb.newest_frame().find_sal()
    return f"{gdb.newest_frame().name()} ({line.symtab.filename if line.symtab else '?'}:{line.line})"
