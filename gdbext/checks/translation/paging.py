"""The rules of page tables, checked on one address space's tables and the processor's registers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gdbext.checks.finding import Broken, Rule, Severity
from gdbext.machine.cpu import CR0_WP, CpuState
from gdbext.machine.memory import RamMap
from gdbext.pmm.bootmap import BootMap
from gdbext.structures.unread import Unread
from gdbext.symbols.model import Section
from gdbext.units import FRAME_SIZE, PhysAddr, VirtAddr, hex_address, human_size
from gdbext.vmm.map import IDENTITY, Names, kinds_of
from gdbext.vmm.selfmap import self_map_windows
from gdbext.x86 import modes
from gdbext.x86.attributes import U64, Attributes, attributes_of
from gdbext.x86.rights import cache_type
from gdbext.x86.runs import Runs, matching
from gdbext.x86.space import AddressSpace
from gdbext.x86.walk import Walk

_TABLE = 0xF_FFFF_FFFF_F000
_SHARED = _TABLE | modes.P | modes.W | modes.U | modes.NX
HALF = 1 << 63
"""Addresses from here on are the kernel's half."""


@dataclass(frozen=True)
class PagingInputs:
    """The inputs of the rules of page tables. ``walk`` translates one address through the same root.

    ``roots`` are the root tables of all known address spaces, by name, this one's first: 512 entries each. Empty where
    roots have no kernel half (outside long mode).
    """

    space: AddressSpace
    cpu: CpuState
    ram: RamMap
    names: Names
    boot_map: BootMap | Unread | None
    walk: Callable[[VirtAddr], Walk]
    roots: tuple[tuple[str, PhysAddr, NDArray[np.uint64]], ...]


def _leaf(inputs: PagingInputs, address: VirtAddr) -> tuple[str, ...]:
    """The entry that maps an address, as evidence."""
    steps = inputs.walk(address).steps
    if not steps:
        return ()
    last = steps[-1]
    return (
        f"level-{last.level} entry at {hex_address(last.entry_address)} = {last.value:#x} ({' '.join(last.flags)})",
    )


def _finding(  # noqa: PLR0913 - a finding has that many facts
    inputs: PagingInputs,
    address: VirtAddr,
    expected: str,
    actual: str,
    cause: str,
    *,
    severity: Severity = Severity.ERROR,
    size: int = 0,
) -> Broken:
    """A finding about a mapping; the leaf of its first page is the evidence."""
    extent = (f"{human_size(size)} from {hex_address(address)}",) if size else ()
    return Broken(
        severity=severity,
        subject="mapping",
        address=address,
        expected=expected,
        actual=actual,
        evidence=(*extent, *_leaf(inputs, address)),
        cause=cause,
    )


def check_entries(inputs: PagingInputs) -> Iterator[Broken]:
    """PT21: no entry has a reserved bit set."""
    for problem in inputs.space.problems:
        if problem.kind == "reserved-bits":
            yield Broken(
                subject="entry",
                address=problem.entry_address or 0,
                expected=problem.detail,
                actual=f"{problem.value:#x}",
                evidence=(f"level {problem.level}, first virtual address {hex_address(problem.address)}",),
                cause="a random write, a misaligned large page, or bit 63 set while EFER.NXE is 0: any access faults",
            )


def check_tables(inputs: PagingInputs) -> Iterator[Broken]:
    """PT20: each table is in RAM, used at one level, and referenced by one entry."""
    for problem in inputs.space.problems:
        if problem.kind == "unreadable":
            yield Broken(
                subject="entry" if problem.entry_address is not None else "root",
                address=problem.entry_address if problem.entry_address is not None else problem.value,
                expected="the address of a table in RAM",
                actual=problem.detail,
                evidence=(f"first virtual address {hex_address(problem.address)}",),
                cause="the entry was overwritten, or its table's frame was freed",
            )
    yield from _check_uses(inputs)


