"""Profiles at their bounds: lines of keys in every form of TOML, numbers that may be written, names that `$` is not in.

Bound to names and types made by hand, as expressions are elsewhere.
"""

from typing import cast

import pytest

from gdbext.errors import ProfileError
from gdbext.profile.binding.bind import bind
from gdbext.profile.language.collections import LARGEST
from gdbext.profile.language.keys import Source
from gdbext.profile.toml.like import Instance
from gdbext.profile.toml.load import read_profile
from gdbext.profile.toml.positions import key_lines
from gdbext.symbols.model import Detail, Symbol, Symbols
from gdbext.symbols.typenames import BASE_TYPES, VOID, array_of, pointer_to
from gdbext.units import VirtAddr

from .test_expression_bounds import Names

# Lines


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a=1", {("a",): 1}),
        ("\n\na = 1 # b = 2\nc = 3", {("a",): 3, ("c",): 4}),
        ("a . b = 1", {("a",): 1, ("a", "b"): 1}),
        ('"a.b" = 1', {("a.b",): 1}),
        ("'a' = 1", {("a",): 1}),
        ('a = "x # y"\nb = 1', {("a",): 1, ("b",): 2}),
        ('a = "x \\" = 1"\nb = 1', {("a",): 1, ("b",): 2}),
        ("a = 'x \\'\nb = 1", {("a",): 1, ("b",): 2}),
        ('a = """\nx = 1\n"""\nb = 1', {("a",): 1, ("b",): 4}),
        ('a = """x"""""\nb = 1', {("a",): 1, ("b",): 2}),
        ("a = '''\nx = 1'''\nb = 1", {("a",): 1, ("b",): 3}),
        ("a = '''x'''''\nb = 1", {("a",): 1, ("b",): 2}),
        ('a = """\\"""\n"""\nb = 1', {("a",): 1, ("b",): 3}),
        ("a = []\nb = 1", {("a",): 1, ("b",): 2}),
        ("a = [ ]\nb = 1", {("a",): 1, ("b",): 2}),
        ("a = [1]", {("a",): 1, ("a", 0): 1}),
        ("a = [\n1,\n2,\n]\nb = 1", {("a",): 1, ("a", 0): 2, ("a", 1): 3, ("b",): 5}),
        ("a = [[1], # ]\n[2]]", {("a",): 1, ("a", 0): 1, ("a", 0, 0): 1, ("a", 1): 2, ("a", 1, 0): 2}),
        ("a = [']', \"[\"]\nb = 1", {("a",): 1, ("a", 0): 1, ("a", 1): 1, ("b",): 2}),
        ("a = [[1]]\nb = 1", {("a",): 1, ("a", 0): 1, ("a", 0, 0): 1, ("b",): 2}),
        ("a = [1]# c = [\nb = 1", {("a",): 1, ("a", 0): 1, ("b",): 2}),
        ("a = {b=[1]}\nc = 1", {("a",): 1, ("a", "b"): 1, ("a", "b", 0): 1, ("c",): 2}),
        ("a = [{b=1}]\nc = 1", {("a",): 1, ("a", 0): 1, ("a", 0, "b"): 1, ("c",): 2}),
        ("a = {b={c=1}}\nd = 1", {("a",): 1, ("a", "b"): 1, ("a", "b", "c"): 1, ("d",): 2}),
        ("a=[1]\nb={c=1}", {("a",): 1, ("a", 0): 1, ("b",): 2, ("b", "c"): 2}),
        ("[a]# b = 2\nc = 1", {("a",): 1, ("a", "c"): 2}),
        ("[[a]]# b = 2\nc = 1", {("a",): 1, ("a", 0): 1, ("a", 0, "c"): 2}),
        ("a = {}\nb = 1", {("a",): 1, ("b",): 2}),
        ("a = { b = 1, c.d = 2 }", {("a",): 1, ("a", "b"): 1, ("a", "c"): 1, ("a", "c", "d"): 1}),
        ("a = { b = [\n1, 2] }\nc = 1", {("a",): 1, ("a", "b"): 1, ("a", "b", 0): 2, ("a", "b", 1): 2, ("c",): 3}),
        ("a = [{ b = 1 },\n{ b = 2 }]", {("a",): 1, ("a", 0): 1, ("a", 0, "b"): 1, ("a", 1): 2, ("a", 1, "b"): 2}),
        ("[a]\nb = 1\n[c]\nb = 2", {("a",): 1, ("a", "b"): 2, ("c",): 3, ("c", "b"): 4}),
        ("[a.b]\nc = 1", {("a",): 1, ("a", "b"): 1, ("a", "b", "c"): 2}),
        ("[a.b]\n[a]\nc = 1", {("a",): 1, ("a", "b"): 1, ("a", "c"): 3}),
        ("[ 'a' . b ] # c\nd = 1", {("a",): 1, ("a", "b"): 1, ("a", "b", "d"): 2}),
        ("[[a]]\nb = 1\n[[a]]\nb = 2", {("a",): 1, ("a", 0): 1, ("a", 0, "b"): 2, ("a", 1): 3, ("a", 1, "b"): 4}),
        (
            "[[a]]\n[[a.b]]\n[[a.b]]\nc = 1\n[[a]]\n[[a.b]]\nc = 2\n[a.d]\ne = 1",
            {
                ("a",): 1, ("a", 0): 1, ("a", 0, "b"): 2, ("a", 0, "b", 0): 2, ("a", 0, "b", 1): 3,
                ("a", 0, "b", 1, "c"): 4, ("a", 1): 5, ("a", 1, "b"): 6, ("a", 1, "b", 0): 6, ("a", 1, "b", 0, "c"): 7,
                ("a", 1, "d"): 8, ("a", 1, "d", "e"): 9,
            },
        ),
        ("", {}),
        ("# nothing", {}),
    ],
)  # fmt: skip
def test_the_line_of_each_key(text, lines):
    assert key_lines(text) == {(): 1} | lines
    assert key_lines(text.replace("\n", "\r\n")) == {(): 1} | lines


