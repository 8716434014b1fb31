"""Kernels, built; machines, booted: what the live tests stand on.

`session` is one machine per compiler, shared by all tests and stopped in kernel_ready: look, do not touch.
`boot` starts a machine that belongs to the test alone.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from gdbext.headless import Session

from ..building import ROOT, TARGET, make


@pytest.fixture(scope="session", params=["gcc", "clang"])
def compiler(request: pytest.FixtureRequest) -> str:
    """Both compilers, one after the other."""
    return str(request.param)


def build_kernel(compiler: str) -> Path:
    make(f"CC={compiler}")
    return TARGET / "build" / compiler / "kernel.elf"


@pytest.fixture(scope="session")
def kernel(compiler: str) -> Path:
    """The reference kernel as each compiler makes it."""
    return build_kernel(compiler)


@pytest.fixture(scope="session")
def gcc_kernel() -> Path:
    """The reference kernel, once, where the compiler does not matter."""
    return build_kernel("gcc")


@pytest.fixture(scope="session")
def session(kernel: Path) -> Iterator[Session]:
    """The reference kernel after its default scenario, stopped in kernel_ready. Shared: leave it as it is."""
    with Session(kernel) as session:
        session.run_to("kernel_ready")
        yield session


@pytest.fixture
def boot(gcc_kernel: Path) -> Iterator[Callable[..., Session]]:
    """Boots machines of the test's own; they end with it. `stop=None` leaves one at its first instruction."""
    with ExitStack() as sessions:

        def start(kernel: Path = gcc_kernel, stop: str | None = "kernel_ready", **options: Any) -> Session:
            session = sessions.enter_context(Session(kernel, **options))
            if stop is not None:
                session.run_to(stop)
            return session

        yield start


@pytest.fixture(scope="session")
def reference() -> str:
    """The text of the reference kernel's profile, to be changed."""
    return (ROOT / "gdbext" / "profiles" / "reference.toml").read_text()
