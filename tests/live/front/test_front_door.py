"""The front door: scripts/run, `source gdbext`, headless sessions, install, and what is left behind afterwards."""

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from gdbext.headless import CommandFailed, NotReached, Session, StartFailed
from gdbext.headless.install import directory_command
from gdbext.headless.qemu import QEMU
from tests.live.conftest import ROOT

SCRIPTS = ROOT / "scripts"
WALK = "vmwalk 0xffff800000001000"


def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPTS / "run", *arguments], input=stdin, capture_output=True, text=True, timeout=120, check=False
    )


def gdb(*commands: str, cwd: Path = ROOT, environment: Mapping[str, str] | None = None, nx: bool = True) -> str:
    """What a gdb in batch mode prints, standard error included."""
    line = ["gdb", "-q", "-batch", *(["-nx"] if nx else [])]
    for command in commands:
        line += ["-ex", command]
    done = subprocess.run(
        line, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60,
        stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    return done.stdout


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


# scripts/run


def test_batch_prints_answers_and_exits_with_0():
    done = run("--batch", "info symbol $pc", WALK)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("(gdb) info symbol $pc\nkernel_ready")
    walk = done.stdout.split(f"(gdb) {WALK}\n")[1]
    assert re.search(r"\b0x1000\b", walk)


def test_a_failing_command_makes_1_and_the_others_still_run():
    done = run("--batch", "no-such-command", "print 6 * 7")
    assert done.returncode == 1
    assert "= 42" in done.stdout
    assert "no-such-command" in done.stderr


def test_commands_come_from_standard_input_when_it_is_no_terminal():
    done = run(stdin="# a comment\n\nprint 6 * 7\n  print 1 + 1\n")
    assert done.returncode == 0
    assert done.stdout == "(gdb) print 6 * 7\n$1 = 42\n\n(gdb) print 1 + 1\n$2 = 2\n\n"


def test_the_words_of_qemus_monitor_are_printed():
    done = run("--batch", "monitor info status")
    assert done.returncode == 0, done.stderr
    assert "VM status: paused" in done.stdout


BREAK_A_HEADER = "set var kernel_heap.list.head->next->magic = 0"


@pytest.mark.parametrize(
    ("commands", "status"),
    [
        (["memcheck", "pmmstat"], 0),
        ([BREAK_A_HEADER, "heapcheck", "print 1"], 3),
        ([BREAK_A_HEADER, "memcheck -json", "no-such-command"], 1),
        (["set var pmm.lock.locked = 1", "set var pmm.used = 0", "pmmstat"], 0),  # in flux: no error
    ],
)
def test_errors_that_checks_find_make_3(commands, status):
    done = run("--batch", *commands)
    assert done.returncode == status, done.stdout + done.stderr
    assert ("severity error" in done.stderr) == (status == 3)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--kernel", "/dev/null"], "is not a kernel"),
        (["--memory", "12Q"], "not a memory size"),
        (["--cpu", "no-such-cpu"], "no-such-cpu"),
        (["--stop", "no_such_symbol"], 'Function "no_such_symbol" not defined'),
        (["--profile", "/nonexistent.toml"], "file /nonexistent.toml does not exist"),
        (["--batch", "print 1", "--", "-no-such-option"], "-no-such-option"),
        (["--no-such-option"], "unrecognized arguments"),
    ],
)
def test_no_session_makes_2_and_says_why(arguments, reason):
    done = run(*arguments)
    assert done.returncode == 2
    assert reason in done.stderr.splitlines()[-1]
    assert done.stdout == ""


@pytest.mark.parametrize("arguments", [["--mb1"], ["--grub"], ["--cc", "clang"], ["--no-shared"], ["--memory", "16M"]])
def test_every_way_to_boot_reaches_the_stop(arguments):
    done = run("--append", "scenario=idle", *arguments, "--batch", "info symbol $pc")
    assert done.returncode == 0, done.stderr
    assert "kernel_ready" in done.stdout


def test_a_kernel_of_ones_own_without_the_stop_runs_for_a_moment(gcc_kernel, tmp_path):
    stripped = tmp_path / "kernel.elf"
    subprocess.run(["objcopy", "--strip-all", gcc_kernel, stripped], check=True)
    done = run("--kernel", str(stripped), "--batch", "print/x $cr0 & 0x80000000")
    assert done.returncode == 0, done.stderr
    assert "no symbol kernel_ready" in done.stderr
    assert "= 0x80000000" in done.stdout  # it had turned paging on by then


