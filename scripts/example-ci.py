#!/usr/bin/env python3
"""An example to copy: boot a kernel in CI, have its memory managers checked, fail if anything is wrong.

    .venv/bin/python scripts/example-ci.py target/build/gcc/kernel.elf --stop kernel_ready

The exit status is 0 when every check held, 1 when one found something, 2 when the kernel did not get that far.
"""

# ruff: noqa: T201 - printing is what it is for

import argparse
import sys

from gdbext.headless import HeadlessError, Session


def main() -> int:
    """Boot, run to the stop, check, print what was found."""
    parser = argparse.ArgumentParser(description="Check a kernel's memory managers.")
    parser.add_argument("kernel", help="the kernel to boot, with symbols")
    parser.add_argument("--profile", help="describes the kernel to gdbext")
    parser.add_argument("--append", default="", help="the kernel's command line")
    parser.add_argument("--stop", default="kernel_ready", help="the function in which to check")
    options = parser.parse_args()
    try:
        with Session(options.kernel, profile=options.profile, append=options.append) as session:
            session.run_to(options.stop)
            result = session.command("memcheck")
    except HeadlessError as error:
        print(error, file=sys.stderr)
        return 2
    for finding in result["findings"]:
        print(f"{finding['severity']}: {finding['id']} at {finding['address']}: {finding['title']}")
    print(f"{len(result['checked'])} checks, {len(result['findings'])} findings")
    return 1 if result["findings"] else 0


if __name__ == "__main__":
    sys.exit(main())
