"""The examples of docs/profile.md about heaps, read from what the compiler laid out; sizes and states by hand."""

import re

import pytest

from gdbext.heap.snapshot import HeapSnapshot

from .test_profile_guide import IN_RAM, PAGE, compiled, examples, loaded, session_over

DEFINED = f"#define ARENA arena {IN_RAM}\n"
"""The arena lies at 0x200000."""

CONTENTS = {
    "A list of all chunks": (
        "struct { struct chunk one; char a[32]; struct chunk two; char b[64]; struct chunk three; char c[16]; } ARENA ="
        "{ { 32, 0, &arena.two, 0 }, {0}, { 64, 1, &arena.three, &arena.one }, {0}, { 16, 0, 0, &arena.two }, {0} };"
        "struct chunk *heap_head = &arena.one, *heap_tail = &arena.three;"
        "uint8_t *heap_start = (uint8_t *)&arena, *heap_end = (uint8_t *)(&arena + 1); size_t heap_used = 48;",
        [(32, False), (64, True), (16, False)],
    ),
    "A ring with encoded links": (
        "struct { struct block one; char a[32]; struct block two; char b[48]; } ARENA ="
        "{ { 0x200030 ^ 0x5555, 2, 1 }, {0}, { 0x200000 ^ 0x5555, 3, 0 }, {0} };"
        "uint64_t ring_key = 0x5555; struct block *ring = &arena.two;",
        [(32, False), (48, True)],
    ),
    "Boundary tags and bins": (
        "struct { uint64_t empty, one; char a[32]; uint64_t one_end, two; struct free_chunk b; uint64_t two_end, three;"
        " char c[16]; uint64_t three_end; } ARENA = { 0, 33, {0}, 33, 16, { 0, 0 }, 16, 17, {0}, 17 };"
        "uint64_t *heap_start = &arena.one, *heap_end = (uint64_t *)(&arena + 1);"
        "struct bin bins[8] = { { &arena.b } };",
        [(32, False), (16, True), (16, False)],
    ),
    "Headers and a tree": (
        "struct { struct piece one; char a[16 + 16]; struct piece two; struct node b; } ARENA ="
        "{ { 0x1eaf ^ 0x200000, 48, 0 }, {0}, { 0x1eaf ^ 0x200030, 48, 1 }, { 0, 0, 0, 1 } };"
        "struct piece *pieces = &arena.one, *pieces_end = (struct piece *)(&arena + 1);"
        "struct node *by_size = &arena.b;",
        [(32, False), (32, True)],
    ),
    "A circular list of free chunks": (
        "extern struct header base;"
        "struct { struct header one; char a[32]; struct header two; char b[48]; struct header three; char c[16]; }"
        " ARENA ="
        "{ { &base, 3 }, {0}, { (void *) 0x1234, 4 }, {0}, { &arena.one, 2 }, {0} };"
        "struct header base = { &arena.one, 0 }, *last_found = &base, *segment_start = &arena.one,"
        " *segment_end = (struct header *)(&arena + 1);",
        [(32, True), (48, False), (16, False)],
    ),
    "Slabs": (
        "extern struct cache things; struct thing { uint64_t link; char rest[24]; };"
        "struct { struct slab slab; struct thing object[4]; } ARENA ="
        "{ { &things, 0, &arena.object[1].link, 2 }, { { 7 }, { 0x200080 }, { 9 }, { 0 } } };"
        'struct cache things = { "things", 32, 4, &arena.slab, 0 }; struct cache *caches = &things;',
        [(32, False), (32, True), (32, False), (32, True)],
    ),
    "A tree of buddies": (
        "struct { char blocks[4][16]; } ARENA = { { { 1 } } };"
        "uint8_t all_nodes[8] = { 0, 1, 0, 1, 1, 1, 0, 1 }, *buddy_nodes = all_nodes; uint64_t buddy_height = 2;"
        "char *buddy_start = arena.blocks[0], *buddy_end = (char *)(&arena + 1);",
        [(32, False), (16, False), (16, True)],
    ),
    "Pages for each chunk": (
        "struct { char pages[5][4096]; } ARENA = { { { 1 } } };"
        "struct page_record all_records[5] = { { 2, 5000 }, { 0, 0 }, { 0, 0 }, { 1, 4096 }, { 1, 1 } };"
        "struct page_record *page_records = all_records; uint64_t page_count = 5; char *pages_start = arena.pages[0];",
        [(5000, False), (4096, False), (1, False)],
    ),
    "A watermark": (
        "char *early_start = (char *)0x300000, *early_next = (char *)0x300100, *early_end = (char *)0x301000;",
        [],
    ),
}


def test_every_example_is_here():
    assert list(examples("Your heap")) == list(CONTENTS)
    listed = re.findall(r"\]\(#([a-z-]+)\)", PAGE.read_text())
    assert set(listed) >= {heading.lower().replace(" ", "-") for heading in CONTENTS}


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("heading", CONTENTS)
def test_an_example_reads_what_the_compiler_laid_out(tmp_path, compiler, heading):
    declared, described = examples("Your heap")[heading]
    contents, expected = CONTENTS[heading]
    elf = compiled(tmp_path, compiler, f"{DEFINED}{declared}\n{contents}\n")
    session = session_over(loaded(elf), elf, described)
    assert session.problems == ()
    (heap,) = session.heaps.all
    assert isinstance(heap, HeapSnapshot), heap
    assert list(zip(heap.chunks.size.tolist(), heap.chunks.free.tolist(), strict=True)) == expected
    report = session.heaps.check()
    assert report.findings == ()
    assert report.checked
