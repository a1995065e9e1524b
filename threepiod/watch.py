"""A run's process, looked at from outside: whether it lives, when it ended, and how, where the kernel tells."""

from __future__ import annotations

import os
import signal
from typing import Final

import trio

from threepio_client import clock
from threepio_client.cgroup import LOOK_S, OomKills
from threepio_client.process import Liveness, ProcessIdentity, exit_status

POLL_S: Final = 0.250
"""How often a process is looked at of which no pidfd can be had."""
REAPED_S: Final = 0.500
"""How long to wait for the parent to wait for its child: only then the kernel tells how it ended, since Linux 6.15."""
REAPED_POLL_S: Final = 0.010


class ProcessWatch:
    """One process.

    Attributes:
        liveness: what was found when it was last looked at.
        ended_at: when it was seen to end, seconds since the epoch; None if it was gone when first looked at.
        end: how it ended, as the payload of an `exitStatus` observation; empty where that is not known.
    """

    def __init__(self, identity: ProcessIdentity) -> None:
        self._identity = identity
        self._oom_kills = OomKills(identity.pid)
        self._pidfd: int | None = None
        self.liveness = identity.liveness()
        self.ended_at: float | None = None
        self.end: dict[str, object] = {}

    async def wait_gone(self) -> None:
        """Return when the process is gone. One that cannot be seen from here is looked at again and again."""
        while self.liveness is not Liveness.GONE:
            was_alive = self.liveness is Liveness.ALIVE
            if was_alive:
                await self._wait_for_end()
            else:
                await trio.sleep(POLL_S)
            self.liveness = self._identity.liveness()
            if was_alive and self.liveness is Liveness.GONE:
                self.ended_at = clock.wall()

    async def _wait_for_end(self) -> None:
        """Return when the process has ended, or when it should be looked at again."""
        if self._pidfd is None:
            try:
                self._pidfd = os.pidfd_open(self._identity.pid)
            except OSError:
                await trio.sleep(POLL_S)  # it just ended, or no descriptor is left
                return
            # Looked at again: between the look and the open the pid may have become another process's.
            if self._identity.liveness() is not Liveness.ALIVE:
                self.close()
                return
        await self._wait_readable(self._pidfd)
        # At once: once its parent has waited for it, the control group may be removed.
        self._oom_kills.look()
        await self._learn_end(self._pidfd)
        self.close()

    def close(self) -> None:
        """Let go of the process. Until then a wait that was cancelled can be taken up again, and misses no end."""
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None

    async def _wait_readable(self, pidfd: int) -> None:
        has_ended = False
        while not has_ended:
            with trio.move_on_after(LOOK_S):
                await trio.lowlevel.wait_readable(pidfd)
                has_ended = True
            if not has_ended:
                self._oom_kills.look()

    async def _learn_end(self, pidfd: int) -> None:
        with trio.move_on_after(REAPED_S):
            while (status := exit_status(pidfd)) is None:
                await trio.sleep(REAPED_POLL_S)
            self.end = {"pid": self._identity.pid, **status}
            if status.get("signal") == signal.SIGKILL:
                self.end["outOfMemory"] = self._oom_kills.rose()
