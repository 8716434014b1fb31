"""Readers of physical managers, on structures written by plain loops into a made-up guest, against Python's sets."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gdbext.checks.finding import run_rules
from gdbext.checks.physical.inputs import PhysicalRange, PmmInputs
from gdbext.checks.physical.managers import pmm_rules
from gdbext.pmm.read import read_pmm
from gdbext.pmm.snapshot import PmmSnapshot
from gdbext.pmm.stat import pmm_dump, pmm_stat
from gdbext.pmm.zones import Zone
from gdbext.profile.binding.bind import bind
from gdbext.profile.toml.load import read_profile
from gdbext.structures.chain import Stop
from gdbext.structures.unread import Unread
from gdbext.symbols.elf import ElfSymbols
from gdbext.units import PhysAddr, VirtAddr
from gdbext.x86.virtual import PagedMemory
from tests.unit.guest import Guest, cpu

from ..budget import examples

FRAME = 4096
FRAMES = 256
"""Frames of RAM there are."""
LOWEST = 96
"""The first that no variable lies in."""
MARK = 0x45455246
FREE = range(LOWEST, FRAMES)
free_sets = st.sets(st.sampled_from(FREE))
plenty = settings(max_examples=examples(), suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


@pytest.fixture(scope="module")
def symbols(tmp_path_factory):
    elf = tmp_path_factory.mktemp("managers") / "managers.elf"
    source = Path(__file__).parent / "managers.c"
    layout = ["-Wl,-Ttext=0x10000", "-Wl,-Tbss=0x20000", "-Wl,-z,norelro", "-Wl,--build-id=none"]
    command = [
        "gcc",
        "-g",
        "-ffreestanding",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-Wl,-emain",
        *layout,
        source,
        "-o",
        elf,
    ]
    subprocess.run(command, check=True)
    return ElfSymbols(elf)


class Kernel(Guest):
    """A made-up guest without paging, and a profile about it; of free lists also how they link and end."""

    links: str
    end: int

    def __init__(self, symbols, profile):
        super().__init__(FRAMES * FRAME)
        self.symbols = symbols
        text = f'[kernel]\nname = "made-up"\n[pmm.it]\n{profile}'
        bound = bind(read_profile(text, "k.toml"), symbols)
        assert bound.problems == ()
        (self.manager,) = bound.pmm
        self.paged = PagedMemory(self.memory, cpu(cr0=1))

    def at(self, name):
        """The address of a variable."""
        return self.symbols.find_symbol(name).address

    def put(self, name, value, index=0, size=8):
        self.number(self.at(name) + index * size, value, size)

    def fields(self, address, *values):
        """Neighbouring 64-bit words."""
        for index, value in enumerate(values):
            self.number(address + 8 * index, value)

    def number(self, address, value, size=8):
        self.write(address, (value & (1 << 8 * size) - 1).to_bytes(size, "little"))

    def read(self):
        return read_pmm(self.manager, self.paged, self.ram, VirtAddr(0))


def findings(kernel, manager):
    """What the rules say, and everything else that is made of a snapshot, made."""
    zones = (Zone("low", PhysAddr(0), PhysAddr(100 * FRAME)), Zone("high", PhysAddr(100 * FRAME), PhysAddr(1 << 40)))
    pmm_stat(manager, None, zones)
    pmm_dump(manager)
    metadata = tuple(PhysicalRange(p.start, p.start + p.size, "manager", p.what) for p in manager.places)
    return run_rules(pmm_rules(manager), inputs(kernel, manager, metadata)).findings


def inputs(kernel, manager, metadata=()):
    """What the rules look at, where nobody is known to use frames."""
    return PmmInputs(
        manager=manager,
        ram=kernel.ram,
        boot_map=None,
        metadata=metadata,
        tables=(),
        image=(),
        buffers=(),
        held=(),
        mapped=(),
        recorded=None,
        left_out=(),
        image_left_out=(),
    )


def broken_rules(kernel, manager):
    return {finding.id for finding in findings(kernel, manager)}


def free_of(manager):
    """The free frames, by the runs that reports show."""
    assert isinstance(manager, PmmSnapshot), manager
    first, length = manager.free_runs
    return {n for f, k in zip(first.tolist(), length.tolist(), strict=True) for n in range(f, f + k)}


def runs_of(numbers):
    """Stretches of a set, found by looking at each number."""
    found = []
    for number in sorted(numbers):
        if found and found[-1][1] == number:
            found[-1][1] += 1
        else:
            found.append([number, number + 1])
    return found


def bits(states, order="lsb", size=1):
    """Words whose bit i is states[i], bit by bit."""
    data = b""
    for first in range(0, len(states), 8 * size):
        value = 0
        for at, state in enumerate(states[first : first + 8 * size]):
            value |= state << (at if order == "lsb" else 8 * size - 1 - at)
        data += value.to_bytes(size, "little")
    return data


# Bitmaps


@plenty
@given(st.data())
def test_bitmaps(symbols, data):
    order, used = data.draw(st.sampled_from(["lsb", "msb"])), data.draw(st.sampled_from([0, 1]))
    size, base = data.draw(st.sampled_from([1, 2, 4, 8])), data.draw(st.sampled_from([0, 0x3000, LOWEST * FRAME]))
    count = data.draw(st.integers(1, 400))
    whole = -(-count // (8 * size)) * 8 * size
    free = data.draw(st.sets(st.integers(0, whole - 1)))
    kernel = Kernel(
        symbols,
        f'kind = "bitmap"\nbits = "bytes"\ncount = "frames"\norder = "{order}"\nused = {used}\nword = {size}\n'
        f'base = {base}\nhint = "hint"\nhint_semantics = "lowest"\ncounters = {{ free = "free_frames" }}\n',
    )
    inside = {n for n in free if n < count}
    hint, said = data.draw(st.integers(0, 500)), data.draw(st.sampled_from([len(inside), len(inside) + 1]))
    kernel.write(kernel.at("bytes"), bits([used ^ (n in free) for n in range(whole)], order, size))
    for name, value in (("frames", count), ("hint", hint), ("free_frames", said)):
        kernel.put(name, value)
    manager = kernel.read()
    assert free_of(manager) == inside
    assert manager.patches[0].tail_free == tuple(sorted(free - inside))
    wrong = broken_rules(kernel, manager)
    assert ("PMM07" in wrong) == (bool(free - inside) or hint > count or hint > min(inside, default=hint))
    assert ("PMM01" in wrong) == (said != len(inside))
    assert ("PMM04" in wrong) == any((n * FRAME + base) // FRAME >= FRAMES for n in inside)


@given(st.sets(st.integers(0, 399)), st.integers(0, 450), st.integers(0, 450), st.integers(1, 400))
@plenty
def test_figures(symbols, free, low, high, count):
    low, high = sorted((low, high))
    free = {n for n in free if n < count}
    kernel = Kernel(symbols, 'kind = "bitmap"\nbits = "bytes"\ncount = "frames"\n')
    kernel.write(kernel.at("bytes"), bits([n not in free for n in range(-(-count // 64) * 64)]))
    kernel.put("frames", count)
    manager = kernel.read()
    zone = Zone("z", PhysAddr(low * FRAME), PhysAddr(high * FRAME))
    stat = pmm_stat(manager, None, [zone])
    runs = runs_of(free)
    assert (stat.free, stat.used, stat.free_runs) == (len(free), count - len(free), len(runs))
    assert stat.largest_run == max((end - first for first, end in runs), default=0)
    inside = runs_of(n for n in free if low <= n < high)
    (of_zone,) = stat.zones
    assert of_zone.free == sum(end - first for first, end in inside)
    assert of_zone.free_runs == len(inside)
    assert of_zone.largest_run == max((end - first for first, end in inside), default=0)
    shown = {n for s in pmm_dump(manager).stretches if s.state == "free" for n in range(s.number, s.number + s.frames)}
    assert shown == free


@plenty
@given(st.sets(st.integers(0, 4999)), st.integers(65, 5000), st.sampled_from([1, 2, 4, 8]), st.data())
def test_summaries(symbols, free, count, size, data):
    row = [n in free for n in range(count)]
    kernel = Kernel(
        symbols,
        f'kind = "bitmap"\nbits = "bytes"\ncount = "frames"\nword = {size}\nused = 0\n'
        'summaries = { entries = "levels", count = "level_count", bits = "bits", bits_count = "count" }\n',
    )
    kernel.put("frames", count)
    width, at, level, wrong = 8 * size, kernel.at("bytes"), 0, {}
    while True:
        if level:
            stale = data.draw(st.sets(st.integers(0, len(row) - 1), max_size=3))
            wrong[level] = stale
            row = [state ^ (n in stale) for n, state in enumerate(row)]
            kernel.fields(kernel.at("levels") + (level - 1) * 40, at, len(row))
        raw = bits(row + [False] * (-len(row) % width), size=size)
        kernel.write(at, raw)
        at += len(raw)
        if len(row) <= width:
            break
        row = [any(row[i : i + width]) for i in range(0, len(row), width)]
        level += 1
    kernel.put("level_count", level)
    if level > 7:  # more than there is room for
        return
    manager = kernel.read()
    assert free_of(manager) == {n for n in free if n < count}
    assert {s.level: set(s.stale.tolist()) for s in manager.summaries} == wrong
    assert ("PMM08" in broken_rules(kernel, manager)) == any(wrong.values())


@plenty
@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.data())
def test_regions(symbols, sizes, data):
    kernel = Kernel(
        symbols,
        'kind = "bitmaps"\nregions = { entries = "levels", count = "level_count" }\nbits = "bits"\ncount = "count"\n'
        'first = "first"\nword = 8\nregion_counters = { used = "used" }\n',
    )
    free, at, first, wrong = set(), kernel.at("bytes"), 0, False
    for index, size in enumerate(sizes):
        first += data.draw(st.integers(0, 20))
        own = data.draw(st.sets(st.integers(0, size - 1)))
        said = size - len(own) + data.draw(st.sampled_from([0, 0, 1]))
        wrong |= said != size - len(own)
        kernel.fields(kernel.at("levels") + index * 40, at, size, first * FRAME, 0, said)
        kernel.write(at, bits([n not in own for n in range(64)]))
        free |= {first + n for n in own}
        first, at = first + size, at + 8
    kernel.put("level_count", len(sizes))
    manager = kernel.read()
    assert free_of(manager) == free
    assert [part.free for part in manager.parts] == [manager.free_in(patch) for patch in manager.patches]
    assert sum(part.free for part in manager.parts) == len(free)
    no_counters = any(s.id == "PMM01" for s in run_skips(kernel, manager))
    assert ("PMM01" in broken_rules(kernel, manager)) == (wrong and not no_counters)


@pytest.mark.parametrize(("meaning", "counted"), [("free", 3), ("used", 7)])
def test_a_region_behind_the_managers_base(symbols, meaning, counted):
    """Frames are numbered from the base on: a region of 10 frames that begins 5 frames after it."""
    kernel = Kernel(
        symbols,
        'kind = "bitmaps"\nregions = { entries = "levels", count = "level_count" }\nbits = "bits"\ncount = "count"\n'
        f'first = "first"\nword = 8\nbase = 0x3000\nregion_counters = {{ {meaning} = "used" }}\n',
    )
    kernel.fields(kernel.at("levels"), kernel.at("bytes"), 10, 0x3000 + 5 * FRAME, 0, counted)
    kernel.write(kernel.at("bytes"), bits([n not in (0, 1, 9) for n in range(64)]))
    kernel.put("level_count", 1)
    manager = kernel.read()
    assert free_of(manager) == {5, 6, 14}
    assert (manager.patches[0].first, manager.frame_address(5)) == (5, 0x8000)
    (part,) = manager.parts
    assert (part.name, part.said, part.counted, part.blocks) == ("0x8000", counted, counted, 2)
    kernel.fields(kernel.at("levels"), kernel.at("bytes"), 10, 0x3000 - FRAME, 0, counted)
    assert "which is not the start of a frame" in kernel.read().why


@pytest.mark.parametrize(
    ("count", "at", "read", "absent"),
    [(0, 0, False, True), (0, 0x80000, False, False), (8, 0, True, False), (8, 0x80000, True, False)],
)
def test_a_bitmap_is_absent_while_it_has_neither_frames_nor_a_place(symbols, count, at, read, absent):
    kernel = Kernel(symbols, 'kind = "bitmap"\nbits = "words[1]"\ncount = "frames"\n')
    kernel.put("frames", count)
    kernel.put("words", at, 1)
    manager = kernel.read()
    if read:
        assert (manager.count, manager.patches[0].bits_at) == (count, at)
    else:
        assert isinstance(manager, Unread)
        assert manager.absent is absent


def test_places_of_bits_in_regions(symbols):
    """Two regions of 70 frames from 10 and from 100 on: each frame's bit is that of its number within its region."""
    kernel = Kernel(
        symbols,
        'kind = "bitmaps"\nregions = { entries = "levels", count = "level_count" }\nbits = "bits"\ncount = "count"\n'
        'first = "first"\nhint = "hint"\nhint_semantics = "lowest"\nword = 8\n',
    )
    low, high = kernel.at("bytes"), kernel.at("bytes") + 0x100
    kernel.fields(kernel.at("levels"), low, 70, 10 * FRAME, 69)
    kernel.fields(kernel.at("levels") + 40, high, 70, 100 * FRAME, 0)
    for at in (low, high):
        kernel.write(at, bits([n != 69 for n in range(128)]))
    kernel.put("level_count", 2)
    manager = kernel.read()
    assert free_of(manager) == {79, 169}
    places = {10: low, 73: low, 74: low + 8, 79: low + 8, 100: high, 163: high, 164: high + 8, 169: high + 8}
    assert {number: manager.place_of(number) for number in places} == places
    assert manager.record_of(169) == f"bit 69 of 'it' of the region at 0x64000, in the word at {high + 8:#x}"
    assert manager.record_of(10) == f"bit 0 of 'it' of the region at 0xa000, in the word at {low:#x}"
    assert [(patch.first, patch.count, patch.byte_size) for patch in manager.patches] == [(10, 70, 16), (100, 70, 16)]
    assert [patch.hint for patch in manager.patches] == [69, 0]
    assert [(part.name, part.frames, part.free, part.blocks, part.at) for part in manager.parts] == [
        ("0xa000", 70, 1, 1, low),
        ("0x64000", 70, 1, 1, high),
    ]
    assert (manager.count, manager.total, manager.free_count) == (170, 140, 2)
    assert broken_rules(kernel, manager) == set()
    kernel.fields(kernel.at("levels") + 24, 70)  # one above the region's own lowest free frame
    (finding,) = findings(kernel, kernel.read())
    assert (finding.id, finding.address) == ("PMM07", kernel.at("levels") + 24)
    assert finding.expected == "at most 69, the lowest free frame (0x4f000)"


