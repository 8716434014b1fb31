"""What docs/architecture.md says that a change takes, counted: which files name an example that is there already."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = re.findall(
    r"^\| (an? [\w ]+) \| ([\w ]+) \| (.*) \|$",
    (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)
ELSEWHERE = {
    "docs/architecture.md",  # the recipe itself
    "docs/speed.md",  # figures of rules
    "CHANGELOG.md",
}


def files_that_name(words: str) -> set[str]:
    """The texts in the repository that have one of the words, as paths from its root."""
    pattern = rf"\b({words.replace(' ', '|')})\b"
    places = [
        ROOT / "README.md",
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "gdbext").rglob("*"),
        *(ROOT / "tests").rglob("*.py"),
    ]
    texts = [path for path in places if path.is_file() and path.suffix in (".py", ".md", ".txt", ".toml")]
    found = {str(path.relative_to(ROOT)) for path in texts if re.search(pattern, path.read_text(encoding="utf-8"))}
    return found - ELSEWHERE


def test_every_recipe_is_here() -> None:
    assert [what for what, _, _ in ROWS] == [
        "a rule about what is read already",
        "a command",
        "a user of collections",
        "a kind of heap",
    ]


@pytest.mark.parametrize(("example", "takes"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_what_a_recipe_names_is_all_that_it_takes(example: str, takes: str) -> None:
    places = re.findall(r"`([\w./]+)`", takes)
    files = files_that_name(example)
    assert not {file for file in files if not any(file.startswith(place) for place in places)}
    assert not {place for place in places if not any(file.startswith(place) for file in files)}
    code = [file for file in files if file.startswith("gdbext/")]
    # The example in a help text is in a file of its own.
    assert len(code) <= sum(place.startswith("gdbext/") for place in places) + 1
