"""The examples of docs/profile.md, each bound to what its C declares and read from memory that the compiler laid out.

The page's declarations stand at the top of a file that gives them contents. The file is linked to fixed addresses and
loaded into a made-up machine without paging, so that virtual and physical addresses are one. What is free there is
worked out by hand.
"""

import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from gdbext.checks.catalogue import RULE_IDS
from gdbext.machine.stopped import Machine
from gdbext.pmm.snapshot import PmmSnapshot
from gdbext.profile.choice import ProfileChoice
from gdbext.session import Session
from gdbext.symbols.elf import ElfSymbols
from tests.unit.guest import Guest, cpu

PAGE = Path(__file__).parents[2] / "docs" / "profile.md"
HEAD = '[kernel]\nname = "guide"\n[address]\ndirect_map = 0\n'
LAYOUT = ["-Wl,-Ttext-segment=0x100000", "-Wl,--section-start=.ram=0x200000", "-Wl,-e,0", "-Wl,--build-id=none"]
FLAGS = ["-g", "-ffreestanding", "-fno-pie", "-static", "-nostdlib", "-Wno-unused-command-line-argument"]
IN_RAM = '__attribute__((section(".ram"), aligned(4096)))'
"""Frames that hold something lie from 0x200000 on: ``ram[3]`` is frame 0x203."""

CONTENTS = {
    "A bitmap": (
        "uint8_t frame_bitmap[131072] = { 0xff, 0xb7, 0xfd }; size_t frame_total = 20, frames_used = 17;",
        {11, 14, 17},
    ),
    "An inverted bitmap": (
        "uint32_t words[] = { 0x80000001, 0x40000000 }; struct memory memory = { 0x200000, words, 40, 1 };",
        {0x200, 0x200 + 31, 0x200 + 33},
    ),
    "Levels of bitmaps": (
        "uint64_t low[] = { 0, 1 << 5, 2 }, middle[] = { 6 }, high[] = { 1 };"
        "struct level levels[3] = { { low, 130 }, { middle, 3 }, { high, 1 } };",
        {64 + 5, 128 + 1},
    ),
    "A bitmap for each region": (
        "struct region second = { 0, 0x300000, 8, 2, { 0xfc } };"
        "struct region first = { &second, 0x200000, 16, 1, { 0xff, 0x7f } }; struct region *regions = &first;",
        {0x20F, 0x300, 0x301},
    ),
    "A stack linked through the free frames": (
        f"struct {{ struct free_page page; uint8_t rest[4088]; }} ram[8] {IN_RAM} ="
        "{ [3] = { { 0x201000 } } }; uint64_t free_top = (uint64_t)&ram[3], free_count = 2;",
        {0x203, 0x201},
    ),
    "A stack in an array": (
        "uint64_t frame_stack[32768] = { 0x203000, 0x201000, 0x207000 }; size_t frames_on_stack = 2;",
        {0x203, 0x201},
    ),
    "A stack of pages": (
        f"struct stack_page ram[8] {IN_RAM} = {{ [2] = {{ &ram[6], 2, {{ 0x205000, 0x204000 }} }},"
        "[6] = { 0, 1, { 0x201000 } } }; struct stack_page *stack_top = &ram[2];",
        {0x202, 0x205, 0x204, 0x206, 0x201},
    ),
    "A list of runs": (
        f"union {{ struct run run; uint8_t bytes[4096]; }} ram[8] {IN_RAM} ="
        "{ [1] = { { 3, &ram[6].run } }, [6] = { { 2, 0 } } }; struct run *free_runs = &ram[1].run;",
        {0x201, 0x202, 0x203, 0x206, 0x207},
    ),
    "Buddies on lists": (
        "extern struct free_area free_areas[11];"
        "struct page all[1024] = {"
        "[0x203] = { 1, 0, { &all[0x205].link, &free_areas[0].free } },"
        "[0x205] = { 1, 0, { &free_areas[0].free, &all[0x203].link } },"
        "[0x208] = { 1, 2, { &free_areas[2].free, &free_areas[2].free } } }; struct page *pages = all;\n"
        "#define EMPTY(n) { { &free_areas[n].free, &free_areas[n].free }, 0 }\n"
        "struct free_area free_areas[11] = { { { &all[0x203].link, &all[0x205].link }, 2 }, EMPTY(1),"
        "{ { &all[0x208].link, &all[0x208].link }, 1 },"
        "EMPTY(3), EMPTY(4), EMPTY(5), EMPTY(6), EMPTY(7), EMPTY(8), EMPTY(9), EMPTY(10) };",
        {0x203, 0x205, 0x208, 0x209, 0x20A, 0x20B},
    ),
    "Buddies in a tree": (
        "uint8_t bytes[16] = { 0, 3, 1, 3, 1, 0, 2, 2, 0, 1, 0, 0, 1, 1, 1, 1 };"
        "uint8_t *tree = bytes; unsigned tree_height = 3; size_t frame_total = 8;",
        {1, 4, 5, 6, 7},
    ),
    "A record for each frame": (
        "struct frame all[] = { { 1, 0 }, { 0, 0 }, { 0, 1 }, { 0, 0 }, { 2, 0 } };"
        "struct frame *frames = all; size_t frame_total = 5;",
        {1, 3},
    ),
}


