"""Translation on the running reference kernel, against QEMU's own walk, its list of mappings, and the ELF file."""

import re

import pytest
from elftools.elf.elffile import ELFFile

GVA2GPA = re.compile(r"gpa: (0x[0-9a-f]+|0)\b")
INFO_TLB = re.compile(r"^([0-9a-f]{16}): ([0-9a-f]{16}) ([-XGPDACTUW]{9})", re.MULTILINE)


def gva2gpa(session, address):
    found = GVA2GPA.search(session.monitor(f"gva2gpa {address:#x}"))
    return int(found[1], 16) if found else None


def raw_mappings(session):
    return [(int(m["start"], 16), int(m["physical"], 16), m) for m in session.command("vmmap", "-raw")["mappings"]]


def test_every_mapping_is_what_qemu_lists(session):
    theirs = {
        (int(va, 16), int(pa, 16), "P" in flags, "G" in flags, "W" in flags, "X" not in flags)
        for va, pa, flags in INFO_TLB.findall(session.monitor("info tlb"))
    }
    ours = {
        (va, pa, m["page_size"] > 4096, m["global"], "w" in m["supervisor"], "x" in m["supervisor"])
        for va, pa, m in raw_mappings(session)
    }
    # QEMU shows the leaf's W and NX; the kernel's upper levels take nothing away, so both must agree.
    assert len(ours) > 500
    assert ours == theirs


def test_every_mapping_translates_as_qemu_translates(session):
    for va, pa, mapping in raw_mappings(session):
        last = mapping["page_size"] - 1
        assert gva2gpa(session, va) == pa
        assert gva2gpa(session, va + last) == pa + last


def test_what_is_not_listed_is_not_mapped(session):
    mappings = session.command("vmmap")["mappings"]
    borders = {int(m["end"], 16) for m in mappings} - {int(m["start"], 16) for m in mappings}
    for address in borders | {0, 0x1000, 0x100000, 0x7FFF_FFFF_F000, 0xFFFF_FFFF_FFFF_F000}:
        assert gva2gpa(session, address) is None
        assert session.command("vmwalk", hex(address))["outcome"] == "not-present"


def test_walks_agree_with_qemu(session):
    for va, pa, mapping in raw_mappings(session)[::7]:
        walk = session.command("vmwalk", hex(va + 0x123))
        assert int(walk["physical"], 16) == pa + 0x123 == gva2gpa(session, va + 0x123)
        assert walk["page_size"] == mapping["page_size"]
        rights = walk["supervisor"]
        shown = "".join(r if rights[k] else "-" for r, k in zip("rwx", ("read", "write", "execute"), strict=True))
        assert shown == mapping["supervisor"]


def test_sections_have_the_rights_of_the_elf_file(session, kernel):
    with open(kernel, "rb") as file:
        segments = [s.header for s in ELFFile(file).iter_segments("PT_LOAD")]
    for segment in segments:
        rights = "".join(r if segment.p_flags & bit else "-" for r, bit in (("r", 4), ("w", 2), ("x", 1)))
        start, end = segment.p_vaddr, segment.p_vaddr + segment.p_memsz
        mappings = session.command("vmmap", "-raw", "-range", hex(start), hex(end))["mappings"]
        assert {m["supervisor"] for m in mappings} == {rights}
        assert len(mappings) == -(-end // 4096) - start // 4096
        assert {int(m["start"], 16) - int(m["physical"], 16) for m in mappings} == {0xFFFF_FFFF_8000_0000}


def test_the_first_walk_of_the_readme(session):
    walk = session.command("vmwalk", "0xffff800000001000")
    assert (walk["outcome"], walk["physical"]) == ("mapped", "0x1000")
    assert [step["level"] for step in walk["steps"]] == [4, 3, 2, 1]


@pytest.mark.parametrize("memory", ["16M", "6G"])
def test_little_and_much_memory(boot, memory):
    session = boot(memory=memory, append="scenario=idle")
    for va, pa, mapping in raw_mappings(session):
        assert gva2gpa(session, va) == pa, mapping
    if memory == "6G":
        assert max(pa for _, pa, _ in raw_mappings(session)) > 4 << 30
        walk = session.command("vmwalk", "0xffff800140001234")
        assert walk["physical"] == "0x140001234"
        assert walk["page_size"] == 1 << 30


def test_processor_without_protections(boot):
    session = boot(cpu="qemu64", append="scenario=idle")
    states = {p["name"]: p for p in session.command("memcpu")["protections"]}
    assert states["WP"]["on"]
    assert not states["SMEP"]["on"]
    assert states["SMEP"]["offered"] is False


def test_processor_state_is_what_qemu_prints(session):
    registers = session.monitor("info registers")
    cpu = session.command("memcpu")
    for name in ("cr0", "cr3", "cr4", "efer"):
        printed = re.search(rf"{name.upper()}=([0-9a-f]+)", registers)
        assert printed
        assert int(cpu[name], 16) == int(printed[1], 16)


def test_before_paging(boot):
    session = boot(stop=None)
    walk = session.command("vmwalk", "0x1234")
    assert (walk["mode"], walk["physical"]) == ("none", "0x1234")
    assert "paging is off: virtual = physical" in session.text("vmwalk 0x1234")
    assert session.command("memcpu")["mode"] == "none"
