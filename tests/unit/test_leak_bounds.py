"""HEAP70 at its bounds: which chunks are looked for, where pointers to them may be, and what counts as a pointer."""

from types import SimpleNamespace

import numpy as np
import pytest

from gdbext.checks.finding import Severity, run_rules
from gdbext.checks.heaps.leaks import EXAMPLES, LEAK_RULES, FoundLeaks, LeakInputs, find_leaks
from gdbext.checks.heaps.pointers import MOST_STACK, PointerInputs, PointerSources, find_pointers, joined, without
from gdbext.heap import reach
from gdbext.heap.bump import BumpDetail
from gdbext.heap.parts import Watermark
from gdbext.heap.reach import Links, Places, Reader, clusters, led_to_from, links_between, reached
from gdbext.machine.memory import RamMap
from gdbext.machine.shared import SharedMemory
from gdbext.machine.tables import GeneralRegisters
from gdbext.profile.binding.bind import bind
from gdbext.profile.toml.load import read_profile
from gdbext.structures.chain import Break, Stop
from gdbext.structures.unread import Unread
from gdbext.symbols.model import Section
from gdbext.units import VirtAddr
from gdbext.x86.virtual import PagedMemory

from .guest import Guest, cpu, ram_range
from .heap_guest import compiled
from .made_heaps import BAD, BASE, FREE, USED, free_list, heap, in_a_row, in_text, lists, paged, words
from .test_paging_rules_bounds import Tree

ROOT = 0x30000
PAGE = 0x1000


def search(heaps, pointers=(), *, memory=None, roots=((ROOT, ROOT + 64),), words_of=(), wanted=None, width=8,
           direct_map=None, guest=None, names=hex):  # fmt: skip
    """Look for leaks in heaps, with these pointers where the roots begin."""
    guest = guest or Guest()
    guest.entries(ROOT, pointers)
    sources = PointerSources(tuple(roots), np.array(words_of, dtype=np.uint64))
    return find_leaks(LeakInputs(tuple(heaps), sources, memory or paged(guest), width, direct_map, names), wanted)


def lost(found):
    """The payloads that leak."""
    return sorted(address for group in found.groups for address in group.addresses)


# --- which chunks are looked for --------------------------------------------------------------------------------------


def test_used_chunks_that_can_be_are_looked_for():
    rows = in_a_row((32, USED), (32, FREE), (32, BAD), (8, USED))  # 16 bytes are the least
    found = search([heap(rows)])
    assert (found.chunks, lost(found)) == (1, [BASE + 16])


@pytest.mark.parametrize(("pointer", "leads"), [(-1, False), (0, True), (1, False)])
def test_an_empty_payload_has_an_address(pointer, leads):
    rows = in_a_row((0, USED), (32, USED))
    found = search([heap(rows, layout={"minimum": 0})], [BASE + 16 + pointer])
    assert lost(found) == [BASE + 16] * (not leads) + [BASE + 32]


@pytest.mark.parametrize(("pointer", "leads"), [(-1, False), (0, True), (31, True), (32, False)])
def test_a_pointer_leads_from_the_first_byte_of_a_payload_to_its_last(pointer, leads):
    found = search([heap(in_a_row((32, USED)))], [BASE + 16 + pointer])
    assert lost(found) == [BASE + 16] * (not leads)
    assert search([heap(in_a_row((32, USED)))], words_of=[BASE + 16 + pointer]).chunks == 1
    assert lost(search([heap(in_a_row((32, USED)))], words_of=[BASE + 16 + pointer])) == lost(found)


def test_the_end_of_a_chunk_that_damage_made_too_long_is_where_the_next_begins():
    rows = [(BASE, 48, USED), (BASE + 32, 32, USED)]
    second = BASE + 48
    assert lost(search([heap(rows)], [second])) == [BASE + 16]
    assert lost(search([heap(rows)], [second - 1])) == [second]


def test_one_heap_of_several_is_asked_for_and_pointers_in_the_others_count():
    one, other = heap(in_a_row((32, USED)), name="one"), heap(in_a_row((32, USED), start=BASE + 0x1000), name="other")
    guest = Guest()
    guest.entries(BASE + 16, [BASE + 0x1010])
    assert lost(search([one, other], guest=guest)) == [BASE + 16, BASE + 0x1010]
    found = search([one, other], [BASE + 16], wanted="other", guest=guest)
    assert (found.chunks, lost(found)) == (1, [])
    assert lost(search([one, other], [0], wanted="other", guest=guest)) == [BASE + 0x1010]


