"""Plugins from the wild: a suite for each that really uses it, run without and with threepiod, then all of them at once.

What must be the same is checked by `Checker.run`; `real_times` is what must hold in all of them besides.

Not all get along with each other, with or without threepiod, so the suite with all of them leaves some out: with
pytest-forked and pytest-rerunfailures every test fails; pytest-benchmark switches itself off under xdist; the auto modes
of pytest-asyncio, pytest-trio and anyio want the same tests, so marks are used. `--disable-socket` needs
`--allow-unix-socket` beside asyncio and trio.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import pytest

from tests.needs import SUBTESTS, needs
from tests.suites.checker import SUITE, Checker, Compared
from threepio_client.archive import Archive

DAY = 86400.0


@pytest.fixture
def real_times() -> Callable[[Compared], None]:
    """Return a check that a run's times are real ones: within this test, and in order."""
    begin = time.time()

    def check(done: Compared) -> None:
        end = time.time()
        stamps = [event["timestamp"] for event in done.events]
        assert stamps == sorted(stamps)
        # The wall clock may be set a little meanwhile; what a suite travels to is years away.
        assert begin - DAY < stamps[0] <= stamps[-1] < end + DAY
        for payload in done.of_type("testCase"):
            assert stamps[0] - DAY < payload["started"] < end + DAY
            assert 0 <= payload["duration"] <= (end - begin) * 1000
        assert done.status["started"] == stamps[0]

    return check


def names_in_order(done: Compared) -> list[str]:
    """Return the names of the tests in the order of their first outcomes."""
    return list(dict.fromkeys(payload["testName"] for payload in done.of_type("testCase")))


XDIST = """
import os
import pytest
@pytest.mark.xdist_group("one")
@pytest.mark.parametrize("n", range(4))
def test_group(n, worker_id, testrun_uid):
    assert worker_id in {"gw0", "gw1"} and testrun_uid
    assert n != 2
@pytest.mark.xdist_group("two")
@pytest.mark.parametrize("n", range(4))
def test_other(n):
    if n == 1:
        pytest.skip("one")
@pytest.mark.xdist_group("two")
@pytest.mark.xfail
def test_xfail(): assert 0
"""


@needs("xdist")
@pytest.mark.thorough
def test_xdist(compare: Checker, real_times: Callable[[Compared], None]) -> None:
    done = compare.run(XDIST, "-n", "2", "--dist", "loadgroup", with_workers=True)

    assert done.counts == {"passed": 6, "failed": 1, "skipped": 1, "xfailed": 1}
    assert {payload["worker"] for payload in done.of_type("testCase")} == {"gw0", "gw1"}
    real_times(done)


TIMEOUT = """
import time
import pytest
def test_before(): pass
@pytest.mark.timeout(0.3)
def test_call(): time.sleep(60)
@pytest.fixture
def slow():
    time.sleep(60)
@pytest.mark.timeout(0.3)
def test_setup(slow): pass
@pytest.fixture
def slow_end():
    yield
    time.sleep(60)
@pytest.mark.timeout(0.3)
def test_teardown(slow_end): pass
def test_after(): pass
"""


@needs("timeout")
@pytest.mark.thorough
def test_timeout_by_signal(compare: Checker, real_times: Callable[[Compared], None]) -> None:
    done = compare.run(TIMEOUT, "--timeout-method=signal", plugins=("timeout",))

    assert done.counts == {"passed": 3, "failed": 1, "errors": 2}
    assert done.case("test_call")["duration"] > 100  # of the 300 ms after which its alarm rings
    real_times(done)


@needs("timeout")
@pytest.mark.thorough
def test_timeout_by_thread_ends_the_process(compare: Checker) -> None:
    suite = "import time\ndef test_before(): pass\ndef test_hangs(): time.sleep(60)\ndef test_never(): pass"
    done = compare.run(
        suite, "--timeout=0.5", "--timeout-method=thread", plugins=("timeout",), dies=True, state="crashed", kind="exit"
    )

    assert done.exit_code == 1
    assert (done.status["finished"], done.status["never_ran"]) == (1, 2)
    assert "test_it.py::test_hangs" in done.status["verdict"]["text"]


