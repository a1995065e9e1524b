"""Reports: which runs have a tree to be written, where it goes, and when the daemon has time for it.

A run has a mark in `<state directory>/reports` from before it can be over: `<run id>.begun`, which becomes
`<run id>.written` when its tree is complete; in it stands where the tree is. So the next start completes what a killed
daemon left, and a run's tree goes when the run does. Work is done in steps, one at a time, in a thread with a connection of
its own.

Where the place beside the tests cannot be written, the tree goes to the state directory, and that is said in the log. Not
here: what is written (`pages.py`), and how (`threepio_client.report.tree`).
"""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from sqlite3 import Connection
from sqlite3 import Error as StoreFailed
from typing import Any, Final, Protocol

import trio

from threepio_client import clock
from threepio_client.archive import Archive
from threepio_client.errors import ThreepioError
from threepio_client.files import foreign, open_own
from threepio_client.here import newest
from threepio_client.paths import StateDir, make_private_dir
from threepio_client.report import tree
from threepio_client.settings import OFF, REPORTS_DIR, ReportPlace
from threepiod.batch import Batch
from threepiod.keptrows import Room
from threepiod.pages import Pages, Rows, prepare
from threepiod.queries import live_view
from threepiod.run import Run

LOOK_S: Final = 3.0
"""How often runs are looked at, and pages are made of what was stored: each time costs about a millisecond more."""
REFRESH_S: Final = 2.0
"""How often, at most, the page of a run that goes on is written."""
SHARE: Final = 0.00025
"""Of the time, for what is not due yet: pages that will be written again."""
QUEUE_BYTES: Final = 3 * 1024 * 1024
"""Bytes of lines, of all runs, whose rows wait to be taken; the store is asked for the rest."""
QUEUE_LONG: Final = QUEUE_BYTES * 3 // 4
"""Bytes of them that are not to wait any longer."""
LONGEST_WAIT_S: Final = 600.0
"""How long trees wait while ingest is at its limit: they can be made later as well, and adapters wait for acks."""
RETRY_S: Final = 30.0
"""Pause after something could not be written, there and in the state directory."""
CAUSES: Final = 100
"""Of errors: those that are told once."""
KEPT: Final = 8
"""Trees that are complete and still known: an observation that comes later changes only the run's page."""
_BEGUN, _WRITTEN = ".begun", ".written"

log = logging.getLogger("threepiod.reports")


class Daemon(Protocol):
    """What reports need of the daemon."""

    @property
    def runs(self) -> dict[str, Run]:
        """Runs that are not over."""

    @property
    def is_at_limit(self) -> bool:
        """Whether events come as fast as they can be stored."""


class _Queue:
    """Rows of a run that were stored and not taken by its pages yet.

    Attributes:
        since: the line after which they begin.
        seq: the last line of which they are.
        rows: those of each batch.
        size: bytes of their lines.
    """

    def __init__(self, stored: int) -> None:
        self.since = self.seq = stored
        self.rows: list[Rows] = []
        self.size = 0

    def add(self, batch: Batch) -> None:
        """Add a batch that was stored."""
        self.seq = batch.seq
        self.size += batch.size
        self.rows.append(Rows(batch.passed, batch.results, batch.groups, batch.failures))

    def lose(self) -> None:
        """Let go of what is in it: the store has it."""
        self.since = self.seq
        self.empty()

    def empty(self) -> list[Rows]:
        """Return what is in it, and let go of it."""
        rows, self.rows, self.size = self.rows, [], 0
        return rows


@dataclass(kw_only=True, slots=True)
class _Tree:
    """A tree that is being written, or was.

    Attributes:
        pages: its pages.
        base: what its folder lies below.
        since: the line from which on the pages were given all rows.
        stored: the last event of the run that was stored when its page was written, and nothing was too early to be.
        refreshed: when that was, while the run went on.
        looked: when it was looked at last.
    """

    pages: Pages
    base: Path
    since: int = -1
    stored: int = 0
    refreshed: float = 0.0
    looked: float = 0.0


