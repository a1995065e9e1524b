"""`python -m benchmarks questions`: what each question costs, with a daemon, without one, and without the store."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.bench import add_options, finish, work_directory
from benchmarks.requirements import MissingRequirement, require_command, require_distributions
from benchmarks.service import Service, ServiceError
from benchmarks.table import Check, aligned, render_checks
from benchmarks.usage import cpu_of

HELP: Final = "time of each question about a big run: with the daemon, stopped, sockets forbidden, store deleted"

CPU_LIMIT_S: Final = 2.0
"""Seconds of processor time that an answer may take, of the command and of the daemon together."""
LINES_LIMIT: Final = 60
"""Lines that an answer may have in its default form."""

DESCRIPTION: Final = f"""\
Ask every question about the latest run of a state directory, as a user does: a command each, its output into a file. The
directory is copied first; `python -m benchmarks replay --recording FILE --keep DIR` leaves one in DIR/replay-1/state.

  daemon     it runs and has stored everything
  forbidden  the same, but the command may make no Unix socket (seccomp)
  stopped    no daemon; the store is there
  deleted    no daemon and no store: the journal alone

Processor time is that of the command and, while it runs, of the daemon. The figures are medians.

Exit code 0 if every answer takes at most {CPU_LIMIT_S:g} s of processor time and {LINES_LIMIT} lines, and has the same exit
code and as many lines in every mode; 1 if not; 2 if something is missing. Not judged: the lines of `events`, which prints
them all, and what `verify` says without the store, which it compares.
"""
MODES: Final = ("daemon", "forbidden", "stopped", "deleted")
_FORBID: Final = Path(__file__).parent.parent / "tests" / "suites" / "no_unix_sockets.py"
_ALL_LINES: Final = "events"
_OF_THE_STORE: Final = "verify"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """One question in one mode.

    Attributes:
        question: without the node id.
        mode: name in `MODES`.
        exit_code: of the command.
        lines: of its standard output.
        cpu_s: seconds of processor time of each round.
        wall_s: seconds from start to end of each round.
        said: its standard error.
    """

    question: str
    mode: str
    exit_code: int
    lines: int
    cpu_s: list[float]
    wall_s: list[float]
    said: str


def add_parser(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    add_options(parser, "questions", rounds=5)
    parser.add_argument("--state", type=Path, metavar="DIR", required=True, help="the state directory; it is copied")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the benchmark.

    Raises:
        MissingRequirement: there is no such state directory, or the environment lacks something.
        ServiceError: a command failed.
    """
    versions = require_distributions(options.python, ["threepiod"])
    command = require_command("threepio", options.python)
    if not (options.state / "journals").is_dir():
        raise MissingRequirement(f"{options.state} is no state directory: give --state DIR")
    found: list[Asked] = []
    with work_directory(options.keep, "questions") as work, tempfile.TemporaryDirectory(prefix="threepio-") as short:
        state = work / "state"
        shutil.copytree(options.state, state)
        service = Service(options.python, state, Path(short) / "socket")
        try:
            run_id, nodeid = _subject(command, service.environment)
            for mode in MODES:
                if mode == "stopped":
                    service.stop()
                if mode == "deleted":
                    for path in state.glob("store.sqlite3*"):
                        path.unlink()
                pid = service.pid if mode in ("daemon", "forbidden") else None
                prefix = [sys.executable, str(_FORBID)] if mode == "forbidden" else []
                for question, words in questions(run_id, nodeid).items():
                    asked = _ask(
                        question, mode, [*prefix, str(command), *words], service.environment, pid, options.rounds
                    )
                    found.append(asked)
                    print(f"  {mode}: {question}: {statistics.median(asked.cpu_s):.2f} s", flush=True)
        finally:
            service.stop()
    checks = checks_of(found)
    print(f"\n{render(found)}\n\n{render_checks(checks)}", flush=True)
    results: list[dict[str, Any]] = [{"asked": dataclasses.asdict(asked)} for asked in found]
    results.append({"checks": [dataclasses.asdict(check) for check in checks]})
    return finish(options, versions, results, [check.ok for check in checks])


