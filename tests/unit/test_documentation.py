"""What the documentation lists is what there is."""

import re
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

from gdbext.checks.finding import Rule
from gdbext.checks.heaps.chunks import HEAP_RULES
from gdbext.checks.heaps.leaks import LEAK_RULES
from gdbext.checks.heaps.places import HEAP_PLACE_RULES
from gdbext.checks.physical.managers import PMM_RULES
from gdbext.checks.translation.paging import PAGING_RULES
from gdbext.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[2]


def test_every_rule_is_documented_under_its_title():
    rows = re.findall(r"^\| ([A-Z]+\d+) \| ([^|]+) \|", (ROOT / "docs" / "checks.md").read_text(), re.MULTILINE)
    rules: list[Rule[Any]] = [*PAGING_RULES, *PMM_RULES, *HEAP_RULES, *HEAP_PLACE_RULES, *LEAK_RULES]
    assert dict(rows) == {rule.id: rule.title for rule in rules}


def test_every_command_is_in_the_readme():
    listed = set(re.findall(r"`((?:vm|pmm|heap|mem)[a-z]+)`", (ROOT / "README.md").read_text()))
    assert listed >= {command.name for command in COMMANDS}


def test_every_command_is_answered():
    for command in COMMANDS:
        answer = getattr(import_module(f"gdbext.answers.{command.answered_by}"), command.name)
        assert list(signature(answer).parameters) == ["session", "arguments"]


def test_help_fits_a_terminal():
    for command in COMMANDS:
        lines = command.help.splitlines()
        assert max(map(len, lines)) <= 80, command.name
        for option in command.all_options:
            assert any(line.startswith(f"  {option.usage} ") for line in lines), option.usage
        assert lines[1].startswith(f"Usage: {command.name}")


def test_links_lead_somewhere():
    for page in [ROOT / "README.md", ROOT / "target" / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)[^)]*\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} -> {target}"


def test_the_architecture_names_every_file_that_knows_physical_managers():
    named = set(re.findall(r"`(?:\w+/)?(\w+\.py)`", (ROOT / "docs" / "architecture.md").read_text()))
    files = {path.name for package in ("pmm", "profile") for path in (ROOT / "gdbext" / package).glob("*.py")}
    assert files - {"__init__.py"} <= named
