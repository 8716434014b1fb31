"""What all tests share: the option --deep, without which tests marked ``deep`` are left out.

Without it hypothesis draws the same examples every time, so that a change is not held up by what another one did.
"""

import pytest
from hypothesis import settings

settings.register_profile("same", derandomize=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--deep", action="store_true", help="also run the tests that take minutes")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "deep: takes minutes; runs only with --deep")
    if not config.getoption("--deep"):
        settings.load_profile("same")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--deep"):
        skip = pytest.mark.skip(reason="takes minutes; runs with --deep")
        for item in items:
            if item.get_closest_marker("deep"):
                item.add_marker(skip)
