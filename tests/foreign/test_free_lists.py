"""Free frames on lists: through the frames by physical addresses, and as buddies on lists of numbered records."""

import pytest

from .truth import check_frames, found, frame_of, number

DIRECT_MAP = 0xFFFF_8000_0000_0000
MIB = 1 << 20
HOLES = "map=0x1800000,0x23000,2 map=0x2800000,0x5000,2"
"""Three stretches of RAM with ragged borders instead of one."""


@pytest.fixture
def threaded(boot):
    """Free frames on one list, healthy so far."""
    return healthy(boot("threaded", memory="64M"))


@pytest.fixture
def records(boot):
    """Buddies of records, healthy so far."""
    return healthy(boot("records", memory="64M"))


def healthy(session):
    assert found(session) == []
    return session


@pytest.mark.parametrize(
    "machine", [{"memory": "64M"}, {"memory": "64M", "append": HOLES}, {"memory": "192M"}], ids=str
)
@pytest.mark.parametrize(("kernel", "kind"), [("threaded", "list"), ("records", "buddy")])
def test_frames_are_as_the_kernel_reports(boot, compiler, kernel, kind, machine):
    session = boot(kernel, compiler, **machine)
    check_frames(session)
    assert session.command("pmmstat")["managers"][0]["kind"] == kind
    assert found(session) == []


def rules(session):
    return {rule for rule, _ in found(session)}


def test_a_mapped_frame_on_the_list(threaded):
    frame = frame_of(threaded, "0xffffc00000000000")
    threaded.execute(f"set var *(unsigned long *){DIRECT_MAP + frame:#x} = free_list")
    threaded.execute(f"set var free_list = {frame:#x}")
    assert ("PMM02", frame) in found(threaded)


@pytest.mark.parametrize("target", ["0x7ffffff000", "free_list", "free_list + 8"])
def test_a_link_that_leads_astray(threaded, target):
    """Where there is no RAM; in a circle; into the middle of a frame."""
    third = number(threaded, f"*(long *)({DIRECT_MAP:#x} + *(long *)({DIRECT_MAP:#x} + free_list))")
    threaded.execute(f"set var *(unsigned long *){DIRECT_MAP + third:#x} = {target}")
    assert "PMM10" in rules(threaded)


def order_of_a_list(session):
    """The lowest order, below the highest, that has blocks."""
    return next(order for order in range(9) if number(session, f"free_blocks[{order}] != 0xffffffff"))


def test_a_mapped_frame_called_a_free_block(records):
    frame = frame_of(records, "0xffffc00000000000")
    record = (frame - MIB) // 4096
    records.execute(f"set var records[{record}].is_first = 1")
    records.execute(f"set var records[{record}].order = 0")
    records.execute(f"set var records[{record}].prev = 0xffffffff")
    records.execute(f"set var records[{record}].next = free_blocks[0]")
    records.execute(f"set var free_blocks[0] = {record}")
    assert ("PMM02", frame) in found(records)


def test_a_recorded_order_that_is_not_its_lists(records):
    order = order_of_a_list(records)
    records.execute(f"set var records[free_blocks[{order}]].order = {order + 1}")
    assert "PMM12" in rules(records)


def test_a_block_on_the_list_of_a_higher_order(records):
    order = order_of_a_list(records)
    block = number(records, f"free_blocks[{order}]")
    records.execute(f"set var free_blocks[{order}] = records[{block}].next")
    records.execute(f"set var records[{block}].next = free_blocks[{order + 1}]")
    records.execute(f"set var free_blocks[{order + 1}] = {block}")
    assert "PMM12" in rules(records)


def test_a_link_to_no_record(records):
    order = order_of_a_list(records)
    records.execute(f"set var records[free_blocks[{order}]].next = record_count + 5")
    assert "PMM10" in rules(records)
