"""Spares pytest's tracebacks at the end of a huge run, where `threepio run` has them anyway.

For each failure pytest looks through all reports of the session for what its teardown printed: 8.6 minutes for 944 failures
among 430,000 reports of pandas. Nothing else of the summary is touched, nor what other plugins print.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final

import pytest

WORTH: Final = 500_000
"""Failures times reports from which on it is done: pytest would take half a second and more."""


class Spared:
    """Registered where the output of this session is not what its user reads."""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: Any, config: pytest.Config) -> Generator[None]:
        """Have the tracebacks left out where they would take long, and say where they are."""
        stats = terminalreporter.stats
        bad = len(stats.get("failed", ())) + len(stats.get("error", ()))
        style = config.option.tbstyle
        if style == "no" or bad * sum(map(len, stats.values())) < WORTH:
            yield
            return
        config.option.tbstyle = "no"
        try:
            yield
        finally:
            config.option.tbstyle = style
        terminalreporter.write_line(
            f"threepio: {bad} tracebacks are left out here, which would take pytest long: threepio failures, threepio show"
        )
