"""The stopped machine behind gdb's current connection: its registers, its monitor, its packets, its own reads."""

from collections.abc import Callable

import gdb

from gdbext.errors import MemoryUnavailable, NotMapped, SourceFailed, UsageError
from gdbext.machine.cpu import CpuState
from gdbext.machine.qemu import Features, processor_features
from gdbext.machine.registers import GENERAL
from gdbext.machine.source import Source
from gdbext.machine.stopped import Machine
from gdbext.machine.tables import (
    GeneralRegisters,
    ProcessorRoot,
    descriptor_registers,
    general_registers,
    processor_roots,
)
from gdbext.pmm.directmap import read_direct_map
from gdbext.profile.binding.bind import BoundProfile
from gdbext.units import VirtAddr, Word64

CONNECT = "connect to a QEMU guest with 'target remote ...' first"


class GdbMonitor:
    """QEMU's monitor, through gdb's ``monitor`` command."""

    def command(self, text: str) -> str:
        """What the monitor prints, with Python's line ends."""
        try:
            answer: str = gdb.execute("monitor " + text, to_string=True)
        except gdb.error as error:
            raise MemoryUnavailable(f"QEMU's monitor is not available ({text}): {error}") from error
        return answer.replace("\r", "")


class GdbPackets:
    """Raw packets over gdb's remote connection."""

    def __init__(self, connection: gdb.RemoteTargetConnection) -> None:
        self._connection = connection

    def send(self, packet: str) -> bytes:
        """The stub's reply; empty when it does not support the packet."""
        try:
            return self._connection.send_packet(packet) or b""
        except (gdb.error, RuntimeError) as error:  # RuntimeError: the connection object is no longer valid
            raise SourceFailed(f"the connection to the guest is lost: {error}") from error


class GdbVirtualMemory:
    """Virtual memory as gdb reads it: only for stubs that have no physical mode."""

    def read(self, address: VirtAddr, size: int) -> bytes:
        """The bytes; NotMapped when the stub does not return them, SourceFailed when the connection is gone."""
        try:
            return _bytes_at(address, size)
        except gdb.MemoryError as error:
            raise NotMapped(address, "the debug stub cannot read it") from error
        except gdb.error as error:
            raise SourceFailed(f"the connection to the guest is lost: {error}") from error


def _bytes_at(address: int, size: int) -> bytes:
    """Bytes of virtual memory, by a value of gdb's where it gives away those.

    ``Inferior.read_memory`` ends gdb 16 with an internal error when the connection breaks during the read.
    """
    inferior = gdb.selected_inferior()
    if not hasattr(gdb.Value, "bytes"):
        return bytes(inferior.read_memory(address, size))
    block = inferior.architecture().integer_type(8, False).array(size - 1)
    with gdb.with_parameter("max-value-size", None):
        return gdb.Value(address).cast(block.pointer()).dereference().bytes


_known: dict[int, tuple[Source, Features | None]] = {}
"""What is known about each connection, by gdb's number for it (which gdb never reuses)."""


def forget(event: "gdb.ConnectionEvent") -> None:
    """A connection is gone: release its files."""
    _known.pop(event.connection.num, None)


def stopped_machine(profile: Callable[[], BoundProfile]) -> Machine:
    """The machine that gdb is connected to, as it is now; UsageError when it is not stopped.

    ``profile`` provides the kernel's direct map where no other source works.
    """
    thread = gdb.selected_thread()
    if thread is None:
        raise UsageError(f"there is no guest: {CONNECT}")
    try:
        gdb.newest_frame()  # not thread.is_running(), which is true too while gdb tests a breakpoint's condition
    except gdb.error as error:
        raise UsageError("the guest is running: stop it first, with 'interrupt'") from error
    connection = gdb.selected_inferior().connection
    if not isinstance(connection, gdb.RemoteTargetConnection):
        kind = connection.type if connection else "no target"
        raise UsageError(f"gdb's target is not a QEMU guest but: {kind}; {CONNECT}")
    if connection.num not in _known:
        monitor = GdbMonitor()
        _known[connection.num] = Source(monitor, GdbPackets(connection)), _features(monitor)
    source, features = _known[connection.num]
    cpu = _cpu_state(features)
    memory, considered = source.at_stop(lambda ram: read_direct_map(profile(), cpu, GdbVirtualMemory(), ram))
    monitor = GdbMonitor()
    return Machine(
        memory,
        cpu,
        considered,
        # QEMU numbers its threads from 1 as it does its processors from 0.
        descriptors=lambda: descriptor_registers(monitor, thread.ptid[1] - 1),
        roots=lambda: _roots(monitor),
        registers=lambda: _general(monitor),
    )


def _features(monitor: GdbMonitor) -> Features | None:
    """The processor's features; None when there is no monitor."""
    try:
        return processor_features(monitor)
    except MemoryUnavailable:
        return None


def _roots(monitor: GdbMonitor) -> tuple[ProcessorRoot, ...]:
    """The roots that the processors have loaded; empty when there is no monitor."""
    try:
        return processor_roots(monitor)
    except MemoryUnavailable:
        return ()


def _general(monitor: GdbMonitor) -> GeneralRegisters:
    """The general registers of all processors; those of the selected one when there is no monitor."""
    try:
        return general_registers(monitor)
    except MemoryUnavailable:
        own = {name: _register(name if name != "rflags" else "eflags") for name in GENERAL}
        return GeneralRegisters((own,), "the registers and stacks of the other processors: there is no QEMU monitor")


def _cpu_state(features: Features | None) -> CpuState:
    """The registers of the selected processor."""
    return CpuState(
        cr0=Word64(_register("cr0")),
        cr2=VirtAddr(_register("cr2")),
        cr3=Word64(_register("cr3")),
        cr4=Word64(_register("cr4")),
        efer=Word64(_register("efer")),
        rflags=Word64(_register("eflags")),
        cpl=_register("cs") & 3,
        rip=VirtAddr(_register("rip")),
        rsp=VirtAddr(_register("rsp")),
        phys_bits=features.phys_bits if features else 52,
        offered=features.offered if features else None,
    )


def _register(name: str) -> int:
    """A register of the selected processor, as an unsigned number."""
    frame = gdb.newest_frame()
    try:
        value = frame.read_register(name)
        # Control registers have gdb's flag types, which convert to a number only by a cast.
        return int(value.cast(frame.architecture().integer_type(8 * value.type.sizeof, False)))
    except (ValueError, gdb.error) as error:
        raise MemoryUnavailable(f"the debug stub does not return register {name}: {error}") from error
