"""Layouts that real kernels have and the guide does not show, each compiled and read; what is free is known by hand."""

import numpy as np
import pytest

from gdbext.profile.expressions.expression import compile_expression
from gdbext.report.results import PmmStats
from gdbext.report.text import Style, render
from gdbext.symbols.elf import ElfSymbols
from gdbext.units import PhysAddr
from gdbext.x86.virtual import PagedMemory
from tests.unit.guest import cpu
from tests.unit.test_profile_guide import HEAD, IN_RAM, compiled, free_frames, loaded, session_over

STACK = 'kind = "list"\nnext = 0\nframes = 0\nlists = { head = "&stack" }\n'


@pytest.fixture
def kernel(tmp_path):
    """A session over a kernel of this text, which may keep frames from 0x200 on, and this one manager."""

    def made(source, manager, rest="", size=4 << 20, head=HEAD):
        elf = compiled(tmp_path, "gcc", source)
        return session_over(loaded(elf, size), elf, f"[pmm.main]\n{manager}{rest}", head)

    return made


def found_in(session):
    """The rules that are broken."""
    assert session.problems == ()
    return [finding.id for finding in session.physical.check().findings]


@pytest.mark.parametrize(
    ("source", "entries"),
    [
        ("uint32_t room[64] = { 0x203, 0x201, 0x207 }; uint32_t *stack = room; int top = 2;", ("stack", "top + 1")),
        ("uint32_t stack[64] = { [61] = 0x203, 0x201, 0x207 }; uint32_t *sp = &stack[61];", ("sp", "&stack[64] - sp")),
    ],
    ids=["up", "down"],
)
def test_a_stack_behind_a_pointer_has_room_for_more_than_the_pointer(kernel, source, entries):
    at, count = entries
    session = kernel(source, f'{STACK}entries = {{ at = "{at}", count = "{count}" }}\n')
    assert free_frames(session) == {0x203, 0x201, 0x207}
    assert found_in(session) == []


def test_entries_that_are_no_numbers_are_a_problem_of_the_profile(kernel):
    source = "struct entry { uint32_t frame, owner, zone; } stack[64]; int top;"
    (problem,) = kernel(source, f'{STACK}entries = {{ at = "stack", count = "top" }}\n').problems
    assert "(pmm.main.entries.at): an element of 'stack' is struct entry, not a number" in problem


@pytest.mark.parametrize(("room", "broken"), [(2, ["PMM10"]), (3, [])])
def test_each_node_may_have_room_for_as_many_entries_as_it_says(kernel, room, broken):
    source = (
        "struct page { struct page *next; uint32_t room, count; uint64_t *frames; };"
        "uint64_t some[] = { 0x203, 0x201, 0x207 }, one[] = { 0x204 };"
        f"struct page last = {{ 0, 1, 1, one }}, first = {{ &last, {room}, 3, some }}, *stack = &first;"
    )
    lists = 'kind = "list"\nnext = "next"\nframes = 0\nlists = { head = "stack" }\n'
    session = kernel(source, f'{lists}entries = {{ at = "frames", count = "count", capacity = "room" }}\n')
    assert free_frames(session) == {0x203, 0x201, 0x207, 0x204} - ({0x207} if broken else set())
    assert found_in(session) == broken


@pytest.mark.parametrize(("kind", "end"), [("uint32_t", -1), ("int32_t", "0xffffffff"), ("uint64_t", -1)])
def test_the_end_of_a_list_is_compared_as_the_links_are(kernel, kind, end):
    source = (
        f"struct record {{ {kind} next, back; }} records[1024] = "
        f"{{ [0x203] = {{ 0x205, -1 }}, [0x205] = {{ -1, 0x203 }} }}; {kind} head = 0x203, empty = -1;"
    )
    lists = 'kind = "list"\nlinks = "index"\nrecords = "records"\nnext = "next"\nprev = "back"\n'
    heads = 'lists = [{ head = "head" }, { head = "empty" }]\n'
    session = kernel(source, f"{lists}{heads}end = {end!r}\n")
    assert free_frames(session) == {0x203, 0x205}
    assert found_in(session) == []


