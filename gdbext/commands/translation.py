"""Commands about translation: one address, a whole address space, the processor, the source of memory."""

from gdbext.commands.record import Argument, Command, Option, Value
from gdbext.vmm.words import WORDS

ROOT = Option(
    "-root",
    "translate through this root instead of CR3's (a value of CR3, or the root table's physical address)",
    (Argument("R", Value.EXPRESSION, "an expression"),),
)

COMMANDS = (
    Command(
        "vmwalk",
        "How does an address translate, and who may do what there?",
        "translation",
        arguments=(Argument("ADDR", Value.EXPRESSION, "the virtual address: any gdb expression"),),
        options=(ROOT,),
        details="""
Each line is one level: the table's physical address, the index that the address chooses in it, where that entry
lies (physical), its value and its flags. Then the physical address, or the entry that ends the walk and why; the
page's size and memory type; what the supervisor and user mode may do there (r, w, x) with all levels and CR0.WP,
EFER.NXE, CR4.SMEP, SMAP and PKE taken together; and which entry takes a right away.
""",
    ),
    Command(
        "vmmap",
        "What is mapped, where, and with which rights?",
        "translation",
        options=(
            ROOT,
            Option(
                "-range",
                "only what meets the addresses from A up to B",
                (Argument("A", Value.EXPRESSION, ""), Argument("B", Value.EXPRESSION, "")),
            ),
            Option("-phys", "join only what is contiguous in physical addresses too (as -json does)"),
            Option("-raw", "one line per page, nothing joined"),
            Option(
                "-filter",
                "only mappings for which all words hold: " + " ".join(WORDS),
                (Argument("WORDS", Value.WORD, "in quotes if several; ! before a word turns it round"),),
            ),
            Option("-tree", "the tables as a tree instead, folded"),
        ),
        details="""
start and end (exclusive) are virtual. physical is the first page's frame, or the number of pieces when the frames do
not follow each other. page is the page size; super and user are what the supervisor and user mode may do, all levels
and control registers taken together; type is the memory type. what names a stretch: identity, direct map, kernel
with its ELF sections. Tables that repeat without end are folded: a line says which stretch they repeat. Entries with
reserved bits, and tables outside RAM, are listed below the map.
""",
    ),
    Command(
        "vmfind",
        "Which virtual addresses reach this physical address?",
        "translation",
        arguments=(Argument("PA", Value.EXPRESSION, "the physical address: any gdb expression"),),
        options=(
            Option("-size", "a range of N bytes", (Argument("N", Value.EXPRESSION, ""),)),
            Option("-root", "only in the space of this root", ROOT.values),
        ),
        details="""
Every known address space is searched: the selected processor's and those of the others. A line for each stretch, with
its rights; that the rights differ from one to the next is said. Folded stretches (see vmmap) are listed as repeats.
That a space uses the frame as a page table is said too.
""",
    ),
    Command(
        "vmfault",
        "Why did this access fault?",
        "translation",
        arguments=(
            Argument("ADDR", Value.EXPRESSION, "the faulting address; CR2 without it", False),
            Argument("ERRORCODE", Value.EXPRESSION, "the page fault's error code", False),
        ),
        details="""
Without arguments address and error code come from what the kernel itself keeps (the profile's [exception]), or from
CR2 and the stack when the guest stands at the first instruction of its page-fault handler; else CR2 is all there is.
The verdict is one sentence, with the entry to blame; the walk as the tables are now follows. "the tables allow this":
the processor used a stale TLB entry, or the tables changed since.
Expressions with blanks go into parentheses.
""",
    ),
    Command(
        "vmcheck",
        "Are the page tables sound?",
        "translation",
        checks=True,
        options=(ROOT,),
        details="""
Reserved bits, tables outside RAM or of two levels, user-reachable kernel pages, writable and executable pages, sections
with more rights than they ask for, gaps in the direct map, a boot identity map left behind, devices mapped cached.
A finding names the first virtual address (or the entry), and the leaf that maps it.
""",
    ),
    Command(
        "memcpu",
        "How does the processor translate, and which protections are on?",
        "translation",
        options=(Option("-tables", "decode GDT, IDT and TSS too"),),
        details="""
For each protection that is off, meaning says what its absence lets happen. "the processor lacks it" is said when QEMU
tells that the processor model does not offer the feature.
""",
    ),
    Command(
        "memsource",
        "Where is physical memory read from, and why not from something faster?",
        "translation",
        details="""
Sources are listed best first. shared: the file behind the guest's RAM, mapped into gdb. process: the memory of a QEMU
on this machine. remote: the debug stub's physical memory mode. direct map: the kernel's own mapping of physical
memory, for a stub that has no such mode. dump: a file, opened outside gdb. Every source refuses what is not RAM.
""",
    ),
)
