"""Readers of physical managers at their bounds: one kernel's text, compiled once, and described in many ways.

Frames from 0x200000 on hold nodes; what is free there is worked out by hand.
"""

import pytest

from gdbext.pmm.snapshot import PmmSnapshot
from gdbext.structures.unread import NOT_YET, Unread

from .test_profile_guide import IN_RAM, compiled, free_frames, loaded, session_over

SOURCE = f"""
struct node {{ struct node *next; int64_t order; uint64_t frames; }};
struct physical {{ uint64_t own, next; }};
union page {{ struct node node; struct physical physical; uint8_t bytes[4096]; }} ram[16] {IN_RAM} = {{
    [2] = {{ {{ &ram[3].node }} }}, [3] = {{ {{ 0 }} }}, [4] = {{ {{ 0, 2, 3 }} }},
    [6] = {{ .physical = {{ 0, 0x207008 }} }}, [7] = {{ .physical = {{ 0, 0 }} }} }};
struct node *two = &ram[2].node, *block = &ram[4].node, *nothing;
uint64_t physical = 0x206008;
struct {{ struct node *head; }} areas[50];
uint8_t pair_bits[8], states[8] = {{ 0, 1, 2, 0, 0, 3, 1, 0 }}, *no_states;
uint64_t map[1] = {{ 0x1f }}, hint, none;
struct region {{ uint64_t start, frames, bits; }} regions[2] = {{ {{ 0x200, 8, ~1ul }}, {{ 0x210, 4, ~0ul }} }};
uint8_t tree[512];
"""
TREE = 'kind = "tree"\nnodes = "tree"\nheight = 8\n'


@pytest.fixture(scope="module")
def elf(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("bounds"), "gcc", SOURCE)


@pytest.fixture
def described(elf):
    """A session over the kernel as one manager describes it; ``words`` are written to variables, ``at`` anywhere."""

    def made(manager, at=(), **words):
        guest = loaded(elf)
        session = session_over(guest, elf, f"[pmm.main]\n{manager}")
        for address, data in at:
            guest.write(address, data)
        for name, value in words.items():
            data = value if isinstance(value, bytes) else (value & (1 << 64) - 1).to_bytes(8, "little")
            guest.write(session.symbols.find_symbol(name).address, data)
        assert session.problems == ()
        return session

    return made


def the_manager(session):
    (manager,) = session.physical.managers
    return manager


def found_in(session):
    return [(finding.id, finding.address) for finding in session.physical.check().findings]


# Lists and buddies


@pytest.mark.parametrize(("recorded", "frames"), [(2, 4), (1, 2), (0, 1), (3, 4), (-1, 4)])
def test_a_block_that_records_a_lower_order_than_its_lists_is_taken_for_smaller(described, recorded, frames):
    """The list is that of order 2: of blocks of four frames."""
    buddy = 'kind = "buddy"\nlists = { head = "block" }\nnext = "next"\norder = "order"\nlowest_order = 2\n'
    session = described(buddy, at=[(0x204008, recorded.to_bytes(8, "little", signed=True))])
    assert free_frames(session) == {*range(0x204, 0x204 + frames)}
    assert [rule for rule, _ in found_in(session)] == ["PMM12"] * (recorded != 2)


def test_the_orders_of_lists_count_from_the_lowest(described):
    for lowest, frames in ((0, 1), (1, 2), (2, 4)):
        session = described(f'kind = "buddy"\nlists = {{ head = "block" }}\nnext = "next"\nlowest_order = {lowest}\n')
        assert free_frames(session) == {*range(0x204, 0x204 + frames)}
        assert [part.order for part in the_manager(session).parts] == [lowest]


@pytest.mark.parametrize(
    ("count", "lowest", "sensible"), [(1, 0, True), (48, 0, True), (49, 0, False), (47, 1, True), (48, 1, False)]
)
def test_there_are_fewer_than_48_orders(described, count, lowest, sensible):
    lists = f'lists = {{ entries = "areas", count = {count}, head = "head" }}\n'
    manager = the_manager(described(f'kind = "buddy"\n{lists}next = "next"\nlowest_order = {lowest}\n'))
    assert isinstance(manager, PmmSnapshot if sensible else Unread)


def test_physical_links_into_nodes(described):
    """Each leads 8 bytes into a node."""
    keys = 'kind = "list"\nlists = { head = "physical" }\nnode = "struct physical"\nlinks = "physical"\nnext = "next"\n'
    assert free_frames(described(keys + "link_offset = 8\n")) == {0x206, 0x207}


@pytest.mark.parametrize(
    ("zone", "outside"),
    [
        ('end = "0x204000"', []),
        ('end = "0x203fff"', [0x203000]),
        ('start = "0x202000"', []),
        ('start = "0x202001"', [0x202000]),
    ],
)
def test_the_zone_of_a_list(described, zone, outside):
    session = described(f'kind = "list"\nlists = {{ head = "two", {zone} }}\nnext = "next"\n')
    assert found_in(session) == [("PMM11", address) for address in outside]
    assert free_frames(session) == {0x202, 0x203}