@pytest.mark.parametrize(
    ("first", "shared"), [(20, 0), (19, 1), (10, 10), (0, 10)], ids=["beside", "by one", "wholly", "in order"]
)
def test_regions_that_overlap(symbols, first, shared):
    """A region of 10 frames from 10 on, and one of 20 frames that begins before, within or after it."""
    kernel = Kernel(
        symbols,
        'kind = "bitmaps"\nregions = { entries = "levels", count = "level_count" }\nbits = "bits"\ncount = "count"\n'
        'first = "first"\nword = 8\n',
    )
    kernel.fields(kernel.at("levels"), kernel.at("bytes"), 10, 10 * FRAME)
    kernel.fields(kernel.at("levels") + 40, kernel.at("bytes") + 0x100, 20, first * FRAME)
    kernel.write(kernel.at("bytes"), b"\xff" * 0x200)
    kernel.put("level_count", 2)
    wrong = [finding for finding in findings(kernel, kernel.read()) if finding.id == "PMM07"]
    assert [finding.address for finding in wrong] == ([max(first, 10) * FRAME] if shared else [])
    if shared:
        assert wrong[0].evidence[0].startswith(f"{shared} frame{'s' * (shared > 1)} (")


@pytest.mark.parametrize("start", [FRAME + 1, 2 * FRAME - 1])
def test_a_region_begins_with_a_frame(symbols, start):
    kernel = Kernel(
        symbols,
        'kind = "bitmaps"\nregions = { entries = "levels", count = "level_count" }\nbits = "bits"\ncount = "count"\n'
        'first = "first"\nword = 8\n',
    )
    kernel.fields(kernel.at("levels"), kernel.at("bytes"), 8, start)
    kernel.put("level_count", 1)
    manager = kernel.read()
    assert isinstance(manager, Unread)
    assert "which is not the start of a frame" in manager.why
    kernel.fields(kernel.at("levels"), kernel.at("bytes"), 8, FRAME)
    assert kernel.read().patches[0].first == 1


