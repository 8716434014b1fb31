"""Rules of free lists and buddies at, below and above their bounds, on lists made by hand.

A node lies in its frame, which ``HIGH`` maps; frames are counted from 0x1000 on.
"""

from typing import Any

import numpy as np
import pytest

from gdbext.checks.finding import run_rules
from gdbext.checks.physical.inputs import PmmInputs
from gdbext.checks.physical.managers import pmm_rules
from gdbext.machine.memory import RamMap
from gdbext.pmm.frames import FrameSet
from gdbext.pmm.lists import FreeList, ListSnapshot, Members, PairBits, in_order
from gdbext.structures.chain import Break, Chain, NodeShape, Stop
from gdbext.structures.counter import Counter
from gdbext.units import PhysAddr, VirtAddr

from .guest import ram_range

HIGH = 0xFFFF_8000_0000_0000
BASE, FRAME = 0x1000, 0x1000
LINK = 0x100
"""Where the link to a list's first node lies."""


def longs(values):
    return np.array(values, dtype=np.int64)


def words(values):
    return np.array(values, dtype=np.uint64)


def free_list(*runs, name="some", broken=None, **more):
    """A list of runs, each its first physical address and its frames; a lone address is of one frame."""
    pairs = [run if isinstance(run, tuple) else (run, 1) for run in runs]
    start, frames = words([first for first, _ in pairs]), longs([count for _, count in pairs])
    chain = Chain(NodeShape.__new__(NodeShape), start + words(HIGH), np.empty((len(runs), 0), np.uint8), start, broken)
    facts = {
        "name": name, "link_at": VirtAddr(LINK), "broken_at": None, "chain": chain,
        "members": Members(start, frames, np.arange(len(runs)), np.full(len(runs), -1)), "frames": frames,
        "entries": None, "room": None, "bad_magic": np.zeros(len(runs), np.bool_), "prev": None, "orders": None,
        "length": None, "counts_frames": False, "start": None, "end": None, "order": None, "pairs": None,
    }  # fmt: skip
    return FreeList(**(facts | more))


def manager(*lists, ram=((0, 1 << 20),), **more):
    facts: dict[str, Any] = {
        "name": "m", "base": PhysAddr(BASE), "frame_size": FRAME, "free": FrameSet.of_ranges([], 64), "covers": False,
        "counters": (), "counts_reserved": True, "in_flux": False, "places": (), "lists": lists,
        "by_address": in_order([each.members for each in lists]), "circular": False, "sorted": False,
        "coalesces": False, "merges": True, "is_buddy": False, "in_frames": True,
        "ram": RamMap([ram_range(*each) for each in ram]),
    }  # fmt: skip
    return ListSnapshot(**(facts | more))


def report(rule, managed):
    inputs = PmmInputs(
        manager=managed, ram=managed.ram, boot_map=None, metadata=(), tables=(), image=(), buffers=(), held=(),
        mapped=(), recorded=None, left_out=(), image_left_out=(),
    )  # fmt: skip
    return run_rules([each for each in pmm_rules(managed) if each.id == rule], inputs)


def findings(rule, *lists, **more):
    return report(rule, manager(*lists, **more)).findings


def found(rule, *lists, **more):
    """The subject and the address of each finding."""
    return [(finding.subject, finding.address) for finding in findings(rule, *lists, **more)]


# PMM10: links


def broken_after(*frames, stop=Stop.ASTRAY, target=0x77, **more):
    source = VirtAddr(HIGH + frames[-1]) if frames else None
    link = Break(stop, source, VirtAddr(target), "it leads nowhere")
    return free_list(*frames, broken=link, broken_at=VirtAddr(0x4242), **more)


@pytest.mark.parametrize("stop", [stop for stop in Stop if stop not in (Stop.END, Stop.SHORT)])
def test_a_link_that_leads_nowhere_is_a_finding_of_one_rule(stop):
    broken = broken_after(0x2000, stop=stop, order=0)
    assert found("PMM10", broken) == [("link", 0x4242)]
    # What two orders share is for buddies a block on two lists, which is the business of the rule about blocks.
    blocks = stop is Stop.SHARED
    assert found("PMM10", broken, is_buddy=True) == [("link", 0x4242)] * (not blocks)
    assert found("PMM12", broken, is_buddy=True) == [("link", 0x4242)] * blocks


