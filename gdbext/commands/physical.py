"""Commands about physical memory and who manages it: figures, contents, a map, one frame."""

from gdbext.commands.managers import FINDING_HELP
from gdbext.commands.record import Argument, Command, Option, Value

COMMANDS = (
    Command(
        "pmmstat",
        "Which frames are free, and do the physical manager's own numbers agree?",
        "physical",
        checks=True,
        details="""
total, used and free count frames, from the manager's structures. largest free run is the longest stretch of free
frames; fragmentation is the share of the free frames outside it, for each zone too (frag). unusable is, for each order
of buddies, the share of the free frames that cannot serve a request of that order. Each counter that the kernel keeps
stands beside the same number counted. The manager's rules are checked; what they find stands below the figures.
"""
        + FINDING_HELP,
    ),
    Command(
        "pmmdump",
        "What does the physical manager itself look like?",
        "physical",
        arguments=(
            Argument("MANAGER", Value.MANAGER, "a physical manager's name in the profile; all without it", False),
        ),
        options=(
            Option("-zone", "only a zone, or a list of the manager's", (Argument("Z", Value.ZONE, "its name"),)),
            Option(
                "-range",
                "only frames that meet the physical addresses from A up to B",
                (Argument("A", Value.EXPRESSION, ""), Argument("B", Value.EXPRESSION, "")),
            ),
            Option("-map", "draw it: what is free, and who uses the rest"),
        ),
        details="""
The manager's place and how its words are read; then each stretch of frames of one state: physical addresses (end
exclusive), number of frames, state, and where the first one's state is written. Lists come in their own order.
-map draws all physical memory, a character for a cell. used: by whom is not known; reserved: no usable RAM by the boot
map, or kept by the kernel; unmanaged: RAM that no manager has a state for; free but in use, and free, not usable: what
pmmstat calls broken.
""",
    ),
    Command(
        "pmmframe",
        "What is this frame, who uses it, and who reaches it?",
        "physical",
        arguments=(Argument("PA", Value.EXPRESSION, "an address in the frame, or pfn=N: any gdb expressions"),),
        details="""
The first line is the verdict: what contradicts each other, with the rule's name, or else state and users. Then the
boot map's and the managers' words on the frame; its users: page tables with the entries that name them (physical
addresses), the kernel's image, managers' own data, mappings made for a purpose; every virtual address that reaches
it; its first bytes.
""",
    ),
)
