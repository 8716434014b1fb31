"""The rules of a physical manager: its structures against its counters, the memory map and the frames' owners."""

from collections.abc import Iterator

from gdbext.checks.finding import Broken, CheckReport, Rule, combined, not_looked_at
from gdbext.checks.physical.bitmaps import BIT_RULES
from gdbext.checks.physical.inputs import (
    ONE_OWNER,
    READABLE,
    USES_SHOWN,
    PhysicalRange,
    PmmInputs,
    Recorded,
    frames_in,
    frames_of,
    freed,
    inner_frames,
    shared_frames,
    stretches,
    whole_frames,
)
from gdbext.checks.physical.lists import BUDDY_RULES, LIST_RULES, TREE_RULES
from gdbext.pmm.bitmap import BitmapSnapshot
from gdbext.pmm.bootmap import BootMap
from gdbext.pmm.frames import FrameSet
from gdbext.pmm.lists import ListSnapshot
from gdbext.pmm.snapshot import PmmSnapshot
from gdbext.pmm.tree import TreeSnapshot
from gdbext.structures.unread import Unread
from gdbext.units import hex_address, human_size


def report_unread(manager: Unread) -> CheckReport:
    """The report on a manager that could not be read: PMM00 is broken unless it is absent; other rules are skipped."""
    if manager.absent:
        return not_looked_at(PMM_RULES, f"'{manager.name}': {manager.why}")
    unread = Broken(
        "manager",
        None,
        f"'{manager.name}' readable as the profile describes it",
        manager.why,
        "its variables were overwritten, the page tables are corrupted, or the profile does not match the kernel",
    )
    skipped = not_looked_at((rule for rule in PMM_RULES if rule.id != "PMM00"), f"'{manager.name}' cannot be read")
    return combined((CheckReport((_READABLE.finding(unread),), ("PMM00",), ()), skipped))


def check_readable(inputs: PmmInputs) -> Iterator[Broken]:
    """PMM00: all parts of the manager can be read, and the boot map, where the profile has one."""
    manager = inputs.manager
    cause = "its variables were overwritten, or the profile does not match the kernel"
    for torn in manager.torn if isinstance(manager, BitmapSnapshot) else ():
        yield Broken(torn.what, torn.at, f"a readable {torn.what} of '{manager.name}'", torn.why, cause)
    if isinstance(inputs.boot_map, Unread) and not inputs.boot_map.absent:
        yield Broken(
            "boot map",
            None,
            "the boot memory map readable as the profile describes it",
            inputs.boot_map.why,
            cause,
        )


def check_metadata(inputs: PmmInputs) -> Iterator[Broken]:
    """PMM03: the frames that hold the manager's data are marked used, and used for nothing else."""
    manager = inputs.manager
    own = frames_in(manager, inputs.metadata)
    what = f"it holds data of '{manager.name}'"
    yield from freed(manager, manager.free & own, what, "the manager's own frames were not reserved, or only in part")
    others = (*inputs.tables, *inputs.buffers, *inputs.held, *inputs.mapped)
    for first, number in stretches(own & frames_in(manager, others)):
        start, end = manager.frame_address(first), manager.frame_address(first + number)
        uses = tuple(used.use for used in others if used.start < end and used.end > start)
        yield Broken(
            "frame",
            start,
            f"only data of '{manager.name}'",
            f"{uses[0]} too",
            "the frames were handed out while they held the manager's data: they were not reserved",
            (f"{human_size(end - start)} from {hex_address(start)} are used for both", *uses[1:USES_SHOWN]),
        )


def check_owners(inputs: PmmInputs) -> Iterator[Broken]:
    """PMM02: a frame in use (as page tables, buffers, mappings made for a purpose or records show) is not free."""
    manager, recorded = inputs.manager, inputs.recorded
    owners = (*inputs.tables, *inputs.buffers, *inputs.held, *inputs.mapped)
    wrong = (manager.free & frames_in(manager, owners)) - frames_in(manager, inputs.metadata)
    cause = "it was never marked used, or was freed while in use: the next allocation may return it again"
    if recorded is None:
        yield from freed(manager, wrong, "", cause, owners)
        return
    judged = _judged_by_records(inputs, recorded)
    yield from freed(manager, wrong | ((manager.free & judged) - recorded.free), "", cause, owners, recorded)
    if manager.unseen is None:  # else a frame that seems used may be free
        yield from _left_behind(manager, (judged & recorded.free) - manager.free, recorded)
    if recorded.single is not None:
        yield from _handed_out_twice(inputs, recorded.single - manager.free)


