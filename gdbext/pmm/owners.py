"""Who says that frames are his: the buffers of devices, and the arrays in which somebody keeps frames for later."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gdbext.errors import DescriptionError, MemoryUnavailable
from gdbext.machine.memory import RamMap
from gdbext.pmm.snapshot import places_of
from gdbext.profile.expressions.expression import Expression
from gdbext.profile.language.owners import Buffers, Held
from gdbext.structures.unread import NOT_YET, Unread
from gdbext.symbols.model import Kind
from gdbext.units import FRAME_SIZE, WORD_MASK, PhysAddr, VirtAddr
from gdbext.x86.virtual import PagedMemory

MOST_BUFFERS = 1 << 16
MOST_HELD = 1 << 20
LONGEST_NAME = 64


@dataclass(frozen=True)
class Piece:
    """A physically contiguous piece of a buffer as the page tables show it, ``offset`` bytes from its start."""

    offset: int
    physical: PhysAddr
    size: int


@dataclass(frozen=True)
class Buffer:
    """A device's buffer, whose record lies ``at``: ``size`` bytes from ``physical`` on.

    ``in_ram`` says whether all of it is RAM: else it is not believed. ``align``, ``limit`` and ``boundary`` are what
    the device asks for, 0 where it does not care. ``pieces`` is what the page tables show at ``address``; both are
    None where the kernel does not keep that.
    """

    name: str
    at: VirtAddr
    physical: PhysAddr
    size: int
    in_ram: bool
    align: int
    limit: int
    boundary: int
    address: VirtAddr | None
    pieces: tuple[Piece, ...] | None

    @property
    def sound(self) -> tuple[tuple[PhysAddr, PhysAddr], ...]:
        """The physical ranges that are surely its own: where the page tables, if they can be asked, agree."""
        if not self.in_ram:
            return ()
        if self.pieces is None:
            return ((self.physical, PhysAddr(self.physical + self.size)),)
        return tuple(
            (piece.physical, PhysAddr(piece.physical + piece.size))
            for piece in self.pieces
            if piece.physical == self.physical + piece.offset
        )


@dataclass(frozen=True)
class BuffersSnapshot:
    """The live buffers of one table of the profile; ``broken`` says why not all of them could be read."""

    table: str
    buffers: tuple[Buffer, ...]
    broken: str | None
    in_flux: bool


@dataclass(frozen=True)
class HeldSnapshot:
    """Frames that are kept in an array: their physical addresses, in its order; each element is ``stride`` bytes."""

    table: str
    text: str
    at: VirtAddr
    stride: int
    frames: NDArray[np.uint64]
    frame_size: int
    in_flux: bool


def read_buffers(described: Buffers[Expression], memory: PagedMemory, ram: RamMap) -> BuffersSnapshot | Unread:
    """The buffers that a profile describes, of a machine with this RAM."""
    buffers: list[Buffer] = []
    broken: str | None = None
    try:
        if described.ready is not None and not described.ready.evaluate(memory):
            return Unread(described.table, "dma", NOT_YET, absent=True)
        in_flux = bool(described.lock and described.lock.evaluate(memory))
    except (MemoryUnavailable, DescriptionError) as error:
        return Unread(described.table, "dma", str(error), absent=False)
    try:
        for at in places_of(described, memory, "buffers", MOST_BUFFERS):
            if described.live is None or described.live.evaluate(memory, at):
                buffers.append(_buffer(described, memory, ram, at))
    except (MemoryUnavailable, DescriptionError) as error:
        broken = str(error)
    return BuffersSnapshot(described.table, tuple(buffers), broken, in_flux)


def _buffer(described: Buffers[Expression], memory: PagedMemory, ram: RamMap, at: VirtAddr) -> Buffer:
    physical = PhysAddr(described.physical.evaluate(memory, at) & WORD_MASK)
    size = described.size.evaluate(memory, at)
    in_ram = size > 0 and int(ram.first_outside(np.array([physical], dtype=np.uint64))[0]) >= physical + size
    wishes = (described.align, described.limit, described.boundary)
    align, limit, boundary = (wish.evaluate(memory, at) if wish else 0 for wish in wishes)
    address = VirtAddr(described.address.evaluate(memory, at) & WORD_MASK) if described.address else None
    pieces = None if address is None else _pieces(memory, address, size if in_ram else 0)
    name = _text(described.name, memory, at) if described.name else ""
    return Buffer(name or described.table, at, physical, size, in_ram, align, limit, boundary, address, pieces)


def _pieces(memory: PagedMemory, address: VirtAddr, size: int) -> tuple[Piece, ...]:
    if not size:
        return ()
    found = memory.pieces(address, size)
    return tuple(Piece(start - address, physical, length) for start, physical, length in found)


def _text(name: Expression, memory: PagedMemory, at: VirtAddr) -> str:
    """A text that the kernel keeps, or points to; empty when it cannot be read."""
    own = name.type.kind is Kind.ARRAY
    most = min(name.type.count or 0, LONGEST_NAME) if own else LONGEST_NAME
    try:
        start = name.address(memory, at) if own else VirtAddr(name.evaluate(memory, at) & WORD_MASK)
        found = memory.read(start, min(most, FRAME_SIZE - start % FRAME_SIZE))
        if b"\0" not in found and len(found) < most:
            found += memory.read(VirtAddr(start + len(found)), most - len(found))
    except (MemoryUnavailable, DescriptionError):
        return ""
    text = found.partition(b"\0")[0].decode("utf-8", "replace")
    return text if text.isprintable() else ""


def read_held(described: Held[Expression], memory: PagedMemory) -> HeldSnapshot | Unread:
    """The frames that a profile says are kept in an array."""
    try:
        if described.ready is not None and not described.ready.evaluate(memory):
            return Unread(described.table, "held", NOT_YET, absent=True)
        return _held(described, memory)
    except (MemoryUnavailable, DescriptionError) as error:
        return Unread(described.table, "held", str(error), absent=False)


def _held(described: Held[Expression], memory: PagedMemory) -> HeldSnapshot:
    count, at = described.count.evaluate(memory), VirtAddr(described.entries.evaluate(memory))
    array = described.entries.type
    room = array.count if array.kind is Kind.ARRAY and array.count else MOST_HELD
    if not 0 <= count <= room:
        raise MemoryUnavailable(f"{described.count.text} is {count}, but {described.entries.text} has room for {room}")
    stride = described.element.size if described.element else 0
    assert described.frame is not None  # the binder has seen to it
    if described.frame.flat is None:
        values = [described.frame.evaluate(memory, at + i * stride) for i in range(count)]
        found = np.array([value & WORD_MASK for value in values], dtype=np.uint64)
    else:
        data = np.frombuffer(memory.read(at, count * stride), dtype=np.uint8)
        offsets = np.arange(count, dtype=np.int64) * stride
        found = described.frame.flat.evaluate_array(data, offsets, np.uint64(at) + offsets.astype(np.uint64))
    unit = described.frame_size if described.unit == "frame" else 1
    frames = np.minimum(found.astype(np.uint64), np.uint64(WORD_MASK // unit)) * np.uint64(unit)
    return HeldSnapshot(
        described.table,
        described.entries.text,
        at,
        stride,
        frames,
        described.frame_size,
        bool(described.lock and described.lock.evaluate(memory)),
    )