@needs("flaky")
@pytest.mark.parametrize("workers", [0, 2])
def test_flaky_reports_an_xfail_for_each_attempt_and_it_is_one_test(compare: Checker, workers: int) -> None:
    suite = """
import itertools
import pytest
from flaky import flaky
counter = itertools.count()
@flaky(max_runs=3)
def test_third(): assert next(counter) == 2
@flaky
@pytest.mark.xfail
def test_xfail(): assert 0
def test_fine(): pass
"""
    done = compare.run(suite, "-n", str(workers), plugins=("flaky", "xdist"), with_workers=bool(workers))

    assert done.outcomes()[f"{SUITE}::test_xfail"] == ["XFAIL", "XFAIL"]
    assert done.counts["xfailed"] == 2  # as pytest counts
    assert (done.status["collected"], done.status["finished"], done.status["never_ran"]) == (3, 3, 0)
    assert done.status["state"] == "passed"


@pytest.mark.parametrize(("crashes", "state"), [(1, "passed"), (9, "failed")])
def test_a_test_that_is_run_again_because_its_worker_crashed_is_finished_once(
    compare: Checker, crashes: int, state: str
) -> None:
    conftest = """
def pytest_handlecrashitem(crashitem, report, sched):  # as rerunfailures does it
    if len(open("crashes").read()) < 2:
        report.outcome = "rerun"
        sched.mark_test_pending(crashitem)
def pytest_report_teststatus(report):
    return ("rerun", "R", "RERUN") if report.outcome == "rerun" else None
"""
    suite = f"""
import os, signal
def test_crashes():
    with open("crashes", "a+") as file:
        file.seek(0)
        if len(file.read()) < {crashes}:
            file.write("x")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
def test_fine(): pass
"""
    files = {"conftest.py": conftest, SUITE: suite}
    done = compare.run(files, "-n", "2", plugins=("xdist",), with_workers=True)

    assert done.outcomes()[f"{SUITE}::test_crashes"] == ["RERUN", "PASS" if state == "passed" else "FAIL"]
    assert (done.status["collected"], done.status["finished"], done.status["never_ran"]) == (2, 2, 0)
    assert done.status["state"] == state


@needs("rerunfailures")
def test_subtests_of_an_attempt_that_is_repeated_for_its_teardown_are_taken_back(compare: Checker) -> None:
    suite = """
import unittest, pytest
count = 0
@pytest.fixture(autouse=True)
def fixture():
    global count
    count += 1
    yield
    assert count > 1
class TestIt(unittest.TestCase):
    def test_it(self):
        with self.subTest(a=1): self.assertGreater(count, 1)
"""
    done = compare.run(suite, "--reruns", "1", plugins=("rerunfailures",))

    assert done.status["state"] == "passed"
    assert done.status["counts"]["subtests_failed"] == done.status["counts"]["failed"] == 0
    assert Archive(compare.place.state_dir).bad_results(done.run_id) == []


@needs("rerunfailures")
def test_a_test_that_is_repeated_for_its_teardown_is_finished_once_beside_a_protocol_that_does_nothing(
    compare: Checker,
) -> None:
    conftest = "def pytest_runtest_protocol(item, nextitem): return None"
    suite = """
attempts = []
def test_before(): pass
def test_breaks_once(request):
    attempts.append(1)
    if len(attempts) == 1: request.addfinalizer(lambda: 1 / 0)
"""
    done = compare.run({"conftest.py": conftest, SUITE: suite}, "--reruns", "1", plugins=("rerunfailures",))

    assert (done.status["state"], done.status["finished"], done.status["never_ran"]) == ("passed", 2, 0)