@pytest.mark.parametrize(("count", "right"), [(64, True), (65, False), (-1, False)])
def test_so_many_levels_there_may_be(symbols, count, right):
    """Each level's only word has a bit for one word below, so there may be any number: no kernel has 65."""
    kernel = Kernel(
        symbols,
        'kind = "bitmap"\nbits = "bytes"\ncount = "frames"\nword = 8\n'
        'summaries = { entries = "(struct level *)0x80000", count = "level_count", bits = "bits",'
        ' bits_count = "count" }\n',
    )
    for level in range(66):
        kernel.fields(0x80000 + 40 * level, kernel.at("words") + 8 * level, 1)
        kernel.fields(kernel.at("words") + 8 * level, (1 << 64) - 1)
    kernel.put("frames", 8)
    kernel.put("level_count", count)
    kernel.write(kernel.at("bytes"), b"\xff" * 8)
    manager = kernel.read()
    assert len(manager.summaries) == (count if right else 0)
    assert [torn.why for torn in manager.torn] == (
        [] if right else [f"level_count is {count % (1 << 64)}, which cannot be a number of elements"]
    )
    assert [summary.level for summary in manager.summaries] == list(range(1, len(manager.summaries) + 1))


@pytest.mark.parametrize(
    ("used", "size", "full", "found"),
    [
        (1, 8, (1 << 64) - 1, False),
        (1, 8, (1 << 60) - 1, True),
        (1, 8, 0, True),
        (0, 8, 0, False),
        (0, 8, 1, True),
        (1, 4, (1 << 32) - 1, False),
        (1, 4, (1 << 64) - 1, False),  # what is above the word counts for nothing
        (1, 4, (1 << 31) - 1, True),
        (0, 4, 1 << 32, False),
    ],
)
def test_the_constant_for_a_full_word(symbols, used, size, full, found):
    kernel = Kernel(
        symbols, f'kind = "bitmap"\nbits = "bytes"\ncount = "frames"\nused = {used}\nword = {size}\nfull = "hint"\n'
    )
    kernel.put("frames", 8)
    kernel.put("hint", full)
    assert ("PMM09" in broken_rules(kernel, kernel.read())) == found


