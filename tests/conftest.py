"""What all tests share: the options --deep and --fast, which choose tests by what they cost.

Without --deep, tests marked ``deep`` are skipped, and hypothesis draws the same examples every time, so that a change
is not held up by what another one did. With --fast, tests marked ``slow`` are skipped too, and hypothesis draws a tenth
of the examples.
"""

import pytest
from hypothesis import settings

from . import budget

# No test asserts a time: a busy machine takes as long as it takes.
settings.register_profile("new", deadline=None)
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("few", deadline=None, derandomize=True, max_examples=10)

KINDS = {"deep": "takes minutes; runs with --deep", "slow": "takes seconds; not with --fast"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--deep", action="store_true", help="also run the tests that take minutes")
    parser.addoption("--fast", action="store_true", help="skip the tests that take seconds, and draw fewer examples")


def pytest_configure(config: pytest.Config) -> None:
    budget.fast = config.getoption("--fast")
    for name, what in KINDS.items():
        config.addinivalue_line("markers", f"{name}: {what}")
    settings.load_profile("new" if config.getoption("--deep") else "few" if budget.fast else "same")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    skipped = {"deep": not config.getoption("--deep"), "slow": config.getoption("--fast")}
    for name, is_skipped in skipped.items():
        for item in items:
            if is_skipped and item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=KINDS[name]))
