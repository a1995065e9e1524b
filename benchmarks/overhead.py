"""`python -m benchmarks overhead`: what reporting costs the tested process, beside plain pytest and other reporters."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.bench import add_options, finish, work_directory
from benchmarks.instructions import counted, counting_tool
from benchmarks.requirements import require_command, require_distributions
from benchmarks.service import Service, clean_environment, running_service
from benchmarks.table import MIB, Check, aligned, render_checks
from benchmarks.usage import Spread, Usage, cpu_when_quiet, measured

HELP: Final = "CPU, time and memory of a suite of trivial tests, beside plain pytest and other reporters"

PLUGINS: Final = {
    "threepiod": ["threepio"],
    "pytest-reportlog": ["pytest_reportlog"],
    "pytest-json-report": ["pytest_jsonreport", "metadata"],
    "pytest-xdist": ["xdist", "xdist.looponfail"],
}
"""Each distribution's plugins; whoever does not use them has them blocked by name."""

CPU_LIMIT: Final = 0.03
"""Added to plain pytest's CPU and wall time, as a share, where a suite is large."""
LARGE: Final = 20_000
START_LIMIT_MS: Final = 50.0
"""Added CPU, start and end included, where a suite is small."""
SMALL: Final = (100, 1_000)
DAEMON_LIMIT: Final = 0.05
"""The daemon's CPU, as a share of the suite's."""
MEMORY_LIMIT: Final = 8 * MIB
"""Added to pytest's memory at `MEMORY_TESTS` tests or more."""
MEMORY_TESTS: Final = 200_000

DESCRIPTION: Final = f"""\
Run suites of trivial tests (a function with `pass`, 100 a file) plainly and with each reporter, one after the other, in an
order that rotates from round to round. Every variant has the plugins of the others blocked by name.

  plain      pytest alone                                daemon     threepiod, with a daemon that listens
  journal    threepiod, no daemon                        reportlog  pytest-reportlog's --report-log
  json       pytest-json-report's --json-report          junit      pytest's own --junitxml
  hooks      a plugin with our two hooks for each test, which do nothing: what pytest takes to call them
  3pio       the old tool (threepio-test-runner): CPU and memory of the pytest that it starts, and the time of all

CPU is user and system time of the tested process with its workers, as the kernel counts it when it is waited for. The
daemon's CPU is counted from pytest's start until the daemon is quiet again; one daemon serves all rounds of a size, and
is there, idle, while the other variants run.

Needs, in the environment of --python, what the chosen variants use: pytest, threepiod[daemon], pytest-reportlog,
pytest-json-report, threepio-test-runner; for -n pytest-xdist. An environment with nothing else is the best: all other
plugins in it are loaded by every variant. Memory alone: --sizes {MEMORY_TESTS} --variants daemon journal.

Exit code 0 if daemon and journal add at most {CPU_LIMIT:.0%} of CPU and of time at {LARGE} tests or more,
at most {START_LIMIT_MS:g} ms of CPU at 1,000 or fewer, at most 8 MiB of memory at {MEMORY_TESTS} or more,
and the daemon takes at most {DAEMON_LIMIT:.0%} of the suite's CPU; 1 if not; 2 if something is missing.
"""

