"""A number that a manager keeps about itself, and its address."""

from dataclasses import dataclass

from gdbext.machine.memory import VirtualMemory
from gdbext.profile.expressions.expression import Expression
from gdbext.units import VirtAddr


@dataclass(frozen=True)
class Counter:
    """A counter by its meaning; ``address`` is None when the number is computed; ``text`` is its expression."""

    meaning: str
    value: int
    address: VirtAddr | None
    text: str


@dataclass(frozen=True)
class CounterStat:
    """A number that a manager keeps, and the counted value (None where it cannot be counted)."""

    name: str
    value: int
    counted: int | None


def read_counter(meaning: str, counter: Expression, memory: VirtualMemory, node: VirtAddr | None = None) -> Counter:
    """The counter's value now; ``node`` is the address of the structure that it is in, if it is about one."""
    return counter_of(meaning, counter, counter.evaluate(memory, node), memory, node)


def counter_of(
    meaning: str, counter: Expression, value: int, memory: VirtualMemory, node: VirtAddr | None = None
) -> Counter:
    """The same of a value that has been read already."""
    return Counter(meaning, value, counter.address(memory, node) if counter.is_lvalue else None, counter.text)
