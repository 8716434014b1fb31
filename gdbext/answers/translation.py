"""The answers of the commands about translation: an address, an address space, the processor, the memory source."""

from dataclasses import replace

from gdbext.commands.record import Arguments
from gdbext.errors import MemoryUnavailable, UsageError
from gdbext.machine.source import Sources
from gdbext.report.results import Checked
from gdbext.session import Session
from gdbext.units import PhysAddr, VirtAddr, hex_address
from gdbext.vmm.filter import parse_filter
from gdbext.vmm.find import Found, find
from gdbext.vmm.map import SpaceMap, View, describe
from gdbext.vmm.tree import SpaceTree, tree
from gdbext.x86.fault import Fault, Report, explain
from gdbext.x86.modes import paging_mode
from gdbext.x86.protections import CpuReport, describe_cpu
from gdbext.x86.walk import Walk


def _root(session: Session, arguments: Arguments) -> PhysAddr | None:
    """The root table that ``-root`` names, without PCID and flag bits."""
    text = arguments.text("-root")
    if text is None:
        return None
    mode = paging_mode(session.machine.cpu)
    if mode is None:
        raise UsageError("-root cannot be used: paging is off")
    value = session.evaluate(text)
    # Bit 63 of a value loaded into CR3 asks for no flush, it is no part of the address (SDM vol. 3A, 4.10.4.1).
    value &= (1 << 63) - 1
    if mode.root_of(value) | (value & 0xFFF) != value:
        raise UsageError(f"-root {text} is {hex_address(value)}, which cannot be a root: give a physical address")
    return mode.root_of(value)


def vmwalk(session: Session, arguments: Arguments) -> Walk:
    """Translate one address."""
    return session.translation.walk(session.evaluate(_text(arguments, "ADDR")), _root(session, arguments))


def _text(arguments: Arguments, name: str) -> str:
    """A required argument: parsing has ensured that it is there."""
    text = arguments.text(name)
    assert text is not None
    return text


def vmmap(session: Session, arguments: Arguments) -> SpaceMap | SpaceTree:
    """List all mappings of a root, or its tables."""
    cpu = session.machine.cpu
    space = session.translation.space(_root(session, arguments), _window(session, arguments))
    if arguments.has("-tree"):
        return tree(space, cpu, session.translation.names)
    words = arguments.text("-filter")
    view = View(
        physically=arguments.has("-phys") or arguments.has("-json"),
        raw=arguments.has("-raw"),
        wanted=parse_filter(words, cpu) if words is not None else None,
    )
    return describe(space, cpu, session.translation.names, view)


def _window(session: Session, arguments: Arguments) -> tuple[VirtAddr, VirtAddr] | None:
    """The addresses that ``-range`` names, the last one included; an end of 0 is the end of all addresses."""
    bounds = arguments.options.get("-range")
    mode = paging_mode(session.machine.cpu)
    if not bounds or mode is None:
        return None
    first, end = (session.evaluate(text) for text in bounds)
    if first >= (end or 1 << 64):
        raise UsageError(f"-range {bounds[0]} {bounds[1]} is empty: {hex_address(first)} is not below its end")
    window = mode.clipped(first, (end - 1) % (1 << 64))
    if window is None:
        raise UsageError(f"-range {bounds[0]} {bounds[1]}: no address in it can be translated with {mode.name} paging")
    return window


def vmfind(session: Session, arguments: Arguments) -> Found:
    """Find every virtual address of a physical range."""
    physical = session.evaluate(_text(arguments, "PA"))
    size = session.evaluate(arguments.text("-size") or "1")
    reach = 1 << session.machine.cpu.phys_bits
    if not 0 < size <= reach or physical + size > reach:
        raise UsageError(f"{hex_address(physical)} with {size} bytes is not a range of physical addresses")
    root = _root(session, arguments)
    spaces = session.translation.spaces() if root is None else ((arguments.text("-root") or "", root),)
    found = ((name, session.translation.space(space)) for name, space in spaces)
    return find(found, session.machine.cpu, session.translation.names, PhysAddr(physical), size)


def vmfault(session: Session, arguments: Arguments) -> Fault:
    """Explain a page fault."""
    machine = session.machine
    typed, code = arguments.text("ADDR"), arguments.text("ERRORCODE")
    if typed is None:
        address, report = session.translation.last_fault()
    else:
        known = session.evaluate(code) if code is not None else None
        address, report = VirtAddr(session.evaluate(typed)), Report(known, None, fetch=False, source="the arguments")
    return explain(machine.memory, machine.cpu, address, report)


def vmcheck(session: Session, arguments: Arguments) -> Checked:
    """Check the rules of page tables."""
    report = session.translation.check(root=_root(session, arguments))
    return Checked(report.findings, report.checked, report.skipped)


def memcpu(session: Session, arguments: Arguments) -> CpuReport:
    """Show how the processor translates and what it protects."""
    report = describe_cpu(session.machine.cpu)
    if not arguments.has("-tables"):
        return report
    try:
        return replace(report, tables=session.translation.descriptors())
    except MemoryUnavailable as error:
        return replace(report, doubts=(*report.doubts, f"the descriptor tables cannot be shown: {error}"))


def memsource(session: Session, arguments: Arguments) -> Sources:
    """Show which source physical memory is read from."""
    machine = session.machine
    return Sources(machine.memory.ram.total, machine.considered)