def run_skips(kernel, manager):
    return run_rules(pmm_rules(manager), inputs(kernel, manager)).skipped


# Lists

LISTS = 'lists = { entries = "lists", count = "list_count", head = "head", length = "length" }\n'
LINKS = {
    "virtual": lambda kernel, frame: frame * FRAME,
    "physical": lambda kernel, frame: frame * FRAME,
    "frame": lambda kernel, frame: frame,
    "index": lambda kernel, frame: frame,
}
MAGIC = f'magic = {{ expr = "mark", equals = "{MARK}" }}\n'


def list_kernel(symbols, links, extra="", kind="list"):
    end = -1 if links == "index" else 0  # there is a frame number 0
    profile = f'kind = "{kind}"\n{LISTS}links = "{links}"\nnext = "next"\nend = "(unsigned long) {end}"\n'
    profile += 'count = "frames"\n' if links == "index" else ""
    profile += 'records = "records"\n' if links == "index" else 'node = "struct node"\n'
    kernel = Kernel(symbols, profile + MAGIC + extra)
    kernel.put("frames", FRAMES)
    kernel.links, kernel.end = links, end
    return kernel


def node_at(kernel, frame):
    """Where a frame's node lies."""
    return kernel.at("records") + frame * 120 if kernel.links == "index" else frame * FRAME


