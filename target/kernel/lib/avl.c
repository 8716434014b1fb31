/* Knows how an AVL tree stays flat.
 *
 * Theory
 *  1. Every node knows the height of its subtree. After a leaf came or went, heights change only on the way from there to the
 *     root; wherever they come to differ by two, a rotation to the lower side makes them equal, or nearly so.
 *  2. If the higher child is itself higher on the inner side, that side would only change hands: the child is rotated
 *     outwards first.
 *  3. A tree of n nodes is at most 1.44 log2(n + 2) high. (Adelson-Velsky and Landis, "An algorithm for the organization of
 *     information", 1962; Knuth, The Art of Computer Programming 3, 6.2.3.)
 *
 * Invariants
 *     node.height == 1 + max(left.height, right.height), with 0 for a child that is not there
 *     the two differ by at most 1 */

#include "lib/avl.h"

#include <stddef.h>

static uint64_t height(const struct tree_node *node) { return node ? node->height : 0; }

static uint64_t height_over(const struct tree_node *node)
{
    uint64_t left = height(node->left), right = height(node->right);
    return 1 + (left > right ? left : right);
}

static struct tree_node *rotate(struct tree *tree, struct tree_node *node, bool right)
{
    struct tree_node *top = tree_rotate(tree, node, right);
    node->height = height_over(node);
    top->height = height_over(top);
    return top;
}

/* Makes `node` balanced, whose sides are. Returns the top of the subtree then. */
static struct tree_node *balance(struct tree *tree, struct tree_node *node)
{
    uint64_t left = height(node->left), right = height(node->right);
    node->height = height_over(node);
    if (left <= right + 1 && right <= left + 1)
        return node;
    bool to_right = left > right;
    struct tree_node *child = *tree_child(node, !to_right);
    if (height(*tree_child(child, to_right)) > height(*tree_child(child, !to_right)))
        rotate(tree, child, !to_right);
    return rotate(tree, node, to_right);
}

static void balance_upwards(struct tree *tree, struct tree_node *node)
{
    for (; node; node = node->parent)
        node = balance(tree, node);
}

void avl_insert(struct tree *tree, struct tree_node *node)
{
    tree_link(tree, node, 1);
    balance_upwards(tree, node->parent);
}

void avl_remove(struct tree *tree, struct tree_node *node)
{
    tree_unlink(tree, node);
    balance_upwards(tree, node->parent);
}

static const char *check_node(const struct tree_node *node)
{
    uint64_t left = height(node->left), right = height(node->right);
    if (node->height != height_over(node))
        return "height == 1 + that of the higher child";
    return left > right + 1 || right > left + 1 ? "heights of siblings differ by at most 1" : NULL;
}

const char *avl_check(const struct tree *tree, bool (*is_node)(const void *context, const struct tree_node *node),
                      const void *context)
{
    return tree_check(tree, is_node, context, check_node);
}
