/* Knows the virtual addresses of an address space: who has which range, and which of its pages have frames.
 *
 * A range is reserved first (addresses, no memory), then committed page by page (frames, mapped). Between two ranges at
 * least one page is never mapped, so running off the end of one faults instead of reaching the next. */
#ifndef MM_VM_H
#define MM_VM_H

#include <stdbool.h>
#include <stdint.h>

#include "mm/space.h"

enum vm_kind { VM_DATA, VM_HEAP, VM_STACK, VM_DMA };

void vm_init(struct address_space *space);

/* The base of a range of `size` bytes, rounded up to pages; 0 when there is no room. `name` must stay valid. */
uint64_t vm_reserve(struct address_space *space, uint64_t size, enum vm_kind kind, const char *name);

/* Gives every page of [base, base + size) a frame, mapped with `rights`. All or nothing: false when frames run out. The
 * range must be whole pages inside one region, none of them committed. */
bool vm_commit(struct address_space *space, uint64_t base, uint64_t size, unsigned rights);

/* The same with these very frames, which the caller has taken. On false they are still the caller's. */
bool vm_commit_frames(struct address_space *space, uint64_t base, uint64_t first, uint64_t count, unsigned rights);

/* Calls `visit` for every committed page whose frame may be another: those of data and heap. */
void vm_each_movable(struct address_space *space, void (*visit)(void *context, uint64_t page, uint64_t frame), void *context);

/* The page of that kind that shows `frame`, or 0. */
uint64_t vm_page_with_frame(struct address_space *space, uint64_t frame);

/* Copies the page's contents from its frame `from` to the frame `to`, which the caller has taken, and lets the page show that.
 * `from` is the caller's then. False, and nothing has happened, if the page shows another frame by now, or none. */
bool vm_move_page(struct address_space *space, uint64_t page, uint64_t from, uint64_t to);

/* Takes the frames of [base, base + size) back. All its pages must be committed. */
void vm_decommit(struct address_space *space, uint64_t base, uint64_t size);

/* Gives back the range that starts at `base`, and its frames. */
void vm_release(struct address_space *space, uint64_t base);

/* A committed stack; returns its top. The gap below it is its guard. Panics when there is no memory. */
uint64_t vm_stack(struct address_space *space, uint64_t size, const char *name);

const char *vm_kind_name(uint32_t kind);

/* The first rule found broken, or NULL. */
const char *vm_check(struct address_space *space);

#endif