@needs("rerunfailures")
@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_a_test_that_passed_at_last_and_broke_in_its_teardown_is_not_flaky(
    compare: Checker, workers: tuple[str, ...]
) -> None:
    suite = """
import itertools, pytest
attempts = itertools.count(1)
@pytest.fixture
def breaks():
    yield
    assert 0
@pytest.mark.flaky(reruns=1)
def test_breaks(breaks): assert next(attempts) == 2
@pytest.mark.flaky(reruns=1)
def test_fine(): assert next(attempts) % 2 == 0
"""
    plugins = ("rerunfailures", "xdist") if workers else ("rerunfailures",)
    done = compare.run(suite, *workers, plugins=plugins, with_workers=bool(workers))

    assert (done.status["state"], done.status["counts"]["errors"], done.status["counts"]["passed"]) == ("failed", 1, 2)
    assert done.status["flaky"] == 1


@needs("rerunfailures")
def test_a_test_whose_worker_died_in_its_teardown_has_its_outcome_with_reruns_too(compare: Checker) -> None:
    suite = """
import os, pytest
@pytest.fixture
def dies():
    yield
    os.kill(os.getpid(), 9)
def test_dies(dies): assert 0
def test_fine(): pass
"""
    done = compare.run(suite, "-n", "2", "--reruns", "0", plugins=("rerunfailures", "xdist"), with_workers=True)

    assert (done.status["collected"], done.status["finished"], done.status["never_ran"]) == (2, 2, 0)
    assert done.status["state"] == "failed"


@needs("flaky")
def test_where_flaky_is_installed_a_test_that_is_given_twice_is_two(compare: Checker) -> None:
    done = compare.run("def test_one(): pass", SUITE, SUITE, "--keep-duplicates", plugins=("flaky",), reportlog=False)

    assert (done.status["state"], done.status["collected"], done.status["finished"]) == ("passed", 2, 2)


@needs("rerunfailures")
@pytest.mark.thorough
def test_rerunfailures(compare: Checker, real_times: Callable[[Compared], None]) -> None:
    suite = """
import itertools
import pytest
counter = itertools.count()
@pytest.mark.flaky(reruns=3)
def test_third(): assert next(counter) == 2
def test_never(): assert 0
@pytest.mark.flaky(reruns=2, only_rerun="OSError")
def test_other_error(): raise ValueError
fixtures = itertools.count()
@pytest.fixture
def weak(): assert next(fixtures) == 1
def test_setup(weak): pass
"""
    done = compare.run(suite, "--reruns", "1", plugins=("rerunfailures",))

    assert done.outcomes() == {
        f"{SUITE}::test_third": ["RERUN", "RERUN", "PASS"],
        f"{SUITE}::test_never": ["RERUN", "FAIL"],
        f"{SUITE}::test_other_error": ["FAIL"],
        f"{SUITE}::test_setup": ["RERUN", "PASS"],
    }
    assert done.status["flaky"] == 2
    real_times(done)


@needs("randomly")
@pytest.mark.thorough
def test_randomly(compare: Checker, real_times: Callable[[Compared], None]) -> None:
    suite = """
import random
import pytest
@pytest.mark.parametrize("n", range(12))
def test_order(n): print(n)
def test_same_numbers(): raise RuntimeError(f"drawn: {random.random()} {random.getstate()[1][:9]}")
class TestIt:
    def test_a(self): pass
    def test_b(self): pass
"""
    done = compare.run(suite, "-v", "-p", "randomly", "--randomly-seed=4711", plugins=("randomly",))

    printed = [line.split("::")[-1].split()[0] for line in done.output.splitlines() if "%]" in line]
    assert names_in_order(done) == printed
    assert printed != sorted(printed, key=lambda name: int(name[11:-1]) if "[" in name else 99)
    assert done.counts == {"passed": 14, "failed": 1}
    real_times(done)


COVERED = {
    "covered.py": "def used(): return 1\ndef unused():\n    a = 1\n    b = 2\n    return a + b\n",
    SUITE: "import covered\ndef test_one(): assert covered.used() == 1\ndef test_two(): pass",
}


