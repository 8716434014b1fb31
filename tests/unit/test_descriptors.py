"""Descriptor tables against bytes put together by hand from the manuals' figures (SDM vol. 3A, 3-8, 6-8, 7-4, 7-11)."""

import struct

from gdbext.machine.cpu import TableRegister
from gdbext.units import VirtAddr
from gdbext.x86.descriptors import decode_gdt, decode_idt, decode_tss


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


def test_any_bytes_are_decoded():
    for pattern in (b"\x00", b"\xff", b"\x5a"):
        for size in (0, 7, 8, 24, 4096):
            decode_gdt(pattern * size, VirtAddr(0), long_mode=True)
            decode_idt(pattern * size, VirtAddr(0), long_mode=False)
