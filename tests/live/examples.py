"""The examples that people read, in the help texts and in the README, made and compared on the reference kernel.

``python -m tests.live.examples`` writes them anew; `test_examples.py` fails when they are no longer what is printed.
"""

import re

from gdbext.headless import Session

from ..building import ROOT, make

HELP = ROOT / "gdbext" / "commands" / "examples"
README = ROOT / "README.md"

COMMANDS = {
    "vmwalk": "vmwalk 0xffff800000001000",
    "vmmap": "vmmap -range 0xffffffff80000000 0xffffffffc0000000",
    "vmfind": "vmfind 0x100000",
    "vmfault": "vmfault 0xffffffff80100000 3",
    "vmcheck": "vmcheck",
    "memcpu": "memcpu",
    "memsource": "memsource",
    "pmmstat": "pmmstat",
    "pmmdump": "pmmdump -range 0xfe00000 0x10000000",
    "pmmframe": "pmmframe $v2p(kernel_heap.start)",
    "heapstat": "heapstat",
    "heaplist": "heaplist -free -sort size",
    "heapchunk": "heapchunk (char *) kernel_heap.list.head->next + 40",
    "heapcheck": "heapcheck",
    "memcheck": "memcheck",
    "memprofile": "memprofile",
}
BROKEN = {
    "pmmstat": ("set var pmm.used = pmm.used + 1", "set var pmm.used = pmm.used - 1"),
    "heapcheck": (
        "set var kernel_heap.list.head->next->magic = 0",
        "set var kernel_heap.list.head->next->magic = kernel_heap.list.head->magic",
    ),
    "memcheck": ("set var pmm.hint = pmm.hint + 8", "set var pmm.hint = pmm.hint - 8"),
}
"""How to break what a check looks at, and how to mend it: its help shows a finding too."""
IN_README = ("vmwalk", "pmmstat", "heapcheck")
LINES = 14
"""An example's output is cut after so many lines."""
HELP_WIDTH = 80
"""Help texts fit terminals of so many columns, their examples too."""

_BLOCK = re.compile(r"(<!-- session -->\n```\n).*?(```\n<!-- /session -->)", re.DOTALL)


def kernel():
    make("CC=gcc")
    return ROOT / "target" / "build" / "gcc" / "kernel.elf"


def printed(session, command, most=LINES):
    """A command as it is typed, and what it prints."""
    lines = session.text(command).strip().splitlines()
    if len(lines) > most:
        lines = [*lines[:most], "..."]
    text = "\n".join(line.rstrip() for line in lines)
    return f"(gdb) {command}\n" + re.sub(r"/\S*/ram\b", "/tmp/guest/ram", text)


def example(session, name):
    """The example in a command's help: how it answers, and for some checks how it answers when something is wrong."""
    session.execute(f"set width {HELP_WIDTH}")
    try:
        text = printed(session, COMMANDS[name])
        if name in BROKEN:
            spoil, mend = BROKEN[name]
            session.execute(spoil)
            text += f"\n\n(gdb) {spoil}\n" + printed(session, COMMANDS[name], 2 * LINES)
            session.execute(mend)
        return text
    finally:
        session.execute("set width 0")


def readme_session(session):
    return "\n\n".join(printed(session, COMMANDS[name]) for name in IN_README) + "\n"


def readme_block():
    block = _BLOCK.search(README.read_text())
    assert block
    return block[0].split("```\n")[1]


def shape(text):
    """The words of a text without what differs from one build to the next: numbers, and where lines then break."""
    text = re.sub(r"0x[0-9a-f]+", "0x#", " ".join(text.split()))
    text = re.sub(r"\d+(\.\d+)?( [KMGT]iB)?", "#", text)
    return re.sub(r"(\b[0-9a-f]{2} )+", "## ", text).split()


def write():
    with Session(kernel()) as session:
        session.run_to("kernel_ready")
        for name in COMMANDS:
            (HELP / f"{name}.txt").write_text(example(session, name) + "\n")
        block = readme_session(session)
    README.write_text(_BLOCK.sub(lambda found: found[1] + block + found[2], README.read_text()))


if __name__ == "__main__":
    write()
