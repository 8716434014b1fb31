"""Builds kernels for the tests. Test runners that want the same one at the same time take turns."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "target"


def make(*arguments: str | Path) -> None:
    """Call make in target/, where it finds nothing to do once another runner was here."""
    (ROOT / "build").mkdir(exist_ok=True)
    subprocess.run(["flock", ROOT / "build" / "make.lock", "make", "-s", "-C", TARGET, *arguments], check=True)
