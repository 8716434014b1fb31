"""Rules of what the kernel records about frames and buffers, at, below and above their bounds."""

import numpy as np
import pytest

from gdbext.checks.finding import Severity, run_rules
from gdbext.checks.physical.owners import OWNER_RULES, OwnerInputs, applies
from gdbext.machine.memory import RamMap
from gdbext.pmm.owners import Buffer, BuffersSnapshot, HeldSnapshot, Piece
from gdbext.structures.unread import Unread
from gdbext.units import PhysAddr, VirtAddr
from gdbext.x86.virtual import PagedMemory

from .guest import Guest, cpu, ram_range

AT = 0xFFFF_8000_0000_1000
RAM = RamMap([ram_range(0x1000, 0x8000), ram_range(0xA000, 0x10_0000)])


def inputs(**some):
    facts = {"records": None, "buffers": (), "held": (), "unread": (), "ram": RAM}
    return OwnerInputs(**(facts | some), memory=PagedMemory(Guest().memory, cpu(cr0=1)))


def findings(rule, **some):
    return run_rules([each for each in OWNER_RULES if each.id == rule], inputs(**some)).findings


def held(*frames, table="keeper", in_flux=False, text="kept"):
    places = np.arange(len(frames), dtype=np.uint64) * np.uint64(8) + np.uint64(AT)
    return HeldSnapshot(table, text, places, np.array(frames, dtype=np.uint64), 0x1000, in_flux)


def buffer(physical=0x2000, size=0x2000, **more):
    facts = {
        "name": "ring", "at": VirtAddr(AT), "physical": PhysAddr(physical), "size": size, "in_ram": True,
        "align": 0, "limit": 0, "boundary": 0, "address": None, "pieces": None,
    }  # fmt: skip
    return Buffer(**(facts | more))


def table(*buffers, broken=None, in_flux=False):
    return BuffersSnapshot("rings", buffers, broken, in_flux)


# PMM02: frames that are kept


@pytest.mark.parametrize(
    ("frame", "kept"),
    [(0x0, False), (0x1000, True), (0x7000, True), (0x8000, False), (0x9000, False), (0xA000, True), (1 << 63, False)],
)
def test_what_is_kept_is_ram(frame, kept):
    some = findings("PMM02", held=(held(0x2000, frame),))
    assert [each.address for each in some] == ([] if kept else [frame])
    if some:
        assert f"{AT + 8:#x}" in some[0].evidence[0]


@pytest.mark.parametrize(
    ("kept", "twice"),
    [
        ([[0x2000, 0x3000]], []),
        ([[0x2000, 0x2000]], [0x2000]),
        ([[0x2000, 0x2000, 0x2000]], [0x2000, 0x2000]),
        ([[0x2000, 0x3000], [0x4000, 0x3000]], [0x3000]),
        ([[0x9000, 0x9000]], [0x9000, 0x9000]),  # no RAM, and so much the worse
    ],
)
def test_a_frame_is_kept_once(kept, twice):
    assert [each.address for each in findings("PMM02", held=tuple(held(*each) for each in kept))] == twice


def test_both_places_of_a_frame_that_is_kept_twice_are_named():
    (finding,) = findings("PMM02", held=(held(0x2000, 0x3000, text="a"), held(0x5000, 0x4000, 0x3000, text="b")))
    assert ("b[2]" in finding.actual, "a[1]" in finding.actual) == (True, True)
    assert f"{AT + 16:#x}" in finding.evidence[0]
    (last,) = findings("PMM02", held=(held(0x2000, 0x3000, 0x2000, text=None),))
    assert (f"{AT + 16:#x}" in last.actual, f"{AT:#x}" in last.actual) == (True, True)


def test_what_is_kept_while_a_lock_is_held_is_in_flux():
    for in_flux in (False, True):
        some = findings("PMM02", held=(held(0x9000, 0x2000, 0x2000, in_flux=in_flux),))
        assert [each.severity for each in some] == [Severity.IN_FLUX if in_flux else Severity.ERROR] * 2


# PMM11: buffers


@pytest.mark.parametrize(
    ("facts", "wrong"),
    [
        ({}, False),
        ({"in_ram": False}, True),
        ({"align": 0x2000}, False),
        ({"align": 0x4000}, True),
        ({"physical": 0x2001, "align": 1}, False),
        ({"physical": 0x2001, "align": 2}, True),
        ({"limit": 0x4001}, False),
        ({"limit": 0x4000}, False),  # its last byte is just below
        ({"limit": 0x3FFF}, True),
        ({"limit": 0x2000}, True),
        ({"boundary": 0x2000}, False),
        ({"boundary": 0x2000, "size": 0x2001}, True),
        ({"boundary": 0x2000, "physical": 0x1FFF, "size": 1}, False),
        ({"boundary": 0x2000, "physical": 0x1FFF, "size": 2}, True),
        ({"boundary": 0x1000}, True),
        ({"boundary": 0x10000}, False),
    ],
)
def test_a_buffer_is_where_its_device_can_use_it(facts, wrong):
    some = findings("PMM11", buffers=(table(buffer(), buffer(**facts)),))
    assert [(each.subject, each.address) for each in some] == [("buffer", AT)] * wrong


