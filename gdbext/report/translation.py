"""How walks, maps, processors and memory sources look as text."""

from gdbext.machine.source import Sources
from gdbext.progress import counted
from gdbext.report.text import PROSE, Narrow, Style, count, render, table
from gdbext.units import hex_address, human_size
from gdbext.vmm.find import Found
from gdbext.vmm.map import Mapping, SpaceMap
from gdbext.vmm.tree import Branch, SpaceTree
from gdbext.x86.descriptors import DescriptorTables
from gdbext.x86.fault import Fault
from gdbext.x86.protections import CpuReport, Protection
from gdbext.x86.walk import Outcome, Step, Walk

LEVEL_NAMES = {1: "PT", 2: "PD", 3: "PDPT", 4: "PML4", 5: "PML5"}

# A narrow terminal first loses what other columns imply: a size by start and end, a table by its entry.
STEPS = Narrow((("table",), ("table", "entry at")), least=24)
MAPPINGS = Narrow(
    (
        ("size",),
        ("size", "type"),
        ("size", "type", "page"),
        ("end", "type", "page"),
        ("end", "type", "page", "physical"),
    ),
    least=len("kernel .data .bss global"),
)
REACHES = Narrow((*MAPPINGS.without, ("end", "type", "page", "physical", "size")), MAPPINGS.least)
PROTECTIONS = Narrow((("bit",),), prose=True)
SEGMENTS = Narrow((("bits",),), least=6)
GATES = Narrow((("IST",), ("IST", "kind")), least=6)


@render.register
def _(result: Walk, style: Style) -> str:
    parts = []
    if result.root is not None:
        parts.append(f"{hex_address(result.address)}: {result.mode} paging, root {hex_address(result.root)}")
    if result.steps:
        headers = ("level", "table", "index", "entry at", "value", "flags")
        parts.append(table([_step_row(step) for step in result.steps], headers, style, ("index",), STEPS))
    parts.append(
        style.paint(style.wrapped(result.verdict, hanging=2), "green" if result.outcome is Outcome.MAPPED else "red")
    )
    if result.outcome is Outcome.MAPPED:
        if result.page_size is not None:
            kind = f"{human_size(result.page_size)} page, memory type {result.cache}"
            parts.append(kind + (", global" if result.is_global else ""))
        parts.append(f"supervisor {result.supervisor}   user {result.user}")
    parts += [style.wrapped(limit, 2, 2) for limit in result.limits]
    parts += [style.wrapped(f"doubt: {doubt}", 2, 2) for doubt in result.doubts]
    return "\n".join(parts)


def _step_row(step: Step) -> tuple[object, ...]:
    return (
        f"{step.level} {LEVEL_NAMES[step.level]}",
        hex_address(step.table),
        step.index,
        hex_address(step.entry_address),
        f"{step.value:#018x}",
        " ".join(step.flags) or "-",
    )


@render.register
def _(result: SpaceMap, style: Style) -> str:
    sizes = ", ".join(f"{number} x {human_size(size)}" for size, number in result.pages.items()) or "nothing"
    root = hex_address(result.root) if result.root is not None else "-"
    parts = [style.wrapped(f"{result.mode} paging, root {root}, {count(result.tables, 'table')}: {sizes}", hanging=2)]
    if result.mappings:
        headers = ("start", "end", "size", "physical", "page", "super", "user", "type", "what")
        rows = (_mapping_row(mapping) for mapping in counted("listing mappings", result.mappings))
        parts.append(table(rows, headers, style, ("size", "page"), MAPPINGS))
    elif result.pages:
        parts.append("no mapping matches the filter")
    for alias in result.aliases:
        copies = f"{alias.count} x " if alias.count > 1 else ""
        line = (
            f"from {hex_address(alias.start)}: {copies}{human_size(alias.span)} repeat {hex_address(alias.same_as)}"
            f" (level-{alias.level} table {hex_address(alias.table)})"
        )
        parts.append(style.wrapped(line, hanging=2))
    for problem in result.problems:
        where = f"entry at {hex_address(problem.entry_address)}" if problem.entry_address is not None else "the root"
        line = (
            f"{problem.kind}: {hex_address(problem.address)}, level-{problem.level} {where}"
            f" = {problem.value:#x}: {problem.detail}"
        )
        if problem.kind == "unreadable":
            line = f"unreadable: {hex_address(problem.address)}, {where}: {problem.detail}"
        parts.append(style.paint(style.wrapped(line, hanging=2), "red"))
    if result.problem_count > len(result.problems):
        parts.append(f"and {result.problem_count - len(result.problems)} more such entries")
    parts += [style.wrapped(f"doubt: {doubt}", hanging=2) for doubt in result.doubts]
    return "\n".join(parts)