def questions(run_id: str, nodeid: str) -> dict[str, Sequence[str]]:
    """Return the questions with their arguments. Two runs that differ in little are as much to read as one and itself."""
    return {
        "status": ("status", run_id),
        "runs": ("runs",),
        "wait": ("wait", run_id),
        "failures": ("failures", run_id),
        "show NODEID": ("show", nodeid, run_id),
        "history NODEID": ("history", nodeid),
        "diff": ("diff", run_id, run_id),
        "slow": ("slow", run_id),
        "flaky": ("flaky",),
        "never-ran": ("never-ran", run_id),
        "events --type runComplete": ("events", run_id, "--type", "runComplete"),
        _ALL_LINES: ("events", run_id),
        _OF_THE_STORE: ("verify", run_id),
        "prune --dry-run": ("prune", "--keep", "1", "--dry-run"),
    }


def checks_of(found: list[Asked]) -> list[Check]:
    """Every limit, and that the modes agree."""
    checks = []
    for asked in found:
        cpu = statistics.median(asked.cpu_s)
        label = f"{asked.question}, {asked.mode}"
        if cpu > CPU_LIMIT_S:
            checks.append(Check(label=label, found=f"{cpu:.2f} s", wanted=f"<= {CPU_LIMIT_S:g} s", ok=False))
        if asked.lines > LINES_LIMIT and asked.question != _ALL_LINES:
            checks.append(Check(label=label, found=f"{asked.lines} lines", wanted=f"<= {LINES_LIMIT}", ok=False))
    for question in dict.fromkeys(asked.question for asked in found):
        answers = {(asked.exit_code, asked.lines) for asked in found if asked.question == question}
        if len(answers) > 1 and question != _OF_THE_STORE:
            checks.append(
                Check(label=f"{question}: (exit code, lines)", found=str(sorted(answers)), wanted="one", ok=False)
            )
    within = len(found) - sum(check.wanted.endswith(" s") for check in checks)
    checks.append(Check(label="answers within the time", found=f"{within} of {len(found)}", wanted="", ok=None))
    return checks


def render(found: list[Asked]) -> str:
    """The table: processor and wall time of every question in every mode."""
    lines = [["seconds: processor / wall", *MODES, "lines"]]
    for question in dict.fromkeys(asked.question for asked in found):
        by_mode = {asked.mode: asked for asked in found if asked.question == question}
        cells = [
            f"{statistics.median(by_mode[mode].cpu_s):.2f} / {statistics.median(by_mode[mode].wall_s):.2f}"
            for mode in MODES
        ]
        lines.append([question, *cells, f"{by_mode[MODES[0]].lines:,}"])
    return aligned(lines)


def _subject(command: Path | str, environment: dict[str, str]) -> tuple[str, str]:
    """Return the latest run's id and a test that failed in it."""
    done = subprocess.run([command, "failures", "--json"], env=environment, capture_output=True, text=True, check=False)
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer["run_id"], next(found["nodeid"] for found in answer["failures"] if found["phase"] == "call")
    except (ValueError, StopIteration) as error:
        raise ServiceError(f"no run with a failed test can be asked about: {done.stderr.strip()}") from error


def _ask(
    question: str, mode: str, command: list[str], environment: dict[str, str], daemon: int | None, rounds: int
) -> Asked:
    cpu_s, wall_s = [], []
    for _ in range(rounds):
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, _daemon_time(daemon) as spent:
            began = time.monotonic()
            process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
            _, status, usage = os.wait4(process.pid, 0)
            wall_s.append(time.monotonic() - began)
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            err.seek(0)
            lines, said = sum(1 for _ in out), err.read().decode("utf-8", "replace")
        cpu_s.append(usage.ru_utime + usage.ru_stime + spent[0])
    return Asked(
        question=question, mode=mode, exit_code=process.returncode, lines=lines, cpu_s=cpu_s, wall_s=wall_s, said=said
    )


@contextmanager
def _daemon_time(pid: int | None) -> Iterator[list[float]]:
    """Give a list that holds, afterwards, the seconds of processor time that the daemon took meanwhile."""
    spent = [0.0]
    before = cpu_of(pid) if pid is not None else 0.0
    yield spent
    if pid is not None:
        spent[0] = cpu_of(pid) - before
