"""``gdbext open DUMP``: any command of gdbext over a dump, from a shell; without a dump, those that need no memory."""

import argparse
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from gdbext.commands import COMMANDS
from gdbext.commands.record import Command
from gdbext.errors import GdbextError, UsageError
from gdbext.machine.dump import Dump, open_dump
from gdbext.machine.registers import read_registers
from gdbext.offline.dump import OpenDump
from gdbext.report import Style, json, render
from gdbext.report.progress import progress_line
from gdbext.report.results import Judgement
from gdbext.report.text import shows_unicode

DESCRIPTION = """\
Runs commands on a machine's memory in a file, without gdb and the machine: an ELF core written by QEMU's monitor
(`dump-guest-memory FILE`), or a raw image (`pmemsave`, or the file that holds the guest's RAM) with a file of registers
(the output of `info registers` is enough; docs/memory.md has the other forms).

Without DUMP it works on the kernel's file alone: `memprofile check` reports whether every name in a profile resolves.

Commands follow `--`, with another `--` between commands; without any they are read from standard input, one per
line. Addresses and numbers are expressions over the kernel's symbols (--elf) and registers ($cr3, $rip).

Exit status: 0 on success, 1 when a command failed (the others still run), 2 when the dump cannot be opened,
3 when no command failed but a check (memcheck, vmcheck, pmmstat, heapcheck) had findings of severity error, or
memprofile check found problems.
"""
EPILOG = """\
examples:
  gdbext open guest.dump --elf kernel.elf -- vmmap
  gdbext open guest.dump --elf kernel.elf --profile kernel.toml -- pmmstat -- heapcheck -json
  gdbext open --elf kernel.elf --profile kernel.toml -- memprofile check
  gdbext open ram.img --registers registers.txt -- vmwalk 0xffff800000001000
"""
PROMPT = "(gdbext) "
FAILED, FOUND = 1, 3
"""Exit statuses, as those of ``scripts/run --batch``."""


def main(words: Sequence[str]) -> int:
    """Run the arguments that follow ``gdbext open``; the exit status. A GdbextError when nothing can be opened."""
    own, commands = _split(words)
    parser = argparse.ArgumentParser(
        prog="gdbext open",
        usage="%(prog)s [DUMP] [OPTIONS] [-- COMMAND [-- COMMAND]...]",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_arguments(parser)
    options = parser.parse_args(own)
    if options.dump is None and (options.elf is None or options.registers is not None):
        parser.error("give a DUMP, or a kernel alone with --elf KERNEL")
    return run(options, commands)


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """What comes before the first ``--``, and the command lines after it."""
    at = list(words).index("--") if "--" in words else len(words)
    groups = groupby(words[at:], key=lambda word: word == "--")
    return list(words[:at]), [" ".join(group) for is_cut, group in groups if not is_cut]


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dump", type=Path, nargs="?", metavar="DUMP", help="an ELF core from QEMU, or a raw image")
    parser.add_argument("--elf", type=Path, metavar="KERNEL", help="the kernel's ELF file: its symbols and types")
    parser.add_argument("--profile", metavar="FILE", help="describes the kernel to gdbext")
    parser.add_argument("--registers", type=Path, metavar="FILE", help="registers that override the dump's")
    parser.add_argument("--processor", type=int, default=0, metavar="N", help="which processor (default: %(default)s)")
    parser.add_argument(
        "--slide", type=_number, default=0, metavar="N", help="the kernel's address minus its ELF file's, in bytes"
    )


def _number(text: str) -> int:
    return int(text, 0)


def run(options: argparse.Namespace, commands: Sequence[str]) -> int:
    """Open what is given and run the commands, those from standard input when there are none; the exit status."""
    dump = _dump(options) if options.dump else None
    opened = OpenDump(dump, options.elf, options.slide)
    if options.profile is not None:
        opened.profiles.use(options.profile)
    return _run_all(opened, commands or _typed())


def _dump(options: argparse.Namespace) -> Dump:
    """The dump; its doubts are printed."""
    registers = read_registers(options.registers, options.processor) if options.registers else None
    dump = open_dump(options.dump, registers, options.processor)
    for doubt in dump.doubts:
        sys.stderr.write(f"{options.dump}: doubt: {doubt}\n")
    return dump


def _typed() -> Iterator[str]:
    """Lines from standard input, with a prompt at a terminal, until it ends or ``quit``."""
    interactive = sys.stdin.isatty()
    while True:
        try:
            line = input(PROMPT if interactive else "").strip()
        except EOFError:
            return
        if line in {"quit", "exit", "q"}:
            return
        if line and not line.startswith("#"):
            yield line


def _run_all(opened: OpenDump, lines: Iterable[str]) -> int:
    """Run each line; the exit status."""
    failed = found = False
    for line in lines:
        name = line.split()[0]
        try:
            with progress_line(name):
                shown, errors = _answer(opened, line)
            sys.stdout.write(shown)
            found |= errors > 0
        except GdbextError as error:
            sys.stdout.flush()
            prefix = "" if str(error).startswith(name) else f"{name}: "
            sys.stderr.write(f"{prefix}{error}\n")
            failed = True
        sys.stdout.flush()
    return FAILED if failed else FOUND if found else 0


def _answer(opened: OpenDump, line: str) -> tuple[str, int]:
    """What a command prints (nothing when ``-output`` sends it elsewhere), and how many errors a check has reported."""
    name, _, rest = line.removeprefix("gdbext ").partition(" ")
    if name == "help":
        return _help(rest.strip()), 0
    command = _command(name)
    arguments = command.parse(rest)
    result = command.run(opened.session(), arguments)
    path = arguments.text("-output")
    content = json.text(command.name, result) if arguments.has("-json") else render(result, _style(path is None))
    errors = result.errors if isinstance(result, Judgement) else 0
    if path is not None:
        json.write(path, content)
        return "", errors
    return content + "\n", errors


def _command(name: str) -> Command:
    for command in COMMANDS:
        if command.name == name:
            return command
    raise UsageError(f"there is no command '{name}'; use {', '.join(command.name for command in COMMANDS)}")


def _help(name: str) -> str:
    if name:
        return _command(name).help + "\n"
    return "".join(f"{command.name:<12} {command.summary}\n" for command in COMMANDS)


def _style(shown: bool) -> Style:
    """The style of standard output: as wide as the terminal and coloured there, plain elsewhere."""
    if not (shown and sys.stdout.isatty()):
        return Style()
    columns = shutil.get_terminal_size().columns
    return Style(columns, colour="NO_COLOR" not in os.environ, unicode=shows_unicode(sys.stdout.encoding))
