"""The plugin as a user meets it: on, off, required, nested; what it prints, and what it brings into the tested process."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.place import COMMAND_TIMEOUT_S, Place, wait_until
from tests.suites.checker import SUITE, Checker

LOOK = """
import json, sys, threading
def test_look(tmp_path_factory):
    loaded = sorted(sys.modules)
    threads = [thread.name for thread in threading.enumerate()]
    with open("seen.json", "w") as file:
        json.dump({"modules": loaded, "threads": threads}, file)
"""
HEAVY = {"trio", "typer", "click", "rich", "pydantic", "pydantic_core", "sqlite3", "asyncio", "logging.handlers"}


def seen(directory: Path) -> tuple[set[str], list[str]]:
    """Return (modules, threads) of a process that ran LOOK."""
    found = json.loads((directory / "seen.json").read_text())
    return set(found["modules"]), found["threads"]


def ours(modules: set[str]) -> set[str]:
    return {name for name in modules if name.partition(".")[0] in {"threepio_client", "pytest_threepio", "threepiod"}}


def test_header_and_closing_line_with_a_daemon(compare: Checker) -> None:
    done = compare.run("def test_one(): pass")

    (run_id,) = {event["payload"]["runId"] for event in done.events if event["type"] == "runStart"}
    assert done.said == [
        f"run {run_id}, events go to threepiod and its journal",
        f"run {run_id} is stored; see more: threepio status {run_id}",
    ]


def test_header_and_closing_line_without_a_daemon(place: Place) -> None:
    place.suite("def test_one(): pass")

    done = place.pytest(THREEPIO_RUN_ID="alone")

    journal = place.state_dir.journal("alone")
    said = [line for line in done.stdout.splitlines() if line.startswith("threepio")]
    assert said == [
        f"threepio: run alone, events go to journal only, {journal}",
        f"threepio: run alone is kept in {journal}; see more: threepio status alone",
    ]
    assert done.stderr == ""


@pytest.mark.parametrize("is_variable_set", [False, True])
def test_the_closing_line_says_where_commands_are_to_look(place: Place, is_variable_set: bool) -> None:
    place.suite("def test_one(): pass")
    place.suite("[pytest]\nthreepio_state_dir = its results\n", "pytest.ini")
    if not is_variable_set:
        del place.environ["THREEPIO_STATE_DIR"]

    done = place.pytest(THREEPIO_RUN_ID="alone")

    (said,) = [line for line in done.stdout.splitlines() if line.startswith("threepio: run alone is")]
    command = said.partition("see more: ")[2]
    assert command.startswith("THREEPIO_STATE_DIR=") is not is_variable_set
    line = command.replace("threepio status", f"{shlex.join(place.python)} -m threepio_client.cli status")
    assert place.shell(line).stdout.startswith("run alone: passed")


@pytest.mark.parametrize("how", ["off", "OFF", "not loaded"])
def test_off_imports_nothing_and_leaves_nothing(place: Place, how: str) -> None:
    place.suite(LOOK)
    before = {path.name for path in place.path.iterdir()}

    if how == "not loaded":
        done = place.pytest("-p", "no:threepio", "-W", "error")
        expected = set()
    else:
        done = place.pytest("-W", "error", THREEPIO=how)
        expected = {
            "pytest_threepio",
            "pytest_threepio.imports",
            "pytest_threepio.plugin",
            "threepio_client",
            "threepio_client.errors",
            "threepio_client.settings",
        }

    assert (done.returncode, done.stderr) == (0, "")
    assert "threepio:" not in done.stdout
    assert ours(seen(place.path)[0]) == expected
    assert {path.name for path in place.path.iterdir()} - before <= {"seen.json", "__pycache__"}


def test_off_by_ini_option_and_on_again_by_environment(place: Place) -> None:
    place.suite("def test_one(): pass")
    place.suite("[pytest]\nthreepio = off\nthreepio_run_id = named\n", "pytest.ini")

    assert "threepio:" not in place.pytest().stdout
    assert not place.settings.state_dir.exists()
    assert "threepio: run named" in place.pytest(THREEPIO="auto").stdout


def test_the_tested_process_stays_small(compare: Checker) -> None:
    done = compare.run(LOOK, plugins=(), reportlog=False)
    modules, threads = seen(done.directory)
    modules_without, threads_without = seen(done.directory.parent.parent / "none" / "suite")

    assert not HEAVY & (modules - modules_without)
    assert threads == threads_without == ["MainThread"]
    new = {name.partition(".")[0] for name in modules - modules_without if not name.startswith("_cython")}
    third_party = new - sys.stdlib_module_names
    assert third_party - {"cython_runtime"} == {"threepio_client", "pytest_threepio", "msgpack"}


def test_an_xdist_worker_gets_only_what_keeps_its_slot(compare: Checker) -> None:
    done = compare.run(LOOK, "-n", "1", with_workers=True, reportlog=False)
    modules, _ = seen(done.directory)

    assert not HEAVY & (modules - seen(done.directory.parent.parent / "none" / "suite")[0])
    assert "pytest_threepio.inflight" in modules
    assert not {"pytest_threepio.reporter", "threepio_client.adapter", "threepio_client.link"} & modules


@pytest.mark.parametrize("environ", [{"XDG_RUNTIME_DIR": ""}, {"HOME": "/nonexistent/home", "XDG_RUNTIME_DIR": ""}])
def test_default_places_bring_no_warning(place: Place, environ: dict[str, str]) -> None:
    place.suite("def test_one(): pass")
    environ["THREEPIO_SOCKET"] = ""  # as if it was not set

    done = place.pytest("-W", "error", PYTHONWARNINGS="error", **environ)

    assert (done.returncode, done.stderr) == (0, "")
    assert "1 passed in" in done.stdout
    assert "threepio: run" in done.stdout


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({"THREEPIO": "require"}, "no daemon at"),
        ({"THREEPIO": "maybe"}, "THREEPIO='maybe': must be one of auto, require, off"),
        ({"THREEPIO_BLOCK_MS": "soon"}, "THREEPIO_BLOCK_MS='soon'"),
        ({"THREEPIO_RUN_ID": "../out"}, "THREEPIO_RUN_ID='../out'"),
        ({"THREEPIO": "require", "THREEPIO_SOCKET": "/tmp/" + "x" * 120}, "the system allows 107"),
    ],
)
def test_a_setting_that_cannot_be_used_is_a_usage_error(place: Place, environ: dict[str, str], text: str) -> None:
    place.suite("def test_one(): pass")

    done = place.pytest(**environ)

    assert done.returncode == 4
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(place.state_dir.journals.glob("*")) if place.state_dir.journals.exists() else True


def test_require_with_a_daemon_is_a_usual_run(compare: Checker) -> None:
    done = compare.run("def test_one(): pass", environ={"THREEPIO": "require"})

    assert done.status["state"] == "passed"


def test_a_run_id_that_is_taken_gets_a_number(place: Place) -> None:
    place.suite("def test_one(): pass")
    place.pytest(THREEPIO_RUN_ID="same")

    done = place.pytest(THREEPIO_RUN_ID="same")

    assert done.returncode == 0
    assert "threepio: the run id same is taken already: this run is same-2" in done.stdout
    assert place.status("same-2")["finished"] == 1


@pytest.mark.parametrize("what", ["state", "state/journals"])
def test_a_place_that_cannot_be_used_is_said_and_the_tests_run(place: Place, what: str) -> None:
    place.suite("def test_one(): pass")
    (place.path / what).parent.mkdir(exist_ok=True)
    (place.path / what).write_text("a file where a directory should be")

    done = place.pytest()

    assert done.returncode == 0
    assert done.stdout.count("threepio: this run is not recorded:") == 1
    assert place.pytest("-p", "no:terminal").returncode == 0
    assert place.pytest(THREEPIO="require").returncode == 4


def test_without_a_home_directory_the_tests_run(place: Place) -> None:
    place.suite("def test_one(): pass")
    place.suite("def user_state_path(*_, **__): raise RuntimeError('no home directory')", "stub/platformdirs.py")
    del place.environ["THREEPIO_STATE_DIR"]
    place.environ["PYTHONPATH"] = f"{place.path}/stub:{place.environ.get('PYTHONPATH', '')}"

    done, off, required = place.pytest(), place.pytest(THREEPIO="off"), place.pytest(THREEPIO="require")

    assert done.returncode == off.returncode == 0
    assert done.stdout.count("threepio: this run is not recorded: no place to keep results in is known") == 1
    assert "threepio:" not in off.stdout
    assert required.returncode == 4
    assert "set THREEPIO_STATE_DIR" in required.stderr
    assert place.threepio("status").returncode == 2


def test_a_socket_path_that_is_too_long_is_said(place: Place) -> None:
    place.suite("def test_one(): pass")

    done = place.pytest(THREEPIO_SOCKET="/tmp/" + "x" * 120, THREEPIO_RUN_ID="long")

    assert done.returncode == 0
    assert "threepio: journal only: the socket path has" in done.stdout
    assert place.status("long")["state"] == "passed"


NESTED = """
import os, subprocess, sys
pytest_plugins = ["pytester"]

