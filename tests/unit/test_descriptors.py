"""Descriptor tables against bytes put together by hand from the manuals' figures (SDM vol. 3A, 3-8, 6-8, 7-4, 7-11)."""

import struct

import pytest

from gdbext.errors import NotMapped
from gdbext.machine.cpu import DescriptorRegisters, TableRegister
from gdbext.units import VirtAddr
from gdbext.x86.descriptors import EXCEPTIONS, PAGE_FAULT, decode_gdt, decode_idt, decode_tss, read_tables


def test_flat_64_bit_gdt_with_a_tss():
    low = 0x0000_8900_0000_0067 | (0x8011_1040 & 0xFFFFFF) << 16 | (0x8011_1040 >> 24) << 56
    data = struct.pack("<6Q", 0, 0x00AF_9B00_0000_FFFF, 0x00CF_F300_0000_FFFF, low, 0xFFFF_FFFF, 0)
    code, user_data, tss = decode_gdt(data, VirtAddr(0x1000), long_mode=True)
    assert (code.selector, code.kind, code.mode, code.dpl, code.present, code.limit) == (
        0x8,
        "code, readable",
        64,
        0,
        True,
        0xFFFF_FFFF,
    )
    assert (user_data.kind, user_data.dpl, user_data.address) == ("data, writable", 3, 0x1010)
    assert (tss.selector, tss.kind, tss.base, tss.limit) == (0x18, "TSS, available", 0xFFFF_FFFF_8011_1040, 0x67)


def test_32_bit_gdt():
    # Base 0x12345678, limit 0xABCDE bytes, 32 bits, code, conforming and readable, DPL 2, not present.
    value = 0xBCDE | 0x345678 << 16 | 0x5E << 40 | 0xA << 48 | 0x4 << 52 | 0x12 << 56
    (segment,) = decode_gdt(struct.pack("<Q", value), VirtAddr(0), long_mode=False)
    assert (segment.base, segment.limit, segment.mode) == (0x1234_5678, 0xA_BCDE, 32)
    assert (segment.kind, segment.dpl, segment.present) == ("code, readable, conforming", 2, False)


def test_gates_of_both_widths():
    offset = 0xFFFF_FFFF_8010_294B
    low = offset & 0xFFFF | 0x8 << 16 | 2 << 32 | 0xEE << 40 | (offset >> 16 & 0xFFFF) << 48
    gates = decode_idt(bytes(16 * 14) + struct.pack("<2Q", low, offset >> 32), VirtAddr(0x5000), long_mode=True)
    (gate,) = gates
    assert (gate.vector, gate.name, gate.kind) == (14, "#PF page fault", "interrupt gate")
    assert (gate.offset, gate.selector, gate.dpl, gate.ist, gate.present) == (offset, 0x8, 3, 2, True)
    assert gate.address == 0x5000 + 14 * 16
    legacy = 0x5678 | 0x10 << 16 | 0x8F << 40 | 0x1234 << 48
    (gate,) = decode_idt(struct.pack("<Q", legacy), VirtAddr(0), long_mode=False)
    assert (gate.offset, gate.kind, gate.selector, gate.ist) == (0x1234_5678, "trap gate", 0x10, 0)


def test_tss_stacks():
    data = struct.pack("<I3QQ7QQHH", 0, 0x1000, 0x2000, 0x3000, 0, *range(0x10, 0x17), 0, 0, 0x68)
    tss = decode_tss(data, TableRegister(VirtAddr(0x9000), 0x67))
    assert tss.rsp == (0x1000, 0x2000, 0x3000)
    assert tss.ist == tuple(range(0x10, 0x17))
    assert tss.io_map == 0x68


SEGMENT = 0x0000_9300_0000_0000
"""Data, writable, present: everything else 0."""


