"""`python -m benchmarks scale`: what an event costs in long runs and beside many earlier ones; disk; recovery."""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.bench import add_options, finish, work_directory
from benchmarks.emitting import WAITING, Emitted, emit, emitters, go, told
from benchmarks.measure import BenchmarkFailed
from benchmarks.replay import recording_of
from benchmarks.requirements import PROJECT, require_command, require_distributions
from benchmarks.service import Service, running_service
from benchmarks.table import Check, aligned, render_checks

HELP: Final = (
    "cost of an event from 10^4 to 10^7 of them and beside 1,000 earlier runs; bytes on disk; recovery, rebuild"
)

FLAT: Final = 0.20
"""How far the highest cost may lie over the lowest."""
RECOVERY_LIMIT_S: Final = 6.0
"""For the interrupted journal of the recording, read at a daemon's start or by `threepiod rebuild`."""

DESCRIPTION: Final = f"""\
Three parts, each with a new daemon; choose with --parts.

  events   runs of --sizes events, as many of a size as make at least --least events, emitted as fast as the real adapter
           can. The cost of an event is the daemon's CPU, until it is quiet again. Every test of a run has its own name; the
           runs of a size repeat the same names.
  earlier  runs of --probe events, three and the median of them, in a store with one run and again with --earlier runs of
           --tests tests in it; then bytes on disk a test: the store, and the journals once they are compressed.
  recovery a journal without its end, of a replayed recording (--recording) or else of --probe events: the time from a
           daemon's start until all of it is stored, and that of `threepiod rebuild`.

Needs threepiod[daemon] in the environment of --python, pytest for the recording, and 600 bytes of disk an event.

Exit code 0 if the costs lie within {FLAT:.0%} in each of the first two parts, and recovery and rebuild of a recording
take at most {RECOVERY_LIMIT_S:g} s; 1 if not; 2 if something is missing.
"""

PARTS: Final = ("events", "earlier", "recovery")
PROBES: Final = 3
_STORING_S: Final = 3600.0