OUTER_PAYLOAD = BASE + 16


@pytest.mark.parametrize(
    ("start", "end", "holds"),
    [(0, 0x100, True), (1, 0xFF, True), (-1, 0x100, False), (0, 0x101, False)],
)
def test_a_chunk_that_another_heap_lies_in_is_not_looked_for(start, end, holds):
    outer = heap([(BASE, 0x100, USED)], name="outer")
    inner = heap([], [(OUTER_PAYLOAD + start, OUTER_PAYLOAD + end)], name="inner", parent=("outer",))
    assert search([outer, inner]).chunks == (not holds)
    unrelated = heap([], [(OUTER_PAYLOAD + start, OUTER_PAYLOAD + end)], name="inner")
    assert search([outer, unrelated]).chunks == 1


def test_the_only_chunk_of_a_heap_on_another_does_not_hold_that_heap():
    outer = heap([(BASE, 0x100, USED)], name="outer")
    inner = heap(
        [(OUTER_PAYLOAD, 0x100, USED)], [(OUTER_PAYLOAD, OUTER_PAYLOAD + 0x100)], header=0, name="inner",
        parent=("outer",),
    )  # fmt: skip
    found = search([outer, inner])
    assert [(group.heap, group.addresses) for group in found.groups] == [("inner", (OUTER_PAYLOAD,))]


def test_what_a_chunk_holds_beside_another_heap_are_roots():
    outer = heap(in_a_row((0x100, USED), (32, USED)), name="outer")
    second = BASE + 16 + 0x100 + 16
    inner = heap([], [(OUTER_PAYLOAD + 64, OUTER_PAYLOAD + 128)], name="inner", parent=("outer",))
    for offset, counts in ((0, True), (56, True), (64, False), (120, False), (128, True), (0xF8, True)):
        guest = Guest()
        guest.entries(OUTER_PAYLOAD + offset, [second])
        assert lost(search([outer, inner], guest=guest)) == [second] * (not counts)


# --- pointers through a direct map ------------------------------------------------------------------------------------

DIRECT = 0xFFFF_8000_0000_0000
FRAMES = (0x9000, 0x7000)
"""The heap's two pages lie in these frames, in the other order."""


def behind_tables(pointer, direct_map=DIRECT, rows=None, pages=FRAMES):
    """Which payloads leak in a heap that is mapped somewhere else than the direct map."""
    tree = Tree()
    for number, frame in enumerate(pages):
        tree.map(BASE + number * PAGE, frame)
    tree.map(ROOT, 0x5000)
    tree.guest.entries(0x5000, [pointer])
    memory = PagedMemory(tree.guest.memory, cpu(root=tree.root))
    rows = rows or [(BASE, 0x100, USED), (BASE + PAGE, 0x100, USED)]
    made = heap(rows, [(BASE, BASE + 2 * PAGE)])
    sources = PointerSources(((ROOT, ROOT + 8),), words())
    return lost(find_leaks(LeakInputs((made,), sources, memory, 8, direct_map, hex)))


FIRST, SECOND = BASE + 16, BASE + PAGE + 16


@pytest.mark.parametrize("frames", [FRAMES, FRAMES[::-1]])
@pytest.mark.parametrize(("offset", "leads"), [(15, False), (16, True), (16 + 0xFF, True), (16 + 0x100, False)])
@pytest.mark.parametrize("page", [0, 1])
def test_a_pointer_may_go_through_the_direct_map(frames, page, offset, leads):
    pointer = DIRECT + frames[page] + offset
    lost_else = [payload for payload in (FIRST, SECOND) if not leads or payload != (FIRST, SECOND)[page]]
    assert behind_tables(pointer, pages=frames) == lost_else
    assert behind_tables(pointer, None, pages=frames) == [FIRST, SECOND]
    assert behind_tables(pointer - DIRECT, direct_map=0, pages=frames) == lost_else


def test_a_frame_between_those_of_a_heap_is_not_the_heaps():
    assert behind_tables(DIRECT + 0x8010) == [FIRST, SECOND]


