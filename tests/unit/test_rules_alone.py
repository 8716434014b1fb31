"""A rule that is asked alone: it finds what it finds among all, and reads what it needs and no more."""

import re

import pytest

from gdbext.checks.catalogue import RULE_IDS
from gdbext.checks.finding import combined, only
from gdbext.domains.parts import Parts
from gdbext.machine.shared import SharedMemory
from tests.unit.small_kernel import DAMAGES, FREE, HEAP_FRAMES, OTHER_ROOT, PROFILE, QUIET, SmallKernel

MANAGERS = {"bits", "pmm"}
TABLES = {"all tables"}
HEAPS = {"heap", "early", "arena"}
NEEDS = {
    "PT20": TABLES,
    "PT21": TABLES,
    "PT23": TABLES | {"other root"},
    "PT24": TABLES,
    "PT25": TABLES | {"ranges"},
    "PT26": TABLES,
    "PT27": TABLES,
    "PT29": TABLES,
    "PT31": TABLES,
    "PMM00": MANAGERS | {"ranges", "records", "buffer", "held"},
    "PMM01": MANAGERS,
    "PMM02": MANAGERS | TABLES | {"ranges", "records", "buffer", "held"},
    "PMM03": MANAGERS | TABLES | {"buffer", "held"},
    "PMM04": MANAGERS | {"ranges"},
    "PMM05": MANAGERS | {"ranges"},
    "PMM06": MANAGERS,
    "PMM07": MANAGERS,
    "PMM08": MANAGERS,
    "PMM09": MANAGERS,
    "PMM10": MANAGERS,
    "PMM11": MANAGERS | {"buffer"},
    "PMM12": MANAGERS | {"records"},
    "HEAP00": HEAPS,
    "HEAP60": HEAPS,
    "HEAP61": HEAPS,
    "HEAP62": HEAPS,
    "HEAP63": HEAPS,
    "HEAP64": HEAPS,
    "HEAP65": HEAPS,
    "HEAP66": HEAPS,
    "HEAP67": HEAPS,
    "HEAP68": HEAPS,
    "HEAP69": HEAPS | TABLES,
    "HEAP70": set(),  # is looked at by heapcheck -leaks
}
"""What each rule has to read, where a bitmap manages frames. ``all tables`` stands for what the rules on page tables go
by: everything that is mapped. Lists in a few pages are followed without it."""
STACK = {"stack", "free frames"}


class Counting(SharedMemory):
    """Memory that counts which frames are read, however that is done."""

    def __init__(self, guest):
        super().__init__(guest.ram, {"ram": guest.bytes})
        self.read_from = set()

    def read(self, address, size):
        self.read_from.update(range(address >> 12, (address + size - 1 >> 12) + 1))
        return super().read(address, size)

    def read_frames(self, frames):
        self.read_from.update(frames.tolist())
        return super().read_frames(frames)

    def seen(self, frames):
        self.read_from.update(frames.tolist())


class Noted(Parts):
    """Parts that tell which of them were read."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def get(self, key, read):
        self.names.add(key[0])
        return super().get(key, read)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    return SmallKernel(tmp_path_factory.mktemp("small"))


@pytest.fixture
def small(compiled):
    """The kernel in good order; whatever a test does to it is undone."""
    content, registers = compiled.bytes.copy(), compiled.cpu
    yield compiled
    compiled.bytes[:], compiled.cpu = content, registers


def test_every_rule_is_here():
    assert sorted(NEEDS) == list(RULE_IDS)


def look(session, wanted):
    """What the wanted rules find."""
    return combined(domain.check(wanted) for domain in session.domains)


@pytest.mark.parametrize("rule", NEEDS)
def test_a_rule_reads_what_it_needs_and_no_more(small, rule):
    assert read_for(rule, small) == NEEDS[rule] | (STACK if rule.startswith("PMM") else set())


@pytest.mark.parametrize("rule", [rule for rule in NEEDS if rule.startswith("PMM")])
def test_a_bitmap_is_read_without_all_page_tables(small, rule):
    small.describe(re.sub(r"\[pmm.stack\][^\[]*", "", PROFILE))
    try:
        assert read_for(rule, small) == NEEDS[rule]
    finally:
        small.describe(PROFILE)


def read_for(rule, small):
    """What is read for a rule that is asked alone."""
    memory, parts = Counting(small), Noted()
    look(small.session(memory, parts), rule.__eq__)
    places = {name: {small.frame_of(name)} for name in ("pmm", "stack", "bits", "records", "buffer", "held", "ranges")}
    places |= {name: {small.frame_of(name)} for name in ("heap", "early")}
    places |= {"arena": {*HEAP_FRAMES}, "free frames": {*FREE}, "other root": {OTHER_ROOT >> 12}}
    touched = {name for name, frames in places.items() if frames & memory.read_from}
    touched |= TABLES if "Stop.space" in parts.names else set()
    return touched


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_rule_alone_finds_what_it_finds_among_all(small, damage):
    DAMAGES[damage](small)
    every = look(small.session(), lambda rule: True)
    assert bool(every.findings) == (damage not in QUIET), every.findings
    for rule in RULE_IDS:
        assert look(small.session(), rule.__eq__) == only(every, rule.__eq__), rule
