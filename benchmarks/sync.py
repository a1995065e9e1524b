"""`python -m benchmarks sync`: what the sync policies cost a run without a daemon, also on slow disks."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
from pathlib import Path
from typing import Any, Final

from benchmarks.bench import add_options, finish, work_directory
from benchmarks.measure import BenchmarkFailed
from benchmarks.replay import recording_of
from benchmarks.requirements import PROJECT, require_distributions
from benchmarks.service import clean_environment
from benchmarks.table import Check, render_checks

HELP: Final = "cost of the sync policies without a daemon"

DESCRIPTION: Final = """\
Replay a recorded suite once without a daemon, which leaves its journal; then emit the events of that journal through
the real adapter, as fast as it takes them, under each sync policy: `group` and `exit` alternating, all events; `always`
for the first --always events, against the same events under `exit`. All of that on this disk as it is, and with
milliseconds added to every sync. A loop without a test between two events is the hardest case: nothing else takes time.

Needs pytest and threepiod in the environment named by --python, and a recording made with `pytest --report-log FILE`.
Exit code 0 if `group` costs at most 2 % of wall time everywhere (ratio of medians, or of the time inside syncs to all
time where the ratio is within the noise of the machine), 1 if not, 2 if something is missing.
"""

LIMIT: Final = 0.02
"""What `group` may cost of the wall time."""


def add_parser(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    add_options(parser, "sync", rounds=7)
    parser.add_argument("--recording", type=Path, metavar="FILE", help="as for replay")
    parser.add_argument("--limit", type=int, metavar="N", help="replay only the first N tests")
    parser.add_argument("--always", type=int, default=1000, metavar="N", help="events under `always` (default: 1000)")
    parser.add_argument(
        "--delays",
        type=float,
        nargs="+",
        default=[0, 2, 20],
        metavar="MS",
        help="added to every sync (default: 0 2 20)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the benchmark.

    Raises:
        MissingRequirement: there is no recording, or the environment lacks something.
    """
    recording = recording_of(options.recording)
    versions = require_distributions(options.python, ["pytest", "threepiod"])
    checks: list[Check] = []
    results: list[dict[str, Any]] = []
    with work_directory(options.keep, "sync") as work:
        journal = _replayed_journal(options, recording, work)
        for delay in options.delays:
            found = _rounds(options, journal, work, delay)
            results += found
            checks += _checks(found, delay)
            print(render_checks(checks[-5:]), flush=True)
    return finish(options, versions, results, [check.ok for check in checks])


def _replayed_journal(options: argparse.Namespace, recording: Path, work: Path) -> Path:
    (work / "pytest.ini").write_text("[pytest]\n")
    (work / "cwd").mkdir()
    limit = [] if options.limit is None else ["--replay-limit", str(options.limit)]
    chosen = ["-c", str(work / "pytest.ini"), "--rootdir", str(work / "cwd"), "-q", "--no-summary"]
    command: list[str | Path] = [options.python, "-m", "pytest", *chosen]
    command += ["-p", "benchmarks.replay_plugin", "--replay", recording, *limit]
    done = subprocess.run(
        command, env=_environment(work / "recorded", "exit"), cwd=work / "cwd", capture_output=True, check=False
    )
    journals = list((work / "recorded" / "state" / "journals").glob("*.jsonl"))
    if len(journals) != 1:
        raise BenchmarkFailed(f"the replay left {len(journals)} journals (exit code {done.returncode})")
    return journals[0]


def _rounds(options: argparse.Namespace, journal: Path, work: Path, delay: float) -> list[dict[str, Any]]:
    found = []
    kinds = [("exit", 0), ("group", 0), ("exit", options.always), ("always", options.always)]
    for number in range(options.rounds):
        for policy, count in kinds if number % 2 else reversed(kinds):
            if count and number >= 3:
                continue  # the slow one: three rounds are enough, its cost is no matter of per cent
            place = work / f"{delay}-{number}-{policy}-{count}"
            measured = _measure(options.python, journal, count or 1 << 40, delay, place, policy)
            found.append({"policy": policy, "delay_ms": delay, "first": count, "round": number, **measured})
    return found


def _measure(python: Path, journal: Path, count: int, delay: float, place: Path, policy: str) -> dict[str, Any]:
    command: list[str | Path] = [python, "-m", "benchmarks.emit_stream", journal, str(count), str(delay)]
    done = subprocess.run(
        command, env=_environment(place, policy), cwd=PROJECT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchmarkFailed(f"emitting under {policy} failed: {done.stderr.strip()[-500:]}")
    for path in (place / "state" / "journals").iterdir():
        path.unlink()  # 60 MB each
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def _environment(place: Path, policy: str) -> dict[str, str]:
    return {
        **clean_environment(),
        "PYTHONPATH": str(PROJECT),
        "THREEPIO_STATE_DIR": str(place / "state"),
        "THREEPIO_SOCKET": str(place / "none"),
        "THREEPIO_SYNC": policy,
    }


def _checks(found: list[dict[str, Any]], delay: float) -> list[Check]:
    def of(policy: str, first: bool, name: str) -> list[float]:
        return [row[name] for row in found if row["policy"] == policy and bool(row["first"]) is first]

    def median(policy: str, first: bool, name: str) -> float:
        return statistics.median(of(policy, first, name))

    walls = {policy: of(policy, False, "wall") for policy in ("exit", "group")}
    ratio = statistics.median(walls["group"]) / statistics.median(walls["exit"])
    inside = statistics.median(
        sync / wall for sync, wall in zip(of("group", False, "sync_s"), walls["group"], strict=True)
    )
    once = statistics.median(sync / wall for sync, wall in zip(of("exit", False, "sync_s"), walls["exit"], strict=True))
    at = f"+{delay:g} ms a sync"
    noise = max(walls["exit"]) / min(walls["exit"]) - 1
    always = median("always", True, "wall") / median("exit", True, "wall")
    return [
        Check(
            label=f"{at}: group / exit, wall time, medians of {len(walls['exit'])}",
            found=f"{ratio:.3f} (exit alone varies by {noise:.0%})",
            wanted=f"<= {1 + LIMIT}",
            ok=ratio <= 1 + LIMIT or (inside - once <= LIMIT and ratio - 1 <= noise),
        ),
        Check(
            label=f"{at}: group, part of the time inside syncs, less that of the last one",
            found=f"{inside - once:.2%} "
            f"({median('group', False, 'syncs'):.0f} syncs in {median('group', False, 'wall'):.1f} s)",
            wanted=f"<= {LIMIT:.0%}",
            ok=inside - once <= LIMIT,
        ),
        Check(
            label=f"{at}: group / exit, CPU time",
            found=f"{median('group', False, 'cpu') / median('exit', False, 'cpu'):.3f}",
            wanted="",
            ok=None,
        ),
        Check(
            label=f"{at}: always / exit, wall time, first {max(row['first'] for row in found)} lines",
            found=f"{always:.1f}",
            wanted="",
            ok=None,
        ),
        Check(
            label=f"{at}: always, one sync",
            found=f"{1000 * median('always', True, 'sync_s') / median('always', True, 'syncs'):.2f} ms",
            wanted="",
            ok=None,
        ),
    ]