def thread(kernel, number, through, *, circular=False, **fields):
    """One list through these frames; ``fields`` has a function of a frame for each word to set."""
    words = {"frames": 3, "order": 4, "address": 5}
    link = LINKS[kernel.links]
    linked = [link(kernel, frame) for frame in through]
    closing = linked[0] if circular and linked else kernel.end
    for at, frame in enumerate(through):
        after = linked[at + 1] if at + 1 < len(through) else closing
        before = linked[at - 1] if at or circular else kernel.end
        kernel.fields(node_at(kernel, frame), after, before, MARK)
        for name, of in fields.items():
            kernel.number(node_at(kernel, frame) + 8 * words[name], of(frame))
    kernel.fields(kernel.at("lists") + number * 48, linked[0] if linked else kernel.end, len(through))


@plenty
@given(st.sampled_from(list(LINKS)), free_sets, st.integers(1, 4), st.data())
def test_lists_of_frames(symbols, links, free, count, data):
    circular, back = data.draw(st.booleans()), data.draw(st.booleans())
    extra = 'prev = "prev"\n' if back else ""
    kernel = list_kernel(symbols, links, extra + ("circular = true\n" if circular else ""))
    order = data.draw(st.permutations(sorted(free)))
    for number in range(count):
        thread(kernel, number, order[number::count], circular=circular)
    kernel.put("list_count", count)
    manager = kernel.read()
    assert free_of(manager) == free
    assert [found.members.start.tolist() for found in manager.lists] == [
        [frame * FRAME for frame in order[number::count]] for number in range(count)
    ]
    assert findings(kernel, manager) == ()
    assert manager.unseen is None
    for frame in free:
        assert manager.place_of(frame) == node_at(kernel, frame)