def _check_uses(inputs: PagingInputs) -> Iterator[Broken]:
    """Tables that are used at two levels, or referenced by two entries, outside a recursive slot."""
    links = inputs.space.links
    regular = np.ones(len(links.entry), dtype=np.bool_)
    for start, span, _ in self_map_windows(inputs.space):
        regular &= (links.start < U64(start)) | (links.start > U64(start + span - 1))
    root = np.array([inputs.space.root], dtype=U64)
    top = len(links.entry) and int(links.level.max()) + 1
    tables = np.concatenate((root, links.table[regular]))
    levels = np.concatenate((np.array([top], dtype=np.uint8), links.level[regular]))
    entries = np.concatenate((np.zeros(1, dtype=U64), links.entry[regular]))
    starts = np.concatenate((np.zeros(1, dtype=U64), links.start[regular]))
    for table in _repeated(tables):
        uses = np.flatnonzero(tables == table)
        mixed = len(np.unique(levels[uses])) > 1
        which = tuple(
            f"level {levels[use]}: "
            + (
                f"entry {hex_address(int(entries[use]))}, virtual {hex_address(int(starts[use]))}"
                if entries[use]
                else "the root"
            )
            for use in uses.tolist()[:8]
        )
        yield Broken(
            severity=Severity.ERROR if mixed else Severity.WARNING,
            subject="table",
            address=int(table),
            expected="a table used at one level and referenced by one entry",
            actual=f"referenced {len(uses)} times" + (", at different levels" if mixed else ""),
            evidence=which,
            cause="an entry points back up the tree, or to another table's frame"
            if mixed
            else "a subtree is shared: correct for an identity map that duplicates the kernel's half, wrong otherwise",
        )


