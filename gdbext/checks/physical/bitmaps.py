"""The rules that apply only to bitmaps: hints, bits beyond the end, summaries, the constant for a full word."""

from collections.abc import Iterator
from itertools import pairwise

from gdbext.checks.finding import Broken, Rule
from gdbext.checks.physical.inputs import PmmInputs
from gdbext.pmm.bitmap import BitmapSnapshot, Patch, Summary
from gdbext.pmm.frames import FrameSet
from gdbext.units import VirtAddr, hex_address, human_size


def check_hint(inputs: PmmInputs) -> Iterator[Broken]:
    """PMM07: a hint is in range and skips no free frame; bits beyond the last frame are used; no frame has two bits."""
    manager = inputs.manager
    assert isinstance(manager, BitmapSnapshot)
    yield from _overlaps(manager)
    for patch in manager.patches:
        yield from _hint(manager, patch)
        if patch.tail_free:
            bit = patch.tail_free[0]
            yield Broken(
                "bitmap word",
                patch.bits_at + bit // manager.words.bits * manager.words.size,
                f"bits {patch.count} and up, which have no frame, are used",
                f"{len(patch.tail_free)} of them free, the first is bit {bit}",
                "the last word was cleared as a whole: frames beyond the end will be handed out",
            )


def _overlaps(manager: BitmapSnapshot) -> Iterator[Broken]:
    """Regions that overlap the next region."""
    for patch, following in pairwise(manager.patches):
        shared = min(patch.first + patch.count, following.first + following.count) - following.first
        if shared > 0:
            start, end = (manager.frame_address(number) for number in (following.first, following.first + shared))
            yield Broken(
                "frame",
                start,
                "a bit in only one region's bitmap",
                f"a bit in that of the region at {hex_address(manager.frame_address(patch.first))} too",
                "the regions overlap, as ranges of the memory map may: the shared frames will be handed out twice",
                (f"{shared} frame{'s' * (shared != 1)} ({human_size(end - start)}) have a bit in both",),
            )


def _hint(manager: BitmapSnapshot, patch: Patch) -> Iterator[Broken]:
    hint, unit = patch.hint, manager.hint_unit
    behind = -(-patch.count // unit) * unit
    mine = manager.free & FrameSet.of_ranges([(patch.first, patch.first + patch.count)], manager.count)
    lowest = mine.first()
    if hint is not None and not 0 <= hint <= behind:
        yield Broken("hint", patch.hint_at, f"at most {behind}", str(hint), "the hint is outside the bitmap")
    elif hint is not None and manager.hint_is_lowest and lowest is not None and hint > lowest - patch.first:
        skipped = len(mine & FrameSet.of_ranges([(patch.first, patch.first + hint)], manager.count))
        yield Broken(
            "hint",
            patch.hint_at,
            f"at most {lowest - patch.first}, the lowest free frame ({hex_address(manager.frame_address(lowest))})",
            str(hint),
            f"a free did not lower the hint: {skipped} free frame{'s' * (skipped != 1)} below it will not be allocated",
        )


def check_summaries(inputs: PmmInputs) -> Iterator[Broken]:
    """PMM08: a summary bit says that the word below it has a free frame exactly when it has one."""
    manager = inputs.manager
    assert isinstance(manager, BitmapSnapshot)
    for summary in manager.summaries:
        for bit, says in zip(summary.stale.tolist(), summary.says_free.tolist(), strict=True):
            yield _stale(manager, summary, bit, says_free=says)


def _stale(manager: BitmapSnapshot, summary: Summary, bit: int, *, says_free: bool) -> Broken:
    words = manager.words
    span = words.bits**summary.level
    first = manager.frame_address(bit * span)
    end = manager.frame_address(min((bit + 1) * span, manager.count))
    below = f"word {bit} of level {summary.level - 1}, for {hex_address(first)}-{hex_address(end)}"
    states = ("has a free frame", "has none")
    says, does = states if says_free else states[::-1]
    effect = "full words are searched in vain" if says_free else "its free frames will not be allocated"
    return Broken(
        "summary word",
        VirtAddr(summary.bits_at + bit // words.bits * words.size),
        f"bit {bit} of level {summary.level} says that {below} {does}",
        f"it says that the word {says}",
        f"the word changed and the summary was not updated, or the reverse: {effect}",
    )


def check_full(inputs: PmmInputs) -> Iterator[Broken]:
    """PMM09: the constant that the kernel compares with full words has all bits of a word."""
    manager = inputs.manager
    assert isinstance(manager, BitmapSnapshot)
    full, bits = manager.full, manager.words.bits
    if full is None:
        return
    mask = (1 << bits) - 1
    right = mask if manager.words.used_bit else 0
    if full.value & mask != right:
        yield Broken(
            "constant",
            full.address,
            f"{right:#x}: all {bits} bits of a word",
            f"{full.text} is {full.value & mask:#x}",
            "a digit is missing: full words are searched in vain, or words with free frames are skipped",
        )


BIT_RULES: tuple[Rule[PmmInputs], ...] = (
    Rule("PMM07", "hint and tail bits are correct", check_hint),
    Rule("PMM08", "summaries match the words below", check_summaries),
    Rule("PMM09", "the constant for a full word is correct", check_full),
)
