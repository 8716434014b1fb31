"""Rules asked at stop after stop: what is remembered is what a fresh look would show."""

from dataclasses import replace

import numpy as np
import pytest

from gdbext.checks.catalogue import RULE_IDS
from gdbext.checks.finding import Rule
from gdbext.domains.memo import Memo, alike
from gdbext.domains.parts import part
from gdbext.errors import MemoryUnavailable
from gdbext.structures.unread import Unread
from gdbext.units import PhysAddr, VirtAddr, Word64
from tests.unit.small_kernel import (
    DAMAGES,
    FREE,
    HEAP_FRAMES,
    IMAGE,
    IMAGE_AT,
    OTHER_ROOT,
    PROFILE,
    RECORD,
    ROOT,
    USED,
)
from tests.unit.test_rules_alone import compiled, look, small  # noqa: F401 - fixtures

TABLES = range(1, 0xC)
VARIABLES = ("ranges", "bits", "pmm", "stack", "records", "buffer", "held", "early", "heap")


def ask(kernel, memo, rule):
    return look(kernel.session(parts=memo), rule.__eq__)


def fresh(kernel, rule):
    return look(kernel.session(), rule.__eq__)


def every(kernel, memo):
    """All rules at one stop, as remembered."""
    return look(kernel.session(parts=memo), lambda _: True)


def test_nothing_is_read_again_when_nothing_has_changed(small):  # noqa: F811
    memo = Memo()
    first = every(small, memo)
    assert memo.reread
    small.cpu = replace(small.cpu, rip=VirtAddr(IMAGE + 0x100), rsp=VirtAddr(IMAGE), cr2=VirtAddr(8), rflags=Word64(6))
    assert every(small, memo) == first
    assert {key[0] for key in memo.reread} <= {"Translation._looked_at"}  # PT29: where is the kernel running?
    assert every(small, memo) == first
    assert memo.reread == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_changes_is_seen_and_so_is_its_end(small, damage):  # noqa: F811
    memo = Memo()
    content, registers = small.bytes.copy(), small.cpu
    healthy = every(small, memo)
    DAMAGES[damage](small)
    assert every(small, memo) == look(small.session(), lambda _: True)
    for rule in RULE_IDS:
        assert ask(small, memo, rule) == fresh(small, rule), rule
    small.bytes[:], small.cpu = content, registers
    assert every(small, memo) == healthy


def test_a_counter_that_changes_leaves_page_tables_heaps_and_records_alone(small):  # noqa: F811
    memo = Memo()
    every(small, memo)
    small.put("pmm", 16, 7)
    every(small, memo)
    names = {key[:2] if key[0] == "Physical._manager" else key[0] for key in memo.reread}
    assert names == {"Physical.managers", ("Physical._manager", "bits"), "Physical._looked_at"}


def test_what_turns_out_as_it_was_leaves_those_alone_that_rest_on_it(small):  # noqa: F811
    memo = Memo()
    every(small, memo)
    small.bytes[0x9000] |= 0x20  # the processor has used a page: Accessed
    small.put("pmm", 0x800, 1)  # another variable on the page of the manager's
    every(small, memo)
    again = {key[1].id for key in memo.reread if "looked_at" in str(key[0]) and isinstance(key[1], Rule)}
    assert not {rule for rule in again if rule.startswith("PT")} - {"PT25"}
    assert "PMM02" not in again
    assert "Stop.space" in {key[0] for key in memo.reread}


def test_a_flag_in_an_entry_has_nothing_read_again_but_the_tables(small):  # noqa: F811
    memo = Memo()
    for rule in ("HEAP60", "PMM06"):
        ask(small, memo, rule)
    for table in (0x9000, 0x6000, 0x3000, ROOT):
        for entry in range(512):
            small.bytes[table + 8 * entry] |= 0x20 * (small.bytes[table + 8 * entry] & 1)
        for rule in ("HEAP60", "PMM06"):
            assert ask(small, memo, rule) == fresh(small, rule)
            assert {key[0] for key in memo.reread} <= {"Stop.space", "Stop.window"}


def test_pages_in_more_windows_than_are_kept(small, monkeypatch):  # noqa: F811
    monkeypatch.setattr("gdbext.domains.memo.MOST_WINDOWS", 1)
    memo = Memo()
    for rule in RULE_IDS:
        assert ask(small, memo, rule) == fresh(small, rule)
    small.entry(0x9000, 3, 0)
    for rule in RULE_IDS:
        assert ask(small, memo, rule) == fresh(small, rule)


