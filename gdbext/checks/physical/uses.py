"""Who uses frames, as far as page tables and the kernel's image tell it: what the rules about owners go by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gdbext.checks.physical.inputs import PhysicalRange
from gdbext.pmm.owners import BuffersSnapshot, HeldSnapshot
from gdbext.pmm.snapshot import Place
from gdbext.units import FRAME_SHIFT, FRAME_SIZE, PhysAddr, VirtAddr, hex_address
from gdbext.vmm.map import NAMELESS, Names, kinds_of
from gdbext.x86.space import AddressSpace
from gdbext.x86.virtual import PagedMemory


@dataclass(frozen=True)
class FrameUses:
    """Physical ranges in use.

    ``tables`` are the page tables, ``image`` the kernel's image, ``buffers`` the memory that devices use, ``held`` the
    frames that somebody keeps by number. ``mapped`` is what is mapped for a purpose, which is
    every mapping but those of much of RAM at once (direct map, identity, other linear windows), of the image, and
    through a recursive slot; each with its virtual address. ``left_out`` says what could not be known of tables and
    mappings, ``image_left_out`` of the image.
    """

    tables: tuple[PhysicalRange, ...]
    image: tuple[PhysicalRange, ...]
    buffers: tuple[PhysicalRange, ...]
    held: tuple[PhysicalRange, ...]
    mapped: tuple[tuple[VirtAddr, PhysicalRange], ...]
    left_out: tuple[str, ...]
    image_left_out: tuple[str, ...]

    def owners(self) -> tuple[PhysicalRange, ...]:
        """Everybody who is known to use frames, what tells most of a frame first. Ranges may overlap."""
        return (*self.tables, *self.image, *self.buffers, *self.held, *(used for _, used in self.mapped))

    def mapped_beside(self, places: tuple[Place, ...]) -> tuple[PhysicalRange, ...]:
        """What is mapped for another purpose than to hold the data at these places."""
        return tuple(
            used
            for start, used in self.mapped
            if not any(start < own.start + own.size and start + used.end - used.start > own.start for own in places)
        )


def frame_uses(
    memory: PagedMemory,
    space: AddressSpace | None,
    names: Names,
    buffers: tuple[BuffersSnapshot, ...],
    held: tuple[HeldSnapshot, ...],
) -> FrameUses:
    """The uses of frames in a space; None for the space when paging is off."""
    image = [
        physical_ranges(memory, s.address, s.size, "kernel image", f"the kernel's {s.name}") for s in names.sections
    ]
    unmapped = [s.name for s, pieces in zip(names.sections, image, strict=True) if s.size and not pieces]
    return FrameUses(
        tables=_tables(space) if space else (),
        image=tuple(piece for pieces in image for piece in pieces),
        buffers=tuple(_buffers(buffers)),
        held=tuple(_held(held)),
        mapped=_mapped(space, names) if space and names.direct_map is not None else (),
        left_out=_left_out(space, names),
        image_left_out=(f"not mapped, so their frames are not known: {' '.join(unmapped)}",) if unmapped else (),
    )


def physical_ranges(
    memory: PagedMemory, address: VirtAddr, size: int, kind: str, use: str
) -> tuple[PhysicalRange, ...]:
    """The physical ranges behind a virtual one, as far as it is mapped."""
    if not size:
        return ()
    pieces = memory.pieces(address, size)
    return tuple(PhysicalRange(physical, PhysAddr(physical + length), kind, use) for _, physical, length in pieces)


def _tables(space: AddressSpace) -> tuple[PhysicalRange, ...]:
    starts = [PhysAddr(frame << FRAME_SHIFT) for frame in space.table_frames.tolist()]
    return tuple(
        PhysicalRange(start, PhysAddr(start + FRAME_SIZE), "page table", "it is a page table") for start in starts
    )


def _buffers(tables: tuple[BuffersSnapshot, ...]) -> Iterator[PhysicalRange]:
    for table in tables:
        for buffer in table.buffers:
            use = f"it belongs to the device buffer '{buffer.name}', whose record is at {hex_address(buffer.at)}"
            yield from (PhysicalRange(start, end, "dma", use) for start, end in buffer.sound)


def _held(tables: tuple[HeldSnapshot, ...]) -> Iterator[PhysicalRange]:
    for table in tables:
        for index, frame in enumerate(table.frames.tolist()):
            use = f"it is kept in {table.element(index)} of '{table.table}'"
            yield PhysicalRange(PhysAddr(frame), PhysAddr(frame + table.frame_size), "held", use)


def _mapped(space: AddressSpace, names: Names) -> tuple[tuple[VirtAddr, PhysicalRange], ...]:
    runs = space.runs
    chosen = kinds_of(space, runs, names) == NAMELESS
    columns = (array[chosen].tolist() for array in (runs.start, runs.size, runs.physical))
    return tuple(
        (
            VirtAddr(start),
            PhysicalRange(
                PhysAddr(physical), PhysAddr(physical + size), "mapping", f"it is mapped at {hex_address(start)}"
            ),
        )
        for start, size, physical in zip(*columns, strict=True)
    )


def _left_out(space: AddressSpace | None, names: Names) -> tuple[str, ...]:
    """What is not known of who uses frames, as sentences."""
    if space is None:
        return ("paging is off: there are no page tables and no mappings to compare with",)
    found = []
    if names.direct_map is None:
        found.append(f"mappings are not compared: {names.why_no_direct_map}")
    unreadable = sum(problem.kind == "unreadable" for problem in space.problems)
    if unreadable:
        found.append(f"{unreadable} page table{'s' * (unreadable != 1)} cannot be read (vmcheck says which)")
    return tuple(found)