def add_parser(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    add_options(parser, "scale", rounds=None)
    default = [10**4, 10**5, 10**6, 10**7]
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="default: all")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=default, metavar="EVENTS", help="default: 10^4 ... 10^7"
    )
    parser.add_argument("--least", type=int, default=200_000, metavar="EVENTS", help="default: %(default)s")
    parser.add_argument("--probe", type=int, default=200_000, metavar="EVENTS", help="default: %(default)s")
    parser.add_argument("--earlier", type=int, default=1_000, metavar="RUNS", help="default: %(default)s")
    parser.add_argument(
        "--tests", type=int, default=10_000, metavar="N", help="of an earlier run (default: %(default)s)"
    )
    parser.add_argument("--recording", type=Path, metavar="FILE", help="as for replay; only for `recovery`")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the benchmark.

    Raises:
        MissingRequirement: the environment lacks something, or there is no such recording.
    """
    needs = ["threepiod", *(["pytest"] if options.recording else [])]
    versions = require_distributions(options.python, needs)
    parts = {"events": _events, "earlier": _earlier, "recovery": _recovery}
    results: list[dict[str, Any]] = []
    verdicts: list[bool | None] = []
    for name in options.parts:
        rows, checks, data = parts[name](options)
        print(f"\n{name}\n{aligned(rows)}\n\n{render_checks(checks)}", flush=True)
        verdicts += [check.ok for check in checks]
        results.append({"part": name, "table": rows, "checks": [dataclasses.asdict(check) for check in checks], **data})
    return finish(options, versions, results, verdicts)


Part = tuple[list[list[str]], list[Check], dict[str, Any]]

_COSTS: Final = ["", "runs", "daemon CPU us/event", "adapter CPU us/event", "events/s", ""]


def _cost(label: str, runs: int, one: Emitted) -> list[str]:
    return [label, f"{runs:,}", f"{one.daemon_us:.2f}", f"{one.adapter_us:.2f}", f"{one.per_s:,.0f}", ""]


def _events(options: argparse.Namespace) -> Part:
    rows, costs, data = [_COSTS], [], []
    for size in options.sizes:
        runs = max(1, options.least // size)
        with work_directory(options.keep, f"scale-{size}") as work, running_service(options.python, work) as service:
            one = emit(options.python, service.environment | WAITING, service.pid, "run", tests=size, runs=runs)
        print(f"  {runs} of {size:,} events: {one.daemon_us:.2f} us", flush=True)
        rows.append(_cost(f"{size:,} events", runs, one))
        costs.append(one.daemon_us)
        data.append({"size": size, "runs": runs, **dataclasses.asdict(one)})
    return rows, [flat("cost of an event, highest / lowest", costs)], {"emitted": data}


def _earlier(options: argparse.Namespace) -> Part:
    rows, costs, data = [_COSTS], [], []
    with work_directory(options.keep, "scale-earlier") as work, running_service(options.python, work) as service:
        environment = service.environment | WAITING
        fill(options.python, service, 1, options.tests)
        for runs in (0, options.earlier):
            if runs:
                fill(options.python, service, runs, options.tests)
            probes = []
            for number in range(PROBES):
                name = f"probe-{runs}-{number}"
                probes.append(
                    emit(options.python, environment, service.pid, name, tests=options.probe, names=options.tests)
                )
            one = sorted(probes, key=lambda probe: probe.daemon_us)[PROBES // 2]
            rows.append(_cost(f"beside {runs:,} runs of {options.tests:,} tests", PROBES, one))
            costs.append(one.daemon_us)
            data += [{"earlier": runs, **dataclasses.asdict(probe)} for probe in probes]
        service.stop()
        tests = 2 * PROBES * options.probe + (options.earlier + 1) * options.tests
        disk = on_disk(work / "state", tests)
    checks = [flat("cost of an event, with earlier runs / without", costs)]
    checks += [Check(label=label, found=f"{size:.1f}", wanted="", ok=None) for label, size in disk.items()]
    return rows, checks, {"emitted": data, "bytes_per_test": disk}


def fill(python: Path, service: Service, runs: int, tests: int) -> None:
    """Store earlier runs of the same tests, with some that fail."""
    environment = service.environment | WAITING
    emit(python, environment, service.pid, f"earlier-{runs}", tests=tests, runs=runs, failing=200)


def on_disk(state_dir: Path, tests: int) -> dict[str, float]:
    """Bytes a test: the store, the journals as they lie there, and all of them compressed as the daemon does."""
    store = sum(path.stat().st_size for path in state_dir.glob("store.sqlite3*"))
    journals = sorted((state_dir / "journals").glob("*.jsonl*"))
    plain = [path for path in journals if path.suffix == ".jsonl"]
    compressed = sum(path.stat().st_size for path in journals if path.suffix == ".gz")
    for path in plain:
        with path.open("rb") as source, gzip.open(path.with_suffix(".bench.gz"), "wb", compresslevel=6) as target:
            shutil.copyfileobj(source, target)
        compressed += path.with_suffix(".bench.gz").stat().st_size
    return {
        "bytes a test in the store": store / tests,
        "bytes a test in compressed journals": compressed / tests,
        "  journals that were not compressed yet": float(len(plain)),
    }


def flat(label: str, costs: list[float]) -> Check:
    """Whether costs lie within the limit."""
    over = max(costs) / min(costs) - 1
    return Check(label=label, found=f"+{over:.0%}", wanted=f"<= {FLAT:.0%}", ok=over <= FLAT)


def _recovery(options: argparse.Namespace) -> Part:
    with work_directory(options.keep, "scale-recovery") as work:
        with running_service(options.python, work) as service:  # for its places; the run does not see it
            journals = service.journals
        environment = service.environment | {"THREEPIO": "auto"}
        if options.recording:
            _replay(options, work, environment)
        else:
            with emitters(options.python, environment, "cut", 1, ["--tests", options.probe]) as started:
                go(started)
                told(started[0])
        journal = next(journals.glob("*.jsonl"))
        events = cut(journal)
        begin = time.perf_counter()
        stored_s, run_s = _stored(options.python, environment, journal.stem, events, begin)
        begin = time.perf_counter()
        subprocess.run(
            [require_command("threepiod", options.python), "rebuild"], env=environment, check=True, capture_output=True
        )
        rebuilt_s = time.perf_counter() - begin
    rows = [["", "events", "s", ""]]
    rows.append(
        ["interrupted journal, from the daemon's start until all is stored", f"{events:,}", f"{stored_s:.2f}", ""]
    )
    rows.append(["  of it until the daemon is ready", "", f"{run_s:.2f}", ""])
    rows.append(["rebuild", f"{events:,}", f"{rebuilt_s:.2f}", ""])
    limit = RECOVERY_LIMIT_S if options.recording else None
    checks = [_within("an interrupted journal stored", stored_s, limit), _within("rebuild", rebuilt_s, limit)]
    return rows, checks, {"events": events, "stored_s": stored_s, "ready_s": run_s, "rebuild_s": rebuilt_s}


def _within(label: str, seconds: float, limit: float | None) -> Check:
    wanted = f"<= {limit:g} s" if limit else ""
    return Check(label=label, found=f"{seconds:.2f} s", wanted=wanted, ok=seconds <= limit if limit else None)


def _replay(options: argparse.Namespace, work: Path, environment: dict[str, str]) -> None:
    """Play the recording without a daemon."""
    (work / "pytest.ini").write_text("[pytest]\n")
    (work / "cwd").mkdir()
    command: list[Any] = [options.python, "-m", "pytest", "-c", work / "pytest.ini", "--rootdir", work / "cwd", "-q"]
    command += ["--no-summary", "-p", "benchmarks.replay_plugin", "--replay", recording_of(options.recording)]
    own = environment | {"PYTHONPATH": str(PROJECT)}
    subprocess.run(command, cwd=work / "cwd", env=own, stdout=subprocess.DEVNULL, check=False)


def cut(journal: Path) -> int:
    """Take the end from a journal, as if its process had been killed in the middle of the last line; return its events."""
    text = journal.read_bytes()
    end = text.rfind(b"\n", 0, -1) + 1
    if not text.endswith(b"\n") or b'"runComplete"' not in text[end:]:
        raise BenchmarkFailed(f"{journal} does not end with runComplete")
    journal.write_bytes(text[: end + 40])
    return text.count(b"\n") - 1


def _stored(python: Path, environment: dict[str, str], run_id: str, events: int, begin: float) -> tuple[float, float]:
    """Start a daemon; return the seconds until it has stored all of a run, and until it was ready. It is stopped then."""
    from threepio_client.errors import NoSuchRun
    from threepio_client.query import QueryClient

    daemon = require_command("threepiod", python)
    subprocess.run([daemon, "start"], env=environment, check=True, stdout=subprocess.DEVNULL)
    ready = time.perf_counter() - begin
    try:
        with QueryClient.connect(Path(environment["THREEPIO_SOCKET"])) as client:
            while time.perf_counter() - begin < _STORING_S:
                try:
                    if client.ask("status", {"run": run_id})["events"]["stored"] >= events:
                        return time.perf_counter() - begin, ready
                except NoSuchRun:
                    pass  # not seen yet
                time.sleep(0.02)
        raise BenchmarkFailed(f"run {run_id} was not stored within {_STORING_S:g} s")
    finally:
        subprocess.run([daemon, "stop"], env=environment, check=True, stdout=subprocess.DEVNULL)
