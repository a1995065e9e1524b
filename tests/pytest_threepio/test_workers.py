"""The controller's view of its workers: slots are given back, and of a death how it was and in what."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_threepio import workers as workers_module
from pytest_threepio.workers import Workers
from threepio_client import clock, nowpage
from threepio_client.events import EventType, Payload, Phase
from threepio_client.nowpage import SLOTS, NoPage, NowPage


class Adapter:
    """Keeps what is emitted; has a real now page."""

    def __init__(self, path: Path) -> None:
        self.now_path = path / "run.now"
        self.now: NowPage = NowPage(self.now_path, 0, create=True)
        self.run_id = "run"
        self.events: list[tuple[str, Payload]] = []

    def emit(self, event_type: str, payload: Payload) -> None:
        self.events.append((event_type, payload))


@pytest.fixture
def adapter(tmp_path: Path) -> Iterator[Adapter]:
    found = Adapter(tmp_path)
    page = found.now
    yield found
    page.close()


@pytest.fixture
def workers(adapter: Adapter) -> Workers:
    return Workers(adapter)  # type: ignore[arg-type]  # what it uses of one


def node(name: str, code: str | None = None) -> Any:
    """Return xdist's node of a worker, with a process that has run some code where there is one."""
    popen = subprocess.Popen([sys.executable, "-c", code]) if code is not None else None
    io = SimpleNamespace(popen=popen)
    return SimpleNamespace(gateway=SimpleNamespace(id=name, _io=io), workerinput={})


def begin(it: Any, nodeid: str, phase: Phase = Phase.CALL, *, is_test: bool = True) -> None:
    """Write what a worker writes into its slot."""
    page = NowPage(
        Path(it.workerinput["threepio_now_page"]), it.workerinput["threepio_slot"], it.gateway.id, create=False
    )
    page.set(nodeid, phase, clock.wall(), is_test=is_test)
    page.close()


def in_flight(adapter: Adapter) -> list[str]:
    return [slot.text for slot in nowpage.read(adapter.now_path).slots]


WAYS: dict[str, Payload] = {
    "import os; os._exit(0)": {"exitCode": 0},
    "import os; os._exit(3)": {"exitCode": 3},
    "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)": {"signal": 11},
    "import os, signal; os.kill(os.getpid(), signal.SIGKILL)": {"signal": 9},
}


@pytest.mark.parametrize("code", WAYS)
def test_of_a_death_is_told_how_and_in_what(adapter: Adapter, workers: Workers, code: str) -> None:
    it = node("gw0", code)
    workers.configure(it)
    begin(it, "test_a.py::test_one", Phase.TEARDOWN)

    workers.ended(it, "Not properly terminated")

    expected = {
        "worker": "gw0",
        "error": "Not properly terminated",
        "outOfMemory": False,
        "nodeid": "test_a.py::test_one",
        "phase": "teardown",
        **WAYS[code],
    }
    assert adapter.events == [(EventType.WORKER_GONE, expected)]
    assert workers.phase_of_death("gw0") == "teardown"
    assert in_flight(adapter) == []


def test_a_death_outside_of_tests_has_no_phase_for_a_test(adapter: Adapter, workers: Workers) -> None:
    it = node("gw0", "import os; os._exit(1)")
    workers.configure(it)
    begin(it, "test_a.py", Phase.COLLECT, is_test=False)

    workers.ended(it, "Not properly terminated")

    assert (adapter.events[0][1]["nodeid"], adapter.events[0][1]["phase"]) == ("test_a.py", "collect")
    assert workers.phase_of_death("gw0") == Phase.CALL


@pytest.mark.parametrize("error", [None, "", "keyboard-interrupt"])
def test_a_worker_that_ended_as_it_should_is_no_death(adapter: Adapter, workers: Workers, error: str | None) -> None:
    it = node("gw0")
    workers.configure(it)
    begin(it, "", Phase.SESSION_END, is_test=False)

    workers.ended(it, error)

    assert adapter.events == []
    assert in_flight(adapter) == []


