/* Knows where a probe that failed goes on: the stack and instruction saved by probe_enter (probe_enter.S). */

#include "arch/probe.h"
#include "arch/trap.h"
#include "arch/x86.h"
#include "lib/format.h"

/* The callee-saved registers, in the order of probe_enter.S. */
struct probe_context { uint64_t rbx, rbp, r12, r13, r14, r15, rsp, rip; };

/* 0 the first time; then probe_leave makes it return once more, with 1. */
int probe_enter(struct probe_context *context) __attribute__((returns_twice));
void probe_leave(const struct probe_context *context) __attribute__((noreturn));

enum awaited { A_FAULT, A_PANIC };

/* Probes nest: a self-test as a whole is one that waits for a panic. */
struct probe { struct probe_context context; enum awaited awaited; struct probe *outer; };

char probe_panic_text[160];

static struct probe *innermost;

bool probe_recover(struct trap_frame *frame)
{
    if (!innermost || innermost->awaited != A_FAULT || frame->vector != VECTOR_PAGE_FAULT)
        return false;
    frame->rip = (uint64_t)probe_leave;
    frame->rdi = (uint64_t)&innermost->context;
    return true;
}

void probe_caught_panic(const char *text)
{
    for (struct probe *probe = innermost; probe; probe = probe->outer)
        if (probe->awaited == A_PANIC) {
            format_text(probe_panic_text, sizeof(probe_panic_text), "%s", text);
            probe_leave(&probe->context);
        }
}

static void read_byte(uint64_t address) { (void)*(volatile uint8_t *)address; }
static void write_byte(uint64_t address) { *(volatile uint8_t *)address = *(volatile uint8_t *)address; }
static void execute(uint64_t address) { ((void (*)(void))address)(); }

static bool survives(void (*access)(uint64_t), uint64_t address)
{
    struct probe probe = { .awaited = A_FAULT, .outer = innermost };
    innermost = &probe;
    bool failed = probe_enter(&probe.context);
    if (!failed)
        access(address);
    innermost = probe.outer;
    return !failed;
}

bool probe_read(uint64_t address) { return survives(read_byte, address); }
bool probe_write(uint64_t address) { return survives(write_byte, address); }
bool probe_execute(uint64_t address) { return survives(execute, address); }

bool probe_panics(void (*function)(void *), void *argument)
{
    struct probe probe = { .awaited = A_PANIC, .outer = innermost };
    innermost = &probe;
    bool panicked = probe_enter(&probe.context);
    if (!panicked)
        function(argument);
    innermost = probe.outer;
    return panicked;
}
