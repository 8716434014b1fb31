"""Parts that outlive their stop: a part is read again only if something that it was read from has changed.

While a part is read, an account is kept of what it uses: frames of physical memory, registers, and other parts. At a
later stop it is valid as long as all these are the same. If a part is read again and is unchanged, those that depend
on it stay valid, so a page table whose Accessed bits change costs one enumeration and no rule. Nothing has to be
declared: memory and processor are accessible only through objects that keep the account. Translations come from windows
of the address space, which are parts too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gdbext.domains.parts import Before, Key, Parts, T
from gdbext.errors import MemoryUnavailable
from gdbext.machine.cpu import CpuState
from gdbext.machine.memory import ENTRIES_PER_FRAME, PhysicalMemory, RamMap, View
from gdbext.machine.stopped import Machine
from gdbext.units import FRAME_SHIFT, FRAME_SIZE, PhysAddr, VirtAddr
from gdbext.x86.space import AddressSpace, Window
from gdbext.x86.virtual import Linear, PagedMemory, Translations, window_of

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

Frames = NDArray[np.uint64]

MOST_WINDOWS = 64
"""The most windows in which pages are looked up, so that a list all over memory does not enumerate all of it."""
COMPARED_AT_ONCE = 64
"""How many frames are compared together: enough to amortise the calls, and few enough to stay in a cache."""


@dataclass
class _Account:
    """What has been used while a part was read: frames by number, registers, other parts. No part twice.

    ``before`` is the part as it was read last, if it was.
    """

    before: Before | None = None
    frames: set[int] = field(default_factory=set)
    many: list[Frames] = field(default_factory=list)
    registers: dict[str, object] = field(default_factory=dict)
    parts: dict[Key, _Read] = field(default_factory=dict)
    translations: Translations = field(default_factory=Translations)

    def join(self, other: _Account) -> None:
        """Add the account of a part that failed while it was read for this one."""
        self.frames |= other.frames
        self.many += other.many
        self.registers |= other.registers
        self.parts |= other.parts

    def all_frames(self) -> Frames:
        """The frames in order, each once."""
        ordered = np.sort(np.concatenate([np.array(list(self.frames), dtype=np.uint64), *self.many]), kind="stable")
        found: Frames = ordered[np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]]
        return found


def _no_frames() -> Frames:
    return np.empty(0, dtype=np.uint64)


@dataclass(eq=False)
class _Read:
    """A part as it was read last: its value, what that depends on, and the last stop at which it was verified.

    ``content`` is the content of the frames when they were last compared, at the stop ``compared_at``; ``changed`` are
    the frames that have changed since the value was read.
    """

    value: Any
    read: Callable[[], Any]
    registers: dict[str, object]
    parts: dict[Key, _Read]
    frames: Frames
    content: Frames
    held_at: int
    compared_at: int
    changed: list[Frames] = field(default_factory=list)


class Memo(Parts):
    """The parts of one stop after another. ``reread`` lists those that were read at the last stop, in order.

    All are dropped when the kernel's description or the machine's memory map changes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reread: list[Key] = []
        self._reads: dict[Key, _Read] = {}
        self._accounts = [_Account()]
        self._number = 0
        self._next: Callable[[], object] | None = None
        self._kernel: object = None
        self._machine: Machine | None = None
        self._told: dict[str, Any] = {}
        self._shown: list[tuple[int, int, Frames]] = []
        self._memory = _WatchedMemory(self)
        self._cpu = _WatchedCpu(self)
        self._virtual: _WatchedVirtual | None = None
        self._space: Callable[[Window | None], AddressSpace] | None = None

    def begin(self, arrive: Callable[[], object]) -> None:
        """Switch to this stop at the next request."""
        self._next = arrive

    def watched(self, machine: Machine) -> Machine:
        """The machine, with its uses recorded in an account."""
        before, self._machine = self._machine, machine
        self._number += 1
        self.reread, self._told, self._accounts = [], {}, [_Account()]
        if before and _place(before.memory) != _place(machine.memory):
            self._reads.clear()
        self._shown = _shown(machine.memory)
        ask = {name: partial(self.told, name) for name in ("descriptors", "roots", "registers")}
        return Machine(self._memory, self._cpu, machine.considered, **ask)

    def virtual(self, machine: Machine, space: Callable[[Window | None], AddressSpace]) -> PagedMemory:
        """Memory as the selected processor sees it; each part makes its own translations."""
        self._space = space
        if self._virtual is None:
            self._virtual = _WatchedVirtual(self, machine)
        return self._virtual

    def space(self, window: Window | None) -> AddressSpace:
        """The address space of the selected processor, or a window of it, at the present stop."""
        assert self._space is not None
        return self._space(window)

    @property
    def machine(self) -> Machine:
        """The machine of the present stop itself."""
        assert self._machine is not None
        return self._machine

    @property
    def account(self) -> _Account:
        """The account of the part that is being read."""
        return self._accounts[-1]

    @property
    def frames(self) -> Frames:
        """The frames, by number, that all that is remembered was read from."""
        return np.unique(np.concatenate([_no_frames(), *(known.frames for known in self._reads.values())]))

    def register(self, name: str) -> Any:
        """A field of the processor's state."""
        value = getattr(self.machine.cpu, name)
        self.account.registers[name] = value
        return value

    def told(self, name: str) -> Any:
        """What the machine reports under a name, requested once at a stop; or the MemoryUnavailable that it raises."""
        found = self.account.registers[name] = self._answer(name)
        if isinstance(found, _Refusal):
            raise MemoryUnavailable(found.why)
        return found

    def _answer(self, name: str) -> object:
        if name not in self._told:
            try:
                self._told[name] = getattr(self.machine, name)()
            except MemoryUnavailable as error:
                self._told[name] = _Refusal(str(error))
        return self._told[name]

    def before(self) -> Before | None:
        """The part that is being read, as it was read last."""
        return self.account.before

    def get(self, key: Key, read: Callable[[], T]) -> T:
        """The part of this key, as it is at this stop."""
        self._arrive()
        found = self._reads.get(key)
        if found is None or not self._holds(found):
            found = self._read(key, read)
        self.account.parts[key] = found
        value: T = found.value
        return value

    def _arrive(self) -> None:
        """Switch to the next stop, if there is one."""
        if self._next is None:
            return
        kernel = self._next()  # this may fail, and is then called again
        self._next = None
        # A description is bound once; to compare two of them would take longer than to read everything again.
        if not (kernel is self._kernel or (isinstance(kernel, tuple) and kernel == self._kernel)):
            self._reads.clear()
        self._kernel = kernel

    def _read(self, key: Key, read: Callable[[], Any]) -> _Read:
        """Read a part; if its value is unchanged, it is the same object as before."""
        known = self._reads.get(key)
        if known is not None:
            self._compare(known)
        before = None if known is None else Before(known.value, np.concatenate([_no_frames(), *known.changed]))
        with self._accounted(before) as account:
            value = read()
        frames = account.all_frames()
        content = self._content(known, frames)
        self.reread.append(key)
        made = _Read(value, read, account.registers, account.parts, frames, content, self._number, self._number)
        if known is not None and alike(known.value, value):
            made.value = known.value
            vars(known).update(vars(made))
        else:
            self._reads[key] = made
        return self._reads[key]

    def _content(self, known: _Read | None, frames: Frames) -> Frames:
        """The contents of frames. If a part was read from the same frames before, they are kept already."""
        if known is None or not np.array_equal(known.frames, frames):
            return self.machine.memory.read_frames(frames)
        return known.content

    @contextmanager
    def _accounted(self, before: Before | None) -> Iterator[_Account]:
        """An account for what is used within the block; if that fails, the outer account takes it over."""
        account = _Account(before)
        self._accounts.append(account)
        try:
            yield account
        except BaseException:
            self._accounts[-2].join(account)
            raise
        finally:
            self._accounts.pop()

    def _holds(self, known: _Read) -> bool:
        """Whether a part is still valid: reading it again would give the same value."""
        if known.held_at == self._number:
            return True
        for name, value in known.registers.items():
            if (getattr(self.machine.cpu, name) if name in _REGISTERS else self._answer(name)) != value:
                return False
        if not all(self._is_still(*part) for part in known.parts.items()) or self._compare(known):
            return False
        known.held_at = self._number
        return True

    def _is_still(self, key: Key, part: _Read) -> bool:
        """Whether another part is unchanged, read again if necessary."""
        if self._reads.get(key) is not part:
            return False
        try:
            return self._holds(part) or self._read(key, part.read) is part
        except Exception:  # noqa: BLE001 - a part that still needs it will read it again and get the error
            return False

    def _compare(self, known: _Read) -> bool:
        """Keep the frames' present contents; whether they differ from those that the part was read from."""
        if known.compared_at != self._number:
            for frames, now, then in self._pairs(known):
                if not np.array_equal(now, then):
                    known.changed.append(frames[(now != then).any(axis=1)])
                    then[:] = now
            known.compared_at = self._number
        return bool(known.changed)

    def _pairs(self, known: _Read) -> Iterator[tuple[Frames, Frames, Frames]]:
        """A part's frames, their present contents, and the former (which may be written to), a few at a time."""
        end = len(known.frames)
        for begin in range(0, end, COMPARED_AT_ONCE):
            some = slice(begin, min(begin + COMPARED_AT_ONCE, end))
            yield known.frames[some], self._words(known.frames[some]), known.content[some]

    def _words(self, frames: Frames) -> Frames:
        """The words of frames, in place if they are contiguous and viewable."""
        low, high = int(frames[0]), int(frames[-1])
        for first, end, words in self._shown:
            if first <= low and high < end:
                side_by_side = high - low == len(frames) - 1
                return words[low - first : high - first + 1] if side_by_side else words[frames - np.uint64(first)]
        return self.machine.memory.read_frames(frames)


