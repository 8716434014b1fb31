"""The answers of the commands about heaps, and about the rules of all managers."""

from collections.abc import Callable

import numpy as np

from gdbext.checks.finding import CheckReport, combined, only
from gdbext.commands.record import Arguments
from gdbext.domains.domain import Wanted, every
from gdbext.errors import DescriptionError, UsageError
from gdbext.heap.listing import Selection, chunk_list, find_chunk
from gdbext.heap.slab import slabs_of
from gdbext.heap.snapshot import HeapSnapshot
from gdbext.heap.stat import HeapStat, heap_stat
from gdbext.report.results import Checked, ChunkLists, ChunksFound, HeapMaps, HeapStats
from gdbext.session import Session
from gdbext.structures.unread import Unread
from gdbext.units import VirtAddr


def _heap_stats(session: Session, arguments: Arguments) -> tuple[HeapStat | Unread, ...]:
    heaps = session.heaps.chosen(arguments.text("HEAP"))
    return tuple(heap if isinstance(heap, Unread) else heap_stat(heap) for heap in heaps)


def heapstat(session: Session, arguments: Arguments) -> HeapStats:
    """Count the chunks of every heap, or of the named one."""
    return HeapStats(_heap_stats(session, arguments))


def heaplist(session: Session, arguments: Arguments) -> ChunkLists | HeapMaps:
    """List the chunks of every heap, or of the named one; or draw their map."""
    heaps = session.heaps.chosen(arguments.text("HEAP"))
    if arguments.has("-map"):
        return _map(session, arguments, heaps)
    wanted = Selection(
        states=_states(arguments),
        sizes=_bounds(session, arguments, "-size"),
        window=_bounds(session, arguments, "-range"),
        cache=arguments.text("-cache"),
        by_size=arguments.text("-sort") == "size",
        by_lists=arguments.has("-bins"),
        caller=_caller(session, heaps, arguments.text("-caller")),
    )
    _insist_on_cache(wanted.cache, heaps)
    names = session.heaps.code_names
    return ChunkLists(tuple(heap if isinstance(heap, Unread) else chunk_list(heap, wanted, names) for heap in heaps))


def _map(session: Session, arguments: Arguments, heaps: tuple[HeapSnapshot | Unread, ...]) -> HeapMaps:
    for option in ("-free", "-used", "-sort", "-state", "-size", "-cache", "-caller", "-bins"):
        if arguments.has(option):
            raise UsageError(f"-map draws all chunks: remove {option} (-range A B draws a part of the addresses)")
    window = _bounds(session, arguments, "-range")
    return HeapMaps(tuple(heap if isinstance(heap, Unread) else session.heaps.map(heap, window) for heap in heaps))


def _insist_on_cache(name: str | None, heaps: tuple[HeapSnapshot | Unread, ...]) -> None:
    """Refuse a cache that no heap has."""
    slabs = [slabs_of(heap) for heap in heaps if isinstance(heap, HeapSnapshot)]
    there = [cache.name for found in slabs if found is not None for cache in found.caches if not cache.internal]
    if name is not None and name not in there:
        raise UsageError(
            f"there is no cache '{name}'; there are {', '.join(there)}" if there else "there are no caches"
        )


def _states(arguments: Arguments) -> tuple[str, ...]:
    """The requested states; a chunk whose header is overwritten might be in any state."""
    wanted = {state for state in ("free", "used") if arguments.has(f"-{state}") or arguments.text("-state") == state}
    if arguments.text("-state") == "unknown":
        return (*wanted, "unknown")
    return (*(wanted or {"free", "used"}), "unknown")


def _bounds(session: Session, arguments: Arguments, option: str) -> tuple[int, int] | None:
    """The two numbers that follow an option."""
    typed = arguments.options.get(option)
    if typed is None:
        return None
    low, high = (session.evaluate(text) for text in typed)
    if low > high:
        raise UsageError(f"{option} {typed[0]} {typed[1]} is empty: the first is above the second")
    return low, high


def _caller(
    session: Session, heaps: tuple[HeapSnapshot | Unread, ...], typed: str | None
) -> Callable[[int], bool] | None:
    """The callers that are meant: a function by its name, FUNCTION+OFFSET as it is shown, or an address."""
    if typed is None:
        return None
    known = [heap.callers for heap in heaps if isinstance(heap, HeapSnapshot) and heap.callers is not None]
    if not known:
        raise UsageError(
            "-caller: callers are not recorded; have the kernel record them, and add `caller` to the profile"
        )
    names = session.heaps.code_names
    of_name = {int(c) for callers in known for c in np.unique(callers) if typed in (names(c), _function(names(c)))}
    wanted = of_name or {session.evaluate(typed)}
    return wanted.__contains__


def _function(name: str) -> str:
    """FUNCTION+OFFSET without its offset."""
    return name.rpartition("+")[0]


def heapchunk(session: Session, arguments: Arguments) -> ChunksFound:
    """Find the chunk that holds an address."""
    heaps = session.heaps.all
    address = session.evaluate(arguments.text("ADDR") or "")
    memory, names = session.virtual, session.heaps.code_names
    found = (find_chunk(heap, address, memory, names) for heap in heaps if not isinstance(heap, Unread))
    around = tuple(
        heap.name
        for heap in heaps
        if not isinstance(heap, Unread) and any(s.start <= address < s.end for s in heap.segments)
    )
    unread = tuple(heap for heap in heaps if isinstance(heap, Unread))
    return ChunksFound(VirtAddr(address), tuple(one for one in found if one is not None), around, unread)


def heapcheck(session: Session, arguments: Arguments) -> Checked:
    """Check the rules of every heap, or of the named one."""
    name = arguments.text("HEAP")
    report, leaks = session.heaps.check(name=name), None
    if arguments.has("-leaks"):
        leaks = session.heaps.leaks(name)
        report = combined((report, session.heaps.check_leaks(leaks)))
    heaps = _heap_stats(session, arguments)
    return Checked(report.findings, report.checked, report.skipped, session.problems, heaps, leaks)


def memcheck(session: Session, arguments: Arguments) -> Checked:
    """Check every rule of every manager; or one rule alone, reading only what it needs."""
    chosen, skip = arguments.text("-only"), arguments.text("-skip")
    report, missing = _checked(session, every if chosen is None else lambda rule: rule == chosen)
    for rule in (chosen, skip):
        if rule is not None and rule not in _rules_of(report):
            _require_rule(session, rule)
    report = only(report, lambda rule: rule != skip)
    problems = tuple(dict.fromkeys((*session.problems, *missing)))
    return Checked(report.findings, report.checked, report.skipped, problems)


def _checked(session: Session, wanted: Wanted) -> tuple[CheckReport, list[str]]:
    """The report of the wanted rules, and what the profile does not describe."""
    reports: list[CheckReport] = []
    missing: list[str] = []
    for domain in session.domains:
        try:
            reports.append(domain.check(wanted))
        except DescriptionError as error:  # a profile may describe one layer and not the other
            missing.append(str(error))
    if len(reports) == 1:
        raise DescriptionError(missing[0])
    return combined(reports), missing


def _rules_of(report: CheckReport) -> list[str]:
    return sorted({*report.checked, *(skip.id for skip in report.skipped)})


def _require_rule(session: Session, rule: str) -> None:
    """Refuse a rule that does not exist here."""
    known = _rules_of(_checked(session, every)[0])
    if rule not in known:
        raise UsageError(f"there is no rule {rule} here; there are {', '.join(known)}")