def test_the_finding_about_a_buffer_names_the_byte():
    (limit,) = findings("PMM11", buffers=(table(buffer(limit=0x3000)),))
    assert ("0x3000" in limit.expected, "0x3fff" in limit.actual) == (True, True)
    assert "0x2000-0x4000" in limit.evidence[0]
    (crossed,) = findings("PMM11", buffers=(table(buffer(physical=0x2FFE, size=0x2004, boundary=0x1000)),))
    assert "0x5000" in crossed.actual  # the last multiple that it crosses


def test_a_buffer_is_one_finding_whatever_is_wrong_with_it():
    (finding,) = findings("PMM11", buffers=(table(buffer(align=0x4000, limit=0x3000, boundary=0x1000)),))
    assert ("0x4000" in finding.expected, len(finding.evidence)) == (True, 3)
    assert ("0x3fff" in finding.evidence[1], "0x1000" in finding.evidence[2]) == (True, True)
    everything = {"align": 0x4000, "limit": 0x3000, "boundary": 0x1000, "in_ram": False}
    (absent,) = findings("PMM11", buffers=(table(buffer(**everything)),))
    assert len(absent.evidence) == 1  # where there is no RAM, nothing else is believed


MAPPED = AT + 0x10_0000


@pytest.mark.parametrize(
    ("pieces", "hole"),
    [
        ([(0, 0x2000, 0x2000)], None),
        ([(0, 0x2000, 0x1000), (0x1000, 0x3000, 0x1000)], None),
        ([(0, 0x2000, 0x1000), (0x1000, 0x5000, 0x1000)], 0x1000),
        ([(0, 0x3000, 0x1000), (0x1000, 0x3000, 0x1000)], 0),
        ([(0, 0x2000, 0x1000)], 0x1000),
        ([(0x1000, 0x3000, 0x1000)], 0),
        ([(0, 0x2000, 0x800), (0x1000, 0x3000, 0x1000)], 0x800),
        ([], 0),
        ([(0, 0x2000, 0x1FFF)], 0x1FFF),
    ],
)
def test_a_buffer_is_mapped_in_one_piece(pieces, hole):
    shown = tuple(Piece(offset, PhysAddr(physical), size) for offset, physical, size in pieces)
    some = findings("PMM11", buffers=(table(buffer(address=VirtAddr(MAPPED), pieces=shown)),))
    assert len(some) == (hole is not None)
    if hole is not None:
        assert (f"{0x2000 + hole:#x}" in some[0].expected, f"{MAPPED + hole:#x}" in some[0].expected) == (True, True)
        instead = [f"{physical:#x}" for offset, physical, _ in pieces if offset == hole]
        assert all(each in some[0].actual for each in instead)
        assert ("0x" in some[0].actual) == bool(instead)


@pytest.mark.parametrize(
    ("pieces", "sound"),
    [
        ([(0, 0x2000, 0x1000), (0x1000, 0x3000, 0x1000)], [(0x2000, 0x3000), (0x3000, 0x4000)]),
        ([(0, 0x2000, 0x1000), (0x1000, 0x1000, 0x1000)], [(0x2000, 0x3000)]),
        ([(0, 0x3000, 0x1000), (0x1000, 0x3000, 0x800)], [(0x3000, 0x3800)]),
        ([], []),
    ],
)
def test_the_frames_of_a_buffer_are_those_that_its_record_and_page_tables_agree_on(pieces, sound):
    shown = tuple(Piece(offset, PhysAddr(physical), size) for offset, physical, size in pieces)
    assert buffer(pieces=shown).sound == tuple(sound)
    assert buffer(pieces=shown, in_ram=False).sound == ()
    assert buffer().sound == ((0x2000, 0x4000),)


def test_what_is_not_known_of_a_buffers_mapping_is_not_wrong():
    assert findings("PMM11", buffers=(table(buffer(address=VirtAddr(MAPPED), pieces=None)),)) == ()
    assert findings("PMM11", buffers=(table(buffer(address=None, pieces=())),)) == ()


def test_a_buffer_while_a_lock_is_held_is_in_flux():
    severities = [
        findings("PMM11", buffers=(table(buffer(in_ram=False), in_flux=in_flux),))[0].severity
        for in_flux in (False, True)
    ]
    assert severities == [Severity.ERROR, Severity.IN_FLUX]


# PMM00, and which rules there are


def test_what_cannot_be_read_is_a_finding():
    torn = Unread("page records", "records", "it is torn", absent=False)
    (records,) = findings("PMM00", unread=(torn,), buffers=(table(buffer()),))
    assert (records.subject, records.address, records.actual) == ("records", None, "it is torn")
    (buffers,) = findings("PMM00", buffers=(table(buffer(), buffer(), broken="a link is torn"),))
    assert (buffers.subject, buffers.actual, buffers.severity) == ("dma", "a link is torn", Severity.ERROR)
    assert buffers.evidence[0].endswith(" 2")
    (changing,) = findings("PMM00", buffers=(table(broken="a link is torn", in_flux=True),))
    assert changing.severity is Severity.IN_FLUX


@pytest.mark.parametrize(
    ("some", "rules"),
    [
        ({}, []),
        ({"unread": (Unread("page records", "records", "it is torn", absent=False),)}, ["PMM00"]),
        ({"held": (held(0x2000),)}, ["PMM00", "PMM02"]),
        ({"buffers": (table(),)}, ["PMM00", "PMM11"]),
    ],
)
def test_a_kernel_that_records_nothing_breaks_no_rule(some, rules):
    assert [rule.id for rule in OWNER_RULES if applies(rule, inputs(**some))] == rules
    assert findings("PMM12", **some) == ()
