"""Symbols over ELF and symbols over gdb give the same answers, and the right ones.

The expected layouts are worked out by hand from data_symbols/ and the x86-64 psABI, not from either implementation.
"""

import contextlib
import json
import os
import random
import shutil
import site
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from gdbext.errors import DescriptionError
from gdbext.symbols.elf import ElfSymbols
from tests.unit.data_symbols import dump

pytestmark = pytest.mark.slow  # compilers and gdb

HERE = Path(__file__).parent
DATA = HERE / "data_symbols"
REPO = HERE.parent.parent
FLAGS = ["-O0", "-g", "-ffreestanding", "-fno-stack-protector", "-nostdlib", "-static", "-no-pie", "-fno-pie"]
LINKER = ["-Wl,--defsym=image_end=0x7654321", "-Wl,--build-id=none", "-Wno-unused-command-line-argument"]

C_QUESTIONS = {
    "symbols": [
        *("hidden", "declared_elsewhere", "twin"),  # in this order gdb meets the declaration first
        *("chunk", "list", "packed", "hidden", "hidden_pointer", "frame", "numbers", "flags", "anything", "counter"),
        *("limit", "shadowed", "image_end", "stop_here", "RED", "GREEN", "BLUE", "FLAG_HIGH", "other_counter", "pair"),
        *("_start", "shadowed_too", "no_such_name", "__bss_start", "struct chunk", "1 + 1", "chunk.size", "", "$pc"),
    ],
    "types": [
        *("struct chunk", "struct hidden", "struct packed", "struct link", "enum color", "enum flags", "word_t"),
        *("frame_t", "unnamed_t", "unsigned long", "long unsigned int", "char", "uint8_t", "struct chunk *", "int"),
        *("struct link *[4]", "const struct chunk *", "void *", "bool", "unnamed_t **", "chunk", "struct nothing"),
        *("long long", "short int", "size_t", "unsigned", "volatile int", "int[2][3]", "", "struct", "3", "char *x"),
    ],
    "nearest": ["chunq", "hiden", "xyzzy_plugh"],
    "name_at": [],
    "commands": [],
}
CPP_QUESTIONS = {
    "symbols": [
        *("pool", "mm::Pool::first", "mm::Pool::used", "mm::Pool::capacity", "mm::visible", "mm::hidden", "zone"),
        *("mm::Zone::High", "mm::PLAIN_MINUS", "mm::Pool::grow", "plain", "_start", "first", "used", "mm::nothing"),
    ],
    "types": ["mm::Pool", "struct mm::Pool", "class mm::Pool", "mm::Pool::Slot", "mm::Zone", "mm::Plain", "mm::Base *"],
    "nearest": [],
    "name_at": [],
    "commands": [],
}


