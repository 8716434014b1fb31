"""Profiles: what is accepted, what each mistake is called and on which line, and what binding makes of it."""

import contextlib
import dataclasses
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdbext.checks.catalogue import RULE_IDS
from gdbext.errors import DescriptionError, ProfileError
from gdbext.profile.binding.bind import BoundProfile, bind
from gdbext.profile.choice import ProfileChoice
from gdbext.profile.language import schema
from gdbext.profile.language.heaps import ListHeap
from gdbext.profile.language.physical import Bitmap, PhysicalManager
from gdbext.profile.language.ranges import BOOT_MAP
from gdbext.profile.toml.load import built_in_profiles, find_profile, load_profile, read_profile
from gdbext.profile.toml.positions import key_lines
from gdbext.symbols.elf import ElfSymbols
from gdbext.symbols.model import Detail

from ..budget import examples

ROOT = Path(__file__).parent.parent.parent

SOURCE = r"""
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
struct map_entry { uint64_t base, length; uint32_t type; };
struct map_entry boot_map[32];
size_t boot_map_count;
uint64_t hhdm_offset;
uint32_t *bitmap;
size_t bitmap_frames, used_frames;
uint8_t small_bitmap[128];
uint32_t low_word;
uintptr_t raw_address;
struct lock { int locked; } pmm_lock;
struct chunk { uint64_t magic; size_t size; struct chunk *next, *prev; bool is_free; };
struct chunk *heap_head;
void *untyped_head;
char arena[4096];
enum { MEM_USABLE = 1, MEM_ACPI = 3 };
int next_name(void) { static int names; return names++; }
int main(void) { return MEM_USABLE + MEM_ACPI; }
"""

TEN_LINES = """\
[kernel]
name = "mykernel"

[address]
direct_map = "hhdm_offset"

[pmm.main]
kind = "bitmap"
bits = "bitmap"
count = "bitmap_frames"
order = "lsb"
used = 1
counters = { used = "used_frames" }
lock = "pmm_lock.locked != 0"

[heap.kernel]
kind = "list"
head = "heap_head"
next = "next"
prev = "prev"
size = { expr = "size", includes_header = false }
free = "is_free"
coalesces = true
"""


@pytest.fixture(scope="module")
def elf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("gcc") is None:
        pytest.fail("gcc is missing; scripts/setup installs it")
    folder = tmp_path_factory.mktemp("profile")
    (folder / "mykernel.c").write_text(SOURCE)
    command = ["gcc", "-g", "-no-pie", str(folder / "mykernel.c"), "-o", str(folder / "mykernel.elf")]
    subprocess.run(command, check=True)
    return folder / "mykernel.elf"


@pytest.fixture(scope="module")
def symbols(elf: Path) -> ElfSymbols:
    return ElfSymbols(elf)


def problems(text: str, symbols: ElfSymbols) -> list[str]:
    return [str(problem) for problem in bind(read_profile(text, "k.toml"), symbols).problems]


def fitting(text: str, symbols: ElfSymbols) -> BoundProfile:
    bound = bind(read_profile(text, "k.toml"), symbols)
    assert bound.problems == ()
    return bound


def test_ten_lines_are_enough(symbols: ElfSymbols) -> None:
    bound = fitting(TEN_LINES, symbols)
    (bitmap,) = bound.pmm
    assert isinstance(bitmap, Bitmap)
    assert (bitmap.name, bitmap.word, bitmap.order, bitmap.used, bitmap.frame_size) == ("main", 4, "lsb", 1, 4096)
    assert bitmap.base.constant == 0
    assert set(bitmap.counters) == {"used"}
    assert bitmap.lock is not None
    (heap,) = bound.heap
    assert isinstance(heap, ListHeap)
    assert (heap.node.name, heap.header) == ("struct chunk", 40)
    assert bound.direct_map is not None
    assert bound.boot_map is None


