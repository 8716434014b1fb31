"""HEAP62 of buddies: each byte of the tree follows from its two halves."""

from collections.abc import Iterator

from gdbext.checks.finding import Broken
from gdbext.heap.buddy import WrongNode
from gdbext.units import hex_address


def check_nodes(nodes: tuple[WrongNode, ...]) -> Iterator[Broken]:
    """The nodes that are wrong, from the leaves up."""
    for node in nodes:
        block = f"the block of {node.size} bytes at {hex_address(node.block)}"
        yield Broken(
            "node",
            node.at,
            f"{node.expected} for {block}, {_halves(node)}",
            f"{node.byte}",
            _cause(node),
        )


def _halves(node: WrongNode) -> str:
    if node.halves is None:
        return "which has no halves: 1 when it is free, else 0"
    return f"whose halves have {node.halves[0]} and {node.halves[1]}"


def _cause(node: WrongNode) -> str:
    """The likely cause: the missed step that leaves this byte."""
    if node.halves is not None and node.byte == max(node.halves) == node.expected - 1:
        return "two free buddies were not merged: the byte above them was not updated when the second was freed"
    if node.byte == 0:
        return "the whole block is marked as used although parts of it are: it was allocated while not free"
    if node.byte < node.expected:
        return "a block below was freed and the bytes above it were not updated, or a stray write"
    return "a block below was allocated and the bytes above it were not updated, or a stray write"
