"""HEAP62: free neighbours are merged, and each free chunk is once on a free list or in the tree, where it belongs."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gdbext.checks.finding import Broken
from gdbext.checks.heaps.buddy import check_nodes
from gdbext.checks.heaps.inputs import HeapInputs
from gdbext.checks.heaps.wording import describe, neighbours
from gdbext.heap.buddy import BuddyDetail
from gdbext.heap.index import NOBODY, Bin, FreeIndex, FreeTree, Rover
from gdbext.heap.list import ListDetail
from gdbext.heap.snapshot import HeapSnapshot
from gdbext.structures.chain import Break
from gdbext.units import VirtAddr, hex_address

_BAD_LINK = "a chunk was written to after it was freed, or was freed twice"


def check_free(inputs: HeapInputs) -> Iterator[Broken]:
    """HEAP62 as a whole."""
    heap = inputs.heap
    if heap.layout.coalesces:
        yield from _unmerged(heap)
    match heap.detail:
        case BuddyDetail(wrong_nodes=nodes):
            yield from check_nodes(nodes)
        case ListDetail(rover=rover) if rover:
            yield from _rover(heap, rover)
    if heap.index is None:
        return
    for found in heap.index.bins:
        yield from _bin(heap, found)
    if heap.index.tree is not None:
        yield from _tree(heap, heap.index.tree)
    yield from _members(heap, heap.index)


def _unmerged(heap: HeapSnapshot) -> Iterator[Broken]:
    """Two neighbours that are both free."""
    chunks, at = heap.chunks, heap.pairs
    free = chunks.free & chunks.sound
    for index in at[free[at] & free[at + 1] & (heap.ends[at] == chunks.address[at + 1])].tolist():
        yield Broken(
            "chunk",
            int(chunks.address[index]),
            "free neighbours merged into one chunk",
            "two free chunks side by side",
            "freeing one of them did not merge it, or a flag was overwritten (a used chunk is now marked free)",
            (describe(chunks.at(index)), describe(chunks.at(index + 1))),
        )


def _rover(heap: HeapSnapshot, rover: VirtAddr) -> Iterator[Broken]:
    """The next search begins at a chunk."""
    if heap.unseen is None and np.uint64(rover) not in heap.chunks.address:
        yield Broken(
            "heap",
            rover,
            "a chunk where the next search begins",
            f"it begins at {hex_address(rover)}, where no chunk begins",
            "the chunk that it pointed to was merged into another, or was allocated whole and split again later",
            _holding(heap, rover),
        )


def _holding(heap: HeapSnapshot, address: int) -> tuple[str, ...]:
    """The chunk that an address lies in, and its neighbours."""
    chunks = heap.chunks
    inside = np.flatnonzero((chunks.address <= np.uint64(address)) & (heap.ends > np.uint64(address)))
    if not len(inside):
        return ("that address is in no chunk",)
    index = int(inside[0])
    return (f"it lies in {describe(chunks.at(index))}", *neighbours(heap, index))


def _link(heap: HeapSnapshot, what: str, at: int | None, link: Break) -> Broken:
    """A broken link of a free list or tree."""
    source = f"the chunk at {hex_address(link.source)}" if link.source is not None else "the heap's own variable"
    return Broken(
        "chunk" if link.source is not None else "heap",
        link.source if link.source is not None else at,
        f"a link to a free chunk not yet in {what}, or the link that ends it",
        f"it points to {hex_address(link.target)}: {link.why}",
        _BAD_LINK,
        (f"{what}: the link is in {source}",),
    )


def _bin(heap: HeapSnapshot, found: Bin) -> Iterator[Broken]:
    """A list: its links, the sizes on it, its order, its length."""
    chunks, what = heap.chunks, f"list {found.name} of '{heap.name}'"
    if found.broken is not None:
        yield _link(heap, what, found.link_at, found.broken)
    yield from _back(heap, found, what)
    sizes = chunks.size[found.members]
    outside = np.zeros(len(sizes), dtype=np.bool_)
    if found.low is not None:
        outside |= sizes < found.low
    if found.high is not None:
        outside |= sizes >= found.high
    outside &= (chunks.sound & heap.fits)[found.members]  # HEAP60 reports the others
    for number in found.members[outside].tolist():
        yield Broken(
            "chunk",
            int(chunks.address[number]),
            f"{_range(found)} on {what}",
            f"{int(chunks.size[number])} bytes",
            "it was put on the list for another size, or its size changed while it was on the list",
            neighbours(heap, number),
        )
    yield from _sorted(heap, found, what)
    if found.length is not None and found.broken is None and found.length.value != len(found.members):
        yield Broken(
            "counter",
            found.length.address,
            f"{len(found.members)}, counted along {what}",
            f"{found.length.text} = {found.length.value}",
            "a chunk was added or removed without updating the counter",
        )
    if found.rover is not None and found.broken is None:
        yield from _list_rover(heap, found, found.rover, what)


def _list_rover(heap: HeapSnapshot, found: Bin, rover: Rover, what: str) -> Iterator[Broken]:
    """The next search in a list begins on it, or at its start."""
    if rover.number != NOBODY and rover.number not in found.members:
        yield Broken(
            "heap",
            rover.at,
            f"a chunk on {what}, where the next search begins",
            f"it begins at {hex_address(rover.link)}, which is not on it",
            "the chunk that it pointed to was removed from the list, or merged into another",
            _holding(heap, rover.link),
        )


def _range(found: Bin) -> str:
    low = "any number of" if found.low is None else f"at least {found.low}"
    return f"{low} bytes" + ("" if found.high is None else f" and fewer than {found.high}")


def _back(heap: HeapSnapshot, found: Bin, what: str) -> Iterator[Broken]:
    """Links back mirror the links forward; the first may point to the list itself."""
    if found.back is None or not len(found.members):
        return
    first = found.members[-1:] if found.circular and found.broken is None else found.back[:1]
    expected = np.concatenate([first, found.members[:-1]])
    for at in np.flatnonzero(found.back != expected).tolist():
        number = int(found.members[at])
        yield Broken(
            "chunk",
            int(heap.chunks.address[number]),
            f"a link back to chunk {hex_address(int(heap.chunks.address[expected[at]]))}, on {what}",
            "it points elsewhere",
            "a chunk was inserted or removed without updating both neighbours, or written to after it was freed",
            (describe(heap.chunks.at(number)),),
        )


def _sorted(heap: HeapSnapshot, found: Bin, what: str) -> Iterator[Broken]:
    if found.sorted == "nothing":
        return
    keys = (heap.chunks.address if found.sorted == "address" else heap.chunks.size)[found.members]
    for at in np.flatnonzero(keys[1:] < keys[:-1]).tolist():
        number = int(found.members[at + 1])
        yield Broken(
            "chunk",
            int(heap.chunks.address[number]),
            f"ascending order of {found.sorted} on {what}",
            f"it comes after chunk {hex_address(int(heap.chunks.address[found.members[at]]))}",
            "it was inserted at the wrong position",
            (describe(heap.chunks.at(number)),),
        )


def _members(heap: HeapSnapshot, index: FreeIndex) -> Iterator[Broken]:
    """Each free chunk is in the index once, and no other chunk is."""
    chunks, times = heap.chunks, index.times(len(heap.chunks))
    for number in np.flatnonzero(chunks.sound & ~chunks.free & (times > 0)).tolist():
        yield Broken(
            "chunk",
            int(chunks.address[number]),
            "only free chunks on the free lists or in the tree",
            "it is there, and marked used",
            "it was allocated and not removed, or its flag was overwritten: it will be allocated twice",
            (describe(chunks.at(number)), *neighbours(heap, number)),
        )
    for number in np.flatnonzero(times > 1).tolist():
        yield Broken(
            "chunk",
            int(chunks.address[number]),
            "each free chunk once on the free lists or in the tree",
            f"it is there {int(times[number])} times",
            "it was freed twice, or put on a second list without being removed from the first",
            (describe(chunks.at(number)),),
        )
    if not index.whole or heap.unseen is not None:
        return
    for number in np.flatnonzero(chunks.sound & chunks.free & (times == 0)).tolist():
        yield Broken(
            "chunk",
            int(chunks.address[number]),
            "every free chunk on a free list or in the tree",
            "it is not there",
            "it was freed or split off without being added: it is never allocated again; or its flag was overwritten",
            (describe(chunks.at(number)), *neighbours(heap, number)),
        )


def _tree(heap: HeapSnapshot, tree: FreeTree) -> Iterator[Broken]:
    """A tree: its links, its order, and its balance."""
    what = f"the tree of '{heap.name}'"
    for link in tree.broken:
        yield _link(heap, what, None, link)
    if tree.parent is not None:
        wrong = tree.parent[tree.members] != tree.up
        for number, up in zip(tree.members[wrong].tolist(), tree.up[wrong].tolist(), strict=True):
            above = "nothing: it is the root" if up == NOBODY else f"chunk {hex_address(int(heap.chunks.address[up]))}"
            yield _node(heap, number, f"a link up to {above}", "it points elsewhere")
    yield from _order(heap, tree)
    if not tree.broken:
        yield from _flat(heap, tree)
    if tree.count is not None and not tree.broken and tree.count.value != len(tree.members):
        yield Broken(
            "counter",
            tree.count.address,
            f"{len(tree.members)}, counted in {what}",
            f"{tree.count.text} = {tree.count.value}",
            "a chunk was added or removed without updating the counter",
        )


def _node(heap: HeapSnapshot, number: int, expected: str, actual: str) -> Broken:
    cause = "the tree was rotated or rebalanced wrongly, or the chunk was written to after it was freed"
    return Broken(
        "chunk", int(heap.chunks.address[number]), expected, actual, cause, (describe(heap.chunks.at(number)),)
    )


def _order(heap: HeapSnapshot, tree: FreeTree) -> Iterator[Broken]:
    """No key is less than the key before it."""
    order = _in_order(tree)
    keys = tree.key[order]
    for at in np.flatnonzero(keys[1:] < keys[:-1]).tolist():
        number, before = int(order[at + 1]), int(order[at])
        address = hex_address(int(heap.chunks.address[before]))
        expected = f"at least {int(keys[at])}, the key of chunk {address} before it in the tree"
        yield _node(heap, number, expected, f"{int(keys[at + 1])}")


def _in_order(tree: FreeTree) -> NDArray[np.int64]:
    """The members from the least to the largest. (A member that is reached twice comes once.)"""
    inside = _kids(tree)
    order: list[int] = []
    path: list[int] = []
    at = int(tree.members[0]) if len(tree.members) else NOBODY
    while path or at != NOBODY:
        while at != NOBODY:
            path.append(at)
            at = inside[0].get(at, NOBODY)
        at = path.pop()
        order.append(at)
        at = inside[1].get(at, NOBODY)
    return np.array(order, dtype=np.int64)


def _kids(tree: FreeTree) -> tuple[dict[int, int], dict[int, int]]:
    """The left and the right children of members, by the number of their parent."""
    kids: tuple[dict[int, int], dict[int, int]] = ({}, {})
    for number, up in zip(tree.members.tolist(), tree.up.tolist(), strict=True):
        if up != NOBODY:
            kids[int(tree.left[up] != number)][up] = number
    return kids


def _flat(heap: HeapSnapshot, tree: FreeTree) -> Iterator[Broken]:
    if tree.kind == "avl":
        yield from _avl(heap, tree)
    elif tree.kind == "redblack":
        yield from _redblack(heap, tree)


def _avl(heap: HeapSnapshot, tree: FreeTree) -> Iterator[Broken]:
    """The heights of a node's two sides differ by at most one, and the node's height or balance is right."""
    left, right = _kids(tree)
    heights: dict[int, int] = {NOBODY: 0}
    for number in tree.members[::-1].tolist():
        sides = heights[left.get(number, NOBODY)], heights[right.get(number, NOBODY)]
        heights[number] = 1 + max(sides)
        if abs(sides[0] - sides[1]) > 1:
            yield _node(heap, number, "sides whose heights differ by at most one", f"{sides[0]} and {sides[1]}")
        if tree.rank is None:
            continue
        right_one = heights[number] if tree.ranks == "height" else sides[1] - sides[0]
        if int(tree.rank[number]) != right_one:
            yield _node(heap, number, f"{tree.ranks} {right_one}", f"it records {int(tree.rank[number])}")


def _redblack(heap: HeapSnapshot, tree: FreeTree) -> Iterator[Broken]:
    """The root is black, no red node has a red parent, and every path down has the same number of black nodes."""
    if tree.rank is None or not len(tree.members):
        return
    red, (left, right) = tree.rank != 0, _kids(tree)
    if red[tree.members[0]]:
        yield _node(heap, int(tree.members[0]), "a black root", "it is red")
    below = (tree.up != NOBODY) & red[tree.members] & red[tree.up]
    for number in tree.members[below].tolist():
        yield _node(heap, number, "black, or a black parent", "it is red, and its parent is red")
    blacks: dict[int, int] = {NOBODY: 1}
    for number in tree.members[::-1].tolist():
        sides = blacks[left.get(number, NOBODY)], blacks[right.get(number, NOBODY)]
        blacks[number] = max(sides) + int(not red[number])
        if sides[0] != sides[1]:
            expected = "the same number of black nodes on every path down"
            yield _node(heap, number, expected, f"{sides[0]} on the left, {sides[1]} on the right")