@plenty
@given(free_sets, st.booleans(), st.data())
def test_lists_of_runs(symbols, free, in_order, data):
    kernel = list_kernel(symbols, "virtual", 'frames = "frames"\nsorted = true\ncoalesces = true\n')
    runs = runs_of(free)
    order = runs if in_order else data.draw(st.permutations(runs))
    lengths = {first: end - first for first, end in runs}
    thread(kernel, 0, [first for first, _ in order], frames=lengths.__getitem__)
    kernel.put("list_count", 1)
    manager = kernel.read()
    assert free_of(manager) == free
    assert broken_rules(kernel, manager) == (set() if order == runs else {"PMM10"})


@plenty
@given(free_sets, st.data())
def test_runs_that_overlap_count_once(symbols, free, data):
    kernel = list_kernel(symbols, "virtual", 'frames = "frames"\n')
    lengths = {frame: data.draw(st.integers(0, 20)) for frame in free}
    thread(kernel, 0, sorted(free), frames=lengths.__getitem__)
    kernel.put("list_count", 1)
    manager = kernel.read()
    covered = [n for frame in free for n in range(frame, frame + lengths[frame])]
    assert free_of(manager) == {n for n in covered if n < FRAMES}
    assert (manager.unseen is not None) == (len(set(covered)) < len(covered))
    bad = len(set(covered)) < len(covered) or 0 in lengths.values() or any(n >= FRAMES for n in covered)
    assert ("PMM10" in broken_rules(kernel, manager)) == bad


@plenty
@given(free_sets, st.sampled_from(["frame", "address"]), st.data())
def test_pages_that_list_others(symbols, free, unit, data):
    entries = f'entries = {{ at = "entry", count = "count", unit = "{unit}" }}\nlength_unit = "frame"\n'
    kernel = list_kernel(symbols, "virtual", entries)
    order = data.draw(st.permutations(sorted(free)))
    pages = []
    while order:
        room = data.draw(st.integers(0, 16))
        pages.append((order[0], order[1 : room + 1]))
        order = order[room + 1 :]
    thread(kernel, 0, [page for page, _ in pages])
    for page, listed in pages:
        kernel.number(page * FRAME + 48, len(listed), 4)
        for at, frame in enumerate(listed):
            kernel.number(page * FRAME + 52 + 4 * at, frame if unit == "frame" else frame * FRAME, 4)
    kernel.put("lists", len(free), 1)
    kernel.put("list_count", 1)
    manager = kernel.read()
    assert free_of(manager) == free
    assert findings(kernel, manager) == ()