def _judged_by_records(inputs: PmmInputs, recorded: Recorded) -> FrameSet:
    """The frames judged by their records; other frames are covered by the rules about RAM, image and metadata."""
    manager, boot_map = inputs.manager, inputs.boot_map
    if isinstance(boot_map, BootMap):
        usable = whole_frames(manager, ((r.base, r.end) for r in boot_map.usable)) - frames_of(
            manager, boot_map.reserved
        )
    else:
        usable = whole_frames(manager, ((r.start, r.end) for r in inputs.ram.ranges))
    return (usable & manager.known & recorded.known) - frames_in(manager, (*inputs.image, *inputs.metadata))


def _left_behind(manager: PmmSnapshot, frames: FrameSet, recorded: Recorded) -> Iterator[Broken]:
    """Frames that are free in their records but used in the manager."""
    for first, number in stretches(frames):
        address = manager.frame_address(first)
        yield Broken(
            "frame",
            address,
            "free",
            f"used, but {recorded.say(address)}",
            "it was allocated without its record, or its record was freed without it: in that case the frame is leaked",
            (f"{number} frame{'s' * (number != 1)} from {hex_address(address)}",),
        )


def _handed_out_twice(inputs: PmmInputs, single: FrameSet) -> Iterator[Broken]:
    """Frames that are mapped more than once although their records count one reference."""
    manager = inputs.manager
    for first, number in stretches(shared_frames(manager, inputs.mapped) & single):
        start, end = manager.frame_address(first), manager.frame_address(first + number)
        uses = [used.use for used in inputs.mapped if used.start < end and used.end > start]
        yield Broken(
            "frame",
            start,
            "one owner: its record counts one reference",
            " and ".join(uses[:2]),
            "it was allocated twice (two processors in the allocator without a lock), or shared without counting",
            (f"{number} frame{'s' * (number != 1)} from {hex_address(start)}", *uses[2:USES_SHOWN]),
        )


def check_usable(inputs: PmmInputs) -> Iterator[Broken]:
    """PMM04: free frames are RAM, and RAM that the firmware left to the kernel."""
    manager = inputs.manager
    ram = whole_frames(manager, ((r.start, r.end) for r in inputs.ram.ranges))
    cause = "a hole in the memory map was freed"
    yield from freed(manager, manager.free - ram, "there is no RAM at its address", cause)
    if isinstance(manager, TreeSnapshot) and len(manager.beyond):
        yield _beyond(manager, int(manager.beyond[0]), len(manager.beyond))
    if not isinstance(inputs.boot_map, BootMap):
        return
    later = inputs.boot_map.reclaimable
    usable = whole_frames(manager, ((r.base, r.end) for r in (*inputs.boot_map.usable, *later)))
    yield from freed(
        manager,
        (manager.free & ram) - usable,
        "the boot memory map does not list it as usable",
        "a reserved range was freed, or a range was rounded outward (its base down, its end up)",
    )
    yield from _reclaimed_too_early(inputs, manager.free & usable)
    waiting = frames_of(manager, later)
    # Image and metadata are reserved too, but have their own rules.
    others = ((manager.free & usable) - waiting) - frames_in(manager, (*inputs.image, *inputs.metadata))
    kept = [
        PhysicalRange(r.base, r.end, "reserved", f"reserved at boot: {hex_address(r.base)}-{hex_address(r.end)}")
        for r in inputs.boot_map.reserved
    ]
    cause = "the range was reserved too late or only in part, or was freed"
    yield from freed(manager, others & frames_in(manager, kept), "", cause, kept)


