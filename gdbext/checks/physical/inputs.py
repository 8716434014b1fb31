"""The inputs of the rules of physical managers, and the wording that they share."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from gdbext.checks.finding import Broken
from gdbext.machine.memory import RamMap
from gdbext.pmm.bootmap import BootMap, BootRange
from gdbext.pmm.frames import FrameSet
from gdbext.pmm.snapshot import PmmSnapshot, touched
from gdbext.structures.unread import Unread
from gdbext.units import PhysAddr, hex_address, human_size

READABLE = "the manager can be read"
ONE_OWNER = "a frame is free, or in use by one owner"
ZONES = "frames and buffers are within the limits of their zone or device"
BLOCKS = "blocks are aligned, whole, merged when free, and on the list of their order"
"""Titles of rules that are checked on several kinds of inputs."""

USES_SHOWN = 4
"""At most this many uses of one stretch of frames are named in a finding."""


@dataclass(frozen=True)
class PhysicalRange:
    """Physical addresses, ``end`` exclusive, and their use.

    ``kind`` is one of ``page table``, ``kernel image``, ``manager``, ``dma``, ``held``, ``mapping``, ``reserved``;
    ``use`` is a sentence about it (``it is mapped at 0x1000``).
    """

    start: PhysAddr
    end: PhysAddr
    kind: str
    use: str


@dataclass(frozen=True)
class Recorded:
    """What the kernel's records say about a manager's frames, by its numbers: those with a record, and the free ones.

    ``single`` are the frames with one reference, None where references are not counted. ``say`` gives the record of the
    frame at a physical address as text.
    """

    known: FrameSet
    free: FrameSet
    single: FrameSet | None
    say: Callable[[PhysAddr], str]


@dataclass(frozen=True)
class PmmInputs:
    """The inputs of the rules of a physical manager.

    ``metadata``, ``tables`` and ``image`` are the ranges of the manager's own data, the page tables in use and the
    kernel's image; ``buffers`` are the memory that devices use, ``held`` the frames that the kernel keeps by number;
    ``mapped`` the ranges that the kernel maps for a purpose, which is every mapping but those of much of RAM at once
    (direct map, identity, other linear windows), of the image, and through a recursive slot. ``recorded`` is
    what records say, None without such records. ``left_out`` says what is not known about tables and mappings,
    ``image_left_out`` about the image.
    """

    manager: PmmSnapshot
    ram: RamMap
    boot_map: BootMap | Unread | None
    metadata: tuple[PhysicalRange, ...]
    tables: tuple[PhysicalRange, ...]
    image: tuple[PhysicalRange, ...]
    buffers: tuple[PhysicalRange, ...]
    held: tuple[PhysicalRange, ...]
    mapped: tuple[PhysicalRange, ...]
    recorded: Recorded | None
    left_out: tuple[str, ...]
    image_left_out: tuple[str, ...]


def frames_in(manager: PmmSnapshot, ranges: Iterable[PhysicalRange]) -> FrameSet:
    """The frames that ranges touch."""
    return FrameSet.of_ranges((touched(manager, used.start, used.end) for used in ranges), manager.count)


def frames_of(manager: PmmSnapshot, ranges: Iterable[BootRange]) -> FrameSet:
    """The frames that ranges of the boot map touch."""
    return FrameSet.of_ranges((touched(manager, r.base, r.end) for r in ranges), manager.count)


def shared_frames(manager: PmmSnapshot, ranges: Iterable[PhysicalRange]) -> FrameSet:
    """The frames that more than one of the ranges touches."""
    bounds = np.array([touched(manager, used.start, used.end) for used in ranges], dtype=np.int64).reshape(-1, 2)
    first, end = np.sort(bounds[:, 0]), np.sort(bounds[:, 1])
    borders = np.unique(bounds)
    cover = np.searchsorted(first, borders, side="right") - np.searchsorted(end, borders, side="right")
    pieces = zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True)
    return FrameSet.of_ranges(
        (piece for piece, times in zip(pieces, cover[:-1].tolist(), strict=True) if times > 1), manager.count
    )


def stretches(frames: FrameSet) -> Iterator[tuple[int, int]]:
    """The stretches of a set of frames: the number of the first frame, and how many."""
    first, length = frames.runs()
    yield from zip(first.tolist(), length.tolist(), strict=True)


def freed(
    manager: PmmSnapshot,
    frames: FrameSet,
    actual: str,
    cause: str,
    ranges: Iterable[PhysicalRange] = (),
    recorded: Recorded | None = None,
) -> Iterator[Broken]:
    """A finding for each stretch of frames that are free but must not be.

    It names those of ``ranges`` that use it, and gives the record of the first frame if that is not free.
    """
    ranges = tuple(ranges)
    for first, number in stretches(frames):
        address = manager.frame_address(first)
        end = manager.frame_address(first + number)
        uses = [used.use for used in ranges if used.start < end and used.end > address]
        if recorded and first in recorded.known - recorded.free:
            uses.append(recorded.say(address))
        more = [f"and {len(uses) - USES_SHOWN} more uses"] if len(uses) > USES_SHOWN else []
        size = human_size(number * manager.frame_size)
        evidence = (
            f"{number} frame{'s' * (number != 1)} ({size}) from {hex_address(address)}",
            manager.record_of(first),
            *(uses[:USES_SHOWN] + more if len(uses) > 1 or actual else ()),
        )
        yield Broken("frame", address, "used", f"free, but {actual or uses[0]}", cause, evidence)


def whole_frames(manager: PmmSnapshot, ranges: Iterable[tuple[int, int]]) -> FrameSet:
    """The frames that are wholly within ranges of physical addresses (adjacent ranges count as one)."""
    return inner_frames(manager, joined(ranges), manager.count)


def joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Half-open ranges in order, adjacent and overlapping ranges merged."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((start, end))
    return found


def inner_frames(manager: PmmSnapshot, ranges: Iterable[tuple[int, int]], count: int) -> FrameSet:
    """The frames that are wholly within one of the ranges of physical addresses, up to number ``count``."""
    size, base = manager.frame_size, manager.base
    return FrameSet.of_ranges(((-(-(start - base) // size), (end - base) // size) for start, end in ranges), count)
