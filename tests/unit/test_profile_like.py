"""Tables that are like others, and their instances: what they say, and where their mistakes are told to be."""

import re
import subprocess
from pathlib import Path

import pytest

from gdbext.errors import ProfileError
from gdbext.profile.binding.bind import bind
from gdbext.profile.toml.load import read_profile
from gdbext.symbols.elf import ElfSymbols

PAGE = Path(__file__).parents[2] / "docs" / "profile.md"
SOURCE = """
struct chunk { unsigned long size; int is_free; struct chunk *next; };
struct heap { struct chunk *first; char *start, *end; unsigned long used; };
struct heap kernel_heap, driver_heap, heaps[3], *current = heaps;
"""
BASE = """[kernel]
name = "k"
[heap.kernel]
kind = "bump"
instance = "kernel_heap"
start = "$.start"
current = "(char *)$.first"
end = "$.end"
counters = { used_bytes = "$.used" }
"""


@pytest.fixture(scope="module")
def symbols(tmp_path_factory):
    folder = tmp_path_factory.mktemp("like")
    (folder / "k.c").write_text(SOURCE)
    layout = ["-Wl,-Tdata=0x20000", "-Wl,-e,0", "-Wl,--build-id=none", "-static", "-nostdlib"]
    subprocess.run(["gcc", "-g", "-fno-pie", *layout, folder / "k.c", "-o", folder / "k.elf"], check=True)
    return ElfSymbols(folder / "k.elf")


def heaps(text, symbols):
    bound = bind(read_profile(text, "k.toml"), symbols)
    assert bound.problems == ()
    return {heap.name: heap for heap in bound.heap}


def test_the_page_s_example(symbols):
    section = PAGE.read_text().split("## Several managers of one kind")[1]
    described = re.search(r"```toml\n(.*?)```", section, re.DOTALL)
    assert described
    found = heaps(f'[kernel]\nname = "k"\n{described[1]}', symbols)
    assert {name: heap.head.text for name, heap in found.items()} == {
        "kernel": "kernel_heap.first",
        "drivers": "driver_heap.first",
        "network": "heaps[2].first",
    }
    assert found["network"].segments[0].end.text == "heaps[2].end"
    assert found["drivers"].counters["used_bytes"].text == "driver_heap.used"
    assert found["network"].when.text == "heaps[2].start != 0"
    assert found["network"].parent == ("kernel",)
    assert found["kernel"].parent == found["drivers"].parent == ()


def test_what_a_table_says_itself_counts_whole(symbols):
    text = (
        BASE
        + """
[heap.second]
like = "kernel"
instance = ["no_such_heap", "driver_heap"]
counters = { free_bytes = "$.end - $.start" }
[heap.third]
like = "second"
current = "$.start"
"""
    )
    found = heaps(text, symbols)
    assert set(found["kernel"].counters) == {"used_bytes"}
    assert set(found["second"].counters) == set(found["third"].counters) == {"free_bytes"}
    assert found["third"].counters["free_bytes"].text == "driver_heap.end - driver_heap.start"
    assert [found[name].current.text for name in found] == [
        "(char *)kernel_heap.first",
        "(char *)driver_heap.first",
        "driver_heap.start",
    ]


@pytest.mark.parametrize(
    ("instance", "start"),
    [
        ("*current", "(*current).start"),
        ("current[1]", "current[1].start"),
        ("(current)[1]", "((current)[1]).start"),
        ("current->first ? kernel_heap : driver_heap", "(current->first ? kernel_heap : driver_heap).start"),
    ],
)
def test_an_instance_that_is_an_expression(instance, start):
    (heap,) = read_profile(BASE.replace('"kernel_heap"', f'"{instance}"'), "k.toml").heap
    assert heap.start.text == start


def test_a_dollar_that_is_part_of_something_stays():
    text = BASE.replace('"$.start"', "\"$.start + '$' + a$b + $c + 'x::$'\"")
    (heap,) = read_profile(text, "k.toml").heap
    assert heap.start.text == "kernel_heap.start + '$' + a$b + $c + 'x::$'"


