"""`threepio report`: every format of every run to stdout or to a file that is there whole or not at all."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import webbrowser
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.commands import Call
from tests.place import COMMAND_TIMEOUT_S, Place, wait_until
from tests.report.test_model import ERROR, write_page, write_run
from tests.reports import check
from tests.scripted import living
from tests.two_runs import write_two_runs
from threepio_client.archive import Archive
from threepio_client.cli import report
from threepio_client.events import Phase
from threepio_client.report import github, junit
from threepio_client.report.formats import FORMATS
from threepio_client.report.model import IN_FLIGHT

TO_STDOUT = [name for name, found in FORMATS.items() if not found.needs_file and name != "github"]


@pytest.mark.parametrize("name", TO_STDOUT)
@pytest.mark.parametrize("with_daemon", [False, True], ids=["journal", "daemon"])
def test_a_report_goes_to_stdout_or_to_a_file(place: Place, call: Call, name: str, with_daemon: bool) -> None:
    write_two_runs(place)
    if with_daemon:
        place.start_daemon()
        wait_until(lambda: place.verify("two")["whole"])
    path = place.path / "report"

    printed = call(place, "report", "two", "--format", name)
    filed = call(place, "report", "two", "--format", name, "--output", str(path))
    asked = call(place, "report", "two", "--format", name, "--output", "-")

    assert (printed.exit_code, printed.stderr) == (0, "")
    assert (filed.exit_code, filed.stdout, filed.stderr) == (0, "", "")
    assert printed.stdout == path.read_text(encoding="utf-8") == asked.stdout
    assert "test_breaks" in printed.stdout


def test_the_latest_run_is_reported_by_default(place: Place, call: Call) -> None:
    write_two_runs(place)

    assert '"run_id": "two"' in call(place, "report", "--format", "ctrf").stdout


def test_a_report_is_written_whatever_became_of_the_run(place: Place, call: Call) -> None:
    write_page(place, ("a.py::two", Phase.CALL, ""))
    write_run(place, ["a.py::one", "a.py::two"], [("a.py::one", "FAIL", {"error": ERROR})], exit_code=None)

    result = call(place, "report", "run", "--format", "junit")

    assert result.exit_code == 0
    root = ElementTree.fromstring(result.stdout)
    assert {name: root.attrib[name] for name in ("tests", "failures", "errors")} == {
        "tests": "3",
        "failures": "1",
        "errors": "2",
    }


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "with workers"])
def test_a_run_whose_process_was_killed_is_red_in_every_format(place: Place, call: Call, workers: list[str]) -> None:
    # A worker that lives on ends its session, and then its test is in flight no more.
    kill = "os.kill(os.getppid(), 9); " * bool(workers) + "os.kill(os.getpid(), 9)"
    place.suite(f"import os\ndef test_one(): pass\ndef test_kills(): {kill}\ndef test_three(): pass\n")
    place.pytest("-q", *workers, "test_it.py", THREEPIO_RUN_ID="dead")

    # A test whose worker lived on may be in its teardown, and its outcome have reached nobody: only the journal can tell.
    events = place.journal_events("dead")
    over = {event["payload"]["nodeid"] for event in events if event["eventType"] == "testCase"}
    found = check(
        Archive(place.state_dir), "dead", over, [f"test_it.py::test_{name}" for name in ("one", "kills", "three")]
    )

    assert found.view["state"] == "crashed"
    assert ("test_it.py::test_kills", IN_FLIGHT) in [(test.nodeid, test.standing) for test in found.tests]
    root = ElementTree.fromstring(call(place, "report", "dead", "--format", "junit").stdout)
    bad = {case.attrib["name"] for case in root.iter("testcase") if case.find("error") is not None}
    assert {"the whole run", "test_kills"} <= bad
    tests = json.loads(call(place, "report", "dead", "--format", "ctrf").stdout)["results"]["tests"]
    assert {"the whole run", "test_kills"} <= {test["name"] for test in tests if test["status"] == "failed"}
    printed = call(place, "report", "dead", "--format", "github", GITHUB_STEP_SUMMARY="").stdout
    assert printed.startswith("::error title=Run dead is crashed::")
    assert "test_kills" in printed


def test_a_running_run_is_reported_while_a_daemon_takes_its_events(place: Place, call: Call) -> None:
    write_run(place, ["a.py::one", "a.py::two"], [("a.py::one", "PASS", {})], exit_code=None, identity=living())
    place.start_daemon()
    wait_until(lambda: place.status("run")["events"]["stored"] == 4)

    result = call(place, "report", "run", "--format", "ctrf")

    summary = json.loads(result.stdout)["results"]["summary"]
    assert (summary["passed"], summary["failed"], summary["pending"]) == (1, 1, 1)


def test_a_report_needs_no_sockets(place: Place) -> None:
    write_two_runs(place)
    forbid = Path(__file__).parent.parent / "suites" / "no_unix_sockets.py"
    command = [sys.executable, str(forbid), sys.executable, "-m", "threepio_client.cli", "report", "--format", "junit"]

    done = subprocess.run(command, env=place.environ, capture_output=True, timeout=COMMAND_TIMEOUT_S, check=False)

    assert (done.returncode, done.stderr) == (0, b"")
    assert ElementTree.fromstring(done.stdout).attrib["failures"] == "4"


def test_stdout_is_utf8_whatever_the_terminal_knows(place: Place) -> None:
    write_run(place, ["a.py::t[Grüße]"], [("a.py::t[Grüße]", "PASS", {})])

    done = subprocess.run(
        [sys.executable, "-m", "threepio_client.cli", "report", "--format", "junit"],
        env={**place.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        timeout=COMMAND_TIMEOUT_S,
        check=True,
    )

    assert 'name="t[Grüße]"'.encode() in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--format", "pdf"], 2, "'pdf' is none of"),
        ([], 2, "Missing option '--format'"),
        (["nothing", "--format", "junit"], 4, "nothing"),
        (["--format", "junit", "--output", "no/such/junit.xml"], 1, "there is no directory no/such"),
        (["--format", "junit", "--output", "."], 1, "is a directory"),
        (["--format", "junit", "--output", "x" * 300], 1, "its name is too long"),
        (["--format", "junit", "--output", "/dev/full"], 1, "the disk is full"),
        (["--format", "junit", "--output", "-", "--open"], 2, "a browser cannot be shown what goes to stdout"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_said(
    place: Place, call: Call, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, says: str
) -> None:
    write_two_runs(place)
    monkeypatch.chdir(place.path)

    result = call(place, "report", *arguments)

    assert (result.exit_code, result.stdout) == (code, "")
    assert says in " ".join(result.stderr.replace("│", " ").split())
    assert code == 2 or result.stderr.count("\n") == 1


def test_a_directory_that_cannot_be_written_to_is_said(place: Place) -> None:
    write_two_runs(place)
    (place.path / "locked").mkdir(mode=0o500)
    # Root may write anywhere; a process without its capabilities may not.
    command = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"] if os.geteuid() == 0 else []

    done = subprocess.run(
        [*command, sys.executable, "-m", "threepio_client.cli", "report", "--format", "junit", "--output", "locked/x.xml"],
        env=place.environ, cwd=place.path, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    assert done.stderr == "threepio: the report cannot be written to locked/x.xml: Permission denied\n"


def test_a_disk_that_fills_up_leaves_the_old_file_and_nothing_else(place: Place) -> None:
    write_two_runs(place)
    path = place.path / "out" / "junit.xml"
    path.parent.mkdir()
    path.write_text("as it was")

    done = subprocess.run(
        [sys.executable, "-m", "threepio_client.cli", "report", "--format", "junit", "--output", str(path)],
        env=place.environ,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr == f"threepio: the report cannot be written to {path}: File too large\n"
    assert [found.name for found in path.parent.iterdir()] == ["junit.xml"]
    assert path.read_text() == "as it was"


def test_what_breaks_a_writer_leaves_nothing_half_written(
    place: Place, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_two_runs(place)

    def breaks(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(junit, "_write_suite", breaks)
    before = {*place.path.iterdir()}

    result = call(place, "report", "--format", "junit", "--output", str(place.path / "junit.xml"))

    assert result.exit_code == 130
    assert {*place.path.iterdir()} == before


def test_a_file_is_replaced_with_the_rights_that_it_had(place: Place, call: Call) -> None:
    write_two_runs(place)
    path, link = place.path / "junit.xml", place.path / "link.xml"
    path.write_text("old")
    path.chmod(0o604)
    link.symlink_to(path)

    call(place, "report", "--format", "junit", "--output", str(link))
    call(place, "report", "--format", "junit", "--output", str(place.path / "new.xml"))

    assert link.is_symlink()
    assert path.read_text().startswith("<?xml")
    assert path.stat().st_mode & 0o777 == 0o604
    umask = os.umask(0)
    os.umask(umask)
    assert (place.path / "new.xml").stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_pipe_is_written_to_as_it_is(place: Place, call: Call) -> None:
    write_two_runs(place)

    result = call(place, "report", "--format", "junit", "--output", "/dev/null")

    assert (result.exit_code, result.stderr) == (0, "")
    assert Path("/dev/null").is_char_device()


def test_open_shows_the_file_in_a_browser(place: Place, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    write_two_runs(place)
    monkeypatch.chdir(place.path)
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)

    result = call(place, "report", "two", "--format", "junit", "--open")

    assert result.exit_code == 0
    assert opened == [(place.path / "threepio-two.xml").resolve().as_uri()]
    assert (place.path / "threepio-two.xml").read_text().startswith("<?xml")


def test_github_gets_a_summary_and_annotations(place: Place, call: Call) -> None:
    write_two_runs(place)
    summary = place.path / "summary.md"
    summary.write_text("# Before\n")

    result = call(
        place, "report", "--format", "github", GITHUB_STEP_SUMMARY=str(summary), GITHUB_WORKSPACE="/somewhere"
    )

    assert (result.exit_code, result.stderr) == (0, "")
    first, *_ = result.stdout.splitlines()
    assert first.startswith(
        "::error file=shop.py,line=7,title=ValueError%3A no stock (2 failures)::t.py::test_breaks%0A"
    )
    assert summary.read_text().startswith("# Before\n\n## Tests: failed\n")


def test_a_summary_that_is_nearly_full_gets_what_there_is_room_for(place: Place, call: Call) -> None:
    write_two_runs(place)
    summary = place.path / "summary.md"
    summary.write_text("x" * (github.SUMMARY_LIMIT - 1500))

    call(place, "report", "--format", "github", GITHUB_STEP_SUMMARY=str(summary))

    assert summary.stat().st_size <= github.SUMMARY_LIMIT
    assert "more blocks are left out" in summary.read_text()


def test_github_without_a_place_for_the_summary_says_so(place: Place, call: Call) -> None:
    write_two_runs(place)

    bare = call(place, "report", "--format", "github", GITHUB_STEP_SUMMARY="")
    filed = call(
        place, "report", "--format", "github", "--output", str(place.path / "s.md"), GITHUB_STEP_SUMMARY="/none/x"
    )
    bad = call(place, "report", "--format", "github", GITHUB_STEP_SUMMARY="/none/x")

    assert bare.stdout.startswith("::error ")
    assert "GITHUB_STEP_SUMMARY is not set, so the summary is left out" in bare.stderr
    assert (filed.exit_code, (place.path / "s.md").read_text()[:9]) == (0, "\n## Tests")
    assert (bad.exit_code, bad.stderr) == (
        1,
        "threepio: the report cannot be written to /none/x: there is no directory /none\n",
    )


def test_every_format_has_a_writer_and_the_completion_offers_it() -> None:
    for found in FORMATS.values():
        assert callable(found.writer())
    assert [name for name, _ in report._formats("")] == [*FORMATS]
    assert [name for name, _ in report._formats("ju")] == ["junit"]