@dataclass(frozen=True)
class _Refusal:
    """The reason why the machine does not report something."""

    why: str


_REGISTERS = frozenset(one.name for one in fields(CpuState))


def _place(memory: PhysicalMemory) -> tuple[str, RamMap]:
    """What must be the same for a frame's number to have the same meaning."""
    return memory.name, memory.ram


def _shown(memory: PhysicalMemory) -> list[tuple[int, int, Frames]]:
    """The ranges of RAM that can be read without copying: first frame, end, and a row of words for each frame."""
    found = []
    for ram in memory.ram.ranges:
        first, end = -(-ram.start >> FRAME_SHIFT), ram.end >> FRAME_SHIFT
        view = memory.view(PhysAddr(first << FRAME_SHIFT)) if first < end else None
        if view is not None:
            offset, count = (first << FRAME_SHIFT) - view.start, (end - first) * ENTRIES_PER_FRAME
            words = np.frombuffer(view.buffer, dtype=np.uint64, count=count, offset=offset)
            found.append((first, end, words.reshape(-1, ENTRIES_PER_FRAME)))
    return found


def alike(one: Any, other: Any) -> bool:
    """Whether two values of a part are equal, including arrays within them."""
    if one is other:
        return True
    # mypy does not accept a class as hashable.
    return type(one) is type(other) and _comparison(type(one))(one, other)  # type: ignore[arg-type]


