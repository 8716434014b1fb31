"""Free chunks in a circle with veiled links, which nothing else tells from used ones; a search that goes round."""

import pytest

from .conftest import HERE
from .truth import check_chunks, chunks, found, number

PROFILE = (HERE / "records" / "records.toml").read_text()


@pytest.fixture
def victim(boot):
    """A machine to be damaged, healthy so far."""
    machine = boot("records", memory="64M")
    assert found(machine, "heapcheck") == []
    return machine


def test_chunks_are_as_the_kernel_reports(boot, compiler):
    session = boot("records", compiler, memory="64M")
    check_chunks(session)
    assert found(session, "heapcheck") == []


def circle(session):
    """The headers of the free chunks, in the circle's order, by gdb."""
    veil, base = number(session, "veil"), number(session, "&base")
    at, headers = number(session, "base.link") ^ veil, []
    while at != base:
        headers.append(at)
        at = number(session, f"((struct header *){at:#x})->link") ^ veil
    return headers


def test_each_place_of_the_rover_is_right(victim):
    """On every chunk of the circle, and on its start."""
    for header in (*circle(victim)[:3], number(victim, "&base")):
        victim.execute(f"set var rover = (struct header *) {header:#x}")
        assert found(victim, "heapcheck") == []


def test_a_rover_on_a_chunk_that_was_handed_out(victim):
    used = next(payload - 16 for payload, _, state in chunks(victim) if state == "used")
    victim.execute(f"set var rover = (struct header *) {used:#x}")
    (finding,) = victim.command("heapcheck")["findings"]
    assert (finding["id"], int(finding["address"], 16)) == ("HEAP62", number(victim, "&rover"))
    assert f"it begins at {used:#x}, which is not on it" in finding["actual"]


def test_a_link_written_without_its_veil(victim):
    _, second, third, *behind = circle(victim)
    victim.execute(f"set var ((struct header *) {second:#x})->link = {third:#x}")
    checks = victim.command("heapcheck")
    (finding,) = checks["findings"]
    assert (finding["id"], int(finding["address"], 16)) == ("HEAP62", second)
    assert f"it points to {third ^ number(victim, 'veil'):#x}: no chunk begins there" in finding["actual"]
    (heap,) = victim.command("heaplist")["heaps"]
    assert not heap["complete"]
    assert "seem used" in heap["why_incomplete"]
    assert any("seem used" in skip["why"] for skip in checks["skipped"] if skip["id"] == "HEAP62")
    leaks = victim.command("heapcheck", "-leaks")
    assert "HEAP70" not in {finding["id"] for finding in leaks["findings"]}
    assert any("seem used" in skip["why"] for skip in leaks["skipped"] if skip["id"] == "HEAP70")
    assert len(behind) > 10, "much of the circle lies behind the damage, and cannot be told from used chunks"


def test_a_circle_that_misses_its_start(victim):
    first, *_, last = circle(victim)
    veil = number(victim, "veil")
    victim.execute(f"set var ((struct header *) {last:#x})->link = {first ^ veil:#x}ul")
    (finding,) = victim.command("heapcheck")["findings"]
    assert (finding["id"], int(finding["address"], 16)) == ("HEAP62", last)
    assert "this chunk is on the list already" in finding["actual"]


def test_a_chunk_out_of_its_order(victim):
    """Two neighbours on the circle change places: the later one is before the earlier one."""
    before, one, other, behind = circle(victim)[:4]
    veil = number(victim, "veil")
    for at, link in ((before, other), (other, one), (one, behind)):
        victim.execute(f"set var ((struct header *) {at:#x})->link = {link ^ veil:#x}ul")
    (finding,) = victim.command("heapcheck")["findings"]
    assert (finding["id"], int(finding["address"], 16)) == ("HEAP62", one)
    assert finding["expected"].startswith("ascending order of address")


def test_a_free_chunk_that_was_split_without_merging(victim):
    """A free chunk in two pieces, both on the circle: they touch."""
    header = next(payload - 16 for payload, size, state in chunks(victim) if state == "free" and size >= 64)
    units, link = (number(victim, f"((struct header *) {header:#x})->{name}") for name in ("units", "link"))
    upper = header + 32
    for at, of, value in (
        (upper, "units", units - 2),
        (upper, "link", link),
        (header, "units", 2),
        (header, "link", upper ^ number(victim, "veil")),
    ):
        victim.execute(f"set var ((struct header *) {at:#x})->{of} = {value:#x}ul")
    (finding,) = victim.command("heapcheck")["findings"]
    assert (finding["id"], int(finding["address"], 16)) == ("HEAP62", header)
    assert finding["actual"] == "two free chunks side by side"


def test_a_size_too_large(victim):
    payload, _, _ = next(chunk for chunk in chunks(victim)[4:] if chunk[2] == "used")
    victim.execute(f"set var ((struct header *) {payload - 16:#x})->units += 1")
    (finding, *_) = victim.command("heapcheck")["findings"]
    assert finding["id"] == "HEAP60"


def test_an_arena_that_ends_before_it_begins(victim):
    victim.execute("set var arena_end = (struct header *) 0")
    empty, torn = victim.command("heapcheck")["findings"]
    assert (empty["id"], empty["actual"], torn["id"]) == ("HEAP60", "none", "HEAP62")


def test_nothing_that_tells_free_chunks(boot, tmp_path):
    machine, text = boot("records", memory="64M"), tmp_path / "records.toml"
    text.write_text(PROFILE[: PROFILE.index("[heap.main.bins]")])
    machine.text(f"memprofile use {text}")
    (problem,) = machine.command("memprofile", "check")["problems"]
    assert f"records.toml:{PROFILE[: PROFILE.index('[heap.main]')].count(chr(10)) + 1}" in problem
    assert "which chunks are free is unknown" in problem
