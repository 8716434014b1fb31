/* Every shape of C data that a kernel description meets. Freestanding: it runs without a C library. */
#include <stdbool.h>
#include <stdint.h>

enum color { RED = -1, GREEN = 7, BLUE = 1 << 20 };
enum flags { FLAG_LOW = 1, FLAG_HIGH = 0x80000000u };

typedef uint64_t word_t;
typedef word_t frame_t;
typedef struct {
    uint16_t first;
    uint32_t second;
} unnamed_t;

struct hidden; /* defined in other.c */

struct link {
    struct link *next, *prev;
};

struct chunk {
    char tag;              /* 0 */
    uint64_t size;         /* 8 */
    unsigned used : 1;     /* 16, bit 0 */
    unsigned order : 5;    /* 16, bit 1 */
    int balance : 9;       /* 16, bit 6 */
    union {                /* 20 */
        uint32_t word;
        uint8_t bytes[4];
        struct {
            uint16_t low, high;
        };
    };
    struct link link;      /* 24 */
    short grid[2][3];      /* 40 */
    bool ok;               /* 52 */
    enum color color;      /* 56 */
    unnamed_t pair;        /* 60 */
    int (*call)(void);     /* 72 */
    const volatile frame_t *frames; /* 80 */
    struct hidden *secret; /* 88 */
    char tail[];           /* 96 */
};

struct __attribute__((packed)) packed {
    char a;                /* 0 */
    int b;                 /* 1 */
    uint16_t c : 12;       /* 5, bit 0 */
    uint16_t d : 12;       /* 6, bit 4 */
};

struct link list = { &list, &list };
struct chunk chunk = { .size = 0x1122334455667788, .used = 1, .order = 21, .balance = -3, .link = { &list, &list } };
struct packed packed = { 1, -2, 0xabc, 0xdef };
struct hidden *hidden_pointer;
unnamed_t pair = { 3, 4 };
frame_t frame = 42;
int numbers[2][3] = { { 1, 2, 3 }, { 4, 5, 6 } };
enum flags flags = FLAG_HIGH;
void *anything = &list;
static int counter = 11;           /* other.c has one of its own, global and of another name */
static const long limit = 99;
int declared_elsewhere[7];         /* other.c declares it without a size */
static int twin = 1;               /* other.c has another twin, of another type */
struct chunk *shadowed = &chunk;
volatile int sink;

extern char image_end[];           /* the linker's */

__attribute__((noinline)) int stop_here(int shadowed_too)
{
    sink = shadowed_too;
    return shadowed_too;
}

/* Locals that hide a global, a file-static one, a linker symbol and an enumerator. */
__attribute__((noinline)) int shadow(void)
{
    volatile int shadowed = 1, counter = 2, image_end = 3, GREEN = 4;
    volatile struct { int other; } list = { 5 };
    return stop_here(shadowed + counter + image_end + GREEN + list.other);
}

void other(void);

void _start(void)
{
    other();
    sink = shadow() + counter + twin + (int)limit + (int)(uintptr_t)image_end;
    __asm__ volatile("syscall" : : "a"(60L), "D"(0L));
    __builtin_unreachable();
}
