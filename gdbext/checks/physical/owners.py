"""The rules of the kernel's records about frames and buffers, whichever manager they come from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from gdbext.checks.finding import Broken, Rule, Severity
from gdbext.checks.physical.inputs import BLOCKS, ONE_OWNER, READABLE, ZONES
from gdbext.machine.memory import RamMap, VirtualMemory
from gdbext.pmm.owners import Buffer, BuffersSnapshot, HeldSnapshot
from gdbext.pmm.page_records import PageRecordsSnapshot
from gdbext.structures.unread import Unread
from gdbext.units import FRAME_SHIFT, PhysAddr, VirtAddr, hex_address


@dataclass(frozen=True)
class OwnerInputs:
    """The inputs of these rules; ``unread`` is what could not be read (absent things are not in it)."""

    records: PageRecordsSnapshot | None
    buffers: tuple[BuffersSnapshot, ...]
    held: tuple[HeldSnapshot, ...]
    unread: tuple[Unread, ...]
    ram: RamMap
    memory: VirtualMemory


def check_readable(inputs: OwnerInputs) -> Iterator[Broken]:
    """PMM00: the kernel's records can be read."""
    cause = "its variables were overwritten, the page tables are corrupted, or the profile does not match the kernel"
    for one in inputs.unread:
        yield Broken(one.kind, None, f"'{one.name}' readable as the profile describes it", one.why, cause)
    for table in inputs.buffers:
        if table.broken is not None:
            read = f"buffers read: {len(table.buffers)}"
            expected = f"the buffers of '{table.table}' readable as the profile describes them"
            found = Broken("dma", None, expected, table.broken, cause)
            yield _in_flux(replace(found, evidence=(read,)), table.in_flux)


def check_held(inputs: OwnerInputs) -> Iterator[Broken]:
    """PMM02: frames kept for later are frames of RAM, each kept once."""
    seen: dict[int, str] = {}
    for held in inputs.held:
        is_ram = inputs.ram.holds_frames(held.frames >> np.uint64(FRAME_SHIFT))
        for index, (frame, real) in enumerate(zip(held.frames.tolist(), is_ram.tolist(), strict=True)):
            place = held.element(index)
            element = f"{place} of '{held.table}', at {hex_address(VirtAddr(int(held.places[index])))}"
            if not real:
                cause = "the array was overwritten, or its count is too high"
                found = Broken("frame", frame, "a frame of RAM", "there is no RAM at its address", cause, (element,))
                yield _in_flux(found, held.in_flux)
            elif frame in seen:
                actual = f"{place} is the same frame as {seen[frame]}"
                cause = "it was freed twice, or handed out twice: two owners will use it"
                yield _in_flux(Broken("frame", frame, "kept once", actual, cause, (element,)), held.in_flux)
            seen.setdefault(frame, place)


def check_buffers(inputs: OwnerInputs) -> Iterator[Broken]:
    """PMM11: every buffer of a device is in RAM, contiguous, and within the limits in its own record."""
    for table in inputs.buffers:
        for buffer in table.buffers:
            wrong = list(_wrong(buffer))
            if wrong:
                (expected, actual, cause), *more = wrong
                end = PhysAddr(buffer.physical + buffer.size)
                evidence = (
                    f"buffer '{buffer.name}' of '{table.table}': {hex_address(buffer.physical)}-{hex_address(end)}",
                    *(f"also expected {expected}; actual: {actual}" for expected, actual, _ in more),
                )
                yield _in_flux(Broken("buffer", buffer.at, expected, actual, cause, evidence), table.in_flux)


_Wrong = tuple[str, str, str]


def _wrong(buffer: Buffer) -> Iterator[_Wrong]:
    """What is wrong with a buffer: expected, actual, and the cause."""
    start, size = buffer.physical, buffer.size
    last = start + size - 1
    if not buffer.in_ram:
        actual = f"{size} bytes from {hex_address(start)}, not all RAM"
        yield "a range of RAM", actual, "the record was overwritten, or is not in use"
        return
    if buffer.align and start % buffer.align:
        actual = f"it begins at {hex_address(start)}"
        yield f"aligned to {buffer.align:#x}", actual, "the alignment was requested in another unit, or not at all"
    if buffer.limit and last >= buffer.limit:
        actual = f"its last byte is {hex_address(last)}"
        cause = "the limit was checked for the first byte only, or not at all"
        yield f"below {hex_address(buffer.limit)}", actual, cause
    if buffer.boundary and start // buffer.boundary != last // buffer.boundary:
        crossed = last // buffer.boundary * buffer.boundary
        actual = f"it crosses {hex_address(crossed)}"
        cause = "the boundary was checked for the first byte only, or not at all"
        yield f"crossing no multiple of {buffer.boundary:#x}", actual, cause
    yield from _scattered(buffer)


def _scattered(buffer: Buffer) -> Iterator[_Wrong]:
    """Check that the page tables map the buffer's bytes contiguously."""
    if buffer.pieces is None or buffer.address is None:
        return
    done = 0
    for piece in buffer.pieces:
        if piece.offset != done or piece.physical != buffer.physical + done:
            break
        done += piece.size
    if done == buffer.size:
        return
    at = next((piece for piece in buffer.pieces if piece.offset == done), None)
    yield (
        f"{hex_address(buffer.address + done)} mapped to {hex_address(buffer.physical + done)}",
        f"it is mapped to {hex_address(at.physical)}" if at else "it is not mapped",
        "its frames were allocated one at a time, or one was moved: the device uses memory outside the buffer",
    )


def check_blocks(inputs: OwnerInputs) -> Iterator[Broken]:
    """PMM12: the frames of one block are free or used together."""
    records = inputs.records
    if records is None:
        return
    for block in records.broken_blocks():
        size = 1 << block.order
        start = hex_address(records.frame_address(block.first))
        address = records.frame_address(block.left)
        evidence = str(records.record_of(address, inputs.memory))
        found = Broken(
            "frame",
            address,
            f"free or used together with all {size} frames of its block, which begins at {start}",
            f"in use, but only {block.used} of them are; the other {size - block.used} are not",
            "the block was freed with a smaller order, because its order was lost: the rest of it is leaked",
            (evidence,),
        )
        yield _in_flux(found, records.in_flux)


def _in_flux(broken: Broken, in_flux: bool) -> Broken:
    """What is broken; not an error if the lock of the structure was held."""
    return replace(broken, severity=Severity.IN_FLUX) if in_flux else broken


def _anything(inputs: OwnerInputs) -> bool:
    return bool(inputs.records or inputs.buffers or inputs.held or inputs.unread)


def _orders(inputs: OwnerInputs) -> bool:
    return inputs.records is not None and inputs.records.described.order is not None


_APPLIES: dict[str, Callable[[OwnerInputs], bool]] = {
    "PMM00": _anything,
    "PMM02": lambda inputs: bool(inputs.held),
    "PMM11": lambda inputs: bool(inputs.buffers),
    "PMM12": _orders,
}


def applies(rule: Rule[OwnerInputs], inputs: OwnerInputs) -> bool:
    """Whether the kernel has the records that the rule checks."""
    return _APPLIES[rule.id](inputs)


OWNER_RULES: tuple[Rule[OwnerInputs], ...] = (
    Rule("PMM00", READABLE, check_readable),
    Rule("PMM02", ONE_OWNER, check_held),
    Rule("PMM11", ZONES, check_buffers),
    Rule("PMM12", BLOCKS, check_blocks),
)
"""The rules of the kernel's records."""