def _beyond(tree: TreeSnapshot, first: int, number: int) -> Broken:
    """The finding about leaves after the last frame that are free."""
    return Broken(
        "frame",
        tree.frame_address(first),
        f"used: '{tree.name}' ends at {hex_address(tree.frame_address(tree.count))}",
        "free, but it is after the last frame",
        "the leaves after the last frame were not marked used when the tree was built: they will be handed out",
        (f"{number} such lea{'ves' if number != 1 else 'f'}, the first is {tree.record_of(first)}",),
    )


def _reclaimed_too_early(inputs: PmmInputs, free: FrameSet) -> Iterator[Broken]:
    """A finding for each range that is to be reclaimed later but has frames that are free or allocated."""
    manager, boot_map = inputs.manager, inputs.boot_map
    assert isinstance(boot_map, BootMap)
    if not boot_map.reclaimable:
        return
    takers = (*inputs.tables, *inputs.buffers, *inputs.held)
    given = free | frames_in(manager, takers)
    for later in boot_map.reclaimable:
        wrong = given & frames_of(manager, (later,))
        first = wrong.first()
        if first is None:
            continue
        state = "free" if first in free else "in use"
        yield Broken(
            "range",
            later.base,
            f"kept until {boot_map.until}: the boot memory map calls it reclaimable",
            f"frames of it were already given to '{manager.name}'",
            "ACPI memory was freed before its tables were saved, or the loader's before its data was copied",
            (
                f"{hex_address(later.base)}-{hex_address(later.end)}",
                f"{len(wrong)} frame{'s' * (len(wrong) != 1)} of it, the first at "
                f"{hex_address(manager.frame_address(first))}, which is {state}",
            ),
        )


def reserved_frames(manager: PmmSnapshot, boot_map: BootMap) -> FrameSet:
    """The frames that the allocator never had: not usable in the boot map, or reserved by the kernel."""
    everything = FrameSet.of_ranges([(0, manager.count)], manager.count)
    usable = whole_frames(manager, ((r.base, r.end) for r in boot_map.usable))
    kept = frames_of(manager, boot_map.reserved)
    return ((everything - usable) | kept) & manager.known


def check_image(inputs: PmmInputs) -> Iterator[Broken]:
    """PMM06: the frames of the kernel's image are marked used."""
    manager = inputs.manager
    wrong = manager.free & frames_in(manager, inputs.image)
    yield from freed(manager, wrong, "", "the image was not reserved, or only in part", inputs.image)


