"""What QEMU's monitor reports about processors: where descriptor tables are, and all their registers."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from gdbext.errors import MemoryUnavailable
from gdbext.machine.cpu import CpuState, DescriptorRegisters, TableRegister
from gdbext.machine.qemu import Monitor
from gdbext.machine.registers import GENERAL
from gdbext.units import VirtAddr, Word64

_CPU = re.compile(r"^CPU#(\d+)\s*$", re.MULTILINE)
_TABLE = r"^{name}=\s+([0-9a-f]+) ([0-9a-f]+)\s*$"
_SEGMENT = r"^{name} ?=([0-9a-f]{{4}}) ([0-9a-f]+) ([0-9a-f]+) ([0-9a-f]+)"

_NAMED = re.compile(r"\b([A-Z][A-Z0-9]+) *=([0-9a-f]+)\b")
_CONTROL = {name: re.compile(rf"\b{name}=([0-9a-f]+)") for name in ("CR0", "CR3", "CR4", "EFER")}


@dataclass(frozen=True)
class ProcessorRoot:
    """The registers that decide how another processor translates; ``number`` is QEMU's, from 0."""

    number: int
    cr0: Word64
    cr3: Word64
    cr4: Word64
    efer: Word64

    def like(self, cpu: CpuState) -> CpuState:
        """The state of such a processor, as far as translation goes, on the same model as ``cpu``."""
        return CpuState(
            cr0=self.cr0,
            cr2=VirtAddr(0),
            cr3=self.cr3,
            cr4=self.cr4,
            efer=self.efer,
            phys_bits=cpu.phys_bits,
            offered=cpu.offered,
        )


@dataclass(frozen=True)
class GeneralRegisters:
    """The general registers of processors, by name (``rax`` to ``r15``, ``rip``); ``doubt`` says whose are missing."""

    processors: tuple[Mapping[str, int], ...] = ()
    doubt: str | None = "the processors' registers: this machine does not report them"


def general_registers(monitor: Monitor) -> GeneralRegisters:
    """The general registers of every processor. MemoryUnavailable when the monitor does not report them."""
    sections = _CPU.split(monitor.command("info registers -a"))[2::2]
    found = []
    for text in sections:
        # Outside long mode they are printed as EAX and so on.
        values = {re.sub("^e", "r", name.lower()): int(value, 16) for name, value in _NAMED.findall(text)}
        found.append({name: values[name] for name in GENERAL if name in values})
    if not found or not all("rsp" in registers for registers in found):
        raise MemoryUnavailable("QEMU's monitor does not print the processors' registers (info registers -a)")
    return GeneralRegisters(tuple(found), None)


def processor_roots(monitor: Monitor) -> tuple[ProcessorRoot, ...]:
    """The roots and control registers of every processor."""
    sections = _CPU.split(monitor.command("info registers -a"))
    found = []
    for number, text in zip(sections[1::2], sections[2::2], strict=True):
        values = {name: _CONTROL[name].search(text) for name in _CONTROL}
        if all(values.values()):
            words = {name.lower(): Word64(int(match[1], 16)) for name, match in values.items() if match}
            found.append(ProcessorRoot(int(number), **words))
    return tuple(found)


def descriptor_registers(monitor: Monitor, cpu: int) -> DescriptorRegisters:
    """The registers of processor number ``cpu`` (QEMU's numbering, from 0); MemoryUnavailable if not reported."""
    sections = _CPU.split(monitor.command("info registers -a"))
    texts = dict(zip(map(int, sections[1::2]), sections[2::2], strict=True))
    text = texts.get(cpu, "")
    gdt, idt = (re.search(_TABLE.format(name=name), text, re.MULTILINE) for name in ("GDT", "IDT"))
    tr = re.search(_SEGMENT.format(name="TR"), text, re.MULTILINE)
    if gdt is None or idt is None or tr is None:
        raise MemoryUnavailable(f"QEMU's monitor does not report the tables of processor {cpu} (info registers -a)")
    return DescriptorRegisters(
        gdt=_register(gdt[1], gdt[2]),
        idt=_register(idt[1], idt[2]),
        tr_selector=int(tr[1], 16),
        tr=_register(tr[2], tr[3]),
    )


def _register(base: str, limit: str) -> TableRegister:
    return TableRegister(VirtAddr(int(base, 16)), int(limit, 16))
