"""How much a run may cost: with --fast, hypothesis draws a tenth of the examples."""

fast = False
"""Whether this is a run with --fast; set by conftest.py before any test is imported."""


def examples(ordinary: int = 100) -> int:
    """How many examples a test draws that draws so many in an ordinary run."""
    return ordinary // 10 if fast else ordinary