def test_in_process(pytester):
    pytester.makepyfile("def test_inner(): assert False")
    pytester.inline_run("-p", "no:cacheprovider").assertoutcome(failed=1)

def test_subprocess(tmp_path):
    (tmp_path / "test_inner.py").write_text("def test_inner(): pass")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0
    print(done.stdout)
"""


def test_a_pytest_inside_a_test_stays_silent(compare: Checker) -> None:
    before = set(compare.place.state_dir.journals.iterdir())

    done = compare.run(NESTED)

    assert done.outcomes() == {f"{SUITE}::test_in_process": ["PASS"], f"{SUITE}::test_subprocess": ["PASS"]}
    new = {path.name for path in set(compare.place.state_dir.journals.iterdir()) - before}
    assert len([name for name in new if name.endswith(".jsonl")]) == 1


REWRITTEN = """
import sys
pytest_plugins = ["pytester"]

def test_modules():
    names = "pytest_threepio", "threepio_client", "threepio_client.adapter", "pytest_threepio.inprocess"
    loaders = {name: type(sys.modules[name].__loader__).__module__ for name in names}
    assert loaders["pytest_threepio"] == loaders["threepio_client"] == "_pytest.assertion.rewrite"
    assert "rewrite" not in loaders["threepio_client.adapter"] + loaders["pytest_threepio.inprocess"]
    assert type(sys.meta_path[0]).__module__ == "_pytest.assertion.rewrite"

