"""What the processor grants: the rights of all levels taken together with the control registers.

Sources: Intel SDM vol. 3A, 4.6 "Access Rights"; AMD APM vol. 2, 5.6. Reads, writes and fetches are explicit
accesses at the current RFLAGS.AC; implicit supervisor accesses (to a descriptor table, say) ignore AC.
"""

from dataclasses import dataclass

from gdbext.machine.cpu import CR0_WP, CR4_PKE, CR4_PKS, CR4_SMAP, CR4_SMEP, RFLAGS_AC, CpuState

CACHE_TYPES = {0: "uc", 1: "wc", 4: "wt", 5: "wp", 6: "wb", 7: "uc-"}
"""Encodings of a PAT field (SDM vol. 3A, table 12-10)."""


@dataclass(frozen=True)
class Rights:
    """What one privilege may do at an address."""

    read: bool
    write: bool
    execute: bool

    def __str__(self) -> str:
        return ("r" if self.read else "-") + ("w" if self.write else "-") + ("x" if self.execute else "-")


NO_RIGHTS = Rights(read=False, write=False, execute=False)


@dataclass(frozen=True)
class Permissions:
    """What the entries allow, all levels combined: W and U are ANDed, NX is ORed.

    ``key`` is the leaf's protection key, 0 where the mode has none.
    """

    writable: bool
    user: bool
    executable: bool
    key: int = 0


def supervisor_rights(cpu: CpuState, page: Permissions) -> Rights:
    """What code at CPL 0 to 2 may do with a mapped page."""
    if not page.user:
        return Rights(read=True, write=page.writable or not cpu.cr0 & CR0_WP, execute=page.executable)
    data = not cpu.cr4 & CR4_SMAP or bool(cpu.rflags & RFLAGS_AC)
    no_access, no_write = key_denies(cpu, page, user=False)
    write = page.writable or not cpu.cr0 & CR0_WP
    return Rights(
        read=data and not no_access,
        write=data and write and not no_access and not no_write,
        execute=page.executable and not cpu.cr4 & CR4_SMEP,
    )


def user_rights(cpu: CpuState, page: Permissions) -> Rights:
    """What code at CPL 3 may do with a mapped page."""
    if not page.user:
        return NO_RIGHTS
    no_access, no_write = key_denies(cpu, page, user=True)
    return Rights(
        read=not no_access,
        write=page.writable and not no_access and not no_write,
        execute=page.executable,
    )


def key_denies(cpu: CpuState, page: Permissions, *, user: bool) -> tuple[bool, bool]:
    """Whether PKRU forbids all data accesses to a page, and writes (SDM vol. 3A, 4.6.2). Fetches ignore keys.

    Keys bind user pages alone, in 4-level and 5-level paging. Without CR0.WP supervisor writes ignore write-disable.
    """
    if not (page.user and cpu.long_mode and cpu.cr4 & CR4_PKE) or cpu.pkru is None:
        return False, False
    bits = cpu.pkru >> (2 * page.key)
    return bool(bits & 1), bool(bits & 2) and (user or bool(cpu.cr0 & CR0_WP))


def unknown_keys(cpu: CpuState, page: Permissions) -> str | None:
    """What is uncertain because a key register cannot be read, as a sentence; None when nothing is."""
    if not cpu.long_mode:
        return None
    if page.user and cpu.cr4 & CR4_PKE and cpu.pkru is None:
        return f"protection key {page.key} applies, but the machine does not report PKRU: data rights may be fewer"
    if not page.user and cpu.cr4 & CR4_PKS:
        return f"supervisor key {page.key} applies, but the machine does not report IA32_PKRS: data rights may be fewer"
    return None


def cache_type(cpu: CpuState, pwt: bool, pcd: bool, pat: bool) -> str:
    """The memory type that a leaf chooses from the PAT (SDM vol. 3A, 12.12.3). MTRRs may restrict it further."""
    index = pwt | pcd << 1 | pat << 2
    return CACHE_TYPES.get((cpu.pat >> (8 * index)) & 7, "reserved")
