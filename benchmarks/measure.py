"""One measured run: a daemon of its own, the poller beside it, pytest, then everybody's account of what happened."""

from __future__ import annotations

import dataclasses
import os
import resource
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.asks import Asks, judge_asks
from benchmarks.journal import Journal, journal_files, read_journal
from benchmarks.outcomes import Counts, last_line
from benchmarks.reportlog import ReportLog
from benchmarks.requirements import PROJECT
from benchmarks.service import Service, clean_environment, running_service

_RAN_TO_THE_END: Final = (0, 1)
"""pytest's exit codes of a run that was not stopped: all passed, some failed."""


class BenchmarkFailed(Exception):
    """The run itself went wrong, so that there is nothing to compare; the text says what and where to look."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Suite:
    """What is run and what it is compared with.

    Attributes:
        name: of the benchmark and the suite, for people and file names: `pandas`, `generated-1000`.
        python: the interpreter whose environment runs the suite.
        arguments: of pytest, given the directory of the run.
        truth: reads the ground truth, given the directory of the run. Called after the run.
        own_times: whether the truth's times are those of this run (not so in a replay).
        imports_benchmarks: whether pytest loads a plugin from this package.
        ask_every: seconds between two questions to the daemon.
        asks_wanted: the least number of questions for the requirement about them; 0 where the run is too short.
        expected: the counts that the suite was made to have or is known to have; None if not known.
    """

    name: str
    python: Path
    arguments: Callable[[Path], list[str]]
    truth: Callable[[Path], ReportLog]
    own_times: bool
    imports_benchmarks: bool
    ask_every: float
    asks_wanted: int
    expected: Counts | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class PytestRun:
    """How the pytest process went.

    Attributes:
        exit_code: of the process; negative is a signal.
        wall_s: from its start to its end, in seconds.
        cpu_s: user and system time, in seconds.
        peak_rss: the most memory it held, in bytes.
        last_line: pytest's last line, with the time.
        counts: what the last line states.
    """

    exit_code: int
    wall_s: float
    cpu_s: float
    peak_rss: int
    last_line: str
    counts: Counts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Truth:
    """The ground truth of a run, reduced to numbers.

    Attributes:
        counts: by pytest's rules from the report log; it does not know deselected tests.
        tests: how many tests were started.
        other_types: entries of the report log that were not counted, by type.
        finished: the session's end is in the log.
    """

    counts: Counts
    tests: int
    other_types: dict[str, int]
    finished: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutcomeDiff:
    """The journal compared with the report log outcome by outcome.

    Attributes:
        missing: outcomes of a test that only the report log has.
        extra: outcomes of a test that only the journal has, or has more often.
        examples: some of them.
        collection_differs: the same, both ways, for outcomes of the collection.
    """

    missing: int
    extra: int
    examples: list[str]
    collection_differs: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class JournalFacts:
    """The journal reduced to numbers; see `benchmarks.journal.Journal`."""

    lines: int
    last_seq: int
    bad: int
    repeated: int
    skipped_numbers: int
    counts: Counts
    collected: int | None
    named_at_collection: int
    spilled: int | None
    event_types: dict[str, int]
    bytes: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Round:
    """All accounts of one measured run.

    Attributes:
        status: of the run, from the daemon, after pytest has ended.
        verify: what `threepio verify` says.
        offline: status of the run after the daemon was stopped: read from the store.
        daemon_peak_rss: bytes.
    """

    pytest: PytestRun
    truth: Truth
    expected: Counts | None
    journal: JournalFacts
    tests: OutcomeDiff
    status: dict[str, Any]
    verify: dict[str, Any]
    offline: dict[str, Any]
    daemon_peak_rss: int
    asks: Asks
    asks_wanted: int


def run_pytest(suite: Suite, work: Path, environment: dict[str, str], extra: list[str]) -> PytestRun:
    """Run the suite from an empty directory and read pytest's last line.

    Raises:
        BenchmarkFailed: pytest did not run to its end.
    """
    cwd = work / "cwd"
    cwd.mkdir()
    command: list[Any] = [
        suite.python,
        "-m",
        "pytest",
        *suite.arguments(work),
        "-p",
        "no:cacheprovider",
        "-q",
        "--no-summary",
    ]
    command += ["--color=no", *extra]
    if suite.imports_benchmarks:
        environment = environment | {"PYTHONPATH": str(PROJECT)}
    output = work / "pytest.out"
    exit_code, wall_s, usage = waited(command, cwd, environment, output)
    found = last_line(output)
    if found is None or exit_code not in _RAN_TO_THE_END:
        raise BenchmarkFailed(f"pytest ended with {exit_code} before its end; it said:\n{end_of(output)}")
    return PytestRun(
        exit_code=exit_code,
        wall_s=wall_s,
        cpu_s=usage.ru_utime + usage.ru_stime,
        peak_rss=usage.ru_maxrss * 1024,
        last_line=found[0],
        counts=found[1],
    )


def waited(
    command: Sequence[Any], cwd: Path, environment: dict[str, str], output: Path
) -> tuple[int, float, resource.struct_rusage]:
    """Run a command to its end, its output in a file; return exit code, seconds, and what it took: getrusage(2)."""
    with output.open("wb") as out:
        begin = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        wall_s = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, wall_s, usage


def end_of(output: Path) -> str:
    """Return the last that a command printed into a file."""
    return output.read_bytes()[-2000:].decode("utf-8", "replace")


def run_plain(suite: Suite, work: Path) -> tuple[PytestRun, Truth]:
    """Run the suite without threepiod: what it costs by itself."""
    run = run_pytest(suite, work, clean_environment(), ["-p", "no:threepio"])
    return run, _truth(suite.truth(work))


def run_round(suite: Suite, work: Path) -> Round:
    """Run the suite with a daemon and the poller, and collect all accounts."""
    run_id = f"bench-{suite.name}"
    rows = work / "answers.jsonl"
    with running_service(suite.python, work) as service:
        journal_path = service.journals / f"{run_id}.jsonl"
        with _polling(suite, service, run_id, journal_path, rows):
            environment = service.environment | {"THREEPIO_RUN_ID": run_id}
            pytest_run = run_pytest(suite, work, environment, [])
        status = service.run_status(run_id)
        verify = service.verify(run_id)
        peak = service.peak_rss()
        service.stop()
        offline = service.run_status(run_id)
    files = journal_files(journal_path.parent, run_id)
    journal = read_journal(files)
    log = suite.truth(work)
    return Round(
        pytest=pytest_run,
        truth=_truth(log),
        expected=suite.expected,
        journal=_facts(journal, files),
        tests=compare_tests(log, journal),
        status=status,
        verify=verify,
        offline=offline,
        daemon_peak_rss=peak,
        asks=judge_asks(rows, journal, log.timeline if suite.own_times else None),
        asks_wanted=suite.asks_wanted,
    )


@contextmanager
def _polling(suite: Suite, service: Service, run: str, journal: Path, rows: Path) -> Iterator[None]:
    """The poller in a process of its own; waited for on the way out, when its standard input is closed."""
    command: list[Any] = [suite.python, "-m", "benchmarks.poller", "--socket", service.socket, "--run", run]
    command += ["--journal", journal, "--output", rows, "--every", str(suite.ask_every)]
    environment = service.environment | {"PYTHONPATH": str(PROJECT)}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE)
    try:
        yield
    finally:
        process.communicate()
    if process.returncode != 0:
        raise BenchmarkFailed(f"the poller ended with {process.returncode}")


def compare_tests(log: ReportLog, journal: Journal) -> OutcomeDiff:
    """Compare what the report log and the journal say of each test, multiples included."""
    missing, extra = log.outcomes - journal.outcomes, journal.outcomes - log.outcomes
    examples = [f"missing: {nodeid} {category}" for nodeid, category in list(missing)[:5]]
    examples += [f"extra: {nodeid} {category}" for nodeid, category in list(extra)[:5]]
    collection = (log.collection_outcomes - journal.collection_outcomes) + (
        journal.collection_outcomes - log.collection_outcomes
    )
    return OutcomeDiff(
        missing=missing.total(), extra=extra.total(), examples=examples, collection_differs=collection.total()
    )


def _truth(log: ReportLog) -> Truth:
    return Truth(counts=log.counts, tests=log.timeline.tests, other_types=log.other_types, finished=log.finished)


def _facts(journal: Journal, files: list[Path]) -> JournalFacts:
    fields = {field.name for field in dataclasses.fields(JournalFacts)} - {"bytes"}
    size = sum(path.stat().st_size for path in files)
    return JournalFacts(**{name: getattr(journal, name) for name in fields}, bytes=size)
