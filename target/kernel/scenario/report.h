/* Knows how the kernel tells its own numbers on the serial line: one fact per line, for a program to read. */
#ifndef SCENARIO_REPORT_H
#define SCENARIO_REPORT_H

void report(void);

#endif