# What `$` stands for


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("$", "it"),
        ("$.a", "it.a"),
        ("$->a + $->b", "it->a + it->b"),
        ("a[$]", "a[it]"),
        ("-$", "-it"),
        ("a$", "a$"),
        ("$a", "$a"),
        ("$$", "$$"),
        ("1$", "1$"),
        ("'ns::$'", "'ns::$'"),
        ("'ns::$' + $", "'ns::$' + it"),
        ("a", "a"),
    ],
)
def test_where_the_instance_is_put(text, filled):
    instance = Instance(Source(("it",), "k.toml:1"))
    assert instance.fill(text) == (filled,)
    assert instance.used is (filled != text)
    assert Instance(None).fill(text) == (None if filled != text else (text,))


@pytest.mark.parametrize(
    ("instance", "put"),
    [
        ("it", "it.x"),
        ("a.b", "a.b.x"),
        ("a[1]", "a[1].x"),
        ("a::b", "a::b.x"),
        ("*it", "(*it).x"),
        ("a + 1", "(a + 1).x"),
    ],
)
def test_the_instance_is_one_operand(instance, put):
    assert Instance(Source((instance, "other"), "")).fill("$.x") == (put, "other.x")


# Numbers, texts, tables


HEAD = '[kernel]\nname = "k"\n'
BITMAP = f'{HEAD}[pmm.main]\nkind = "bitmap"\nbits = "bytes"\ncount = "PLAIN"\n'
LIST = f'{HEAD}[pmm.main]\nkind = "list"\nlists = {{ head = "head" }}\nnext = "next"\n'


