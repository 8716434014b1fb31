"""What `gdbext run` understands, and the QEMU command line that it makes of it."""

from pathlib import Path

import pytest

from gdbext.headless.cli import main, parse
from gdbext.headless.errors import HeadlessError, NotReached, StartFailed
from gdbext.headless.kernel import KernelKind, kernel_kind
from gdbext.headless.mi import Stop, quoted
from gdbext.headless.qemu import MachineOptions, memory_bytes, qemu_command
from gdbext.headless.run import StopWhere, default_stop, parse_stop


def file_with(path: Path, *pieces: tuple[int, bytes]) -> Path:
    content = bytearray(0x9000)
    for offset, piece in pieces:
        content[offset : offset + len(piece)] = piece
    path.write_bytes(content)
    return path


@pytest.fixture
def elf(tmp_path: Path) -> Path:
    return file_with(tmp_path / "kernel.elf", (0, b"\x7fELF"))


def test_everything_after_two_dashes_is_for_qemu():
    options = parse(["run", "--batch", "a b", "c", "--memory", "1G", "--", "-smp", "4", "--", "-x"])
    assert options.batch == ["a b", "c"]
    assert options.memory == "1G"
    assert options.qemu_args == ("-smp", "4", "--", "-x")


def test_defaults():
    options = parse(["run"])
    assert (options.batch, options.kernel, options.stop, options.qemu_args) == (None, None, None, ())


@pytest.mark.parametrize(
    "arguments",
    [["run", "--bogus"], ["run", "--batch"], ["run", "--cc", "tcc"], ["install", "--", "-x"], [], ["nonsense"]],
)
def test_wrong_command_lines_end_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as error:
        parse(arguments)
    assert error.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_a_wrong_option_shows_the_usage_of_run(capsys):
    with pytest.raises(SystemExit):
        parse(["run", "--bogus"])
    assert capsys.readouterr().err.splitlines()[-1] == "scripts/run: error: unrecognized arguments: --bogus"


def test_a_kernel_that_is_not_there_is_one_line_and_2(capsys):
    assert main(["run", "--kernel", "/nonexistent/kernel.elf", "--batch", "x"]) == 2
    assert capsys.readouterr().err == "run: cannot read the kernel /nonexistent/kernel.elf: No such file or directory\n"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("kmain", StopWhere(symbol="kmain")),
        ("*0x100000", StopWhere(symbol="*0x100000")),
        ("5s", StopWhere(after_seconds=5)),
        ("0.25s", StopWhere(after_seconds=0.25)),
        ("reset", StopWhere(at_reset=True)),
        ("never", StopWhere(never=True)),
    ],
)
def test_where_to_stop(text, where):
    assert parse_stop(text) == where


def test_a_kernel_without_symbols_runs_for_a_moment(capsys):
    assert default_stop(None, own=False) == StopWhere(after_seconds=2)
    assert "no symbol kernel_ready" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "size"),
    [("256M", 256 << 20), ("1G", 1 << 30), ("16", 16 << 20), ("1.5g", 3 << 29), ("64MiB", 64 << 20), ("512K", 1 << 19)],
)
def test_memory_sizes(text, size):
    assert memory_bytes(text) == size


@pytest.mark.parametrize("text", ["", "12Q", "-1G", "1 2"])
def test_no_memory_sizes(text):
    with pytest.raises(HeadlessError, match="not a memory size"):
        memory_bytes(text)


def test_kinds_of_kernels(tmp_path, elf):
    assert kernel_kind(elf) is KernelKind.ELF
    assert kernel_kind(file_with(tmp_path / "a", (0x202, b"HdrS"), (0x1FE, b"\x55\xaa"))) is KernelKind.BZIMAGE
    assert kernel_kind(file_with(tmp_path / "b", (0x8001, b"CD001"), (0x1FE, b"\x55\xaa"))) is KernelKind.ISO
    assert kernel_kind(file_with(tmp_path / "c", (0x1FE, b"\x55\xaa"))) is KernelKind.DISK
    with pytest.raises(StartFailed, match="is not a kernel"):
        kernel_kind(file_with(tmp_path / "d"))


def after(command: list[str], option: str) -> str:
    return command[command.index(option) + 1]


def test_memory_is_a_file_that_others_can_map(elf):
    command = qemu_command(MachineOptions(elf, memory="1G"), Path("/dir"))
    assert after(command, "-object") == "memory-backend-file,id=gdbext-ram,size=1073741824,mem-path=/dir/ram,share=on"
    assert "memory-backend=gdbext-ram" in command


def test_memory_that_is_not_shared_is_qemus_own(elf):
    command = qemu_command(MachineOptions(elf, shared=False), Path("/dir"))
    assert "-object" not in command
    assert after(command, "-m") == "262144K"


def test_an_elf_kernel_gets_its_command_line(elf):
    command = qemu_command(MachineOptions(elf, append="scenario=idle seed=7", qemu_args=("-smp", "2")), Path("/dir"))
    assert after(command, "-kernel") == str(elf)
    assert after(command, "-append") == "scenario=idle seed=7"
    assert command[-2:] == ["-smp", "2"]
    assert "-S" in command


def test_an_image_is_a_drive_and_takes_no_command_line(tmp_path):
    image = file_with(tmp_path / "a,b.iso", (0x8001, b"CD001"))
    command = qemu_command(MachineOptions(image), Path("/dir"))
    assert "-kernel" not in command
    assert f"file={tmp_path}/a,,b.iso," in after(command, "-drive")
    with pytest.raises(StartFailed, match="boot loader sets the command line"):
        qemu_command(MachineOptions(image, append="x"), Path("/dir"))


def test_commands_are_quoted_for_mi():
    assert quoted('p "a\\n"') == '"p \\"a\\\\n\\""'


def test_a_stop_says_what_happened():
    assert str(Stop("SIGQUIT", "kmain", 0x100000, "")).startswith("it shut down or reset itself")
    assert str(Stop("breakpoint-hit", "f", 16, "2")) == "it stopped in f at 0x10 (breakpoint-hit)"


def test_not_reached_shows_the_end_of_the_serial_output():
    message = str(NotReached("too late", "".join(f"line {n}\n" for n in range(20))))
    assert message.splitlines()[0] == "too late; the last lines on its serial port:"
    assert message.splitlines()[1:] == [f"    line {n}" for n in range(12, 20)]
    assert str(NotReached("too late", "")).endswith("    (nothing)")
