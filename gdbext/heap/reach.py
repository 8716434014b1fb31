"""Which places pointers lead to, and which of them are reached: a search over whole memory by arrays.

Every aligned word with the value of a pointer is treated as a pointer: types are unknown here. The memory is read once,
in blocks, and the pointers are kept as pairs of numbers; marking then needs no memory any more. It works in rounds over
arrays while many places are reached at once. Along a chain, where arrays do not help, it steps through the numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gdbext.errors import MemoryUnavailable, Stopped
from gdbext.progress import progress
from gdbext.units import FRAME_SHIFT, PhysAddr, VirtAddr
from gdbext.x86.virtual import PagedMemory

U64 = np.uint64
BLOCK = 1 << 22
"""Bytes that are searched together."""
NEAR = 1 << 16
"""Places with less than this between them are read in one go."""
WIDE = 256
"""From this many places on, a round is done over arrays."""

Words = NDArray[np.uint64]
Numbers = NDArray[np.int64]
Indexes = NDArray[np.int32]


@dataclass(frozen=True)
class Places:
    """What pointers may lead to: ``start`` to ``end`` (exclusive, above ``start``), disjoint, by address.

    ``alias`` to ``alias_end`` are other addresses of the same memory (in a direct map), and ``virtual`` is its address
    among the places.
    """

    start: Words
    end: Words
    alias: Words
    alias_end: Words
    virtual: Words

    def __len__(self) -> int:
        return len(self.start)

    def at(self, addresses: Words, size: int = 1) -> Numbers:
        """The number of the place that holds ``size`` bytes from each address on; -1 for none."""
        return _within(self.start, self.end, addresses, size)

    def led_to(self, words: Words) -> tuple[Numbers, Numbers]:
        """Which words point to a place, by number, and to which place."""
        if not len(self.start):
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        near = _between(words, self.start[0], self.end[-1])
        found = self.at(words[near])
        which, place = near[found >= 0], found[found >= 0]
        if not len(self.alias):
            return which, place
        near = np.setdiff1d(_between(words, self.alias[0], self.alias_end[-1]), which, assume_unique=True)
        where = _within(self.alias, self.alias_end, words[near], 1)
        near, where = near[where >= 0], where[where >= 0]
        found = self.at(words[near] - self.alias[where] + self.virtual[where])
        return np.concatenate([which, near[found >= 0]]), np.concatenate([place, found[found >= 0]])


def _between(words: Words, low: np.uint64, end: np.uint64) -> Numbers:
    """Which words are from ``low`` to ``end`` (exclusive): what is below wraps around to far above."""
    return np.flatnonzero(words - low < end - low)


def _within(start: Words, end: Words, addresses: Words, size: int) -> Numbers:
    """The range that holds each address, -1 for none. In ascending order the search is far quicker (cached paths)."""
    if len(addresses) > 1 and (addresses[1:] < addresses[:-1]).any():
        order = np.argsort(addresses)
        back = np.empty(len(addresses), dtype=np.int64)
        back[order] = _within(start, end, addresses[order], size)
        return back
    found = np.searchsorted(start, addresses, side="right") - 1
    inside = (found >= 0) & (addresses < end[found]) & (end[found] - addresses >= U64(size))
    return np.where(inside, found, -1)


class Reader:
    """Reads memory word by word, ``width`` bytes each.

    ``seen`` counts the bytes that were read, ``unseen`` those that are mapped and could not be read.
    """

    def __init__(self, memory: PagedMemory, width: int) -> None:
        self._memory = memory
        self.width = width
        self.seen = 0
        self.unseen = 0

    def blocks(self, start: int, end: int) -> Iterator[tuple[int, Words]]:
        """The aligned words from one address to another, in blocks: where each begins, and the words.

        Addresses that are not mapped are skipped.
        """
        first, last = -(-start // self.width) * self.width, end // self.width * self.width
        if first >= last:
            return
        for virtual, physical, length in self._memory.pieces(VirtAddr(first), last - first):
            at = 0
            while at < length:
                words = self._words(physical + at, min(BLOCK, length - at))
                if len(words):
                    self.seen += self.width * len(words)
                    yield virtual + at, words
                # Where nothing can be read there is no RAM, and none in the rest of the piece either.
                at = at + self.width * len(words) if len(words) else length

    def _words(self, physical: int, size: int) -> Words:
        """The words at a physical address, as many as are RAM in one piece; none where there is no RAM."""
        kind = np.dtype(f"<u{self.width}")
        ram = self._memory.physical.ram.range_at(PhysAddr(physical))
        if ram is None:
            self.unseen += size
            return np.zeros(0, dtype=U64)
        size = min(size, ram.end - physical)
        try:
            view = self._memory.physical.view(PhysAddr(physical))
            if view is None:
                data = np.frombuffer(self._memory.physical.read(PhysAddr(physical), size), dtype=kind)
            else:
                offset = physical - view.start
                count = min(size, len(view.buffer) - offset) // self.width
                data = np.frombuffer(view.buffer, dtype=kind, count=count, offset=offset)
                frames = range(physical >> FRAME_SHIFT, (physical + size - 1 >> FRAME_SHIFT) + 1)
                self._memory.physical.seen(np.array(frames, dtype=U64))
        except MemoryUnavailable:
            self.unseen += size
            return np.zeros(0, dtype=U64)
        return data if self.width == 8 else data.astype(U64)


def clusters(places: Places) -> list[tuple[int, int]]:
    """Stretches of addresses that hold all places, without the wide gaps between them."""
    if not len(places):
        return []
    gaps = np.flatnonzero(places.start[1:] - places.end[:-1] >= U64(NEAR))
    first = np.concatenate([places.start[:1], places.start[gaps + 1]])
    last = np.concatenate([places.end[gaps], places.end[-1:]])
    return list(zip(first.tolist(), last.tolist(), strict=True))


@dataclass(frozen=True)
class Links:
    """The pointers between places: each ``source``, in ascending order, holds a pointer to its ``target``."""

    source: Indexes
    target: Indexes


def links_between(places: Places, reader: Reader) -> Links:
    """All pointers from one place to another. Raises Stopped."""
    ranges = clusters(places)
    total, done = sum(end - start for start, end in ranges), 0
    sources, targets = [np.zeros(0, dtype=np.int32)], [np.zeros(0, dtype=np.int32)]
    try:
        for start, end in ranges:
            for address, words in reader.blocks(start, end):
                progress("bytes of chunks searched for pointers", done + address - start, total)
                which, led = places.led_to(words)
                holder = places.at(U64(address) + which.astype(U64) * U64(reader.width), reader.width)
                other = (holder >= 0) & (holder != led)
                sources.append(holder[other].astype(np.int32))
                targets.append(led[other].astype(np.int32))
            done += end - start
    except KeyboardInterrupt:
        raise Stopped(f"{done} of {total} bytes of chunks searched for pointers") from None
    source: Indexes = np.concatenate(sources)
    target: Indexes = np.concatenate(targets)
    if len(source) and (source[1:] < source[:-1]).any():  # aliases come after the others
        order = np.argsort(source, kind="stable")
        source, target = source[order], target[order]
    return Links(source, target)


def led_to_from(ranges: list[tuple[int, int]], places: Places, reader: Reader) -> Numbers:
    """The places that words in these ranges of addresses lead to. Raises Stopped."""
    found = [np.zeros(0, dtype=np.int64)]
    total, done = sum(end - start for start, end in ranges), 0
    try:
        for start, end in ranges:
            for address, words in reader.blocks(start, end):
                progress("bytes of pointer ranges searched", done + address - start, total)
                found.append(np.unique(places.led_to(words)[1]))
            done += end - start
    except KeyboardInterrupt:
        raise Stopped(f"{done} of {total} bytes of pointer ranges searched") from None
    return np.unique(np.concatenate(found))


def reached(count: int, begin: Numbers, links: Links) -> NDArray[np.bool_]:
    """Which of ``count`` places are reached from those in ``begin``, through any number of others. Raises Stopped."""
    marks = np.zeros(count, dtype=np.bool_)
    marks[begin] = True
    first = np.searchsorted(links.source, np.arange(count + 1, dtype=np.int32))
    frontier = begin
    try:
        while len(frontier):
            progress("chunks reached", int(np.count_nonzero(marks)), count)
            narrow = len(frontier) < WIDE
            frontier = (_chased if narrow else _round)(frontier, first, links.target, marks)
    except KeyboardInterrupt:
        raise Stopped(f"{np.count_nonzero(marks)} of {count} chunks reached") from None
    return marks


def _round(frontier: Numbers, first: Numbers, target: Indexes, marks: NDArray[np.bool_]) -> Numbers:
    """Mark all that the frontier's places point to; those that were not marked before are the next frontier."""
    count = first[frontier + 1] - first[frontier]
    before = np.cumsum(count) - count
    which = np.repeat(first[frontier] - before, count) + np.arange(int(count.sum()))
    led = target[which]
    fresh = np.unique(led[~marks[led]]).astype(np.int64)  # most are known by then: sorting them all costs the most
    marks[fresh] = True
    return fresh


def _chased(frontier: Numbers, first: Numbers, target: Indexes, marks: NDArray[np.bool_]) -> Numbers:
    """The same place by place, for chains: until nothing is left, or there is enough for a round."""
    begin, leads, seen = first.data, target.data, marks.view(np.uint8).data
    waiting: list[int] = frontier.tolist()
    while waiting and len(waiting) < WIDE:
        at = waiting.pop()
        for link in range(begin[at], begin[at + 1]):
            place = leads[link]
            if not seen[place]:
                seen[place] = 1
                waiting.append(place)
    return np.array(waiting, dtype=np.int64)
