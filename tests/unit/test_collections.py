"""The reader of collections: what a plain writer has laid out in a made-up guest is read back as it is."""

import subprocess
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gdbext.errors import MemoryUnavailable, ProfileError
from gdbext.machine.memory import RamMap, RamRange
from gdbext.machine.shared import SharedMemory
from gdbext.profile.binding.bind import bind
from gdbext.profile.binding.binder import Binder
from gdbext.profile.binding.collections import bind_collection, context
from gdbext.profile.language.keys import Source
from gdbext.profile.toml.load import read_profile
from gdbext.structures.chain import Stop
from gdbext.structures.collections import read
from gdbext.symbols.elf import ElfSymbols
from gdbext.units import PhysAddr
from gdbext.x86.virtual import PagedMemory
from tests.budget import examples
from tests.unit.guest import Guest, cpu

SOURCE = r"""
#include <stdint.h>
struct link { struct link *next, *prev; };
struct item {                   /* an element, and whatever may be in one */
    uint64_t value;
    struct item *next, *left, *right;
    struct link ring;
    uint32_t live, last;
    struct item *items;
    uint64_t count;
    struct item *head;
    struct link ring_head;
    struct item *root, *other, **pointers;
    void *opaque;
    int64_t balance;
};
struct item top, room[4];
int main(void) { return 0; }
"""
SIZE = 136
HOLE = range(0x60000, 0x70000)
BELOW, ABOVE = 0x20000, 0x70000
"""Where items lie: below the hole, and above it."""
plenty = settings(suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def symbols(tmp_path_factory):
    folder = tmp_path_factory.mktemp("collections")
    (folder / "k.c").write_text(SOURCE)
    layout = ["-Wl,-Ttext=0x10000", "-Wl,-Tbss=0x18000", "-Wl,-z,norelro", "-Wl,--build-id=none", "-Wl,-emain"]
    flags = ["-g", "-ffreestanding", "-nostdlib", "-static", "-no-pie"]
    subprocess.run(["gcc", *flags, *layout, folder / "k.c", "-o", folder / "k.elf"], check=True)
    found = ElfSymbols(folder / "k.elf")
    assert found.find_type("struct item").size == SIZE
    return found


class Kernel(Guest):
    """Memory with a hole in it, and a writer of items."""

    def __init__(self, symbols, size=0x200000):
        super().__init__(size)
        self.ram = RamMap(
            [
                RamRange(PhysAddr(0), PhysAddr(HOLE.start), "ram", 0),
                RamRange(PhysAddr(HOLE.stop), PhysAddr(size), "ram", HOLE.stop),
            ]
        )
        self.memory = SharedMemory(self.ram, {"ram": self.bytes})
        self.paged = PagedMemory(self.memory, cpu(cr0=1))
        self.symbols = symbols
        fields = symbols.find_type("struct item").fields
        self.offsets = {field.name: (field.offset, field.type.size) for field in fields}
        self.top = symbols.find_symbol("top").address
        self.free = ABOVE

    def put(self, item, **values):
        """Write members of an item."""
        for name, value in values.items():
            offset, size = self.offsets[name]
            self.word(item + offset, value, size)

    def word(self, address, value, size=8):
        self.write(address, (value & (1 << 8 * size) - 1).to_bytes(size, "little"))

    def room(self, size):
        """The address of so many bytes."""
        self.free += size
        return self.free - size

    def bound(self, keys, asked):
        """The collection that these keys describe, and expressions about its elements."""
        text = f'[kernel]\nname = "made-up"\n[pointers.it]\nstart = 0\nend = 0\n{keys}\n'
        (pointers,) = read_profile(text, "k.toml").pointers
        binder = Binder(self.symbols)
        bound = bind_collection(binder, pointers.collection)
        columns = {name: binder.in_context(Source((text,), "here"), *context(bound)) for name, text in asked.items()}
        assert binder.problems == []
        return bound, columns

    def read(self, keys, **asked):
        bound, columns = self.bound(keys, asked or {"value": "value"})
        return read(bound, self.paged, columns, "items")


def problems(symbols, keys):
    text = f'[kernel]\nname = "made-up"\n[pointers.it]\nstart = "value"\nend = "value"\n{keys}\n'
    return [str(problem) for problem in bind(read_profile(text, "k.toml"), symbols).problems]


# The shapes: how each is described, and how it is written. ``{in}`` is what it is nested in.

SHAPES = {
    "array": 'entries = "{in}items"\ncount = "{in}count"',
    "until": 'entries = "{in}items"\nuntil = "last"',
    "list": 'head = "{in}head"\nnext = "next"',
    "void": 'head = "{in}opaque"\nnext = "next"\nnode = "struct item"',
    "circle": 'head = "{in}head"\nnext = "next"\ncircular = true',
    "ring": 'head = "{in}ring_head.next"\nnext = "ring.next"\nterminator = "&{in}ring_head"\nnode = "struct item"\n'
    'link_offset = "offsetof(struct item, ring)"',
    "tree": 'tree = "{in}root"\nleft = "left"\nright = "right"',
    "single": 'at = "{in}other"',
}
POINTERS = {"pointers": 'count = "{in}count"', "pointers until": 'until = "!*self"'}
"""What an array of pointers takes more; there each element is nested in a pointer."""


def described(shape, within="top.", more="", each=""):
    """A shape's keys, and those of what is nested in it; as tables in one line where they are nested themselves."""
    if shape in POINTERS:
        outer = f'entries = "{within}pointers"\n{POINTERS[shape]}'.replace("{in}", within)
        inner = inline(f'at = "*self"\n{more}\n{each}')
        return f"{outer}\neach = {inner}"
    return f"{SHAPES[shape].replace('{in}', within)}\n{more}\n{each}"


def inline(keys):
    return "{ " + ", ".join(line for line in keys.splitlines() if line) + " }"


def nested(outer, inner, more="", inner_more=""):
    return described(outer, more=more, each=f"each = {inline(described(inner, '', inner_more))}")


def written(kernel, shape, within, values, shuffled=lambda places: places):
    """Lay out a collection in what it is nested in; where its elements are, in order."""
    if shape == "single":
        values = values[:1]
    count = len(values)
    block = kernel.room(SIZE * (count + 1))
    places = [block + SIZE * number for number in range(count)]
    if shape not in ("array", "until"):
        places = shuffled(places)
    for place, value in zip(places, values, strict=True):
        kernel.put(place, value=value, live=1)
    first = places[0] if places else 0
    match shape:
        case "array":
            kernel.put(within, items=block, count=count)
        case "until":
            kernel.put(within, items=block)
            kernel.put(block + SIZE * count, last=1)
        case "list" | "void" | "circle":
            kernel.put(within, **{"opaque" if shape == "void" else "head": first})
            for place, following in zip(places, [*places[1:], first if shape == "circle" else 0], strict=False):
                kernel.put(place, next=following)
        case "ring":
            offset, head = kernel.offsets["ring"][0], within + kernel.offsets["ring_head"][0]
            links = [head, *(place + offset for place in places), head]
            for link, following in pairwise(links):
                kernel.word(link, following)
        case "tree":
            kernel.put(within, root=subtree(kernel, places))
        case "single":
            kernel.put(within, other=first)
        case _:
            table = kernel.room(8 * (count + 1))
            kernel.entries(table, [*places, 0])
            kernel.put(within, pointers=table, count=count)
    return places


def subtree(kernel, places):
    """A tree of these nodes in order; which is the root is taken from their addresses, so that it leans."""
    if not places:
        return 0
    at = (places[0] // 8) % len(places)
    kernel.put(places[at], left=subtree(kernel, places[:at]), right=subtree(kernel, places[at + 1 :]))
    return places[at]


ALL = [*SHAPES, *POINTERS]
numbers = st.lists(st.integers(0, (1 << 64) - 1), max_size=12)


@pytest.mark.parametrize("shape", ALL)
@plenty
@given(numbers, st.data())
def test_what_is_written_is_read_back(symbols, shape, values, data):
    kernel = Kernel(symbols)
    places = written(kernel, shape, kernel.top, values, lambda p: data.draw(st.permutations(p)))
    dead = data.draw(st.sets(st.sampled_from(places))) if places else set()
    for place in dead:
        kernel.put(place, live=0)
    rows = kernel.read(described(shape, more='when = "live"'), value="value", itself="self")
    assert rows.trouble is None
    assert rows.nodes.tolist() == rows["itself"].tolist() == [place for place in places if place not in dead]
    values = dict(zip(places, values, strict=False))
    assert rows["value"].tolist() == [values[place] for place in places if place not in dead]


@pytest.mark.parametrize("outer", ALL)
@pytest.mark.parametrize("inner", ALL)
@settings(plenty, max_examples=examples(12))
@given(st.lists(numbers, max_size=5), st.data())
def test_what_is_nested_is_read_back(symbols, outer, inner, values, data):
    """With the outer element: which one it is, and what it says."""
    kernel = Kernel(symbols)

    def shuffled(places):
        return data.draw(st.permutations(places))

    outers = written(kernel, outer, kernel.top, list(range(len(values))), shuffled)
    expected = []
    for number, (place, mine) in enumerate(zip(outers, values, strict=False)):
        found = written(kernel, inner, place, mine, shuffled)
        live = data.draw(st.booleans())
        kernel.put(place, live=live)
        expected += [(node, value, number) for node, value in zip(found, mine, strict=False) if live]
    rows = kernel.read(nested(outer, inner, 'when = "live"'), value="value", whose="outer->value")
    assert rows.trouble is None
    assert list(zip(rows.nodes.tolist(), rows["value"].tolist(), strict=True)) == [
        (at, value) for at, value, _ in expected
    ]
    assert rows["whose"].tolist() == [number for _, _, number in expected]
    around, which = rows.outers, rows.outer
    if inner in POINTERS:  # between the two are the pointers
        around, which = around.outers, around.outer[which]
    assert around.nodes.tolist() == [place for place in outers if kernel.bytes[place + kernel.offsets["live"][0]]]
    assert [outers.index(node) for node in around.nodes[which].tolist()] == [number for _, _, number in expected]


def test_four_collections_in_one_another(symbols):
    """A table of lists of trees of arrays; a fifth level is no key."""
    kernel = Kernel(symbols)
    expected = []

    def fill(within, shapes, path):
        places = written(kernel, shapes[0], within, [path * 10 + number for number in range(1, 4)])
        for number, place in enumerate(places, 1):
            if len(shapes) == 1:
                expected.append((place, path * 10 + number))
            else:
                fill(place, shapes[1:], path * 10 + number)

    shapes = ["array", "ring", "tree", "until"]
    fill(kernel.top, shapes, 0)
    keys = described(shapes[3], "")
    for shape in shapes[2:0:-1]:
        keys = described(shape, "", each=f"each = {inline(keys)}")
    keys = described(shapes[0], each=f"each = {inline(keys)}")
    rows = kernel.read(keys, value="value", above="outer->value", list="outer->value / 10")
    assert rows.trouble is None
    assert list(zip(rows.nodes.tolist(), rows["value"].tolist(), strict=True)) == expected
    assert rows["above"].tolist() == [value // 10 for _, value in expected]
    assert rows["list"].tolist() == [value // 100 for _, value in expected]
    assert [len(level) for level in (rows, rows.outers, rows.outers.outers, rows.outers.outers.outers)] == [
        81,
        27,
        9,
        3,
    ]
    with pytest.raises(ProfileError, match="unknown key 'each'"):
        kernel.read(keys.replace('until = "last"', f'until = "last", each = {inline(described("list", ""))}'))


# Values through pointers

CHAIN = {
    "plain": "value",
    "one": "other->value",
    "guarded": "other ? other->value : 7",
    "two": "next->other->value",
    "or": "other && other->live",
    "divided": "100 / balance",
    "remainder": "value % live",
    "shifted": "1ul << balance",
    "part": "(int8_t)value + balance",
    "address": "self + 1 == next",
    "global": "value + top.value",
    "array": "other->pointers[live]->value",
    "sum": "other->value + next->value",
    "quotient": "next->value / other->live",
    "either": "other->live ? next->value : 100 / balance",
}


def scalar(expression, kernel, place):
    """An expression's value in one element, or why it has none."""
    try:
        return expression.evaluate(kernel.paged, place), None
    except MemoryUnavailable as error:
        return None, str(error)


@plenty
@given(st.lists(st.tuples(*[st.integers(0, 9)] * 6), min_size=1, max_size=8), st.randoms())
def test_values_in_bulk_are_those_of_one_element_at_a_time(symbols, items, random):
    """Whatever pointers lead to: other items, nothing, the hole; and whatever is divided by."""
    kernel = Kernel(symbols)
    places = written(kernel, "array", kernel.top, [random.randrange(1 << 64) for _ in items])
    targets = [*places, 0, 0, HOLE.start + 8, HOLE.stop - 64, 1 << 63, (1 << 64) - 8]
    pointers = kernel.room(80)
    kernel.entries(pointers, [random.choice(targets) for _ in range(10)])
    kernel.put(kernel.top, value=random.randrange(1 << 64))
    for place, numbers in zip(places, items, strict=True):
        following, other, live, balance, table, _ = numbers
        kernel.put(
            place,
            next=targets[following % len(targets)],
            other=random.choice(targets) if other else 0,
            live=live,
            balance=random.choice([-1, 0, 1, 3, 63, 64, -(1 << 63), balance]),
            pointers=pointers if table > 2 else random.choice(targets),
        )
    bound, columns = kernel.bound(described("array"), CHAIN)
    rows = read(bound, kernel.paged, columns, "items")
    for name, expression in columns.items():
        for at, place in enumerate(places):
            value, _ = scalar(expression, kernel, place)
            assert (rows.known[name][at], rows[name][at]) == (value is not None, value or 0), name
        reasons = [why for why in (scalar(expression, kernel, place)[1] for place in places) if why]
        assert rows.unknown.get(name) == next(iter(reasons), None)
    sound = rows.sound()
    assert sound.nodes.tolist() == [p for at, p in enumerate(places) if all(known[at] for known in rows.known.values())]


# What is broken


def test_an_array_over_a_hole_is_kept_as_far_as_it_can_be_read(symbols):
    kernel = Kernel(symbols)
    start = HOLE.start - 5 * SIZE - 10
    for number in range(5):
        kernel.put(start + number * SIZE, value=number)
    kernel.put(kernel.top, items=start, count=300)
    rows = kernel.read(described("array"))
    assert rows["value"].tolist() == [0, 1, 2, 3, 4]
    (broken,) = rows.broken
    assert (broken.stop, broken.source, broken.target) == (Stop.UNREADABLE, start + 4 * SIZE, start + 5 * SIZE)
    assert broken.missing == 295
    assert rows.trouble == (
        f"the items end early, after {start + 4 * SIZE:#x}: 0x60000 cannot be read: paging is off on the selected "
        "processor, so nothing is translated, and 0x60000 is not RAM; 295 of them were not read"
    )
    until = kernel.read(described("until"))
    assert until["value"].tolist() == [0, 1, 2, 3, 4]
    assert "0x60000 cannot be read" in until.trouble
    kernel.put(kernel.top, items=HOLE.start + 8)
    for shape in ("array", "until"):
        rows = kernel.read(described(shape))
        assert (len(rows), rows.broken[0].source) == (0, None)
        assert "end early, before the first: 0x60008 cannot be read" in rows.trouble
        with pytest.raises(MemoryUnavailable, match="cannot be read"):
            rows.whole()


def test_an_array_at_the_end_of_all_addresses(symbols):
    kernel = Kernel(symbols)
    kernel.put(kernel.top, items=-SIZE, count=3)
    rows = kernel.read(described("array"))
    assert len(rows) == 0
    assert "0xffffffffffffff78 cannot be read" in rows.trouble


@pytest.mark.parametrize("count", [1 << 40, (1 << 64) - 1, 1 << 63, 65537])
def test_a_count_that_cannot_be_is_refused(symbols, count):
    kernel = Kernel(symbols)
    kernel.put(kernel.top, items=ABOVE, count=count)
    with pytest.raises(MemoryUnavailable) as caught:
        kernel.read(described("array"))
    assert str(caught.value) == f"top.count is {count}, which cannot be a number of elements"


def test_a_negative_count_is_refused(symbols):
    kernel = Kernel(symbols)
    kernel.put(kernel.top, items=ABOVE, balance=-3, count=5)
    with pytest.raises(MemoryUnavailable, match=r"top\.balance is -3, which cannot be a number of elements"):
        kernel.read('entries = "top.items"\ncount = "top.balance"')
    with pytest.raises(MemoryUnavailable, match=r"top\.count is 5, but room has room for 4"):
        kernel.read('entries = "room"\ncount = "top.count"')


def test_a_torn_count_hides_no_other_array(symbols):
    kernel = Kernel(symbols)
    outers = written(kernel, "list", kernel.top, [0, 1, 2])
    found = [written(kernel, "array", outer, [number, number]) for number, outer in enumerate(outers)]
    kernel.put(outers[1], count=1 << 40)
    rows = kernel.read(nested("list", "array"))
    assert rows.nodes.tolist() == [*found[0], *found[2]]
    (broken,) = rows.broken
    assert (broken.outer, broken.source) == (outers[1], None)
    assert broken.why == "count is 1099511627776, which cannot be a number of elements"
    assert rows.trouble == f"the items in {outers[1]:#x} end early, before the first: {broken.why}"
    kernel.put(outers[1], count=2)
    few = kernel.read(nested("list", "array", inner_more="most = 5"))
    assert (few.nodes.tolist(), few.broken[0].outer) == ([*found[0], *found[1]], outers[2])
    assert few.broken[0].why == "count is 2, which makes more than 5 elements"


def test_an_array_that_does_not_end(symbols):
    kernel = Kernel(symbols)
    kernel.put(kernel.top, items=ABOVE)
    rows = kernel.read(described("until", more="most = 700"))
    assert (len(rows), rows.broken[0].stop) == (700, Stop.TOO_LONG)
    assert rows.broken[0].why == "none of the first 700 elements is the last"
    kernel.put(ABOVE + 700 * SIZE, last=1)
    rows = kernel.read(described("until", more="most = 700"))
    assert (len(rows), rows.broken) == (700, ())


@pytest.mark.parametrize("shape", ["list", "void", "ring"])
@pytest.mark.parametrize(
    ("target", "stop", "said"),
    [
        (lambda places: places[1], Stop.LOOP, "the list is circular"),
        (lambda places: HOLE.start + 64, Stop.UNREADABLE, "cannot be read"),
        (lambda places: 1 << 63, Stop.UNREADABLE, "cannot be read"),
    ],
)
def test_a_list_that_leads_astray(symbols, shape, target, stop, said):
    kernel = Kernel(symbols)
    places = written(kernel, shape, kernel.top, [1, 2, 3, 4, 5])
    wrong = target(places)
    offset = kernel.offsets["ring"][0] if shape == "ring" else 0
    kernel.word(places[2] + (offset or kernel.offsets["next"][0]), wrong + offset)
    rows = kernel.read(described(shape))
    assert rows["value"].tolist() == [1, 2, 3]
    (broken,) = rows.broken
    assert (broken.stop, broken.source, broken.target) == (stop, places[2], wrong)
    assert said in rows.trouble


def test_two_lists_that_run_into_one_another(symbols):
    kernel = Kernel(symbols)
    outers = written(kernel, "array", kernel.top, [0, 1])
    first, second = (written(kernel, "list", outer, [1, 2, 3]) for outer in outers)
    kernel.put(second[1], next=first[1])
    rows = kernel.read(nested("array", "list"))
    assert rows.nodes.tolist() == [*first, *second[:2]]
    (broken,) = rows.broken
    assert (broken.stop, broken.outer) == (Stop.SHARED, outers[1])
    assert (broken.source, broken.target) == (second[1], first[1])


def test_a_list_that_is_too_long(symbols):
    kernel = Kernel(symbols)
    written(kernel, "list", kernel.top, [1, 2, 3])
    assert kernel.read(described("list", more="most = 3")).broken == ()
    rows = kernel.read(described("list", more="most = 2"))
    assert (rows["value"].tolist(), rows.broken[0].stop) == ([1, 2], Stop.TOO_LONG)


def tree_of_seven(symbols):
    """Nodes 0 to 6, of which 3 is the root, 1 and 5 its children."""
    kernel = Kernel(symbols)
    places = written(kernel, "array", kernel.top, range(7))
    for above, left, right in ((3, 1, 5), (1, 0, 2), (5, 4, 6)):
        kernel.put(places[above], left=places[left], right=places[right])
    kernel.put(kernel.top, root=places[3])
    return kernel, places


def test_a_tree_is_read_from_left_to_right(symbols):
    kernel, _ = tree_of_seven(symbols)
    assert kernel.read(described("tree"))["value"].tolist() == list(range(7))


@pytest.mark.parametrize(
    ("side", "target", "left", "stop"),
    [
        ("right", 3, [0, 1, 2, 3, 4, 5, 6], Stop.LOOP),  # 2 -> the root
        ("right", 1, [0, 1, 2, 3, 4, 5, 6], Stop.LOOP),  # 2 -> what it hangs on
        ("left", 6, [0, 1, 2, 3, 4, 5, 6], Stop.SHARED),
        ("left", None, [0, 1, 2, 3, 4, 5, 6], Stop.UNREADABLE),
    ],
)
def test_a_link_of_a_tree_that_leads_astray(symbols, side, target, left, stop):
    kernel, places = tree_of_seven(symbols)
    wrong = HOLE.start + 16 if target is None else places[target]
    kernel.put(places[2], **{side: wrong})
    rows = kernel.read(described("tree"))
    assert rows["value"].tolist() == left
    (broken,) = rows.broken
    assert (broken.stop, broken.source, broken.target) == (stop, places[2], wrong)
    kernel.put(kernel.top, root=HOLE.start)
    rows = kernel.read(described("tree"))
    assert (len(rows), rows.broken[0].source, rows.broken[0].target) == (0, None, HOLE.start)


def test_a_tree_that_is_a_list_and_one_of_too_many_nodes(symbols):
    kernel = Kernel(symbols)
    places = written(kernel, "array", kernel.top, range(500))
    for place, below in pairwise(places):
        kernel.put(below, left=place)
    kernel.put(kernel.top, root=places[-1])
    rows = kernel.read(described("tree"))
    assert (rows["value"].tolist(), rows.trouble) == (list(range(500)), None)
    rows = kernel.read(described("tree", more="most = 100"))
    assert (len(rows), rows.broken[0].stop) == (100, Stop.TOO_LONG)


def test_a_pointer_that_leads_nowhere(symbols):
    kernel = Kernel(symbols)
    places = written(kernel, "pointers", kernel.top, [1, 2, 3])
    table = int.from_bytes(
        kernel.bytes[(at := kernel.top + kernel.offsets["pointers"][0]) : at + 8].tobytes(), "little"
    )
    kernel.entries(table, [places[0], 0, HOLE.start + 8])
    rows = kernel.read(described("pointers"))
    assert (rows.nodes.tolist(), rows.outer.tolist()) == ([places[0]], [0])
    (broken,) = rows.broken
    assert (broken.outer, broken.target, broken.stop) == (table + 16, HOLE.start + 8, Stop.UNREADABLE)


def test_whether_an_element_counts_may_not_be_known(symbols):
    kernel = Kernel(symbols)
    places = written(kernel, "array", kernel.top, [1, 2, 3])
    for place, other in zip(places, (kernel.top, HOLE.start, 0), strict=True):
        kernel.put(place, other=other)
    kernel.put(kernel.top, live=1)
    rows = kernel.read(described("array", more='when = "other->live"'))
    assert rows["value"].tolist() == [1]
    assert [broken.target for broken in rows.broken] == places[1:]
    assert "'when' cannot be evaluated: 0x60" in rows.trouble


def test_the_beginning_may_not_be_told(symbols):
    kernel = Kernel(symbols)
    for shape in ALL:
        with pytest.raises(MemoryUnavailable, match="null pointer"):
            kernel.read(described(shape, "top.other->"))
    outers = written(kernel, "array", kernel.top, [1, 2])
    kernel.put(outers[1], other=kernel.top)
    rows = kernel.read(described("array", each=f"each = {inline(described('array', 'other->'))}"))
    assert rows.nodes.tolist() == outers
    assert rows.broken[0].outer == outers[0]
    assert "null pointer" in rows.broken[0].why


def answer(ask):
    """What is answered, or the line that says why nothing is."""
    try:
        return ask()
    except MemoryUnavailable as error:
        return str(error)


@pytest.mark.slow
@pytest.mark.parametrize("outer", ALL)
@pytest.mark.parametrize("inner", ALL)
@settings(plenty, max_examples=examples(10))
@given(st.data())
def test_no_reader_chokes(symbols, outer, inner, data):
    """Whatever memory holds: an answer, or one line that says why not."""
    kernel = Kernel(symbols, 0x90000)
    junk = st.one_of(
        st.sampled_from([0, 1, 2, 3, HOLE.start, HOLE.start - 8, 1 << 63, (1 << 64) - 1, (1 << 64) - 16]),
        st.integers(0, 40).map(lambda number: ABOVE + SIZE * number),
        st.integers(0, (1 << 64) - 1),
    )
    values = data.draw(st.lists(junk, min_size=1, max_size=60))
    kernel.entries(kernel.top, (values * 20)[:17])
    kernel.entries(ABOVE, (values * 700)[:700])
    keys = nested(outer, inner, 'when = "live"\nmost = 2000')
    rows = answer(lambda: kernel.read(keys, value="value", deep="other->value"))
    if isinstance(rows, str):
        assert "\n" not in rows
        return
    assert len(rows) == len(rows.outer) == len(rows["value"]) == len(rows["deep"])
    assert rows.trouble is None or "\n" not in rows.trouble
    if len(rows):
        assert rows.outer.max() < len(rows.outers)


# What is written wrongly

MISTAKES = {
    'entries = "top.items"': "either 'entries' and 'count' are needed, or 'head' and 'next'",
    'head = "top.head"': "either 'entries' and 'count' are needed, or 'head' and 'next'",
    'head = "top.head"\nnext = "next"\ncount = 3': "either 'entries' and 'count' are needed, or 'head' and 'next'",
    'until = "last"': "'until' ends an array: it needs 'entries', and replaces 'count'",
    'tree = "top.root"\nleft = "left"': "a tree needs 'tree', 'left' and 'right', without the keys of arrays",
    'at = "top.other"\ncount = 3': "'at' is a single element: remove the keys of arrays",
    'head = "top.opaque"\nnext = "next"': (
        "'top.opaque' is void *; an array or a pointer to a complete type is expected"
    ),
    'head = "top.opaque"\nnext = "next"\nnode = "struct itme"': "the kernel has no type 'struct itme'",
    'head = "top.head"\nnext = "nexd"': "'nexd', column 1: neither struct item nor the kernel has a 'nexd'",
    'head = "top.head"\nnext = "next"\nlink_offset = "top.count"': (
        "'top.count' is not a constant: its value depends on memory"
    ),
    'head = "top.head"\nnext = "next"\nmost = 0': "'most' is 0; it must be from 1 to 4194304",
    'entries = "top.items"\ncount = 1\neach = { head = "hed", next = "next" }': "did you mean head",
    'each = { head = "head", next = "next" }': (
        "'each' needs an outer collection: add 'entries', 'head', 'tree' or 'at'"
    ),
}


@pytest.mark.parametrize(("keys", "said"), MISTAKES.items())
def test_mistakes_are_named_with_their_lines(symbols, keys, said):
    found = problems(symbols, keys)
    assert any(said in problem for problem in found), found
    assert all(problem.startswith("k.toml:") and "(pointers.it" in problem for problem in found)


def test_outer_is_there_where_something_is_nested(symbols):
    kernel = Kernel(symbols)
    with pytest.raises(AssertionError, match=r"no symbol 'outer'|has a 'outer'"):
        kernel.bound(described("array"), {"value": "outer->value"})
    with pytest.raises(AssertionError, match="has no member 'vale'; did you mean value"):
        kernel.bound(nested("array", "list"), {"value": "outer->vale"})
