"""No false alarm on a healthy kernel in any state, and nothing called clean that was not looked at."""

import subprocess

import pytest

EARLY = [
    "boot_info_read",
    "paging_init",
    "map_leaf",
    "pmm_init",
    "early_close",
    "vm_init",
    "kernel_heap_init",
    "vm_commit",
]


def errors(session, command="memcheck"):
    return [f for f in session.command(command)["findings"] if f["severity"] == "error"]


@pytest.mark.parametrize("stop", EARLY)
def test_early_stops_yield_no_error(boot, stop):
    session = boot(stop=stop, memory="64M")
    for command in ("pmmstat", "heapcheck", "memcheck"):
        # Booting itself leaves an identity map, and has not asked for NX and WP yet; that is true and so is said.
        found = [f for f in errors(session, command) if f["id"] not in {"PT27", "PT25"}]
        assert found == [], command
    text = session.text("heapcheck")
    if stop in EARLY[:7]:
        assert "not set up yet" in text
        assert "clean" not in text
    if stop in EARLY[:5]:
        assert "not set up yet" in session.text("pmmstat")


def test_at_the_reset_vector(boot):
    session = boot(stop=None, memory="64M")
    for command in ("pmmstat", "heapcheck", "memcheck"):
        text = session.text(command)
        assert "clean" not in text
        assert "paging is off on the selected processor" in text


def test_with_a_processor_selected_that_does_not_page(boot):
    session = boot(memory="64M", qemu_args=("-smp", "2"))
    assert session.command("memcheck")["findings"] == []
    session.execute("thread 2")
    text = session.text("memcheck")
    assert "paging is off on the selected processor" in text
    assert "clean" not in text


def test_a_recursive_slot_is_no_use_of_a_frame(boot):
    session = boot(memory="256M")
    root = int(session.command("memcpu")["root"], 16)
    session.execute(f"set var *(unsigned long *)(0xffff800000000000 + {root + 8 * 300:#x}) = {root | 3 | 1 << 63:#x}UL")
    assert session.command("memcheck")["findings"] == []
    assert "recursive slot" in session.text("vmmap")


def clear_bit(session, frame):
    session.execute(f"set var pmm.bits[{frame // 64}] &= ~(1UL << {frame % 64})")


def heap_frame(session):
    return int(session.command("vmwalk", "kernel_heap.start")["physical"], 16) // 4096


@pytest.mark.parametrize("count", ["boot_map_count", "reserved_count"])
def test_a_corrupt_boot_map_is_a_finding_and_hides_nothing(boot, count):
    session = boot(memory="64M")
    frame = heap_frame(session)
    clear_bit(session, frame)
    session.execute(f"set var {count} = 0x10000000000")
    findings = session.command("memcheck")["findings"]
    assert {f["id"] for f in findings} == {"PMM00", "PMM01", "PMM02", "PMM07"}
    assert any(count in f["actual"] for f in findings)
    (partly,) = [s for s in session.command("pmmstat")["skipped"] if s["id"] == "PMM04"]
    assert partly["partly"]


def test_a_low_section_costs_no_names_and_no_rules(boot, gcc_kernel, tmp_path):
    """A kernel whose boot code is linked low and all else high."""
    (tmp_path / "bytes").write_bytes(bytes(4096))
    low = tmp_path / "low.elf"
    flags = ["--set-section-flags", ".boot=alloc,load,code,contents", "--change-section-address", ".boot=0x100000"]
    subprocess.run(["objcopy", "--add-section", f".boot={tmp_path / 'bytes'}", *flags, gcc_kernel, low], check=True)
    session = boot(symbols=low, memory="64M")
    names = {m["name"] for m in session.command("vmmap")["mappings"]}
    assert "direct map" in names
    assert any(name.startswith("kernel .text") for name in names)
    frame = heap_frame(session)
    clear_bit(session, frame)
    assert ("PMM02", f"{frame * 4096:#x}") in {(f["id"], f["address"]) for f in session.command("pmmstat")["findings"]}
    (partly,) = [s for s in session.command("pmmstat")["skipped"] if s["id"] == "PMM06"]
    assert ".boot" in partly["why"]


BUILT_IN = "direct_map = 0xffff800000000000\n"


@pytest.mark.parametrize(
    ("direct_map", "says"),
    [("", "gives no direct map"), ('direct_map = "pmm.reserved * 0"\n', "no RAM is mapped linearly from there")],
)
def test_without_a_direct_map_mappings_are_not_called_checked(boot, reference, tmp_path, direct_map, says):
    profile = tmp_path / "mine.toml"
    profile.write_text(reference.replace(BUILT_IN, direct_map))
    session = boot(memory="64M", profile=profile)
    answer = session.command("memcheck")
    assert answer["findings"] == []
    assert says in next(s["why"] for s in answer["skipped"] if s["id"] == "PMM02" and s["partly"])
    assert "clean" not in session.text("memcheck")


