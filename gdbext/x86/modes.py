"""The five ways an x86 processor translates, as one table of levels; every entry bit is defined here, once.

Sources: Intel SDM vol. 3A, chapter 4 (4.3 for 32-bit, 4.4 for PAE, 4.5 for 4-level and 5-level paging);
AMD APM vol. 2, chapter 5. Bits are the same at every level unless a level says otherwise.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from gdbext.machine.cpu import CR4_LA57, CR4_PAE, CR4_PSE, CpuState
from gdbext.units import PhysAddr, VirtAddr

P = 1 << 0
W = 1 << 1
U = 1 << 2
PWT = 1 << 3
PCD = 1 << 4
A = 1 << 5
D = 1 << 6
PS = 1 << 7  # in an entry of level 2 or above that may be a leaf
PAT_4K = 1 << 7  # the same bit in a 4-KiB leaf
G = 1 << 8
PAT_LARGE = 1 << 12
NX = 1 << 63
KEY_SHIFT = 59
KEY = 0xF << KEY_SHIFT

_ADDRESS_52 = ((1 << 52) - 1) & ~0xFFF


@dataclass(frozen=True)
class Level:
    """One level of tables.

    ``number`` counts from 1 (the lowest). An entry of it spans ``1 << shift`` bytes of virtual addresses and is
    chosen by ``bits`` bits of the address. ``large`` says whether its entries can be leaves with PS set.
    ``link_reserved`` and ``leaf_reserved`` are the bits that must be 0 in an entry that is present.
    ``rights`` is False where entries carry no W, U and NX (PAE's top level).
    """

    number: int
    shift: int
    bits: int
    large: bool
    link_reserved: int
    leaf_reserved: int
    rights: bool = True

    @property
    def span(self) -> int:
        """Bytes of virtual addresses that one entry covers."""
        return 1 << self.shift

    @property
    def entries(self) -> int:
        """Entries in one table."""
        return 1 << self.bits

    def index(self, address: VirtAddr) -> int:
        """Which entry of its table translates this address."""
        return (address >> self.shift) & (self.entries - 1)

    def is_leaf(self, value: int) -> bool:
        """Whether a present entry maps a page rather than naming a table."""
        return self.number == 1 or (self.large and bool(value & PS))


@dataclass(frozen=True)
class PagingMode:
    """A way of translating, on a processor with given features: levels from the root down."""

    name: str
    levels: tuple[Level, ...]
    entry_size: int
    root_mask: int
    address_bits: int
    address_mask: int
    nx: bool

    @property
    def long(self) -> bool:
        """Whether addresses are 64 bits wide, so that their upper bits must repeat the highest translated one."""
        return self.address_bits > 32

    def root_of(self, cr3: int) -> PhysAddr:
        """The physical address of the root table that a value of CR3 names."""
        return PhysAddr(cr3 & self.root_mask)

    def entry_address(self, table: PhysAddr, index: int) -> PhysAddr:
        """The physical address of entry ``index`` of a table."""
        return PhysAddr(table + index * self.entry_size)

    def sign_extend(self, address: int) -> VirtAddr:
        """The canonical address with these low bits; unchanged where addresses have 32 bits."""
        if self.long and address >> (self.address_bits - 1) & 1:
            address |= ((1 << 64) - 1) ^ ((1 << self.address_bits) - 1)
        return VirtAddr(address)

    def linear(self, address: int) -> VirtAddr | None:
        """The address as the processor takes it, or None when it cannot be used (non-canonical, over 32 bits).

        A debugger sign-extends 32-bit addresses; such an address is cut back to 32 bits.
        """
        if self.long:
            low = address & ((1 << self.address_bits) - 1)
            return VirtAddr(address) if self.sign_extend(low) == address else None
        if address >> 31 == (1 << 33) - 1:
            return VirtAddr(address & 0xFFFF_FFFF)
        return VirtAddr(address) if address < 1 << 32 else None

    def clipped(self, first: int, last: int) -> tuple[VirtAddr, VirtAddr] | None:
        """The part of a range (its last address included) that can be translated; None when there is none."""
        top = 1 << self.address_bits
        halves = ((0, top // 2 - 1), ((1 << 64) - top // 2, (1 << 64) - 1)) if self.long else ((0, top - 1),)
        parts = [(max(first, low), min(last, high)) for low, high in halves if first <= high and last >= low]
        return (VirtAddr(parts[0][0]), VirtAddr(parts[-1][1])) if parts else None

    def page_base(self, value: int, level: Level) -> PhysAddr:
        """The physical address of the page that a leaf of this level maps."""
        if self.entry_size == 4 and level.number == 2:
            # PSE-36: bits 39:32 of the address are in bits 20:13 (SDM vol. 3A, table 4-4).
            return PhysAddr((value & 0xFFC0_0000) | ((value >> 13) & 0xFF) << 32)
        return PhysAddr(value & self.address_mask & -level.span)

    def table_base(self, value: int) -> PhysAddr:
        """The physical address of the table that an entry names."""
        return PhysAddr(value & self.address_mask)


class _Facts(NamedTuple):
    """What of a processor decides how it translates, once paging is on."""

    long_mode: bool
    cr4: int
    nx_enabled: bool
    phys_bits: int
    gigabyte_pages: bool


def _reserved_below(shift: int) -> int:
    """Bits ``shift - 1`` to 13: under a large page's address, above its PAT bit; reserved in a leaf."""
    return ((1 << shift) - 1) & ~0x1FFF if shift > 12 else 0


def _long_mode(facts: _Facts) -> PagingMode:
    high = _ADDRESS_52 & ~((1 << facts.phys_bits) - 1)
    if not facts.nx_enabled:
        high |= NX
    depth = 5 if facts.cr4 & CR4_LA57 else 4
    levels = []
    for number in range(depth, 0, -1):
        shift = 12 + 9 * (number - 1)
        large = number == 2 or (number == 3 and facts.gigabyte_pages)
        levels.append(Level(number, shift, 9, large, high if large else high | PS, high | _reserved_below(shift)))
    return PagingMode(
        f"{depth}-level",
        tuple(levels),
        8,
        _ADDRESS_52 & ((1 << facts.phys_bits) - 1),
        12 + 9 * depth,
        _ADDRESS_52,
        True,
    )


def _pae(facts: _Facts) -> PagingMode:
    # Outside long mode bits 62:52 are reserved too; the PDPTEs reserve W, U, NX and bits 8:5 (SDM vol. 3A, 4.4.1).
    high = ((1 << 63) - 1) & ~((1 << facts.phys_bits) - 1)
    entry = high if facts.nx_enabled else high | NX
    levels = (
        Level(3, 30, 2, False, high | NX | W | U | 0x1E0, 0, rights=False),
        Level(2, 21, 9, True, entry, entry | _reserved_below(21)),
        Level(1, 12, 9, False, entry, entry),
    )
    return PagingMode("pae", levels, 8, 0xFFFF_FFE0, 32, _ADDRESS_52, True)


def _two_level(facts: _Facts) -> PagingMode:
    # A 4-MiB page's address reaches bit 39 at most (PSE-36); bit 21 and what lies above MAXPHYADDR are reserved.
    reach = min(facts.phys_bits, 40)
    large_reserved = (1 << 21) | (((1 << 21) - 1) & ~((1 << (reach - 19)) - 1) if reach < 40 else 0)
    levels = (
        Level(2, 22, 10, bool(facts.cr4 & CR4_PSE), 0, large_reserved),
        Level(1, 12, 10, False, 0, 0),
    )
    return PagingMode("32-bit", levels, 4, 0xFFFF_F000, 32, 0xFFFF_F000, False)


def paging_mode(cpu: CpuState) -> PagingMode | None:
    """How this processor translates, from CR0, CR4 and EFER alone (SDM vol. 3A, 4.1.1); None with paging off."""
    if not cpu.paging:
        return None
    return _mode(_Facts(cpu.long_mode, cpu.cr4, cpu.nx_enabled, cpu.phys_bits, cpu.gigabyte_pages))


@lru_cache(maxsize=64)
def _mode(facts: _Facts) -> PagingMode:
    if facts.long_mode:
        return _long_mode(facts)
    return _pae(facts) if facts.cr4 & CR4_PAE else _two_level(facts)


def flag_names(value: int, level: Level, mode: PagingMode) -> tuple[str, ...]:
    """The set flags of an entry by name, lowest bit first, without the address and software's own bits."""
    leaf = level.is_leaf(value)
    named = [(P, "P"), (W, "W"), (U, "U"), (PWT, "PWT"), (PCD, "PCD"), (A, "A")]
    if leaf:
        named += [(D, "D"), (PS, "PS") if level.number > 1 else (PAT_4K, "PAT"), (G, "G")]
        if level.number > 1:
            named.append((PAT_LARGE, "PAT"))
    elif level.number > 1:
        named.append((PS, "PS"))
    names = [name for bit, name in named if value & bit]
    if mode.long and leaf and value & KEY:
        names.append(f"PK={(value & KEY) >> KEY_SHIFT}")
    if mode.nx and value & NX:
        names.append("NX")
    return tuple(names)