def need(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.fail(f"{program} is missing; scripts/setup installs it")
    return found


BUILDS = [(compiler, dwarf) for compiler in ("gcc", "clang") for dwarf in (4, 5)]


@pytest.fixture(scope="module", params=BUILDS, ids=lambda build: f"{build[0]}-dwarf{build[1]}")
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the fixtures compiled: c.elf and cpp.elf."""
    compiler, dwarf = request.param
    if compiler == "clang" and shutil.which("clang") is None:
        pytest.skip("clang is not here; gcc is tested")
    folder = tmp_path_factory.mktemp(f"{compiler}{dwarf}")
    cpp = {"gcc": "g++", "clang": "clang++"}[compiler]
    common = [*FLAGS, f"-gdwarf-{dwarf}", *LINKER]
    subprocess.run([need(compiler), *common, DATA / "layout.c", DATA / "other.c", "-o", folder / "c.elf"], check=True)
    extra = ["-fno-exceptions", "-fno-rtti"]
    subprocess.run([need(cpp), *common, *extra, DATA / "classes.cpp", "-o", folder / "cpp.elf"], check=True)
    return folder


def ask_gdb(elf: Path | None, questions: dict, folder: Path) -> dict:
    """The answers of GdbSymbols, in a gdb that has loaded this file (or none)."""
    (folder / "questions.json").write_text(json.dumps(questions))
    environment = {
        **os.environ,
        "SYMBOLS_PATH": os.pathsep.join([str(REPO), *site.getsitepackages()]),
        "SYMBOLS_QUESTIONS": str(folder / "questions.json"),
        "SYMBOLS_ANSWERS": str(folder / "answers.json"),
        "DEBUGINFOD_URLS": "",
    }
    (folder / "answers.json").unlink(missing_ok=True)
    command = [need("gdb"), "-nx", "-batch", "-x", str(DATA / "dump.py"), *([str(elf)] if elf else [])]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (folder / "answers.json").is_file(), run.stderr
    return json.loads((folder / "answers.json").read_text())


def ask_elf(elf: Path, questions: dict, slide: int = 0) -> dict:
    return json.loads(json.dumps(dump.dump(ElfSymbols(elf, slide), questions)))


def differences(one: object, other: object, path: str = "") -> list[str]:
    """Where two answers differ, by path: the whole of them is too long to read."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [line for key in one for line in differences(one[key], other[key], f"{path}/{key}")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [line for at in range(len(one)) for line in differences(one[at], other[at], f"{path}/{at}")]
    return [] if one == other else [f"{path}: {one!r} != {other!r}"]


def with_addresses(elf: Path, questions: dict, names: list[str]) -> dict:
    """The questions, asking also what is at and 2 bytes after each of these names (per nm) and nowhere."""
    addresses = [at for name in names for at in (nm(elf)[name], nm(elf)[name] + 2)]
    return {**questions, "name_at": [*addresses, 0, 0x10, 0xFFFFFFFFFFFFFFFF]}


def nm(elf: Path) -> dict[str, int]:
    """Addresses of names as binutils tells them, the oracle."""
    listing = subprocess.run([need("nm"), "-C", elf], check=True, capture_output=True, text=True).stdout
    rows = [line.split(maxsplit=2) for line in listing.splitlines()]
    return {row[2].split("(")[0]: int(row[0], 16) for row in rows if len(row) == 3}


def flat_fields(described: dict) -> dict[str, tuple]:
    return {name: (offset, bit, bits, kind["name"]) for name, offset, bit, bits, kind in described["fields"]}


def enumerators(described: dict) -> dict[int, str]:
    return dict(described["enumerators"])


CHUNK_FIELDS = {
    "tag": (0, 0, None, "char"),
    "size": (8, 0, None, "unsigned long"),
    "used": (16, 0, 1, "unsigned int"),
    "order": (16, 1, 5, "unsigned int"),
    "balance": (16, 6, 9, "int"),
    "": (20, 0, None, "union {...}"),
    "link": (24, 0, None, "struct link"),
    "grid": (40, 0, None, "short [2][3]"),
    "ok": (52, 0, None, "bool"),
    "color": (56, 0, None, "enum color"),
    "pair": (60, 0, None, "unnamed_t"),
    "call": (72, 0, None, "function *"),
    "frames": (80, 0, None, "unsigned long *"),
    "secret": (88, 0, None, "struct hidden *"),
    "tail": (96, 0, None, "char []"),
}


def check_c_types(types: dict) -> None:
    assert flat_fields(types["struct chunk"]) == CHUNK_FIELDS
    assert types["struct chunk"]["size"] == 96
    packed: dict[str, tuple[int, int, int | None, str]] = {"a": (0, 0, None, "char"), "b": (1, 0, None, "int")}
    packed |= {"c": (5, 0, 12, "unsigned short"), "d": (6, 4, 12, "unsigned short")}
    assert flat_fields(types["struct packed"]) == packed
    assert types["struct packed"]["size"] == 8
    assert flat_fields(types["struct hidden"]) == {
        "depth": (0, 0, None, "unsigned int"),
        "up": (8, 0, None, "struct hidden *"),
    }
    assert (types["enum color"]["signed"], types["enum flags"]["signed"]) == (True, False)
    assert enumerators(types["enum color"]) == {-1: "RED", 7: "GREEN", 1 << 20: "BLUE"}
    assert enumerators(types["enum flags"]) == {1: "FLAG_LOW", 0x80000000: "FLAG_HIGH"}
    assert types["frame_t"]["name"] == types["long unsigned int"]["name"] == "unsigned long"
    assert types["unnamed_t"]["name"] == "unnamed_t"
    assert (types["char"]["signed"], types["uint8_t"]["signed"]) == (True, False)
    assert (types["int[2][3]"]["size"], types["int[2][3]"]["target"]["count"]) == (24, 3)
    assert types["struct link *[4]"]["name"] == "struct link * [4]"
    assert types["const struct chunk *"]["name"] == "struct chunk *"
    assert [types[name] for name in ("chunk", "struct nothing", "", "struct", "3", "char *x")] == [None] * 6


def check_c_symbols(symbols: dict, addresses: dict[str, int]) -> None:
    for name in ("chunk", "list", "packed", "hidden", "numbers", "counter", "shadowed", "stop_here", "other_counter"):
        assert symbols[name]["address"] == addresses[name], name
    assert [symbols[name]["value"] for name in ("RED", "GREEN", "BLUE", "FLAG_HIGH")] == [-1, 7, 1 << 20, 0x80000000]
    assert symbols["image_end"] == {"address": 0x7654321, "value": None, "type": None}
    assert symbols["shadowed"]["type"]["name"] == "struct chunk *"
    assert symbols["declared_elsewhere"]["address"] == addresses["declared_elsewhere"]
    assert symbols["declared_elsewhere"]["type"]["name"] == "int [7]"
    assert symbols["numbers"]["type"]["name"] == "int [2][3]"
    assert symbols["limit"]["type"]["name"] == "long"
    for name in ("shadowed_too", "no_such_name", "struct chunk", "1 + 1", "chunk.size", "", "$pc"):
        assert symbols[name] is None, name


def check_name_at(answers: list, names: list[str]) -> None:
    expected = [[name, offset] for name in names for offset in (0, 2)]
    assert answers == [*expected, None, None, None]


C_NAMES = ["chunk", "counter", "stop_here", "shadow", "numbers"]
CPP_NAMES = ["pool", "mm::Pool::grow", "mm::Pool::used", "mm::hidden"]


def test_c(built: Path) -> None:
    elf = built / "c.elf"
    questions = with_addresses(elf, C_QUESTIONS, C_NAMES)
    over_elf, over_gdb = ask_elf(elf, questions), ask_gdb(elf, questions, built)
    for answers in (over_elf, over_gdb):
        check_c_types(answers["types"])
        check_c_symbols(answers["symbols"], nm(elf))
        check_name_at(answers["name_at"], C_NAMES)
        assert answers["detail"] == "TYPES"
        assert answers["nearest"]["chunq"][0] == "chunk"
        assert "hidden" in answers["nearest"]["hiden"]
        assert answers["nearest"]["xyzzy_plugh"] == []
    assert over_gdb.pop("language") == "auto"
    assert differences(over_elf, over_gdb) == []


def test_no_local_is_ever_seen(built: Path) -> None:
    """Stopped where locals hide globals, gdb gives the answers that it gives without a process."""
    elf = built / "c.elf"
    stopped = {**C_QUESTIONS, "commands": ["break stop_here", "run", "up", "print shadowed", "print GREEN"]}
    over_gdb = ask_gdb(elf, stopped, built)
    assert over_gdb.pop("language") == "auto"
    assert differences(ask_elf(elf, C_QUESTIONS), over_gdb) == []


def test_cpp(built: Path) -> None:
    elf = built / "cpp.elf"
    questions = with_addresses(elf, CPP_QUESTIONS, CPP_NAMES)
    over_elf, over_gdb = ask_elf(elf, questions), ask_gdb(elf, questions, built)
    for answers in (over_elf, over_gdb):
        symbols, types = answers["symbols"], answers["types"]
        for name in ("pool", "mm::Pool::first", "mm::Pool::used", "mm::visible", "mm::hidden", "mm::Pool::grow"):
            assert symbols[name]["address"] == nm(elf)[name], name
        assert symbols["mm::Pool::capacity"]["value"] == 77
        assert symbols["mm::Zone::High"]["value"] == 200
        assert symbols["mm::PLAIN_MINUS"]["value"] == -5
        assert symbols["first"] is None
        assert symbols["mm::Pool::first"]["type"]["name"] == "struct mm::Pool *"
        assert flat_fields(types["mm::Pool"]) == {
            "": (0, 0, None, "struct mm::Base"),
            "slots": (8, 0, None, "struct mm::Pool::Slot *"),
            "zone": (16, 0, None, "enum mm::Zone"),
            "plain": (20, 0, None, "enum mm::Plain"),
            "busy": (24, 0, 1, "bool"),
        }
        assert enumerators(types["mm::Zone"]) == {1: "Low", 200: "High"}
        assert types["mm::Pool"] == types["struct mm::Pool"] == types["class mm::Pool"]
        assert (types["mm::Zone"]["size"], types["mm::Zone"]["signed"], types["mm::Plain"]["signed"]) == (
            1,
            False,
            True,
        )
        check_name_at(answers["name_at"], CPP_NAMES)
    assert over_gdb.pop("language") == "auto"
    assert differences(over_elf, over_gdb) == []


def test_sections_are_as_readelf_lists_them(built: Path) -> None:
    elf = built / "c.elf"
    listing = subprocess.run([need("readelf"), "-SW", elf], check=True, capture_output=True, text=True).stdout
    expected = {}
    for line in listing.splitlines():
        words = line.replace("[ ", "[").split()
        if len(words) > 8 and words[0].startswith("[") and words[2] != "NULL" and "A" in words[7]:
            expected[words[1]] = [int(words[3], 16), int(words[5], 16), "W" in words[7], "X" in words[7]]
    assert ".text" in expected
    assert {name: rest for name, *rest in ask_elf(elf, C_QUESTIONS)["sections"]} == expected


def test_an_offset_moves_everything(built: Path) -> None:
    """add-symbol-file with an offset, as for a relocated kernel, against a slide."""
    elf = built / "c.elf"
    slide = 0x1000_0000
    questions = {**C_QUESTIONS, "name_at": [nm(elf)["counter"] + slide + 1]}
    loaded = {**questions, "commands": [f"add-symbol-file {elf} -o {slide:#x}"]}
    over_gdb, over_elf = ask_gdb(None, loaded, built), ask_elf(elf, questions, slide)
    for answers in (over_gdb, over_elf):
        assert answers["symbols"]["chunk"]["address"] == nm(elf)["chunk"] + slide
        assert answers["name_at"] == [["counter", 1]]
        assert [".text", True] in [[s[0], s[4]] for s in answers["sections"]]
    del over_gdb["language"], over_gdb["symbols"]["image_end"], over_elf["symbols"]["image_end"]
    assert differences(over_elf, over_gdb) == []


def test_gdb_without_a_program(tmp_path: Path) -> None:
    answers = ask_gdb(None, {**C_QUESTIONS, "name_at": [0, 0x401000]}, tmp_path)
    assert set(map(str, answers["symbols"].values())) == {"None"}
    assert answers["sections"] == []
    assert answers["name_at"] == [None, None]
    assert answers["types"]["struct chunk"] is None
    assert answers["types"]["unsigned long"]["size"] == 8


def test_stripped(built: Path, tmp_path: Path) -> None:
    elf = tmp_path / "stripped.elf"
    subprocess.run([need("strip"), "-o", elf, built / "c.elf"], check=True)
    for answers in (ask_elf(elf, C_QUESTIONS), ask_gdb(elf, C_QUESTIONS, tmp_path)):
        assert set(map(str, answers["symbols"].values())) == {"None"}
        assert answers["types"]["struct chunk"] is None
        assert answers["types"]["uint32_t *"]["size"] == 8 if "uint32_t *" in answers["types"] else True


def test_symbol_table_without_debug_information(built: Path, tmp_path: Path) -> None:
    elf = tmp_path / "nodebug.elf"
    subprocess.run([need("strip"), "-g", "-o", elf, built / "c.elf"], check=True)
    over_elf, over_gdb = ask_elf(elf, C_QUESTIONS), ask_gdb(elf, C_QUESTIONS, tmp_path)
    for answers in (over_elf, over_gdb):
        assert answers["symbols"]["chunk"] == {"address": nm(elf)["chunk"], "value": None, "type": None}
    assert over_elf["symbols"] == over_gdb["symbols"]


def test_a_damaged_file_is_answered_or_refused(built: Path, tmp_path: Path) -> None:
    """Bytes of the symbol table and the debug information overwritten: a DescriptionError at worst."""
    content = (built / "c.elf").read_bytes()
    with (built / "c.elf").open("rb") as file:
        sections = [s for s in ELFFile(file).iter_sections() if s.name.startswith((".debug", ".symtab", ".strtab"))]
        ranges = [(s["sh_offset"], s["sh_size"]) for s in sections]
    for seed in range(150):
        chance = random.Random(seed)
        damaged = bytearray(content)
        for start, size in chance.choices(ranges, k=chance.choice([1, 5, 40])):
            damaged[start + chance.randrange(size)] = chance.randrange(256)
        (tmp_path / "damaged.elf").write_bytes(damaged)
        with contextlib.suppress(DescriptionError):
            symbols_dump = dump.dump(ElfSymbols(tmp_path / "damaged.elf"), C_QUESTIONS)
            assert symbols_dump["sections"]


def test_not_an_elf_file(tmp_path: Path) -> None:
    for name, content in {"text": b"hello", "empty": b"", "cut": b"\x7fELF\x02\x01\x01"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DescriptionError, match=f"{name} is not an ELF file"):
            ElfSymbols(tmp_path / name)
    with pytest.raises(DescriptionError, match="cannot be read: No such file"):
        ElfSymbols(tmp_path / "absent")