def check_covers(inputs: PmmInputs) -> Iterator[Broken]:
    """PMM05: the manager has a state for every frame that the boot map calls usable."""
    manager = inputs.manager
    assert isinstance(inputs.boot_map, BootMap)  # else the rule is missing
    end = max(ram.end for ram in inputs.boot_map.usable)
    wide = FrameSet.of_ranges([(0, manager.count)], max(manager.count, (end - manager.base) // manager.frame_size))
    # A frame that two usable ranges share need not be managed: most kernels round each range inward.
    usable = inner_frames(manager, ((r.base, r.end) for r in inputs.boot_map.usable), wide.count)
    managed = wide if not isinstance(manager, BitmapSnapshot) else manager.managed(wide.count)
    for first, number in stretches(usable - managed):
        yield Broken(
            "frame",
            manager.frame_address(first),
            f"managed by '{manager.name}': the boot memory map calls it usable",
            f"not managed: {number} frame{'s' * (number != 1)} ({human_size(number * manager.frame_size)})",
            "the manager was sized by the sum of all lengths instead of the highest address, one frame short, or in "
            "too few bits",
            (f"'{manager.name}' ends at {hex_address(manager.frame_address(manager.count))}",),
        )


def check_counters(inputs: PmmInputs) -> Iterator[Broken]:
    """PMM01: the counters match the manager's structures."""
    manager = inputs.manager
    counted = manager.counted
    used = manager.total - manager.free_count
    evidence = (f"{manager.total} frames, {manager.free_count} free",)
    cause = "a frame was allocated or freed without updating the counter, or the reverse (a lost update, a double free)"
    for counter in manager.counters:
        right = counted.get(counter.meaning)
        value = f"{counter.text} = {counter.value}"
        if right is not None and counter.value != right:
            expected, actual = f"{right}, counted from {manager.counted_from}", f"{value} ({counter.value - right:+d})"
            yield Broken("counter", counter.address, expected, actual, cause, evidence)
        elif counter.meaning == "reserved" and not 0 <= counter.value <= used:
            expected = f"at most the {used} frames that are not free"
            yield Broken("counter", counter.address, expected, value, cause, evidence)
    if isinstance(manager, BitmapSnapshot):
        yield from _region_counters(manager, cause)


def _region_counters(manager: BitmapSnapshot, cause: str) -> Iterator[Broken]:
    for patch in manager.patches:
        for counter in patch.counters:
            free = manager.free_in(patch)
            right = free if counter.meaning == "free" else patch.count - free
            if counter.value != right:
                region = f"the region at {hex_address(manager.frame_address(patch.first))}"
                actual = f"{counter.text} of {region} is {counter.value} ({counter.value - right:+d})"
                yield Broken("counter", counter.address, f"{right}, counted from the bits", actual, cause)


def _no_counters(inputs: PmmInputs) -> str | None:
    return None if inputs.manager.counters else "the profile names no counters"


def _no_image(inputs: PmmInputs) -> str | None:
    return None if inputs.image or inputs.image_left_out else "the kernel's sections are not known: load its ELF file"


def _nothing_uses(inputs: PmmInputs) -> str | None:
    if inputs.tables or inputs.buffers or inputs.held or inputs.mapped or inputs.recorded:
        return None
    return "; ".join(inputs.left_out) or "no page tables or mappings are known"


def _cannot_cover(inputs: PmmInputs) -> str | None:
    if not isinstance(inputs.boot_map, BootMap):
        return _usable_left_out(inputs)[0]
    if not inputs.manager.covers:
        return "the profile does not say how many frames the manager has"
    return inputs.manager.unseen if isinstance(inputs.manager, BitmapSnapshot) else None


def _unseen(inputs: PmmInputs) -> tuple[str, ...]:
    return (f"counters are not compared: {inputs.manager.unseen}",) if inputs.manager.unseen else ()


def _left_out(inputs: PmmInputs) -> tuple[str, ...]:
    return inputs.left_out


def _usable_left_out(inputs: PmmInputs) -> tuple[str, ...]:
    if isinstance(inputs.boot_map, Unread):
        return (f"the boot map cannot be read: {inputs.boot_map.why}",)
    return () if inputs.boot_map else ("the profile has no [boot_map]: only the RAM that QEMU reports is known",)


_READABLE = Rule("PMM00", READABLE, check_readable)
_GENERAL = (
    _READABLE,
    Rule("PMM03", "the manager's own frames are marked used and not shared", check_metadata, partly=_left_out),
    Rule("PMM02", ONE_OWNER, check_owners, _nothing_uses, _left_out),
    Rule("PMM04", "only usable RAM is free", check_usable, partly=_usable_left_out),
    Rule("PMM05", "every usable frame is managed", check_covers, _cannot_cover),
    Rule("PMM06", "the kernel image is marked used", check_image, _no_image, lambda inputs: inputs.image_left_out),
)
_COUNTERS = (Rule("PMM01", "counters match the counted values", check_counters, _no_counters, _unseen),)

PMM_RULES: tuple[Rule[PmmInputs], ...] = (*_GENERAL, *BIT_RULES, *LIST_RULES, *BUDDY_RULES, *_COUNTERS)
"""All rules of physical managers, causes before their consequences."""


def pmm_rules(manager: PmmSnapshot) -> tuple[Rule[PmmInputs], ...]:
    """The rules that apply to a manager of this kind."""
    if isinstance(manager, BitmapSnapshot):
        own = tuple(rule for rule in BIT_RULES if rule.id in _bit_rules(manager))
    elif isinstance(manager, ListSnapshot):
        own = tuple(rule for rule in LIST_RULES if rule.id != "PMM11" or manager.has_zones)
        own += BUDDY_RULES if manager.is_buddy else ()
    else:
        own = TREE_RULES if isinstance(manager, TreeSnapshot) else ()
    return (*_GENERAL, *own, *_COUNTERS)


def _bit_rules(manager: BitmapSnapshot) -> tuple[str, ...]:
    return ("PMM07", *(("PMM08",) if manager.summaries else ()), *(("PMM09",) if manager.full else ()))
