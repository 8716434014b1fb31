/* All of the user space of the Linux guest: says that it runs, then waits for good. No library, no start-up code. */

static const char message[] = "init runs\n";

static long system_call(long number, long a, long b, long c)
{
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}

void _start(void)
{
    enum { WRITE = 1, PAUSE = 34 };
    system_call(WRITE, 1, (long)message, sizeof message - 1);
    for (;;)
        system_call(PAUSE, 0, 0, 0);
}
