"""Tests that do what they like with the process they run in: outcomes, exit code, journal and counts stay right."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.place import Place, wait_until
from tests.suites.checker import SUITE, Checker
from threepio_client.events import LINE_LIMIT

CLOSED_BY_THE_SUITE = ("the suite closed the journal's descriptor",)
LOST = tuple(f"{number} events were lost" for number in range(1, 20))
AFTERWARDS = ("threepiod was slow or away", "the connection to threepiod ended")
"""Neither where the adapter has connected again by then and all is stored; which of them depends on what was to be sent."""


def test_closed_descriptors_are_opened_again_and_nobody_elses_file_is_written(compare: Checker) -> None:
    suite = """
import os
opened = []
def test_before(): pass
def test_close():
    os.closerange(3, 4096)
    opened.extend(open(f"own-{n}", "w+") for n in range(20))
def test_after(): pass
def test_own_files_are_untouched():
    assert [os.fstat(file.fileno()).st_size for file in opened] == [0] * 20
    for file in opened:
        file.close()
def test_close_again():
    os.closerange(3, 4096)
def test_last(): pass
"""
    # pytest's own plugins cannot end without their descriptors
    done = compare.run(
        suite,
        "-s",
        "-v",
        "-p",
        "no:logging",
        "-p",
        "no:faulthandler",
        complaints=CLOSED_BY_THE_SUITE,
        may_say=AFTERWARDS,
    )

    assert done.exit_code == 0
    assert done.status["state"] == "passed"
    assert done.of_type("runComplete")[0]["stats"]["reopened"] >= 2


PATCHED = """
import builtins, json, msgpack, os, socket, struct, sys, time, zlib
import pytest

def boom(*arguments, **named): raise RuntimeError("patched")

PLACES = [
    (builtins, "open"), (os, "write"), (os, "open"), (os, "fstat"), (os, "fdatasync"), (os, "fsync"), (os, "close"),
    (os, "getpid"), (json, "dumps"), (json, "loads"), (json.JSONEncoder, "encode"), (msgpack, "packb"),
    (msgpack, "unpackb"), (socket, "socket"), (socket.socket, "send"), (struct, "pack"), (zlib, "crc32"),
    (time, "time"), (time, "monotonic"), (time, "perf_counter"), (time, "clock_gettime"), (time, "sleep"),
]

@pytest.mark.parametrize(("module", "name"), PLACES, ids=[f"{m.__name__}.{n}" for m, n in PLACES])
def test_patched(monkeypatch, module, name):
    monkeypatch.setattr(module, name, boom)
    if module is time:
        monkeypatch.setattr(module, name, lambda *a: "not a number")

def test_all_patched(monkeypatch):
    for module, name in PLACES:
        monkeypatch.setattr(module, name, boom)

def test_patched_for_good():
    time.time = boom
    json.dumps = boom
    socket.socket = boom
    builtins.open = boom

def test_after(): pass
"""


def test_patched_modules_are_not_looked_up(compare: Checker) -> None:
    done = compare.run(PATCHED, "-v", "--assert=plain")

    assert len(done.outcomes()) == 25
    for payload in done.of_type("testCase"):
        assert 0 <= payload["duration"] < 60_000
    stamps = [event["timestamp"] for event in done.events]
    assert stamps == sorted(stamps)
    assert stamps[-1] - stamps[0] < 60


def test_a_complaint_amid_patched_modules_changes_nothing(compare: Checker) -> None:
    suite = PATCHED.replace(
        "def test_all_patched(monkeypatch):\n", "def test_all_patched(monkeypatch):\n    os.closerange(3, 4096)\n"
    )

    done = compare.run(
        suite,
        *("-v", "-s", "--assert=plain", "-p", "no:logging", "-p", "no:faulthandler"),
        complaints=CLOSED_BY_THE_SUITE,
        may_say=AFTERWARDS,
    )

    assert len(done.outcomes()) == 25


def test_an_error_of_the_plugin_is_said_and_counted_and_changes_nothing(compare: Checker) -> None:
    conftest = """
import sys, traceback
def boom(*arguments, **named): raise RuntimeError("patched")
def pytest_collection():
    payloads = sys.modules.get("pytest_threepio.payloads")
    if payloads is not None:
        payloads.milliseconds = boom
def pytest_runtest_setup():
    traceback.format_exception = boom  # what would tell where the error was
"""
    done = compare.run(
        {"conftest.py": conftest, SUITE: "def test_one(): pass\ndef test_two(): pass"},
        loses=True,
        complaints=("an error in the plugin's pytest_runtest_logreport, please report it: RuntimeError",),
    )

    assert done.exit_code == 0
    assert "2 passed in" in done.output
    assert (done.status["state"], done.status["finished"]) == ("incomplete", 0)


def test_a_process_without_surroundings(compare: Checker) -> None:
    suite = """
