"""A PC without any guest code: QEMU that never starts, whose RAM and control registers belong to the test.

RAM is a sparse file that both QEMU and the test map. Control registers are set over the debug stub; QEMU's monitor
then translates by them, and gdbext is asked the same with a `CpuState` of the same values.
"""

import json
import socket
import time
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from gdbext.headless.workspace import Workspace
from gdbext.machine.cpu import CR0_PG, CR4_LA57, EFER_LMA, EFER_LME, CpuState
from gdbext.machine.qemu import processor_features, ram_map
from gdbext.machine.shared import SharedMemory
from gdbext.units import FRAME_SIZE, PhysAddr

from .stub import Stub

QEMU = "qemu-system-x86_64"
RAM_SIZE = 6 << 30
"""More than 4 GiB, so that RAM is two ranges with a hole between; hardly any of it is ever touched."""
BLOCK = "bare"

COMMANDS_AHEAD = 500
"""How many monitor commands are sent before their answers are read."""

PE, ET = 1, 1 << 4
P, W, PS = 1, 2, 0x80

# The harness's own RAM: a descriptor table where GDTR points to after a reset, and tables that map it (a 2-MiB page)
# for as long as it takes to load a 64-bit code segment.
GDT_AT = 0x0
BOOT_TABLES_AT = 0x8000
CODE64, CODE32, DATA = 0x8, 0x10, 0x18
_DESCRIPTORS = (0, 0x00AF_9B00_0000_FFFF, 0x00CF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF)


