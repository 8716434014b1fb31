"""Torn structures of every physical manager: answered in seconds, by the right rule, with what is sound still shown."""

import os
import random
import struct
import time
from contextlib import contextmanager

import pytest

from .pmm_machine import MANAGERS, Machine, number

DIRECT_MAP = 0xFFFF_8000_0000_0000
KERNEL_BASE = 0xFFFF_FFFF_8000_0000
WORD = (1 << 64) - 1
ABSURD = 1 << 40
PATIENCE = 5.0

# Of each manager of lists: the link to the first node of a list with several, where a node's link is, its list's name.
LISTS = {
    "runs": ("pmm_runs.head.next[0]", "next[0]", "runs"),
    "stack": ("pmm_stack.zone[1].top", "next", "low"),
    "pages": ("pmm_pages.zone[1].top", "next", "low"),
    "buddy": ("pmm_buddy.order[0].first", "next", "0"),
}
NOWHERE = {
    "no-ram": DIRECT_MAP + (1 << 40),
    "device": DIRECT_MAP + 0xFEE0_0000,
    "non-canonical": 0xDEAD_0000_0000_0000,
    "low": 0x1000,
    "beside-a-frame": KERNEL_BASE + 0x100008,
    "all-ones": WORD,
}


@pytest.fixture(scope="module")
def machines(gcc_kernel):
    """One machine for each manager, as they are asked for. What a test tears it mends."""
    running = {}

    def machine(name):
        if name not in running:
            running[name] = Machine(gcc_kernel, append=f"pmm={name}", memory="64M")
            assert running[name].command("memcheck")["findings"] == []
        return running[name]

    yield machine
    for started in running.values():
        assert started.command("memcheck")["findings"] == []
        started.close()


def physical(address):
    return address - (KERNEL_BASE if address >= KERNEL_BASE else DIRECT_MAP)


@contextmanager
def torn(machine, address, data):
    """Guest memory changed behind everybody's back, and put right again."""
    with (machine.qemu.directory / "ram").open("r+b", buffering=0) as ram:
        before = os.pread(ram.fileno(), len(data), physical(address))
        os.pwrite(ram.fileno(), data, physical(address))
        try:
            yield
        finally:
            os.pwrite(ram.fileno(), before, physical(address))


def asked(machine, *command):
    """An answer, in time."""
    start = time.monotonic()
    answer = machine.command(*command)
    assert time.monotonic() - start < PATIENCE, command
    return answer


def word(value):
    return struct.pack("<Q", value & WORD)


def nodes_of(machine, manager, count):
    """The addresses of a list's first nodes, and of the link in each."""
    head, link, _ = LISTS[manager]
    nodes = [number(machine, head)]
    kind = f"typeof({head})"
    while len(nodes) < count:
        nodes.append(number(machine, f"(({kind}){nodes[-1]:#x})->{link}"))
    return nodes, [number(machine, f"&(({kind}){node:#x})->{link}") for node in nodes]


def found(machine):
    """What is found: rules, and all findings. People are answered too, and in no way that shows our own insides."""
    answer = asked(machine, "memcheck")
    for command in ("pmmstat", "pmmdump"):
        assert "Traceback" not in machine.text(command)
    return {finding["id"] for finding in answer["findings"]}, answer["findings"]


def random_bytes(seed, size):
    return random.Random(seed).randbytes(size)


FILLS = {
    "zeros": bytes,
    "ones": lambda size: b"\xff" * size,
    "random": lambda size: random_bytes(1, size),
}


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("manager", MANAGERS)
def test_the_managers_own_variables(machines, manager, fill):
    machine = machines(manager)
    variable = "pmm" if manager == "bitmap" else f"pmm_{manager}"
    data = FILLS[fill](number(machine, f"sizeof({variable})"))
    with torn(machine, number(machine, f"&{variable}"), data):
        rules, _ = found(machine)
        assert rules == {"PMM00"}
        (shown,) = asked(machine, "pmmstat")["managers"]
        assert shown["why"]
        assert "free" not in shown


def broken_list(machine, manager, link, nodes):
    """A list that can be followed for some nodes: what is found, once all that comes before is seen to be shown."""
    _, _, name = LISTS[manager]
    rules, (finding,) = found(machine)
    assert rules == {"PMM10"}
    assert finding["severity"] == "error"
    assert int(finding["address"], 16) == link
    lists = {one["name"]: one for one in asked(machine, "pmmdump")["managers"][0]["lists"]}
    assert lists[name]["nodes"] == nodes
    assert lists[name]["broken"]
    assert all(one["broken"] is None for other, one in lists.items() if other != name)
    (shown,) = asked(machine, "pmmstat")["managers"]
    assert shown["free"] == sum(run["frames"] for one in lists.values() for run in one["runs"])
    assert name in shown["unseen"]
    return finding


@pytest.mark.parametrize("length", [1, 2, 6])
@pytest.mark.parametrize("manager", LISTS)
def test_a_list_in_a_circle(machines, manager, length):
    machine = machines(manager)
    nodes, links = nodes_of(machine, manager, length)
    with torn(machine, links[-1], word(nodes[0])):
        finding = broken_list(machine, manager, links[-1], length)
        assert f"{nodes[0]:#x}" in finding["actual"]


