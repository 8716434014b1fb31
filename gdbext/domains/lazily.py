"""The inputs of rules, each read when it is first used."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

T = TypeVar("T")


def lazily(inputs: type[T], **read: Callable[[], Any]) -> T:
    """An object of a dataclass; ``read`` has a function for each of its fields, called when the field is first used."""

    def field(self: object, name: str) -> object:
        if name not in read:
            raise AttributeError(name)
        value = vars(self)[name] = read[name]()
        return value

    assert set(read) == {one.name for one in fields(inputs)}  # type: ignore[arg-type]  # T is a dataclass
    kind = type(inputs.__name__, (inputs,), {"__getattr__": field})
    lazy: T = object.__new__(kind)
    return lazy
