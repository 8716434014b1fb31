"""Commands about physical memory and who manages it: figures, contents, a map, one frame."""

from gdbext.commands.managers import FINDING_HELP
from gdbext.commands.record import Argument, Command, Option, Value

COMMANDS = (
    Command(
        "pmmstat",
        "How many frames are free, and do the physical manager's counters agree?",
        "physical",
        checks=True,
        details="""
total, used and free are numbers of frames, counted from the manager's structures. largest free run is the longest run
of contiguous free frames; fragmentation is the share of free frames outside it, also for each zone (frag). unusable
is, for each buddy order, the share of free frames in blocks too small for a request of that order. Each of the
kernel's counters is shown next to the counted value. The manager's rules are checked too; findings follow the
figures.
"""
        + FINDING_HELP,
    ),
    Command(
        "pmmdump",
        "What does the physical manager itself look like?",
        "physical",
        arguments=(
            Argument("MANAGER", Value.MANAGER, "a physical manager's name in the profile (default: all)", False),
        ),
        options=(
            Option("-zone", "only this zone, or this list of the manager", (Argument("Z", Value.ZONE, "its name"),)),
            Option(
                "-range",
                "only frames that overlap the physical addresses from A up to (not including) B",
                (Argument("A", Value.EXPRESSION, ""), Argument("B", Value.EXPRESSION, "")),
            ),
            Option("-map", "draw a map: which frames are free, and what uses the others"),
        ),
        details="""
First where the manager's data is and how its words are read. Then one line for each range of frames in the same state:
physical addresses (end exclusive), number of frames, state, and the address of the word or record that holds the first
frame's state. Lists are shown in their own order.
-map draws all physical memory, one character per cell. used: in use, owner not known; reserved: not usable RAM in the
boot map, or kept by the kernel; unmanaged: RAM that no manager covers; free but in use, and free, not usable: frames
for which pmmstat reports findings.
""",
    ),
    Command(
        "pmmframe",
        "What is this frame, what uses it, and which addresses reach it?",
        "physical",
        arguments=(Argument("PA", Value.EXPRESSION, "any physical address in the frame, or pfn=N: gdb expressions"),),
        details="""
The first line is the verdict: the contradiction and the rule it breaks, or else the frame's state and users. Then
follow the boot map's and the managers' entries for the frame; its users: page tables with the entries that point to
them (physical addresses), the kernel image, managers' data, mappings with a purpose; every virtual address that
reaches it; and its first bytes.
""",
    ),
)