def test_a_payload_over_two_pages_goes_on_in_another_frame():
    rows = [(BASE, PAGE + 0x100, USED)]
    border = FIRST + PAGE + 0x100 - (BASE + PAGE)
    assert behind_tables(DIRECT + FRAMES[0] + PAGE - 1, rows=rows) == []
    assert behind_tables(DIRECT + FRAMES[1] + border - 1, rows=rows) == []
    assert behind_tables(DIRECT + FRAMES[1] + border, rows=rows) == [FIRST]


def test_a_heap_in_the_direct_map_itself_has_one_address():
    pages = (BASE, BASE + PAGE)
    assert behind_tables(FIRST, direct_map=0, pages=pages) == [SECOND]
    assert behind_tables(SECOND, direct_map=0, pages=pages) == [FIRST]
    assert behind_tables(DIRECT + FIRST, pages=pages) == [SECOND]  # this one is somewhere else


def test_without_paging_there_is_no_direct_map():
    made = heap(in_a_row((32, USED)))
    assert lost(search([made], [DIRECT + BASE + 16], direct_map=DIRECT)) == [BASE + 16]


# --- groups -----------------------------------------------------------------------------------------------------------


def test_of_groups_with_as_many_bytes_the_one_with_more_chunks_is_first():
    found = search([heap(in_a_row((64, USED), (32, USED), (32, USED), (80, USED)))])
    assert [(g.size, g.count, g.bytes) for g in found.groups] == [(80, 1, 80), (32, 2, 64), (64, 1, 64)]


def test_chunks_of_different_callers_and_heaps_are_different_groups():
    one = heap(in_a_row((32, USED), (32, USED), (32, USED)), name="one", callers=words(0x111, 0x222, 0x111))
    other = heap(in_a_row((32, USED), start=BASE + 0x1000), name="other")
    groups = search([one, other], names=lambda caller: f"at {caller:#x}").groups
    assert {(g.heap, g.caller, g.caller_name, g.count) for g in groups} == {
        ("one", 0x111, "at 0x111", 2), ("one", 0x222, "at 0x222", 1), ("other", None, None, 1),
    }  # fmt: skip


@pytest.mark.parametrize("count", [EXAMPLES - 1, EXAMPLES, EXAMPLES + 1])
def test_so_many_addresses_of_a_group_are_kept(count):
    assert EXAMPLES == 16
    (group,) = search([heap(in_a_row(*[(32, USED)] * count))]).groups
    assert (group.count, group.bytes) == (count, 32 * count)
    assert group.addresses == tuple(BASE + 16 + 48 * number for number in range(min(count, 16)))


def told(rows, guest=None):
    guest = guest or Guest()
    found = search([heap(rows)], guest=guest)
    return run_rules(LEAK_RULES, FoundLeaks(found, paged(guest))).findings


@pytest.mark.parametrize(("count", "others"), [(1, 0), (2, 1), (3, 2), (4, 3), (5, 3)])
def test_the_first_of_a_group_are_named(count, others):
    (finding,) = told(in_a_row(*[(32, USED)] * count))
    assert (finding.severity, finding.address) == (Severity.WARNING, BASE + 16)
    assert in_text(finding.actual) == [count, 32, 32 * count]
    named = [line for line in finding.evidence[1:] if "0x" in line]
    assert [in_text(line) for line in named] == [[BASE + 16 + 48 * n for n in range(1, others + 1)]] * bool(others)
    assert [line.endswith("...") for line in named] == [count > 4] * bool(others)


@pytest.mark.parametrize(("size", "shown"), [(15, 15), (16, 16), (17, 16)])
def test_the_first_bytes_of_an_example_are_shown(size, shown):
    guest = Guest()
    guest.write(BASE + 16, b"\xee" * 64)
    rows = [(BASE, size, USED)]
    found = search([heap(rows, layout={"minimum": 0})], guest=guest)
    (finding,) = run_rules(LEAK_RULES, FoundLeaks(found, paged(guest))).findings
    assert finding.evidence[0].count("ee") == shown


def test_an_empty_payload_has_no_bytes_to_show():
    found = search([heap([(BASE, 0, USED)], layout={"minimum": 0})])
    (finding,) = run_rules(LEAK_RULES, FoundLeaks(found, paged(Guest()))).findings
    assert finding.evidence == ()


