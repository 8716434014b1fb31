"""How physical managers, heaps and findings look as text."""

from collections.abc import Sequence

from gdbext.checks.finding import Finding, Severity
from gdbext.heap.stat import HeapStat
from gdbext.pmm.snapshot import PartStat
from gdbext.pmm.stat import ListDump, PmmDump, PmmStat
from gdbext.report.leaks import leaks_text
from gdbext.report.results import Checked, PmmDumps, PmmStats, ProfileReport
from gdbext.report.text import PROSE, Narrow, Style, count, render, table
from gdbext.structures.counter import CounterStat
from gdbext.structures.unread import Unread
from gdbext.units import hex_address, human_size

SEVERITY_COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.IN_FLUX: "yellow"}


def findings_text(result: PmmStats | Checked, style: Style) -> list[str]:
    """The findings one by one, then what was and was not checked."""
    parts = [finding_text(finding, style) for finding in result.findings]
    parts.append(_verdict(result, style))
    reasons: dict[tuple[bool, str], list[str]] = {}
    for skip in result.skipped:
        reasons.setdefault((skip.partly, skip.why), []).append(skip.id)
    for (partly, why), rules in reasons.items():
        how = "checked in part" if partly else "not checked"
        parts.append(style.wrapped(f"{how}: {' '.join(rules)}: {why}", hanging=2))
    parts += [style.wrapped(f"skipped: {problem}", hanging=2) for problem in result.problems]
    return parts


def _verdict(result: PmmStats | Checked, style: Style) -> str:
    """One line: how many findings, from which rules. Only what was checked completely is called clean."""
    if not result.checked:
        return style.paint("no rule was checked", "yellow")
    rules = f"{count(len(result.checked), 'rule')} checked ({' '.join(result.checked)})"
    begin, colour = "clean: ", "green"
    if result.findings:
        begin, colour = f"{count(len(result.findings), 'finding')}; ", "red"
    elif result.problems or any(skip.partly for skip in result.skipped):
        begin, colour = "no findings, but not everything was checked; ", "yellow"
    return style.paint(style.wrapped(begin + rules, hanging=2), colour)


def finding_text(finding: Finding, style: Style) -> str:
    """A finding: the broken rule, and below it the facts."""
    head = style.paint(f"{finding.severity.value} {finding.id}", SEVERITY_COLOURS[finding.severity])
    where = f", {finding.subject} {hex_address(finding.address)}" if finding.address is not None else ""
    lines = [style.wrapped(f"{finding.severity.value} {finding.id}: broken rule: {finding.title}{where}", hanging=2)]
    lines[0] = lines[0].replace(f"{finding.severity.value} {finding.id}", head, 1)
    facts = [("expected", finding.expected), ("actual", finding.actual)]
    facts += [("evidence", evidence) for evidence in finding.evidence]
    facts += [("likely", finding.cause)] if finding.cause else []
    return "\n".join(lines + [style.wrapped(f"{name:<9} {fact}", 2, 10) for name, fact in facts])


def counters_text(counters: Sequence[CounterStat], style: Style) -> str:
    """Each counter next to the counted value."""
    rows = [(c.name, c.value, *_agreement(c.value, c.counted, style)) for c in counters]
    return table(rows, ("counter", "kernel says", "counted", ""), style, right=("kernel says", "counted"))


def _agreement(value: int, counted: int | None, style: Style) -> tuple[str, str]:
    if counted is None:
        return "-", ""
    return str(counted), style.paint("agrees", "green") if value == counted else style.paint("differs", "red")


@render.register
def _(result: PmmStats, style: Style) -> str:
    parts = [_pmm_stat(manager, style) for manager in result.managers]
    return "\n".join(parts + findings_text(result, style))


def unread_text(manager: Unread, style: Style) -> str:
    """A manager that could not be read, and why."""
    what = "" if manager.absent else "cannot be read: "
    return style.wrapped(f"{manager.name} ({manager.kind}): {what}{manager.why}", hanging=2)