FULL = """\
[kernel]
name = "full"
detect = ["bitmap", "heap_head"]
[address]
direct_map = 0xffff800000000000
[address.image]
start = "&main"
end = ["&no_such_end", "&_end"]   # the first that fits
[boot_map]
entries = "boot_map"
count = "boot_map_count"
base = "base"
length = "length"
type = "type"
usable = ["MEM_USABLE", 7]
[pmm.main]
kind = "bitmap"
bits = "small_bitmap"
count = 1024
order = "msb"
used = 0
base = 0x100000
frame_size = 0x200000
hint = "low_word"
hint_unit = "word"
hint_semantics = "lowest"
counters.used = "used_frames"
counters.total = "bitmap_frames"
[pmm.other]
kind = "bitmap"
bits = "raw_address"
count = 1
word = 2
[heap.kernel]
kind = "list"
head = "untyped_head"
node = "struct chunk"
next = "next"
size = "size & ~7ul"
free = "size & 1"
header = "sizeof(struct chunk) - 8"
magic = { expr = "magic", equals = "0xdeadbeef00000000 | (uint32_t)self" }
alignment = 16
[[heap.kernel.segments]]
start = "arena"
end = "arena + sizeof(arena)"
[checks]
off = ["HEAP62"]
severity = { PMM07 = "warning" }
known = [{ id = "PMM04", address = "&low_word", reason = "the first page is ours" }]
"""


def test_every_key(symbols: ElfSymbols) -> None:
    bound = fitting(FULL, symbols)
    assert bound.direct_map is not None
    assert bound.direct_map.constant == 0xFFFF800000000000
    assert bound.image is not None
    assert bound.image.end.text == "&_end"
    assert bound.boot_map is not None
    assert bound.boot_map.collection.element is not None
    usable = tuple(expression.constant for expression in bound.boot_map.usable)
    assert (usable, bound.boot_map.collection.element.size) == ((1, 7), 24)
    main, other = bound.pmm
    assert isinstance(main, Bitmap)
    assert isinstance(other, Bitmap)
    assert (main.word, main.order, main.used, main.frame_size, main.base.constant) == (
        1,
        "msb",
        0,
        1 << 21,
        1 << 20,
    )
    assert (main.hint_unit, main.hint_semantics, sorted(main.counters)) == ("word", "lowest", ["total", "used"])
    assert other.word == 2
    (heap,) = bound.heap
    assert isinstance(heap, ListHeap)
    assert (heap.header, heap.alignment, len(heap.segments)) == (32, 16, 1)
    assert heap.magic is not None
    assert heap.magic.equals.flat is not None
    assert heap.magic.equals.flat.uses_address
    address = 0x1234567890
    value = heap.magic.equals.flat.evaluate_bytes(bytes(40), 0, address)
    assert value == 0xDEADBEEF00000000 | 0x34567890
    assert bound.checks.off == ("HEAP62",)
    assert bound.checks.severity == {"PMM07": "warning"}
    assert [known.reason for known in bound.known] == ["the first page is ours"]


def replaced(old: str, new: str) -> str:
    assert old in TEN_LINES
    return TEN_LINES.replace(old, new)