def test_in_process(pytester):
    pytester.makepyfile("def test_inner(): pass")
    options = ("-W", "error::pytest.PytestAssertRewriteWarning", "-p", "no:cacheprovider", "-p", "marks")
    pytester.runpytest_inprocess(*options).assert_outcomes(passed=1, warnings=0)
"""


def test_a_nested_pytest_warns_of_no_module_of_ours(place: Place) -> None:
    # As it does for every module of an installed distribution with a plugin in it.
    mark = "import pytest\npytest.register_assert_rewrite('pytest_threepio', 'threepio_client')"
    place.suite(mark, "marks.py")
    place.suite(REWRITTEN)

    done = place.pytest("-p", "marks", PYTHONPATH=f"{place.path}:{os.environ.get('PYTHONPATH', '')}")

    assert done.returncode == 0, done.stdout


def test_a_nested_pytest_is_a_run_of_its_own_where_wanted(place: Place) -> None:
    place.suite(NESTED)

    done = place.pytest(THREEPIO_NESTED="1", THREEPIO_RUN_ID="outer")

    assert done.returncode == 0, done.stdout
    outer, *inner = [place.status(f"outer{suffix}") for suffix in ("", "-2", "-3")]
    assert (outer["state"], outer["counts"]["passed"], outer["collected"]) == ("passed", 2, 2)
    assert [(view["state"], view["collected"]) for view in inner] == [("failed", 1), ("passed", 1)]
    assert [place.journal_events(f"outer-{n}")[0]["payload"]["parentRunId"] for n in (2, 3)] == ["outer", "outer"]
    assert "parentRunId" not in place.journal_events("outer")[0]["payload"]
    assert place.status()["run_id"] == "outer"


NESTED_AT_WORK = """
import subprocess, sys

def test_fails():
    assert False

def test_subprocess():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "inner.py"]
    assert subprocess.run(command).returncode == 0
"""


def test_a_nested_pytest_that_goes_on_is_not_the_latest_run_for_the_daemon(place: Place) -> None:
    place.start_daemon()
    place.suite(NESTED_AT_WORK)
    waiting = "import os, time\ndef test_it():\n    while not os.path.exists('go'):\n        time.sleep(0.01)\n"
    place.suite(waiting, "inner.py")
    suite = place.start_pytest(THREEPIO_NESTED="1", THREEPIO_RUN_ID="outer")
    wait_until(lambda: place.threepio("status", "outer-2").returncode == 0)

    found = place.threepio("status")
    (place.path / "go").touch()
    suite.communicate(timeout=COMMAND_TIMEOUT_S)

    assert found.stdout.startswith("run outer: running"), found.stdout
    assert found.returncode == 1


def test_what_a_nested_pytest_is_worth_its_test_knows(place: Place) -> None:
    place.suite(NESTED)
    command = [*place.python, "-m", "pytest", "-q"]

    done = place.threepio("run", "--", *command, THREEPIO_NESTED="1", THREEPIO_RUN_ID="outer")

    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    waited = place.threepio("wait", "outer")
    assert (waited.returncode, waited.stdout.splitlines()[0]) == (0, "run outer: passed")
    assert "outer-2" not in waited.stdout
    assert place.threepio("wait", "outer-2").returncode == 1


def test_the_ini_options_are_in_the_help(place: Place) -> None:
    done = place.pytest("--help")

    for name in ("threepio", "threepio_socket", "threepio_state_dir", "threepio_run_id", "threepio_block_total_ms"):
        assert f"  {name} (string):" in done.stdout


@pytest.mark.parametrize("missing", ["msgpack", "platformdirs", "threepio_client.adapter"])
def test_an_installation_that_lacks_something_costs_no_test(place: Place, missing: str) -> None:
    place.suite("def test_it(): pass")
    place.suite(f"import sys\nsys.modules[{missing!r}] = None", "hide.py")
    del place.environ["THREEPIO_STATE_DIR"]
    place.environ |= {"HOME": str(place.path), "PYTHONPATH": str(place.path)}

    done = place.pytest("-p", "hide")
    required = place.pytest("-p", "hide", THREEPIO="require", THREEPIO_STATE_DIR=str(place.path / "state"))

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("threepio: this run is not recorded: ") == 1
    assert "Install threepiod again in this environment; threepio doctor says more" in done.stdout
    if missing != "platformdirs":
        assert required.returncode == 4
        assert "THREEPIO=require, and this run cannot be recorded" in required.stderr


def test_an_error_at_the_start_costs_no_test(place: Place) -> None:
    place.suite("def test_it(): pass")
    place.suite("import socket\ndef broken(): raise OSError('no kernel')\nsocket.gethostname = broken", "hurt.py")

    done = place.pytest("-p", "hurt", PYTHONPATH=str(place.path))

    assert done.returncode == 0, done.stdout + done.stderr
    assert "this run is not recorded: an error in the plugin, please report it: OSError('no kernel')" in done.stdout
    assert not place.state_dir.journals.exists()


AGAIN = """
import os, pytest
class Breaks:
    def pytest_unconfigure(self): raise KeyboardInterrupt
