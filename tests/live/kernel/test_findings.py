"""Damage done from gdb to a healthy kernel: the rule that it breaks is reported, at the right address, and no other."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
HEADER = 32
WORD = (1 << 64) - 1


@pytest.fixture
def victim(boot):
    """A machine to be damaged, healthy so far."""
    machine = boot(memory="64M")
    assert machine.command("memcheck")["findings"] == []
    return machine


def number(session, expression):
    return int(session.execute(f"output/d (long)({expression})").strip()) & WORD


def poke(session, lvalue, value):
    session.execute(f"set var {lvalue} = {value}")


def found(session, *command):
    """What is found, as rule and address, in order; every finding says what it means."""
    findings = session.command(*(command or ("memcheck",)))["findings"]
    for finding in findings:
        assert finding["expected"]
        assert finding["actual"]
        assert finding["cause"]
    return [(f["id"], f["address"] and int(f["address"], 16)) for f in findings]


def chunks(session):
    """Header addresses, sizes and states, in list order."""
    listed = session.command("heaplist")["heaps"][0]["chunks"]
    return [(int(c["address"], 16), c["size"], c["state"]) for c in listed]


def chunk_like(session, *states):
    """The index of the first chunk, not at either end, that has these states in a row."""
    listed = chunks(session)
    for i in range(1, len(listed) - len(states) - 1):
        if tuple(state for _, _, state in listed[i : i + len(states)]) == states:
            return i, listed
    raise AssertionError(f"no chunks {states} in this workload")


def field(address, name):
    return f"((struct heap_list_chunk *){address:#x})->{name}"


# The heap


def test_magic_overwritten(victim):
    i, listed = chunk_like(victim, "used", "used")
    poke(victim, field(listed[i + 1][0], "magic"), "0x12345678")
    assert found(victim) == [("HEAP61", listed[i + 1][0])]


def test_header_overrun_with_text(victim):
    i, listed = chunk_like(victim, "used", "used")
    before, (address, _, _) = listed[i], listed[i + 1]
    text = "the quick brown fox jumps over."
    for at in range(0, HEADER, 8):
        poke(
            victim,
            f"*(unsigned long *){address + at:#x}",
            int.from_bytes(text.encode()[at : at + 8].ljust(8, b"\0"), "little"),
        )
    (finding,) = victim.command("heapcheck")["findings"]
    assert (finding["id"], int(finding["address"], 16)) == ("HEAP61", address)
    assert f"{before[0] + HEADER:#x}" in finding["cause"]
    assert f"overrun by {HEADER} bytes: the next header now holds the tail of a string, '{text}'" in finding["cause"]
    assert any(text in evidence for evidence in finding["evidence"])
    assert any(f"{before[0]:#x}" in evidence for evidence in finding["evidence"])
    # What lies behind the damage is still seen, from the tail.
    assert [c for c in chunks(victim) if c[0] != address] == [c for c in listed if c[0] != address]


def test_header_zeroed(victim):
    i, listed = chunk_like(victim, "used", "used")
    address = listed[i + 1][0]
    for at in range(0, HEADER, 8):
        poke(victim, f"*(unsigned long *){address + at:#x}", 0)
    assert found(victim) == [("HEAP61", address)]


def test_size_too_large_and_too_small(victim):
    i, listed = chunk_like(victim, "used", "used")
    address, size, _ = listed[i]
    for wrong in (size + 16, max(16, size - 16)):
        if wrong != size:
            poke(victim, field(address, "size"), wrong)
            assert found(victim)[0] == ("HEAP60", address)
            assert {rule for rule, _ in found(victim)} == {"HEAP60"}  # sizes that do not fit are not summed up
    (finding, *_) = victim.command("heapcheck")["findings"]
    assert any(f"{listed[i + 1][0]:#x}" in evidence for evidence in finding["evidence"])


def test_size_beyond_the_arena(victim):
    i, listed = chunk_like(victim, "used", "used")
    poke(victim, field(listed[i][0], "size"), "0x100000000000")
    assert found(victim)[0] == ("HEAP60", listed[i][0])


@pytest.mark.parametrize(("border", "change", "at"), [("end", "+ 0x1000", -1), ("start", "- 0x1000", 0)])
def test_chunks_that_do_not_fill_their_arena(victim, border, change, at):
    listed = chunks(victim)
    poke(victim, f"kernel_heap.{border}", f"kernel_heap.{border} {change}")
    (first, *rest) = found(victim)
    assert first == ("HEAP60", listed[at][0])
    assert {rule for rule, _ in rest} <= {"HEAP69"}  # there is no memory where no heap is


@pytest.mark.parametrize("target", ["0xdead000000000000", "0x123450", "0xffffc0001fff0000"])
def test_next_leads_nowhere(victim, target):
    i, listed = chunk_like(victim, "used", "used")
    poke(victim, field(listed[i][0], "next"), target)
    assert found(victim) == [("HEAP63", listed[i][0])]
    (finding,) = victim.command("heapcheck")["findings"]
    assert target in finding["actual"]


def test_list_in_a_circle(victim):
    i, listed = chunk_like(victim, "used", "used", "used")
    poke(victim, field(listed[i + 2][0], "next"), f"{listed[i][0]:#x}")
    assert found(victim) == [("HEAP63", listed[i + 2][0])]
    poke(victim, field(listed[i][0], "next"), f"{listed[i][0]:#x}")
    assert found(victim)[0] == ("HEAP63", listed[i][0])


def test_list_cut_short(victim):
    i, listed = chunk_like(victim, "used", "used")
    poke(victim, field(listed[i][0], "next"), 0)
    assert found(victim) == [("HEAP63", listed[i][0])]


def test_prev_is_wrong(victim):
    i, listed = chunk_like(victim, "used", "used")
    poke(victim, field(listed[i + 1][0], "prev"), f"{listed[i - 1][0]:#x}")
    assert found(victim) == [("HEAP63", listed[i + 1][0])]


def test_stale_tail(victim):
    listed = chunks(victim)
    poke(victim, "kernel_heap.list.tail", f"{listed[-2][0]:#x}")
    ((rule, _),) = found(victim)
    assert rule == "HEAP63"
    assert "tail" in victim.text("heapcheck")


def test_unmerged_neighbours(victim):
    i, listed = chunk_like(victim, "free", "used")
    poke(victim, field(listed[i + 1][0], "free"), 1)
    rules = found(victim)
    assert rules[0] == ("HEAP62", listed[i][0])
    assert {rule for rule, _ in rules} == {
        "HEAP62",
        "HEAP64",
        "HEAP65",
    }  # its payload is no poison


@pytest.mark.parametrize("counter", ["used_chunks", "free_chunks", "used_bytes", "free_bytes"])
def test_heap_counter(victim, counter):
    poke(victim, f"kernel_heap.{counter}", f"kernel_heap.{counter} + 16")
    assert found(victim) == [("HEAP65", number(victim, f"&kernel_heap.{counter}"))]


# The physical manager


def flip(session, frame):
    poke(session, f"pmm.bits[{frame // 64}]", f"pmm.bits[{frame // 64}] ^ (1UL << {frame % 64})")


def test_frame_counter(victim):
    poke(victim, "pmm.used", "pmm.used - 1")
    assert found(victim) == [("PMM01", number(victim, "&pmm.used"))]


def test_free_frame_marked_used(victim):
    (dump,) = victim.command("pmmdump")["managers"]
    frame = next(int(s["start"], 16) // 4096 for s in dump["stretches"][::-1] if s["state"] == "free")
    flip(victim, frame)
    assert found(victim) == [("PMM02", frame * 4096), ("PMM01", number(victim, "&pmm.used"))]


def with_counter(session, frame):
    """A frame called free, in the bits and in the counter: nothing is wrong with the bitmap by itself."""
    flip(session, frame)
    poke(session, "pmm.used", "pmm.used - 1")
    poke(session, "pmm.hint", 0)


def test_the_bitmaps_own_frame_called_free(victim):
    frame = int(victim.command("vmwalk", "pmm.bits")["physical"], 16) // 4096
    with_counter(victim, frame)
    assert found(victim) == [("PMM03", frame * 4096)]


def test_page_table_called_free(victim):
    table = int(victim.command("vmwalk", "kernel_heap.start")["steps"][-1]["table"], 16)
    with_counter(victim, table // 4096)
    assert found(victim) == [("PMM02", table)]
    assert "page table" in victim.text("pmmstat")


def test_heap_frame_called_free(victim):
    frame = int(victim.command("vmwalk", "kernel_heap.start")["physical"], 16)
    with_counter(victim, frame // 4096)
    assert found(victim) == [("PMM02", frame)]
    assert f"mapped at {number(victim, 'kernel_heap.start'):#x}" in victim.text("pmmstat")


def test_heap_mapped_onto_the_bitmap(victim):
    """Situation F07: the bit of the bitmap's frame says used, and the heap's page is that frame all the same."""
    bitmap = int(victim.command("vmwalk", "pmm.bits")["physical"], 16) & ~0xFFF
    leaf = victim.command("vmwalk", "kernel_heap.end - 0x1000")["steps"][-1]
    entry = int(leaf["value"], 16) & ~0xFFFFFFFFFF000 | bitmap
    poke(victim, f"*(unsigned long *)(0xffff800000000000 + {leaf['entry_address']})", f"{entry:#x}UL")
    assert ("PMM03", bitmap) in found(victim, "pmmstat")


def test_hole_called_free(boot):
    machine = boot(memory="4G")
    with_counter(machine, 0xD000_0000 // 4096)
    assert found(machine) == [("PMM04", 0xD000_0000)]
    assert "no RAM" in machine.text("pmmstat")


def test_kernel_text_called_free(victim):
    frame = int(victim.command("vmwalk", "kmain")["physical"], 16) & ~0xFFF
    with_counter(victim, frame // 4096)
    assert found(victim) == [("PMM06", frame)]


def test_hint_too_high(victim):
    poke(victim, "pmm.hint", "pmm.hint + 1")
    assert found(victim) == [("PMM07", number(victim, "&pmm.hint"))]
    poke(victim, "pmm.hint", "pmm.frames + 1")
    assert found(victim) == [("PMM07", number(victim, "&pmm.hint"))]


def test_tail_bits_called_free(victim):
    """Take frames off the end, so that the last word has bits that stand for none."""
    frames = number(victim, "pmm.frames")
    word, odd = divmod(frames - 3, 64)
    assert odd
    poke(victim, "pmm.frames", frames - 3)
    used = victim.command("pmmstat")["managers"][0]["used"]
    poke(victim, "pmm.used", used)
    rules = found(victim)
    assert rules == [("PMM05", (frames - 3) << 12), ("PMM07", number(victim, f"&pmm.bits[{word}]"))]


def test_lock_held_makes_findings_in_flux(victim):
    poke(victim, "pmm.used", "pmm.used - 1")
    poke(victim, "pmm.lock.locked", 1)
    (finding,) = victim.command("memcheck")["findings"]
    assert finding["severity"] == "in-flux"
    poke(victim, "kernel_heap.lock.locked", 1)
    poke(victim, "kernel_heap.used_bytes", 1)
    assert {f["severity"] for f in victim.command("memcheck")["findings"]} == {"in-flux"}


@pytest.mark.parametrize(
    ("lvalue", "value", "rule"),
    [
        ("pmm.bits", "0", "PMM00"),
        ("pmm.bits", "(void *)0x800000000000", "PMM00"),
        ("pmm.bits", "(void *)0xffffc0001fff0000", "PMM00"),
        ("pmm.frames", "1UL << 40", "PMM00"),
        ("pmm.frames", "~0UL", "PMM00"),
        ("kernel_heap.list.head", "(void *)0x800000000000", "HEAP63"),
        ("kernel_heap.list.head", "(void *)1", "HEAP63"),
        ("kernel_heap.end", "0", "HEAP60"),
    ],
)
def test_torn_managers_are_findings(victim, lvalue, value, rule):
    poke(victim, lvalue, value)
    assert rule in {found_rule for found_rule, _ in found(victim)}
    for command in ("pmmstat", "pmmdump", "heapstat", "heaplist", "heapcheck"):
        assert "Traceback" not in victim.text(command)


def test_reserved_range_called_free(victim):
    """RAM that the firmware left to the kernel, and that the kernel set aside: below 1 MiB."""
    with_counter(victim, 5)
    assert found(victim) == [("PMM04", 5 * 4096)]
    assert "reserved at boot: 0x0-0x100000" in victim.text("pmmstat")


def test_a_profile_silences_and_softens_rules(victim, tmp_path):
    poke(victim, "pmm.used", "pmm.used - 1")
    built_in = (ROOT / "gdbext" / "profiles" / "reference.toml").read_text()
    for checks, expected in (
        ('off = ["PMM01"]', []),
        ('severity = { PMM01 = "warning" }', [("PMM01", "warning")]),
        ('known = [{ id = "PMM01", address = "&pmm.used", reason = "why not" }]', []),
        ('known = [{ id = "PMM01", address = "&pmm.hint", reason = "why not" }]', [("PMM01", "error")]),
    ):
        profile = tmp_path / "mine.toml"
        profile.write_text(f"{built_in}\n[checks]\n{checks}\n")
        victim.text(f"memprofile use {profile}")
        answer = victim.command("memcheck")
        assert [(f["id"], f["severity"]) for f in answer["findings"]] == expected, checks
        assert ("PMM01" in answer["checked"]) == ("off" not in checks)