MISTAKES = {
    replaced("count =", "cuont ="): "k.toml:10 (pmm.main.cuont): unknown key 'cuont'; did you mean count?",
    replaced("[pmm.main]", "[pnm.main]"): "k.toml:7 (pnm): unknown key 'pnm'; did you mean pmm?",
    replaced(
        'kind = "bitmap"', 'kind = "bitmop"'
    ): "k.toml:8 (pmm.main.kind): there is no kind 'bitmop'; the kinds are bitmap, bitmaps, list, buddy, tree, records",
    replaced('kind = "bitmap"\n', ""): "k.toml:7 (pmm.main): 'kind' is missing; the kinds are bitmap",
    replaced('bits = "bitmap"\n', ""): "k.toml:7 (pmm.main): 'bits' is missing: the bitmap: an array",
    replaced('order = "lsb"', 'order = "left"'): "k.toml:11 (pmm.main.order): 'lsb' or 'msb' is expected, not 'left'",
    replaced("used = 1", "used = 2"): "k.toml:12 (pmm.main.used): 0 or 1 is expected, not 2",
    replaced("used = 1", "used = true"): "k.toml:12 (pmm.main.used): an integer of at least 0 is expected",
    replaced('{ used = "', '{ usde = "'): "k.toml:13 (pmm.main.counters.usde): unknown key 'usde'; did you mean used?",
    replaced('"used_frames"', "1.5"): "k.toml:13 (pmm.main.counters.used): an expression is expected, as a string",
    replaced("includes_header = false", 'includes_header = "no"'): (
        "k.toml:21 (heap.kernel.size.includes_header): true or false is expected"
    ),
    replaced("coalesces = true", "coalesces = 1"): "k.toml:23 (heap.kernel.coalesces): true or false is expected",
    replaced('name = "mykernel"', "name = 3"): "k.toml:2 (kernel.name): a string is expected",
    replaced('name = "mykernel"\n', ""): "k.toml:1 (kernel): 'name' is missing",
    replaced("[pmm.main]", "[pmm]"): "k.toml:7 (pmm): these tables need names: write [pmm.main]",
    replaced("used = 1", "used = "): "k.toml:12: invalid TOML: ",
    TEN_LINES + "\n[kernel]\n": "k.toml:25: invalid TOML: ",
    TEN_LINES + "\n[checks]\nknown = [\n  { id = 'A', reason = 'b' },\n  { id = 'A' },\n]": (
        "k.toml:28 (checks.known[1]): 'reason' is missing"
    ),
    TEN_LINES + "\n[checks.severity]\nPMM01 = 'fatal'": (
        "k.toml:26 (checks.severity.PMM01): 'error' or 'warning' is expected, not 'fatal'"
    ),
    "": "k.toml:1 (kernel): 'name' is missing",
}


@pytest.mark.parametrize("text", MISTAKES, ids=lambda text: MISTAKES[text][:40])
def test_mistakes_of_form(text: str) -> None:
    with pytest.raises(ProfileError) as caught:
        read_profile(text, "k.toml")
    assert str(caught.value).startswith(MISTAKES[text])
    assert "\n" not in str(caught.value)


MISFITS = {
    replaced('"bitmap"\ncount', '"bitmop"\ncount'): (
        "k.toml:9 (pmm.main.bits): 'bitmop', column 1: the kernel has no symbol 'bitmop'; did you mean bitmap"
    ),
    replaced('"pmm_lock.locked != 0"', '"pmm_lock.lokced"'): (
        "k.toml:14 (pmm.main.lock): 'pmm_lock.lokced', column 9: struct lock has no member 'lokced'"
    ),
    replaced('"pmm_lock.locked != 0"', '"pmm_lock"'): (
        "k.toml:14 (pmm.main.lock): 'pmm_lock' is a whole struct lock, not a number; name one of its members"
    ),
    replaced('next = "next"', 'next = "nxt"'): (
        "k.toml:19 (heap.kernel.next): 'nxt', column 1: neither struct chunk nor the kernel has a 'nxt'"
    ),
    replaced('head = "heap_head"', 'head = "untyped_head"'): (
        "k.toml:18 (heap.kernel.head): 'untyped_head' is void *; an array or a pointer to a complete type is expected"
    ),
    replaced('bits = "bitmap"', 'bits = "low_word"'): (
        "k.toml:9 (pmm.main.bits): 'low_word' is unsigned int, not an address; write & before it to take its address"
    ),
    replaced("used = 1", "frame_size = 1000"): "k.toml:7 (pmm.main): frame_size is 1000; it must be a power of two",
    replaced("coalesces = true", 'node = "struct chonk"'): (
        "k.toml:23 (heap.kernel.node): the kernel has no type 'struct chonk'"
    ),
    replaced("coalesces = true", 'header = "bitmap_frames"'): (
        "k.toml:23 (heap.kernel.header): 'bitmap_frames' is not a constant: its value depends on memory"
    ),
    replaced('direct_map = "hhdm_offset"', 'direct_map = ["nope", "neither"]'): (
        "k.toml:5 (address.direct_map): 'nope', column 1: the kernel has no symbol 'nope'"
    ),
}


