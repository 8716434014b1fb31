"""gdbext changes nothing in the guest (for every source: test_sources.py), and rejects bad input in one line."""

import re
import subprocess

import pytest

from gdbext.headless import CommandFailed
from tests.live.conftest import ROOT

COMMANDS = [
    "vmwalk 0xffff800000001000",
    "vmwalk 0x1000",
    "vmwalk 0x800000000000",
    "vmwalk &pmm -root $cr3",
    "vmmap",
    "vmmap -raw",
    "vmmap -tree",
    "vmmap -filter x",
    "vmfind 0x100000 -size 0x3000",
    "vmfault 0xffff800000001000 3",
    "vmfault",
    "vmcheck",
    "memcpu -tables",
    "vmmap -range 0xffffffff80000000 0xffffffff81000000",
    "pmmstat",
    "pmmdump",
    "pmmdump bitmap -range 0x100000 0x200000",
    "pmmdump -zone low",
    "pmmdump -map",
    "pmmdump -map -zone isa -range 0 0x200000",
    "pmmframe $v2p(&pmm)",
    "pmmframe pfn=0",
    "pmmframe 0xfee00000",
    "heapstat",
    "heaplist",
    "heaplist kernel -free -sort size",
    "heaplist -state free -size 16 256 -range kernel_heap.start kernel_heap.end",
    "heaplist -bins",
    "heaplist -map",
    "heaplist kernel -map -range kernel_heap.start kernel_heap.start+4096",
    "heapchunk kernel_heap.list.head",
    "heapcheck",
    "memcheck",
    "memcpu",
    "memprofile",
]


WRONG = [
    ("vmwalk", "vmwalk needs ADDR"),
    ("vmwalk (1+", "cannot evaluate"),
    ("vmwalk no_such_thing", 'No symbol "no_such_thing"'),
    ("vmwalk pmm", "not an address"),
    ("vmwalk -bogus 1", "no option -bogus"),
    ("vmwalk 1 -root", "-root needs R"),
    ("vmwalk 1 -root &pmm", "cannot be a root"),
    ("vmmap 0x1000", "one too many"),
    ("vmmap -filter colour", "-filter has no word 'colour'"),
    ("vmfind 1 -size 0", "is not a range of physical addresses"),
    ("vmfind 1 -size 0xffffffffffffffff", "is not a range of physical addresses"),
    ("vmfault no_such_thing", 'No symbol "no_such_thing"'),
    ("vmmap -range 2 1", "is empty"),
    ("vmmap -output /no/such/dir/file", "cannot write"),
    ("pmmdump -zone nobody", "no zone 'nobody'; there are isa, low, high"),
    ("pmmdump -zone isa -range 0x2000000 0x3000000", "-range and -zone isa have no address in common"),
    ("pmmdump -map -range 2 1", "is empty"),
    ("pmmframe", "pmmframe needs PA"),
    ("pmmframe 1UL << 60", "beyond physical memory"),
    ("pmmdump nobody", "no physical manager 'nobody'; choose from: bitmap"),
    ("heaplist nobody", "no heap 'nobody'; choose from: kernel"),
    ("heaplist -map -free", "remove -free"),
    ("heaplist -map -range 2 1", "is empty"),
    ("heaplist -sort colour", "not one of address, size"),
    ("memcheck -only PMM99", "no rule PMM99"),
    ("memprofile use /no/such/file.toml", "/no/such/file.toml"),
    ("memprofile frobnicate", "not one of"),
]


@pytest.mark.parametrize(("command", "says"), WRONG)
def test_wrong_use_is_one_clear_line(session, command, says):
    with pytest.raises(CommandFailed) as failure:
        session.text(command)
    assert says in failure.value.reason
    assert "\n" not in failure.value.reason.strip()