@pytest.mark.parametrize(
    ("count", "sensible", "size"), [(0, True, 0), (8, True, 1), (9, True, 2), (10, False, 0), (-1, False, 0)]
)
def test_there_are_no_more_pairs_than_frames_and_one(described, count, sensible, size):
    keys = 'kind = "buddy"\nlists = { head = "nothing" }\nnext = "next"\ncount = 8\n'
    manager = the_manager(described(f'{keys}pairs = {{ bits = "pair_bits", count = "{count}" }}\n'))
    assert isinstance(manager, PmmSnapshot if sensible else Unread)
    if sensible:
        assert [place.size for place in manager.places] == [size] * (size > 0)


@pytest.mark.parametrize(
    ("base", "frames"), [(0, 0x400), (0x200000, 0x200), (0x3FF000, 1), (0x400000, 0), (0x800000, 0)]
)
def test_a_list_without_a_count_is_about_what_ram_has_from_its_base_on(described, base, frames):
    manager = the_manager(described(f'kind = "list"\nlists = {{ head = "nothing" }}\nnext = "next"\nbase = {base}\n'))
    assert manager.count == frames


@pytest.mark.parametrize(("size", "frames"), [(0, 0), (1, 1), (2, 2)])
def test_a_run_of_so_many_frames(described, size, frames):
    session = described(f'kind = "list"\nlists = {{ head = "block" }}\nnext = "next"\nframes = {size}\n')
    assert free_frames(session) == {*range(0x204, 0x204 + frames)}


# Bitmaps


@pytest.mark.parametrize(("hint", "wrong"), [(0, False), (5, False), (6, True), (7, True), (-1, True)])
def test_a_hint_that_counts_frames(described, hint, wrong):
    session = described('kind = "bitmap"\nbits = "map"\ncount = 5\nhint = "(int64_t)hint"\n', hint=hint, map=-1)
    assert [rule for rule, _ in found_in(session)] == ["PMM07"] * wrong


@pytest.mark.parametrize(("used", "wrong"), [(10, True), (11, False), (12, True)])
def test_the_counters_of_all_regions(described, used, wrong):
    """Of 12 frames one is free: the first of the first region."""
    regions = 'regions = { entries = "regions", count = 2 }\nbits = "&bits"\ncount = "frames"\nfirst = "start * 4096"\n'
    session = described(f'kind = "bitmaps"\n{regions}word = 8\ncounters = {{ used = "none" }}\n', none=used)
    assert free_frames(session) == {0x200}
    assert [rule for rule, _ in found_in(session)] == ["PMM01"] * wrong
    assert the_manager(session).unseen is None


# Records and trees


@pytest.mark.parametrize(
    ("free", "frames"), [("*self == 0", {0, 3, 4, 7}), ("*self", {1, 2, 5, 6}), ("*self & 2", {2, 5})]
)
def test_what_records_call_free(described, free, frames):
    session = described(f'kind = "records"\nentries = "states"\ncount = 8\nfree = "{free}"\n')
    assert free_frames(session) == frames


@pytest.mark.parametrize(
    ("entries", "count", "why"),
    [("no_states", "none", NOT_YET), ("states", "none", "none is 0"), ("states", "8", None)],
)
def test_records_that_are_not_there_are_told_from_such_that_are_torn(described, entries, count, why):
    """They are not there when there are none, and they are nowhere."""
    text = f'kind = "records"\nentries = "{entries}"\ncount = "{count}"\nfree = "*self == 0"\n'
    manager = the_manager(described(text))
    if why is None:
        assert manager.count == 8
    else:
        assert why in manager.why


def test_a_tree_has_twice_as_many_nodes_as_leaves_less_one(described):
    """And the root is the second byte, as in the guide."""
    session = described(TREE)
    (place,) = the_manager(session).places
    assert (place.start, place.size) == (session.symbols.find_symbol("tree").address, 512)


def test_64_wrong_nodes_of_a_tree_are_listed_and_all_are_counted(described):
    """No leaf is free, but 40 nodes above two leaves say that one is, and so do 30 that are above other ones."""
    nodes = bytearray(511)
    nodes[127 : 127 + 40] = bytes([1]) * 40
    nodes[63 + 20 : 63 + 20 + 30] = bytes([2]) * 30
    session = described(TREE, tree=bytes([0, *nodes]))
    manager = the_manager(session)
    root = session.symbols.find_symbol("tree").address + 1
    assert (manager.wrong_count, len(manager.wrong)) == (70, 64)
    expected = [(root + 127 + i, 1, 2 * i, 1, 0) for i in range(40)]
    expected += [(root + 63 + 20 + i, 2, 4 * (20 + i), 2, 0) for i in range(24)]
    assert [(node.address, node.height, node.first, node.says, node.should) for node in manager.wrong] == expected


@pytest.mark.parametrize(
    ("height", "sensible"), [(-1, False), (0, True), (1, True), (8, True), (41, False), (100, False)]
)
def test_the_height_of_a_tree(described, height, sensible):
    manager = the_manager(described(TREE.replace("height = 8", f'height = "{height}"')))
    assert isinstance(manager, PmmSnapshot if sensible else Unread)
    if sensible:
        assert manager.count == 1 << height
