"""A process that asks every question in turn, and prints how many milliseconds each answer took, as one line of JSON.

    python -m benchmarks.asker --run ID --asks N        (with THREEPIO_... set)

`status` counts the time inside the daemon; the other commands are called as functions, their output is dropped.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from typing import Final

import typer

from threepio_client.cli.diff import diff
from threepio_client.cli.failures import failures
from threepio_client.cli.history import history
from threepio_client.cli.show import show
from threepio_client.cli.slow import slow
from threepio_client.cli.source import open_source
from threepio_client.query import QueryClient
from threepio_client.settings import load

NODEID: Final = "tests/test_000001.py::test_199"
"""The first of the made-up tests that fails."""


def main() -> None:
    """Ask, and print the times."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.asker", description=__doc__)
    parser.add_argument("--run", required=True)
    parser.add_argument("--asks", type=int, required=True)
    options = parser.parse_args()
    run: str = options.run
    with open_source() as source:
        bad = source.failures(run)["failures"]
    nodeid = bad[0]["nodeid"] if bad else NODEID
    questions: dict[str, Callable[[], object]] = {
        "failures": lambda: failures(run=run, as_json=True),
        "show": lambda: show(nodeid=nodeid, run=run, as_json=True),
        "diff": lambda: diff(after=run, as_json=True),
        "slow": lambda: slow(run=run, as_json=True),
        "history": lambda: history(nodeid=nodeid, as_json=True),
    }
    times: dict[str, list[float]] = {"status": [], **{name: [] for name in questions}}
    with QueryClient.connect(load().socket) as client:
        for _ in range(options.asks):
            client.ask("status", {"run": "latest"})
            times["status"].append(client.last_elapsed_ms)
            for name, question in questions.items():
                times[name].append(timed(question))
    print(json.dumps(times))


def timed(question: Callable[[], object]) -> float:
    """Milliseconds of one command; that it answers with an exit code of its own is part of the answer."""
    begin = time.perf_counter()
    with redirect_stdout(io.StringIO()) as said, redirect_stderr(io.StringIO()) as complained, suppress(typer.Exit):
        question()
    elapsed = 1000 * (time.perf_counter() - begin)
    # The rootdir of made-up runs is nowhere, and a line says so.
    wrong = [line for line in complained.getvalue().splitlines() if " of another directory: " not in line]
    if wrong or not said.getvalue().startswith("{"):
        raise SystemExit(f"no answer: {wrong or said.getvalue()[:200]}")
    return elapsed


if __name__ == "__main__":
    main()
