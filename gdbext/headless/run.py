"""``scripts/run``: a kernel booted under QEMU, and gdb on it, interactively or for a list of commands."""

import argparse
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gdbext.headless.errors import CommandFailed, StartFailed
from gdbext.headless.install import LOADER, directory_command
from gdbext.headless.kernel import KernelKind, has_symbol, kernel_kind
from gdbext.headless.qemu import MachineOptions, Qemu
from gdbext.headless.session import CONNECT_SETTINGS, Session

DESCRIPTION = """\
Boots a kernel under QEMU with shared memory and opens gdb on it, with gdbext loaded and the guest stopped after
booting. Without --kernel it builds and boots the reference kernel and stops it in kernel_ready.

With --batch, or when standard input is not a terminal (commands are then read from it, one per line), it runs the
commands, prints their output, and exits with 0 on success, 1 when a command failed (the others still run),
2 when the session could not be started, 3 when no command failed but a check (memcheck, vmcheck, pmmstat,
heapcheck) had findings of severity error.

examples:
  scripts/run
  scripts/run --batch 'vmwalk 0xffff800000001000' 'pmmstat' 'heapcheck'
  scripts/run --append 'scenario=churn seed=7' --memory 1G
  scripts/run --kernel my.elf --profile my.toml --stop kmain -- -smp 4
"""

TARGET = Path(__file__).resolve().parents[2] / "target"
STOP_SYMBOL = "kernel_ready"
FREE_RUN_SECONDS = 2.0
FOUND = 3
"""The exit status when every command ran, and a check has findings of severity error."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``scripts/run``."""
    parser.add_argument("--batch", nargs="+", metavar="CMD", help="run these gdb commands, print their output, exit")
    parser.add_argument(
        "--kernel",
        type=Path,
        metavar="FILE",
        help="boot this instead: an ELF kernel, bzImage, or a CD-ROM or disk image",
    )
    parser.add_argument("--symbols", type=Path, metavar="FILE", help="the ELF file with the symbols of an image")
    parser.add_argument("--profile", type=Path, metavar="FILE", help="describes the kernel to gdbext")
    parser.add_argument("--append", default="", metavar="ARGS", help="the kernel's command line")
    parser.add_argument("--memory", default="256M", metavar="SIZE", help="RAM (default: %(default)s)")
    parser.add_argument("--cpu", default="max", help="QEMU's CPU model (default: %(default)s)")
    parser.add_argument("--machine", default="pc", choices=["pc", "q35"], help="the board (default: %(default)s)")
    parser.add_argument(
        "--stop",
        metavar="WHERE",
        help="where to stop the guest: a symbol or *ADDRESS; a time such as 5s; 'reset': do not run it; "
        "'never': leave it running. Default: kernel_ready if the kernel has it, else 2s",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="the limit for each step with --batch (default: %(default)g)",
    )
    parser.add_argument("--grub", action="store_true", help="boot the reference kernel through GRUB (multiboot 2)")
    parser.add_argument("--mb1", action="store_true", help="boot the reference kernel through multiboot 1")
    parser.add_argument("--cc", choices=["gcc", "clang"], default="gcc", help="its compiler (default: %(default)s)")
    parser.add_argument("--no-shared", action="store_true", help="ordinary QEMU memory, read through gdb's connection")


def run(options: argparse.Namespace) -> int:
    """Build, boot, open gdb; the exit status."""
    if options.kernel is None:
        kernel, symbols = build_reference(options)
    else:
        kernel, symbols = options.kernel, options.symbols
        if options.grub or options.mb1:
            raise StartFailed("--grub and --mb1 choose the reference kernel's build: do not use them with --kernel")
    if symbols is None and kernel_kind(kernel) is KernelKind.ELF:
        symbols = kernel
    where = parse_stop(options.stop) if options.stop else default_stop(symbols, own=options.kernel is None)
    if options.batch is None and sys.stdin.isatty():
        return _foreground(options, kernel, symbols, where)
    commands = options.batch if options.batch is not None else _commands_from(sys.stdin)
    return _batch(options, kernel, symbols, where, commands)


def _machine(options: argparse.Namespace) -> dict[str, Any]:
    """The options that describe the machine; ``Session`` and ``MachineOptions`` use the same names."""
    return {
        "append": options.append,
        "memory": options.memory,
        "cpu": options.cpu,
        "machine": options.machine,
        "shared": not options.no_shared,
        "qemu_args": options.qemu_args,
    }


# The reference kernel


def build_reference(options: argparse.Namespace) -> tuple[Path, Path]:
    """The reference kernel's boot image, made up to date, and the file with its symbols."""
    if not TARGET.is_dir():
        raise StartFailed("the reference kernel is not part of the installed package; name yours with --kernel FILE")
    _make(f"CC={options.cc}")
    build = TARGET / "build" / options.cc
    elf = build / ("kernel-mb1.elf" if options.mb1 else "kernel.elf")
    if not options.grub:
        return elf, elf
    # GRUB's image holds the command line, so every command line is another image.
    image = build / "run.iso"
    with progress("making the GRUB image"):
        _checked([str(TARGET / "grub" / "make-iso"), str(elf), str(image), options.append])
    options.append = ""
    return image, elf


def _make(*arguments: str) -> None:
    with progress("building the reference kernel"):
        _checked(["make", "-C", str(TARGET), "--no-print-directory", "-s", *arguments])


def _checked(command: list[str]) -> None:
    """Run a command whose output the user is to see."""
    try:
        status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False).returncode
    except OSError as error:
        raise StartFailed(f"cannot start {command[0]}: {error.strerror}") from error
    if status != 0:
        raise StartFailed(f"`{' '.join(command)}` failed (exit status {status}); its messages are above")