@needs("pytest_cov")
@pytest.mark.parametrize(("gate", "state"), [("20", "passed"), ("99", "failed")])
@pytest.mark.thorough
def test_cov(compare: Checker, real_times: Callable[[Compared], None], gate: str, state: str) -> None:
    arguments = ("--cov=covered", "--cov-branch", "--cov-report=term-missing", f"--cov-fail-under={gate}")
    kind = "error" if state == "failed" else "passed"
    done = compare.run(COVERED, *arguments, plugins=("pytest_cov",), state=state, kind=kind)

    assert done.exit_code == (1 if state == "failed" else 0)
    assert (done.status["state"], done.counts) == (state, {"passed": 2})
    assert "covered.py" in done.output
    real_times(done)


@needs("pytest_cov", "xdist")
@pytest.mark.thorough
def test_cov_of_workers(compare: Checker) -> None:
    arguments = ("-n", "2", "--cov=covered", "--cov-fail-under=99")
    done = compare.run(
        COVERED, *arguments, plugins=("pytest_cov", "xdist"), with_workers=True, state="failed", kind="error"
    )

    assert (done.exit_code, done.status["state"], done.counts) == (1, "failed", {"passed": 2})


ASYNCIO = """
import asyncio
import pytest, pytest_asyncio
@pytest_asyncio.fixture
async def resource():
    await asyncio.sleep(0)
    yield 7
    await asyncio.sleep(0)
@pytest_asyncio.fixture
async def broken_end():
    yield
    raise RuntimeError("end")
@pytest.mark.asyncio
async def test_passes(resource): assert resource == 7
@pytest.mark.asyncio
async def test_fails(resource):
    await asyncio.sleep(0)
    assert resource == 8
@pytest.mark.asyncio
async def test_times_out():
    async with asyncio.timeout(0.01):
        await asyncio.sleep(60)
@pytest.mark.asyncio
async def test_group():
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(0))
        raise ValueError("in the group")
@pytest.mark.asyncio
async def test_teardown(broken_end): pass
@pytest.mark.asyncio
@pytest.mark.xfail
async def test_xfail(): assert 0
@pytest.mark.skip
@pytest.mark.asyncio
async def test_skip(): pass
def test_plain(): pass
"""


@needs("asyncio")
@pytest.mark.parametrize("mode", ["strict", "auto"])
@pytest.mark.thorough
def test_asyncio(compare: Checker, real_times: Callable[[Compared], None], mode: str) -> None:
    suite = ASYNCIO if mode == "strict" else ASYNCIO.replace("@pytest.mark.asyncio\n", "")
    done = compare.run(suite, f"--asyncio-mode={mode}", plugins=("asyncio",))

    assert done.counts == {"passed": 3, "failed": 3, "errors": 1, "xfailed": 1, "skipped": 1}
    real_times(done)


@needs("anyio", "trio")
@pytest.mark.thorough
def test_anyio_with_both_backends(compare: Checker, real_times: Callable[[Compared], None]) -> None:
    suite = """
import anyio
import pytest
pytestmark = pytest.mark.anyio
@pytest.fixture
async def resource():
    await anyio.sleep(0)
    yield 7
async def test_passes(resource, anyio_backend_name): assert resource == 7
async def test_fails(resource):
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 60)
        raise ValueError("in the group")
async def test_times_out():
    with anyio.fail_after(0.01):
        await anyio.sleep(60)
async def test_only_asyncio(anyio_backend_name):
    if anyio_backend_name == "trio":
        pytest.skip("not here")
"""
    done = compare.run(suite, "--tb=short", plugins=("anyio",))

    assert done.counts == {"passed": 3, "failed": 4, "skipped": 1}
    assert f"{SUITE}::test_passes[trio]" in done.outcomes()
    real_times(done)


