"""Puts the loader on gdb's source path for good, and takes it off again: a few lines in the person's gdbinit.

gdb reads one such file: ``$XDG_CONFIG_HOME/gdb/gdbinit`` (``~/.config/gdb/gdbinit`` when the variable is not set or
empty) if it exists, else ``~/.gdbinit``. With the variable set, ``~/.config`` is not looked at. (gdb 13, tried.)
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from gdbext.errors import UsageError

# What the first line says besides is what uninstall must know to leave the file as it was.
_BEGIN = b"# >>> gdbext >>>"
_CREATED = b" (file created by gdbext)"
_ENDED_LINE = b" (line above ended by gdbext)"
_END = b"# <<< gdbext <<<\n"

LOADER = Path(__file__).resolve().parents[1] / "loader" / "gdbext"
"""The script that loads gdbext into gdb: a part of the package, in a clone as where pip has put it."""


def gdbinit_candidates(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """The files that gdb tries, in its order; it reads the first that exists."""
    home = environment.get("HOME", "")
    config = environment.get("XDG_CONFIG_HOME", "") or (home and f"{home}/.config")
    candidates = [Path(config).absolute() / "gdb" / "gdbinit"] if config else []
    if home:
        candidates.append(Path(home).absolute() / ".gdbinit")
    if not candidates:
        raise UsageError("neither HOME nor XDG_CONFIG_HOME is set, so gdb reads no gdbinit")
    return tuple(candidates)


def install(environment: Mapping[str, str] = os.environ, folder: Path = LOADER.parent) -> str:
    """Make every gdb of this user find the loader, which is in ``folder``; what was done, as one line."""
    if ":" in str(folder):
        raise UsageError(f"gdb cannot have {folder} on its source path: a ':' separates directories there")
    if not (folder / "gdbext").is_file():
        raise UsageError(f"{folder} does not hold the loader 'gdbext'")
    candidates = gdbinit_candidates(environment)
    path = next((candidate for candidate in candidates if candidate.exists()), candidates[-1])
    created = not path.exists()
    before = b"" if created else path.read_bytes()
    after = _with_block(_without_block(before), folder, created or _CREATED in before)
    if after == before:
        return f"already installed: {path} names {folder}"
    _replace(path, after)
    return f"installed: {path} names {folder}; `source gdbext` works in every gdb started from now on"


def uninstall(environment: Mapping[str, str] = os.environ) -> str:
    """Take the lines out again, and the file too if ``install`` made it and nothing else is in it."""
    cleaned = []
    for path in gdbinit_candidates(environment):
        before = path.read_bytes() if path.exists() else b""
        after = _without_block(before)
        if after == before:
            continue
        if not after and _CREATED in before:
            path.unlink()
        else:
            _replace(path, after)
        cleaned.append(str(path))
    return f"uninstalled from {', '.join(cleaned)}" if cleaned else "was not installed; nothing changed"


def directory_command(path: Path) -> str:
    """The gdb command that puts a directory first on the source path."""
    # gdb splits the line at blanks, and takes a backslash as quoting what follows.
    return "directory " + "".join(f"\\{char}" if char in " \t\\\"'" else char for char in str(path))


def _with_block(content: bytes, folder: Path, created: bool) -> bytes:
    unfinished = bool(content) and not content.endswith(b"\n")
    begin = _BEGIN + (_CREATED if created else b"") + (_ENDED_LINE if unfinished else b"") + b"\n"
    line = os.fsencode(directory_command(folder)) + b"\n"
    return content + (b"\n" if unfinished else b"") + begin + line + _END


def _without_block(content: bytes) -> bytes:
    start = content.find(_BEGIN)
    end = content.find(_END, start)
    if start < 0 or end < 0:
        return content
    first_line = content[start : content.index(b"\n", start)]
    if _ENDED_LINE in first_line:
        start -= 1
    return content[:start] + content[end + len(_END) :]


def _replace(path: Path, content: bytes) -> None:
    """Write the file in one step, so that a full disk cannot leave half of it; a symbolic link stays one."""
    real = Path(os.path.realpath(path))
    new = real.with_name(real.name + ".gdbext-new")
    try:
        new.write_bytes(content)
        if real.exists():
            shutil.copymode(real, new)
        new.replace(real)
    finally:
        new.unlink(missing_ok=True)
