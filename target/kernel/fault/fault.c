/* Knows the list of faults and when to inject one. */

#include "fault/fault.h"

#include "boot/options.h"
#include "fault/faults.h"
#include "lib/panic.h"
#include "lib/print.h"
#include "mm/page.h"
#include "mm/pmm_manager.h"
#include "scenario/scenario.h"

struct fault { uint32_t number; fault_function *inject; const char *what; };

static const struct fault faults[] = {
    { 1, fault_counter_lost, "one count of a used frame lost" },
    { 2, fault_double_decrement, "a frame freed twice is counted twice" },
    { 3, fault_table_free, "the frame of a page table is free" },
    { 4, fault_handed_out_twice, "one frame was given to two owners" },
    { 5, fault_mapped_frame_free, "a frame was freed while it is mapped" },
    { 6, fault_metadata_free, "the manager's own memory was never reserved" },
    { 7, fault_last_metadata_free, "the last page of the manager's memory was not reserved" },
    { 8, fault_first_metadata_free, "the first page of the manager's memory was not reserved" },
    { 9, fault_hole_free, "a frame where there is no RAM is free" },
    { 10, fault_end_rounded_up, "a frame that is usable only in its first part is free" },
    { 11, fault_start_rounded_down, "a frame that is usable only in its last part is free" },
    { 12, fault_acpi_not_saved, "ACPI memory was freed and its tables not saved" },
    { 13, fault_sum_of_lengths, "sized by the sum of lengths, not by the highest address" },
    { 14, fault_one_too_few, "the last frame is left out" },
    { 15, fault_narrow_counter, "the number of words was kept in too few bits" },
    { 16, fault_module_free, "a module's frame is free" },
    { 17, fault_hint_too_high, "the hint lies above a free frame" },
    { 18, fault_tail_free, "a bit beyond the last frame says free" },
    { 19, fault_stale_summary, "a summary bit does not follow its word" },
    { 20, fault_full_word, "the constant for a full word has 15 digits" },
    { 21, fault_pushed_twice, "a frame is listed twice" },
    { 22, fault_link_overwritten, "somebody wrote into a free frame" },
    { 23, fault_link_unaligned, "a link leads beside a frame" },
    { 24, fault_popped_but_there, "a frame was taken and is still listed" },
    { 25, fault_wrong_zone, "a frame is listed in the wrong zone" },
    { 26, fault_buffer_crosses, "a buffer crosses its boundary" },
    { 27, fault_buffer_scattered, "a buffer is not contiguous" },
    { 28, fault_unmerged, "two free buddies were not merged" },
    { 29, fault_wrong_order, "a block is on the list of another order" },
    { 30, fault_two_lists, "a block is on two lists" },
    { 31, fault_bit_flipped, "a bit about buddies flipped" },
    { 32, fault_order_lost, "a block was freed as a single frame" },
    { 100, fault_header_overrun, "a header was overwritten by the chunk in front of it" },
    { 101, fault_size_grown, "a chunk's size reaches over the next header" },
    { 102, fault_end_overrun, "the last chunk reaches beyond the arena" },
    { 103, fault_magic_broken, "a header's magic was overwritten" },
    { 104, fault_unmerged_chunks, "two free neighbours were not merged" },
    { 105, fault_missing_from_list, "a free chunk is not found" },
    { 106, fault_used_on_list, "a used chunk is found as a free one" },
    { 107, fault_stale_tail, "the last chunk is not the last" },
    { 108, fault_overrun_by_one, "one byte behind a payload was written to" },
    { 109, fault_underrun, "one byte in front of a payload was written to" },
    { 110, fault_used_after_free, "a freed payload was written to" },
    { 111, fault_heap_counter, "the count of used bytes lost one chunk" },
    { 112, fault_count_mismatch, "a slab counts a used object too many" },
    { 113, fault_freed_to_other_cache, "an object was freed to another cache" },
    { 114, fault_slab_misplaced, "a slab is on the wrong list" },
    { 115, fault_free_list_smashed, "a link between free objects was overwritten" },
    { 116, fault_object_freed_twice, "an object was freed twice" },
    { 117, fault_mark_past_end, "the mark lies beyond the end" },
    { 118, fault_child_arena_freed, "the memory of a heap was freed to its parent" },
    { 119, fault_heap_page_unmapped, "a page of the heap is not mapped" },
    { 120, fault_pointer_lost, "nobody knows any more where a chunk is" },
    { 121, fault_first_size, "the first chunk's size counts its header" },
};

volatile uint32_t fault_request;
struct fault_done fault_done;

static uint64_t where;

void fault_at(uint64_t address) { where = address; }
void fault_at_pointer(const void *address) { where = (uint64_t)address; }

void fault_make_free(uint64_t first, uint64_t count)
{
    lock(&pmm_manager->common->lock);
    pmm_manager->give(first, count);
    pmm_manager->common->used -= count;
    pages_freed(first, count);
    unlock(&pmm_manager->common->lock);
}

static const struct fault *find(uint32_t number)
{
    for (unsigned i = 0; i < sizeof(faults) / sizeof(*faults); i++)
        if (faults[i].number == number)
            return &faults[i];
    return NULL;
}

/* The kernel's own checks do not know who owns what, so they miss some. */
static void say_what_we_notice(void)
{
    const char *manager, *broken = first_broken_rule(&manager);
    print("fault: our own checks say: %s%s%s\n", broken ? manager : "nothing", broken ? ": " : "", broken ? broken : "");
}

static void inject(uint32_t number)
{
    const struct fault *fault = find(number);
    const char *refusal = fault ? fault->inject() : "there is no such fault in this kernel";
    fault_done = (struct fault_done) { refusal ? 0 : number, refusal ? 0 : where };
    if (refusal)
        print("fault: F%02u not injected: %s\n", number, refusal);
    else
        print("fault: F%02u injected at 0x%lx: %s\n", number, where, fault->what);
    if (!refusal)
        say_what_we_notice();
}

void fault_at_boot(void)
{
    char name[OPTION_MAX];
    if (!option("fault", name))
        return;
    const char *digits = name + 1;
    if (name[0] != 'F')
        panic("fault=%s is no fault: they are called F01 and so on", name);
    while (*digits == '0')
        digits++;
    inject((uint32_t)read_number(&digits));
}

bool fault_poll(void)
{
    uint32_t number = fault_request;
    if (!number)
        return false;
    fault_request = 0;
    inject(number);
    return true;
}