@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_the_evidence_of_a_broken_link_names_the_last_two_nodes(before):
    frames = [0x2000 * number for number in range(1, before + 1)]
    (finding,) = findings("PMM10", broken_after(*frames))
    assert f" {before} node{'s' * (before != 1)} " in finding.evidence[0]
    for place, evidence in enumerate(finding.evidence):
        assert f"{HIGH + frames[-1 - place]:#x}" in evidence if before else "0x" not in evidence
    assert len(finding.evidence) == (2 if before > 1 else 1)


@pytest.mark.parametrize(
    ("data", "is_text"),
    [(b"abcd", 1), (b"abc", 0), (b"abcdefgh", 1), (b" !~ ", 1), (b"abc\x1f", 0), (b"\x7fabc", 0), (b"ab\0cd", 0)],
)
def test_a_link_of_four_printable_characters_or_more_is_read_as_text(data, is_text):
    (finding,) = findings("PMM10", broken_after(0x2000, target=int.from_bytes(data, "little")))
    assert (repr(data.decode()) in finding.cause) == bool(is_text)


def test_a_node_without_the_mark_is_named_and_so_is_its_frame_if_it_lies_there():
    some = free_list(0x2000, 0x5000, 0x3000, bad_magic=np.array([False, True, False]))
    assert found("PMM10", some) == [("node", HIGH + 0x5000)]
    assert "0x5000" in findings("PMM10", some)[0].evidence[0]
    assert "0x5000" not in findings("PMM10", some, in_frames=False)[0].evidence[0]


@pytest.mark.parametrize(
    ("circular", "back", "wrong"),
    [
        (False, [0, 0x2000, 0x5000], []),
        (False, [LINK, 0x2000, 0x5000], []),  # back to the list itself
        (False, [0x3000, 0x2000, 0x5000], [0x2000]),
        (False, [0, 0x2000, 0x2000], [0x3000]),
        (False, [0, LINK, 0x5000], [0x5000]),
        (False, [0, 0, 0], [0x5000, 0x3000]),
        (True, [0x3000, 0x2000, 0x5000], []),
        (True, [0, 0x2000, 0x5000], [0x2000]),
        (True, [LINK, 0x2000, 0x5000], [0x2000]),
        (True, [0x3000, 0x5000, 0x5000], [0x5000]),
    ],
)
def test_each_node_leads_back_to_the_one_before(circular, back, wrong):
    prev = words([HIGH + to if to >= 0x1000 else to for to in back])
    some = free_list(0x2000, 0x5000, 0x3000, prev=prev)
    assert found("PMM10", some, circular=circular) == [("node", HIGH + frame) for frame in wrong]


def test_a_first_node_may_lead_back_to_a_list_only_where_that_has_a_place():
    back = words([LINK])
    assert found("PMM10", free_list(0x2000, prev=back)) == []
    assert found("PMM10", free_list(0x2000, prev=back, link_at=None)) == [("node", HIGH + 0x2000)]
    assert found("PMM10", free_list(0x2000, prev=words([0]), link_at=None)) == []
    assert found("PMM10", free_list(prev=words([]))) == []


@pytest.mark.parametrize(("entries", "wrong"), [(-1, True), (0, False), (7, False), (8, False), (9, True)])
def test_a_node_has_no_more_entries_than_room(entries, wrong):
    some = free_list(0x2000, 0x5000, entries=longs([8, entries]), room=longs([8, 8]))
    assert found("PMM10", some) == [("node", HIGH + 0x5000)] * wrong


