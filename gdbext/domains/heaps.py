"""The kernel's heaps: what they hold, what of it nobody can reach any more, and whether they are in order."""

from functools import cached_property

from gdbext.checks.finding import CheckReport, combined, not_looked_at, run_rules
from gdbext.checks.heaps.chunks import HEAP_RULES, heap_rules, report_unread_heap
from gdbext.checks.heaps.heap_map import HeapMap, heap_map
from gdbext.checks.heaps.leaks import LEAK_RULES, FoundLeaks, LeakInputs, Leaks, find_leaks
from gdbext.checks.heaps.places import HEAP_PLACE_RULES, HeapPlace, heap_place_rules
from gdbext.checks.heaps.pointers import RootInputs, find_roots
from gdbext.domains.chosen import chosen, readable
from gdbext.domains.stop import Stop
from gdbext.domains.translation import Translation
from gdbext.heap.callers import CallerNames, names_of_code
from gdbext.heap.read import is_there, kind_of, read_heap
from gdbext.heap.snapshot import HeapSnapshot
from gdbext.structures.unread import NONE_SERVES, Unread


class Heaps:
    """The heaps of one stop. Stands on the translation."""

    rules = (*HEAP_RULES, *HEAP_PLACE_RULES, *LEAK_RULES)

    def __init__(self, stop: Stop, translation: Translation) -> None:
        self._stop = stop
        self._translation = translation

    @cached_property
    def all(self) -> tuple[HeapSnapshot | Unread, ...]:
        """The heaps that there are, read as far as they can be."""
        stop, described = self._stop, self._stop.profile.heap
        stop.require("heap", bool(described), "heap")
        found = [read_heap(heap, stop.virtual) for heap in described if is_there(heap, stop.virtual)]
        if not found:
            found = [Unread(described[0].name, kind_of(described[0]), NONE_SERVES, absent=True)]
        return tuple(stop.excused(heap) for heap in found)

    def chosen(self, name: str | None) -> tuple[HeapSnapshot | Unread, ...]:
        """All heaps, or the one of this name; UsageError names those that there are."""
        return chosen("heap", name, self.all)

    @cached_property
    def code_names(self) -> CallerNames:
        """What to call the code at a return address."""
        return names_of_code(self._stop.symbols)

    def map(self, heap: HeapSnapshot, window: tuple[int, int] | None = None) -> HeapMap | Unread:
        """What a heap's addresses are, or those of them in a window."""
        return heap_map(heap, self._translation.mapped(), window)

    def check(self, name: str | None = None) -> CheckReport:
        """The rules of every heap, or of one."""
        return self._stop.adjusted(combined(self._report(heap) for heap in self.chosen(name)))

    def _report(self, heap: HeapSnapshot | Unread) -> CheckReport:
        if isinstance(heap, Unread):
            return report_unread_heap(heap)
        there = {other.name: other for other in self.all}
        parent = next((there[name] for name in heap.parent if name in there), None)
        place = HeapPlace(heap, self._translation.mapped(), parent)
        in_flux = heap.in_flux or (isinstance(place.parent, HeapSnapshot) and place.parent.in_flux)
        places = run_rules(heap_place_rules(heap), place, in_flux=in_flux)
        if any(finding.id == "HEAP68" for finding in places.findings):
            why = f"the arena of '{heap.name}' is another's (HEAP68), so what is in it says nothing"
            return combined((places, not_looked_at(heap_rules(heap), why)))
        return combined((run_rules(heap_rules(heap), heap, in_flux=heap.in_flux), places))

    def leaks(self, name: str | None = None) -> Leaks:
        """The chunks of all heaps, or of one, that nothing leads to."""
        stop, heaps = self._stop, self.all
        there = readable(heaps)
        bound = tuple(heap for heap in stop.profile.heap if heap.name in {one.name for one in there})
        if stop.machine.cpu.paging:
            self._translation.space()  # all that is mapped is looked at once, not for each range anew
        roots = find_roots(
            RootInputs(stop.symbols, stop.profile.roots, stop.machine.registers(), there, bound, stop.virtual)
        )
        width = 8 if stop.machine.cpu.long_mode else 4
        inputs = LeakInputs(heaps, roots, stop.virtual, width, self._translation.direct_map, self.code_names)
        return find_leaks(inputs, name)

    def check_leaks(self, leaks: Leaks) -> CheckReport:
        """What the search for leaks has found, as the rule HEAP70."""
        absent = "there is no heap whose chunks are seen" if not readable(self.all) else None
        found = FoundLeaks(leaks, self._stop.virtual, absent)
        return self._stop.adjusted(run_rules(LEAK_RULES, found, in_flux=leaks.in_flux))
