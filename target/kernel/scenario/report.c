/* Knows how the kernel tells its own numbers. Counts are decimal, addresses and sizes of ranges hexadecimal.
 *
 * Where it can, a number is counted afresh on another way than the manager's own: heaps are walked, and free frames
 * surveyed. The managers' counters stand beside them. */

#include "scenario/report.h"

#include "arch/cpu.h"
#include "arch/x86.h"
#include "boot/acpi.h"
#include "boot/memory_map.h"
#include "heap/heap_manager.h"
#include "lib/print.h"
#include "mm/dma.h"
#include "mm/paging.h"
#include "mm/physmap.h"
#include "mm/pmm.h"
#include "mm/pmm_bitmap.h"
#include "mm/pool.h"
#include "mm/vm.h"
#include "scenario/ledger.h"

static void report_pmm(void)
{
    struct pmm_counts counts = pmm_counts();
    struct pmm_survey survey = pmm_survey();
    print("report pmm name=%s frames=%lu used=%lu free=%lu reserved=%lu usable=%lu recount=%lu largest_run=%lu runs=%lu",
          pmm_manager->name, counts.frames, counts.used, counts.free, counts.reserved, counts.usable,
          counts.frames - survey.free, survey.largest_run, survey.runs);
    if (pmm_manager == &pmm_bitmap_operations)
        print(" hint=%lu bitmap=%p", pmm.hint, (void *)pmm.bits);
    print("\n");
    for (unsigned zone = 0; zone < ZONES; zone++)
        print("report zone name=%s first=%lu end=%lu usable=%lu free=%lu largest_run=%lu\n", pmm_zones[zone].name,
              pmm_zones[zone].first, pmm_zones[zone].end, survey.zone[zone].usable, survey.zone[zone].free,
              survey.zone[zone].largest_run);
    if (pmm_manager->report)
        pmm_manager->report();
}

static void report_drivers(void)
{
    print("report dma count=%lu moved=%lu\n", dma.count, dma.moved);
    for (const struct dma_buffer *buffer = dma.first; buffer; buffer = buffer->next)
        print("report buffer physical=0x%lx address=0x%lx size=%lu align=%lu limit=0x%lx boundary=0x%lx name=%s\n",
              buffer->physical, buffer->address, buffer->size, buffer->align, buffer->limit, buffer->boundary, buffer->name);
    print("report pool count=%lu reserve=%d taken=%lu refused=%lu\n", frame_pool.count, POOL_RESERVE, frame_pool.taken,
          frame_pool.refused);
    print("report acpi state=%u root=0x%lx tables=%lu\n", acpi.state, acpi.root, acpi.count);
    for (uint64_t i = 0; i < physmap_count; i++)
        print("report physmap base=0x%lx length=0x%lx kind=%s name=%s\n", physmap[i].base, physmap[i].length,
              physmap_kind_name(physmap[i].kind), physmap[i].name);
}

static void report_map(void)
{
    for (uint64_t i = 0; i < boot_map_count; i++)
        print("report map base=0x%lx length=0x%lx type=%u name=%s\n", boot_map[i].base, boot_map[i].length, boot_map[i].type,
              memory_type_name(boot_map[i].type));
    for (uint64_t i = 0; i < reserved_count; i++)
        print("report reserved base=0x%lx length=0x%lx what=%s\n", reserved_ranges[i].base, reserved_ranges[i].length,
              reserved_name(reserved_ranges[i].what));
}

static void report_image(void)
{
    for (unsigned i = 0; i < IMAGE_SECTIONS; i++)
        print("report image section=%s start=%p end=%p rights=%s\n", image_sections[i].name, (void *)image_sections[i].start,
              (void *)image_sections[i].end, rights_name(image_sections[i].rights));
}

static void report_heap(const struct heap *heap)
{
    struct heap_survey survey = heap_survey(heap);
    print("report heap name=%s kind=%s start=0x%lx end=0x%lx chunks=%lu used_chunks=%lu free_chunks=%lu used_bytes=%lu"
          " free_bytes=%lu largest_free=%lu counter_used_chunks=%lu counter_free_chunks=%lu counter_used_bytes=%lu"
          " counter_free_bytes=%lu committed=%lu\n",
          heap->name, heap->operations->name, heap->start, heap->end, survey.chunks[0] + survey.chunks[1], survey.chunks[0],
          survey.chunks[1], survey.bytes[0], survey.bytes[1], survey.largest_free, heap->used_chunks, heap->free_chunks,
          heap->used_bytes, heap->free_bytes, heap->committed);
    if (heap->operations->report)
        heap->operations->report(heap);
}

static void report_ledger(void)
{
    for (uint64_t i = 0; i < ledger.chunk_count; i++)
        print("report chunk address=%p size=%lu heap=%s caller=%p\n", (void *)ledger.chunks[i].address,
              ledger.chunks[i].size, ledger.chunks[i].heap->name,
              heap_caller(ledger.chunks[i].heap, ledger.chunks[i].address));
    for (uint64_t i = 0; i < ledger.frame_count; i++)
        print("report frame number=%lu\n", ledger.frames[i]);
}

static void report_vm(void)
{
    for (const struct vm_region *region = kernel_space.regions.first; region; region = region->next)
        print("report vm base=0x%lx size=0x%lx committed=%lu name=%s kind=%s\n", region->base, region->size,
              region->committed, region->name, vm_kind_name(region->kind));
}

static void report_cpu(void)
{
    print("report cpu cr0=0x%lx cr3=0x%lx cr4=0x%lx efer=0x%lx\n", read_cr0(), read_cr3(), read_cr4(), read_msr(MSR_EFER));
}

void report(void)
{
    print("report begin\n");
    report_pmm();
    report_map();
    report_drivers();
    report_image();
    for (const struct heap *heap = heaps.first; heap; heap = heap->next)
        report_heap(heap);
    report_ledger();
    report_vm();
    report_cpu();
    print("report end\n");
}
