"""A process of our own group that does nothing: a signal that reaches it, too, was sent to the whole group.

Whoever sends to the group - a shell with job control, timeout(1), a CI system that cancels a job - has reached the
command already, and to a second SIGINT pytest does not answer with a summary.
"""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path
from typing import Final

WAIT_S: Final = 0.05
"""How long the rest of the group may take to be reached; the kernel does it in one go."""
AGAIN_S: Final = 1.0
"""Signals of one kind within this time are taken for one: timeout(1) sends its own to us first, and then to the group."""


class Bystander:
    """Ask it of the signals that are blocked where it is made: they stay pending with it."""

    def __init__(self) -> None:
        """Begin to stand by; where there is no cat(1), each signal is taken to be for us alone."""
        self._seen_at = 0.0
        self._process = _start()

    def was_reached(self, signal_number: int) -> bool:
        """Return whether a signal that we got has reached the bystander as well."""
        until = time.monotonic() + WAIT_S
        while self._process is not None:
            if self._is_pending(self._process.pid, signal_number):
                self._seen_at = time.monotonic()
                return True
            if time.monotonic() >= until:
                break
            time.sleep(WAIT_S / 10)
        return False

    def look(self) -> None:
        """Be ready for the next signal: of a pending one it could not be told whether it came again."""
        if self._seen_at and time.monotonic() - self._seen_at > AGAIN_S:
            self.close()
            self._seen_at = 0.0
            self._process = _start()

    def close(self) -> None:
        """End the bystander."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    @staticmethod
    def _is_pending(pid: int, signal_number: int) -> bool:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return False
        found = re.search(r"^ShdPnd:\s*([0-9a-f]+)$", status, re.MULTILINE)  # proc(5)
        return found is not None and bool(int(found[1], 16) & 1 << (signal_number - 1))


def _start() -> subprocess.Popen[bytes] | None:
    try:  # it ends by itself when its input does, which is with us
        return subprocess.Popen(
            ["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/"
        )
    except OSError:
        return None