@pytest.mark.parametrize("text", MISFITS, ids=lambda text: MISFITS[text][:40])
def test_mistakes_of_fit(text: str, symbols: ElfSymbols) -> None:
    found = problems(text, symbols)
    assert len(found) == 1, found
    assert found[0].startswith(MISFITS[text])


def test_all_problems_are_told_and_the_rest_is_bound(symbols: ElfSymbols) -> None:
    text = replaced('"used_frames"', '"used_fraems"').replace('count = "', 'count = "x')
    bound = bind(read_profile(text, "k.toml"), symbols)
    assert len(bound.problems) == 2
    assert bound.pmm == ()
    assert [heap.name for heap in bound.heap] == ["kernel"]


def test_a_known_finding_whose_address_does_not_fit_excuses_nothing(symbols: ElfSymbols) -> None:
    known = '[checks]\nknown = [{ id = "PMM04", address = "&no_such", reason = "r" }, { id = "PMM07", reason = "s" }]\n'
    bound = bind(read_profile(TEN_LINES + known, "k.toml"), symbols)
    assert len(bound.problems) == 1
    assert [k.id for k in bound.known] == ["PMM07"]


RULES = ("HEAP62", "PMM01", "PMM04", "PMM07")
UNKNOWN_RULES = {
    'off = ["HEAP62", "PMM99"]': "k.toml:25 (checks.off[1]): there is no rule 'PMM99'; did you mean PMM07?",
    "severity = { PMM0l = 'warning' }": "k.toml:25 (checks.severity.PMM0l): there is no rule 'PMM0l'; did you mean PMM",
    'known = [{ id = "zebra", reason = "r" }]': (
        "k.toml:25 (checks.known[0].id): there is no rule 'zebra'; the rules are HEAP62, PMM01, PMM04, PMM07"
    ),
}


@pytest.mark.parametrize("line", UNKNOWN_RULES)
def test_a_rule_that_is_not_there_is_a_mistake(line: str) -> None:
    with pytest.raises(ProfileError) as caught:
        read_profile(f"{TEN_LINES}[checks]\n{line}\n", "k.toml", RULES)
    assert str(caught.value).startswith(UNKNOWN_RULES[line])
    assert read_profile(f"{TEN_LINES}[checks]\n{line}\n", "k.toml").checks


def test_rules_that_are_there_are_none() -> None:
    checks = read_profile(FULL, "k.toml", RULES).checks
    assert (checks.off, checks.severity, [k.id for k in checks.known]) == (("HEAP62",), {"PMM07": "warning"}, ["PMM04"])


def test_a_chosen_profile_may_name_only_rules_that_are_there(symbols: ElfSymbols, tmp_path: Path) -> None:
    (tmp_path / "k.toml").write_text(TEN_LINES + '[checks]\noff = ["PMM99"]\n')
    with pytest.raises(ProfileError, match="there is no rule 'PMM99'"):
        ProfileChoice(RULE_IDS).use(str(tmp_path / "k.toml"))
    (tmp_path / "mykernel.toml").write_text(TEN_LINES + '[checks]\noff = ["PMM99"]\n')
    with pytest.raises(ProfileError, match="there is no rule 'PMM99'"):
        ProfileChoice(RULE_IDS).bound(symbols, tmp_path / "mykernel.elf")


