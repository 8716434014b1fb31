/* Knows which protections must be on, and what a panic must do. */

#include "arch/cpu.h"
#include "arch/probe.h"
#include "arch/x86.h"
#include "lib/panic.h"
#include "lib/string.h"
#include "selftest/selftest.h"

void test_cpu(void)
{
    uint64_t cr4 = read_cr4();
    EXPECT(read_cr0() & CR0_WP);
    EXPECT(cpu_features.nx == ((read_msr(MSR_EFER) & EFER_NXE) != 0));
    EXPECT(cpu_features.smep == ((cr4 & CR4_SMEP) != 0));
    EXPECT(cpu_features.smap == ((cr4 & CR4_SMAP) != 0));
    EXPECT(cpu_features.umip == ((cr4 & CR4_UMIP) != 0));
}

static void panic_with(void *text) { panic("%s", (const char *)text); }

void test_panic(void)
{
    EXPECT(probe_panics(panic_with, "a reason") && strcmp(probe_panic_text, "a reason") == 0);
}