def test_how_many_other_leaked_chunks_point_to():
    guest = Guest()
    guest.entries(BASE + 16, [BASE + 48 + 16, BASE + 16])  # the first to the second, and to itself
    (finding,) = told(in_a_row((32, USED), (32, USED)), guest)
    assert in_text(finding.evidence[-1]) == [1]
    guest.entries(BASE + 16, [0])
    assert told(in_a_row((32, USED), (32, USED)), guest)[0].evidence[-1] != finding.evidence[-1]


# --- what was not searched --------------------------------------------------------------------------------------------


TORN = lists(free_list(0, broken=Break(Stop.ASTRAY, None, VirtAddr(1), "no chunk")), alone=True)


@pytest.mark.parametrize(
    ("one", "doubts"),
    [
        (heap(in_a_row((32, USED))), 0),
        (heap(in_a_row((32, USED)), in_flux=True), 1),
        (heap(in_a_row((32, BAD))), 1),
        (heap(in_a_row((32, USED)), index=TORN), 1),
        (Unread("it", "list", "no memory", absent=False), 1),
        (Unread("it", "list", "not yet", absent=True), 0),
    ],
    ids=["sound", "in flux", "bad", "list torn", "cannot be read", "not there"],
)
def test_heaps_that_may_hold_pointers_that_were_not_seen(one, doubts):
    found = search([one])
    assert len(found.partly) == doubts
    assert found.in_flux == (getattr(one, "in_flux", False))


def test_which_chunks_leak_is_not_known_where_used_ones_cannot_be_told():
    found = search([heap(in_a_row((32, USED)), index=TORN)])
    assert (found.chunks, found.groups) == (0, ())


def test_memory_that_cannot_be_read_is_a_doubt():
    assert search([heap(in_a_row((32, USED)))], roots=[(ROOT, ROOT + 64)]).partly == ()
    found = search([heap(in_a_row((32, USED)))], roots=[((1 << 20) - 64, (1 << 20) + 128)])
    assert [in_text(line)[0] for line in found.partly] == [128]
    assert found.pointers == 64


# --- where pointers may be --------------------------------------------------------------------------------------------


def sources(*, sections=(), described=(), registers=({},), heaps=(), memory=None, names=None, doubt=None):
    symbols = SimpleNamespace(sections=lambda: sections, name_at=lambda address: names)
    made = GeneralRegisters(tuple(registers), doubt)
    return find_pointers(PointerInputs(symbols, tuple(described), made, tuple(heaps), (), memory or paged(Guest())))


def section(start, end, name=".data", *, writable=True):
    return Section(name, VirtAddr(start), end - start, writable, executable=False)


def test_variables_are_in_sections_that_can_be_written_to():
    found = sources(sections=[section(0x1000, 0x2000), section(0x3000, 0x4000, ".rodata", writable=False)])
    assert (found.ranges, found.left_out) == (((0x1000, 0x2000),), ())
    assert len(sources().left_out) == 1  # no section is known
    assert len(sources(sections=[section(0, 1)], doubt="of one processor").left_out) == 1


def test_registers_are_words():
    found = sources(registers=[{"rax": 5, "rbx": (1 << 64) - 1}, {"rax": -1, "rcx": 5}])
    assert found.words.tolist() == [5, (1 << 64) - 1]


@pytest.mark.parametrize(
    ("pointer", "ranges"),
    [
        (0x4FFF, ((0x4FFF, 0x14000),)),
        (0x5000, ((0x5000, 0x6000),)),
        (0x5001, ((0x5001, 0x6000),)),
        (0x5FFF, ((0x5FFF, 0x6000),)),
        (0x6000, ((0x5000, 0x16000),)),
    ],
)
def test_a_stack_in_a_section_is_in_use_from_the_stack_pointer_on(pointer, ranges):
    """A pointer that is in no section is into a stack that nobody names: up to 64 KiB of it are looked at."""
    found = sources(sections=[section(0x5000, 0x6000, ".stack")], registers=[{"rsp": pointer}])
    assert found.ranges == ranges


