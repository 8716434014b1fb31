/* Knows the firmware's ACPI tables: where they are, a copy of each, and when the memory they lay in is ours. */
#ifndef BOOT_ACPI_H
#define BOOT_ACPI_H

#include <stdint.h>

enum acpi_state {
    ACPI_UNTOUCHED,             /* nobody has looked */
    ACPI_SAVED,                 /* every table is copied */
    ACPI_RECLAIMED,             /* and the memory that the map calls ACPI is the physical manager's */
};

struct acpi_table {
    char signature[5];          /* with a final 0 */
    uint64_t physical, length;  /* where the firmware has it */
    const void *copy;
};

enum { ACPI_TABLES_MAX = 64 };

struct acpi {
    uint32_t state;             /* enum acpi_state */
    uint64_t root;              /* physical address of the root pointer, 0 if there is none */
    struct acpi_table tables[ACPI_TABLES_MAX];
    uint64_t count;
};
extern struct acpi acpi;

/* Copies the tables. While the boot tables are on: the firmware has them anywhere below 4 GiB. */
void acpi_save(void);

/* Gives the memory that the map calls ACPI to the physical manager. A panic if the tables are not saved. */
void acpi_reclaim(void);

#endif
