"""Say at the end how many wrong inputs were generated and tried."""

from __future__ import annotations

import pytest

from tests.wrong_input.refusals import tried


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the count by kind of input; with `pytest -n`, the workers count on their own."""
    if tried:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(tried.items()))
        terminalreporter.write_line(f"wrong inputs tried: {tried.total()} ({kinds})")
