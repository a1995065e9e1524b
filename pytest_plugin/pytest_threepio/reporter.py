"""Hooks to events: guard, translate, hand on. What pytest's own terminal counts is what is reported.

Here is what every session has; the hooks of its tests are in `inprocess.py` and, where xdist's workers run them, in
`controller.py`. Each hook is guarded: an error in here is counted, written to the adapter's log with its cause, and said
at the end of the session; it never touches a test's outcome.
"""

from __future__ import annotations

import functools
import os
import platform
import shlex
import socket
import sys
import traceback
from collections.abc import Callable, Generator, Iterable
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Final, ParamSpec, cast

import pytest

from pytest_threepio import payloads
from pytest_threepio.attempts import Attempts
from pytest_threepio.circumstances import ci_marks, command_of, plugins_of
from pytest_threepio.groups import Group, Groups, group_name
from threepio_client import __version__, nowpage
from threepio_client.adapter import Adapter
from threepio_client.events import COLLECTED_CHUNK, EventType, Payload, Phase, Status, split_nodeid
from threepio_client.line import clip, encode_parents, encode_passed, plain_text
from threepio_client.settings import Settings
from threepio_client.vcs import git_head

SLOW_TEARDOWN_S: Final = 0.1
"""A teardown that took this long gets an event of its own, so that slow fixtures can be found."""

PHASES: Final = frozenset({Phase.SETUP, Phase.CALL, Phase.TEARDOWN})
_getcwd: Final = os.getcwd  # a test may replace what `os` holds while we run
_TEST_CASE: Final = str(EventType.TEST_CASE)
_TestReport: Final = pytest.TestReport
_PARENTS_KEPT: Final = 1_000
"""Classes and files whose names are kept ready to be written."""

_RECENT: Final = 100
"""Reports that the terminal has counted last, among which one of a thread is looked for."""
_COLLECTED_TOGETHER: Final = 500
"""Node ids that are looked at together."""

_RUN_EACH_ONCE: Final = ("_pytest.", "xdist.", "pytest_rerunfailures", "flaky.", "pytest_forked")
"""How modules begin whose loops and protocols run every test once, or say when they run it again."""

_COLLECT_ONLY: Final = ("collectonly", "showfixtures", "show_fixtures_per_test", "setuponly", "setupplan")
"""Options with which pytest collects and calls no test."""

_Parents = tuple[str, str, Group]
"""Of tests with the same parents: what their node ids begin with, the parents' names encoded, and the group."""

P = ParamSpec("P")