@pytest.mark.parametrize("target", NOWHERE)
@pytest.mark.parametrize("manager", LISTS)
def test_a_link_that_leads_nowhere(machines, manager, target):
    machine = machines(manager)
    _, links = nodes_of(machine, manager, 1)
    with torn(machine, links[0], word(NOWHERE[target])):
        finding = broken_list(machine, manager, links[0], 1)
        assert f"{NOWHERE[target]:#x}" in finding["actual"]


@pytest.mark.parametrize("target", ["device", "non-canonical", "all-ones"])
@pytest.mark.parametrize("manager", LISTS)
def test_a_first_link_that_leads_nowhere(machines, manager, target):
    machine = machines(manager)
    head = number(machine, f"&{LISTS[manager][0]}")
    with torn(machine, head, word(NOWHERE[target])):
        broken_list(machine, manager, head, 0)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("manager", LISTS)
def test_random_bytes_in_a_node(machines, manager, seed):
    machine = machines(manager)
    nodes, links = nodes_of(machine, manager, 2)
    with torn(machine, nodes[1], random_bytes(seed, 64)):
        broken_list(machine, manager, links[0], 1)


COUNTS = [
    ("bitmap", "pmm.frames", "PMM00"),
    ("regions", "pmm_regions.count", "PMM00"),
    ("regions", "pmm_regions.region[1].frames", "PMM00"),
    ("levels", "pmm_levels.levels", "PMM00"),
    ("levels", "pmm_levels.level[1].count", "PMM00"),
    ("runs", "pmm_runs.head.next[0]->frames", "PMM10"),
    ("runs", "pmm_runs.runs", "PMM10"),
    ("pages", "pmm_pages.zone[1].top->next->count", "PMM10"),
    ("pages", "pmm_pages.zone[1].count", "PMM10"),
    ("stack", "pmm_stack.zone[1].count", "PMM10"),
    ("buddy", "pmm_buddy.order[0].pair_count", "PMM00"),
    ("buddy", "pmm_buddy.order[0].count", "PMM10"),
    ("tree", "pmm_tree.height", "PMM00"),
]


@pytest.mark.parametrize("value", [ABSURD, WORD], ids=["2^40", "ones"])
@pytest.mark.parametrize(("manager", "count", "rule"), COUNTS, ids=[count for _, count, _ in COUNTS])
def test_an_absurd_count(machines, manager, count, rule, value):
    machine = machines(manager)
    with torn(machine, number(machine, f"&{count}"), word(value)):
        rules, _ = found(machine)
        assert rule in rules


POINTERS = [
    ("bitmap", "pmm.bits"),
    ("regions", "pmm_regions.region[1].bits"),
    ("levels", "pmm_levels.level[0].bits"),
    ("levels", "pmm_levels.level[1].bits"),
    ("levels", "pmm_levels.level[2].bits"),
    ("buddy", "pmm_buddy.order[0].pairs"),
    ("tree", "pmm_tree.nodes"),
]


@pytest.mark.parametrize("target", ["no-ram", "device", "non-canonical", "low", "all-ones"])
@pytest.mark.parametrize(("manager", "pointer"), POINTERS, ids=[pointer for _, pointer in POINTERS])
def test_books_that_are_not_there(machines, manager, pointer, target):
    machine = machines(manager)
    with torn(machine, number(machine, f"&{pointer}"), word(NOWHERE[target])):
        rules, _ = found(machine)
        assert rules == {"PMM00"}


@pytest.mark.parametrize("torn_part", ["frames", "bits"])
def test_the_other_region_is_still_shown(machines, torn_part):
    machine = machines("regions")
    (healthy,) = asked(machine, "pmmstat")["managers"]
    at = number(machine, "&pmm_regions.region[1]")
    with torn(machine, number(machine, f"&pmm_regions.region[1].{torn_part}"), word(ABSURD)):
        rules, (finding,) = found(machine)
        assert rules == {"PMM00"}
        assert int(finding["address"], 16) == at
        (shown,) = asked(machine, "pmmstat")["managers"]
        assert shown["parts"] == healthy["parts"][:1]
        assert shown["unseen"]


@pytest.mark.parametrize("torn_part", ["level[1].bits", "level[2].bits", "level[1].count", "levels"])
def test_frames_are_still_shown_without_summaries(machines, torn_part):
    machine = machines("levels")
    (healthy,) = asked(machine, "pmmstat")["managers"]
    with torn(machine, number(machine, f"&pmm_levels.{torn_part}"), word(ABSURD)):
        assert found(machine)[0] == {"PMM00"}
        (shown,) = asked(machine, "pmmstat")["managers"]
        assert {**shown, "at": None} == {**healthy, "at": None}


@pytest.mark.parametrize(
    ("manager", "books", "size", "rule"),
    [
        ("levels", "pmm_levels.level[1].bits", 32, "PMM08"),
        ("buddy", "pmm_buddy.order[0].pairs", 64, "PMM12"),
        ("tree", "&pmm_tree.nodes[1]", (1 << 14) - 1, "PMM12"),
    ],
)
def test_random_bytes_in_the_books(machines, manager, books, size, rule):
    """Above the leaves: the free frames are known all the same."""
    machine = machines(manager)
    (healthy,) = asked(machine, "pmmstat")["managers"]
    with torn(machine, number(machine, books), random_bytes(2, size)):
        rules, _ = found(machine)
        assert rules == {rule}
        (shown,) = asked(machine, "pmmstat")["managers"]
        assert shown["free"] == healthy["free"]
