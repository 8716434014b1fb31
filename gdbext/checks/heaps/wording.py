"""How findings describe chunks and bytes."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile

from gdbext.errors import MemoryUnavailable
from gdbext.heap.parts import Chunk
from gdbext.heap.snapshot import HeapSnapshot
from gdbext.machine.memory import VirtualMemory
from gdbext.units import FRAME_SIZE, VirtAddr, hex_address, round_up


def describe(chunk: Chunk) -> str:
    """One line about a chunk, as evidence shows it."""
    return f"chunk {hex_address(chunk.address)}, {'free' if chunk.free else 'used'}, {chunk.size} bytes"


def neighbours(heap: HeapSnapshot, index: int) -> tuple[str, ...]:
    """The chunks before and after a chunk, in the heap's order."""
    lines = []
    if index > 0:
        lines.append(f"before it: {describe(heap.chunks.at(index - 1))}")
    if index + 1 < len(heap.chunks):
        lines.append(f"after it: {describe(heap.chunks.at(index + 1))}")
    return tuple(lines)


def bytes_around(memory: VirtualMemory, address: VirtAddr, size: int) -> str:
    """Bytes as hexadecimal and as text, or why they cannot be read."""
    try:
        data = memory.read(address, size)
    except MemoryUnavailable as error:
        return str(error)
    text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in data)
    return f"{hex_address(address)}: {data.hex(' ')}  |{text}|"


TEXT_LEAST = 3
"""At least this many printable characters in a row count as text."""


def text_in(data: bytes) -> str:
    """The bytes as text; empty when they are not text."""
    end = data.find(b"\0")
    start = data if end < 0 else data[:end]
    return start.decode("ascii") if len(start) >= TEXT_LEAST and all(32 <= byte < 127 for byte in start) else ""


@dataclass(frozen=True)
class Written:
    """What a single write left from an address on: ``count`` bytes, or at least that many unless it is ``whole``."""

    count: int
    whole: bool
    what: str

    @property
    def length(self) -> str:
        """As text."""
        return f"{'' if self.whole else 'at least '}{self.count} byte{'s' * (self.count != 1)}"


TEXT_SHOWN = 64
"""Characters that are shown of a string."""
REPEATED_LEAST = 4
"""At least this many equal bytes in a row, other than 0, count as written on purpose."""


def written_over(memory: VirtualMemory, start: VirtAddr, room: int) -> Written | None:
    """What was written over the ``room`` bytes from ``start`` on, and how far it reaches; None when it is unclear.

    Raises MemoryUnavailable when these cannot be read.
    """
    data = memory.read(start, room) + _behind(memory, VirtAddr(start + room))
    letters = _leading(data, lambda byte: 32 <= byte < 127)
    ends = data[letters : letters + 1] == b"\0"
    if letters > TEXT_LEAST or (letters == TEXT_LEAST and ends):
        text = data[: min(letters, TEXT_SHOWN)].decode("ascii") + "..." * (letters > TEXT_SHOWN)
        return Written(letters + ends, letters < len(data), f"the tail of a string, {text!r}")
    same = _leading(data, lambda byte: byte == data[0])
    if same >= REPEATED_LEAST and data[0]:
        return Written(same, same < len(data), f"repeated {data[0]:#04x} bytes")
    return None


def _behind(memory: VirtualMemory, start: VirtAddr) -> bytes:
    """The rest of a page; empty when it cannot be read."""
    try:
        return memory.read(start, round_up(start + 1, FRAME_SIZE) - start)
    except MemoryUnavailable:
        return b""


def _leading(data: bytes, alike: Callable[[int], bool]) -> int:
    return sum(1 for _ in takewhile(alike, data))