@pytest.mark.parametrize(
    ("bits", "field", "expected"),
    [
        (0, "base", 0),
        (0xFF_FFFF << 16, "base", 0xFF_FFFF),
        (0xFF << 56, "base", 0xFF00_0000),
        (0, "limit", 0),
        (0xFFFF, "limit", 0xFFFF),
        (0xF << 48, "limit", 0xF_0000),
        (1 << 55, "limit", 0xFFF),  # in units of 4 KiB
        (1 | 1 << 55, "limit", 0x1FFF),
        (1 << 45, "dpl", 1),
        (1 << 46, "dpl", 2),
        (3 << 45, "dpl", 3),
        (0, "mode", 16),
        (1 << 54, "mode", 32),
        (1 << 53, "mode", 64),
        (1 << 52, "mode", 16),  # software's
    ],
)
def test_each_field_of_a_segment_descriptor(bits, field, expected):
    plain, changed = (
        decode_gdt(struct.pack("<Q", value), VirtAddr(0), long_mode=True)[0] for value in (SEGMENT, SEGMENT | bits)
    )
    assert getattr(changed, field) == expected
    others = {"selector", "address", "kind", "base", "limit", "dpl", "present", "mode"} - {field}
    assert [getattr(changed, name) for name in others] == [getattr(plain, name) for name in others]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (0x10, "data"),
        (0x11, "data"),  # accessed
        (0x12, "data, writable"),
        (0x14, "data, expands down"),
        (0x18, "code"),
        (0x1A, "code, readable"),
        (0x1C, "code, conforming"),
        (0x02, "LDT"),
        (0x09, "TSS, available"),
        (0x0B, "TSS, busy"),
        (0x01, "reserved type 0x1"),
    ],
)
def test_kinds_of_segments(kind, words):
    data = struct.pack("<2Q", kind << 40, 0)
    (segment,) = decode_gdt(data, VirtAddr(0), long_mode=True)
    assert (segment.kind, segment.present) == (words, False)
    assert segment.mode == (16 if kind & 0x10 else None)


WIDE_TYPES = {
    0x2: "LDT", 0x9: "TSS, available", 0xB: "TSS, busy", 0xC: "call gate", 0xE: "interrupt gate", 0xF: "trap gate",
}  # fmt: skip
NARROW_TYPES = WIDE_TYPES | {
    0x1: "16-bit TSS, available", 0x3: "16-bit TSS, busy", 0x4: "16-bit call gate", 0x5: "task gate",
    0x6: "16-bit interrupt gate", 0x7: "16-bit trap gate",
}  # fmt: skip
"""Types of system descriptors and gates (SDM vol. 3A, table 3-2); all others are reserved."""


@pytest.mark.parametrize("kind", range(16))
@pytest.mark.parametrize(("long_mode", "known"), [(True, WIDE_TYPES), (False, NARROW_TYPES)])
def test_types_of_system_descriptors_and_gates(kind, long_mode, known):
    words = known.get(kind, f"reserved type {kind:#x}")
    data = struct.pack("<2Q", kind << 40 | 1 << 47, 0)
    assert decode_gdt(data, VirtAddr(0), long_mode=long_mode)[0].kind == words
    assert decode_idt(data, VirtAddr(0), long_mode=long_mode)[0].kind == words


def test_system_descriptors_take_two_places_in_long_mode_alone():
    low, high = 0x8900 << 32 | 0x67, 0xABCD_EF01_2345_6789
    (tss,) = decode_gdt(struct.pack("<2Q", low, high), VirtAddr(0), long_mode=True)
    assert tss.base == 0x2345_6789_0000_0000
    old = decode_gdt(struct.pack("<2Q", low, high), VirtAddr(0), long_mode=False)
    assert [(segment.selector, segment.address) for segment in old] == [(0, 0), (8, 8)]
    assert old[0].base == 0
    followed = decode_gdt(struct.pack("<3Q", low, high, 0x9B00 << 32), VirtAddr(0), long_mode=True)
    assert [(segment.selector, segment.kind) for segment in followed] == [
        (0, "TSS, available"),
        (0x10, "code, readable"),
    ]
    cut = decode_gdt(struct.pack("<Q", low), VirtAddr(0), long_mode=True)
    assert [segment.base for segment in cut] == [0]
    code = decode_gdt(struct.pack("<2Q", 0x9B00 << 32, 0x9300 << 32), VirtAddr(0), long_mode=True)
    assert [segment.selector for segment in code] == [0, 8]
    assert decode_gdt(bytes(24) + b"\xff" * 7, VirtAddr(0), long_mode=True) == ()


GATE = 0x8E << 40