@pytest.mark.parametrize(
    ("second", "out_of_order", "touches"),
    [(0x7000, False, False), (0x6000, False, True), (0x3000, True, False), (0x5000, False, False)],
)
def test_runs_are_in_order_and_apart(second, out_of_order, touches):
    """The first run is 0x4000-0x6000; a second one that lies in it is no matter of order."""
    both = free_list((0x4000, 2), (second, 1))

    def runs(**more):
        return [address for subject, address in found("PMM10", both, **more) if subject == "run"]

    assert runs() == []
    assert runs(sorted=True) == [second] * out_of_order
    assert runs(sorted=True, coalesces=True) == [second] * (out_of_order or touches)
    assert runs(coalesces=True) == []


def test_the_finding_about_runs_names_both():
    some = free_list(0x2000, (0x4000, 2), (0x6000, 1))
    (unmerged,) = findings("PMM10", some, sorted=True, coalesces=True)
    assert (unmerged.address, "0x6000" in unmerged.expected) == (0x6000, True)
    assert "0x4000" in unmerged.evidence[0]
    (behind,) = findings("PMM10", free_list(0x2000, 0x4000, 0x3000), sorted=True)
    assert (behind.address, "0x5000" in behind.expected, "0x4000" in behind.evidence[0]) == (0x3000, True, True)


@pytest.mark.parametrize("said", [1, 2, 3, 5, 6])
def test_lengths_are_of_nodes_or_of_frames(said):
    length = Counter("length", said, VirtAddr(0x88), "list.length")
    for counts_frames, right in ((False, 2), (True, 5)):
        some = free_list((0x2000, 3), (0x8000, 2), length=length, counts_frames=counts_frames)
        (*wrong,) = findings("PMM10", some)
        assert [(each.subject, each.address) for each in wrong] == [("counter", 0x88)] * (said != right)
        assert all(f"is {said} ({said - right:+d})" in each.actual for each in wrong)
    assert found("PMM10", broken_after(0x2000, length=length))[1:] == []  # not counted to its end


# PMM10: members


@pytest.mark.parametrize(
    ("start", "frames", "wrong"),
    [
        (0x1000, 1, False),
        (0x1001, 1, True),
        (0x1FFF, 1, True),
        (0x3000, 1, False),
        (0x3000, 0, True),
        (0xF000, 1, False),
        (0xF000, 2, True),  # its second frame is above RAM
        (0x10000, 1, True),
        (0x0, 1, True),  # RAM begins at 0x1000
        (0xE000, 2, False),
        (0x2000, (1 << 52) - 1, True),  # its end is around the corner
    ],
)
def test_members_are_frames_of_ram(start, frames, wrong):
    place = [("frame", start)] * wrong
    assert found("PMM10", free_list((start, frames)), ram=[(0x1000, 0x10000)]) == place


def test_a_member_begins_where_frames_do_which_are_counted_from_the_base():
    large = {"frame_size": 0x4000, "is_buddy": False}
    assert found("PMM10", free_list(0x1000), free_list(0x5000), **large) == []
    assert found("PMM10", free_list(0x4000), **large) == [("frame", 0x4000)]


def test_members_that_are_wrong_alike_are_one_finding():
    (one,), (two,) = (findings("PMM10", free_list(*each)) for each in ([0x2000, 0x4234], [0x4234, 0x2000, 0x6456]))
    assert [len(each.evidence) for each in (one, two)] == [1, 2]
    assert [each.address for each in (one, two)] == [0x4234, 0x4234]
    assert "and 1 more" in two.evidence[1]


def test_the_entry_of_a_node_is_named():
    members = Members(words([0x2000, 0x3001]), longs([1, 1]), longs([1, 1]), longs([-1, 0]))
    (finding,) = findings("PMM10", free_list(0x2000, 0x5000, members=members))
    assert f"{HIGH + 0x5000:#x}, entry 0" in finding.evidence[0]
    (finding,) = findings("PMM10", free_list(0x2001))
    assert "entry" not in finding.evidence[0]