class Reports:
    """Writes the trees of all runs."""

    def __init__(
        self, daemon: Daemon, state_dir: StateDir, setting: ReportPlace, report: Callable[[str], None]
    ) -> None:
        """Prepare to write.

        Args:
            daemon: knows the runs that go on.
            state_dir: where marks are, and trees that can be nowhere else.
            setting: where trees are wanted: BESIDE, OFF, or a directory.
            report: is told of every error that keeps a tree from being written, once for each cause.
        """
        self._daemon = daemon
        self._state_dir = state_dir
        self._setting = setting
        self._report = report
        self._archive = Archive(state_dir)
        self._trees: dict[str, _Tree] = {}
        self._queues: dict[str, _Queue] = {}
        self._over: dict[str, float] = {}
        self._told: set[str] = set()
        self._limiter = trio.CapacityLimiter(1)
        self._working = trio.Lock()
        self._wake = trio.Event()
        self._free_at = 0.0
        self._room = Room()
        self._worked_at = clock.monotonic()
        self._opened = ExitStack()
        self._store: Connection | None = None

    # For the daemon

    def begin(self, run_id: str, stored: int) -> None:
        """Note that a run has a tree to be written, before it can be over; lines up to `stored` are stored already."""
        if self._setting == OFF:
            return
        self._queues[run_id] = _Queue(stored)
        self._wake.set()
        if os.path.lexists(self._mark(run_id, _WRITTEN)):
            return
        try:
            make_private_dir(self._state_dir.reports)
            self._write_mark(run_id, None)
        except (OSError, ThreepioError) as error:
            if self._is_new(error):
                self._report(f"reports cannot be begun in {self._state_dir.reports}: {error}")

    def take(self, run_id: str, batch: Batch) -> None:
        """Take a batch that was stored: its rows need not be read again, if they are taken soon."""
        queue = self._queues.get(run_id)
        if queue is None:
            return
        queue.add(batch)
        queued = self._queued
        if queued > QUEUE_BYTES or self._daemon.is_at_limit:
            queue.lose()
        elif queued > QUEUE_LONG:
            self._wake.set()

    def over(self, run_id: str) -> None:
        """Have a run's tree completed: nothing more is expected of the run, or something was observed of it later."""
        if self._setting != OFF:
            self._over[run_id] = 0.0
            self._wake.set()

    async def remove(self, run_id: str) -> None:
        """Remove the tree of a run, as far as it was written by us.

        Raises:
            OSError: something of it cannot be removed.
        """
        self._over.pop(run_id, None)
        self._queues.pop(run_id, None)
        await self._in_thread(self._remove, run_id)

    async def serve(self) -> None:
        """Write for ever."""
        if self._setting == OFF:
            return
        for run_id in await self._in_thread(self._left_behind):
            self._over.setdefault(run_id, 0.0)
        while True:
            now = clock.monotonic()
            if not self._daemon.is_at_limit or now - self._worked_at >= LONGEST_WAIT_S:
                self._worked_at = now
                await self.round()
            with trio.move_on_after(LOOK_S if self._daemon.runs or self._over else math.inf):
                await self._wake.wait()
            self._wake = trio.Event()

    async def round(self) -> None:
        """Do what is due now, of every run."""
        if self._setting == OFF:
            return
        async with self._working:
            for run in list(self._daemon.runs.values()):
                known = self._trees.get(run.run_id)
                if not run.is_over:
                    if run.state.start and run.stored and self._over.get(run.run_id, 0.0) <= clock.monotonic():
                        await self._guarded(run.run_id, partial(self._go_on, run))
                elif known is None or not known.pages.is_complete:
                    self._over.setdefault(run.run_id, 0.0)
            for run_id, at in list(self._over.items()):
                active = self._daemon.runs.get(run_id)
                if at <= clock.monotonic() and (active is None or active.is_over):
                    await self._guarded(run_id, partial(self._finish, run_id))

    async def settle(self) -> None:
        """Return when the trees of runs that are over are written, or cannot be: what failed is tried once more."""
        self._over = dict.fromkeys(self._over, 0.0)
        await self.round()

    def close(self) -> None:
        """Write no more."""
        self._close()
        for queue in self._queues.values():
            queue.lose()

    def _close(self) -> None:
        """Close all trees; their queues are trio's thread's to lose."""
        for found in self._trees.values():
            found.pages.close()
        self._trees.clear()
        self._store = None
        self._opened.close()
        self._opened = ExitStack()

    # Inside, in trio's thread

    @property
    def _queued(self) -> int:
        return sum(queue.size for queue in self._queues.values())

    @property
    def _is_queue_long(self) -> bool:
        """Whether it is time to take what waits."""
        return self._queued > QUEUE_LONG

    async def _guarded(self, run_id: str, action: Callable[[], Awaitable[None]]) -> None:
        """Do a part of the work; what is wrong with a tree is told once, keeps no other, and is tried again later."""
        try:
            await action()
        except Exception as error:  # an error of ours ends the work on one tree, not the daemon
            if self._is_new(error):
                self._report(f"run {run_id}: its report cannot be written, it is tried again later: {error}")
                if not isinstance(error, OSError | ThreepioError | StoreFailed):
                    log.exception("run %s: the work on its report ended by an error", run_id)
            self._over[run_id] = clock.monotonic() + RETRY_S
            if isinstance(error, OSError | ThreepioError):
                await self._in_thread(self._close_tree, run_id)
                lost = [self._queues[run_id]] if run_id in self._queues else []
            else:
                await self._in_thread(self._close)
                lost = list(self._queues.values())
            for queue in lost:
                queue.lose()

    async def _go_on(self, run: Run) -> None:
        """Write what is due of a run that goes on."""
        run_id, stored = run.run_id, run.stored
        known = self._trees.get(run_id)
        is_early = known is not None and clock.monotonic() - known.looked < LOOK_S
        if known is not None and (known.stored == stored or (is_early and not self._is_queue_long)):
            return
        await self._begin_again(run_id, stored)
        if known is None:
            await self._in_thread(self._open, run_id, run.key, run.state.started, run.state.start.get("rootdir"))
        take = self._taker(run_id, stored)
        while run_id in self._trees and await self._step(run_id, lambda tree: tree.pages.advance(take(tree))):
            pass
        found, now = self._trees.get(run_id), clock.monotonic()
        if found is not None:
            found.looked = now
        if found is not None and now >= self._free_at and now - found.refreshed >= REFRESH_S:
            view, output = live_view(run, self._archive), self._output(run_id)
            spent = await self._step(run_id, lambda tree: _timed(lambda: tree.pages.refresh(view, output)))
            if spent is not True:
                self._free_at = now + spent / SHARE
                found.refreshed = now
                if not found.pages.is_waiting:
                    found.stored = stored

    async def _finish(self, run_id: str) -> None:
        """Complete the tree of a run that is over."""
        self._over.pop(run_id, None)
        stored = await self._in_thread(self._archive.stored, run_id)
        if stored is None or not stored.final:
            if run_id not in self._daemon.runs:
                self._queues.pop(run_id, None)
            return  # it was removed, or goes on and is over later
        start = stored.state.start
        await self._begin_again(run_id, stored.seq)
        if run_id not in self._trees:
            await self._in_thread(self._open, run_id, stored.key, stored.state.started, start.get("rootdir"))
        take = self._taker(run_id, stored.seq)
        view = await self._in_thread(self._archive.view, run_id, "daemon")
        seq, output = stored.seq, self._output(run_id)

        def finish(tree: _Tree) -> bool:
            take(tree)
            return tree.pages.finish(view, seq, output)

        while run_id in self._trees and await self._step(run_id, finish):
            pass
        if run_id not in self._daemon.runs:
            self._queues.pop(run_id, None)  # not before: another tree is told by it that rows went to the first one
        await self._in_thread(self._complete, run_id)

    async def _begin_again(self, run_id: str, seq: int) -> None:
        """Note that a complete tree is not, because there is more of its run: lines up to this one."""
        known = self._trees.get(run_id)
        if known is not None and known.pages.is_complete and seq > known.pages.seq:
            await self._in_thread(self._write_mark, run_id, known.base)

    def _taker(self, run_id: str, stored: int) -> Callable[[_Tree], int]:
        """Return what gives a tree the rows that came since the last time; it returns up to which line all is known then."""
        queue = self._queues.get(run_id)
        if queue is None:
            return lambda tree: stored
        seq = queue.seq
        rows = queue.empty()

        def take(tree: _Tree) -> int:
            if tree.since != queue.since:
                tree.since = queue.since
                tree.pages.keep_from(tree.since)
            if rows:  # those of many batches, which may be small, at once
                tree.pages.take(Rows(*(list(chain.from_iterable(lists)) for lists in zip(*rows, strict=True))))
                rows.clear()
            return seq

        return take

    async def _step(self, run_id: str, step: Callable[[_Tree], Any]) -> Any:
        """Do a step; where its place cannot be written, go on in the state directory: there is more to do then."""
        found = self._trees[run_id]
        try:
            return await self._in_thread(step, found)
        except OSError as error:
            if self._trees.get(run_id) is not found or found.base == self._state_dir.reports:
                raise
            await self._in_thread(self._fall_back, run_id, found, error)
            if run_id in self._queues:
                self._queues[run_id].lose()  # the other tree took what came so far
            return True

    async def _in_thread(self, action: Callable[..., Any], *arguments: Any) -> Any:
        """Return what an action returns, run in a thread: one at a time, because they share a connection."""
        return await trio.to_thread.run_sync(action, *arguments, limiter=self._limiter)

    # Inside, in a thread

    def _open(self, run_id: str, key: int, started: float, rootdir: object) -> _Tree:
        """Begin a tree where it is wanted, else in the state directory."""
        try:
            base = self._wanted(rootdir)
            return self._begin_tree(run_id, key, started, base, "")
        except OSError as error:
            return self._begin_tree(run_id, key, started, self._state_dir.reports, self._why(run_id, error))

    def _wanted(self, rootdir: object) -> Path:
        if isinstance(self._setting, Path):
            self._setting.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return self._setting
        if not isinstance(rootdir, str) or not os.path.isabs(rootdir) or "\0" in rootdir:
            raise FileNotFoundError(errno.ENOENT, "its rootdir is not known")
        return Path(rootdir, REPORTS_DIR)

    def _begin_tree(self, run_id: str, key: int, started: float, base: Path, note: str) -> _Tree:
        store = self._connected()

        def is_new(other: str) -> bool:
            query = "SELECT json_extract(snapshot, '$.start.collectOnly') FROM runs WHERE id = ?"
            if store.execute(query, (key,)).fetchone()[0]:
                return False  # as of the latest run elsewhere
            row = store.execute("SELECT started FROM runs WHERE run_id = ?", (other,)).fetchone()
            return row is None or row[0] <= started

        before = self._base_of(run_id)
        if before is not None and before != base:
            with suppress(OSError):
                tree.remove_run(before, run_id)
        make_private_dir(self._state_dir.reports)
        self._write_mark(run_id, base)
        folder = tree.open_run(base, run_id, is_new=is_new)
        pages = Pages(store, key, run_id, folder, self._state_dir.path, note, self._room)
        self._trees[run_id] = _Tree(pages=pages, base=base)
        return self._trees[run_id]

    def _close_tree(self, run_id: str) -> None:
        found = self._trees.pop(run_id, None)
        if found is not None:
            found.pages.close()

    def _fall_back(self, run_id: str, found: _Tree, error: OSError) -> None:
        self._close_tree(run_id)
        stored = self._archive.stored(run_id)
        if stored is None:
            raise error
        base, why = self._state_dir.reports, self._why(run_id, error)
        self._begin_tree(run_id, stored.key, stored.state.started, base, why)

    def _why(self, run_id: str, error: OSError) -> str:
        why = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
        place = self._state_dir.reports / "runs" / run_id
        log.warning("run %s: its report is in %s: it cannot be where it is wanted (%s)", run_id, place, why)
        return why

    def _connected(self) -> Connection:
        if self._store is None:
            # Of a sandboxed daemon no other place can be written.
            os.environ.setdefault("SQLITE_TMPDIR", str(self._state_dir.path))
            store = self._opened.enter_context(self._archive.reading(in_any_thread=True))
            if store is None:
                raise ThreepioError(self._archive.trouble or f"there is no store {self._state_dir.store}")
            prepare(store)
            self._store = store
        return self._store

    def _complete(self, run_id: str) -> None:
        with suppress(FileNotFoundError):  # it was removed meanwhile
            os.replace(self._mark(run_id, _BEGUN), self._mark(run_id, _WRITTEN))
        complete = [name for name, one in self._trees.items() if one.pages.is_complete]
        for name in complete[: max(len(complete) - KEPT, 0)]:
            self._close_tree(name)

    def _remove(self, run_id: str) -> None:
        self._close_tree(run_id)
        base = self._base_of(run_id)
        if base is not None:
            tree.remove_run(base, run_id, self._latest_of)
        for ending in (_BEGUN, _WRITTEN):
            self._mark(run_id, ending).unlink(missing_ok=True)

    def _latest_of(self, names: list[str]) -> str:
        left = [one for one in self._archive.run_ids() if one in names]
        return newest(left, self._archive.start_of) if left else ""

    def _left_behind(self) -> list[str]:
        """Return the runs whose trees are not complete."""
        try:
            names = os.listdir(self._state_dir.reports)
        except OSError:
            return []
        return sorted(name.removesuffix(_BEGUN) for name in names if name.endswith(_BEGUN))

    # Marks

    def _mark(self, run_id: str, ending: str) -> Path:
        return self._state_dir.reports / f"{run_id}{ending}"

    def _write_mark(self, run_id: str, base: Path | None) -> None:
        """Note that a run's tree is not complete, and where it is; with None only that it is to be made."""
        flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if base is not None else 0)
        with open(open_own(self._mark(run_id, _BEGUN), flags), "w", encoding="utf-8") as file:
            if base is not None:
                file.write(json.dumps(str(base)))
                self._mark(run_id, _WRITTEN).unlink(missing_ok=True)

    def _base_of(self, run_id: str) -> Path | None:
        for ending in (_BEGUN, _WRITTEN):
            with suppress(OSError, ValueError):
                path = self._mark(run_id, ending)
                if not foreign(path):
                    return Path(json.loads(path.read_text("utf-8")))
        return None

    def _output(self, run_id: str) -> Path | None:
        path = self._state_dir.output(run_id)
        return path if path.exists() else None

    def _is_new(self, error: Exception) -> bool:
        """Return whether a cause was not told of before, and know it from now on."""
        cause = str(error)
        is_new = cause not in self._told
        if len(self._told) >= CAUSES:
            self._told.clear()
        self._told.add(cause)
        return is_new


def _timed(action: Callable[[], object]) -> float:
    """Do it and return the processor time that it took, in seconds."""
    began = time.thread_time()
    action()
    return time.thread_time() - began
