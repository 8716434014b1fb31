"""Physical memory from a file: QEMU's ``dump-guest-memory`` core, or a raw image. Neither gdb nor QEMU takes part.

A core lists its physical ranges as PT_LOAD segments and each processor in a note of its own. EFER is not among the
registers in it. Whether long mode is active is still known for the first processor: QEMU writes an x86-64 file exactly
then (target/i386/arch_dump.c, cpu_get_dump_info). Everything else gets its usual value, and a doubt that says so.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gdbext.errors import MemoryUnavailable, UsageError
from gdbext.machine.cpu import CR0_PG, CR4_PAE, EFER_LMA, EFER_LME, EFER_NXE, CpuState
from gdbext.machine.memory import PhysicalMemory, RamMap, RamRange
from gdbext.machine.registers import GENERAL, Registers
from gdbext.machine.shared import SharedMemory
from gdbext.units import FRAME_SIZE, PhysAddr, human_size, round_down, round_up

# System V gABI, chapters 4 and 5; the x86-64 psABI for the machine.
_ET_CORE, _EM_386, _EM_X86_64 = 4, 3, 62
_PT_LOAD, _PT_NOTE = 1, 4
_PN_XNUM = 0xFFFF

# QEMUCPUState, version 1 (QEMU, target/i386/arch_dump.c): version, size, 18 general registers, 10 segments of
# (selector, limit, flags, padding, base), cr0 to cr4, kernel_gs_base.
_STATE = struct.Struct("<II18Q" + "IIIIQ" * 10 + "5Q")
_STATE_VERSION = 1
_CS_AT, _CR_AT = 20, 70

_REFUSED = (
    (b"KDUMP   ", "is kdump-compressed: dump again as ELF, `dump-guest-memory FILE` without -z, -l or -s"),
    (b"makedumpfile", "is kdump-compressed: dump again as ELF, `dump-guest-memory FILE` without -z, -l or -s"),
    (b"PAGEDU", "is a Windows crash dump: dump again as ELF, `dump-guest-memory FILE` without -w"),
    (b"\x1f\x8b", "is compressed: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "is compressed: unpack it first"),
    (b"\xfd7zXZ", "is compressed: unpack it first"),
    (b"QEVM", "is a saved machine, not a dump: load it into QEMU and run `dump-guest-memory FILE`"),
)


@dataclass(frozen=True)
class Dump:
    """A machine's memory and one of its processors, as they were when the file was made.

    ``registers`` are by name; ``how`` describes the file, ``doubts`` what it does not record.
    """

    memory: PhysicalMemory
    cpu: CpuState
    registers: Registers
    how: str
    doubts: tuple[str, ...]


@dataclass(frozen=True)
class _Segment:
    """A program header: its type, place and size in the file, and physical address."""

    kind: int
    offset: int
    physical: int
    size: int


@dataclass(frozen=True)
class _Header:
    """The fields used from the ELF header; ``entries`` is the number of program headers."""

    wide: bool
    machine: int
    table: int
    entry_size: int
    entries: int


def open_dump(path: Path, registers: Registers | None = None, processor: int = 0) -> Dump:
    """A dump, mapped. ``registers`` override those of the file; a raw image has none of its own.

    Raises MemoryUnavailable when the file is not one that can be read, UsageError when registers are missing or the
    processor does not exist.
    """
    content = _mapped(path)
    head = content[:16].tobytes()
    for magic, problem in _REFUSED:
        if head.startswith(magic):
            raise MemoryUnavailable(f"{path} {problem}")
    if head.startswith(b"\x7fELF"):
        return _core(path, content, registers, processor)
    return _raw(path, content, registers)


def _mapped(path: Path) -> NDArray[np.uint8]:
    try:
        return np.memmap(path, dtype=np.uint8, mode="r")
    except OSError as error:
        raise MemoryUnavailable(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise MemoryUnavailable(f"{path} is empty") from error


def _raw(path: Path, content: NDArray[np.uint8], registers: Registers | None) -> Dump:
    if registers is None:
        raise UsageError(f"{path} is not an ELF core: to open it as a raw image of memory, add --registers FILE")
    cpu = registers.cpu()
    ram, doubts = registers.ram, _doubts_about(registers)
    if not ram:
        ram = (RamRange(PhysAddr(0), PhysAddr(round_down(len(content), FRAME_SIZE))),)
        size = human_size(len(content))
        doubts += (f"--registers has no `ram`, so all {size} of the file, from address 0 up, count as RAM",)
    for piece in ram:
        if piece.offset + piece.end - piece.start > len(content):
            raise UsageError(f"{path} is too small for the RAM given with --registers: it has {len(content)} bytes")
    memory = SharedMemory(_without_overlap(ram), {"": content}, "dump")
    return Dump(memory, cpu, registers, f"the raw image {path}, registers from a file", doubts)


def _core(path: Path, content: NDArray[np.uint8], registers: Registers | None, processor: int) -> Dump:
    try:
        header = _header(content)
        if header is None:
            raise MemoryUnavailable(
                f"{path} is an ELF file, but not a dump of an x86 machine (give a kernel's ELF file with --elf)"
            )
        segments = [_segment(content, header, index) for index in range(header.entries)]
        notes = [note for segment in segments if segment.kind == _PT_NOTE for note in _notes(content, segment)]
    except struct.error as error:
        raise MemoryUnavailable(f"{path} is truncated or damaged: its headers cannot be read") from error
    memory = _core_memory(path, content, [segment for segment in segments if segment.kind == _PT_LOAD])
    states = [body for name, body in notes if name == b"QEMU"]
    if not states and registers is None:
        raise UsageError(f"{path} has no registers written by QEMU: add --registers FILE")
    own, doubts = _processor(path, states, processor, header.machine) if states else (Registers({}), ())
    if registers is not None:
        own = own.joined(registers)
        doubts = doubts if "efer" not in registers.values else ()
    cpu = own.cpu()
    also = "the dump does not distinguish video memory and firmware from RAM: they count as RAM"
    how = f"QEMU's dump {path}, processor {processor} of {max(1, len(states))}"
    return Dump(memory, cpu, own, how, (*doubts, *_doubts_about(own), also))


def _doubts_about(registers: Registers) -> tuple[str, ...]:
    if "phys_bits" in registers.values:
        return ()
    return ("a dump does not record the width of physical addresses: 52 bits are assumed",)


def _header(content: NDArray[np.uint8]) -> _Header | None:
    """The ELF header; None when it is not that of an x86 core."""
    head = content[:64].tobytes()
    wide = head[4] == 2
    kind, machine = struct.unpack_from("<HH", head, 16)
    if kind != _ET_CORE or machine not in {_EM_386, _EM_X86_64} or head[5] != 1:
        return None
    table, sections = struct.unpack_from("<QQ", head, 32) if wide else struct.unpack_from("<II", head, 28)
    entry_size, entries = struct.unpack_from("<HH", head, 54 if wide else 42)
    if entries == _PN_XNUM:  # the first section header's sh_info has the number
        (entries,) = struct.unpack("<I", content[sections + (44 if wide else 28) :][:4].tobytes())
    return _Header(wide, machine, table, entry_size, entries)


def _segment(content: NDArray[np.uint8], header: _Header, index: int) -> _Segment:
    """One program header, its size that in the file."""
    start = header.table + index * header.entry_size
    raw = content[start : start + header.entry_size].tobytes()
    if header.wide:
        kind, _, offset, _, physical, size = struct.unpack_from("<IIQQQQ", raw)
    else:
        kind, offset, _, physical, size = struct.unpack_from("<IIIII", raw)
    return _Segment(kind, offset, physical, size)


def _notes(content: NDArray[np.uint8], segment: _Segment) -> Iterator[tuple[bytes, bytes]]:
    """Name and body of each note."""
    data = content[segment.offset : segment.offset + segment.size].tobytes()
    at = 0
    while at + 12 <= len(data):
        name_size, size, _ = struct.unpack_from("<III", data, at)
        name = data[at + 12 : at + 12 + name_size].rstrip(b"\0")
        body = at + 12 + round_up(name_size, 4)
        yield name, data[body : body + size]
        at = body + round_up(size, 4)


def _core_memory(path: Path, content: NDArray[np.uint8], loads: list[_Segment]) -> PhysicalMemory:
    """What the segments hold, as whole frames. With ``paging`` on, a frame is in several, with the same bytes."""
    blocks, ranges = {}, []
    for number, load in enumerate(loads):
        if load.offset + load.size > len(content):
            raise MemoryUnavailable(f"{path} is truncated: it ends before the memory at {load.physical:#x} does")
        start, end = round_up(load.physical, FRAME_SIZE), round_down(load.physical + load.size, FRAME_SIZE)
        if start >= end:
            continue
        first = load.offset + start - load.physical
        blocks[str(number)] = content[first : first + end - start]
        ranges.append(RamRange(PhysAddr(start), PhysAddr(end), str(number)))
    ram = _without_overlap(ranges)
    if not ram.ranges:
        raise MemoryUnavailable(f"{path} holds no memory")
    if len({segment.physical for segment in loads}) == 1 < len(loads):
        raise MemoryUnavailable(f"{path} is a core file of a process, not a dump of a machine")
    return SharedMemory(ram, blocks, "dump")


def _without_overlap(ranges: tuple[RamRange, ...] | list[RamRange]) -> RamMap:
    """The ranges by address, each starting after the end of the previous range."""
    kept: list[RamRange] = []
    for piece in sorted(ranges, key=lambda piece: (piece.start, -piece.end)):
        start = max(piece.start, kept[-1].end) if kept else piece.start
        if start < piece.end:
            kept.append(RamRange(PhysAddr(start), piece.end, piece.block, piece.offset + start - piece.start))
    return RamMap(kept)


def _processor(path: Path, states: list[bytes], number: int, machine: int) -> tuple[Registers, tuple[str, ...]]:
    """A processor's registers, and which of them are uncertain."""
    if not 0 <= number < len(states):
        raise UsageError(f"{path} has {len(states)} processors, numbered from 0: it has no processor {number}")
    if len(states[number]) < _STATE.size:
        raise MemoryUnavailable(f"{path} is damaged: the registers of processor {number} are incomplete")
    fields = _STATE.unpack_from(states[number])
    if fields[0] != _STATE_VERSION:
        raise MemoryUnavailable(f"{path} comes from a QEMU with an unsupported register format (version {fields[0]})")
    values = dict(zip(GENERAL, fields[2:20], strict=True))
    values |= {f"cr{n}": fields[_CR_AT + n] for n in (0, 2, 3, 4)}
    values["cpl"] = fields[_CS_AT] & 3
    pae = bool(values["cr0"] & CR0_PG and values["cr4"] & CR4_PAE)
    active = pae and machine == _EM_X86_64
    values["efer"] = (EFER_LME | EFER_LMA if active else 0) | (EFER_NXE if pae else 0)
    doubts = []
    if pae:
        doubts.append("a dump does not record EFER.NXE: it is assumed to be on")
    if pae and number:
        state = "on" if active else "off"
        doubts.append(f"a dump does not record EFER.LMA of processor {number}: it is assumed to be {state}")
    return Registers(values), tuple(doubts)