RECORDS_ON_A_PAGE = 4096 // RECORD
EDGES = (0, 1, RECORDS_ON_A_PAGE, RECORDS_ON_A_PAGE + 1, 600, 2 * 4096 // RECORD, 2 * 4096 // RECORD + 1, 1022, 1023)
"""Numbers of records: the first and last, and on each page the first and last, two of which lie on two pages."""


def records(kernel, memo=None):
    """What is recorded about frames, as remembered or read anew."""
    return kernel.session(parts=memo).physical.page_records


@pytest.mark.parametrize(
    "numbers", [*((number,) for number in EDGES), (0, 1, 600, 1022, 1023), range(300, 400)], ids=str
)
def test_records_on_pages_that_change_are_as_if_all_were_read(small, numbers):  # noqa: F811
    memo, content = Memo(), small.bytes.copy()
    healthy = records(small, memo)
    for said in (
        {"use": 7, "order": 3},
        {"use": 0, "references": 1},
        {"use": 0, "references": 0},
        {"use": 9},
        {"use": 0},
    ):
        for number in numbers:
            small.put_record(number, **said)
        found = records(small, memo)
        assert ("Physical.page_records",) in memo.reread
        assert alike(found, records(small))
        assert all((number in found.free) == (said["use"] == 0) for number in numbers)
        assert all((number in found.single) == (said.get("references", 1) == 1) for number in numbers)
        assert all(found.order[number] == said.get("order", 0) for number in numbers)
        assert set(found.free.numbers().tolist()) - {*numbers} == {*range(1024)} - USED - {*numbers}
    small.bytes[:] = content
    assert alike(records(small, memo), healthy)
    assert alike(healthy, records(small))


def test_records_that_change_before_their_page_moves_and_after(small):  # noqa: F811
    """A page of records is somewhere else from now on; both what was there and what is there changes."""
    memo, other = Memo(), 0x240
    records(small, memo)
    own = small.frame_of("records") + 1
    small.bytes[other << 12 : (other + 1) << 12] = small.bytes[own << 12 : (own + 1) << 12]
    small.put_record(2, use=9, order=2)
    small.entry(0x6000, own, other << 12 | 3 | 1 << 63)
    assert alike(records(small, memo), records(small))
    small.bytes[(other << 12) + 2 * RECORD : (other << 12) + 3 * RECORD] ^= 1
    assert alike(records(small, memo), records(small))
    small.bytes[(own << 12) + 100] ^= 1  # nobody looks there any more
    assert alike(records(small, memo), records(small))
    assert ("Physical.page_records",) not in memo.reread


def test_records_that_become_more_or_fewer(small):  # noqa: F811
    small.describe(PROFILE.replace("count = 1024", 'count = "pmm.frames"'))
    try:
        memo = Memo()
        for count in (1024, 700, 701, 1024, 8):
            small.put("pmm", 8, count)
            small.put_record(count - 1, use=3, order=1)
            found = records(small, memo)
            assert found.count == count
            assert alike(found, records(small))
    finally:
        small.describe(PROFILE)


def test_records_that_could_not_be_read_in_between(small):  # noqa: F811
    memo, page = Memo(), small.frame_of("records") + 2
    records(small, memo)
    small.entry(0x6000, page, 0)
    small.put_record(3, use=3, order=1)
    assert isinstance(records(small, memo), Unread)
    small.entry(0x6000, page, page << 12 | 3 | 1 << 63)
    small.put_record(1023, use=3, order=1)
    assert alike(records(small, memo), records(small))


class Toy:
    """A domain of two parts, of which one may fail and the other does without."""

    def __init__(self, stop):
        self.parts, self._stop = stop.parts, stop

    @part
    def word(self):
        word = self._stop.machine.memory.read(PhysAddr(0x240000), 1)
        if word == b"\0":
            raise MemoryUnavailable("nothing there")
        return word

    @part
    def text(self):
        try:
            return self.word().hex()
        except MemoryUnavailable as error:
            return str(error)


def test_what_failed_is_tried_again_when_it_could_succeed(small):  # noqa: F811
    memo = Memo()
    assert Toy(small.session(parts=memo)).text() == "nothing there"
    assert Toy(small.session(parts=memo)).text() == "nothing there"
    assert memo.reread == []
    small.bytes[0x240000] = 7
    assert Toy(small.session(parts=memo)).text() == "07"
    small.bytes[0x240000] = 0
    assert Toy(small.session(parts=memo)).text() == "nothing there"


def test_another_description_is_another_kernel(small):  # noqa: F811
    memo = Memo()
    every(small, memo)
    small.profiles.forget()
    every(small, memo)
    assert ("Stop.space", None) in memo.reread


def accidents(kernel, random):
    """One thing that happens to the machine between two stops, at random."""
    frames = [*TABLES, *HEAP_FRAMES, *FREE, *range(IMAGE_AT, IMAGE_AT + 0x10)]
    match random.integers(0, 8):
        case 0 | 1:  # a stray write
            at = (random.choice(frames) << 12) + 8 * random.integers(0, 64)
            kernel.entry(int(at), 0, int(random.integers(0, 1 << 63)))
        case 2:  # into a variable
            kernel.put(str(random.choice(VARIABLES)), 8 * int(random.integers(0, 6)), int(random.integers(0, 1 << 22)))
        case 3:  # a bit
            at = (random.choice(frames) << 12) + random.integers(0, 512)
            kernel.bytes[at] ^= np.uint8(1 << random.integers(0, 8))
        case 4:  # a page of the heap moves, with its content or without
            page, frame = int(random.integers(0, 8)), int(random.choice([*HEAP_FRAMES, 0x240]))
            kernel.entry(0x9000, page, frame << 12 | 3 | 1 << 63)
        case 5:  # a page of the kernel's image moves
            kernel.entry(0x6000, IMAGE_AT + int(random.integers(0, 10)), int(random.choice(frames)) << 12 | 3 | 1 << 63)
        case 6:
            kernel.cpu = replace(kernel.cpu, cr3=Word64(int(random.choice([ROOT, OTHER_ROOT]))))
        case 7:
            kernel.cpu = replace(kernel.cpu, cr0=Word64(kernel.cpu.cr0 ^ int(random.choice([1 << 16, 1 << 31, 8]))))


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 12))])
def test_what_is_remembered_is_what_a_fresh_look_shows(small, seed):  # noqa: F811
    """Writes, page tables changed underfoot, other roots: whatever happens, and whichever rules are asked."""
    random = np.random.default_rng(seed)
    healthy, registers, memo = small.bytes.copy(), small.cpu, Memo()
    for _ in range(40):
        for rule in random.choice(RULE_IDS, size=6, replace=False).tolist():
            assert ask(small, memo, rule) == fresh(small, rule), rule
        if random.integers(0, 5) == 0:
            small.bytes[:], small.cpu = healthy, registers  # what was there before is there again
        accidents(small, random)
    assert every(small, memo) == look(small.session(), lambda _: True)