def _pmm_stat(manager: PmmStat | Unread, style: Style) -> str:
    if isinstance(manager, Unread):
        return unread_text(manager, style)
    unit = manager.frame_size
    head = f"{manager.name} ({manager.kind}): {manager.total} frames of {human_size(unit)}"
    head += f", its data at {hex_address(manager.at)}" if manager.at is not None else ""
    numbers = [("free", manager.free), ("used", manager.used)]
    if manager.reserved is not None:
        numbers.append(("used: allocated", manager.used - manager.reserved))
        numbers.append(("used: reserved, no RAM", manager.reserved))
    rows = [(name, number, human_size(number * unit)) for name, number in numbers]
    parts = [style.wrapped(head + (", lock held" if manager.in_flux else ""), hanging=2)]
    parts.append(table(rows, ("", "frames", "size"), style, right=("frames", "size")))
    parts.append(style.wrapped(_largest(manager), hanging=2))
    if manager.zones:
        parts.append(_zones(manager, style))
    if manager.parts:
        parts.append(_parts(manager.parts, style))
    if manager.counters:
        parts.append(counters_text(manager.counters, style))
    if manager.unseen:
        parts.append(incomplete(f"not all free frames are counted: {manager.unseen}", style))
    return "\n".join(parts)


def _largest(manager: PmmStat) -> str:
    hint = f", hint {manager.hint}" if manager.hint is not None else ""
    if manager.largest_run_at is None:
        return "no free frame" + hint
    size = human_size(manager.largest_run * manager.frame_size)
    return (
        f"largest free run {count(manager.largest_run, 'frame')} ({size})"
        f" at {hex_address(manager.largest_run_at)}, {count(manager.free_runs, 'free run')},"
        f" fragmentation {manager.fragmentation:.1%}{hint}"
    )


def _zones(manager: PmmStat, style: Style) -> str:
    rows = [
        (
            z.name,
            hex_address(z.start),
            hex_address(z.end),
            "-" if z.usable is None else z.usable,
            z.free,
            z.free_runs,
            z.largest_run,
            f"{z.fragmentation:.1%}" if z.free else "-",
        )
        for z in manager.zones
    ]
    headers = ("zone", "start", "end", "usable", "free", "runs", "largest", "frag")
    return table(rows, headers, style, headers[3:], Narrow((("end",), ("start", "end"), ("start", "end", "runs"))))


def _parts(parts: Sequence[PartStat], style: Style) -> str:
    """Regions, lists or orders: what is in each, and the kernel's own count next to it."""
    kind, said = parts[0].kind, any(part.said is not None for part in parts)
    blocks = {"region": "runs", "order": "blocks"}.get(kind, "nodes")
    headers = [kind, "free frames", blocks]
    rows = [[part.name, part.free, part.blocks] for part in parts]
    if kind == "order":
        headers.append("unusable")
        for row, part in zip(rows, parts, strict=True):
            row.append("-" if part.unusable is None else f"{part.unusable:.1%}")
    if said:
        headers += ["kernel says", "counted", ""]
        for row, part in zip(rows, parts, strict=True):
            row += [part.said if part.said is not None else "-", *_agreement_or_none(part, style)]
    right = headers[1:-1] if said else headers[1:]
    return table(_folded(rows, parts), headers, style, right, Narrow(((blocks,), (blocks, "unusable"))))


def _folded(rows: list[list[object]], parts: Sequence[PartStat]) -> list[list[object]]:
    """The rows, with the highest orders (of the last array of lists) as one where nothing is in them."""
    empty = 0
    for part in reversed(parts):
        if part.order is None or part.order + empty != parts[-1].order or part.blocks or part.said:
            break
        empty += 1
    if empty < 2:
        return rows
    first = rows[-empty]
    return [*rows[:-empty], [f"{parts[-empty].name}-{parts[-1].name}", *first[1:]]]


def _agreement_or_none(part: PartStat, style: Style) -> tuple[str, str]:
    return _agreement(part.said, part.counted, style) if part.said is not None else ("-", "")


@render.register
def _(result: PmmDumps, style: Style) -> str:
    return "\n".join(_pmm_dump(manager, style) for manager in result.managers)


