"""Counted instructions of a command: exact where times are noise. By the processor's counter, else by simulation."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import BenchmarkFailed
from benchmarks.requirements import MissingRequirement
from benchmarks.usage import measured


def counting_tool() -> str:
    """`perf` where it can count instructions here, else `callgrind`: some fifty times slower.

    Raises:
        MissingRequirement: there is neither.
    """
    if shutil.which("perf"):
        said = subprocess.run(
            ["perf", "stat", "-x,", "-e", "instructions:u", "true"], capture_output=True, text=True, check=False
        )
        if re.search(r"^\d+,,instructions", said.stderr, re.MULTILINE):
            return "perf"
    if shutil.which("valgrind"):
        return "callgrind"
    raise MissingRequirement("--instructions needs perf with counters of the processor, or valgrind")


def counted(tool: str, command: Sequence[Any], cwd: Path, environment: dict[str, str]) -> int:
    """Run a command to its end and return its instructions in user space, with those of the processes that it starts.

    Raises:
        BenchmarkFailed: it failed, or nothing was counted.
    """
    said = cwd.with_name(f"{cwd.name}.instructions")
    prefix = (
        ["perf", "stat", "-x,", "-e", "instructions:u", "-o", said, "--"]
        if tool == "perf"
        else [
            "valgrind",
            "--tool=callgrind",
            "--trace-children=yes",
            "--callgrind-out-file=/dev/null",
            f"--log-file={said}.%p",
        ]
    )
    # With random hashes the same program takes another number of instructions each time.
    measured([*prefix, *command], cwd, environment | {"PYTHONHASHSEED": "0"})
    texts = [path.read_text() for path in said.parent.glob(f"{said.name}*")]  # of callgrind one a process
    found = [re.search(r"^(\d+),,instructions|Collected : (\d+)", text, re.MULTILINE) for text in texts]
    if not found or None in found:
        raise BenchmarkFailed(f"{tool} did not count every process; see {said}*")
    return sum(int(match[1] or match[2]) for match in found if match)
