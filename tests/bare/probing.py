"""The probe guest's other half: builds it, puts it into a machine's RAM, gives it cases and reads the outcomes.

The probe (tests/bare/probe) runs on QEMU's emulated processor. No kernel is booted: its descriptor tables and its own
page tables are written here, its registers set over the debug stub. All cases of a batch share the trees in RAM.
"""

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gdbext.machine.cpu import CpuState
from gdbext.units import FRAME_SIZE, VirtAddr
from gdbext.x86.access import Access
from gdbext.x86.modes import P, U, W, paging_mode

from .deviations import as_a_processor_says
from .machine import BareMachine

SOURCE = Path(__file__).parent / "probe"


def _layout() -> dict[str, int]:
    """The numbers of layout.h, which the probe's code is built with."""
    text = (SOURCE / "layout.h").read_text()
    return {name: int(value, 0) for name, value in re.findall(r"^#define (\w+)\s+(\w+)", text, re.MULTILINE)}


LAYOUT = _layout()

FIRST_FRAME = 0x1000
FRAMES = 512
"""Where the probe lies in physical memory: the 2 MiB that its lowest table maps, then its tables from the top down."""
TABLE_FRAMES = tuple(range(FIRST_FRAME + FRAMES, FIRST_FRAME + FRAMES + 5))
MOST_CASES = (FRAMES * FRAME_SIZE - LAYOUT["CASES"]) // LAYOUT["CASE_SIZE"]

LONG_SLOT = 336
"""The root's entry that belongs to the probe in 4-level and 5-level paging."""
BASE_32 = 0xFFE0_0000
"""Its first address in PAE and two-level paging, the last 2 MiB."""

STUB: dict[Access, int] = {"read": 0, "write": 1, "execute": 2}
BREAKPOINT, GENERAL_PROTECTION, PAGE_FAULT = 3, 13, 14


@dataclass(frozen=True)
class Case:
    """One access under the control registers of ``cpu``, whose CR3 names the root."""

    cpu: CpuState
    address: int
    access: Access
    user: bool
    byte: int = 0
    """What a write stores."""


@dataclass(frozen=True)
class Outcome:
    """What the processor made of a case: the exception with its error code, CR2 and the value that came back."""

    vector: int
    error: int
    cr2: int
    value: int

    @property
    def granted(self) -> bool:
        return self.vector == BREAKPOINT

    @property
    def prediction(self) -> int | str | None:
        """The outcome in the words of gdbext.x86.access; an exception of another kind by its number."""
        known = {BREAKPOINT: None, GENERAL_PROTECTION: "gp", PAGE_FAULT: as_a_processor_says(self.error)}
        return known.get(self.vector, f"exception {self.vector}")


def build(directory: Path) -> None:
    """Build the probe's two images into a directory."""
    subprocess.run(["make", "-s", "-C", SOURCE, f"OUT={directory}"], check=True)


