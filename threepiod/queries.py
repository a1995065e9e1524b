"""Queries: what a client may ask, each answered from the live runs or, in a thread, from the archive.

A heavy query runs in a thread of its own with a read-only connection, so it never delays ingest.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

import trio

from threepio_client import clock
from threepio_client.archive import Archive
from threepio_client.errors import NoPlace, ThreepioError
from threepio_client.events import ObservationType
from threepio_client.here import is_meant, newest
from threepio_client.observed import now_page
from threepio_client.runfiles import find_run
from threepio_client.views import Facts, run_row, status_view
from threepiod.run import Run
from threepiod.runids import RunIds

QUERY_THREADS: Final = 4
"""Queries answered at once; further ones wait, so that they cannot take all of the machine."""


class Daemon(Protocol):
    """What queries need of the daemon."""

    @property
    def runs(self) -> dict[str, Run]:
        """Runs that are not over."""

    def self_status(self) -> dict[str, Any]:
        """Return the daemon's own state."""

    async def observe(self, run_id: str, event_type: str, payload: dict[str, Any]) -> None:
        """Record an observation of a run."""

    async def remove(self, run_id: str) -> None:
        """Remove a run that is over."""

    def stop(self) -> None:
        """Begin to stop."""


class Queries:
    """Answers by name."""

    def __init__(self, daemon: Daemon, archive: Archive) -> None:
        self._daemon = daemon
        self._archive = archive
        self._limiter = trio.CapacityLimiter(QUERY_THREADS)
        self._run_ids = RunIds(archive, self._limiter)
        self._heavy = trio.Lock()
        self._answers: Final[dict[str, Callable[[dict[str, Any]], Any]]] = {
            "daemon": self._self_status,
            "status": self._status,
            "runs": self._runs,
            "failures": self._failures,
            "observe": self._observe,
            "remove": self._remove,
            "stop": self._stop,
        }

    async def answer(self, name: str, params: dict[str, Any]) -> Any:
        """Return the answer to one question.

        Raises:
            ThreepioError: there is no such question or run.
        """
        found = self._answers.get(name)
        if found is None:
            raise ThreepioError(f"this threepiod does not know the question {name!r}; it may be older than the command")
        return await found(params)

    def forget(self) -> None:
        """Trust nothing that was known of which runs there are: one was removed."""
        self._run_ids.forget()

    async def _self_status(self, _params: dict[str, Any]) -> dict[str, Any]:
        return self._daemon.self_status()

    async def _status(self, params: dict[str, Any]) -> dict[str, Any]:
        run_id = await self._find(params)
        live = self._daemon.runs.get(run_id)
        if live is not None:
            return live_view(live, self._archive)
        view: dict[str, Any] = await self._in_thread(partial(self._archive.view, run_id, "daemon"))
        return view

    async def _runs(self, params: dict[str, Any]) -> list[dict[str, Any]]:
        limit = _limit(params)
        run_ids = await self._run_ids.latest_first(self._daemon.runs)
        if params.get("live"):
            run_ids = [run_id for run_id in run_ids if run_id in self._daemon.runs]
        run_ids = run_ids[:limit]
        return [run_row(await self._status({"run": run_id, "exact": True})) for run_id in run_ids]

    async def _failures(self, params: dict[str, Any]) -> dict[str, Any]:
        run_id = await self._find(params)
        async with self._heavy:  # one at a time: each holds its whole answer in memory
            status = await self._status({"run": run_id, "exact": True})
            return {"status": status, "failures": await self._in_thread(partial(self._archive.bad_results, run_id))}

    async def _find(self, params: dict[str, Any]) -> str:
        reference = str(params.get("run", "latest"))
        if params.get("exact"):
            return reference
        if reference in self._daemon.runs:
            return reference
        run_ids = await self._run_ids.latest_first(self._daemon.runs)
        if reference != "latest" or not run_ids:
            return find_run(self._archive.state_dir, run_ids, reference)
        live = self._daemon.runs.get(run_ids[0])
        if live is not None and is_meant(live.state.start):
            return run_ids[0]
        return str(await self._in_thread(partial(newest, run_ids, self._archive.start_of)))

    async def _observe(self, params: dict[str, Any]) -> bool:
        run_id = await self._find(params)
        event_type, payload = params.get("type"), params.get("payload")
        if event_type not in tuple(ObservationType) or not isinstance(payload, dict):
            raise ThreepioError("this is no observation: it has an unknown type or no payload")
        await self._daemon.observe(run_id, event_type, payload)
        return True

    async def _remove(self, params: dict[str, Any]) -> bool:
        await self._daemon.remove(await self._find(params))
        return True

    async def _stop(self, _params: dict[str, Any]) -> bool:
        self._daemon.stop()
        return True

    async def _in_thread(self, action: Callable[[], Any]) -> Any:
        try:
            return await trio.to_thread.run_sync(action, limiter=self._limiter)
        except OSError as error:
            what = f"{error.filename or 'store or journals'}: {error.strerror}"
            raise NoPlace(f"{what}. What is wrong with files and directories says: threepio doctor") from error


def live_view(run: Run, archive: Archive) -> dict[str, Any]:
    """Return the status of a run that is not over, from memory and the now page."""
    page = now_page(archive.state_dir, run.run_id)
    return status_view(
        run.state,
        Facts(
            run_id=run.run_id,
            now=clock.wall(),
            source="daemon",
            journaled=max(page.seq, run.cursor),
            received=run.cursor,
            stored=run.stored,
            acked=run.acked,
            trouble=run.trouble_note,
            detached=not run.is_connected,
            in_flight=page.slots,
            ingest=run.ingest,
        ),
    )


def _limit(params: dict[str, Any]) -> int:
    value = params.get("limit", 20)
    return value if type(value) is int and value > 0 else 20