def test_addresses_that_are_not_ram_are_said_to_be_none(boot):
    session = boot(memory="32M")
    leaf = session.command("vmwalk", "kernel_heap.start")["steps"][-1]
    entry = int(leaf["value"], 16) & ~0xFFFFFFFFFF000 | 0x7F_FFFF_F000
    session.execute(f"set var *(unsigned long *)(0xffff800000000000 + {leaf['entry_address']}) = {entry:#x}UL")
    assert "0x7ffffff000 is not RAM" in session.text("vmwalk kernel_heap.start")
    assert "0x7ffffff000 is not RAM" in session.text("heapcheck")


def test_running_guest(boot):
    session = boot(memory="32M")
    session.start()
    for command in COMMANDS:
        if command == "memprofile":
            continue  # the description stands without the machine
        with pytest.raises(CommandFailed, match="the guest is running: stop it first, with 'interrupt'"):
            session.text(command)
    session.interrupt()
    assert "mapped" in session.text("vmwalk 0xffff800000001000")


def test_no_symbols_and_a_profile_that_does_not_fit(boot, gcc_kernel, tmp_path):
    session = boot(memory="32M")
    session.execute("symbol-file")
    assert "mapped" in session.text("vmwalk 0xffff800000001000")
    assert session.command("vmmap")["mappings"]
    for command in ("pmmstat", "heapcheck", "memcheck", "memprofile"):
        with pytest.raises(CommandFailed, match="symbols"):
            session.text(command)
    session.execute(f'symbol-file "{gcc_kernel}"')
    assert session.command("memcheck")["findings"] == []
    profile = tmp_path / "other.toml"
    profile.write_text(
        '[kernel]\nname = "other"\n[pmm.main]\nkind = "bitmap"\nbits = "pmm.bitz"\ncount = "pmm.frames"\n'
    )
    session.text(f"memprofile use {profile}")
    with pytest.raises(CommandFailed, match=re.escape("other.toml:5 (pmm.main.bits)")):
        session.text("pmmstat")
    with pytest.raises(CommandFailed, match="describes no heap"):
        session.text("heapcheck")


def test_every_command_explains_itself(session):
    for command in {text.split()[0] for text in COMMANDS} | {"memsource"}:
        for name in (command, f"gdbext {command}"):
            text = session.execute(f"help {name}")
            assert f"Usage: {command}" in text
            assert "-json" in text
            assert "Example:" in text
    assert "-root" in session.execute("complete vmwalk -")
    assert "--range" in session.execute("complete vmmap --r")
    assert "kernel_ready" in session.execute("complete vmwalk kernel_r")


def test_words_are_completed(session, tmp_path):
    def completed(line):
        return session.execute(f"complete {line}").splitlines()

    (tmp_path / "my-kernel.toml").touch()
    assert completed(f"vmwalk -output {tmp_path}/my-k") == [f"vmwalk -output {tmp_path}/my-kernel.toml"]
    assert completed(f"memprofile use {tmp_path}/my") == [f"memprofile use {tmp_path}/my-kernel.toml"]
    assert "memprofile use reference" in completed("memprofile use refer")
    assert completed("memcheck -only HEAP61") == ["memcheck -only HEAP61"]
    assert "memcheck -only PMM01" in completed("gdbext memcheck -only PM") + completed("memcheck -only PM")
    assert completed("heaplist ker") == ["heaplist kernel"]
    assert completed("heaplist kernel -so") == ["heaplist kernel -sort"]


def test_mi_says_the_same(session):
    ours = session.command("vmwalk", "0xffff800000001000")
    answer = session.gdb.request("-gdbext-vmwalk 0xffff800000001000", 10)["payload"]
    assert answer["physical"] == ours["physical"]
    assert [step["value"] for step in answer["steps"]] == [step["value"] for step in ours["steps"]]
    blank = session.gdb.request('-gdbext-vmwalk "&pmm + 1"', 10)["payload"]
    assert blank["address"] == session.command("vmwalk", "&pmm + 1")["address"]
    assert len(session.gdb.request("-gdbext-vmmap", 10)["payload"]["mappings"]) == len(
        session.command("vmmap")["mappings"]
    )
    refused = session.gdb.request("-gdbext-vmwalk", 10)
    assert refused["message"] == "error"
    assert "needs ADDR" in refused["payload"]["msg"]


