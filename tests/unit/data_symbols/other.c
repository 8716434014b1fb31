/* Completes a type that layout.c only declares. */
#include <stdint.h>

struct hidden {
    uint32_t depth;
    struct hidden *up;
};

struct hidden hidden = { 5, &hidden };
static int other_counter = 12;
extern int declared_elsewhere[];
static char twin = 2;

void other(void);
void other(void)
{
    other_counter += twin + declared_elsewhere[1];
}
