/* Knows how to ask the processor what it can do, and switches its protections on. */

#include "arch/cpu.h"
#include "arch/x86.h"
#include "lib/print.h"

struct cpu_features cpu_features;

struct cpuid { uint32_t eax, ebx, ecx, edx; };

static struct cpuid cpuid(uint32_t leaf)
{
    struct cpuid answer;
    __asm__ volatile("cpuid" : "=a"(answer.eax), "=b"(answer.ebx), "=c"(answer.ecx), "=d"(answer.edx) : "a"(leaf), "c"(0));
    return answer;
}

static struct cpu_features read_features(void)
{
    struct cpuid basic = cpuid(1);
    struct cpuid extended = cpuid(0x80000001);
    struct cpuid structured = { 0 };
    if (cpuid(0).eax >= 7)
        structured = cpuid(7);

    return (struct cpu_features) {
        .nx = extended.edx & CPUID_80000001_EDX_NX,
        .smep = structured.ebx & CPUID_7_EBX_SMEP,
        .smap = structured.ebx & CPUID_7_EBX_SMAP,
        .umip = structured.ecx & CPUID_7_ECX_UMIP,
        .global_pages = basic.edx & CPUID_1_EDX_PGE,
        .gigabyte_pages = extended.edx & CPUID_80000001_EDX_1GIB,
    };
}

static void print_features(void)
{
    print("cpu: protections wp%s%s%s%s%s, %s\n",
          cpu_features.nx ? " nx" : "", cpu_features.smep ? " smep" : "", cpu_features.smap ? " smap" : "",
          cpu_features.umip ? " umip" : "", cpu_features.global_pages ? ", global pages" : "",
          cpu_features.gigabyte_pages ? "1-GiB pages" : "no 1-GiB pages");
}

void cpu_init(void)
{
    cpu_features = read_features();

    uint64_t cr4 = read_cr4();
    if (cpu_features.smep)
        cr4 |= CR4_SMEP;
    if (cpu_features.smap)
        cr4 |= CR4_SMAP;
    if (cpu_features.umip)
        cr4 |= CR4_UMIP;
    if (cpu_features.global_pages)
        cr4 |= CR4_PGE;
    write_cr4(cr4);

    if (cpu_features.nx)
        write_msr(MSR_EFER, read_msr(MSR_EFER) | EFER_NXE);
    write_cr0(read_cr0() | CR0_WP | CR0_NE);
    print_features();
}
