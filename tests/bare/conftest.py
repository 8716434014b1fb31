"""Machines for the tests without guest code, and how much the run is to try."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .machine import BareMachine
from .probing import build


@pytest.fixture(scope="session")
def deep(pytestconfig: pytest.Config) -> bool:
    """Whether this is the long run."""
    return bool(pytestconfig.getoption("--deep"))


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The probe guest, built."""
    directory = tmp_path_factory.mktemp("probe")
    build(directory)
    return directory


@pytest.fixture(scope="session")
def machine() -> Iterator[BareMachine]:
    """One QEMU for all table trees and modes."""
    with BareMachine() as machine:
        yield machine
