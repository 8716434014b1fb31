/* Knows a third way to keep account of frames: a bitmap with summaries above it.
 *
 * Theory
 *  1. Level 0 has a bit for each frame, 1 when it is free. Each level above has a bit for each word of the one below: 1 when
 *     there is a 1 in that word. The top level is one word.
 *  2. The lowest free frame is found from the top: in each level one instruction finds the lowest 1, which names the word
 *     to look at below. 64^4 frames, 64 GiB, take four such steps, however full memory is.
 *  3. The price is paid on change: when a word becomes zero or ceases to be, its bit above changes, and perhaps the bit above
 *     that. The summaries add one part in 63 to the bitmap.
 *
 * Invariants
 *     level[n + 1].bits[i] == (word i of level[n] != 0), for every n and i
 *     bits beyond level[n].count are 0; level[levels - 1] is one word
 *     popcount(level[0]) == frames - used
 *
 * Lock: pmm_levels.lock, taken by mm/pmm.c. */

#include "mm/pmm_levels.h"

#include "lib/bits.h"
#include "lib/print.h"
#include "mm/early.h"
#include "mm/frame_view.h"

struct pmm_levels pmm_levels;

/* --- init ------------------------------------------------------------------------------------------------------------ */

static uint64_t words_in_all(void)
{
    uint64_t words = 0;
    for (uint64_t n = 0; n < pmm_levels.levels; n++)
        words += bits_words(pmm_levels.level[n].count);
    return words;
}

static void init(uint64_t frames)
{
    pmm_levels.levels = 0;
    for (uint64_t count = frames; ; count = bits_words(count)) {
        pmm_levels.level[pmm_levels.levels++].count = count;
        if (count <= WORD_BITS)
            break;
    }
    uint64_t *bits = early_alloc(words_in_all() * sizeof(*bits), RESERVED_PMM_METADATA);
    for (uint64_t n = 0; n < pmm_levels.levels; n++) {
        pmm_levels.level[n].bits = bits;
        bits += bits_words(pmm_levels.level[n].count);
    }
}

/* --- bits ------------------------------------------------------------------------------------------------------------ */

static uint64_t word_of(uint64_t n, uint64_t index) { return pmm_levels.level[n].bits[index / WORD_BITS]; }

/* After word `word` of level 0 has changed: what stands above it follows, as far up as anything changes. */
static void summarise(uint64_t word)
{
    for (uint64_t n = 1; n < pmm_levels.levels; n++, word /= WORD_BITS) {
        bool summary = pmm_levels.level[n - 1].bits[word] != 0;
        if (bits_get(pmm_levels.level[n].bits, word) == summary)
            return;
        bits_flip(pmm_levels.level[n].bits, word);
    }
}

static void set_range(uint64_t first, uint64_t count, bool free)
{
    bits_fill(pmm_levels.level[0].bits, free, first, count);
    for (uint64_t word = first / WORD_BITS; word <= (first + count - 1) / WORD_BITS; word++)
        summarise(word);
}

/* The lowest free frame at or after `from`; `frames` when there is none. Up until a word has a 1 at or after the place, then
 * down along the lowest 1. */
static uint64_t next_free(uint64_t from)
{
    uint64_t n = 0, index = from;
    for (;; n++, index = index / WORD_BITS + 1) {
        if (n == pmm_levels.levels || index >= pmm_levels.level[n].count)
            return pmm_levels.frames;
        uint64_t rest = word_of(n, index) >> index % WORD_BITS;
        if (rest) {
            index += (uint64_t)__builtin_ctzll(rest);
            break;
        }
    }
    while (n-- > 0)
        index = index * WORD_BITS + (uint64_t)__builtin_ctzll(pmm_levels.level[n].bits[index]);
    return index;
}

static uint64_t next_used(uint64_t from) { return bits_find(pmm_levels.level[0].bits, false, from, pmm_levels.frames); }

/* --- operations ------------------------------------------------------------------------------------------------------ */

static void give(uint64_t first, uint64_t count) { set_range(first, count, true); }
static void take(uint64_t first, uint64_t count) { set_range(first, count, false); }

static uint64_t alloc(void)
{
    uint64_t frame = next_free(0);
    if (frame == pmm_levels.frames)
        return NO_FRAME;
    take(frame, 1);
    return frame;
}

static uint64_t find(const struct pmm_wish *wish)
{
    uint64_t limit = wish_end(wish, pmm_levels.frames);
    for (uint64_t first = next_free(0); first < limit;) {
        uint64_t end = next_used(first), place = wish_fits(wish, first, pmm_lesser(end, limit));
        if (place != NO_FRAME)
            return place;
        first = next_free(end);
    }
    return NO_FRAME;
}

static bool is_free(uint64_t frame) { return bits_get(pmm_levels.level[0].bits, frame); }

/* By level 0 alone: an answer that owes nothing to the summaries. */
static bool each_free(pmm_visit *visit, void *context)
{
    const uint64_t *bits = pmm_levels.level[0].bits;
    for (uint64_t first = bits_find(bits, true, 0, pmm_levels.frames); first < pmm_levels.frames;) {
        uint64_t end = next_used(first);
        if (!visit(context, first, end - first))
            return false;
        first = bits_find(bits, true, end, pmm_levels.frames);
    }
    return true;
}

/* --- check and report ------------------------------------------------------------------------------------------------ */

static bool summary_is_right(uint64_t n)
{
    for (uint64_t i = 0; i < pmm_levels.level[n].count; i++)
        if (bits_get(pmm_levels.level[n].bits, i) != (pmm_levels.level[n - 1].bits[i] != 0))
            return false;
    return true;
}

static const char *check(void)
{
    for (uint64_t n = 0; n < pmm_levels.levels; n++) {
        const struct pmm_level *level = &pmm_levels.level[n];
        uint64_t end = bits_words(level->count) * WORD_BITS;
        if (bits_find(level->bits, true, level->count, end) != end)
            return "bits beyond a level's count are 0";
        if (n && level->count != bits_words(pmm_levels.level[n - 1].count))
            return "a level has a bit for each word below";
        if (n && !summary_is_right(n))
            return "a summary bit == (its word below has a 1)";
    }
    if (pmm_levels.level[pmm_levels.levels - 1].count > WORD_BITS)
        return "the top level is one word";
    return NULL;
}

static void report(void)
{
    for (uint64_t n = 0; n < pmm_levels.levels; n++)
        print("report level number=%lu count=%lu bits=%p\n", n, pmm_levels.level[n].count, (void *)pmm_levels.level[n].bits);
}

static struct pmm_metadata metadata(void)
{
    return (struct pmm_metadata) { memory_of_view(pmm_levels.level[0].bits), words_in_all() * sizeof(uint64_t) };
}

const struct pmm_operations pmm_levels_operations = {
    .name = "levels", .common = (struct pmm_common *)&pmm_levels, .lowest_first = true, .finds_all = true,
    .init = init, .give = give, .alloc = alloc, .find = find, .take = take, .is_free = is_free, .each_free = each_free,
    .check = check, .report = report, .metadata = metadata,
};
