"""A pytest plugin that does nothing, in the hooks that a reporter of tests in flight cannot do without.

What it costs is what pytest itself takes to call them: the least that any such plugin adds.
"""

from __future__ import annotations

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logstart(nodeid: str) -> None:
    """A test begins."""


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A test's set-up, call or teardown is over."""