import os, sys, logging, warnings
def test_gone(tmp_path_factory):
    gone = os.path.abspath("gone")
    os.mkdir(gone)
    os.chdir(gone)
    os.rmdir(gone)
def test_environ():
    os.environ.clear()
def test_umask():
    os.umask(0)
def test_modules():
    for name in list(sys.modules):
        if name.startswith(("threepio", "pytest_threepio", "msgpack", "json", "platformdirs")):
            del sys.modules[name]
def test_stdout():
    sys.stdout = sys.stderr = None
def test_fails():
    assert os.environ == {"a": "b"}
"""
    done = compare.run(suite, "-v", "--tb=line")

    assert done.exit_code == 1
    journals = compare.place.state_dir.journals
    assert {path.stat().st_mode & 0o777 for path in journals.iterdir()} == {0o600}


FORKS = """
import os, sys, time
def test_child_exits():
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
def test_child_sleeps():
    pid = os.fork()
    if not pid:
        os.closerange(0, 3)
        time.sleep(60)
        os._exit(0)
    with open("sleeper", "w") as file:
        file.write(str(pid))
def test_child_raises():
    pid = os.fork()
    if not pid:
        raise SystemExit(3)
    os.waitpid(pid, 0)
def test_after(): pass
"""


def test_forked_children_tell_nothing_and_hold_nothing(compare: Checker) -> None:
    done = compare.run(FORKS, "-s", "-q", "--tb=no", "-p", "no:faulthandler")
    directories = [done.directory, done.directory.parent.parent / "none" / "suite"]
    pids = [int((directory / "sleeper").read_text()) for directory in directories]
    try:
        held, held_without = ([os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()] for pid in pids)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    sockets = [[name for name in names if name.startswith("socket:")] for names in (held, held_without)]
    assert len(sockets[0]) == len(sockets[1])
    assert list(done.outcomes().values()) == [["PASS"]] * 4
    assert done.status["state"] == "passed"


def test_multiprocessing_children_tell_nothing(compare: Checker) -> None:
    suite = """
import multiprocessing, warnings
def work(n): return n * n
def test_pool():
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        assert pool.map(work, range(4)) == [0, 1, 4, 9]
def test_after(): pass
"""
    done = compare.run(suite)

    assert done.status["state"] == "passed"


FILE_SIZE_LIMIT = """
import resource
def test_before(): pass
def test_limit():
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
def test_after(): pass
"""
FOR_A_WHILE = """
import resource
def test_before(): pass
def test_limit():
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
def test_not_written(): pass
def test_lift():
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
def test_after(): pass
"""


@pytest.mark.parametrize("suite", [FILE_SIZE_LIMIT, FOR_A_WHILE], ids=["for ever", "for a while"])
def test_what_a_suite_keeps_from_being_written_the_daemon_journals(compare: Checker, suite: str) -> None:
    done = compare.run(suite, "-s", complaints=("cannot write the journal",), may_say=(*AFTERWARDS, "cannot write "))

    assert done.status["state"] == "passed"
    assert compare.place.state_dir.journal(done.run_id, 1).exists()


def test_a_file_size_limit_without_a_daemon_is_said_and_never_green(compare: Checker) -> None:
    done = compare.run(
        FILE_SIZE_LIMIT,
        "-s",
        loses=True,
        complaints=("cannot write the journal",),
        may_say=(*AFTERWARDS, "cannot write ", "cannot sync", *LOST),
        environ={"THREEPIO_SOCKET": str(compare.place.path / "none")},
    )

    assert done.exit_code == 0
    assert "3 passed in" in done.output
    wait_until(lambda: compare.answer(done.run_id)["state"] not in {"running", "detached"})
    assert compare.answer(done.run_id)["state"] in {"incomplete", "crashed"}


def test_events_that_were_lost_for_a_while_are_counted(compare: Checker) -> None:
    done = compare.run(
        FOR_A_WHILE,
        "-s",
        loses=True,
        complaints=("cannot write the journal",),
        may_say=(*AFTERWARDS, "cannot write "),
        environ={"THREEPIO_SOCKET": str(compare.place.path / "none")},
    )

    assert done.exit_code == 0
    wait_until(lambda: compare.answer(done.run_id)["state"] not in {"running", "detached"})
    done.status = compare.answer(done.run_id)
    assert done.status["state"] == "incomplete"
    assert done.status["events"]["lost"] > 0
    assert "lost" in done.status["verdict"]["text"]


def test_no_descriptor_is_left(compare: Checker) -> None:
    suite = """
