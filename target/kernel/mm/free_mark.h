/* Knows the word by which a manager that keeps its links in the free frames recognises one of them.
 *
 * A frame that is free carries its mark; the mark is wiped when the frame is handed out. So a frame without its mark is
 * used, at the price of one look. A frame with it may still be used: its owner may have written anything. Then the list is
 * walked, which costs time only where somebody frees twice. The idea of a key that makes the common case cheap and leaves
 * the proof to a walk is that of glibc's thread cache (malloc.c, tcache_entry.key).
 *
 * The low half spells FREE in a dump, the high half is the frame's number, so a mark that was copied is none. Bit 0 is
 * clear: read as a page-table entry, a mark maps nothing. */
#ifndef MM_FREE_MARK_H
#define MM_FREE_MARK_H

#include <stdint.h>

#define FREE_MARK_WORD 0x45455246

static inline uint64_t free_mark(uint64_t frame) { return frame << 32 | FREE_MARK_WORD; }

#endif