@cache
def _comparison(kind: type[Any]) -> Callable[[Any, Any], bool]:
    """The function that compares two values of a type."""
    if issubclass(kind, np.ndarray):
        return _alike_arrays
    if issubclass(kind, tuple | list):
        return lambda one, other: len(one) == len(other) and all(map(alike, one, other))
    if issubclass(kind, Mapping):
        return lambda one, other: one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if is_dataclass(kind):
        names = [one.name for one in fields(kind)]
        return lambda one, other: all(alike(getattr(one, name), getattr(other, name)) for name in names)
    return lambda one, other: bool(one == other)


def _alike_arrays(one: NDArray[Any], other: NDArray[Any]) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return one.tobytes() == other.tobytes() if one.nbytes <= FRAME_SIZE else _same_values(one.ravel(), other.ravel())


def _same_values(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether two flat arrays are equal; an early difference ends the comparison early."""
    if one.flags.c_contiguous and other.flags.c_contiguous and one.nbytes % 8 == 0:
        one, other = one.view(np.uint64), other.view(np.uint64)  # eight bytes at a time
    step = COMPARED_AT_ONCE * ENTRIES_PER_FRAME
    return all(np.array_equal(one[at : at + step], other[at : at + step]) for at in range(0, len(one), step))


class _WatchedMemory:
    """The memory of the present stop; each read is recorded in the account."""

    def __init__(self, memo: Memo) -> None:
        self._memo = memo

    @property
    def name(self) -> str:
        """The source's short name."""
        return self._memo.machine.memory.name

    @property
    def ram(self) -> RamMap:
        """The RAM ranges; when they change, the memo is emptied."""
        return self._memo.machine.memory.ram

    def read(self, address: PhysAddr, size: int) -> bytes:
        """``size`` bytes from a physical address."""
        data = self._memo.machine.memory.read(address, size)
        first, last = address >> FRAME_SHIFT, (address + size - 1) >> FRAME_SHIFT
        if first == last:
            self._memo.account.frames.add(first)
        elif size:
            self._memo.account.many.append(np.arange(first, last + 1, dtype=np.uint64))
        return data

    def read_frames(self, frames: Frames) -> Frames:
        """Whole frames by number."""
        self._memo.account.many.append(frames.copy())
        return self._memo.machine.memory.read_frames(frames)

    def view(self, address: PhysAddr) -> View | None:
        """The memory around an address; its user reports the frames that it reads to `seen`."""
        return self._memo.machine.memory.view(address)

    def seen(self, frames: Frames) -> None:
        """Record that these frames were read in a view."""
        self._memo.account.many.append(frames)

    def series(self) -> AbstractContextManager[object]:
        """A block in which reads follow each other."""
        return self._memo.machine.memory.series()


class _WatchedCpu(CpuState):
    """The processor of the present stop; each field that is read is recorded in the account."""

    def __init__(self, memo: Memo) -> None:
        object.__setattr__(self, "_memo", memo)

    def __getattribute__(self, name: str) -> Any:
        if name in _REGISTERS:
            memo: Memo = object.__getattribute__(self, "_memo")
            return memo.register(name)
        return object.__getattribute__(self, name)


class _WatchedVirtual(PagedMemory):
    """Virtual memory with the translations of the part that is being read, which its account records."""

    def __init__(self, memo: Memo, machine: Machine) -> None:
        super().__init__(machine.memory, machine.cpu, space=memo.space)
        self._memo = memo
        self._windows: set[Window] = set()

    @property
    def _kept(self) -> Translations:
        return self._memo.account.translations

    def _walk_to(self, page: VirtAddr, wanted: VirtAddr) -> PhysAddr:
        run = self._run_around(page)
        return super()._walk_to(page, wanted) if run is None else PhysAddr(page - run[2])  # a walk gives the reason

    def _linear_near(self, address: VirtAddr) -> Linear:
        run = self._run_around(address)
        return super()._linear_near(address) if run is None else self._linear_within(address, *run)

    def _run_around(self, address: VirtAddr) -> tuple[int, int, int] | None:
        """The run that contains an address, as its window has it, so that flags in entries change nothing for a part.

        None if nothing is mapped there, or if it would take one window too many.
        """
        window = window_of(address, address)
        if not self.cpu.paging or (window not in self._windows and len(self._windows) == MOST_WINDOWS):
            return None
        self._windows.add(window)
        return self._memo.space(window).contiguous.around(address)
