"""Addresses, sizes and rounding, at, below and above their bounds."""

import pytest

from gdbext.units import FRAME_SIZE, Pfn, PhysAddr, frame_base, hex_address, human_size, pfn_of, round_down, round_up


@pytest.mark.parametrize(("address", "frame"), [(0, 0), (0xFFF, 0), (0x1000, 1), (0x1FFF, 1), (0x2000, 2)])
def test_a_frame_holds_4096_bytes(address, frame):
    assert pfn_of(PhysAddr(address)) == frame
    assert frame_base(Pfn(frame)) == frame * FRAME_SIZE == frame * 4096


@pytest.mark.parametrize(
    ("value", "unit", "down", "up"),
    [(0, 8, 0, 0), (1, 8, 0, 8), (7, 8, 0, 8), (8, 8, 8, 8), (9, 8, 8, 16), (10, 3, 9, 12), (5, 1, 5, 5)],
)
def test_rounding(value, unit, down, up):
    assert (round_down(value, unit), round_up(value, unit)) == (down, up)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0x0"), (0xABC, "0xabc"), (-1, "0xffffffffffffffff"), (1 << 64, "0x0"), ((1 << 64) + 5, "0x5")],
)
def test_addresses_are_unsigned_and_of_64_bits(value, text):
    assert hex_address(value) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1025, "1.0 KiB"),
        (1536, "1.5 KiB"),
        ((1 << 20) - 1, "1024.0 KiB"),
        (1 << 20, "1 MiB"),
        (3 << 19, "1.5 MiB"),
        ((1 << 30) - (1 << 20), "1023 MiB"),
        (1 << 30, "1 GiB"),
        (5 << 29, "2.5 GiB"),
        ((1 << 40) - (1 << 30), "1023 GiB"),
        (1 << 40, "1 TiB"),
        (3 << 50, "3072 TiB"),
    ],
)
def test_sizes_for_a_person(size, text):
    assert human_size(size) == text
