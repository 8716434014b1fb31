"""GDT, IDT and TSS, decoded: the descriptors that decide privilege, entry points and stacks.

Sources: Intel SDM vol. 3A, 3.4.5 (segment descriptors), 6.11 and 6.14.1 (gates), 7.2.3 (system descriptors) and 7.7
(64-bit TSS); AMD APM vol. 2, 4.7 and 4.8, 12.2.
"""

import struct
from dataclasses import dataclass

from gdbext.errors import MemoryUnavailable
from gdbext.machine.cpu import DescriptorRegisters, TableRegister
from gdbext.machine.memory import VirtualMemory
from gdbext.units import VirtAddr, Word64

MOST_BYTES = 1 << 16
"""A descriptor table is at most this long: its limit has 16 bits."""

EXCEPTIONS = (
    "#DE divide",
    "#DB debug",
    "NMI",
    "#BP breakpoint",
    "#OF overflow",
    "#BR bound range",
    "#UD invalid opcode",
    "#NM no FPU",
    "#DF double fault",
    "coprocessor overrun",
    "#TS invalid TSS",
    "#NP segment not present",
    "#SS stack",
    "#GP general protection",
    "#PF page fault",
    "reserved",
    "#MF x87",
    "#AC alignment",
    "#MC machine check",
    "#XM SIMD",
    "#VE virtualization",
    "#CP control protection",
)
"""The names of vectors 0 to 21 (SDM vol. 3A, table 6-1)."""

PAGE_FAULT = 14

_LONG_SYSTEM = {
    0x2: "LDT",
    0x9: "TSS, available",
    0xB: "TSS, busy",
    0xC: "call gate",
    0xE: "interrupt gate",
    0xF: "trap gate",
}
_LEGACY_SYSTEM = {
    0x1: "16-bit TSS, available",
    0x2: "LDT",
    0x3: "16-bit TSS, busy",
    0x4: "16-bit call gate",
    0x5: "task gate",
    0x6: "16-bit interrupt gate",
    0x7: "16-bit trap gate",
    0x9: "TSS, available",
    0xB: "TSS, busy",
    0xC: "call gate",
    0xE: "interrupt gate",
    0xF: "trap gate",
}


@dataclass(frozen=True)
class Segment:
    """A descriptor of the GDT. ``limit`` is in bytes, the granularity bit applied; ``mode`` is 64, 32 or 16 bits."""

    selector: int
    address: VirtAddr
    value: Word64
    kind: str
    base: VirtAddr
    limit: int
    dpl: int
    present: bool
    mode: int | None


@dataclass(frozen=True)
class Gate:
    """A gate of the IDT: where the processor goes, through which selector, on which stack (``ist``, 0 for none)."""

    vector: int
    name: str
    address: VirtAddr
    kind: str
    selector: int
    offset: VirtAddr
    dpl: int
    ist: int
    present: bool


@dataclass(frozen=True)
class Tss:
    """A 64-bit TSS: the stacks for privilege levels 0 to 2, and the seven of the interrupt stack table."""

    address: VirtAddr
    limit: int
    rsp: tuple[VirtAddr, ...]
    ist: tuple[VirtAddr, ...]
    io_map: int


@dataclass(frozen=True)
class DescriptorTables:
    """The contents of a processor's descriptor tables. ``problems`` names what could not be read."""

    gdt_base: VirtAddr
    gdt_limit: int
    idt_base: VirtAddr
    idt_limit: int
    tr: int
    segments: tuple[Segment, ...]
    gates: tuple[Gate, ...]
    tss: Tss | None
    problems: tuple[str, ...]


def read_tables(memory: VirtualMemory, registers: DescriptorRegisters, *, long_mode: bool) -> DescriptorTables:
    """Read and decode all of a processor's descriptor tables. What cannot be read is a problem in the result."""
    problems: list[str] = []

    def read(name: str, register: TableRegister) -> bytes:
        try:
            return memory.read(register.base, min(register.limit + 1, MOST_BYTES))
        except MemoryUnavailable as error:
            problems.append(f"{name}: {error}")
            return b""

    segments = decode_gdt(read("GDT", registers.gdt), registers.gdt.base, long_mode=long_mode)
    gates = decode_idt(read("IDT", registers.idt), registers.idt.base, long_mode=long_mode)
    tss = None
    if long_mode and registers.tr_selector:
        data = read("TSS", TableRegister(registers.tr.base, max(registers.tr.limit, _TSS.size - 1)))
        tss = decode_tss(data, registers.tr) if data else None
    return DescriptorTables(
        gdt_base=registers.gdt.base,
        gdt_limit=registers.gdt.limit,
        idt_base=registers.idt.base,
        idt_limit=registers.idt.limit,
        tr=registers.tr_selector,
        segments=segments,
        gates=gates,
        tss=tss,
        problems=tuple(problems),
    )


