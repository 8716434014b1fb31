"""Any result as JSON, from the annotations of its fields: addresses in hexadecimal, counts as numbers.

A field's type says what it is: VirtAddr, PhysAddr and Word64 become hexadecimal strings, int and Pfn numbers,
Rights of a single page an object. A field may carry another name in its metadata under ``json``.

A map may have a million mappings, so what an annotation asks for is determined once, not once for each value.
"""

import dataclasses
import json
import types
import typing
from collections.abc import Callable, Hashable, Iterator
from enum import Enum
from functools import cache, partial
from operator import attrgetter
from pathlib import Path
from typing import Any, cast

from gdbext.errors import UsageError
from gdbext.progress import progress
from gdbext.units import PhysAddr, VirtAddr, Word64

SCHEMA = 1

_HEXADECIMAL = (VirtAddr, PhysAddr, Word64)
_SCALARS = (bool, int, float, str)
_CHUNK = 4096
"""Items of a list that are turned into text at a time, so that a long list is never held whole in another form."""

Converter = Callable[[Any], object]

_encode = json.JSONEncoder(separators=(",", ":")).encode


def document(command: str, result: object) -> dict[str, object]:
    """The whole JSON document for a command's result."""
    return {"schema": SCHEMA, "command": command, **_object(result)}


def text(command: str, result: object) -> str:
    """The document as one line of text."""
    members = [f'"schema":{SCHEMA}', f'"command":{_encode(command)}']
    for name, value, convert in _members(result):
        members.append(f"{_encode(name)}:{''.join(_texts(name, value, convert))}")
    return "{" + ",".join(members) + "}"


def _texts(name: str, value: Any, convert: Converter) -> Iterator[str]:
    """A member's value as text, a long list's piece by piece."""
    if not isinstance(value, tuple) or len(value) <= _CHUNK:
        yield _encode(convert(value))
        return
    for start in range(0, len(value), _CHUNK):
        progress(f"writing {name}", start, len(value))
        yield ("," if start else "[") + _encode(convert(value[start : start + _CHUNK]))[1:-1]
    yield "]"


def _object(value: object) -> dict[str, object]:
    """A dataclass as a JSON object."""
    return {name: convert(item) for name, item, convert in _members(value)}


def _members(value: Any) -> Iterator[tuple[str, Any, Converter]]:
    """The members of a dataclass: JSON name, value, and what makes JSON of it."""
    names, get, converters = _layout(cast("Hashable", type(value)))  # mypy has doubts that a class can be hashed
    return zip(names, get(value), converters, strict=True)


@cache
def _layout(kind: type) -> tuple[tuple[str, ...], Callable[[object], tuple[Any, ...]], tuple[Converter, ...]]:
    """JSON names, a getter of all values at once, and converters of the fields of a dataclass."""
    if not dataclasses.is_dataclass(kind):
        raise TypeError(f"a result holds a {kind.__name__}, which JSON has no form for")
    fields, hints = dataclasses.fields(kind), typing.get_type_hints(kind)
    get = attrgetter(*(field.name for field in fields))
    return (
        tuple(field.metadata.get("json", field.name) for field in fields),
        get if len(fields) > 1 else lambda value: (get(value),),
        tuple(_converter(hints[field.name]) for field in fields),
    )


@cache
def _converter(annotation: Any) -> Converter:
    """What converts a value with this annotation to JSON's own types."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in _HEXADECIMAL:
        return hex
    if annotation in _SCALARS:
        return _same
    if origin is tuple:
        return partial(_list, _converter(arguments[0]))
    if origin is dict:
        return partial(_dict, _converter(arguments[1]))
    if origin in {types.UnionType, typing.Union}:
        return _union(arguments)
    return _by_its_own_type


def _union(choices: tuple[Any, ...]) -> Converter:
    """Of several types: where an address is allowed, a number is one."""
    if any(choice in _HEXADECIMAL for choice in choices):
        return lambda value: hex(value) if isinstance(value, int) else _by_its_own_type(value)
    others = [choice for choice in choices if choice is not types.NoneType]
    if len(others) > 1:
        return _by_its_own_type
    convert = _converter(others[0])
    return lambda value: None if value is None else convert(value)


def _same(value: object) -> object:
    return value


def _list(convert: Converter, values: tuple[Any, ...]) -> list[object]:
    return list(values) if convert is _same else [convert(value) for value in values]


def _dict(convert: Converter, values: dict[Any, Any]) -> dict[str, object]:
    return {str(key): convert(value) for key, value in values.items()}


def _by_its_own_type(value: Any) -> object:
    """A value whose annotation does not determine its form."""
    if value is None or (isinstance(value, _SCALARS) and not isinstance(value, Enum)):
        return value
    return value.value if isinstance(value, Enum) else _object(value)


def write(path: str, content: str) -> None:
    """Write a report to a file; UsageError when that cannot be done."""
    try:
        Path(path).expanduser().write_text(content + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