def test_a_mark_is_compared_as_the_field_that_holds_it(kernel):
    source = (
        "struct node { struct node *next; int mark; };"
        f"struct {{ struct node node; uint8_t rest[4080]; }} ram[8] {IN_RAM} = "
        "{ [2] = { { &ram[5].node, 0xdeadbeef } }, [5] = { { 0, 0xdeadbeef } } }; struct node *head = &ram[2].node;"
    )
    magic = 'magic = { expr = "mark", equals = "0xdeadbeef" }\n'
    session = kernel(source, f'kind = "list"\nlists = {{ head = "head" }}\nnext = "next"\n{magic}')
    assert free_frames(session) == {0x202, 0x205}
    assert found_in(session) == []


def test_frames_are_counted_from_a_base_that_is_no_multiple_of_their_size(kernel):
    source = (
        "struct node { struct node *next; };"
        f"struct {{ struct node node; uint8_t rest[4088]; }} ram[16] {IN_RAM} = "
        "{ [1] = { { &ram[9].node } }, [9] = { { 0 } } }; struct node *head = &ram[1].node;"
    )
    sizes = "base = 0x201000\nframe_size = 0x4000\n"
    session = kernel(source, f'kind = "list"\nlists = {{ head = "head" }}\nnext = "next"\n{sizes}')
    assert free_frames(session) == {0x201, 0x209}
    assert found_in(session) == []


BIG = (
    "struct range { uint64_t base, length, type; } ranges[1] = { { 0, 16 << 20, 1 } };"
    "uint32_t map[1] = { 0xfffffff9 }, total = 6; uint64_t base = 0x400000;"
)
BIG_MANAGER = 'kind = "bitmap"\nbits = "map"\ncount = "total"\nbase = "base"\nframe_size = 0x200000\n'
BOOT_MAP = '[boot_map]\nentries = "ranges"\ncount = 1\nbase = "base"\nlength = "length"\ntype = "type"\nusable = [1]\n'


def test_a_page_of_a_large_free_frame_breaks_no_rule(kernel):
    session = kernel(BIG, BIG_MANAGER, BOOT_MAP, size=16 << 20)
    assert found_in(session) == []
    for page in (0x600000, 0x601000, 0x9FF000):
        frame = session.physical.frame(PhysAddr(page))
        assert (frame.findings, frame.verdict) == ((), "free, and no user of it is known")


def test_a_page_of_a_large_frame_shows_what_breaks_the_frame(kernel):
    session = kernel(BIG.replace("total = 6", "total = 2"), BIG_MANAGER, BOOT_MAP, size=16 << 20)
    assert [finding.id for finding in session.physical.frame(PhysAddr(0xA01000)).findings] == ["PMM05"]
    short = kernel(BIG.replace("16 << 20, 1", "0x700000, 1"), BIG_MANAGER, BOOT_MAP, size=16 << 20)
    assert [finding.id for finding in short.physical.frame(PhysAddr(0x601000)).findings] == ["PMM04"]


def linux(*zones):
    """The text of a kernel whose zones have lists of blocks by order: ``zones[i][order]`` are its free blocks."""
    pages, areas = {}, {}
    for zone, orders in enumerate(zones):
        for order, blocks in enumerate(orders):
            head = f"&zones[{zone}].areas[{order}].list"
            ring = [head, *(f"&pages[{block}].link" for block in blocks), head]
            for at, block in enumerate(blocks, 1):
                pages[block] = f"{{ 1, {order}, {{ {ring[at + 1]}, {ring[at - 1]} }} }}"
            areas[zone, order] = f"{{ {{ {ring[1]}, {ring[-2]} }}, {len(blocks)}, bits[{zone}][{order}] }}"
    return (
        "struct link { struct link *next, *prev; }; struct area { struct link list; uint64_t blocks; uint8_t *bits; };"
        "struct zone { struct area areas[3]; }; struct page { uint32_t is_free, order; struct link link; };"
        f"uint8_t bits[{len(zones)}][3][64]; extern struct zone zones[]; struct page pages[1024] = "
        f"{{ {', '.join(f'[{number}] = {page}' for number, page in pages.items())} }}; struct zone zones[] = "
        f"{{ {', '.join(f'[{zone}].areas[{order}] = {area}' for (zone, order), area in areas.items())} }};"
    )


LINUX = (
    'kind = "buddy"\nend = "&list"\nnode = "struct page"\nlink_offset = "offsetof(struct page, link)"\ncount = 1024\n'
    'next = "link.next"\nprev = "link.prev"\naddress = "(uint64_t)(self - pages) * 4096"\norder = "order"\n'
    'magic = { expr = "is_free", equals = 1 }\n'
)


