/* Knows the scenario in which chunks are lost: nothing points to them any more, and nobody gave them back. Beside them are
 * chunks that can be reached in every way there is, some of them only for a moment.
 *
 * Each chunk stands on the serial line, `leaks: WHAT address=A size=S`, and what it is: `lost`; or else `kept`, `stack` or
 * `register` for what can be reached while the kernel stands in leaks_ready. When it gets to kernel_ready those of `stack` and
 * `register` are lost too. All are zeroed, so no pointer is left in them from before. */

#include "heap/heap.h"
#include "layout.h"
#include "lib/panic.h"
#include "lib/print.h"
#include "scenario/ledger.h"
#include "scenario/scenarios.h"

enum { LIST = 5, DEPTH = 3, HELD = 4, MIDDLE = 700 };

struct link { struct link *next; char data[56]; };
struct leaf { struct leaf *left, *right; uint64_t key; };

/* What the kept ones are reached by. */
static struct { struct link *list; struct leaf *tree; char *middle; } kept;

__attribute__((noinline, used, section(".text.stops"))) void leaks_ready(void)
{
    __asm__ volatile("");               /* keeps the call from being seen as without effect */
}

static void *told(const char *what, void *memory, size_t size)
{
    if (!memory)
        panic("the scenario needs more memory than there is");
    print("leaks: %s address=%p size=%lu\n", what, memory, size);
    return memory;
}

/* --- kept ------------------------------------------------------------------------------------------------------------ */

static struct leaf *plant(int depth)
{
    struct leaf *leaf = told("kept", kcalloc(1, sizeof(*leaf)), sizeof(*leaf));
    if (depth > 1) {
        leaf->left = plant(depth - 1);
        leaf->right = plant(depth - 1);
    }
    return leaf;
}

static void keep(void)
{
    for (int i = 0; i < LIST; i++) {
        struct link *link = told("kept", kcalloc(1, sizeof(*link)), sizeof(*link));
        link->next = kept.list;
        kept.list = link;
    }
    kept.tree = plant(DEPTH);
    kept.middle = (char *)told("kept", kcalloc(1, 2 * MIDDLE), 2 * MIDDLE) + MIDDLE;
    for (int i = 0; i < HELD; i++)
        if (!hold_chunk(100))           /* the ledger's, which the report lists */
            panic("the scenario needs more memory than there is");
}

/* --- lost ------------------------------------------------------------------------------------------------------------ */

__attribute__((noinline)) static void lose_some(size_t size, int count)
{
    while (count-- > 0)
        told("lost", kcalloc(1, size), size);
}

/* They lead to each other, and to what is kept; nothing leads to them. */
__attribute__((noinline)) static void lose_a_circle(void)
{
    struct link *first = told("lost", kcalloc(1, sizeof(*first)), sizeof(*first)), *last = first;
    for (int i = 1; i < LIST; i++) {
        last->next = told("lost", kcalloc(1, sizeof(*last)), sizeof(*last));
        last = last->next;
    }
    last->next = first;
    *(struct link **)first->data = kept.list;
}

/* Its last pointer is overwritten. */
__attribute__((noinline)) static void lose_a_branch(void)
{
    struct leaf *branch = kept.tree->left;
    told("lost", branch, sizeof(*branch));
    told("lost", branch->left, sizeof(*branch));
    told("lost", branch->right, sizeof(*branch));
    kept.tree->left = NULL;
}

/* --- for a moment ---------------------------------------------------------------------------------------------------- */

/* In RBX and nowhere else. */
__attribute__((noinline)) static void stop_with_one_in_a_register(void)
{
    void *pointer = told("register", kcalloc(1, 300), 300);
    __asm__ volatile("call leaks_ready" : "+b"(pointer) : : "memory");
}

__attribute__((noinline)) static void stop_with_one_on_the_stack(void)
{
    void *volatile pointer = told("stack", kcalloc(1, 400), 400);
    stop_with_one_in_a_register();
    (void)pointer;
}

void leaks(void)
{
    keep();
    lose_some(24, 1);
    lose_some(200, 3);
    lose_some(40000, 1);
    lose_a_circle();
    lose_a_branch();
    stop_with_one_on_the_stack();
}
