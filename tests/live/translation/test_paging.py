"""vmfind, vmfault, vmcheck and the tree on the running reference kernel; damage to its tables, done from gdb."""

import re

import pytest

DIRECT_MAP = 0xFFFF_8000_0000_0000
ADDRESS = 0xFFFFFFFFFF000
NX = 1 << 63


@pytest.fixture
def victim(boot):
    machine = boot(memory="64M", append="scenario=idle")
    assert machine.command("vmcheck")["findings"] == []
    return machine


def leaf(session, address, level=1):
    step = next(s for s in session.command("vmwalk", hex(address))["steps"] if s["level"] == level)
    return int(step["entry_address"], 16), int(step["value"], 16)


def write_entry(session, at, value):
    session.execute(f"set var *(unsigned long *){DIRECT_MAP + at:#x} = {value:#x}UL")


def found(session):
    findings = session.command("vmcheck")["findings"]
    return [(f["id"], f["severity"], int(f["address"], 16) if f["address"] else None) for f in findings]


def heap(session):
    return int(session.execute("output/x kernel_heap.start"), 16)


def test_vmfind_gives_every_address_that_qemu_lists(session):
    listed = re.findall(r"^([0-9a-f]{16}): ([0-9a-f]{16}) (.)(.)(.)", session.monitor("info tlb"), re.MULTILINE)
    pages = [(int(va, 16), int(pa, 16), 2 << 20 if large == "P" else 4096) for va, pa, _, _, large in listed]
    for physical in (0x100123, 0x200000, heap_frame(session), 0x1000):
        theirs = {va + physical - pa for va, pa, size in pages if pa <= physical < pa + size}
        answer = session.command("vmfind", hex(physical))
        assert {int(reach["mapping"]["start"], 16) for reach in answer["reaches"]} == theirs
        assert answer["is_ram"]
    assert "the mappings differ in rights or memory type" in session.text("vmfind 0x100000")
    assert "not mapped" in session.text("vmfind 0xfee00000")
    assert "not RAM" in session.text("vmfind 0xfee00000")


def heap_frame(session):
    return int(session.command("vmwalk", "kernel_heap.start")["physical"], 16)


def test_vmfind_says_what_is_a_page_table(session):
    table = session.command("vmwalk", "kernel_heap.start")["steps"][-1]["table"]
    assert session.command("vmfind", table)["tables"] == ["CR3"]
    assert "it is a page table of CR3" in session.text(f"vmfind {table}")


def test_the_tree_has_every_page_once(session):
    tree = session.command("vmmap", "-tree")
    pages = 0
    for branch in tree["branches"]:
        if branch["kind"] == "pages":
            pages += branch["last"] - branch["first"] + 1
        elif branch["kind"] == "full":
            pages += (branch["last"] - branch["first"] + 1) * 512
    assert pages == sum(session.command("vmmap")["pages"].values())


def test_filters(session):
    whole = session.command("vmmap")["mappings"]
    writable = session.command("vmmap", "-filter", "w")["mappings"]
    assert writable == [m for m in whole if "w" in m["supervisor"]]
    assert session.command("vmmap", "-filter", '"!w 4k"')["mappings"] == [
        m for m in whole if "w" not in m["supervisor"] and m["page_size"] == 4096
    ]
    assert "no mapping matches the filter" in session.text("vmmap -filter user")


def test_tables_are_where_the_kernel_has_them(session):
    tables = session.command("memcpu", "-tables")["tables"]
    assert int(tables["gdt_base"], 16) == int(session.execute("output/x (long)&gdt"), 16)
    assert int(tables["idt_base"], 16) == int(session.execute("output/x (long)&idt"), 16)
    assert int(tables["tss"]["address"], 16) == int(session.execute("output/x (long)&tss"), 16)
    stubs = [int(session.execute(f"output/x ((long *)&vector_stubs)[{i}]"), 16) for i in range(32)]
    assert [int(gate["offset"], 16) for gate in tables["gates"]] == stubs
    code = next(s for s in tables["segments"] if s["kind"].startswith("code"))
    assert (code["mode"], code["dpl"], code["present"]) == (64, 0, True)


