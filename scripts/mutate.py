#!/usr/bin/env python3
"""Change the code in one place after the other, and see whether the unit tests notice.

    scripts/test --mutate                         everything that has tests of its own in the table below
    scripts/test --mutate gdbext/x86 gdbext/units.py
    scripts/test --mutate --write                 then write docs/mutation.md

A mutant is one module with one expression changed. Each runs in a forked process that has Python's libraries loaded
already, imports gdbext with the changed module, and runs the module's unit tests until one fails. Outcomes are kept in
build/mutation/, so that a run can be stopped and called again. It tries all mutants of a module that was changed since,
and those that survived where the tests were.
"""

# ruff: noqa: T201 - printing is what it is for

import argparse
import ast
import copy
import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import resource
import signal
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "build" / "mutation"
DOCUMENT = ROOT / "docs" / "mutation.md"
TABLE = ROOT / "scripts" / "mutate.toml"
"""The tests of each module, and why some survivors do no harm."""
CPU_SECONDS, MEMORY = 60, 4 << 30
WALL_SECONDS = 600
"""What one mutant may take: it loops for ever or fills memory otherwise. A mutant that runs out of these is killed."""

LOADED_BEFORE = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"
"""hypothesis brings a plugin for pytest, and is among the libraries that are loaded before the fork."""

COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
DROPPED = (ast.Add, ast.Sub, ast.BitAnd, ast.BitOr, ast.BitXor, ast.Mod, ast.LShift, ast.RShift)
"""Operators whose right side is left out as well: a mask, an offset, a shift that is forgotten."""


@dataclass(frozen=True)
class Mutant:
    """A module's file with one change: the function ("" for none) and the line, the expression before and after."""

    path: str
    function: str
    line: int
    number: int
    before: str
    after: str

    @property
    def key(self) -> str:
        """Its name among the module's mutants, as long as the module stays as it is."""
        return f"{self.number}: {self.change}"

    @property
    def change(self) -> str:
        """The change, as reports and explanations write it."""
        return f"{self.before} -> {self.after}"


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """What one node of the syntax tree may become."""
    match node:
        case ast.Compare(ops=[op]) if type(op) in COMPARED:
            yield ast.Compare(node.left, [COMPARED[type(op)]()], node.comparators)
        case ast.BinOp(op=ast.BitOr(), right=ast.Constant(value=None)):
            return  # a type
        case ast.BinOp(op=ast.LShift(), right=ast.Constant(value=0)):
            return  # bit 0
        case ast.BinOp(op=op):
            if type(op) in COMPUTED:
                yield ast.BinOp(node.left, COMPUTED[type(op)](), node.right)
            if isinstance(op, DROPPED):
                yield node.left
        case ast.AugAssign(op=op) if type(op) in COMPUTED:
            yield ast.AugAssign(node.target, COMPUTED[type(op)](), node.value)
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert()):
            yield node.operand
        case ast.BoolOp(op=op):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), node.values)
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield ast.Constant(value + 1)


