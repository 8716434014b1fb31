"""Who asked for chunks: what the kernel has recorded, what the lists say, and the function that it is."""

import pytest

from gdbext.headless import CommandFailed
from gdbext.headless.qemu import MachineOptions, Qemu

from ..kernel.test_kernel import HEAPS, PASSED
from ..serial_report import SerialReport
from .test_heap_kinds import KINDS
from .test_leaks import FRONT


@pytest.fixture(scope="session", params=["gcc", pytest.param("clang", marks=pytest.mark.deep)])
def compiler(request):
    """Both compilers, with --deep."""
    return request.param


@pytest.mark.parametrize("kind", KINDS)
def test_callers_are_those_that_the_kernel_reports(boot, kernel, kind):
    machine = boot(kernel, append=f"scenario=churn heap={kind} callers=1", memory="64M")
    told = {c["address"] - FRONT: c["caller"] for c in SerialReport(machine.serial()).all("chunk")}
    listed = machine.command("heaplist", "-used")["heaps"][0]
    assert {int(c["payload"], 16): int(c["caller"], 16) for c in listed["chunks"]} == told
    names = {c["caller_name"].split("+")[0] for c in listed["chunks"]}
    assert names == {"hold_chunk_of", "resize_chunk"}
    for name in names:
        some = machine.command("heaplist", "-caller", name)["heaps"][0]
        assert some["listed"] == sum(c["caller_name"].startswith(name + "+") for c in listed["chunks"]) > 0
    first = listed["chunks"][0]
    same = machine.command("heaplist", "-caller", first["caller"])["heaps"][0]
    assert same["listed"] == sum(c["caller"] == first["caller"] for c in listed["chunks"])
    assert f"asked for by {first['caller_name']}" in machine.text(f"heapchunk {first['payload']}")
    assert machine.command("heapcheck")["findings"] == []


def test_nothing_is_said_where_nothing_is_recorded(boot):
    machine = boot(append="scenario=workload", memory="64M")
    listed = machine.command("heaplist", "-used")["heaps"][0]
    assert {c["caller"] for c in listed["chunks"]} == {None}
    with pytest.raises(CommandFailed, match="callers are not recorded; have the kernel record them"):
        machine.command("heaplist", "-caller", "main")


@pytest.mark.parametrize(
    "kind", ["list", "slab", *(pytest.param(k, marks=pytest.mark.deep) for k in HEAPS if k != "slab")]
)
def test_the_kernels_own_tests_pass_with_callers(gcc_kernel, kind):
    append = f"scenario=selftest heap={kind} callers=1"
    with Qemu(MachineOptions(gcc_kernel, append=append, memory="64M", paused=False)) as machine:
        assert machine.wait(60) == PASSED, machine.serial()