def _mapping_row(mapping: Mapping) -> tuple[object, ...]:
    physical = hex_address(mapping.physical) if mapping.linear else f"{mapping.runs} pieces"
    what = mapping.name + (" global" if mapping.is_global else "")
    return (
        hex_address(mapping.start),
        f"{mapping.end:#x}",
        human_size(mapping.end - mapping.start),
        physical,
        human_size(mapping.page_size),
        mapping.supervisor,
        mapping.user,
        mapping.cache,
        what.strip(),
    )


@render.register
def _(result: CpuReport, style: Style) -> str:
    root = f", root {hex_address(result.root)}" if result.root is not None else ""
    pcid = f", PCID {result.pcid}" if result.pcid is not None else ""
    parts = [
        style.wrapped(
            f"{'paging is off' if result.mode == 'none' else result.mode + ' paging'}{root}{pcid}, CPL {result.cpl},"
            f" addresses: {result.address_bits} bits virtual, {result.phys_bits} bits physical",
            hanging=2,
        ),
        _registers(result, style),
    ]
    rows = [_protection_row(p, style) for p in result.protections]
    parts.append(table(rows, ("feature", "state", "bit", "meaning"), style, narrow=PROTECTIONS))
    parts += [style.wrapped(f"doubt: {doubt}", hanging=2) for doubt in result.doubts]
    parts += _tables(result.tables, style) if result.tables is not None else []
    return "\n".join(parts)


def _registers(result: CpuReport, style: Style) -> str:
    named = {"CR0": result.cr0, "CR2": result.cr2, "CR3": result.cr3, "CR4": result.cr4}
    named |= {"EFER": result.efer, "RFLAGS": result.rflags}
    # A line may end between two registers, not between one's name and its value.
    line = "  ".join(f"{name}{_NO_BREAK}{hex_address(value)}" for name, value in named.items())
    return style.wrapped(line, hanging=2).replace(_NO_BREAK, " ")


_NO_BREAK = "\xa0"


def _protection_row(protection: Protection, style: Style) -> tuple[object, ...]:
    if protection.on:
        return protection.name, style.paint("on", "green"), protection.where, ""
    state = "off, the processor lacks it" if protection.offered is False else "off"
    return protection.name, style.paint(state, "yellow"), protection.where, protection.meaning


@render.register
def _(result: Sources, style: Style) -> str:
    rows = [(s.name, style.paint(s.status, "green" if s.status == "in use" else "grey"), s.why) for s in result.sources]
    return f"{human_size(result.ram)} of RAM\n" + table(rows, ("source", "state", "why"), style, narrow=PROSE)


@render.register
def _(result: SpaceTree, style: Style) -> str:
    parts = [f"{result.mode} paging, root {LEVEL_NAMES[result.levels]} {hex_address(result.root)}"]
    parts += [style.wrapped(_branch(b), 2 * (result.levels - b.level + 1), 4) for b in result.branches]
    if not result.complete:
        parts.append("... more branches follow: narrow the tree with -range")
    return "\n".join(parts)