def decode_gdt(data: bytes, base: VirtAddr, *, long_mode: bool) -> tuple[Segment, ...]:
    """The descriptors of a GDT, without empty ones. In long mode system descriptors take two slots."""
    segments = []
    offset = 0
    while offset + 8 <= len(data):
        (value,) = struct.unpack_from("<Q", data, offset)
        wide = long_mode and value and not value >> 44 & 1 and offset + 16 <= len(data)
        (high,) = struct.unpack_from("<Q", data, offset + 8) if wide else (0,)
        if value:
            segments.append(_segment(offset, VirtAddr(base + offset), value, high, long_mode))
        offset += 16 if wide else 8
    return tuple(segments)


def _segment(selector: int, address: VirtAddr, value: int, high: int, long_mode: bool) -> Segment:
    system = not value >> 44 & 1
    start = value >> 16 & 0xFF_FFFF | value >> 56 << 24
    limit = value & 0xFFFF | (value >> 48 & 0xF) << 16
    if value >> 55 & 1:
        limit = limit << 12 | 0xFFF
    return Segment(
        selector=selector,
        address=address,
        value=Word64(value),
        kind=_segment_kind(value, system, long_mode),
        base=VirtAddr(start | (high & 0xFFFF_FFFF) << 32 if system else start),
        limit=limit,
        dpl=value >> 45 & 3,
        present=bool(value >> 47 & 1),
        mode=None if system else 64 if value >> 53 & 1 and long_mode else 32 if value >> 54 & 1 else 16,
    )


def _segment_kind(value: int, system: bool, long_mode: bool) -> str:
    kind = value >> 40 & 0xF
    if system:
        return (_LONG_SYSTEM if long_mode else _LEGACY_SYSTEM).get(kind, f"reserved type {kind:#x}")
    if kind & 8:
        return "code" + (", readable" if kind & 2 else "") + (", conforming" if kind & 4 else "")
    return "data" + (", writable" if kind & 2 else "") + (", expands down" if kind & 4 else "")


def decode_idt(data: bytes, base: VirtAddr, *, long_mode: bool) -> tuple[Gate, ...]:
    """The gates of an IDT, without empty ones."""
    size = 16 if long_mode else 8
    gates = []
    for vector in range(len(data) // size):
        at = vector * size
        (value,) = struct.unpack_from("<Q", data, at)
        (high,) = struct.unpack_from("<Q", data, at + 8) if long_mode else (0,)
        if not value and not high:
            continue
        kind = value >> 40 & 0xF
        gates.append(
            Gate(
                vector=vector,
                name=EXCEPTIONS[vector] if vector < len(EXCEPTIONS) else "",
                address=VirtAddr(base + at),
                kind=(_LONG_SYSTEM if long_mode else _LEGACY_SYSTEM).get(kind, f"reserved type {kind:#x}"),
                selector=value >> 16 & 0xFFFF,
                offset=VirtAddr(value & 0xFFFF | (value >> 48 & 0xFFFF) << 16 | (high & 0xFFFF_FFFF) << 32),
                dpl=value >> 45 & 3,
                ist=value >> 32 & 7 if long_mode else 0,
                present=bool(value >> 47 & 1),
            )
        )
    return tuple(gates)


_TSS = struct.Struct("<I3QQ7QQHH")


def decode_tss(data: bytes, register: TableRegister) -> Tss:
    """A 64-bit TSS (104 bytes)."""
    fields = _TSS.unpack_from(data)
    return Tss(
        address=register.base,
        limit=register.limit,
        rsp=tuple(VirtAddr(value) for value in fields[1:4]),
        ist=tuple(VirtAddr(value) for value in fields[5:12]),
        io_map=fields[14],
    )