@needs("trio")
@pytest.mark.thorough
def test_trio_with_a_clock_that_jumps(compare: Checker, real_times: Callable[[Compared], None]) -> None:
    suite = """
import trio
import pytest
@pytest.fixture
async def server(nursery):
    return await nursery.start(serve)
async def serve(task_status=trio.TASK_STATUS_IGNORED):
    task_status.started(7)
    await trio.sleep_forever()
async def test_passes(server): assert server == 7
async def test_fails(server): assert server == 8
async def test_years(autojump_clock):
    before = trio.current_time()
    await trio.sleep(10**9)
    assert trio.current_time() - before >= 10**9
async def test_too_slow(autojump_clock):
    with trio.fail_after(5):
        await trio.sleep(10)
async def test_nursery():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep, 0)
        raise ValueError("in the nursery")
"""
    done = compare.run({SUITE: suite, "pytest.ini": "[pytest]\ntrio_mode = true\n"}, plugins=("trio",))

    assert done.counts == {"passed": 2, "failed": 3}
    real_times(done)


@needs("socket")
@pytest.mark.parametrize("allowed", [(), ("--allow-unix-socket",), ("--allow-hosts=127.0.0.1",)], ids=str)
@pytest.mark.thorough
def test_socket(compare: Checker, real_times: Callable[[Compared], None], allowed: tuple[str, ...]) -> None:
    suite = """
import socket
import pytest, pytest_socket
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX], ids=["inet", "unix"])
def test_socket(family): socket.socket(family).close()
@pytest.mark.enable_socket
def test_enabled(): socket.socket().close()
def test_fixture(socket_enabled): socket.socket().close()
@pytest.mark.allow_hosts(["127.0.0.2"])
def test_hosts():
    with pytest.raises(pytest_socket.SocketConnectBlockedError):
        socket.create_connection(("127.0.0.1", 1))
def test_after(): pass
"""
    done = compare.run(suite, "--disable-socket", *allowed, plugins=("socket",))

    assert f"{SUITE}::test_enabled" in done.outcomes()
    # Over the socket, which our own code had before it was forbidden, and not only by the journal.
    assert done.status["events"]["received"] == done.status["events"]["journaled"] == len(done.events)
    real_times(done)


FREEZEGUN = """
import datetime, time
import pytest
from freezegun import freeze_time
@freeze_time("2001-02-03")
def test_decorated(): assert datetime.date.today() == datetime.date(2001, 2, 3)
@freeze_time("2001-02-03", auto_tick_seconds=86400)
def test_ticks(): assert time.time() > time.time(), "fails"
@freeze_time("2101-02-03")
class TestFrozen:
    def test_year(self): assert time.gmtime().tm_year == 2101
    def test_fails(self): assert time.gmtime().tm_year == 2001
@pytest.fixture
def frozen():
    with freeze_time("1999-12-31", tick=True) as frozen:
        yield frozen
def test_move(frozen):
    frozen.move_to("2050-01-01")
    assert time.gmtime().tm_year == 2050
def test_for_good():
    freeze_time("2033-01-01", ignore=[]).start()
def test_frozen_still(): assert time.gmtime().tm_year == 2033
def test_fails_too(): raise RuntimeError("in 2033")
"""


@needs("freezegun", "xdist")
@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.thorough
def test_freezegun(compare: Checker, real_times: Callable[[Compared], None], workers: str) -> None:
    done = compare.run(FREEZEGUN, "-n", workers, "--dist=loadfile", plugins=("xdist",), with_workers=workers != "0")

    assert done.counts == {"passed": 5, "failed": 3}
    real_times(done)


@needs("time_machine")
@pytest.mark.thorough
def test_time_machine(compare: Checker, real_times: Callable[[Compared], None]) -> None:
    suite = """
import datetime, time
import pytest, time_machine
@time_machine.travel(0.0, tick=False)
def test_epoch(): assert time.time() == 0.0
@time_machine.travel(datetime.datetime(2101, 1, 1), tick=True)
def test_future(): assert time.gmtime().tm_year == 2101
def test_fixture(time_machine):
    time_machine.move_to(datetime.datetime(1985, 10, 26, 1, 24))
    assert datetime.datetime.now().year == 1985
    time_machine.shift(10**9)
    assert time.gmtime().tm_year == 1985, "fails"
@pytest.mark.time_machine("2000-01-01")
def test_marked(): assert time.gmtime().tm_year == 2000
def test_for_good():
    time_machine.travel(datetime.datetime(2044, 1, 1)).start()
def test_there_still(): assert time.gmtime().tm_year == 2044
"""
    done = compare.run(suite, plugins=("time_machine",))

    assert done.counts == {"passed": 5, "failed": 1}
    real_times(done)


