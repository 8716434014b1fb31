"""The kernel's direct map as a source of physical memory: located by the profile, verified by its page tables.

The tables are read through the very map that they describe. So the map's base is verified first:
the tables that the debugger reads at ``base + root`` must translate that address to ``root``.
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
"""How far from its base a direct map is searched if the end of RAM is not known: 64 TiB."""


def read_direct_map(profile: BoundProfile, cpu: CpuState, virtual: VirtualMemory, ram: RamMap | None) -> DirectMap:
    """Physical memory through the direct map of a profile; ``virtual`` are the debugger's own reads.

    ``ram`` are the RAM ranges, None if they are not known: then they are read from the kernel. Raises a GdbextError
    that says what is missing.
    """
    mode = paging_mode(cpu)
    if mode is None:
        raise MemoryUnavailable("paging is off, so the kernel has no direct map yet")
    if profile.direct_map is None:
        raise DescriptionError(f"the profile '{profile.kernel.name}' does not say where it is: set address.direct_map")
    base = VirtAddr(profile.direct_map.evaluate(virtual) & WORD_MASK)
    memory = DirectMapMemory(EVERYWHERE, base, virtual.read)
    root = mode.root_of(cpu.cr3)
    if walk(memory, cpu, (base + root) & WORD_MASK).physical != root:
        raise MemoryUnavailable(f"at {hex_address(base)} it does not map the page tables' root: {hex_address(root)}")
    how = f"physical memory is read at {hex_address(base)}, where the kernel maps it"
    if ram is not None:
        return DirectMap(DirectMapMemory(ram, base, virtual.read), how)
    if profile.boot_map is None:
        ram = _all_that_is_mapped(memory, cpu, base)
        doubt = "the profile has no boot_map, so everything mapped there counts as RAM, devices too"
        return DirectMap(DirectMapMemory(ram, base, virtual.read), f"{how}; {doubt}")
    must_be_ram = [root, *_image(profile, cpu, virtual, memory)]
    ram = _ram_of(profile.boot_map, virtual, must_be_ram)
    return DirectMap(DirectMapMemory(ram, base, virtual.read), f"{how}; RAM is as its boot map says")


def _image(
    profile: BoundProfile, cpu: CpuState, virtual: VirtualMemory, memory: DirectMapMemory
) -> tuple[PhysAddr, ...]:
    """The physical address of the kernel's image, if the profile and the tables give it."""
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
    """The physical ranges that the direct map maps, each at its own offset."""
    last = VirtAddr(min(base + WINDOW, 1 << 64) - 1)
    runs = enumerate_space(memory, cpu, None, (base, last)).runs
    linear = runs.take(runs.start - np.uint64(base) == runs.physical)
    linear = merged(Runs(linear.start, linear.size, linear.physical, np.zeros_like(linear.attributes)))
    return RamMap(
        RamRange(PhysAddr(start), PhysAddr(start + size))
        for start, size in zip(linear.physical.tolist(), linear.size.tolist(), strict=True)
    )
