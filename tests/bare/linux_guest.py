"""A stock Linux: Debian's kernel package for virtual machines, fetched once, with a user space of one small program."""

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from gdbext.headless.qemu import MachineOptions, Qemu
from gdbext.machine.cpu import CpuState
from gdbext.machine.qemu import memory_backends, processor_features, ram_map
from gdbext.machine.shared import SharedMemory
from gdbext.units import VirtAddr, Word64

PACKAGE = "linux-image-cloud-amd64"
READY = "init runs"
BOOT_SECONDS = 180
_INIT = Path(__file__).parent / "linux" / "init.c"


class KernelMissing(Exception):
    """The kernel package is not available on this machine; the message says why in one line."""


def kernel_image(cache: Path) -> Path:
    """The kernel's boot image, from the cache or, once, from the package archive. Nothing is installed."""
    for image in cache.glob("vmlinuz-*"):
        return image
    depends = _output(["apt-cache", "depends", PACKAGE], cache)
    package = re.search(r"Depends: (linux-image-\S+)", depends)
    if package is None:
        raise KernelMissing(f"the package lists do not know {PACKAGE}")
    _output(["apt-get", "download", package[1]], cache)
    (archive,) = cache.glob(f"{package[1]}_*.deb")
    unpack = "dpkg-deb --fsys-tarfile \"$0\" | tar -x --strip-components=2 --wildcards './boot/vmlinuz-*'"
    _output(["sh", "-c", unpack, archive.name], cache)
    archive.unlink()
    (image,) = cache.glob("vmlinuz-*")
    return image


def _output(command: list[str], directory: Path) -> str:
    try:
        return subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True, timeout=120).stdout
    except FileNotFoundError as error:
        raise KernelMissing(f"there is no {command[0]} here") from error
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise KernelMissing(f"{' '.join(command[:2])} failed: {str(error.stderr or error).strip()[-200:]}") from error


def build_initramfs(directory: Path) -> Path:
    """An archive with the init program and the console that it writes to."""
    init = directory / "init"
    options = ["-O1", "-static", "-nostdlib", "-fno-stack-protector", "-fno-pie", "-no-pie"]
    subprocess.run(["gcc", *options, "-o", init, _INIT], check=True)
    directory_mode, device_mode, program_mode = 0o40755, 0o20600, 0o100755
    archive = _entry("dev", directory_mode) + _entry("dev/console", device_mode, device=(5, 1))
    archive += _entry("init", program_mode, init.read_bytes()) + _entry("TRAILER!!!", 0)
    path = directory / "initramfs"
    path.write_bytes(archive)
    return path


def _entry(name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    """A file in an archive of cpio's `newc` format."""
    number, links = sum(name.encode()), 1
    fields = (number, mode, 0, 0, links, 0, len(content), 0, 0, *device, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
    return _padded(head) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


@contextmanager
def booted(image: Path, initramfs: Path, *, arguments: str) -> Iterator[Qemu]:
    """The guest, stopped after its user space has started."""
    options = MachineOptions(
        image,
        append=f"console=ttyS0 quiet panic=-1 {arguments}",
        paused=False,
        qemu_args=("-initrd", str(initramfs), "-accel", "tcg"),
    )
    with Qemu(options) as qemu:
        qemu.await_ready()
        deadline = time.monotonic() + BOOT_SECONDS
        while READY not in qemu.serial():
            assert qemu.exit_status() is None, qemu.last_words()
            assert time.monotonic() < deadline, f"Linux does not start: {qemu.serial()[-2000:]}"
            time.sleep(0.1)
        qemu.qmp("stop")
        yield qemu


class _Monitor:
    def __init__(self, qemu: Qemu) -> None:
        self.command = qemu.monitor


def memory_of(qemu: Qemu) -> SharedMemory:
    """The guest's RAM, located through the monitor as gdbext locates it."""
    monitor = _Monitor(qemu)
    (backend,) = memory_backends(monitor)
    assert backend.path is not None
    return SharedMemory(ram_map(monitor, {backend.name}), {backend.name: np.memmap(backend.path, np.uint8, "r")})


def cpu_of(qemu: Qemu) -> CpuState:
    """The first processor's registers as the monitor prints them."""
    text = qemu.monitor("info registers")
    values = {name: int(value, 16) for name, value in re.findall(r"\b(CR[0234]|EFER|RFL)=([0-9a-f]+)", text)}
    features = processor_features(_Monitor(qemu))
    assert features is not None
    cr2 = VirtAddr(values.pop("CR2"))
    cr0, cr3, cr4, efer, rflags = (Word64(values[name]) for name in ("CR0", "CR3", "CR4", "EFER", "RFL"))
    return CpuState(cr0, cr2, cr3, cr4, efer, rflags, phys_bits=features.phys_bits, offered=features.offered)
