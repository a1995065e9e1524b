"""`python -m benchmarks buffers`: the adapter's credit against memory and time blocked, at full speed and a slow daemon."""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.bench import add_options, finish, work_directory
from benchmarks.emitting import WAITING, Emitted, emit
from benchmarks.measure import BenchmarkFailed
from benchmarks.requirements import PROJECT, require_command, require_distributions
from benchmarks.service import clean_environment
from benchmarks.table import MIB, aligned
from benchmarks.usage import memory_of

HELP: Final = "credit in events and bytes against memory and time blocked"

EVENTS: Final = (100, 1_000, 10_000, 100_000)
BYTES: Final = (64 * 1024, 256 * 1024, MIB, 2 * MIB, 4 * MIB, 16 * MIB)
SLOW: Final = 1_000
"""Events a second of the slowed daemon."""

DESCRIPTION: Final = f"""\
Emit through the real adapter to daemons with every pair of credits - THREEPIO_EVENT_BUFFER_SIZE in events; bytes, a
constant of the product that is changed for this - each with a new daemon:

  full speed  --events events, the adapter waits as long as it takes; then the same with the default budget, where what
              does not fit is spilled
  slowed      --slow-events events, each commit slowed down to {SLOW:,} events a second; with the default budget

Time blocked is the adapter's own account. Needs threepiod[daemon] in the environment of --python. There is no
requirement: the table is for choosing the defaults (10,000 events, 2 MiB). Exit code 1 if a run failed, 2 if something is
missing.
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tried:
    """One pair of credits under one load.

    Attributes:
        load: `full speed`, `full speed, budget`, `slowed`.
        buffer_events: credit in events.
        buffer_bytes: credit in bytes.
        emitted: what came of it.
        daemon_peak_rss: bytes.
    """

    load: str
    buffer_events: int
    buffer_bytes: int
    emitted: Emitted
    daemon_peak_rss: int


def add_parser(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    add_options(parser, "buffers", rounds=None)
    parser.add_argument("--buffer-events", type=int, nargs="+", default=list(EVENTS), metavar="N")
    parser.add_argument("--buffer-bytes", type=int, nargs="+", default=list(BYTES), metavar="BYTES")
    parser.add_argument("--events", type=int, default=200_000, metavar="N", help="default: %(default)s")
    parser.add_argument("--slow-events", type=int, default=20_000, metavar="N", help="default: %(default)s")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the benchmark.

    Raises:
        MissingRequirement: the environment lacks something.
    """
    versions = require_distributions(options.python, ["threepiod"])
    loads: dict[str, tuple[int, dict[str, str]]] = {
        "full speed": (options.events, WAITING),
        "full speed, budget": (options.events, {}),
        "slowed": (options.slow_events, {"BENCH_EVENTS_PER_S": str(SLOW)}),
    }
    found: list[Tried] = []
    for load, (events, more) in loads.items():
        for buffer_events in options.buffer_events:
            for size in options.buffer_bytes:
                credit = {"THREEPIO_EVENT_BUFFER_SIZE": str(buffer_events), "BENCH_WINDOW": str(size)}
                with work_directory(options.keep, f"buffers-{len(found)}") as work:
                    emitted, peak = measure(options.python, work, credit | more, events)
                found.append(
                    Tried(
                        load=load,
                        buffer_events=buffer_events,
                        buffer_bytes=size,
                        emitted=emitted,
                        daemon_peak_rss=peak,
                    )
                )
                print(f"  {load}: {buffer_events:,} events, {size // 1024:,} KiB", flush=True)
    rows = rows_of(found)
    print(f"\n{aligned(rows)}", flush=True)
    results: dict[str, Any] = {"tried": [dataclasses.asdict(one) for one in found], "table": rows}
    return finish(options, versions, [results], [])


def measure(python: Path, work: Path, changes: dict[str, str], events: int) -> tuple[Emitted, int]:
    """Emit to a new daemon with these changes; return what came of it and the daemon's peak memory."""
    with altered_daemon(python, work, changes) as (pid, environment):
        emitted = emit(python, environment, pid, "run", tests=events)
        return emitted, memory_of(pid, "VmHWM")


@contextmanager
def altered_daemon(python: Path, work: Path, changes: dict[str, str]) -> Iterator[tuple[int, dict[str, str]]]:
    """A daemon with changed constants, its process id, and the environment that adapters need; stopped on the way out."""
    with tempfile.TemporaryDirectory(prefix="threepio-bench-") as directory:
        places = {"THREEPIO_STATE_DIR": str(work / "state"), "THREEPIO_SOCKET": f"{directory}/socket"}
        environment = clean_environment() | {"PYTHONPATH": str(PROJECT), "THREEPIO": "require"} | places | changes
        command: list[Any] = [python, "-m", "benchmarks.altered"]
        process = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        try:
            if process.stdout.readline() != "ready\n":
                raise BenchmarkFailed(f"the daemon ended with {process.wait()}")
            yield process.pid, environment
            stop: list[Any] = [require_command("threepiod", python), "stop"]
            subprocess.run(stop, env=environment, check=True, stdout=subprocess.DEVNULL)
        finally:
            process.kill()
            process.communicate()


def rows_of(found: list[Tried]) -> list[list[str]]:
    """One row a pair of credits and load."""
    rows = [["load", "events", "KiB", "events/s", "blocked ms", "spilled", "adapter MiB", "daemon MiB", ""]]
    for one in found:
        emitted = one.emitted
        rows.append(
            [
                one.load,
                f"{one.buffer_events:,}",
                f"{one.buffer_bytes // 1024:,}",
                f"{emitted.events / emitted.emitted_s:,.0f}",
                f"{emitted.blocked_ms:,.0f}",
                f"{emitted.spilled:,}",
                f"{emitted.peak_rss / MIB:.1f}",
                f"{one.daemon_peak_rss / MIB:.1f}",
                "",
            ]
        )
    return rows
