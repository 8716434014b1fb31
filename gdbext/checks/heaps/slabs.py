"""HEAP66: slabs are on the lists where they belong, and their free lists have each free object once, and no other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gdbext.checks.finding import Broken
from gdbext.checks.heaps.inputs import HeapInputs
from gdbext.checks.heaps.wording import bytes_around, text_in
from gdbext.heap.page_runs import PageRuns
from gdbext.heap.parts import U64
from gdbext.heap.slab import NOBODY, CacheFound, ListFound, SlabDetail, Slabs
from gdbext.heap.slab_objects import USED, FreeBreak
from gdbext.machine.memory import VirtualMemory
from gdbext.units import VirtAddr, hex_address


def check_slabs(inputs: HeapInputs) -> Iterator[Broken]:
    """HEAP66 as a whole."""
    detail = inputs.heap.detail
    assert isinstance(detail, SlabDetail)
    slabs = detail.slabs
    yield from _headers(slabs, inputs.memory)
    yield from _lists(slabs)
    yield from _free_lists(slabs, inputs.memory)
    yield from _counts(slabs)
    yield from _places(slabs)
    if detail.page_runs is not None:
        yield from _pages(slabs, detail.page_runs)


def _slab(slabs: Slabs, slab: int) -> str:
    """One line about a slab, as evidence shows it."""
    known = f"{int(slabs.shape.capacity[slab])} objects of {int(slabs.size[slab])} bytes"
    return f"slab {hex_address(int(slabs.header[slab]))} of {slabs.at(slab)}: {known}"


# --- headers and lists ------------------------------------------------------------------------------------------------


def _headers(slabs: Slabs, memory: VirtualMemory) -> Iterator[Broken]:
    """Impossible headers (those without their magic are HEAP61's), and pointers back to another cache."""
    for slab in np.flatnonzero(slabs.marked & ~slabs.sound).tolist():
        header = int(slabs.header[slab])
        yield Broken(
            "slab",
            header,
            "a slab header with a possible stride and capacity, and its objects within the heap",
            f"first object at {hex_address(int(slabs.shape.first[slab]))}, stride {int(slabs.shape.stride[slab])}",
            "the header was overwritten",
            (bytes_around(memory, VirtAddr(header), 32),),
        )
    if slabs.back is None:
        return
    addresses = np.array([cache.address for cache in slabs.caches], dtype=U64)
    known = np.flatnonzero((slabs.cache != NOBODY) & slabs.marked)
    for slab in known[slabs.back[known] != addresses[slabs.cache[known]]].tolist():
        found = np.flatnonzero(addresses == slabs.back[slab])
        named = f"cache {slabs.caches[int(found[0])].name}" if len(found) else hex_address(int(slabs.back[slab]))
        yield Broken(
            "slab",
            int(slabs.header[slab]),
            f"a slab on a list of {slabs.at(slab)} that names it as its cache",
            f"it names {named}",
            "it was put on another cache's list, or its header was overwritten",
            (_slab(slabs, slab),),
        )


def _lists(slabs: Slabs) -> Iterator[Broken]:
    for one in slabs.lists:
        name = _list_name(slabs, one)
        if one.broken is not None:
            # The link of an overwritten header is broken as a consequence.
            if one.broken.source is None or slabs.sound[one.members[-1]]:
                yield _broken_list(slabs, one, name)
        elif one.length is not None and one.length.value != len(one.members):
            yield Broken(
                "list",
                one.length.address,
                f"{len(one.members)}, counted along {name}",
                f"{one.length.text} = {one.length.value}",
                "a slab was added or removed without updating the count, or the count was overwritten",
            )
        yield from _back_links(slabs, one, name)


def _list_name(slabs: Slabs, one: ListFound) -> str:
    return f"the list of {'all' if one.holds == 'any' else one.holds} slabs of cache {slabs.caches[one.cache].name}"


def _broken_list(slabs: Slabs, one: ListFound, name: str) -> Broken:
    assert one.broken is not None
    source = one.broken.source
    last = (_slab(slabs, int(one.members[-1])),) if len(one.members) else ()
    written = text_in(one.broken.target.to_bytes(8, "little"))
    return Broken(
        "slab" if source is not None else "list",
        source if source is not None else one.at,
        f"{name} with links from slab to slab up to its end",
        f"a link to {hex_address(one.broken.target)}: {one.broken.why}",
        f"the link was overwritten with text: {written!r}" if written else "a link was overwritten",
        (*last, f"{len(one.members)} slabs were read before it"),
    )


def _back_links(slabs: Slabs, one: ListFound, name: str) -> Iterator[Broken]:
    if one.back is None or not len(one.members):
        return
    headers = slabs.header[one.members]
    expected = np.concatenate([np.zeros(1, dtype=U64), headers[:-1]])
    for at in np.flatnonzero((one.back != expected) & slabs.sound[one.members]).tolist():
        yield Broken(
            "slab",
            int(headers[at]),
            f"prev = {hex_address(int(expected[at]))} on {name}",
            f"prev = {hex_address(int(one.back[at]))}",
            "a link was overwritten, or a slab was inserted or removed without updating both neighbours",
            tuple(_slab(slabs, int(one.members[i])) for i in (at - 1, at, at + 1) if 0 <= i < len(one.members)),
        )


# --- free objects -----------------------------------------------------------------------------------------------------


def _free_lists(slabs: Slabs, memory: VirtualMemory) -> Iterator[Broken]:
    for found in slabs.free.breaks:
        if found.number >= 0:
            yield _again(slabs, found)
        else:
            yield _astray(slabs, found, memory)
    objects = slabs.objects
    seen: set[int] = set()
    for index in slabs.free.missed.tolist():
        slab = int(objects.slab[index])
        if slab not in seen:
            seen.add(slab)
            yield Broken(
                "object",
                int(objects.address[index]),
                "every object that is not marked as used on its slab's free list",
                f"object {int(objects.number[index])} is not on it",
                "it was allocated without being marked, or the list was cut short: it will never be allocated again",
                (_slab(slabs, slab),),
            )


def _object(slabs: Slabs, slab: int, number: int) -> int:
    """An object's address, whether or not there is one of that number."""
    return int(slabs.shape.first[slab]) + number * int(slabs.shape.stride[slab])


def _again(slabs: Slabs, found: FreeBreak) -> Broken:
    source = found.source
    before = "the first link" if source is None else f"object {source} at {_object_text(slabs, found, source)}"
    return Broken(
        "object",
        _object(slabs, found.slab, found.number),
        "a free list that has each object once, and ends",
        f"{before} points to object {found.number}, which came before: the list runs in a circle",
        "this object was freed twice, or a link in it was overwritten by a use after free",
        (_slab(slabs, found.slab), _reached(slabs, found)),
    )


def _object_text(slabs: Slabs, found: FreeBreak, number: int) -> str:
    return hex_address(_object(slabs, found.slab, number))


def _reached(slabs: Slabs, found: FreeBreak) -> str:
    return f"{int(slabs.free.count[found.slab])} free objects were read before this link"


def _astray(slabs: Slabs, found: FreeBreak, memory: VirtualMemory) -> Broken:
    which = "the first link" if found.source is None else f"the link of object {found.source}"
    actual = f"{which} points to {_target(slabs, found)}"
    evidence = (_slab(slabs, found.slab), bytes_around(memory, VirtAddr(found.at), 16), _reached(slabs, found))
    return Broken("slab", found.at, "links to free objects of the slab", actual, _why(slabs, found), evidence)


def _target(slabs: Slabs, found: FreeBreak) -> str:
    if found.number == USED:
        return "an object that is marked as used"
    return f"{found.link:#x}, which is not an object of the slab"


def _why(slabs: Slabs, found: FreeBreak) -> str:
    """The likely cause of a link that does not point to a free object of its slab."""
    if found.number == USED:
        return "an object was allocated without being removed from the list, or a link was overwritten"
    written = text_in(found.link.to_bytes(8, "little").rstrip(b"\0"))
    if written:
        return f"a link was overwritten with text: {written!r}"
    other = _slab_at(slabs, found.link) if found.link > int(slabs.shape.capacity.max(initial=0)) else None
    number = found.link if found.link < 1 << 32 else 0
    other = _slab_at(slabs, _object(slabs, found.slab, number)) if other is None else other
    if other is not None and other != found.slab:
        return f"an object of {slabs.at(other)} was freed to {slabs.at(found.slab)}: it lies in {_slab(slabs, other)}"
    return "a link was overwritten by a use after free, or by an overrun of an object"


def _slab_at(slabs: Slabs, address: int) -> int | None:
    """The slab among whose objects an address lies."""
    first, shape = slabs.shape.first, slabs.shape
    length = (shape.capacity * shape.stride).astype(U64)
    which = np.flatnonzero((first <= U64(address & (1 << 64) - 1)) & (U64(address & (1 << 64) - 1) - first < length))
    return int(which[0]) if len(which) else None


# --- counts and lists -------------------------------------------------------------------------------------------------


def _told(slabs: Slabs) -> NDArray[np.bool_]:
    """For each slab, whether all of its objects are known to be used or free."""
    told = slabs.sound.copy()
    told[[found.slab for found in slabs.free.breaks]] = False
    return told


def _counts(slabs: Slabs) -> Iterator[Broken]:
    """The counts of used objects in slabs and caches."""
    told, used = _told(slabs), slabs.shape.capacity - slabs.free.count
    if slabs.used is not None:
        for slab in np.flatnonzero(told & (slabs.used != used)).tolist():
            yield Broken(
                "slab",
                int(slabs.header[slab]),
                f"{int(used[slab])} used objects, all that are not free",
                f"it counts {int(slabs.used[slab])}",
                "an object was allocated or freed without the count (a lost update), or the count was overwritten",
                (_slab(slabs, slab),),
            )
    for number, cache in enumerate(slabs.caches):
        mine = slabs.cache == number
        if cache.used is not None and bool(told[mine].all()) and _complete(slabs, number):
            yield from _cache_count(cache, int(used[mine].sum()))


def _complete(slabs: Slabs, cache: int) -> bool:
    return all(one.broken is None for one in slabs.lists if one.cache == cache)


def _cache_count(cache: CacheFound, expected: int) -> Iterator[Broken]:
    assert cache.used is not None
    if cache.used.value != expected:
        yield Broken(
            "cache",
            cache.used.address,
            f"{expected} used objects in the slabs of cache {cache.name}",
            f"{cache.used.text} = {cache.used.value}",
            "an object was allocated or freed without the count (a lost update), or the count was overwritten",
        )


def _state(used: int, capacity: int) -> str:
    return "empty" if used == 0 else "full" if used == capacity else "partial"


def _fits(holds: str, state: str) -> bool:
    return holds in ("any", state) or (holds == "room" and state != "full")


def _places(slabs: Slabs) -> Iterator[Broken]:
    """Each slab is on the list for as many objects as it has in use; on none only if there is no such list."""
    used = slabs.shape.capacity - slabs.free.count
    for slab in np.flatnonzero(_told(slabs)).tolist():
        state = _state(int(used[slab]), int(slabs.shape.capacity[slab]))
        on = int(slabs.on[slab])
        if on != NOBODY and not _fits(slabs.lists[on].holds, state):
            yield _misplaced(slabs, slab, _list_name(slabs, slabs.lists[on]), int(used[slab]))
        elif on == NOBODY and _belongs_somewhere(slabs, slab, state):
            yield _misplaced(slabs, slab, "no list of its cache", int(used[slab]))


def _belongs_somewhere(slabs: Slabs, slab: int, state: str) -> bool:
    mine = [one for one in slabs.lists if one.cache == slabs.cache[slab]]
    return any(_fits(one.holds, state) for one in mine) and all(one.broken is None for one in mine)


def _misplaced(slabs: Slabs, slab: int, on: str, used: int) -> Broken:
    capacity = int(slabs.shape.capacity[slab])
    return Broken(
        "slab",
        int(slabs.header[slab]),
        f"a slab with {used} of {capacity} objects used, on the list for such slabs",
        f"it is on {on}",
        "it was not moved when an object was last allocated or freed, or was put on the wrong list",
        (_slab(slabs, slab),),
    )


def _pages(slabs: Slabs, runs: PageRuns) -> Iterator[Broken]:
    """Every slab has pages, and their records name it."""
    for slab in np.flatnonzero(slabs.sound & (slabs.run == NOBODY)).tolist():
        yield Broken(
            "slab",
            int(slabs.header[slab]),
            "pages whose records point to this slab",
            "none do",
            "its pages were freed while it is still on a list, or their records were overwritten",
            (_slab(slabs, slab),),
        )
    for run in np.flatnonzero(~runs.owned).tolist():
        yield Broken(
            "run",
            int(runs.record[run]),
            f"records of all pages of slab {hex_address(int(runs.slab[run]))} that name it",
            "not all do",
            "a record was overwritten, or only some were filled in when the slab was created",
        )