def test_below_a_stack_pointer_variables_are_in_use_where_a_section_is_no_stack():
    found = sources(sections=[section(0x5000, 0x6000)], registers=[{"rsp": 0x5800}], names=("boot_stack", 0x100))
    assert found.ranges == ((0x5000, 0x5700), (0x5800, 0x6000))


@pytest.mark.parametrize(
    ("mapped", "end"),
    [((0x5000,), 0x6000), ((0x5000, 0x6000), 0x7000), ((0x5000, 0x7000), 0x6000), ((0x6000,), None), ((), None)],
)
def test_a_stack_that_nobody_names_goes_on_as_far_as_it_is_mapped(mapped, end):
    tree = Tree()
    for page in mapped:
        tree.map(page, 0x9000 + page)
    memory = PagedMemory(tree.guest.memory, cpu(root=tree.root))
    found = sources(registers=[{"rsp": 0x5123}], memory=memory)
    assert found.ranges == (() if end is None else ((0x5123, end),))


def test_no_more_of_a_stack_is_looked_at_than_64_kib():
    assert MOST_STACK == 0x10000
    assert sources(registers=[{"rsp": 0x5123}]).ranges == ((0x5123, 0x15000),)
    assert sources(registers=[{"rax": 0x5123}]).ranges == ()


def test_what_belongs_to_heaps_is_no_root():
    whole = [section(BASE, BASE + 0x1000)]
    made = heap(in_a_row((32, USED)), [(BASE + 0x100, BASE + 0x200)])
    assert sources(sections=whole, heaps=[made]).ranges == ((BASE, BASE + 0x100), (BASE + 0x200, BASE + 0x1000))
    without_segments = heap([(BASE + 0x100, 32, USED), (BASE + 0x200, 32, FREE)], [])
    assert sources(sections=whole, heaps=[without_segments]).ranges == (
        (BASE, BASE + 0x100), (BASE + 0x130, BASE + 0x200), (BASE + 0x230, BASE + 0x1000),
    )  # fmt: skip


def test_of_a_heap_that_knows_no_chunks_all_that_was_handed_out_are_roots():
    mark = Watermark(VirtAddr(BASE), VirtAddr(BASE + 0x80), VirtAddr(BASE + 0x100), None)
    bump = heap([], [(BASE, BASE + 0x100)], watermark=mark, detail=BumpDetail())
    assert sources(sections=[section(BASE, BASE + 0x100)], heaps=[bump]).ranges == ((BASE, BASE + 0x80),)
    marked = heap(in_a_row((32, USED)), [(BASE, BASE + 0x100)], watermark=mark)
    assert sources(sections=[section(BASE, BASE + 0x100)], heaps=[marked]).ranges == ()


@pytest.fixture(scope="module")
def symbols(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("heaps"))


def described(symbols, text):
    bound = bind(read_profile(f'[kernel]\nname = "made-up"\n[pointers.them]\n{text}', "k.toml"), symbols)
    assert bound.problems == ()
    return bound.pointers


def test_ranges_that_a_profile_names(symbols):
    """Of three ranges the second is empty, the last a stack; the stack pointer leads into the first, then the last."""
    them = described(
        symbols, 'entries = "bins"\ncount = 3\nstart = "first"\nend = "count"\nstack = "self == &bins[2]"\n'
    )
    guest = Guest()
    guest.entries(symbols.find_symbol("bins").address, [0x1000, 0x2000, 0x3000, 0x3000, 0x5000, 0x6000])
    found = sources(described=them, memory=paged(guest), registers=[{"rsp": 0x5800}], sections=[section(0, 8)])
    assert (found.ranges, found.left_out) == (((0, 8), (0x1000, 0x2000), (0x5800, 0x6000)), ())
    found = sources(described=them, memory=paged(guest), registers=[{"rsp": 0x1800}])
    assert found.ranges == ((0x1000, 0x2000), (0x5000, 0x6000))


def test_a_range_of_a_profile_that_cannot_be_read_is_left_out(symbols):
    them = described(symbols, 'start = "*(unsigned long *)end"\nend = "end"\n')
    guest = Guest()
    guest.entries(symbols.find_symbol("end").address, [1 << 30])
    assert len(sources(described=them, memory=paged(guest), sections=[section(0, 8)]).left_out) == 1


