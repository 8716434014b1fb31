"""A profile is shown and checked without any machine: in a gdb that has only the kernel's file, and outside gdb."""

import json
import os
import re
import subprocess

import pytest

from tests.live.conftest import ROOT
from tests.live.offline import opened

MANAGERS = ["bitmap", "regions", "levels", "runs", "stack", "pages", "buddy", "tree"]
OF_THE_KERNEL = ["kernel", "next", "tags", "avl", "redblack", "bump", "buddy", "slab", "pools", "guard"]
KINDS = ["list", "next", "avl", "redblack", "buddy", "slab", "tags", "pools", "bump", "guard"]
HEAPS = [*OF_THE_KERNEL, "objects", *(f"own_{kind}" for kind in KINDS), "chained"]
RECORDS = ["page_records", "buffers", "pool"]
OTHERS = [*HEAPS, *RECORDS]


def in_gdb(kernel, *commands):
    """What gdb prints that has loaded the kernel's file and nothing else."""
    steps = [f"source {ROOT}/scripts/gdbext", *([f"file {kernel}"] if kernel else []), *commands]
    line = ["gdb", "-nx", "-q", "-batch", *(word for step in steps for word in ("-ex", step))]
    environment = os.environ | {"DEBUGINFOD_URLS": ""}
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def answer(text):
    return json.loads(text.splitlines()[-1])


def line_of(profile, text):
    return next(number for number, line in enumerate(profile.splitlines(), 1) if text in line)


def check_all_resolves(told, why):
    assert told["problems"] == []
    assert [manager["name"] for manager in told["managers"]] == [*MANAGERS, *OTHERS]
    assert [manager["serves"] for manager in told["managers"]] == [None] * len([*MANAGERS, *HEAPS]) + [True] * 3
    assert told["direct_map"] == "0xffff800000000000"  # a constant, for which nobody need be asked
    (unread,) = told["unread"]
    assert unread.startswith(f"which manager serves: {why}")


def test_every_name_of_the_reference_profile_resolves(kernel):
    check_all_resolves(answer(in_gdb(kernel, "memprofile check -json")), "there is no guest")
    told = opened("--elf", kernel, "--", "memprofile check -json").stdout
    check_all_resolves(answer(told), "there is no memory to read")
    shown = opened("--elf", kernel, "--profile", "reference", "--", "memprofile", "--", "memprofile show").stdout
    assert shown.count("every name in the profile resolves") == 2


@pytest.fixture
def wrong(reference, tmp_path):
    """The reference profile with a name and a field misspelt; what must be said of them, for each heap that has it."""
    old = {'bits = "pmm.bits"': 'bits = "pmn.bits"', 'tail = "$.list.tail"': 'tail = "$.list.tall"'}
    text = reference
    for right, misspelt in old.items():
        assert right in text
        text = text.replace(right, misspelt, 1)
    profile = tmp_path / "wrong.toml"
    profile.write_text(text)
    return profile, [
        f"{profile}:{line_of(text, 'pmn')} (pmm.bitmap.bits): 'pmn.bits', column 1: the kernel has no symbol 'pmn'; "
        "did you mean pmm",
        *(
            f"{profile}:{line_of(text, 'tall')} (heap.{name}.tail): '{of}.list.tall', column {len(of) + 6}: "
            f"struct heap_list has no member 'tall'; did you mean tail?{also}"
            for name, of, also in (
                ("kernel", "kernel_heap", " (also heap.next.tail)"),
                ("own_list", "heap_of_kind[0]", ""),
                ("own_next", "heap_of_kind[1]", ""),
            )
        ),
    ]


WITH_A_LIST = {"kernel", "next", "own_list", "own_next"}


