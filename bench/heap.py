"""What the reference kernel's kinds of heap cost: instructions for each request, and memory, told by the guest itself.

``scenario=heapbench`` measures every kind in one boot; QEMU counts instructions (bench/pmm.py).
"""

from dataclasses import dataclass
from pathlib import Path

from bench.pmm import Cost, calibrated, facts, serial_until

MEMORY = "256M"
PLAIN = "poison=0"
CARE = {"poison": "poison=1", "redzones": "poison=0 redzone=1"}
"""Boot options that make a heap find more, and cost something."""


@dataclass(frozen=True)
class Memory:
    """Bytes of one heap when its work is done: ``asked`` for, in used and free ``payload``s, ``committed`` in all."""

    chunks: int
    asked: int
    payload: int
    free: int
    largest: int
    committed: int

    @property
    def padding(self) -> float:
        """Payload for each byte that was asked for: 1 is best (internal fragmentation)."""
        return self.payload / self.asked

    @property
    def beside(self) -> float:
        """Bytes for each used chunk that are in no payload: headers, tables, what is left over at ends of pages."""
        return (self.committed - self.payload - self.free) / self.chunks

    @property
    def scattered(self) -> float | None:
        """The share of free bytes that are not in the largest chunk (external fragmentation); None: none is free."""
        return None if not self.free else 1 - self.largest / self.free

    @property
    def footprint(self) -> float:
        """Memory taken from the system for each byte that was asked for."""
        return self.committed / self.asked


@dataclass(frozen=True)
class Figures:
    """All that one boot has told, by kind and work; costs by operation (``alloc``, ``resize``, ``free``) too."""

    kinds: tuple[str, ...]
    works: tuple[str, ...]
    memory: dict[tuple[str, str], Memory]
    costs: dict[tuple[str, str, str], Cost]


def serial_of(kernel: Path, more: str = PLAIN) -> str:
    """What the kernel prints until its figures are complete."""
    return serial_until(kernel, f"scenario=heapbench {more}", MEMORY)


def parsed(serial: str) -> Figures:
    """The figures on the serial line; an error when the counter did not count instructions."""
    calibrated(serial)
    memory = {
        (m.pop("kind"), m.pop("work")): Memory(**{name: int(value) for name, value in m.items()})
        for m in facts(serial, "memory")
    }
    costs = {
        (c["kind"], c["work"], c["op"]): Cost(int(c["count"]), int(c["failed"]), int(c["total"]), int(c["worst"]))
        for c in facts(serial, "cost")
    }
    kinds, works = (tuple(dict.fromkeys(key[at] for key in memory)) for at in (0, 1))
    return Figures(kinds, works, memory, costs)


def measure(kernel: Path, more: str = PLAIN) -> Figures:
    """Every kind with every work."""
    return parsed(serial_of(kernel, more))
