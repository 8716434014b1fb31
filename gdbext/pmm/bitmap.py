"""Physical managers with a bit per frame: one bitmap, several, or one with summaries; any bit order and polarity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gdbext.errors import MemoryUnavailable
from gdbext.machine.memory import RamMap, VirtualMemory
from gdbext.pmm.frames import FrameSet
from gdbext.pmm.snapshot import Common, PartStat, Place, PmmSnapshot, read_common, sensible_count
from gdbext.profile.expressions.expression import Expression
from gdbext.profile.language.physical import Bitmap, Bitmaps, Summaries
from gdbext.structures.collections import read as read_collection
from gdbext.structures.counter import Counter, read_counter
from gdbext.units import PhysAddr, VirtAddr, hex_address

_REVERSED = np.array([int(f"{byte:08b}"[::-1], 2) for byte in range(256)], dtype=np.uint8)


@dataclass(frozen=True)
class Words:
    """The layout of bits in words: which end comes first, the value of a used frame's bit, bytes of a word."""

    lsb_first: bool
    used_bit: int
    size: int

    @property
    def bits(self) -> int:
        """Bits of a word."""
        return 8 * self.size

    def normalised(self, raw: NDArray[np.uint8], set_when: int) -> NDArray[np.uint8]:
        """The bits, number ``i`` as bit ``i % 8`` of byte ``i // 8``, 1 where a bit equals ``set_when``."""
        packed = raw
        if not self.lsb_first:
            # The first bit is the top bit of the first word, words being little-endian in memory.
            packed = _REVERSED[packed.reshape(-1, self.size)[:, ::-1].reshape(-1)]
        return packed if set_when == 1 else ~packed


@dataclass(frozen=True)
class Patch:
    """One bitmap: its words at ``bits_at``, ``byte_size`` bytes, for ``count`` frames from number ``first``.

    ``tail_free`` holds the bits beyond the last frame, in its word, whose value is "free". ``hint`` counts frames
    from ``first``. ``counters`` are the kernel's for this bitmap alone: used, free.
    """

    bits_at: VirtAddr
    byte_size: int
    first: int
    count: int
    tail_free: tuple[int, ...]
    hint: int | None
    hint_at: VirtAddr | None
    counters: tuple[Counter, ...] = ()


@dataclass(frozen=True)
class Summary:
    """A level above the bitmap: the address of its words, and its bits that do not match the words below.

    ``stale`` holds their numbers, ``says_free`` what each says.
    """

    level: int
    bits_at: VirtAddr
    byte_size: int
    stale: NDArray[np.int64]
    says_free: NDArray[np.bool_]


@dataclass(frozen=True)
class Torn:
    """A region or level that cannot be read: the address of its record (None: not known), what it is, and why."""

    at: VirtAddr | None
    what: str
    why: str


