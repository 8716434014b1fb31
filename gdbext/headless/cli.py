"""``gdbext run | open | install | uninstall``: what a shell can ask of gdbext."""

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence

from gdbext import __version__
from gdbext.errors import GdbextError
from gdbext.headless import run
from gdbext.headless.install import install, uninstall

NOT_STARTED = 2
"""The exit status when there is no session at all: wrong arguments, no kernel, no QEMU, no gdb."""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line as attributes; what follows ``--`` is for QEMU."""
    own, qemu_args = _split(arguments)
    parser = argparse.ArgumentParser(prog="gdbext", description="See and check a kernel's memory managers from gdb.")
    parser.add_argument("--version", action="version", version=f"gdbext {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    run.add_arguments(
        commands.add_parser(
            "run",
            help="boot a kernel under QEMU and open gdb on it",
            description=run.DESCRIPTION,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            prog="scripts/run" if run.TARGET.is_dir() else "gdbext run",
            usage="%(prog)s [OPTIONS] [--batch CMD...] [-- QEMU ARGS]",
        )
    )
    commands.add_parser("open", help="look at a dump, or check a profile, without gdb", add_help=False)
    commands.add_parser("install", help="make `source gdbext` work in every gdb: adds a line to your gdbinit")
    commands.add_parser("uninstall", help="take that line out again")
    options, unknown = parser.parse_known_args(own)
    if options.command is None:
        parser.exit(NOT_STARTED, parser.format_help())
    if unknown:  # the parser would print its own usage, not the command's
        commands.choices[options.command].error(f"unrecognized arguments: {' '.join(unknown)}")
    if qemu_args and options.command != "run":
        parser.error("only `run` takes arguments for QEMU")
    options.qemu_args = qemu_args
    return options


def _split(arguments: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    if "--" not in arguments:
        return list(arguments), ()
    at = list(arguments).index("--")
    return list(arguments[:at]), tuple(arguments[at + 1 :])


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names in a kernel and of files may have characters that the locale's encoding lacks.
        sys.stdout.reconfigure(errors="backslashreplace")
    if words[:1] == ["open"]:
        return _guarded("open", lambda: _open(words[1:]))
    options = parse(words)
    return _guarded(options.command, lambda: _do(options))


def _open(words: list[str]) -> int:
    # The rest of gdbext is loaded for this command alone: it has options of its own, and needs neither QEMU nor gdb.
    from gdbext.offline import cli  # noqa: PLC0415

    return cli.main(words)


def _do(options: argparse.Namespace) -> int:
    if options.command == "run":
        return run.run(options)
    done = install() if options.command == "install" else uninstall()
    sys.stdout.write(done + "\n")
    return 0


def _guarded(name: str, deed: Callable[[], int]) -> int:
    """The exit status of a command; what goes wrong is one line."""
    try:
        return deed()
    except BrokenPipeError:
        # Whoever read the output has had enough, as in `| head`. Python must not try to write the rest when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (GdbextError, OSError) as error:
        sys.stderr.write(f"{name}: {error}\n")
        return NOT_STARTED
    except KeyboardInterrupt:
        return 130
