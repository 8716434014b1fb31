"""A list of bitmaps of 16-bit words, one for each stretch of RAM, right behind its header."""

import pytest

from ..live.serial_report import SerialReport
from .truth import check_frames, found, frame_of, number

HOLES = "map=0x1800000,0x23000,2 map=0x2800000,0x5000,2"
"""Three stretches of RAM above 1 MiB with ragged borders instead of one."""


@pytest.fixture
def victim(boot):
    """A machine to be damaged, healthy so far."""
    session = boot("patches", memory="64M", append=HOLES)
    assert found(session) == []
    return session


@pytest.mark.parametrize(("machine", "patches"), [({"append": HOLES}, 4), ({}, 2)], ids=["holes", "one piece"])
def test_frames_are_as_the_kernel_reports(boot, compiler, machine, patches):
    session = boot("patches", compiler, memory="64M", **machine)
    told = check_frames(session).all("patch")
    assert len(told) == patches
    (manager,) = session.command("pmmstat")["managers"]
    assert (manager["kind"], manager["total"]) == ("bitmaps", sum(patch["frames"] for patch in told))
    assert found(session) == []


def flip(session, frame):
    """Turn over the bit of a frame; the address of its word."""
    patches = SerialReport(session.serial()).all("patch")
    patch = next(p for p in patches if p["first"] <= frame < p["first"] + p["frames"] * 4096)
    word, bit = divmod((frame - patch["first"]) // 4096, 16)
    at = patch["bits"] + 2 * word
    session.execute(f"set var *(unsigned short *){at:#x} = *(unsigned short *){at:#x} ^ {1 << bit}")
    return at


def test_a_mapped_frame_called_free(victim):
    frame = frame_of(victim, "0xffffc00000000000")
    flip(victim, frame)
    assert found(victim) == [("PMM02", frame)]


def test_bits_without_a_frame_called_free(victim):
    patch = next(p for p in SerialReport(victim.serial()).all("patch") if p["frames"] % 16)
    word = patch["bits"] + patch["frames"] // 16 * 2
    victim.execute(f"set var *(unsigned short *){word:#x} = 0x7fff & *(unsigned short *){word:#x}")
    assert found(victim) == [("PMM07", word)]


def test_a_list_of_patches_that_breaks_off(victim):
    assert number(victim, "patches->below->below") != 0
    victim.execute("set var patches->below->below = (struct patch *)0x123450")
    assert "PMM00" in {rule for rule, _ in found(victim)}
