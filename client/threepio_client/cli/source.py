"""Where a command's answers come from: of how runs stand the daemon, of what is over store and journals; else these alone.

The daemon is connected to with the first question that is for it: at full ingest it has other things to do than to answer
what the files tell. Where it answers, what reads store and journals is not even imported.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from threepio_client import clock
from threepio_client.cli.command_settings import load_settings
from threepio_client.cli.output import say
from threepio_client.errors import NoDaemon, Refused, SettingsError
from threepio_client.here import SOUGHT, current
from threepio_client.outputs import has_ended, later_without_run
from threepio_client.paths import check_private_dir
from threepio_client.printable import one_line
from threepio_client.query import QueryClient
from threepio_client.runstate import LIVE_STATES
from threepio_client.settings import Settings
from threepio_client.views import VIEW_VERSION, run_row
from threepio_client.wording import elsewhere

if TYPE_CHECKING:
    from threepio_client.archive import Archive

PATIENCE_S: Final = 3.0
"""A daemon that does not answer for this long is passed over: the files know as much."""
MOST: Final = 10_000
"""Newest runs that a question is about at most."""

_VIEWS: Final = frozenset({"status", "runs", "failures"})
"""Questions whose answers have fields that a version may add."""

T = TypeVar("T")


class Source:
    """Answers about runs."""

    def __init__(self, found: Settings) -> None:
        self.state_dir = found.places
        self._settings = found
        self._newer: tuple[str, object] | None = None

    @cached_property
    def _client(self) -> QueryClient | None:
        """The connection to the daemon; None where there is none, which is said in one line if there should be one."""
        found = self._settings
        try:
            return QueryClient.connect(found.socket, PATIENCE_S, state_dir=found.state_dir)
        except (NoDaemon, Refused, SettingsError) as error:
            if os.path.exists(found.socket) or isinstance(error, SettingsError):
                say(f"threepio: {error}; this answer comes from store and journals", to_stderr=True)
            return None

    @cached_property
    def archive(self) -> Archive:
        """Store and journals."""
        from threepio_client.archive import Archive

        return Archive(self.state_dir, stays_open=True)

    @property
    def has_daemon(self) -> bool:
        """Whether a daemon answers."""
        return self._client is not None

    def find(self, reference: str) -> str:
        """Return the run id that a reference means; raises NoSuchRun. Says where the latest run was, if not here."""
        run_id = self.archive.find(reference, current())
        if reference == "latest":
            state = self.archive.beginning(run_id)
            if said := elsewhere(state.start.get("rootdir"), state.started):
                say(f"threepio: run {run_id} is {said}", to_stderr=True)
            newest = self.archive.find(reference)
            if newest != run_id:
                self._newer = newest, self.archive.start_of(newest).get("rootdir")
            self.say_newer()
            self.say_what_came_later(state.started)
        return run_id

    def say_newer(self) -> None:
        """Say which run is the newest of all, where the last answer about the latest run was about one of here."""
        if self._newer is not None:
            run_id, rootdir = self._newer
            say(one_line(f"threepio: run {run_id} is newer, of another directory: {rootdir}"), to_stderr=True)

    def say_what_came_later(self, started: float) -> None:
        """Say if a later command has begun no run (yet): the latest run must not be taken for that command's."""
        for output in later_without_run(self.state_dir, started) if started else ():
            name = output.stem
            if self.archive.stored(name) is not None:  # a suite may remove its journal
                continue
            if has_ended(output):
                say(f"threepio: a later command has begun no run; what it printed: {output}", to_stderr=True)
            else:
                say(f"threepio: a later command has not begun its run yet: threepio wait {name}", to_stderr=True)
            return

    def status(self, reference: str) -> dict[str, Any]:
        """Return the status answer of a run; raises NoSuchRun."""
        view = self._answer("status", {"run": reference}, lambda: self.archive.view(self.archive.find(reference)))
        if reference != "latest" or not elsewhere(view["rootdir"], view["started"]):
            return view
        run_id = self.archive.find(reference, current())
        if run_id == view["run_id"]:
            return view
        self._newer = view["run_id"], view["rootdir"]
        return self.status(run_id)

    def runs(self, limit: int) -> list[dict[str, Any]]:
        """Return the newest runs, the latest first."""

        def from_files() -> list[dict[str, Any]]:
            return [run_row(self.archive.view(run_id)) for run_id in self.archive.run_ids()[:limit]]

        return self._answer("runs", {"limit": limit}, from_files)

    def live_runs(self) -> list[dict[str, Any]]:
        """Return those of the newest SOUGHT runs that go on, the latest first."""
        if self._client is not None:
            rows = self._answer("runs", {"limit": SOUGHT, "live": True}, lambda: self.runs(SOUGHT))
        else:  # reading the journals of runs that died would take long
            alive = [run_id for run_id in self.archive.run_ids()[:SOUGHT] if self.archive.is_alive(run_id)]
            rows = [run_row(self.archive.view(run_id)) for run_id in alive]
        return [row for row in rows if row["state"] in LIVE_STATES]

    def newest_of_command(self, command_id: str) -> list[str]:
        """Return those of the newest SOUGHT runs that this command of `threepio run` began, the latest first."""
        if self._client is not None:
            return [row["run_id"] for row in self.runs(SOUGHT) if row["command_id"] == command_id]
        return [
            run_id
            for run_id in self.archive.run_ids()[:SOUGHT]
            if self.archive.beginning(run_id).start.get("commandId") == command_id
        ]

    def failures(self, reference: str) -> dict[str, Any]:
        """Return `status` and `failures` of a run; raises NoSuchRun."""
        run_id = self.find(reference)
        if self.archive.is_over(run_id):
            return self.archive.failures(run_id)
        return self._answer("failures", {"run": run_id, "exact": True}, lambda: self.archive.failures(run_id))

    def observe(self, run_id: str, event_type: str, payload: dict[str, Any]) -> None:
        """Record what is observed of a run now; raises NoSuchRun while the daemon has not seen the run."""

        def to_file() -> None:
            from threepio_client.journal import append_observation

            append_observation(self.state_dir.observed(run_id), event_type, payload, clock.wall())

        question = {"run": run_id, "exact": True, "type": event_type, "payload": payload}
        self._answer("observe", question, to_file)

    def say_trouble(self) -> None:
        """Say why an answer came from the journals alone, if it did."""
        if "archive" in vars(self) and self.archive.trouble:
            say(f"threepio: {self.archive.trouble}", to_stderr=True)

    def close(self) -> None:
        """Let go of daemon and store, if they were asked."""
        for name in ("_client", "archive"):
            asked = vars(self).get(name)
            if asked is not None:
                asked.close()

    def _answer(self, question: str, params: dict[str, Any], from_files: Callable[[], T]) -> T:
        """Return the daemon's answer, or what the files say if it cannot give one."""
        if self._client is not None:
            try:
                answer: T = self._client.ask(question, params)
                if question not in _VIEWS or self._client.schema_version >= VIEW_VERSION:
                    return answer
                raise NoDaemon("the daemon is of an older version: threepiod restart brings this one")
            except NoDaemon as error:
                say(f"threepio: {error}; this answer comes from store and journals", to_stderr=True)
                self._client = None
        return from_files()


@contextmanager
def open_source() -> Iterator[Source]:
    """Make a source of answers.

    Raises:
        SettingsError: a setting cannot be used.
    """
    found = load_settings()
    _check_state_dir(found.state_dir)
    source = Source(found)
    try:
        yield source
    finally:
        source.say_trouble()  # also where there is no such run or test: it may be in what could not be read
        source.close()


def _check_state_dir(path: Path) -> None:
    try:
        is_directory = stat.S_ISDIR(path.stat().st_mode)
        found = path.lstat()
    except FileNotFoundError:
        return  # nothing was ever recorded
    except OSError as error:
        raise SettingsError(
            f"the state directory {path} cannot be used: {error.strerror}. Set THREEPIO_STATE_DIR to another one"
        ) from error
    if not is_directory:
        raise SettingsError(f"the state directory {path} is no directory: set THREEPIO_STATE_DIR to another one")
    check_private_dir(path, found)  # no session and no daemon uses another one