@dataclass(frozen=True, kw_only=True)
class BitmapSnapshot(PmmSnapshot):
    """A bitmap manager at one stop: ``patches`` by frame number, just one if one bitmap is for all frames.

    ``full`` is the kernel's constant for a word without a free frame. The kernel counts a hint in ``hint_unit``
    frames; with ``hint_is_lowest`` no frame below it may be free. ``with_holes`` says that frames between the bitmaps
    count as used. ``torn`` is what could not be read.
    """

    words: Words
    patches: tuple[Patch, ...]
    hint_unit: int
    hint_is_lowest: bool
    full: Counter | None
    summaries: tuple[Summary, ...]
    regional: bool
    with_holes: bool
    torn: tuple[Torn, ...]

    @property
    def kind(self) -> str:
        """``bitmap``, or ``bitmaps`` with a bitmap for each region."""
        return "bitmaps" if self.regional else "bitmap"

    @property
    def counted_from(self) -> str:
        """What the counted values come from."""
        return "the bits"

    def patch_of(self, number: int) -> Patch:
        """The bitmap that has a bit for a frame, or the one before it."""
        before = [patch for patch in self.patches if patch.first <= number]
        return before[-1] if before else self.patches[0]

    def place_of(self, number: int) -> VirtAddr:
        """The address of the word that holds a frame's bit."""
        patch = self.patch_of(number)
        return VirtAddr(patch.bits_at + (number - patch.first) // self.words.bits * self.words.size)

    def record_of(self, number: int) -> str:
        """A frame's bit and its word."""
        patch = self.patch_of(number)
        where = f" of the region at {hex_address(self.frame_address(patch.first))}" if self.regional else ""
        word = hex_address(self.place_of(number))
        return f"bit {number - patch.first} of '{self.name}'{where}, in the word at {word}"

    @cached_property
    def known(self) -> FrameSet:
        """The frames that have a bit, and with ``with_holes`` those between the bitmaps."""
        return super().known if self.with_holes else self.managed(self.count)

    def managed(self, count: int) -> FrameSet:
        """The frames, of the first ``count``, that have a bit."""
        return FrameSet.of_ranges([(patch.first, patch.first + patch.count) for patch in self.patches], count)

    def free_in(self, patch: Patch) -> int:
        """How many frames of one bitmap are free."""
        return len(self.free & FrameSet.of_ranges([(patch.first, patch.first + patch.count)], self.count))

    @property
    def parts(self) -> tuple[PartStat, ...]:
        """The regions."""
        return tuple(self._part(patch) for patch in self.patches) if self.regional else ()

    def _part(self, patch: Patch) -> PartStat:
        free = self.free_in(patch)
        said = patch.counters[0] if patch.counters else None
        counted = None if said is None else free if said.meaning == "free" else patch.count - free
        mine = FrameSet.of_ranges([(patch.first, patch.first + patch.count)], self.count)
        return PartStat(
            "region",
            hex_address(self.frame_address(patch.first)),
            patch.count,
            free,
            len((self.free & mine).runs()[0]),
            said.value if said else None,
            counted,
            patch.bits_at,
        )


def read_bitmap(manager: Bitmap[Expression], memory: VirtualMemory, ram: RamMap) -> BitmapSnapshot | None:
    """Read a bitmap manager of a machine with this RAM; None if it is not set up yet. Raises MemoryUnavailable."""
    common, words = read_common(manager, memory), _words(manager)
    count, bits_at = manager.count.evaluate(memory), VirtAddr(manager.bits.evaluate(memory))
    if count == 0 and bits_at == 0:
        return None
    sensible_count(count, manager.count.text, common.frame_size, ram)
    patch, packed = _patch(words, memory, bits_at, 0, count, _hint(manager, manager.hint, memory, words))
    free = FrameSet(packed, count)
    summaries: list[Summary] = []
    torn: tuple[Torn, ...] = ()
    try:
        if manager.summaries:
            summaries.extend(_summaries(manager.summaries, words, free, memory))
    except MemoryUnavailable as error:
        torn = (Torn(None, "summary", str(error)),)
    return _snapshot(manager, common, memory, _Read(words, free, (patch,), tuple(summaries), torn))


def read_bitmaps(manager: Bitmaps[Expression], memory: VirtualMemory, ram: RamMap) -> BitmapSnapshot | None:
    """Read a manager with a bitmap per region; None if it has no region yet. Raises MemoryUnavailable."""
    common, words = read_common(manager, memory), _words(manager)
    read, torn = _regions(manager, common, memory, ram)
    if not read:
        if torn:
            raise MemoryUnavailable(torn[0].why)
        return None
    end = max(patch.first + patch.count for patch, _ in read)
    if manager.frames is not None:
        end = max(end, sensible_count(manager.frames.evaluate(memory), manager.frames.text, common.frame_size, ram))
    free = FrameSet.of_ranges([], end)
    for patch, bits in read:
        free = free | bits.moved(patch.first, end)
    return _snapshot(manager, common, memory, _Read(words, free, tuple(patch for patch, _ in read), (), torn))


def _regions(
    manager: Bitmaps[Expression], common: Common, memory: VirtualMemory, ram: RamMap
) -> tuple[list[tuple[Patch, FrameSet]], tuple[Torn, ...]]:
    """The regions that can be read, by frame number, and those that cannot."""
    read: list[tuple[Patch, FrameSet]] = []
    torn: list[Torn] = []
    try:
        rows = read_collection(manager.regions, memory, {}, "regions")
    except MemoryUnavailable as error:
        return [], (Torn(None, "region", str(error)),)
    for at in map(VirtAddr, rows.nodes.tolist()):
        try:
            read.append(_region(manager, at, common, memory, ram))
        except MemoryUnavailable as error:
            torn.append(Torn(at, "region", str(error)))
    torn += [Torn(broken.target, "region", f"the regions {broken}") for broken in rows.broken]
    return sorted(read, key=lambda one: one[0].first), tuple(torn)


@dataclass(frozen=True)
class _Read:
    """The contents of a bitmap manager."""

    words: Words
    free: FrameSet
    patches: tuple[Patch, ...]
    summaries: tuple[Summary, ...]
    torn: tuple[Torn, ...]


def _snapshot(
    manager: Bitmap[Expression] | Bitmaps[Expression], common: Common, memory: VirtualMemory, read: _Read
) -> BitmapSnapshot:
    name = common.name
    places = [Place(patch.bits_at, patch.byte_size, f"the bits of '{name}'") for patch in read.patches]
    places += [Place(s.bits_at, s.byte_size, f"level {s.level} of '{name}'") for s in read.summaries]
    return BitmapSnapshot(
        **vars(common),
        **vars(read),
        covers=True,
        places=tuple(places),
        hint_unit=read.words.bits if manager.hint_unit == "word" else 1,
        hint_is_lowest=manager.hint_semantics == "lowest",
        full=read_counter("full", manager.full, memory) if manager.full else None,
        regional=isinstance(manager, Bitmaps),
        with_holes=isinstance(manager, Bitmap) or manager.frames is not None,
        unseen="a region cannot be read" if isinstance(manager, Bitmaps) and read.torn else None,
    )


def _words(manager: Bitmap[Expression] | Bitmaps[Expression]) -> Words:
    return Words(manager.order == "lsb", manager.used, manager.word or 8)


_Hint = tuple[int | None, VirtAddr | None]


def _hint(
    manager: Bitmap[Expression] | Bitmaps[Expression],
    hint: Expression | None,
    memory: VirtualMemory,
    words: Words,
    node: VirtAddr | None = None,
) -> _Hint:
    """The hint in frames, and its address."""
    if hint is None:
        return None, None
    value = hint.evaluate(memory, node) * (words.bits if manager.hint_unit == "word" else 1)
    return value, hint.address(memory, node) if hint.is_lvalue else None


def _patch(
    words: Words, memory: VirtualMemory, bits_at: VirtAddr, first: int, count: int, hint: _Hint
) -> tuple[Patch, NDArray[np.uint8]]:
    """One bitmap, and its bits: 1 for a free frame."""
    byte_size = -(-count // words.bits) * words.size
    packed = words.normalised(np.frombuffer(memory.read(bits_at, byte_size), dtype=np.uint8), 1 - words.used_bit)
    return Patch(bits_at, byte_size, first, count, _tail(packed, count), *hint), packed


def _tail(packed: NDArray[np.uint8], count: int) -> tuple[int, ...]:
    """The bits beyond the last frame whose value is "free"."""
    last = np.unpackbits(packed[count // 8 :], bitorder="little")
    base = count // 8 * 8
    return tuple(number for number in (np.flatnonzero(last) + base).tolist() if number >= count)


def _region(
    manager: Bitmaps[Expression], at: VirtAddr, common: Common, memory: VirtualMemory, ram: RamMap
) -> tuple[Patch, FrameSet]:
    """The bitmap of the region that is described at ``at``."""
    words, size = _words(manager), common.frame_size
    region = f"the region at {hex_address(at)}"
    count = sensible_count(manager.count.evaluate(memory, at), f"{manager.count.text} of {region}", size, ram)
    start = PhysAddr(manager.first.evaluate(memory, at))
    first, rest = divmod(start - common.base, size)
    if rest or first < 0:
        what = f"{region} begins at {hex_address(start)}"
        raise MemoryUnavailable(
            f"{what}, which is not the start of a frame (frames are {size:#x} bytes each, from {common.base:#x})"
        )
    sensible_count(first + count, f"the end of {region}, in frames,", size, ram)
    hint = _hint(manager, manager.hint, memory, words, at)
    patch, packed = _patch(words, memory, VirtAddr(manager.bits.evaluate(memory, at)), first, count, hint)
    kept = tuple(read_counter(meaning, own, memory, at) for meaning, own in manager.region_counters.items())
    return replace(patch, counters=kept), FrameSet(packed, count)


def _summaries(
    summaries: Summaries[Expression], words: Words, frames: FrameSet, memory: VirtualMemory
) -> Iterator[Summary]:
    """Each level, compared with the one below."""
    rows = read_collection(summaries.collection, memory, {}, "levels").whole()
    below = frames
    for level, at in enumerate(map(VirtAddr, rows.nodes.tolist()), 1):
        wanted = -(-below.count // words.bits)
        count = summaries.bits_count.evaluate(memory, at)
        if count != wanted:
            what = f"{summaries.bits_count.text} of level {level} is {count}"
            raise MemoryUnavailable(f"{what}, but the level below has {wanted} words")
        bits_at = VirtAddr(summaries.bits.evaluate(memory, at))
        byte_size = -(-count // words.bits) * words.size
        raw = np.frombuffer(memory.read(bits_at, byte_size), dtype=np.uint8)
        says = FrameSet(words.normalised(raw, summaries.free), count)
        should = below.words_with_any(words.size)
        stale = says ^ should
        numbers = stale.numbers()
        yield Summary(
            level, bits_at, byte_size, numbers, np.array([n in says for n in numbers.tolist()], dtype=np.bool_)
        )
        below = says