def _branch(branch: Branch) -> str:
    index = f"[{branch.first}]" if branch.first == branch.last else f"[{branch.first}-{branch.last}]"
    count_of = branch.last - branch.first + 1
    head = f"{index} {hex_address(branch.start)}"
    below = LEVEL_NAMES.get(branch.level - 1, "")
    match branch.kind:
        case "table":
            return f"{head} {below} {hex_address(branch.table or 0)}"
        case "same":
            return f"{head} {below} {hex_address(branch.table or 0)}, shown above"
        case "recursive":
            return f"{head} recursive slot: the root itself"
    mapping = branch.mapping
    assert mapping is not None
    rights = f"{mapping.supervisor} {mapping.user} {mapping.cache}" + (f" {mapping.name}" if mapping.name else "")
    physical = hex_address(mapping.physical + branch.start - mapping.start)
    what = f"{human_size(mapping.page_size)} pages"
    if branch.kind == "full":
        return f"{head} {count(count_of, below)}, full: {what} from physical {physical} {rights}"
    return f"{head} {count_of} x {what[:-1]} from physical {physical} {rights}"


@render.register
def _(result: Found, style: Style) -> str:
    what = hex_address(result.physical) + (f", {human_size(result.size)}" if result.size > 1 else "")
    head = f"physical {what}" + ("" if result.is_ram else ", which is not RAM") + ": "
    searched = f"searched: {', '.join(result.spaces)}"
    head += count(len(result.reaches), "mapping") if result.reaches else "not mapped"
    parts = [style.wrapped(f"{head} ({searched})", hanging=2)]
    if result.reaches:
        rows = [(reach.space, *_mapping_row(reach.mapping)) for reach in result.reaches]
        headers = ("space", "start", "end", "size", "physical", "page", "super", "user", "type", "what")
        parts.append(table(rows, headers, style, ("size", "page"), REACHES))
    for repeat in result.repeats:
        copies = f"{repeat.count} more, {human_size(repeat.span)} apart, from" if repeat.count > 1 else "again at"
        line = f"{hex_address(repeat.same_as)}: {copies} {hex_address(repeat.start)} ({repeat.space})"
        parts.append(style.wrapped(line, hanging=2))
    if result.differing:
        parts.append(style.paint("the mappings differ in rights or memory type", "yellow"))
    parts += [f"it is a page table of {space}" for space in result.tables]
    return "\n".join(parts)


@render.register
def _(result: Fault, style: Style) -> str:
    code = "unknown" if result.error_code is None else f"{result.error_code:#x} ({result.access})"
    parts = [
        style.wrapped(f"fault at {hex_address(result.address)}, error code {code}, from {result.source}", hanging=2),
        style.paint(style.wrapped(result.verdict), "bold"),
        render(result.walk, style),
    ]
    return "\n".join(parts)


def _tables(tables: DescriptorTables, style: Style) -> list[str]:
    """The descriptor tables of a processor."""
    parts = [f"GDT {hex_address(tables.gdt_base)}, limit {tables.gdt_limit:#x}"]
    rows = [
        (
            f"{s.selector:#x}",
            s.kind,
            hex_address(s.base),
            f"{s.limit:#x}",
            s.dpl,
            s.mode or "-",
            "" if s.present else "absent",
        )
        for s in tables.segments
    ]
    headers = ("selector", "kind", "base", "limit", "DPL", "bits", "")
    parts.append(table(rows, headers, style, ("DPL", "bits"), SEGMENTS))
    parts.append(f"IDT {hex_address(tables.idt_base)}, limit {tables.idt_limit:#x}")
    gates = [
        (
            g.vector,
            g.name,
            g.kind,
            f"{g.selector:#x}:{hex_address(g.offset)}",
            g.dpl,
            g.ist or "-",
            "" if g.present else "absent",
        )
        for g in tables.gates
    ]
    headers = ("vector", "name", "kind", "handler", "DPL", "IST", "")
    parts.append(table(gates, headers, style, ("vector", "DPL", "IST"), GATES))
    if tables.tss is not None:
        parts.append(f"TSS {hex_address(tables.tss.address)}, selector {tables.tr:#x}, limit {tables.tss.limit:#x}")
        stacks = [(f"RSP{i}", hex_address(rsp)) for i, rsp in enumerate(tables.tss.rsp) if rsp]
        stacks += [(f"IST{i}", hex_address(ist)) for i, ist in enumerate(tables.tss.ist, 1) if ist]
        parts.append(table(stacks, ("stack", "top"), style) if stacks else "the TSS has no stacks")
    return parts + [style.wrapped(f"cannot be read: {problem}", hanging=2) for problem in tables.problems]
