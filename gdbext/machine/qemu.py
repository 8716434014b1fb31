"""What QEMU's monitor reports about a machine: which physical addresses are RAM, its file, the processor."""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from gdbext.errors import MemoryUnavailable
from gdbext.machine.memory import RamMap, RamRange
from gdbext.units import PhysAddr

_VIEW_OF_CPU = re.compile(r'^\s*AS "cpu-memory-\d+"', re.MULTILINE)
_FLAT_RANGE = re.compile(
    r"^\s*([0-9a-f]{16})-([0-9a-f]{16}) \(prio -?\d+, (\w+)\): (.+?)(?: @([0-9a-f]{16}))?(?: KVM)?\s*$", re.MULTILINE
)
_BACKEND = re.compile(r"^memory backend: (\S+)$", re.MULTILINE)
_SHARE = re.compile(r"^\s*share: (\w+)$", re.MULTILINE)
_THREAD = re.compile(r"thread_id=(\d+)")
_HOST_ADDRESS = re.compile(r"Host virtual address for 0x[0-9a-f]+ \((.+)\) is 0x([0-9a-f]+)")

DEVICES_TRIED = 16
"""How many of QEMU's unattached devices are searched for a processor; it is the first on every PC."""


class Monitor(Protocol):
    """QEMU's human monitor."""

    def command(self, text: str) -> str:
        """What the monitor prints; MemoryUnavailable when there is no monitor."""


@dataclass(frozen=True)
class Backend:
    """A block of guest RAM as ``info memdev`` lists it; ``path`` is its file on QEMU's machine, if it has one."""

    name: str
    shared: bool
    path: str | None


def memory_backends(monitor: Monitor) -> tuple[Backend, ...]:
    """The blocks that make up the guest's RAM."""
    text = monitor.command("info memdev")
    parts = _BACKEND.split(text)[1:]
    backends = []
    for name, facts in zip(parts[::2], parts[1::2], strict=True):
        share = _SHARE.search(facts)
        shared = share is not None and share[1] == "true"
        backends.append(Backend(name, shared, _file_behind(monitor, name) if shared else None))
    return tuple(backends)


def _file_behind(monitor: Monitor, name: str) -> str | None:
    path = _property(monitor, f"/objects/{name}", "mem-path")
    return path if isinstance(path, str) and path else None


def ram_map(monitor: Monitor, blocks: set[str]) -> RamMap:
    """The physical addresses that are RAM to a processor: the flat view of its memory, restricted to RAM blocks.

    RAM that is write-protected for now (the BIOS shadow below 1 MiB) counts; ROM and devices do not.
    """
    return _ram_in(monitor.command("info mtree -f"), frozenset(blocks))


@lru_cache(maxsize=4)
def _ram_in(text: str, blocks: frozenset[str]) -> RamMap:
    """The same by the monitor's answer, which hardly ever changes from one stop to the next."""
    for view in re.split(r"^FlatView #\d+$", text, flags=re.MULTILINE):
        if not _VIEW_OF_CPU.search(view):
            continue
        ranges = [
            RamRange(PhysAddr(int(first, 16)), PhysAddr(int(last, 16) + 1), name, int(offset or "0", 16))
            for first, last, kind, name, offset in _FLAT_RANGE.findall(view)
            if kind in {"ram", "rom"} and name in blocks
        ]
        if ranges:
            return RamMap(_joined(ranges))
    raise MemoryUnavailable("QEMU's monitor does not report which physical addresses are RAM (info mtree -f)")


def _joined(ranges: list[RamRange]) -> list[RamRange]:
    """The ranges, neighbours that follow each other in memory and in their block made one."""
    result: list[RamRange] = []
    for ram in sorted(ranges):
        before = result[-1] if result else None
        follows = before is not None and (before.end, before.block) == (ram.start, ram.block)
        if before is not None and follows and before.offset + before.end - before.start == ram.offset:
            result[-1] = RamRange(before.start, ram.end, before.block, before.offset)
        else:
            result.append(ram)
    return result


def thread_ids(monitor: Monitor) -> tuple[int, ...]:
    """The ids of the threads that run the guest's processors, as numbered on QEMU's machine."""
    found = tuple(int(number) for number in _THREAD.findall(monitor.command("info cpus")))
    if not found:
        raise MemoryUnavailable("QEMU's monitor does not report its threads (info cpus)")
    return found


def host_address(monitor: Monitor, address: PhysAddr, block: str) -> int:
    """The address, in QEMU's own process, of a physical address that is RAM of this block."""
    found = _HOST_ADDRESS.search(monitor.command(f"gpa2hva {address:#x}"))
    if found is None or found[1] != block:
        raise MemoryUnavailable(f"QEMU's monitor does not report where the guest's RAM '{block}' is (gpa2hva)")
    return int(found[2], 16)


@dataclass(frozen=True)
class Features:
    """What a processor supports beyond what its registers show.

    ``phys_bits`` is MAXPHYADDR in bits; ``offered`` holds the names, as QEMU spells them, of those features in
    `FEATURES_ASKED` that the processor has.
    """

    phys_bits: int
    offered: frozenset[str]


FEATURES_ASKED = ("pdpe1gb", "nx", "smep", "smap", "umip", "pku", "la57", "pcid")


def processor_features(monitor: Monitor) -> Features | None:
    """The features of the guest's processors (QEMU gives all of them the same); None when QEMU does not report them."""
    for number in range(DEVICES_TRIED):
        path = f"/machine/unattached/device[{number}]"
        bits = _property(monitor, path, "phys-bits")
        if isinstance(bits, int) and bits:
            offered = frozenset(name for name in FEATURES_ASKED if _property(monitor, path, name) is True)
            return Features(bits, offered)
    return None


def _property(monitor: Monitor, path: str, name: str) -> object:
    """A property of one of QEMU's objects, or None when it has no property of that name."""
    try:
        value: object = json.loads(monitor.command(f"qom-get {path} {name}"))
    except json.JSONDecodeError:  # the monitor prints an error message instead of JSON
        return None
    return value
