"""A kernel with something of everything, compiled and loaded into a made-up machine with paging, in good order.

Its image lies in the upper half, its heap in frames of no order, its free frames behind a direct map. Every structure
has pages of its own, so that a test can tell by the frames which of them was read.
"""

import shutil
import subprocess
from dataclasses import replace

import pytest
from elftools.elf.elffile import ELFFile

from gdbext.checks.catalogue import RULE_IDS
from gdbext.domains.parts import Parts
from gdbext.machine.cpu import CR0_PG, CpuState
from gdbext.machine.stopped import Machine
from gdbext.machine.tables import ProcessorRoot
from gdbext.profile.choice import ProfileChoice
from gdbext.session import Session
from gdbext.symbols.elf import ElfSymbols
from gdbext.units import VirtAddr, Word64
from gdbext.x86.virtual import PagedMemory
from tests.unit.guest import Guest, cpu

SIZE = 4 << 20
DIRECT, IMAGE, HEAP = 0xFFFF_8000_0000_0000, 0xFFFF_9000_0000_0000, 0xFFFF_A000_0000_0000
IMAGE_AT, IMAGE_FRAMES = 0x100, 0x20
HEAP_FRAMES = (0x207, 0x203, 0x205, 0x200, 0x202, 0x206, 0x201, 0x204)
"""The frames behind the heap's pages, in order of the pages."""
BUFFER, HELD, FREE = (0x220, 0x221), (0x230, 0x231), (0x303, 0x301, 0x306)
ROOT, OTHER_ROOT = 0x1000, 0xB000
RECORD = 12
"""Bytes of a record about a frame; there are 1024 of them, on three pages."""
P, W, PS, NX = 1, 2, 0x80, 1 << 63

USED = {*range(0x10), *range(IMAGE_AT, IMAGE_AT + IMAGE_FRAMES), *HEAP_FRAMES, *BUFFER, *HELD}
USED |= {*range(0x300, 0x400)} - {*FREE}  # the free ones of these are on the stack too
BITS = [sum(1 << bit for bit in range(64) if word * 64 + bit in USED) for word in range(SIZE >> 18)]
RECORDS = ", ".join(f"[{frame}] = {{ .use = 1, .references = 1 }}" for frame in sorted(USED))

SOURCE = f"""
#include <stdint.h>
#define OWN __attribute__((aligned(4096)))
struct range {{ uint64_t base, length, type; }};
OWN struct range ranges[1] = {{ {{ 0, {SIZE}, 1 }} }};
OWN uint64_t bits[512] = {{ {", ".join(f"{word:#x}ul" for word in BITS)} }};
OWN struct {{ uint64_t *bits, frames, used, hint, locked, full; }} pmm =
    {{ bits, {SIZE >> 12}, {len(USED)}, {min(set(range(1024)) - USED)}, 0, -1 }};
struct page {{ struct page *next; uint64_t mark; }};
#define FREE(address, next) \\
    __attribute__((section(".free." #address), used)) struct page page_##address = {{ (void *)next, 0x45455246 }};
struct zone {{ struct page *top; uint64_t count, start, end; }};
OWN struct zone stack = {{ (void *){DIRECT + FREE[0] * 4096:#x}, {len(FREE)}, 0x300000, 0x400000 }};
struct record {{ uint8_t use, owner[9], order, references; }};  /* some lie on two pages */
OWN struct record records[1024] = {{ {RECORDS} }};
struct buffer {{ struct buffer *next; uint64_t physical, size, align; }};
OWN struct buffer buffer = {{ 0, {BUFFER[0] << 12:#x}, 8192, 4096 }};
OWN uint64_t held[2] = {{ {HELD[0]}, {HELD[1]} }};
OWN struct {{ char *start, *next, *end; }} early = {{ (char *){HEAP + 0x2000:#x}, (char *){HEAP + 0x2800:#x},
                                                  (char *){HEAP + 0x3000:#x} }};
struct chunk {{ uint64_t magic, size, free; struct chunk *next, *prev; uint64_t rest; }};
#define CHUNK(where, size, free, next, prev) {{ 0x4b4e4843, size, free, (void *)(next), (void *)(prev), 0 }}
__attribute__((section(".heap"), used)) struct {{
    struct chunk first; uint8_t a[0x1000 - 48];
    struct chunk second; uint8_t b[0x1000 - 96];
    struct chunk third; uint8_t c[0x4000];
    struct chunk last; uint8_t d[0x2000 - 48];
}} arena = {{
    CHUNK(0, 0x1000 - 48, 0, {HEAP + 0x1000:#x}, 0), {{ 1 }},
    CHUNK(1, 0x1000 - 96, 1, {HEAP + 0x1FD0:#x}, {HEAP:#x}), {{ [0 ... 0xf9f] = 0xdd }},
    CHUNK(2, 0x4000, 0, {HEAP + 0x6000:#x}, {HEAP + 0x1000:#x}), {{ 1 }},
    CHUNK(3, 0x2000 - 48, 0, 0, {HEAP + 0x1FD0:#x}), {{ 1 }},
}};
OWN struct {{ struct chunk *head, *tail; char *start, *end; uint64_t used, locked; }} heap =
    {{ (void *){HEAP:#x}, (void *){HEAP + 0x6000:#x}, (char *){HEAP:#x}, (char *){HEAP + 0x8000:#x}, 3, 0 }};
"""