class Probe:
    """The probe in one machine, for one paging mode. The machine runs guest code from now on."""

    def __init__(self, machine: BareMachine, cpu: CpuState, images: Path) -> None:
        mode = paging_mode(cpu)
        assert mode is not None
        self.machine = machine
        self.cpu = cpu
        self.mode = mode
        slot = mode.sign_extend(LONG_SLOT << mode.levels[0].shift)
        self.base = VirtAddr(slot if mode.long else BASE_32)
        self._started = False
        self._put(0, (images / ("probe64.bin" if mode.long else "probe32.bin")).read_bytes())
        self._write_tables()
        self._write_descriptors()

    def _put(self, offset: int, data: bytes) -> None:
        self.machine.write(FIRST_FRAME * FRAME_SIZE + offset, data)

    # What the processor needs to find: tables of pages and of segments

    def _write_tables(self) -> None:
        """The tables below the root that map the probe."""
        lowest = np.arange(FIRST_FRAME, FIRST_FRAME + FRAMES, dtype=np.uint64) << np.uint64(12) | np.uint64(P | W)
        user = LAYOUT["USER_STUBS"] // FRAME_SIZE
        lowest[user] = (FIRST_FRAME + LAYOUT["STUBS"] // FRAME_SIZE) << 12 | P | U
        below_root = self.mode.levels[1:]
        for level, frame, following in zip(below_root, TABLE_FRAMES, TABLE_FRAMES[1:], strict=False):
            words = self.machine.frame(frame)
            entries = words.view(np.uint32) if self.mode.entry_size == 4 else words
            entries[:] = 0
            if level.number == 1:
                first = level.index(self.base)
                entries[first : first + FRAMES] = lowest
            else:
                entries[level.index(self.base)] = following << 12 | P | W | U

    def link(self, root: int) -> None:
        """Give the probe its place in the tree of this root."""
        top = self.mode.levels[0]
        rights = W | U if top.rights else 0
        entry = TABLE_FRAMES[0] << 12 | P | rights
        frame, size = self.machine.frame(root // FRAME_SIZE), self.mode.entry_size
        entries = frame.view(np.uint32) if size == 4 else frame
        entries[root % FRAME_SIZE // size + top.index(self.base)] = entry

    def _write_descriptors(self) -> None:
        long_code = 1 << 53
        wide = 1 << 54
        code = 0x008F_9B00_0000_FFFF | (long_code if self.mode.long else wide)
        data = 0x008F_9300_0000_FFFF | wide
        ring3 = 3 << 45
        tss = self.base + LAYOUT["TSS"]
        descriptors = [0, code, data, code | ring3, data | ring3, _tss_descriptor(tss), tss >> 32]
        self._put(LAYOUT["TABLES"], b"".join(value.to_bytes(8, "little") for value in descriptors))
        stack = self.base + LAYOUT["STACK_END"]
        stack_pointer = stack.to_bytes(8, "little") if self.mode.long else _words(stack, LAYOUT["KERNEL_DATA"])
        self._put(LAYOUT["TSS"] + 4, stack_pointer)
        self._put(LAYOUT["GDTR"], self._table_operand(LAYOUT["TABLES"], len(descriptors) * 8))
        gates = b"".join(self._gate(vector) for vector in range(32))
        self._put(LAYOUT["IDT"], gates)
        self._put(LAYOUT["IDTR"], self._table_operand(LAYOUT["IDT"], len(gates)))

    def _table_operand(self, offset: int, size: int) -> bytes:
        return (size - 1).to_bytes(2, "little") + (self.base + offset).to_bytes(8, "little")

    def _gate(self, vector: int) -> bytes:
        handler = self.base + LAYOUT["VECTORS"] + vector * LAYOUT["VECTOR_SIZE"]
        open_to_ring3 = 0x60 if vector == BREAKPOINT else 0
        gate = (handler >> 16 & 0xFFFF) << 48 | (0x8E | open_to_ring3) << 40
        gate |= LAYOUT["KERNEL_CODE"] << 16 | handler & 0xFFFF
        return gate.to_bytes(8, "little") + ((handler >> 32).to_bytes(8, "little") if self.mode.long else b"")

    # Cases

    def owns(self, physical: int) -> bool:
        """Whether a physical address is the probe's, so that no case may lead there."""
        return FIRST_FRAME <= physical // FRAME_SIZE <= TABLE_FRAMES[-1]

    def run(self, cases: Sequence[Case], timeout: float = 3.0) -> list[Outcome]:
        """Have the processor try the cases, in order."""
        if not cases:
            return []
        fields = np.array([self._fields(case) for case in cases], dtype=np.uint64)
        at = (FIRST_FRAME * FRAME_SIZE + LAYOUT["CASES"]) // 8
        table = self.machine.words[at : at + fields.size].reshape(fields.shape)
        table[:] = fields
        self._set_registers(cases)
        if not self.machine.stub.run_until(self.base + LAYOUT["DONE"], timeout):
            where = self._where()
            self._revive()
            raise AssertionError(where)
        first = LAYOUT["CASE_VECTOR"] // 8
        return [Outcome(*row) for row in table[:, first : first + 4].tolist()]

    def _fields(self, case: Case) -> list[int]:
        ring = "USER" if case.user else "KERNEL"
        stub = LAYOUT["USER_STUBS" if case.user else "STUBS"] + STUB[case.access] * LAYOUT["STUB_SIZE"]
        cpu = case.cpu
        given: list[int] = [cpu.cr3, cpu.cr0, cpu.cr4, cpu.efer, cpu.rflags, cpu.pkru or 0]
        given += [case.address, self.base + stub, LAYOUT[f"{ring}_CODE"], LAYOUT[f"{ring}_DATA"], case.byte]
        return given + [0] * (LAYOUT["CASE_SIZE"] // 8 - len(given))

    def _set_registers(self, cases: Sequence[Case]) -> None:
        stub, cpu = self.machine.stub, cases[0].cpu
        if self._started:
            self.machine.set_root(cpu.cr3)
        else:
            self.machine.enter(cpu)
        first, count = ("r15", "r14") if self.mode.long else ("rbp", "rbx")
        stub.set_register(first, self.base + LAYOUT["CASES"])
        stub.set_register(count, len(cases))
        stub.set_register("rip", self.base + LAYOUT["LOOP" if self._started else "CODE"])
        self._started = True

    def _revive(self) -> None:
        """Make a processor that got lost fit for further batches."""
        self.machine.monitor.ask("system_reset")
        self._write_descriptors()
        self._started = False

    def _where(self) -> str:
        stub = self.machine.stub
        names = ("rip", "rsp", "cr0", "cr2", "cr3", "cr4", "efer", "r14", "r15", "rbx", "rbp")
        return "the probe is lost: " + ", ".join(f"{name}={stub.register(name):#x}" for name in names)


def _tss_descriptor(base: int) -> int:
    available_tss, size = 0x89, 0x68
    return (base >> 24 & 0xFF) << 56 | available_tss << 40 | (base & 0xFF_FFFF) << 16 | (size - 1)


def _words(*values: int) -> bytes:
    return b"".join(value.to_bytes(4, "little") for value in values)
