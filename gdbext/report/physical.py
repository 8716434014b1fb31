"""How a map of physical memory and one frame of it look as text."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from gdbext.checks.physical.frame import Frame, Origin, TableUse
from gdbext.checks.physical.frame_map import FrameMap, Held
from gdbext.pmm.record import FrameRecord, ListPlace
from gdbext.report.address_map import State, Stretches, draw
from gdbext.report.managers import finding_text, unread_text
from gdbext.report.results import PmmMap
from gdbext.report.text import Style, count, render
from gdbext.structures.unread import Unread
from gdbext.units import FRAME_SIZE, hex_address, human_size

STATES = {
    Held.CONTESTED: State("free but in use", "!", colour="red", priority=7),
    Held.UNFIT: State("free, not usable", "?", colour="red", priority=6),
    Held.FREE: State("free", ".", "·", "grey", priority=-1),
    Held.ABSENT: State("absent", "_", colour="grey", priority=-2, hole=True),
    Held.PAGE_TABLE: State("page table", "pP", colour="green", priority=4),
    Held.MANAGER: State("manager", "bB", colour="red", priority=5),
    Held.DMA: State("dma", "dD", colour="yellow", priority=2),
    Held.HELD: State("held", "lL", colour="cyan", priority=2),
    Held.IMAGE: State("kernel image", "kK", colour="magenta", priority=1),
    Held.HEAP: State("heap", "hH", colour="cyan"),
    Held.MAPPING: State("mapping", "vV", colour="cyan"),
    Held.RESERVED: State("reserved", "rR", colour="yellow"),
    Held.USED: State("used", ":+#", "░▒▓█", "blue"),
    Held.UNMANAGED: State("unmanaged", "-", colour="grey"),
}
"""How each state is drawn. What is broken shows first, then what is rare."""


@render.register
def _(result: PmmMap, style: Style) -> str:
    parts = [unread_text(manager, style) for manager in result.unread]
    if result.map is not None:
        parts += _frame_map(result.map, ", ".join(result.managers), style)
    return "\n".join(parts)


def _frame_map(frames: FrameMap, managers: str, style: Style) -> Iterator[str]:
    if not frames.pieces:
        yield f"{managers}: no RAM and no free frame in this range"
        return
    yield style.wrapped(f"{managers}: physical memory from {_span(frames.start, frames.end)}", hanging=2)
    numbers = {held: number for number, held in enumerate(STATES)}
    stretches = Stretches(
        start=frames.start,
        end=frames.end,
        begin=np.array([piece.start for piece in frames.pieces], dtype=np.int64),
        state=np.array([numbers[piece.state] for piece in frames.pieces], dtype=np.int64),
        table=tuple(STATES.values()),
    )
    yield from draw(stretches, FRAME_SIZE, style)
    yield from _left_out(frames.left_out, style)


def _left_out(reasons: tuple[str, ...], style: Style) -> Iterator[str]:
    for why in reasons:
        yield style.wrapped(f"skipped: {why}", hanging=2)


def _span(start: int, end: int) -> str:
    return f"{hex_address(start)} to {hex_address(end)}"


@render.register
def _(result: Frame, style: Style) -> str:
    where = "RAM" if result.is_ram else "not RAM"
    zones = f", zone {', '.join(result.zones)}" if result.zones else ""
    parts = [f"frame {result.pfn:#x}: {_span(result.start, result.end)}, {where}{zones}"]
    colour = "red" if result.findings else "bold"
    parts.append(style.paint(style.wrapped(result.verdict, hanging=2), colour))
    parts += [finding_text(finding, style) for finding in result.findings]
    parts += [style.wrapped(f"{label:<12}  {text}", hanging=14) for label, text in _facts(result)]
    if result.found is not None:
        parts.append(render(replace(result.found, tables=()), style))
        if result.mapping_count > len(result.found.reaches):
            parts.append(f"only the first {len(result.found.reaches)} of {result.mapping_count} mappings are shown")
    parts += _left_out(result.left_out, style)
    parts += _content(bytes.fromhex(result.content)) if result.content is not None else []
    return "\n".join(parts)


def _facts(frame: Frame) -> Iterator[tuple[str, str]]:
    """What is known besides the mappings, each with a label."""
    for origin in frame.boot:
        yield "boot", _origin(origin)
    for manager in frame.managers:
        if isinstance(manager, Unread):
            yield manager.name, f"not known: {manager.why}"
        else:
            yield from ((manager.name, text) for text in _record(manager))
    if frame.record is not None:
        yield "record", str(frame.record)
    for owner in frame.owners:
        yield owner.kind, f"{owner.use} ({_span(owner.start, owner.end)})"
    for use in frame.tables:
        yield "table", _table_use(use)
    if frame.direct_map is not None:
        yield "direct map", hex_address(frame.direct_map)


def _origin(origin: Origin) -> str:
    kind = f", type {origin.type}" if origin.type is not None else ""
    return f"{_span(origin.base, origin.end)}: {origin.use}{kind}"


def _record(record: FrameRecord) -> Iterator[str]:
    """What a manager records about the frame and those around it."""
    if record.start is None or record.end is None:
        yield f"{record.state}: it records no state for this frame"
        return
    order = f", in a block of order {record.order}" if record.order is not None else ""
    yield f"{record.state}: {record.record}{order}"
    frames = (record.end - record.start) // (record.frame_size or FRAME_SIZE)
    yield f"{record.state} from {_span(record.start, record.end)}, {count(frames, 'frame')}"
    if record.list is not None:
        yield _place(record.list)


def _place(place: ListPlace) -> str:
    entry = f" in entry {place.entry} of node {hex_address(place.node)}" if place.entry is not None else ""
    before = f"after {hex_address(place.before)}" if place.before is not None else "the first"
    after = f"before {hex_address(place.after)}" if place.after is not None else "the last"
    what = f"{human_size(place.end - place.start)} at {hex_address(place.start)}"
    return f"place {place.place} of {place.members} in list {place.name}: {what}{entry}, {before}, {after}"


def _table_use(use: TableUse) -> str:
    what = f"of level {use.level} in {use.space}, for {hex_address(use.start)}"
    if not use.entries:
        return f"the root, {what} and up"
    names = " ".join(map(hex_address, use.entries))
    more = f" and {use.entry_count - len(use.entries)} more" if use.entry_count > len(use.entries) else ""
    return f"{what}, referenced by the {'entry' if use.entry_count == 1 else 'entries'} at {names}{more}"


def _content(content: bytes) -> Iterator[str]:
    """The frame's first bytes, sixteen a line, in hexadecimal and as text."""
    for at in range(0, len(content), 16):
        part = content[at : at + 16]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in part)
        yield f"+{at:02x}  {part.hex(' ', -4)}  {text}"
