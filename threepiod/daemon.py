"""The daemon: puts runs, connections, store and queries together, and lives until it is asked to stop.

`serve` is the whole of it. What it owns: the runs that are not over, the tick that finds new and grown journals, and
the order of starting (store, recovery, listening, ready) and stopping (no new connections, everything stored).
"""

from __future__ import annotations

import errno
import logging
import math
import os
import signal
import socket
import time
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final, cast

import trio

from threepio_client import __version__, answers, clock
from threepio_client.archive import Archive
from threepio_client.errors import NoSuchRun, RemoteProtocolError, ThreepioError
from threepio_client.events import ObservationType
from threepio_client.journal import append_observation
from threepio_client.paths import COMPRESSED
from threepio_client.protocol import Hello
from threepio_client.runfiles import ABANDONED_S, has_more, last_change, producer_of, runs_of, size_of, was_abandoned
from threepio_client.settings import RUN_ID, DaemonSettings, Settings
from threepio_client.views import VIEW_VERSION
from threepiod.admission import Admission
from threepiod.committer import Committer
from threepiod.connection import ClientConnection
from threepiod.housekeeping import Housekeeping
from threepiod.queries import Queries
from threepiod.reports import Reports
from threepiod.run import TOTALS, Run
from threepiod.runids import changed_at
from threepiod.service import Service
from threepiod.store import KnownFiles, Store, StoreError

TICK_S: Final = 0.250
STOP_PATIENCE_S: Final = 30.0
"""How long a stop waits until what was received is stored. What then is not, is in the journals."""
PRONOUNCE_S: Final = 5.0
"""How long the answer to a parent that tells of its child's end waits for the verdict."""
STATISTICS_S: Final = 600.0
"""How often a line of statistics goes to the log, if anything came."""
FIRST_LINE_S: Final = 10.0
"""An adapter writes its first line at once: a journal that is empty after this long is looked at again only when the
directory changes, or when its writer is taken to have died (`runfiles.was_abandoned`)."""
BUSY_EVENTS_PER_S: Final = 200.0
"""At this rate compressing waits: it takes half a processor."""
LIMIT_EVENTS_PER_S: Final = 20_000.0
"""More than suites report: above it, ingest takes what the machine has."""
RATE_TICKS: Final = 20
"""Ticks over which events_per_s is taken: 5 seconds."""

log = logging.getLogger("threepiod")