def test_a_wrong_name_and_a_wrong_field(kernel, wrong):
    profile, expected = wrong
    inside = answer(in_gdb(kernel, f"memprofile use {profile}", "memprofile check -json"))
    outside = answer(opened("--elf", kernel, "--profile", profile, "--", "memprofile check", "-json", expect=3).stdout)
    for told in (inside, outside):
        assert len(told["problems"]) == len(expected)
        for problem, beginning in zip(told["problems"], expected, strict=True):
            assert problem.startswith(beginning)
        assert [manager["name"] for manager in told["managers"]] == [
            *MANAGERS[1:],
            *(name for name in OTHERS if name not in WITH_A_LIST),
        ]
    shown = opened("--elf", kernel, "--profile", profile, "--", "memprofile show").stdout  # which judges nothing
    assert all(beginning in shown for beginning in expected)


def test_problems_are_errors_to_scripts(kernel, wrong):
    profile, expected = wrong
    errors = 'printf "%d errors\\n", $_memcheck_errors'
    assert f"{len(expected)} errors" in in_gdb(kernel, f"memprofile use {profile}", "memprofile check", errors)
    assert "0 errors" in in_gdb(kernel, "memprofile check", errors)


def test_a_profile_that_is_not_one(kernel, tmp_path):
    (tmp_path / "k.toml").write_text('[kernel]\nname = "k"\n[pmm.main]\nkind = "bitmop"\n')
    done = opened("--elf", kernel, "--profile", tmp_path / "k.toml", "--", "memprofile check", expect=2)
    assert re.fullmatch(r"open: \S+/k\.toml:4 \(pmm\.main\.kind\): there is no kind 'bitmop'; .*\n", done.stderr)


def test_a_direct_map_that_only_memory_tells_is_said_to_be_unknown(kernel, tmp_path):
    (tmp_path / "k.toml").write_text('[kernel]\nname = "k"\n[address]\ndirect_map = "(uint64_t)pmm_manager"\n')
    told = answer(opened("--elf", kernel, "--profile", tmp_path / "k.toml", "--", "memprofile check -json").stdout)
    assert told["direct_map"] is None
    assert told["unread"] == ["the direct map: there is no memory to read: give a DUMP too"]


def test_what_is_missing_is_said(kernel, gcc_kernel, tmp_path):
    other = tmp_path / "other.elf"
    subprocess.run(["objcopy", "--redefine-sym", "pmm_manager=another", kernel, other], check=True)
    subprocess.run(["objcopy", "--strip-debug", other], check=True)
    assert "no profile describes this kernel" in opened("--elf", other, "--", "memprofile check", expect=1).stderr
    assert "no profile describes this kernel" in in_gdb(other, "memprofile check")
    assert "symbols are not loaded: load its ELF file with 'file'" in in_gdb(None, "memprofile check")
    assert "give a DUMP too" in opened("--elf", gcc_kernel, "--", "pmmstat", expect=1).stderr
    assert "--elf KERNEL" in opened("--", "memprofile check", expect=2).stderr
    assert "give a kernel's ELF file with --elf" in opened(gcc_kernel, "--", "memprofile check", expect=2).stderr


@pytest.mark.parametrize("manager", ["bitmap", "buddy"])
def test_a_machine_tells_which_manager_serves(boot, manager):
    session = boot(memory="32M", append=f"pmm={manager}")
    told = session.command("memprofile")
    assert [line["name"] for line in told["managers"] if line["serves"] and line["layer"] == "pmm"] == [manager]
    assert all(line["serves"] is not None for line in told["managers"])
    assert told["unread"] == []
    rows = [line.split() for line in session.text("memprofile").splitlines() if line.startswith("pmm ")]
    assert {row[1]: row[3] for row in rows} == {name: "yes" if name == manager else "no" for name in MANAGERS}


def test_before_paging_nobody_knows_which_manager_serves(boot):
    session = boot(memory="32M", stop=None)
    told = session.command("memprofile", "check")
    assert {line["serves"] for line in told["managers"] if line["layer"] == "pmm"} == {None}
    (unread,) = told["unread"]  # of the variable that chooses a physical manager; and those of heaps
    assert unread.endswith(f"(nor can {1 + len(HEAPS) - len(OF_THE_KERNEL)} other addresses)")
    assert told["problems"] == []
