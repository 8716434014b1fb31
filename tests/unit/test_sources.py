"""Sources of physical memory without any machine: this process read as if it were QEMU, and dumps made by hand."""

import os
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from gdbext.errors import MemoryUnavailable, NotRam, SourceFailed, UsageError
from gdbext.machine.directmap import EVERYWHERE, DirectMapMemory, ram_by_kind
from gdbext.machine.dump import open_dump
from gdbext.machine.memory import RamMap
from gdbext.machine.process import QemuProcess, readable_areas
from gdbext.machine.registers import Registers, read_registers
from gdbext.machine.remote import RemoteMemory, physical_mode
from gdbext.machine.source import Source
from gdbext.units import PhysAddr, VirtAddr
from tests.unit.guest import ram_range

PAGE = 4096


def pattern(frames):
    """Frames that are all different."""
    words = np.arange(frames * 512, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return words.reshape(frames, 512)


# A process


class OwnMonitor:
    """A monitor that says that this process is QEMU, and that the guest's RAM is an array of it."""

    def __init__(self, array, thread=None):
        self.base = array.ctypes.data
        self.thread = thread or os.getpid()

    def command(self, text):
        if text == "info cpus":
            return f"* CPU #0: thread_id={self.thread}\n"
        assert text.startswith("gpa2hva ")
        return f"Host virtual address for {text.split()[1]} (pc.ram) is {self.base + int(text.split()[1], 16):#x}\n"


LOW_AND_HIGH = RamMap([ram_range(0, 0xA0000, "pc.ram", 0), ram_range(0x100000, 0x200000, "pc.ram", 0x100000)])


def test_a_process_gives_what_it_holds():
    array = pattern(512)
    memory = QemuProcess(OwnMonitor(array), LOW_AND_HIGH).memory(LOW_AND_HIGH)
    assert memory.name == "process"
    frames = np.array([5, 6, 7, 256, 511, 6], dtype=np.uint64)
    assert np.array_equal(memory.read_frames(frames), array[frames])
    everything = np.array([*range(0xA0), *range(0x100, 0x200)], dtype=np.uint64)
    assert np.array_equal(memory.read_frames(everything), array[everything])
    assert memory.read_frames(np.array([], dtype=np.uint64)).shape == (0, 512)
    assert memory.read(PhysAddr(0x1FFC), 8) == array.tobytes()[0x1FFC:0x2004]


def test_a_process_is_not_read_where_there_is_no_ram():
    array = pattern(512)
    memory = QemuProcess(OwnMonitor(array), LOW_AND_HIGH).memory(LOW_AND_HIGH)
    for address, first in ((0xA0000, 0xA0000), (0x9FFFC, 0xA0000), (0x200000, 0x200000), (1 << 45, 1 << 45)):
        with pytest.raises(NotRam) as refused:
            memory.read(PhysAddr(address), 8)
        assert refused.value.address == first
    with pytest.raises(NotRam):
        memory.read_frames(np.array([0x9F, 0xA0], dtype=np.uint64))


def test_a_process_that_is_not_here():
    array = pattern(512)
    with pytest.raises(MemoryUnavailable, match="not on this machine"):
        QemuProcess(OwnMonitor(array, thread=2**22 + 1), LOW_AND_HIGH)
    monitor = OwnMonitor(array)
    monitor.base = 0x1000
    with pytest.raises(MemoryUnavailable, match=r"does not hold the guest's RAM 'pc\.ram'"):
        QemuProcess(monitor, LOW_AND_HIGH)


def in_a_child(what):
    """What a child process says that runs a function; it shares nothing with this one afterwards."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, what().encode())
        finally:
            os._exit(0)  # whatever has happened: the child must not go on as the test run
    os.close(writing)
    with os.fdopen(reading) as file:
        said = file.read()
    os.waitpid(child, 0)
    return said


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_somebody_elses_process_is_refused_with_the_reason():
    array = pattern(512)
    monitor = OwnMonitor(array)

    def as_nobody():
        os.setgid(65534)
        os.setuid(65534)
        try:
            QemuProcess(monitor, LOW_AND_HIGH)
        except MemoryUnavailable as error:
            return str(error)
        return "read"

    assert in_a_child(as_nobody).startswith(f"reading QEMU's process {os.getpid()} is not permitted: gdb must run as")


def test_a_process_that_ends_is_never_taken_for_another():
    array = pattern(512)
    go_on, wait = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.write(wait[1], b".")
        os.read(go_on[0], 1)
        os._exit(0)
    os.read(wait[0], 1)
    monitor = OwnMonitor(array, thread=child)  # the child has the array at the same address
    memory = QemuProcess(monitor, LOW_AND_HIGH).memory(LOW_AND_HIGH)
    assert memory.read(PhysAddr(0x1000), 16) == array.tobytes()[0x1000:0x1010]
    os.write(go_on[1], b".")
    os.waitpid(child, 0)
    for descriptor in (*go_on, *wait):
        os.close(descriptor)
    with pytest.raises(SourceFailed, match=f"process {child} has ended"):
        memory.read(PhysAddr(0x1000), 16)
    with pytest.raises(SourceFailed, match="has ended"):
        memory.read_frames(np.array([1], dtype=np.uint64))


def test_maps_are_understood():
    areas = readable_areas(
        "7f0000000000-7f0000200000 rw-s 00001000 00:01 2117   /memfd:memory-backend-memfd (deleted)\n"
        "7f0000200000-7f0000300000 ---p 00000000 00:00 0 \n"
        "7f0000300000-7f0000400000 r--p 00000000 08:02 99   /usr/lib/x y.so\n"
    )
    first, second = areas
    assert (first.start, first.end, first.shared, first.offset) == (0x7F0000000000, 0x7F0000200000, True, 0x1000)
    assert first.file == (os.makedev(0, 1), 2117)
    assert not second.shared


# A stub


class ScriptedStub:
    """A stub of one frame of RAM at 0; `broken` says after how many reads it breaks, and how."""

    def __init__(self, broken=None, how=b"E14", mode=b"0"):
        self.mode, self.broken, self.how, self.reads = mode, broken, how, 0

    def send(self, packet):
        if packet == "qqemu.PhyMemMode":
            return self.mode
        if packet.startswith("Qqemu.PhyMemMode:"):
            self.mode = packet[-1:].encode()
            return b"OK"
        assert self.mode == b"1"
        self.reads += 1
        if self.broken is not None and self.reads > self.broken:
            if self.how is None:
                raise SourceFailed("the connection to the guest is lost")
            return self.how
        return b"ab" * int(packet.split(",")[1], 16)


@pytest.mark.parametrize("mode", [b"0", b"1"])
@pytest.mark.parametrize("how", [b"E14", b"", b"abab", None])
@pytest.mark.parametrize("broken", [0, 1])
def test_the_stub_is_put_back_into_its_mode(mode, how, broken):
    stub = ScriptedStub(broken, how, mode)
    with pytest.raises(SourceFailed):
        RemoteMemory(RamMap([ram_range(0, PAGE)]), stub).read_frames(np.array([0], dtype=np.uint64))
    assert stub.mode == mode


def test_no_physical_mode():
    class Ignorant:
        def send(self, packet):
            return b""

    with pytest.raises(SourceFailed, match="no physical memory mode"), physical_mode(Ignorant()):
        pass


class NoMonitor:
    def command(self, text):
        raise MemoryUnavailable("QEMU's monitor cannot be asked")


def test_without_any_source_every_reason_is_given():
    class Ignorant:
        def send(self, packet):
            return b""

    def no_profile(ram):
        assert ram is None
        raise MemoryUnavailable("no profile")

    with pytest.raises(MemoryUnavailable, match=r"no physical memory mode.*no direct map: no profile"):
        Source(NoMonitor(), Ignorant()).at_stop(no_profile)


# The direct map


def test_a_direct_map_is_read_at_its_base():
    seen = []

    def read(address, size):
        seen.append((address, size))
        return bytes(size)

    memory = DirectMapMemory(RamMap([ram_range(0, 2 * PAGE)]), VirtAddr(0xFFFF_8000_0000_0000), read)
    memory.read_frames(np.array([1], dtype=np.uint64))
    memory.read_frames(np.array([1], dtype=np.uint64))
    memory.read(PhysAddr(0x1008), 8)
    assert seen == [(0xFFFF_8000_0000_1000, PAGE)]
    with pytest.raises(NotRam):
        memory.read(PhysAddr(2 * PAGE - 4), 8)
    short = DirectMapMemory(EVERYWHERE, VirtAddr(0), lambda address, size: b"x")
    with pytest.raises(SourceFailed, match="1 of 8 bytes"):
        short.read(PhysAddr(0), 8)


def test_a_kind_is_ram_when_it_is_usable_or_must_be():
    entries = [
        (0, 0x9F000, 1),
        (0x9F000, 0xA0000, 2),
        (0x100000, 0x200000, 6),
        (0x200000, 0x400000, 1),
        (0xE0000, 0xE0000, 1),
    ]
    listed = [(PhysAddr(start), PhysAddr(end), kind) for start, end, kind in entries]
    assert [(r.start, r.end) for r in ram_by_kind(listed, (1,), ()).ranges] == [(0, 0x9F000), (0x200000, 0x400000)]
    with_image = ram_by_kind(listed, (1,), (0x180000,))
    assert [(r.start, r.end) for r in with_image.ranges] == [(0, 0x9F000), (0x100000, 0x400000)]


# Dumps

CONTROL = {"cr0": 0x80010031, "cr3": 0x125000, "cr4": 0x3008A0, "efer": 0xD00}


def state(cr0=0x80010031, cr4=0xA0, cs=8, version=1):
    general = range(100, 118)
    segments = [part for selector in (cs, *[0x10] * 9) for part in (selector, 0, 0, 0, 0)]
    return struct.pack("<II18Q" + "IIIIQ" * 10 + "5QQ", version, 440, *general, *segments, cr0, 1, 0xC2, 0x5000, cr4, 9)


def note(name, body):
    name += b"\0"
    return struct.pack("<III", len(name), len(body), 0) + name.ljust(-(-len(name) // 4) * 4, b"\0") + body


def core(loads, notes=None, machine=62, wide=True, kind=4, counted=True):
    """An ELF core: `loads` are (physical address, bytes)."""
    data = b"".join(note(name.encode(), body) for name, body in notes or [("QEMU", state())])
    count = 1 + len(loads)
    header_size, entry_size = (64, 56) if wide else (52, 32)
    at = header_size + count * entry_size + (0 if counted else 64)
    places = [(4, at, 0, len(data))]
    at += len(data)
    for physical, content in loads:
        places.append((1, at, physical, len(content)))
        at += len(content)
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1, 1]) + bytes(9)
    number = count if counted else 0xFFFF
    sections = 0 if counted else header_size + count * entry_size
    if wide:
        head = struct.pack("<HHIQQQIHHHHHH", kind, machine, 1, 0, 64, sections, 0, 64, 56, number, 64, 0, 0)
        table = b"".join(struct.pack("<IIQQQQQQ", t, 0, o, 0, p, s, s, 0) for t, o, p, s in places)
    else:
        head = struct.pack("<HHIIIIIHHHHHH", kind, machine, 1, 0, 52, sections, 0, 52, 32, number, 40, 0, 0)
        table = b"".join(struct.pack("<IIIIIIII", t, o, 0, p, s, s, 0, 0) for t, o, p, s in places)
    extra = b"" if counted else bytes(44) + struct.pack("<I", count) + bytes(16)
    return ident + head + table + extra + data + b"".join(content for _, content in loads)


@pytest.fixture
def dumped(tmp_path):
    def make(content, *arguments):
        path = tmp_path / "dump"
        path.write_bytes(content)
        return open_dump(path, *arguments)

    return make


RAM = pattern(16)


@pytest.mark.parametrize(("wide", "counted"), [(True, True), (True, False), (False, True)])
def test_a_core_gives_its_memory_wherever_it_lies_in_the_file(dumped, wide, counted):
    dump = dumped(core([(0x1000, RAM[1:4].tobytes()), (0x8000, RAM[8:].tobytes())], wide=wide, counted=counted))
    assert [(r.start, r.end) for r in dump.memory.ram.ranges] == [(0x1000, 0x4000), (0x8000, 0x10000)]
    frames = np.array([9, 1, 3, 15], dtype=np.uint64)
    assert np.array_equal(dump.memory.read_frames(frames), RAM[frames])
    assert dump.memory.read(0x3FF8, 8) == RAM[3, 511].tobytes()
    with pytest.raises(NotRam) as refused:
        dump.memory.read(0x3FFC, 8)
    assert refused.value.address == 0x4000


def test_ranges_that_overlap_are_the_same_memory(dumped):
    whole = RAM.tobytes()
    pieces = [
        (0x4000, whole[0x4000:0x8000]),
        (0, whole[:0x6000]),
        (0x1000, whole[0x1000:0x2000]),
        (0x7000, whole[0x7000:]),
    ]
    memory = dumped(core(pieces)).memory
    assert memory.read(PhysAddr(0), len(whole)) == whole
    assert np.array_equal(memory.read_frames(np.arange(16, dtype=np.uint64)), RAM)


def test_only_whole_frames_of_a_dump_count(dumped):
    memory = dumped(core([(0x1234, RAM.tobytes()[0x1234:0x5678])])).memory
    assert [(r.start, r.end) for r in memory.ram.ranges] == [(0x2000, 0x5000)]
    assert np.array_equal(memory.read_frames(np.array([2, 4], dtype=np.uint64)), RAM[[2, 4]])


def test_registers_of_a_core(dumped):
    dump = dumped(core([(0, RAM.tobytes())], [("CORE", b"x" * 336), ("QEMU", state(cs=0x33))]))
    cpu = dump.cpu
    assert (cpu.cr0, cpu.cr2, cpu.cr3, cpu.cr4, cpu.cpl) == (0x80010031, 0xC2, 0x5000, 0xA0, 3)
    assert cpu.long_mode
    assert cpu.nx_enabled
    assert (dump.registers.values["rax"], dump.registers.values["rip"], cpu.rflags) == (100, 116, 117)
    assert any("NXE" in doubt for doubt in dump.doubts)


@pytest.mark.parametrize(
    ("machine", "cr0", "cr4", "long_mode"),
    [
        (62, 0x80000011, 0x20, True),
        (3, 0x80000011, 0x20, False),
        (3, 0x80000011, 0, False),
        (3, 0x10, 0, False),
        (62, 0x11, 0x20, False),
    ],
)
def test_long_mode_is_known_from_the_file(dumped, machine, cr0, cr4, long_mode):
    dump = dumped(core([(0, RAM.tobytes())], [("QEMU", state(cr0, cr4))], machine))
    assert dump.cpu.long_mode is long_mode
    assert dump.cpu.paging is bool(cr0 >> 31)


def test_given_registers_come_first(dumped):
    dump = dumped(core([(0, RAM.tobytes())]), Registers({"efer": 0x500, "phys_bits": 40}, frozenset({"nx"})))
    assert (dump.cpu.efer, dump.cpu.cr3, dump.cpu.phys_bits) == (0x500, 0x5000, 40)
    assert dump.cpu.offers("nx")
    assert not any("EFER" in doubt or "width" in doubt for doubt in dump.doubts)


def test_each_processor_has_its_own(dumped):
    content = core([(0, RAM.tobytes())], [("QEMU", state()), ("QEMU", state(0x11, 0))])
    assert dumped(content, None, 0).cpu.paging
    assert not dumped(content, None, 1).cpu.paging
    with pytest.raises(UsageError, match="2 processors, numbered from 0: it has no processor 2"):
        dumped(content, None, 2)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"KDUMP   " + bytes(100), "kdump-compressed"),
        (b"makedumpfile" + bytes(100), "kdump-compressed"),
        (b"PAGEDU64" + bytes(100), "Windows crash dump"),
        (b"\x1f\x8b" + bytes(100), "compressed"),
        (b"QEVM" + bytes(100), "saved machine"),
        (core([(0, RAM.tobytes())], kind=2), "not a dump of an x86 machine"),
        (core([(0, RAM.tobytes())], machine=183), "not a dump of an x86 machine"),
        (core([(0, RAM.tobytes())])[:-1], "truncated"),
        (core([(0, RAM.tobytes())])[:150], "truncated"),
        (core([(0, RAM.tobytes())])[:20], "truncated"),
        (core([]), "holds no memory"),
        (core([(0, RAM.tobytes()), (0, RAM.tobytes())]), "core file of a process"),
        (core([(0, RAM.tobytes())], [("QEMU", state(version=2))]), "version 2"),
        (core([(0, RAM.tobytes())], [("QEMU", state()[:100])]), "incomplete"),
        (core([(0, RAM.tobytes())], [("CORE", b"x")]), "add --registers"),
        (bytes(PAGE), "add --registers"),
    ],
)
def test_what_is_no_dump_is_refused(dumped, content, says):
    with pytest.raises((MemoryUnavailable, UsageError), match=says) as refused:
        dumped(content)
    assert "\n" not in str(refused.value)


def test_a_raw_image(dumped):
    whole = dumped(RAM.tobytes(), Registers(CONTROL))
    assert whole.memory.read(0x2000, 16) == RAM[2, :2].tobytes()
    assert any("has no `ram`" in doubt for doubt in whole.doubts)
    high = 1 << 32
    ranges = (ram_range(0, 0x4000, "", 0), ram_range(high, high + 0x8000, "", 0x8000))
    cut = dumped(RAM.tobytes(), Registers(CONTROL, None, ranges))
    assert np.array_equal(cut.memory.read_frames(np.array([3, high >> 12], dtype=np.uint64)), RAM[[3, 8]])
    with pytest.raises(NotRam):
        cut.memory.read(0x4000, 1)
    with pytest.raises(UsageError, match="too small"):
        dumped(RAM.tobytes(), Registers(CONTROL, None, (ram_range(0, 0x20000, "", 0),)))
    with pytest.raises(UsageError, match="efer missing"):
        dumped(RAM.tobytes(), Registers({name: value for name, value in CONTROL.items() if name != "efer"}))


# Registers from a file

PRINTED = """CPU#0
RAX=000000000000000a RBX=00000000336ec578 R8 =0000000000000003
RIP=ffffffff80101003 RFL=00000086 [--S--P-] CPL=3 II=0 A20=1 SMM=0 HLT=0
CR0=80010031 CR2=0000000000000000 CR3=0000000000125000 CR4=003008a0
EFER=0000000000000d00
CPU#1
CR0=00000011 CR2=0000000000000000 CR3=0000000000000000 CR4=00000000
EFER=0000000000000000
"""


@pytest.mark.parametrize(
    "text",
    [
        PRINTED,
        PRINTED.partition("CPU#1")[0].removeprefix("CPU#0"),
        "cr0 = 0x80010031\ncr3 = 0x125000\ncr4 = 0x3008a0\nefer = 0xd00\nrflags = 0x86\ncpl = 3\n",
        '{"cr0": "0x80010031", "cr3": "0x125000", "cr4": 3147936, "efer": "0xd00", "rflags": 134, "cpl": 3}',
    ],
)
def test_registers_from_a_file(tmp_path, text):
    (tmp_path / "registers").write_text(text)
    cpu = read_registers(tmp_path / "registers").cpu()
    assert {name: getattr(cpu, name) for name in CONTROL} == CONTROL
    assert (cpu.rflags, cpu.cpl) == (0x86, 3)


def test_registers_of_another_processor(tmp_path):
    (tmp_path / "registers").write_text(PRINTED)
    assert read_registers(tmp_path / "registers", 1).cpu().cr0 == 0x11
    with pytest.raises(UsageError, match="it has no processor 2"):
        read_registers(tmp_path / "registers", 2)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cr9 = 1", "no register 'cr9'"),
        ("cr0 = -1", "not an unsigned 64-bit number"),
        ("cr0 = true", "not an unsigned 64-bit number"),
        ('cr0 = "red"', "not an unsigned 64-bit number"),
        ("ram = 5", "list of ranges"),
        ("ram = [5]", "a range must be"),
        ("ram = [[0, 1, 2, 3]]", "a range must be"),
        ("ram = [[0x2000, 0x1000]]", "below its end"),
        ("ram = [[0, 0x1001]]", "multiples of 4096"),
        ("offered = 5", "list of feature names"),
        ("{", "not `info registers` output, TOML or JSON"),
        ("cr0 = ", "not `info registers` output, TOML or JSON"),
    ],
)
def test_wrong_registers_are_one_line(tmp_path, text, says):
    (tmp_path / "registers").write_text(text)
    with pytest.raises(UsageError, match=says):
        read_registers(tmp_path / "registers")


def test_offline_loads_neither_gdb_nor_what_drives_it():
    """`gdbext open` works where neither gdb nor QEMU is installed."""
    root = Path(__file__).resolve().parents[2]
    code = "import sys, gdbext.offline.cli; print(any(m == 'gdb' or m.startswith('pygdbmi') for m in sys.modules))"
    said = in_a_child(lambda: os.popen(f'cd {root} && {sys.executable} -c "{code}"').read())
    assert said.strip() == "False"
