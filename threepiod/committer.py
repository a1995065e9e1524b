"""Committer: brings the batches of all runs into the store, in groups, and bounds what waits for it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import trio

from threepiod.batch import Batch
from threepiod.store import Store, StoreError

TAKEN_BYTES: Final = 2 * 1024 * 1024
"""Bytes of lines that all runs together may have taken and not stored: the next ones gather while the disk is waited for."""
READERS: Final = 1
"""Journals read at once: the events of 512 KiB of lines take 4 MiB before they are rows."""

log = logging.getLogger("threepiod.store")


class Committer:
    """Brings batches into the store: all that wait are one transaction. The store is used in one thread at a time.

    Attributes:
        commits: how many transactions there were.
        taken: bytes of lines that runs have taken and that are not stored.
        room: is set, and replaced, when there is less of that.
        pulse: grows with every step of ingest, also with one that failed.
        readers: how many threads may read journals at once.
    """

    def __init__(self, store: Store, report: Callable[[str], None] = log.error) -> None:
        """Write into `store`; `report` is told of errors that concern no batch."""
        self._store = store
        self._report = report
        self._limiter = trio.CapacityLimiter(1)
        self._waiting: list[_Job] = []
        self._wake = trio.Event()
        self.commits = 0
        self.pulse = 0
        self.taken = 0
        self.room = trio.Event()
        self.readers = trio.CapacityLimiter(READERS)

    @property
    def is_full(self) -> bool:
        """Whether runs together have taken as much as may be in memory: no socket and no journal is read then."""
        return self.taken >= TAKEN_BYTES

    def release(self, size: int) -> None:
        """Say that so many bytes of lines are stored or dropped; who waits for room looks again."""
        self.taken -= size
        self.room.set()
        self.room = trio.Event()

    async def commit(self, batch: Batch) -> None:
        """Return when the batch is stored.

        Raises:
            StoreError: it is not known to be stored.
        """
        job = _Job(batch=batch)
        self._waiting.append(job)
        self._wake.set()
        await job.done.wait()
        if job.error is not None:
            raise StoreError(str(job.error)) from job.error

    async def call(self, action: Callable[[Store], Any]) -> Any:
        """Return what `action(store)` returns, run in the store's thread."""
        try:
            return await trio.to_thread.run_sync(action, self._store, limiter=self._limiter)
        finally:
            self.pulse += 1

    @property
    def waits_for_the_disk(self) -> bool:
        """Whether a thread reads, syncs or stores now; that may take any time."""
        limiters = (self._limiter, self.readers, trio.to_thread.current_default_thread_limiter())
        return any(limiter.borrowed_tokens for limiter in limiters)

    async def serve(self) -> None:
        """Commit for ever."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            jobs, self._waiting = self._waiting, []
            error = None
            try:
                await self.call(lambda store: store.write([job.batch for job in jobs]))  # noqa: B023 - used up here
                self.commits += 1
            except StoreError as found:
                error = found
            for job in jobs:
                job.error = error
                job.done.set()
            if self._store.is_log_long:
                try:
                    await self.call(Store.fold_log)  # after the acks: nobody waits for it
                except StoreError as found:
                    self._report(str(found))


@dataclass(kw_only=True, slots=True, eq=False)
class _Job:
    batch: Batch
    done: trio.Event = field(default_factory=trio.Event)
    error: StoreError | None = None
