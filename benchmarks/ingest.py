"""`python -m benchmarks ingest`: events a second from real adapters into the store, beside a bare loop of inserts."""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sqlite3
import subprocess
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Final

from benchmarks.bench import add_options, finish, work_directory
from benchmarks.emitting import WAITING, Emitted, emit, emitters, go, told
from benchmarks.measure import BenchmarkFailed
from benchmarks.requirements import MissingRequirement, require_distributions
from benchmarks.service import Service, running_service
from benchmarks.table import Check, aligned, render_checks
from benchmarks.usage import Spread

HELP: Final = "events a second from one and from eight adapters until acked, beside a bare loop of inserts"

LIMIT: Final = 100_000
"""Events a second."""

DESCRIPTION: Final = f"""\
Let one process, then eight at once, emit --events events in all through the real adapter, as fast as it takes them, to a
daemon; the time ends when the last one is stored, synced and acked. Adapters wait as long as it takes, so nothing is
spilled. Beside it, in the same rounds, the rows that are then in the store, put into an empty one of the same schema by
a bare `executemany` loop with the same pragmas, a commit for every {{batch:,}} rows: no socket, no JSON, no journal.

--profile FILE lets py-spy watch the daemon during one more run from one process, prints where its time goes and keeps
the stacks (one a line, as flame graphs take them).

Needs threepiod[daemon] in the environment of --python. Exit code 0 if one and eight reach {LIMIT:,} events a second, 1 if
not, 2 if something is missing.
"""

BATCH: Final = 5_000
"""Rows of one commit of the bare loop: what the daemon's own batches have at full speed, about."""
MANY: Final = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bare:
    """The bare loop of inserts.

    Attributes:
        rows: of all tables.
        seconds: of wall time.
        cpu_s: user and system time.
    """

    rows: int
    seconds: float
    cpu_s: float


