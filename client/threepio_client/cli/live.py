"""What `threepio run` says while its command runs: one live line on a terminal, and the verdict as soon as there is one."""

from __future__ import annotations

import itertools
import shutil
import sys
from contextlib import ExitStack
from operator import attrgetter
from typing import Any, Final

from threepio_client import clock
from threepio_client.archive import Archive
from threepio_client.causes import group
from threepio_client.cli.ending import may_end_otherwise
from threepio_client.cli.failure_text import cause_lines
from threepio_client.cli.output import say
from threepio_client.cli.source import Source, open_source
from threepio_client.errors import NoSuchRun, ThreepioError
from threepio_client.events import Phase
from threepio_client.printable import fitting, one_line
from threepio_client.results import outcomes, results
from threepio_client.runstate import LIVE_STATES
from threepio_client.views import bad_of, has_failures
from threepio_client.wording import MESSAGE_SHOWN, duration, kind_of, status_lines

BUDGET: Final = 2_000
"""Tokens that the causes of failures may take at the end of a run."""
LOOK_EVERY_S: Final = 0.25
FAILURES_SHOWN: Final = 10
"""Failures that are named as they come; further ones are counted, and named by cause at the end."""
ENOUGH: Final = 20
"""Finished tests from which on the speed of this run is believed."""


class TimeLeft:
    """How long a run will take, by the durations of an earlier one, or by its own rate where there is none.

    Attributes:
        cumulated: for each number of finished tests, milliseconds that the earlier run's tests took up to there.
    """

    def __init__(self, durations_ms: list[float], earlier_s: float = 0.0) -> None:
        """Take in an earlier run.

        Args:
            durations_ms: of its tests, in their order.
            earlier_s: how long it took as a whole: with workers less than the sum.
        """
        self.cumulated = list(itertools.accumulate(durations_ms, initial=0.0))
        self._earlier_s = earlier_s

    def seconds(self, finished: int, collected: int, elapsed_s: float) -> float | None:
        """Return the seconds that are left; None while nothing can be said."""
        rest = collected - finished
        if rest <= 0:
            return 0.0
        total = self.cumulated[-1]
        if not total:
            return rest * elapsed_s / finished if finished >= ENOUGH else None
        # Tests that the earlier run did not have take as long as its others, on average.
        known = len(self.cumulated) - 1
        if finished > known:
            return rest * elapsed_s / finished
        done = self.cumulated[finished]
        left = total - done + max(collected - max(known, finished), 0) * total / known
        speed = elapsed_s * 1000 / done if finished >= ENOUGH and done else self._earlier_s * 1000 / total
        return left * speed / 1000


NOTHING: Final = TimeLeft([])
"""No earlier run is known."""


def time_left(archive: Archive, rootdir: str, collected: int) -> TimeLeft:
    """Return what the newest complete run of the same rootdir says that had at least half as many tests; else nothing."""
    for run_id in archive.run_ids():
        stored = archive.stored(run_id)
        if stored is None or stored.state.start.get("rootdir") != rootdir or stored.state.complete is None:
            continue
        state = stored.state
        if state.finished and state.finished * 2 >= collected and not state.never_ran:
            found = outcomes(result for result in results(archive, run_id) if result.phase != Phase.COLLECT)
            durations = [one.duration_ms for one in sorted(found.values(), key=attrgetter("seq"))]
            return TimeLeft(durations, max(state.updated - state.started, 0.0))
    return NOTHING


