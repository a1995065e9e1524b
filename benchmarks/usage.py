"""What processes take: one that is run to its end, or one that is there already; and how such numbers are summed up."""

from __future__ import annotations

import dataclasses
import os
import re
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.measure import BenchmarkFailed, end_of, waited

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_LOOK_S: Final = 1.0
_QUIET_S: Final = 4.0
"""Longer than pages wait after the last event, where events came as fast as they could."""
_QUIET_TRIES: Final = 1_800
"""Half an hour: 100,000 pages of a tree are written after the last event, at full speed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Usage:
    """What one process took, with the children that it waited for.

    Attributes:
        wall_s: from its start to its end, in seconds.
        cpu_s: user and system time, in seconds.
        peak_rss: bytes; that of the largest of its processes, and never less than the measuring process had.
    """

    wall_s: float
    cpu_s: float
    peak_rss: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spread:
    """Numbers of several rounds.

    Attributes:
        median: of all.
        low: the lower quartile.
        high: the upper quartile.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Spread:
        """Sum up one number or more."""
        if len(numbers) < 2:
            return cls(median=numbers[0], low=numbers[0], high=numbers[0])
        low, median, high = statistics.quantiles(numbers, n=4, method="inclusive")
        return cls(median=median, low=low, high=high)


def measured(command: Sequence[Any], cwd: Path, environment: dict[str, str], accepted: Sequence[int] = (0,)) -> Usage:
    """Run a command to its end and return what it took; its output goes to a file beside `cwd`.

    Raises:
        BenchmarkFailed: it ended with an exit code that is not accepted.
    """
    output = cwd.with_name(f"{cwd.name}.out")
    exit_code, wall_s, usage = waited(command, cwd, environment, output)
    if exit_code not in accepted:
        raise BenchmarkFailed(f"{' '.join(map(str, command))} ended with {exit_code} and said:\n{end_of(output)}")
    return Usage(wall_s=wall_s, cpu_s=usage.ru_utime + usage.ru_stime, peak_rss=usage.ru_maxrss * 1024)


def cpu_of(pid: int) -> float:
    """User and system time of a process that lives, in seconds; without its children. proc(5), `stat`."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def cpu_when_quiet(pid: int) -> float:
    """The same, once it has stopped rising: after the work that follows a run."""
    before, quiet_s = cpu_of(pid), 0.0
    for _ in range(_QUIET_TRIES):
        time.sleep(_LOOK_S)
        now = cpu_of(pid)
        quiet_s = (
            quiet_s + _LOOK_S if now - before <= 3 / _TICKS else 0.0
        )  # the daemon looks around four times a second
        if quiet_s >= _QUIET_S:
            return now
        before = now
    raise BenchmarkFailed(f"process {pid} is busy without end")


def memory_of(pid: int, name: str = "VmRSS") -> int:
    """A process's memory in bytes: `VmRSS` now, `VmHWM` at most so far. proc(5), `status`."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    if found is None:
        raise BenchmarkFailed(f"/proc/{pid}/status has no {name}")
    return int(found[1]) * 1024
