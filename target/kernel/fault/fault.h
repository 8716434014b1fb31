/* Knows how to break the kernel on purpose, one rule at a time, so that whoever checks it can be seen to notice.
 *
 * `fault=F06` on the command line injects that fault when everything else is done, just before kernel_ready. A debugger may
 * write a number into fault_request at any later stop: the idle loop injects it and calls kernel_ready again. */
#ifndef FAULT_FAULT_H
#define FAULT_FAULT_H

#include <stdbool.h>
#include <stdint.h>

extern volatile uint32_t fault_request;         /* 6 for F06; 0 when there is nothing to do */

/* What the last one broke. */
struct fault_done {
    uint32_t number;            /* 0: none was injected */
    uint64_t where;             /* the first bad object: a frame's physical address, or a word's address */
};
extern struct fault_done fault_done;

/* What the command line asks for. */
void fault_at_boot(void);

/* True if there was a request. */
bool fault_poll(void);

#endif
