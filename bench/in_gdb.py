"""Measurements inside gdb: run by gdb's Python, results written as JSON to the file that the caller named."""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gdb

from gdbext.bridge.machine import GdbMonitor, GdbPackets
from gdbext.bridge.session import new_session
from gdbext.commands import COMMANDS
from gdbext.machine.qemu import memory_backends, ram_map
from gdbext.machine.remote import PACKET_BYTES, RemoteMemory, physical_mode
from gdbext.report import Style, render
from gdbext.session import Session
from gdbext.x86.space import enumerate_space

VMWALK = next(command for command in COMMANDS if command.name == "vmwalk")


def seconds(deed: Callable[[], object], repeat: int = 5) -> float:
    """The median time of a deed."""
    times = []
    for _ in range(repeat):
        begin = time.perf_counter()
        deed()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def peak_of(deed: Callable[[], object]) -> int:
    """How far a deed raises the process's memory above where it stands, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    before = _status("VmRSS")
    deed()
    return _status("VmHWM") - before


def _status(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def execute(command: str) -> Callable[[], str]:
    """A command as a person types it, its text made and thrown away."""
    return lambda: gdb.execute(command, to_string=True)


def connection() -> gdb.RemoteTargetConnection:
    """The connection to the guest's debug stub."""
    it = gdb.selected_inferior().connection
    assert isinstance(it, gdb.RemoteTargetConnection)
    return it


def over_remote() -> Session:
    """A session that reads through the debug stub, whatever faster source there is."""
    session = new_session()
    monitor = GdbMonitor()
    ram = ram_map(monitor, {backend.name for backend in memory_backends(monitor)})
    memory = RemoteMemory(ram, GdbPackets(connection()))
    machine = replace(session.machine, memory=memory)
    session.machine = machine
    return session


def measure(address: str) -> dict[str, float]:
    """All figures about the tables that CR3 names; ``address`` is one of the mapped ones."""
    session = new_session()
    machine, cpu = session.machine, session.machine.cpu
    space = enumerate_space(machine.memory, cpu)
    frames = space.table_frames

    def transfer() -> None:
        """The table frames over the stub with nothing around it."""
        packets = GdbPackets(connection())
        with physical_mode(packets):
            for frame in frames.tolist():
                for part in range(0, 4096, PACKET_BYTES):
                    bytes.fromhex(packets.send(f"m{(frame << 12) + part:x},{PACKET_BYTES:x}").decode())

    def remote_map() -> None:
        remote = over_remote()
        enumerate_space(remote.machine.memory, cpu)

    def remote_walk() -> str:
        remote = over_remote()
        return render(VMWALK.run(remote, VMWALK.parse(address)), Style())

    return {
        "mappings": float(sum(space.pages.values())),
        "aliases": float(len(space.aliases)),
        "tables": float(len(frames)),
        "copy": seconds(lambda: machine.memory.read_frames(frames)),
        "enumerate": seconds(lambda: enumerate_space(machine.memory, cpu)),
        "vmmap": seconds(execute("gdbext vmmap")),
        "vmmap_peak": float(peak_of(execute("gdbext vmmap"))),
        "vmwalk": seconds(execute(f"gdbext vmwalk {address}"), 50),
        "vmwalk_remote": seconds(remote_walk, 20),
        "transfer": seconds(transfer, 3) if len(frames) < 5000 else float("nan"),
        "remote_map": seconds(remote_map, 3) if len(frames) < 5000 else float("nan"),
    }


def write(path: str, address: str) -> None:
    """Measure and write the figures."""
    Path(path).write_text(json.dumps(measure(address)))
