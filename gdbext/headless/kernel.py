"""What kind of file a kernel is, and so how QEMU boots it."""

from enum import Enum
from pathlib import Path

from gdbext.headless.errors import StartFailed

_ISO_MAGIC_AT = 0x8001
_BZIMAGE_MAGIC_AT = 0x202
_BOOT_SECTOR_MAGIC_AT = 0x1FE


class KernelKind(Enum):
    """How a kernel's file starts."""

    ELF = "ELF file"
    BZIMAGE = "Linux boot image"
    ISO = "CD-ROM image"
    DISK = "disk image with a boot sector"

    @property
    def loaded_by_qemu(self) -> bool:
        """Whether QEMU itself loads it (and hands it a command line), rather than firmware from a drive."""
        return self in (KernelKind.ELF, KernelKind.BZIMAGE)


def kernel_kind(path: Path) -> KernelKind:
    """The kind of this file, by its magic numbers."""
    try:
        with path.open("rb") as file:
            head = file.read(_ISO_MAGIC_AT + 5)
    except OSError as error:
        raise StartFailed(f"cannot read the kernel {path}: {error.strerror}") from error
    # A CD-ROM image made for USB sticks has a boot sector as well, so the order matters.
    if head.startswith(b"\x7fELF"):
        return KernelKind.ELF
    if head[_BZIMAGE_MAGIC_AT:].startswith(b"HdrS"):
        return KernelKind.BZIMAGE
    if head[_ISO_MAGIC_AT:] == b"CD001":
        return KernelKind.ISO
    if head[_BOOT_SECTOR_MAGIC_AT:].startswith(b"\x55\xaa"):
        return KernelKind.DISK
    raise StartFailed(f"{path} is not a kernel: it is not an ELF file, a bzImage, or a bootable CD-ROM or disk image")


def has_symbol(path: Path, name: str) -> bool:
    """Whether this ELF file's symbol table has the name."""
    # Needed only for the user's own kernel; the import is too expensive for every start.
    from elftools.elf.elffile import ELFFile  # noqa: PLC0415
    from elftools.elf.sections import SymbolTableSection  # noqa: PLC0415

    with path.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        return isinstance(table, SymbolTableSection) and table.get_symbol_by_name(name) is not None
