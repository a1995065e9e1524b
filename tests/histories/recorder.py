"""A pytest plugin that records what pytest tells its plugins, a JSON line for each call: what the oracle goes by.

It knows nothing of threepiod, and writes nothing where `RECORDING` names no file.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import pytest


def pytest_configure(config: pytest.Config) -> None:
    path = os.environ.get("RECORDING")
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Recorder(path, with_workers=bool(config.getoption("tx", None))))


class _Recorder:
    def __init__(self, path: str, *, with_workers: bool) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._with_workers = with_workers

    def _record(self, what: str, **told: Any) -> None:
        os.write(self._file, f"{json.dumps({'what': what, **told})}\n".encode())

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self._record("start", arguments=[str(argument) for argument in session.config.invocation_params.args])

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if not report.passed:
            self._record("collector", nodeid=report.nodeid, outcome=report.outcome)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        # It is called, too, where the collection is cut short; a wrong call does not cut it.
        is_over = isinstance(sys.exc_info()[1], pytest.UsageError | None)
        if is_over and not self._with_workers:
            self._record("collected", nodeids=[item.nodeid for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        self._record("collected", nodeids=ids)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._record("begun", nodeid=nodeid)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._record("ended", nodeid=nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        crash = getattr(report.longrepr, "reprcrash", None)
        self._record(
            "report",
            nodeid=report.nodeid,
            when=report.when,
            outcome=str(report.outcome),
            is_expected=hasattr(report, "wasxfail"),
            is_subtest=hasattr(report, "context"),
            message=str(crash.message if crash else report.longrepr or ""),
        )

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        self._record("finish", code=int(exitstatus))
