"""Who uses frames, by page tables, the kernel's image and its records: the input of the rules on owners."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gdbext.checks.physical.inputs import PhysicalRange
from gdbext.pmm.owners import BuffersSnapshot, HeldSnapshot
from gdbext.pmm.snapshot import Place
from gdbext.symbols.model import Section
from gdbext.units import FRAME_SHIFT, FRAME_SIZE, PhysAddr, VirtAddr, hex_address
from gdbext.vmm.map import NAMELESS, Names, kinds_of
from gdbext.x86.space import AddressSpace
from gdbext.x86.virtual import PagedMemory

Mapped = tuple[tuple[VirtAddr, PhysicalRange], ...]
"""Physical ranges that are mapped, each with its virtual address."""
NEAR = 1 << 21
"""Sections closer together than this, in bytes, are looked up in page tables together."""


def physical_ranges(
    memory: PagedMemory, address: VirtAddr, size: int, kind: str, use: str
) -> tuple[PhysicalRange, ...]:
    """The physical ranges that a virtual range is mapped to, as far as it is mapped."""
    if not size:
        return ()
    pieces = memory.pieces(address, size)
    return tuple(PhysicalRange(physical, PhysAddr(physical + length), kind, use) for _, physical, length in pieces)


def metadata_of(memory: PagedMemory, places: Iterable[Place]) -> tuple[PhysicalRange, ...]:
    """The physical ranges of the data at a manager's places."""
    own = [physical_ranges(memory, place.start, place.size, "manager", f"it holds {place.what}") for place in places]
    return tuple(piece for pieces in own for piece in pieces)


def tables_of(space: AddressSpace) -> tuple[PhysicalRange, ...]:
    """The page tables of a space."""
    starts = [PhysAddr(frame << FRAME_SHIFT) for frame in space.table_frames.tolist()]
    return tuple(
        PhysicalRange(start, PhysAddr(start + FRAME_SIZE), "page table", "it is a page table") for start in starts
    )


def image_of(memory: PagedMemory, sections: Iterable[Section]) -> tuple[tuple[PhysicalRange, ...], tuple[str, ...]]:
    """The physical ranges of the kernel's image, and what is not known about them, as sentences."""
    image: list[PhysicalRange] = []
    unmapped: list[str] = []
    for group in _neighbours(section for section in sections if section.size):
        start, end = group[0].address, max(section.address + section.size for section in group)
        pieces = memory.pieces(start, end - start)
        for section in group:
            found = list(_cut(pieces, section))
            image += found
            unmapped += [] if found else [section.name]
    left_out = (f"not mapped, so their frames are unknown: {' '.join(unmapped)}",) if unmapped else ()
    return tuple(image), left_out


def _neighbours(sections: Iterable[Section]) -> list[list[Section]]:
    """The sections by address, grouped by whose mappings are looked up together."""
    groups: list[list[Section]] = []
    for section in sorted(sections, key=lambda section: section.address):
        if groups and section.address - (groups[-1][-1].address + groups[-1][-1].size) < NEAR:
            groups[-1].append(section)
        else:
            groups.append([section])
    return groups


def _cut(pieces: Iterable[tuple[VirtAddr, PhysAddr, int]], section: Section) -> Iterator[PhysicalRange]:
    """The parts of mapped pieces that belong to a section."""
    for virtual, physical, size in pieces:
        start, end = max(virtual, section.address), min(virtual + size, section.address + section.size)
        if start < end:
            first = PhysAddr(physical + start - virtual)
            use = f"it holds the kernel's {section.name}"
            yield PhysicalRange(first, PhysAddr(first + end - start), "kernel image", use)


def buffers_of(tables: Iterable[BuffersSnapshot]) -> tuple[PhysicalRange, ...]:
    """The memory that devices use."""
    return tuple(
        PhysicalRange(
            start, end, "dma", f"it belongs to the device buffer '{b.name}', whose record is at {hex_address(b.at)}"
        )
        for table in tables
        for b in table.buffers
        for start, end in b.sound
    )


def held_of(tables: Iterable[HeldSnapshot]) -> tuple[PhysicalRange, ...]:
    """The frames that the kernel keeps by number."""
    return tuple(
        PhysicalRange(
            PhysAddr(frame),
            PhysAddr(frame + table.frame_size),
            "held",
            f"it is kept in {table.element(index)} of '{table.table}'",
        )
        for table in tables
        for index, frame in enumerate(table.frames.tolist())
    )


def mapped_of(space: AddressSpace, names: Names) -> Mapped:
    """The ranges that a space maps for a purpose.

    Every mapping except those of much of RAM at once (direct map, identity, other linear windows), of the image,
    and through a recursive slot. Empty where no direct map is known.
    """
    if names.direct_map is None:
        return ()
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


def mapped_beside(mapped: Mapped, places: Iterable[Place]) -> tuple[PhysicalRange, ...]:
    """The ranges mapped for another purpose than to hold the data at these places."""
    return tuple(
        used
        for start, used in mapped
        if not any(start < own.start + own.size and start + used.end - used.start > own.start for own in places)
    )


def left_out_of(space: AddressSpace | None, names: Names) -> tuple[str, ...]:
    """What is not known about the users of frames, as sentences; without paging there is no space."""
    if space is None:
        return ("paging is off: there are no page tables and no mappings to compare with",)
    found = []
    if names.direct_map is None:
        found.append(f"mappings are not compared: {names.why_no_direct_map}")
    unreadable = sum(problem.kind == "unreadable" for problem in space.problems)
    if unreadable:
        found.append(f"{unreadable} page table{'s' * (unreadable != 1)} cannot be read; run vmcheck to see which")
    return tuple(found)