MORE = {
    name: Symbol(name, VirtAddr(0x6000), None, array_of(BASE_TYPES[f"unsigned {kind}"], 8))
    for name, kind in (("bytes", "char"), ("halves", "short"), ("ints", "int"), ("longs", "long"))
} | {
    "number": Symbol("number", VirtAddr(0x6000), None, BASE_TYPES["unsigned long"]),
    "small": Symbol("small", VirtAddr(0x6000), None, BASE_TYPES["unsigned int"]),
    "pointer": Symbol("pointer", VirtAddr(0x6000), None, pointer_to(lambda: BASE_TYPES["short"], "short")),
    "nothing": Symbol("nothing", VirtAddr(0x6000), None, pointer_to(lambda: VOID, "void")),
}


class Kernel(Names):
    """The names of expressions' tests, and what a bitmap's bits may be."""

    def find_symbol(self, name):
        return MORE.get(name) or super().find_symbol(name)

    def detail(self):
        return Detail.TYPES


def bound(text):
    return bind(read_profile(text, "k.toml"), cast(Symbols, Kernel()))


def wrong(text):
    """Where the problems are."""
    try:
        return [problem.where for problem in bound(text).problems]
    except ProfileError as error:
        return [error.where]


@pytest.mark.parametrize(
    ("written", "text"), [("0", "0"), ("1048575", "1048575"), ("1048576", "0x100000"), ("0x7", "7"), ("true", None)]
)
def test_a_number_in_the_place_of_an_expression(written, text):
    """Large ones are hexadecimal: messages about addresses need it."""
    profile = f"{HEAD}[address]\ndirect_map = {written}\n"
    if text is None:
        assert wrong(profile) == ["k.toml:4 (address.direct_map)"]
    else:
        assert bound(profile).direct_map.text == text


@pytest.mark.parametrize(
    ("size", "fits"),
    [
        (-1, False),
        (0, False),
        (1, True),
        (2, True),
        (3, False),
        (4095, False),
        (4096, True),
        (4097, False),
        (1 << 30, True),
    ],
)
def test_frames_are_a_power_of_two(size, fits):
    assert (wrong(f"{BITMAP}frame_size = {size}\n") == []) is fits


@pytest.mark.parametrize(("most", "fits"), [(0, False), (1, True), (LARGEST, True), (LARGEST + 1, False)])
def test_how_many_elements_a_collection_may_have(most, fits):
    text = f'{HEAD}[zones]\nentries = "things"\ncount = 2\nstart = "number"\nend = "number"\nmost = {most}\n'
    assert (wrong(text) == []) is fits
    assert LARGEST == 1 << 22


@pytest.mark.parametrize(("depth", "fits"), [(0, True), (1, True), (3, True), (4, False)])
def test_four_collections_may_be_nested_in_one_another(depth, fits):
    """And no more than that: the innermost has no key ``each``."""
    each = 'each = { entries = "things", count = 2, ' * depth + "}" * depth
    text = (
        f'{HEAD}[zones]\nentries = "things"\ncount = 2\nstart = "number"\nend = "number"\n{each.replace(", }", " }")}\n'
    )
    assert (wrong(text) == []) is fits


@pytest.mark.parametrize(
    ("bits", "word"),
    [
        ("bytes", 1),
        ("halves", 2),
        ("ints", 4),
        ("longs", 8),
        ("pointer", 2),
        ("nothing", 8),
        ("number", 8),
        ("head", 8),
    ],
)
def test_the_word_of_a_bitmap_is_that_of_its_type(bits, word):
    (manager,) = bound(BITMAP.replace('"bytes"', f'"{bits}"')).pmm
    assert manager.word == word
    (told,) = bound(BITMAP.replace('"bytes"', f'"{bits}"') + "word = 4\n").pmm
    assert told.word == 4