@needs("fakefs", "pyfakefs")
@pytest.mark.thorough
def test_pyfakefs(compare: Checker, real_times: Callable[[Compared], None]) -> None:
    suite = """
import os, pathlib, shutil, tempfile
import pytest
def test_before(tmp_path): pass
def test_write(fs):
    fs.create_file("/var/data.txt", contents="x")
    assert os.listdir("/var") == ["data.txt"]
    assert not os.path.exists("/proc/self")
def test_fails(fs): assert open("/nowhere")
def test_full(fs):
    fs.set_disk_usage(10)
    with pytest.raises(OSError):
        pathlib.Path("/big").write_text("x" * 100)
def test_removed(fs):
    shutil.rmtree(tempfile.gettempdir())
    raise RuntimeError("removed")
class TestClass:
    def test_one(self, fs_class): fs_class.create_file("/one")
    def test_two(self, fs_class): assert os.path.exists("/one")
def test_module(fs_module): fs_module.create_file("/in/module")
def test_module_still(fs_module): assert os.path.exists("/in/module")
def test_session(fs_session): fs_session.create_file("/for/all")
def test_session_still(): assert os.path.exists("/for/all")
"""
    done = compare.run(suite, plugins=("fakefs",))

    assert done.counts == {"passed": 8, "failed": 2, "errors": 1} or done.counts == {"passed": 9, "failed": 2}
    real_times(done)


@needs("pytest_mock")
@pytest.mark.thorough
def test_mock(compare: Checker, real_times: Callable[[Compared], None]) -> None:
    # `mocker` takes its patches back after the outcome was told, so all of them are in force while the event is emitted.
    suite = """
import builtins, json, os, socket, time
import pytest
PLACES = ["builtins.open", "os.write", "os.fsync", "os.open", "os.getpid", "time.time", "time.monotonic", "json.dumps",
          "socket.socket", "socket.socket.send", "msgpack.packb", "zlib.crc32"]
@pytest.mark.parametrize("place", PLACES)
def test_patched(mocker, place): mocker.patch(place)
@pytest.mark.parametrize("place", PLACES)
def test_raises(mocker, place): mocker.patch(place, side_effect=RuntimeError("patched"))
def test_all(mocker):
    for place in PLACES:
        mocker.patch(place, return_value=0)
def test_spy(mocker):
    spied = mocker.spy(json, "dumps")
    json.dumps([])
    assert spied.call_count == 2
def test_session(session_mocker): session_mocker.patch("time.time", return_value="frozen")
def test_after(): assert time.time() == "frozen"
"""
    # reportlog looks json.dumps up late, so it does not survive this.
    done = compare.run(suite, "--assert=plain", plugins=("pytest_mock",), reportlog=False)

    assert done.counts == {"passed": 27, "failed": 1}
    real_times(done)


@needs("hypothesis", "hypothesispytest")
@pytest.mark.thorough
def test_hypothesis(compare: Checker, real_times: Callable[[Compared], None]) -> None:
    suite = """
import pytest
from hypothesis import HealthCheck, assume, given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
settings.register_profile("same", derandomize=True, database=None, deadline=None, max_examples=30)
settings.load_profile("same")
@given(st.integers())
def test_holds(n): assert n + 0 == n
@given(st.lists(st.integers()))
def test_fails(numbers): assert len(numbers) < 3
@given(st.integers())
def test_health(n): assume(False)
@given(st.text(st.characters(categories=["Cs"]), min_size=1))
def test_lone_surrogates(text): raise ValueError(text)
@pytest.mark.parametrize("n", [1, 2])
@given(m=st.integers(0, 9))
def test_two_errors(n, m):
    if m == 3: raise ValueError(m)
    if m == 4: raise KeyError(m)
@given(st.integers())
def test_skips(n): pytest.skip("for one example")
class Machine(RuleBasedStateMachine):
    total = 0
    @rule(n=st.integers(0, 5))
    def add(self, n):
        self.total += n
        assert self.total < 9
TestMachine = Machine.TestCase
"""
    done = compare.run(suite, plugins=("hypothesispytest",))

    assert done.counts == {"passed": 1, "failed": 6, "skipped": 1}
    assert "FailedHealthCheck" in done.case("test_health")["error"]["stack"]
    assert "test_fails(" in done.case("test_fails")["error"]["stack"]
    real_times(done)


