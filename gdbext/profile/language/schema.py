"""The language of profiles: every table and every key, as data, and the records that they are read into.

A new kind of manager is one more record and one more row in ``KINDS``. The reader (``load.py``) and the tables of
``docs/profile.md`` follow from the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gdbext.profile.language.all_heaps import HEAP_KINDS, HeapSource
from gdbext.profile.language.collections import COLLECTION_KEYS, Collection
from gdbext.profile.language.keys import RANGE, Form, Key, Range, Source, Table, expression
from gdbext.profile.language.owners import BUFFERS, HELD, PAGE_RECORDS, Buffers, Held, PageRecords
from gdbext.profile.language.physical import PMM_KINDS, PmmSource
from gdbext.profile.language.pointers import POINTERS, PointerRanges
from gdbext.profile.language.ranges import BOOT_MAP, ZONES, BootMap, Zones


@dataclass(frozen=True)
class Kernel:
    """Which kernel it is."""

    name: str
    detect: tuple[str, ...]
    stop: str | None
    where: str = ""


@dataclass(frozen=True)
class Address:
    """How the kernel's addresses relate."""

    direct_map: Source | None
    image: Range[Source] | None
    where: str = ""


@dataclass(frozen=True)
class Handled:
    """Where the kernel's handlers keep the exception that they are handling."""

    when: Source
    vector: Source
    error_code: Source
    address: Source | None
    rip: Source | None
    flags: Source | None
    where: str = ""


@dataclass(frozen=True)
class Known:
    """An expected finding; ``address`` restricts it to one object."""

    id: str
    address: Source | None
    reason: str


@dataclass(frozen=True)
class Checks:
    """The rules that are off, the rules with another severity, and the findings that are expected."""

    off: tuple[str, ...]
    severity: Mapping[str, str]
    known: tuple[Known, ...]
    where: str = ""


@dataclass(frozen=True)
class Profile:
    """A whole profile, read and checked for form; no name in it has been looked up yet.

    ``title`` is its origin: a path, or a built-in profile's name.
    """

    title: str
    kernel: Kernel
    address: Address
    boot_map: BootMap[Source] | None
    exception: Handled | None
    zones: Zones[Source] | None
    page_records: PageRecords[Source] | None
    dma: tuple[Buffers[Source], ...]
    held: tuple[Held[Source], ...]
    pointers: tuple[PointerRanges[Source], ...]
    pmm: tuple[PmmSource, ...]
    heap: tuple[HeapSource, ...]
    checks: Checks


KERNEL = Table(
    "Which kernel this is.",
    (
        Key("name", Form.TEXT, "the kernel's name", required=True),
        Key("detect", Form.TEXTS, "symbols; a built-in profile is chosen when the kernel has all of them", default=()),
        Key("stop", Form.TEXT, "function that the kernel reaches when it has booted and is idle"),
    ),
    Kernel,
)
ADDRESS = Table(
    "How addresses relate.",
    (
        expression("direct_map", "virtual address at which physical address 0 is mapped: virtual = physical + this"),
        Key(
            "image",
            Form.TABLE,
            "virtual addresses of the kernel's image: known to be RAM, even if memory is read through the direct map",
            keys=RANGE,
            record=Range,
        ),
    ),
    Address,
)
EXCEPTION = Table(
    "The exception that the kernel is handling, or reported last: `vmfault` reads the error code here.",
    (
        expression("when", "true (not 0) when there is such an exception", required=True),
        expression("vector", "its vector (14 for a page fault)", required=True),
        expression("error_code", "the error code that the processor pushed", required=True),
        expression("address", "the faulting address; by default CR2"),
        expression("rip", "address of the instruction that faulted"),
        expression("flags", "RFLAGS at that instruction"),
    ),
    Handled,
)
CHECKS = Table(
    "Changes to the rules that are checked.",
    (
        Key("off", Form.RULES, "rules that are not checked", default=()),
        Key(
            "severity",
            Form.SEVERITIES,
            "rules with a different severity",
            default=MappingProxyType({}),
            choices=("error", "warning"),
        ),
        Key(
            "known",
            Form.TABLES,
            "findings that are expected",
            default=(),
            keys=(
                Key("id", Form.RULE, "id of the rule", required=True),
                expression("address", "address of the object that breaks the rule; by default any"),
                Key("reason", Form.TEXT, "why it is expected", required=True),
            ),
            record=Known,
        ),
    ),
    Checks,
)

