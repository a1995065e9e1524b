"""Made-up runs emitted by processes with real adapters, all at once, and what that took of them and of the daemon."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.measure import BenchmarkFailed
from benchmarks.requirements import PROJECT
from benchmarks.usage import cpu_of, cpu_when_quiet

WAITING: Final = {"THREEPIO_BLOCK_MS": "inf", "THREEPIO_BLOCK_TOTAL_MS": "inf"}
"""For adapters that wait for the daemon as long as it takes: nothing is spilled."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Emitted:
    """What came of processes that emitted at once.

    Attributes:
        events: of all of them.
        seconds: from the first event to the last one's ack.
        emitted_s: from the first event until the last `emit` of an event returned.
        cpu_s: of all of them.
        blocked_ms: how long they waited for the daemon in all.
        spilled: events that went by the journal only.
        unacked: events that were not acked when they left.
        peak_rss: of the largest of them, bytes.
        daemon_cpu_s: of the daemon, until the last one's end.
        daemon_after_s: more CPU of the daemon, until it was quiet.
    """

    events: int
    seconds: float
    emitted_s: float
    cpu_s: float
    blocked_ms: float
    spilled: int
    unacked: int
    peak_rss: int
    daemon_cpu_s: float
    daemon_after_s: float

    @property
    def per_s(self) -> float:
        """Events a second, in sum."""
        return self.events / self.seconds

    @property
    def daemon_us(self) -> float:
        """Microseconds of the daemon's CPU an event, with the work that follows."""
        return 1e6 * (self.daemon_cpu_s + self.daemon_after_s) / self.events

    @property
    def adapter_us(self) -> float:
        """Microseconds of the adapter's CPU an event, with the making of the payload."""
        return 1e6 * self.cpu_s / self.events


@contextmanager
def emitters(
    python: Path, environment: dict[str, str], name: str, processes: int, arguments: list[Any]
) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that are ready to emit, and wait for a line on their standard input."""
    started: list[subprocess.Popen[str]] = []
    try:
        for number in range(processes):
            command: list[Any] = [python, "-m", "benchmarks.stream", "--run", f"{name}-{number}", *map(str, arguments)]
            own = environment | {"PYTHONPATH": str(PROJECT)}
            process = subprocess.Popen(
                command, cwd=PROJECT, env=own, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            started.append(process)
        for process in started:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise BenchmarkFailed(f"an emitting process ended with {process.wait()} before it began")
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def go(processes: list[subprocess.Popen[str]]) -> None:
    """Let them begin."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()


def told(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for the end of one, and return what it says.

    Raises:
        BenchmarkFailed: it failed.
    """
    assert process.stdout is not None
    line = process.stdout.readline()
    code = process.wait()
    if code or not line:
        raise BenchmarkFailed(f"an emitting process ended with {code}")
    found: dict[str, Any] = json.loads(line)
    return found


def emit(
    python: Path,
    environment: dict[str, str],
    pid: int,
    name: str,
    *,
    tests: int,
    processes: int = 1,
    runs: int = 1,
    names: int | None = None,
    failing: int = 0,
) -> Emitted:
    """Let processes emit at once, each `runs` runs of `tests` tests; `pid` is the daemon's.

    Raises:
        BenchmarkFailed: one of them failed.
    """
    arguments = ["--tests", tests, "--runs", runs, "--failing", failing, *(["--names", names] if names else [])]
    with emitters(python, environment, name, processes, arguments) as started:
        before = cpu_of(pid)
        go(started)
        found = [told(process) for process in started]
        after = cpu_of(pid)
    begin = min(one["begin"] for one in found)
    return Emitted(
        events=sum(one["events"] for one in found),
        seconds=max(one["end"] for one in found) - begin,
        emitted_s=max(one["emitted"] for one in found) - begin,
        cpu_s=sum(one["cpu_s"] for one in found),
        blocked_ms=sum(one["blocked_ms"] for one in found),
        spilled=sum(one["spilled"] for one in found),
        unacked=sum(one["unacked"] for one in found),
        peak_rss=max(one["peak_rss"] for one in found),
        daemon_cpu_s=after - before,
        daemon_after_s=cpu_when_quiet(pid) - after,
    )
