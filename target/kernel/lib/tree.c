/* Knows how a binary search tree is walked, changed and verified.
 *
 * Invariants
 *     root.parent == NULL; node.left.parent == node; node.right.parent == node
 *     in order, no node has to come before the one in front of it
 *     count == number of nodes */

#include "lib/tree.h"

#include <stddef.h>

/* --- walking --------------------------------------------------------------------------------------------------------- */

static struct tree_node *leftmost(struct tree_node *node)
{
    while (node && node->left)
        node = node->left;
    return node;
}

struct tree_node *tree_first(const struct tree *tree) { return leftmost(tree->root); }

struct tree_node *tree_next(const struct tree_node *node)
{
    if (node->right)
        return leftmost(node->right);
    while (tree_is_right(node))
        node = node->parent;
    return node->parent;
}

/* Parents before their children, so that links can be verified before they are followed. */
static const struct tree_node *next_downwards(const struct tree_node *node)
{
    if (node->left || node->right)
        return node->left ? node->left : node->right;
    while (node->parent && (tree_is_right(node) || !node->parent->right))
        node = node->parent;
    return node->parent ? node->parent->right : NULL;
}

/* --- changing -------------------------------------------------------------------------------------------------------- */

/* The link that leads to `node`. */
static struct tree_node **link_to(struct tree *tree, const struct tree_node *node)
{
    return node->parent ? tree_child(node->parent, tree_is_right(node)) : &tree->root;
}

static void hang(struct tree_node *parent, struct tree_node **link, struct tree_node *child)
{
    *link = child;
    if (child)
        child->parent = parent;
}

void tree_link(struct tree *tree, struct tree_node *node, uint64_t rank)
{
    struct tree_node *parent = NULL, **link = &tree->root;
    while (*link) {
        parent = *link;
        link = tree_child(parent, !tree->before(node, parent));
    }
    *node = (struct tree_node) { .rank = rank };
    hang(parent, link, node);
    tree->count++;
}

/* `node` has two children, `heir` is the leftmost of the right one's side: it takes the place of `node`, and that its. */
static void exchange(struct tree *tree, struct tree_node *node, struct tree_node *heir)
{
    struct tree_node there = *heir;
    hang(node->parent, link_to(tree, node), heir);
    hang(heir, &heir->left, node->left);
    if (there.parent == node) {
        hang(heir, &heir->right, node);
    } else {
        hang(heir, &heir->right, node->right);
        hang(there.parent, &there.parent->left, node);
    }
    heir->rank = node->rank;
    node->left = NULL;
    hang(node, &node->right, there.right);
    node->rank = there.rank;
}

void tree_unlink(struct tree *tree, struct tree_node *node)
{
    if (node->left && node->right)
        exchange(tree, node, leftmost(node->right));
    hang(node->parent, link_to(tree, node), node->left ? node->left : node->right);
    tree->count--;
}

struct tree_node *tree_rotate(struct tree *tree, struct tree_node *node, bool right)
{
    struct tree_node *child = *tree_child(node, !right);
    hang(node->parent, link_to(tree, node), child);
    hang(node, tree_child(node, !right), *tree_child(child, right));
    hang(child, tree_child(child, right), node);
    return child;
}

/* --- check ----------------------------------------------------------------------------------------------------------- */

static const char *check_links(const struct tree *tree, bool (*is_node)(const void *, const struct tree_node *),
                               const void *context)
{
    uint64_t count = 0;
    if (tree->root && (!is_node(context, tree->root) || tree->root->parent))
        return "the root is a node that has no parent";
    for (const struct tree_node *node = tree->root; node; node = next_downwards(node)) {
        const struct tree_node *children[] = { node->left, node->right };
        for (int i = 0; i < 2; i++)
            if (children[i] && (!is_node(context, children[i]) || children[i]->parent != node))
                return "children are nodes, and point back to their parent";
        if (++count > tree->count)
            break;
    }
    return count == tree->count ? NULL : "count == number of nodes in the tree";
}

const char *tree_check(const struct tree *tree, bool (*is_node)(const void *context, const struct tree_node *node),
                       const void *context, const char *(*check_node)(const struct tree_node *node))
{
    const char *broken = check_links(tree, is_node, context);
    const struct tree_node *previous = NULL;
    for (const struct tree_node *node = broken ? NULL : tree_first(tree); node && !broken; node = tree_next(node)) {
        broken = previous && tree->before(node, previous) ? "the tree is in order" : check_node(node);
        previous = node;
    }
    return broken;
}
