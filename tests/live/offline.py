"""``gdbext open``, as a shell calls it."""

import subprocess
import sys


def opened(*arguments, expect=0, typed=None):
    """What it prints; its exit status must be the expected one."""
    command = [sys.executable, "-m", "gdbext.headless", "open", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, input=typed)
    assert done.returncode == expect, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done
