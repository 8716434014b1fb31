"""Rules asked at stop after stop: what is remembered is what a fresh look would show."""

from dataclasses import replace

import numpy as np
import pytest

from gdbext.checks.catalogue import RULE_IDS
from gdbext.checks.finding import Rule
from gdbext.domains.memo import Memo
from gdbext.domains.parts import part
from gdbext.errors import MemoryUnavailable
from gdbext.units import PhysAddr, VirtAddr, Word64
from tests.unit.small_kernel import DAMAGES, FREE, HEAP_FRAMES, IMAGE, IMAGE_AT, OTHER_ROOT, ROOT
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


@pytest.mark.parametrize("seed", range(12))
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