def places(tree: ast.Module) -> Iterator[tuple[ast.AST, str, int | None]]:
    """Every node that may be changed, by what holds it: annotations, messages and decorators stay as they are."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        parent = waiting.pop()
        for field, value in ast.iter_fields(parent):
            if field in ("annotation", "returns", "decorator_list", "type_params") or isinstance(parent, ast.JoinedStr):
                continue
            for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(child, ast.AST):
                    yield parent, field, index
                    waiting.append(child)


def child_of(parent: ast.AST, field: str, index: int | None) -> ast.AST:
    """The node at a place."""
    value = getattr(parent, field)
    child: ast.AST = value if index is None else value[index]
    return child


def mutants(path: str) -> list[Mutant]:
    """All mutants of a module, in the order of the file."""
    found = []
    tree = ast.parse((ROOT / path).read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for number, (place, change) in enumerate(_numbered(tree)):
        before = child_of(*place)
        if isinstance(place[0], ast.keyword) and place[0].arg == "strict":
            continue  # of zip: what it holds together is of one length
        line = before.lineno if isinstance(before, ast.expr | ast.stmt) else 0
        around = [function for function in functions if function.lineno <= line <= (function.end_lineno or 0)]
        function = max(around, key=lambda function: function.lineno).name if around else ""
        found.append(Mutant(path, function, line, number, ast.unparse(before), ast.unparse(change)))
    return sorted(found, key=lambda mutant: (mutant.line, mutant.number))


def _numbered(tree: ast.Module) -> list[tuple[tuple[ast.AST, str, int | None], ast.AST]]:
    return [(place, change) for place in places(tree) for change in changes(child_of(*place))]


def changed(mutant: Mutant) -> ast.Module:
    """The syntax tree of the module with the change."""
    tree = ast.parse((ROOT / mutant.path).read_text())
    (parent, field, index), change = _numbered(tree)[mutant.number]
    change = ast.copy_location(copy.deepcopy(change), child_of(parent, field, index))
    if index is None:
        setattr(parent, field, change)
    else:
        getattr(parent, field)[index] = change
    return ast.fix_missing_locations(tree)


class Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the one module from its changed syntax tree."""

    def __init__(self, name: str, path: str, tree: ast.Module) -> None:
        self._name, self._path, self._tree = name, path, tree

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The changed module's specification; None for every other one."""
        if fullname != self._name:
            return None
        return importlib.util.spec_from_file_location(fullname, ROOT / self._path, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        """Run the changed module."""
        exec(compile(self._tree, str(ROOT / self._path), "exec"), module.__dict__)


def run(tests: list[str], mutant: Mutant | None) -> int:
    """In a process of its own: run tests with a module changed (None: as it is). The exit status is pytest's."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    quiet = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(quiet, stream)
    if mutant is not None:
        name = mutant.path.removesuffix(".py").replace("/", ".")
        sys.meta_path.insert(0, Changed(name, mutant.path, changed(mutant)))
    import pytest  # noqa: PLC0415 - loaded before the fork

    options = ["-x", "-q", "--fast", "-p", "no:cacheprovider", "-p", "no:xdist", "-W", LOADED_BEFORE]
    return int(pytest.main([*options, *tests]))


class Pool:
    """So many mutants at a time, each in a process of its own."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._running: dict[int, tuple[Mutant | None, float]] = {}

    def start(self, tests: list[str], mutant: Mutant | None) -> None:
        """Fork a process that runs the tests."""
        sys.stdout.flush()
        child = os.fork()
        if not child:
            status = 1
            try:
                os.setpgid(0, 0)
                status = run(tests, mutant)
            finally:
                os._exit(status)
        self._running[child] = (mutant, time.monotonic())

    @property
    def full(self) -> bool:
        """Whether none can be started."""
        return len(self._running) >= self._size

    def __bool__(self) -> bool:
        return bool(self._running)

    def outcome(self) -> tuple[Mutant | None, bool]:
        """Wait for one to end: whether its tests passed."""
        while True:
            child, status = os.waitpid(-1, os.WNOHANG)
            if child:
                mutant, _ = self._running.pop(child)
                return mutant, status == 0
            for running, (_, begin) in self._running.items():
                if time.monotonic() - begin > WALL_SECONDS:
                    os.kill(running, signal.SIGKILL)
            time.sleep(0.02)


def kept(path: str) -> dict[str, bool]:
    """The mutants of a module that were tried before, by key: whether they survived."""
    try:
        record = json.loads((KEPT / f"{path.replace('/', '.')}.json").read_text())
    except FileNotFoundError:
        return {}
    outcomes: dict[str, bool] = record["outcomes"] if record["source"] == fingerprint([path]) else {}
    return outcomes


def same_tests(path: str, tests: list[str]) -> bool:
    """Whether a module's mutants were tried with these tests."""
    try:
        record = json.loads((KEPT / f"{path.replace('/', '.')}.json").read_text())
    except FileNotFoundError:
        return True
    return bool(record["tests"] == fingerprint(tests))


def keep(path: str, tests: list[str], outcomes: dict[str, bool]) -> None:
    """Write down what became of a module's mutants."""
    KEPT.mkdir(parents=True, exist_ok=True)
    record = {"source": fingerprint([path]), "tests": fingerprint(tests), "outcomes": outcomes}
    (KEPT / f"{path.replace('/', '.')}.json").write_text(json.dumps(record, indent=0))


def fingerprint(paths: list[str]) -> str:
    """A digest of files without comments, layout and strings, so that a reworded message has nothing tried anew."""
    digest = hashlib.sha256()
    for path in paths:
        tree = ast.parse((ROOT / path).read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                node.value = ""
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()


def tests_of(path: str, table: dict[str, list[str]]) -> list[str]:
    """The test files of a module: those of the longest name in the table that it begins with."""
    name = max((prefix for prefix in table if path.startswith(prefix)), key=len, default=None)
    return [] if name is None else [f"tests/unit/{test}.py" for test in table[name]]


def try_all(path: str, tests: list[str], pool: Pool, every: int) -> None:
    """Try the mutants of a module that no test was seen to notice."""
    outcomes = kept(path)
    again = not same_tests(path, tests)
    waiting = [
        mutant
        for number, mutant in enumerate(mutants(path))
        if (again and outcomes[mutant.key] if mutant.key in outcomes else number % every == 0)
    ]
    if not waiting:
        return
    pool.start(tests, None)
    if not pool.outcome()[1]:
        sys.exit(f"{path}: its tests fail without any change: {' '.join(tests)}")
    while waiting or pool:
        while waiting and not pool.full:
            pool.start(tests, waiting.pop(0))
        mutant, survived = pool.outcome()
        assert mutant is not None
        outcomes[mutant.key] = survived
        if survived:
            print(f"{mutant.path}:{mutant.line}: {mutant.before} -> {mutant.after}", flush=True)
        keep(path, tests, outcomes)


def document(paths: list[str], explained: dict[str, dict[str, dict[str, str]]]) -> str:
    """docs/mutation.md: the score of each package and module, and the survivors with the reason why they do no harm.

    ``explained`` has the reasons by module, function and the beginning of the change.
    """
    modules, survivors = [], []
    packages: dict[str, Counter[str]] = {}
    total: Counter[str] = Counter()
    for path in paths:
        outcomes, every = kept(path), mutants(path)
        tried = [mutant for mutant in every if mutant.key in outcomes]
        alive = [mutant for mutant in tried if outcomes[mutant.key]]
        counts = Counter(all=len(every), tried=len(tried), noticed=len(tried) - len(alive))
        modules += [_row(path, counts)] if tried else []
        packages.setdefault(str(Path(path).parent), Counter()).update(counts)
        total.update(counts)
        for mutant in alive:
            reasons = explained.get(path, {}).get(mutant.function or "module", {})
            known = (why for start, why in reasons.items() if mutant.change.startswith(start))
            quoted = mutant.change.replace("|", "\\|").replace("\n", " ")
            where = f"{path}` {mutant.function}".strip()
            survivors.append(f"| `{where} | `{quoted}` | {next(known, 'not looked into yet')} |")
    head = ["| mutants of | are | tried | noticed | |", "|---|---:|---:|---:|---:|"]
    totals = [_row(package, counts) for package, counts in (*packages.items(), ("all", total)) if counts["tried"]]
    lines = [*head, *totals, "", "By module:", "", *head, *modules, "", "## Survivors", ""]
    return HEAD + "\n".join([*lines, "| where | change | why it does no harm |", "|---|---|---|", *survivors, ""])


def _row(name: str, counts: Counter[str]) -> str:
    share = counts["noticed"] / counts["tried"] if counts["tried"] else 0
    return f"| `{name}` | {counts['all']} | {counts['tried']} | {counts['noticed']} | {share:.0%} |"


HEAD = """# What the unit tests notice

`scripts/test --mutate` changes one expression after the other and runs the unit tests that belong to the module:
a comparison at its bound (`<` to `<=`), an operator (`+` to `-`, `&` to `|`), its right side left out (a mask, an
offset), a number one more, `and` to `or`, `not` left out, a truth value turned. `--every N` tries every Nth of them.
`scripts/test --mutate --write` writes this page; `scripts/mutate.toml` has the tests of each module, and the reasons,
by function.

Why not an existing tool: mutmut 3 changes functions alone, and the formats of entries are constants outside of
functions; cosmic-ray starts a test command for each mutant, and loading numpy, hypothesis and pytest takes longer
than most of these tests. `scripts/mutate.py` forks a process that has them loaded.

"""


def main() -> None:
    """Try mutants, and say which survive."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", help="files or packages; without any, all that the table has tests for")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="try every Nth mutant of a module alone")
    parser.add_argument("--write", action="store_true", help="write docs/mutation.md from all outcomes that are kept")
    options = parser.parse_args()
    os.chdir(ROOT)
    table = tomllib.loads(TABLE.read_text())
    tests: dict[str, list[str]] = table["tests"]
    every = sorted(path for path in map(str, Path("gdbext").rglob("*.py")) if tests_of(path, tests))
    wanted = [path for path in every if not options.modules or path.startswith(tuple(options.modules))]
    if not wanted:
        sys.exit(f"no module begins with {' or '.join(options.modules)} and has tests in {TABLE.name}")
    sys.path.insert(0, str(ROOT))
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    for library in ("hypothesis", "numpy", "pytest", "elftools.elf.elffile", "elftools.dwarf.dwarfinfo", "tabulate"):
        importlib.import_module(library)
    pool = Pool(os.cpu_count() or 1)
    for path in wanted:
        begin = time.monotonic()
        try_all(path, tests_of(path, tests), pool, options.every)
        outcomes = kept(path)
        print(f"{path}: {len(outcomes) - sum(outcomes.values())} of {len(outcomes)} noticed, "
              f"{time.monotonic() - begin:.0f} s", flush=True)  # fmt: skip
    if options.write:
        DOCUMENT.write_text(document(every, table.get("explained", {})))


if __name__ == "__main__":
    main()
