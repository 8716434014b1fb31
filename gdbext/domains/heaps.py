"""The kernel's heaps: their contents, their leaks, and whether they are in order."""

from gdbext.checks.finding import CheckReport, Rule, combined, look, not_looked_at, only, run_rules
from gdbext.checks.heaps.chunks import HEAP_RULES, heap_rules, report_unread_heap
from gdbext.checks.heaps.heap_map import HeapMap, heap_map
from gdbext.checks.heaps.inputs import HeapInputs
from gdbext.checks.heaps.leaks import LEAK_RULES, FoundLeaks, LeakInputs, Leaks, find_leaks
from gdbext.checks.heaps.places import HEAP_PLACE_RULES, HeapPlace, heap_place_rules
from gdbext.checks.heaps.pointers import PointerInputs, find_pointers
from gdbext.domains.chosen import chosen, readable
from gdbext.domains.domain import Domain, Wanted, every
from gdbext.domains.lazily import lazily
from gdbext.domains.parts import part
from gdbext.domains.stop import Stop
from gdbext.domains.translation import Translation
from gdbext.heap.callers import CallerNames, names_of_code
from gdbext.heap.read import is_there, kind_of, read_heap
from gdbext.heap.snapshot import HeapSnapshot
from gdbext.structures.unread import NONE_SERVES, Unread


class Heaps(Domain):
    """The heaps of one stop. Depends on the translation."""

    rules = (*HEAP_RULES, *HEAP_PLACE_RULES)

    def __init__(self, stop: Stop, translation: Translation) -> None:
        super().__init__(stop)
        self._translation = translation

    @property
    @part
    def all(self) -> tuple[HeapSnapshot | Unread, ...]:
        """The heaps that are in use, read as far as they can be."""
        self._require()
        described = self._stop.profile.heap
        found = tuple(self._heap(heap.name) for heap in described if is_there(heap, self._stop.virtual))
        none = Unread(described[0].name, kind_of(described[0]), NONE_SERVES, absent=True)
        return found or (self._stop.excused(none),)

    def _require(self) -> None:
        self._stop.require("heap", bool(self._stop.profile.heap), "heap")

    @part
    def _heap(self, name: str) -> HeapSnapshot | Unread:
        """The heap that the profile describes by this name."""
        (described,) = (heap for heap in self._stop.profile.heap if heap.name == name)
        return self._stop.excused(read_heap(described, self._stop.virtual))

    def chosen(self, name: str | None) -> tuple[HeapSnapshot | Unread, ...]:
        """All heaps, or the heap of this name; if there is none, UsageError lists the names."""
        return chosen("heap", name, self.all)

    @property
    @part
    def code_names(self) -> CallerNames:
        """The names of the code at return addresses."""
        return names_of_code(self._stop.symbols)

    def map(self, heap: HeapSnapshot, window: tuple[int, int] | None = None) -> HeapMap | Unread:
        """The map of a heap's addresses, or of those in a window."""
        return heap_map(heap, self._translation.mapped(), window)

    def check(self, wanted: Wanted = every, name: str | None = None) -> CheckReport:
        """Check the wanted rules of every heap, or of the heap of this name."""
        self._require()
        if not self._has_any(wanted):
            return combined(())
        return self._stop.adjusted(combined(self._report(heap, wanted) for heap in self.chosen(name)))

    def _report(self, heap: HeapSnapshot | Unread, wanted: Wanted) -> CheckReport:
        if isinstance(heap, Unread):
            return only(report_unread_heap(heap), wanted)
        place, own = heap_place_rules(heap), heap_rules(heap)
        places = self._asked(place, wanted, lambda rule: self._looked_at_place(rule, heap.name))
        if any(rule.id == "HEAP68" and self._looked_at_place(rule, heap.name).findings for rule in place):
            why = f"the memory of '{heap.name}' has another owner (HEAP68), so its contents mean nothing"
            return combined((*places, only(not_looked_at(own, why), wanted)))
        return combined((*self._asked(own, wanted, lambda rule: self._looked_at(rule, heap.name)), *places))

    @part
    def _looked_at(self, rule: Rule[HeapInputs], name: str) -> CheckReport:
        heap = self._heap(name)
        assert isinstance(heap, HeapSnapshot)
        return look(rule, HeapInputs(heap, self._stop.virtual), in_flux=heap.in_flux)

    @part
    def _looked_at_place(self, rule: Rule[HeapPlace], name: str) -> CheckReport:
        heap = self._heap(name)
        assert isinstance(heap, HeapSnapshot)
        there = {other.name: other for other in self.all} if heap.parent else {}
        parent = next((there[name] for name in heap.parent if name in there), None)
        place = lazily(HeapPlace, heap=lambda: heap, mapped=self._translation.mapped, parent=lambda: parent)
        return look(rule, place, in_flux=heap.in_flux or (isinstance(parent, HeapSnapshot) and parent.in_flux))

    def leaks(self, name: str | None = None) -> Leaks:
        """The chunks of all heaps, or of the heap of this name, that no pointer leads to."""
        stop, heaps = self._stop, self.all
        there = readable(heaps)
        bound = tuple(heap for heap in stop.profile.heap if heap.name in {one.name for one in there})
        if stop.machine.cpu.paging:
            stop.virtual.know_all()  # enumerate all mappings once, not again for each range
        sources = find_pointers(
            PointerInputs(stop.symbols, stop.profile.pointers, stop.machine.registers(), there, bound, stop.virtual)
        )
        width = 8 if stop.machine.cpu.long_mode else 4
        inputs = LeakInputs(heaps, sources, stop.virtual, width, self._translation.direct_map, self.code_names)
        return find_leaks(inputs, name)

    def check_leaks(self, leaks: Leaks) -> CheckReport:
        """The result of the search for leaks, as the rule HEAP70."""
        absent = "there is no heap whose chunks can be read" if not readable(self.all) else None
        found = FoundLeaks(leaks, self._stop.virtual, absent)
        return self._stop.adjusted(run_rules(LEAK_RULES, found, in_flux=leaks.in_flux))
