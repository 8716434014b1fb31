"""All that a stock Linux maps: gdbext's unfolded map against QEMU's `info tlb`, entry by entry, with 4 and 5 levels.

`info tlb` shows less than gdbext does, and only this much is left out of the comparison: of a physical address it
drops bits 51:50; of rights it has the leaf's own flags, not what all levels leave of them (they are compared with the
leaf that `walk` finds). It follows entries with reserved bits; Linux has none.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gdbext.headless.qemu import Qemu
from gdbext.machine.cpu import CpuState
from gdbext.machine.shared import SharedMemory
from gdbext.x86.attributes import U64, attributes_of
from gdbext.x86.modes import NX, PCD, PS, PWT, A, D, G, U, W, paging_mode
from gdbext.x86.runs import Runs
from gdbext.x86.space import enumerate_space
from gdbext.x86.walk import permissions, walk

from .linux_guest import KernelMissing, booted, build_initramfs, cpu_of, kernel_image, memory_of

pytestmark = pytest.mark.deep

COLUMNS = {"X": NX, "G": G, "P": PS, "D": D, "A": A, "C": PCD, "T": PWT, "U": U, "W": W}
"""A line's flags in their order, and the bit of the leaf that each stands for."""
PHYSICAL_BITS_SHOWN = (1 << 50) - 1

GUESTS = {"4-level": "no5lvl", "4-level, two roots": "no5lvl pti=on", "5-level": ""}

Line = tuple[int, int, str]


@pytest.fixture(scope="module")
def image(pytestconfig: pytest.Config) -> Path:
    cache = pytestconfig.cache
    assert cache is not None
    try:
        return kernel_image(cache.mkdir("linux"))
    except KernelMissing as reason:
        pytest.skip(f"no Linux kernel to boot: {reason}")


@pytest.fixture(scope="module", params=list(GUESTS))
def linux(request: pytest.FixtureRequest, image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Qemu]:
    initramfs = build_initramfs(tmp_path_factory.mktemp("linux"))
    with booted(image, initramfs, arguments=GUESTS[request.param]) as qemu:
        mode = paging_mode(cpu_of(qemu))
        assert mode is not None
        assert request.param.startswith(mode.name)
        yield qemu


def test_the_unfolded_map_equals_info_tlb(linux: Qemu) -> None:
    cpu, memory = cpu_of(linux), memory_of(linux)
    begin = time.perf_counter()
    truth = parsed(linux.monitor("info tlb"))
    asked = time.perf_counter()
    space = enumerate_space(memory, cpu)
    enumerated = time.perf_counter()
    print(f"\n{len(truth)} entries: info tlb {asked - begin:.4f} s, enumerate_space {enumerated - asked:.4f} s")
    assert (space.problem_count, space.aliases) == (0, ())
    assert sum(space.pages.values()) == len(truth)
    assert [line[:2] for line in truth] == pages(space.runs)
    for line in truth:
        check_flags(memory, cpu, line)
    check_rights(memory, cpu, space.runs)


def parsed(text: str) -> list[Line]:
    """Virtual address, physical address and flags of each line."""
    return [(int(line[:16], 16), int(line[18:34], 16), line[35:]) for line in text.splitlines()]


def pages(runs: Runs) -> list[tuple[int, int]]:
    """Each page of the runs: virtual and physical address."""
    found: list[tuple[int, int]] = []
    for start, end, physical, word in zip(runs.start, runs.end, runs.physical, runs.attributes, strict=True):
        addresses = np.arange(start, end, attributes_of(int(word)).page_size, dtype=U64)
        shown = (addresses - start + physical) & U64(PHYSICAL_BITS_SHOWN)
        found += zip(addresses.tolist(), shown.tolist(), strict=True)
    return found


def check_flags(memory: SharedMemory, cpu: CpuState, line: Line) -> None:
    """The walk of a line's address ends at a leaf with its flags and its physical address."""
    address, physical, flags = line
    found = walk(memory, cpu, address)
    leaf = found.steps[-1].value
    assert found.physical == physical, line
    assert flags == "".join(name if leaf & bit else "-" for name, bit in COLUMNS.items()), (line, found)


def check_rights(memory: SharedMemory, cpu: CpuState, runs: Runs) -> None:
    """The rights of each run are those that all levels of its first page leave."""
    mode = paging_mode(cpu)
    assert mode is not None
    for start, word in zip(runs.start.tolist(), runs.attributes.tolist(), strict=True):
        assert attributes_of(word).page == permissions(mode, walk(memory, cpu, start).steps), hex(start)
