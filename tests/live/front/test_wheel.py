"""gdbext as pip installs it: a wheel, built from this tree, in an environment that holds nothing of the clone."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from ...building import ROOT

NEEDS = ("numpy", "numpy.libs", "tabulate.py", "tabulate", "elftools", "pygdbmi")
"""What the environment of the tests holds and gdbext needs: copied, so that no network is needed."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built from a copy of what is in the repository."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    tree.mkdir()
    for name in ("gdbext", "scripts", "tests", "target"):
        ignored = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
        shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree / name)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*build, "--wheel-dir", folder, tree], check=True)
    (made,) = folder.glob("gdbext-*.whl")
    return made


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel in it."""
    folder = tmp_path_factory.mktemp("a place") / "env"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}, scheme="venv"))
    for name in NEEDS:
        there = Path(sysconfig.get_path("purelib")) / name
        if there.is_dir():
            shutil.copytree(there, packages / name, ignore=shutil.ignore_patterns("tests", "__pycache__"))
        elif there.exists():
            shutil.copy(there, packages / name)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel], check=True)
    return folder


def said(*command: str | Path, cwd: Path, home: Path | None = None) -> str:
    """What a command prints; it must succeed."""
    variables = {name: value for name, value in os.environ.items() if name not in ("XDG_CONFIG_HOME", "PYTHONPATH")}
    variables |= {"HOME": str(home)} if home else {}
    done = subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done
    return done.stdout + done.stderr


def test_a_wheel_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"gdbext"}
    tree = {
        str(path.relative_to(ROOT)) for path in (ROOT / "gdbext").rglob("*") if path.is_file() and path.suffix != ".pyc"
    }
    assert {name for name in names if name.startswith("gdbext/")} == tree
    assert "gdbext/loader/gdbext" in tree
    assert any(name.endswith("/LICENSE") for name in names)


def test_installed_it_loads_into_every_gdb(environment, tmp_path):
    tool = environment / "bin" / "gdbext"
    version = said(tool, "--version", cwd=tmp_path)
    load = ["gdb", "-batch", "-ex", "source gdbext", "-ex", "help gdbext", "-ex", "python import gdbext as g"]
    load += ["-ex", "python print(g.__file__)", "-ex", "help vmwalk"]
    said(tool, "install", cwd=tmp_path, home=tmp_path)
    lines = said(*load, cwd=tmp_path, home=tmp_path).splitlines()
    (package,) = environment.glob("lib/python*/site-packages/gdbext")
    assert lines[0].startswith(f"{version.strip()}: ")
    assert f"{package}/__init__.py" in lines
    assert "Usage: vmwalk ADDR" in "\n".join(lines)
    assert not any("Traceback" in line for line in lines)
    said(tool, "uninstall", cwd=tmp_path, home=tmp_path)
    assert "gdbext: No such file" in said(*load[:4], cwd=tmp_path, home=tmp_path)


def test_installed_it_opens_what_needs_no_gdb(environment, tmp_path):
    assert "vmwalk" in said(environment / "bin" / "gdbext", "open", "--elf", "/bin/true", "--", "help", cwd=tmp_path)


def test_installed_for_another_python_it_says_so(environment, tmp_path):
    """As where gdb embeds another Python than the environment has: numpy's compiled part tells."""
    (packages,) = environment.glob("lib/python*/site-packages")
    other = tmp_path / "site-packages"
    shutil.copytree(packages / "gdbext", other / "gdbext")
    (other / "numpy" / "_core").mkdir(parents=True)
    (other / "numpy" / "_core" / "_multiarray_umath.cpython-34-x86_64-linux-gnu.so").touch()
    (line,) = said("gdb", "-nx", "-batch", "-ex", f"source {other}/gdbext/loader/gdbext", cwd=tmp_path).splitlines()
    assert line.startswith(f"gdbext: not loaded: {other} is not for this gdb's python3.")
    assert "-m pip install gdbext" in line


@pytest.mark.parametrize(
    ("words", "answer"), [((), "usage: gdbext"), (("run",), "name yours with --kernel FILE")], ids=["bare", "run"]
)
def test_without_a_kernel_it_says_what_to_do(environment, tmp_path, words, answer):
    command = [environment / "bin" / "gdbext", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert answer in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
