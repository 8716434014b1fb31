"""Work that may take long says how far it is; who has somebody to tell shows it.

Whoever reads or writes much calls `progress`, or goes through its items with `counted`. Nothing is handed down to them:
between `shown_by` and its end all that is told goes to the one who shows it, and at other times nowhere.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Show = Callable[[str, int, int], None]
"""Takes what is being done, how much of it is done, and how much there is (in any unit)."""

_T = TypeVar("_T")
_STEP = 1024
_show: ContextVar[Show | None] = ContextVar("show", default=None)


def progress(what: str, done: int, total: int) -> None:
    """Say how far a piece of work is. Costs next to nothing when nobody listens."""
    show = _show.get()
    if show is not None:
        show(what, done, total)


def counted(what: str, items: Sequence[_T]) -> Iterator[_T]:
    """The items one by one; now and then it is said how many are done."""
    for at, item in enumerate(items):
        if at % _STEP == 0:
            progress(what, at, len(items))
        yield item


@contextmanager
def shown_by(show: Show) -> Iterator[None]:
    """Within the block ``show`` is called for every bit of progress: often, so it must be quick."""
    token = _show.set(show)
    try:
        yield
    finally:
        _show.reset(token)