def like(name, *lines):
    return BASE + "\n".join([f"[heap.{name}]", *lines]) + "\n"


MISTAKES = {
    like("two", 'like = "kernal"'): "k.toml:11 (heap.two.like): there is no [heap.kernal]; did you mean kernel?",
    like("two", "like = 7"): "k.toml:11 (heap.two.like): the name of another [heap.NAME] is expected, as a string",
    like("two", 'like = "two"'): "k.toml:11 (heap.two.like): the tables form a circle: two is like two",
    like("two", 'like = "three"', "[heap.three]", 'like = "two"'): (
        "k.toml:13 (heap.three.like): the tables form a circle: two is like three is like two"
    ),
    like("two", 'like = "kernel"', 'kind = "list"'): "k.toml:6 (heap.two.start): unknown key 'start'",
    like("two", 'kind = "bump"', "start = 0", "current = 0"): "k.toml:10 (heap.two): 'end' is missing",
    like("two", 'like = "kernel"', "alignment = -1"): "k.toml:12 (heap.two.alignment): an integer of at least 0",
    like("two", 'like = "kernel"', "instanse = 1"): "k.toml:12 (heap.two.instanse): unknown key 'instanse'; did you",
    like("two", 'like = "kernel"', "instance = 1.5"): "k.toml:12 (heap.two.instance): an expression is expected",
    like("two", 'like = "kernel"', 'instance = "$.x"'): (
        "k.toml:12 (heap.two.instance): '$.x': '$' stands for the table's 'inst"
    ),
    like("two", 'kind = "bump"', 'start = "$.a"', 'current = "b"', 'end = "c"'): (
        "k.toml:12 (heap.two.start): '$.a': '$' stands for the table's 'instance', and there is none here"
    ),
    like("two", 'kind = "bump"', 'instance = "i"', "start = 1", "current = 1", "end = 2"): (
        "k.toml:12 (heap.two.instance): it is never used"
    ),
    like("two", 'like = "kernel"', 'parent = ["kernel", "nobody"]'): (
        "k.toml:12 (heap.two.parent): there is no other [heap.nobody] that could be its parent"
    ),
    like("two", 'like = "kernel"', 'parent = "two"'): (
        "k.toml:12 (heap.two.parent): there is no other [heap.two] that could be its parent"
    ),
    like("two", 'like = "kernel"', "parent = 3"): (
        "k.toml:12 (heap.two.parent): a string or a list of strings is expected"
    ),
    BASE + '[zones]\nentries = "$"\n': "k.toml:11 (zones.entries): '$': '$' stands for the table's 'instance'",
}  # fmt: skip


@pytest.mark.parametrize("text", MISTAKES, ids=lambda text: MISTAKES[text][:40])
def test_mistakes_of_form(text):
    with pytest.raises(ProfileError) as caught:
        read_profile(text, "k.toml")
    assert str(caught.value).startswith(MISTAKES[text])


def test_a_mistake_that_is_taken_over_is_told_where_it_is_written(symbols):
    text = like("two", 'like = "kernel"', 'instance = "driver_heap"', "[heap.three]", 'like = "two"')
    bound = bind(read_profile(text.replace('"$.used"', '"$.usde"'), "k.toml"), symbols)
    assert [str(problem).split(";")[0] for problem in bound.problems] == [
        f"k.toml:9 (heap.{name}.counters.used_bytes): '{of}.usde', column 12: struct heap has no member 'usde'"
        for name, of in (("kernel", "kernel_heap"), ("two", "driver_heap"), ("three", "driver_heap"))
    ]


def test_managers_of_frames_may_be_like_each_other_too():
    text = """[kernel]
name = "k"
[pmm.low]
kind = "bitmap"
instance = "low"
bits = "$.bits"
count = "$.count"
[pmm.high]
like = "low"
instance = "high"
"""
    low, high = read_profile(text, "k.toml").pmm
    assert (low.bits.text, high.bits.text, high.count.text) == ("low.bits", "high.bits", "high.count")