def followed(kernel, links, first, *, seen):
    """The frames of a list and why it ends, by looking at one node after another."""
    frames = []
    link = first
    while link != kernel.end & (1 << 64) - 1:
        where = link * FRAME if links == "frame" else link
        if links == "index":
            if link >= FRAMES:
                return frames, Stop.ASTRAY
            where = link * FRAME
        where &= (1 << 64) - 1
        if where in (frame * FRAME for frame in frames):
            return frames, Stop.LOOP
        if where in (frame * FRAME for frame in seen):
            return frames, Stop.SHARED
        if where >= FRAMES * FRAME:
            return frames, Stop.UNREADABLE
        if where % FRAME:
            return frames, Stop.ASTRAY
        frames.append(where // FRAME)
        at = node_at(kernel, where // FRAME)
        link = int.from_bytes(kernel.bytes[at : at + 8].tobytes(), "little")
    return frames, None


targets = st.one_of(st.sampled_from(FREE), st.integers(0, 2 * FRAMES), st.integers(0, (1 << 64) - 1))


@plenty
@given(st.sampled_from(list(LINKS)), free_sets, st.lists(st.tuples(st.integers(0), targets), max_size=4), st.data())
def test_wrong_links(symbols, links, free, damage, data):
    kernel = list_kernel(symbols, links)
    kernel.manager = type(kernel.manager)(**{**vars(kernel.manager), "magic": None})
    order = data.draw(st.permutations(sorted(free)))
    for number in range(2):
        thread(kernel, number, order[number::2])
    for which, target in damage if free else ():
        aligned = target * FRAME if links in ("virtual", "physical") and target < 1 << 32 else target
        kernel.number(node_at(kernel, order[which % len(order)]), aligned)
    kernel.put("list_count", 2)
    manager = kernel.read()
    seen = []
    for number, found in enumerate(manager.lists):
        head = kernel.at("lists") + number * 48
        first = int.from_bytes(kernel.bytes[head : head + 8].tobytes(), "little")
        frames, stop = followed(kernel, links, first, seen=seen)
        assert found.members.start.tolist() == [frame * FRAME for frame in frames]
        assert (found.chain.broken and found.chain.broken.stop) == stop
        seen += frames
    assert free_of(manager) == set(seen)
    assert ("PMM10" in broken_rules(kernel, manager)) >= any(found.chain.broken for found in manager.lists)


# Buddies


def blocks_of(free, highest):
    """The buddies that a set of frames makes: pairs are joined as long as there are any."""
    blocks = {0: set(free)}
    for order in range(highest):
        lower = {n for n in blocks[order] if n >> order & 1 == 0 and n + (1 << order) in blocks[order]}
        blocks[order] -= lower | {n + (1 << order) for n in lower}
        blocks[order + 1] = lower
    return blocks


PAIRS = 'prev = "prev"\norder = "order"\npairs = { bits = "pairs", count = "pair_count" }\n'


def buddy_kernel(symbols, free, data):
    kernel = list_kernel(symbols, "virtual", PAIRS + 'count = "frames"\n', kind="buddy")
    at = kernel.at("bytes")
    for order, blocks in blocks_of(free, 5).items():
        thread(kernel, order, data.draw(st.permutations(sorted(blocks))), order=lambda _, order=order: order)
        if order < 5:
            count = FRAMES >> (order + 1)
            lone = [
                ((n << (order + 1)) in blocks) != ((n << (order + 1)) + (1 << order) in blocks) for n in range(count)
            ]
            raw = bits(lone + [False] * (-count % 64))
            kernel.write(at, raw)
            kernel.fields(kernel.at("lists") + order * 48 + 32, at, count)
            at += len(raw)
    kernel.put("list_count", 6)
    return kernel


@plenty
@given(free_sets, st.data())
def test_buddies(symbols, free, data):
    kernel = buddy_kernel(symbols, free, data)
    manager = kernel.read()
    assert free_of(manager) == free
    assert findings(kernel, manager) == ()
    flipped = data.draw(st.integers(0, 127))
    kernel.number(
        kernel.at("bytes") + flipped // 8, int(kernel.bytes[kernel.at("bytes") + flipped // 8]) ^ 1 << flipped % 8, 1
    )
    (finding,) = findings(kernel, kernel.read())
    assert (finding.id, finding.subject) == ("PMM12", "pair bit")
    assert f"bit {flipped} of order 0" in finding.expected


@plenty
@given(free_sets, st.data())
def test_a_buddy_in_two_halves_was_not_merged(symbols, free, data):
    whole = [(n, order) for order, blocks in blocks_of(free, 5).items() if order for n in blocks]
    assume(whole)
    kernel = list_kernel(symbols, "virtual", kind="buddy")
    split, order = data.draw(st.sampled_from(whole))
    blocks = blocks_of(free, 5)
    blocks[order].remove(split)
    blocks[order - 1] |= {split, split + (1 << (order - 1))}
    for number, mine in blocks.items():
        thread(kernel, number, sorted(mine))
    kernel.put("list_count", 6)
    manager = kernel.read()
    assert free_of(manager) == free
    (finding,) = findings(kernel, manager)
    assert (finding.id, finding.address) == ("PMM12", split * FRAME)


def tree_of(free, height):
    """The bytes from the root down, each from its two halves."""
    rows = [[int(n in free) for n in range(1 << height)]]
    for order in range(1, height + 1):
        below = rows[-1]
        rows.append([order + 1 if a == b == order else max(a, b) for a, b in zip(below[::2], below[1::2], strict=True)])
    return [byte for row in reversed(rows) for byte in row]


@plenty
@given(st.integers(0, 7), st.sampled_from([0, 1]), st.data())
def test_trees(symbols, height, root, data):
    kernel = Kernel(
        symbols, f'kind = "tree"\nnodes = "bytes"\nheight = "height"\nroot = {root}\nbase = {LOWEST * FRAME}\n'
    )
    free = data.draw(st.sets(st.integers(0, (1 << height) - 1)))
    tree = tree_of(free, height)
    kernel.put("height", height)
    kernel.write(kernel.at("bytes") + root, bytes(tree))
    manager = kernel.read()
    assert free_of(manager) == free
    assert findings(kernel, manager) == ()
    blocks = blocks_of(free, height)
    assert [len(blocks[order]) for order in range(height + 1)] == [
        *manager.blocks,
        *[0] * (height + 1 - len(manager.blocks)),
    ]
    at = data.draw(st.integers(0, len(tree) - 1))
    value = data.draw(st.integers(2, 255).filter(lambda value: value != tree[at]))
    kernel.number(kernel.at("bytes") + root + at, value, 1)
    (wrong,) = kernel.read().wrong
    assert (wrong.address, wrong.says) == (kernel.at("bytes") + root + at, value)


# Whatever memory holds

KINDS = [
    'kind = "bitmap"\nbits = "words[1]"\ncount = "words[0]"\nhint = "hint"\nword = 8\n'
    'summaries = { entries = "levels", count = "level_count", bits = "bits", bits_count = "count" }\nfull = "frames"\n',
    'kind = "bitmaps"\nregions = { entries = "levels", count = "level_count" }\nbits = "bits"\ncount = "count"\n'
    'first = "first"\nhint = "hint"\nregion_counters = { used = "used" }\nword = 8\n',
    f'kind = "list"\n{LISTS}node = "struct node"\nnext = "next"\nprev = "prev"\nframes = "frames"\nsorted = true\n'
    'entries = { at = "entry", count = "count" }\n',
    f'kind = "list"\n{LISTS}node = "struct node"\nnext = "next"\nlinks = "frame"\ncircular = true\n'
    'address = "address"\nframes = "frames"\ncount = "frames"\n',
    f'kind = "list"\n{LISTS}links = "index"\nrecords = "records"\nnext = "next"\ncount = "frames"\n'
    'entries = { at = "entry", count = "count", unit = "address", capacity = "frames" }\n',
    f'kind = "buddy"\n{LISTS}node = "struct node"\nnext = "next"\n{PAIRS}',
    'kind = "tree"\nnodes = "words[1]"\nheight = "height"\ncount = "frames"\n',
    'kind = "records"\nentries = "records"\ncount = "frames"\nfree = "order & 1"\n',
]
junk = st.one_of(
    st.sampled_from([0, 1, 2, 8, FRAMES, (1 << 64) - 1, 1 << 63, 0x7FFF_FFFF_FFFF_FFFF]),
    st.integers(0, FRAMES * FRAME - 1),
    st.sampled_from(FREE).map(lambda frame: frame * FRAME),
    st.integers(0, (1 << 64) - 1),
)
VARIABLES = ["list_count", "level_count", "frames", "height", "hint", "words"]


@pytest.mark.slow
@plenty
@given(st.sampled_from(KINDS), st.lists(junk, min_size=1, max_size=40), st.integers(0, 255), st.data())
def test_no_reader_chokes(symbols, profile, values, fill, data):
    kernel = Kernel(symbols, profile)
    kernel.bytes[:] = fill
    stretch = [value for value in values for _ in range(data.draw(st.integers(1, 3)))]
    for begin in (kernel.at("lists"), kernel.at("levels"), kernel.at("records"), *(f * FRAME for f in FREE)):
        kernel.fields(begin, *stretch[:16])
    for name in VARIABLES:
        kernel.put(name, data.draw(junk))
    kernel.put("words", data.draw(junk), 1)
    manager = kernel.read()
    if isinstance(manager, Unread):
        assert "\n" not in manager.why
        return
    before = kernel.bytes.copy()
    broken = findings(kernel, manager)
    assert findings(kernel, kernel.read()) == broken, "the same memory has two answers"
    assert (kernel.bytes == before).all(), "guest memory was written"
    for number in (0, manager.count - 1):
        assert manager.record_of(number)
    agrees_with_itself(manager)


def agrees_with_itself(manager):
    """Figures and runs of a manager against its free frames, counted one by one."""
    free = np.flatnonzero(np.unpackbits(manager.free.packed, bitorder="little", count=manager.count)).tolist()
    stat = pmm_stat(manager, None, ())
    first, length = (found.tolist() for found in manager.free_runs)
    runs = [number for start, size in zip(first, length, strict=True) for number in range(start, start + size)]
    assert runs == free
    assert all(start + size < after for start, size, after in zip(first, length, first[1:], strict=False))
    assert (stat.free, stat.used) == (len(free), manager.total - len(free))
    assert stat.largest_run == max([0, *length])
