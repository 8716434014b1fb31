"""The errors that keep a command from producing a result. All derive from one class.

    GdbextError
      UsageError          the command was typed wrongly, or makes no sense here
      MemoryUnavailable   the machine cannot be reached, or memory cannot be read
        NotRam            the physical address is not RAM
        NotMapped         the virtual address does not translate
Stopped             the user pressed Ctrl-C
SourceFailed        the source of memory failed: no later result could be trusted
      DescriptionError    the description does not fit the kernel
ProfileError      the profile has a mistake; names the line

Not-present entries, reserved bits, unreadable tables and corrupt structures are *results* that readers
return, never exceptions. Each message is one line that says what is wrong and what to do about it.
"""

from gdbext.units import PhysAddr, VirtAddr, hex_address


class GdbextError(Exception):
    """The base of every error that a user is meant to read."""


class UsageError(GdbextError):
    """The command was typed wrongly, or asks for something that does not exist here."""


class MemoryUnavailable(GdbextError):
    """The machine cannot be reached, or a part of its memory cannot be read."""


class NotRam(MemoryUnavailable):
    """A physical range that is not (wholly) RAM: reading it would return made-up zeros or access a device.

    ``address`` is the first byte that is not RAM.
    """

    def __init__(self, address: PhysAddr) -> None:
        self.address = address
        super().__init__(f"{hex_address(address)} is not RAM")


class NotMapped(MemoryUnavailable):
    """A virtual address that the page tables do not translate (or whose translation leaves RAM)."""

    def __init__(self, address: VirtAddr, why: str) -> None:
        self.address = address
        self.why = why
        super().__init__(f"{hex_address(address)} cannot be read: {why}")


class SourceFailed(GdbextError):
    """The machine went away while it was read: QEMU has ended, the connection broke, the stub refuses to answer.

    Deliberately not a MemoryUnavailable: readers turn memory that cannot be read into results, but a lost
    connection says nothing about the kernel, so it must end the command instead of looking like damage.
    """


class Stopped(GdbextError):
    """The user pressed Ctrl-C. ``so_far`` says how far the command got; callers that know more put it in front."""

    def __init__(self, so_far: str) -> None:
        self.so_far = so_far
        super().__init__(f"stopped: {so_far}")


class DescriptionError(GdbextError):
    """The description of the kernel (symbols or profile) does not fit the kernel."""


class ProfileError(DescriptionError):
    """A profile that cannot be used.

    ``where`` names the file, line and key (``file.toml:12 (pmm.main.bits)``).
    """

    def __init__(self, where: str, problem: str) -> None:
        self.where = where
        self.problem = problem
        super().__init__(f"{where}: {problem}")
