"""What the kernel itself records about frames and buffers: heard where it is right, and reported where it is not."""

import re

import pytest

from gdbext.headless import Session

from ...building import make
from ..conftest import TARGET
from ..kernel.test_findings import found, number, poke, with_counter

MANAGERS = ("bitmap", "regions", "levels", "runs", "stack", "pages", "buddy", "tree")
ACPI, ACPI_SIZE = 0x4000000, 0x10000
ACPI_MEMORY = f"map={ACPI:#x},{ACPI_SIZE:#x},3"
RULES = {26: "PMM11", 27: "PMM11", 32: "PMM12", 12: "PMM04"}
"""The faults about records and buffers, and the rule that each breaks. The last two take memory that others leave."""


@pytest.fixture(scope="session")
def bare_kernel():
    """The reference kernel without its records about frames."""
    make("CC=gcc", "BARE=1")
    return TARGET / "build" / "gcc-bare" / "kernel.elf"


def inject(machine, fault):
    """A fault, injected into a running kernel: where it is, as the kernel says."""
    poke(machine, "fault_request", fault)
    machine.run_to("kernel_ready")
    if number(machine, "fault_request"):  # it stopped where it was, as `Machine.inject` has it
        machine.run_to("kernel_ready")
    assert number(machine, "fault_done.number") == fault, machine.serial()
    return number(machine, "fault_done.where")


@pytest.mark.parametrize("manager", MANAGERS)
def test_each_fault_adds_its_finding_and_no_other(boot, manager):
    machine = boot(append=f"pmm={manager} {ACPI_MEMORY}", memory="128M")
    assert f"acpi: {ACPI_SIZE // 4096} frames reclaimed" in machine.serial()
    healthy = machine.command("memcheck")
    assert healthy["findings"] == []
    assert healthy["problems"] == []
    assert {"PMM02", "PMM04", "PMM11", "PMM12"} <= set(healthy["checked"])
    before = []
    for fault, rule in RULES.items():
        where = inject(machine, fault)
        after = found(machine)
        assert sorted(after) == sorted([*before, (rule, where)]), fault
        before = after


def test_a_kernel_without_records(boot, bare_kernel):
    """It has buffers, a reserve and ACPI memory. That a block lost its order leaves no trace in it."""
    machine = boot(bare_kernel, append=ACPI_MEMORY, memory="128M")
    answer = machine.command("memcheck")
    assert (answer["findings"], answer["problems"]) == ([], [])
    assert "PMM12" not in answer["checked"]
    assert "every name in the profile resolves" in machine.text("memprofile")
    inject(machine, 32)
    assert found(machine) == []
    before = []
    for fault in (26, 27, 12):
        before.append((RULES[fault], inject(machine, fault)))
        assert sorted(found(machine)) == sorted(before)


@pytest.mark.parametrize("manager", ["bitmap", "regions", "buddy"])
def test_kernels_without_acpi_memory_and_with_ragged_borders(boot, bare_kernel, manager):
    assert boot(bare_kernel, append=f"pmm={manager}", memory="32M").command("memcheck")["findings"] == []
    ragged = f"pmm={manager} map=0x1000800,0x8800,3"
    assert boot(append=ragged, memory="32M").command("memcheck")["findings"] == []


def test_acpi_memory_while_it_is_reclaimed(boot):
    """Between saving and the last frame that is given back there is nothing wrong at any time."""
    machine = boot(append=ACPI_MEMORY, memory="128M", stop="acpi_reclaim")
    assert machine.command("memcheck", "-only", "PMM04")["findings"] == []
    machine.run_to("memory_map_reclaim")
    for _ in range(3):
        machine.run_to("pmm_add")
        assert machine.command("memcheck", "-only", "PMM04")["findings"] == []


def test_acpi_memory_freed_too_early(boot):
    machine = boot(append=ACPI_MEMORY, memory="128M")
    poke(machine, "acpi.state", 0)
    assert found(machine) == [("PMM04", ACPI)]
    text = machine.text("pmmstat")
    assert "ACPI memory was freed before its tables were saved" in text
    assert "acpi.state >= ACPI_SAVED" in text
    # What records say of these frames does not matter yet.
    poke(machine, f"pages[{ACPI // 4096 + 1}].type", "PAGE_DMA")
    assert found(machine) == [("PMM04", ACPI)]
    poke(machine, f"pages[{ACPI // 4096 + 1}].type", "PAGE_FREE")
    poke(machine, "acpi.state", 2)
    assert found(machine) == []


# Records about frames


@pytest.fixture(scope="module")
def recorder(gcc_kernel):
    """A machine for several kinds of damage, each of which is mended again; healthy in between."""
    with Session(gcc_kernel, memory="64M", append="fault=F26") as machine:
        machine.run_to("kernel_ready")
        poke(machine, "dma.first->boundary", 0)
        yield machine


@pytest.fixture
def damage(recorder):
    """Damages the machine until the end of the test, which begins healthy."""
    mend = []

    def change(lvalue, value):
        mend.append((lvalue, number(recorder, lvalue)))
        poke(recorder, lvalue, value)

    assert found(recorder) == []
    yield change
    for lvalue, value in reversed(mend):
        poke(recorder, lvalue, value)


def heap_frame(machine):
    return int(machine.command("vmwalk", "kernel_heap.start")["physical"], 16) // 4096