HAS_SUBTESTS = """
import unittest
import pytest
def test_all_kinds(subtests):
    with subtests.test("passes"): pass
    with subtests.test("fails", n=1): assert 0
    with subtests.test("skips"): pytest.skip("one")
    with subtests.test("xfails"): pytest.xfail("known")
    with subtests.test(n=object): pass
def test_itself_fails(subtests):
    with subtests.test("passes"): pass
    assert 0
def test_none_fails(subtests):
    for n in range(3):
        with subtests.test(n=n): pass
class TestUnit(unittest.TestCase):
    def test_sub(self):
        for n in range(4):
            with self.subTest("message", n=n):
                if n == 1: self.skipTest("one")
                assert n != 2
"""


@needs(SUBTESTS)
@pytest.mark.parametrize("verbosity", [(), ("-q",), ("-v",)], ids=["", "-q", "-v"])
@pytest.mark.thorough
def test_subtests(compare: Checker, real_times: Callable[[Compared], None], verbosity: tuple[str, ...]) -> None:
    done = compare.run(HAS_SUBTESTS, *verbosity, plugins=("subtests",))

    assert done.exit_code == 1
    subtests = [payload for payload in done.of_type("testCase") if "subtest" in payload]
    assert len(subtests) == 5 + 1 + 3 + 4
    assert [payload["status"] for payload in subtests[:5]] == ["PASS", "FAIL", "SKIP", "XFAIL", "PASS"]
    assert done.status["finished"] == 4
    real_times(done)


@needs("pytest_forked")
@pytest.mark.thorough
def test_forked(compare: Checker, real_times: Callable[[Compared], None]) -> None:
    suite = """
import os, signal
import pytest
changed = []
def test_passes(): changed.append(1)
def test_alone(): assert not changed
def test_fails(): assert 0
def test_killed(): os.kill(os.getpid(), signal.SIGKILL)
def test_exits(): os._exit(3)
@pytest.fixture
def bad_end():
    yield
    assert 0
def test_teardown(bad_end): pass
def test_skips(): pytest.skip("here")
@pytest.mark.xfail
def test_xfail_dies(): os.kill(os.getpid(), signal.SIGTERM)
def test_closes():
    os.closerange(3, 256)
"""
    done = compare.run(suite, "--forked", "--tb=short", plugins=("pytest_forked",))

    assert done.outcomes()[f"{SUITE}::test_killed"] == ["FAIL"]
    assert "signal 9" in done.case("test_killed")["error"]["stack"]
    assert done.status["finished"] == 9
    real_times(done)


@needs("repeat")
@pytest.mark.parametrize("scope", ["function", "session"])
@pytest.mark.thorough
def test_repeat(compare: Checker, real_times: Callable[[Compared], None], scope: str) -> None:
    suite = """
import pytest
@pytest.mark.parametrize("word", ["a", "b"])
def test_word(word): assert word == "a"
@pytest.mark.repeat(2)
def test_twice(): pass
def test_thrice(): pass
"""
    done = compare.run(suite, "-v", "--count", "3", f"--repeat-scope={scope}", plugins=("repeat",))

    assert done.counts == {"passed": 8, "failed": 3}
    assert len(done.outcomes()) == 11
    real_times(done)


