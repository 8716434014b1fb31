/* Knows AVL trees: binary search trees in which the two sides of no node differ in height by more than one. */
#ifndef LIB_AVL_H
#define LIB_AVL_H

#include "lib/tree.h"

void avl_insert(struct tree *tree, struct tree_node *node);
void avl_remove(struct tree *tree, struct tree_node *node);

/* As tree_check. */
const char *avl_check(const struct tree *tree, bool (*is_node)(const void *context, const struct tree_node *node),
                      const void *context);

#endif
