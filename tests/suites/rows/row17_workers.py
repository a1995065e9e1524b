"""Row 17: pytest-xdist."""

from __future__ import annotations

from tests.suites.checker import Compared
from tests.suites.rows.row14_skips import MIXED
from tests.suites.variant import Variant

DOES = "xdist `-n 2`, every `--dist` mode, a worker that dies, `--maxprocesses`, `-n0`"
HOLDS = "counted as pytest counts, with worker; the dead worker's test named"

_ALL = {**MIXED, "failed": 5, "passed": 9, "skipped": 5}


def _check_workers(result: Compared) -> None:
    assert result.status["collected"] == result.status["finished"] == 24
    workers = [p.get("worker") for p in result.of_type("testCase") if p["phase"] != "collect"]
    assert len(workers) == 26
    assert set(workers) <= {"gw0", "gw1"}, workers
    assert result.case("test_values[a::b]")["parentNames"] == ["test_it.py", "TestGroup"]


def _check_each(result: Compared) -> None:
    workers = [str(p.get("worker")) for p in result.of_type("testCase")]
    assert sorted(workers) == ["gw0"] * 4 + ["gw1"] * 4, workers


def _check_deaths(result: Compared) -> None:
    deaths = {found["nodeid"]: found for found in result.status["worker_deaths"]}
    assert set(deaths) == {"test_it.py::test_dies", "test_it.py::test_dies_in_setup"}, deaths
    call, setup = deaths["test_it.py::test_dies"], deaths["test_it.py::test_dies_in_setup"]
    assert (call["phase"], call["exit_code"]) == ("call", 3), call
    assert (setup["phase"], setup["signal"]) == ("setup", "SIGKILL"), setup
    dead = result.case("test_dies")
    assert "crashed while running" in dead["error"]["message"], dead
    assert result.status["finished"] == result.status["collected"] == 5


def _check_no_restart(result: Compared) -> None:
    assert [found["nodeid"] for found in result.status["worker_deaths"]] == ["test_it.py::test_dies"]


VARIANTS = [
    *(
        Variant(name=f"-n 2 --dist {mode}", suite="many", arguments=("-n", "2", "--dist", mode), plugins=("xdist",),
                with_workers=True, counts=_ALL, check=_check_workers)
        for mode in ("load", "loadscope", "loadfile", "loadgroup", "worksteal")
    ),
    Variant(name="-n 2 --dist loadgroup, with groups", suite="groups", arguments=("-n", "2", "--dist", "loadgroup"),
            plugins=("xdist",), with_workers=True, counts={"failed": 2, "passed": 4}),
    Variant(name="--dist each", suite="four", arguments=("--tx", "2*popen", "--dist", "each"), plugins=("xdist",),
            with_workers=True, counts={"failed": 4, "passed": 4}, check=_check_each),
    Variant(name="-n 2 --dist no", suite="four", arguments=("-n", "2", "--dist", "no"), plugins=("xdist",),
            with_workers=True, counts={"failed": 2, "passed": 2}),
    Variant(name="-n0", suite="many", arguments=("-n0",), plugins=("xdist",), counts=_ALL),
    Variant(name="-n 4 --maxprocesses 1", suite="many", arguments=("-n", "4", "--maxprocesses", "1"), plugins=("xdist",),
            with_workers=True, counts=_ALL, check=_check_workers),
    Variant(name="two workers die", suite="worker_dies", arguments=("-n", "2"), plugins=("xdist",), with_workers=True,
            counts={"failed": 2, "passed": 3}, check=_check_deaths),
    Variant(name="a worker dies and none may follow", suite="worker_dies", plugins=("xdist",), own_output=True,
            arguments=("-n", "1", "--max-worker-restart=0"), exit_code=1, state=("interrupted", "incomplete"),
            check=_check_no_restart),
]  # fmt: skip
