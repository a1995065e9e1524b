"""Runs that have not begun yet: a command of `threepio run` is about to begin one."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from threepio_client.cli.command_output import last_lines
from threepio_client.cli.output import say
from threepio_client.cli.source import Source
from threepio_client.errors import NoSuchRun, WaitedTooLong
from threepio_client.here import current
from threepio_client.outputs import has_ended, starting, writer_of
from threepio_client.paths import StateDir
from threepio_client.runstate import LIVE_STATES
from threepio_client.wording import elsewhere

LOOK_EVERY_S: Final = 0.050
ENDED_S: Final = 3.0
"""How long a command has to have ended before its run is not waited for any more."""


class Beginning:
    """The wait for a run that has not begun yet."""

    def __init__(self, state_dir: StateDir, run_id: str, deadline: float) -> None:
        self._output = state_dir.output(run_id)
        self._deadline = deadline
        self._ended_at: float | None = None
        self._is_told = False

    def look(self, error: NoSuchRun) -> None:
        """Return if it is to be waited for.

        Raises:
            NoSuchRun: it is not, because there is no time left, or the command that was to begin it has ended.
            WaitedTooLong: there is no time left, and that command goes on.
        """
        now = time.monotonic()
        if now >= self._deadline:
            if writer_of(self._output) is None:
                raise error
            raise WaitedTooLong(
                f"the command of run {self._output.stem} goes on, and has not begun its run yet"
            ) from None
        if not self._is_told:
            name = self._output.stem
            if writer_of(self._output) is not None:
                say(f"threepio: waiting for the run {name}, which a command is about to begin", to_stderr=True)
            else:
                say(f"threepio: {error}; waiting for one to begin that is named so", to_stderr=True)
            self._is_told = True
        if not has_ended(self._output):
            self._ended_at = None
            return
        self._ended_at = self._ended_at or now
        # It may be another command's, and this one is about to take the file.
        if now - self._ended_at > ENDED_S:
            raise _none_began(self._output) from None


def coming_or_latest(source: Source, deadline: float) -> str:
    """Return the id of the run that a command is about to begin - it may have been started just now -, else of the latest.

    Where there is neither, `latest`.
    """
    while True:
        run_id, view = about_to_begin(source)
        if run_id:
            return run_id
        if time.monotonic() >= deadline or (view is not None and view["state"] in LIVE_STATES):
            return "latest" if view is None else str(view["run_id"])
        time.sleep(LOOK_EVERY_S)


def about_to_begin(source: Source) -> tuple[str, dict[str, Any] | None]:
    """Return the id of the run that a command is about to begin now, empty for none, and the answer about the latest run."""
    view: dict[str, Any] | None = None
    with suppress(NoSuchRun):
        view = source.status("latest")
    # A run of which no line was read yet has begun just now.
    since = 0.0 if view is None else view["started"] or time.time()
    is_elsewhere = view is None or elsewhere(view["rootdir"], since)
    with suppress(OSError):  # what is wrong there, the answer says
        for directory in (current(), "") if is_elsewhere else (current(),):
            if run_id := starting(source.state_dir, since, directory):
                return run_id, view
    return "", view


def _none_began(output: Path) -> NoSuchRun:
    error = NoSuchRun(f"the command has ended and no run began; all that it printed: {output}")
    error.lines = tuple(f"  {line}" for line in last_lines(output))
    return error
