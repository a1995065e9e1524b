"""The report tree beside the tests: there while the run goes on, complete when it is over, whatever the daemon met."""

from __future__ import annotations

import math
import os
import random
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests import trees
from tests.daemon_here import KEEP_ALL, serving
from tests.place import Place, wait_until
from tests.scripted import case, event, in_trio, living, run_lines, until, write_journal
from threepio_client import settings
from threepio_client.events import EventType
from threepio_client.report.tree import RUN_PAGE
from threepio_client.settings import REPORTS_DIR
from threepiod import pages, reports
from threepiod.daemon import Daemon

WAITS = """
import os, time
def test_first(): assert os.environ.get("NEVER")
def test_waits():
    while not os.path.exists("go"): time.sleep(0.01)
def test_last(): pass
"""

WITH_TREES = KEEP_ALL._replace(reports=settings.REPORTS_DIR)

LINT = """
import pytest
class Lint(pytest.Item):
    def runtest(self): pass
class File(pytest.File):
    def collect(self):
        for name in ("lint-check", "\\0weird::x"):
            yield Lint.from_parent(self, name="lint", nodeid=name)
def pytest_collect_file(file_path, parent):
    if file_path.name == "test_it.py":
        return File.from_parent(parent, path=file_path)
"""


def text_of(folder: Path, page: str = RUN_PAGE) -> str:
    path = folder / page
    return path.read_text() if path.exists() else ""


def log_of(place: Place) -> str:
    return place.state_dir.daemon_log.read_text()


def test_the_tree_is_there_while_the_run_goes_on(served: Place) -> None:
    served.suite(WAITS)
    folder = served.path / REPORTS_DIR / "latest"

    with served.start_pytest("-q", THREEPIO_RUN_ID="run") as running:
        wait_until(lambda: "in flight: `test_it.py::test_waits`" in text_of(folder))
        so_far = text_of(folder)
        served.suite("", "go")
        running.communicate(timeout=60)

    assert 'state: "running"\n' in so_far
    assert "### 1x `assert None`" in so_far
    assert trees.check(served.state_dir, "run") == 3
    assert 'state: "failed"\n' in text_of(folder)


def test_items_that_no_file_names_are_told_as_all_others(served: Place) -> None:
    served.suite(LINT, "conftest.py")
    served.suite("def test_it(): pass")

    served.pytest("-q", THREEPIO_RUN_ID="run")

    assert trees.check(served.state_dir, "run") == 3
    assert "cannot be written" not in log_of(served)


class Asked:
    """Whether ingest is at its limit, and how often that was asked."""

    def __init__(self) -> None:
        self.answer = True
        self.times = 0

    def __call__(self, _daemon: Daemon) -> bool:
        self.times += 1
        return self.answer


