"""One frame, the map of all of them, zones and orders: against the kernel's report and tables walked by hand."""

import struct

import pytest

from gdbext.headless import CommandFailed, Session

from ..serial_report import SerialReport

MIB = 1 << 20
RAM = 64 * MIB
VGA_HOLE = 128 << 10
"""QEMU has no RAM from 0xa0000 to 0xc0000."""
FIRMWARE = 0x1800000, 0x1823000
"""A range in the middle of RAM that the firmware keeps for itself."""
KINDS = ["bitmap", "stack", "buddy", "tree", "pages"]
FREE = {"free", "free but in use", "free, not usable"}


@pytest.fixture(scope="module", params=KINDS)
def machine(request, gcc_kernel):
    """A healthy machine under each kind of manager. Shared: leave it as it is."""
    append = f"pmm={request.param} map={FIRMWARE[0]:#x},{FIRMWARE[1] - FIRMWARE[0]:#x},2"
    with Session(gcc_kernel, append=append, memory="64M") as session:
        session.run_to("kernel_ready")
        yield session


def frame_map(session, *options):
    """The map as JSON has it: the stretches of each state, and the bytes."""
    frames = session.command("pmmdump", "-map", *options)["map"]
    pieces = [(int(p["start"], 16), int(p["end"], 16), p["state"]) for p in frames["pieces"]]
    assert [end for _, end, _ in pieces[:-1]] == [start for start, _, _ in pieces[1:]]
    assert (pieces[0][0], pieces[-1][1]) == (int(frames["start"], 16), int(frames["end"], 16))
    for state, size in frames["sizes"].items():
        assert sum(end - start for start, end, of in pieces if of == state) == size, state
    return pieces, frames["sizes"]


def state_at(pieces, address):
    (state,) = [state for start, end, state in pieces if start <= address < end]
    return state


def frame(session, typed):
    return session.command("pmmframe", typed)


def tables_by_hand(session):
    """The page tables below CR3 as QEMU's memory has them: table -> level, and the entries that name it."""
    root = SerialReport(session.serial()).one("cpu")["cr3"] & ~0xFFF
    found, waiting = {root: (4, [])}, [(root, 4)]
    while waiting:
        table, level = waiting.pop()
        for at, entry in enumerate(struct.unpack("<512Q", session.read_physical(table, 4096))):
            if entry & 1 and level > 1 and not entry & 0x80:
                below = entry & 0xFFFFFFFFFF000
                if below not in found:
                    found[below] = (level - 1, [])
                    waiting.append((below, level - 1))
                found[below][1].append(table + 8 * at)
    return found


# The map


def test_all_of_memory_is_drawn_once(machine):
    told = SerialReport(machine.serial()).one("pmm")
    pieces, sizes = frame_map(machine)
    assert sum(sizes.values()) == RAM
    assert sizes["absent"] == VGA_HOLE
    assert sizes["free"] == told["free"] * 4096
    assert not (FREE - {"free"}) & set(sizes)
    (manager,) = machine.command("pmmstat")["managers"]
    end = told["frames"] * 4096
    taken = sum(min(stop, end) - start for start, stop, state in pieces if state != "free" and start < end)
    assert taken == manager["used"] * 4096 == told["used"] * 4096
    assert {state for start, _, state in pieces if start >= end} <= {"reserved"}


def kernels_heap(report):
    """What is told of the general heap; the kernel's own objects have another."""
    (told,) = [heap for heap in report.all("heap") if heap["name"] == "kernel"]
    return told


def test_owners_are_drawn_where_they_are(machine):
    report = SerialReport(machine.serial())
    pieces, sizes = frame_map(machine)
    tables = tables_by_hand(machine)
    drawn = {at for start, end, state in pieces if state == "page table" for at in range(start, end, 4096)}
    assert drawn == set(tables)
    image = report.all("image")
    assert sizes["kernel image"] == sum(section["end"] - section["start"] for section in image)
    for section in image:
        answer = machine.monitor(f"gva2gpa {section['start']:#x}")
        assert state_at(pieces, int(answer.split()[-1], 16)) == "kernel image"
    heap = kernels_heap(report)
    objects = next(line for line in report.all("heap") if line["name"] == "objects")
    pages = [machine.monitor(f"gva2gpa {page:#x}") for page in range(objects["start"], objects["end"], 4096)]
    mapped = sum(4096 for answer in pages if "gpa" in answer)
    assert sizes["heap"] == heap["end"] - heap["start"] + mapped
    assert state_at(pieces, FIRMWARE[0] - 1) != "reserved" != state_at(pieces, FIRMWARE[1])
    assert (*FIRMWARE, "reserved") in pieces
    for kept in report.all("reserved"):
        first, end = kept["base"], kept["base"] + kept["length"]
        met = {state for start, stop, state in pieces if start < end and stop > first}
        assert not met & {"used", "unmanaged", *FREE}, kept
    for ledger in report.all("frame"):
        assert state_at(pieces, ledger["number"] * 4096) == "used"


