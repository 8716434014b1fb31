/* Knows the faults about what the memory map says and how large the books must be. */

#include "boot/acpi.h"
#include "boot/memory_map.h"
#include "fault/faults.h"
#include "lib/bits.h"
#include "mm/page.h"
#include "mm/pmm_bitmap.h"

/* Only these have a state for frames that are no RAM. The others would touch the frame, and the processor objects. */
static bool has_state_for_all(void)
{
    return pmm_manager == &pmm_bitmap_operations || pmm_manager == &pmm_levels_operations || pmm_manager == &pmm_tree_operations;
}

static const char no_state[] = "this manager has no state for frames that are not RAM";

static bool is_hole(uint64_t frame)
{
    for (uint64_t i = 0; i < boot_map_count; i++)
        if (boot_map[i].base < (frame + 1) << PAGE_SHIFT && frame << PAGE_SHIFT < boot_map[i].base + boot_map[i].length)
            return false;
    return true;
}

static const char *make_free(uint64_t frame)
{
    fault_make_free(frame, 1);
    fault_at(frame << PAGE_SHIFT);
    return NULL;
}

/* All is marked free at first, then what the map calls reserved is taken; but the map does not mention holes. */
const char *fault_hole_free(void)
{
    if (!has_state_for_all())
        return no_state;
    for (uint64_t frame = 0; frame < pmm_manager->common->frames; frame++)
        if (is_hole(frame))
            return make_free(frame);
    return "the memory map has no hole below the last frame";
}

/* A length is turned into frames by rounding up. */
const char *fault_end_rounded_up(void)
{
    if (!has_state_for_all())
        return no_state;
    for (uint64_t i = boot_map_count; i-- > 0;)
        if (boot_map[i].type == MEMORY_USABLE && !is_aligned(boot_map[i].base + boot_map[i].length, PAGE_SIZE))
            return make_free(map_end_frame(&boot_map[i]));
    return "every usable range ends on a page boundary (map=0x4000800,0x800,2 would change that)";
}

/* A base is shifted right, which rounds down. */
const char *fault_start_rounded_down(void)
{
    if (!has_state_for_all())
        return no_state;
    for (uint64_t i = 0; i < boot_map_count; i++)
        if (boot_map[i].type == MEMORY_USABLE && !is_aligned(boot_map[i].base, PAGE_SIZE))
            return make_free(map_first_frame(&boot_map[i]) - 1);
    return "every usable range starts on a page boundary (map=0x4000000,0x800,2 would change that)";
}

/* ACPI memory counts as usable from the start, and the tables are looked for when they are overwritten. */
const char *fault_acpi_not_saved(void)
{
    for (uint64_t i = 0; i < boot_map_count; i++)
        if (boot_map[i].type == MEMORY_ACPI) {
            acpi.state = ACPI_UNTOUCHED;
            acpi.count = 0;
            fault_at(boot_map[i].base);
            return NULL;
        }
    return "the memory map has no ACPI memory (map=0x4000000,0x10000,3 would change that)";
}

/* --- size ------------------------------------------------------------------------------------------------------------ */

/* As if the bitmap had been made for fewer frames. Its books agree with each other. */
static const char *shrink(uint64_t frames)
{
    if (pmm_manager != &pmm_bitmap_operations)
        return "only the flat bitmap is sized in one piece";
    if (frames >= pmm.frames)
        return "the wrong size would not be smaller on this machine";
    for (uint64_t frame = frames; frame < pmm.frames; frame++)
        pmm.usable -= are_allocatable(frame, 1);
    fault_at(frames << PAGE_SHIFT);
    bits_fill(pmm.bits, true, frames, pmm_lesser(bits_words(frames) * WORD_BITS, pmm.frames) - frames);
    pmm.frames = frames;
    pmm.used = pmm_recount_used();
    pmm.reserved = frames - pmm.usable;
    pmm.hint = pmm_lesser(pmm.hint, frames);
    return NULL;
}

/* How much RAM there is, is not where it ends. */
const char *fault_sum_of_lengths(void)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < boot_map_count; i++)
        if (boot_map[i].type == MEMORY_USABLE)
            sum += boot_map[i].length;
    return shrink(sum >> PAGE_SHIFT);
}

/* `<` where it should say `<=`, or the address of the last byte taken for the end. */
const char *fault_one_too_few(void) { return shrink(pmm_manager->common->frames - 1); }

/* A uint16_t holds the number of words until there are 16 GiB. With less RAM the same is shown with 8 bits. */
const char *fault_narrow_counter(void)
{
    uint64_t words = pmm_manager->common->frames / WORD_BITS;
    return shrink((words > UINT16_MAX ? (uint16_t)words : (uint8_t)words) * (uint64_t)WORD_BITS);
}

/* The loader's list of modules was read after the manager had taken all of RAM. */
const char *fault_module_free(void)
{
    for (uint64_t i = 0; i < reserved_count; i++)
        if (reserved_ranges[i].what == RESERVED_MODULE)
            return make_free(align_up(reserved_ranges[i].base, PAGE_SIZE) >> PAGE_SHIFT);
    return "the loader brought no module";
}
