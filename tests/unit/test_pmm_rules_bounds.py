"""Rules of physical managers at, below and above their bounds: 12 frames from 0x2000 on, and ranges that cut frames."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from gdbext.checks.finding import run_rules
from gdbext.checks.physical.inputs import PhysicalRange, PmmInputs, Recorded, joined, shared_frames
from gdbext.checks.physical.managers import pmm_rules, report_unread, reserved_frames
from gdbext.machine.memory import RamMap
from gdbext.pmm.bootmap import BootMap, BootRange
from gdbext.pmm.frames import FrameSet
from gdbext.pmm.snapshot import PmmSnapshot
from gdbext.structures.counter import Counter
from gdbext.structures.unread import Unread
from gdbext.units import PhysAddr, VirtAddr

from .guest import ram_range

BASE, COUNT, FRAME = 0x2000, 12, 0x1000
END = BASE + COUNT * FRAME


@dataclass(frozen=True, kw_only=True)
class Manager(PmmSnapshot):
    """A manager that is nothing but its free frames."""

    @property
    def kind(self):
        return "plain"

    @property
    def counted_from(self):
        return "the set"

    def record_of(self, number):
        return f"frame {number}"

    def place_of(self, number):
        return VirtAddr(number)


def numbers(some, count=COUNT):
    return FrameSet.of_numbers(np.array(sorted(some), dtype=np.uint64), count)


def at(*frames):
    """The addresses of frames by number."""
    return [BASE + number * FRAME for number in frames]


def ranges(*pairs, kind="mapping"):
    return tuple(PhysicalRange(PhysAddr(start), PhysAddr(end), kind, f"it is in {start:#x}") for start, end in pairs)


def boot(usable, reserved=(), later=()):
    usable, reserved, later = (
        tuple(BootRange(PhysAddr(start), PhysAddr(end)) for start, end in some) for some in (usable, reserved, later)
    )
    return BootMap(usable, reserved, later, until="acpi_saved")


def manager(free=(), **more):
    facts = {
        "name": "m", "base": PhysAddr(BASE), "frame_size": FRAME, "free": numbers(free), "covers": True,
        "counters": (), "counts_reserved": True, "in_flux": False, "places": (),
    }  # fmt: skip
    return Manager(**(facts | more))


def report(rule, managed, **more):
    facts = {"manager": managed, "ram": RamMap([ram_range(0, 1 << 20)]), "boot_map": None, "recorded": None}
    facts |= dict.fromkeys(("metadata", "tables", "image", "buffers", "held", "mapped"), ())
    facts |= {"left_out": (), "image_left_out": ()}
    return run_rules([each for each in pmm_rules(managed) if each.id == rule], PmmInputs(**(facts | more)))


def found(rule, managed, **more):
    return [finding.address for finding in report(rule, managed, **more).findings]


# A range touches a frame with its first and with its last byte, and with none beside them.
TOUCHED = [
    ((0x4000, 0x5000), [2]),
    ((0x3FFF, 0x5000), [1]),  # frames 1 and 2: one stretch, named by its first
    ((0x4000, 0x4001), [2]),
    ((0x4FFF, 0x5000), [2]),
    ((0x4FFF, 0x5001), [2]),
    ((0x1000, 0x2000), []),
    ((0x1000, 0x2001), [0]),
    ((END - 1, END), [11]),
    ((END, END + FRAME), []),
]


@pytest.mark.parametrize(("used", "frames"), TOUCHED)
@pytest.mark.parametrize("role", ["tables", "buffers", "held", "mapped"])
def test_a_frame_in_use_is_not_free(role, used, frames):
    assert found("PMM02", manager(range(COUNT)), **{role: ranges(used)}) == at(*frames)
    assert found("PMM02", manager(), **{role: ranges(used)}) == []


@pytest.mark.parametrize(("used", "frames"), TOUCHED)
def test_metadata_and_the_image_are_not_free(used, frames):
    assert found("PMM03", manager(range(COUNT)), metadata=ranges(used)) == at(*frames)
    assert found("PMM06", manager(range(COUNT)), image=ranges(used)) == at(*frames)
    assert found("PMM02", manager(range(COUNT)), mapped=ranges(used), metadata=ranges(used)) == []


def test_how_much_of_a_stretch():
    (one,) = report("PMM02", manager(range(COUNT)), mapped=ranges((0x4000, 0x5000))).findings
    assert one.evidence[0] == "1 frame (4 KiB) from 0x4000"
    (two,) = report("PMM02", manager(range(COUNT)), mapped=ranges((0x4000, 0x5001))).findings
    assert two.evidence[:2] == ("2 frames (8 KiB) from 0x4000", "frame 2")
    assert two.actual == "free, but it is in 0x4000"


def test_uses_that_are_named():
    """Of one stretch four uses at most; only such as meet it."""
    pairs = [(0x4000 + step, 0x4001 + step) for step in range(6)]
    (finding,) = report("PMM02", manager({2}), mapped=ranges(*pairs, (0x5000, 0x6000), (0x3000, 0x4000))).findings
    assert finding.evidence[2:] == (*(f"it is in {0x4000 + step:#x}" for step in range(4)), "and 2 more uses")
    (four,) = report("PMM02", manager({2}), mapped=ranges(*pairs[:4])).findings
    assert len(four.evidence) == 6


@pytest.mark.parametrize(("uses", "named"), [(1, 0), (2, 2), (3, 3)])
def test_several_uses_of_a_stretch_are_evidence_and_one_is_what_is_there(uses, named):
    pairs = [(0x4000 + step, 0x4001 + step) for step in range(uses)]
    (finding,) = report("PMM02", manager({2}), mapped=ranges(*pairs)).findings
    assert finding.actual == "free, but it is in 0x4000"
    assert len(finding.evidence) == 2 + named


AROUND = [(0x3000, 0x4000), (0x6000, 0x7000)]
"""Two ranges beside frames 2 and 3, and some in them."""
WITHIN = [(0x5FFF, 0x6000), (0x4000, 0x4001), (0x4001, 0x4002), (0x4002, 0x4003), (0x4003, 0x4004)]


def test_other_uses_of_metadata_that_are_named():
    shared = (*WITHIN, (0x4000, 0x6000))
    (finding,) = report("PMM03", manager(), metadata=ranges((0x4000, 0x6000)), mapped=ranges(*AROUND, *shared)).findings
    assert (finding.address, finding.actual) == (0x4000, "it is in 0x5fff too")
    assert finding.evidence[0].startswith("8 KiB from 0x4000")
    assert finding.evidence[1:] == ("it is in 0x4000", "it is in 0x4001", "it is in 0x4002")


@pytest.mark.parametrize(
    ("other", "frames"),
    [((0x4000, 0x5000), [2]), ((0x5000, 0x6000), []), ((0x3000, 0x4000), []), ((0x4FFF, 0x7000), [2])],
)
def test_metadata_is_used_for_nothing_else(other, frames):
    for role in ("tables", "buffers", "held", "mapped"):
        findings = report("PMM03", manager(), metadata=ranges((0x4000, 0x5000)), **{role: ranges(other)}).findings
        assert [finding.address for finding in findings] == at(*frames)
        assert [finding.actual for finding in findings] == [f"it is in {other[0]:#x} too" for _ in frames]


# A frame is RAM when all of it is.
WHOLE = [
    ([(0, 1 << 20)], []),
    ([(0x2000, END)], []),
    ([(0x2001, END)], [0]),
    ([(0x2000, END - 1)], [11]),
    ([(0x2000, 0x5000), (0x5000, END)], []),
    ([(0x2000, 0x4800), (0x4800, END)], []),  # two that meet within a frame
    ([(0x2000, 0x4800), (0x4801, END)], [2]),
    ([(0x2000, 0x5000), (0x6000, END)], [3]),
    ([(0x4000, END)], [0]),
    ([], [0]),
]


@pytest.mark.parametrize(("usable", "frames"), WHOLE)
def test_what_is_free_is_ram_that_may_be_given(usable, frames):
    ram = RamMap([ram_range(start, end) for start, end in usable])
    assert found("PMM04", manager(range(COUNT)), ram=ram) == at(*frames)
    findings = report("PMM04", manager(range(COUNT)), boot_map=boot(usable)).findings
    assert [finding.address for finding in findings] == at(*frames)
    assert all("does not list it as usable" in finding.actual for finding in findings)


@pytest.mark.parametrize(("used", "frames"), TOUCHED)
def test_what_is_reserved_at_boot_is_not_free(used, frames):
    whole = boot([(0, 1 << 20)], [used])
    assert found("PMM04", manager(range(COUNT)), boot_map=whole) == at(*frames)
    assert found("PMM04", manager(range(COUNT)), boot_map=whole, image=ranges(used)) == []
    assert found("PMM04", manager(range(COUNT)), boot_map=whole, metadata=ranges(used)) == []
    assert found("PMM04", manager(), boot_map=whole) == []


def test_a_frame_that_may_not_be_free_is_one_finding():
    """Whatever makes it so: no RAM, not usable, reserved, reclaimable."""
    short = RamMap([ram_range(0, 0x4000), ram_range(0x5000, 1 << 20)])
    hole = [(0, 0x4000), (0x5000, 1 << 20)]
    for ram, usable, reserved, later in (
        (short, hole, [(0x4000, 0x5000)], []),
        (short, [(0, 1 << 20)], [], []),
        (None, hole, [], []),
        (None, hole, [(0x4000, 0x5000)], []),
        (None, hole, [(0x4000, 0x5000)], [(0x4000, 0x5000)]),
        (None, hole, [], [(0x4800, 0x5000)]),  # frame 2 is not usable even then
    ):
        more = {} if ram is None else {"ram": ram}
        assert found("PMM04", manager({2}), boot_map=boot(usable, reserved, later), **more) == [0x4000]
        assert found("PMM04", manager({1, 3}), boot_map=boot(usable, reserved, later), **more) == []


def test_what_is_reclaimable_is_kept_until_then():
    later = boot([(0, 0x4000), (0x6000, 1 << 20)], later=[(0x4000, 0x6000)])
    free = set(range(COUNT)) - {2, 3}
    assert found("PMM04", manager(free), boot_map=later) == []
    (finding,) = report("PMM04", manager(free | {3}), boot_map=later).findings
    assert (finding.address, finding.expected[:21]) == (0x4000, "kept until acpi_saved")
    assert finding.evidence == ("0x4000-0x6000", "1 frame of it, the first at 0x5000, which is free")
    (taken,) = report("PMM04", manager(free), boot_map=later, tables=ranges((0x4000, 0x5001))).findings
    assert taken.evidence[1] == "2 frames of it, the first at 0x4000, which is in use"
    assert found("PMM04", manager(free), boot_map=later, tables=ranges((0x6000, 0x7000))) == []


@pytest.mark.parametrize(
    ("usable", "first"),
    [
        ([(BASE, END)], None),
        ([(BASE, END + FRAME - 1)], None),
        ([(BASE, END + FRAME)], COUNT),
        ([(BASE, END + 5 * FRAME)], COUNT),
        ([(BASE, END), (END + 4 * FRAME, END + 5 * FRAME)], COUNT + 4),
    ],
)
def test_every_usable_frame_is_managed(usable, first):
    findings = report("PMM05", manager(), boot_map=boot(usable)).findings
    assert [finding.address for finding in findings] == ([] if first is None else at(first))
    if findings:
        assert findings[0].evidence == ("'m' ends at 0xe000",)
        many = 5 if usable == [(BASE, END + 5 * FRAME)] else 1
        size = f"{many} frame{'s' * (many > 1)} ({4 * many} KiB)"
        assert findings[0].actual.endswith(size)


@pytest.mark.parametrize(
    ("meaning", "value", "wrong"),
    [
        ("free", 4, False),
        ("free", 3, True),
        ("free", 5, True),
        ("reserved", 0, False),
        ("reserved", 8, False),
        ("reserved", 9, True),
        ("reserved", -1, True),
    ],
)
def test_counters(meaning, value, wrong):
    counter = Counter(meaning, value, VirtAddr(0x77), "pmm.number")
    findings = report("PMM01", manager({0, 1, 5, 11}, counters=(counter,))).findings
    assert [finding.address for finding in findings] == ([0x77] if wrong else [])
    if wrong and meaning == "free":
        assert findings[0].actual == f"pmm.number = {value} ({value - 4:+d})"
    assert all(finding.evidence == ("12 frames, 4 free",) for finding in findings)


# Records of frames


def records(known=range(COUNT), free=(), single=None):
    ones = None if single is None else numbers(single)
    return Recorded(numbers(known), numbers(free), ones, lambda address: f"its record at {address:#x} says so")


def test_records_and_the_manager_agree():
    usable = boot([(BASE, END)])
    assert found("PMM02", manager({3}), recorded=records(free={3}), boot_map=usable) == []
    (free,) = report("PMM02", manager({3}), recorded=records(), boot_map=usable).findings
    assert (free.address, free.actual) == (at(3)[0], "free, but its record at 0x5000 says so")
    (lost,) = report("PMM02", manager(), recorded=records(free={3, 4}), boot_map=usable).findings
    assert (lost.address, lost.expected, lost.evidence) == (at(3)[0], "free", ("2 frames from 0x5000",))
    assert found("PMM02", manager(unseen="torn"), recorded=records(free={3}), boot_map=usable) == []
    assert found("PMM02", manager({3}), recorded=records(known={4}), boot_map=usable) == []


def test_records_judge_usable_frames_alone():
    """Neither what is not usable, nor what is reserved, nor the image and metadata, which have rules of their own."""
    for more in (
        {"boot_map": boot([(BASE, 0x5000), (0x6000, END)])},
        {"boot_map": boot([(BASE, END)], [(0x5FFF, 0x6000)])},
        {"boot_map": boot([(BASE, END)]), "image": ranges((0x5000, 0x5001))},
        {"boot_map": boot([(BASE, END)]), "metadata": ranges((0x5FFF, 0x6000))},
        {"ram": RamMap([ram_range(0, 0x5FFF), ram_range(0x6000, END)])},
    ):
        assert found("PMM02", manager({3}), recorded=records(), **more) == []
        assert found("PMM02", manager({2}), recorded=records(), **more) == at(2)


@pytest.mark.parametrize(
    ("mapped", "single", "wrong"),
    [
        ([(0x4000, 0x5000), (0x4000, 0x5000)], {2}, [2]),
        ([(0x4000, 0x5000), (0x4000, 0x5000)], {3}, []),
        ([(0x4000, 0x5000), (0x5000, 0x6000)], {2, 3}, []),
        ([(0x4000, 0x5001), (0x5000, 0x6000)], {2, 3}, [3]),
        ([(0x3000, 0x7000), (0x4000, 0x6000)], set(range(COUNT)), [2]),
        ([(0x4000, 0x5000)], {2}, []),
    ],
)
def test_a_frame_with_one_reference_has_one_owner(mapped, single, wrong):
    usable = boot([(BASE, END)])
    findings = report("PMM02", manager(), recorded=records(single=single), mapped=ranges(*mapped), boot_map=usable)
    assert [finding.address for finding in findings.findings] == at(*wrong)
    assert found("PMM02", manager(), recorded=records(), mapped=ranges(*mapped), boot_map=usable) == []


def test_the_owners_of_a_frame_with_one_reference_that_are_named():
    usable, shared = boot([(BASE, END)]), ((0x4000, 0x6000), *WITHIN)
    recorded = records(single=range(COUNT))
    (finding,) = report(
        "PMM02", manager(), recorded=recorded, mapped=ranges(*AROUND, *shared), boot_map=usable
    ).findings
    assert (finding.address, finding.actual) == (0x4000, "it is in 0x4000 and it is in 0x5fff")
    assert finding.evidence == ("2 frames from 0x4000", "it is in 0x4000", "it is in 0x4001")


def test_a_free_frame_that_is_in_use_is_one_finding():
    usable, twice = boot([(BASE, END)]), ranges((0x4000, 0x5000), (0x4000, 0x5000))
    recorded = records(free={2}, single=range(COUNT))
    (finding,) = report("PMM02", manager({2}), recorded=recorded, mapped=twice, boot_map=usable).findings
    assert finding.actual == "free, but it is in 0x4000"
    (once,) = report("PMM02", manager({2}), recorded=recorded, mapped=twice[:1], boot_map=usable).findings
    assert len(once.evidence) == 2  # its record says that it is free: that is no evidence
    (said,) = report("PMM02", manager({2}), recorded=records(), mapped=twice[:1], boot_map=usable).findings
    assert said.evidence[2:] == ("it is in 0x4000", "its record at 0x4000 says so")


# What rules are made of


@pytest.mark.parametrize(
    ("pairs", "frames"),
    [
        ([], []),
        ([(0x2000, 0x3000)], []),
        ([(0x2000, 0x4000), (0x3000, 0x5000)], [1]),
        ([(0x2000, 0x5000), (0x2000, 0x5000), (0x4000, 0x6000)], [0, 1, 2]),
        ([(0x2000, 0x3000), (0x3000, 0x4000), (0x2FFF, 0x3001)], [0, 1]),
    ],
)
def test_frames_that_ranges_share(pairs, frames):
    assert shared_frames(manager(), ranges(*pairs)).numbers().tolist() == frames


def test_ranges_that_meet_are_one():
    assert joined([(5, 7), (0, 2), (2, 4)]) == [(0, 4), (5, 7)]
    assert joined([(0, 9), (2, 4)]) == [(0, 9)]
    assert joined([(0, 2), (3, 4)]) == [(0, 2), (3, 4)]
    assert joined([]) == []


def test_what_was_never_the_allocators():
    boot_map = boot([(0x3000, END - FRAME)], [(0x4FFF, 0x5000)])
    assert reserved_frames(manager(), boot_map).numbers().tolist() == [0, 2, 11]


def test_what_cannot_be_checked_is_said():
    reasons = {rule: report(rule, manager()).skipped[0].why for rule in ("PMM01", "PMM02", "PMM05", "PMM06")}
    assert reasons == {
        "PMM01": "the profile names no counters",
        "PMM02": "no page tables or mappings are known",
        "PMM05": "the profile has no [boot_map]: only the RAM that QEMU reports is known",
        "PMM06": "the kernel's sections are not known: load its ELF file",
    }
    assert report("PMM02", manager(), left_out=("a", "b")).skipped[0].why == "a; b"
    assert "how many frames" in report("PMM05", manager(covers=False), boot_map=boot([(0, END)])).skipped[0].why
    torn = Unread("boot_map", "boot map", "it is torn", absent=False)
    assert [skip.why for skip in report("PMM04", manager(), boot_map=torn).skipped] == [
        "the boot map cannot be read: it is torn"
    ]
    assert [finding.actual for finding in report("PMM00", manager(), boot_map=torn).findings] == ["it is torn"]
    assert report("PMM00", manager(), boot_map=replace(torn, absent=True)).findings == ()
    counter = Counter("free", 0, None, "n")
    (partly,) = report("PMM01", manager(unseen="a list is torn", counters=(counter,))).skipped
    assert (partly.partly, partly.why) == (True, "counters are not compared: a list is torn")


def test_a_manager_that_cannot_be_read():
    broken = report_unread(Unread("m", "list", "nothing is there", absent=False))
    assert [(finding.id, finding.address, finding.actual) for finding in broken.findings] == [
        ("PMM00", None, "nothing is there")
    ]
    assert broken.checked == ("PMM00",)
    assert "PMM00" not in {skip.id for skip in broken.skipped}
    absent = report_unread(Unread("m", "list", "not set up yet", absent=True))
    assert (absent.findings, absent.checked) == ((), ())
    assert "PMM00" in {skip.id for skip in absent.skipped}