@in_trio
async def test_it_waits_while_ingest_is_at_its_limit(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    is_at_limit = Asked()
    monkeypatch.setattr(Daemon, "is_at_limit", property(is_at_limit))
    monkeypatch.setattr(reports, "LOOK_S", 0.01)
    write_journal(place.state_dir, "run", run_lines("run", 3))

    async with serving(place, limits=WITH_TREES) as served:
        await until(lambda: (place.state_dir.reports / "run.begun").exists() and not served.daemon.runs)
        asked = is_at_limit.times
        await until(lambda: is_at_limit.times > asked + 5)
        waits = not (place.state_dir.reports / "run.written").exists()
        is_at_limit.answer = False
        await until((place.state_dir.reports / "run.written").exists)

    assert waits
    assert trees.check(place.state_dir, "run") == 3


@in_trio
async def test_it_does_not_wait_for_ever(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Daemon, "is_at_limit", property(Asked()))
    monkeypatch.setattr(reports, "LONGEST_WAIT_S", 0.0)
    write_journal(place.state_dir, "run", run_lines("run", 3))

    async with serving(place, limits=WITH_TREES):
        await until((place.state_dir.reports / "run.written").exists)


@in_trio
async def test_the_page_of_a_group_that_stands_still_is_written_when_it_is_time(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("LOOK_S", 0.01), ("REFRESH_S", 0.01), ("SHARE", 1.0)):
        monkeypatch.setattr(reports, name, value)
    monkeypatch.setattr(pages, "PAGE_S", math.inf)
    start, *rest = run_lines("run", 1, identity=living(), exit_code=None)
    group = event(4, EventType.GROUP_START, {"groupName": "test_it.py"})
    folder = place.state_dir.reports / "runs/run"

    async with serving(place, limits=WITH_TREES):
        write_journal(place.state_dir, "run", [start, *rest, group])
        await until((folder / RUN_PAGE).exists)
        is_early = not (folder / "groups").exists()
        monkeypatch.setattr(pages, "PAGE_S", 0.0)
        await until((folder / "groups/test_it.py.md").exists)

    assert is_early


def test_neither_git_nor_pytest_sees_it(served: Place) -> None:
    served.suite("def test_it(): pass")
    subprocess.run(["git", "init", "-q", served.path], check=True)
    before = subprocess.run(["git", "status", "--short"], cwd=served.path, capture_output=True, text=True, check=True)

    served.pytest("-q", THREEPIO_RUN_ID="run")
    trees.check(served.state_dir, "run")

    after = subprocess.run(["git", "status", "--short"], cwd=served.path, capture_output=True, text=True, check=True)
    assert after.stdout.replace("?? __pycache__/\n", "") == before.stdout
    assert "1 passed" in served.pytest("-q").stdout


def test_a_run_that_died_is_told_with_what_never_ran(served: Place) -> None:
    served.suite("import os\ndef test_one(): pass\ndef test_dies(): os._exit(3)\ndef test_never(): pass")

    served.pytest("-q", THREEPIO_RUN_ID="run")

    assert trees.check(served.state_dir, "run") == 3
    page = text_of(served.path / REPORTS_DIR / "latest", "groups/test_it.py.md")
    assert "\n- ▶ `test_dies` " in page
    assert "\n- · `test_never`\n" in page


def test_what_is_told_of_the_end_later_is_in_it(served: Place) -> None:
    served.suite("import atexit, os\ndef test_it(): atexit.register(os._exit, 7)")

    served.pytest("-q", THREEPIO_RUN_ID="run")

    folder = served.path / REPORTS_DIR / "latest"
    wait_until(lambda: "afterwards the process exited with code 7" in text_of(folder))


REMOVES_ITS_PLACE = """
import shutil, time
def test_fails(): assert 1 == 2
def test_removes(request):
    while not (request.config.rootpath / ".threepio/runs/run").exists():
        time.sleep(0.01)
    while request.config.rootpath.exists():  # the daemon may just be writing into it
        shutil.rmtree(request.config.rootpath, ignore_errors=True)
"""


def test_failures_are_told_also_where_its_place_is_removed_in_mid_run(served: Place) -> None:
    suite = served.suite(REMOVES_ITS_PLACE, "suite/test_it.py").parent
    (suite / "pytest.ini").write_text("[pytest]\n")
    (suite / "test_broken.py").write_text("1 / 0\n")

    served.pytest("-q", "-p", "no:cacheprovider", "--continue-on-collection-errors", "suite", THREEPIO_RUN_ID="run")

    assert trees.check(served.state_dir, "run") == 3
    folder = trees.folder_of(served.state_dir, "run")
    assert folder == served.state_dir.reports / "runs/run"
    assert "\n## Failures: 2, causes: 2\n" in text_of(folder)


@pytest.mark.parametrize("obstacle", ["file", "link", "no rootdir"])
def test_where_it_cannot_be_it_is_in_the_state_directory(served: Place, obstacle: str) -> None:
    suite = served.suite("def test_it(): pass", "suite/test_it.py").parent
    (suite / "pytest.ini").write_text("[pytest]\n")
    outside = served.path / "outside"
    outside.mkdir()
    if obstacle == "file":
        (suite / REPORTS_DIR).write_text("mine")
    elif obstacle == "link":
        (suite / REPORTS_DIR).symlink_to(outside)
    else:
        (suite / "test_it.py").write_text("import shutil\ndef test_it(request): shutil.rmtree(request.config.rootpath)")

    served.pytest("-q", "-p", "no:cacheprovider", "suite", THREEPIO_RUN_ID="run")

    assert trees.check(served.state_dir, "run") == 1
    folder = trees.folder_of(served.state_dir, "run")
    assert folder == served.state_dir.reports / "runs/run"
    assert "this report is in the state directory" in text_of(folder)
    assert f"its report is in {folder}" in log_of(served)
    assert os.listdir(outside) == []


def test_its_place_can_be_set(place: Place) -> None:
    place.suite("def test_it(): pass")
    place.environ["THREEPIO_REPORTS"] = str(place.path / "reports/here")
    place.start_daemon()

    place.pytest("-q", THREEPIO_RUN_ID="run")

    assert trees.check(place.state_dir, "run") == 1
    assert sorted(os.listdir(place.path / "reports/here")) == [".gitignore", "latest", "runs"]
    assert not (place.path / REPORTS_DIR).exists()


def test_it_can_be_switched_off(place: Place) -> None:
    place.suite("def test_it(): pass")
    place.environ["THREEPIO_REPORTS"] = "off"
    place.start_daemon()

    place.pytest("-q", THREEPIO_RUN_ID="run")
    place.stop_daemon()

    assert not (place.path / REPORTS_DIR).exists()
    assert not place.state_dir.reports.exists()


def test_it_goes_when_its_run_does(served: Place) -> None:
    served.suite("def test_it(): pass")
    for run_id in ("one", "two"):
        served.pytest("-q", THREEPIO_RUN_ID=run_id)
        trees.check(served.state_dir, run_id)

    assert served.threepio("prune", "two").returncode == 0

    assert os.listdir(served.path / REPORTS_DIR / "runs") == ["one"]
    assert os.listdir(served.state_dir.reports) == ["one.written"]
    assert os.readlink(served.path / REPORTS_DIR / "latest") == "runs/one"


def test_runs_of_before_the_start_are_told_and_the_newest_is_the_latest(place: Place) -> None:
    for run_id in ("b", "a"):
        write_journal(place.state_dir, run_id, run_lines(run_id, 3))
    os.chmod(place.state_dir.path, 0o700)

    place.start_daemon()

    for run_id in ("a", "b"):
        assert trees.check(place.state_dir, run_id) == 3
        assert trees.folder_of(place.state_dir, run_id).is_relative_to(place.state_dir.reports), (
            "/somewhere is no place"
        )


def test_a_stop_waits_for_the_trees_of_runs_that_are_over(served: Place) -> None:
    served.suite("def test_it(): pass")

    served.pytest("-q", THREEPIO_RUN_ID="run")
    served.threepiod("stop")

    assert (served.state_dir.reports / "run.written").exists()


def test_a_tree_that_a_killed_daemon_left_is_that_of_one_that_was_not(place: Place) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    moment = random.Random(seed).uniform(0.0, 2.0)

    try:
        tests, _ = trees.kill_at(place, moment, files=4, count=60)
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: {error}") from error

    assert tests == 4 * 68


def test_results_found_after_the_end_are_in_the_tree_too(served: Place) -> None:
    served.suite("def test_it(): pass")
    served.pytest("-q", THREEPIO_RUN_ID="run")
    assert trees.check(served.state_dir, "run") == 1
    seq = len(served.journal_events("run"))
    late = [case(seq + 1, "test_it.py::test_late"), case(seq + 2, "test_more.py::test_late")]
    write_journal(served.state_dir, "run", late)

    served.pytest("-q", THREEPIO_RUN_ID="other")  # the daemon looks for journals when a run is over

    wait_until(lambda: served.status("run")["finished"] == 3)
    wait_until(lambda: "test_more.py" in text_of(served.path / REPORTS_DIR / "runs/run"))
    assert trees.check(served.state_dir, "run") == 3


def test_a_half_written_tree_is_completed_at_the_next_start(served: Place) -> None:
    served.suite("def test_it(): pass")
    served.pytest("-q", THREEPIO_RUN_ID="run")
    folder = trees.folder_of(served.state_dir, "run")
    served.kill_daemon()
    (served.state_dir.reports / "run.written").rename(served.state_dir.reports / "run.begun")
    shutil.rmtree(folder / "groups")
    (folder / "groups").mkdir()
    (folder / "groups/of_before.py.md").write_text("old")
    (folder / ".part").write_text("half")

    served.start_daemon()

    assert trees.check(served.state_dir, "run") == 1


def test_a_place_that_is_full_is_told_of_and_the_run_goes_on(place: Place) -> None:
    place.suite("def test_it(): pass")
    place.environ["THREEPIO_REPORTS"] = "/dev/full/reports"
    place.start_daemon()

    done = place.pytest("-q", THREEPIO_RUN_ID="run")

    assert done.returncode == 0
    assert trees.check(place.state_dir, "run") == 1
    assert trees.folder_of(place.state_dir, "run") == place.state_dir.reports / "runs/run"


def test_a_daemon_that_nobody_asked_to_end_has_no_error_after_all_this(served: Place) -> None:
    served.suite("def test_it(): pass")
    served.pytest("-q", THREEPIO_RUN_ID="run")
    trees.check(served.state_dir, "run")

    status = served.threepiod("status", "--json").stdout

    assert '"last_error": null' in status
    os.kill(served.daemon_pid(), signal.SIGTERM)
