"""`python -m benchmarks latency`: how long an answer takes, idle and under full ingest, with many runs stored."""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
from pathlib import Path
from typing import Any, Final

from benchmarks.bench import add_options, finish, work_directory
from benchmarks.emitting import WAITING, emitters, go
from benchmarks.measure import BenchmarkFailed
from benchmarks.requirements import PROJECT, require_command, require_distributions
from benchmarks.scale import fill
from benchmarks.service import Service, running_service
from benchmarks.table import Check, aligned, render_checks
from benchmarks.usage import Spread, measured

HELP: Final = "p50 and p99 of every question, idle and under full ingest, with many runs stored; and of the command"

LIMITS_MS: Final = {"status": (2.0, 20.0)}
"""p50 and p99 inside the daemon."""
OTHER_LIMITS_MS: Final = (20.0, 100.0)
"""The same for every other question."""
COMMAND_LIMIT: Final = 1.2
"""CPU of `threepio status` / that of an empty typer command."""

DESCRIPTION: Final = f"""\
Store --earlier runs of --tests tests (one in 200 fails), then ask each question --asks times, in turn: with the daemon
idle, and while --emitters processes emit as fast as their adapters can. `status` is timed inside the daemon. `failures`,
`show`, `diff`, `slow` and `history` are timed around the command's own function, called in a process that lives: with
connecting, reading and writing out JSON, without the start of a process.

Then `threepio status` as a command, in turn with a typer command that has the same options and does nothing.

Needs threepiod[daemon] in the environment of --python. Exit code 0 if p50 and p99 are at most {LIMITS_MS["status"]} ms for
status and {OTHER_LIMITS_MS} ms for the others, and the command takes at most {COMMAND_LIMIT} times the CPU of the empty
one; 1 if not; 2 if something is missing.
"""

EMPTY_COMMAND: Final = '''
from typing import Annotated
import typer

app = typer.Typer()

@app.callback()
def main() -> None:
    """Nothing."""

@app.command()
def status(
    run: Annotated[str, typer.Argument(help="The run.")] = "latest",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it until it is over.")] = False,
) -> None:
    """Say nothing."""

app()
'''


def add_parser(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    add_options(parser, "latency", rounds=None)
    parser.add_argument("--earlier", type=int, default=20, metavar="RUNS", help="default: %(default)s")
    parser.add_argument("--tests", type=int, default=10_000, metavar="N", help="of a run (default: %(default)s)")
    parser.add_argument("--asks", type=int, default=100, metavar="N", help="of each question (default: %(default)s)")
    parser.add_argument("--emitters", type=int, default=1, metavar="N", help="default: %(default)s")
    parser.add_argument("--starts", type=int, default=20, metavar="N", help="of each command (default: %(default)s)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the benchmark.

    Raises:
        MissingRequirement: the environment lacks something.
    """
    versions = require_distributions(options.python, ["threepiod", "typer"])
    with work_directory(options.keep, "latency") as work, running_service(options.python, work) as service:
        fill(options.python, service, options.earlier, options.tests)
        latest = f"earlier-{options.earlier}-0" + (f"-{options.earlier}" if options.earlier > 1 else "")
        times = {"idle": ask(options, service, latest)}
        busy = ["--tests", str(10**9), "--names", str(10**6)]
        with emitters(options.python, service.environment | WAITING, "busy", options.emitters, busy) as started:
            go(started)
            times["full ingest"] = ask(options, service, latest)
            if any(process.poll() is not None for process in started):
                raise BenchmarkFailed("an emitting process ended too soon")
        commands = start_commands(options, service, latest, work)
    rows, checks = rows_of(times), checks_of(times, commands)
    print(f"\n{aligned(rows)}\n\n{render_checks(checks)}", flush=True)
    results: dict[str, Any] = {
        "earlier": options.earlier,
        "tests": options.tests,
        "times_ms": times,
        "command_cpu_s": commands,
        "table": rows,
        "checks": [dataclasses.asdict(check) for check in checks],
    }
    return finish(options, versions, [results], [check.ok for check in checks])


Times = dict[str, list[float]]


def ask(options: argparse.Namespace, service: Service, run_id: str) -> Times:
    """Ask from a process of its own; the milliseconds of every answer by question."""
    command = [options.python, "-m", "benchmarks.asker", "--run", run_id, "--asks", str(options.asks)]
    environment = service.environment | {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkFailed(f"asking failed: {done.stderr.strip()[-2000:]}")
    found: Times = json.loads(done.stdout)
    return found


def start_commands(options: argparse.Namespace, service: Service, run_id: str, work: Path) -> Times:
    """Seconds of CPU of `threepio status` and of the empty command, in turn."""
    (work / "empty.py").write_text(EMPTY_COMMAND)
    (work / "cwd").mkdir()
    # An installed command imports its module from compiled bytecode; so does the empty one.
    (work / "start.py").write_text("import empty\n")
    threepio = require_command("threepio", options.python)
    commands: dict[str, list[Any]] = {
        "threepio status": [threepio, "status", run_id],
        "empty command": [options.python, work / "start.py", "status", run_id],
    }
    found: Times = {name: [] for name in commands}
    for number in range(options.starts + 1):
        for name, command in commands.items():
            usage = measured(command, work / "cwd", service.environment, accepted=(0, 1))
            if number:  # the first makes the bytecode
                found[name].append(usage.cpu_s)
    return found


def quantile(numbers: list[float], share: float) -> float:
    """The smallest number that at least this share of them does not exceed."""
    ordered = sorted(numbers)
    return ordered[max(0, -int(-len(ordered) * share // 1) - 1)]


def rows_of(times: dict[str, Times]) -> list[list[str]]:
    """p50, p99 and the slowest of every question."""
    rows = [["ms", *(f"{when}: {what}" for when in times for what in ("p50", "p99", "slowest")), ""]]
    for name in next(iter(times.values())):
        cells = [
            f"{number:.1f}"
            for found in times.values()
            for number in (quantile(found[name], 0.5), quantile(found[name], 0.99), max(found[name]))
        ]
        rows.append([name, *cells, ""])
    return rows


def checks_of(times: dict[str, Times], commands: Times) -> list[Check]:
    """The requirements."""
    checks = []
    for when, found in times.items():
        for name, numbers in found.items():
            limits = LIMITS_MS.get(name, OTHER_LIMITS_MS)
            p50, p99 = quantile(numbers, 0.5), quantile(numbers, 0.99)
            checks.append(
                Check(
                    label=f"{name}, {when}: p50 / p99",
                    found=f"{p50:.1f} / {p99:.1f} ms",
                    wanted=f"<= {limits[0]:g} / {limits[1]:g} ms",
                    ok=p50 <= limits[0] and p99 <= limits[1],
                )
            )
    ours, empty = (Spread.of(commands[name]) for name in ("threepio status", "empty command"))
    ratio = ours.median / empty.median
    checks.append(
        Check(
            label="threepio status / an empty command, CPU",
            found=f"{ratio:.2f} ({1000 * ours.median:.0f} / {1000 * empty.median:.0f} ms)",
            wanted=f"<= {COMMAND_LIMIT:g}",
            ok=ratio <= COMMAND_LIMIT,
        )
    )
    return checks
