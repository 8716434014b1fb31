/* Knows what the string and text functions must do. */

#include "lib/format.h"
#include "lib/string.h"
#include "selftest/selftest.h"

#include <stdint.h>

static char text[64];

#define SAYS(expected, ...) (format_text(text, sizeof(text), __VA_ARGS__) == strlen(expected) && strcmp(text, expected) == 0)

void test_text(void)
{
    EXPECT(SAYS("plain", "plain"));
    EXPECT(SAYS("100%", "%d%%", 100));
    EXPECT(SAYS("-5 0 7", "%d %d %u", -5, 0, 7u));
    EXPECT(SAYS("-9223372036854775808", "%ld", INT64_MIN));
    EXPECT(SAYS("18446744073709551615", "%lu", UINT64_MAX));
    EXPECT(SAYS("ffffffff80000000", "%lx", 0xffffffff80000000));
    EXPECT(SAYS("deadbeef", "%x", 0xdeadbeef));
    EXPECT(SAYS("0xffff800000001000", "%p", (void *)0xffff800000001000));
    EXPECT(SAYS("[  42] [42  ] [0042] [-042]", "[%4d] [%-4d] [%04d] [%04d]", 42, 42, 42, -42));
    EXPECT(SAYS("[ab] [  ab] [ab  ] [a]", "[%s] [%4s] [%-4s] [%.1s]", "ab", "ab", "ab", "ab"));
    EXPECT(SAYS("x", "%c", 'x'));

    char tiny[6] = { [4] = '#' };
    EXPECT(format_text(tiny, 4, "%d", 123456) == 6);
    EXPECT(strcmp(tiny, "123") == 0 && tiny[4] == '#');
}

void test_bytes(void)
{
    char a[32], b[32];
    for (int i = 0; i < 32; i++)
        a[i] = (char)i;
    EXPECT(memcpy(b, a, 29) == b && memcmp(a, b, 29) == 0);
    b[28] = 1;
    EXPECT(memcmp(a, b, 29) > 0 && memcmp(b, a, 29) < 0 && memcmp(a, b, 28) == 0);

    memmove(a + 3, a, 20);              /* forwards over itself */
    EXPECT(a[3] == 0 && a[22] == 19 && a[23] == 23 && a[2] == 2);
    memmove(a, a + 3, 20);              /* and back */
    EXPECT(a[0] == 0 && a[19] == 19);

    memset(b, 0x7e, sizeof(b));
    memset(b + 1, -1, 13);
    EXPECT(b[0] == 0x7e && b[14] == 0x7e && is_filled(b + 1, 0xff, 13));
    EXPECT(!is_filled(b, 0xff, 13) && !is_filled(b + 1, 0xff, 14) && is_filled(b, 0, 0));

    EXPECT(strlen("") == 0 && strlen("four") == 4);
    EXPECT(strcmp("a", "a") == 0 && strcmp("a", "b") < 0 && strcmp("ab", "a") > 0 && strcmp("\xff", "a") > 0);
    EXPECT(starts_with("scenario=idle", "scenario=") && !starts_with("scen", "scenario="));
}
