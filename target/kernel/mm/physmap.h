/* Knows what lies at every physical address: RAM and who has it, firmware, devices, nothing. */
#ifndef MM_PHYSMAP_H
#define MM_PHYSMAP_H

#include <stdint.h>

enum physmap_kind {
    PHYSMAP_NOTHING,            /* as far as anybody has told us */
    PHYSMAP_RAM,                /* the physical manager's: free or handed out */
    PHYSMAP_LOW_MEMORY,
    PHYSMAP_IMAGE,
    PHYSMAP_MODULE,
    PHYSMAP_BOOT_INFO,
    PHYSMAP_METADATA,           /* of the physical manager, page records and the like */
    PHYSMAP_FIRMWARE,
    PHYSMAP_ACPI,               /* ACPI tables in RAM, not reclaimed yet */
    PHYSMAP_NVS,
    PHYSMAP_BAD,
    PHYSMAP_DEVICE,             /* registers or memory of a device */
    PHYSMAP_KINDS,
};

struct physmap_range { uint64_t base, length; uint32_t kind; const char *name; };

enum { PHYSMAP_MAX = 256 };

extern struct physmap_range physmap[PHYSMAP_MAX];       /* by address, disjoint; what is nothing is absent */
extern uint64_t physmap_count;

/* From the boot map, the reserved ranges and what every PC has. After pmm_init: nothing is reserved any more then. */
void physmap_init(void);

/* [base, base + length) becomes `kind`, whatever it was. `name` must stay valid. */
void physmap_set(uint64_t base, uint64_t length, enum physmap_kind kind, const char *name);

/* What is at the address. A range of nothing where there is nothing. */
struct physmap_range physmap_at(uint64_t address);

const char *physmap_kind_name(uint32_t kind);
const char *physmap_check(void);

#endif
