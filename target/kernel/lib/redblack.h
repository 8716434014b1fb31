/* Knows red-black trees: binary search trees in which no path is more than twice as long as another. */
#ifndef LIB_REDBLACK_H
#define LIB_REDBLACK_H

#include "lib/tree.h"

void redblack_insert(struct tree *tree, struct tree_node *node);
void redblack_remove(struct tree *tree, struct tree_node *node);

/* As tree_check. */
const char *redblack_check(const struct tree *tree, bool (*is_node)(const void *context, const struct tree_node *node),
                           const void *context);

#endif
