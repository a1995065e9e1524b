"""The tests of a session that runs them itself. These hooks run for every test, so they do as little as they can.

Each has its guard in itself, because a wrapper is one more call. There is none for pytest_runtest_protocol and
pytest_runtest_logfinish: each further hook costs every test some 4 us.
"""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter
from typing import Any, Final

import pytest

from pytest_threepio import payloads
from pytest_threepio.groups import Group
from pytest_threepio.inflight import InFlight, SessionEnd, follow_phases
from pytest_threepio.reporter import PHASES, SLOW_TEARDOWN_S, Reporter, guarded
from threepio_client import clock
from threepio_client.events import EventType, Phase, split_nodeid
from threepio_client.settings import Settings

# CPython 3.11 takes ten times as long to look up an enumeration's member.
_SETUP: Final = Phase.SETUP
_FUNCTIONS: Final = {pytest.Function}
_WALL_AT_ZERO: Final = clock.WALL_AT_ZERO


class InProcess(Reporter):
    """Events and the now page of a session without workers."""

    def __init__(self, session: pytest.Session, settings: Settings, parent: str = "", rerun_of: str = "") -> None:
        """Begin the run; raises what `Adapter` raises."""
        super().__init__(session, settings, parent, rerun_of)
        # When the test began, when its setup was reported, and when the last of its other reports came.
        self._started_at = self._setup_at = self._reported_at = clock.monotonic()
        self._setup_s: object = 0.0
        self._unfinished = ""
        self._is_collected = False  # whether all files were looked at
        self._passed_in: Group | None = None  # of the test begun last, if it passed and no more is to be said of it
        self._collected: set[str] | None = None  # made where it is needed
        self._now = self._adapter.now
        self._in_flight = InFlight(self._now)
        follow_phases(session.config, self._now)
        session.config.pluginmanager.register(SessionEnd(self._in_flight), "threepio-session-end")

    @guarded
    def pytest_collectstart(self, collector: pytest.Collector) -> None:
        self._in_flight.pytest_collectstart(collector)

    @pytest.hookimpl(tryfirst=True)
    @guarded
    def pytest_collection_modifyitems(self) -> None:
        self._is_collected = True
        self._in_flight.pytest_collection_modifyitems()

    @pytest.hookimpl(trylast=True)
    @guarded
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if not self._is_collected and self.is_cut_short():  # pytest calls this in any case, with what it has so far
            return
        self._note_odd_names(session.items)
        self.emit_collected(map(attrgetter("nodeid"), session.items))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        try:
            if self._unfinished:  # no teardown was reported
                self._passed_in = None
                if self._unfinished != nodeid:
                    self._groups.over(self._groups.of(self._unfinished))
            self._unfinished = nodeid
            self._setup_s = 0.0
            self._started_at = self._setup_at = now = clock.monotonic()
            self._now.set(nodeid, _SETUP, _WALL_AT_ZERO + now)
        except Exception as error:  # noqa: BLE001 - see reporter.guarded
            self.failed("pytest_runtest_logstart", error)

    # After the terminal has counted the report: `trylast`.
    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        try:
            when, seconds = report.when, report.duration
            is_passed = report.outcome == "passed"
            # The teardown of a test that passed, as nearly all do, with nothing else to say of it.
            if (
                when == "teardown"
                and is_passed
                and self._passed_in is not None
                and report.nodeid == self._unfinished
                and type(seconds) is float
                and 0 < seconds < SLOW_TEARDOWN_S
            ):
                self._unfinished = ""
                self._now.clear()
                self._groups.over(self._passed_in)
                self._passed_in = None
                return
            now = clock.monotonic()
            if when == "setup" and is_passed:
                self._setup_s = seconds
                self._setup_at = now
                self._now.set_call(_WALL_AT_ZERO + now)
                return
            setup_s, started_at = self._setup_s, self._started_at
            if (
                when == "call"
                and is_passed
                and report.nodeid == self._unfinished
                and type(seconds) is float
                and type(setup_s) is float
                and seconds > 0 <= setup_s
                and setup_s + seconds <= now - started_at
            ):
                duration = (setup_s + seconds) * 1000
                self._passed_in = self.emit_passed(report, self._unfinished, _WALL_AT_ZERO + started_at, duration, now)
                if self._passed_in is not None:
                    self._reported_at = now
                    self._now.set_teardown(_WALL_AT_ZERO + now)
                    return
            self._take(report, now)
        except Exception as error:  # noqa: BLE001 - see reporter.guarded
            self.failed("pytest_runtest_logreport", error)

    def _take(self, report: pytest.TestReport, now: float) -> None:
        """Take any report."""
        when = report.when
        outcome: Any = report.outcome
        is_passed = outcome == "passed"
        duration = self._duration_of(report.duration, now)
        nodeid = report.nodeid
        if nodeid != self._unfinished:
            nodeid = self._collected_as(nodeid)
        if when == "teardown":
            self._teardown_reported(nodeid, outcome)
            if is_passed and duration >= SLOW_TEARDOWN_S * 1000:
                payload = {"nodeid": nodeid, "duration": round(duration, 3)}
                self._adapter.emit(EventType.TEST_TEARDOWN, payload)
        elif "context" not in report.__dict__:  # a subtest's report comes in the middle of the call
            self._now.set_teardown(_WALL_AT_ZERO + now)
        if not is_passed or when == "call":
            if when == "call":
                took_s = self._setup_at - self._started_at
                duration += _possible_ms(self._setup_s, took_s) or took_s * 1000
            self._take_outcome(report, nodeid, duration)
        self._reported_at = now

    def _teardown_reported(self, nodeid: str, outcome: str) -> None:
        self._unfinished = ""
        self._passed_in = None
        if outcome == "rerun" or self._attempts.ends_one(nodeid):  # it begins anew, as rerunfailures says
            self._now.set_phase(Phase.SETUP, clock.wall())
            return
        self._now.clear()
        self._groups.over(self._groups.of(nodeid))

    def _take_outcome(self, report: pytest.TestReport, nodeid: str, duration: float) -> None:
        self._passed_in = None
        names = self._odd_names.get(nodeid) or split_nodeid(nodeid)
        phase = report.when if report.when in PHASES else Phase.CALL
        self.emit_outcome(report, nodeid, names, phase, _WALL_AT_ZERO + self._started_at, round(duration, 3))

    def _collected_as(self, reported: str) -> str:
        """Return the node id of the test that a report is of, where it is not that of the test begun last.

        A conftest.py may have given the report a name for people; a plugin may run tests beside each other, or report parts
        of a test.
        """
        if self._collected is None:
            self._collected = {item.nodeid for item in self._session.items}
        is_other = reported in self._collected or reported.startswith(f"{self._unfinished}::")
        return reported if is_other or not self._unfinished else self._unfinished

    def _duration_of(self, seconds: object, now: float) -> float:
        """Return a report's duration in milliseconds, by our own clock where a test replaced pytest's."""
        # A plugin may report all phases at the end, so none is longer than from the test's start.
        since = max(self._setup_at, self._reported_at)
        return _possible_ms(seconds, now - self._started_at) or (now - since) * 1000

    def _note_odd_names(self, items: list[pytest.Item]) -> None:
        """Note the names of tests whose node id does not tell them: they are those of pytest's own node chain."""
        for _, of_parent in groupby(items, attrgetter("parent")):
            together = list(of_parent)
            # The functions of one parent are all alike: their names are identifiers.
            if set(map(type, together)) == _FUNCTIONS and not _is_odd(together[0]):
                continue
            self._odd_names.update((item.nodeid, names_by_chain(item)) for item in together if _is_odd(item))
        self.look_again()


def _possible_ms(seconds: object, longest_s: float) -> float:
    """Return what a report says of its length in milliseconds; 0 if it cannot have been that."""
    duration = payloads.milliseconds(seconds)
    return duration if duration <= longest_s * 1000 else 0.0


def _is_odd(item: pytest.Item) -> bool:
    return split_nodeid(item.nodeid) != names_by_chain(item)


def names_by_chain(item: pytest.Item) -> tuple[list[str], str]:
    """Return (names of the parents, own name) of a test, by pytest's node chain: its file and what is within."""
    chain = item.listchain()[:-1]
    inner = [node.name for node in chain if "::" in node.nodeid and not isinstance(node, pytest.File)]
    return [item.nodeid.partition("::")[0], *inner], item.name