@pytest.mark.parametrize(
    ("option", "detail", "cause"),
    [
        ("--strip-debug", Detail.NAMES, "the kernel has symbols but no debug information: build it with -g"),
        (
            "--strip-all",
            Detail.NOTHING,
            "the kernel has no symbols: its file is stripped or not loaded; load the unstripped file",
        ),
    ],
)
def test_what_is_missing_altogether_is_said_once(elf: Path, tmp_path: Path, option, detail, cause) -> None:
    subprocess.run(["objcopy", option, elf, tmp_path / "k.elf"], check=True)
    symbols = ElfSymbols(tmp_path / "k.elf")
    assert symbols.detail() is detail
    bound = bind(read_profile(FULL, "k.toml"), symbols)
    assert [str(problem) for problem in bound.problems if "pmm.main" in problem.where] == [
        f"k.toml (pmm.main): {cause}"
    ]
    assert {problem.problem for problem in bound.problems} == {cause}
    assert bound.direct_map is not None  # a constant needs no symbols
    constants = FULL.split("[address.image]", maxsplit=1)[0]
    assert bind(read_profile(constants, "k.toml"), symbols).problems == ()


def test_a_profile_that_needs_no_types_is_told_its_mistakes(elf: Path, tmp_path: Path) -> None:
    subprocess.run(["objcopy", "--strip-debug", elf, tmp_path / "k.elf"], check=True)
    text = '[kernel]\nname = "k"\n[address]\ndirect_map = "*(uint64_t *)&hhdm_ofset"\n'
    (problem,) = problems(text, ElfSymbols(tmp_path / "k.elf"))
    assert "the kernel has no symbol 'hhdm_ofset'; did you mean hhdm_offset?" in problem


def test_names_that_the_compiler_made_are_not_offered(elf: Path) -> None:
    table = subprocess.run(["nm", elf], capture_output=True, text=True, check=True).stdout
    assert "names." in table
    assert not any("." in name for name in ElfSymbols(elf).nearest("names.1"))


def test_why_there_is_no_profile(elf: Path, symbols: ElfSymbols, tmp_path: Path) -> None:
    assert symbols.detail() is Detail.TYPES
    subprocess.run(["objcopy", "--strip-all", elf, tmp_path / "k.elf"], check=True)
    with pytest.raises(DescriptionError, match=r"^k\.elf has no symbols: it is stripped"):
        ProfileChoice(RULE_IDS).bound(ElfSymbols(tmp_path / "k.elf"), tmp_path / "k.elf")
    with pytest.raises(DescriptionError, match="no profile describes this kernel"):
        ProfileChoice(RULE_IDS).bound(symbols, tmp_path / "k.elf")


def test_finding_a_profile(elf: Path, symbols: ElfSymbols, tmp_path: Path) -> None:
    copy = Path(shutil.copy(elf, tmp_path))
    assert find_profile(copy, symbols) is None
    assert find_profile(None, symbols) is None
    (tmp_path / "mykernel.toml").write_text(TEN_LINES)
    found = find_profile(copy, symbols)
    assert found is not None
    assert found.title == str(tmp_path / "mykernel.toml")
    (tmp_path / "gdbext.toml").write_text(TEN_LINES.replace("mykernel", "other"))
    found = find_profile(copy, symbols)
    assert found is not None
    assert found.kernel.name == "other"


def test_loading_by_name_and_path(tmp_path: Path) -> None:
    assert "reference" in built_in_profiles()
    assert load_profile("reference").kernel.name == "reference"
    for wrong, message in {
        "referenc": "no built-in profile of this name; did you mean reference?",
        str(tmp_path / "absent.toml"): "cannot be read: No such file",
        str(tmp_path): "cannot be read",
    }.items():
        with pytest.raises(ProfileError) as caught:
            load_profile(wrong)
        assert message in str(caught.value) or wrong == str(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ProfileError, match="UTF-8"):
        load_profile(tmp_path / "binary.toml")


def test_every_built_in_profile_reads() -> None:
    for name in built_in_profiles():
        assert load_profile(name).kernel.name


