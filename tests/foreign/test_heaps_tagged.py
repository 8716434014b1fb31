"""Headers in C++ whose top bit is the state, with a magic of their address; lists with veiled links; no counters."""

import pytest

from .conftest import HERE
from .truth import check_chunks, chunks, found, number


@pytest.fixture
def victim(boot):
    """A machine to be damaged, healthy so far."""
    machine = boot("threaded", memory="32M")
    assert found(machine, "heapcheck") == []
    return machine


def test_chunks_are_as_the_kernel_reports(boot, compiler):
    session = boot("threaded", compiler, memory="32M")
    check_chunks(session)
    assert found(session, "heapcheck") == []


def changed(session, address, change):
    """Changes a word of memory, and what heapcheck finds then."""
    word = f"*(unsigned long *){address:#x}"
    session.execute(f"set var {word} = {change(number(session, word)):#x}ul")
    return session.command("heapcheck")["findings"]


def header_between(session):
    """A used chunk's header in the middle of the heap, with both neighbours' headers: the one before is free."""
    every = chunks(session)
    for (before, _, state), (at, _, its_state), (behind, *_) in zip(every[2:], every[3:], every[4:], strict=False):
        if (state, its_state) == ("free", "used"):
            return before - 16, at - 16, behind - 16
    raise AssertionError("no used chunk behind a free one")


def says_neighbours(finding, before, behind):
    text = "\n".join(finding["evidence"])
    assert f"before it: chunk {before:#x}" in text
    assert f"after it: chunk {behind:#x}" in text


def test_a_header_with_the_magic_of_another_address(victim):
    before, header, behind = header_between(victim)
    (finding,) = changed(victim, header + 8, lambda magic: magic ^ 0x1000)
    assert (finding["id"], int(finding["address"], 16)) == ("HEAP61", header)
    says_neighbours(finding, before, behind)


@pytest.mark.parametrize(
    ("grow", "says"), [(lambda word: word + 1, "overlaps it by 16 bytes"), (lambda word: word | 0xFFFF << 40, "bytes")]
)
def test_a_size_too_large(victim, grow, says):
    before, header, behind = header_between(victim)
    (finding,) = changed(victim, header, grow)
    assert (finding["id"], int(finding["address"], 16)) == ("HEAP60", header)
    assert says in finding["actual"]
    assert "its size was overwritten" in finding["cause"]
    says_neighbours(finding, before, behind)


def test_the_top_bit_lost(victim):
    before, header, behind = header_between(victim)
    unmerged, unlisted = changed(victim, header, lambda word: word & ~(1 << 63))
    assert (unmerged["id"], int(unmerged["address"], 16)) == ("HEAP62", before)
    assert unmerged["actual"] == "two free chunks side by side"
    assert (unlisted["id"], int(unlisted["address"], 16)) == ("HEAP62", header)
    says_neighbours(unlisted, before, behind)


def linked(session):
    """The payload of a free chunk that another one follows on its list, and the follower's."""
    for payload, *_ in chunks(session, "-free"):
        if follower := number(session, f"*(unsigned long *){payload:#x}") ^ payload >> 12:
            return payload, follower
    raise AssertionError("no list has two chunks")


def test_a_link_written_without_its_veil(victim):
    payload, follower = linked(victim)
    first, *_ = changed(victim, payload, lambda _: follower)
    assert (first["id"], int(first["address"], 16)) == ("HEAP62", payload - 16)
    assert f"it points to {follower ^ payload >> 12:#x}: no chunk begins there" in first["actual"]


def test_a_list_cut_short(victim):
    payload, follower = linked(victim)
    lost = changed(victim, payload, lambda _: payload >> 12)
    assert {finding["id"] for finding in lost} == {"HEAP62"}
    assert follower - 16 in {int(finding["address"], 16) for finding in lost}
    assert {finding["actual"] for finding in lost} == {"it is not there"}


def test_what_was_not_checked_is_said(victim):
    checks = victim.command("heapcheck")
    assert {"HEAP60", "HEAP61", "HEAP62", "HEAP69"} <= set(checks["checked"])
    assert "the profile names no counters" in [skip["why"] for skip in checks["skipped"] if skip["id"] == "HEAP65"]


def test_a_member_that_the_class_has_not(boot, tmp_path):
    text = (HERE / "threaded" / "threaded.toml").read_text()
    line = text[: text.index("[heap.main]")].count("\n") + 4
    profile = tmp_path / "wrong.toml"
    profile.write_text(text.replace("mm::Heap::first", "mm::Heap::fist").replace('"word <<', '"wird <<'))
    says = boot("threaded", memory="32M", profile=profile).text("memprofile")
    assert f"wrong.toml:{line} " in says
    assert "'mm::Heap::fist', column 1: the kernel has no symbol" in says
    assert "did you mean mm::Heap::first" in says
    assert "has a 'wird'; did you mean word" in says
