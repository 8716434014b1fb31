"""The map's composition on ranges small enough to be cut by hand, ragged edges and all."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from gdbext.checks.physical.frame_map import FrameMapInputs, Held, frame_map
from gdbext.checks.physical.inputs import PhysicalRange
from gdbext.machine.memory import RamMap, RamRange
from gdbext.pmm.bootmap import BootMap, BootRange
from gdbext.pmm.frames import FrameSet
from gdbext.pmm.page_records import PageRecordsSnapshot
from gdbext.pmm.snapshot import Place, PmmSnapshot
from gdbext.report.physical import STATES
from gdbext.report.text import Style, shows_unicode
from gdbext.units import PhysAddr, VirtAddr

RAM = RamMap([RamRange(PhysAddr(0), PhysAddr(0x8000)), RamRange(PhysAddr(0xA000), PhysAddr(0x10000))])


def manager(base: int, free: list[int], count: int, frame_size: int = 4096) -> PmmSnapshot:
    numbers = np.array(free, dtype=np.uint64)
    return PmmSnapshot(
        name="m",
        base=PhysAddr(base),
        frame_size=frame_size,
        free=FrameSet.of_numbers(numbers, count),
        covers=True,
        counters=(),
        counts_reserved=True,
        in_flux=False,
        places=(),
    )


def boot_map(usable: list[tuple[int, int]], reserved: list[tuple[int, int]]) -> BootMap:
    return BootMap(
        tuple(BootRange(PhysAddr(start), PhysAddr(end)) for start, end in usable),
        tuple(BootRange(PhysAddr(start), PhysAddr(end)) for start, end in reserved),
    )


def owner(start: int, end: int, kind: str) -> PhysicalRange:
    return PhysicalRange(PhysAddr(start), PhysAddr(end), kind, "it is so")


def drawn(inputs: FrameMapInputs, *window: int) -> list[tuple[int, int, str]]:
    bounds = (PhysAddr(window[0]), PhysAddr(window[1])) if window else None
    found = frame_map(inputs, bounds)
    assert sum(found.sizes.values()) == found.end - found.start
    return [(piece.start, piece.end, piece.state.value) for piece in found.pieces]


def test_states_in_their_order() -> None:
    inputs = FrameMapInputs(
        managers=(manager(0x1000, [1, 2, 3, 8, 11], 14),),  # 0x2000-0x5000, 0x9000, 0xc000
        ram=RAM,
        # The first two meet in the middle of a frame, the last ends in one.
        boot_map=boot_map([(0x1000, 0x3800), (0x3800, 0x8000), (0xA000, 0xE800)], [(0x6001, 0x6002), (0xC800, 0xC900)]),
        owners=(owner(0x4800, 0x5001, "page table"), owner(0x5800, 0x7000, "mapping")),
    )
    everything = [
        (0x0, 0x1000, "reserved"),
        (0x1000, 0x2000, "used"),
        (0x2000, 0x4000, "free"),
        (0x4000, 0x5000, "free but in use"),
        (0x5000, 0x6000, "page table"),
        (0x6000, 0x7000, "mapping"),
        (0x7000, 0x8000, "used"),
        (0x8000, 0x9000, "absent"),
        (0x9000, 0xA000, "free, not usable"),
        (0xA000, 0xC000, "used"),
        (0xC000, 0xD000, "free, not usable"),
        (0xD000, 0xE000, "used"),
        (0xE000, 0x10000, "reserved"),
    ]
    assert drawn(inputs) == everything
    assert drawn(inputs, 0x2FFF, 0x5001) == [(0x2000, 0x4000, "free"), *everything[3:5]]
    assert drawn(inputs, 0xF000, 1 << 64) == [(0xF000, 0x10000, "reserved")]
    assert drawn(inputs, 0x20000, 1 << 64) == []


def test_what_no_manager_has() -> None:
    small, wide = manager(0x1000, [0], 2), manager(0xC000, [0], 2, 0x2000)
    assert drawn(FrameMapInputs((small, wide), RAM, None, ())) == [
        (0x0, 0x1000, "unmanaged"),
        (0x1000, 0x2000, "free"),
        (0x2000, 0x3000, "used"),
        (0x3000, 0x8000, "unmanaged"),
        (0x8000, 0xA000, "absent"),
        (0xA000, 0xC000, "unmanaged"),
        (0xC000, 0xE000, "free"),
        (0xE000, 0x10000, "used"),
    ]


def test_addresses_that_cannot_be() -> None:
    torn = manager((1 << 64) - 0x1000, [0, 1], 4)
    assert drawn(FrameMapInputs((torn,), RAM, boot_map([(0, 1 << 64)], [(1 << 63, 1 << 64)]), ())) == [
        (0x0, 0x8000, "unmanaged"),
        (0x8000, 0xA000, "absent"),
        (0xA000, 0x10000, "unmanaged"),
    ]


def test_every_state_has_its_own_look() -> None:
    assert set(STATES) == set(Held)
    assert [state.name for state in STATES.values()] == [held.value for held in STATES]
    for style in (Style(), Style(unicode=True)):
        characters = "".join(state.characters(style) for state in STATES.values())
        assert len(set(characters)) == len(characters)


def test_character_sets() -> None:
    assert shows_unicode("UTF-8")
    assert shows_unicode("cp437")
    for encoding in ("ANSI_X3.4-1968", "ISO-8859-1", "no such thing", "", None):
        assert not shows_unicode(encoding)


def records(base: int, free: list[int] | None) -> PageRecordsSnapshot:
    """Records of frames from ``base`` on, each free or not; None: they do not tell."""
    count, described = len(free or []), cast(Any, SimpleNamespace(frame_size=4096))
    known = None if free is None else FrameSet.of_numbers(np.flatnonzero(free).astype(np.uint64), count)
    place = Place(VirtAddr(0), 0, "")
    return PageRecordsSnapshot(described, PhysAddr(base), count, place, known, None, None, (), in_flux=False)


def test_a_frame_that_is_free_and_in_use_by_its_record() -> None:
    free = manager(0x1000, [0, 1, 2, 3, 4], 6)
    inputs = FrameMapInputs((free,), RAM, None, (), records(0x1000, [0, 1, 1, 0, 1, 0]))
    assert drawn(inputs, 0x1000, 0x7000) == [
        (0x1000, 0x2000, "free but in use"),
        (0x2000, 0x4000, "free"),
        (0x4000, 0x5000, "free but in use"),
        (0x5000, 0x6000, "free"),
        (0x6000, 0x7000, "used"),
    ]
    from_two = replace(inputs, records=records(0x2000, [1, 0]))
    assert drawn(from_two, 0x1000, 0x5000) == [
        (0x1000, 0x3000, "free"),
        (0x3000, 0x4000, "free but in use"),
        (0x4000, 0x5000, "free"),
    ]
    silent = replace(inputs, records=records(0x1000, None))
    assert drawn(silent, 0x1000, 0x6000) == [(0x1000, 0x6000, "free")]
