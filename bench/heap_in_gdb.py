"""Reading heaps, measured inside gdb: results as JSON in the file that the caller named."""

import json
import time
from pathlib import Path

import gdb
import numpy as np
from numpy.typing import NDArray

from bench.in_gdb import seconds
from bench.pmm_images import DIRECT_MAP, Ground, put
from bench.pmm_in_gdb import peak_of
from gdbext.bridge.session import new_session
from gdbext.checks.finding import CheckReport
from gdbext.heap.snapshot import HeapSnapshot

CHUNKS = 1_000_000
PAYLOAD = 4
"""Words of each chunk's payload. Every second chunk is free, and filled with poison."""
POISON = 0xDDDDDDDDDDDDDDDD
SAMPLE = 5000
"""Turns of the loop over gdb.Value; the whole is reckoned from them."""

Words = NDArray[np.uint64]


def room(ground: Ground, words: int) -> int:
    """The address of so many words that nobody uses."""
    return DIRECT_MAP + (ground.reserve(8 * words) << 12)


def serve(ground: Ground, kind: str, segment: int, words: Words, **values: int) -> None:
    """Let the kernel's heap be of this kind, with these words for its segment."""
    ground.fill((segment - DIRECT_MAP) >> 12, words.view(np.uint8))
    members = {"start": segment, "end": segment + words.nbytes}
    for state in ("used", "free"):
        members |= {f"{state}_chunks": CHUNKS // 2, f"{state}_bytes": CHUNKS // 2 * PAYLOAD * 8}
    for member, value in (members | values).items():
        put(f"kernel_heap.{member}", value)
    put("kernel_heap.operations", int(gdb.parse_and_eval(f"(unsigned long) &heap_{kind}_operations")))


def places_from(first: int, words: int) -> Words:
    """The addresses of chunks of so many words each."""
    return np.uint64(first) + np.arange(CHUNKS, dtype=np.uint64) * np.uint64(8 * words)


def in_list(ground: Ground) -> None:
    """A list by address."""
    table = np.zeros((CHUNKS, 4 + PAYLOAD), dtype=np.uint64)
    segment = room(ground, table.size)
    places = places_from(segment, table.shape[1])
    table[:, 0], table[:, 1] = 0x4B4E4843, 8 * PAYLOAD
    table[::2, 0] |= np.uint64(1 << 32)
    table[::2, 4:] = POISON
    table[:-1, 2], table[1:, 3] = places[1:], places[:-1]
    serve(ground, "list", segment, table.reshape(-1), **{"list.head": segment, "list.tail": int(places[-1])})


def with_tags(ground: Ground) -> None:
    """A word in front of each payload and behind it; the free chunks on the list for their size."""
    closing = 0x7461670000000001
    flat = np.full(CHUNKS * (2 + PAYLOAD) + 2, closing, dtype=np.uint64)
    segment, table = room(ground, len(flat)), flat[1:-1].reshape(CHUNKS, 2 + PAYLOAD)
    table[:, 1:-1] = 0
    table[:, 0] = closing | 8 * PAYLOAD
    table[::2, 0] ^= np.uint64(1)
    table[:, -1] = table[:, 0]
    nodes = places_from(segment + 16, table.shape[1])[::2]
    table[::2, 3:-1] = POISON
    table[::2, 1][:-1], table[::2, 2][1:] = nodes[1:], nodes[:-1]
    empty = {f"tags.bin[{n}]": 0 for n in range(3)}  # where the list's variables were
    serve(ground, "tags", segment, flat, **empty | {f"tags.bin[{8 * PAYLOAD // 16 - 1}]": int(nodes[0])})


LINKED = 1 << 20
"""Chunks of the image that is searched for leaks, 256 bytes each with its header: 256 MiB."""
LOST = 1000
"""So many of them at the end nothing leads to."""


def linked(ground: Ground) -> None:
    """256 MiB of used chunks in a list by address; each payload leads to the next one and to any three others."""
    table = np.zeros((LINKED, 32), dtype=np.uint64)
    segment = room(ground, table.size)
    places = np.uint64(segment) + np.arange(LINKED, dtype=np.uint64) * np.uint64(256)
    table[:, 0], table[:, 1] = 0x4B4E4843, 256 - 32
    table[:-1, 2], table[1:, 3] = places[1:], places[:-1]
    kept = LINKED - LOST
    payloads, random = places + np.uint64(32), np.random.default_rng(1)
    table[: kept - 1, 4] = payloads[1:kept]
    table[:kept, 10:13] = payloads[random.integers(0, kept, (kept, 3))]
    table[:, 20:] = random.integers(0, 1 << 63, (LINKED, 12), dtype=np.uint64)
    counters = {"used_chunks": LINKED, "used_bytes": LINKED * 224, "free_chunks": 0, "free_bytes": 0}
    serve(
        ground, "list", segment, table.reshape(-1), **{"list.head": segment, "list.tail": int(places[-1])}, **counters
    )
    put("kept.middle", int(payloads[0]))


def leaks() -> dict[str, float]:
    """The search in an image of its own: seconds, once the heap has been read; and with gdb.Value in a loop."""
    session = new_session()
    heap = session.heaps.all[0]
    assert isinstance(heap, HeapSnapshot), heap
    found = session.heaps.leaks()
    assert sum(group.count for group in found.groups) == LOST, found.groups

    def search() -> None:
        another = new_session()
        another.heaps.__dict__["all"] = session.heaps.all
        another.heaps.leaks()

    return {
        "chunks": LINKED,
        "bytes": _size(heap),
        "read": seconds(lambda: new_session().heaps.all),
        "search": seconds(search),
        "peak": peak_of(search),
        "by_values": words_by_values(heap),
    }


def words_by_values(heap: HeapSnapshot) -> float:
    """Looking at each word with gdb.Value, and at no chunk: seconds, reckoned from the first SAMPLE."""
    words = gdb.parse_and_eval(f"(unsigned long *) {int(heap.segments[0].start)}")
    low, end, hits = int(heap.segments[0].start), int(heap.segments[0].end), 0
    begin = time.perf_counter()
    for number in range(SAMPLE):
        hits += low <= int(words[number]) < end
    return (time.perf_counter() - begin) / SAMPLE * (_size(heap) / 8)


def in_slabs(ground: Ground) -> None:
    """Pages with their headers at the end, all in one cache; every second object is free."""
    stride, header = 8 * PAYLOAD, 56
    room_for = (4096 - header) // (stride + 2)
    slabs = -(-CHUNKS // room_for)
    pages = np.zeros((slabs, 4096), dtype=np.uint8)
    segment = room(ground, slabs * 512)
    start = np.uint64(segment) + np.arange(slabs, dtype=np.uint64) * np.uint64(4096)
    at = 4096 - (header + 2 * room_for + 7) // 8 * 8
    headers = start + np.uint64(at)
    cache = int(gdb.parse_and_eval("(unsigned long) &kernel_heap.slab.sizes[0]"))
    free = -(-room_for // 2)
    words = pages[:, at : at + header - 8].view(np.uint64)
    words[:, 0], words[:, 3], words[:, 4] = cache, start, start
    words[:-1, 1], words[1:, 2] = headers[1:], headers[:-1]
    pages[:, at + 40 : at + 44] = np.frombuffer(np.uint32(room_for - free).tobytes(), dtype=np.uint8)
    numbers = np.full(room_for, 0xFFFF, dtype=np.uint16)
    numbers[::2] = np.append(np.arange(2, room_for, 2), 0xFFFE)[:free]
    first = int(gdb.parse_and_eval("(unsigned long) ((struct slab *) 0)->next_free"))
    pages[:, at + first : at + first + 2 * room_for] = numbers.view(np.uint8)
    objects = pages[:, : room_for * stride].reshape(slabs, room_for, stride)
    objects[:, ::2] = 0xDD
    records = np.zeros((slabs, 2), dtype=np.uint64)
    records[:, 0], records[:, 1] = headers, 1 | 1 << 32
    table = room(ground, records.size)
    ground.fill((table - DIRECT_MAP) >> 12, records.reshape(-1).view(np.uint8))
    fields = {"size": stride, "stride": stride, "capacity": room_for, "internal": 0, "next": 0}
    fields["used"] = slabs * (room_for - free)
    fields |= {"full.first": 0, "full.count": 0, "empty.first": 0, "empty.count": 0}
    fields |= {"partial.first": int(headers[0]), "partial.count": slabs, "name": 0}
    values = {f"slab.sizes[0].{name}": value for name, value in fields.items()}
    values |= {"slab.caches": cache, "slab.runs.pages": table, "free_chunks": slabs * free}
    values |= {"used_chunks": slabs * (room_for - free), "free_bytes": slabs * free * stride}
    values["used_bytes"] = slabs * (room_for - free) * stride
    serve(ground, "slab", segment, pages.reshape(-1).view(np.uint64), **values)


IMAGES = {"list": in_list, "boundary tags": with_tags, "slabs": in_slabs}


def checked() -> CheckReport:
    """What the rules say, in a session of its own."""
    return new_session().heaps.check()


def measure() -> dict[str, float]:
    """All figures about the heap that serves."""
    report, (heap, *_) = checked(), new_session().heaps.all
    assert isinstance(heap, HeapSnapshot), heap
    assert not report.findings, report.findings[0]
    return {
        "chunks": len(heap.chunks),
        "copy": seconds(lambda: new_session().virtual.read(heap.segments[0].start, _size(heap))),
        "read": seconds(lambda: new_session().heaps.all),
        "checked": seconds(checked),
        "peak": peak_of(checked),
        "by_values": by_values(heap),
    }


def _size(heap: HeapSnapshot) -> int:
    return heap.segments[0].end - heap.segments[0].start


def by_values(heap: HeapSnapshot) -> float:
    """The same walk with gdb.Value, which only looks at each header: seconds, reckoned from the first SAMPLE."""
    begin = time.perf_counter()
    if heap.kind == "list":
        chunk = gdb.parse_and_eval("kernel_heap.list.head")
        for _ in range(SAMPLE):
            header = chunk.dereference()
            int(header["magic"]), int(header["size"]), int(header["free"])
            chunk = header["next"]
    elif heap.kind == "slab":
        slab, number = gdb.parse_and_eval("kernel_heap.slab.caches->partial.first"), 0
        capacity = int(gdb.parse_and_eval("kernel_heap.slab.caches->capacity"))
        for _ in range(SAMPLE):
            int(slab["next_free"][number])
            number += 1
            if number == capacity:
                slab, number = slab["next"], 0
    else:
        tag = gdb.parse_and_eval("(unsigned long *) kernel_heap.start + 1")
        for _ in range(SAMPLE):
            size = int(tag.dereference()) & 0xFFFFFFFFF0
            tag = tag + size // 8 + 2
    return (time.perf_counter() - begin) / SAMPLE * len(heap.chunks)


def write(path: str) -> None:
    """Make each image, measure, and write the figures."""
    ground = Ground()
    figures: dict[str, dict[str, float]] = {}
    for name, make in IMAGES.items():
        make(ground)
        figures[name] = measure()
    linked(ground)
    figures["leaks"] = leaks()
    Path(path).write_text(json.dumps(figures))
