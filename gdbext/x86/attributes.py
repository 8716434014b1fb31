"""Attribute words: all that must be equal for two pages to belong to one run, in 32 bits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gdbext.x86 import modes
from gdbext.x86.modes import Level, PagingMode
from gdbext.x86.rights import Permissions

U64 = np.uint64

ATTR_W = 1 << 0
ATTR_U = 1 << 1
ATTR_X = 1 << 2
ATTR_GLOBAL = 1 << 3
ATTR_PWT = 1 << 4
ATTR_PCD = 1 << 5
ATTR_PAT = 1 << 6
ATTR_USER_LOST = 1 << 7  # the leaf has U, a level above does not
ATTR_KEY_SHIFT = 8
ATTR_PAGE_SHIFT = 16  # log2 of the page size in bytes is stored from here up


@dataclass(frozen=True)
class Attributes:
    """An attribute word, decoded. ``user_lost``: the leaf's U has no effect, because a level above lacks it."""

    page: Permissions
    is_global: bool
    pwt: bool
    pcd: bool
    pat: bool
    user_lost: bool
    page_size: int


def attributes_of(word: int) -> Attributes:
    """Decode an attribute word."""
    return Attributes(
        page=Permissions(
            writable=bool(word & ATTR_W),
            user=bool(word & ATTR_U),
            executable=bool(word & ATTR_X),
            key=word >> ATTR_KEY_SHIFT & 0xF,
        ),
        is_global=bool(word & ATTR_GLOBAL),
        pwt=bool(word & ATTR_PWT),
        pcd=bool(word & ATTR_PCD),
        pat=bool(word & ATTR_PAT),
        user_lost=bool(word & ATTR_USER_LOST),
        page_size=1 << (word >> ATTR_PAGE_SHIFT),
    )


LOW_FLAGS = 0x1FF
"""Bits 8:0 of an entry: P, W, U, PWT, PCD, A, D, PS or PAT, G."""


class AttributeDecoder:
    """Makes attribute words of the entries of one paging mode, whole arrays at a time."""

    def __init__(self, mode: PagingMode) -> None:
        self._mode = mode
        self._words: dict[int, NDArray[np.uint32]] = {}

    def words(self, value: NDArray[np.uint64], inherited: NDArray[np.uint32], level: Level) -> NDArray[np.uint32]:
        """The attribute words of leaves, looked up by their flags: a million leaves have a handful of them."""
        flags = (value & U64(LOW_FLAGS)) | ((value >> U64(3)) & U64(1 << 9)) | ((value >> U64(53)) & U64(1 << 10))
        word: NDArray[np.uint32] = self._words_of_flags(level)[flags.astype(np.uint32) | inherited << np.uint32(11)]
        if self._mode.long:
            keys = value >> U64(modes.KEY_SHIFT) & U64(0xF)
            word |= keys.astype(np.uint32) << np.uint32(ATTR_KEY_SHIFT)
        return word

    def _words_of_flags(self, level: Level) -> NDArray[np.uint32]:
        """The attribute word for each set of flags: bits 8:0 of an entry, bit 12, bit 63, and what is inherited."""
        words = self._words.get(level.number)
        if words is None:
            index = np.arange(1 << 14, dtype=U64)
            value = index & U64(LOW_FLAGS) | (index & U64(1 << 9)) << U64(3) | (index & U64(1 << 10)) << U64(53)
            words = self._words[level.number] = self._word(value, (index >> U64(11)).astype(np.uint32), level)
        return words

    def _word(self, value: NDArray[np.uint64], inherited: NDArray[np.uint32], level: Level) -> NDArray[np.uint32]:
        """The attribute word of an entry, without its protection key."""
        word = inherited & self.own_rights(value, level)
        word |= _bit(value, modes.PWT, ATTR_PWT) | _bit(value, modes.PCD, ATTR_PCD) | _bit(value, modes.G, ATTR_GLOBAL)
        word |= _bit(value, modes.PAT_4K if level.number == 1 else modes.PAT_LARGE, ATTR_PAT)
        word |= _bit(value & ~_spread(inherited, ATTR_U, modes.U), modes.U, ATTR_USER_LOST)
        return word | np.uint32(level.shift << ATTR_PAGE_SHIFT)

    def own_rights(self, value: NDArray[np.uint64], level: Level) -> NDArray[np.uint32]:
        """The rights that an entry itself leaves."""
        if not level.rights:
            return np.full(value.shape, ATTR_W | ATTR_U | ATTR_X, dtype=np.uint32)
        word = _bit(value, modes.W, ATTR_W) | _bit(value, modes.U, ATTR_U)
        if not self._mode.nx:
            return word | np.uint32(ATTR_X)
        return word | (np.uint32(ATTR_X) - _bit(value, modes.NX, ATTR_X))


@lru_cache(maxsize=8)
def decoder_of(mode: PagingMode) -> AttributeDecoder:
    """The decoder of a mode: what it looks flags up in takes longer to make than a small space to enumerate."""
    return AttributeDecoder(mode)


def _bit(value: NDArray[np.uint64], bit: int, attribute: int) -> NDArray[np.uint32]:
    """``attribute`` where ``bit`` is set in ``value``, else 0."""
    return np.where(value & U64(bit), np.uint32(attribute), np.uint32(0))


def _spread(words: NDArray[np.uint32], attribute: int, bit: int) -> NDArray[np.uint64]:
    """``bit`` where ``attribute`` is set in a word, else 0."""
    return np.where(words & np.uint32(attribute), U64(bit), U64(0))
