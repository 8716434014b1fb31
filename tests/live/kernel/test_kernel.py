"""The reference kernel's own tests, run in the kernel: what gdbext is held against must be right itself."""

import pytest

from gdbext.headless.errors import HeadlessError
from gdbext.headless.qemu import MachineOptions, Qemu

from ...building import make
from ..conftest import TARGET

PASSED = 33
MANAGERS = ("bitmap", "regions", "levels", "runs", "stack", "pages", "buddy", "tree")
HEAPS = ("next", "avl", "redblack", "buddy", "slab", "tags", "pools", "bump", "guard")
BUILDS = [
    *(("CC=gcc", manager, "list", "64M") for manager in MANAGERS),
    *(("CC=gcc", "bitmap", heap, "64M") for heap in HEAPS),
    ("CC=gcc BARE=1", "bitmap", "list", "64M"),
    ("CC=clang", "bitmap", "list", "64M"),
    ("CC=gcc", "bitmap", "list", "6G"),
]
DIRECTORIES = {"CC=gcc": "gcc", "CC=gcc BARE=1": "gcc-bare", "CC=clang": "clang"}


@pytest.mark.parametrize(("build", "manager", "heap", "memory"), BUILDS)
def test_the_kernels_own_tests_pass(build, manager, heap, memory):
    make(*build.split())
    kernel = TARGET / "build" / DIRECTORIES[build] / "kernel.elf"
    append = f"scenario=selftest pmm={manager} heap={heap}"
    with Qemu(MachineOptions(kernel, append=append, memory=memory, paused=False)) as machine:
        try:
            status = machine.wait(60)
        except HeadlessError as error:  # a panic outside the tests halts and does not end QEMU
            pytest.fail(f"{error}\n{machine.serial()}")
        assert status == PASSED, machine.serial()
        assert f"pmm: {manager}," in machine.serial()
        assert f"heap: kernel ({heap})" in machine.serial()