def test_ranges_that_touch_are_one():
    assert joined([(1, 3), (3, 5)]) == [(1, 5)]
    assert joined([(1, 3), (4, 5)]) == [(1, 3), (4, 5)]
    assert joined([(1, 5), (2, 3)]) == [(1, 5)]
    assert joined([(2, 2), (3, 2), (1, 2)]) == [(1, 2)]


@pytest.mark.parametrize(
    ("holes", "left"),
    [
        ([(9, 10)], [(10, 20), (30, 40)]),
        ([(9, 11)], [(11, 20), (30, 40)]),
        ([(10, 11)], [(11, 20), (30, 40)]),
        ([(11, 12)], [(10, 11), (12, 20), (30, 40)]),
        ([(19, 20)], [(10, 19), (30, 40)]),
        ([(20, 30)], [(10, 20), (30, 40)]),
        ([(19, 31)], [(10, 19), (31, 40)]),
        ([(10, 20)], [(30, 40)]),
        ([(0, 50)], []),
        ([(12, 13), (14, 15), (32, 33)], [(10, 12), (13, 14), (15, 20), (30, 32), (33, 40)]),
        ([(40, 41)], [(10, 20), (30, 40)]),
    ],
)
def test_holes_at_the_borders_of_ranges(holes, left):
    assert without([(10, 20), (30, 40)], holes) == left


# --- the search itself ------------------------------------------------------------------------------------------------


def places(*ranges, alias=()):
    """Places, and (virtual, alias, size) of other addresses of some of them."""
    alias = sorted(alias, key=lambda one: one[1])
    return Places(
        words(*(start for start, _ in ranges)),
        words(*(end for _, end in ranges)),
        words(*(other for _, other, _ in alias)),
        words(*(other + size for _, other, size in alias)),
        words(*(virtual for virtual, _, _ in alias)),
    )


@pytest.mark.parametrize(
    ("address", "size", "number"),
    [(9, 1, -1), (10, 1, 0), (19, 1, 0), (20, 1, -1), (30, 1, 1), (39, 1, 1), (40, 1, -1), (10, 10, 0), (10, 11, -1),
     (12, 8, 0), (13, 8, -1), (32, 8, 1)],
)  # fmt: skip
def test_the_place_that_holds_so_many_bytes(address, size, number):
    made = places((10, 20), (30, 40))
    assert made.at(words(address), size).tolist() == [number]
    assert made.at(words(35, address, 15), size).tolist()[1] == number  # in any order


def test_what_words_lead_to():
    made = places((10, 20), (30, 40))
    assert [found.tolist() for found in made.led_to(words(39, 40, 10, 25, 9, 0))] == [[0, 2], [1, 0]]
    assert [found.tolist() for found in places().led_to(words(10))] == [[], []]


def test_what_words_lead_to_by_another_address():
    made = places((10, 20), (30, 40), alias=[(10, 1030, 10), (30, 1010, 10)])
    which, place = made.led_to(words(1029, 1030, 1039, 1040, 1009, 1010, 1019, 1020, 12))
    assert dict(zip(which.tolist(), place.tolist(), strict=True)) == {1: 0, 2: 0, 5: 1, 6: 1, 8: 0}
    beside = places((10, 20), (30, 40), alias=[(0, 1000, 50)])  # with what lies between the places
    which, place = beside.led_to(words(1009, 1010, 1025, 1039, 1040))
    assert dict(zip(which.tolist(), place.tolist(), strict=True)) == {1: 0, 3: 1}


@pytest.mark.parametrize(("gap", "stretches"), [(0x10000 - 1, 1), (0x10000, 2)])
def test_places_are_read_together_over_narrow_gaps(gap, stretches):
    made = places((0x1000, 0x2000), (0x2000 + gap, 0x3000 + gap))
    whole = [(0x1000, 0x3000 + gap)]
    assert clusters(made) == (whole if stretches == 1 else [(0x1000, 0x2000), (0x2000 + gap, 0x3000 + gap)])
    assert clusters(places()) == []


def blocks(start, end, width=8, guest=None):
    reader = Reader(paged(guest or Guest()), width)
    return [(at, len(found)) for at, found in reader.blocks(start, end)], reader.seen, reader.unseen