def examples(part: str = "Your physical manager") -> dict[str, tuple[str, str]]:
    """The declarations and the description under each heading of a part of the guide."""
    guide = PAGE.read_text().split(f"## {part}\n")[1].split("\n## ")[0]
    found = re.findall(r"^### (.+?)\n.*?```c\n(.*?)```\n\n```toml\n(.*?)```", guide, re.DOTALL | re.MULTILINE)
    return {heading: (declared, described) for heading, declared, described in found}


def linked(folder: Path, compiler: str, heading: str) -> Path:
    """The example's kernel, with contents: ``full.elf``, and the same without what stands for free memory."""
    return compiled(folder, compiler, f"{examples()[heading][0]}\n{CONTENTS[heading][0]}\n")


def compiled(folder: Path, compiler: str, source: str, *flags: str) -> Path:
    """The same of any kernel's text."""
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not here")
    (folder / "kernel.c").write_text(f"#include <stddef.h>\n#include <stdint.h>\n{source}")
    subprocess.run([compiler, *FLAGS, *flags, *LAYOUT, folder / "kernel.c", "-o", folder / "full.elf"], check=True)
    subprocess.run(["objcopy", "-R", ".ram", folder / "full.elf", folder / "kernel.elf"], check=True)
    return folder / "kernel.elf"


def loaded(elf: Path, size: int = 4 << 20) -> Guest:
    """A machine of so many bytes with the example's kernel and frames in its memory."""
    guest = Guest(size)
    with (elf.parent / "full.elf").open("rb") as file:
        for segment in ELFFile(file).iter_segments("PT_LOAD"):
            guest.write(segment["p_vaddr"], segment.data())
    return guest


def session_over(guest: Guest, elf: Path, profile: str, head: str = HEAD) -> Session:
    """A session that looks at the machine through this profile."""
    (elf.parent / "guide.toml").write_text(head + profile)
    profiles = ProfileChoice(RULE_IDS)
    profiles.use(str(elf.parent / "guide.toml"))
    return Session(lambda: Machine(guest.memory, cpu(cr0=1), ()), ElfSymbols(elf), elf, profiles, int)


def free_frames(session: Session) -> set[int]:
    """The numbers of all frames that are free, from physical address 0 on."""
    (manager,) = session.physical.managers
    assert isinstance(manager, PmmSnapshot), manager
    return {manager.frame_address(number) // 4096 for number in manager.free.numbers().tolist()}


def test_every_example_is_here():
    assert list(examples()) == list(CONTENTS)
    listed = re.findall(r"\]\(#([a-z-]+)\)", PAGE.read_text())
    assert set(listed) >= {heading.lower().replace(",", "").replace(" ", "-") for heading in CONTENTS}


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("heading", CONTENTS)
def test_an_example_reads_what_the_compiler_laid_out(tmp_path, compiler, heading):
    elf = linked(tmp_path, compiler, heading)
    session = session_over(loaded(elf), elf, examples()[heading][1])
    assert session.problems == ()
    assert free_frames(session) == CONTENTS[heading][1]
    report = session.physical.check()
    assert report.findings == ()
    assert report.checked


@pytest.mark.parametrize(("member", "offset"), [("next", 8), ("prev", 16)])
def test_links_to_members_are_followed_and_checked(tmp_path, member, offset):
    elf = linked(tmp_path, "gcc", "Buddies on lists")
    symbol = ElfSymbols(elf).find_symbol("all")
    assert symbol is not None
    assert symbol.address is not None
    node, stranger = symbol.address + 0x205 * 24, symbol.address + 0x300 * 24
    guest = loaded(elf)
    guest.write(node + offset, struct.pack("<Q", stranger + 8))
    session = session_over(guest, elf, examples()["Buddies on lists"][1])
    (finding,) = [finding for finding in session.physical.check().findings if finding.id == "PMM10"]
    if member == "next":  # what is there lacks the mark of a free block
        assert (finding.subject, finding.address) == ("link", node + offset)
    else:
        assert (finding.subject, finding.address) == ("node", node)
    assert hex(stranger) in finding.actual


def test_a_link_into_a_node_needs_an_address(tmp_path):
    elf = linked(tmp_path, "gcc", "Buddies on lists")
    text = examples()["Buddies on lists"][1]
    wrong = text.replace('next = "link.next"', 'next = "order"\nlinks = "index"\nrecords = "pages"')
    (problem,) = session_over(loaded(elf), elf, wrong).problems
    assert "(pmm.main.link_offset): links of kind index point to whole nodes" in problem