RECORDS: list[tuple[Any, tuple[str, ...]]]
RECORDS = [(schema.KERNEL, ()), (schema.ADDRESS, ()), (BOOT_MAP, ()), (schema.CHECKS, ())]
RECORDS += [(table, ("name",)) for kinds in schema.KINDS.values() for table in kinds.values()]


@pytest.mark.parametrize(("table", "extra"), RECORDS, ids=lambda value: getattr(value, "doc", "")[:20])
def test_keys_and_records_say_the_same(table: Any, extra: tuple[str, ...]) -> None:
    settled_later = {"element"}
    names = {field.name for field in dataclasses.fields(table.record)}
    assert names - settled_later == {*extra, *(key.name for key in table.keys), "where"}
    for key in table.keys:
        if key.record:
            below = {field.name for field in dataclasses.fields(key.record)}
            assert below - settled_later == {key.name for key in key.keys}
        assert key.doc


def test_the_documentation_lists_every_key() -> None:
    document = (ROOT / "docs" / "profile.md").read_text()
    begin, end = "<!-- keys: from gdbext/profile/language/schema.py -->\n", "<!-- end of keys -->"
    assert begin in document
    listed = document.split(begin)[1].split(end)[0]
    assert listed.strip() == schema.key_tables().strip(), "docs/profile.md differs from schema.key_tables()"


def test_the_documentation_example_binds(symbols: ElfSymbols) -> None:
    document = (ROOT / "docs" / "profile.md").read_text()
    example = document.split("```toml\n")[1].split("```")[0]
    assert problems(example, symbols) == []


# Positions, against a reading of the text by eye

TOML = '''\
# comment with [brackets] = "and" keys
"quoted key" = 1
a.b."c d" = """
not = "a key"
""" # tail
list = [ # comment
  1, "two, ]",
  { x = 1, y.z = [2,
     3] },
]
[t1]
k = 'lit # eral'
[[many.tables]]
k = 1
[many.tables.sub]
s = 1
[[many.tables]]
k = 2
'''
TOML_LINES = {
    ("quoted key",): 2,
    ("a",): 3,
    ("a", "b"): 3,
    ("a", "b", "c d"): 3,
    ("list",): 6,
    ("list", 0): 7,
    ("list", 1): 7,
    ("list", 2): 8,
    ("list", 2, "x"): 8,
    ("list", 2, "y"): 8,
    ("list", 2, "y", "z"): 8,
    ("list", 2, "y", "z", 0): 8,
    ("list", 2, "y", "z", 1): 9,
    ("t1",): 11,
    ("t1", "k"): 12,
    ("many",): 13,
    ("many", "tables"): 13,
    ("many", "tables", 0): 13,
    ("many", "tables", 0, "k"): 14,
    ("many", "tables", 0, "sub"): 15,
    ("many", "tables", 0, "sub", "s"): 16,
    ("many", "tables", 1): 17,
    ("many", "tables", 1, "k"): 18,
}


def test_lines_of_keys() -> None:
    assert {place: line for place, line in key_lines(TOML).items() if place} == TOML_LINES
    assert key_lines(TOML.replace("\n", "\r\n")) == key_lines(TOML)


@pytest.mark.slow
@settings(max_examples=examples(300))
@given(
    st.lists(st.sampled_from(TEN_LINES.splitlines() + FULL.splitlines() + TOML.splitlines()), max_size=25), st.randoms()
)
def test_any_toml_is_read_or_refused(lines: list[str], chance: object) -> None:
    text = "\n".join(lines)
    cut = chance.randrange(len(text) + 1) if hasattr(chance, "randrange") else 0
    for candidate in (text, text[:cut] + text[cut + 1 :]):
        with contextlib.suppress(ProfileError):
            profile = read_profile(candidate, "k.toml")
            assert all(isinstance(manager, PhysicalManager | ListHeap) for manager in (*profile.pmm, *profile.heap))
