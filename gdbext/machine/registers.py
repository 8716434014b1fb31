"""A processor's registers from a file written or saved by the user, for memory that comes without them.

Three forms are accepted: what QEMU's monitor prints on ``info registers``, TOML, and JSON. The last two hold numbers by
name (``cr3 = 0x125000``; in JSON as text, ``"0x125000"``) and, for a raw image, what of it is RAM::

    cr0 = 0x80010031
    cr3 = 0x125000
    cr4 = 0x3008a0
    efer = 0xd00
    phys_bits = 40                                            # MAXPHYADDR, if known
    ram = [[0, 0xa0000], [0x100000, 0x4000000]]               # physical start and end (exclusive)
    # ram = [[0, 0xc0000000], [0x100000000, 0x140000000, 0xc0000000]]      the third: its offset in the file
"""

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gdbext.errors import UsageError
from gdbext.machine.cpu import POWER_ON_PAT, CpuState
from gdbext.machine.memory import RamRange
from gdbext.units import WORD_MASK, PhysAddr, VirtAddr, Word64

CONTROL = ("cr0", "cr3", "cr4", "efer")
"""The registers that every translation needs."""

GENERAL = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp", *(f"r{n}" for n in range(8, 16)), "rip", "rflags")
"""The general registers, in the order of QEMU's own dumps."""

_KNOWN = {*CONTROL, *GENERAL, "cr2", "cpl", "phys_bits", "pkru", "pat"}
_PRINTED = re.compile(r"\b([A-Z][A-Z0-9]*) *=([0-9a-f]+)\b")
_PRINTED_NAMES = {"rfl": "rflags"}


@dataclass(frozen=True)
class Registers:
    """Registers by name, unsigned; the processor's features if given; a raw image's RAM (``offset`` in it)."""

    values: Mapping[str, int]
    offered: frozenset[str] | None = None
    ram: tuple[RamRange, ...] = ()

    def joined(self, other: "Registers") -> "Registers":
        """These registers, overridden by those that ``other`` has."""
        offered = self.offered if other.offered is None else other.offered
        return Registers({**self.values, **other.values}, offered, other.ram or self.ram)

    def cpu(self) -> CpuState:
        """The processor's state; UsageError when a register that every translation needs is missing."""
        missing = [name for name in CONTROL if name not in self.values]
        if missing:
            raise UsageError(f"the processor's state is incomplete: {', '.join(missing)} missing")
        values = self.values
        return CpuState(
            cr0=Word64(values["cr0"]),
            cr2=VirtAddr(values.get("cr2", 0)),
            cr3=Word64(values["cr3"]),
            cr4=Word64(values["cr4"]),
            efer=Word64(values["efer"]),
            rflags=Word64(values.get("rflags", 2)),
            cpl=values.get("cpl", 0),
            phys_bits=values.get("phys_bits", 52),
            pkru=Word64(values["pkru"]) if "pkru" in values else None,
            pat=Word64(values.get("pat", POWER_ON_PAT)),
            offered=self.offered,
        )


def read_registers(path: Path, processor: int = 0) -> Registers:
    """The registers of one processor from a file; UsageError, one line, when it has none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(f"the register file {path} cannot be read: {reason}") from error
    if re.search(r"\bCR0=[0-9a-f]", text):
        return _printed(text, path, processor)
    try:
        document = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except (json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"the register file {path} is not `info registers` output, TOML or JSON: {error}") from error
    return _described(document, path)


def _printed(text: str, path: Path, processor: int) -> Registers:
    """What the monitor prints, for one processor or for all."""
    parts = re.split(r"^CPU#\d+\s*$", text, flags=re.MULTILINE)
    parts = parts[1:] or parts
    if processor >= len(parts):
        raise UsageError(
            f"the register file {path} has {len(parts)} processors, numbered from 0: it has no processor {processor}"
        )
    found = {name.lower(): int(value, 16) for name, value in _PRINTED.findall(parts[processor])}
    values = {_PRINTED_NAMES.get(name, name): value for name, value in found.items()}
    return Registers({name: value for name, value in values.items() if name in _KNOWN})


def _described(document: Mapping[str, Any], path: Path) -> Registers:
    values: dict[str, int] = {}
    for name, value in document.items():
        if name in {"ram", "offered"}:
            continue
        if name not in _KNOWN:
            raise UsageError(f"the register file {path}: there is no register '{name}'")
        values[name] = _number(value, f"the register file {path}: {name}")
    offered = document.get("offered")
    if offered is not None and not (isinstance(offered, list) and all(isinstance(name, str) for name in offered)):
        raise UsageError(f"the register file {path}: offered must be a list of feature names")
    ranges = document.get("ram", [])
    if not isinstance(ranges, list):
        raise UsageError(f"the register file {path}: ram must be a list of ranges")
    ram = tuple(_range(entry, f"the register file {path}: ram") for entry in ranges)
    return Registers(values, frozenset(offered) if offered is not None else None, ram)


def _range(entry: object, where: str) -> RamRange:
    if not isinstance(entry, list) or len(entry) not in {2, 3}:
        raise UsageError(f"{where}: a range must be [start, end] or [start, end, offset in the file]")
    numbers = [_number(value, where) for value in entry]
    if numbers[0] >= numbers[1] or any(number % 4096 for number in numbers):
        raise UsageError(f"{where}: a range's start must be below its end, and both multiples of 4096")
    return RamRange(PhysAddr(numbers[0]), PhysAddr(numbers[1]), "", numbers[2] if len(numbers) == 3 else numbers[0])


def _number(value: object, where: str) -> int:
    try:
        number = int(value, 0) if isinstance(value, str) else value
    except ValueError:
        number = None
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= WORD_MASK:
        raise UsageError(f"{where} is not an unsigned 64-bit number: {value!r}")
    return number
