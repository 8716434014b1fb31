"""The rules that only bitmaps can break: hints, bits beyond the end, summaries, the constant for a full word."""

from collections.abc import Iterator
from itertools import pairwise

from gdbext.checks.finding import Broken, Rule
from gdbext.checks.physical.inputs import PmmInputs
from gdbext.pmm.bitmap import BitmapSnapshot, Patch, Summary
from gdbext.pmm.frames import FrameSet
from gdbext.units import VirtAddr, hex_address, human_size


def check_hint(inputs: PmmInputs) -> Iterator[Broken]:
    """PMM07: a hint is in range and skips no free frame; bits after the last frame are used; no frame has two bits."""
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
                f"bits {patch.count} and up are marked used: they have no frame",
                f"{len(patch.tail_free)} of them are free, the first is bit {bit}",
                "the whole last word was cleared: frames beyond the end will be allocated",
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
                "a bit in one region's bitmap",
                f"another bit in the bitmap of the region at {hex_address(manager.frame_address(patch.first))}",
                "the regions overlap, as ranges of the memory map may: frames in both will be allocated twice",
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
            f"freeing did not lower the hint: {skipped} free frame{'s' * (skipped != 1)} below it cannot be allocated",
        )


def check_summaries(inputs: PmmInputs) -> Iterator[Broken]:
    """PMM08: each summary bit says whether its word below has a free frame."""
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
    effect = "a search enters a word without free frames" if says_free else "its free frames are never allocated again"
    return Broken(
        "summary word",
        VirtAddr(summary.bits_at + bit // words.bits * words.size),
        f"bit {bit} of level {summary.level} says that {below} {does}",
        f"it says that it {says}",
        f"the word was changed without its summary, or the summary alone: {effect}",
    )


def check_full(inputs: PmmInputs) -> Iterator[Broken]:
    """PMM09: the constant that the kernel compares with a full word has every bit of the word."""
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
    Rule("PMM08", "summaries agree with the words below", check_summaries),
    Rule("PMM09", "the constant for a full word is correct", check_full),
)
