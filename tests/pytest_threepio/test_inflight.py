"""What is in flight: which test or file, in which phase, in which worker - while it runs and after a kill."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_threepio.inflight import nodeid_of
from tests.place import Place, wait_until
from tests.suites.checker import SUITE, Checker

GATE = """
import os, time
HERE = os.path.dirname(os.path.abspath(__file__))
def gate(name):
    '''Say that we are here, and wait until the test lets us go on, or is gone.'''
    open(f"{HERE}/at-{name}", "w").close()
    parent = os.getppid()
    while not os.path.exists(f"{HERE}/go-{name}"):
        time.sleep(0.01)
        if os.getppid() != parent:
            os._exit(9)
"""
CONFTEST = (
    GATE
    + """
import pytest
@pytest.fixture
def slow():
    gate("setup")
    yield
    gate("teardown")
def pytest_sessionfinish(): gate("end")
"""
)
PHASES = """
from conftest import gate
gate("import")
def test_one(slow): gate("call")
def test_after(): gate("after")
"""
EXPECTED = {
    "import": (SUITE, "collect"),
    "setup": (f"{SUITE}::test_one", "setup"),
    "call": (f"{SUITE}::test_one", "call"),
    "teardown": (f"{SUITE}::test_one", "teardown"),
    "after": (f"{SUITE}::test_after", "call"),
    "end": ("", "session end"),
}


class Session:
    """A pytest session that waits at gates."""

    def __init__(self, compare: Checker, run_id: str, files: dict[str, str], *arguments: str) -> None:
        self._compare = compare
        self.run_id = run_id
        self.path = compare.place.path / run_id
        self.path.mkdir()
        for name, text in files.items():
            (self.path / name).write_text(text)
        where = (f"--rootdir={self.path}", str(self.path))
        self.process: Popen[str] = compare.place.start_pytest(*arguments, *where, THREEPIO_RUN_ID=run_id)

    def finish(self) -> None:
        """Wait until the process has ended by itself."""
        self.output, _ = self.process.communicate()

    def wait_at(self, *gates: str) -> None:
        wait_until(lambda: all((self.path / f"at-{gate}").exists() for gate in gates))

    def let_go(self, *gates: str) -> None:
        for gate in gates:
            (self.path / f"go-{gate}").touch()

    def status(self) -> dict[str, Any]:
        return self._compare.answer(self.run_id)

    def in_flight(self) -> list[tuple[str, str, str | None]]:
        return [(slot["nodeid"], slot["phase"], slot["worker"]) for slot in self.status()["in_flight"]]


@contextmanager
def session(compare: Checker, run_id: str, files: dict[str, str], *arguments: str) -> Iterator[Session]:
    """Start a session; end it at the end however the test went."""
    found = Session(compare, run_id, files, *arguments)
    try:
        yield found
    finally:
        if found.process.returncode is None:
            found.process.kill()
        if found.process.stdout is not None:
            found.process.stdout.close()
        found.process.wait()


def test_each_phase_is_named_while_it_lasts(compare: Checker) -> None:
    with session(compare, "phases", {"conftest.py": CONFTEST, SUITE: PHASES}) as it:
        for gate, (nodeid, phase) in EXPECTED.items():
            it.wait_at(gate)
            assert it.in_flight() == [(nodeid, phase, None)], gate
            assert it.status()["state"] == "running"
            assert it.status()["in_flight"][0]["elapsed_s"] < 20
            it.let_go(gate)
        it.finish()

    assert it.process.returncode == 0, it.output
    assert it.in_flight() == []


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "with a worker"])
def test_phases_are_named_where_all_reports_come_at_the_end(compare: Checker, workers: tuple[str, ...]) -> None:
    pytest.importorskip("pytest_rerunfailures")
    files = {"conftest.py": CONFTEST, SUITE: PHASES}
    with session(compare, f"reruns{len(workers)}", files, "--reruns", "1", *workers) as it:
        it.let_go("import", "end")
        for gate in ("setup", "call", "teardown", "after"):
            it.wait_at(gate)
            assert [slot[:2] for slot in it.in_flight()] == [EXPECTED[gate]], gate
            it.let_go(gate)
        it.finish()

    assert it.process.returncode == 0, it.output


@pytest.mark.parametrize("gate", ["import", "setup", "call", "teardown", "end"])
def test_a_kill_names_what_was_in_flight(compare: Checker, gate: str) -> None:
    with session(compare, f"killed-{gate}", {"conftest.py": CONFTEST, SUITE: PHASES}) as it:
        before = list(EXPECTED)[: list(EXPECTED).index(gate)]
        it.let_go(*before)
        it.wait_at(gate)
        it.process.kill()
        it.process.wait()
        wait_until(lambda: it.status()["state"] == "crashed")

        assert it.in_flight() == [(*EXPECTED[gate], None)]


TWO_WORKERS = """
from conftest import gate
def test_a(): gate("a")
def test_b(): gate("b")
def test_c(): gate("c")
"""


def test_each_worker_has_a_slot(compare: Checker) -> None:
    with session(compare, "workers", {"conftest.py": GATE, SUITE: TWO_WORKERS}, "-n", "2") as it:
        it.wait_at("a", "b")
        slots = it.in_flight()
        assert {slot[:2] for slot in slots} == {(f"{SUITE}::test_a", "call"), (f"{SUITE}::test_b", "call")}
        assert {slot[2] for slot in slots} == {"gw0", "gw1"}

        it.process.kill()
        it.process.wait()
        wait_until(lambda: it.status()["state"] == "crashed")

        assert set(it.in_flight()) == set(slots)


GOES_ON = """
import os, time
import pytest
@pytest.mark.parametrize("n", range(6))
def test_it(n):
    controller = os.getppid()
    with open(f"at-{os.environ['PYTEST_XDIST_WORKER']}", "w") as file:
        file.write(str(os.getpid()))
    while os.getppid() == controller:
        time.sleep(0.01)
    time.sleep(0.1)
