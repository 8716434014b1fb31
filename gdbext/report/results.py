"""Results that are made of several managers' answers, as the commands hand them to the reports."""

from dataclasses import dataclass

from gdbext.checks.finding import Finding, Severity, Skipped
from gdbext.checks.heaps.heap_map import HeapMap
from gdbext.checks.heaps.leaks import Leaks
from gdbext.checks.physical.frame_map import FrameMap
from gdbext.heap.listing import ChunkFound, ChunkList
from gdbext.heap.stat import HeapStat
from gdbext.pmm.stat import PmmDump, PmmStat
from gdbext.structures.unread import Unread
from gdbext.units import VirtAddr


class Judgement:
    """A result that says how much is wrong."""

    @property
    def found(self) -> int:
        """How many things were found, sure or not."""
        raise NotImplementedError

    @property
    def errors(self) -> int:
        """How many of them are surely wrong."""
        raise NotImplementedError


class WithFindings(Judgement):
    """A result of a command that checks rules."""

    findings: tuple[Finding, ...]

    @property
    def found(self) -> int:
        """How many findings there are."""
        return len(self.findings)

    @property
    def errors(self) -> int:
        """How many of the findings are errors: neither warnings nor in flux."""
        return sum(finding.severity is Severity.ERROR for finding in self.findings)


@dataclass(frozen=True)
class PmmStats(WithFindings):
    """The figures of all physical managers, and what their rules find."""

    managers: tuple[PmmStat | Unread, ...]
    findings: tuple[Finding, ...]
    checked: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class PmmDumps:
    """The contents of physical managers."""

    managers: tuple[PmmDump | Unread, ...]


@dataclass(frozen=True)
class PmmMap:
    """Physical memory as the physical managers of these names have it; ``unread`` are those that cannot be read.

    ``map`` is None when there is no manager to go by.
    """

    managers: tuple[str, ...]
    unread: tuple[Unread, ...]
    map: FrameMap | None


@dataclass(frozen=True)
class HeapStats:
    """The figures of all heaps."""

    heaps: tuple[HeapStat | Unread, ...]


@dataclass(frozen=True)
class ChunkLists:
    """The chunks of heaps."""

    heaps: tuple[ChunkList | Unread, ...]


@dataclass(frozen=True)
class HeapMaps:
    """Heaps, each as a map."""

    heaps: tuple[HeapMap | Unread, ...]


@dataclass(frozen=True)
class ChunksFound:
    """The chunks that hold an address: none, or one, or two where a heap rests on another.

    ``around`` are the heaps that have it in a segment, ``unread`` those that could not be asked.
    """

    address: VirtAddr
    chunks: tuple[ChunkFound, ...]
    around: tuple[str, ...]
    unread: tuple[Unread, ...]


@dataclass(frozen=True)
class Checked(WithFindings):
    """What a set of rules finds. ``problems`` says what was not looked at as a whole, ``heaps`` what was looked at.

    ``leaks`` is None where no search for leaks was asked for.
    """

    findings: tuple[Finding, ...]
    checked: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    problems: tuple[str, ...] = ()
    heaps: tuple[HeapStat | Unread, ...] = ()
    leaks: Leaks | None = None


@dataclass(frozen=True)
class ManagerLine:
    """A manager that a profile describes: its layer (pmm, heap), name, kind, and the place in the file.

    The layer ``frames`` is what tells who has frames: kinds records, dma, held.
    ``serves`` says whether it is the one in use, None when that cannot be told.
    """

    layer: str
    name: str
    kind: str
    where: str
    serves: bool | None


@dataclass(frozen=True)
class ProfileReport:
    """The profile in use. ``direct_map`` is its value in the machine, None when there is none or it cannot be read.

    ``unread`` says what needs the machine's memory and is therefore left out, and why.
    """

    title: str
    kernel: str
    managers: tuple[ManagerLine, ...]
    direct_map: VirtAddr | None
    unread: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class ProfileCheck(ProfileReport, Judgement):
    """The profile in use, and whether every name in it resolves."""

    @property
    def found(self) -> int:
        """How many problems there are."""
        return len(self.problems)

    @property
    def errors(self) -> int:
        """The same: a name resolves or it does not."""
        return len(self.problems)