def test_vmfault_reads_the_kernels_own_record(boot):
    session = boot(memory="64M", append="scenario=fault", stop="panic_stop")
    fault = session.command("vmfault")
    printed = re.search(r"a (\w+) of (0x[0-9a-f]+) by the kernel: not mapped", session.serial())
    code = re.search(r"error code (0x[0-9a-f]+)", session.serial())
    assert printed
    assert code
    assert (fault["address"], fault["error_code"]) == (printed[2], code[1])
    assert fault["access"] == f"supervisor {printed[1]}"
    assert "hit an unmapped page" in fault["verdict"]
    assert fault["blame"] == fault["walk"]["steps"][-1]["entry_address"]


def test_vmfault_reads_the_handlers_stack(boot):
    """Without a profile: the guest is stopped at the first instruction of its page-fault handler."""
    session = boot(memory="64M", append="scenario=fault", stop=None)
    session.run_to("scenario_run")
    handler = session.execute("output/x ((long *)&vector_stubs)[14]").strip()
    session.run_to(f"*{handler}")
    session.execute("symbol-file")
    fault = session.command("vmfault")
    assert "stack" in fault["source"]
    assert fault["error_code"] == "0x2"
    assert "hit an unmapped page" in fault["verdict"]


@pytest.mark.parametrize(
    ("address", "code", "says"),
    [
        ("kmain", "3", "W is clear in the level-1 entry"),
        ("kmain", "1", "the tables allow this supervisor read: the TLB entry was stale"),
        ("kmain", "5", "U is clear in the level-4 entry"),
        ("kernel_heap.start", "0x11", "NX is set in the level-1 entry"),
        ("kernel_heap.start", "2", "the page was not present at the fault"),
        ("0x1234", "0", "the level-4 entry at"),
        ("0x800000000000", "0", "this was not a page fault"),
        ("kmain", "0x100", "not a page-fault error code"),
    ],
)
def test_verdicts(session, address, code, says):
    assert says in session.command("vmfault", address, code)["verdict"]


def test_reserved_bit(victim):
    at, value = leaf(victim, heap(victim))
    write_entry(victim, at, value | 1 << 51)
    assert found(victim) == [("PT21", "error", at)]
    assert victim.command("vmwalk", "kernel_heap.start")["outcome"] == "reserved-bits"
    assert "hit a malformed entry" in victim.command("vmfault", "kernel_heap.start", "9")["verdict"]


def test_misaligned_large_page(victim):
    at, value = leaf(victim, DIRECT_MAP + 0x200000, level=2)
    write_entry(victim, at, value | 1 << 13)
    assert [(rule, address) for rule, _, address in found(victim) if rule == "PT21"] == [("PT21", at)]


def test_table_outside_ram(victim):
    at, value = leaf(victim, heap(victim), level=2)
    write_entry(victim, at, value & ~ADDRESS | 0x7F_FFFF_F000)
    assert found(victim) == [("PT20", "error", at)]
    assert victim.command("vmmap")["mappings"], "the rest of the map is still there"


def test_loop_in_the_tables(victim):
    """A PD entry that names its PDPT (F42)."""
    steps = victim.command("vmwalk", hex(heap(victim)))["steps"]
    pdpt, entry = int(steps[1]["table"], 16), int(steps[2]["entry_address"], 16)
    write_entry(victim, entry, int(steps[2]["value"], 16) & ~ADDRESS | pdpt)
    assert ("PT20", "error", pdpt) in found(victim)


def test_writable_text(victim):
    kmain = int(victim.command("vmwalk", "kmain")["address"], 16) & ~0xFFF
    at, value = leaf(victim, kmain)
    write_entry(victim, at, value | 2)
    assert found(victim) == [("PT27", "error", kmain), ("PT27", "error", kmain)]


def test_executable_heap(victim):
    at, value = leaf(victim, heap(victim))
    write_entry(victim, at, value & ~NX)
    assert found(victim) == [("PT27", "error", heap(victim))]


def test_user_bit_on_a_kernel_page(victim):
    for level in (4, 3, 2, 1):
        at, value = leaf(victim, heap(victim), level)
        write_entry(victim, at, value | 4)
    assert ("PT26", "error", heap(victim)) in found(victim)
    assert {rule for rule, _, _ in found(victim)} == {"PT26"}


