"""Long work reports its progress; whoever can display it does.

Code that reads or writes much calls `progress`, or iterates over its items with `counted`. No object is passed down to
it: within a `shown_by` block all reports go to that block's function, and outside of any they are dropped.
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
    """Report how far a piece of work is. Costs next to nothing outside of a `shown_by` block."""
    show = _show.get()
    if show is not None:
        show(what, done, total)


def counted(what: str, items: Sequence[_T]) -> Iterator[_T]:
    """The items one by one; every so often the number done is reported."""
    for at, item in enumerate(items):
        if at % _STEP == 0:
            progress(what, at, len(items))
        yield item


@contextmanager
def shown_by(show: Show) -> Iterator[None]:
    """Within the block ``show`` is called for every progress report: often, so it must be quick."""
    token = _show.set(show)
    try:
        yield
    finally:
        _show.reset(token)