@pytest.mark.parametrize(
    ("runs", "twice"),
    [
        ([(0x2000, 2), (0x4000, 1)], []),
        ([(0x2000, 2), (0x3000, 1)], [0x3000]),
        ([(0x2000, 3), (0x3000, 1), (0x4000, 1), (0x5000, 1)], [0x3000, 0x4000]),
        ([(0x2000, 1), (0x2000, 1)], [0x2000]),
        ([(0x4000, 1), (0x2000, 3)], [0x4000]),
    ],
)
def test_a_frame_is_listed_once(runs, twice):
    assert found("PMM10", free_list(*runs)) == [("frame", address) for address in twice]
    apart = [free_list(run, name=f"list {index}") for index, run in enumerate(runs)]
    assert found("PMM10", *apart) == [("frame", address) for address in twice]


def test_both_lists_that_have_a_frame_are_named():
    lists = [free_list(0x2000, name="a"), free_list((0x3000, 3), name="b"), free_list(0x4000, name="c")]
    (finding,) = findings("PMM10", *lists)
    assert [text[-1] for text in finding.evidence] == ["b", "c"]
    assert [text.partition(",")[0] for text in finding.evidence] == ["0x3000", "0x4000"]


# PMM11: zones


@pytest.mark.parametrize(
    ("zone", "run", "outside"),
    [
        ((0x4000, 0x8000), (0x4000, 4), False),
        ((0x4000, 0x8000), (0x3000, 1), True),
        ((0x4000, 0x8000), (0x7000, 1), False),
        ((0x4000, 0x8000), (0x7000, 2), True),  # its last frame is
        ((0x4000, 0x8000), (0x8000, 1), True),
        ((0x4000, None), (0x4000, 1), False),
        ((0x4000, None), (0x3000, 1), True),
        ((0x4000, None), (0x7FFF_F000, 1), False),
        ((None, 0x8000), (0x0, 8), False),
        ((None, 0x8000), (0x0, 9), True),
        ((0x4000, 0x4000), (0x4000, 1), True),
        ((0x0, 0x0), (0x4000, 1), True),
    ],
)
def test_a_frame_is_on_the_list_of_its_zone(zone, run, outside):
    some = free_list(run, start=zone[0], end=zone[1])
    assert found("PMM11", some) == [("frame", run[0])] * outside


def test_a_list_for_any_address_takes_all():
    assert found("PMM11", free_list(0x2000), free_list(0x3000, start=0x3000)) == []
    few = free_list(0x2000, 0x5000, 0x3000, 0x6000, start=0x2000, end=0x5000)
    (finding,) = findings("PMM11", few)
    assert (finding.address, len(finding.evidence)) == (0x5000, 2)
    assert f"{HIGH + 0x5000:#x}" in finding.evidence[0]
    assert "and 1 more" in finding.evidence[1]
    assert len(findings("PMM11", free_list(0x2000, start=0x3000))[0].evidence) == 1


# PMM12: buddies


def block(number, order):
    return BASE + number * FRAME, 1 << order


def orders(*by_order, **more):
    """A buddy manager: for each order the numbers of the first frames of its free blocks."""
    lists = [
        free_list(*(block(number, order) for number in numbers), name=f"order {order}", order=order)
        for order, numbers in enumerate(by_order)
    ]
    return manager(*lists, **({"is_buddy": True} | more))


def buddies(*by_order, **more):
    return [(each.subject, each.address) for each in report("PMM12", orders(*by_order, **more)).findings]


@pytest.mark.parametrize(
    ("number", "order", "aligned"),
    [
        (0, 0, True),
        (1, 0, True),
        (1, 1, False),
        (2, 1, True),
        (2, 2, False),
        (3, 2, False),
        (4, 2, True),
        (5, 2, False),
    ],
)
def test_blocks_are_aligned_to_their_size_from_the_base_on(number, order, aligned):
    blocks = [[]] * order + [[number]]
    assert buddies(*blocks) == [("frame", BASE + number * FRAME)] * (not aligned)


@pytest.mark.parametrize(
    ("free", "unmerged"),
    [([0, 1], [0]), ([1, 2], []), ([0, 2], []), ([1], []), ([4, 5, 6], [4]), ([2, 3, 6, 7], [2, 6])],
)
def test_free_buddies_are_merged_below_the_highest_order(free, unmerged):
    assert buddies(free, []) == [("block", BASE + number * FRAME) for number in unmerged]
    assert buddies(free) == []  # there is no order that they could be merged to
    assert buddies(free, [], merges=False) == []