def _pmm_dump(manager: PmmDump | Unread, style: Style) -> str:
    if isinstance(manager, Unread):
        return unread_text(manager, style)
    parts = [style.wrapped(_dump_head(manager), hanging=2)]
    if manager.lists:
        return "\n".join([*parts, *(_list_dump(found, style) for found in manager.lists)])
    rows = [
        (
            hex_address(s.start),
            hex_address(s.end),
            s.frames,
            s.state,
            s.number,
            hex_address(s.record_at) if s.record_at is not None else "-",
        )
        for s in manager.stretches
    ]
    what, where = {"tree": ("leaf", "leaf at"), "records": ("record", "record at")}.get(
        manager.kind, ("bit", "word at")
    )
    headers = ("start", "end", "frames", "state", what, where)
    parts.append(table(rows, headers, style, ("frames", what), Narrow(((what,),))) if rows else "no frames in range")
    return "\n".join(parts)


def _dump_head(manager: PmmDump) -> str:
    head = f"{manager.name} ({manager.kind})"
    bits = manager.bits
    if bits is not None:
        head += f": {count(bits.words, 'word')} of {count(bits.word_size, 'byte')}"
        head += f", {bits.bit_order} first, {bits.used_bit} = used"
    head += f", at {hex_address(manager.at)}" if manager.at is not None else ""
    return head + (f", hint {manager.hint}" if manager.hint is not None else "")


def _list_dump(found: ListDump, style: Style) -> str:
    """A list in its order; neighbours in it that are neighbours in memory are one row."""
    where = f", its first link at {hex_address(found.link_at)}" if found.link_at is not None else ""
    lines = [style.wrapped(f"list {found.name}: {count(found.nodes, 'node')}{where}", hanging=2)]
    rows = [
        (
            str(run.first) if run.first == run.last else f"{run.first}-{run.last}",
            hex_address(run.start),
            hex_address(run.end),
            run.frames,
            {1: "up", -1: "down"}.get((run.step > 0) - (run.step < 0), ""),
            hex_address(run.node),
        )
        for run in found.runs
    ]
    if rows:
        headers = ("place", "start", "end", "frames", "", "first node")
        lines.append(table(rows, headers, style, ("place", "frames"), Narrow((("first node",),))))
    if found.broken is not None:
        lines.append(incomplete(f"the list is broken here: {found.broken}; run pmmstat to see where", style))
    return "\n".join(lines)


def incomplete(why: str, style: Style) -> str:
    """A line that warns that the output is incomplete."""
    return style.paint(style.wrapped(why, hanging=2), "red")


def heap_head(heap: HeapStat) -> str:
    """A heap in one line: name, kind, where it is."""
    segments = ", ".join(f"{hex_address(s.start)}-{hex_address(s.end)}" for s in heap.segments)
    return (
        f"{heap.name} ({heap.kind})" + (f": {segments}" if segments else "") + (", lock held" if heap.in_flux else "")
    )


@render.register
def _(result: Checked, style: Style) -> str:
    parts = []
    for heap in result.heaps:
        if isinstance(heap, Unread):
            parts.append(unread_text(heap, style))
        else:
            used = f"{count(heap.used_chunks, 'chunk')} used ({heap.used_bytes} bytes)"
            damaged = f", {heap.damaged} with an overwritten header" if heap.damaged else ""
            line = f"{heap_head(heap)}: {used}, {heap.free_chunks} free ({heap.free_bytes} bytes){damaged}"
            parts.append(style.wrapped(line, hanging=2))
    parts += leaks_text(result.leaks, style) if result.leaks else []
    return "\n".join(parts + findings_text(result, style))


_SERVES = {True: "yes", False: "no", None: "?"}


@render.register
def _(result: ProfileReport, style: Style) -> str:
    parts = [f"{result.kernel}: {result.title}"]
    if result.direct_map is not None:
        parts.append(f"direct map at {hex_address(result.direct_map)}")
    if result.managers:
        rows = [(m.layer, m.name, m.kind, _SERVES[m.serves], m.where) for m in result.managers]
        parts.append(table(rows, ("layer", "name", "kind", "serves", "described at"), style, narrow=PROSE))
    parts += [style.wrapped(f"not known: {unread}", hanging=2) for unread in result.unread]
    parts += [style.paint(style.wrapped(problem, hanging=2), "red") for problem in result.problems]
    good = "every name in the profile resolves"
    parts.append(
        style.paint(count(len(result.problems), "problem"), "red") if result.problems else style.paint(good, "green")
    )
    return "\n".join(parts)
