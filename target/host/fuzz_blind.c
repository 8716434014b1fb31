/* Knows what to do without libFuzzer: inputs of random bytes, until the time given is over. It does not look at coverage. */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int main(int count, char **arguments)
{
    static uint8_t bytes[400];
    time_t end = time(NULL) + (count > 1 ? atoi(arguments[1]) : 10);
    uint64_t inputs = 0;
    srand(1);
    for (; time(NULL) < end; inputs++) {
        size_t size = 2 + (size_t)rand() % (sizeof(bytes) - 2);
        for (size_t i = 0; i < size; i++)
            bytes[i] = (uint8_t)rand();
        LLVMFuzzerTestOneInput(bytes, size);
    }
    printf("fuzz: %lu inputs, no wrong answer\n", inputs);
    return 0;
}