import resource
def test_limit():
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
def test_after(): pass
"""
    done = compare.run(suite, "-s")

    assert done.status["state"] == "passed"


HOSTILE_IDS = {
    "a::b": "a::b",
    "[x]::y": "[x]::y",
    "../up": "../up",
    "new\nline": "new\nline",
    "nul\0": "nul\0",
    "escape\x1b[31m": "escape\x1b[31m",
    "bidi\u202e": "bidi\u202e",
    "emoji\U0001f916": "emoji\U0001f916",
    "surrogate\udcff": "surrogate\\udcff",
    "long" + "g" * 10_240: "long" + "g" * 10_240,
}


@pytest.mark.parametrize("with_workers", [False, True], ids=["one process", "workers"])
def test_hostile_ids(compare: Checker, with_workers: bool) -> None:
    # execnet can carry neither a lone surrogate nor, in all versions, what is not UTF-8
    names = [name for name in HOSTILE_IDS if not (with_workers and "\udcff" in name)]
    files = {
        SUITE: f"import pytest\nNAMES = {names!a}\n"
        "@pytest.mark.parametrize('name', NAMES, ids=NAMES)\ndef test_one(name): assert 0, name",
        "pytest.ini": "[pytest]\ndisable_test_id_escaping_and_forfeit_all_rights_to_community_support = true\n",
    }
    arguments = ("-n", "2") if with_workers else ()

    done = compare.run(files, "--tb=no", *arguments, with_workers=with_workers)

    assert done.exit_code == 1
    expected = {f"test_one[{HOSTILE_IDS[name]}]" for name in names}
    assert {payload["testName"] for payload in done.of_type("testCase")} == expected
    assert {tuple(payload["parentNames"]) for payload in done.of_type("testCase")} == {(SUITE,)}
    collected = [nodeid for payload in done.of_type("testsCollected") for nodeid in payload["nodeids"]]
    assert set(collected) == {f"{SUITE}::{name}" for name in expected}
    shown = compare.place.threepio("failures", done.run_id, "--all")
    assert len([line for line in shown.stdout.splitlines() if line.startswith("  FAIL")]) == len(names)
    assert all(char.isprintable() or char == "\n" for char in shown.stdout)


def test_messages_of_every_kind_and_size(compare: Checker) -> None:
    suite = r"""
import pytest
SIZE = 20 * 1024 * 1024
def test_surrogate(): pytest.fail("x\udcff")
def test_control(): pytest.fail("a\x1b[31mb\x00c\u202e")
def test_huge(): pytest.fail("begin" + "m" * SIZE + "end", pytrace=False)
def test_prints():
    print("p" * SIZE)
    assert False
def test_bad_repr():
    class Bad:
        def __repr__(self): raise ValueError("no repr")
    assert Bad() == 1
def test_skip_reason(): pytest.skip("s\udcff" + "r" * SIZE)
def test_property(record_property):
    record_property("k", object())
def test_exception_group():
    raise ExceptionGroup("several", [ValueError("one"), TypeError("two")])
@pytest.mark.xfail(reason="r\udcff")
def test_xfail(): assert False
"""
    done = compare.run(suite, "-q", "--tb=no", "-r", "N")

    assert done.exit_code == 1
    assert done.case("test_surrogate")["error"]["message"] == "Failed: x\\udcff"
    assert "a\x1b[31mb\0c\u202e" in done.case("test_control")["error"]["message"]
    huge = done.case("test_huge")["error"]["message"]
    assert huge.startswith("Failed: begin")
    assert huge.endswith("end")
    assert f"[... cut: {20 * 1024 * 1024 + 16} characters in all ...]" in huge
    ((_, printed),) = done.case("test_prints")["output"]
    assert f"[... cut: {20 * 1024 * 1024 + 1} characters in all ...]" in printed
    assert done.case("test_skip_reason")["skipReason"].startswith("s\\udcff")
    assert done.case("test_xfail")["xfailReason"] == "r\\udcff"
    journal = compare.place.state_dir.journal(done.run_id).read_bytes()
    assert max(len(line) for line in journal.splitlines()) <= LINE_LIMIT


def test_the_daemon_dies_where_sigpipe_kills(place: Place) -> None:
    pid = place.start_daemon()
    place.suite(f"""
import os, signal, time
def test_before(): pass
def test_kill():
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.kill({pid}, signal.SIGKILL)
    while os.path.exists("/proc/{pid}/exe") and open("/proc/{pid}/stat").read().rpartition(")")[2].split()[0] not in "ZX":
        time.sleep(0.01)
def test_after(): pass
def test_last(): pass
""")

    done = place.pytest("-v", THREEPIO_RUN_ID="pipe")

    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout
    assert any(f"threepio: {beginning}" in done.stdout for beginning in AFTERWARDS), done.stdout
    place.start_daemon()
    wait_until(lambda: place.verify("pipe")["whole"])
    assert place.status("pipe")["state"] == "passed"