def test_help_needs_no_session():
    for script in ("run", "test", "setup"):
        done = subprocess.run([SCRIPTS / script, "--help"], capture_output=True, text=True, timeout=30, check=True)
        assert done.stdout.startswith(f"usage: scripts/{script}")


class Terminal:
    """scripts/run on a terminal, with typed input."""

    def __init__(self, kind: str = "dumb") -> None:
        self.child, self.fd = pty.fork()
        if self.child == 0:
            os.execve(SCRIPTS / "run", ["run"], {**os.environ, "TERM": kind})
        self.unread = ""

    def read_until(self, text: str, seconds: float = 30.0) -> str:
        deadline = time.monotonic() + seconds
        while text not in self.unread:
            assert time.monotonic() < deadline, f"no {text!r} in {self.unread!r}"
            if select.select([self.fd], [], [], 0.1)[0]:
                self.unread += os.read(self.fd, 65536).decode(errors="replace")
        seen, _, self.unread = self.unread.partition(text)
        return seen

    def type(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def exit_status(self) -> int:
        _, status = os.waitpid(self.child, 0)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


def test_a_person_gets_a_prompt_at_the_stop_and_ctrl_c_stops_the_guest():
    terminal = Terminal()
    seen = terminal.read_until("(gdb) ")
    assert "Temporary breakpoint 1, kernel_ready ()" in seen
    terminal.type("source gdbext\ncontinue\n")
    terminal.read_until("Continuing.")
    time.sleep(1)  # a Ctrl-C before gdb has let the guest go would only be a "Quit"
    terminal.type("\x03")
    terminal.read_until("SIGINT")
    terminal.type("set confirm off\nquit\n")
    assert terminal.exit_status() == 0
    directory = re.search(r"output is in (\S+)/serial", seen)
    assert directory is not None
    assert not Path(directory[1]).exists()


def test_a_person_who_waits_is_told_how_far_it_is():
    terminal = Terminal("vt100")
    terminal.read_until("(gdb) ")
    terminal.type("python import gdbext.report.progress as line; line.PATIENCE = 0\n")
    terminal.read_until("(gdb) ")
    terminal.type("vmmap\n")
    terminal.read_until("\rvmmap: reading memory, 0% (Ctrl-C to stop)\r")
    terminal.read_until("    \r4-level paging")
    terminal.type("set confirm off\nquit\n")
    assert terminal.exit_status() == 0


# source gdbext

LOADED = "python print('gdbext.bridge' in sys.modules, gdbext.__file__)"
FROM_HERE = f"True {ROOT}/gdbext/__init__.py"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A directory that holds a folder `gdbext` which has nothing to do with ours."""
    (tmp_path / "gdbext").mkdir()
    (tmp_path / "gdbext" / "__init__.py").write_text("raise SystemExit('the wrong gdbext')")
    return tmp_path


@pytest.mark.parametrize(
    "commands",
    [
        [f"source {SCRIPTS}/gdbext"],
        [directory_command(SCRIPTS), "source gdbext"],
        [directory_command(SCRIPTS), "source gdbext", "source gdbext"],
        [f"source {SCRIPTS}/../scripts/gdbext"],
    ],
)
def test_the_loader_finds_its_clone(commands, elsewhere):
    output = gdb(*commands, "python import sys, gdbext", LOADED, cwd=elsewhere)
    assert output.splitlines()[-1] == FROM_HERE, output
    assert "rror" not in output


def test_the_loader_finds_its_clone_through_links(elsewhere):
    (elsewhere / "link").symlink_to(SCRIPTS)
    (elsewhere / "mine.gdb").symlink_to(SCRIPTS / "gdbext")
    for path in ("link/gdbext", "mine.gdb"):
        assert gdb(f"source {path}", "python import sys, gdbext", LOADED, cwd=elsewhere).splitlines()[-1] == FROM_HERE


def test_the_loader_works_from_a_directory_with_a_blank(tmp_path):
    clone = tmp_path / "a clone"
    clone.mkdir()
    shutil.copytree(SCRIPTS, clone / "scripts", symlinks=True)
    shutil.copytree(ROOT / "gdbext", clone / "gdbext", ignore=shutil.ignore_patterns("__pycache__"))
    (clone / ".venv").symlink_to(ROOT / ".venv")
    (clone / "pyproject.toml").touch()
    output = gdb(f"source {clone}/scripts/gdbext", "python import sys, gdbext", LOADED)
    assert output.splitlines()[-1] == f"True {clone}/gdbext/__init__.py"


@pytest.mark.parametrize(("virtual_environment", "reason"), [(None, "is missing"), ("python3.4", "is not for")])
def test_the_loader_names_the_remedy_in_one_line(tmp_path, virtual_environment, reason):
    shutil.copytree(SCRIPTS, tmp_path / "scripts", symlinks=True)
    shutil.copytree(ROOT / "gdbext" / "loader", tmp_path / "gdbext" / "loader")
    (tmp_path / "gdbext" / "__init__.py").touch()
    (tmp_path / "pyproject.toml").touch()
    if virtual_environment:
        (tmp_path / ".venv" / "lib" / virtual_environment / "site-packages").mkdir(parents=True)
    (line,) = gdb(f"source {tmp_path}/scripts/gdbext").splitlines()
    assert line.startswith("gdbext: not loaded: ")
    assert reason in line
    assert line.endswith(f"run {tmp_path}/scripts/setup")


def test_without_a_guest_commands_say_so_in_one_line():
    output = gdb(f"source {SCRIPTS}/gdbext", "vmwalk 0x1000")
    assert len(output.splitlines()) == 1, output
    assert "Traceback" not in output


def test_the_loader_works_on_a_connection_that_is_there_already(boot):
    session = boot(append="scenario=idle")
    session.gdb.close()  # QEMU takes one debugger at a time
    target = f"target remote {session.qemu.gdb_socket}"
    for commands in ([f"source {SCRIPTS}/gdbext", target], [target, f"source {SCRIPTS}/gdbext"]):
        output = gdb(*commands, WALK)
        assert re.search(r"\b0x1000\b", output), output


def test_load_time(capsys):
    """Printed, not asserted: a busy machine must not fail the tests."""

    def best(*commands: str) -> float:
        times = []
        for _ in range(3):
            start = time.perf_counter()
            gdb(*commands)
            times.append(time.perf_counter() - start)
        return min(times)

    bare, loaded = best("python import sys"), best(f"source {SCRIPTS}/gdbext")
    with capsys.disabled():
        sys.stdout.write(f"\nloading gdbext adds {loaded - bare:.3f} s to gdb's {bare:.3f} s\n")


def test_install_makes_source_gdbext_work_everywhere(elsewhere):
    home = elsewhere / "home"
    home.mkdir()
    (home / ".gdbinit").write_bytes(b"set confirm off")
    environment = {**os.environ, "HOME": str(home)}
    environment.pop("XDG_CONFIG_HOME", None)
    tool = ROOT / ".venv" / "bin" / "gdbext"

    def loaded() -> bool:
        commands = ("source gdbext", "python import sys; print('gdbext' in sys.modules)")
        return gdb(*commands, cwd=elsewhere, environment=environment, nx=False).splitlines()[-1] == "True"

    assert not loaded()
    subprocess.run([tool, "install"], env=environment, check=True, stdout=subprocess.DEVNULL)
    assert loaded()
    subprocess.run([tool, "uninstall"], env=environment, check=True, stdout=subprocess.DEVNULL)
    assert not loaded()
    assert (home / ".gdbinit").read_bytes() == b"set confirm off"


# Headless sessions


def test_a_command_gives_its_json(session):
    walk = session.command("vmwalk", "0xffff800000001000")
    assert walk["command"] == "vmwalk"
    assert walk["physical"] == "0x1000"


def test_an_argument_may_hold_blanks(session):
    (mapping,) = session.command("vmmap", "-range", "&pmm", "&pmm + 1")["mappings"]
    there = session.command("vmwalk", "&pmm + 1")
    assert int(mapping["start"], 16) <= int(there["address"], 16) < int(mapping["end"], 16)
    assert session.command("vmmap", "-range", '"&pmm"', '"&pmm + 1"')["mappings"] == [mapping]
    with pytest.raises(CommandFailed, match=r"^vmmap -range 1: vmmap: -range needs A B"):
        session.command("vmmap", "-range", "1")


def test_execute_prints_what_the_monitor_says(session):
    assert "VM status" in session.execute("monitor info status")
    assert session.execute("vmwalk 0").startswith("0x0: ")  # which asks the monitor too, and keeps that to itself


def test_what_is_read_is_what_the_file_holds(session, kernel):
    """Physical memory through QEMU's monitor, against the kernel's own ELF file."""
    header = subprocess.run(["readelf", "-lW", kernel], capture_output=True, text=True, check=True).stdout
    segment = re.search(r"LOAD\s+(\S+)\s+\S+\s+(\S+)\s+(\S+)", header)
    assert segment is not None
    offset, physical, size = (int(text, 16) for text in segment.groups())
    assert session.read_physical(physical, size) == kernel.read_bytes()[offset : offset + size]


def test_serial_and_monitor(session):
    assert "report end" in session.serial()
    assert "gdbext-ram" in session.monitor("info memdev")


def test_an_error_carries_gdbs_own_line(session):
    with pytest.raises(CommandFailed) as error:
        session.execute("print no_such_variable")
    assert error.value.reason == 'No symbol "no_such_variable" in current context.'


def test_a_symbol_that_is_never_reached(boot):
    session = boot(append="scenario=idle")
    with pytest.raises(NotReached, match=r"did not reach kmain within 0\.5 s") as error:
        session.run_to("kmain", timeout=0.5)
    assert "report end" in str(error.value)
    assert session.execute("print 1") == "$1 = 1\n"  # stopped, and still there


def test_a_triple_fault_leaves_the_machine_to_be_looked_at(boot):
    session = boot(append="scenario=idle")
    session.execute(
        "python gdb.selected_inferior().write_memory(int(gdb.parse_and_eval('(unsigned long)&idt')), bytes(512))"
    )
    session.execute("set $pc = 0")
    with pytest.raises(NotReached, match=r"shut down or reset itself .* at 0x0;"):
        session.run_to("kmain", timeout=5)
    assert int(session.execute("output/d $cr2")) == 0


def test_a_guest_that_ends_qemu(boot):
    session = boot(stop=None, append="scenario=selftest")
    assert session.wait_for_exit() == 33
    assert "0 failed" in session.serial()


def test_a_guest_that_switches_its_machine_off_ends_qemu_too(boot):
    session = boot(append="scenario=idle")
    session.monitor("o /w 0x604 0x2000")  # the board's ACPI control register: enter S5
    assert session.qemu.wait(10) == 0


def test_a_command_that_lets_the_guest_run_waits_for_it(boot):
    session = boot(append="scenario=idle")
    before = session.execute("print $pc")
    session.execute("stepi")
    assert session.execute("print $pc") != before
    session.start()
    with pytest.raises(CommandFailed, match="running"):
        session.execute("stepi")
    session.interrupt()
    assert "kmain" in session.execute("backtrace")


def test_a_script_that_steps_is_waited_for(boot, tmp_path):
    session = boot(stop="kmain", memory="32M")
    script = tmp_path / "steps.gdb"
    script.write_text("stepi\nstepi\ndelete\nbreak kernel_ready\ncontinue\necho at the end\\n\n")
    assert session.execute(f"source {script}").endswith("at the end\n")
    assert session.execute("output/d pmm.frames > 0") == "1"
    assert session.errors_found() == 0


def test_qemu_that_does_not_start_says_why(gcc_kernel):
    with pytest.raises(StartFailed, match=f"QEMU ended during startup: {QEMU}: -bogus: invalid option"):
        Session(gcc_kernel, qemu_args=("-bogus",))


# What is left behind


def test_nothing_is_left_after_a_session(gcc_kernel):
    with Session(gcc_kernel) as session:
        qemu, debugger, directory = session.qemu.pid, session.gdb.process.pid, session.qemu.directory
        assert is_alive(qemu)
        assert is_alive(debugger)
    assert not is_alive(qemu)
    assert not is_alive(debugger)
    assert not directory.exists()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_when_the_runner_is_killed(gcc_kernel, how):
    program = (
        "import signal, sys, time\n"
        "from gdbext.headless import Session\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored when the tests run in the background
        "session = Session(sys.argv[1])\n"
        "session.start()\n"
        "print(session.qemu.pid, session.gdb.process.pid, session.qemu.directory, flush=True)\n"
        "time.sleep(60)\n"
    )
    runner = subprocess.Popen(
        [sys.executable, "-c", program, gcc_kernel], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert runner.stdout is not None
    qemu, debugger, directory = runner.stdout.readline().split()
    assert is_alive(int(qemu))
    runner.send_signal(how)
    runner.wait()
    runner.stdout.close()
    assert eventually(lambda: not is_alive(int(qemu)))
    assert eventually(lambda: not is_alive(int(debugger)))
    assert eventually(lambda: not Path(directory).exists())