FILE_TESTS: Final = 100
OURS: Final = ("daemon", "journal")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Where one measured run takes place.

    Attributes:
        python: of the environment.
        suite: the directory with the tests.
        work: a directory for what the run writes; it exists.
        service: the daemon.
        workers: of xdist; 0 is none.
    """

    python: Path
    suite: Path
    work: Path
    service: Service
    workers: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """A way to run the suite.

    Attributes:
        needs: distributions beside pytest.
        options: of pytest, given where it runs.
        environment: added to a clean one.
    """

    needs: list[str]
    options: Callable[[Place], list[str]]
    environment: Callable[[Place], dict[str, str]] = lambda _place: {}


VARIANTS: Final = {
    "plain": Variant(needs=[], options=lambda _: []),
    "daemon": Variant(needs=["threepiod"], options=lambda _: [], environment=lambda place: place.service.environment),
    "journal": Variant(
        needs=["threepiod"],
        options=lambda _: [],
        environment=lambda place: {
            "THREEPIO_STATE_DIR": str(place.work / "state"),
            "THREEPIO_SOCKET": str(place.work / "none"),
        },
    ),
    "hooks": Variant(
        needs=[],
        options=lambda _: ["-p", "benchmarks.empty_hooks"],
        environment=lambda _: {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)},
    ),
    "reportlog": Variant(
        needs=["pytest-reportlog"], options=lambda place: ["--report-log", str(place.work / "log.jsonl")]
    ),
    "json": Variant(
        needs=["pytest-json-report"],
        options=lambda place: ["--json-report", f"--json-report-file={place.work / 'report.json'}"],
    ),
    "junit": Variant(needs=[], options=lambda place: [f"--junitxml={place.work / 'junit.xml'}"]),
    "3pio": Variant(needs=["threepio-test-runner"], options=lambda _: []),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """One measured run.

    Attributes:
        size: tests of the suite.
        variant: name in `VARIANTS`.
        round: from 0.
        usage: of the tested process.
        daemon_cpu_s: of the daemon meanwhile and after it; None where it is not used.
    """

    size: int
    variant: str
    round: int
    usage: Usage
    daemon_cpu_s: float | None


def add_parser(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    add_options(parser, "overhead", rounds=9)
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[*SMALL, LARGE], metavar="TESTS", help="default: 100 1000 20000"
    )
    names = list(VARIANTS)
    parser.add_argument("--variants", nargs="+", choices=names, default=names, help="default: all; plain always runs")
    parser.add_argument("-n", dest="workers", type=int, default=0, metavar="N", help="xdist workers (default: none)")
    parser.add_argument(
        "--instructions", action="store_true", help="count instructions too, once a variant (slow without perf)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the benchmark.

    Raises:
        MissingRequirement: the environment lacks something.
    """
    names = [name for name in VARIANTS if name in options.variants or name == "plain"]
    needs = {need for name in names for need in VARIANTS[name].needs} | ({"pytest-xdist"} if options.workers else set())
    versions = require_distributions(options.python, ["pytest", "threepiod", *sorted(needs)])
    tool = counting_tool() if options.instructions else None
    results: list[dict[str, Any]] = []
    verdicts: list[bool | None] = []
    for size in options.sizes:
        with _place(options, size) as place:
            samples = measure(place, names, size, options.rounds)
            instructions = {name: count(tool, name, place) for name in names if name != "3pio"} if tool else {}
        rows, checks = rows_of(samples, instructions), checks_of(samples)
        workers = f" -n {options.workers}" if options.workers else ""
        print(f"\n{size:,} tests{workers}, {options.rounds} rounds\n{aligned(rows)}\n", flush=True)
        print(render_checks(checks), flush=True)
        verdicts += [check.ok for check in checks]
        results.append(
            {
                "size": size,
                "workers": options.workers,
                "samples": [dataclasses.asdict(sample) for sample in samples],
                "instructions": {"by": tool, **instructions},
                "table": rows,
                "checks": [dataclasses.asdict(check) for check in checks],
            }
        )
    return finish(options, versions, results, verdicts)


@contextmanager
def _place(options: argparse.Namespace, size: int) -> Iterator[Place]:
    with work_directory(options.keep, f"overhead-{size}") as work, running_service(options.python, work) as service:
        write_suite(work / "suite", size)
        yield Place(python=options.python, suite=work / "suite", work=work, service=service, workers=options.workers)


