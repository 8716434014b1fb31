/* Knows what sorted trees must do, that they stay flat, and that their checks fire. */

#include <stddef.h>
#include <stdint.h>

#include "lib/avl.h"
#include "lib/redblack.h"
#include "lib/string.h"
#include "scenario/random.h"
#include "selftest/selftest.h"

enum { ITEMS = 300, KEYS = 100, STEPS = 10000, CHECK_EVERY = 50 };

static struct item {
    struct tree_node node;              /* first: a node's address is its item's */
    uint64_t key, inserted;             /* when; 0 when it is not in the tree */
} items[ITEMS];

static bool comes_before(const struct tree_node *a, const struct tree_node *b)
{
    return ((const struct item *)a)->key < ((const struct item *)b)->key;
}

static bool is_item(const void *context, const struct tree_node *node)
{
    uint64_t offset = (uint64_t)node - (uint64_t)items;
    (void)context;
    return offset < sizeof(items) && offset % sizeof(*items) == 0 && items[offset / sizeof(*items)].inserted;
}

/* Both kinds, so that each test is written once. */
static const struct kind {
    void (*insert)(struct tree *tree, struct tree_node *node);
    void (*remove)(struct tree *tree, struct tree_node *node);
    const char *(*check)(const struct tree *, bool (*is_node)(const void *, const struct tree_node *), const void *);
    uint64_t highest;                   /* with ITEMS nodes: 1.44 log2(302), and 2 log2(301) */
} avl = { avl_insert, avl_remove, avl_check, 11 }, redblack = { redblack_insert, redblack_remove, redblack_check, 16 };

static uint64_t height(const struct tree_node *node)
{
    uint64_t left = node ? height(node->left) : 0, right = node ? height(node->right) : 0;
    return node ? 1 + (left > right ? left : right) : 0;
}

static uint64_t count_inserted(void)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < ITEMS; i++)
        count += items[i].inserted != 0;
    return count;
}

/* Every item that is in, by key, those with the same key in the order in which they came. */
static bool is_sequence_right(const struct tree *tree)
{
    uint64_t count = 0;
    const struct item *previous = NULL;
    for (const struct tree_node *node = tree_first(tree); node; node = tree_next(node), count++) {
        const struct item *item = (const struct item *)node;
        if (!item->inserted || count > ITEMS)
            return false;
        if (previous && (item->key < previous->key || (item->key == previous->key && item->inserted < previous->inserted)))
            return false;
        previous = item;
    }
    return count == count_inserted() && count == tree->count;
}

static void toggle(const struct kind *kind, struct tree *tree, struct item *item, uint64_t key, uint64_t now)
{
    if (item->inserted) {
        kind->remove(tree, &item->node);
        item->inserted = 0;
        return;
    }
    item->key = key;
    item->inserted = now;
    kind->insert(tree, &item->node);
}

static void test_random(const struct kind *kind)
{
    struct tree tree = { .before = comes_before };
    memset(items, 0, sizeof(items));
    for (uint64_t step = 1; step <= STEPS; step++) {
        toggle(kind, &tree, &items[random_below(ITEMS)], random_below(KEYS), step);
        if (step % CHECK_EVERY == 0)
            EXPECT(is_sequence_right(&tree) && kind->check(&tree, is_item, NULL) == NULL);
    }
    for (unsigned i = 0; i < ITEMS; i++) {
        if (items[i].inserted)
            toggle(kind, &tree, &items[i], 0, 0);
        EXPECT(is_sequence_right(&tree) && kind->check(&tree, is_item, NULL) == NULL);
    }
    EXPECT(tree.root == NULL && tree.count == 0);
}

