"""``python -m bench [NAME ...]``; scripts/bench calls this with everything in place."""

import argparse
import sys
from pathlib import Path

from bench import heap, heap_read, heap_report, leaks, pmm, pmm_read, pmm_report, recheck, translation
from gdbext.headless import HeadlessError

KERNEL = Path(__file__).resolve().parents[1] / "target" / "build" / "gcc" / "kernel.elf"


def measure_managers(quick: bool, write: bool) -> None:
    """What the physical managers cost, printed or written to the documentation."""
    figures = pmm.measure(KERNEL, pmm.QUICK if quick else pmm.MEMORIES)
    if write:
        pmm_report.write(figures)
    else:
        print(pmm_report.text(figures))


def measure_heaps(write: bool) -> None:
    """What the kinds of heap cost, printed or written to the documentation."""
    figures = heap.measure(KERNEL)
    careful = {name: heap.measure(KERNEL, options) for name, options in heap.CARE.items()}
    if write:
        heap_report.write(figures, careful)
    else:
        print(heap_report.text(figures, careful))


def main() -> None:
    """What the command line asks for; scripts/bench has the usage."""
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.set_defaults(quick=False, write=False)
    names = parser.add_subparsers(dest="name")
    names.add_parser("translation")
    names.add_parser("pmm-read")
    names.add_parser("recheck")
    names.add_parser("heap-read")
    names.add_parser("heap").add_argument("--write", action="store_true")
    names.add_parser("leaks").add_argument("--write", action="store_true")
    managers = names.add_parser("pmm").add_mutually_exclusive_group()
    managers.add_argument("--quick", action="store_true")
    managers.add_argument("--write", action="store_true")
    wanted = parser.parse_args()
    if wanted.name in (None, "translation"):
        translation.main(KERNEL)
    if wanted.name in (None, "pmm"):
        measure_managers(wanted.quick, wanted.write)
    if wanted.name in (None, "heap"):
        measure_heaps(wanted.write)
    if wanted.name in (None, "pmm-read"):
        pmm_read.main(KERNEL)
    if wanted.name in (None, "heap-read"):
        heap_read.main(KERNEL)
    if wanted.name in (None, "recheck"):
        recheck.main(KERNEL)
    if wanted.name in (None, "leaks"):
        leaks.main(KERNEL, write=wanted.write)


try:
    main()
except HeadlessError as error:
    sys.exit(f"bench: {error}")
