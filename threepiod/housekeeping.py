"""Housekeeping: compresses the journals of runs that have been over for some time, and removes runs that are old.

Only runs that are final and fully stored are touched. A journal is compressed only after a synced checkpoint of the store,
and a run is removed in this order: its files, then its rows in small steps, its row of `runs` last. So a removal that is cut
short leaves a run that is known and still too old: the next round, of this daemon or the next one, finishes it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import trio

from threepio_client import clock
from threepio_client.archive import Archive, OverRun
from threepio_client.errors import ThreepioError
from threepio_client.files import sync_directory
from threepio_client.outputs import has_ended, without_run
from threepio_client.paths import COMPRESSED, StateDir
from threepio_client.runfiles import is_of_another, is_stored, journal_files, last_change, runs_of
from threepiod.committer import Committer
from threepiod.packing import pack, remove_parts
from threepiod.store import Store

PACK_AFTER_S: Final = 600.0
"""A run is looked at most while it is fresh; after ten minutes its journal is compressed."""
FIRST_S: Final = 10.0
"""After the daemon's start, which has better things to do."""
EVERY_S: Final = 60.0
STEP_S: Final = 0.020
"""How long a step of removing rows is to take: commits of other runs wait meanwhile."""
STEP_ROWS: Final = 1_000
"""Rows of a step at most."""
BUSY_POLL_S: Final = 0.5
FORSAKEN_S: Final = 3600.0
"""Whoever asks for the removal of a run of which nothing can be seen knows that it is over, if nothing came for so long."""

log = logging.getLogger("threepiod.housekeeping")


class Daemon(Protocol):
    """What housekeeping needs of the daemon."""

    @property
    def is_busy(self) -> bool:
        """Whether runs need the machine now."""

    def works_on(self, run_id: str) -> bool:
        """Return whether a run is being worked on."""

    def unseen(self) -> dict[str, float]:
        """Return the runs that are not over and of which nothing can be seen, with the time of their last event."""

    async def give_up(self, run_id: str) -> None:
        """Take such a run for over, if it still is one."""

    async def remove_report(self, run_id: str) -> None:
        """Remove the report tree of a run."""

    def forget(self, run_id: str) -> None:
        """Know no more of a run that was removed."""


