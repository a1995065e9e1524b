"""From a suite to an exit code: run the rounds, print the tables, write the results."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.measure import Round, Suite, run_plain, run_round
from benchmarks.table import (
    Check,
    Row,
    agreement,
    checks_of,
    process_checks,
    render_checks,
    render_rows,
    rows_of,
    same_in_all,
    truth_checks,
)


def add_options(parser: argparse.ArgumentParser, name: str, rounds: int | None) -> None:
    """Add the options that all benchmarks have; `--rounds` only where there is a usual number of them."""
    parser.set_defaults(name=name)
    parser.add_argument(
        "--python",
        type=Path,
        default=Path(sys.executable),
        metavar="PATH",
        help="python of the environment that runs the suite (default: the one that runs this)",
    )
    if rounds is not None:
        parser.add_argument(
            "--rounds", type=int, default=rounds, metavar="N", help=f"runs of each suite (default: {rounds})"
        )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="results as JSON (default: below benchmarks/results/)"
    )
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep journals, stores, logs and pytest's output there"
    )


def bench(suites: list[Suite], options: argparse.Namespace, versions: dict[str, str]) -> int:
    """Run every suite as often as asked for and say what came of it.

    Returns:
        The exit code: 0 if every requirement is met, else 1.
    """
    results: list[dict[str, Any]] = []
    verdicts: list[bool | None] = []
    for suite in suites:
        rounds: list[Round] = []
        for number in range(1, options.rounds + 1):
            _say(f"\n{suite.name}, round {number} of {options.rounds}")
            with work_directory(options.keep, f"{suite.name}-{number}") as work:
                result = run_round(suite, work)
            rounds.append(result)
            _say(f"pytest's last line: {result.pytest.last_line}\n")
            rows, checks = rows_of(result), checks_of(result)
            verdicts += _show(rows, checks, result.tests.examples)
            results.append({"suite": suite.name, "round": number, **_data(rows, checks), **dataclasses.asdict(result)})
        if len(rounds) > 1:
            check = same_in_all(rounds)
            verdicts += _show([], [check], [])
            results.append({"suite": suite.name, **_data([], [check])})
    return finish(options, versions, results, verdicts)


def bench_plain(suite: Suite, options: argparse.Namespace, versions: dict[str, str]) -> int:
    """Run a suite without threepiod and check it against the ground truth alone."""
    results: list[dict[str, Any]] = []
    verdicts: list[bool | None] = []
    for number in range(1, options.rounds + 1):
        _say(f"\n{suite.name} without threepiod, round {number} of {options.rounds}")
        with work_directory(options.keep, f"{suite.name}-plain-{number}") as work:
            run, truth = run_plain(suite, work)
        _say(f"pytest's last line: {run.last_line}")
        agree = agreement("pytest's last line, by the report log", run.counts, truth.counts)
        checks = [*truth_checks(truth, run, suite.expected), agree, *process_checks(run)]
        verdicts += _show([], checks, [])
        pytest_run = dataclasses.asdict(run)
        results.append({"suite": suite.name, "round": number, **_data([], checks), "pytest": pytest_run})
    return finish(options, versions, results, verdicts)


@contextmanager
def work_directory(keep: Path | None, name: str) -> Iterator[Path]:
    """An empty directory, removed afterwards unless it is to be kept."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="threepio-bench-") as directory:
            yield Path(directory)
        return
    path = keep.resolve() / name
    if path.exists():
        shutil.rmtree(path)
    path.mkdir(parents=True)
    yield path


def _show(rows: list[Row], checks: list[Check], examples: list[str]) -> list[bool | None]:
    if rows:
        _say(render_rows(rows) + "\n")
    _say(render_checks(checks))
    for example in examples:
        _say(f"  {example}")
    return [row.ok for row in rows] + [check.ok for check in checks]


def _data(rows: list[Row], checks: list[Check]) -> dict[str, Any]:
    return {
        "rows": [dataclasses.asdict(row) for row in rows],
        "checks": [dataclasses.asdict(check) for check in checks],
    }


def finish(
    options: argparse.Namespace, versions: dict[str, str], results: list[dict[str, Any]], verdicts: list[bool | None]
) -> int:
    """Write the results, say whether every requirement is met, and return the exit code."""
    failed = sum(ok is False for ok in verdicts)
    stamp = time.strftime("%Y-%m-%d-%H%M%S")
    output = options.output or Path(__file__).parent / "results" / f"{options.name}-{stamp}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    data = {"benchmark": options.name, "ended": stamp, "versions": versions, "not_ok": failed, "results": results}
    output.write_text(json.dumps(data, indent=1) + "\n")
    _say(f"\n{'every requirement is met' if not failed else f'{failed} NOT OK'}; results in {output}")
    return 1 if failed else 0


def _say(text: str) -> None:
    print(text, flush=True)
