"""Kernel memory read ahead in blocks, for walks that read a few bytes here and there."""

from gdbext.errors import NotMapped
from gdbext.machine.memory import VirtualMemory
from gdbext.units import FRAME_SIZE, VirtAddr, round_down
from gdbext.x86.virtual import Linear, PagedMemory

BLOCK = 1 << 18
"""Bytes read at once where all of them are mapped."""


class BlockReader:
    """A `VirtualMemory` that keeps what it has read: blocks where it can, single pages where a block has holes."""

    def __init__(self, memory: VirtualMemory) -> None:
        self._memory = memory
        self._blocks: dict[int, bytes | None] = {}
        self._pages: dict[int, bytes] = {}

    def window(self, address: int, size: int) -> tuple[bytes, int]:
        """A buffer and the offset in it at which the ``size`` bytes from ``address`` are.

        Raises NotMapped with the first address that cannot be read.
        """
        number, offset = divmod(address, BLOCK)
        block = self._block(number)
        if block is not None and offset + size <= BLOCK:
            return block, offset
        return self._joined(address, size), 0

    def read(self, address: VirtAddr, size: int) -> bytes:
        """``size`` bytes; NotMapped with the first address that cannot be read."""
        buffer, offset = self.window(address, size)
        return buffer[offset : offset + size]

    def _block(self, number: int) -> bytes | None:
        if number not in self._blocks:
            try:
                self._blocks[number] = self._memory.read(VirtAddr(number * BLOCK), BLOCK)
            except NotMapped:
                self._blocks[number] = None
        return self._blocks[number]

    def _joined(self, address: int, size: int) -> bytes:
        """Bytes over the borders of blocks, or out of a block with holes."""
        parts = []
        for page in range(round_down(address, FRAME_SIZE), address + size, FRAME_SIZE):
            if page not in self._pages:
                block = self._block(page // BLOCK)
                inside = page % BLOCK
                self._pages[page] = block[inside : inside + FRAME_SIZE] if block else self._page(page, address)
            parts.append(self._pages[page])
        start = address % FRAME_SIZE
        return b"".join(parts)[start : start + size]

    def _page(self, page: int, wanted: int) -> bytes:
        try:
            return self._memory.read(VirtAddr(page), FRAME_SIZE)
        except NotMapped as error:
            raise NotMapped(VirtAddr(max(page, wanted)), error.why) from error


class ReadAhead(PagedMemory):
    """The same memory for walks over neighbours: what cannot be viewed without copying is copied in blocks."""

    def __init__(self, memory: PagedMemory) -> None:
        super().__init__(memory.physical, memory.cpu, memory.root)
        self._memory = memory
        self._blocks = BlockReader(memory)

    def linear(self, address: VirtAddr) -> Linear:
        """As of the memory itself, which remembers."""
        return self._memory.linear(address)

    def read(self, address: VirtAddr, size: int) -> bytes:
        """``size`` bytes; NotMapped with the first address that cannot be read. Large pieces are not kept."""
        return self._blocks.read(address, size) if size < BLOCK else self._memory.read(address, size)

    def read_near(self, address: VirtAddr, size: int) -> bytes:
        """The same: all reads are near."""
        return self._blocks.read(address, size)
