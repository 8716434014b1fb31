"""A manager that is described but could not be read, and why."""

from dataclasses import dataclass

NOT_YET = "not set up yet"
NONE_SERVES = "not set up yet, or another is in use: none of those in the profile is active"


@dataclass(frozen=True)
class Unread:
    """``absent`` says that the kernel has not set the manager up yet, which is no fault; else ``why`` is the fault."""

    name: str
    kind: str
    why: str
    absent: bool