"""


def test_what_orphaned_workers_do_to_their_end_is_not_taken_for_what_was_in_flight(place: Place) -> None:
    place.suite(GOES_ON)
    process = place.start_pytest("-n", "2", THREEPIO_RUN_ID="orphans")
    try:
        begun = [place.path / f"at-{worker}" for worker in ("gw0", "gw1")]
        wait_until(lambda: all(file.exists() and file.read_text() for file in begun))
    finally:
        process.kill()
        process.communicate()
    wait_until(lambda: not any(Path(f"/proc/{file.read_text()}").exists() for file in begun))

    slots = place.status("orphans")["in_flight"]

    assert {(slot["nodeid"].partition("[")[0], slot["phase"], slot["worker"]) for slot in slots} == {
        (f"{SUITE}::test_it", "call", "gw0"),
        (f"{SUITE}::test_it", "call", "gw1"),
    }


def test_a_worker_that_died_is_not_in_flight_any_more(compare: Checker) -> None:
    suite = TWO_WORKERS.replace('gate("a")', 'gate("a"); os.kill(os.getpid(), 9)').replace("from", "import os\nfrom")
    with session(compare, "one-died", {"conftest.py": GATE, SUITE: suite}, "-n", "2") as it:
        it.wait_at("a", "b")
        it.let_go("a")
        wait_until(lambda: it.status()["counts"]["failed"] == 1)
        it.wait_at("c")  # the worker that replaces the dead one has begun

        assert {slot[:2] for slot in it.in_flight()} == {(f"{SUITE}::test_b", "call"), (f"{SUITE}::test_c", "call")}
        it.let_go("b", "c")
        it.finish()

    assert it.process.returncode == 1, it.output
    assert (it.status()["finished"], it.status()["counts"]["passed"]) == (3, 2)


def test_sigterm_is_a_death_that_the_parent_can_name(compare: Checker) -> None:
    with session(compare, "ended", {"conftest.py": CONFTEST, SUITE: PHASES}) as it:
        it.let_go("import", "setup")
        it.wait_at("call")
        it.process.send_signal(signal.SIGTERM)
        assert it.process.wait() == -signal.SIGTERM
        wait_until(lambda: it.status()["state"] not in {"running", "detached"})

        assert it.in_flight() == [(f"{SUITE}::test_one", "call", None)]


@pytest.mark.parametrize(
    ("name", "nodeid"),
    [
        ("test_it.py::test_one@group", "test_it.py::test_one"),
        ("test_it.py::test_one[a@b]", "test_it.py::test_one[a@b]"),
        ("test_it.py::test_one[a@b]@group", "test_it.py::test_one[a@b]"),
        ("test_it.py::test_one", "test_it.py::test_one"),
        ("@smoke/test_it.py::test_one", "@smoke/test_it.py::test_one"),
        ("@smoke/test_it.py::test_one@group", "@smoke/test_it.py::test_one"),
    ],
)
@pytest.mark.parametrize("options", [{"dist": "loadgroup"}, {"dist": "no", "loadgroup": True}])
def test_the_group_of_xdist_is_no_part_of_a_name(
    name: str, nodeid: str, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pytest, "version_tuple", (8, 4, 2))

    assert nodeid_of(Config(options))(name) == nodeid  # type: ignore[arg-type]  # what it uses of one


def test_without_groups_a_name_is_as_it_is() -> None:
    assert nodeid_of(Config({"dist": "load"}))("t.yaml::a@b") == "t.yaml::a@b"  # type: ignore[arg-type]
    assert pytest.version_tuple < (9,) or nodeid_of(Config({"dist": "loadgroup"}))("t.yaml::a@b") == "t.yaml::a@b"  # type: ignore[arg-type]
    assert nodeid_of(Config({}))("t.yaml::a@b") == "t.yaml::a@b"  # type: ignore[arg-type]  # xdist is not installed


class Config:
    """What is asked of pytest's."""

    def __init__(self, options: dict[str, object]) -> None:
        self.option = SimpleNamespace(**options)

    def getoption(self, name: str, default: object) -> object:
        return getattr(self.option, name, default)
