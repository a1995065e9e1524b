"""Entry point of the pytest plugin: options, whether it works in this process, and what it says at start and end.

The events come from `reporter.py`. Where threepiod is off, nothing but this module and the settings is imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

import threepio_client  # noqa: F401 - by pytest's hook: a session within this one warns of packages that came another way
from pytest_threepio.imports import not_rewritten

with not_rewritten():
    from threepio_client import settings
    from threepio_client.errors import NoDaemon, NoPlace, SettingsError

if TYPE_CHECKING:
    from pytest_threepio.reporter import Reporter
    from pytest_threepio.rerun import Rerun
    from pytest_threepio.stackdump import StackDump
    from threepio_client.configfile import Problem

_KEY: Final = pytest.StashKey["Reporter"]()
_DUMP: Final[pytest.StashKey[StackDump]] = pytest.StashKey()
_OUTERMOST: Final = pytest.StashKey[bool]()
_PARENT: Final = "THREEPIO_PARENT_RUN_ID"
"""Environment, set only where nested sessions are reported: the run in which a pytest was started."""

_active: list[Reporter] = []
"""Reporters of this process, the outermost session first: a session inside a test stays silent."""
_WITHIN: Final = ("PYTEST_CURRENT_TEST", "PYTEST_XDIST_WORKER")
"""Environment, set by pytest and xdist: whatever session begins here, but for a worker's own, is inside a test."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the ini options, each with the name of its environment variable in lower case, and the option."""
    for setting in settings.INI_SETTINGS:
        help_text = f"threepiod: {setting.meaning} (environment: {setting.name})"
        parser.addini(setting.option, help_text, default="")
    group = parser.getgroup("threepio")
    group.addoption(
        "--threepio-rerun",
        metavar="RUN",
        default="",
        help="run only what failed in this run and what never ran, the presumed killer last; a run id, a unique prefix "
        "of one, or latest: the last run of this rootdir",
    )
    group.addoption(
        "--threepio-rerun-failed",
        action="store_true",
        help="with --threepio-rerun: only what failed; also of a run that still goes on",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Begin the run, unless threepiod is off, this is a session inside a test, or an xdist worker."""
    config = session.config
    worker_input: dict[str, Any] | None = getattr(config, "workerinput", None)
    if config.getoption("cacheshow", None) is not None:  # a session that only prints
        return
    rerun = _make_rerun(config, worker_input)
    if worker_input is not None:
        if "threepio_now_page" in worker_input:
            with not_rewritten():
                from pytest_threepio.inflight import register_in_worker

            found = _settings(config)[0]
            register_in_worker(config, worker_input, found)
            _dump_stacks(config, found, worker_input["threepio_run_id"])
        return
    if rerun is not None:
        _say(config, f"threepio: {rerun.plan}")
    if sys.platform != "linux":
        _say(config, "threepio: off: this version works on Linux only")
        return
    if _active and _active[0].is_finished:  # its session's end broke, and with it what belongs to that
        _active.clear()
        os.environ.pop("PYTEST_CURRENT_TEST", None)
    is_nested = bool(_active) or any(name in os.environ for name in _WITHIN)
    config.stash[_OUTERMOST] = not is_nested
    try:
        found, problems = _settings(config)
        if found.mode is settings.Mode.OFF:
            return
        if is_nested and not found.nested:
            return
        for problem in problems:
            _say(config, f"threepio: {problem.text} (the tests go on without it)")
        parent = _active[-1].run_id if _active else os.environ.get(_PARENT, "") if is_nested else ""
        reporter = _make_reporter(session, found, parent, rerun.run_id if rerun is not None else "")
    except NoPlace as error:
        mode = settings.mode_of(os.environ, _ini(config))
        if mode is settings.Mode.REQUIRE:
            raise pytest.UsageError(f"threepio: THREEPIO=require, and this run cannot be recorded: {error}") from None
        if mode is not settings.Mode.OFF and not is_nested:
            _say(config, f"threepio: this run is not recorded: {error}")
        return
    except (SettingsError, NoDaemon) as error:
        raise pytest.UsageError(f"threepio: {error}") from None
    except ImportError as error:
        _say(config, f"threepio: this run is not recorded: {_not_installed(error)}")
        return
    if reporter is None:
        return
    config.stash[_KEY] = reporter
    _active.append(reporter)
    if found.nested:
        os.environ[_PARENT] = reporter.run_id
    config.pluginmanager.register(reporter, "threepio-reporter")
    if "THREEPIO_SPARE_TRACEBACKS" in os.environ:  # set by `threepio run`
        from pytest_threepio.summary import Spared

        config.pluginmanager.register(Spared(), "threepio-summary")
    _dump_stacks(config, found, reporter.run_id)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out the reports that the daemon writes into a rootdir: a suite may collect every Markdown file."""
    return True if collection_path.name == settings.REPORTS_DIR else None


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say where the events go."""
    reporter = config.stash.get(_KEY, None)
    return None if reporter is None else reporter.header()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say what went wrong with the telemetry, and how to see more of the run."""
    reporter = config.stash.get(_KEY, None)
    if reporter is None:
        return
    for complaint in reporter.complaints():
        terminalreporter.write_line(f"threepio: {complaint}", yellow=True)
    terminalreporter.write_line(reporter.closing_line())


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_unconfigure(config: pytest.Config) -> Generator[None]:
    """After all others, whatever they raise: end a run that got no pytest_sessionfinish, and say how pytest ends."""
    try:
        return (yield)
    finally:
        _end(config)


def _end(config: pytest.Config) -> None:
    dump = config.stash.get(_DUMP, None)
    if dump is not None:
        dump.close()
    if config.stash.get(_OUTERMOST, False):
        # pytest leaves it behind where a test was interrupted; the next session of this process would be one within a test.
        os.environ.pop("PYTEST_CURRENT_TEST", None)
    reporter = config.stash.get(_KEY, None)
    if reporter is not None:
        reporter.finish(is_through=False)
        reporter.note_end()
        if reporter in _active:
            _active.remove(reporter)
            if os.environ.get(_PARENT) == reporter.run_id:
                del os.environ[_PARENT]
                if reporter.parent:
                    os.environ[_PARENT] = reporter.parent


def _make_rerun(config: pytest.Config, worker_input: dict[str, Any] | None) -> Rerun | None:
    """Have only those tests run that an earlier run left to be run again, if that is wanted."""
    reference = config.getoption("threepio_rerun")
    if not reference:
        if config.getoption("threepio_rerun_failed"):  # all tests would run
            raise pytest.UsageError("--threepio-rerun-failed needs --threepio-rerun=RUN, or --threepio-rerun=latest")
        return None
    from math import inf

    from pytest_threepio.rerun import WORKER_INPUT, make

    up_to = inf
    if worker_input is not None:
        reference, up_to = worker_input[WORKER_INPUT]
    only_failed = config.getoption("threepio_rerun_failed")
    try:
        rerun = make(config, _settings(config)[0].places, reference, up_to, only_failed=only_failed)
    except SettingsError as error:
        raise pytest.UsageError(f"threepio: {error}") from None
    config.pluginmanager.register(rerun, "threepio-rerun")
    return rerun


def _settings(config: pytest.Config) -> tuple[settings.Settings, list[Problem]]:
    """Return the settings, and what is wrong with the configuration file, which keeps no test from running."""
    problems: list[Problem] = []
    with not_rewritten():  # what reads the file is imported only where there is one
        return settings.load(os.environ, _ini(config), problems), problems


def _ini(config: pytest.Config) -> dict[str, str]:
    return {setting.option: str(config.getini(setting.option)) for setting in settings.INI_SETTINGS}


def _make_reporter(session: pytest.Session, found: settings.Settings, parent: str, rerun_of: str) -> Reporter | None:
    kind: type[Reporter]
    try:
        with not_rewritten():
            if session.config.pluginmanager.hasplugin("dsession"):  # xdist's
                from pytest_threepio.controller import Controller as kind
            else:
                from pytest_threepio.inprocess import InProcess as kind
        return kind(session, found, parent, rerun_of)
    except NoPlace as error:
        why = str(error)
    except (SettingsError, NoDaemon):
        raise
    except ImportError as error:
        why = _not_installed(error)
    except Exception as error:  # noqa: BLE001 - whatever it is, the tests are worth more; it is said
        why = f"an error in the plugin, please report it: {error!r}"
    if found.mode is settings.Mode.REQUIRE:
        raise SettingsError(f"THREEPIO=require, and this run cannot be recorded: {why}")
    # Nothing of ours is a reason to keep the tests from running.
    _say(session.config, f"threepio: this run is not recorded: {why}")
    return None


def _not_installed(error: ImportError) -> str:
    return f"{error}. Install threepiod again in this environment; threepio doctor says more"


def _dump_stacks(config: pytest.Config, found: settings.Settings, run_id: str) -> None:
    """Let this process be asked for its stacks, if that is wanted."""
    if not found.stacks:
        return
    from pytest_threepio.stackdump import StackDump

    try:
        config.stash[_DUMP] = StackDump(found.places.stacks(run_id, os.getpid()))
    except (OSError, ValueError) as error:  # ValueError: not in the main thread, where signal handlers cannot be set
        _say(config, f"threepio: this process cannot be asked for its stacks: {error}")


def _say(config: pytest.Config, text: str) -> None:
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None:
        terminal.write_line(text, yellow=True)
    else:
        print(text, file=sys.stderr)
