"""A made-up guest with a heap in it, and what its rules say: for tests of readers and rules."""

import subprocess
from pathlib import Path

from gdbext.checks.finding import run_rules
from gdbext.checks.heaps.chunks import heap_rules
from gdbext.checks.heaps.heap_map import HeapMap, heap_map
from gdbext.checks.heaps.inputs import HeapInputs
from gdbext.heap.listing import Selection, chunk_list, find_chunk
from gdbext.heap.read import read_heap
from gdbext.heap.snapshot import HeapSnapshot
from gdbext.heap.stat import heap_stat
from gdbext.profile.binding.bind import bind
from gdbext.profile.toml.load import read_profile
from gdbext.structures.unread import Unread
from gdbext.symbols.elf import ElfSymbols
from gdbext.x86.virtual import PagedMemory
from tests.unit.guest import Guest, cpu

ARENA, ARENA_END = 0x40000, 0x80000
MAGIC = 0x4B4E4843
ADDRESS_MAGIC = 0x454C4954454C4954

COUNTERS = (
    'counters = { used_bytes = "used_bytes", free_bytes = "free_bytes", used_chunks = "used_chunks",'
    ' free_chunks = "free_chunks" }\n'
)
SEGMENT = 'segments = { start = "start", end = "end" }\nalignment = 16\nminimum = 16\n'
LIST = (
    'kind = "list"\nhead = "head"\ntail = "tail"\nnext = "next"\nprev = "prev"\nsize = "size"\nfree = "free"\n'
    'magic = { expr = "magic", equals = 0x4b4e4843 }\ncoalesces = true\n' + SEGMENT + COUNTERS
)
TAGS = (
    'kind = "chunks"\nnode = "struct tag"\nsize = "word & ~15ul"\nfree = "!(word & 1)"\ntrailer = 8\n'
    'footer = { node = "struct tag", expr = "word", equals = "word" }\ncoalesces = true\n' + SEGMENT + COUNTERS
)
SORTED = (
    'kind = "chunks"\nnode = "struct sorted"\nsize = "size"\nfree = "free"\nprev = "below"\ntail = "top"\n'
    'magic = { expr = "magic", equals = "0x454c4954454c4954 ^ (unsigned long)self" }\ncoalesces = true\n'
    + SEGMENT
    + COUNTERS
)
BINS = (
    'bins = { entries = "bins", count = 4, head = "first", next = "next", prev = "prev", length = "count",'
    ' low = "self == &bins[0] ? 0 : 32ul << 2 * (self - bins)", high = "32ul << 2 * (self - bins + 1)" }\n'
)


def tree(kind, rank):
    return (
        'tree = { root = "root", left = "left", right = "right", parent = "parent", count = "tree_count",'
        f' kind = "{kind}", {rank} = "rank" }}\n'
    )


def compiled(folder):
    """The symbols of heaps.c, with fixed addresses."""
    elf, source = folder / "heaps.elf", Path(__file__).parent / "heaps.c"
    layout = ["-Wl,-Ttext=0x10000", "-Wl,-Tbss=0x20000", "-Wl,-z,norelro", "-Wl,--build-id=none", "-Wl,-emain"]
    flags = ["-g", "-ffreestanding", "-nostdlib", "-static", "-no-pie"]
    subprocess.run(["gcc", *flags, *layout, source, "-o", elf], check=True)
    return ElfSymbols(elf)


class Kernel(Guest):
    """A guest without paging whose profile describes one heap."""

    def __init__(self, symbols, profile, size=1 << 20):
        super().__init__(size)
        self.symbols = symbols
        bound = bind(read_profile(f'[kernel]\nname = "made-up"\n[heap.it]\n{profile}', "k.toml"), symbols)
        assert bound.problems == ()
        (self.heap,) = bound.heap
        self.put("start", ARENA)
        self.put("end", ARENA_END)

    def at(self, name):
        return self.symbols.find_symbol(name).address

    def put(self, name, value, index=0):
        self.fields(self.at(name) + 8 * index, value)

    def fields(self, address, *values):
        """Neighbouring 64-bit words."""
        self.entries(address, [value & (1 << 64) - 1 for value in values])

    @property
    def virtual(self):
        return PagedMemory(self.memory, cpu(cr0=1))

    def read(self):
        return read_heap(self.heap, self.virtual)

    def report(self):
        heap = self.read()
        return run_rules(heap_rules(heap), HeapInputs(heap, self.virtual))

    def found(self, *rules):
        """What the rules find, as rule and address; everything else that is made of a heap is made too."""
        heap = self.read()
        if isinstance(heap, Unread):
            return [("HEAP00", None)]
        heap_stat(heap)
        for selection in (Selection(("free", "used", "unknown"), by_size=True), Selection(("free",), by_lists=True)):
            chunk_list(heap, selection)
        find_chunk(heap, ARENA + 100, self.virtual)
        findings = self.report().findings
        for finding in findings:
            assert finding.expected
            assert finding.actual
            assert finding.cause
        return [(finding.id, finding.address) for finding in findings if not rules or finding.id in rules]

    def found_in_anything(self):
        """What the rules find where memory may hold anything, and that what is made of the heap agrees with itself."""
        before = self.bytes.copy()
        findings = self.found()
        assert self.found() == findings, "the same memory has two answers"
        assert (self.bytes == before).all(), "guest memory was written"
        heap = self.read()
        if isinstance(heap, HeapSnapshot):
            self._agrees_with_itself(heap)
        return findings

    def _agrees_with_itself(self, heap):
        """Figures and map of a heap against its chunks, counted one by one; chunks and findings against the guest."""
        chunks = [heap.chunks.at(index) for index in range(len(heap.chunks))]
        assert len({chunk.payload for chunk in chunks}) == len(chunks) or self.found(), "a chunk is listed twice"
        assert all(chunk.address < len(self.bytes) for chunk in chunks), "a chunk is where there is no memory"
        stat = heap_stat(heap)
        sound = [chunk for chunk in chunks if chunk.sound]
        assert stat.damaged == len(chunks) - len(sound)
        assert stat.free_chunks == sum(chunk.free for chunk in sound)
        assert stat.used_chunks == sum(not chunk.free for chunk in sound)
        assert stat.used_bytes == sum(chunk.size for chunk in sound if not chunk.free)
        assert stat.largest_free == max([0, *(chunk.size for chunk in sound if chunk.free)])
        assert stat.complete == (heap.unseen is None and not stat.damaged)
        drawn = heap_map(heap, None)
        if isinstance(drawn, HeapMap):
            assert sum(drawn.sizes.values()) == drawn.end - drawn.start
            assert list(drawn.begins) == sorted(set(drawn.begins))
        addresses = {chunk.address for chunk in chunks}
        for finding in self.report().findings:
            assert finding.subject != "chunk" or finding.address in addresses | {
                getattr(heap.detail, name, None) for name in ("tail", "rover")
            }, finding

    def count(self, tiles):
        """Set the counters to what these chunks make."""
        for state, free in (("used", False), ("free", True)):
            sizes = [size for size, is_free in tiles if is_free == free]
            self.put(f"{state}_bytes", sum(sizes))
            self.put(f"{state}_chunks", len(sizes))


def merged(tiles):
    """The same chunks with every second of two free neighbours used."""
    result = []
    for size, free in tiles:
        result.append((size, free and not (result and result[-1][1])))
    return result


def seen(heap):
    """The chunks that were read: payload, size, free."""
    c = heap.chunks
    return list(zip(c.payload.tolist(), c.size.tolist(), c.free.tolist(), strict=True))