@pytest.mark.parametrize(
    ("start", "end", "width", "first", "count"),
    [(16, 32, 8, 16, 2), (15, 32, 8, 16, 2), (17, 32, 8, 24, 1), (16, 31, 8, 16, 1), (16, 33, 8, 16, 2),
     (17, 24, 8, None, 0), (16, 24, 4, 16, 2), (13, 24, 4, 16, 2), (16, 16, 8, None, 0)],
)  # fmt: skip
def test_words_that_lie_whole_in_a_range(start, end, width, first, count):
    expected = [] if first is None else [(first, count)]
    assert blocks(start, end, width) == (expected, width * count, 0)


def test_memory_is_gone_through_in_blocks(monkeypatch):
    monkeypatch.setattr(reach, "BLOCK", 64)
    assert blocks(0x1000, 0x1000 + 128) == ([(0x1000, 8), (0x1040, 8)], 128, 0)
    assert blocks(0x1000, 0x1000 + 136) == ([(0x1000, 8), (0x1040, 8), (0x1080, 1)], 136, 0)
    made, guest = places((0x1000, 0x1048), (0x1100, 0x1108)), Guest()
    guest.entries(0x1040, [0x1100])  # the first word of the second block
    found = links_between(made, Reader(paged(guest), 8))
    assert (found.source.tolist(), found.target.tolist()) == ([0], [1])


def test_what_is_no_ram_is_left_out():
    end = 1 << 20
    assert blocks(end - 16, end + 64) == ([(end - 16, 2)], 16, 64)
    guest = Guest()
    two = RamMap([ram_range(0, 0x1000, "ram"), ram_range(0x1000, 0x2000, "ram", 0x5000)])
    memory = PagedMemory(SharedMemory(two, {"ram": guest.bytes}), cpu(cr0=1))
    guest.entries(0x5000, [0x77])
    found = [(at, words_of.tolist()) for at, words_of in Reader(memory, 8).blocks(0xFF8, 0x1008)]
    assert found == [(0xFF8, [0]), (0x1000, [0x77])]


def test_a_word_over_the_end_of_a_place_is_no_link():
    made, guest = places((0x1000, 0x1014), (0x2000, 0x2008)), Guest()
    guest.entries(0x1008, [0x2000, 0x2000])
    found = links_between(made, Reader(paged(guest), 8))
    assert (found.source.tolist(), found.target.tolist()) == ([0], [1])  # from the first of the two alone
    guest.entries(0x1008, [0])
    assert len(links_between(made, Reader(paged(guest), 8)).source) == 0


def test_links_are_in_order_of_their_sources_also_where_some_go_by_another_address():
    made = places((0x1000, 0x1010), (0x1010, 0x1020), alias=[(0x1000, 0x9000, 0x20)])
    guest = Guest()
    guest.entries(0x1000, [0x9010, 0, 0x1000, 0x9018])  # the first to the second; that to the first and to itself
    found = links_between(made, Reader(paged(guest), 8))
    assert (found.source.tolist(), found.target.tolist()) == ([0, 1], [1, 0])


def test_roots_lead_to_places_from_their_first_word_to_their_last():
    guest, made = Guest(), places((0x1000, 0x1008), (0x2000, 0x2008), (0x3000, 0x3008))
    guest.entries(ROOT, [0x1000, 0x2000, 0x3000])
    reader = Reader(paged(guest), 8)
    assert led_to_from([(ROOT, ROOT + 8), (ROOT + 16, ROOT + 24)], made, reader).tolist() == [0, 2]
    assert reader.seen == 16


@pytest.mark.parametrize("wide", [1, 2, 3, 256])
def test_what_is_reached_does_not_depend_on_how_many_are_gone_through_at_once(monkeypatch, wide):
    """0 leads to 1 and 2, these to 3; 4 and 5 lead to each other, 6 to 0."""
    monkeypatch.setattr(reach, "WIDE", wide)
    links = Links(np.array([0, 0, 1, 2, 4, 5, 6], np.int32), np.array([1, 2, 3, 3, 5, 4, 0], np.int32))
    for begin, expected in (([0], [0, 1, 2, 3]), ([3], [3]), ([4], [4, 5]), ([1, 6], [0, 1, 2, 3, 6]), ([], [])):
        assert np.flatnonzero(reached(7, np.array(begin, dtype=np.int64), links)).tolist() == expected
