"""What is offered where a person is typing."""

from pathlib import Path

import pytest

from gdbext.checks.catalogue import RULE_IDS
from gdbext.commands import COMMANDS
from gdbext.commands.completion import candidates, expected, last_word, paths
from gdbext.commands.record import Argument
from gdbext.errors import UsageError


def nobody():
    raise UsageError("there is no guest")


def offered(line: str) -> tuple[str, ...]:
    name, _, text = line.partition(" ")
    (command,) = (command for command in COMMANDS if command.name == name)
    wanted = expected(command, text)
    if isinstance(wanted, Argument):
        return candidates(wanted, last_word(text), nobody)
    return tuple(name for name in wanted if name.startswith(last_word(text)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "kernels" / "deep").mkdir(parents=True)
    (tmp_path / "kernels" / "deep" / "a-b.toml").touch()
    (tmp_path / "kernel.elf").touch()
    (tmp_path / ".hidden").touch()
    return tmp_path


def test_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert paths(f"{folder}/k") == (f"{folder}/kernel.elf", f"{folder}/kernels/")
    assert paths(f"{folder}/.h") == (f"{folder}/.hidden",)
    assert paths(f"{folder}/") == (f"{folder}/kernel.elf", f"{folder}/kernels/")
    below = f"{folder}/kernels/"
    assert paths(f"{folder}/kernels") == (below, f"{below}deep/", f"{below}deep/a-b.toml")
    assert paths(f"{folder}/no/such") == ()
    assert paths("~nobody_of_this_name/x") == ()
    monkeypatch.chdir(folder)
    assert paths("kernel.") == ("kernel.elf",)
    monkeypatch.setenv("HOME", str(folder))
    assert paths("~/kernel.") == ("~/kernel.elf",)
    assert offered(f"vmwalk &pmm -output {folder}/kernel.") == (f"{folder}/kernel.elf",)
    assert offered(f"memprofile use {folder}/kernel.") == (f"{folder}/kernel.elf",)


def test_names() -> None:
    assert offered("memprofile use refe") == ("reference",)
    assert offered("memprofile u") == ("use",)
    assert offered("memcheck -only PMM0") == tuple(rule for rule in RULE_IDS if rule.startswith("PMM0"))
    assert "PT21" in offered("memcheck -skip PT2")
    assert offered("heaplist -sort s") == ("size",)
    assert offered("pmmdump -zone i") == offered("heaplist k") == ()  # no profile, no names, no error
    assert offered("vmmap --r") == ("--root", "--range", "--raw")