def free_frame(machine):
    (dump,) = machine.command("pmmdump")["managers"]
    return next(int(s["start"], 16) // 4096 for s in dump["stretches"][::-1] if s["state"] == "free")


def test_a_used_frame_recorded_as_free(recorder, damage):
    frame = heap_frame(recorder)
    damage(f"pages[{frame}].type", "PAGE_FREE")
    assert found(recorder) == [("PMM02", frame * 4096)]
    assert "type PAGE_FREE" in recorder.text("pmmstat")


def test_a_free_frame_recorded_as_used(recorder, damage):
    frame = free_frame(recorder)
    damage(f"pages[{frame}].type", "PAGE_DMA")
    damage(f"pages[{frame}].owner", "0xffffc00000001234")
    assert found(recorder) == [("PMM02", frame * 4096)]
    assert "in use, type PAGE_DMA, owner 0xffffc00000001234" in recorder.text("pmmstat")


def test_frames_that_others_judge_are_left_to_them(recorder, damage):
    """Low memory is reserved at boot, and recorded so."""
    for lvalue in ("pmm.bits[0]", "pmm.used", "pmm.hint"):
        damage(lvalue, lvalue)
    with_counter(recorder, 5)
    assert found(recorder) == [("PMM04", 5 * 4096)]


@pytest.mark.parametrize("what", ["heap", "pool", "buffer"])
def test_a_used_frame_called_free_is_one_finding(recorder, damage, what):
    """Mapping, reserve or buffer, and the record, all object; the frame is wrong once."""
    frame = {
        "heap": heap_frame,
        "pool": lambda machine: number(machine, "frame_pool.frames[3]"),
        "buffer": lambda machine: number(machine, "dma.first->physical") // 4096 + 2,
    }[what](recorder)
    for lvalue in (f"pmm.bits[{frame // 64}]", "pmm.used", "pmm.hint"):
        damage(lvalue, lvalue)
    with_counter(recorder, frame)
    assert found(recorder) == [("PMM02", frame * 4096)]
    text = recorder.text("pmmstat")
    assert {"heap": "it is mapped at", "pool": "kept in frame_pool.frames[3]", "buffer": "buffer 'fault'"}[what] in text
    assert "its record at" in text


def test_a_record_of_an_order_that_its_block_does_not_share(recorder, damage):
    frame = heap_frame(recorder)
    damage(f"pages[{frame}].order", 2)
    assert found(recorder) == [("PMM12", frame * 4096)]


@pytest.mark.parametrize("count", ["0", "1UL << 40", "~0UL"])
def test_a_torn_array_of_records_is_one_line(recorder, damage, count):
    damage("page_count", count)
    assert found(recorder) == [("PMM00", None)]


# Frames kept for later


def test_a_frame_kept_twice(recorder, damage):
    frame = number(recorder, "frame_pool.frames[4]")
    damage("frame_pool.frames[1]", frame)
    assert found(recorder) == [("PMM02", frame * 4096)]
    assert "frame_pool.frames[4] is the same frame as frame_pool.frames[1]" in recorder.text("pmmstat")


def test_a_kept_frame_that_is_no_ram(recorder, damage):
    damage("frame_pool.frames[1]", "0x12345678")
    assert found(recorder) == [("PMM02", 0x12345678000)]


def test_more_frames_kept_than_there_is_room_for(recorder, damage):
    damage("frame_pool.count", 33)
    assert found(recorder) == [("PMM00", None)]
    assert "has room for 32" in recorder.text("pmmstat")


# Buffers

BUFFER = "dma.first->"


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("align", "1 << 30", "aligned to"),
        ("limit", "physical + size - 1", "its last byte is"),
        ("boundary", "0x10000", "it crosses"),
        ("physical", "physical + 0x1000", "is mapped to"),
        ("physical", "1UL << 50", "a range of RAM"),
        ("address", "address + 0x1000", "is mapped to"),
        ("address", "0", "it is not mapped"),
        ("size", "0", "a range of RAM"),
        ("size", "~0UL", "a range of RAM"),
        ("size", "size + 0x100000", "it is not mapped"),
    ],
)
def test_a_buffer_that_its_device_cannot_use(recorder, damage, field, value, said):
    damage(f"{BUFFER}{field}", re.sub(r"\b(physical|size|address)\b", rf"{BUFFER}\1", value))
    assert found(recorder) == [("PMM11", number(recorder, "dma.first"))]
    text = recorder.text("pmmstat")
    assert said in text
    assert "buffer 'fault'" in text


def test_a_buffer_seen_through_the_direct_map(recorder, damage):
    """Right where its record says; elsewhere it is one finding, and the frames there are not its own."""
    direct_map = 0xFFFF800000000000
    damage(f"{BUFFER}address", direct_map + number(recorder, f"{BUFFER}physical"))
    assert found(recorder) == []
    poke(recorder, f"{BUFFER}address", direct_map + free_frame(recorder) * 4096)
    assert found(recorder) == [("PMM11", number(recorder, "dma.first"))]


def test_a_limit_that_is_kept(recorder, damage):
    damage(f"{BUFFER}limit", f"{BUFFER}physical + {BUFFER}size")
    assert found(recorder) == []


@pytest.mark.parametrize("value", ["1", "0x800000000000", "&dma.first"])
def test_a_buffer_whose_name_cannot_be_read(recorder, damage, value):
    damage(f"*(unsigned long *)&{BUFFER}name", f"(unsigned long){value}")
    assert found(recorder) == []


@pytest.mark.parametrize(
    ("value", "said"), [("dma.first", "the list is circular"), ("0x800000000000", "cannot be read")]
)
def test_a_list_of_buffers_that_leads_astray(recorder, damage, value, said):
    damage(f"*(unsigned long *)&{BUFFER}next", f"(unsigned long){value}")
    assert found(recorder) == [("PMM00", None)]
    assert said in recorder.text("pmmstat")


def test_a_buffer_that_is_being_changed(recorder, damage):
    damage("dma.lock.locked", 1)
    damage(f"{BUFFER}align", "1 << 30")
    (finding,) = recorder.command("memcheck")["findings"]
    assert (finding["id"], finding["severity"]) == ("PMM11", "in-flux")