def test_larger_buddies_are_merged_too():
    assert buddies([], [0, 2], []) == [("block", BASE)]
    assert buddies([], [2, 4], []) == []
    assert buddies([], [], [0, 4], []) == [("block", BASE)]
    (finding,) = report("PMM12", orders([], [4, 6], [])).findings
    second = BASE + 6 * FRAME
    assert f"{second:#x}" in finding.actual
    first_node, second_node = finding.evidence
    assert (f"{HIGH + BASE + 4 * FRAME:#x}" in first_node, f"{HIGH + second:#x}" in second_node) == (True, True)


def test_blocks_do_not_overlap():
    assert buddies([3], [], [0]) == [("frame", BASE + 3 * FRAME)]
    assert buddies([4], [], [0]) == []


@pytest.mark.parametrize(("says", "wrong"), [(0, True), (1, False), (2, True)])
def test_a_block_records_the_order_of_its_list(says, wrong):
    lists = (
        free_list(block(0, 0), order=0, orders=longs([0])),
        free_list(block(2, 1), block(4, 1), order=1, orders=longs([1, says])),
    )
    here = BASE + 4 * FRAME
    assert found("PMM12", *lists, is_buddy=True, merges=False) == [("block", here)] * wrong
    assert found("PMM12", *lists, is_buddy=True, merges=False, in_frames=False) == [("block", HIGH + here)] * wrong


def pairs(order, numbers, bits, count=200):
    some = free_list(
        *(block(number, order) for number in numbers),
        order=order,
        pairs=PairBits(VirtAddr(0x9000), count, FrameSet.of_numbers(words(bits), count)),
    )
    return found("PMM12", some, is_buddy=True, merges=False)


@pytest.mark.parametrize(
    ("order", "free", "bits"),
    [
        (0, [0], [0]),
        (0, [1], [0]),
        (0, [0, 1], []),
        (0, [1, 2], [0, 1]),
        (0, [126, 128, 129], [63]),
        (1, [2], [0]),
        (1, [0, 2, 4], [1]),
        (2, [4, 8], [0, 1]),
    ],
)
def test_a_pair_bit_says_that_just_one_of_two_buddies_is_free(order, free, bits):
    assert pairs(order, free, bits) == []
    for pair in (0, 1, 63, 64, 127, 128, 199):
        flipped = set(bits) ^ {pair}
        assert pairs(order, free, sorted(flipped)) == [("pair bit", 0x9000 + pair // 64 * 8)]


def test_the_finding_about_a_pair_bit_names_the_blocks():
    for bits, says in (([], "none or both"), ([1], "exactly one")):
        some = free_list(
            *([block(4, 1)] if not bits else []),
            order=1,
            pairs=PairBits(VirtAddr(0x9000), 8, FrameSet.of_numbers(words(bits), 8)),
        )
        (finding,) = findings("PMM12", some, is_buddy=True)
        assert f"{BASE + 4 * FRAME:#x}" in finding.expected
        assert ("exactly one" in finding.expected) == (says != "exactly one")


def test_pair_bits_are_compared_where_one_list_has_an_order():
    bits = PairBits(VirtAddr(0x9000), 8, FrameSet.of_numbers(words([3]), 8))
    one, other = free_list(order=0, pairs=bits), free_list(order=1, pairs=bits)
    assert len(found("PMM12", one, other, is_buddy=True)) == 2
    assert report("PMM12", manager(one, other, is_buddy=True)).skipped == ()
    again = manager(one, free_list(order=0, pairs=bits), is_buddy=True)
    assert report("PMM12", again).findings == ()
    assert [skip.partly for skip in report("PMM12", again).skipped] == [True]
    broken = broken_after(0x1000, stop=Stop.LOOP, order=0, pairs=bits)
    assert found("PMM12", broken, is_buddy=True) == []
    mixed = manager(one, free_list(order=0), is_buddy=True)
    assert len(report("PMM12", mixed).findings) == 1
    assert report("PMM12", mixed).skipped == ()
