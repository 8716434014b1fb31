/* Knows machines that are made up: a memory map and a manager, on the host. */
#ifndef HOST_MACHINE_H
#define HOST_MACHINE_H

#include "boot/memory_map.h"

enum { MACHINE_ENTRIES = 8 };

struct machine {
    const char *name;
    struct boot_map_entry raw[MACHINE_ENTRIES];         /* as a firmware would say it: not in order, overlapping */
};

enum { MACHINES = 6, MANAGERS = 8 };
extern const struct machine machines[MACHINES];         /* the last is the largest */
extern const char *const manager_names[MANAGERS];

/* Boots it, as far as the physical manager. What was there before is gone. */
void machine_start(const struct machine *machine, const char *manager);

#endif
