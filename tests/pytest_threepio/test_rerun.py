"""`--threepio-rerun`: exactly what failed and what never ran, the presumed killer last, in one process and with workers."""

from __future__ import annotations

import pytest

from tests.place import Place
from tests.suites.checker import Checker, Compared

SUITE = """
import os, pytest
def ran(name):
    with open("ran", "a") as file:
        file.write(name + "\\n")
@pytest.mark.parametrize("n", range(6))
def test_n(n):
    ran(f"n{n}")
    assert n != 1
def test_kills():
    ran("kills")
    if os.environ.get("KILL"):
        os._exit(3)
def test_later(): ran("later")
"""
OTHER = "open('ran', 'a').write('imported\\n')\ndef test_fine(): pass"
FIRST = ("-q", "-p", "no:randomly")


def first_run(place: Place, **environ: str) -> None:
    place.suite("", "pytest.ini")
    place.suite(OTHER, "test_first.py")
    place.suite(SUITE)
    place.pytest(*FIRST, THREEPIO_RUN_ID="first", **environ)
    (place.path / "ran").unlink()


def ran(place: Place) -> list[str]:
    return (place.path / "ran").read_text().split() if (place.path / "ran").exists() else []


def test_what_failed_and_what_never_ran_and_the_killer_last(place: Place) -> None:
    first_run(place, KILL="1")

    done = place.pytest("-q", "--threepio-rerun=latest")

    assert ran(place) == ["n1", "later", "kills"]
    assert "again from run first: 1 that failed, 1 that never ran, 1 that was running when it ended" in done.stdout
    assert "1 failed, 2 passed, 5 deselected" in done.stdout
    assert place.status()["rerun_of"] == "first"


def test_with_workers(place: Place) -> None:
    first_run(place, KILL="1")

    done = place.pytest("-q", "-n", "2", "--threepio-rerun=latest")

    assert sorted(ran(place)) == ["kills", "later", "n1"]
    assert "1 failed, 2 passed" in done.stdout


def test_nothing_to_run_again_runs_nothing(place: Place) -> None:
    place.suite("def test_fine(): pass")
    place.pytest("-q", THREEPIO_RUN_ID="first")

    done = place.pytest("-q", "--threepio-rerun=first")

    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "nothing to run again: nothing failed in run first, and everything ran" in done.stdout


def test_a_file_that_could_not_be_collected_stands_for_all_its_tests(place: Place) -> None:
    place.suite("", "pytest.ini")
    place.suite("def test_fine(): pass")
    bad = place.suite("raise ValueError", "test_bad.py")
    place.pytest("-q", "--continue-on-collection-errors", THREEPIO_RUN_ID="first")
    bad.write_text("def test_one(): pass\ndef test_two(): pass")

    done = place.pytest("-q", "--threepio-rerun=first")

    assert "2 passed, 1 deselected" in done.stdout or "2 passed" in done.stdout
    assert [case["payload"]["nodeid"] for case in cases(place)] == ["test_bad.py::test_one", "test_bad.py::test_two"]


def cases(place: Place) -> list[dict[str, dict[str, str]]]:
    run_id = place.status()["run_id"]
    return [event for event in place.journal_events(run_id) if event["eventType"] == "testCase"]


def test_a_run_that_died_while_it_collected_is_run_as_a_whole(place: Place) -> None:
    place.suite("", "pytest.ini")
    place.suite("def test_fine(): pass", "test_a.py")
    kills = place.suite("import os; os._exit(3)", "test_b.py")
    place.pytest("-q", THREEPIO_RUN_ID="first")
    kills.write_text("def test_b(): pass")

    done = place.pytest("-q", "--threepio-rerun=first")

    assert "everything, because its collection was not over, 1 that was running when it ended" in done.stdout
    assert "2 passed" in done.stdout


def test_what_is_not_there_any_more_is_said(place: Place) -> None:
    first_run(place)
    place.suite("def test_other(): pass")

    done = place.pytest("--threepio-rerun=first")

    assert "threepio: 1 of them are not there any more" in done.stdout
    assert "left out" not in done.stdout
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED


def test_what_an_option_leaves_out_of_what_is_wanted_is_said(place: Place) -> None:
    place.suite("def test_a(): assert 0\ndef test_b(): assert 0")
    place.pytest("-q", THREEPIO_RUN_ID="first")

    done = place.pytest("--threepio-rerun=first", "-k", "test_b")

    assert "threepio: 1 of them are left out by an option or another plugin" in done.stdout
    assert "not there any more" not in done.stdout
    assert "1 failed, 1 deselected" in done.stdout


@pytest.mark.parametrize("reference", ["latest", "nothing"])
def test_a_run_that_is_not_known_is_a_usage_error(place: Place, reference: str) -> None:
    place.suite("def test_fine(): pass")

    done = place.pytest("-q", f"--threepio-rerun={reference}")

    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"--threepio-rerun={reference}: " in done.stdout + done.stderr


def test_latest_means_the_last_run_of_the_same_rootdir(place: Place) -> None:
    first_run(place)
    place.suite("", "elsewhere/pytest.ini")
    place.suite("def test_fine(): pass", "elsewhere/test_it.py")
    place.pytest("-q", "--rootdir=elsewhere", "elsewhere", THREEPIO_RUN_ID="second")

    place.pytest("-q", "--threepio-rerun=latest")

    assert ran(place) == ["n1"]


def test_latest_means_no_session_that_a_test_started(place: Place) -> None:
    place.suite("def test_inner(): pass", "inner.py")
    command = '[sys.executable, "-m", "pytest", "-q", "inner.py"]'
    place.suite(f"import subprocess, sys\ndef test_bad(): assert subprocess.run({command}).returncode")
    place.pytest("-q", THREEPIO_NESTED="1", THREEPIO_RUN_ID="outer")
    assert place.status("outer-2")["state"] == "passed"

    done = place.pytest("-q", "--threepio-rerun=latest")

    assert "1 failed" in done.stdout, done.stdout


def test_it_works_where_the_run_itself_is_not_reported(place: Place) -> None:
    first_run(place)

    place.pytest("-q", "--threepio-rerun=first", THREEPIO="off")

    assert ran(place) == ["n1"]
    assert place.status()["run_id"] == "first"


def test_the_counts_of_what_is_run_again_are_pytests(compare: Checker) -> None:
    first: Compared = compare.run(SUITE, "-q")

    again = compare.place.pytest(
        "-q", f"--threepio-rerun={first.run_id}", f"--rootdir={first.directory}", str(first.directory)
    )

    assert "1 failed, 7 deselected" in again.stdout


def test_tests_whose_node_ids_begin_with_no_file_are_run_again(place: Place) -> None:
    place.suite("def test_bad(): assert 0\ndef test_fine(): pass", "a::b/test_it.py")
    place.pytest("-q", THREEPIO_RUN_ID="before")

    done = place.pytest("-q", "--threepio-rerun=before")

    assert "1 failed, 1 deselected" in done.stdout, done.stdout


def test_what_failed_cannot_be_asked_for_without_a_run(place: Place) -> None:
    place.suite("def test_one(): pass")

    done = place.pytest("-q", "--threepio-rerun-failed")

    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--threepio-rerun-failed needs --threepio-rerun=RUN" in done.stderr + done.stdout
