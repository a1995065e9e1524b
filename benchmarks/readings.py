"""What each tool makes a reader read of one and the same failing run: the command, its output, the files that it names."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.measure import BenchmarkFailed
from benchmarks.requirements import PROJECT, require_command
from benchmarks.service import clean_environment, running_service

BUDGET: Final = 2000
"""Tokens of `threepio failures --budget`."""

_QUIET: Final = ["--color=no", "-p", "no:threepio"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """A failing run that every tool is given.

    Attributes:
        name: for people and directories.
        arguments: of pytest.
        prepare: makes what the run needs, given the directory in which it is started.
    """

    name: str
    arguments: list[str]
    prepare: Callable[[Path], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """What a reader reads.

    Attributes:
        command: as a person types it; the job's own arguments are `...`.
        text: all of it, standard output first.
        files: how many files were opened after the command.
        failures: what `threepio failures --json` says, where that was asked.
    """

    command: str
    text: bytes
    files: int = 0
    failures: dict[str, Any] | None = None


def read_threepio(job: Job, python: Path, work: Path) -> list[Reading]:
    """Read threepio's answers."""
    place, threepio = _place(job, work), require_command("threepio", python)
    with running_service(python, work) as service:
        environment = service.environment | _importing()
        command = [threepio, "run", "--", python, "-m", "pytest", *job.arguments]
        run = _output(command, place, environment)

        def ask(*arguments: str) -> bytes:
            return _output([threepio, *arguments], place, environment)

        failures: dict[str, Any] = json.loads(ask("failures", "--json"))
        budget = ("failures", "--budget", str(BUDGET))
        return [
            Reading(command="threepio run -- pytest ...", text=run),
            Reading(command="threepio failures", text=ask("failures"), failures=failures),
            Reading(command=f"threepio {' '.join(budget)}", text=ask(*budget)),
        ]


def read_pytest(job: Job, python: Path, work: Path) -> list[Reading]:
    """Read what a quiet pytest prints."""
    return [_read_pytest(job, python, work, "-q")]


def read_pytest_lines(job: Job, python: Path, work: Path) -> list[Reading]:
    """Read what a quiet pytest prints with a line a failure."""
    return [_read_pytest(job, python, work, "-q", "--tb=line")]


def _read_pytest(job: Job, python: Path, work: Path, *options: str) -> Reading:
    place = _place(job, work)
    text = _output(
        [python, "-m", "pytest", *options, *_QUIET, *job.arguments], place, clean_environment() | _importing()
    )
    return Reading(command=f"pytest {' '.join(options)}", text=text)


def read_receptor(job: Job, python: Path, work: Path) -> list[Reading]:
    """Read what pytest-receptor prints; beyond ten causes it names a report, which is read too."""
    found = []
    for options in (["--receptor=llm"], ["--receptor=llm", "--receptor-full"]):
        place = _place(job, work)
        text = _output(
            [python, "-m", "pytest", *options, *_QUIET, *job.arguments], place, clean_environment() | _importing()
        )
        command = f"pytest {' '.join(options)}"
        found.append(Reading(command=command, text=text))
        report = re.search(rb"^full report: (.+)$", text, re.MULTILINE)
        if report is not None:
            whole = text + (place / os.fsdecode(report[1])).read_bytes()
            found.append(Reading(command=f"{command}, and the report it names", text=whole, files=1))
    return found


def read_old_tool(job: Job, python: Path, work: Path) -> list[Reading]:
    """Read what 3pio prints, then those of its reports that tell of a failed test."""
    place = _place(job, work)
    environment = clean_environment() | _importing()
    environment["PATH"] = f"{python.parent}{os.pathsep}{environment.get('PATH', os.defpath)}"
    arguments = ["-p", "no:threepio", *job.arguments]
    text = _output([require_command("3pio", python), "pytest", *arguments], place, environment)
    reports = [report.read_bytes() for report in sorted((place / ".3pio/runs").glob("*/reports/**/index.md"))]
    # Not by the status on top of a report: that of a file is PASS where its last class passed.
    failing = [report for report in reports if "\n- ✕ ".encode() in report]
    return [
        Reading(command="3pio pytest ...", text=text),
        Reading(
            command="3pio pytest ..., and its failing reports", text=b"".join([text, *failing]), files=len(failing)
        ),
    ]


TOOLS: Final[dict[str, Callable[[Job, Path, Path], list[Reading]]]] = {
    "threepio": read_threepio,
    "pytest": read_pytest,
    "pytest-lines": read_pytest_lines,
    "3pio": read_old_tool,
    "receptor": read_receptor,
}
PEERS: Final = {"3pio": "threepio-test-runner", "receptor": "pytest-receptor"}
"""Tools that are other distributions, in the environment of --peers."""


def _place(job: Job, work: Path) -> Path:
    """A directory with the job in it; its name is as long for every tool, because tracebacks may repeat it."""
    place = Path(tempfile.mkdtemp(dir=work))
    job.prepare(place)
    return place


def _importing() -> dict[str, str]:
    return {"PYTHONPATH": str(PROJECT)}  # for the plugin that replays


def _output(command: list[Any], place: Path, environment: dict[str, str]) -> bytes:
    """Return all that a command prints."""
    # A file, not a pipe: a daemon that inherited a pipe would keep it open.
    number, name = tempfile.mkstemp(prefix=f"{place.name}-", suffix=".out", dir=place.parent)
    with os.fdopen(number, "wb") as out:
        done = subprocess.run(
            command,
            cwd=place,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            check=False,
        )
    text = Path(name).read_bytes()
    if done.returncode not in (0, 1):
        told = text[-2000:].decode("utf-8", "replace")
        raise BenchmarkFailed(f"{' '.join(map(str, command))} ended with {done.returncode} and said:\n{told}")
    return text
