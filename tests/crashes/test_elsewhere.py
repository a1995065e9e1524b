"""Deaths that are no cell of the matrix: between tests, outside of tests, after the end, behind a wrapper, many workers."""

from __future__ import annotations

import importlib.util
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.place import QUICK, Place, wait_until
from threepio_client.faulttrace import deepest

DIES = "os.kill(os.getpid(), signal.SIGSEGV)"
PLAIN = "def test_one(): pass\ndef test_two(): pass\n"
PYTEST = f"{sys.executable} -m pytest -q {' '.join(QUICK)} -p no:faulthandler"


class Suite:
    """A directory with a suite, run in the shared place with a daemon."""

    def __init__(self, place: Place, path: Path) -> None:
        self._place = place
        self.path = path
        self.run_id = "-".join(filter(None, "".join(c if c.isalnum() else " " for c in path.name).split()))[-60:]

    def write(self, name: str, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(self, *arguments: str, **environ: str) -> int:
        """Run pytest as a plain shell does; return its exit code."""
        where = ("-p", "no:faulthandler", "-p", "no:randomly", f"--rootdir={self.path}", str(self.path))
        return self._place.pytest("-q", *arguments, *where, THREEPIO_RUN_ID=self.run_id, **environ).returncode

    def view(self) -> dict[str, Any]:
        """Return what the daemon says, once the run is over."""
        wait_until(lambda: self._place.status(self.run_id).get("state") not in {None, "running", "detached"})
        return self._place.status(self.run_id)


@pytest.fixture
def suite(shared: Place, tmp_path: Path) -> Suite:
    return Suite(shared, tmp_path)


def test_in_a_directorys_conftest(suite: Suite) -> None:
    suite.write("test_a.py", PLAIN)
    suite.write("below/conftest.py", f"import os, signal\n{DIES}")
    suite.write("below/test_b.py", PLAIN)

    assert suite.run() == -signal.SIGSEGV

    view = suite.view()
    assert view["verdict"]["text"] == "the process was killed by SIGSEGV while collecting below"
    assert [(slot["nodeid"], slot["phase"]) for slot in view["in_flight"]] == [("below", "collect")]


@pytest.mark.parametrize(
    ("hook", "finished"),
    [
        ("pytest_collection_modifyitems", 0),
        ("pytest_collection_finish", 0),
        ("pytest_runtestloop", 0),
        ("pytest_runtest_logfinish", 1),
    ],
)
def test_in_a_hook(suite: Suite, hook: str, finished: int) -> None:
    suite.write("conftest.py", f"import os, signal\ndef {hook}(): {DIES}")
    suite.write("test_a.py", PLAIN)

    assert suite.run() == -signal.SIGSEGV

    view = suite.view()
    assert (view["in_flight"], view["finished"]) == ([], finished)  # a test is over with the report of its teardown
    assert view["verdict"]["text"].startswith("the process was killed by SIGSEGV while no test was in flight")


@pytest.mark.parametrize(
    "where",
    ["def pytest_unconfigure(): die()", "atexit.register(die)"],
    ids=["pytest_unconfigure", "atexit"],
)
def test_after_the_end_the_outcome_stands_and_the_death_is_noted(suite: Suite, where: str) -> None:
    suite.write("conftest.py", f"import atexit, os, signal\ndef die(): {DIES}\n{where}")
    suite.write("test_a.py", PLAIN)

    assert suite.run() == -signal.SIGSEGV
    wait_until(lambda: suite.view()["death"])

    view = suite.view()
    assert (view["state"], view["death"]["signal"]) == ("passed", "SIGSEGV")
    assert view["verdict"]["text"] == "passed; afterwards the process was killed by SIGSEGV"


def test_a_forked_child_that_returns_into_pytest_and_dies_is_not_the_run(suite: Suite) -> None:
    suite.write(
        "test_a.py",
        f"import os, signal\ndef test_one():\n    if not os.fork(): {DIES}\n    os.wait()\ndef test_two(): pass",
    )
    suite.write(
        "test_b.py",
        "import os, signal\nchildren = []\ndef test_three():\n    children.append(os.fork())\n"
        "def test_four():\n    if not children[0]: os.kill(os.getpid(), signal.SIGKILL)\n    os.wait()\n",
    )

    assert suite.run() == 0

    view = suite.view()
    assert (view["state"], view["finished"], view["death"]) == ("passed", 4, None)


@pytest.mark.parametrize("wrapper_says", ["0", "3"])
def test_what_a_shell_around_it_says_is_not_taken_for_its_end(suite: Suite, shared: Place, wrapper_says: str) -> None:
    suite.write("test_a.py", f"import os, signal\ndef test_dies(): {DIES}")

    done = shared.threepio(
        "run",
        "--",
        "sh",
        "-c",
        f"{PYTEST} --rootdir={suite.path} {suite.path}; exit {wrapper_says}",
        THREEPIO_RUN_ID=suite.run_id,
    )

    assert done.returncode == (70 if wrapper_says == "0" else 3)
    view = suite.view()
    assert (view["death"]["signal"], view["death"]["exit_code"]) == ("SIGSEGV", None)
    assert "in the call of test_a.py::test_dies" in view["verdict"]["text"]


def test_a_process_killed_together_with_its_daemon(place: Place) -> None:
    place.suite(
        "import os, signal, time\ndef test_one(): pass\ndef test_dies():\n    open('at-it', 'w').close()\n    time.sleep(60)"
    )
    place.start_daemon()
    process = place.start_pytest("-p", "no:randomly", "test_it.py", THREEPIO_RUN_ID="run")
    wait_until((place.path / "at-it").exists)
    place.kill_daemon()
    process.kill()
    process.communicate()

    place.start_daemon()
    wait_until(lambda: place.status("run")["state"] == "crashed")

    view = place.status("run")
    assert [(slot["nodeid"], slot["phase"]) for slot in view["in_flight"]] == [("test_it.py::test_dies", "call")]
    assert view["verdict"]["text"].endswith(
        "in the call of test_it.py::test_dies, how it ended is not known; 1 of 2 tests have no outcome"
    )
    assert view["death"]["signal"] is None


def test_each_of_many_workers_that_die_is_named(suite: Suite) -> None:
    suite.write("test_a.py", "import os, pytest\n@pytest.mark.parametrize('n', range(6))\ndef test_it(n): os._exit(n)")

    assert suite.run("-n", "2", "--max-worker-restart", "100") == 1

    view = suite.view()
    assert (view["workers_died"], view["counts"]["failed"], view["finished"]) == (6, 6, 6)
    for death in view["worker_deaths"]:
        assert death["nodeid"] == f"test_a.py::test_it[{death['exit_code']}]"
        assert death["phase"] == "call"


@pytest.mark.skipif(importlib.util.find_spec("pytest_timeout") is None, reason="pytest-timeout is not installed")
def test_what_pytest_timeout_says_before_it_ends_the_process(suite: Suite, shared: Place) -> None:
    suite.write("test_a.py", "import time\ndef test_hangs():\n    time.sleep(60)")

    command = f"{PYTEST} --timeout=3 --timeout-method=thread --rootdir={suite.path} {suite.path}".split()
    done = shared.threepio("run", "--", *command, THREEPIO_RUN_ID=suite.run_id, PYTEST_ADDOPTS="")

    assert done.returncode == 1
    view = suite.view()
    assert (view["death"]["exit_code"], view["state"]) == (1, "crashed")
    assert "in the call of test_a.py::test_hangs" in view["verdict"]["text"]
    assert deepest(view["death"]["trace"]) == f"{suite.path}/test_a.py:3 in test_hangs"


def test_what_a_worker_said_of_itself_is_kept_though_the_session_went_on(suite: Suite, shared: Place) -> None:
    dies = "import ctypes\ndef test_dies():\n    ctypes.string_at(0)\ndef test_fine(): pass"
    suite.write("test_a.py", dies)

    command = f"{PYTEST} -p faulthandler -n 1 --rootdir={suite.path} {suite.path}".split()
    done = shared.threepio("run", "--", *command, THREEPIO_RUN_ID=suite.run_id, PYTEST_ADDOPTS="")

    assert done.returncode == 1
    wait_until(lambda: suite.view()["death"])  # the daemon's tick takes it in
    view = suite.view()
    assert (view["state"], view["workers_died"], view["counts"]["passed"]) == ("failed", 1, 1)
    assert f'File "{suite.path}/test_a.py", line 3 in test_dies' in view["death"]["trace"]
    status = shared.threepio("status", suite.run_id).stdout
    said = "its own last words: Fatal Python error: Segmentation fault, "
    assert said in status
    assert said in done.stdout


def test_killed_within_the_now_page_nothing_is_named(suite: Suite) -> None:
    """Not known beats wrong: the writer is killed while the slot's sequence lock is odd."""
    suite.write(
        "conftest.py",
        "import os, signal, pytest\nfrom threepio_client import nowpage\n"
        "@pytest.hookimpl(trylast=True)\n"
        "def pytest_runtest_setup(item):\n"
        "    if item.name == 'test_two':\n"
        "        class Body:\n"
        "            def pack_into(self, *arguments): os.kill(os.getpid(), signal.SIGKILL)\n"
        "        nowpage._BODY = Body()\n",
    )
    suite.write("test_a.py", "def test_one(): pass\ndef test_two(): pass\ndef test_three(): pass\n")

    assert suite.run() == -signal.SIGKILL

    view = suite.view()
    assert view["in_flight"] == []
    assert view["verdict"]["text"] == "the process was killed by SIGKILL; 1 of 3 tests have no outcome"
