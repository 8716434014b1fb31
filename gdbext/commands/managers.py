"""Commands about heaps, and about the rules of all managers."""

from gdbext.commands.record import Argument, Command, Option, Value

HEAP = Argument("HEAP", Value.HEAP, "a heap's name in the profile; all heaps without it", required=False)


FINDING_HELP = """
A finding names the rule, the first bad object (a physical address for a frame, else a virtual one), what was expected
there, what is there, evidence, and the likely cause. in-flux instead of error: the manager's lock was held at the stop.
"""

COMMANDS = (
    Command(
        "heapstat",
        "What is on the heaps, in figures?",
        "managers",
        arguments=(HEAP,),
        details="""
Counted over the chunks: number and payload bytes, used and free; the largest free chunk; bytes of headers; the share
of the free bytes outside the largest free chunk (fragmentation). Counters that the kernel keeps stand beside the same
numbers counted. A heap of slabs has a line for each cache that has any: bytes of an object, slabs by how many of
their objects are used, and objects.
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
                "by address (as they hang in the list) or by size, largest first",
                (Argument("KEY", Value.WORD, "", choices=("address", "size")),),
            ),
            Option(
                "-state",
                "only chunks in this state; unknown: their header is overwritten",
                (Argument("STATE", Value.WORD, "", choices=("used", "free", "unknown")),),
            ),
            Option(
                "-size",
                "only payloads of LEAST to MOST bytes",
                (Argument("LEAST", Value.EXPRESSION, "bytes"), Argument("MOST", Value.EXPRESSION, "bytes")),
            ),
            Option(
                "-range",
                "only chunks that touch these addresses, END excluded",
                (
                    Argument("START", Value.EXPRESSION, "virtual address"),
                    Argument("END", Value.EXPRESSION, "virtual address"),
                ),
            ),
            Option("-cache", "only objects of this cache", (Argument("NAME", Value.WORD, "its name, see heapstat"),)),
            Option(
                "-caller",
                "only chunks that this code asked for",
                (Argument("CODE", Value.EXPRESSION, "a function's name, a place such as load+0x1e, or an address"),),
            ),
            Option("-map", "draw it: what is used, what is free, and what lies between"),
            Option("-bins", "the chunks that the heap finds, as they are on its lists or in its tree"),
        ),
        details="""
header is where the chunk's header lies, payload what the kernel's code has a pointer to, size the payload's bytes; on
is the list of free chunks that it is on, where the profile names such lists or a tree; cache the one whose object it
is. asked for by is the code that took the chunk, where the kernel records that and the profile names it (caller): where
its call returns to. -map draws the heap's addresses, a character for a cell. overhead: headers, and what slabs have
beside objects; unknown: a header is overwritten, or no chunk can be told; not handed out: above the watermark;
nobody's: between chunks that lie scattered; not the heap's: between segments.
""",
    ),
    Command(
        "heapchunk",
        "Which chunk of a heap does an address belong to?",
        "managers",
        arguments=(Argument("ADDR", Value.EXPRESSION, "a virtual address: any in the chunk"),),
        details="""
The chunk, whether the address is in its header or its payload, both neighbours, and what stands there: the header, the
first bytes of the payload, and what is behind it where a heap keeps something there.
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
-leaks searches the kernel's variables, all processors' registers, stacks in use and what the profile names in
[pointers] for pointers, and from chunk to chunk. Any aligned word with the value of one counts, also one into the
middle: a leak may be missed, but what is reported has no pointer to it in all that was searched. Chunks are grouped by
size and by the code that asked for them, where the kernel records that.
""",
    ),
    Command(
        "memcheck",
        "Do the memory managers keep their rules?",
        "managers",
        checks=True,
        options=(
            Option("-only", "only this rule", (Argument("ID", Value.RULE, "a rule, such as PMM01"),)),
            Option("-skip", "all rules but this", (Argument("ID", Value.RULE, "a rule, such as PMM01"),)),
        ),
        details=FINDING_HELP,
    ),
)