def write_suite(directory: Path, size: int) -> None:
    """Write a suite of `size` tests that do nothing."""
    directory.mkdir()
    (directory / "pytest.ini").write_text("[pytest]\n")
    for first in range(0, size, FILE_TESTS):
        tests = range(first, min(first + FILE_TESTS, size))
        text = "\n\n".join(f"def test_{number}():\n    pass\n" for number in tests)
        (directory / f"test_{first // FILE_TESTS:05}.py").write_text(text)


def measure(place: Place, names: list[str], size: int, rounds: int) -> list[Sample]:
    """Run every variant once unmeasured, for its files of bytecode; then all of them in every round."""
    for name in names:
        _run_once(place, name, "warm")
    samples = []
    for number in range(rounds):
        turn = number % len(names)
        for name in [*names[turn:], *names[:turn]]:
            before = cpu_when_quiet(place.service.pid) if name == "daemon" else 0.0
            usage = _run_once(place, name, str(number))
            after = cpu_when_quiet(place.service.pid) - before if name == "daemon" else None
            samples.append(Sample(size=size, variant=name, round=number, usage=usage, daemon_cpu_s=after))
        print(f"  {size:,} tests: round {number + 1} of {rounds}", flush=True)
    return samples


def _run_once(place: Place, name: str, number: str) -> Usage:
    command, cwd, environment = _command(place, name, number)
    if name != "3pio":
        return measured(command, cwd, environment)
    whole = measured(command, cwd, environment)
    child = Usage(**json.loads((cwd / "usage.json").read_text()))
    return dataclasses.replace(child, wall_s=whole.wall_s)


def count(tool: str, name: str, place: Place) -> int:
    """Instructions of one run of a variant."""
    command, cwd, environment = _command(place, name, "counted")
    return counted(tool, command, cwd, environment)


def _command(place: Place, name: str, number: str) -> tuple[list[Any], Path, dict[str, str]]:
    """Return how a variant is run: the command, a new empty directory, the environment."""
    variant = VARIANTS[name]
    own = dataclasses.replace(place, work=place.work / f"{name}-{number}")
    cwd = own.work / "cwd"
    cwd.mkdir(parents=True)
    used = {*variant.needs, *(["pytest-xdist"] if place.workers else [])}
    blocked = [plugin for owner, plugins in PLUGINS.items() if owner not in used for plugin in plugins]
    arguments = ["-q", "-p", "no:cacheprovider", "-c", str(place.suite / "pytest.ini")]
    arguments += [part for plugin in blocked for part in ("-p", f"no:{plugin}")]
    arguments += ["-n", str(place.workers)] if place.workers else []
    arguments += [*variant.options(own), str(place.suite)]
    environment = clean_environment() | variant.environment(own)
    if name != "3pio":
        return [place.python, "-m", "pytest", *arguments], cwd, environment
    environment["PATH"] = (
        f"{_pytest_of_old_tool(own.work, place.python)}{os.pathsep}{environment.get('PATH', os.defpath)}"
    )
    return [require_command("3pio", place.python), "pytest", *arguments], cwd, environment


def _pytest_of_old_tool(work: Path, python: Path) -> Path:
    """Make a directory with the `pytest` that the old tool is to start: it writes down what the real one took."""
    directory = work / "bin"
    directory.mkdir()
    script = directory / "pytest"
    script.write_text(
        f"""#!{python} -IS
import json, os, sys, time
begin = time.perf_counter()
pid = os.posix_spawn({str(python)!r}, [{str(python)!r}, "-m", "pytest", *sys.argv[1:]], os.environ)
_, status, usage = os.wait4(pid, 0)
found = dict(wall_s=time.perf_counter() - begin, cpu_s=usage.ru_utime + usage.ru_stime, peak_rss=usage.ru_maxrss * 1024)
with open("usage.json", "w") as file:
    json.dump(found, file)
sys.exit(os.waitstatus_to_exitcode(status))
"""
    )
    script.chmod(0o700)
    return directory


def _of(samples: list[Sample], name: str, number: Callable[[Sample], float]) -> Spread:
    return Spread.of([number(sample) for sample in samples if sample.variant == name])


