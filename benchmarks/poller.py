"""A process that asks the daemon for a run's status while the run goes on, and writes down every answer.

    python -m benchmarks.poller --socket S --run ID --journal FILE --output FILE --every SECONDS

It asks at an even pace until runComplete is in the journal, from then on as often as it can, to see when all of the run
is stored. It ends when that was seen, or some time after its standard input was closed. `asks` judges the answers.
"""

from __future__ import annotations

import argparse
import json
import select
import sys
import time
from pathlib import Path
from typing import Any, Final, TextIO

from benchmarks.journal import parse_journal_line
from threepio_client.errors import NoSuchRun, ThreepioError
from threepio_client.query import QueryClient

_CLOSING_PAUSE_S: Final = 0.002
"""Between two answers at the end: half a percent of the time in which all is to be stored."""

_WATCH_S: Final = 0.01
"""Between two looks at the journal's end, in the pauses from question to question."""

_AFTER_END_S: Final = 30.0
"""How long after its input was closed it still waits for all to be stored."""

_TAIL: Final = 64 * 1024
"""Bytes of the journal's end in which a runComplete line is looked for. It holds numbers, not texts."""


class Asker:
    """The blocking query client of threepiod, connected when first needed. All use of that client is in this class."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._client: QueryClient | None = None

    def ask(self, run: str) -> tuple[dict[str, Any], float] | None:
        """The status of a run and the time the daemon took for it, in milliseconds; None if it gives no answer."""
        try:
            if self._client is None:
                self._client = QueryClient.connect(self._socket)
            answer: dict[str, Any] = self._client.ask("status", {"run": run})
            return answer, self._client.last_elapsed_ms
        except NoSuchRun:
            return None
        except (ThreepioError, OSError):
            self.close()
            return None

    def close(self) -> None:
        """Close the connection; the next `ask` makes a new one."""
        if self._client is not None:
            self._client.close()
        self._client = None


def complete_seq(journal: Path) -> int | None:
    """The number of the runComplete line if it is the last line of the journal."""
    try:
        with journal.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _TAIL))
            lines = file.read().splitlines(keepends=True)
    except FileNotFoundError:
        return None
    event = parse_journal_line(lines[-1]) if lines else None
    return event["seq"] if event is not None and event["eventType"] == "runComplete" else None


class Watch:
    """Waits in short steps, and sees meanwhile how the run ends.

    Attributes:
        last_seq: number of the runComplete line, once it is there.
        input_closed_at: when standard input was found closed, by the monotonic clock.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self.last_seq: int | None = None
        self.input_closed_at: float | None = None

    @property
    def closing(self) -> bool:
        """The run has ended."""
        return self.last_seq is not None or self.input_closed_at is not None

    @property
    def given_up(self) -> bool:
        """It has ended so long ago that nothing more is waited for."""
        return self.input_closed_at is not None and time.monotonic() > self.input_closed_at + _AFTER_END_S

    def wait(self, until: float) -> None:
        """Wait until that time by the wall clock, or until the run is seen to end."""
        was_closing = self.closing
        while True:
            step = min(max(until - time.time(), 0.0), _WATCH_S)
            if self.input_closed_at is not None:
                time.sleep(step)
            elif select.select([sys.stdin], [], [], step)[0]:
                self.input_closed_at = time.monotonic()
            if self.last_seq is None:
                self.last_seq = complete_seq(self._journal)
            if self.closing != was_closing or time.time() >= until:
                return


def poll(asker: Asker, run: str, watch: Watch, every: float, output: TextIO) -> None:
    """Ask until all is stored; a line of JSON for every answer."""
    while not watch.given_up:
        pace = "closing" if watch.closing else "even"
        last_seq = watch.last_seq
        asked = time.time()
        answer = asker.ask(run)
        answered = time.time()
        if answer is not None:
            status, daemon_ms = answer
            row = {"asked": asked, "answered": answered, "daemon_ms": daemon_ms, "pace": pace, "status": status}
            output.write(json.dumps(row) + "\n")
            if last_seq is not None and status["events"]["stored"] >= last_seq:
                return
        watch.wait(answered + _CLOSING_PAUSE_S if watch.closing else asked + every)


def main() -> None:
    """Run the poller."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.poller", description=__doc__)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--every", type=float, required=True, help="seconds from one question to the next")
    options = parser.parse_args()
    asker = Asker(options.socket)
    with options.output.open("w") as output:
        try:
            poll(asker, options.run, Watch(options.journal), options.every, output)
        finally:
            asker.close()


if __name__ == "__main__":
    main()
