"""Rules that only bitmaps can break at, below and above their bounds: regions of 16-bit words, made by hand."""

from typing import Any

import numpy as np
import pytest

from gdbext.checks.physical.bitmaps import BIT_RULES
from gdbext.checks.physical.inputs import Recorded
from gdbext.checks.physical.managers import pmm_rules, reserved_frames
from gdbext.pmm.bitmap import BitmapSnapshot, Patch, Summary, Torn, Words
from gdbext.pmm.frames import FrameSet
from gdbext.structures.counter import Counter
from gdbext.units import PhysAddr, VirtAddr

from .test_pmm_rules_bounds import boot, numbers, ranges, report

BASE, FRAME = 0x2000, 0x1000
BITS, HINT = 0x9000, 0x77


def at(number):
    return BASE + number * FRAME


def patch(first=0, count=40, bits_at=BITS, *, tail=(), hint=None, counters=()):
    return Patch(VirtAddr(bits_at), -(-count // 16) * 2, first, count, tail, hint, VirtAddr(HINT), counters)


def bitmap(*patches, free=(), count=40, **more):
    facts: dict[str, Any] = {
        "name": "m", "base": PhysAddr(BASE), "frame_size": FRAME, "free": numbers(free, count), "covers": True,
        "counters": (), "counts_reserved": True, "in_flux": False, "places": (),
        "words": Words(lsb_first=True, used_bit=1, size=2), "patches": patches or (patch(count=count),),
        "hint_unit": 1, "hint_is_lowest": False, "full": None, "summaries": (), "regional": len(patches) > 1,
        "with_holes": False, "torn": (),
    }  # fmt: skip
    return BitmapSnapshot(**(facts | more))


def findings(rule, managed, **more):
    return report(rule, managed, **more).findings


def found(rule, managed, **more):
    return [(finding.subject, finding.address) for finding in findings(rule, managed, **more)]


# PMM07: hints


@pytest.mark.parametrize(
    ("hint", "wrong"), [(None, False), (-1, True), (0, False), (1, False), (39, False), (40, False), (41, True)]
)
def test_a_hint_is_in_its_bitmap_or_just_behind(hint, wrong):
    assert found("PMM07", bitmap(patch(hint=hint))) == [("hint", HINT)] * wrong


@pytest.mark.parametrize(
    ("hint", "unit", "wrong"), [(40, 16, False), (48, 16, False), (49, 16, True), (64, 16, True), (48, 1, True)]
)
def test_a_hint_in_words_may_be_just_behind_the_last_word(hint, unit, wrong):
    some = findings("PMM07", bitmap(patch(hint=hint), hint_unit=unit))
    assert len(some) == wrong
    assert all(each.expected == f"at most {48 if unit == 16 else 40}" for each in some)


@pytest.mark.parametrize(
    ("hint", "free", "skipped"),
    [
        (0, {7, 9}, 0),
        (7, {7, 9}, 0),
        (8, {7, 9}, 1),
        (9, {7, 9}, 1),
        (10, {7, 9}, 2),
        (40, {39}, 1),
        (40, set(), 0),
        (1, {0}, 1),
    ],
)
def test_a_lowest_hint_has_no_free_frame_below(hint, free, skipped):
    assert findings("PMM07", bitmap(patch(hint=hint), free=free)) == ()
    some = findings("PMM07", bitmap(patch(hint=hint), free=free, hint_is_lowest=True))
    assert [each.address for each in some] == [HINT] * (skipped > 0)
    if skipped:
        assert (f"at most {min(free)}," in some[0].expected, f"{at(min(free)):#x}" in some[0].expected) == (True, True)
        assert some[0].actual == str(hint)
        assert f" {skipped} free frame{'s' * (skipped > 1)} " in some[0].cause


@pytest.mark.parametrize(("hint", "skipped"), [(3, 0), (4, 1), (8, 2)])
def test_a_hint_of_a_region_counts_from_its_first_frame(hint, skipped):
    """Free are frames 1 and 19, 20; the second region begins at 16."""
    regions = patch(0, 8), patch(16, 8, hint=hint)
    some = findings("PMM07", bitmap(*regions, free={1, 19, 20}, hint_is_lowest=True))
    assert len(some) == (skipped > 0)
    if skipped:
        assert "at most 3," in some[0].expected
        assert f" {skipped} free frame{'s' * (skipped > 1)} " in some[0].cause


# PMM07: tails, regions


@pytest.mark.parametrize(
    ("tail", "count", "word"), [((), 40, None), ((40,), 40, 4), ((47, 46), 40, 4), ((17, 18), 17, 2), ((15,), 15, 0)]
)
def test_bits_behind_the_last_frame_are_used(tail, count, word):
    some = findings("PMM07", bitmap(patch(count=count, tail=tail), count=count))
    assert [(each.subject, each.address) for each in some] == ([] if word is None else [("bitmap word", BITS + word)])
    if some:
        assert f"bits {count} and up" in some[0].expected
        assert (f"{len(tail)} of them" in some[0].actual, f"bit {tail[0]}" in some[0].actual) == (True, True)


@pytest.mark.parametrize(
    ("first", "count", "shared"),
    [((0, 16), (16, 8), 0), ((0, 17), (16, 8), 1), ((0, 18), (16, 8), 2), ((0, 30), (16, 8), 8), ((0, 8), (16, 8), 0)],
)
def test_regions_do_not_overlap(first, count, shared):
    some = findings("PMM07", bitmap(patch(*first), patch(*count), patch(30, 4)))
    assert [(each.subject, each.address) for each in some] == [("frame", at(16))] * (shared > 0)
    if shared:
        assert some[0].evidence[0].startswith(f"{shared} frame{'s' * (shared > 1)} ({4 * shared} KiB)")
        assert f"{at(0):#x}" in some[0].actual


# PMM08, PMM09


def summary(level, *stale, free=True):
    return Summary(level, VirtAddr(0x5000), 4, np.array(stale), np.full(len(stale), free))


@pytest.mark.parametrize(
    ("level", "bit", "word", "frames"),
    [
        (1, 0, 0, (0, 16)),
        (1, 1, 0, (16, 32)),
        (1, 2, 0, (32, 40)),  # the last word is not full
        (1, 15, 0, (240, 40)),
        (1, 16, 2, (256, 40)),
        (2, 0, 0, (0, 40)),
    ],
)
def test_each_stale_bit_of_a_summary_is_named(level, bit, word, frames):
    for says, others in ((True, False), (False, True)):
        (finding,) = findings("PMM08", bitmap(summaries=(summary(level, bit, free=says),)))
        assert (finding.subject, finding.address) == ("summary word", 0x5000 + word)
        assert f"bit {bit} of level {level} says" in finding.expected
        assert f"word {bit} of level {level - 1}" in finding.expected
        assert f"{at(frames[0]):#x}-{at(frames[1]):#x}" in finding.expected
        assert (finding.expected.endswith("has none"), finding.actual.endswith("has none")) == (says, others)


def test_all_levels_of_a_summary_are_looked_at():
    assert found("PMM08", bitmap(summaries=(summary(1), summary(2)))) == []
    assert len(found("PMM08", bitmap(summaries=(summary(1, 0, 1), summary(2, 0))))) == 3


@pytest.mark.parametrize(
    ("value", "used", "wrong"),
    [
        (0xFFFF, 1, False),
        (0xFFF, 1, True),
        (0xFFFE, 1, True),
        (0, 1, True),
        (-1, 1, False),
        (0x1_FFFF, 1, False),  # cut to a word
        (0x1_0000, 1, True),
        (0, 0, False),
        (1, 0, True),
        (0x8000, 0, True),
        (0x1_0000, 0, False),
    ],
)
def test_the_constant_for_a_full_word_has_all_its_bits(value, used, wrong):
    full = Counter("full", value, VirtAddr(0x66), "FULL")
    some = findings("PMM09", bitmap(full=full, words=Words(lsb_first=True, used_bit=used, size=2)))
    assert [each.address for each in some] == [0x66] * wrong
    for each in some:
        assert each.expected.startswith("0xffff:" if used else "0x0:")
        assert each.actual == f"FULL is {value & 0xFFFF:#x}"


# What the rules of all managers say of bitmaps


@pytest.mark.parametrize(
    ("facts", "rules"),
    [
        ({}, {"PMM07"}),
        ({"summaries": (summary(1),)}, {"PMM07", "PMM08"}),
        ({"full": Counter("full", 0xFFFF, None, "FULL")}, {"PMM07", "PMM09"}),
    ],
)
def test_the_rules_that_a_bitmap_can_break(facts, rules):
    managed = bitmap(**facts)
    assert {rule.id for rule in pmm_rules(managed)} & {rule.id for rule in BIT_RULES} == rules
    assert {f"PMM1{number}" for number in range(3)}.isdisjoint(rule.id for rule in pmm_rules(managed))


@pytest.mark.parametrize(("meaning", "right"), [("free", 3), ("used", 5)])
@pytest.mark.parametrize("off", [-1, 0, 1])
def test_counters_of_a_region(meaning, right, off):
    counter = Counter(meaning, right + off, VirtAddr(0x55), "region.number")
    regions = patch(0, 8), patch(16, 8, counters=(counter,))
    managed = bitmap(*regions, free={0, 1, 17, 18, 19}, counters=(Counter("free", 5, None, "free"),))
    some = findings("PMM01", managed)
    assert [each.address for each in some] == [0x55] * bool(off)
    for each in some:
        assert each.expected.startswith(f"{right},")
        assert each.actual.endswith(f"is {right + off} ({off:+d})")
        assert f"{at(16):#x}" in each.actual


def test_frames_between_regions_are_not_managed_unless_they_count_as_used():
    regions = patch(0, 8), patch(16, 24)
    usable = boot([(BASE, at(40))])
    assert found("PMM05", bitmap(*regions), boot_map=usable) == [("frame", at(8))]
    assert found("PMM05", bitmap(*regions), boot_map=boot([(BASE, at(8)), (at(16), at(40))])) == []
    (finding,) = findings("PMM05", bitmap(*regions), boot_map=usable)
    assert " 8 frames (32 KiB)" in finding.actual
    torn = bitmap(*regions, torn=(Torn(VirtAddr(0x44), "region", "nothing there"),), unseen="a region cannot be read")
    assert [skip.why for skip in report("PMM05", torn, boot_map=usable).skipped] == ["a region cannot be read"]
    assert found("PMM00", torn) == [("region", 0x44)]


def test_frames_between_regions_are_nobodys():
    regions = patch(0, 8), patch(16, 24)
    assert bitmap(*regions).total == 32
    assert bitmap(*regions, with_holes=True).total == 40
    everything = numbers(range(40), 40)
    recorded = Recorded(everything, everything, None, lambda address: f"{address:#x}")
    usable = boot([(BASE, at(40))])
    free = {*range(8), *range(16, 40)}
    assert found("PMM02", bitmap(*regions, free=free), recorded=recorded, boot_map=usable) == []
    holes = bitmap(*regions, free=free, with_holes=True)
    assert found("PMM02", holes, recorded=recorded, boot_map=usable) == [("frame", at(8))]
    reserved = boot([(BASE, at(4))])
    assert reserved_frames(bitmap(*regions), reserved).numbers().tolist() == [*range(4, 8), *range(16, 40)]
    assert reserved_frames(holes, reserved).numbers().tolist() == [*range(4, 40)]


@pytest.mark.parametrize(
    ("number", "bit", "word"),
    [(0, 0, BITS), (7, 7, BITS), (12, 12, BITS), (16, 0, 0xA000), (31, 15, 0xA000), (32, 16, 0xA002), (39, 23, 0xA002)],
)
def test_where_a_frames_bit_is(number, bit, word):
    managed = bitmap(patch(0, 8), patch(16, 24, 0xA000), free={number})
    (finding,) = findings("PMM02", managed, mapped=ranges((at(number), at(number) + 1)))
    assert managed.place_of(number) == word
    assert (f"bit {bit} of" in finding.evidence[1], f"{word:#x}" in finding.evidence[1]) == (True, True)
    assert f"{at(0 if number < 16 else 16):#x}" in finding.evidence[1]
    alone = bitmap(free={number})
    assert alone.place_of(number) == BITS + number // 16 * 2
    assert f"{BASE:#x}" not in alone.record_of(number)


def test_a_frame_before_all_regions_is_told_by_the_first():
    managed = bitmap(patch(16, 24, 0xA000), patch(48, 8, 0xB000), count=56)
    assert managed.patch_of(3).first == managed.patch_of(16).first == managed.patch_of(47).first == 16
    assert managed.patch_of(48).first == 48


def test_the_figures_of_regions():
    used, free = Counter("used", 9, None, "used"), Counter("free", 9, None, "free")
    regions = patch(0, 8, counters=(used,)), patch(16, 8, 0xA000, counters=(free,)), patch(32, 8, 0xB000)
    parts = bitmap(*regions, free={1, 17, 18, 20, 23}).parts
    assert [(part.name, part.frames, part.free, part.blocks, part.at) for part in parts] == [
        ("0x2000", 8, 1, 1, BITS),
        ("0x12000", 8, 4, 3, 0xA000),
        ("0x22000", 8, 0, 0, 0xB000),
    ]
    assert [(part.said, part.counted) for part in parts] == [(9, 7), (9, 4), (None, None)]
    assert bitmap(free={1}).parts == ()


@pytest.mark.parametrize(
    ("lsb_first", "size", "first_bits"),
    [(True, 1, b"\x01\x00"), (True, 2, b"\x01\x00"), (False, 1, b"\x80\x00"), (False, 2, b"\x00\x80")],
)
def test_the_first_bit_of_a_word(lsb_first, size, first_bits):
    """Little-endian words: their top bit is that of their last byte."""
    words, raw = Words(lsb_first, 1, size), np.frombuffer(first_bits, dtype=np.uint8)
    assert words.bits == 8 * size
    assert FrameSet(words.normalised(raw, 1), 16).numbers().tolist() == [0]
    assert FrameSet(words.normalised(raw, 0), 16).numbers().tolist() == list(range(1, 16))
