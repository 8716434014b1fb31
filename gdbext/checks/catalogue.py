"""Every rule that is checked, by layer: the rules that profiles, options and completion may name."""

from gdbext.checks.heaps.chunks import HEAP_RULES
from gdbext.checks.heaps.leaks import LEAK_RULES
from gdbext.checks.heaps.places import HEAP_PLACE_RULES
from gdbext.checks.physical.managers import PMM_RULES
from gdbext.checks.translation.paging import PAGING_RULES

_RULES = (PAGING_RULES, PMM_RULES, HEAP_RULES, HEAP_PLACE_RULES, LEAK_RULES)
RULE_IDS: tuple[str, ...] = tuple(sorted(rule.id for rules in _RULES for rule in rules))
"""The ids of all rules, in order."""
