"""The tests of a session whose xdist workers run them: what they report, and which of them died."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_threepio import payloads
from pytest_threepio.inflight import nodeid_of
from pytest_threepio.reporter import PHASES, SLOW_TEARDOWN_S, Reporter, guarded
from pytest_threepio.workers import Workers
from threepio_client import clock
from threepio_client.events import EventType, Phase, split_nodeid
from threepio_client.settings import Settings


class Controller(Reporter):
    """Events of a session with workers. What is in flight they say themselves (`inflight.py`)."""

    def __init__(self, session: pytest.Session, settings: Settings, parent: str = "", rerun_of: str = "") -> None:
        """Begin the run; raises what `Adapter` raises."""
        super().__init__(session, settings, parent, rerun_of)
        self._session_at = clock.monotonic()
        self._ids: list[str] | None = None
        self._seen: set[str] = set()  # where all run everything, what any of them collected
        self._workers = Workers(self._adapter)
        self._nodeid = nodeid_of(session.config)
        self._all_run_everything = session.config.getoption("dist") == "each"
        if self._all_run_everything:
            self._attempts.outcomes = set()
            self.look_again()

    @pytest.hookimpl(optionalhook=True)
    @guarded
    def pytest_configure_node(self, node: Any) -> None:
        self._workers.configure(node)

    @pytest.hookimpl(optionalhook=True)
    @guarded
    def pytest_testnodeready(self, node: Any) -> None:
        self._workers.started(node)

    @pytest.hookimpl(optionalhook=True)
    @guarded
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        self._workers.ended(node, error)

    @pytest.hookimpl(optionalhook=True)
    @guarded
    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:
        if self._ids is None:  # every worker collects the same
            self._ids = ids
            self.emit_collected(map(self._nodeid, ids))
        elif self._all_run_everything and (new := [nodeid for nodeid in ids if nodeid not in self._seen]):
            self.emit_collected(map(self._nodeid, new), len(self._seen))
        if self._all_run_everything:  # of what it collected itself, which may be more than others did
            self._seen.update(ids)

    # After the terminal has counted the report: `trylast`. Guarded in itself: a wrapper is one more call for every test.
    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        try:
            outcome: Any = report.outcome
            when, is_passed = report.when, outcome == "passed"
            seconds = report.duration
            is_quick = type(seconds) is float and seconds < SLOW_TEARDOWN_S
            if is_passed and (when == "setup" or (when == "teardown" and is_quick)):
                return
            self._workers.look()
            now = clock.monotonic()
            duration = payloads.milliseconds(seconds)
            if duration > (now - self._session_at) * 1000:  # we did not see it begin
                duration = 0.0
            nodeid = self._collected_as(report)
            if is_passed and when == "teardown":
                if duration >= SLOW_TEARDOWN_S * 1000:
                    self._adapter.emit(EventType.TEST_TEARDOWN, {"nodeid": nodeid, "duration": duration})
                return
            node: Any = getattr(report, "node", None)
            started = clock.WALL_AT_ZERO + now - duration / 1000
            if (
                is_passed
                and node is not None
                and self.emit_passed(report, nodeid, started, duration, now, node.gateway.id)
            ):
                return
            self.emit_outcome(
                report, nodeid, split_nodeid(nodeid), self._phase_of(report, node, nodeid), started, duration
            )
            # Its worker died in it, and it may be given to another one; rerunfailures may have taken that for an attempt.
            if when not in PHASES and outcome != "rerun":
                self._attempts.died_in.add(nodeid)
                self.look_again()
        except Exception as error:  # noqa: BLE001 - see reporter.guarded
            self.failed("pytest_runtest_logreport", error)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        try:
            nodeid = self._nodeid(nodeid)
            if not self._attempts.ends_one(nodeid):  # rerunfailures says this after every attempt
                self._groups.over(self._groups.of(nodeid))
        except Exception as error:  # noqa: BLE001 - see reporter.guarded
            self.failed("pytest_runtest_logfinish", error)

    def _collected_as(self, report: pytest.TestReport) -> str:
        """Return the node id of a report's test, as it was collected: a conftest.py may have given it a name for people."""
        index = report.__dict__.get("item_index")  # xdist's
        # Workers that all run everything may not collect the same.
        if type(index) is int and self._ids is not None and not self._all_run_everything:
            return self._nodeid(self._ids[index])
        return self._nodeid(report.nodeid)

    def _phase_of(self, report: pytest.TestReport, node: Any, nodeid: str) -> str:
        """Return the phase of a report; where its worker died, the one in which it did, as far as the now page knew."""
        if report.when in PHASES:
            return report.when
        if node is None:
            return Phase.CALL
        phase = self._workers.phase_of_death(node.gateway.id)
        # With rerunfailures no report came of its call: this one decides.
        is_decided = self._attempts.decided.get(node.gateway.id) == nodeid
        return Phase.CALL if phase == Phase.TEARDOWN and not is_decided else phase
