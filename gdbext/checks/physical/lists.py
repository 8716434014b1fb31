"""The rules of managers that keep free frames on lists or in a buddy system: links, members, zones, orders."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gdbext.checks.finding import Broken, Rule
from gdbext.checks.physical.inputs import BLOCKS, ZONES, PmmInputs
from gdbext.pmm.lists import FreeList, ListSnapshot
from gdbext.pmm.tree import TreeSnapshot
from gdbext.structures.chain import Break, Stop
from gdbext.units import FRAME_SHIFT, hex_address

_CAUSES = {
    Stop.LOOP: "a frame was freed twice, or a link was overwritten",
    Stop.SHARED: "a block was put on a list while it was on another, or a link was overwritten",
    Stop.UNREADABLE: "a frame was written to after it was freed, or a write ran past the end of the frame before it",
    Stop.ASTRAY: "a frame was written to after it was freed, or a pointer was computed in the wrong unit",
    Stop.TOO_LONG: "links were overwritten: there are not that many frames",
}


def _lists(inputs: PmmInputs) -> ListSnapshot:
    assert isinstance(inputs.manager, ListSnapshot)
    return inputs.manager


def check_lists(inputs: PmmInputs) -> Iterator[Broken]:
    """PMM10: lists end, link free frames, hold each frame once, and have the length that the kernel records."""
    manager = _lists(inputs)
    for found in manager.lists:
        if found.chain.broken is not None and not (manager.is_buddy and found.chain.broken.stop is Stop.SHARED):
            yield _broken_link(found, found.chain.broken)
        yield from _strangers(manager, found)
        yield from _back_links(manager, found)
        yield from _too_full(found)
        yield from _order_of_addresses(manager, found)
        yield from _length(found)
    if not manager.is_buddy:
        yield from _places(manager)
        yield from _twice(manager)


def _broken_link(found: FreeList, link: Break) -> Broken:
    count = len(found.chain)
    source = f"node {hex_address(link.source)}" if link.source is not None else "the list head"
    evidence = [f"list {found.name}: {count} node{'s' * (count != 1)} before it; the link is in {source}"]
    if count > 1:
        evidence.append(f"the node before that is {hex_address(int(found.chain.nodes[count - 2]))}")
    text = _as_text(link.target)
    cause = f"the link was overwritten with text: {text!r}" if text else _CAUSES[link.stop]
    return Broken(
        "link",
        found.broken_at,
        "a link to a free frame not visited yet, or the end of the list",
        f"it points to {hex_address(link.target)}: {link.why}",
        cause,
        tuple(evidence),
    )


def _as_text(value: int) -> str:
    """The characters of a link that consists of text, else empty."""
    data = value.to_bytes(8, "little").rstrip(b"\0")
    return data.decode("ascii") if len(data) > 3 and all(32 <= byte < 127 for byte in data) else ""


def _strangers(manager: ListSnapshot, found: FreeList) -> Iterator[Broken]:
    for at in np.flatnonzero(found.bad_magic).tolist():
        frame = f", its frame is {hex_address(int(found.chain.physical[at]))}" if manager.in_frames else ""
        yield Broken(
            "node",
            int(found.chain.nodes[at]),
            "the magic value of a free frame",
            "another value, though the links before and after it are intact",
            "the frame was handed out while still on the list, or written to after it was freed",
            (f"node {at} of list {found.name}{frame}",),
        )


def _back_links(manager: ListSnapshot, found: FreeList) -> Iterator[Broken]:
    if found.prev is None or not len(found.chain):
        return
    nodes = found.chain.nodes
    expected = np.concatenate([nodes[-1:] if manager.circular else np.zeros(1, dtype=np.uint64), nodes[:-1]])
    wrong = found.prev != expected
    if not manager.circular and found.link_at is not None:
        wrong[0] &= found.prev[0] != np.uint64(found.link_at)  # a first node may link back to the list head
    for at in np.flatnonzero(wrong).tolist():
        before = int(expected[at])
        yield Broken(
            "node",
            int(nodes[at]),
            f"a link back to {hex_address(before)}" if before else "no link back: it is the first",
            f"it points back to {hex_address(int(found.prev[at]))}",
            "a node was inserted or removed without updating both of its neighbours",
            (f"node {at} of list {found.name}",),
        )


def _too_full(found: FreeList) -> Iterator[Broken]:
    if found.entries is None or found.room is None:
        return
    for at in np.flatnonzero((found.entries > found.room) | (found.entries < 0)).tolist():
        yield Broken(
            "node",
            int(found.chain.nodes[at]),
            f"at most {int(found.room[at])} entries, which is its capacity",
            f"its count is {int(found.entries[at])}",
            "its count was overwritten, or the next page was begun before this page was full",
        )


def _order_of_addresses(manager: ListSnapshot, found: FreeList) -> Iterator[Broken]:
    start = found.members.start
    if not manager.sorted or len(start) < 2:
        return
    end = found.members.ends(manager.frame_size)
    wrong = start[1:] < start[:-1]
    touching = start[1:] == end[:-1]
    for at in np.flatnonzero(wrong | (touching & manager.coalesces)).tolist():
        unmerged = bool(touching[at])
        yield Broken(
            "run",
            int(start[at + 1]),
            f"a run after {hex_address(int(end[at]))}" + (", and not adjacent to it" if unmerged else ""),
            "it begins there: the two runs should be one" if unmerged else "it is before the run that links to it",
            "adjacent runs were not merged" if unmerged else "a run was inserted at the wrong position",
            (f"list {found.name}, after the run at {hex_address(int(start[at]))}",),
        )


def _length(found: FreeList) -> Iterator[Broken]:
    length = found.length
    if length is None or found.chain.broken is not None or length.value == found.counted:
        return
    yield Broken(
        "counter",
        length.address,
        f"{found.counted}, counted along the list",
        f"{length.text} of list {found.name} is {length.value} ({length.value - found.counted:+d})",
        "a frame was added to the list or removed without updating the count (a lost update, a double free)",
    )


def _places(manager: ListSnapshot) -> Iterator[Broken]:
    """Members that cannot be frames: not at the start of a frame, of size 0, or not RAM."""
    for found in manager.lists:
        start, frames = found.members.start, found.members.frames
        size = np.uint64(manager.frame_size)
        off = (start - np.uint64(manager.base)) % size != 0
        yield from _members(found, off, "the address of a frame", "it is not the start of a frame")
        yield from _members(found, frames == 0, "at least one frame", "a run of 0 frames")
        outside = ~off & (frames > 0) & ~_is_ram(manager, start, frames)
        yield from _members(found, outside, "RAM", "there is no RAM, or not all of it is RAM")


def _is_ram(manager: ListSnapshot, start: NDArray[np.uint64], frames: NDArray[np.int64]) -> NDArray[np.bool_]:
    last = start + ((frames - 1) * manager.frame_size).astype(np.uint64)
    shift = np.uint64(FRAME_SHIFT)
    return manager.ram.holds_frames(start >> shift) & manager.ram.holds_frames(last >> shift) & (last >= start)


def _members(found: FreeList, wrong: NDArray[np.bool_], expected: str, actual: str) -> Iterator[Broken]:
    """One finding for all members of a list that are wrong in the same way."""
    which = np.flatnonzero(wrong)
    if not len(which):
        return
    at = int(which[0])
    node = int(found.chain.nodes[found.members.node[at]])
    entry = int(found.members.entry[at])
    where = f"list {found.name}, node {hex_address(node)}" + (f", entry {entry}" if entry >= 0 else "")
    more = (f"and {len(which) - 1} more on this list",) if len(which) > 1 else ()
    cause = "the list was overwritten, or an address that is not a frame of this manager was freed"
    yield Broken("frame", int(found.members.start[at]), expected, actual, cause, (where, *more))


def _twice(manager: ListSnapshot) -> Iterator[Broken]:
    """Members that share a frame with another member."""
    members, lists = manager.by_address
    start, end = members.start, members.ends(manager.frame_size)
    for at in members.overlapping(manager.frame_size).tolist():
        other = int(np.flatnonzero(end[:at] > start[at])[0])
        names = [manager.lists[int(lists[i])].name for i in (other, at)]
        blocks = [
            f"{hex_address(int(start[i]))}, {int(members.frames[i])} frames, list {names[n]}"
            for n, i in ((0, other), (1, at))
        ]
        yield Broken(
            "frame",
            int(start[at]),
            "each free frame listed once",
            "it is listed twice",
            "it was freed twice, or split and merged wrongly: it will be allocated twice",
            tuple(blocks),
        )


def check_zones(inputs: PmmInputs) -> Iterator[Broken]:
    """PMM11: a frame is on the list for its addresses."""
    manager = _lists(inputs)
    for found in manager.lists:
        if found.start is None and found.end is None:
            continue
        low = found.start or 0
        high = found.end if found.end is not None else 1 << 63
        end = found.members.ends(manager.frame_size)
        which = np.flatnonzero((found.members.start < np.uint64(low)) | (end > np.uint64(high)))
        if len(which):
            address = int(found.members.start[which[0]])
            more = (f"and {len(which) - 1} more on this list",) if len(which) > 1 else ()
            yield Broken(
                "frame",
                address,
                f"frames from {hex_address(low)} up to {hex_address(high)} on list {found.name}",
                f"{hex_address(address)} is on that list",
                "the list was chosen by the request, not by the frame's address",
                (f"node {hex_address(int(found.chain.nodes[found.members.node[which[0]]]))}", *more),
            )


def check_buddies(inputs: PmmInputs) -> Iterator[Broken]:
    """PMM12: blocks are aligned to their size, on the list of their order, once, merged, and match their pair bits."""
    manager = _lists(inputs)
    for found in manager.lists:
        if found.chain.broken is not None and found.chain.broken.stop is Stop.SHARED:
            yield _broken_link(found, found.chain.broken)
        yield from _wrong_order(manager, found)
    yield from _places(manager)
    yield from _twice(manager)
    highest = max((found.order or 0 for found in manager.lists), default=0)
    numbers, orders = _blocks(manager)
    for order in sorted({found.order or 0 for found in manager.lists}):
        mine = np.unique(numbers[orders == order])
        if manager.merges and order < highest:
            yield from _unmerged(manager, mine, order)
        pairs = [found for found in manager.lists if found.order == order and found.pairs is not None]
        if len(pairs) == 1 and pairs[0].chain.broken is None:
            yield from _pair_bits(manager, pairs[0], mine, order)


def _blocks(manager: ListSnapshot) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All blocks: number of the first frame, and order."""
    members, _ = manager.by_address
    numbers = ((members.start - np.uint64(manager.base)) // np.uint64(manager.frame_size)).astype(np.int64)
    return numbers, np.log2(np.maximum(members.frames, 1)).astype(np.int64)


def _wrong_order(manager: ListSnapshot, found: FreeList) -> Iterator[Broken]:
    order = found.order or 0
    if found.orders is not None:
        for at in np.flatnonzero(found.orders != order).tolist():
            yield Broken(
                "block",
                int(found.chain.physical[at]) if manager.in_frames else int(found.chain.nodes[at]),
                f"a block of order {order}, the order of its list",
                f"it records order {int(found.orders[at])}",
                "it was put on the list of the request's order instead of its own, or its order was overwritten",
                (f"node {hex_address(int(found.chain.nodes[at]))}, number {at} of list {found.name}",),
            )
    size = found.members.frames * manager.frame_size
    crooked = (found.members.start - np.uint64(manager.base)).astype(np.int64) % np.maximum(size, 1) != 0
    expected = f"a block of order {order}, aligned to its size"
    yield from _members(found, crooked, expected, "it is not aligned to its size")


def _unmerged(manager: ListSnapshot, numbers: NDArray[np.int64], order: int) -> Iterator[Broken]:
    """Blocks of an order whose buddy is free too."""
    lower = numbers[(numbers >> order) % 2 == 0]
    for number in lower[np.isin(lower + (1 << order), numbers)].tolist():
        address = manager.frame_address(number)
        yield Broken(
            "block",
            address,
            f"one block of order {order + 1}",
            f"two blocks of order {order}, both free: {hex_address(address)} and "
            f"{hex_address(manager.frame_address(number + (1 << order)))}",
            "they were not merged: the buddy's number was computed wrongly, or the buddy was treated as used",
            (manager.record_of(number), manager.record_of(number + (1 << order))),
        )


def _pair_bits(manager: ListSnapshot, found: FreeList, numbers: NDArray[np.int64], order: int) -> Iterator[Broken]:
    pairs = found.pairs
    assert pairs is not None
    index, free = np.unique(numbers >> (order + 1), return_counts=True)
    should = type(pairs.bits).of_numbers(index[free == 1].astype(np.uint64), pairs.count)
    for pair in (pairs.bits ^ should).numbers().tolist():
        first = manager.frame_address(pair << (order + 1))
        says, is_so = ("exactly one", "none or both") if pair in pairs.bits else ("none or both", "exactly one")
        yield Broken(
            "pair bit",
            pairs.at + pair // 64 * 8,
            f"bit {pair} of order {order} says: {is_so} of the two blocks from {hex_address(first)} on free",
            f"it says: {says}",
            "a stray write flipped the bit, or a block was allocated or freed without updating it: buddies will be "
            "merged that are not free, or never be merged",
        )


def _pairs_left_out(inputs: PmmInputs) -> tuple[str, ...]:
    orders = [found.order for found in _lists(inputs).lists if found.pairs is not None]
    if len(set(orders)) == len(orders):
        return ()
    return ("pair bits are not compared: several lists have one order, and their bits cannot be distinguished",)


def check_tree(inputs: PmmInputs) -> Iterator[Broken]:
    """PMM12, in a tree of bytes: each byte has the size of the largest free block below it."""
    manager = inputs.manager
    assert isinstance(manager, TreeSnapshot)
    for node in manager.wrong:
        first = hex_address(manager.frame_address(node.first))
        yield Broken(
            "tree node",
            node.address,
            f"{node.should}, computed from the leaves below it",
            f"{node.says}",
            "a frame changed state and the bytes above it were not updated, or a stray write hit it",
            (f"height {node.height}: {1 << node.height} frames from {first} on",),
        )


LIST_RULES: tuple[Rule[PmmInputs], ...] = (
    Rule("PMM10", "free lists are intact", check_lists),
    Rule("PMM11", ZONES, check_zones),
)
BUDDY_RULES: tuple[Rule[PmmInputs], ...] = (Rule("PMM12", BLOCKS, check_buddies, partly=_pairs_left_out),)
TREE_RULES: tuple[Rule[PmmInputs], ...] = (Rule("PMM12", BLOCKS, check_tree),)
