"""What a profile may say about ranges of physical memory: the boot loader's map, and zones.

A record holds what was written (``E`` is `Source`), or the same compiled against a kernel (``E`` is `Expression`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from gdbext.profile.language.collections import Collection, collection
from gdbext.profile.language.keys import Form, Key, Table, expression, node

E = TypeVar("E")


@dataclass(frozen=True)
class PhysicalRanges(Generic[E]):
    """Physical ranges, one for each element: ``base`` is a range's address, ``length`` its size in bytes."""

    collection: Collection[E]
    base: E
    length: E


@dataclass(frozen=True)
class Reclaimable(Generic[E]):
    """Types of memory that become usable ``when`` the kernel has saved what is stored there."""

    types: tuple[E, ...]
    when: E


@dataclass(frozen=True, kw_only=True)
class BootMap(PhysicalRanges[E]):
    """The memory map that the boot loader handed over.

    ``type`` is a range's kind of memory, ``usable`` are the constants that mean usable memory. ``reserved`` are ranges
    that the kernel keeps for itself.
    """

    type: E
    usable: tuple[E, ...]
    reclaimable: Reclaimable[E] | None
    reserved: PhysicalRanges[E] | None
    where: str = ""


@dataclass(frozen=True)
class Zones(Generic[E]):
    """Physical ranges that the kernel distinguishes, from ``start`` to ``end`` (exclusive); ``names`` by index."""

    collection: Collection[E]
    start: E
    end: E
    names: tuple[str, ...]
    where: str = ""


_RANGES = (
    collection("ranges", 4096),
    node("base", "physical address of the range", required=True),
    node("length", "its size in bytes", required=True),
)
BOOT_MAP = Table(
    "The memory map from the boot loader. In `base`, `length` and `type` the node is one entry.",
    (
        *_RANGES,
        node("type", "its kind of memory", required=True),
        Key("usable", Form.EXPRESSIONS, "the values of `type` that mean usable memory", required=True),
        Key(
            "reclaimable",
            Form.TABLE,
            "memory that is usable once the kernel has saved what the firmware or the loader left there: ACPI tables",
            keys=(
                Key("types", Form.EXPRESSIONS, "the values of `type` that mean such memory", required=True),
                expression("when", "true (not 0) once it may be handed out", required=True),
            ),
            record=Reclaimable,
        ),
        Key(
            "reserved",
            Form.TABLE,
            "ranges that the kernel keeps for itself, usable or not: its image, modules, low memory",
            keys=_RANGES,
            record=PhysicalRanges,
        ),
    ),
    BootMap,
)
ZONES = Table(
    "Ranges of physical memory that the kernel distinguishes, such as memory that old devices can address.",
    (
        collection("zones", 256),
        node("start", "a zone's first physical address", required=True),
        node("end", "physical address after its last", required=True),
        Key("names", Form.TEXTS, "the zones' names, in order", default=()),
    ),
    Zones,
)
