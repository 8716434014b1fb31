"""Commands about heaps, and about the rules of all managers."""

from gdbext.commands.record import Argument, Command, Option, Value

HEAP = Argument("HEAP", Value.HEAP, "a heap's name in the profile (default: all)", required=False)


FINDING_HELP = """
A finding names the rule, the first bad object (a frame by its physical address, anything else by its virtual one), the
expected and the actual value, evidence, and the likely cause. Its severity is in-flux instead of error if the manager's
lock was held at the stop: the manager may have been in the middle of a change.
"""

COMMANDS = (
    Command(
        "heapstat",
        "How much of each heap is used and free, and do its counters agree?",
        "managers",
        arguments=(HEAP,),
        details="""
Figures are counted over all chunks: the number of used and free chunks and their payload bytes, the largest free
chunk, the bytes of headers, and the share of free bytes outside the largest free chunk (fragmentation). Each of the
kernel's counters is shown next to the counted value. A heap of slabs has a line for each cache with slabs: object
size in bytes, number of slabs by how full they are, and number of objects.
""",
    ),
    Command(
        "heaplist",
        "Which chunks are on the heap?",
        "managers",
        arguments=(HEAP,),
        options=(
            Option("-free", "only free chunks"),
            Option("-used", "only used chunks"),
            Option(
                "-sort",
                "by address (default: in list order) or by size, largest first",
                (Argument("KEY", Value.WORD, "", choices=("address", "size")),),
            ),
            Option(
                "-state",
                "only chunks in this state; unknown: the header is overwritten",
                (Argument("STATE", Value.WORD, "", choices=("used", "free", "unknown")),),
            ),
            Option(
                "-size",
                "only chunks with a payload of LEAST to MOST bytes",
                (Argument("LEAST", Value.EXPRESSION, "bytes"), Argument("MOST", Value.EXPRESSION, "bytes")),
            ),
            Option(
                "-range",
                "only chunks that overlap the addresses from START up to (not including) END",
                (
                    Argument("START", Value.EXPRESSION, "virtual address"),
                    Argument("END", Value.EXPRESSION, "virtual address"),
                ),
            ),
            Option("-cache", "only objects of this cache", (Argument("NAME", Value.WORD, "its name, see heapstat"),)),
            Option(
                "-caller",
                "only chunks that this code allocated",
                (Argument("CODE", Value.EXPRESSION, "a function's name, a place such as load+0x1e, or an address"),),
            ),
            Option("-map", "draw a map of what is used, what is free, and what lies between"),
            Option("-bins", "only chunks that the heap would find when it allocates: on its free lists or in its tree"),
        ),
        details="""
header is the address of the chunk's header, payload the address that the kernel's code uses, size the payload in
bytes. on is the free list that the chunk is on, if the profile names such lists or a tree; cache is the slab cache
that the object belongs to. asked for by is the code that allocated the chunk (the return address of its call), if the
kernel records it and the profile names the record (caller). -map draws the heap's addresses, one character per cell.
overhead: headers, and what slabs hold besides objects; unknown: a header is overwritten, or the chunks there cannot
be determined; not handed out: above the watermark; nobody's: between chunks that are not adjacent; not the heap's:
between segments.
""",
    ),
    Command(
        "heapchunk",
        "Which chunk of a heap does an address belong to?",
        "managers",
        arguments=(Argument("ADDR", Value.EXPRESSION, "any virtual address in the chunk"),),
        details="""
Shows the chunk, whether the address is in its header or its payload, both neighbours, and the bytes of the header, of
the start of the payload, and of the trailer if chunks of this heap have one.
""",
    ),
    Command(
        "heapcheck",
        "Is the heap intact?",
        "managers",
        checks=True,
        arguments=(HEAP,),
        options=(Option("-leaks", "also look for used chunks that nothing points to (HEAP70)"),),
        details=f"""{FINDING_HELP}
-leaks searches the kernel's variables, the registers of all processors, the stacks in use and the ranges that the
profile names in [pointers] for pointers to chunks, then those chunks for pointers to others. Every aligned word whose
value is an address in a chunk counts as a pointer, so a leak may be missed; but nothing that was searched points to a
chunk that is reported. Chunks are grouped by size and, if the kernel records callers, by the code that allocated
them.
""",
    ),
    Command(
        "memcheck",
        "Are the memory managers intact, and do they agree with each other?",
        "managers",
        checks=True,
        options=(
            Option("-only", "check only this rule", (Argument("ID", Value.RULE, "a rule, such as PMM01"),)),
            Option("-skip", "check all rules but this one", (Argument("ID", Value.RULE, "a rule, such as PMM01"),)),
        ),
        details=FINDING_HELP,
    ),
)