@pytest.mark.parametrize(
    ("bits", "fits"),
    [
        ("bytes", True),
        ("number", True),
        ("small", False),
        ("small + 1", True),
        ("pointer", True),
        ("&small", True),
        ("5", True),
    ],
)
def test_an_address_has_eight_bytes(bits, fits):
    """What lies in memory with fewer is rather the thing itself; what is computed may be of any type."""
    assert (wrong(BITMAP.replace('"bytes"', f'"{bits}"')) == []) is fits


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ("", None),
        ('links = "index"\n', 3),
        ('records = "things"\n', 3),
        ('links = "index"\nrecords = "things"\n', None),
        ('link_offset = 8\nlinks = "virtual"\n', None),
        ('link_offset = 8\nlinks = "physical"\n', None),
        ('link_offset = 8\nlinks = "frame"\n', 7),
        ('link_offset = 0\nlinks = "frame"\n', None),
        ('magic = { expr = "byte", equals = 7 }\n', None),
        ('magic = { expr = "nothing_such", equals = 7 }\n', 7),
        ('node = "struct nothing"\n', 7),
        ('end = "nothing_such"\n', 7),
    ],
)
def test_what_goes_together_in_a_list(keys, line):
    assert [where.split(" ")[0] for where in wrong(LIST + keys)] == ([] if line is None else [f"k.toml:{line}"])


def test_a_list_needs_a_beginning():
    assert wrong(LIST.replace('{ head = "head" }', "[]")) == ["k.toml:3 (pmm.main)"]


def test_the_names_of_zones_and_lists():
    zones = '[zones]\nentries = "things"\ncount = 2\nstart = "number"\nend = "number"\nnames = ["low", "high"]\n'
    lists = LIST.replace('{ head = "head" }', '[{ head = "head", name = "high" }, { head = "none", name = "own" }]')
    assert bound(lists + zones).zone_names == ("low", "high", "own")
    assert bound(lists).zone_names == ("high", "own")
    assert bound(LIST).zone_names == ()


