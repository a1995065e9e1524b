"""`python -m benchmarks trees`: what writing report trees costs the daemon, and whether every page is right."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks.bench import add_options, finish, work_directory
from benchmarks.measure import BenchmarkFailed
from benchmarks.requirements import PROJECT, MissingRequirement, require_distributions
from benchmarks.service import running_service
from benchmarks.table import Check, render_checks
from benchmarks.usage import cpu_of, cpu_when_quiet, memory_of
from threepio_client.archive import Archive
from threepio_client.paths import StateDir

HELP: Final = "cost of writing report trees"

DESCRIPTION: Final = """\
Emit the events of a kept run through the real adapter at the rate of a replay, with report trees and without, at the same
time to two new daemons: a machine that is slower for some minutes is so for both. Measures each daemon's processor time
until it is quiet, its peak memory, and the time from the end of the run to the complete tree; then checks every page of the
tree against the store. Each round leaves all its files until the last is done: some 500 MB of the recorded pandas run.

Needs threepiod in the environment named by --python, and a state directory with one run, as `replay --keep` leaves it.
Exit code 0 if trees cost at most 10 % more processor time (median of the rounds' ratios), are complete within 1 s, the
daemon keeps to 64 MiB and no page is wrong; 1 if not, 2 if something is missing.
"""

LIMIT: Final = 0.10
COMPLETE_S: Final = 1.0
MEMORY: Final = 64 * 2**20
_SETTINGS: Final = ("off", "beside")
_RUN: Final = "trees"
_PATIENCE_S: Final = 120.0


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One run.

    Attributes:
        reports: the setting.
        cpu_s: the daemon's processor time.
        peak_rss: the daemon's memory, bytes.
        complete_s: from the end of the run to the complete tree; None without one.
        tests: how many tests the tree has, each checked.
    """

    reports: str
    cpu_s: float
    peak_rss: int
    complete_s: float | None = None
    tests: int = 0


def add_parser(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    add_options(parser, "trees", rounds=5)
    parser.add_argument("--state", type=Path, required=True, metavar="DIR", help="a state directory with one run")
    parser.add_argument("--rate", type=float, default=3600, metavar="N", help="events a second (default: %(default)g)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the benchmark.

    Raises:
        MissingRequirement: there is no run, or the environment lacks something.
    """
    versions = require_distributions(options.python, ["threepiod"])
    state_dir = StateDir(options.state.resolve())
    runs = Archive(state_dir).run_ids()
    if not runs:
        raise MissingRequirement(f"no run in {state_dir.path}: make one with python -m benchmarks replay --keep DIR")
    found: list[Measured] = []
    # Nothing is removed between rounds: ext4 makes a file slowly where many were removed within five minutes.
    with work_directory(options.keep, "trees") as directory:
        for number in range(options.rounds):
            work = directory / str(number)
            work.mkdir()
            with ThreadPoolExecutor(len(_SETTINGS)) as both:
                measured = both.map(partial(_measure, options, state_dir, runs[0], work), _SETTINGS)
            for one in measured:
                found.append(one)
                print(_told(one), flush=True)
    checks = _checks(found)
    print(render_checks(checks))
    results: list[dict[str, Any]] = [asdict(one) for one in found]
    return finish(options, versions, results, [check.ok for check in checks])


def _told(one: Measured) -> str:
    text = f"{one.reports:<7} {one.cpu_s:6.2f} s, {one.peak_rss / 2**20:.1f} MiB"
    if one.complete_s is None:
        return text
    return f"{text}, complete after {one.complete_s:.3f} s, {one.tests} tests right"


def _measure(options: argparse.Namespace, kept: StateDir, run_id: str, directory: Path, setting: str) -> Measured:
    work = directory / setting
    rootdir = work / "rootdir"
    rootdir.mkdir(parents=True)
    with running_service(options.python, work, {"THREEPIO_REPORTS": setting}) as service:
        before = cpu_of(service.pid)
        command = [options.python, "-m", "benchmarks.emit_run", kept.path, run_id, rootdir, str(options.rate)]
        environment = service.environment | {"THREEPIO_RUN_ID": _RUN, "PYTHONPATH": str(PROJECT)}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise BenchmarkFailed(f"the emitting process ended with {done.returncode}")
        ended = float(done.stdout)
        mark = service.journals.parent / "reports" / f"{_RUN}.written"
        complete_s = None
        while setting != "off" and complete_s is None:
            if mark.exists():
                complete_s = time.time() - ended
            elif time.time() - ended > _PATIENCE_S:
                raise BenchmarkFailed(f"no tree was complete within {_PATIENCE_S:g} s")
            time.sleep(0.005)
        cpu_s = cpu_when_quiet(service.pid) - before
        peak = memory_of(service.pid, "VmHWM")
    tests = 0
    if complete_s is not None:
        from tests.trees import check  # the one checker of trees; not for benchmarks that do without

        try:
            tests = check(StateDir(service.journals.parent), _RUN)
        except AssertionError as error:
            raise BenchmarkFailed(f"a page is wrong: {error}") from error
    return Measured(reports=setting, cpu_s=cpu_s, peak_rss=peak, complete_s=complete_s, tests=tests)


def _checks(found: list[Measured]) -> list[Check]:
    without, with_trees = ([one.cpu_s for one in found if one.reports == setting] for setting in _SETTINGS)
    ratios = sorted(trees / none for trees, none in zip(with_trees, without, strict=True))
    more = statistics.median(ratios) - 1
    slowest = max(one.complete_s for one in found if one.complete_s is not None)
    peak = max(one.peak_rss for one in found)
    return [
        _check(
            "more processor time with trees, median of rounds",
            f"{100 * more:.1f} % ({100 * ratios[0] - 100:.1f} to {100 * ratios[-1] - 100:.1f})",
            f"<= {100 * LIMIT:.0f} %",
            more <= LIMIT,
        ),
        _check(
            "from runComplete to a complete tree", f"{slowest:.3f} s", f"<= {COMPLETE_S:g} s", slowest <= COMPLETE_S
        ),
        _check("daemon's peak memory", f"{peak / 2**20:.1f} MiB", f"<= {MEMORY / 2**20:.0f} MiB", peak <= MEMORY),
    ]


def _check(label: str, found: str, wanted: str, ok: bool) -> Check:
    return Check(label=label, found=found, wanted=wanted, ok=ok)