def areas_of(zone, extra=""):
    entries = f'entries = "zones[{zone}].areas"\ncount = 3\n'
    return f'[[pmm.main.lists]]\n{entries}head = "list.next"\nlength = "blocks"\n{extra}'


def test_orders_of_several_zones_are_told_apart_and_taken_together(kernel):
    source = linux([[0x11], [], [0x20]], [[0x205, 0x203], [0x208], []])
    named = areas_of(0, 'name = "DMA"\n') + areas_of(1, 'names = ["one", "two"]\n')
    session = kernel(source, LINUX + named)
    assert free_frames(session) == {0x11, 0x20, 0x21, 0x22, 0x23, 0x203, 0x205, 0x208, 0x209}
    assert found_in(session) == []
    (stat,) = session.physical.stats()
    assert [part.name for part in stat.parts] == ["DMA 0", "DMA 1", "DMA 2", "one", "two", "2"]
    # Of nine frames three are in blocks of one, two in blocks of two.
    assert [part.unusable for part in stat.parts] == pytest.approx([0, 3 / 9, 5 / 9] * 2)


def test_the_lists_of_all_zones_are_one_collection(kernel):
    """An array of zones, in each an array of lists: the same as two tables, one for each."""
    source = linux([[0x11], [], [0x20]], [[0x205, 0x203], [0x208], []])
    nested = '[[pmm.main.lists]]\nentries = "zones"\ncount = 2\neach = { entries = "areas", count = 3 }\n'
    session = kernel(source, f'{LINUX}{nested}head = "list.next"\nlength = "blocks"\nname = "area"\n')
    assert free_frames(session) == {0x11, 0x20, 0x21, 0x22, 0x23, 0x203, 0x205, 0x208, 0x209}
    assert found_in(session) == []
    (stat,) = session.physical.stats()
    assert [(part.name, part.order) for part in stat.parts] == [(f"area {n}", n % 3) for n in range(6)]
    holes = LINUX + nested.replace("count = 3", 'count = 3, when = "blocks"') + 'head = "list.next"\n'
    (problem,) = kernel(source, holes).problems
    assert "a list's index in the array is its order: remove 'when', which would shift the lists after it" in problem


def test_empty_orders_are_not_folded_across_zones(kernel):
    session = kernel(linux([[0x11], [], []], [[], [], []]), LINUX + areas_of(0) + areas_of(1))
    text = render(PmmStats(session.physical.stats(), (), (), (), ()), Style())
    rows = [line.split()[0] for line in text.partition("order ")[2].splitlines()[1:]]
    assert rows[:4] == ["0", "1", "2", "0-2"]


PAIRS = 'pairs = { bits = "bits", count = 64 }\n'


def test_pair_bits_that_are_not_compared_are_not_passed_over_in_silence(kernel):
    source = linux([[0x11], [], [0x20]], [[], [], []])
    alone = kernel(source, LINUX + PAIRS + areas_of(0))
    assert found_in(alone) == ["PMM12", "PMM12"]  # the bits for the blocks at 0x11 and 0x20 are not set
    assert [skip.id for skip in alone.physical.check().skipped].count("PMM12") == 0
    both = kernel(source, LINUX + PAIRS + areas_of(0) + areas_of(1)).physical.check()
    (why,) = [skip.why for skip in both.skipped if skip.id == "PMM12"]
    assert why == "pair bits are not compared: several lists have one order, and their bits cannot be distinguished"


@pytest.mark.parametrize(("next_word", "broken"), [(2, []), (3, ["PMM07"])])
def test_a_hint_that_counts_words_may_stand_behind_the_last_one(kernel, next_word, broken):
    source = f"uint32_t map[2] = {{ -1, -1 }}, total = 40, next_word = {next_word};"
    bitmap = 'kind = "bitmap"\nbits = "map"\ncount = "total"\nhint = "next_word"\nhint_unit = "word"\n'
    assert found_in(kernel(source, bitmap)) == broken


@pytest.mark.parametrize("direct_map", ["", '[address]\ndirect_map = "0xffff800000000000"\n'])
def test_without_paging_physical_links_are_seen_where_they_lead(kernel, direct_map):
    source = (
        "struct node { uint64_t next; }; uint64_t head = 0x202000;"
        f"struct {{ struct node node; uint8_t rest[4088]; }} ram[8] {IN_RAM} = {{ [2] = {{ {{ 0x205000 }} }} }};"
    )
    links = 'kind = "list"\nlists = { head = "head" }\nnode = "struct node"\nlinks = "physical"\nnext = "next"\n'
    session = kernel(source, links, head='[kernel]\nname = "k"\n' + direct_map)
    assert free_frames(session) == {0x202, 0x205}
    assert found_in(session) == []