PROFILE = f"""
[kernel]
name = "small"
[address]
direct_map = {DIRECT:#x}
[boot_map]
entries = "ranges"
count = 1
base = "base"
length = "length"
type = "type"
usable = [1]
[page_records]
entries = "records"
count = 1024
free = "use == 0"
references = "references"
order = "order"
[dma.rings]
head = "&buffer"
next = "next"
physical = "physical"
size = "size"
align = "align"
[held.reserve]
entries = "held"
count = 2
[pmm.bits]
kind = "bitmap"
bits = "pmm.bits"
count = "pmm.frames"
hint = "pmm.hint"
hint_semantics = "lowest"
full = "pmm.full"
counters = {{ used = "pmm.used" }}
counter_scope = "all"
lock = "pmm.locked"
[pmm.stack]
kind = "list"
base = 0x300000
next = "next"
node = "struct page"
magic = {{ expr = "mark", equals = 0x45455246 }}
lists = {{ entries = "&stack", count = 1, head = "top", length = "count", start = "start", end = "end" }}
[heap.kernel]
kind = "list"
head = "heap.head"
tail = "heap.tail"
next = "next"
prev = "prev"
size = "size"
free = "free"
segments = {{ start = "heap.start", end = "heap.end" }}
magic = {{ expr = "magic", equals = 0x4b4e4843 }}
alignment = 16
coalesces = true
poison = {{ byte = 0xdd, skip = 0 }}
counters = {{ used_chunks = "heap.used" }}
lock = "heap.locked"
[heap.early]
kind = "bump"
start = "early.start"
current = "early.next"
end = "early.end"
parent = ["kernel"]
"""


class SmallKernel(Guest):
    """The machine, and the files that gdbext is given; ``cpu`` may be set to other registers."""

    def __init__(self, folder):
        super().__init__(SIZE)
        if shutil.which("gcc") is None:
            pytest.skip("gcc is not here")
        self.elf, full = folder / "kernel.elf", folder / "full.elf"
        places = "".join(f"FREE({DIRECT + f * 4096:#x}, {n})\n" for f, n in zip(FREE, self._next(), strict=True))
        (folder / "kernel.c").write_text(SOURCE + places)
        layout = [f"-Wl,-Tdata={IMAGE + (IMAGE_AT << 12):#x}", f"-Wl,--section-start=.heap={HEAP:#x}"]
        layout += [f"-Wl,--section-start=.free.{DIRECT + f * 4096:#x}={DIRECT + f * 4096:#x}" for f in FREE]
        flags = ["-g", "-ffreestanding", "-fno-pie", "-static", "-nostdlib", "-Wl,--build-id=none", "-Wl,-e,0"]
        subprocess.run(["gcc", *flags, *layout, folder / "kernel.c", "-o", full], check=True)
        subprocess.run(["objcopy", "-R", ".heap", "-R", ".free.*", full, self.elf], check=True, capture_output=True)
        self.profiles = ProfileChoice(RULE_IDS)
        self.describe(PROFILE)
        self.symbols = ElfSymbols(self.elf)
        self.cpu: CpuState = cpu(root=ROOT, rip=VirtAddr(IMAGE))
        self._map()
        virtual = PagedMemory(self.memory, self.cpu)
        with full.open("rb") as file:
            for segment in ELFFile(file).iter_segments("PT_LOAD"):
                data = segment.data()
                for address, physical, size in virtual.pieces(VirtAddr(segment["p_vaddr"]), len(data)):
                    self.write(physical, data[address - segment["p_vaddr"] :][:size])

    @staticmethod
    def _next():
        return [*(f"{DIRECT + frame * 4096:#x}" for frame in FREE[1:]), 0]

    def _map(self):
        for root in (ROOT, OTHER_ROOT):
            for base, table in ((DIRECT, 0x2000), (IMAGE, 0x4000), (HEAP, 0x7000)):
                self.entry(root, base >> 39 & 511, table | P | W)
        self.entry(0x2000, 0, 0x3000 | P | W)
        self.entries(0x3000, [number << 21 | P | W | PS | NX for number in range(SIZE >> 21)])
        self.entry(0x4000, 0, 0x5000 | P | W)
        self.entry(0x5000, 0, 0x6000 | P | W)
        for frame in range(IMAGE_AT, IMAGE_AT + IMAGE_FRAMES):
            self.entry(0x6000, frame, frame << 12 | P | W | NX)
        self.entry(0x7000, 0, 0x8000 | P | W)
        self.entry(0x8000, 0, 0x9000 | P | W)
        self.entries(0x9000, [frame << 12 | P | W | NX for frame in HEAP_FRAMES])

    def describe(self, profile):
        """Take another description of the same kernel."""
        file = self.elf.parent / "small.toml"
        file.write_text(profile)
        self.profiles.use(str(file))

    def session(self, memory=None, parts=None):
        """A session over the machine as it is now."""
        other = ProcessorRoot(1, self.cpu.cr0, Word64(OTHER_ROOT), self.cpu.cr4, self.cpu.efer)
        machine = Machine(memory or self.memory, self.cpu, (), roots=lambda: (other,))
        return Session(lambda: machine, self.symbols, self.elf, self.profiles, int, parts or Parts())

    def frame_of(self, name):
        """The frame that a variable lies in."""
        return self.place_of(name) >> 12

    def put(self, name, offset, value):
        """A 64-bit word in a variable."""
        self.entry(self.place_of(name) + offset, 0, value)

    def put_record(self, number, *, use, order=0, references=1):
        """What is recorded about a frame."""
        at = self.place_of("records") + RECORD * number
        self.bytes[at], self.bytes[at + 10], self.bytes[at + 11] = use, order, references

    def place_of(self, name):
        """The physical address of a variable."""
        return int(self.symbols.find_symbol(name).address or 0) - IMAGE


