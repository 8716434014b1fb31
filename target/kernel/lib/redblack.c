/* Knows how a red-black tree stays flat.
 *
 * Theory
 *  1. Nodes are red or black. Every way from the root down to a missing child has the same number of black nodes, and no two
 *     red ones in a row: so the longest is at most twice as long as the shortest.
 *  2. A new leaf is red. If its parent is red as well, there are two red nodes in a row: where the parent's sibling is red
 *     too, the blackness of the grandparent is shared out to both, and the question moves up; else a rotation ends it.
 *  3. Where a black node went, its side is one black short. A red node there becomes black; else the sibling's side gives one
 *     up, which moves the question up, or has a red node that is rotated over to this side, which ends it.
 *  4. An insertion needs at most two rotations, a removal three, however large the tree. (Guibas and Sedgewick, "A dichromatic
 *     framework for balanced trees", 1978; Cormen, Leiserson, Rivest, Stein, Introduction to Algorithms, 13.)
 *
 * Invariants
 *     red is 0 or 1; the root is black
 *     a red node's children are black; a child that is not there counts as black
 *     every way down has the same number of black nodes */

#include "lib/redblack.h"

#include <stddef.h>

static bool is_red(const struct tree_node *node) { return node && node->red; }

/* `node` goes down to that side, and exchanges colours with the child that comes up. Returns that. */
static struct tree_node *rotate(struct tree *tree, struct tree_node *node, bool right)
{
    struct tree_node *top = tree_rotate(tree, node, right);
    uint64_t red = top->red;
    top->red = node->red;
    node->red = red;
    return top;
}

/* --- inserting ------------------------------------------------------------------------------------------------------- */

/* `node` and its parent are red, the parent's sibling is black. */
static void part_by_rotation(struct tree *tree, struct tree_node *node)
{
    struct tree_node *parent = node->parent;
    bool right = tree_is_right(parent);
    if (tree_is_right(node) != right)
        parent = rotate(tree, parent, right);
    rotate(tree, parent->parent, !right);
}

void redblack_insert(struct tree *tree, struct tree_node *node)
{
    tree_link(tree, node, 1);
    while (is_red(node->parent)) {
        struct tree_node *grand = node->parent->parent;
        struct tree_node *uncle = *tree_child(grand, !tree_is_right(node->parent));
        if (!is_red(uncle)) {
            part_by_rotation(tree, node);
            break;
        }
        node->parent->red = uncle->red = 0;
        grand->red = 1;
        node = grand;
    }
    tree->root->red = 0;
}

/* --- removing -------------------------------------------------------------------------------------------------------- */

/* The side of `parent` that is one black short gets one from the other side, whose top is black. True if that ended it. */
static bool borrow(struct tree *tree, struct tree_node *parent, bool right)
{
    struct tree_node *sibling = *tree_child(parent, !right);
    if (!is_red(sibling->left) && !is_red(sibling->right)) {
        sibling->red = 1;
        return false;
    }
    if (!is_red(*tree_child(sibling, !right)))
        sibling = rotate(tree, sibling, !right);
    rotate(tree, parent, right);
    (*tree_child(sibling, !right))->red = 0;
    return true;
}

void redblack_remove(struct tree *tree, struct tree_node *gone)
{
    tree_unlink(tree, gone);
    if (gone->red)
        return;
    struct tree_node *node = gone->left ? gone->left : gone->right, *parent = gone->parent;
    for (; parent && !is_red(node); node = parent, parent = node->parent) {
        bool right = parent->right == node;         /* the other child is there: it has a black more */
        if (is_red(*tree_child(parent, !right)))
            rotate(tree, parent, right);            /* now that child is black, and the parent red */
        if (borrow(tree, parent, right))
            return;
    }
    if (node)
        node->red = 0;
}

/* --- check ----------------------------------------------------------------------------------------------------------- */

/* Black nodes on the leftmost way down. Where it is the same on both sides of every node, it is the same on all ways. */
static uint64_t blacks_below(const struct tree_node *node)
{
    uint64_t blacks = 0;
    for (; node; node = node->left)
        blacks += !node->red;
    return blacks;
}

static const char *check_node(const struct tree_node *node)
{
    if (node->red > 1 || (node->red && !node->parent))
        return "red is 0 or 1, and 0 in the root";
    if (node->red && (is_red(node->left) || is_red(node->right)))
        return "a red node's children are black";
    return blacks_below(node->left) == blacks_below(node->right) ? NULL : "every way down has the same number of black nodes";
}

const char *redblack_check(const struct tree *tree, bool (*is_node)(const void *context, const struct tree_node *node),
                           const void *context)
{
    return tree_check(tree, is_node, context, check_node);
}
