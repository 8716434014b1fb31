"""What the reference kernel's physical managers cost: instructions for each request, counted by the guest itself.

The kernel's ``scenario=bench`` measures and prints; QEMU's ``-icount shift=0`` makes its time-stamp counter count
instructions. So the figures are the same in every run, on every machine, whatever else that machine does.
"""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from gdbext.headless import HeadlessError
from gdbext.headless.qemu import MachineOptions, Qemu

MANAGERS = ("bitmap", "regions", "levels", "runs", "stack", "pages", "buddy", "tree")
QUICK = ("64M", "1G")
MEMORIES = (*QUICK, "4G")
COUNTING = ("-icount", "shift=0")
"""One virtual nanosecond for each instruction: see "TCG Instruction Counting" in QEMU's documentation."""
PATIENCE = 900.0
"""Seconds that one boot may take; some take one."""
SIDE_BY_SIDE = 2
"""Machines that run at once: each may use all of its RAM."""


@dataclass(frozen=True)
class Cost:
    """What the requests of one kind cost in one state of memory, in instructions."""

    requests: int
    failed: int
    """Of them, those that were refused because there was no such run."""
    total: int
    worst: int

    @property
    def mean(self) -> float:
        """Instructions for one request; there must have been one."""
        return self.total / self.requests


@dataclass(frozen=True)
class State:
    """What memory is like while something is measured, in frames."""

    free: int
    runs: int
    largest_run: int


@dataclass(frozen=True)
class Figures:
    """All that one boot has told."""

    manager: str
    memory: str
    """The machine's RAM, as QEMU spells it."""
    metadata: int
    """Bytes that the manager keeps beside the frames that it manages."""
    states: dict[str, State]
    costs: dict[tuple[str, str, str, str], Cost]
    """By state, via (``manager`` or ``pmm``), work and operation: the words of the kernel's lines."""


def serial_of(kernel: Path, manager: str, memory: str) -> str:
    """What the kernel prints from power-on until its figures are complete."""
    return serial_until(kernel, f"scenario=bench pmm={manager}", memory)


def serial_until(kernel: Path, append: str, memory: str) -> str:
    """What the kernel prints with this command line until its figures are complete."""
    options = MachineOptions(kernel, append=append, memory=memory, shared=False, paused=False, qemu_args=COUNTING)
    deadline = time.monotonic() + PATIENCE
    with Qemu(options) as qemu:
        qemu.await_ready()
        while "\nreport begin\n" not in (serial := qemu.serial()):
            panic = re.search(r"^panic: .*", serial, re.MULTILINE)
            if panic or qemu.exit_status() is not None or time.monotonic() > deadline:
                raise HeadlessError(f"{append}, {memory}: {panic[0] if panic else 'the kernel did not finish'}")
            time.sleep(0.05)
    return serial


def facts(serial: str, subject: str) -> list[dict[str, str]]:
    """The kernel's lines about a subject, each as the values by their keys."""
    lines = re.findall(rf"^bench {subject} (.*)$", serial, re.MULTILINE)
    return [dict(word.split("=", 1) for word in line.split()) for line in lines]


def calibrated(serial: str) -> None:
    """Complain when the counter did not count instructions."""
    (calibration,) = facts(serial, "calibration")
    if calibration["counted"] != calibration["expected"]:
        raise HeadlessError(f"{calibration['expected']} instructions were counted as {calibration['counted']}")


def parsed(serial: str, memory: str) -> Figures:
    """The figures on the serial line; an error when the counter did not count instructions."""
    calibrated(serial)
    (manager,) = facts(serial, "manager")
    states = {s["name"]: State(int(s["free"]), int(s["runs"]), int(s["largest_run"])) for s in facts(serial, "state")}
    costs = {
        (c["state"], c["via"], c["work"], c["op"]): Cost(
            int(c["count"]), int(c["failed"]), int(c["total"]), int(c["worst"])
        )
        for c in facts(serial, "cost")
    }
    return Figures(manager["name"], memory, int(manager["metadata"]), states, costs)


def measure(kernel: Path, memories: tuple[str, ...]) -> list[Figures]:
    """Every manager with every size of RAM, in that order within the sizes."""
    machines = [(manager, memory) for memory in memories for manager in MANAGERS]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        return list(pool.map(lambda machine: parsed(serial_of(kernel, *machine), machine[1]), machines))
