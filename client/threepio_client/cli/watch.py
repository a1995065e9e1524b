"""The screen of `threepio status --watch`: progress, a lane for each worker, the latest failures; right at every size."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from threepio_client.cli.beginning import LOOK_EVERY_S, Beginning, about_to_begin
from threepio_client.cli.live import NOTHING, TimeLeft, line_of, time_left
from threepio_client.cli.output import say
from threepio_client.cli.source import Source
from threepio_client.cli.status_answer import answer_lines
from threepio_client.errors import NoSuchRun
from threepio_client.printable import one_line
from threepio_client.results import outcomes, results
from threepio_client.runstate import LIVE_STATES
from threepio_client.views import has_failures
from threepio_client.wording import counts_text, duration, kind_of

EVERY_S: Final = 0.5
PLAIN_EVERY_S: Final = 10.0
"""How often there is a line where the output is no terminal."""
RUNS_SHOWN: Final = 4
BAR: Final = 30
"""Columns of a progress bar at most; half of a narrow terminal."""
SLOW_FACTOR: Final = 3.0
"""A test is marked if it takes so many times longer than usual, and at least a second."""
WORTH_SAYING_S: Final = 0.1
"""What a test usually takes is told if it is at least this, or if the test takes a second now."""


class Screen:
    """What is shown of runs.

    Attributes:
        views: status answers of the runs that are shown, in their order.
    """

    def __init__(self, source: Source, reference: str) -> None:
        """Begin to watch a run; with `latest` every run that lives, else the one that a command is about to begin.

        Raises:
            NoSuchRun: there is no such run.
        """
        self._source = source
        self._run_ids = self._find(reference)
        self._left: dict[str, TimeLeft] = {}
        self._usual: dict[tuple[str, str], float | None] = {}
        self._failures: dict[str, list[dict[str, Any]]] = {}
        self.views: list[dict[str, Any]] = []
        self.look()

    def look(self) -> None:
        """Ask again."""
        self.views = [self._source.status(run_id) for run_id in self._run_ids]
        for view in self.views:
            run_id = view["run_id"]
            if run_id not in self._left and view["collected"]:
                self._left[run_id] = time_left(self._source.archive, view["rootdir"], view["collected"])
            if has_failures(view):
                self._failures[run_id] = self._source.failures(run_id)["failures"]

    @property
    def is_over(self) -> bool:
        """Whether none of the runs lives."""
        return all(view["state"] not in LIVE_STATES for view in self.views)

    def render(self, width: int, height: int) -> Group:
        """Return the lines for a terminal of this size, no more and none longer."""
        share, rest = divmod(height, len(self.views))
        lines = [
            line
            for number, view in enumerate(self.views)
            for line in self._block(view, width, share + (number < rest))[: share + (number < rest)]
        ]
        for line in lines:
            line.truncate(width, overflow="ellipsis")
        return Group(*lines)

    def plain(self) -> list[str]:
        """Return a line for each run."""
        return [
            f"run {view['run_id']}: {line_of(view, self._left.get(view['run_id'], NOTHING))}" for view in self.views
        ]

    def _find(self, reference: str) -> list[str]:
        if reference == "latest":
            live = [row["run_id"] for row in self._source.runs(RUNS_SHOWN) if row["state"] in LIVE_STATES]
            if live:
                return live
            run_id, _ = about_to_begin(self._source)
            if run_id:
                return [self._when_begun(run_id)]
        return [self._source.find(reference)]

    def _when_begun(self, run_id: str) -> str:
        """Return when a command has begun its run; raises NoSuchRun where it ends without any."""
        beginning = Beginning(self._source.state_dir, run_id, math.inf)
        while True:
            try:
                return self._source.find(run_id)
            except NoSuchRun as error:
                beginning.look(error)
            time.sleep(LOOK_EVERY_S)

    def _block(self, view: dict[str, Any], width: int, height: int) -> list[Text]:
        """Return the lines of one run, the most important first."""
        state, text = view["state"], view["verdict"]["text"]
        title = f"run {view['run_id']}: {state}" + (f" - {text}" if text != state else "")
        bad = has_failures(view)
        lines = [_text(title, "bold red" if bad or state in ("crashed", "incomplete") else "bold")]
        lines.append(self._bar(view, width))
        lines.append(_text(f"  {counts_text(view['counts']) or 'nothing counted yet'}", "red" if bad else ""))
        failures = self._failures.get(view["run_id"], [])
        slots = _slots(view)
        room = height - len(lines)
        # At least a third of the rest is for failures, where there are any.
        lanes = min(len(slots), room if not failures else max(room - min(len(failures) + 1, max(room // 3, 2)), 0))
        lines += [self._lane(view, slot, width) for slot in slots[:lanes]]
        room = height - len(lines)
        if failures and room > 1:
            lines.append(_text(f"  latest of {len(failures)} failures:"))
            latest = reversed(failures[-(room - 1) :])
            lines += [_text(_fit(f"  {kind_of(failure)} ", failure["nodeid"], width), "red") for failure in latest]
        return lines

    def _bar(self, view: dict[str, Any], width: int) -> Text:
        collected = view["collected"]
        columns = min(BAR, width // 2)
        done = min(columns * view["finished"] // collected, columns) if collected else 0
        bar = _text("  " + "█" * done + "░" * (columns - done) + "  ")
        if view["state"] not in LIVE_STATES:
            bar.append(one_line(f"{view['finished']}/{collected} in {duration(view['duration_s'])}"))
        else:
            line = line_of({**view, "in_flight": []}, self._left.get(view["run_id"], NOTHING))
            bar.append(one_line(line))
        return bar

    def _lane(self, view: dict[str, Any], slot: dict[str, Any], width: int) -> Text:
        who = f"{slot['worker']:>4} " if slot["worker"] else "  "
        if not slot["phase"]:
            return _text(f"{who}    idle")
        usual = self._usual_s(view["rootdir"], view["run_id"], slot["nodeid"])
        age = duration(slot["elapsed_s"])
        of = (
            f" of usually {duration(usual)}"
            if usual is not None and (usual >= WORTH_SAYING_S or slot["elapsed_s"] >= 1)
            else ""
        )
        is_slow = slot["elapsed_s"] > max(SLOW_FACTOR * (usual or 0.0), 1.0) and usual is not None
        line = _fit(f"{who} {age:>7}{of}  {slot['phase']}  ", slot["nodeid"] or "the session", width)
        return _text(line, "yellow" if is_slow else "")

    def _usual_s(self, rootdir: str, run_id: str, nodeid: str) -> float | None:
        """Return how long a test took in the newest earlier run that has it, in seconds."""
        key = (rootdir, nodeid)
        if key not in self._usual:
            self._usual[key] = None
            for earlier in self._source.archive.run_ids()[:RUNS_SHOWN]:
                found = outcomes(results(self._source.archive, earlier, nodeid)).get(nodeid) if nodeid else None
                if earlier != run_id and found is not None:
                    self._usual[key] = found.duration_ms / 1000
                    break
        return self._usual[key]


def watch(source: Source, reference: str, sleep: Callable[[float], None] = time.sleep) -> list[dict[str, Any]]:
    """Show a run until it is over or Ctrl-C; return the last status answers.

    Args:
        source: where the answers come from.
        reference: the run; `latest` means every run that lives.
        sleep: how to wait.
    """
    screen = Screen(source, reference)
    try:
        if sys.stdout.isatty():
            _on_terminal(screen, sleep)
        else:
            while not screen.is_over:
                for line in screen.plain():
                    say(one_line(line))
                sleep(PLAIN_EVERY_S)
                screen.look()
    except KeyboardInterrupt:
        pass  # that is how one leaves
    for view in screen.views:
        for line in answer_lines(view, view["run_id"]):
            say(line)
    return screen.views


def _on_terminal(screen: Screen, sleep: Callable[[float], None]) -> None:
    console = Console(highlight=False, markup=False)
    with Live(console=console, screen=True, auto_refresh=False) as live, _left_by_ctrl_z(console):
        while not screen.is_over:
            live.update(screen.render(*console.size), refresh=True)
            sleep(EVERY_S)
            screen.look()


@contextmanager
def _left_by_ctrl_z(console: Console) -> Iterator[None]:
    """Give the terminal back while the shell has stopped us."""

    def stop(number: int, _frame: FrameType | None) -> None:
        console.set_alt_screen(False)
        console.show_cursor(True)
        signal.signal(number, signal.SIG_DFL)  # which does not stop us where no shell is there to continue us
        os.kill(os.getpid(), number)
        signal.signal(number, stop)
        console.set_alt_screen(True)
        console.show_cursor(False)

    before = signal.getsignal(signal.SIGTSTP)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGTSTP, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, before)


def _slots(view: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what is in flight, and for each worker that has nothing an empty slot: a lane keeps its place."""
    slots: list[dict[str, Any]] = list(view["in_flight"])
    busy = {slot["worker"] for slot in slots}
    idle = [worker["worker"] for worker in view["workers"] if worker["worker"] not in busy]
    slots += [{"worker": worker, "nodeid": "", "phase": "", "elapsed_s": 0.0} for worker in idle]
    return sorted(slots, key=lambda slot: (len(slot["worker"] or ""), slot["worker"] or ""))


def _text(line: str, style: str = "") -> Text:
    return Text(one_line(line), style=style, no_wrap=True, overflow="ellipsis")


def _fit(head: str, nodeid: str, width: int) -> str:
    """Return both in one line; of a node id that does not fit the end is shown, which tells it from others."""
    name = one_line(nodeid)
    room = width - len(head)
    return head + (name if len(name) <= room or room < 8 else "…" + name[1 - room :])
