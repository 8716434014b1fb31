/* Knows what the scenarios hold: every chunk and every frame, apart from the managers' own books, so that the two can be
 * compared. Each chunk is filled with text and a pattern when it is taken, and verified when it is given back. */
#ifndef SCENARIO_LEDGER_H
#define SCENARIO_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap;

struct ledger_chunk {
    char *address;
    uint64_t size;              /* as it was asked for */
    uint64_t serial;
    struct heap *heap;          /* where it was taken */
};

struct ledger {
    struct ledger_chunk *chunks;
    uint64_t chunk_count;
    uint64_t *frames;
    uint64_t frame_count;
};
extern struct ledger ledger;

void ledger_init(void);

/* Takes one and writes it down. False when there is no memory. */
bool hold_chunk(size_t size);
bool hold_chunk_of(struct heap *heap, size_t size);
bool hold_frame(void);
bool hold_frame_run(uint64_t count, uint64_t align);

/* Gives back the one at `index`; the last takes its place. */
void drop_chunk(uint64_t index);
void drop_frame(uint64_t index);

bool resize_chunk(uint64_t index, size_t size);

/* Makes room for that many more frames now, so that holding them later takes nothing else from the managers. */
bool ledger_make_room_for_frames(uint64_t count);

#endif
