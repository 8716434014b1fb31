"""Results that combine several managers' results, as the commands hand them to the reports."""

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
    """A result that counts what is wrong."""

    @property
    def found(self) -> int:
        """How many findings there are, certain or not."""
        raise NotImplementedError

    @property
    def errors(self) -> int:
        """How many of them are certainly errors."""
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
    """The figures of all physical managers, and the findings of their rules."""

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
    """Physical memory as recorded by the named physical managers; ``unread`` are those that cannot be read.

    ``map`` is None when no manager can be read.
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

    ``around`` are the heaps that have it in a segment, ``unread`` those that could not be read.
    """

    address: VirtAddr
    chunks: tuple[ChunkFound, ...]
    around: tuple[str, ...]
    unread: tuple[Unread, ...]


@dataclass(frozen=True)
class Checked(WithFindings):
    """The findings of a set of rules. ``problems`` lists what was not checked completely, ``heaps`` what was.

    ``leaks`` is None where no search for leaks was requested.
    """

    findings: tuple[Finding, ...]
    checked: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    problems: tuple[str, ...] = ()
    heaps: tuple[HeapStat | Unread, ...] = ()
    leaks: Leaks | None = None


@dataclass(frozen=True)
class ManagerLine:
    """A manager that a profile describes: its layer (pmm, heap), name, kind, and where in the file.

    The layer ``frames`` has what records the owners of frames: kinds records, dma, held.
    ``serves`` says whether it is the one in use, None when that is unknown.
    """

    layer: str
    name: str
    kind: str
    where: str
    serves: bool | None


@dataclass(frozen=True)
class ProfileReport:
    """The profile in use. ``direct_map`` is its value in the machine, None when there is none or it cannot be read.

    ``unread`` lists what needs the machine's memory and is therefore omitted, and why.
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
