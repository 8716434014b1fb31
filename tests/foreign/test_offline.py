"""A dump of a machine, opened without gdb, answers as the machine does."""

import json

import pytest

from ..live.offline import opened
from .conftest import HERE

COMMANDS = ("heapstat", "heaplist", "heaplist -free", "heapcheck", "memcheck")
DAMAGE = {
    "backwards": "arena.first->units += 1",
    "threaded": "'mm::Heap::first'->magic ^= 0x1000",
    "records": "arena->units += 1",
    "patches": "classes[1].slabs->used += 1",
}
"""An assignment that breaks each kernel's heap."""


@pytest.mark.parametrize("name", DAMAGE)
def test_a_dump_answers_as_the_machine_does(boot, build, tmp_path, compiler, name):
    session = boot(name, compiler, memory="32M")
    compare(session, tmp_path, build(compiler) / f"{name}.elf", status=0)
    session.execute(f"set var {DAMAGE[name]}")
    assert session.command("heapcheck")["findings"]
    compare(session, tmp_path, build(compiler) / f"{name}.elf", status=3)


def compare(session, tmp_path, kernel, status):
    dump = tmp_path / "dump"
    session.qemu.qmp("dump-guest-memory", {"paging": False, "protocol": f"file:{dump}"})
    arguments = [dump, "--elf", kernel, "--profile", HERE / kernel.stem / f"{kernel.stem}.toml"]
    for command in COMMANDS:
        arguments += ["--", *command.split(), "-json"]
    lines = opened(*arguments, expect=status).stdout.splitlines()
    for command, line in zip(COMMANDS, lines, strict=True):
        assert json.loads(line) == session.command(*command.split()), command
