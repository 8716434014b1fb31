/* Knows the scenarios: what `scenario=NAME` on the command line makes the kernel do before it comes to rest. */
#ifndef SCENARIO_SCENARIO_H
#define SCENARIO_SCENARIO_H

/* Reads the command line and does what it asks for. Words it does not know are named and ignored; a scenario it does not
 * know is a panic, because doing another one in its place would be a lie. */
void scenario_run(void);

/* The first rule that any manager finds broken in itself, and which manager, or NULL. */
const char *first_broken_rule(const char **manager);

/* Panics, naming manager and rule, unless every manager finds itself intact. */
void check_all_managers(void);

#endif
