/* Knows the names of the scenarios and how the command line chooses one. */

#include "scenario/scenario.h"

#include "boot/options.h"
#include "heap/heap_manager.h"
#include "lib/panic.h"
#include "lib/print.h"
#include "lib/string.h"
#include "mm/dma.h"
#include "mm/paging.h"
#include "mm/physmap.h"
#include "mm/pmm.h"
#include "mm/pool.h"
#include "mm/vm.h"
#include "scenario/ledger.h"
#include "scenario/random.h"
#include "scenario/scenarios.h"
#include "selftest/selftest.h"

struct scenario { const char *name; void (*run)(void); };

static const struct scenario scenarios[] = {
    { "workload", workload },           /* the first is the default */
    { "idle",     idle_scenario },
    { "fragment", fragment },
    { "exhaust",  exhaust },
    { "grow",     grow },
    { "churn",    churn },
    { "bench",    bench },
    { "heapbench", bench_heaps },
    { "heaps",    many_heaps },
    { "leaks",    leaks },
    { "fault",    fault },
    { "overflow", overflow },
    { "panic",    panic_scenario },
    { "selftest", selftest },
};

enum { SCENARIO_COUNT = sizeof(scenarios) / sizeof(*scenarios) };

/* --- the command line ------------------------------------------------------------------------------------------------ */

static const struct scenario *find_scenario(const char *name)
{
    for (unsigned i = 0; i < SCENARIO_COUNT; i++)
        if (strcmp(scenarios[i].name, name) == 0)
            return &scenarios[i];
    panic("there is no scenario \"%s\"", name);
}

struct wishes { const struct scenario *scenario; uint64_t seed; };

static const char *const known_keys[] = { "scenario", "seed", "pmm", "heap", "poison", "redzone", "callers", "map", "fault", NULL };

static struct wishes read_command_line(void)
{
    char name[OPTION_MAX];
    options_complain(known_keys);
    return (struct wishes) { option("scenario", name) ? find_scenario(name) : &scenarios[0], option_number("seed", 1) };
}

/* --- running --------------------------------------------------------------------------------------------------------- */

struct check { const char *manager; const char *(*run)(void); };

static const char *check_paging(void) { return paging_check(&kernel_space); }
static const char *check_vm(void) { return vm_check(&kernel_space); }

/* The frames first: all others rest on them. */
static const struct check checks[] = {
    { "pmm", pmm_check }, { "paging", check_paging }, { "vm", check_vm }, { "heap", heaps_check },
    { "dma", dma_check }, { "pool", pool_check }, { "physmap", physmap_check },
};

const char *first_broken_rule(const char **manager)
{
    for (unsigned i = 0; i < sizeof(checks) / sizeof(*checks); i++) {
        const char *broken = checks[i].run();
        *manager = checks[i].manager;
        if (broken)
            return broken;
    }
    return NULL;
}

void check_all_managers(void)
{
    const char *manager, *broken = first_broken_rule(&manager);
    if (broken)
        panic("%s is not intact: %s", manager, broken);
}

void scenario_run(void)
{
    struct wishes wishes = read_command_line();
    print("scenario: %s, seed %lu\n", wishes.scenario->name, wishes.seed);
    random_seed(wishes.seed);
    ledger_init();
    wishes.scenario->run();
    check_all_managers();
    print("scenario: done, %lu chunks and %lu frames held, all managers intact\n", ledger.chunk_count, ledger.frame_count);
}