def test_unreadable_tables_are_said_to_be_left_out(boot):
    session = boot(memory="64M")
    entry = session.command("vmwalk", "kernel_heap.start")["steps"][0]["entry_address"]
    session.execute(f"set var *(unsigned long *)(0xffff800000000000 + {entry}) = 0x7ffffff003UL")
    skipped = session.command("pmmstat")["skipped"]
    assert any(s["id"] == "PMM02" and s["partly"] and "cannot be read" in s["why"] for s in skipped)


def test_a_list_without_an_end_that_is_known(boot, reference, tmp_path):
    profile = tmp_path / "mine.toml"
    kept, others = reference.split("[heap.next]")  # which keeps its tail, but does not serve
    kept = "\n".join(line for line in kept.splitlines() if not line.startswith(("tail", "prev", "segments")))
    profile.write_text(f"{kept}\n[heap.next]{others}")
    session = boot(memory="64M", profile=profile)
    (partly,) = [s for s in session.command("heapcheck")["skipped"] if s["id"] == "HEAP63"]
    assert "cut short" in partly["why"]


def test_what_fits_is_used_although_other_parts_do_not(boot, reference, tmp_path):
    profile = tmp_path / "mine.toml"
    profile.write_text(reference + '\n[pmm.other]\nkind = "bitmap"\nbits = "nothing"\ncount = 1\n')
    session = boot(memory="64M", profile=profile)
    assert session.command("pmmstat")["managers"][0]["name"] == "bitmap"
    assert "skipped:" in session.text("memcheck")
    assert "nothing" in session.text("memcheck")


def test_a_torn_count_with_readable_memory_behind_it(boot):
    session = boot(memory="6G")
    session.execute("set var pmm.bits = (void *)0xffff800100000000")
    for count in ("0x100000000", "0x40000000"):
        session.execute(f"set var pmm.frames = {count}")
        (finding,) = [f for f in session.command("pmmstat")["findings"] if f["id"] == "PMM00"]
        assert "cannot be the number of frames" in finding["actual"]


def test_counters_are_not_blamed_for_an_overwritten_header(boot):
    session = boot(memory="64M")
    chunk = next(c for c in session.command("heaplist", "-used")["heaps"][0]["chunks"][3:])
    session.execute(f"set var *(unsigned long *){chunk['address']} = 0x4141414141414141UL")
    assert [(f["id"], f["address"]) for f in session.command("memcheck")["findings"]] == [("HEAP61", chunk["address"])]
    listed = next(c for c in session.command("heaplist")["heaps"][0]["chunks"] if c["address"] == chunk["address"])
    assert listed["state"] == "unknown"
    assert "1 with an overwritten header" in session.text("heapcheck")


def test_a_frame_mapped_many_times_is_one_finding(boot):
    session = boot(memory="64M")
    frame = heap_frame(session)
    clear_bit(session, frame)
    session.execute("set var pmm.used -= 1")
    session.execute("set var pmm.hint = 0")
    table = int(session.command("vmwalk", "kernel_heap.start")["steps"][-1]["table"], 16)
    for index in range(500, 506):
        at = 0xFFFF_8000_0000_0000 + table + 8 * index
        session.execute(f"set var *(unsigned long *){at:#x} = {frame << 12 | 3 | 1 << 63:#x}UL")
    (finding,) = session.command("pmmstat")["findings"]
    assert finding["id"] == "PMM02"
    assert any("more uses" in evidence for evidence in finding["evidence"])


def test_ranges_keep_to_addresses_that_exist(session):
    assert session.command("vmmap", "-range", "0x7ffffffff000", "0xffff800000002000")["mappings"][0]["start"] == (
        "0xffff800000000000"
    )
    with pytest.raises(Exception, match="no address in it can be translated"):
        session.text("vmmap -range 0x800000000000 0x800000002000")
    assert session.command("vmmap", "-range", "0xffffffff80000000", "0")["mappings"]


def test_functions_work_in_breakpoint_conditions(boot):
    session = boot(memory="64M", stop="vm_init")
    session.execute("break pmm_alloc if $v2p(&pmm) == 0")
    session.execute('break kernel_ready if $_streq($frame_state(0), "used")')
    stop = session.cont()
    assert stop.function == "kernel_ready"