def test_without_paging_it_is_still_told_why_a_manager_cannot_be_read(kernel):
    source = "uint64_t map[2], total = 1ul << 60;"
    report = kernel(source, 'kind = "bitmap"\nbits = "map"\ncount = "total"\n').physical.check()
    why = next(skip.why for skip in report.skipped if skip.id == "PMM00")
    assert "paging is off" in why
    assert "total is 1152921504606846976, which cannot be the number of frames" in why


def test_a_tree_has_no_free_leaves_beyond_its_last_frame(kernel):
    tree = "uint8_t tree[16] = { 0, 2, 2, 1, 2, 0, 1, 0, 1, 1, 0, 0, 0, 1, 0, 0 }; unsigned height = 3, total = 5;"
    manager = 'kind = "tree"\nnodes = "tree"\nheight = "height"\ncount = "total"\n'
    session = kernel(tree, manager)
    assert free_frames(session) == {0, 1}
    (finding,) = session.physical.check().findings
    assert (finding.id, finding.subject, finding.address) == ("PMM04", "frame", 5 * 4096)


@pytest.mark.parametrize("room", ["uint32_t stack[4]", "uint32_t some[4], *stack = some; uint32_t more[4]"])
@pytest.mark.parametrize("top", [-1, 5000])
def test_a_count_of_entries_that_cannot_be_is_told_as_it_is(kernel, room, top):
    at = "stack" if "*" in room else "*self"
    session = kernel(f"{room} = {{ 0 }}; int top = {top};", f'{STACK}entries = {{ at = "{at}", count = "top" }}\n')
    finding = session.physical.check().findings[0]
    most = 1024 if "*" in room else 4
    assert finding.expected == f"at most {most} entries, which is its capacity"
    assert finding.actual == f"its count is {top}"
    if top < 0:
        assert free_frames(session) == set()


def test_a_rule_that_a_frame_breaks_twice_is_named_once(kernel):
    source = "uint32_t stack[] = { 0x203, 0x203, 0x203 }, top = 3;"
    session = kernel(source, f'{STACK}entries = {{ at = "*self", count = "top" }}\n')
    frame = session.physical.frame(PhysAddr(0x203000))
    assert len(frame.findings) == 2
    assert frame.verdict == "PMM10 broken (free lists are intact): it is listed twice"


REGIONS = (
    'kind = "bitmaps"\nregions = { entries = "regions", count = 3 }\nbits = "map"\ncount = "frames"\n'
    'first = "start_pfn * 4096ul"\n'
)


def test_no_frame_has_a_bit_in_two_regions(kernel):
    apart = (
        "struct region { uint32_t start_pfn, frames, map[2]; } regions[3] = "
        "{ { 0x210, 8, { 0xffffffff } }, { 0x200, 16, { 0xffffffff } }, { 0x218, 8, { 0xffffffff } } };"
    )
    assert found_in(kernel(apart, REGIONS)) == []
    (finding,) = kernel(apart.replace("0x200, 16", "0x200, 18"), REGIONS).physical.check().findings
    assert (finding.id, finding.subject, finding.address) == ("PMM07", "frame", 0x210000)
    assert finding.evidence == ("2 frames (8 KiB) have a bit in both",)


def test_what_a_region_or_a_count_may_have_been_meant_to_be_is_said(kernel):
    source = "struct region { uint32_t start_pfn, frames, map[2]; } regions[3] = { { 0x210, 8 } };"
    (unread,) = kernel(source, REGIONS.replace(" * 4096ul", "")).physical.managers
    assert "begins at 0x210, which is not the start of a frame (frames are 0x1000 bytes each, from 0x0)" in unread.why
    torn = [finding.actual for finding in kernel(source, REGIONS).physical.check().findings if finding.id == "PMM00"]
    assert len(torn) == 2  # the other two have no frames
    assert all("is 0: if this is not set up yet, add 'ready' to the profile" in actual for actual in torn)


