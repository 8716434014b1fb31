/* What a made-up kernel's physical managers could look like. Tests put the values there. */
#include <stdint.h>

struct node {
    uint64_t next, prev, mark, frames, order, address;
    uint32_t count, entry[16];
};
struct list {
    uint64_t head, length, low, high, pairs, pair_count;
};
struct level {
    uint64_t bits, count, first, hint, used;
};

struct list lists[8];
uint64_t list_count;
struct node records[256];
struct level levels[8];
uint64_t level_count;
uint64_t frames, free_frames, used_frames, nodes, height, hint, root;
uint8_t bytes[0x8000];
uint64_t words[0x1000];

int main(void) { return 0; }
