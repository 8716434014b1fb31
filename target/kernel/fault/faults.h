/* Knows each fault by name. A fault is a function that breaks something and notes where. It returns NULL, or says why it
 * cannot be done here: with this manager, on this machine. */
#ifndef FAULT_FAULTS_H
#define FAULT_FAULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef const char *fault_function(void);

/* owners.c */
fault_function fault_counter_lost, fault_double_decrement, fault_table_free, fault_handed_out_twice, fault_mapped_frame_free,
    fault_metadata_free, fault_last_metadata_free, fault_first_metadata_free;
/* map.c */
fault_function fault_hole_free, fault_end_rounded_up, fault_start_rounded_down, fault_acpi_not_saved, fault_sum_of_lengths,
    fault_one_too_few, fault_narrow_counter, fault_module_free;
/* bits.c */
fault_function fault_hint_too_high, fault_tail_free, fault_stale_summary, fault_full_word;
/* lists.c */
fault_function fault_pushed_twice, fault_link_overwritten, fault_link_unaligned, fault_popped_but_there, fault_wrong_zone;
/* blocks.c */
fault_function fault_buffer_crosses, fault_buffer_scattered, fault_unmerged, fault_wrong_order, fault_two_lists,
    fault_bit_flipped, fault_order_lost;

/* chunks.c */
fault_function fault_header_overrun, fault_size_grown, fault_end_overrun, fault_magic_broken, fault_first_size,
    fault_unmerged_chunks, fault_missing_from_list, fault_used_on_list, fault_stale_tail, fault_overrun_by_one, fault_underrun,
    fault_used_after_free, fault_heap_counter, fault_mark_past_end, fault_pointer_lost;
/* slabs.c */
fault_function fault_count_mismatch, fault_freed_to_other_cache, fault_slab_misplaced, fault_free_list_smashed,
    fault_object_freed_twice;
/* arenas.c */
fault_function fault_child_arena_freed, fault_heap_page_unmapped;

/* For the functions above. */
void fault_at(uint64_t where);
void fault_at_pointer(const void *where);

/* Makes frames free that somebody has, as if they had never been taken: the books agree with each other. */
void fault_make_free(uint64_t first, uint64_t count);

#endif
