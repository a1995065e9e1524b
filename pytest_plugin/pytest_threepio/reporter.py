"""Hooks to events: guard, translate, hand on. What pytest's own terminal counts is what is reported.

Each hook is guarded: an error in here is counted, written to the adapter's log with its cause, and said at the end of
the session; it never touches a test's outcome.
"""

from __future__ import annotations

import functools
import os
import platform
import socket
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, ParamSpec

import pytest

from pytest_threepio import payloads
from pytest_threepio.circumstances import ci_marks, command_of
from pytest_threepio.groups import Groups
from pytest_threepio.inflight import InFlight, SessionEnd
from pytest_threepio.workers import Workers
from threepio_client import __version__, clock
from threepio_client.adapter import Adapter
from threepio_client.events import COLLECTED_CHUNK, EventType, Payload, Phase, Status
from threepio_client.settings import Settings
from threepio_client.vcs import git_head

SLOW_TEARDOWN_MS: Final = 100.0
"""A teardown that took this long gets an event of its own, so that slow fixtures can be found."""

_PHASES: Final = frozenset({Phase.SETUP, Phase.CALL, Phase.TEARDOWN})

_COLLECT_ONLY: Final = ("collectonly", "showfixtures", "show_fixtures_per_test", "setuponly", "setupplan")
"""Options with which pytest collects and calls no test."""

P = ParamSpec("P")