@pytest.mark.parametrize(
    ("low", "high", "field", "expected"),
    [
        (0xFFFF, 0, "offset", 0xFFFF),
        (0xFFFF << 48, 0, "offset", 0xFFFF_0000),
        (0, 0xFFFF_FFFF, "offset", 0xFFFF_FFFF << 32),
        (0, 0xFFFF_FFFF << 32, "offset", 0),  # reserved
        (0xFFFF << 16, 0, "selector", 0xFFFF),
        (1 << 32, 0, "ist", 1),
        (7 << 32, 0, "ist", 7),
        (1 << 35, 0, "ist", 0),  # reserved
        (1 << 45, 0, "dpl", 1),
        (3 << 45, 0, "dpl", 3),
    ],
)
def test_each_field_of_a_gate(low, high, field, expected):
    plain, changed = (
        decode_idt(struct.pack("<2Q", *gate), VirtAddr(0), long_mode=True)[0]
        for gate in ((GATE, 0), (GATE | low, high))
    )
    assert getattr(changed, field) == expected
    others = {"vector", "address", "kind", "offset", "selector", "ist", "dpl", "present"} - {field}
    assert [getattr(changed, name) for name in others] == [getattr(plain, name) for name in others]


def test_gates_that_are_not_present_or_only_half_there():
    gates = struct.pack("<6Q", 0, 0, 0x0E << 40, 0, 0, 1)
    found = decode_idt(gates, VirtAddr(0x5000), long_mode=True)
    assert [(gate.vector, gate.address, gate.present, gate.offset) for gate in found] == [
        (1, 0x5010, False, 0),
        (2, 0x5020, False, 1 << 32),
    ]
    assert decode_idt(struct.pack("<Q", GATE), VirtAddr(0), long_mode=True) == ()
    names = [gate.name for gate in decode_idt(struct.pack("<Q", GATE) * 24, VirtAddr(0), long_mode=False)]
    assert (names[0], names[14], names[21], names[22], len(names)) == (
        "#DE divide", "#PF page fault", "#CP control protection", "", 24,
    )  # fmt: skip
    (task,) = decode_idt(struct.pack("<Q", 0x85 << 40 | 7 << 32), VirtAddr(0), long_mode=False)
    assert (task.kind, task.ist) == ("task gate", 0)


class Bytes:
    """Memory that has nothing but some bytes at some addresses."""

    def __init__(self, **stretches):
        self.stretches = {int(at[1:], 16): data for at, data in stretches.items()}
        self.asked = []

    def read(self, address, size):
        self.asked.append((address, size))
        if address not in self.stretches:
            raise NotMapped(address, "nothing there")
        return self.stretches[address][:size]


def registers(selector=8, gdt_limit=7):
    gdt, idt = TableRegister(VirtAddr(0x1000), gdt_limit), TableRegister(VirtAddr(0x2000), 15)
    return DescriptorRegisters(gdt, idt, selector, TableRegister(VirtAddr(0x3000), 0x67))


def test_tables_are_read_to_their_limits():
    memory = Bytes(x1000=struct.pack("<Q", SEGMENT), x2000=struct.pack("<2Q", GATE, 0), x3000=bytes(104))
    tables = read_tables(memory, registers(), long_mode=True)
    assert memory.asked == [(0x1000, 8), (0x2000, 16), (0x3000, 104)]
    assert (len(tables.segments), len(tables.gates), tables.tss.address, tables.problems) == (1, 1, 0x3000, ())
    assert (tables.gdt_base, tables.gdt_limit, tables.idt_base, tables.idt_limit, tables.tr) == (
        0x1000, 7, 0x2000, 15, 8,
    )  # fmt: skip
    assert read_tables(memory, registers(selector=0), long_mode=True).tss is None
    assert read_tables(memory, registers(), long_mode=False).tss is None
    memory.asked.clear()
    read_tables(memory, registers(gdt_limit=1 << 20), long_mode=True)
    assert memory.asked[0] == (0x1000, 1 << 16)
    lost = read_tables(Bytes(x2000=bytes(16)), registers(), long_mode=True)
    assert (lost.segments, lost.tss) == ((), None)
    assert [problem.split(":")[0] for problem in lost.problems] == ["GDT", "TSS"]


def test_any_bytes_are_decoded():
    for pattern in (b"\x00", b"\xff", b"\x5a"):
        for size in (0, 7, 8, 24, 4096):
            decode_gdt(pattern * size, VirtAddr(0), long_mode=True)
            decode_idt(pattern * size, VirtAddr(0), long_mode=False)


@pytest.mark.parametrize(
    ("vector", "name"), [(0, "#DE"), (3, "#BP"), (8, "#DF"), (13, "#GP"), (14, "#PF"), (21, "#CP")]
)
def test_exceptions_by_their_vectors(vector, name):
    """SDM vol. 3A, table 6-1."""
    assert EXCEPTIONS[vector].startswith(name + " ")
    assert (vector == PAGE_FAULT) is (name == "#PF")
