/* Knows what managers need of the rest of the kernel: a command line, text, panics and faults that a test can catch. */

#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "arch/probe.h"
#include "boot/boot_info.h"
#include "lib/panic.h"
#include "lib/print.h"
#include "lib/string.h"

struct boot_info boot_info = { .protocol = "host" };

void print(const char *pattern, ...) { (void)pattern; }

char probe_panic_text[160];

static jmp_buf *innermost;

void panic(const char *pattern, ...)
{
    va_list arguments;
    va_start(arguments, pattern);
    vsnprintf(probe_panic_text, sizeof(probe_panic_text), pattern, arguments);
    va_end(arguments);
    if (innermost)
        longjmp(*innermost, 1);
    fprintf(stderr, "panic: %s\n", probe_panic_text);
    abort();
}

bool probe_panics(void (*function)(void *), void *argument)
{
    jmp_buf here, *outer = innermost;
    innermost = &here;
    bool panicked = setjmp(here);
    if (!panicked)
        function(argument);
    innermost = outer;
    return panicked;
}

bool probe_read(uint64_t address)
{
    char byte;
    struct iovec here = { &byte, 1 }, there = { (void *)address, 1 };
    return process_vm_readv(getpid(), &here, 1, &there, 1, 0) == 1;
}

bool starts_with(const char *s, const char *prefix) { return strncmp(s, prefix, strlen(prefix)) == 0; }

bool is_filled(const void *memory, unsigned char byte, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (((const unsigned char *)memory)[i] != byte)
            return false;
    return true;
}
