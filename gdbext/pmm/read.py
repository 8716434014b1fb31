"""The entry point of the readers: any physical manager of a profile, read into a snapshot."""

from gdbext.errors import DescriptionError, MemoryUnavailable
from gdbext.machine.memory import RamMap
from gdbext.pmm.bitmap import read_bitmap, read_bitmaps
from gdbext.pmm.read_lists import read_lists
from gdbext.pmm.snapshot import PmmSnapshot
from gdbext.pmm.tree import read_frame_states, read_tree
from gdbext.profile.binding.physical import BoundPmm
from gdbext.profile.language.physical import Bitmap, Bitmaps, Buddy, FrameStates, FreeLists, Tree
from gdbext.structures.unread import NOT_YET, Unread
from gdbext.units import VirtAddr
from gdbext.x86.virtual import PagedMemory


def kind_of(manager: BoundPmm) -> str:
    """The name of a manager's kind in profiles."""
    return _KINDS[type(manager)]


def serves(manager: BoundPmm, memory: PagedMemory) -> bool:
    """Whether this manager is the one in use; also true if that cannot be read."""
    try:
        return manager.when is None or bool(manager.when.evaluate(memory))
    except (MemoryUnavailable, DescriptionError):
        return True


def read_pmm(manager: BoundPmm, memory: PagedMemory, ram: RamMap, direct_map: VirtAddr | None) -> PmmSnapshot | Unread:
    """Read a physical manager of a machine with this RAM; ``direct_map`` is the virtual address of physical 0."""
    kind = kind_of(manager)
    try:
        if manager.ready is not None and not manager.ready.evaluate(memory):
            return Unread(manager.name, kind, NOT_YET, absent=True)
        found = _read(manager, memory, ram, direct_map)
    except (MemoryUnavailable, DescriptionError) as error:
        return Unread(manager.name, kind, str(error), absent=False)
    if found is None and manager.ready is not None:
        why = f"'{manager.ready.text}' says that it is set up, but it has no data"
        return Unread(manager.name, kind, why, absent=False)
    return found or Unread(manager.name, kind, NOT_YET, absent=True)


def _read(manager: BoundPmm, memory: PagedMemory, ram: RamMap, direct_map: VirtAddr | None) -> PmmSnapshot | None:
    match manager:
        case Bitmap():
            return read_bitmap(manager, memory, ram)
        case Bitmaps():
            return read_bitmaps(manager, memory, ram)
        case Buddy() | FreeLists():
            return read_lists(manager, memory, ram, direct_map)
        case Tree():
            return read_tree(manager, memory, ram)
        case FrameStates():
            return read_frame_states(manager, memory, ram)


_KINDS = {Bitmap: "bitmap", Bitmaps: "bitmaps", FreeLists: "list", Buddy: "buddy", Tree: "tree", FrameStates: "records"}
