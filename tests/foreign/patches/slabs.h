/* Knows what the kernel in C sees of its slabs in C++. */
#ifndef SLABS_H
#define SLABS_H

#ifdef __cplusplus
extern "C" {
#endif

/* Serves objects out of pages from `start` to `end`, at random, and keeps some. */
void slabs_work(char *start, char *end);

/* Every object, used and free, by the shadow. */
void slabs_report(void);

#ifdef __cplusplus
}
#endif

#endif
