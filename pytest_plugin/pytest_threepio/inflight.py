"""Hooks that keep the now page: which test or file, which phase, since when. No event is written here.

In one process the reporter calls them from its own hooks: each further implementation of a hook costs every test a
microsecond. Under xdist each worker keeps a slot of its own in the controller's page, so that it says what was in flight
even when that worker is killed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from threepio_client import clock
from threepio_client.events import Phase
from threepio_client.nowpage import NowPage
from threepio_client.settings import Settings

_getppid: Final = os.getppid  # a test may replace what `os` holds while we run
_SETUP: Final = Phase.SETUP  # CPython 3.11 takes ten times as long to look up an enumeration's member
_WALL_AT_ZERO: Final = clock.WALL_AT_ZERO


def nodeid_of(config: pytest.Config) -> Callable[[str], str]:
    """Return what makes the node id of a test from the name that xdist gives it: with pytest 8 it has `@` and its group.

    Args:
        config: of the controller or of a worker.
    """
    is_wanted = config.getoption("dist", "") == "loadgroup" or getattr(config.option, "loadgroup", False)  # in a worker
    return _without_group if is_wanted and pytest.version_tuple < (9,) else str


def _without_group(name: str) -> str:
    # As xdist itself looks for the group; but a directory may have such a name, too.
    at = name.rfind("@")
    return name[:at] if at > max(name.rfind("]"), name.rfind("::")) else name


class InFlight:
    """Writes one slot of the now page: what is collected, and the session's end."""

    def __init__(self, page: NowPage) -> None:
        self._page = page
        self._is_stopped = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_collectstart(self, collector: pytest.Collector) -> None:
        # A directory too: its conftest.py is imported then. A class is collected within its file.
        if isinstance(collector, pytest.File | pytest.Directory):
            self._page.set(collector.nodeid, Phase.COLLECT, clock.wall(), is_test=False)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self) -> None:
        self._page.clear()

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self) -> None:
        self._is_stopped = True  # the controller has yet to see in what

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        if not self._is_stopped:
            self._page.set("", Phase.SESSION_END, clock.wall(), is_test=False)


class InFlightOfWorker(InFlight):
    """Writes the slot of an xdist worker, its tests included. These hooks run for every test.

    Once the controller is gone nobody takes what the worker does, so that what was in flight then stays.
    """

    def __init__(self, page: NowPage, nodeid: Callable[[str], str]) -> None:
        super().__init__(page)
        self._nodeid = nodeid
        self._controller = _getppid()
        self._is_again = False  # this attempt of the test is followed by another one

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        if _getppid() == self._controller:
            self._is_again = False
            self._page.set(self._nodeid(nodeid), _SETUP, _WALL_AT_ZERO + clock.monotonic())

    # The report of a phase comes when the phase is over.
    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if _getppid() != self._controller:
            return
        when = report.when
        outcome: Any = report.outcome
        since = _WALL_AT_ZERO + clock.monotonic()
        if outcome == "rerun" or (when == "teardown" and self._is_again):
            self._is_again = when != "teardown"
            self._page.set_phase(_SETUP, since)
        elif when == "teardown":
            self._page.clear()
        elif when == "setup" and outcome == "passed":
            self._is_again = False
            self._page.set_call(since)
        elif "context" not in report.__dict__:  # a subtest's report comes in the middle of the call
            self._page.set_teardown(since)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        if _getppid() == self._controller:
            super().pytest_sessionfinish()


class Phases:
    """Phases of tests whose reports all come when the test is over: pytest-rerunfailures does it so.

    Its setup begins at pytest_runtest_logstart, for every attempt.
    """

    def __init__(self, page: NowPage) -> None:
        self._page = page

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self) -> None:
        self._page.set_phase(Phase.CALL, clock.wall())

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self) -> None:
        self._page.set_phase(Phase.TEARDOWN, clock.wall())


def follow_phases(config: pytest.Config, page: NowPage) -> None:
    """Have the page follow the phases of each test where reports do not tell them in time."""
    if config.pluginmanager.hasplugin("rerunfailures"):
        config.pluginmanager.register(Phases(page), "threepio-phases")


class SessionEnd:
    """The first of the session's last hooks, which the reporter itself needs to be the last of."""

    def __init__(self, in_flight: InFlight) -> None:
        self._in_flight = in_flight

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        self._in_flight.pytest_sessionfinish()


def register_in_worker(config: pytest.Config, worker_input: dict[str, Any], settings: Settings) -> None:
    """Keep this xdist worker's slot, if the controller gave it one that can be opened."""
    path, slot = Path(worker_input["threepio_now_page"]), worker_input["threepio_slot"]
    worker = str(worker_input["workerid"])
    try:
        mask = settings.make_mask()
        if mask is None:
            page = NowPage(path, slot, worker, create=False)
        else:
            from threepio_client.masking import MaskedPage

            page = MaskedPage(path, slot, mask, worker, create=False)
    except OSError:
        return  # the controller says that the page cannot be used; a worker has nobody to tell
    config.pluginmanager.register(InFlightOfWorker(page, nodeid_of(config)), "threepio-in-flight")
    follow_phases(config, page)
