"""`python -m benchmarks verdict NAME`: a suite under `threepio run`, and under plain pytest beside it."""

from __future__ import annotations

import argparse
import os
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.bench import add_options, finish, work_directory
from benchmarks.measure import BenchmarkFailed
from benchmarks.outcomes import Counts, last_line
from benchmarks.reportlog import ReportLog, count_log
from benchmarks.requirements import require_command, require_distributions
from benchmarks.service import running_service
from benchmarks.suite import SUITES
from benchmarks.table import Check, render_checks

HELP: Final = "how soon after the last test `threepio run` says the verdict, and that nothing else changes"

VERDICT_LIMIT_S: Final = 1.0
"""Seconds from the end of the last test's teardown to the verdict on the screen."""

DESCRIPTION: Final = f"""\
Run a suite with `threepio run`, and with plain pytest (the plugin blocked) at the same time, both with pytest-reportlog and
with pytest's own summary of failures. Without -n: with workers nobody's clock says when the last test ended.

NAME is one of: {", ".join(SUITES)}. Another suite is named as you like, with pytest's arguments behind `--`.

Needs, in the environment named by --python: pytest, pytest-reportlog, threepiod[daemon] and the suite. Exit code 0 if
every requirement is met, 1 if not, 2 if something is missing.
"""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How one of the two went.

    Attributes:
        exit_code: of its process.
        said_after_s: from the last test's end to the first line on its standard output; None for plain pytest.
        ended_after_s: from the last test's end to the end of the process.
        printed: bytes on its standard output.
        written: bytes of pytest's own output.
        last_line: what pytest's last line counts.
        log: the report log.
    """

    exit_code: int
    said_after_s: float | None
    ended_after_s: float
    printed: int
    written: int
    last_line: Counts
    log: ReportLog


def add_parser(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("suite", metavar="NAME", help="the suite; any word where arguments of pytest follow")
    parser.add_argument(
        "--alone", action="store_true", help="leave plain pytest out, and with it what compares the two"
    )
    add_options(parser, "verdict", rounds=1)
    parser.set_defaults(run=run, pytest_arguments=[])


def run(options: argparse.Namespace) -> int:
    """Run the benchmark.

    Raises:
        MissingRequirement: the environment lacks something, or the suite is not known.
        BenchmarkFailed: a run did not come to its end.
    """
    known = SUITES.get(options.suite)
    given: list[str] = options.pytest_arguments or (known.arguments if known else [])
    needs = known.needs if known and not options.pytest_arguments else []
    versions = require_distributions(options.python, ["pytest", "pytest-reportlog", "threepiod", *needs])
    results: list[dict[str, Any]] = []
    checks: list[Check] = []
    for number in range(1, options.rounds + 1):
        with work_directory(options.keep, f"verdict-{options.suite}-{number}") as work:
            ours, plain = _both(options.python, given, work, alone=options.alone)
        found = _checks(ours, plain)
        print(f"\n{options.suite}, round {number} of {options.rounds}\n{render_checks(found)}", flush=True)
        checks += found
        results.append({"round": number, "checks": [asdict(check) for check in found]})
    return finish(options, versions, results, [check.ok for check in checks])


def _both(python: Path, arguments: Sequence[str], work: Path, *, alone: bool) -> tuple[Ended, Ended | None]:
    threepio = require_command("threepio", python)
    found: dict[str, Ended] = {}
    with running_service(python, work) as service:
        prefixes = {"ours": [threepio, "run", "--"]} | ({} if alone else {"plain": []})
        threads = []
        for name, prefix in prefixes.items():
            own = [] if name == "ours" else ["-p", "no:threepio"]
            log = work / f"{name}.jsonl"
            command = [*prefix, python, "-m", "pytest", *arguments, *own, "-p", "no:cacheprovider", "--report-log", log]
            (work / name).mkdir()

            def follow(name: str = name, command: list[Any] = command) -> None:
                found[name] = _run(command, service.environment, work, name)

            threads.append(threading.Thread(target=follow))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if len(found) < len(prefixes):
        raise BenchmarkFailed("a run did not come to its end")
    return found["ours"], found.get("plain")


def _run(command: list[Any], environment: dict[str, str], work: Path, name: str) -> Ended:
    """Run one of the two in a directory of its own; only its clock and ours are read, both the machine's."""
    output = work / f"{name}.out"
    first = None
    process = subprocess.Popen(
        command,
        cwd=work / name,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    with output.open("wb") as file:
        for chunk in iter(lambda: os.read(process.stdout.fileno(), 1 << 16), b""):  # type: ignore[union-attr]
            first = first or time.time()
            file.write(chunk)
    process.stdout.close()
    code = process.wait()
    ended = time.time()
    log = count_log(work / f"{name}.jsonl")
    if not log.finished or first is None:
        raise BenchmarkFailed(f"{' '.join(map(str, command))} ended with {code} before its end; see {output}")
    written = output if name == "plain" else next((work / "state" / "output").glob("*.log"))
    end = last_line(written)
    if end is None:
        raise BenchmarkFailed(f"{written} has no last line of pytest's")
    return Ended(
        exit_code=code,
        said_after_s=first - log.timeline.end if name == "ours" else None,
        ended_after_s=ended - log.timeline.end,
        printed=output.stat().st_size,
        written=written.stat().st_size,
        last_line=end[1],
        log=log,
    )


def _checks(ours: Ended, plain: Ended | None) -> list[Check]:
    said = ours.said_after_s or 0.0
    checks = [
        Check(
            label="verdict on the screen after the last test",
            found=f"{said:.2f} s",
            wanted=f"<= {VERDICT_LIMIT_S} s",
            ok=0 <= said <= VERDICT_LIMIT_S,
        ),
        Check(label="threepio run ended after the last test", found=f"{ours.ended_after_s:.1f} s", wanted="", ok=None),
        Check(
            label="counts",
            found=", ".join(f"{n} {name}" for name, n in asdict(ours.log.counts).items() if n),
            wanted="",
            ok=None,
        ),
        Check(label="bytes that threepio run printed", found=f"{ours.printed:,}", wanted="", ok=None),
        Check(label="bytes in threepio run's file", found=f"{ours.written:,}", wanted="", ok=None),
    ]
    return checks + (_compared(ours, plain) if plain is not None else [])


def _compared(ours: Ended, plain: Ended) -> list[Check]:
    differing = (ours.log.outcomes - plain.log.outcomes) + (plain.log.outcomes - ours.log.outcomes)
    return [
        Check(label="plain pytest ended after the last test", found=f"{plain.ended_after_s:.1f} s", wanted="", ok=None),
        Check(
            label="exit code, plain pytest's beside it",
            found=f"{ours.exit_code}, {plain.exit_code}",
            wanted="the same",
            ok=ours.exit_code == plain.exit_code,
        ),
        Check(
            label=f"outcomes that differ, of {plain.log.timeline.tests} tests",
            found=str(differing.total()),
            wanted="0",
            ok=not differing,
        ),
        Check(
            label="pytest's last line",
            found="the same" if ours.last_line == plain.last_line else f"{ours.last_line}, {plain.last_line}",
            wanted="the same",
            ok=ours.last_line == plain.last_line,
        ),
        Check(label="bytes that plain pytest printed", found=f"{plain.printed:,}", wanted="", ok=None),
    ]