@needs("benchmark")
@pytest.mark.parametrize("only", [True, False], ids=["only", "all"])
@pytest.mark.thorough
def test_benchmark(compare: Checker, real_times: Callable[[Compared], None], only: bool) -> None:
    suite = """
def test_fast(benchmark): assert benchmark(lambda: 7) == 7
def test_pedantic(benchmark): assert benchmark.pedantic(sum, args=([1, 2],), rounds=3, iterations=2) == 4
def test_raises(benchmark):
    @benchmark
    def boom(): raise ValueError("in the benchmark")
def test_plain(): pass
"""
    arguments = ("--benchmark-max-time=0.01", "--benchmark-min-rounds=2", *(["--benchmark-only"] if only else []))
    # The table shows times, so the lines of two runs differ: the summary and the last line do not.
    done = compare.run(suite, *arguments, plugins=("benchmark",), with_workers=True)

    assert done.counts == {"passed": 1, "failed": 2, "skipped": 1} if only else {"passed": 2, "failed": 2}
    real_times(done)


ALL = {
    "pytest.ini": "[pytest]\nasyncio_mode = strict\n",
    "covered.py": "def used(): return 1\ndef unused():\n    return 2\n",
    SUITE: """
import asyncio, datetime, itertools, json, os, socket, time
import anyio, covered, pytest, time_machine, trio
from freezegun import freeze_time
from hypothesis import given, settings, strategies as st
counter = itertools.count()
def test_covered(): assert covered.used() == 1
@freeze_time("2001-02-03")
def test_freezegun(): assert datetime.date.today() == datetime.date(2001, 2, 4)
@time_machine.travel(0.0, tick=False)
def test_time_machine(): assert time.time() == 0.0
def test_fs(fs):
    fs.create_file("/only/here")
    assert os.listdir("/only") == ["here", "there"]
def test_mocker(mocker):
    for place in ("builtins.open", "os.write", "time.time", "json.dumps"):
        mocker.patch(place, side_effect=RuntimeError)
@settings(derandomize=True, database=None, deadline=None, max_examples=20)
@given(st.integers())
def test_hypothesis(n): assert n < 100
def test_subtests(subtests):
    for n in range(3):
        with subtests.test(n=n): assert n != 1
@pytest.mark.asyncio
async def test_asyncio(): await asyncio.sleep(0)
@pytest.mark.anyio
async def test_anyio(): await anyio.sleep(0)
@pytest.mark.trio
async def test_trio(autojump_clock): await trio.sleep(10**6)
def test_socket(): socket.create_connection(("127.0.0.1", 1))
@pytest.mark.flaky(reruns=2)
def test_flaky(): assert next(counter) % 2
@pytest.mark.timeout(0.3)
def test_timeout(): time.sleep(60)
""",
}
TOGETHER = (
    "xdist", "timeout", "rerunfailures", "randomly", "pytest_cov", "asyncio", "anyio", "trio", "socket", "time_machine",
    "fakefs", "pytest_mock", "hypothesispytest", "subtests", "repeat",
)  # fmt: skip


@needs(*(SUBTESTS if name == "subtests" else name for name in TOGETHER), "freezegun", "hypothesis", "trio")
@pytest.mark.parametrize("workers", [0, 2])
def test_all_that_get_along_together(compare: Checker, real_times: Callable[[Compared], None], workers: int) -> None:
    arguments = itertools.chain(
        ("--randomly-seed=11", "--count=2", "--timeout=60", "--cov=covered", "--cov-fail-under=100"),
        ("--disable-socket", "--allow-unix-socket", "-p", "no:cacheprovider"),
        ("-n", str(workers)) if workers else (),
    )
    done = compare.run(ALL, *arguments, plugins=TOGETHER, with_workers=bool(workers), reportlog=False)

    assert done.exit_code == 1
    assert done.status["finished"] == 28  # twice 13 tests, one of them with both of anyio's backends
    assert done.counts["rerun"] >= 1
    assert len(done.outcomes()) == 28
    assert done.of_type("runComplete")[0]["pluginErrors"] == 0
    real_times(done)