/* In order, backwards, and all equal: what makes an unbalanced tree a list. */
static void test_flat(const struct kind *kind)
{
    for (int way = 0; way < 3; way++) {
        struct tree tree = { .before = comes_before };
        memset(items, 0, sizeof(items));
        for (uint64_t i = 0; i < ITEMS; i++)
            toggle(kind, &tree, &items[i], way == 0 ? i : way == 1 ? ITEMS - i : 7, i + 1);
        EXPECT(is_sequence_right(&tree) && height(tree.root) <= kind->highest);
        for (unsigned i = 0; i < ITEMS - 8; i++)
            toggle(kind, &tree, &items[i], 0, 0);
        EXPECT(is_sequence_right(&tree) && height(tree.root) <= 5);
    }
}

void test_avl(void) { test_random(&avl); test_flat(&avl); }
void test_redblack(void) { test_random(&redblack); test_flat(&redblack); }

/* --- the checks fire ------------------------------------------------------------------------------------------------- */

static bool finds_changed(const struct kind *kind, const struct tree *tree, void *memory, uint64_t value, const char *rule)
{
    uint64_t *at = memory, saved = *at;
    *at = value;
    const char *broken = kind->check(tree, is_item, NULL);
    *at = saved;
    return broken && strcmp(broken, rule) == 0;
}

/* Seven items in order: a full tree, with the fourth at the top. */
static struct tree seven(const struct kind *kind)
{
    struct tree tree = { .before = comes_before };
    memset(items, 0, sizeof(items));
    for (uint64_t i = 0; i < 7; i++)
        toggle(kind, &tree, &items[i], 10 * i, i + 1);
    return tree;
}

static void test_links(const struct kind *kind)
{
    static const char *const back = "children are nodes, and point back to their parent";
    struct tree tree = seven(kind);
    struct item *leaf = &items[0], *inner = &items[1];
    EXPECT(kind->check(&tree, is_item, NULL) == NULL);
    EXPECT(finds_changed(kind, &tree, &tree.root, 8, "the root is a node that has no parent"));
    EXPECT(finds_changed(kind, &tree, &leaf->node.parent, (uint64_t)leaf, back));
    EXPECT(finds_changed(kind, &tree, &leaf->node.left, 0xdddddddddddddddd, back));
    EXPECT(finds_changed(kind, &tree, &leaf->node.right, (uint64_t)tree.root, back));
    EXPECT(finds_changed(kind, &tree, &inner->node.right, (uint64_t)inner->node.left, "count == number of nodes in the tree"));
    EXPECT(finds_changed(kind, &tree, &tree.count, 8, "count == number of nodes in the tree"));
    EXPECT(finds_changed(kind, &tree, &tree.count, 6, "count == number of nodes in the tree"));
    EXPECT(finds_changed(kind, &tree, &leaf->key, 11, "the tree is in order"));
}

void test_tree_check(void)
{
    test_links(&avl);
    test_links(&redblack);

    struct tree tree = seven(&avl);
    EXPECT(tree.root == &items[3].node);
    EXPECT(finds_changed(&avl, &tree, &items[0].node.height, 2, "height == 1 + that of the higher child"));
    toggle(&avl, &tree, &items[0], 0, 0);
    items[2].node.right = &items[8].node;       /* put there by hand, and nothing rotated */
    items[8] = (struct item) { .node = { .parent = &items[2].node, .height = 1 }, .key = 25, .inserted = 9 };
    items[2].node.height = 2;
    items[1].node.height = 3;
    items[3].node.height = 4;
    tree.count++;
    const char *broken = avl_check(&tree, is_item, NULL);
    EXPECT(broken && strcmp(broken, "heights of siblings differ by at most 1") == 0);

    tree = seven(&redblack);
    EXPECT(redblack_check(&tree, is_item, NULL) == NULL && tree.root == &items[1].node);
    EXPECT(finds_changed(&redblack, &tree, &tree.root->red, 1, "red is 0 or 1, and 0 in the root"));
    EXPECT(finds_changed(&redblack, &tree, &items[0].node.red, 1, "every way down has the same number of black nodes"));
    EXPECT(finds_changed(&redblack, &tree, &items[5].node.red, 1, "a red node's children are black"));
}
