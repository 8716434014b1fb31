"""The examples of help texts and README are what gdbext prints (`python -m tests.live.examples` mends them)."""

import pytest

from gdbext.commands import COMMANDS

from .. import examples


@pytest.fixture(scope="module")
def session():
    with examples.Session(examples.kernel()) as session:
        session.run_to("kernel_ready")
        yield session


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_the_example_of_the_help_is_true(session, command):
    ours = (examples.HELP / f"{command}.txt").read_text()
    assert examples.shape(ours) == examples.shape(examples.example(session, command))


def test_the_session_of_the_readme_is_true(session):
    assert examples.shape(examples.readme_block()) == examples.shape(examples.readme_session(session))
