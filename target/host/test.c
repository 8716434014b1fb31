/* Knows how to run the physical managers' self-tests on the host: each manager on each machine. */

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "arch/probe.h"
#include "machine.h"
#include "mm/pmm.h"
#include "scenario/random.h"
#include "selftest/selftest.h"

struct machine_test { const char *name; void (*run)(void); bool on_large_machines; };

static const struct machine_test tests[] = {
    { "pmm-wish", test_pmm_wish, true },
    { "pmm-refuses", test_pmm_refuses, true }, { "pmm-exhaust", test_pmm_exhaust, true },
    { "pmm-counts", test_pmm_counts, true },
    { "pmm-check", test_pmm_check, true },     { "pmm-random", test_pmm_random, false },
    { "pmm-runs", test_pmm_runs, false },
};

static const char *failure;

void selftest_failed(const char *why, const char *file, int line)
{
    static char text[400];
    if (!failure)
        snprintf(text, sizeof(text), "%s (%s:%d)", why, file, line);
    failure = text;
}

static void run(void *test)
{
    ((const struct machine_test *)test)->run();
    const char *broken = pmm_is_up() ? pmm_check() : NULL;
    if (broken)
        selftest_failed(broken, __FILE__, __LINE__);
}

static unsigned failed;

static void judge(const struct machine_test *test, const char *where, const char *manager)
{
    failure = NULL;
    if (probe_panics(run, (void *)test) && !failure)
        selftest_failed(probe_panic_text, "panic", 0);
    if (failure)
        printf("%s, %s, %s: FAILED: %s\n", where, manager, test->name, failure);
    failed += failure != NULL;
}

/* Where a stack takes minutes to search for runs. */
enum { FIRST_LARGE = 4 };

static unsigned run_on(const struct machine *machine, const char *manager)
{
    unsigned done = 0;
    machine_start(machine, manager);
    for (unsigned i = 0; i < sizeof(tests) / sizeof(*tests); i++)
        if (tests[i].on_large_machines || machine < &machines[FIRST_LARGE]) {
            judge(&tests[i], machine->name, manager);
            done++;
        }
    return done;
}

/* Arguments, if any, name the managers to test. */
static bool is_wanted(const char *manager, int count, char **names)
{
    for (int i = 1; i < count; i++)
        if (strcmp(names[i], manager) == 0)
            return true;
    return count == 1;
}

int main(int count, char **names)
{
    unsigned done = 0;
    random_seed(1);
    judge(&(struct machine_test) { "known-maps", test_known_maps, true }, "any machine", "none");
    judge(&(struct machine_test) { "random-map", test_random_map, true }, "any machine", "none");
    for (unsigned machine = 0; machine < MACHINES; machine++)
        for (unsigned manager = 0; manager < MANAGERS; manager++)
            if (is_wanted(manager_names[manager], count, names))
                done += run_on(&machines[machine], manager_names[manager]);
    printf("host-test: %s, %u tests on %d machines, %u failed\n", count == 2 ? names[1] : "managers", done, MACHINES, failed);
    return failed != 0;
}
