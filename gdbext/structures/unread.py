"""A manager that is described but could not be read, and why."""

from dataclasses import dataclass

NOT_YET = "not set up yet"
NONE_SERVES = "not set up yet, or another manager is in use: none of those that the profile describes is"


@dataclass(frozen=True)
class Unread:
    """``absent`` says that the kernel has not set the manager up yet, which is no fault; otherwise ``why`` is one."""

    name: str
    kind: str
    why: str
    absent: bool
