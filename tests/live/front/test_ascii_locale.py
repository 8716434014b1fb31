"""In a C or POSIX locale, as containers, CI and `su -` have it: everything is printed, in ASCII."""

import os
import re
import subprocess

import pytest

from gdbext.commands import COMMANDS
from gdbext.headless import CommandFailed, Session

from ...building import ROOT

LOCALES = ({"LC_ALL": "C"}, {"LC_ALL": "POSIX"}, {"LANG": "", "LC_CTYPE": ""})


def in_locale(locale: dict[str, str], command: list[str]) -> tuple[bytes, bytes]:
    """What a command prints in a locale, on both channels."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG"))}
    done = subprocess.run(command, env={**variables, **locale}, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done
    return done.stdout, done.stderr


def gdb(locale: dict[str, str], *commands: str) -> str:
    """What a gdb with gdbext prints; all of it must be ASCII."""
    steps = [word for command in (f"source {ROOT}/scripts/gdbext", *commands) for word in ("-ex", command)]
    out, err = in_locale(locale, ["gdb", "-nx", "-batch", *steps])
    assert b"UnicodeEncodeError" not in err
    return (out + err).decode("ascii")


@pytest.mark.parametrize("locale", LOCALES, ids=["C", "POSIX", "unset"])
def test_gdbext_loads_and_every_help_is_shown(locale):
    shown = gdb(locale, *(f"help {command.name}" for command in COMMANDS))
    assert all(f"Usage: {command.name}" in shown for command in COMMANDS)


@pytest.fixture(scope="module")
def machine(gcc_kernel):
    """The reference kernel, under a gdb that was started in the C locale."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LC_ALL", "C")
        with Session(gcc_kernel) as session:
            session.run_to("kernel_ready")
            yield session


@pytest.mark.parametrize("command", ["vmmap", "pmmstat", "pmmdump -map", "heaplist -map", "heapcheck", "memcheck"])
def test_answers_are_ascii(machine, command):
    for width in (0, 50):
        machine.execute(f"set width {width}")
        text = machine.execute(command)
        assert text.isascii()
        assert len(text.splitlines()) > 1


def test_maps_keep_their_states_apart(machine):
    """Each state of the legend has a character of its own, and no other character is drawn."""
    machine.execute("set width 80")
    lines = machine.execute("pmmdump -map").splitlines()
    cells = "".join(line.split()[1] for line in lines if re.match(r" *0x[0-9a-f]+  \S+$", line))
    signs = [line.split()[0] for line in lines[-20:] if re.match(r"\S{1,3} +[a-z]", line)]
    assert len(cells) > 1000
    assert len(set("".join(signs))) == len("".join(signs)) > 8
    assert set(cells) <= set("".join(signs))


def test_names_that_are_not_ascii_are_shown_as_escapes(machine, tmp_path):
    """In answers, in the line of an error, and over GDB/MI. (gdb itself refuses such a name typed in this locale.)"""
    profile = tmp_path / "kernel.toml"
    reference = (ROOT / "gdbext" / "profiles" / "reference.toml").read_text(encoding="utf-8")
    profile.write_text(reference.replace("[heap.objects]", '[heap."b\u00e9ta"]', 1), encoding="utf-8")
    machine.execute(f"memprofile use {profile}")
    try:
        assert "b\\xe9ta (slab)" in machine.execute("heapstat")
        with pytest.raises(CommandFailed, match=r"b\\xe9ta"):
            machine.execute("heapstat objects")
        assert any(
            heap["name"] == "b\\xe9ta" for heap in machine.gdb.request("-gdbext-heapstat", 60)["payload"]["heaps"]
        )
        assert any(heap["name"] == "b\u00e9ta" for heap in machine.command("heapstat")["heaps"])
    finally:
        machine.execute(f"memprofile use {ROOT}/gdbext/profiles/reference.toml")


@pytest.mark.parametrize("locale", LOCALES, ids=["C", "POSIX", "unset"])
def test_outside_gdb(locale, gcc_kernel):
    tool = str(ROOT / ".venv" / "bin" / "gdbext")
    out, err = in_locale(locale, [tool, "open", "--elf", str(gcc_kernel), "--", "memprofile", "--", "help", "vmmap"])
    assert b"reference" in out
    assert (out + err).isascii()
