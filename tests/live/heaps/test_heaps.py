"""Heaps of all kinds beside each other: what each counts, what it holds, and who rests on whom."""

from itertools import pairwise

import pytest

from ..kernel.test_kernel import HEAPS
from ..serial_report import SerialReport

COUNTED = ("used_chunks", "free_chunks", "used_bytes", "free_bytes")


@pytest.mark.parametrize("word", ["", "redzone=1", "poison=0"])
def test_heaps_of_every_kind_are_what_they_say(boot, word):
    report = SerialReport(boot(append=f"scenario=heaps {word}", memory="64M").serial())
    heaps = {heap["name"]: heap for heap in report.all("heap")}
    assert {"kernel", "chained", "list", *HEAPS} <= heaps.keys()
    for heap in heaps.values():
        check_counters(heap, [chunk for chunk in report.all("chunk") if chunk["heap"] == heap["name"]])
    check_chunks_lie_apart(report.all("chunk"))
    check_regions(heaps, report.all("vm"))
    assert heaps["kernel"]["start"] < heaps["chained"]["start"] < heaps["chained"]["end"] <= heaps["kernel"]["end"]


def test_what_a_kind_reports_of_its_own_agrees_with_what_is_counted(boot):
    report = SerialReport(boot(append="scenario=heaps", memory="64M").serial())
    heaps = {heap["name"]: heap for heap in report.all("heap")}
    assert {tree["heap"]: tree["count"] for tree in report.all("tree")} == {
        name: heaps[name]["free_chunks"] for name in ("avl", "redblack")
    }
    orders = report.all("heap_order")
    for state in ("used", "free"):
        assert sum(order[state] for order in orders) == heaps["buddy"][f"{state}_chunks"]
        assert sum(order[state] * order["size"] for order in orders) == heaps["buddy"][f"{state}_bytes"]
    for cache in report.all("cache"):
        slabs = [slab for slab in report.all("slab") if (slab["heap"], slab["cache"]) == (cache["heap"], cache["name"])]
        check_cache(cache, slabs, heaps[cache["heap"]])
    (records,) = (cache for cache in report.all("cache") if cache["name"] == "dma-buffers")
    assert records["used"] == report.one("dma")["count"] == len(report.all("buffer")) > 0


def check_cache(cache, slabs, heap):
    assert sum(slab["used"] for slab in slabs) == cache["used"]
    for kind in ("full", "partial", "empty"):
        assert len([slab for slab in slabs if slab["list"] == kind]) == cache[kind]
    for slab in slabs:
        assert slab["list"] == {0: "empty", cache["capacity"]: "full"}.get(slab["used"], "partial")
        assert heap["start"] <= slab["memory"] <= heap["end"] - cache["slab_bytes"]
        assert slab["memory"] <= slab["objects"] < slab["memory"] + cache["colours"] * cache["align"]
        inside = slab["memory"] <= slab["header"] < slab["memory"] + cache["slab_bytes"]
        assert inside == (cache["header"] == "in")


def check_counters(heap, held):
    assert [heap[f"counter_{key}"] for key in COUNTED] == [heap[key] for key in COUNTED], heap["name"]
    assert all(heap["start"] <= chunk["address"] <= heap["end"] - chunk["size"] for chunk in held)
    assert sum(chunk["size"] for chunk in held) <= heap["used_bytes"]
    if heap["name"] == heap["kind"] or heap["name"] == "chained":  # all that is in those, the ledger knows
        assert len(held) == heap["used_chunks"] > 0


def check_chunks_lie_apart(chunks):
    places = sorted((chunk["address"], chunk["size"]) for chunk in chunks)
    assert all(address + size <= after for (address, size), (after, _) in pairwise(places))


def check_regions(heaps, regions):
    committed = {region["name"]: region["committed"] * 4096 for region in regions if region["kind"] == "heap"}
    assert committed == {name: heap["committed"] for name, heap in heaps.items() if name != "chained"}
