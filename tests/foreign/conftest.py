"""The kernels of other layouts, built by both compilers; machines that boot them, read through their profile alone."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from gdbext.headless import Session

from ..building import make

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session", params=["gcc", "clang"])
def compiler(request: pytest.FixtureRequest) -> str:
    """Both compilers, one after the other."""
    return str(request.param)


@pytest.fixture(scope="session")
def build() -> Callable[[str], Path]:
    """Where the kernels lie as a compiler makes them, each compiler called once."""

    @cache
    def made_by(compiler: str) -> Path:
        make("-f", HERE / "Makefile", f"CC={compiler}")
        return HERE / "build" / compiler

    return made_by


@pytest.fixture
def boot(build: Callable[[str], Path]) -> Iterator[Callable[..., Session]]:
    """Boots a kernel by name, up to where it rests; the machine ends with the test."""
    with ExitStack() as sessions:

        def start(name: str, compiler: str = "gcc", **options: Any) -> Session:
            profile = HERE / name / f"{name}.toml"
            kernel = build(compiler) / f"{name}.elf"
            session = sessions.enter_context(Session(kernel, **({"profile": profile} | options)))
            session.run_to("kernel_ready")
            return session

        yield start
