"""`gdbext install` and `uninstall`: the right file, and not a byte of it lost."""

from pathlib import Path

import pytest

from gdbext.errors import UsageError
from gdbext.headless.install import directory_command, gdbinit_candidates, install, uninstall


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    directory = tmp_path / "clone" / "scripts"
    directory.mkdir(parents=True)
    (directory / "gdbext").touch()
    return directory


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.mark.parametrize(
    "content", [b"", b"set pagination off\n", b"set pagination off", b"\n\n", b"# caf\xe9\r\nset x on\r\n", b"\n"]
)
def test_uninstall_restores_every_byte(home, scripts, content):
    gdbinit = home / ".gdbinit"
    gdbinit.write_bytes(content)
    gdbinit.chmod(0o640)
    environment = {"HOME": str(home)}
    install(environment, scripts)
    installed = gdbinit.read_bytes()
    assert installed.startswith(content)
    assert f"\ndirectory {scripts}\n".encode() in installed
    assert "already installed" in install(environment, scripts)
    assert gdbinit.read_bytes() == installed
    uninstall(environment)
    assert gdbinit.read_bytes() == content
    assert gdbinit.stat().st_mode & 0o777 == 0o640


def test_a_file_that_install_made_goes_again(home, scripts):
    install({"HOME": str(home)}, scripts)
    assert (home / ".gdbinit").exists()
    assert "uninstalled" in uninstall({"HOME": str(home)})
    assert list(home.iterdir()) == []
    assert "not installed" in uninstall({"HOME": str(home)})


def test_a_file_that_install_made_stays_with_what_was_added_since(home, scripts):
    install({"HOME": str(home)}, scripts)
    with (home / ".gdbinit").open("a") as file:
        file.write("set confirm off\n")
    uninstall({"HOME": str(home)})
    assert (home / ".gdbinit").read_text() == "set confirm off\n"


def test_another_clone_takes_the_place_of_the_first(home, scripts, tmp_path):
    other = tmp_path / "other" / "scripts"
    other.mkdir(parents=True)
    (other / "gdbext").touch()
    install({"HOME": str(home)}, scripts)
    install({"HOME": str(home)}, other)
    text = (home / ".gdbinit").read_text()
    assert str(other) in text
    assert str(scripts) not in text
    uninstall({"HOME": str(home)})
    assert not (home / ".gdbinit").exists()


def test_the_file_that_gdb_reads(home):
    config = home / ".config" / "gdb" / "gdbinit"
    assert gdbinit_candidates({"HOME": str(home)}) == (config, home / ".gdbinit")
    assert gdbinit_candidates({"HOME": str(home), "XDG_CONFIG_HOME": ""}) == (config, home / ".gdbinit")
    xdg = {"HOME": str(home), "XDG_CONFIG_HOME": "/xdg"}
    assert gdbinit_candidates(xdg) == (Path("/xdg/gdb/gdbinit"), home / ".gdbinit")
    with pytest.raises(UsageError):
        gdbinit_candidates({})


def test_the_config_file_wins_if_it_exists(home, scripts):
    config = home / ".config" / "gdb" / "gdbinit"
    config.parent.mkdir(parents=True)
    config.touch()
    install({"HOME": str(home)}, scripts)
    assert config.stat().st_size > 0
    assert not (home / ".gdbinit").exists()


def test_a_symbolic_link_stays_one(home, scripts, tmp_path):
    real = tmp_path / "dotfiles-gdbinit"
    real.write_text("set confirm off\n")
    (home / ".gdbinit").symlink_to(real)
    install({"HOME": str(home)}, scripts)
    assert (home / ".gdbinit").is_symlink()
    assert str(scripts) in real.read_text()


def test_what_gdb_cannot_have_on_its_path(home, scripts, tmp_path):
    with pytest.raises(UsageError, match="':'"):
        install({"HOME": str(home)}, tmp_path / "a:b")
    with pytest.raises(UsageError, match="loader"):
        install({"HOME": str(home)}, tmp_path)


def test_blanks_in_a_path_are_quoted():
    assert directory_command(Path("/a b/c")) == "directory /a\\ b/c"