DAMAGES = {
    "none": lambda kernel: None,
    "a counter that counts wrong": lambda kernel: kernel.put("pmm", 16, 7),
    "a hint beyond free frames": lambda kernel: kernel.put("pmm", 24, 1000),
    "a constant with a digit too few": lambda kernel: kernel.put("pmm", 40, (1 << 60) - 1),
    "frames freed while they are used": lambda kernel: kernel.put("bits", 32, 0),
    "all frames free": lambda kernel: [kernel.put("bits", 8 * word, 0) for word in range(16)],
    "the manager's lock is held": lambda kernel: [kernel.put("pmm", 32, 1), kernel.put("pmm", 16, 7)],
    "bits that cannot be read": lambda kernel: kernel.put("pmm", 0, 0xDEAD_0000),
    "a link that was overwritten": lambda kernel: kernel.entry(FREE[1] << 12, 0, 0x4141_4141),
    "a list of another length": lambda kernel: kernel.put("stack", 8, 9),
    "a zone that ends too early": lambda kernel: kernel.put("stack", 24, 0x304000),
    "records of another mind": lambda kernel: kernel.put_record(0x240, use=1, order=4),
    "a buffer out of line": lambda kernel: kernel.put("buffer", 8, (BUFFER[0] << 12) + 8),
    "a frame kept twice": lambda kernel: kernel.put("held", 8, HELD[0]),
    "a boot map of nonsense": lambda kernel: kernel.put("ranges", 8, 0x10_0000),
    "a reserved bit": lambda kernel: kernel.entry(0x9000, 3, HEAP_FRAMES[3] << 12 | P | W | NX | 1 << 51),
    "a page that is not there": lambda kernel: kernel.entry(0x9000, 3, 0),
    "a table that is no RAM": lambda kernel: kernel.entry(0x7000, 1, 0x7FFF_F000 | P | W),
    "code that can be written": lambda kernel: kernel.entry(0x9000, 3, HEAP_FRAMES[3] << 12 | P | W),
    "a kernel's half of its own": lambda kernel: kernel.entry(OTHER_ROOT, DIRECT >> 39 & 511, 0),
    "a recursive slot": lambda kernel: kernel.entry(ROOT, 510, ROOT | P | W),
    "a page of the direct map moved": lambda kernel: kernel.entry(0x3000, 1, P | W | PS | NX),
    "the lower half mapped": lambda kernel: kernel.entry(ROOT, 0, 0x2000 | P | W),
    "a header overwritten": lambda kernel: kernel.entry((HEAP_FRAMES[1] << 12) + 0x0, 0, 0x4141),
    "a size that cannot be": lambda kernel: kernel.entry((HEAP_FRAMES[1] << 12) + 8, 0, 0x7000),
    "poison that was written to": lambda kernel: kernel.entry((HEAP_FRAMES[1] << 12) + 0x100, 0, 1),
    "a heap's counter": lambda kernel: kernel.put("heap", 32, 5),
    "the parent's chunk freed": lambda kernel: kernel.entry((HEAP_FRAMES[1] << 12) + 0xFD0 + 16, 0, 1),
    "a watermark beyond the end": lambda kernel: kernel.put("early", 8, HEAP + 0x9000),
    "a heap that cannot be read": lambda kernel: kernel.put("heap", 0, 0xDEAD_0000),
    "paging off": lambda kernel: setattr(kernel, "cpu", cpu(cr0=1)),
    "write protection off": lambda kernel: setattr(kernel, "cpu", replace(kernel.cpu, cr0=CR0_PG | 1)),
    "another root": lambda kernel: setattr(kernel, "cpu", replace(kernel.cpu, cr3=OTHER_ROOT)),
}
"""What may have happened to the machine, by name."""

QUIET = {"none", "another root"}
"""Those that are no fault."""
