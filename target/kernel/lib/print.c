/* Knows where the kernel's words go. */

#include "lib/print.h"
#include "arch/serial.h"
#include "lib/format.h"

static void put_on_serial(void *context, char c)
{
    (void)context;
    serial_put(c);
}

void print(const char *pattern, ...)
{
    va_list arguments;
    va_start(arguments, pattern);
    format(put_on_serial, 0, pattern, arguments);
    va_end(arguments);
}