def _cpu(sample: Sample) -> float:
    return sample.usage.cpu_s


def _wall(sample: Sample) -> float:
    return sample.usage.wall_s


def _memory(sample: Sample) -> float:
    return float(sample.usage.peak_rss)


def rows_of(samples: list[Sample], instructions: dict[str, int]) -> list[list[str]]:
    """The variants side by side: medians with quartiles, and the ratio of medians to plain."""
    rows = [
        [
            "",
            "CPU ms (quartiles)",
            "/ plain",
            "added ms",
            "wall ms (quartiles)",
            "/ plain",
            "added MiB",
            "instr. M",
            "/ plain",
        ]
    ]
    cpu, wall, memory = (_of(samples, "plain", number) for number in (_cpu, _wall, _memory))
    for name in dict.fromkeys(sample.variant for sample in sorted(samples, key=_order)):
        own_cpu, own_wall = _of(samples, name, _cpu), _of(samples, name, _wall)
        own_memory = _of(samples, name, _memory)
        rows.append(
            [
                name,
                _milliseconds(own_cpu),
                f"{own_cpu.median / cpu.median:.3f}",
                f"{1000 * (own_cpu.median - cpu.median):,.1f}",
                _milliseconds(own_wall),
                f"{own_wall.median / wall.median:.3f}",
                f"{(own_memory.median - memory.median) / MIB:.1f}",
                f"{instructions[name] / 1e6:,.1f}" if name in instructions else "",
                f"{instructions[name] / instructions['plain']:.4f}" if name in instructions else "",
            ]
        )
    return rows


def _order(sample: Sample) -> int:
    return list(VARIANTS).index(sample.variant)


def _milliseconds(spread: Spread) -> str:
    return f"{1000 * spread.median:,.0f} ({1000 * spread.low:,.0f}-{1000 * spread.high:,.0f})"


def checks_of(samples: list[Sample]) -> list[Check]:
    """The requirements of one size."""
    size = samples[0].size
    checks = []
    for name in OURS:
        if not any(sample.variant == name for sample in samples):
            continue
        for label, number in (("CPU", _cpu), ("wall time", _wall)):
            ours, plain = _of(samples, name, number).median, _of(samples, "plain", number).median
            found = f"{ours / plain - 1:+.2%}, {1000 * (ours - plain):,.1f} ms"
            wanted, ok = "", None
            if size >= LARGE:
                wanted, ok = f"<= {CPU_LIMIT:.0%}", ours <= plain * (1 + CPU_LIMIT)
            elif size <= max(SMALL) and number is _cpu:
                wanted, ok = f"<= {START_LIMIT_MS:g} ms", 1000 * (ours - plain) <= START_LIMIT_MS
            checks.append(Check(label=f"{name}: {label} added to plain", found=found, wanted=wanted, ok=ok))
        added = _of(samples, name, _memory).median - _of(samples, "plain", _memory).median
        judged = size >= MEMORY_TESTS
        checks.append(
            Check(
                label=f"{name}: memory added to plain",
                found=f"{added / MIB:.1f} MiB",
                wanted=f"<= {MEMORY_LIMIT / MIB:g} MiB" if judged else "",
                ok=added <= MEMORY_LIMIT if judged else None,
            )
        )
    daemon = [sample for sample in samples if sample.daemon_cpu_s is not None]
    if daemon:
        # Summed: the kernel tells it in steps of 10 ms.
        share = sum(sample.daemon_cpu_s or 0.0 for sample in daemon) / sum(map(_cpu, daemon))
        large = size >= LARGE
        checks.append(
            Check(
                label="the daemon's CPU, of the suite's",
                found=f"{share:.1%}",
                wanted=f"<= {DAEMON_LIMIT:.0%}" if large else "",
                ok=share <= DAEMON_LIMIT if large else None,
            )
        )
    return checks
