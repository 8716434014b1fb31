"""A snapshot of a heap is data alone: it can be saved and compared, and outlives the memory that it was read from."""

import ast
import pickle
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gdbext
from gdbext.heap.read import kind_of, read_heap
from gdbext.heap.snapshot import HeapSnapshot
from gdbext.profile.language.all_heaps import HEAP_KINDS

from .heap_guest import BINS, LIST, TAGS, Kernel, compiled
from .test_heap_buddy import NODES, Buddies
from .test_heap_guide import CONTENTS, DEFINED
from .test_heap_readers import free_lists, write_list, write_tags
from .test_heap_slabs import CACHES, Slabs
from .test_profile_guide import compiled as compiled_example
from .test_profile_guide import examples, loaded, session_over

CHUNKS = [(64, False), (48, True), (64, False)]
CALLER = '[heap.it.caller]\nexpr = "*self"\nnode = "unsigned long"\n'


def differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """The parts of two snapshots that differ: names of fields, and numbers of elements."""
    if type(one) is not type(other):
        yield path
    elif is_dataclass(one):
        for field in fields(one):
            name = f"{path}.{field.name}".lstrip(".")
            yield from differences(getattr(one, field.name), getattr(other, field.name), name)
    elif isinstance(one, np.ndarray):
        if one.dtype != other.dtype or one.shape != other.shape:
            yield path
        else:
            yield from (f"{path}[{number}]" for number in np.flatnonzero(one != other).tolist())
    elif isinstance(one, tuple) and len(one) == len(other):
        for number, pair in enumerate(zip(one, other, strict=True)):
            yield from differences(*pair, f"{path}[{number}]")
    elif one != other:
        yield path


def insist_on_data(value: Any, path: str = "") -> None:
    """Nothing in a snapshot can read, or changes with what it was read from."""
    if is_dataclass(value):
        for field in fields(value):
            insist_on_data(getattr(value, field.name), f"{path}.{field.name}")
    elif isinstance(value, tuple):
        for part in value:
            insist_on_data(part, path)
    elif isinstance(value, np.ndarray):
        assert value.dtype != object, path
    else:
        assert value is None or isinstance(value, bool | int | str | Enum), (path, type(value))


@pytest.mark.parametrize("heading", CONTENTS)
def test_a_snapshot_of_every_kind_can_be_saved_and_compared(tmp_path, heading):
    declared, described = examples("Your heap")[heading]
    elf = compiled_example(tmp_path, "gcc", f"{DEFINED}{declared}\n{CONTENTS[heading][0]}\n")
    guest = loaded(elf)
    session = session_over(guest, elf, described)
    (heap,), (bound,) = session.heaps.all, session.profile.heap
    assert isinstance(heap, HeapSnapshot)
    assert heap.kind == kind_of(bound)
    insist_on_data(heap)
    saved = pickle.dumps(heap)
    assert list(differences(heap, pickle.loads(saved))) == []
    assert list(differences(heap, read_heap(bound, session.virtual))) == []
    guest.bytes[:] = 0xA5
    assert list(differences(heap, pickle.loads(saved))) == []


def test_the_examples_are_of_every_kind():
    described = "".join(profile for _, profile in examples("Your heap").values())
    assert [kind for kind in HEAP_KINDS if f'kind = "{kind}"' not in described] == []


@pytest.fixture(scope="module")
def symbols(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("heaps"))


def listed(symbols):
    kernel = Kernel(symbols, LIST + CALLER)
    return kernel, write_list(kernel, CHUNKS)


def tagged(symbols):
    kernel = Kernel(symbols, TAGS + BINS)
    places = write_tags(kernel, CHUNKS)
    free_lists(kernel, places, CHUNKS, 8)
    return kernel, places


def test_what_changed_in_a_list_is_what_differs(symbols):
    kernel, places = listed(symbols)
    before = kernel.read()
    kernel.fields(places[2] + 32, 0x1234)  # what stands for the caller at a payload's start
    assert list(differences(before, kernel.read())) == ["callers[2]"]
    kernel.fields(places[2] + 32, 0)
    kernel.put("used_chunks", 7)
    assert list(differences(before, kernel.read())) == ["counters[2].value"]
    kernel.put("used_chunks", 2)
    kernel.put("tail", places[1])
    kernel.fields(places[1] + 24, 0)
    assert list(differences(before, kernel.read())) == ["detail.tail", "chunks.prev[1]"]


def test_what_changed_in_adjacent_chunks_is_what_differs(symbols):
    kernel, places = tagged(symbols)
    before = kernel.read()
    kernel.fields(places[0] + 8 + 64, 0)  # the footer of the first
    assert list(differences(before, kernel.read())) == ["chunks.closed[0]"]
    kernel.fields(places[0] + 8 + 64, 64 | 1)
    (at,) = [number for number, found in enumerate(before.index.bins) if len(found.members)]
    kernel.fields(kernel.at("bins") + 16 * at + 8, 9)
    assert list(differences(before, kernel.read())) == [f"index.bins[{at}].length.value"]


def test_what_changed_in_slabs_is_what_differs(symbols):
    kernel = Slabs(symbols, "bits", [(0, [1, 2]), (1, [3])])
    before = kernel.read()
    kernel.fields(CACHES + 24, 5)  # what the first cache counts
    assert list(differences(before, kernel.read())) == ["detail.slabs.caches[0].used.value"]
    kernel.fields(CACHES + 24, 6)
    kernel.fields(kernel.header(0) + 56, 1 << 1)  # its second free object is handed out
    assert list(differences(before, kernel.read())) == [
        "detail.slabs.objects.free[2]",
        "detail.slabs.free.count[0]",
        "chunks.free[2]",
    ]


def test_what_changed_in_a_tree_of_buddies_is_what_differs(symbols):
    kernel = Buddies(symbols, [(0, 1)])
    before = kernel.read()
    assert before.detail.wrong_nodes == ()
    kernel.write(NODES + 1, bytes([0]))
    assert [name.split("[")[0] for name in differences(before, kernel.read())][:1] == ["detail.wrong_nodes"]


def test_nobody_asks_for_a_kind_by_its_name():
    """What a heap can do is asked of its detail. (Managers of frames have names of their own.)"""
    package = Path(gdbext.__file__).parent
    rooms = [package / name for name in ("heap", "checks/heaps", "report", "answers", "profile/binding")]
    files = [file for room in rooms for file in room.rglob("*.py")] + [package / "domains" / "heaps.py"]
    asked = []
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Compare | ast.MatchValue):
                constants = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
                named = {value for value in constants if isinstance(value, str)} & {*HEAP_KINDS}
                asked += [f"{file.relative_to(package)}:{node.lineno}: {name}" for name in named]
    assert asked == []