class Following:
    """Follows a run while its command runs; only where a daemon answers: else every look would read the whole journal.

    Attributes:
        said: the verdict of the run by its id, once it was said.
    """

    def __init__(self, run_id: str, *, has_terminal: bool) -> None:
        self.said: dict[str, str] = {}
        self._run_id = run_id
        self._has_terminal = has_terminal
        self._line: LiveLine | None = None
        self._looked_at = 0.0
        self._stack = ExitStack()
        self._source: Source | None = None
        self._is_off = False

    def look(self) -> None:
        """Show how the run is now; say its result if it is over. An error ends the following, not the command."""
        if self._is_off or self.said or clock.monotonic() - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = clock.monotonic()
        try:
            if self._source is None:
                self._source = self._stack.enter_context(open_source())
            if self._source.has_daemon:
                self._show(self._source, self._source.status(self._run_id))
            else:
                self._is_off = True
        except NoSuchRun:
            return  # it has not begun
        except (ThreepioError, OSError):  # the end says it, if it lasts
            self._is_off = True

    def close(self) -> None:
        """Take the live line away, and let go of the daemon."""
        if self._line is not None:
            self._line.clear()
        self._stack.close()

    def _show(self, source: Source, view: dict[str, Any]) -> None:
        if view["run_id"] != self._run_id:
            return  # another run, of which this id is a prefix
        if view["state"] in LIVE_STATES:
            if self._has_terminal:
                if self._line is None:
                    self._line = LiveLine()
                if self._line.left is None and view["collected"]:
                    self._line.left = time_left(source.archive, view["rootdir"], view["collected"])
                wants = has_failures(view) and not self._line.is_full
                self._line.update(view, source.failures(self._run_id)["failures"] if wants else [])
        # A death is told by its parent, and another exit code by the runner, soon.
        elif view["exit_code"] is not None and view["death"] is None and not may_end_otherwise(view):
            if self._line is not None:
                self._line.clear()
            say_result(source, view)
            self.said[self._run_id] = view["verdict"]["text"]


def say_result(source: Source, view: dict[str, Any]) -> None:
    """Print what became of a run: verdict, counts, causes of failures, next commands."""
    for line in status_lines(view):
        say(line)
    causes = group(source.failures(view["run_id"])["failures"])
    for line in cause_lines(causes, view["rootdir"], run_id=view["run_id"], budget=BUDGET):
        say(f"  {line}")
    sys.stdout.flush()


class LiveLine:
    """One line of a terminal, written over again and again; what is printed meanwhile goes above it.

    Attributes:
        left: says how long it will take; None while it is not known how much there is.
    """

    def __init__(self) -> None:
        self.left: TimeLeft | None = None
        self._shown = False
        self._named: set[int] = set()

    @property
    def is_full(self) -> bool:
        """Whether as many failures were named as are to be."""
        return len(self._named) >= FAILURES_SHOWN

    def update(self, view: dict[str, Any], failures: list[dict[str, Any]]) -> None:
        """Show how a run is.

        Args:
            view: its status.
            failures: what failed so far; those that are new are named.
        """
        new = [failure for failure in failures if failure["seq"] not in self._named]
        for failure in new[: max(FAILURES_SHOWN - len(self._named), 0)]:
            self.above(one_line(f"{kind_of(failure)} {failure['nodeid']}"))
        self._named.update(failure["seq"] for failure in new)
        line = line_of(view, self.left or NOTHING)
        width = shutil.get_terminal_size().columns
        sys.stdout.write("\r\x1b[K" + fitting(one_line(line), width - 1))
        sys.stdout.flush()
        self._shown = True

    def above(self, text: str) -> None:
        """Print a line above the live one."""
        self.clear()
        say(text[:MESSAGE_SHOWN])

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            sys.stdout.write("\r\x1b[K")
            sys.stdout.flush()
            self._shown = False


def line_of(view: dict[str, Any], left: TimeLeft) -> str:
    """Return the line for a status answer."""
    finished, collected = view["finished"], view["collected"]
    if collected is None:
        return f"collecting for {duration(view['duration_s'])}"
    bad = bad_of(view)
    share = f"{100 * finished // collected}%" if collected else "100%"
    rate = finished / view["duration_s"] if view["duration_s"] else 0.0
    seconds = left.seconds(finished, collected, view["duration_s"])
    parts = [f"{share} {finished}/{collected}", f"{rate:.0f}/s", f"{bad} failed" if bad else "none failed"]
    if seconds is not None:
        parts.append(f"{duration(seconds)} left")
    slots = view["in_flight"]
    if slots:
        oldest = max(slots, key=lambda slot: slot["elapsed_s"])
        age = f" ({duration(oldest['elapsed_s'])})" if oldest["elapsed_s"] >= 1 else ""
        parts.append(f"{oldest['nodeid'] or 'the session'}{age}")
    return "  ".join(parts)