def test_a_part_is_drawn_as_in_the_whole(machine):
    pieces, _ = frame_map(machine)
    part, sizes = frame_map(machine, "-range", "0x17ff123", "0x1900001")
    assert (part[0][0], part[-1][1]) == (0x17FF000, 0x1901000)
    for start, end, state in part:
        assert state_at(pieces, start) == state == state_at(pieces, end - 1)
    for zone in SerialReport(machine.serial()).all("zone")[:2]:
        _, sizes = frame_map(machine, "-zone", zone["name"])
        assert sizes["free"] == zone["free"] * 4096
        assert sum(sizes.values()) == min(zone["end"] * 4096, RAM) - zone["first"] * 4096
    assert "no RAM and no free frame in this range" in machine.text("pmmdump -map -zone high")
    text = machine.text("pmmdump -map")
    assert "page table" in text
    assert "one cell = " in text


def test_the_drawing_is_ascii_where_the_terminal_is(machine):
    machine.execute("set host-charset ASCII")
    assert machine.text("pmmdump -map").isascii()
    machine.execute("set host-charset UTF-8")
    assert "·" in machine.text("pmmdump -map")
    machine.execute("set host-charset auto")


# Zones and orders


def test_zones_and_orders_are_in_pieces_as_the_kernel_says(machine):
    report = SerialReport(machine.serial())
    (manager,) = machine.command("pmmstat")["managers"]
    for ours, theirs in zip(manager["zones"], report.all("zone"), strict=True):
        assert (ours["name"], ours["free"], ours["largest_run"]) == tuple(
            theirs[key] for key in ("name", "free", "largest_run")
        )
        outside = theirs["free"] - theirs["largest_run"]
        assert ours["fragmentation"] * theirs["free"] == pytest.approx(outside)
    orders = {order["number"]: order["blocks"] for order in report.all("order")}
    free = sum(blocks << order for order, blocks in orders.items())
    for part in manager["parts"] if orders else ():
        order = int(part["name"])
        of_use = sum(blocks << k for k, blocks in orders.items() if k >= order)
        assert part["unusable"] * free == pytest.approx(free - of_use)


@pytest.mark.parametrize("machine", ["buddy"], indirect=True)
def test_empty_orders_at_the_top_are_one_line(machine):
    lines = machine.text("pmmstat").splitlines()
    (manager,) = machine.command("pmmstat")["managers"]
    highest = max(int(part["name"]) for part in manager["parts"] if part["blocks"])
    assert highest <= 14, "64 MiB are 2^14 frames"
    assert any(line.startswith(f"{highest + 1}-18 ") for line in lines)
    assert not any(line.startswith(f"{highest + 1} ") for line in lines)


def test_a_zone_is_listed_alone(machine):
    isa, low, _ = SerialReport(machine.serial()).all("zone")
    for zone in (isa, low):
        (dump,) = machine.command("pmmdump", "-zone", zone["name"])["managers"]
        stretches = dump["stretches"]
        first, end = zone["first"] * 4096, zone["end"] * 4096
        if dump["kind"] != "list":
            assert sum(s["frames"] for s in stretches if s["state"] == "free") == zone["free"]
            assert all(first <= int(s["start"], 16) < int(s["end"], 16) <= end for s in stretches)
        elif dump["lists"][0]["name"] == zone["name"]:
            assert len(dump["lists"]) == 1
            assert sum(run["frames"] for run in dump["lists"][0]["runs"]) == zone["free"]
    (dump,) = machine.command("pmmdump", "-zone", "isa", "-range", "0x800000", "0x2000000")["managers"]
    if dump["kind"] != "list":
        assert (dump["stretches"][0]["start"], dump["stretches"][-1]["end"]) == ("0x800000", "0x1000000")


@pytest.mark.parametrize("machine", ["buddy"], indirect=True)
def test_lists_are_zones_too(machine):
    (manager,) = machine.command("pmmstat")["managers"]
    (dump,) = machine.command("pmmdump", "-zone", "12")["managers"]
    assert [(found["name"], found["nodes"]) for found in dump["lists"]] == [("12", manager["parts"][12]["blocks"])]
    with pytest.raises(CommandFailed, match="'12' is a list that may hold any address"):
        machine.text("pmmdump -map -zone 12")