def main(run_id, *more):
    os.environ["THREEPIO_RUN_ID"] = run_id
    try:
        pytest.main(["-q", "-p", "no:cacheprovider", *more], plugins=[Breaks()] if "breaks" in run_id else [])
    except KeyboardInterrupt:
        pass
main("interrupted", "test_interrupted.py")
main("after", "test_fine.py")
main("breaks", "test_fine.py")
main("last", "test_fine.py")
main("breaks-2", "test_interrupted.py")
main("very-last", "test_fine.py")
"""


def test_sessions_after_one_that_was_interrupted_are_runs_too(place: Place) -> None:
    place.suite("def test_interrupted(): raise KeyboardInterrupt", "test_interrupted.py")
    place.suite("def test_fine(): pass", "test_fine.py")
    place.suite(AGAIN, "again.py")

    subprocess.run([*place.python, "again.py"], cwd=place.path, env=place.environ, check=True, capture_output=True)

    states = {name: place.status(name)["state"] for name in ("interrupted", "after", "breaks", "last", "very-last")}
    assert states.pop("interrupted") == states.pop("breaks") == "interrupted"
    assert set(states.values()) == {"passed"}


def test_sessions_within_the_tests_of_a_worker_are_no_runs(place: Place) -> None:
    place.suite("pytest_plugins = ['pytester']", "conftest.py")
    place.suite(
        "def test_inner(pytester):\n    pytester.makepyfile('def test_it(): pass')\n"
        "    for _ in range(3): pytester.runpytest()\n"
    )

    place.pytest("-q", "-n", "1", THREEPIO_RUN_ID="outer")

    assert list(place.state_dir.journals.glob("*.jsonl")) == [place.state_dir.journal("outer")]


def test_the_reports_beside_a_suite_are_not_collected(place: Place) -> None:
    place.suite("[pytest]\nnorecursedirs = build\naddopts = --doctest-glob=*.md", "pytest.ini")
    place.suite("```\n>>> 1 / 0\n1\n```\n", ".threepio/runs/it/groups/test_it.py.md")
    place.suite("def test_one(): pass")

    done = [place.pytest("-q", THREEPIO=mode) for mode in ("auto", "off")]

    assert ["1 passed" in one.stdout for one in done] == [True, True], done[0].stdout


def test_an_outcome_whose_details_cannot_be_told_is_told(place: Place) -> None:
    place.suite(
        "import re\ndef boom(*given, **named): raise RuntimeError('mocked')\n"
        "def test_it(monkeypatch):\n    monkeypatch.setattr(re, 'match', boom)\n    raise ValueError('x')"
    )

    done = place.pytest("-q", "--tb=short", THREEPIO_RUN_ID="mocked")

    view = place.status("mocked")
    assert (view["finished"], view["counts"]["failed"]) == (1, 1)
    assert "please report it: " in done.stdout


@pytest.mark.parametrize("ends", ["raise KeyboardInterrupt", "pytest.exit('x')"])
def test_a_worker_that_is_stopped_in_a_teardown_counts_its_test_once(place: Place, ends: str) -> None:
    place.suite(
        f"import pytest\n@pytest.fixture\ndef stops():\n    yield\n    {ends}\n"
        "def test_one(stops): pass\ndef test_two(): pass"
    )
    place.pytest("-q", "-n", "1", THREEPIO_RUN_ID="stopped")

    view = place.status("stopped")
    assert (view["collected"], view["finished"], view["never_ran"]) == (2, 1, 1)
