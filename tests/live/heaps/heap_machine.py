"""The reference kernel's kinds of heap, and a machine whose memory can be put back to how it was at a stop."""

import tomllib

import numpy as np

from ..conftest import ROOT
from ..physical.pmm_machine import Machine, number

HEAPS = ("list", "next", "avl", "redblack", "tags", "bump", "buddy", "slab", "pools", "guard")
REFERENCE = ROOT / "gdbext" / "profiles" / "reference.toml"


def profile_heaps():
    """The heaps of the reference profile, by name."""
    return tomllib.loads(REFERENCE.read_text())["heap"]


def is_kind(heap, kind):
    """Whether an entry of the profile is the kernel's heap when it is of this kind."""
    return heap.get("when", "").endswith(f".operations == &heap_{kind}_operations")


def described(kind):
    """Whether the reference profile describes the kernel's heap when it is of this kind."""
    return any(is_kind(heap, kind) for heap in profile_heaps().values())


class HeapMachine(Machine):
    """A kernel that stopped twice: `inject` goes on from the second stop, and `restore` leads back to it.

    Both stops are in kernel_ready, the second with the idle loop behind it, like all that come after: registers are the
    same at each, so putting back memory puts back everything.
    """

    def __init__(self, kernel, **options):
        super().__init__(kernel, **options)
        assert "there is no such fault" in self.inject(999)
        self._ram = np.memmap(self.qemu.directory / "ram", dtype=np.uint64, mode="r+")
        self._saved = self._ram.copy()

    def restore(self):
        """Memory as it was."""
        changed = np.flatnonzero(self._ram != self._saved)
        self._ram[changed] = self._saved[changed]

    def place(self, fault):
        """Where the kernel says the damage is. Of a lost pointer it keeps the complement, or it would not be lost."""
        where = number(self, "fault_done.where")
        return where ^ ((1 << 64) - 1) if fault == 120 else where