# One frame


def test_page_tables_are_told_with_those_who_name_them(machine):
    for table, (level, entries) in tables_by_hand(machine).items():
        found = frame(machine, f"{table + 0x123:#x}")
        assert (found["pfn"], int(found["start"], 16)) == (table >> 12, table)
        (use,) = found["tables"]
        assert (use["level"], [int(entry, 16) for entry in use["entries"]]) == (level, sorted(entries))
        assert found["owners"][0]["kind"] == "page table"
        assert found["verdict"].startswith("used: it is a page table")
        assert bytes.fromhex(found["content"]) == machine.read_physical(table, 64)


def test_frames_of_the_ledger_are_used(machine):
    for ledger in SerialReport(machine.serial()).all("frame")[::8]:
        found = frame(machine, f"pfn={ledger['number']}")
        assert [manager["state"] for manager in found["managers"]] == ["used"]
        assert found["findings"] == found["owners"] == []


def test_a_frame_of_the_heap_is_reached_twice(machine):
    start = kernels_heap(SerialReport(machine.serial()))["start"]
    physical = int(machine.monitor(f"gva2gpa {start:#x}").split()[-1], 16)
    found = frame(machine, "$v2p(kernel_heap.start)")
    assert int(found["start"], 16) == physical
    reached = [int(reach["mapping"]["start"], 16) for reach in found["found"]["reaches"]]
    assert reached == [0xFFFF800000000000 + physical, start]
    assert int(found["direct_map"], 16) == reached[0]
    assert [owner["kind"] for owner in found["owners"]] == ["heap", "mapping"]
    text = machine.text("pmmframe $v2p(kernel_heap.start)")
    assert "used: it belongs to the heap 'kernel'" in text
    assert "CHNK" in text


def test_a_free_frame_is_where_the_manager_says(machine):
    name = machine.command("pmmstat")["managers"][0]["name"]
    start, end = next((s, e) for s, e, state in frame_map(machine)[0] if state == "free" and e - s >= 2 * MIB)
    address = (start + MIB) & ~0xFFF
    found = frame(machine, f"pfn={address >> 12:#x}")
    (record,) = found["managers"]
    assert (record["state"], int(record["start"], 16), int(record["end"], 16)) == ("free", start, end)
    assert found["verdict"] == "free, and no user of it is known"
    at = record["record_at"]
    if name == "bitmap":
        assert int(machine.execute(f"output *(unsigned long *){at} >> {address >> 12} % 64 & 1")) == 0
    elif name == "tree":
        assert int(machine.execute(f"output (int)*(unsigned char *){at}")) != 0
        sizes = [4096 << order for order in range(20)]
        whole = [size for size in sizes if start <= address - address % size < address - address % size + size <= end]
        assert 4096 << record["order"] == max(whole)
    else:
        check_place(machine, name, address, record)


def check_place(machine, name, address, record):
    """The place in a list: what the kernel's own links say stands there."""
    place = record["list"]
    start, end = int(place["start"], 16), int(place["end"], 16)
    assert start <= address < end
    if name == "buddy":
        assert end - start == 4096 << record["order"]
        assert int(machine.execute(f"output ((struct free_block *){place['node']})->order")) == record["order"]
        at, before = machine.execute(f"output/x pmm_buddy.order[{record['order']}].first").strip(), None
        for _ in range(place["place"]):
            at, before = machine.execute(f"output/x ((struct free_block *){at})->next").strip(), at
        assert at == place["node"]
        assert (before and int(before, 16) & (1 << 46) - 1) == (place["before"] and int(place["before"], 16))
    elif name == "stack":
        assert int(machine.execute(f"output/x (long)((struct free_frame *){place['node']})->next").strip(), 16) & (
            1 << 46
        ) - 1 == int(place["after"] or "0", 16)
    else:
        word = f"((struct frame_page *){place['node']})->frames[{place['entry']}]"
        assert int(machine.execute(f"output {word}")) * 4096 == address


def test_many_mappings_are_counted_and_the_first_listed(boot):
    machine = boot(memory="32M")
    leaf = machine.command("vmwalk", "kernel_heap.start")["steps"][-1]
    table = int(leaf["table"], 16)
    entries = struct.unpack("<512Q", machine.read_physical(table, 4096))
    spare = [at for at, entry in enumerate(entries) if not entry][-40:]
    for at in spare:
        machine.execute(f"set var *(unsigned long *){0xFFFF800000000000 + table + 8 * at:#x} = {leaf['value']}")
    found = frame(machine, "$v2p(kernel_heap.start)")
    assert found["mapping_count"] == len(spare) + 2 == 42
    assert len(found["found"]["reaches"]) == 32
    assert "only the first 32 of 42 mappings are shown" in machine.text("pmmframe $v2p(kernel_heap.start)")


