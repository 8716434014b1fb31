/* Knows the 32 exceptions: their names, what their error codes mean, and how to report one so that a person can read it. */

#include "arch/trap.h"
#include "arch/cpu.h"
#include "arch/probe.h"
#include "arch/segments.h"
#include "arch/x86.h"
#include "layout.h"
#include "lib/panic.h"
#include "lib/print.h"
#include "mm/paging.h"
#include "mm/vm.h"

/* SDM volume 3, 6.14.1. */
struct gate {
    uint16_t offset_low, selector;
    uint8_t ist, type;
    uint16_t offset_middle;
    uint32_t offset_high, reserved;
};

struct gate idt[VECTOR_COUNT];

struct trap_frame *reported_trap;

extern const uint64_t vector_stubs[VECTOR_COUNT];

static const char *const vector_names[VECTOR_COUNT] = {
    "divide error", "debug", "NMI", "breakpoint", "overflow", "bound range exceeded", "invalid opcode",
    "no coprocessor", "double fault", "coprocessor segment overrun", "invalid TSS", "segment not present",
    "stack-segment fault", "general protection fault", "page fault", "reserved (15)", "x87 error", "alignment check",
    "machine check", "SIMD error", "virtualization exception", "control protection exception", "reserved (22)",
    "reserved (23)", "reserved (24)", "reserved (25)", "reserved (26)", "reserved (27)", "hypervisor injection exception",
    "VMM communication exception", "security exception", "reserved (31)",
};

static struct gate gate_to(uint64_t handler)
{
    return (struct gate) {
        .offset_low = (uint16_t)handler, .offset_middle = (uint16_t)(handler >> 16), .offset_high = (uint32_t)(handler >> 32),
        .selector = SELECTOR_CODE, .ist = IST_NONE, .type = GATE_INTERRUPT,
    };
}

void traps_init(void)
{
    for (unsigned vector = 0; vector < VECTOR_COUNT; vector++)
        idt[vector] = gate_to(vector_stubs[vector]);
    struct descriptor_pointer pointer = { sizeof(idt) - 1, (uint64_t)idt };
    __asm__ volatile("lidt %0" : : "m"(pointer));
}

static void use_own_stack(unsigned vector, unsigned ist, const char *name)
{
    segments_set_interrupt_stack(ist, vm_stack(&kernel_space, 2 * PAGE_SIZE, name));
    idt[vector].ist = (uint8_t)ist;
}

void trap_stacks_init(void)
{
    use_own_stack(VECTOR_DOUBLE_FAULT, IST_DOUBLE_FAULT, "stack-double-fault");
    use_own_stack(VECTOR_NMI, IST_NMI, "stack-nmi");
    use_own_stack(VECTOR_MACHINE_CHECK, IST_MACHINE_CHECK, "stack-machine-check");
}

static void print_page_fault(const struct trap_frame *frame)
{
    print("  a %s of 0x%lx by %s: %s\n",
          frame->error & FAULT_FETCH ? "fetch" : frame->error & FAULT_WRITE ? "write" : "read", read_cr2(),
          frame->error & FAULT_USER ? "a program" : "the kernel",
          frame->error & FAULT_RESERVED ? "a reserved bit is set in an entry"
          : frame->error & FAULT_PRESENT ? "mapped, but without that right" : "not mapped");
}

/* Selector error codes: SDM volume 3, 6.13. */
static void print_error_code(const struct trap_frame *frame)
{
    print("  error code 0x%lx", frame->error);
    if (frame->vector >= 10 && frame->vector <= 13 && frame->error)
        print(": %s index %lu%s", frame->error & 2 ? "IDT" : frame->error & 4 ? "LDT" : "GDT", frame->error >> 3 & 0x1fff,
              frame->error & 1 ? ", external" : "");
    print("\n");
}

static void print_registers(const struct trap_frame *frame)
{
    print("  rip 0x%016lx  rsp 0x%016lx  rbp 0x%016lx  rflags 0x%lx\n", frame->rip, frame->rsp, frame->rbp, frame->rflags);
    print("  rax 0x%016lx  rbx 0x%016lx  rcx 0x%016lx  rdx 0x%016lx\n", frame->rax, frame->rbx, frame->rcx, frame->rdx);
    print("  rsi 0x%016lx  rdi 0x%016lx  r8  0x%016lx  r9  0x%016lx\n", frame->rsi, frame->rdi, frame->r8, frame->r9);
    print("  r10 0x%016lx  r11 0x%016lx  r12 0x%016lx  r13 0x%016lx\n", frame->r10, frame->r11, frame->r12, frame->r13);
    print("  r14 0x%016lx  r15 0x%016lx  cs 0x%lx  ss 0x%lx\n", frame->r14, frame->r15, frame->cs, frame->ss);
    print("  cr0 0x%lx  cr2 0x%lx  cr3 0x%lx  cr4 0x%lx\n", read_cr0(), read_cr2(), read_cr3(), read_cr4());
}

static bool is_readable_frame(uint64_t rbp)
{
    return rbp >= DIRECT_MAP && is_aligned(rbp, 8) && page_is_mapped_now(rbp) && page_is_mapped_now(rbp + 8);
}

void print_backtrace(uint64_t rbp)
{
    enum { MOST = 16 };         /* a chain that loops ends too */
    for (unsigned depth = 0; depth < MOST && is_readable_frame(rbp); depth++) {
        const uint64_t *frame = (const uint64_t *)rbp;
        print("  called from 0x%lx\n", frame[1]);
        rbp = frame[0];
    }
}

void trap(struct trap_frame *frame)
{
    if (probe_recover(frame))
        return;

    reported_trap = frame;
    print("\nfault: %s (vector %lu)\n", vector_names[frame->vector], frame->vector);
    if (frame->vector == VECTOR_PAGE_FAULT)
        print_page_fault(frame);
    if (frame->vector == VECTOR_DOUBLE_FAULT)
        print("  an exception while delivering an exception; the first was likely a page fault at 0x%lx\n", read_cr2());
    print_error_code(frame);
    print_registers(frame);
    print_backtrace(frame->rbp);
    panic("%s at rip 0x%lx", vector_names[frame->vector], frame->rip);
}