def test_direct_map_page_remapped_and_unmapped(victim):
    page = DIRECT_MAP + 0x150000
    at, value = leaf(victim, page)
    write_entry(victim, at, value & ~ADDRESS | 0x160000)
    assert found(victim) == [("PT25", "error", page)]
    write_entry(victim, at, 0)
    assert found(victim) == [("PT25", "error", page)]
    assert "physical 0x150000, which is usable RAM, is not mapped" in victim.text("vmcheck")


def test_identity_map_left_behind(victim):
    root = int(victim.command("memcpu")["root"], 16)
    step = victim.command("vmwalk", hex(DIRECT_MAP))["steps"][0]
    write_entry(victim, root, int(step["value"], 16))
    rules = found(victim)
    assert ("PT29", "warning", 0) in rules
    assert {rule for rule, _, _ in rules} == {"PT20", "PT29"}, "the direct map's tables are named twice"


def test_device_mapped_cached(victim):
    free = heap(victim) - 0x1000  # a guard page
    at, _ = leaf(victim, free)
    write_entry(victim, at, 0xFEE00000 | 3 | NX)
    assert found(victim) == [("PT31", "warning", free)]
    write_entry(victim, at, 0xFEE00000 | 0x13 | NX)
    assert found(victim) == []
    assert "not RAM" in victim.text(f"vmmap -range {free:#x} {free + 4096:#x}")


def test_recursive_slot(victim):
    root = int(victim.command("memcpu")["root"], 16)
    write_entry(victim, root + 8 * 300, root | 3 | NX)
    assert found(victim) == []
    assert "PT24" in victim.command("vmcheck")["checked"]
    window = 0xFFFF_0000_0000_0000 | 300 << 39
    tree = victim.command("vmmap", "-tree")["branches"]
    assert next(b["kind"] for b in tree if int(b["start"], 16) >= window) == "recursive"
    assert "recursive slot" in victim.text(f"vmmap -range {window:#x} {window + (1 << 39):#x}")
    write_entry(victim, root + 8 * 300, root | 7 | NX)
    assert ("PT24", "error", root + 8 * 300) in found(victim)


def test_write_protect_cleared(victim):
    victim.execute("set var $cr0 = (long)$cr0 & ~0x10000")
    assert ("PT27", "error", None) in found(victim)
    assert "for the supervisor alone (CR0.WP is 0)" in victim.text("vmwalk kmain")


def test_kernel_halves_of_two_processors(boot):
    """The second processor gets a copy of the root; then an entry is changed in the copy alone (F46)."""
    session = boot(memory="64M", append="scenario=idle", qemu_args=("-smp", "2"))
    assert "only one address space is known" in session.text("vmcheck")
    cpu = session.command("memcpu")
    root, copy = int(cpu["root"], 16), 0x3F0_0000
    words = session.read_physical(root, 4096)
    for index in (256, 384, 511):
        value = int.from_bytes(words[8 * index : 8 * index + 8], "little")
        write_entry(session, copy + 8 * index, value)
    session.execute("thread 2")
    for name in ("efer", "cr4", "cr0"):
        session.execute(f"set var ${name} = (long){cpu[name]}")
    session.execute(f"set var $cr3 = (long){copy:#x}")
    session.execute("thread 1")
    answer = session.command("vmcheck")
    assert "PT23" in answer["checked"]
    assert [f["id"] for f in answer["findings"]] == []
    write_entry(session, copy + 8 * 300, 0x1003)
    assert found(session) == [("PT23", "error", copy + 8 * 300)]
    assert {reach["space"] for reach in session.command("vmfind", "0x100000")["reaches"]} == {
        "CR3",
        "CR3 of processor 1",
    }


def test_rights_of_the_direct_map(victim):
    page = DIRECT_MAP + 0x150000
    at, value = leaf(victim, page)
    write_entry(victim, at, value & ~NX)
    assert set(found(victim)) == {("PT25", "warning", page), ("PT27", "error", page)}
    write_entry(victim, at, value)
    for level in (4, 3, 2, 1):
        at, value = leaf(victim, page, level)
        write_entry(victim, at, value | 4)
    assert set(found(victim)) == {("PT25", "error", page), ("PT26", "error", page)}
