"""Output files of commands, as `threepio run` holds them: a process does not see its own lock."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOLDS = "import fcntl, sys; file = open(sys.argv[1], 'a'); fcntl.lockf(file, fcntl.LOCK_EX); print(flush=True); input()"


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Have another process lock the file as long as the block runs; give its pid."""
    command = [sys.executable, "-c", HOLDS, str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "\n"
        yield process.pid
    finally:
        process.communicate("\n")
