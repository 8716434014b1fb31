"""Has one gdb go through calls of the guest's an instruction at a time, and judges what it saw: see single_step.py."""

import json
import subprocess
from pathlib import Path

from gdbext.headless.qemu import MachineOptions, Qemu

from .conftest import ROOT

SCRIPT = Path(__file__).with_name("single_step.py")


def stepped(kernel, append, calls, part, tmp_path):
    """What was seen in each call of one part of the kernel, in a small machine, from the scenario's start on."""
    answer = tmp_path / "answer.json"
    with Qemu(MachineOptions(kernel, append=append, memory="16M")) as machine:
        machine.await_ready()
        commands = [
            "set pagination off",
            "set architecture i386:x86-64",
            f"source {ROOT}/scripts/gdbext",
            f"target remote {machine.gdb_socket}",
            "thbreak scenario_run",
            "continue",
            f"source {SCRIPT}",
            f"python through({calls}, '{answer}', '{part}')",
        ]
        # Not over MI: there every step is a stop that gdb tells of.
        line = ["gdb", "-nx", "-q", "-batch", str(kernel)]
        for command in commands:
            line += ["-ex", command]
        done = subprocess.run(line, capture_output=True, text=True, timeout=300, check=False)
    assert answer.exists(), done.stderr
    return json.loads(answer.read_text())


def check(seen, may_change_nothing=()):
    """Findings while the lock was held were in flux, there were some, and there were none at any other time.

    The functions that ``may_change_nothing`` need not show a change halfway.
    """
    for call in seen:
        assert call["wrong"] == [], call["function"]
        assert call["ended"], f"{call['function']} did not return within {call['steps']} instructions"
        # Had no stop shown a change halfway, nothing would have been proved.
        assert call["in_flux"] > 0 or call["function"] in may_change_nothing, call["function"]
        assert call["asked"] > call["held"] >= call["in_flux"]