def guarded(hook: Callable[P, None]) -> Callable[P, None]:
    """Keep an error of ours away from the session."""

    @functools.wraps(hook)
    def guard(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            hook(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - whatever it is, a test's outcome is worth more; it is counted and said
            reporter = args[0]
            assert isinstance(reporter, Reporter)
            reporter.failed(hook.__name__, error)

    return guard


def _size_of_nodeids(nodeids: list[str]) -> int:
    """Return how many bytes they may take in an event."""
    text = "".join(nodeids)
    return len(text) * (1 if text.isascii() else 12) + 3 * len(nodeids)  # `\\ud83d\\ude00` is one character


def _code_of(error: BaseException | None, code: int) -> int:
    """Return the code that pytest ends with.

    Args:
        error: what ends it; None if nothing was raised.
        code: the session's exit status.
    """
    if error is None or isinstance(error, pytest.exit.Exception):
        return code
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, KeyboardInterrupt):
        return int(pytest.ExitCode.INTERRUPTED)
    return int(pytest.ExitCode.USAGE_ERROR if isinstance(error, pytest.UsageError) else pytest.ExitCode.TESTS_FAILED)


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
        self._state_dir = settings.state_dir
        self._config = config = session.config
        self._terminal: Any = config.pluginmanager.get_plugin("terminalreporter")
        self._attempts = Attempts(self._is_counted, repeats_xfails=config.pluginmanager.hasplugin("flaky"))
        self._odd_names: dict[str, tuple[list[str], str]] = {}  # of tests whose node id does not tell them
        self._counted_passed: list[object] = []  # by the terminal, as its list was when it was looked for
        self._told: dict[str, object] = {}  # of each category of the terminal, the last report that was told
        self._deselected = 0
        self._stopped: Payload | None = None
        self._outer_error = sys.exc_info()[1]  # whoever calls pytest may be handling one
        self._hook_errors = 0
        self._finished = False
        self._told_code: int | None = None
        self._stored = False
        self._parents: dict[str, _Parents] = {}
        self._adapter = Adapter(settings, self._run_start())
        mask = self._adapter.mask
        self.look_again()
        self._clip = clip if mask is None else mask.clip
        self._groups = Groups(self._adapter.emit)
        self._latest: _Parents = ("\0", "", Group(""))  # of the test that passed last; at first of none
        self._was_connected = self._adapter.is_connected

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._adapter.run_id

    @property
    def is_finished(self) -> bool:
        """Whether the run has its end."""
        return self._finished

    def header(self) -> str:
        """Return the line that says where the events go."""
        adapter = self._adapter
        where = "threepiod and its journal" if self._was_connected else f"journal only, {adapter.journal_path}"
        return f"threepio: run {adapter.run_id}, events go to {where}"

    def closing_line(self) -> str:
        """Return the line that says what became of the events, and how to see more."""
        run_id = self._adapter.run_id
        see = f"threepio status {run_id}"
        if self._config.getini("threepio_state_dir") and not os.environ.get("THREEPIO_STATE_DIR"):
            see = f"THREEPIO_STATE_DIR={shlex.quote(str(self._state_dir))} {see}"  # commands have no ini file
        kept = "stored" if self._stored else f"kept in {self._adapter.journal_path}"
        if self._adapter.is_journal_removed and not self._stored:
            kept = "lost with its journal"
        return f"threepio: run {run_id} is {kept}; see more: {see}"

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

    @guarded
    def pytest_collection(self) -> None:
        self._adapter.emit(EventType.COLLECTION_START, {})

    # After hooks of others, which may change it, and may raise.
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collectreport(self, report: pytest.CollectReport) -> Generator[None]:
        try:
            return (yield)
        finally:
            self._take_collected(report)

    @guarded
    def _take_collected(self, report: pytest.CollectReport) -> None:
        if report.passed:
            return
        if report.failed:
            error = payloads.collection_error_of(report.longrepr, self._working_directory(), self._clip)
            self._adapter.emit(EventType.COLLECTION_ERROR, {"nodeid": report.nodeid, "error": error})
            return
        parents, name = split_nodeid(report.nodeid)
        self._adapter.emit(
            EventType.TEST_CASE,
            {
                "testName": name,
                "parentNames": parents,
                "nodeid": report.nodeid,
                "status": Status.SKIP,
                "phase": Phase.COLLECT,
                "skipReason": payloads.skip_reason_of(report.longrepr, self._clip),
            },
        )

    @guarded
    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self._deselected += len(items)

    # The session

    @guarded
    def pytest_warning_recorded(self) -> None:
        self._adapter.warnings += 1

    @guarded
    def pytest_internalerror(self, excrepr: object) -> None:
        text = str(excrepr).strip()
        self._stopped = {"kind": "internal-error", "text": payloads.internal_error_in(text), "stack": text}
        self._take_untold()

    @guarded
    def _take_untold(self) -> None:
        """Take what pytest counted, and an error of somebody's hook, or Ctrl-C, kept from us."""
        stats = self._terminal.stats if self._terminal is not None else {}
        for category, reports in list(stats.items()):
            last = reports[-1] if category and reports else None
            if isinstance(last, pytest.TestReport) and last is not self._told.get(category):
                cast(Any, self).pytest_runtest_logreport(last)

    @guarded
    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        error = excinfo.value
        text = str(error)
        self._take_untold()
        if isinstance(error, pytest.Session.Interrupted):
            kind = "collection" if text.endswith("during collection") else "stop"
        elif isinstance(error, pytest.exit.Exception):
            kind, text = "exit", f"pytest.exit: {text}"
        elif type(error).__module__ == "xdist.dsession":  # its own Interrupted: what a worker or itself was stopped for
            is_user = text.endswith("received keyboard-interrupt")
            kind = "user" if is_user else "maxfail" if text.startswith("stopping after ") else "stop"
        else:
            kind, text = (
                "user",
                f"{type(error).__name__} at {excinfo.traceback[-1].path}:{excinfo.traceback[-1].lineno + 1}",
            )
        self._stopped = {"kind": kind, "text": text}
        if kind in {"user", "exit"} and (slots := self._last_seen()):
            self._stopped["inFlight"] = slots

    # Before the terminal prints its summary, which may take minutes.
    @pytest.hookimpl(trylast=True)
    @guarded
    def pytest_sessionfinish(self) -> None:
        self.finish()

    @guarded
    def finish(self, *, is_through: bool = True) -> None:
        """Write runComplete and say BYE; a second call does nothing.

        Args:
            is_through: whether the session came to its own end; else its exit status is not one.
        """
        if self._finished:
            return
        self._finished = True
        code: int | None = int(self._session.exitstatus)
        error = sys.exc_info()[1]
        if isinstance(error, KeyboardInterrupt) and error is not self._outer_error:
            # It came at the session's end, or while pytest took note of another, and has not got as far as its exit status.
            code = code or int(pytest.ExitCode.INTERRUPTED)
            self._stopped = self._stopped or {"kind": "user", "text": "KeyboardInterrupt, outside of the tests"}
        if not is_through and self._stopped is None and not code:
            code = None  # what the process will end with, nobody here knows
            self._stopped = {
                "kind": "internal-error",
                "text": "a hook of the session's end did not return, see pytest's own output",
            }
        if code == pytest.ExitCode.INTERNAL_ERROR and self._stopped is None:
            self._take_untold()  # another hook kept pytest from telling of it: one that may write nothing any more
        self._told_code = code
        self._groups.close()
        stopped = self._stopped
        if stopped is None:
            why = self._session.shouldfail or self._session.shouldstop
            stopped = {"kind": "maxfail" if self._session.shouldfail else "stop", "text": str(why)} if why else None
        self._stored = self._adapter.close(
            {
                "exitCode": code,
                "totals": self._totals(),
                "deselected": self._deselected,
                "stopped": stopped,
                "pluginErrors": self._hook_errors,
            }
        )

    @guarded
    def note_end(self) -> None:
        """At the very end: say with what code pytest ends, if that is another one than runComplete has.

        Hooks around pytest_sessionfinish are not over before it, and the terminal's prints the summary, fails for
        --max-warnings, and may break.
        """
        error = sys.exc_info()[1]
        code = _code_of(error if error is not self._outer_error else None, int(self._session.exitstatus))
        # An interrupt that came while pytest took note of another was told already.
        is_other = self._told_code not in (None, code) and not (
            isinstance(error, KeyboardInterrupt) and self._told_code
        )
        self._adapter.end(code if is_other else None)

    # For the hooks of the tests

    def look_again(self) -> None:
        """Say whether of a test that passed there may be more to say: to be called when what tells this has changed."""
        self._look_closely = bool(self._attempts.matter or self._odd_names or self._adapter.mask is not None)

    def emit_passed(
        self, report: pytest.TestReport, nodeid: str, started: float, duration: float, now: float, worker: str = ""
    ) -> Group | None:
        """Emit that a test passed in its call, in the shortest way: this runs for nearly every test.

        Args:
            report: of a call, with the outcome `passed`.
            nodeid: of its test.
            started: seconds since the epoch.
            duration: milliseconds.
            now: `clock.monotonic`.
            worker: xdist worker id, empty without workers.

        Returns:
            The test's group; None, with nothing emitted, if there is more to say, or if its names are to be looked at
            closely.
        """
        passed = self._counted_passed
        if self._look_closely or not passed or passed[-1] is not report or type(report) is not _TestReport:
            return None
        prefix, parents, group = self._latest
        name = nodeid[len(prefix) :]
        if "::" in name or not nodeid.startswith(prefix):
            prefix = nodeid.partition("[")[0].rpartition("::")[0] + "::"
            if prefix == "::":
                return None
            name = nodeid[len(prefix) :]
            _, parents, group = self._latest = self._parents.get(prefix) or self._look_up(prefix)
        if not group.started:
            self._groups.start(group)
        body = encode_passed(name, parents, started, duration, worker)
        group.passed += 1
        group.duration += duration
        self._attempts.decided[worker] = nodeid
        self._told["passed"] = report
        self._adapter.emit_encoded(_TEST_CASE, body, now, True)
        return group

    def _look_up(self, prefix: str) -> _Parents:
        if len(self._parents) >= _PARENTS_KEPT:
            self._parents.clear()
        names = prefix.split("::")[:-1]
        found = self._parents[prefix] = prefix, encode_parents(names), self._groups.of(prefix)
        return found

    def emit_outcome(
        self,
        report: pytest.TestReport,
        nodeid: str,
        names: tuple[list[str], str],
        phase: str,
        started: float,
        duration: float,
    ) -> None:
        """Emit what a report decides, if it does.

        Args:
            report: of any phase.
            nodeid: of its test.
            names: names of the test's parents, and its own.
            phase: the phase that it is about.
            started: seconds since the epoch.
            duration: milliseconds.
        """
        category = self._category_of(report)
        status = payloads.status_of(report, category)
        if status is None:
            return
        node = getattr(report, "node", None)
        payload: Payload = {
            "testName": names[1],
            "parentNames": names[0],
            "nodeid": nodeid,
            "status": status,
            "phase": phase,
            "started": round(started, 4),
            "duration": duration,
        }
        if node is not None:
            payload["worker"] = node.gateway.id
        if status is not Status.PASS or hasattr(report, "context") or hasattr(report, "rerun"):
            folder, rootdir = self._working_directory(), str(self._config.rootpath)
            try:
                payload.update(payloads.details_of(report, status, category, self._clip, folder, rootdir))
            except Exception as error:
                if hasattr(report, "context"):
                    raise  # without them a subtest would be a test
                self.failed("details of a report", error)
        if "subtest" in payload:
            self._attempts.add_subtest(nodeid, category or "", report)
        else:
            self._groups.counted(self._groups.of(nodeid), status, duration)
            payload |= self._attempts.told(payload)
        self.look_again()
        self._told[category or ""] = report
        self._adapter.emit(EventType.TEST_CASE, payload)

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
            "plugins": plugins_of(config.pluginmanager.list_plugin_distinfo()),
        }
        if any(text != plain_text(text) for text in (*payload["argv"], *payload["command"], payload["cwd"])):
            payload["notText"] = True
        if self.parent:
            payload["parentRunId"] = self.parent
        if self.rerun_of:
            payload["rerunOf"] = self.rerun_of
        ci = ci_marks(os.environ)
        if ci:
            payload["ci"] = ci
        return payload

    def emit_collected(self, nodeids: Iterable[str], earlier: int = 0) -> None:
        """Emit the node ids in chunks, the files as groups, and the totals, with so many tests that were told `earlier`."""
        chunk: list[str] = []
        size = count = 0
        several: set[str] | None = set() if self._may_repeat() else None
        for name, of_group in groupby(nodeids, group_name):
            while together := list(islice(of_group, _COLLECTED_TOGETHER)):
                count += len(together)
                self._groups.collected(name, len(together))
                if several is not None:
                    several.update(together)
                if size + (more := _size_of_nodeids(together)) > COLLECTED_CHUNK:
                    self._emit_nodeids(chunk)
                    chunk, size = [], 0
                chunk += together
                size += more
        self._emit_nodeids(chunk)
        if several is not None and len(several) == count:  # else there are tests that are to run twice
            self._attempts.outcomes = self._attempts.outcomes or set()
            self.look_again()
        totals = {"collected": earlier + count, "deselected": self._deselected}
        self._adapter.emit(EventType.COLLECTION_FINISH, totals)

    def is_cut_short(self) -> bool:
        """Return whether an exception is about to end the session, other than for a wrong call."""
        error = sys.exc_info()[1]
        return error is not None and error is not self._outer_error and not isinstance(error, pytest.UsageError)

    def _may_repeat(self) -> bool:
        """Return whether somebody runs the tests who may run one of them twice and another one never."""
        hook = self._config.hook
        found = [*hook.pytest_runtestloop.get_hookimpls(), *hook.pytest_runtest_protocol.get_hookimpls()]
        runners = [one.function for one in found if not (one.hookwrapper or one.wrapper)]
        return not all(getattr(runner, "__module__", "").startswith(_RUN_EACH_ONCE) for runner in runners)

    def _emit_nodeids(self, nodeids: list[str]) -> None:
        """Emit them in as many events as they need."""
        if len(nodeids) > 1 and _size_of_nodeids(nodeids) > COLLECTED_CHUNK:
            middle = len(nodeids) // 2
            self._emit_nodeids(nodeids[:middle])
            self._emit_nodeids(nodeids[middle:])
        elif nodeids:
            self._adapter.emit(EventType.TESTS_COLLECTED, {"nodeids": nodeids})

    def _working_directory(self) -> str:
        """Return what paths in pytest's texts are relative to."""
        try:
            return _getcwd()
        except OSError:  # removed
            return str(self._config.invocation_params.dir)

    def _category_of(self, report: pytest.TestReport) -> str | None:
        """Return where pytest's terminal has counted the report: it was the last to come into that list.

        Where tests report from several threads, others may have come since.
        """
        if self._terminal is None:
            return None
        stats = self._terminal.stats
        # Most often, and the list of what is not counted comes before it.
        self._counted_passed = passed = stats.get("passed", [])
        if passed and passed[-1] is report:
            return "passed"
        for few in (1, _RECENT):
            for category, reports in list(stats.items()):
                if any(found is report for found in islice(reversed(reports), few)):
                    return str(category)
        return None

    def _is_counted(self, category: str, report: object) -> bool:
        return any(found is report for found in self._terminal.stats.get(category, ()))

    def _last_seen(self) -> list[Payload]:
        """Return what is in flight, of workers too; nothing where that is not known."""
        try:
            slots = nowpage.read(self._adapter.now_path).slots
        except OSError:
            return []
        return nowpage.told([slot for slot in slots if slot.text])

    def _totals(self) -> dict[str, int]:
        """Return pytest's own totals by its own names, as its last line will print them."""
        stats = self._terminal.stats if self._terminal is not None else {}
        return {str(category): len(reports) for category, reports in stats.items() if category and reports}
