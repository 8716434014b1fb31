"""Slabs with their headers at the end of their pages, and the links of free objects behind these."""

import pytest

from .conftest import HERE
from .truth import check_chunks, found, number

PROFILE = (HERE / "patches" / "patches.toml").read_text()


@pytest.fixture
def victim(boot):
    """A machine to be damaged, healthy so far."""
    machine = boot("patches", memory="64M")
    assert found(machine, "heapcheck") == []
    return machine


def test_objects_are_as_the_kernel_reports(boot, compiler):
    session = boot("patches", compiler, memory="64M")
    report = check_chunks(session, least=100)
    (heap,) = session.command("heapstat")["heaps"]
    assert [cache["size"] for cache in heap["caches"]] == [24, 56, 200]
    assert sum(cache["used"] for cache in heap["caches"]) == len(report.all("used"))
    checks = session.command("heapcheck")
    assert checks["findings"] == []
    assert "HEAP66" in checks["checked"]
    assert {"HEAP64", "HEAP65"} <= {skip["id"] for skip in checks["skipped"]}


def free_pair(machine):
    """A slab with free objects: its header, the first free object, the next one, and the bytes of an object."""
    for n in range(3):
        slab, size = number(machine, f"classes[{n}].slabs"), number(machine, f"classes[{n}].size")
        while slab:
            first = number(machine, f"((Slab *) {slab:#x})->free")
            after = number(machine, f"*(char **) ({first:#x} + {size})") if first else 0
            if after:
                return slab, first, after, size
            slab = number(machine, f"((Slab *) {slab:#x})->next")
    raise AssertionError("no slab has two free objects")


def finding(machine):
    (one,) = machine.command("heapcheck")["findings"]
    return one["id"], int(one["address"], 16), one["cause"]


def test_an_object_freed_twice(victim):
    _, first, after, size = free_pair(victim)
    victim.execute(f"set var *(unsigned long *) ({after:#x} + {size}) = {first:#x}")
    rule, at, cause = finding(victim)
    assert (rule, at) == ("HEAP66", first)
    assert "freed twice" in cause


def test_a_link_overwritten_by_an_overrun(victim):
    _, first, _, size = free_pair(victim)
    victim.execute(f"set var *(unsigned long *) ({first:#x} + {size}) = 0x6c6961742073")
    rule, at, cause = finding(victim)
    assert (rule, at) == ("HEAP66", first + size)
    assert "overwritten with text: 's tail'" in cause


def test_a_count_that_was_lost(victim):
    slab, *_ = free_pair(victim)
    victim.execute(f"set var ((Slab *) {slab:#x})->used += 1")
    assert finding(victim)[:2] == ("HEAP66", slab)


def test_a_list_that_leads_out_of_memory(victim):
    slab = number(victim, "classes[0].slabs")
    victim.execute(f"set var ((Slab *) {slab:#x})->next = (Slab *) 0x123450")
    assert finding(victim)[:2] == ("HEAP66", slab)


def test_a_misspelt_member(boot, tmp_path):
    machine, text = boot("patches", memory="64M"), tmp_path / "patches.toml"
    text.write_text(PROFILE.replace('at = "owner->size"', 'at = "owner->sise"'))
    machine.text(f"memprofile use {text}")
    (problem,) = machine.command("memprofile", "check")["problems"]
    assert "did you mean size?" in problem
    assert f"patches.toml:{PROFILE[: PROFILE.index('owner->size')].count(chr(10)) + 1}" in problem