def add_parser(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.description = DESCRIPTION.format(batch=BATCH)
    add_options(parser, "ingest", rounds=5)
    parser.add_argument("--events", type=int, default=400_000, metavar="N", help="in all (default: %(default)s)")
    parser.add_argument(
        "--reports",
        choices=("beside", "off"),
        default="beside",
        help="the daemon's report trees (default: %(default)s)",
    )
    parser.add_argument("--profile", type=Path, metavar="FILE", help="profile the daemon; needs py-spy")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the benchmark.

    Raises:
        MissingRequirement: the environment lacks something.
    """
    versions = require_distributions(options.python, ["threepiod"])
    spy = None
    if options.profile:
        spy = shutil.which("py-spy")
        if spy is None:
            raise MissingRequirement("--profile needs py-spy; run: pip install py-spy")
    found: dict[int, list[Emitted]] = {1: [], MANY: []}
    loops: list[Bare] = []
    settings = {"THREEPIO_REPORTS": options.reports}
    for number in range(options.rounds):
        with (
            work_directory(options.keep, f"ingest-{number}") as work,
            running_service(options.python, work, settings) as service,
        ):
            for processes in (1, MANY) if number % 2 else (MANY, 1):
                found[processes].append(_emit(options, service, processes))
            service.stop()
            loops.append(bare_loop(work / "state", work / "bare.db"))
        print(f"  round {number + 1} of {options.rounds}", flush=True)
    rows, checks = rows_of(found, loops), checks_of(found, loops)
    print(f"\n{aligned(rows)}\n\n{render_checks(checks)}", flush=True)
    profile = _profile(options, spy) if spy else []
    print("\n".join(profile), flush=True)
    results = {
        "reports": options.reports,
        "emitted": {str(processes): [dataclasses.asdict(one) for one in ones] for processes, ones in found.items()},
        "bare": [dataclasses.asdict(loop) for loop in loops],
        "table": rows,
        "checks": [dataclasses.asdict(check) for check in checks],
        "profile": profile,
    }
    return finish(options, versions, [results], [check.ok for check in checks])


def _emit(options: argparse.Namespace, service: Service, processes: int) -> Emitted:
    environment = service.environment | WAITING
    name = f"by-{processes}"
    emitted = emit(
        options.python, environment, service.pid, name, tests=options.events // processes, processes=processes
    )
    if emitted.spilled or emitted.unacked:
        raise BenchmarkFailed(f"{emitted.spilled} events were spilled, {emitted.unacked} not acked")
    return emitted


def bare_loop(state_dir: Path, target: Path) -> Bare:
    """Put the rows of a store into a new one of the same schema, in the order of the events."""
    with closing(sqlite3.connect(state_dir / "store.sqlite3")) as source:
        schema = source.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'")
        statements = [sql for (sql,) in schema]
        tables = {
            "tests": source.execute("SELECT * FROM tests ORDER BY id").fetchall(),
            "results": source.execute("SELECT * FROM results ORDER BY run, seq").fetchall(),
            "events": source.execute("SELECT * FROM events ORDER BY run, seq").fetchall(),
        }
    with closing(sqlite3.connect(target, isolation_level=None)) as db:
        db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -2048;")
        for statement in statements:
            db.execute(statement)
        begin, cpu = time.perf_counter(), time.process_time()
        for table, rows in tables.items():
            for first in range(0, len(rows), BATCH):
                part = rows[first : first + BATCH]
                db.execute("BEGIN")
                db.executemany(f"INSERT INTO {table} VALUES ({','.join('?' * len(part[0]))})", part)
                db.execute("COMMIT")
        seconds, cpu_s = time.perf_counter() - begin, time.process_time() - cpu
    events = len(tables["results"]) + len(tables["events"])
    return Bare(rows=events, seconds=seconds, cpu_s=cpu_s)


def rows_of(found: dict[int, list[Emitted]], loops: list[Bare]) -> list[list[str]]:
    """Medians with quartiles of one process, of eight, and of the bare loop."""
    rows = [["", "events/s (quartiles)", "daemon CPU us/event", "adapter CPU us/event", "blocked ms", ""]]
    for processes, ones in found.items():
        rate = Spread.of([one.per_s for one in ones])
        rows.append(
            [
                f"{processes} adapter{'s' if processes > 1 else ''}",
                f"{rate.median:,.0f} ({rate.low:,.0f}-{rate.high:,.0f})",
                f"{Spread.of([one.daemon_us for one in ones]).median:.2f}",
                f"{Spread.of([one.adapter_us for one in ones]).median:.2f}",
                f"{Spread.of([one.blocked_ms for one in ones]).median:,.0f}",
                "",
            ]
        )
    rate = Spread.of([loop.rows / loop.seconds for loop in loops])
    cpu = Spread.of([1e6 * loop.cpu_s / loop.rows for loop in loops])
    said = f"{rate.median:,.0f} ({rate.low:,.0f}-{rate.high:,.0f})"
    rows.append(["bare executemany", said, f"{cpu.median:.2f}", "", "", ""])
    return rows


def checks_of(found: dict[int, list[Emitted]], loops: list[Bare]) -> list[Check]:
    """The requirements."""
    bare = Spread.of([1e6 * loop.cpu_s / loop.rows for loop in loops]).median
    checks = []
    for processes, ones in found.items():
        rate = Spread.of([one.per_s for one in ones]).median
        ratio = Spread.of([one.daemon_us for one in ones]).median / bare
        who = "one adapter" if processes == 1 else f"{processes} adapters in sum"
        checks += [
            Check(label=f"events a second, {who}", found=f"{rate:,.0f}", wanted=f">= {LIMIT:,}", ok=rate >= LIMIT),
            Check(label="  the daemon's CPU / the bare loop's", found=f"{ratio:.2f}", wanted="", ok=None),
        ]
    return checks


def _profile(options: argparse.Namespace, spy: str) -> list[str]:
    """One more run from one process, watched."""
    settings = {"THREEPIO_REPORTS": options.reports}
    with (
        work_directory(options.keep, "ingest-profile") as work,
        running_service(options.python, work, settings) as service,
    ):
        arguments = ["--tests", options.events]
        with emitters(options.python, service.environment | WAITING, "profiled", 1, arguments) as started:
            command = [spy, "record", "--pid", str(service.pid), "--rate", "500", "--format", "raw", "--nonblocking"]
            command += ["--duration", "100000", "--output", str(options.profile)]
            watching = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(1)  # it says nowhere that it has begun; the daemon is idle meanwhile
            go(started)
            told(started[0])
            watching.send_signal(2)  # what was seen is written
            watching.wait()
    return summary(options.profile.read_text())


def summary(stacks: str, lines: int = 25) -> list[str]:
    """Where the time goes, of stacks `a;b;c count`: by function itself, and with what it calls."""
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        names = [f"{frame.rpartition(':')[0]})" for frame in stack.split(";")]  # without the line's number
        own[names[-1]] += int(count)
        for name in set(names):
            whole[name] += int(count)
    total = own.total() or 1
    said = ["", "where the daemon's time goes, itself:"]
    said += [f"  {count / total:6.1%}  {name}" for name, count in own.most_common(lines)]
    said += ["with what it calls:"]
    return said + [f"  {count / total:6.1%}  {name}" for name, count in whole.most_common(lines)]
