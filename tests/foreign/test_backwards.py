"""Words of 32 bits from the top, a set bit for a free frame, bit 0 at 1 MiB; a heap in units of 16 bytes."""

import pytest

from .conftest import HERE
from .truth import check_frames, found, frame_of, number

MIB = 1 << 20
ODD_END = "map=0x2fd3000,0x1100000,2"
"""Memory that ends within a word of the bitmap."""


@pytest.fixture
def victim(boot):
    """A machine to be damaged, healthy so far."""
    machine = boot("backwards", memory="64M", append=ODD_END)
    assert found(machine) == []
    return machine


@pytest.mark.parametrize(
    "machine", [{"memory": "32M"}, {"memory": "96M"}, {"memory": "64M", "append": ODD_END}], ids=str
)
def test_everything_is_as_the_kernel_reports(boot, compiler, machine):
    session = boot("backwards", compiler, **machine)
    report = check_frames(session)
    told = report.one("bitmap")
    (manager,) = session.command("pmmstat")["managers"]
    assert (manager["kind"], manager["total"]) == ("bitmap", told["frames"])
    assert int(manager["at"], 16) == told["at"]
    (dump,) = session.command("pmmdump")["managers"]
    bits = dump["bits"]
    assert (bits["word_size"], bits["bit_order"], bits["used_bit"]) == (4, "msb", 0)
    assert int(dump["stretches"][0]["start"], 16) == told["base"] == MIB
    check_heap(session, report)
    assert found(session) == []


def check_heap(session, report):
    told = report.one("heap")
    (heap,) = session.command("heapstat")["heaps"]
    for figure in ("used_chunks", "free_chunks", "used_bytes", "free_bytes"):
        assert heap[figure] == told[figure], figure
    assert told["free_chunks"] > 10
    (segment,) = heap["segments"]
    assert (int(segment["start"], 16), int(segment["end"], 16)) == (told["start"], told["end"])
    assert dict(payloads(session, "-used")) == {
        chunk["address"]: -(-chunk["asked"] // 16) * 16 for chunk in report.all("used")
    }


def payloads(session, *options):
    (heap,) = session.command("heaplist", *options)["heaps"]
    return [(int(chunk["payload"], 16), chunk["size"]) for chunk in heap["chunks"]]


def flip(session, bit):
    session.execute(f"set var frame_map[{bit // 32}] = frame_map[{bit // 32}] ^ (1u << {31 - bit % 32})")


def test_a_mapped_frame_called_free(victim):
    frame = frame_of(victim, "arena.start")
    flip(victim, (frame - MIB) // 4096)
    assert found(victim) == [("PMM02", frame)]


def test_a_bit_without_a_frame_called_free(victim):
    frames = number(victim, "map_frames")
    assert frames % 32
    flip(victim, frames)
    assert found(victim) == [("PMM07", number(victim, f"&frame_map[{frames // 32}]"))]


def test_a_header_overrun_with_text(victim):
    (before, size), *_ = payloads(victim, "-used")
    header = before + size
    assert header in {address - 16 for address, _ in payloads(victim)}
    for at, text in ((0, b"the quic"), (8, b"k brown ")):
        victim.execute(f"set var *(unsigned long *){header + at:#x} = {int.from_bytes(text, 'little'):#x}")
    assert [rule for rule, _ in found(victim)] == ["HEAP60", "HEAP63"]
    assert {address for _, address in found(victim)} == {header}


def test_a_busy_chunk_called_free(victim):
    free = dict(payloads(victim, "-free"))
    payload, size = next(
        (payload, size) for payload, size in free.items() if payload + size < number(victim, "arena.end")
    )
    victim.execute(f"set var ((struct chunk *){payload + size:#x})->busy = 0")
    assert found(victim)[0] == ("HEAP62", payload - 16)


def test_a_name_that_the_kernel_has_not(boot, tmp_path):
    text = (HERE / "backwards" / "backwards.toml").read_text()
    line = text[: text.index('bits = "frame_map"')].count("\n") + 1
    profile = tmp_path / "wrong.toml"
    profile.write_text(text.replace('bits = "frame_map"', 'bits = "frame_mop"').replace('"!busy"', '"!buzy"'))
    says = boot("backwards", memory="32M", profile=profile).text("memprofile")
    assert f"wrong.toml:{line} (pmm.frames.bits): 'frame_mop', column 1: the kernel has no symbol" in says
    assert "did you mean frame_map" in says
    assert "(heap.arena.free): '!buzy', column 2: neither struct chunk nor the kernel has" in says
    assert "did you mean busy?" in says
