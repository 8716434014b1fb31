"""What an implementation of Symbols answers to a list of questions, in a form that JSON can carry.

Runs in the test's own process over ElfSymbols, and inside gdb (as a script) over GdbSymbols.
"""

import json
import os
import sys


def describe_type(kind, depth=3):
    if kind is None:
        return None
    told = {"kind": kind.kind.value, "name": kind.name, "size": kind.size, "count": kind.count}
    if kind.kind.value in ("integer", "enum"):
        told["signed"] = kind.signed
    if kind.kind.value == "enum":
        told["enumerators"] = sorted(kind.enumerators.items())
    if kind.target is not None:
        told["target"] = describe_type(kind.target, depth - 1) if depth else kind.target.name
    if depth:
        told["fields"] = [
            [f.name, f.offset, f.bit_offset, f.bit_size, describe_type(f.type, depth - 1)] for f in kind.fields
        ]
    return told


def describe_symbol(symbol):
    if symbol is None:
        return None
    return {"address": symbol.address, "value": symbol.value, "type": describe_type(symbol.type)}


def dump(symbols, questions):
    return {
        "symbols": {name: describe_symbol(symbols.find_symbol(name)) for name in questions["symbols"]},
        "types": {name: describe_type(symbols.find_type(name)) for name in questions["types"]},
        "sections": [[s.name, s.address, s.size, s.writable, s.executable] for s in symbols.sections()],
        "detail": symbols.detail().name,
        "nearest": {name: list(symbols.nearest(name)) for name in questions["nearest"]},
        "name_at": [symbols.name_at(address) for address in questions["name_at"]],
    }


if __name__ == "__main__":
    import gdb

    sys.path[:0] = os.environ["SYMBOLS_PATH"].split(os.pathsep)
    from gdbext.bridge.symbols import GdbSymbols

    with open(os.environ["SYMBOLS_QUESTIONS"]) as file:
        given = json.load(file)
    for command in given["commands"]:
        gdb.execute(command, to_string=True)
    answers = dump(GdbSymbols(), given)
    answers["language"] = gdb.parameter("language")
    with open(os.environ["SYMBOLS_ANSWERS"], "w") as file:
        json.dump(answers, file)
