"""Recorded owners of frames: the buffers of devices, and the arrays in which the kernel keeps frames for later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gdbext.errors import DescriptionError, MemoryUnavailable
from gdbext.machine.memory import RamMap
from gdbext.profile.expressions.expression import Expression
from gdbext.profile.language.owners import Buffers, Held
from gdbext.structures.collections import read
from gdbext.structures.unread import NOT_YET, Unread
from gdbext.symbols.model import Kind
from gdbext.units import FRAME_SIZE, WORD_MASK, PhysAddr, VirtAddr, hex_address
from gdbext.x86.virtual import PagedMemory

LONGEST_NAME = 64


@dataclass(frozen=True)
class Piece:
    """A physically contiguous piece of a buffer as the page tables map it, ``offset`` bytes from its start."""

    offset: int
    physical: PhysAddr
    size: int


@dataclass(frozen=True)
class Buffer:
    """A device's buffer, whose record is ``at``: ``size`` bytes from ``physical``.

    ``in_ram`` says whether all of it is RAM; if not, it is not trusted. ``align``, ``limit`` and ``boundary`` are what
    the device requires, 0 where it has no requirement. ``pieces`` is what the page tables map at ``address``; both are
    None where the kernel does not record the address.
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
        """The physical ranges that are certainly its own: those that the page tables, if available, confirm."""
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
    """Frames that the kernel keeps: their physical addresses, in order, and the addresses of the elements listing them.

    ``text`` is the array that they are in, None if it is not an array.
    """

    table: str
    text: str | None
    places: NDArray[np.uint64]
    frames: NDArray[np.uint64]
    frame_size: int
    in_flux: bool

    def element(self, index: int) -> str:
        """The element that lists a frame, as text."""
        if self.text is not None:
            return f"{self.text}[{index}]"
        return f"the element at {hex_address(int(self.places[index]))}"


def read_buffers(described: Buffers[Expression], memory: PagedMemory, ram: RamMap) -> BuffersSnapshot | Unread:
    """The buffers that a profile describes, of a machine with this RAM."""
    buffers: list[Buffer] = []
    try:
        if described.ready is not None and not described.ready.evaluate(memory):
            return Unread(described.table, "dma", NOT_YET, absent=True)
        in_flux = bool(described.lock and described.lock.evaluate(memory))
    except (MemoryUnavailable, DescriptionError) as error:
        return Unread(described.table, "dma", str(error), absent=False)
    names = ("physical", "size", "align", "limit", "boundary", "address")
    try:
        rows = read(described.collection, memory, {name: getattr(described, name) for name in names}, "buffers")
        broken, rows = rows.trouble, rows.sound()
        for at, *values in zip(rows.nodes.tolist(), *(rows[name].tolist() for name in rows.columns), strict=True):
            numbers = dict(zip(rows.columns, values, strict=True))
            buffers.append(_buffer(described, memory, ram, VirtAddr(at), numbers))
    except (MemoryUnavailable, DescriptionError) as error:
        broken = str(error)
    return BuffersSnapshot(described.table, tuple(buffers), broken, in_flux)


def _buffer(
    described: Buffers[Expression], memory: PagedMemory, ram: RamMap, at: VirtAddr, numbers: Mapping[str, int]
) -> Buffer:
    """The buffer whose record is at an address and has these numbers."""
    physical, size = PhysAddr(numbers["physical"] & WORD_MASK), numbers["size"]
    in_ram = size > 0 and int(ram.first_outside(np.array([physical], dtype=np.uint64))[0]) >= physical + size
    address = VirtAddr(numbers["address"] & WORD_MASK) if "address" in numbers else None
    return Buffer(
        name=(_text(described.name, memory, at) if described.name else "") or described.table,
        at=at,
        physical=physical,
        size=size,
        in_ram=in_ram,
        align=numbers.get("align", 0),
        limit=numbers.get("limit", 0),
        boundary=numbers.get("boundary", 0),
        address=address,
        pieces=None if address is None else _pieces(memory, address, size if in_ram else 0),
    )


def _pieces(memory: PagedMemory, address: VirtAddr, size: int) -> tuple[Piece, ...]:
    if not size:
        return ()
    found = memory.pieces(address, size)
    return tuple(Piece(start - address, physical, length) for start, physical, length in found)


def _text(name: Expression, memory: PagedMemory, at: VirtAddr) -> str:
    """A string that the kernel stores or points to; empty if it cannot be read."""
    own = name.type.kind is Kind.ARRAY
    most = min(name.type.count or LONGEST_NAME, LONGEST_NAME) if own else LONGEST_NAME
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
    """The frames that the kernel keeps for later, as a profile describes."""
    try:
        if described.ready is not None and not described.ready.evaluate(memory):
            return Unread(described.table, "held", NOT_YET, absent=True)
        rows = read(described.collection, memory, {"frame": described.frame}, "elements").whole()
        in_flux = bool(described.lock and described.lock.evaluate(memory))
    except (MemoryUnavailable, DescriptionError) as error:
        return Unread(described.table, "held", str(error), absent=False)
    unit = described.frame_size if described.unit == "frame" else 1
    frames = np.minimum(rows["frame"].astype(np.uint64), np.uint64(WORD_MASK // unit)) * np.uint64(unit)
    source = described.collection
    in_turn = source.entries is not None and source.when is None and source.each is None
    text = source.entries.text if source.entries is not None and in_turn else None
    return HeldSnapshot(described.table, text, rows.nodes, frames, described.frame_size, in_flux)