class Daemon:
    """The state of a running daemon.

    Attributes:
        runs: runs that are not over, by id.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        trouble: str,
        limits: DaemonSettings,
        service: Service,
        has_place: Callable[[], bool],
    ) -> None:
        """Prepare to serve.

        Args:
            settings: where state and socket are.
            store: the open store.
            trouble: what was wrong with it, if anything was.
            limits: how long runs are kept, and how long the daemon stays where it has nothing to do.
            service: the service manager.
            has_place: whether the state directory is still the one that is locked, and the store in it the one that is open.
        """
        self.runs: dict[str, Run] = {}
        self._settings = settings
        self._state_dir = settings.places
        self._committer = Committer(store, self._note_error)
        self._queries = Queries(self, Archive(self._state_dir))
        self._admission = Admission()
        self._reports = Reports(self, self._state_dir, limits.reports, self._note_error)
        self._housekeeping = Housekeeping(self, self._state_dir, self._committer, limits.keep_s, self._note_error)
        self._service = service
        self._has_place = has_place
        self._idle_exit_s = math.inf if limits.idle_exit_s is None else limits.idle_exit_s
        self._started = self._busy_at = self._ticked_at = self._progressed_at = clock.monotonic()
        self._pulse = 0
        self._told: answers.EventTotals | None = None
        self._last_error: dict[str, Any] | None = None
        self._errors = 0
        self._taken_before = 0
        self._rates: deque[int] = deque(maxlen=RATE_TICKS)
        self._is_at_limit = False  # asked for each batch
        self._ended: Counter[str] = Counter()
        self._scanned_at: tuple[int, int] | None = None
        self._abandoned_at = math.inf
        self._blind = ""
        self._store_trouble = ""
        self._ignored: set[str] = set()
        self._unreadable: set[str] = set()
        self._work: trio.Nursery | None = None
        self._stop_asked = trio.Event()
        self._opening = trio.Lock()
        if trouble:
            self._note_error(trouble)

    async def serve(self, listener: socket.socket, ready: Callable[[], None]) -> None:
        """Serve until a stop is asked for by signal or query; return when everything received is stored."""
        async with trio.open_nursery() as work:
            self._work = work
            work.start_soon(self._committer.serve)
            work.start_soon(self._reports.serve)
            async with trio.open_nursery() as front:
                front.start_soon(self._stop_on_signal)
                listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(listener))]
                front.start_soon(partial(trio.serve_listeners, self._serve_client, listeners))
                ready()
                self._service.ready()
                log.info("ready: pid %d, socket %s", os.getpid(), self._settings.socket)
                front.start_soon(self._tick)
                front.start_soon(self._housekeeping.serve)
                front.start_soon(self._log_now_and_then)
                front.start_soon(self._feed_watchdog)
                await self.stopped()
                log.info("stopping")
                self._service.stopping()
                front.cancel_scope.cancel()
            # Nothing new comes in any more; what was received is stored before the store is closed.
            with trio.move_on_after(STOP_PATIENCE_S):
                for run in list(self.runs.values()):
                    await run.settle()
                await self._reports.settle()
            work.cancel_scope.cancel()
        self._reports.close()
        self._log_statistics()

    def stop(self) -> None:
        """Begin to stop."""
        self._stop_asked.set()

    async def stopped(self) -> None:
        """Return when a stop was asked for."""
        await self._stop_asked.wait()

    @property
    def is_busy(self) -> bool:
        """Whether runs need the machine now: what can wait, waits."""
        return self._events_per_s > BUSY_EVENTS_PER_S

    @property
    def is_at_limit(self) -> bool:
        """Whether events came about as fast as they can be stored in the last two ticks."""
        return self._is_at_limit

    def works_on(self, run_id: str) -> bool:
        """Return whether a run is not over, or was found to have more."""
        return run_id in self.runs

    def unseen(self) -> dict[str, float]:
        """Return the runs that are not over and of which nothing can be seen, neither adapter nor process.

        Returns:
            When the last event of each was, in seconds since the epoch, by run id.
        """
        return {run_id: run.state.updated for run_id, run in self.runs.items() if run.is_unseen}

    async def give_up(self, run_id: str) -> None:
        """Take a run for over if nothing can be seen of it; return when it is, or soon."""
        run = self.runs.get(run_id)
        if run is not None and run.is_unseen:
            run.give_up()
            with trio.move_on_after(PRONOUNCE_S):
                await run.over.wait()

    async def remove_report(self, run_id: str) -> None:
        """Remove the report tree of a run.

        Raises:
            OSError: something of it cannot be removed.
        """
        await self._reports.remove(run_id)

    def forget(self, run_id: str) -> None:
        """Know no more of a run that was removed: its id is free."""
        self._ignored.discard(run_id)
        self._scanned_at = None
        self._queries.forget()

    @property
    def _events_per_s(self) -> float:
        return sum(self._rates) / (max(len(self._rates), 1) * TICK_S)

    def self_status(self) -> dict[str, Any]:
        """Return the answer of `threepiod status --json`."""
        active = list(self.runs.values())
        answer: answers.Daemon = {
            "schema_version": VIEW_VERSION,
            "pid": os.getpid(),
            "uptime_s": round(clock.monotonic() - self._started, 3),
            "socket": str(self._settings.socket),
            "state_dir": str(self._settings.state_dir),
            "version": __version__,
            "runs_active": len(active),
            "runs_connected": sum(run.is_connected for run in active),
            "events_per_s": round(self._events_per_s, 1),
            "backlog": sum(run.cursor - run.stored for run in active),
            "events": self._event_totals(),
            "commits": self._committer.commits,
            "rss_bytes": _rss_bytes(),
            "errors": self._errors,
            "last_error": cast(answers.LastError | None, self._last_error),
        }
        return {**answer}

    def _event_totals(self) -> answers.EventTotals:
        totals = self._ended.copy()
        for run in self.runs.values():
            totals.update(run.totals)
        return cast(answers.EventTotals, {name: totals[name] for name in TOTALS})

    async def observe(self, run_id: str, event_type: str, payload: dict[str, Any]) -> None:
        """Record an observation of a run, whether it is over or not.

        Raises:
            ThreepioError: there is no such run, or the observation cannot be written.
        """
        try:
            run = self.runs.get(run_id)
            if run is not None:
                await run.observe(event_type, payload)
                if event_type == ObservationType.EXIT_STATUS and payload.get("pid") == run.state.pid:
                    with trio.move_on_after(PRONOUNCE_S):
                        await run.over.wait()
                return
            if await self._committer.call(lambda store: store.find_run(run_id)) is None:
                raise NoSuchRun(f"no run {run_id} is stored")
            path = self._state_dir.observed(run_id)
            await trio.to_thread.run_sync(append_observation, path, event_type, payload, clock.wall())
        except OSError as error:
            raise ThreepioError(f"cannot write an observation of run {run_id}: {error.strerror}") from error
        self._scanned_at = None  # the next tick takes it in

    async def remove(self, run_id: str) -> None:
        """Remove a run that is over, or of which nothing can be seen any more: journal, rows and output together.

        Raises:
            ThreepioError: it is not over, or cannot be removed.
        """
        await self._housekeeping.remove(run_id)

    # Runs

    async def _open_run(self, hello: Hello) -> Run:
        """Return the run that an adapter speaks of."""
        run_id, producer_id = hello.run.get("run_id"), hello.run.get("producer_id")
        if not isinstance(run_id, str) or not RUN_ID.fullmatch(run_id) or not isinstance(producer_id, str):
            raise RemoteProtocolError("bad-message", "Hello.run has no run_id and producer_id")
        if Path(hello.place).parent not in (self._state_dir.journals, self._state_dir.spare):
            raise RemoteProtocolError(
                "other-state-dir",
                f"the journal {hello.place} is not in this daemon's state directory {self._state_dir.path}",
            )
        run = await self._run_of(run_id, producer_id)
        if run.producer_id != producer_id:
            raise RemoteProtocolError("run-id-taken", f"the store has another run {run_id}")
        return run

    async def _run_of(self, run_id: str, producer_id: str | None) -> Run:
        """Return a run, at work if it is this producer's: where none is named, that of the store."""
        async with self._opening:  # tick and HELLO must not open the same run twice
            run = self.runs.get(run_id)
            if run is not None:
                return run
            try:
                found = await self._committer.call(lambda store: store.open_run(run_id, producer_id or ""))
            except StoreError as error:
                self._note_store_trouble(str(error))
                raise RemoteProtocolError("store-trouble", str(error)) from error
            self._store_trouble = ""
            run = Run(found, self._state_dir, self._committer, self._note_error, self._reports.take)
            return self._begin(run) if producer_id in (None, run.producer_id) else run

    def _begin(self, run: Run) -> Run:
        assert self._work is not None
        self._reports.begin(run.run_id, run.stored)
        self.runs[run.run_id] = run
        self._work.start_soon(self._serve_run, run)
        return run

    async def _serve_run(self, run: Run) -> None:
        try:
            await run.serve()
        except (
            Exception
        ) as error:  # a bug of ours ends the work on one run, not the daemon; the journal keeps everything
            self._note_error(f"the work on run {run.run_id} ended by an error, its journal keeps everything: {error!r}")
            log.exception("run %s: the work on it ended by an error", run.run_id)
        if self.runs.get(run.run_id) is run:
            del self.runs[run.run_id]
        self._reports.over(run.run_id)
        self._ended.update(run.totals)
        verdict = run.state.verdict()
        log.info("run %s: over, %s: %s; stored up to %d", run.run_id, verdict.state, verdict.text, run.stored)
        end = await run.late_end()
        if run.is_observed_anew:  # the runner told with what code it ended
            self._scanned_at = None
        if end:
            try:
                await self.observe(run.run_id, ObservationType.EXIT_STATUS, end)
            except ThreepioError as error:
                self._note_error(str(error))

    async def _tick(self) -> None:
        while True:
            await self._scan()
            await trio.sleep(TICK_S)
            for run in list(self.runs.values()):
                run.tick()
            taken = self._event_totals()["received"]
            self._rates.append(taken - self._taken_before)
            self._taken_before = taken
            self._is_at_limit = sum(islice(reversed(self._rates), 2)) > LIMIT_EVENTS_PER_S * 2 * TICK_S
            self._ticked_at = clock.monotonic()
            self._stop_if_idle(self._ticked_at)
            if not self._has_place() and not self._stop_asked.is_set():
                # What is stored there nobody finds again: no ack is to be given for it.
                self._note_error(
                    f"the state directory {self._state_dir.path} was removed or replaced, or the store in it: threepiod "
                    "ends, and the next one begins with what is there"
                )
                self.stop()

    async def _log_now_and_then(self) -> None:
        while True:
            await trio.sleep(STATISTICS_S)
            self._log_statistics()

    def _log_statistics(self) -> None:
        totals = self._event_totals()
        if totals == self._told:
            return
        self._told = totals
        told = ", ".join(f"{count} {name}" for name, count in totals.items() if count)
        log.info(
            "statistics: events since the start: %s; %d commits, %d errors, %d runs active, %.0f MiB",
            told or "none",
            self._committer.commits,
            self._errors,
            len(self.runs),
            _rss_bytes() / 2**20,
        )

    async def _feed_watchdog(self) -> None:
        """Feed it while ticks and ingest go on, or ingest has nothing to do, or they wait for the disk, however long."""
        while self._service.feed_every_s:
            if self._is_alive(clock.monotonic(), max(self._service.feed_every_s, 2 * TICK_S)):
                self._service.feed()
            await trio.sleep(self._service.feed_every_s / 2)

    def _is_alive(self, now: float, patience_s: float) -> bool:
        pulse = self._committer.pulse
        has_work = any(run.has_work or run.stored < run.cursor for run in self.runs.values())
        if pulse != self._pulse or not has_work:
            self._pulse = pulse
            self._progressed_at = now
        if self._committer.waits_for_the_disk:
            self._ticked_at = self._progressed_at = now
        return now - min(self._ticked_at, self._progressed_at) < patience_s

    def _stop_if_idle(self, now: float) -> None:
        if any(not run.is_unseen for run in self.runs.values()) or self._rates[-1]:
            self._busy_at = now
        self._busy_at = max(self._busy_at, self._admission.busy_at)
        if now - self._busy_at >= self._idle_exit_s:
            log.info("nothing to do for %.0f s", now - self._busy_at)
            self.stop()

    async def _scan(self) -> None:
        """Open every run of which there is more than the store has: at start, and when a directory changed."""
        try:
            changed = changed_at(self._state_dir)
            if changed == self._scanned_at and clock.wall() < self._abandoned_at:
                return
            found = await trio.to_thread.run_sync(runs_of, self._state_dir)
            self._blind = ""
        except OSError as error:  # no descriptor is left, or somebody removed the directory: the next tick looks again
            if self._blind != str(error):
                self._blind = str(error)
                self._note_error(f"cannot look for journals: {error}")
            return
        try:
            known = await self._committer.call(Store.runs)
        except StoreError as error:
            self._note_store_trouble(str(error))
            return
        is_complete = True
        self._abandoned_at = math.inf
        # Of a run that is not over somebody may have removed the journal.
        for run_id in found.keys() | {run_id for run_id, stored in known.items() if not stored.final}:
            if run_id not in self.runs and run_id not in self._ignored:
                is_complete &= await self._look_at(run_id, found.get(run_id, {}), known.get(run_id))
        if is_complete:
            self._scanned_at = changed

    async def _look_at(self, run_id: str, files: dict[int, Path], stored: KnownFiles | None) -> bool:
        """Open a run if there is more of it than the store has; return False if the next tick is to look again."""
        if stored is not None and stored.final and not self._has_grown(run_id, files, stored):
            return True
        try:
            producer_id = await trio.to_thread.run_sync(producer_of, files)
            is_abandoned = producer_id is None and await trio.to_thread.run_sync(was_abandoned, files)
        except OSError as error:
            if run_id not in self._unreadable:  # said once, looked at again when the directory has changed
                self._unreadable.add(run_id)
                self._note_error(f"cannot read the journal {files[min(files)]}: {error.strerror}")
            # Where no descriptor is left, another may be soon.
            return error.errno not in (errno.EMFILE, errno.ENFILE)
        if producer_id is None and not is_abandoned:
            # Its first line is not there yet: the next tick looks again, unless its writer is slow or dead.
            changed = last_change(files.values())
            self._abandoned_at = min(self._abandoned_at, changed + ABANDONED_S)
            return not 0 <= clock.wall() - changed <= FIRST_LINE_S  # nor can it be told of one from the future
        try:
            run = await self._run_of(run_id, producer_id)
        except RemoteProtocolError:
            return False
        if producer_id is not None and run.producer_id != producer_id:
            self._ignored.add(run_id)
            self._note_error(
                f"the journal {files[min(files)]} is of another run than the one that is stored as {run_id}"
            )
        elif is_abandoned and run.is_unseen and not run.state.start:
            run.give_up()
        return True

    def _has_grown(self, run_id: str, files: dict[int, Path], stored: KnownFiles) -> bool:
        """Whether there is more of a run that was over; what is compressed does not grow."""
        return size_of(self._state_dir.observed(run_id)) > stored.observed or any(
            path.suffix != COMPRESSED and has_more(path, stored.offsets.get(number, 0))
            for number, path in files.items()
        )

    # Clients

    async def _serve_client(self, stream: trio.SocketStream) -> None:
        try:
            async with stream:
                await ClientConnection(
                    stream, self._state_dir.path, self._open_run, self._queries.answer, self._admission
                ).serve()
        except RemoteProtocolError as error:
            self._note_error(f"refused a client: {error}")
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            log.info("a connection broke: %s", error)
        except Exception as error:  # a bug of ours ends one connection, not the daemon; it is counted and logged
            self._note_error(f"a connection ended by an error: {error!r}")
            log.exception("a connection ended by an error")

    async def _stop_on_signal(self) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for number in signals:
                log.info("asked to stop by %s", signal.Signals(number).name)
                self.stop()

    def _note_store_trouble(self, text: str) -> None:
        """Note why no run can be opened, once until one can: it is tried again at every tick."""
        if text != self._store_trouble:
            self._note_error(text)
        self._store_trouble = text

    def _note_error(self, text: str) -> None:
        self._errors += 1
        self._last_error = {"time": round(time.time(), 3), "text": text}
        log.error("%s", text)


def _rss_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