def test_functions_in_expressions(session):
    def value(expression):
        return session.execute(f"output/x {expression}").strip()

    assert value("$v2p(0xffff800000001000)") == "0x1000"
    assert value("$p2v(0x1000)") == "0xffff800000001000"
    assert value("$v2p(&pmm)") == session.command("vmwalk", "&pmm")["physical"]
    assert "used" in session.execute("output $frame_state(0)")
    last = session.command("pmmdump")["managers"][0]["stretches"][-1]
    assert last["state"] in session.execute(f"output $frame_state({last['start']})")
    session.text("memcheck")
    assert value("$_memcheck_findings") == "0x0"
    with pytest.raises(CommandFailed, match="not present"):
        value("$v2p(0x1234)")
    with pytest.raises(CommandFailed, match=r"\$v2p: the address cannot be evaluated: .* 0x1234"):
        value("$v2p(*(long *)0x1234)")


@pytest.mark.parametrize("expression", ["kmalloc(16)", "pmm.used = 0", "pmm.hint++"])
def test_an_expression_cannot_change_the_guest(session, expression):
    before = session.execute("output kernel_heap.used_chunks"), session.execute("output pmm")
    with pytest.raises(CommandFailed, match="would change the guest"):
        session.text(f"vmwalk {expression}")
    assert before == (session.execute("output kernel_heap.used_chunks"), session.execute("output pmm"))
    assert "is on" in session.execute("show may-call-functions")
    session.execute("set may-call-functions off")
    session.text("vmwalk &pmm")
    assert "is off" in session.execute("show may-call-functions")
    session.execute("set may-call-functions on")


def test_findings_are_counted_for_scripts(boot):
    def left():
        return [session.execute(f"output $_memcheck_{what}") for what in ("findings", "errors")]

    session = boot(memory="32M")
    assert left() == ["void", "void"]
    session.text("pmmstat")
    assert left() == ["0", "0"]
    session.execute("set var pmm.used = pmm.used + 1")
    for command in ("pmmstat", "memcheck"):
        session.text(command)
        assert left() == ["1", "1"]
        assert session.errors_found() == 1
    session.text("vmwalk 0")
    assert left() == ["1", "1"]
    session.execute("set var pmm.lock.locked = 1")
    session.text("pmmstat")
    assert left() == ["1", "0"]
    with pytest.raises(CommandFailed, match="no heap"):
        session.text("heapcheck nobody")
    assert left() == ["void", "void"]


def test_writing_to_a_file_is_said(session, tmp_path):
    assert session.text(f"vmwalk 0 -output {tmp_path}/walk") == f"vmwalk: written to {tmp_path}/walk\n"


@pytest.mark.parametrize("width", [60, 80, 100])
def test_no_line_is_longer_than_the_terminal_is_wide(session, width):
    session.execute(f"set width {width}")
    try:
        for command in (*COMMANDS, "memsource"):
            wide = [line for line in session.text(command).splitlines() if len(line) > width]
            assert not wide, f"{command}: {wide[0]}"
    finally:
        session.execute("set width 0")


@pytest.mark.parametrize(
    ("option", "cause"), [("--strip-debug", "no debug information: build it with -g"), ("--strip-all", "no symbols")]
)
def test_a_stripped_kernel_says_once_what_is_missing(boot, gcc_kernel, tmp_path, option, cause):
    kernel = tmp_path / "kernel.elf"
    subprocess.run(["objcopy", option, gcc_kernel, kernel], check=True)
    session = boot(kernel, stop=None, profile=ROOT / "gdbext" / "profiles" / "reference.toml")
    problems = session.command("memprofile")["problems"]
    assert len(problems) == 1
    assert cause in problems[0]
    assert "pmm.bitmap" in problems[0]
    for command in ("pmmstat", "heapcheck"):
        with pytest.raises(CommandFailed, match=cause):
            session.text(command)