def _guarded(hook: Callable[P, None]) -> Callable[P, None]:
    """Keep an error of ours away from the session."""

    @functools.wraps(hook)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            hook(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - whatever it is, a test's outcome is worth more; it is counted and said
            reporter = args[0]
            assert isinstance(reporter, Reporter)
            reporter.failed(hook.__name__, error)

    return guarded


class Reporter:
    """One pytest session's events.

    Attributes:
        parent: the run in one of whose tests this session was started; empty if there is none, or if it is not known.
        rerun_of: the run of which this session runs again what failed or never ran; empty if it does not.
    """

    def __init__(self, session: pytest.Session, settings: Settings, parent: str = "", rerun_of: str = "") -> None:
        """Begin the run; raises what `Adapter` raises."""
        self.parent = parent
        self.rerun_of = rerun_of
        self._session = session
        self._config = config = session.config
        self._terminal: Any = config.pluginmanager.get_plugin("terminalreporter")
        self._with_workers = config.pluginmanager.hasplugin("dsession")
        self._subtests: dict[str, list[tuple[str, object]]] = {}
        self._superseded: dict[str, list[tuple[str, object]]] = {}
        self._decided: dict[str, str] = {}
        self._again: set[str] = set()
        self._collected_known = False
        self._deselected = 0
        self._stopped: Payload | None = None
        self._hook_errors = 0
        self._finished = False
        self._stored = False
        self._started = 0.0
        self._session_at = self._started_at = self._reported_at = clock.monotonic()
        self._before_call_ms = 0.0
        self._item: pytest.Item | None = None
        self._parent: object = None
        self._parent_names: list[str] = []
        self._adapter = Adapter(settings, self._run_start())
        self._groups = Groups(self._adapter.emit)
        self._workers = Workers(self._adapter)
        self._was_connected = self._adapter.is_connected
        # Under xdist the workers know better what is in flight.
        self._now = None if self._with_workers else self._adapter.now
        self._in_flight = None if self._now is None else InFlight(self._now)
        if self._in_flight is not None:
            config.pluginmanager.register(SessionEnd(self._in_flight), "threepio-session-end")

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._adapter.run_id

    def header(self) -> str:
        """Return the line that says where the events go."""
        adapter = self._adapter
        where = "threepiod and its journal" if self._was_connected else f"journal only, {adapter.journal_path}"
        return f"threepio: run {adapter.run_id}, events go to {where}"

    def closing_line(self) -> str:
        """Return the line that says what became of the events, and how to see more."""
        run_id = self._adapter.run_id
        kept = "stored" if self._stored else f"kept in {self._adapter.journal_path}"
        if self._adapter.is_journal_removed and not self._stored:
            kept = "lost with its journal"
        return f"threepio: run {run_id} is {kept}; see more: threepio status {run_id}"

    def complaints(self) -> list[str]:
        """Return what went wrong with the telemetry."""
        return self._adapter.complaints

    def failed(self, hook: str, error: Exception) -> None:
        """Note an error of this plugin; never raises."""
        self._hook_errors += 1
        try:
            where = "".join(traceback.format_exception(error)[-2:]).strip().replace("\n", " | ")
        except Exception as trouble:  # noqa: BLE001 - a test may have replaced `open`, which a traceback needs
            where = f"{type(error).__name__}; where cannot be said: {type(trouble).__name__}"
        self._adapter.complain(f"an error in the plugin's {hook}, please report it: {where}", key=hook)

    # Collection

    @_guarded
    def pytest_collection(self) -> None:
        self._adapter.emit(EventType.COLLECTION_START, {})

    @_guarded
    def pytest_collectstart(self, collector: pytest.Collector) -> None:
        if self._in_flight is not None:
            self._in_flight.pytest_collectstart(collector)

    @pytest.hookimpl(trylast=True)
    @_guarded
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.passed:
            return
        if report.failed:
            error = payloads.error_of(report.longrepr)
            self._adapter.emit(EventType.COLLECTION_ERROR, {"nodeid": report.nodeid, "error": error})
            return
        parents, name = payloads.split_nodeid(report.nodeid)
        self._adapter.emit(
            EventType.TEST_CASE,
            {
                "testName": name,
                "parentNames": parents,
                "nodeid": report.nodeid,
                "status": Status.SKIP,
                "phase": Phase.COLLECT,
                "skipReason": payloads.skip_reason_of(report.longrepr),
            },
        )

    @pytest.hookimpl(tryfirst=True)
    @_guarded
    def pytest_collection_modifyitems(self) -> None:
        if self._in_flight is not None:
            self._in_flight.pytest_collection_modifyitems()

    @_guarded
    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self._deselected += len(items)

    @pytest.hookimpl(trylast=True)
    @_guarded
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if not self._with_workers:
            self._collected(item.nodeid for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    @_guarded
    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:
        if not self._collected_known:  # every worker collects the same
            self._collected(ids)

    # The tests. These hooks run for every test, so each has its guard in itself: a wrapper is one more call.

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        self._item = item

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        try:
            self._started_at = self._reported_at = now = clock.monotonic()
            self._started = started = clock.WALL_AT_ZERO + now
            if self._now is not None:
                self._now.set(nodeid, Phase.SETUP, started)
        except Exception as error:  # noqa: BLE001 - see _guarded
            self.failed("pytest_runtest_logstart", error)

    # After the terminal has counted the report: `trylast`.
    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        try:
            now = clock.monotonic()
            if self._in_flight is not None:
                self._in_flight.reported(report, clock.WALL_AT_ZERO + now)
            if self._with_workers:
                self._workers.look()
            duration = self._duration_of(report, now)
            when = report.when
            if when == "setup":
                self._before_call_ms = duration
            if when == "call" or report.outcome != "passed":
                self._take_outcome(report, duration)
            elif when == "teardown" and duration >= SLOW_TEARDOWN_MS:
                self._adapter.emit(EventType.TEST_TEARDOWN, {"nodeid": report.nodeid, "duration": duration})
        except Exception as error:  # noqa: BLE001 - see _guarded
            self.failed("pytest_runtest_logreport", error)

    def _take_outcome(self, report: pytest.TestReport, duration: float) -> None:
        """Emit what a report decides, if it does."""
        category = self._category_of(report)
        status = payloads.status_of(report, category)
        if status is None:
            return
        if report.when == "call" and not self._with_workers:
            duration = round(duration + self._before_call_ms, 3)
        node = getattr(report, "node", None)
        parents, name = self._names_of(report.nodeid)
        payload: Payload = {
            "testName": name,
            "parentNames": parents,
            "nodeid": report.nodeid,
            "status": status,
            "phase": self._phase_of(report),
            "started": round(clock.wall() - duration / 1000 if self._with_workers else self._started, 6),
            "duration": duration,
        }
        if node is not None:
            payload["worker"] = node.gateway.id
        if status is not Status.PASS or hasattr(report, "context") or hasattr(report, "rerun"):
            payload.update(payloads.details_of(report, status, category))
        if "subtest" in payload:
            self._subtests.setdefault(report.nodeid, []).append((category or "", report))
        else:
            self._groups.counted(report.nodeid, status, duration)
            taken_back = self._taken_back(report.nodeid, status) if self._superseded or self._subtests else {}
            if self._is_decided_again(payload):
                taken_back["finished"] = 1
            if taken_back:
                payload["takenBack"] = taken_back
        self._adapter.emit(EventType.TEST_CASE, payload)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        try:
            if self._now is not None:
                self._now.clear()
            if nodeid in self._again:  # rerunfailures says this after every attempt
                self._again.discard(nodeid)
            else:
                self._groups.over(nodeid)
        except Exception as error:  # noqa: BLE001 - see _guarded
            self.failed("pytest_runtest_logfinish", error)

    # The session

    @_guarded
    def pytest_warning_recorded(self) -> None:
        self._adapter.warnings += 1

    @_guarded
    def pytest_internalerror(self, excrepr: object) -> None:
        text = str(excrepr).strip()
        self._stopped = {"kind": "internal-error", "text": text.splitlines()[-1] if text else "", "stack": text}

    @_guarded
    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        error = excinfo.value
        text = str(error)
        if isinstance(error, pytest.Session.Interrupted):
            kind = "collection" if text.endswith("during collection") else "stop"
        elif isinstance(error, pytest.exit.Exception):
            kind, text = "exit", f"pytest.exit: {text}"
        elif text.startswith("stopping after "):  # xdist's own words and exception for -x and --maxfail
            kind = "maxfail"
        else:
            kind, text = (
                "user",
                f"{type(error).__name__} at {excinfo.traceback[-1].path}:{excinfo.traceback[-1].lineno + 1}",
            )
        self._stopped = {"kind": kind, "text": text}

    # Before the terminal prints its summary, which may take minutes.
    @pytest.hookimpl(trylast=True)
    @_guarded
    def pytest_sessionfinish(self) -> None:
        self.finish()

    @pytest.hookimpl(optionalhook=True)
    @_guarded
    def pytest_configure_node(self, node: Any) -> None:
        self._workers.configure(node)

    @pytest.hookimpl(optionalhook=True)
    @_guarded
    def pytest_testnodeready(self, node: Any) -> None:
        self._workers.started(node)

    @pytest.hookimpl(optionalhook=True)
    @_guarded
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        self._workers.ended(node, error)

    @_guarded
    def finish(self) -> None:
        """Write runComplete and say BYE; a second call does nothing."""
        if self._finished:
            return
        self._finished = True
        self._groups.close()
        stopped = self._stopped
        if stopped is None:
            why = self._session.shouldfail or self._session.shouldstop
            stopped = {"kind": "maxfail" if self._session.shouldfail else "stop", "text": str(why)} if why else None
        self._stored = self._adapter.close(
            {
                "exitCode": int(self._session.exitstatus),
                "totals": self._totals(),
                "deselected": self._deselected,
                "stopped": stopped,
                "pluginErrors": self._hook_errors,
            }
        )

    def _run_start(self) -> Payload:
        config = self._config
        arguments = config.invocation_params.args
        payload: Payload = {
            "runner": {"name": "pytest", "version": pytest.__version__},
            "python": platform.python_version(),
            "executable": sys.executable,
            "threepiod": __version__,
            "platform": sys.platform,
            "host": socket.gethostname(),
            "argv": [str(argument) for argument in arguments],
            "command": command_of(list(sys.orig_argv), len(arguments)),
            "cwd": str(config.invocation_params.dir),
            "rootdir": str(config.rootpath),
            "collectOnly": any(config.getoption(name, False) for name in _COLLECT_ONLY),
            "git": git_head(Path(config.rootpath)),
            "plugins": sorted(
                {f"{dist.project_name}-{dist.version}" for _, dist in config.pluginmanager.list_plugin_distinfo()}
            ),
        }
        if self.parent:
            payload["parentRunId"] = self.parent
        if self.rerun_of:
            payload["rerunOf"] = self.rerun_of
        ci = ci_marks(os.environ)
        if ci:
            payload["ci"] = ci
        return payload

    def _collected(self, nodeids: Iterable[str]) -> None:
        """Emit the node ids in chunks, the files as groups, and the totals."""
        self._collected_known = True
        chunk: list[str] = []
        size = count = 0
        for nodeid in nodeids:
            count += 1
            self._groups.collected(nodeid)
            chunk.append(nodeid)
            size += len(nodeid) + 3
            if size > COLLECTED_CHUNK - 4096:
                self._adapter.emit(EventType.TESTS_COLLECTED, {"nodeids": chunk})
                chunk, size = [], 0
        if chunk:
            self._adapter.emit(EventType.TESTS_COLLECTED, {"nodeids": chunk})
        self._adapter.emit(EventType.COLLECTION_FINISH, {"collected": count, "deselected": self._deselected})

    def _duration_of(self, report: pytest.TestReport, now: float) -> float:
        """Return a report's duration in milliseconds, by our own clock where a test replaced pytest's."""
        before, self._reported_at = self._reported_at, now
        seconds = report.duration
        # A plugin may report all phases at the end, so none is longer than from the test's start.
        if type(seconds) is float and 0 < seconds <= now - self._started_at and not self._with_workers:
            return round(seconds * 1000, 3)
        duration = payloads.milliseconds(seconds)
        if self._with_workers:  # we did not see it begin
            return duration if duration <= (now - self._session_at) * 1000 else 0.0
        is_possible = 0 < duration <= (now - self._started_at) * 1000
        return duration if is_possible else round((now - before) * 1000, 3)

    def _category_of(self, report: pytest.TestReport) -> str | None:
        """Return where pytest's terminal has counted the report: it was the last to come into that list."""
        if self._terminal is None:
            return None
        stats = self._terminal.stats
        passed = stats.get("passed")  # most often, and the list of what is not counted comes before it
        if passed and passed[-1] is report:
            return "passed"
        for category, reports in stats.items():
            if reports and reports[-1] is report:
                return str(category)
        return None

    def _taken_back(self, nodeid: str, status: Status) -> dict[str, int]:
        """Return the counts of subtests that are not counted any more, because their test was run again."""
        taken_back: dict[str, int] = {}
        for category, report in self._superseded.pop(nodeid, ()):
            if category and not any(found is report for found in self._terminal.stats.get(category, ())):
                name = category.replace(" ", "_")
                taken_back[name] = taken_back.get(name, 0) + 1
        subtests = self._subtests.pop(nodeid, None)
        if subtests is not None and status is Status.RERUN:
            self._superseded[nodeid] = subtests
        return taken_back

    def _is_decided_again(self, payload: Payload) -> bool:
        """Return whether a test that has its outcome is run again, because its teardown failed; note outcomes."""
        worker, nodeid = payload.get("worker", ""), payload["nodeid"]
        if payload["status"] is Status.RERUN:
            self._again.add(nodeid)
            return bool(payload["phase"] == Phase.TEARDOWN and self._decided.pop(worker, "") == nodeid)
        if payload["phase"] != Phase.TEARDOWN:
            self._decided[worker] = nodeid
            self._again.discard(nodeid)
        return False

    def _phase_of(self, report: pytest.TestReport) -> str:
        """Return the phase of a report; where its worker died, the one in which it did, as far as the now page knew."""
        if report.when in _PHASES:
            return report.when
        node = getattr(report, "node", None)
        return self._workers.phase_of_death(node.gateway.id) if node is not None else Phase.CALL

    def _names_of(self, nodeid: str) -> tuple[list[str], str]:
        """Return (names of the parents, own name): by pytest's node chain where the node is in this process."""
        item = self._item
        if item is None or item.nodeid != nodeid:
            return payloads.split_nodeid(nodeid)
        if item.parent is not self._parent:
            self._parent = item.parent
            file = nodeid.partition("::")[0]
            chain = item.listchain()[:-1]
            inner = [node.name for node in chain if "::" in node.nodeid and not isinstance(node, pytest.File)]
            self._parent_names = [file, *inner]
        return self._parent_names, item.name

    def _totals(self) -> dict[str, int]:
        """Return pytest's own totals by its own names, as its last line will print them."""
        stats = self._terminal.stats if self._terminal is not None else {}
        return {str(category): len(reports) for category, reports in stats.items() if category and reports}