def test_a_root_that_names_itself_is_a_table_of_every_level(boot):
    machine = boot(memory="32M")
    root = SerialReport(machine.serial()).one("cpu")["cr3"] & ~0xFFF
    slot = root + 8 * 300
    machine.execute(f"set var *(unsigned long *){0xFFFF800000000000 + slot:#x} = {root | 3:#x}")
    uses = {use["level"]: use["entries"] for use in frame(machine, f"{root:#x}")["tables"]}
    assert uses == {4: [], 3: [hex(slot)], 2: [hex(slot)], 1: [hex(slot)]}


def test_a_free_frame_that_its_record_calls_used(boot, reference, tmp_path):
    """With the boot map and without: its absence must not make the other frames this one's business."""
    machine = boot(memory="32M")
    number = SerialReport(machine.serial()).all("frame")[0]["number"]
    without = tmp_path / "without.toml"
    head, _, tail = reference.partition("[boot_map]")
    without.write_text(head + "[exception]" + tail.partition("[exception]")[2])
    for profile in ("reference", without):
        machine.text(f"memprofile use {profile}")
        assert frame(machine, f"pfn={number}")["findings"] == []
    machine.execute(f"set var pmm.bits[{number // 64}] &= ~(1UL << {number % 64})")
    for profile in ("reference", without):
        machine.text(f"memprofile use {profile}")
        found = frame(machine, f"pfn={number}")
        assert [(f["id"], int(f["address"], 16)) for f in found["findings"]] == [("PMM02", number * 4096)]
        assert frame_map(machine)[1]["free but in use"] == 4096


@pytest.mark.parametrize("kind", ["bitmap", "stack", "buddy"])
def test_a_free_page_table_stands_out(boot, kind):
    machine = boot(append=f"pmm={kind} fault=F03", memory="64M")
    broken = int(machine.serial().split("F03 injected at ")[1].split(":")[0], 16)
    found = frame(machine, f"{broken:#x}")
    assert [(f["id"], int(f["address"], 16)) for f in found["findings"]] == [("PMM02", broken)]
    assert found["verdict"].startswith("PMM02 broken")
    assert found["verdict"].endswith("free, but it is a page table")
    assert found["managers"][0]["state"] == "free"
    pieces, sizes = frame_map(machine)
    assert sizes["free but in use"] == 4096
    assert state_at(pieces, broken) == "free but in use"
    assert sum(line[line.find("  ") :].count("!") for line in machine.text("pmmdump -map").splitlines()[3:-4]) == 1
    assert frame(machine, f"{broken + 4096:#x}")["findings"] == []


@pytest.mark.parametrize("machine", ["bitmap"], indirect=True)
def test_frames_that_are_no_ram(machine):
    video = frame(machine, "0xb8000")
    assert not video["is_ram"]
    assert video["content"] is None
    assert video["verdict"].startswith("no RAM at this address")
    beyond = frame(machine, "0xfee00000")
    assert beyond["managers"][0]["state"] == "unmanaged"
    firmware = frame(machine, f"{FIRMWARE[0]:#x}")
    assert [(o["use"], o["type"]) for o in firmware["boot"]][-1:] == [("not usable", 2)]
    assert firmware["verdict"] == "used: not available to the allocator"


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("pfn=", "give a frame number after pfn="),
        ("no_such_thing", 'No symbol "no_such_thing"'),
        ("pfn=(1+", "cannot evaluate"),
        ("pfn=1UL << 40", "beyond physical memory"),
        ("pfn=-1", "beyond physical memory"),
    ],
)
@pytest.mark.parametrize("machine", ["bitmap"], indirect=True)
def test_wrong_use_is_one_clear_line(machine, typed, says):
    with pytest.raises(CommandFailed, match=says) as failure:
        machine.text(f"pmmframe {typed}")
    assert "\n" not in failure.value.reason.strip()


@pytest.mark.parametrize("machine", ["bitmap"], indirect=True)
def test_names_are_completed(machine):
    assert machine.execute("complete pmmdump -zone i").splitlines() == ["pmmdump -zone isa"]
    assert "pmmdump -map" in machine.execute("complete pmmdump -ma").splitlines()
    assert "kernel_ready" in machine.execute("complete pmmframe kernel_r")
