/* Knows the page tables of an address space: what is mapped where, with which rights.
 *
 * Rights are for the kernel; nothing is reachable by programs. Reading is always allowed. */
#ifndef MM_PAGING_H
#define MM_PAGING_H

#include <stdbool.h>
#include <stdint.h>

#include "mm/space.h"

enum page_rights { RIGHTS_R = 0, RIGHTS_W = 1, RIGHTS_X = 2, RIGHTS_RW = RIGHTS_R | RIGHTS_W, RIGHTS_RX = RIGHTS_R | RIGHTS_X };

struct translation {
    bool mapped;
    uint64_t physical;          /* of the very address asked for */
    uint64_t page_size;
    unsigned rights;
};

/* One line of the table of what the image needs: [start, end) with these rights. */
struct image_section { const char *name; const char *start, *end; unsigned rights; };

enum { IMAGE_SECTIONS = 5 };
extern const struct image_section image_sections[IMAGE_SECTIONS];

/* Builds the kernel's tables and loads them: image, direct map, nothing else. The identity map is gone afterwards. */
void paging_init(struct address_space *space);

/* Maps one 4-KiB page. False when no frame is left for a table. Mapping what is mapped already is a panic. */
bool page_map(struct address_space *space, uint64_t address, uint64_t physical, unsigned rights);

/* Unmaps one 4-KiB page, from the TLB too. Returns the physical address that it had. Unmapping what is not mapped is a
 * panic. Tables that become empty stay: kernel tables are to be shared by all address spaces, so none may vanish. */
uint64_t page_unmap(struct address_space *space, uint64_t address);

/* Lets a mapped 4-KiB page show another frame, with the same rights. Returns the physical address that it had. */
uint64_t page_remap(struct address_space *space, uint64_t address, uint64_t physical);

struct translation page_translate(struct address_space *space, uint64_t address);

/* The table, by physical address, that holds the 4-KiB entry for `address`; 0 when there is none. */
uint64_t page_table_of(struct address_space *space, uint64_t address);

/* For fault reports: whether the tables that are loaded, whichever they are, map `address`. Takes no lock, for the fault may
 * have come while it was held. */
bool page_is_mapped_now(uint64_t address);

/* "r-x" and the like. */
const char *rights_name(unsigned rights);

/* The first rule found broken, or NULL. */
const char *paging_check(struct address_space *space);

/* --- the same for mm/vm.c, which holds space->lock ------------------------------------------------------------------- */

/* Nothing may be mapped there. */
bool page_map_locked(struct address_space *space, uint64_t address, uint64_t physical, unsigned rights);

/* The physical address that the page had; 0, and nothing is changed, when no 4-KiB page is mapped there. */
uint64_t page_unmap_locked(struct address_space *space, uint64_t address);
uint64_t page_remap_locked(struct address_space *space, uint64_t address, uint64_t physical);

struct translation page_translate_locked(const struct address_space *space, uint64_t address);

#endif
