"""Commands about translation: one address, a whole address space, the processor, the source of memory."""

from gdbext.commands.record import Argument, Command, Option, Value
from gdbext.vmm.words import WORDS

ROOT = Option(
    "-root",
    "use this root table instead of CR3's (a CR3 value, or the table's physical address)",
    (Argument("R", Value.EXPRESSION, "an expression"),),
)

COMMANDS = (
    Command(
        "vmwalk",
        "How does an address translate, and who may access it?",
        "translation",
        arguments=(Argument("ADDR", Value.EXPRESSION, "the virtual address: any gdb expression"),),
        options=(ROOT,),
        details="""
Each line is one level: the table's physical address, the index that the address selects in it, the physical address of
that entry, its value and its flags. Then come the physical address, or the entry that ends the walk and why; the page
size and memory type; the effective rights (r, w, x) of supervisor and user mode, which combine all levels with CR0.WP,
EFER.NXE, CR4.SMEP, CR4.SMAP and CR4.PKE; and the entry that removes each missing right.
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
                "only mappings that overlap the addresses from A up to (not including) B",
                (Argument("A", Value.EXPRESSION, ""), Argument("B", Value.EXPRESSION, "")),
            ),
            Option("-phys", "merge neighbours only if their physical addresses are contiguous too (as -json does)"),
            Option("-raw", "one line per page, nothing merged"),
            Option(
                "-filter",
                "only mappings that match all words: " + " ".join(WORDS),
                (Argument("WORDS", Value.WORD, "quote several; ! before a word negates it"),),
            ),
            Option("-tree", "show the tables as a tree, repeated subtrees folded"),
        ),
        details="""
start and end (exclusive) are virtual addresses. physical is the first page's frame, or the number of pieces if the
frames are not contiguous. page is the page size; super and user are the effective rights of supervisor and user mode,
from all levels and the control registers; type is the memory type. what identifies a range: identity map, direct map,
or the kernel's ELF sections. Tables that repeat endlessly are folded into a line that names the range they repeat.
Entries with reserved bits set, and tables outside RAM, are listed below the map.
""",
    ),
    Command(
        "vmfind",
        "Which virtual addresses reach this physical address?",
        "translation",
        arguments=(Argument("PA", Value.EXPRESSION, "the physical address: any gdb expression"),),
        options=(
            Option("-size", "a range of N bytes", (Argument("N", Value.EXPRESSION, ""),)),
            Option("-root", "search only the address space of this root", ROOT.values),
        ),
        details="""
Searches every known address space: that of the selected processor and those of the others. Each range of virtual
addresses is one line with its rights; a note says if they differ in rights or memory type. Folded ranges (see vmmap)
are listed as repeats. If an address space uses the frame as a page table, that is listed too.
""",
    ),
    Command(
        "vmfault",
        "Why did this access fault?",
        "translation",
        arguments=(
            Argument("ADDR", Value.EXPRESSION, "the faulting address (default: CR2)", False),
            Argument("ERRORCODE", Value.EXPRESSION, "the page fault's error code", False),
        ),
        details="""
Without arguments, the address and error code come from where the kernel stores them (the profile's [exception]). If
the guest is stopped at the first instruction of its page-fault handler, they come from CR2 and the stack; otherwise
only CR2 is known. The verdict is one sentence that names the entry responsible; the walk through the present tables
follows. "the tables allow this" means that the processor used a stale TLB entry, or that the tables have changed
since. Put an expression that contains blanks in parentheses.
""",
    ),
    Command(
        "vmcheck",
        "Are the page tables sound?",
        "translation",
        checks=True,
        options=(ROOT,),
        details="""
Checks for reserved bits, tables outside RAM or used at two levels, kernel pages that user mode can reach, pages that
are writable and executable, ELF sections mapped with more rights than they ask for, gaps in the direct map, a boot
identity map that is still there, and devices mapped cached. A finding names the first virtual address (or the entry)
and the leaf that maps it.
""",
    ),
    Command(
        "memcpu",
        "How does the processor translate, and which protections are on?",
        "translation",
        options=(Option("-tables", "decode GDT, IDT and TSS too"),),
        details="""
For each protection that is off, meaning says what can happen without it. "the processor lacks it" means that QEMU
reports a processor model without the feature.
""",
    ),
    Command(
        "memsource",
        "How is physical memory read, and why not in a faster way?",
        "translation",
        details="""
Sources are listed fastest first. shared: the file that backs the guest's RAM, mapped into gdb. process: the memory of
a QEMU process on this machine. remote: the debug stub's physical memory mode. direct map: the kernel's own mapping of
physical memory, for a stub without that mode. dump: a file, opened outside gdb. No source reads addresses that are
not RAM.
""",
    ),
)