INFOS = (
    "struct info { uint64_t number; } infos[] = { { 0x203 }, { 0x205 }, { 0x207 }, { 0x209 } };"
    "struct run { struct run *next; struct info *info; } pool[4], *runs = pool, pool[4] = "
    "{ { &pool[1], &infos[0] }, { &pool[2], &infos[1] }, { &pool[3], TORN }, { 0, &infos[3] } };"
)


def test_a_record_that_leads_to_its_frame_through_a_torn_pointer_hides_no_others(kernel):
    runs = 'kind = "list"\nlists = { head = "runs" }\nnext = "next"\naddress = "info->number * 4096"\n'
    session = kernel(INFOS.replace("TORN", "&infos[2]"), runs)
    assert free_frames(session) == {0x203, 0x205, 0x207, 0x209}
    torn = kernel(INFOS.replace("TORN", "(struct info *)0x7000000000"), runs)
    assert free_frames(torn) == {0x203, 0x205}
    (finding,) = torn.physical.check().findings
    assert (finding.id, finding.subject) == ("PMM10", "link")
    assert "its contents cannot be read: 0x7000000000" in finding.actual


def test_entries_behind_a_torn_pointer_hide_no_others(kernel):
    source = (
        "struct page { struct page *next; uint32_t *frames; }; uint32_t some[] = { 0x203, 0x201 };"
        "struct page last = { 0, (uint32_t *)0x7000000000 }, first = { &last, some }, *stack = &first;"
    )
    lists = 'kind = "list"\nnext = "next"\nframes = 0\nlists = { head = "stack" }\n'
    session = kernel(source, f'{lists}entries = {{ at = "frames", count = 2 }}\n')
    assert free_frames(session) == {0x203, 0x201}
    assert found_in(session) == ["PMM10"]


def test_a_node_outside_its_frame_is_not_called_its_frame(kernel):
    source = (
        "struct run { struct run *next; uint64_t start; uint32_t mark; } pool[3], *runs = pool, pool[3] = "
        "{ { &pool[1], 0x203000, 7 }, { &pool[2], 0x205000, 8 }, { 0, 0x207000, 7 } };"
    )
    lists = 'kind = "list"\nlists = { head = "runs" }\nnext = "next"\naddress = "start"\n'
    session = kernel(source, f'{lists}magic = {{ expr = "mark", equals = 7 }}\n')
    (finding,) = session.physical.check().findings
    assert finding.evidence == ("node 1 of list runs",)


@pytest.mark.parametrize("key", ["free", "references", "order"])
def test_records_must_tell_by_themselves_and_the_profile_is_told_so(kernel, key):
    source = "struct frame { uint32_t number; } frames[8]; uint8_t others[8], map[1];"
    reads_more = 'entries = "frames"\ncount = 8\n' + f'{key} = "others[self - frames]"\n'
    text = (
        "'others[self - frames]' reads memory outside the record, too slow to do for every frame; use only its fields"
    )
    (problem,) = kernel(source, 'kind = "bitmap"\nbits = "map"\ncount = 8\n[page_records]\n' + reads_more).problems
    assert text in problem
    if key == "free":
        (problem,) = kernel(source, f'kind = "records"\n{reads_more}').problems
        assert text in problem


@pytest.mark.parametrize(
    ("text", "settles"),
    [
        ("(uint64_t)(self - pages) * 4096 + shift", True),
        ("order + (far ? *far : 3)", True),  # a null pointer that is not read
        ("pages[order].order", False),
        ("room->order ? order << shift : order", True),
    ],
)
def test_variables_are_put_into_what_is_computed_over_all_nodes(tmp_path, text, settles):
    source = (
        "struct page { uint16_t order, spare; } all[4] = { { 1 }, { 2 }, { 3 }, { 0 } }, *pages = all, *room = &all[1];"
        "int shift = 5, *far = 0;"
    )
    elf = compiled(tmp_path, "gcc", source)
    guest, symbols = loaded(elf), ElfSymbols(elf)
    memory = PagedMemory(guest.memory, cpu(cr0=1))
    expression = compile_expression(text, symbols, symbols.find_type("struct page"))
    at = symbols.find_symbol("all").address
    assert at is not None
    nodes = np.arange(at, at + 16, 4, dtype=np.uint64)
    settled = expression.settled(memory).flat
    assert expression.flat is None
    assert (settled is not None) == settles
    if settled:
        found = settled.evaluate_array(guest.bytes, nodes.astype(np.int64), nodes)
        assert found.tolist() == [expression.evaluate(memory, int(node)) for node in nodes]
