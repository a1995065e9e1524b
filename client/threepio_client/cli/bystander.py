"""A process of our own group that does nothing: a signal that reaches it, too, was sent to the whole group.

Whoever sends to the group - a shell with job control, timeout(1), a CI system that cancels a job - has reached the
command already, and to a second SIGINT pytest does not answer with a summary.
"""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Final

WAIT_S: Final = 0.05
"""How long the rest of the group may take to be reached; the kernel does it in one go."""
_STEP_S: Final = 0.002


class Bystander:
    """Ask it of each signal that is blocked where it is made: it stays pending with the bystander."""

    def __init__(self) -> None:
        """Begin to stand by; where there is no cat(1), each signal is taken to be for us alone."""
        self._process = _start()

    def was_reached(self, number: int) -> bool:
        """Return whether a signal that we got has reached the bystander as well.

        Who sends to us and then to our group, as timeout(1) does, has sent once: what came with it is taken away from us.
        """
        if not self._has(number):
            return False
        time.sleep(_STEP_S)  # until all of the group are reached
        while number in signal.sigpending():
            signal.sigwait([number])
        self.close()  # of a signal that is pending it could not be told whether it comes again
        self._process = _start()
        return True

    def close(self) -> None:
        """End the bystander."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def _has(self, number: int) -> bool:
        until = time.monotonic() + WAIT_S
        while self._process is not None:
            if _is_pending(self._process.pid, number):
                return True
            if time.monotonic() >= until:
                break
            time.sleep(_STEP_S)
        return False


def _is_pending(pid: int, number: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    found = re.search(r"^ShdPnd:\s*([0-9a-f]+)$", status, re.MULTILINE)  # proc(5)
    return found is not None and bool(int(found[1], 16) & 1 << (number - 1))


def _start() -> subprocess.Popen[bytes] | None:
    try:  # it ends by itself when its input does, which is with us
        return subprocess.Popen(
            ["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/"
        )
    except OSError:
        return None
