"""The kernel's direct map as a source of physical memory: located by the profile, verified with its own page tables.

The tables are reached through the very map that they describe. So it is proved first that the map's base leads to
the root table: what the debugger shows at ``base + root`` must be a tree that translates that address to ``root``.
"""

import numpy as np

from gdbext.errors import DescriptionError, MemoryUnavailable
from gdbext.machine.cpu import CpuState
from gdbext.machine.directmap import EVERYWHERE, DirectMapMemory, ram_by_kind
from gdbext.machine.memory import RamMap, RamRange, VirtualMemory
from gdbext.machine.source import DirectMap
from gdbext.pmm.bootmap import BoundBootMap, read_entries
from gdbext.profile.binding.bind import BoundProfile
from gdbext.units import WORD_MASK, PhysAddr, VirtAddr, hex_address
from gdbext.x86.modes import paging_mode
from gdbext.x86.runs import Runs, merged
from gdbext.x86.space import enumerate_space
from gdbext.x86.walk import walk

WINDOW = 1 << 46
"""The size of a direct map that is searched if the end of RAM is unknown: 64 TiB."""


def read_direct_map(profile: BoundProfile, cpu: CpuState, virtual: VirtualMemory, ram: RamMap | None) -> DirectMap:
    """Physical memory through the direct map of a profile; ``virtual`` are the debugger's own reads.

    ``ram`` is what is RAM, None when nobody has told: then it is read from the kernel. Raises a GdbextError that
    says what is missing.
    """
    mode = paging_mode(cpu)
    if mode is None:
        raise MemoryUnavailable("paging is off, so there is no direct map yet")
    if profile.direct_map is None:
        raise DescriptionError(f"the profile '{profile.kernel.name}' has no direct map; add address.direct_map to it")
    base = VirtAddr(profile.direct_map.evaluate(virtual) & WORD_MASK)
    memory = DirectMapMemory(EVERYWHERE, base, virtual.read)
    root = mode.root_of(cpu.cr3)
    if walk(memory, cpu, (base + root) & WORD_MASK).physical != root:
        raise MemoryUnavailable(
            f"the direct map at {hex_address(base)} does not map the page tables at {hex_address(root)}"
        )
    how = f"physical memory is read through the direct map at {hex_address(base)}"
    if ram is not None:
        return DirectMap(DirectMapMemory(ram, base, virtual.read), how)
    if profile.boot_map is None:
        ram = _all_that_is_mapped(memory, cpu, base)
        doubt = "the profile has no boot_map: everything mapped there counts as RAM, devices too"
        return DirectMap(DirectMapMemory(ram, base, virtual.read), f"{how}; {doubt}")
    must_be_ram = [root, *_image(profile, cpu, virtual, memory)]
    ram = _ram_of(profile.boot_map, virtual, must_be_ram)
    return DirectMap(DirectMapMemory(ram, base, virtual.read), f"{how}; RAM is known from the boot map")


def _image(
    profile: BoundProfile, cpu: CpuState, virtual: VirtualMemory, memory: DirectMapMemory
) -> tuple[PhysAddr, ...]:
    """The physical address of the kernel's image, as far as the profile and the tables give it."""
    if profile.image is None:
        return ()
    physical = walk(memory, cpu, profile.image.start.evaluate(virtual)).physical
    return () if physical is None else (physical,)


def _ram_of(bound: BoundBootMap, virtual: VirtualMemory, must_be_ram: list[PhysAddr]) -> RamMap:
    try:
        entries = read_entries(bound, virtual)
    except MemoryUnavailable as error:
        raise MemoryUnavailable(f"the boot map cannot be read: {error}") from error
    ranges = [(entry.base, entry.end, entry.type) for entry in entries]
    return ram_by_kind(ranges, tuple(usable.constant or 0 for usable in bound.usable), must_be_ram)


def _all_that_is_mapped(memory: DirectMapMemory, cpu: CpuState, base: VirtAddr) -> RamMap:
    """The physical ranges that the direct map maps at their own offsets."""
    last = VirtAddr(min(base + WINDOW, 1 << 64) - 1)
    runs = enumerate_space(memory, cpu, None, (base, last)).runs
    linear = runs.take(runs.start - np.uint64(base) == runs.physical)
    linear = merged(Runs(linear.start, linear.size, linear.physical, np.zeros_like(linear.attributes)))
    return RamMap(
        RamRange(PhysAddr(start), PhysAddr(start + size))
        for start, size in zip(linear.physical.tolist(), linear.size.tolist(), strict=True)
    )
