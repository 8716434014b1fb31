"""HEAP62 of buddies: what each byte of their tree says follows from its halves."""

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
    """The likely cause: what of the node's bytes would be right if something had not been left out."""
    if node.halves is not None and node.byte == max(node.halves) == node.expected - 1:
        return "two free buddies were not merged: the byte above them was not computed when the second was freed"
    if node.byte == 0:
        return "the block is marked as used although parts of it are: it was taken while it was not free"
    if node.byte < node.expected:
        return "a block below was freed and the bytes above it were not computed, or a stray write"
    return "a block below was taken and the bytes above it were not computed, or a stray write"