SHAPES = {
    'entries = "things"\ncount = 2\n': True,
    'entries = "things"\nuntil = "byte == 0"\n': True,
    'head = "head"\nnext = "next"\n': True,
    'tree = "head"\nleft = "next"\nright = "next"\n': True,
    'at = "head"\n': True,
    'entries = "things"\n': False,
    'entries = "things"\ncount = 2\nuntil = "byte"\n': False,
    'head = "head"\n': False,
    'tree = "head"\nleft = "next"\n': False,
    'at = "head"\ncount = 2\n': False,
    'entries = "things"\ncount = 2\nhead = "head"\nnext = "next"\n': False,
    "": False,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_shapes_of_a_collection(shape):
    assert (wrong(f'{HEAD}[zones]\n{shape}start = "byte"\nend = "byte"\n') == []) is SHAPES[shape]


def test_elements_have_a_type_with_a_size():
    zones = f'{HEAD}[zones]\nentries = "ENTRIES"\ncount = 2\nstart = "1"\nend = "2"\n'
    for entries, fits in (("things", True), ("head", True), ("empty_at", False), ("nothing", False), ("number", False)):
        assert (wrong(zones.replace("ENTRIES", entries)) == []) is fits, entries


@pytest.mark.parametrize(
    ("like", "column"),
    [('"other"', None), ('"main"', "like"), ('"nothing"', "like"), ("3", "like")],
)
def test_a_table_that_is_like_another(like, column):
    other = '[pmm.other]\nkind = "bitmap"\nbits = "halves"\ncount = "LARGEST"\nused = 0\n'
    text = f'{HEAD}{other}[pmm.main]\nlike = {like}\nbits = "bytes"\n'
    assert wrong(text) == ([] if column is None else [f"k.toml:9 (pmm.main.{column})"])
    if column is None:
        first, second = bound(text).pmm
        assert (second.bits.text, second.count.text, second.used, second.word) == ("bytes", "LARGEST", 0, 1)
        assert (first.bits.text, first.used, first.word) == ("halves", 0, 2)


def test_a_mistake_in_what_is_taken_over_is_where_it_was_written():
    other = '[pmm.other]\nkind = "bitmap"\nbits = "bytes"\ncount = "nothing_such"\n'
    places = wrong(f'{HEAD}{other}[pmm.main]\nlike = "other"\n')
    assert [place.split(" ")[0] for place in places] == ["k.toml:6"] * len(places)


def test_a_collection_in_each_element_is_one():
    zones = f'{HEAD}[zones]\nentries = "things"\ncount = 2\nstart = "number"\nend = "number"\n'
    assert wrong(f'{zones}each = {{ entries = "four", count = 4 }}\n') == []
    assert [where.split(" ")[0] for where in wrong(f"{zones}each = {{ most = 4 }}\n")] == ["k.toml:8"]


SLAB = {
    "next": 'next = "next"\n',
    "links": 'links = { first = "next", next = "next" }\n',
    "numbers": 'numbers = { first = "byte", next = "four", end = 4 }\n',
    "bits": 'bits = { at = "four" }\n',
    "stride": 'stride = "64"\n',
    "capacity": 'capacity = "4"\n',
    "node": 'node = "struct thing"\n',
    "runs": 'runs = { entries = "things", count = 2, base = 4096, first = "byte", length = "low", slab = "next" }\n',
}
CACHES = '[heap.it.caches]\nhead = "head"\nnext = "next"\n'
LISTS = 'lists = { head = "next" }\n'
ALL = ("next", "links", "stride", "capacity")


@pytest.mark.parametrize(
    ("said", "caches", "problems"),
    [
        (ALL, LISTS, 0),
        (ALL[:3], LISTS, 1),  # no capacity
        (ALL[:3], LISTS + SLAB["capacity"], 0),
        (("next", "links", "capacity"), LISTS, 1),  # no stride
        (("next", "links", "capacity"), LISTS + SLAB["stride"], 0),
        (("next", "stride", "capacity"), LISTS, 1),  # nothing tells what is free
        ((*ALL, "bits"), LISTS, 1),  # two things do
        (("next", "bits", "stride", "capacity"), LISTS, 0),
        (("next", "numbers", "stride", "capacity"), LISTS, 0),
        (("links", "stride", "capacity"), LISTS, 1),  # lists that cannot be followed
        (("links", "stride", "capacity", "runs", "node"), "", 0),
        (("links", "stride", "capacity", "runs"), "", 1),  # no node
        (("links", "stride", "capacity", "node"), "", 1),  # neither lists nor runs
        ((*ALL, "runs"), LISTS, 0),
    ],
)
def test_what_a_heap_of_slabs_must_say(said, caches, problems):
    text = f'{HEAD}[heap.it]\nkind = "slab"\nobjects = "self + 1"\ncache = "next"\n'
    text += "".join(SLAB[key] for key in said) + CACHES + caches
    found = bound(text).problems
    assert len(found) == problems, [str(problem) for problem in found]
    if not problems:
        (heap,) = bound(text).heap
        assert ((heap.links is None), (heap.runs is None)) == ("links" not in said, "runs" not in said)


@pytest.mark.parametrize(
    ("keys", "asked"),
    [
        ('free = "truth"\n', ["next", "low", "truth"]),
        ('free = "truth"\nprev = "next"\n', ["next", "next", "low", "truth"]),
        ('free = "truth"\nmagic = { expr = "byte", equals = 7 }\n', ["next", "low", "truth", "byte", "7"]),
        ('bins = { head = "head", next = "next" }\n', ["next", "low"]),
    ],
)
def test_what_is_asked_of_a_header(keys, asked):
    text = f'{HEAD}[heap.it]\nkind = "list"\nhead = "head"\nnext = "next"\nsize = "low"\n{keys}'
    (heap,) = bound(text).heap
    assert [expression.text for expression in heap.in_headers] == asked


def test_a_text_in_the_place_of_a_list_has_the_line_of_its_key():
    """It is told as the list's first element, which has no line of its own."""
    with pytest.raises(ProfileError) as refused:
        read_profile(f'{HEAD}[checks]\n\noff = "PMM99"\n', "k.toml", ("PMM01",))
    assert refused.value.where == "k.toml:5 (checks.off[0])"
