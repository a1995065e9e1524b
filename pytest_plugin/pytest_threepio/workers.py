"""The xdist workers of a session, seen from its controller: a slot of the now page for each, who died, and how."""

from __future__ import annotations

import signal
import subprocess
from typing import Any, Final

from threepio_client import nowpage, process
from threepio_client.adapter import Adapter
from threepio_client.cgroup import OomKills
from threepio_client.events import EventType, Payload, Phase
from threepio_client.nowpage import SLOTS, NoPage, NowPage

REAPED_S: Final = 1.0
"""How long to wait for a worker's process whose connection has ended: its last moments, as a core dump, take their time."""


class Workers:
    """Gives out slots and emits workerStart and workerGone."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter
        self._slots: dict[str, int] = {}
        self._oom_kills = OomKills()
        self._died_in: dict[str, str] = {}

    def configure(self, node: Any) -> None:
        """Give a worker that is about to start its slot, the lowest one that is free."""
        free = set(range(1, SLOTS)) - set(self._slots.values())
        if not isinstance(self._adapter.now, NoPage) and free:
            slot = self._slots[node.gateway.id] = min(free)
            node.workerinput["threepio_now_page"] = str(self._adapter.now_path)
            node.workerinput["threepio_slot"] = slot
            node.workerinput["threepio_run_id"] = self._adapter.run_id

    def started(self, node: Any) -> None:
        """Say that a worker is there, and which process it is."""
        payload: Payload = {"worker": node.gateway.id}
        child = _process_of(node)
        if child is not None:
            payload["process"] = process.identity_of(child.pid).to_payload()
        self._adapter.emit(EventType.WORKER_START, payload)

    def ended(self, node: Any, error: object) -> None:
        """Take back a worker's slot; if it died, say how and in what."""
        worker = node.gateway.id
        found = self._take_slot(worker)
        if found is not None and found.is_test:  # xdist tells of one that was stopped twice, first without an error
            self._died_in[worker] = found.phase
        if not error or error == "keyboard-interrupt":  # xdist's word for a worker that stopped as the user wanted
            return
        payload: Payload = {"worker": worker, "error": str(error), **_end_of(node)}
        payload["outOfMemory"] = payload.get("signal") == signal.SIGKILL and self._oom_kills.rose()
        if found is not None:
            payload |= {"nodeid": found.text, "phase": found.phase}
        self._adapter.emit(EventType.WORKER_GONE, payload)

    def look(self) -> None:
        """Notice kills for memory that were not a worker's: a later death is not theirs."""
        self._oom_kills.look_sometimes()

    def phase_of_death(self, worker: str) -> str:
        """Return in which phase of a test a worker died, as far as the now page knew: xdist's report does not say it."""
        return self._died_in.get(worker, Phase.CALL)

    def _take_slot(self, worker: str) -> nowpage.InFlight | None:
        """Clear the slot of a worker that is gone; return what it said."""
        slot = self._slots.pop(worker, None)
        if slot is None:
            return None
        try:
            slots = nowpage.read(self._adapter.now_path).slots
            page = NowPage(self._adapter.now_path, slot, create=False)
        except OSError:
            return None  # the suite removed the page: nobody can read it either
        page.clear()
        page.close()
        return next((found for found in slots if found.worker == worker), None)


def _process_of(node: Any) -> Any:
    """Return the Popen of a worker that runs on this machine, else None. execnet has no public way to it."""
    return getattr(getattr(node.gateway, "_io", None), "popen", None)


def _end_of(node: Any) -> Payload:
    child = _process_of(node)
    if child is None:
        return {}
    try:
        code = child.wait(REAPED_S)
    except subprocess.TimeoutExpired:
        return {}  # it only closed its connection
    return {"signal": -code} if code < 0 else {"exitCode": code}