INSTANCE = expression(
    "instance", "the variable that the table describes, such as `kernel_heap`; `$` in its expressions stands for it"
)
ANY_KIND = Table(
    "Keys of every kind, besides those of the kind itself.",
    (
        Key("kind", Form.TEXT, "the kind; see below", required=True),
        Key(
            "like",
            Form.TEXT,
            "name of another such table: each key that this table lacks is inherited from there",
        ),
        INSTANCE,
    ),
    dict,
)

SINGLE: Mapping[str, Table] = {
    "kernel": KERNEL,
    "address": ADDRESS,
    "boot_map": BOOT_MAP,
    "exception": EXCEPTION,
    "zones": ZONES,
    "page_records": PAGE_RECORDS,
    "checks": CHECKS,
}
"""The tables that a profile may have once."""
ALWAYS = ("kernel", "address", "checks")
"""Tables that exist even when they are not written: each key then has its default."""
NAMED: Mapping[str, Table] = {"dma": BUFFERS, "held": HELD, "pointers": POINTERS}
"""The tables that a profile may have several times, by name (``[dma.NAME]``)."""
KINDS: Mapping[str, Mapping[str, Table]] = {"pmm": PMM_KINDS, "heap": HEAP_KINDS}
"""The tables that a profile may have several times, by name (``[pmm.NAME]``): one table for each ``kind``."""


COLLECTION = Table(
    "Where several things of one kind are: an array (`entries` with `count` or `until`), a linked list (`head`, "
    "`next`), a binary tree (`tree`, `left`, `right`), a single thing that a pointer points to (`at`), or such a "
    "collection in each element of another (`each`). Below, tables that take these keys have one row for all of them.",
    COLLECTION_KEYS,
    Collection,
)


def key_tables() -> str:
    """All keys as tables in Markdown, for ``docs/profile.md``."""
    parts = [_section("A collection", COLLECTION)]
    parts += [_section(f"`[{name}]`", table) for name, table in SINGLE.items() if name != "checks"]
    parts += [_section(f"`[{name}.NAME]`", table) for name, table in NAMED.items()]
    parts.append(_section(" and ".join(f"`[{family}.NAME]`" for family in KINDS), ANY_KIND))
    for family, kinds in KINDS.items():
        parts += [_section(f'`[{family}.NAME]` with `kind = "{kind}"`', table) for kind, table in kinds.items()]
    return "\n".join([*parts, _section("`[checks]`", CHECKS)])


def _section(title: str, table: Table) -> str:
    rows = [row for key in table.keys for row in _rows(key, "")]
    return "\n".join(
        [f"### {title}", "", table.doc, "", "| key | value | default | meaning |", "|---|---|---|---|", *rows, ""]
    )


def _rows(key: Key, prefix: str) -> list[str]:
    name = prefix + key.name
    value = " or ".join(f"`{choice}`" for choice in key.choices) or key.form.value
    if key.form is Form.SEVERITIES:
        value = f"table: rule = {value}"
    plain = key.default if isinstance(key.default, str | int) and key.form is not Form.COLLECTION else None
    default = "required" if key.required else "" if plain is None else f"`{str(plain).lower()}`"
    if key.form is Form.COLLECTION and not any(below.required for below in key.keys):
        most = next(below.default for below in key.keys if below.name == "most")
        title = f"`{name}` | [a collection](#a-collection)"
        if key.inline:
            title = "[keys of a collection](#a-collection)" + (f" in `{prefix[:-1]}` |" if prefix else " |")
        of_all = {below.name for below in COLLECTION_KEYS}
        doc = key.doc + (f"; `most` is {most}" if most else "")
        if not of_all <= {*key.names, "when"} and key.inline:
            doc += "; the keys are " + ", ".join(f"`{below}`" for below in key.names)
        return [f"| {title} | {default} | {doc} |"]
    if key.inline:
        return [row for below in key.keys for row in _rows(below, prefix)]
    rows = [f"| `{name}` | {value} | {default} | {key.doc} |"]
    return rows + [row for below in key.keys for row in _rows(below, f"{name}.")]