class Monitor:
    """QEMU's machine protocol: one command at a time, or many human commands in one go."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        self._socket.connect(path)
        self._lines = self._socket.makefile("r")
        self._lines.readline()  # the greeting
        self.ask("qmp_capabilities")

    def ask(self, command: str, **arguments: Any) -> Any:
        """The result of one QMP command."""
        self._send((command, arguments))
        return self._answer()

    def command(self, text: str) -> str:
        """What the human monitor prints on a command."""
        return self.commands([text])[0]

    def commands(self, texts: Sequence[str]) -> list[str]:
        """What the human monitor prints on each of many commands; they are sent ahead of the answers."""
        answers: list[str] = []
        for first in range(0, len(texts), COMMANDS_AHEAD):
            part = texts[first : first + COMMANDS_AHEAD]
            self._send(*(("human-monitor-command", {"command-line": text}) for text in part))
            answers += [str(self._answer()).replace("\r\n", "\n") for _ in part]
        return answers

    def _send(self, *commands: tuple[str, dict[str, Any]]) -> None:
        lines = (json.dumps({"execute": name, "arguments": arguments}) + "\n" for name, arguments in commands)
        self._socket.sendall("".join(lines).encode("ascii"))

    def _answer(self) -> Any:
        for line in self._lines:
            answer = json.loads(line)
            if "error" in answer:
                raise RuntimeError(answer["error"]["desc"])
            if "return" in answer:  # anything else is an event
                return answer["return"]
        raise ConnectionError("QEMU has ended")

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


class BareMachine:
    """QEMU before its first instruction. One such machine serves many table trees and all paging modes."""

    def __init__(self, cpu: str = "max") -> None:
        """Start QEMU with a processor of its ``-cpu`` option."""
        self._workspace = Workspace(RAM_SIZE)
        try:
            self._start(cpu)
        except BaseException:
            self._workspace.close()
            raise

    def _start(self, cpu: str) -> None:
        directory = self._workspace.path
        backend = f"memory-backend-file,id={BLOCK},size={RAM_SIZE},mem-path={directory}/ram,share=on"
        command = [QEMU, "-S", "-accel", "tcg", "-cpu", cpu, "-M", f"pc,memory-backend={BLOCK}", "-m", f"{RAM_SIZE}B"]
        command += ["-object", backend, "-nodefaults", "-vga", "none", "-display", "none"]
        for name in ("gdb", "qmp"):
            command += [f"-{name}", f"unix:{directory}/{name},server=on,wait=off"]
        with (directory / "errors").open("wb") as errors:
            process = self._workspace.start(command, errors)
        deadline = time.monotonic() + 20
        while not ((directory / "qmp").exists() and (directory / "gdb").exists()):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"QEMU did not start: {(directory / 'errors').read_text(errors='replace')}")
            time.sleep(0.002)
        self.monitor = Monitor(f"{directory}/qmp")
        self.stub = Stub(directory / "gdb")
        self.bytes = np.memmap(directory / "ram", dtype=np.uint8, mode="r+")
        self.words = self.bytes.view(np.uint64)
        self.memory = SharedMemory(ram_map(self.monitor, {BLOCK}), {BLOCK: self.bytes})
        features = processor_features(self.monitor)
        assert features is not None
        self.phys_bits, self.offered = features.phys_bits, features.offered

    def write(self, address: int, data: bytes) -> None:
        """Put bytes at a physical address."""
        for ram, start, length in self.memory.ram.pieces(PhysAddr(address), len(data)):
            offset, done = ram.offset + start - ram.start, start - address
            self.bytes[offset : offset + length] = np.frombuffer(data[done : done + length], dtype=np.uint8)

    def frame(self, number: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
        """A frame of RAM as 512 words that can be written."""
        ((ram, start, _),) = self.memory.ram.pieces(PhysAddr(number * FRAME_SIZE), FRAME_SIZE)
        first = (ram.offset + start - ram.start) // 8
        return self.words[first : first + FRAME_SIZE // 8]

    def enter(self, cpu: CpuState) -> None:
        """Put the processor into the state ``cpu``: control registers as given, flat segments, 64-bit in long mode.

        Only before any guest code has run: GDTR must still be as a reset leaves it.
        """
        stub = self.stub
        stub.set_register("cr0", PE | ET)  # paging off: linear addresses are physical, and long mode ends
        self.write(GDT_AT, b"".join(value.to_bytes(8, "little") for value in _DESCRIPTORS))
        for name, selector in (("cs", CODE32), ("ds", DATA), ("es", DATA), ("ss", DATA)):
            stub.set_register(name, 0)  # a segment is loaded when its selector changes
            stub.set_register(name, selector)
        stub.set_register("efer", cpu.efer & ~EFER_LMA)
        stub.set_register("cr4", cpu.cr4)
        if cpu.paging and cpu.efer & EFER_LME:
            self._load_64_bit_code(cpu)
        stub.set_register("cr3", cpu.cr3)
        stub.set_register("cr0", cpu.cr0)
        for name, wanted in (("cr0", cpu.cr0 | ET), ("cr3", cpu.cr3), ("cr4", cpu.cr4), ("efer", cpu.efer)):
            there = stub.register(name)
            assert there == wanted, f"{name} is {there:#x} instead of {wanted:#x}"

    def _load_64_bit_code(self, cpu: CpuState) -> None:
        """Enter long mode through tables that map physical 0, and load CS there: only then CR3 takes 64 bits."""
        stub = self.stub
        for level in range(4):
            table = BOOT_TABLES_AT + level * FRAME_SIZE
            entry = P | W | PS if level == 3 else table + FRAME_SIZE | P | W
            self.write(table, entry.to_bytes(8, "little"))
        five_levels = cpu.cr4 & CR4_LA57
        stub.set_register("cr3", BOOT_TABLES_AT if five_levels else BOOT_TABLES_AT + FRAME_SIZE)
        stub.set_register("cr0", cpu.cr0 | CR0_PG)
        stub.set_register("cs", CODE64)

    def set_root(self, cr3: int) -> None:
        """Change CR3 alone."""
        self.stub.set_register("cr3", cr3)

    def translate(self, addresses: Sequence[int]) -> list[int | None]:
        """QEMU's own answer (`gva2gpa`) for each address: the physical one, or None."""
        answers = self.monitor.commands([f"gva2gpa {address:#x}" for address in addresses])
        return [None if answer.startswith("Unmapped") else int(answer.split()[1], 16) for answer in answers]

    def close(self) -> None:
        if hasattr(self, "stub"):
            self.stub.close()
            self.monitor.close()
        self._workspace.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
