"""`python -m benchmarks memory`: the daemon's memory, whatever the length of a run and the number of runs."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any, Final

from benchmarks.bench import add_options, finish, work_directory
from benchmarks.emitting import WAITING, emit
from benchmarks.requirements import require_distributions
from benchmarks.service import running_service
from benchmarks.table import MIB, RSS_LIMIT, Check, aligned, render_checks
from benchmarks.usage import memory_of

HELP: Final = "the daemon's memory at 10^5, 10^6 and 10^7 events, and with eight runs at once"

FLAT: Final = 4 * MIB
"""How far the peaks may lie apart."""
MANY: Final = 8

DESCRIPTION: Final = f"""\
Emit runs of --sizes events through the real adapter, each to a new daemon, as fast as it takes them; then {MANY} runs at
once with as many events in sum as the smallest. Every test has a name of its own. The memory is the daemon's resident
set: the most it ever was (VmHWM), and what is left when it is quiet again (VmRSS).

Needs threepiod[daemon] in the environment of --python, and 600 bytes of disk an event. Exit code 0 if no peak is over
{RSS_LIMIT // MIB} MiB and the peaks lie within {FLAT // MIB} MiB, 1 if not, 2 if something is missing.
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memory:
    """One daemon's memory, in bytes.

    Attributes:
        events: emitted in all.
        runs: at once.
        start: before the first event.
        peak: the most so far.
        end: when it was quiet again.
    """

    events: int
    runs: int
    start: int
    peak: int
    end: int


def add_parser(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    add_options(parser, "memory", rounds=None)
    default = [10**5, 10**6, 10**7]
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=default, metavar="EVENTS", help="default: 10^5 10^6 10^7"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the benchmark.

    Raises:
        MissingRequirement: the environment lacks something.
    """
    versions = require_distributions(options.python, ["threepiod"])
    found = []
    for events, runs in [*((size, 1) for size in options.sizes), (min(options.sizes), MANY)]:
        found.append(measure(options.python, options.keep, events, runs))
        print(f"  {events:,} events in {runs} runs: {found[-1].peak / MIB:.1f} MiB", flush=True)
    rows = [["events", "runs at once", "MiB at start", "peak MiB", "MiB when quiet", ""]]
    rows += [
        [f"{one.events:,}", str(one.runs), *(f"{size / MIB:.1f}" for size in (one.start, one.peak, one.end)), ""]
        for one in found
    ]
    checks = checks_of(found)
    print(f"\n{aligned(rows)}\n\n{render_checks(checks)}", flush=True)
    results: dict[str, Any] = {
        "memory": [dataclasses.asdict(one) for one in found],
        "table": rows,
        "checks": [dataclasses.asdict(check) for check in checks],
    }
    return finish(options, versions, [results], [check.ok for check in checks])


def measure(python: Path, keep: Path | None, events: int, runs: int) -> Memory:
    """Emit to a new daemon."""
    with work_directory(keep, f"memory-{events}-{runs}") as work, running_service(python, work) as service:
        start = memory_of(service.pid)
        environment = service.environment | WAITING
        emit(python, environment, service.pid, "run", tests=events // runs, processes=runs)
        peak, end = memory_of(service.pid, "VmHWM"), memory_of(service.pid)
    return Memory(events=events, runs=runs, start=start, peak=peak, end=end)


def checks_of(found: list[Memory]) -> list[Check]:
    """The requirements."""
    peaks = [one.peak for one in found]
    return [
        Check(
            label="the daemon's highest peak",
            found=f"{max(peaks) / MIB:.1f} MiB",
            wanted=f"<= {RSS_LIMIT / MIB:g} MiB",
            ok=max(peaks) <= RSS_LIMIT,
        ),
        Check(
            label="from the lowest peak to the highest",
            found=f"{(max(peaks) - min(peaks)) / MIB:.1f} MiB",
            wanted=f"<= {FLAT / MIB:g} MiB",
            ok=max(peaks) - min(peaks) <= FLAT,
        ),
    ]
