"""A process that asks the daemon for a run's status while the run goes on, and writes down every answer.

    python -m benchmarks.poller --socket S --run ID --journal FILE --output FILE --every SECONDS

It asks at an even pace until the run seems to end; from then on as often as it can, to see when all of the run is
stored. It ends when that was seen, or some time after its standard input was closed. The answers are judged in `asks`,
not here.
"""

from __future__ import annotations

import argparse
import importlib
import json
import select
import sys
import time
from pathlib import Path
from typing import Any, Final, TextIO

from benchmarks.journal import parse_journal_line

_CLOSING_PAUSE_S: Final = 0.002
"""Between two answers at the end: half a percent of the time in which all is to be stored."""

_AFTER_END_S: Final = 30.0
"""How long after its input was closed it still waits for all to be stored."""

_TAIL: Final = 1024 * 1024
"""Bytes of the journal's end that are searched for runComplete: two of the longest lines."""


class Asker:
    """The blocking query client of threepiod, connected when first needed. All use of that client is in this class."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._client: Any = None

    def ask(self, run: str) -> tuple[dict[str, Any], float] | None:
        """The status of a run and the time the daemon took for it, in milliseconds; None if it gives no answer."""
        module = importlib.import_module("threepio_client.query")
        errors = importlib.import_module("threepio_client.errors")
        try:
            if self._client is None:
                self._client = module.QueryClient.connect(self._socket)
            answer: dict[str, Any] = self._client.ask("status", {"run": run})
            return answer, float(self._client.last_elapsed_ms)
        except errors.NoSuchRun:
            return None
        except (errors.ThreepioError, OSError):
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


def poll(asker: Asker, run: str, journal: Path, every: float, output: TextIO) -> None:
    """Ask until all is stored; a line of JSON for every answer."""
    closing = False
    last: int | None = None
    give_up: float | None = None
    while give_up is None or time.monotonic() < give_up:
        asked = time.time()
        answer = asker.ask(run)
        answered = time.time()
        if answer is not None:
            status, daemon_ms = answer
            pace = "closing" if closing else "even"
            row = {"asked": asked, "answered": answered, "daemon_ms": daemon_ms, "pace": pace, "status": status}
            output.write(json.dumps(row) + "\n")
            closing = (
                closing
                or status["state"] not in ("running", "detached")
                or status["finished"] >= (status["collected"] or 1)
            )
            if last is not None and status["events"]["stored"] >= last:
                return
        if closing and last is None:
            last = complete_seq(journal)
        pause = _CLOSING_PAUSE_S if closing else max(0.0, asked + every - time.time())
        if give_up is None:
            ended = bool(select.select([sys.stdin], [], [], pause)[0])
            if ended:
                closing, give_up = True, time.monotonic() + _AFTER_END_S
        else:
            time.sleep(pause)


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
            poll(asker, options.run, options.journal, options.every, output)
        finally:
            asker.close()


if __name__ == "__main__":
    main()