class Housekeeping:
    """Keeps the state directory small."""

    def __init__(
        self,
        daemon: Daemon,
        state_dir: StateDir,
        committer: Committer,
        keep_s: float,
        report: Callable[[str], None] = log.error,
    ) -> None:
        self._daemon = daemon
        self._state_dir = state_dir
        self._committer = committer
        self._keep_s = keep_s
        self._archive = Archive(state_dir)
        self._tell = report
        self._said: set[str] = set()
        self._given_up: set[str] = set()

    async def serve(self) -> None:
        """Do a round now and then, for ever."""
        for directory in self._directories():
            await trio.to_thread.run_sync(remove_parts, directory)
        await trio.sleep(FIRST_S)
        while True:
            await self.round()
            await trio.sleep(EVERY_S)

    async def round(self) -> None:
        """Look at every run that is over."""
        # Ours goes on from the time at our start, which may have been set right since: the earlier one removes less.
        now = min(clock.wall(), time.time())
        try:
            files = await trio.to_thread.run_sync(runs_of, self._state_dir)
            await self._give_up_old(files, now)
            over = await trio.to_thread.run_sync(self._archive.runs_over)
        except (OSError, ThreepioError) as error:
            self._report(f"cannot look for runs that are over: {error}")
            return
        late = f"it was over for longer than {self._keep_s / 86_400:g} days"
        is_durable: bool | None = None
        for run in over:
            mine = files.get(run.run_id, {})
            # What we noted ourselves of one that we gave up makes it no younger.
            last = (
                0.0 if run.run_id in self._given_up else await trio.to_thread.run_sync(self._changed, run.run_id, mine)
            )
            age = now - max(run.ended, last)
            is_plain = any(path.suffix != COMPRESSED for path in mine.values())
            is_to_go = age > self._keep_s or run.is_being_removed  # somebody asked for the latter, and it was cut short
            if self._daemon.works_on(run.run_id) or not (is_to_go or (is_plain and age > PACK_AFTER_S)):
                continue
            try:
                if not await trio.to_thread.run_sync(_all_stored, run, mine):
                    log.debug("run %s is left alone: not all of its journal is stored", run.run_id)
                elif is_to_go:
                    await self._remove(run, mine, "as was begun" if run.is_being_removed else late)
                else:
                    if is_durable is None:
                        is_durable = await self._committer.call(Store.checkpoint)
                    if is_durable:
                        await self._pack(run, mine)
            except (OSError, ThreepioError) as error:
                self._report(f"run {run.run_id}: housekeeping: {error}")
        try:
            await trio.to_thread.run_sync(self._remove_outputs, now)
        except (OSError, ThreepioError) as error:
            self._report(f"cannot remove the output of commands that began no run: {error}")

    async def remove(self, run_id: str) -> None:
        """Remove a run that is over, or of which nothing was seen for FORSAKEN_S, now.

        Raises:
            ThreepioError: it is not over, or not all of its journal is stored.
        """
        if run_id in self._daemon.unseen():
            files = await trio.to_thread.run_sync(journal_files, self._state_dir, run_id)
            await self._give_up_forsaken(run_id, files)
        over = await trio.to_thread.run_sync(self._archive.runs_over)
        run = next((run for run in over if run.run_id == run_id), None)
        if run is None or self._daemon.works_on(run_id):
            raise ThreepioError(f"the run {run_id} is not over yet")
        try:
            files = (await trio.to_thread.run_sync(runs_of, self._state_dir)).get(run_id, {})
            if not await trio.to_thread.run_sync(_all_stored, run, files):
                raise ThreepioError(f"not all of the journal of run {run_id} is stored: see threepio verify {run_id}")
            await self._remove(run, files, "asked to")
        except OSError as error:
            raise ThreepioError(f"cannot remove the run {run_id}: {error.strerror}") from error

    async def _give_up_old(self, files: dict[str, dict[int, Path]], now: float) -> None:
        """Give up runs of which nothing was seen for as long as runs are kept."""
        for run_id in self._daemon.unseen():
            last = await self._last_of_unseen(run_id, files.get(run_id, {}))
            if last is not None and now - last > max(self._keep_s, FORSAKEN_S):
                self._given_up.add(run_id)
                await self._daemon.give_up(run_id)

    async def _give_up_forsaken(self, run_id: str, files: dict[int, Path]) -> None:
        last = await self._last_of_unseen(run_id, files)
        if last is None:
            return
        age = time.time() - last
        if age <= FORSAKEN_S:
            raise ThreepioError(
                f"whether the run {run_id} is over cannot be seen from here, and something came of it {age / 60:.0f} "
                f"minutes ago: it can be removed when nothing came for {FORSAKEN_S / 60:.0f}"
            )
        await self._daemon.give_up(run_id)

    async def _last_of_unseen(self, run_id: str, files: dict[int, Path]) -> float | None:
        """Return when the last thing came of a run of which nothing can be seen; None if something was seen meanwhile."""
        changed = await trio.to_thread.run_sync(self._changed, run_id, files)
        updated = self._daemon.unseen().get(run_id)  # asked after the wait
        return None if updated is None else max(updated, changed)

    async def _pack(self, run: OverRun, files: dict[int, Path]) -> None:
        for path in files.values():
            if path.suffix != COMPRESSED and not self._daemon.works_on(run.run_id):
                await trio.to_thread.run_sync(pack, path, _Pause(self._daemon))

    async def _remove(self, run: OverRun, files: dict[int, Path], why: str) -> None:
        try:
            await self._daemon.remove_report(run.run_id)
        except OSError as error:  # its place may be gone for good, or another's by now: no reason to keep the run
            self._report(f"run {run.run_id}: its report cannot be removed: {error}")
        await self._committer.call(partial(Store.begin_removal, key=run.key))
        await trio.to_thread.run_sync(self._remove_files, run.run_id, files)
        rows = STEP_ROWS // 10
        while True:
            started = clock.monotonic()
            if await self._committer.call(partial(Store.remove_rows, key=run.key, count=rows)):
                break
            took = clock.monotonic() - started
            rows = max(1, min(STEP_ROWS, int(rows * STEP_S / max(took, 1e-6)), rows * 2))
            await trio.sleep(took)  # others have at least as much of the store as this
        self._given_up.discard(run.run_id)  # its id may be used again
        self._daemon.forget(run.run_id)
        log.info("run %s: removed, %s", run.run_id, why)

    def _remove_files(self, run_id: str, files: dict[int, Path]) -> None:
        for path in files.values():
            path.unlink(missing_ok=True)
            path.with_name(path.name + COMPRESSED).unlink(missing_ok=True)
        places = self._state_dir
        for path in (places.observed(run_id), places.now_page(run_id), places.output(run_id)):
            path.unlink(missing_ok=True)
        for path in places.path.glob(f"stacks/{run_id}.*"):  # of processes that were killed
            if path.stem == run_id:  # and not of another run, whose id begins with this one's and a dot
                path.unlink(missing_ok=True)
        for directory in self._directories():
            sync_directory(directory)  # before the rows: no journal comes back after a power cut without its row

    def _remove_outputs(self, now: float) -> None:
        """Remove what commands printed that began no run, and that are as old as runs that are removed."""
        old = [path for path in without_run(self._state_dir, ()) if now - last_change([path]) > self._keep_s]
        if old:
            known = self._archive.run_ids()
            for path in old:
                if path.stem not in known and has_ended(path):
                    path.unlink(missing_ok=True)

    def _changed(self, run_id: str, files: dict[int, Path]) -> float:
        """Return when a file of the run was changed last, 0 if there is none: a clock may have been wrong at its end."""
        return last_change((*files.values(), self._state_dir.observed(run_id)))

    def _directories(self) -> list[Path]:
        spare = self._state_dir.spare
        return [self._state_dir.journals] + ([spare] if spare is not None and spare.is_dir() else [])

    def _report(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._tell(text)


class _Pause:
    """Gives way: as long as was worked, and while runs need the machine."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._since = clock.monotonic()

    def __call__(self) -> None:
        trio.from_thread.check_cancelled()
        time.sleep(clock.monotonic() - self._since)
        while self._daemon.is_busy:
            trio.from_thread.check_cancelled()
            time.sleep(BUSY_POLL_S)
        self._since = clock.monotonic()


def _all_stored(run: OverRun, files: dict[int, Path]) -> bool:
    plain = {number: path for number, path in files.items() if path.suffix != COMPRESSED}
    if plain and is_of_another(plain, run.producer_id):  # its id was used again, when its journal was gone
        return False
    return all(is_stored(path, run.offsets.get(number, 0)) for number, path in plain.items())
