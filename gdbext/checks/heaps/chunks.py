"""The rules of heaps of chunks: chunks fill their segments, links agree with each other, counters with the chunks."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gdbext.checks.finding import Broken, CheckReport, Rule, combined, not_looked_at
from gdbext.checks.heaps.index import check_free
from gdbext.checks.heaps.inputs import HeapInputs
from gdbext.checks.heaps.places import check_fills
from gdbext.checks.heaps.slabs import check_slabs
from gdbext.checks.heaps.wording import bytes_around, describe, neighbours, written_over
from gdbext.errors import MemoryUnavailable
from gdbext.heap.list import ListDetail
from gdbext.heap.page_runs import InPages, PageRuns
from gdbext.heap.parts import Chunk
from gdbext.heap.slab import Slabs, slabs_of
from gdbext.heap.snapshot import HeapSnapshot
from gdbext.heap.stat import count_chunks
from gdbext.machine.memory import VirtualMemory
from gdbext.structures.chain import Break, Stop
from gdbext.structures.unread import Unread
from gdbext.units import VirtAddr, hex_address


def report_unread_heap(heap: Unread) -> CheckReport:
    """The report on a heap that could not be read: HEAP00 is broken, unless it is absent; all else is skipped."""
    if heap.absent:
        return not_looked_at(HEAP_RULES, f"'{heap.name}': {heap.why}")
    unread = Broken(
        subject="heap",
        address=None,
        expected=f"the heap '{heap.name}' where the profile says",
        actual=heap.why,
        cause="its own variables are overwritten, the page tables are broken, or the profile does not match the kernel",
    )
    skipped = not_looked_at((rule for rule in HEAP_RULES if rule.id != "HEAP00"), f"'{heap.name}' cannot be read")
    return combined((CheckReport((_READABLE.finding(unread),), ("HEAP00",), ()), skipped))


def check_magic(inputs: HeapInputs) -> Iterator[Broken]:
    """HEAP61: every header has its magic value, and every footer matches its header."""
    heap, slabs = inputs.heap, slabs_of(inputs.heap)
    for index in np.flatnonzero(~heap.chunks.sound).tolist():
        chunk = heap.chunks.at(index)
        yield Broken(
            subject="chunk",
            address=chunk.address,
            expected="the magic value of a header",
            actual="another value: the header is overwritten",
            evidence=(bytes_around(inputs.memory, chunk.address, heap.layout.header), *neighbours(heap, index)),
            cause=_overrun(inputs, heap.chunks.at(index - 1) if index else None, chunk.address),
        )

    if slabs is not None:
        yield from _check_slab_magic(slabs, inputs.memory)
    if heap.chunks.closed is not None:
        yield from _check_footers(inputs, heap.chunks.closed)


def _check_slab_magic(slabs: Slabs, memory: VirtualMemory) -> Iterator[Broken]:
    for slab in np.flatnonzero(~slabs.marked).tolist():
        header = VirtAddr(int(slabs.header[slab]))
        yield Broken(
            "slab",
            header,
            "the magic value of a slab header",
            "another value: the header is overwritten",
            "the memory before it was overrun, or the slab was freed and is still on a list",
            (bytes_around(memory, header, 32),),
        )


def _check_footers(inputs: HeapInputs, closed: NDArray[np.bool_]) -> Iterator[Broken]:
    """Footers that do not match their headers, where the header is intact and the next chunk begins at its end."""
    heap = inputs.heap
    begins = np.append(heap.chunks.address[1:], np.uint64(heap.chunks.end[-1] if len(closed) else 0))
    good = heap.chunks.sound & heap.sensible & ((heap.ends == begins) | np.isin(heap.ends, heap.segment_ends))
    # Where the next header is overwritten, the same write went over this footer.
    good &= np.append(heap.chunks.sound[1:], True) | (heap.ends != begins)
    for index in np.flatnonzero(good & ~closed).tolist():
        chunk = heap.chunks.at(index)
        yield Broken(
            subject="chunk",
            address=chunk.address,
            expected="a footer that matches the header",
            actual="it does not match",
            evidence=(
                bytes_around(inputs.memory, VirtAddr(chunk.end), max(heap.layout.trailer, 8)),
                describe(chunk),
                *neighbours(heap, index),
            ),
            cause="the chunk was overrun, or the footer was not updated",
        )


def _overrun(inputs: HeapInputs, before: Chunk | None, address: VirtAddr) -> str:
    """The likely cause of an overwritten header, and what was written over it."""
    layout = inputs.heap.layout
    start = f"the header at {hex_address(address)} was overwritten"
    if before is None or before.end + layout.trailer != address:
        return f"{start} by a stray write, or by an underrun of its own payload"
    try:
        written = written_over(inputs.memory, VirtAddr(before.end), layout.trailer + layout.header)
    except MemoryUnavailable:
        return "a link was overwritten, or the memory that it points to was freed"
    chunk = f"the chunk before it, payload {hex_address(before.payload)} of {before.size} bytes,"
    if written is None:
        deed = "was written to after it was freed" if before.free else "was overrun"
        return f"{start} by a stray write, or {chunk} {deed}"
    deed = "was written to after it was freed, and overrun" if before.free else "was overrun"
    return f"{chunk} {deed} by {written.length}: the next header now holds {written.what}"


def check_filling(inputs: HeapInputs) -> Iterator[Broken]:
    """HEAP60: each chunk ends where the next begins, or where its segment ends; sizes are valid."""
    heap = inputs.heap
    chunks, good = heap.chunks, heap.chunks.sound & heap.sensible
    for index in np.flatnonzero(chunks.sound & ~heap.sensible).tolist():
        yield _filling_finding(heap, index, *_bad_size(heap, chunks.at(index)))
    for index in heap.mismatched.tolist():
        yield _filling_finding(heap, index, *_mismatch(heap, index))
    yield from _check_borders(heap, good)
    if isinstance(heap.detail, InPages) and heap.detail.page_runs is not None:
        yield from _check_page_runs(heap.detail.page_runs)


def _check_page_runs(runs: PageRuns) -> Iterator[Broken]:
    """Runs of pages with an impossible length."""
    for run in np.flatnonzero(~runs.fits).tolist():
        length, room = int(runs.length[run]), int(runs.room[run])
        yield Broken(
            "run",
            int(runs.record[run]),
            f"a run at {hex_address(int(runs.start[run]))} of 1 to {room} pages, up to the next run at most",
            f"{length} pages",
            "its record was overwritten, or was set wrongly when runs were split or merged",
        )


def _bad_size(heap: HeapSnapshot, chunk: Chunk) -> tuple[str, str]:
    """The expected and the actual size, alignment or bounds of a chunk that is not sensible."""
    if chunk.size < heap.layout.minimum:
        return f"at least {heap.layout.minimum} bytes", f"{chunk.size} bytes"
    if chunk.payload % heap.layout.alignment:
        return f"a payload aligned to {heap.layout.alignment}", f"a payload at {hex_address(chunk.payload)}"
    segments = ", ".join(f"{hex_address(s.start)}-{hex_address(s.end)}" for s in heap.segments)
    return f"a chunk within {segments}", f"{hex_address(chunk.address)}-{chunk.end:#x}, {chunk.size} bytes"


def _mismatch(heap: HeapSnapshot, index: int) -> tuple[str, str]:
    """The same for a chunk that does not end where the next begins."""
    end, following = int(heap.ends[index]), int(heap.chunks.address[index + 1])
    distance = end - following
    how = f"overlaps it by {distance} bytes" if distance > 0 else f"leaves a gap of {-distance} bytes"
    return f"an end at {hex_address(following)}, where the next chunk begins", f"{end:#x}: {how}"


def _filling_finding(heap: HeapSnapshot, index: int, expected: str, actual: str) -> Broken:
    chunk = heap.chunks.at(index)
    return Broken(
        subject="chunk",
        address=chunk.address,
        expected=expected,
        actual=actual,
        evidence=(describe(chunk), *neighbours(heap, index)),
        cause="its size was overwritten, or was set wrongly when chunks were split or merged",
    )


def _check_borders(heap: HeapSnapshot, good: NDArray[np.bool_]) -> Iterator[Broken]:
    """The first chunk is at the start of a segment, the last at the end of a segment."""
    if not heap.segments or heap.detail.scattered:
        return
    if not len(heap.chunks):
        expected, actual = "chunks", (heap.unseen if heap.lost else None) or "none"
        if heap.detail.linked:
            expected, actual = "a first chunk in a segment that is not empty", "head = 0x0"
        yield _link_finding(heap, None, expected, actual, ())
        return
    last = len(heap.chunks) - 1
    first = int(heap.chunks.address[0])
    if first not in heap.segment_starts:
        yield _filling_finding(heap, 0, "the first chunk at a segment's start", hex_address(first))
    complete = not heap.detail.linked or heap.unseen is None or len(heap.starts)
    if complete and good[last] and (end := int(heap.ends[last])) not in heap.segment_ends:
        yield _filling_finding(heap, last, "the last chunk to end where a segment ends", f"{end:#x}")


def check_links(inputs: HeapInputs) -> Iterator[Broken]:
    """HEAP63: the list ends, its links back mirror its links forward, and the tail is its last chunk."""
    heap = inputs.heap
    if isinstance(heap.detail, ListDetail) and heap.detail.broken is not None:
        yield from _check_way(heap, heap.detail.broken)
    yield from _check_back(heap)
    if heap.tail is None or heap.unseen is not None:
        return
    last = _last_of_list(heap)
    tail = heap.chunks.at(last).address if last is not None else 0
    if heap.tail != tail:
        evidence = (describe(heap.chunks.at(last)),) if last is not None else ()
        expected = f"tail = {hex_address(tail)}, the last chunk of the list"
        finding = _link_finding(heap, None, expected, f"tail = {hex_address(heap.tail)}", evidence)
        yield replace(finding, subject="chunk", address=heap.tail)


def _last_of_list(heap: HeapSnapshot) -> int | None:
    """The chunk that the tail should be; None in an empty list. (A circular list's chunks begin anywhere.)"""
    if not len(heap.chunks):
        return None
    first = heap.detail.address
    if first is None:
        return len(heap.chunks) - 1
    return (int(np.flatnonzero(heap.chunks.address == np.uint64(first))[0]) - 1) % len(heap.chunks)


def _check_back(heap: HeapSnapshot) -> Iterator[Broken]:
    """Each link back points to the chunk before."""
    chunks = heap.chunks
    if chunks.prev is None or not len(chunks):
        return
    circle = heap.detail if isinstance(heap.detail, ListDetail) and heap.detail.circular else None
    first = chunks.address[-1:] if circle and circle.broken is None else np.zeros(1, dtype=np.uint64)
    expected = np.concatenate([first, chunks.address[:-1]])
    wrong = chunks.sound & (chunks.prev != expected)
    wrong[heap.starts] = False  # the chunks before them are unknown
    wrong[0] &= circle is None or circle.broken is None
    if not heap.detail.linked:
        wrong &= ~(np.isin(chunks.address, heap.segment_starts) & (chunks.prev == 0))
    for index in np.flatnonzero(wrong).tolist():
        yield _link_finding(
            heap,
            index,
            f"prev = {hex_address(int(expected[index]))}",
            f"prev = {hex_address(int(chunks.prev[index]))}",
            neighbours(heap, index),
        )


def _check_way(heap: HeapSnapshot, link: Break) -> Iterator[Broken]:
    """The link at which the list ends early."""
    if link.source is None:
        actual = f"head = {hex_address(link.target)}: {link.why}"
        cause = "the heap's own variable was overwritten, or the page tables are broken"
        yield _link_finding(heap, None, "a first chunk", actual, (), cause=cause)
        return
    source = int(np.flatnonzero(heap.chunks.address == np.uint64(link.source))[0])
    if not heap.chunks.sound[source]:
        return  # the header is overwritten: HEAP61 reports it, and this follows from it
    expected = "a link to a chunk, or 0 at the end" if link.stop is not Stop.LOOP else "a list that ends"
    before = int(heap.starts[0]) if len(heap.starts) else len(heap.chunks)
    seen = f"{before} chunks were read before it, {len(heap.chunks) - before} after it"
    evidence = (*neighbours(heap, source), seen)
    yield _link_finding(heap, source, expected, f"next = {hex_address(link.target)}: {link.why}", evidence)


BAD_LINK = "a link was overwritten, or a chunk was inserted or removed without updating both neighbours"


def _link_finding(
    heap: HeapSnapshot,
    index: int | None,
    expected: str,
    actual: str,
    evidence: tuple[str, ...],
    *,
    cause: str = BAD_LINK,
) -> Broken:
    return Broken(
        subject="heap" if index is None else "chunk",
        address=_own_address(heap) if index is None else heap.chunks.at(index).address,
        expected=expected,
        actual=actual,
        evidence=evidence,
        cause=cause,
    )


def check_counters(inputs: HeapInputs) -> Iterator[Broken]:
    """HEAP65: the counters agree with the chunks."""
    counted = count_chunks(inputs.heap.chunks)
    for counter in inputs.heap.counters:
        expected = counted[counter.meaning]
        if counter.value != expected:
            yield Broken(
                subject="counter",
                address=counter.address,
                expected=f"{expected}, counted over the chunks",
                actual=f"{counter.text} = {counter.value} ({counter.value - expected:+d})",
                cause="a chunk changed without the counter, or the counter without a chunk (lost update, double free)",
            )


def check_watermark(inputs: HeapInputs) -> Iterator[Broken]:
    """HEAP67: start <= current <= end."""
    mark = inputs.heap.watermark
    if mark is None or mark.start <= mark.current <= mark.end:
        return
    where = "beyond the end" if mark.current > mark.end else "before the start"
    yield Broken(
        "heap",
        mark.at,
        f"an address from {hex_address(mark.start)} to {hex_address(mark.end)}",
        f"{hex_address(mark.current)}, {where}",
        "more was allocated than there is (a sum that wrapped, or a missing check), or the watermark was overwritten",
    )


def heap_rules(heap: HeapSnapshot) -> tuple[Rule[HeapInputs], ...]:
    """The rules that apply to this heap."""
    detail, layout = heap.detail, heap.layout
    left_out = set() if heap.watermark is not None else {"HEAP67"}
    left_out |= {"HEAP60", "HEAP61", "HEAP62", "HEAP64", "HEAP65"} if not detail.knows_chunks else set()
    never_searched = heap.watermark is not None and not layout.coalesces and heap.index is None
    left_out |= {"HEAP62"} if detail.scattered or never_searched else set()
    left_out |= {"HEAP66"} if slabs_of(heap) is None else set()
    left_out |= {"HEAP61"} if not detail.has_headers and not layout.has_magic else set()
    links = detail.linked or heap.chunks.prev is not None or heap.tail is not None
    return tuple(rule for rule in HEAP_RULES if rule.id not in left_out and (links or rule.id != "HEAP63"))


def _own_address(heap: HeapSnapshot) -> VirtAddr | None:
    """The address in a finding about the heap as a whole."""
    if heap.detail.address is not None:
        return heap.detail.address
    return heap.segments[0].start if heap.segments else None


def _no_magic(inputs: HeapInputs) -> str | None:
    heap = inputs.heap
    return None if heap.layout.has_magic or heap.chunks.closed is not None else "the profile names no magic or footer"


def _no_fills(inputs: HeapInputs) -> str | None:
    there = bool(inputs.heap.fills)
    return None if there else "the profile names no poison or redzones, or the kernel was booted without them"


def _nothing_about_free(inputs: HeapInputs) -> str | None:
    heap = inputs.heap
    if heap.layout.coalesces or heap.index is not None or heap.detail.finds_free:
        return None
    return "the profile says neither that this heap coalesces, nor which lists or tree its free chunks are in"


def _not_countable(inputs: HeapInputs) -> str | None:
    heap = inputs.heap
    if not heap.counters:
        return "the profile names no counters"
    if heap.unseen is not None:
        return "not all chunks are known, so they cannot be counted"
    if not heap.sound:
        return "a header is overwritten, so its chunk cannot be counted"
    return None if heap.fits.all() else "a size is wrong, so bytes cannot be counted"


def _end_not_known(inputs: HeapInputs) -> tuple[str, ...]:
    if inputs.heap.tail is not None or inputs.heap.segments:
        return ()
    return ("the profile names no tail and no segments: a list that was cut short looks complete",)


def _not_told(inputs: HeapInputs) -> tuple[str, ...]:
    """The reason if free and used chunks cannot be distinguished."""
    heap = inputs.heap
    return () if heap.tells_free else (f"'{heap.name}': {heap.unseen}",)


def _not_seen(inputs: HeapInputs) -> tuple[str, ...]:
    """The address ranges in which chunks are unknown."""
    heap = inputs.heap
    return tuple(
        f"the chunks in {hex_address(lost.start)}-{hex_address(lost.end)} of '{heap.name}' are unknown: {lost.why}"
        for lost in heap.lost
        if lost.end - lost.start > heap.layout.header
    )


_READABLE: Rule[HeapInputs] = Rule("HEAP00", "the heap can be read", lambda inputs: ())
HEAP_RULES: tuple[Rule[HeapInputs], ...] = (
    _READABLE,
    Rule("HEAP61", "headers have their magic value, footers match them", check_magic, _no_magic),
    Rule("HEAP60", "chunks fill their segments", check_filling, partly=_not_seen),
    Rule("HEAP63", "links agree with each other", check_links, partly=_end_not_known),
    Rule(
        "HEAP62",
        "free chunks are merged, and listed once each, where they belong",
        check_free,
        _nothing_about_free,
        _not_told,
    ),
    Rule("HEAP64", "freed memory and redzones are untouched", check_fills, _no_fills),
    Rule("HEAP65", "counters agree with the chunks", check_counters, _not_countable),
    Rule("HEAP66", "slabs and their free objects are where they belong", check_slabs),
    Rule("HEAP67", "the watermark is between start and end", check_watermark),
)
"""The rules of a heap of chunks, causes before their consequences."""