def test_slots_do_not_run_out_however_many_workers_die(adapter: Adapter, workers: Workers) -> None:
    stays = node("gw0")
    workers.configure(stays)
    begin(stays, "test_a.py::test_stays")
    for number in range(1, 3 * SLOTS):
        it = node(f"gw{number}")
        workers.configure(it)
        assert "threepio_slot" in it.workerinput
        begin(it, f"test_a.py::test_{number}")
        workers.ended(it, "Not properly terminated")

    assert [payload["nodeid"] for _, payload in adapter.events] == [f"test_a.py::test_{n}" for n in range(1, 3 * SLOTS)]
    assert in_flight(adapter) == ["test_a.py::test_stays"]


def test_with_more_workers_than_slots_the_rest_is_not_named(adapter: Adapter, workers: Workers) -> None:
    nodes = [node(f"gw{number}") for number in range(SLOTS + 3)]
    for it in nodes:
        workers.configure(it)

    slots = [it.workerinput.get("threepio_slot") for it in nodes]
    assert slots == [*range(1, SLOTS), None, None, None, None]

    workers.ended(nodes[-1], "Not properly terminated")
    assert "nodeid" not in adapter.events[0][1]


def test_a_replaced_worker_does_not_take_its_predecessors_name(adapter: Adapter, workers: Workers) -> None:
    first, second = node("gw0"), node("gw1")
    workers.configure(first)
    begin(first, "test_a.py::test_one")
    workers.ended(first, "Not properly terminated")
    workers.configure(second)  # gets the same slot, and dies before it writes into it

    workers.ended(second, "Not properly terminated")

    assert second.workerinput["threepio_slot"] == first.workerinput["threepio_slot"]
    assert "nodeid" not in adapter.events[1][1]


def test_a_worker_that_cannot_be_waited_for_ended_in_a_way_that_is_not_known(
    adapter: Adapter, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers_module, "REAPED_S", 0.01)
    it = node("gw0", "import time; time.sleep(60)")
    try:
        workers.configure(it)
        workers.ended(it, "Not properly terminated")
    finally:
        it.gateway._io.popen.kill()
        it.gateway._io.popen.wait()

    payload = adapter.events[0][1]
    assert "signal" not in payload
    assert "exitCode" not in payload


def test_a_worker_on_another_machine_has_no_process(adapter: Adapter, workers: Workers) -> None:
    it = node("gw0")
    workers.started(it)
    workers.ended(it, "Not properly terminated")

    assert adapter.events[0] == (EventType.WORKER_START, {"worker": "gw0"})
    assert "exitCode" not in adapter.events[1][1]


def test_without_a_now_page_deaths_are_told_all_the_same(adapter: Adapter, workers: Workers) -> None:
    adapter.now = NoPage()
    it = node("gw0", "import os; os._exit(3)")
    workers.configure(it)
    assert it.workerinput == {}

    workers.ended(it, "Not properly terminated")

    assert adapter.events[0][1]["exitCode"] == 3


def test_a_page_that_the_suite_removed_names_nothing(adapter: Adapter, workers: Workers) -> None:
    it = node("gw0", "import os; os._exit(3)")
    workers.configure(it)
    begin(it, "test_a.py::test_one")
    adapter.now_path.unlink()

    workers.ended(it, "Not properly terminated")

    assert adapter.events[0][1]["exitCode"] == 3
    assert "nodeid" not in adapter.events[0][1]


@pytest.mark.parametrize(("code", "expected"), [(9, True), (15, False)])
def test_out_of_memory_is_what_was_killed_while_the_counter_rose(
    adapter: Adapter, monkeypatch: pytest.MonkeyPatch, code: int, expected: bool
) -> None:
    kills = SimpleNamespace(rose=lambda: True, look_sometimes=lambda: None)
    monkeypatch.setattr(workers_module, "OomKills", lambda: kills)
    workers = Workers(adapter)  # type: ignore[arg-type]
    it = node("gw0", f"import os; os.kill(os.getpid(), {code})")
    workers.configure(it)

    workers.ended(it, "Not properly terminated")

    assert adapter.events[0][1]["outOfMemory"] is expected
