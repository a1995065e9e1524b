"""`python -m benchmarks agent`: a coding agent's session with a suite that takes longer than one of its commands may."""

from __future__ import annotations

import argparse
import signal
import subprocess
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.bench import add_options, finish, work_directory
from benchmarks.measure import BenchmarkFailed
from benchmarks.requirements import require_command, require_distributions
from benchmarks.service import running_service
from benchmarks.table import Check, render_checks

HELP: Final = "an agent's session: start a long suite, wait for the first failure, look, fix, rerun, diff"

TIME_LIMIT_S: Final = 2.0
"""Seconds that a command may take, waiting for the suite left out."""
LINES_LIMIT: Final = 60
STARTED_LIMIT_S: Final = 60.0

DESCRIPTION: Final = f"""\
Start a suite of 12 minutes in the background, wait for its first failure, look at it, mend the code while the suite goes on,
run again what failed, and compare. Prints each command with what it printed, its lines and its time. Required: at most
{TIME_LIMIT_S:.0f} s - a wait apart - and {LINES_LIMIT} lines a command, and that each says what the agent has to know.

Needs, in the environment named by --python: pytest and threepiod[daemon]. Takes half a minute: the suite is stopped then.
"""

_SHOP: Final = """\
def price(net, discount):
    return net * (100 - discount) // 10{zeros}
"""
_TESTS: Final = """\
import time

import pytest

import shop


@pytest.mark.parametrize("number", range({before}))
def test_order(number):
    time.sleep(1)


def test_discount():
    assert shop.price(200, 10) == 180


@pytest.mark.parametrize("number", range({after}))
def test_delivery(number):
    time.sleep(1)
"""
_BEFORE, _AFTER = 5, 715


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a command gave.

    Attributes:
        words: the command, without the program.
        exit_code: its exit code.
        text: what it printed, standard error included.
        seconds: from its start to its end.
    """

    words: str
    exit_code: int
    text: str
    seconds: float

    @property
    def lines(self) -> int:
        return len(self.text.splitlines())


def add_parser(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    add_options(parser, "agent", rounds=1)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the benchmark.

    Raises:
        MissingRequirement: the environment lacks something.
        BenchmarkFailed: the suite did not start, or did not end when it was stopped.
    """
    versions = require_distributions(options.python, ["pytest", "threepiod"])
    checks: list[Check] = []
    for number in range(1, options.rounds + 1):
        with work_directory(options.keep, f"agent-{number}") as work:
            found = _session(options.python, work)
        print("\n" + render_checks(found), flush=True)
        checks += found
    results = [{"label": check.label, "found": check.found, "ok": check.ok} for check in checks]
    return finish(options, versions, results, [check.ok for check in checks])


def _session(python: Path, work: Path) -> list[Check]:
    threepio = require_command("threepio", python)
    project = work / "project"
    project.mkdir()
    (project / "pytest.ini").write_text("[pytest]\n")
    (project / "shop.py").write_text(_SHOP.format(zeros=""))
    (project / "test_shop.py").write_text(_TESTS.format(before=_BEFORE, after=_AFTER))
    with running_service(python, work) as service:
        environment = {**service.environment, "PYTHONDONTWRITEBYTECODE": "1"}

        def ask(*words: str) -> Answer:
            begin = time.monotonic()
            done = subprocess.run(
                [threepio, *words],
                cwd=project,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=120,
                check=False,
            )
            answer = Answer(
                words=" ".join(words),
                exit_code=done.returncode,
                text=done.stdout,
                seconds=time.monotonic() - begin,
            )
            print(f"$ threepio {answer.words}\n{textwrap.indent(answer.text, '  ')}", end="")
            print(f"  -- exit code {answer.exit_code}, {answer.lines} lines, {answer.seconds:.1f} s\n", flush=True)
            return answer

        command: list[Any] = [
            threepio,
            "run",
            "--",
            python,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:randomly",
        ]
        print(f"$ threepio run -- python {' '.join(map(str, command[4:]))} &\n", flush=True)
        with (work / "suite.out").open("w+") as output:
            suite = subprocess.Popen(
                command,
                cwd=project,
                env={**environment, "THREEPIO_RUN_ID": "long"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
            try:
                checks = _steps(ask, project)
                suite.send_signal(signal.SIGINT)
                begin = time.monotonic()
                suite.wait(STARTED_LIMIT_S)
                ended = time.monotonic() - begin
            except subprocess.TimeoutExpired as error:
                raise BenchmarkFailed("the suite did not end when it was stopped") from error
            finally:
                suite.kill()
                suite.wait()
            output.seek(0)
            text = output.read()
        print(f"$ kill -INT %1\n{textwrap.indent(text, '  ')}", flush=True)
        said = "interrupted" in text and suite.returncode == 2
        checks.append(
            Check(
                label="stopped: verdict",
                found=f"exit code {suite.returncode}, {ended:.1f} s, {len(text.splitlines())} lines",
                wanted="pytest's 2, said",
                ok=said and len(text.splitlines()) <= LINES_LIMIT,
            )
        )
    return checks


def _steps(ask: Any, project: Path) -> list[Check]:
    waited = ask("wait", "long", "--until", "first-failure", "--max", "1m")
    failures = ask("failures", "long")
    shown = ask("show", "test_discount", "long")
    (project / "shop.py").write_text(_SHOP.format(zeros="0"))
    again = ask("rerun", "long", "--failed")
    compared = ask("diff", "long")
    status = ask("status", "long")
    return [
        _check(waited, 1, ("1 failed", "running"), waits=True),
        _check(failures, 1, ("assert 1800 == 180", "test_shop.py::test_discount")),
        _check(shown, 1, ("shop.price(200, 10) == 180",)),
        _check(again, 0, ("passed", "1 of 1 tests")),
        _check(compared, 0, ("1 fixed", "test_shop.py::test_discount")),
        _check(status, 1, ("running", "in flight: test_shop.py::test_delivery")),
    ]


def _check(answer: Answer, exit_code: int, words: tuple[str, ...], *, waits: bool = False) -> Check:
    lacking = [word for word in words if word not in answer.text]
    is_quick = waits or answer.seconds <= TIME_LIMIT_S
    found = f"exit code {answer.exit_code}, {answer.seconds:.1f} s, {answer.lines} lines"
    return Check(
        label=f"threepio {answer.words}",
        found=found + (f", without {lacking}" if lacking else ""),
        wanted=f"exit code {exit_code}, " + ("" if waits else f"<= {TIME_LIMIT_S:.0f} s, ") + f"<= {LINES_LIMIT} lines",
        ok=answer.exit_code == exit_code and is_quick and answer.lines <= LINES_LIMIT and not lacking,
    )
