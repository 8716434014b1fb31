/* Knows binary search trees whose nodes lie inside whatever is sorted, with links both ways. What keeps a tree flat is not
 * known here but in avl.h and redblack.h. */
#ifndef LIB_TREE_H
#define LIB_TREE_H

#include <stdbool.h>
#include <stdint.h>

struct tree_node {
    struct tree_node *left, *right;
    struct tree_node *parent;           /* NULL for the root */
    union {
        uint64_t height;                /* AVL: of the subtree, 1 for a leaf */
        uint64_t red;                   /* red-black: 1 red, 0 black */
        uint64_t rank;                  /* whichever of the two it is */
    };
};

/* Whether `a` has to come before `b`. Of two nodes that neither has to, the one that was inserted first does. */
typedef bool tree_before(const struct tree_node *a, const struct tree_node *b);

struct tree {
    struct tree_node *root;
    uint64_t count;
    tree_before *before;
};

/* In order; NULL when there is none. */
struct tree_node *tree_first(const struct tree *tree);
struct tree_node *tree_next(const struct tree_node *node);

/* --- for avl.c and redblack.c ---------------------------------------------------------------------------------------- */

/* The link to the right child, or to the left one. */
static inline struct tree_node **tree_child(struct tree_node *node, bool right) { return right ? &node->right : &node->left; }
static inline bool tree_is_right(const struct tree_node *node) { return node->parent && node->parent->right == node; }

/* Links `node` in as a leaf of rank `rank`. */
void tree_link(struct tree *tree, struct tree_node *node, uint64_t rank);

/* Unlinks `node`, which has exchanged places and ranks with its successor first if it had two children. Its own links and
 * rank stay as they were then: `parent` is the lowest node that lost something, and a child, if any, now hangs there. */
void tree_unlink(struct tree *tree, struct tree_node *node);

/* Lets the child on the other side take the place of `node`, which goes down to the right or to the left. Returns the child. */
struct tree_node *tree_rotate(struct tree *tree, struct tree_node *node, bool right);

/* The first rule found broken, or NULL. `is_node` says whether memory at such an address may be looked at; `check_node` knows
 * the rules about ranks. */
const char *tree_check(const struct tree *tree, bool (*is_node)(const void *context, const struct tree_node *node),
                       const void *context, const char *(*check_node)(const struct tree_node *node));

#endif