@contextmanager
def progress(what: str) -> Iterator[None]:
    """Report what is being done, but only once it has taken a second."""
    timer = threading.Timer(1.0, _say, [f"{what} ..."])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _say(message: str) -> None:
    sys.stderr.write(f"run: {message}\n")
    sys.stderr.flush()


# Where to stop


@dataclass(frozen=True)
class StopWhere:
    """Where the guest is to stop before anything else happens. Exactly one field is set."""

    symbol: str = ""
    after_seconds: float = 0.0
    at_reset: bool = False
    never: bool = False


def parse_stop(text: str) -> StopWhere:
    """What ``--stop`` says."""
    if text in ("reset", "never"):
        return StopWhere(at_reset=text == "reset", never=text == "never")
    seconds = re.fullmatch(r"(\d+(?:\.\d+)?)s", text)
    return StopWhere(after_seconds=float(seconds[1])) if seconds else StopWhere(symbol=text)


def default_stop(symbols: Path | None, *, own: bool) -> StopWhere:
    """``kernel_ready`` if the kernel has it; any other kernel runs for a moment."""
    if own or (symbols is not None and has_symbol(symbols, STOP_SYMBOL)):
        return StopWhere(symbol=STOP_SYMBOL)
    _say(
        f"this kernel has no symbol {STOP_SYMBOL}: it runs for {FREE_RUN_SECONDS:g} s and is then stopped "
        "wherever it is (choose another place with --stop SYMBOL)"
    )
    return StopWhere(after_seconds=FREE_RUN_SECONDS)


# Batch


def _commands_from(lines: Iterable[str]) -> list[str]:
    stripped = (line.strip() for line in lines)
    return [line for line in stripped if line and not line.startswith("#")]


def _batch(
    options: argparse.Namespace, kernel: Path, symbols: Path | None, where: StopWhere, commands: list[str]
) -> int:
    with progress(f"booting {kernel.name}"):
        session = Session(
            kernel, symbols=symbols, profile=options.profile, timeout=options.timeout, **_machine(options)
        )
    with session:
        with progress(f"running to {where.symbol or 'the stop'}"):
            _bring_to_stop(session, where)
        failed = found = 0
        for command in commands:
            failed += not _run_one(session, command)
            found += session.errors_found() > 0
    if failed:
        _say(f"{failed} of {len(commands)} commands failed")
        return 1
    if found:
        _say("a check has findings of severity error")
        return FOUND
    return 0


def _bring_to_stop(session: Session, where: StopWhere) -> None:
    if where.symbol:
        session.run_to(where.symbol)
    elif where.after_seconds:
        session.start()
        time.sleep(where.after_seconds)
        session.interrupt()
    elif where.never:
        session.start()


def _run_one(session: Session, command: str) -> bool:
    """Run and print one command; whether it succeeded."""
    sys.stdout.write(f"(gdb) {command}\n")
    try:
        with progress(command):
            output = session.run_command(command)
    except CommandFailed as error:
        sys.stdout.flush()
        sys.stderr.write(f"{error.reason}\n\n")
        sys.stderr.flush()
        return False
    sys.stdout.write(output.text if output.text.endswith("\n") or not output.text else output.text + "\n")
    sys.stdout.write("\n")
    sys.stdout.flush()
    sys.stderr.write(output.log)
    sys.stderr.flush()
    return True


# Interactive


def _foreground(options: argparse.Namespace, kernel: Path, symbols: Path | None, where: StopWhere) -> int:
    machine = MachineOptions(kernel, paused=not where.after_seconds, **_machine(options))
    with Qemu(machine) as qemu:
        qemu.await_ready()
        time.sleep(where.after_seconds)
        # Ctrl-C in this terminal is for gdb, which stops the guest with it. (A handler, unlike ignoring the signal,
        # is not inherited by gdb.)
        previous = signal.signal(signal.SIGINT, lambda *_: None)
        try:
            return subprocess.run(gdb_command(qemu, symbols, options.profile, where), check=False).returncode
        except OSError as error:
            raise StartFailed(f"cannot start gdb: {error.strerror}; run scripts/setup") from error
        finally:
            signal.signal(signal.SIGINT, previous)


def gdb_command(qemu: Qemu, symbols: Path | None, profile: Path | None, where: StopWhere) -> list[str]:
    """The interactive gdb: connected, gdbext loaded, at the stop."""
    command = ["gdb", "-q", "-iex", _silently(directory_command(LOADER.parent))]
    if symbols is not None:
        command.append(str(symbols.resolve()))
    steps = ["set debuginfod enabled off", *map(_silently, CONNECT_SETTINGS), f"source {LOADER}"]
    steps.append(f"target remote {qemu.gdb_socket}")
    if profile is not None:
        steps.append(f"memprofile use {profile.resolve()}")
    if where.symbol:
        steps += [f"thbreak {where.symbol}", "continue"]
    elif where.never:
        steps.append("continue &")
    steps.append(f"echo {_hint(qemu)}")
    for step in steps:
        command += ["-ex", step]
    return command


def _silently(command: str) -> str:
    """A gdb command without the confirmation that it prints."""
    return f"python gdb.execute({command!r}, to_string=True)"


def _hint(qemu: Qemu) -> str:
    lines = [
        "",
        "gdbext is loaded. To start, try vmmap, vmwalk $pc, pmmstat, heapcheck; `help gdbext` lists all.",
        f"The guest's serial output is in {qemu.directory}/serial, QEMU's monitor is reached with `monitor COMMAND`.",
        "",
    ]
    return "\\n".join(lines)