def _repeated(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    unique, counts = np.unique(values, return_counts=True)
    return unique[counts > 1]


def check_kernel_half(inputs: PagingInputs) -> Iterator[Broken]:
    """PT23: the upper halves of all known roots point to the same tables; a recursive slot may differ."""
    _, own_root, own = inputs.roots[0]
    for name, root, entries in inputs.roots[1:]:
        recursive = ((own & U64(_TABLE)) == U64(own_root)) & ((entries & U64(_TABLE)) == U64(root))
        # The accessed bit and the bits free for software may differ.
        differs = ((own ^ entries) & U64(_SHARED)).astype(np.bool_) & ~recursive
        for index in np.flatnonzero(differs[256:]).tolist():
            at = PhysAddr(root + 8 * (index + 256))
            yield Broken(
                subject="entry",
                address=at,
                expected=f"{int(own[index + 256]):#x}, as in the selected processor's root ({hex_address(own_root)})",
                actual=f"{int(entries[index + 256]):#x} in entry {index + 256} of the root of {name}",
                cause="a top-level entry was added after this root was copied, or the kernel's half was deep-copied",
            )


def check_self_map(inputs: PagingInputs) -> Iterator[Broken]:
    """PT24: a recursive slot is writable for the supervisor, and not accessible from user mode."""
    for start, _, _ in self_map_windows(inputs.space):
        slot = inputs.walk(start).steps[0]
        wrong = [what for flag, what in (("U", "user mode can access every page table"),) if flag in slot.flags]
        wrong += [] if "W" in slot.flags else ["tables cannot be written through it"]
        if wrong:
            yield Broken(
                subject="entry",
                address=slot.entry_address,
                expected="P and W set, U clear",
                actual=f"{' '.join(slot.flags)}: {', '.join(wrong)}",
                evidence=(f"recursive slot {slot.index}, virtual {hex_address(start)}",),
                cause="the slot was created with a user mapping's flags",
            )


def check_direct_map(inputs: PagingInputs) -> Iterator[Broken]:
    """PT25: the direct map maps each frame of RAM at its own offset, without execution or user access."""
    base = inputs.names.direct_map
    assert base is not None
    runs, end = inputs.space.runs, base + inputs.ram.end
    inside = runs.take((runs.start < U64(end)) & (runs.end >= U64(base)))
    wrong = inside.take(inside.physical != inside.start - U64(base))
    for start, size, physical in _rows(wrong):
        if inputs.ram.range_at(PhysAddr(start - base)) is None:
            continue  # some kernels place other things in the holes
        yield _finding(
            inputs,
            VirtAddr(start),
            f"physical {hex_address(start - base)}",
            f"physical {hex_address(physical)}",
            "a page of the direct map was remapped by code that treated its address as free",
            size=size,
        )
    yield from _check_direct_rights(inputs, inside.take(inside.physical == inside.start - U64(base)))
    yield from _check_direct_holes(inputs, base, inside)


def _check_direct_rights(inputs: PagingInputs, runs: Runs) -> Iterator[Broken]:
    expected = "a direct map that is neither executable nor accessible from user mode"
    for start, size, _ in _rows(matching(runs, lambda attributes: attributes.page.user)):
        cause = "the entry was created with a user page's flags: programs can access all of RAM through it"
        yield _finding(inputs, VirtAddr(start), expected, "user mode can access it", cause, size=size)
    if not inputs.cpu.nx_enabled:
        return
    for start, size, _ in _rows(matching(runs, lambda attributes: attributes.page.executable)):
        cause = "NX was not set: any page can be executed through it"
        severity = Severity.WARNING
        yield _finding(inputs, VirtAddr(start), expected, "executable", cause, severity=severity, size=size)


def _check_direct_holes(inputs: PagingInputs, base: VirtAddr, inside: Runs) -> Iterator[Broken]:
    """Usable RAM that the direct map does not map."""
    if not isinstance(inputs.boot_map, BootMap):
        return
    mapped = sorted((start - base, start - base + size) for start, size, _ in _rows(inside))
    for ram in inputs.boot_map.usable:
        first, last = -(-ram.base // FRAME_SIZE) * FRAME_SIZE, ram.end // FRAME_SIZE * FRAME_SIZE
        for start, end in mapped:
            if start <= first < end:
                first = end
        if first < last:
            yield _finding(
                inputs,
                VirtAddr(base + first),
                "all usable RAM mapped",
                f"physical {hex_address(first)}, which is usable RAM, is not mapped",
                "the direct map ends too early (memory above 4 GiB?), or a page of it was unmapped",
                size=last - first,
            )


def check_user(inputs: PagingInputs) -> Iterator[Broken]:
    """PT26: what user mode can access is in its half, and a leaf's U takes effect."""
    runs = inputs.space.runs
    high = runs.take(runs.start >= U64(HALF))
    for start, size, _ in _rows(matching(high, lambda attributes: attributes.page.user)):
        yield _finding(
            inputs,
            VirtAddr(start),
            "no user access, as in all of the kernel's half",
            "accessible from user mode",
            "U is set at every level: the mapping was created with a user page's flags",
            size=size,
        )
    low = runs.take(runs.start < U64(HALF))
    for start, size, _ in _rows(matching(low, lambda attributes: attributes.user_lost)):
        yield _finding(
            inputs,
            VirtAddr(start),
            "U at every level, as in the leaf",
            "U in the leaf, but not in a level above: user mode cannot access it",
            "the upper table's entry was created without U",
            severity=Severity.WARNING,
            size=size,
        )


def check_write_execute(inputs: PagingInputs) -> Iterator[Broken]:
    """PT27: nothing is writable and executable; sections have their rights; CR0.WP makes the kernel obey them."""
    cpu = inputs.cpu
    if not cpu.cr0 & CR0_WP:
        yield Broken(
            subject="CR0",
            address=None,
            expected="CR0.WP = 1",
            actual=f"CR0 = {cpu.cr0:#x}: the supervisor may write read-only pages",
            cause="WP was never set, or was cleared to patch something and not set again",
        )
    if not cpu.nx_enabled:
        yield Broken(
            severity=Severity.WARNING,
            subject="EFER",
            address=None,
            expected="EFER.NXE = 1",
            actual=f"EFER = {cpu.efer:#x}: every page is executable",
            cause="the kernel does not use NX" + (" (the processor lacks it)" if cpu.offers("nx") is False else ""),
        )
    else:
        yield from _check_write_execute_runs(inputs)
    yield from _check_sections(inputs)


def _check_write_execute_runs(inputs: PagingInputs) -> Iterator[Broken]:
    both = matching(inputs.space.runs, lambda attributes: attributes.page.writable and attributes.page.executable)
    for start, size, _ in _rows(both):
        yield _finding(
            inputs,
            VirtAddr(start),
            "writable or executable, not both",
            "both: W at every level, NX at none",
            "mapped with default flags, or made writable and not restored",
            size=size,
        )


def _check_sections(inputs: PagingInputs) -> Iterator[Broken]:
    """The kernel's sections against the rights that their flags in the ELF file request."""
    runs = inputs.space.runs
    for section in inputs.names.sections:
        meets = (runs.start < U64(section.address + section.size)) & (runs.end >= U64(section.address))
        for word in np.unique(runs.attributes[meets]).tolist():
            page = attributes_of(word).page
            excess = _excess(section, writable=page.writable, executable=page.executable and inputs.cpu.nx_enabled)
            if excess:
                first = runs.take(meets & (runs.attributes == np.uint32(word)))
                start = max(int(first.start[0]), section.address)
                yield _finding(
                    inputs,
                    VirtAddr(start),
                    f"{section.name} with no more rights than its flags in the ELF file request",
                    excess,
                    "the image was mapped without regard to its sections, or made writable and not restored",
                )


def _excess(section: Section, *, writable: bool, executable: bool) -> str:
    """The rights that a mapping gives beyond those of its section."""
    more = [
        name
        for name, has, may in (
            ("writable", writable, section.writable),
            ("executable", executable, section.executable),
        )
        if has and not may
    ]
    return " and ".join(more)


def check_low_half(inputs: PagingInputs) -> Iterator[Broken]:
    """PT29: the boot identity map has been removed from the lower half."""
    runs = inputs.space.runs
    low = runs.take((runs.start < U64(HALF)) & (kinds_of(inputs.space, runs, inputs.names) == IDENTITY))
    for start, size, _ in _rows(matching(low, lambda attributes: not attributes.page.user)):
        yield _finding(
            inputs,
            VirtAddr(start),
            "no supervisor mapping in the lower half",
            "an identity mapping",
            "the boot identity map was never removed: null pointers read memory instead of faulting",
            severity=Severity.WARNING,
            size=size,
        )


def check_devices(inputs: PagingInputs) -> Iterator[Broken]:
    """PT31: what is not RAM is not mapped write-back; of each run the first address without RAM."""

    def cached(attributes: Attributes) -> bool:
        return cache_type(inputs.cpu, attributes.pwt, attributes.pcd, attributes.pat) == "wb"

    runs = matching(inputs.space.runs, cached)
    bare = inputs.ram.first_outside(runs.physical)
    partly = bare - runs.physical < runs.size
    starts = (runs.start + bare - runs.physical)[partly]
    for start, physical in zip(starts.tolist(), bare[partly].tolist(), strict=True):
        yield _finding(
            inputs,
            VirtAddr(start),
            "a device's registers mapped uncached",
            f"physical {hex_address(physical)} is not RAM, and its memory type is wb",
            "the mapping lacks PCD: the processor caches device registers unless an MTRR prevents it",
            severity=Severity.WARNING,
        )


def _rows(runs: Runs) -> Iterator[tuple[int, int, int]]:
    """Start, size and physical address of each run."""
    return zip(runs.start.tolist(), runs.size.tolist(), runs.physical.tolist(), strict=True)


def _no_direct_map(inputs: PagingInputs) -> str | None:
    return None if inputs.names.direct_map is not None else inputs.names.why_no_direct_map


def _holes_left_out(inputs: PagingInputs) -> tuple[str, ...]:
    if isinstance(inputs.boot_map, BootMap):
        return ()
    return ("without a boot map, the RAM that the direct map must map is unknown",)


def _no_self_map(inputs: PagingInputs) -> str | None:
    return None if self_map_windows(inputs.space) else "there is no recursive slot"


def _kernel_is_low(inputs: PagingInputs) -> str | None:
    places = [inputs.cpu.rip or HALF, *(section.address for section in inputs.names.sections)]
    low = any(place < HALF for place in places)
    return "the kernel is linked in the lower half, or is still running there" if low else None


def _one_root(inputs: PagingInputs) -> str | None:
    if inputs.roots[1:]:
        return None
    return "only one address space is known" if inputs.roots else "roots have a kernel half only in long mode"


def _narrow(inputs: PagingInputs) -> str | None:
    return "the processor does not divide 32-bit addresses into halves" if not inputs.cpu.long_mode else None


def _both(*reasons: Callable[[PagingInputs], str | None]) -> Callable[[PagingInputs], str | None]:
    return lambda inputs: next((why for reason in reasons if (why := reason(inputs))), None)


PAGING_RULES: tuple[Rule[PagingInputs], ...] = (
    Rule("PT21", "no entry has reserved bits set", check_entries),
    Rule("PT20", "tables are in RAM, used at one level, referenced once", check_tables),
    Rule("PT23", "the kernel's half is the same in every root", check_kernel_half, _one_root),
    Rule("PT24", "the recursive slot is supervisor-only", check_self_map, _no_self_map),
    Rule("PT25", "the direct map is complete and correct", check_direct_map, _no_direct_map, _holes_left_out),
    Rule("PT26", "user mode can access only its own half", check_user, _narrow),
    Rule("PT27", "nothing is writable and executable", check_write_execute),
    Rule("PT29", "the boot identity map has been removed", check_low_half, _both(_narrow, _kernel_is_low)),
    Rule("PT31", "devices are mapped uncached", check_devices),
)
"""The rules of page tables, causes before their consequences."""
