"""Files that the user may not read, though they are his: a umask, or a chmod, can forbid that to the owner, too."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest

from tests.place import Place

# Root may read anything; a process without these capabilities may not.
PLAIN = "setpriv --bounding-set=-dac_override,-dac_read_search " if os.geteuid() == 0 else ""


def plain(place: Place, module: str, *words: str) -> subprocess.CompletedProcess[str]:
    return place.shell(f"{PLAIN}{sys.executable} -m {module} {' '.join(words)}")


@pytest.fixture
def odd(place: Place) -> Place:
    """A place with two runs, of which nobody may read the later one."""
    place.suite("def test_one(): assert 0")
    for run_id in ("good", "odd"):
        place.pytest("-q", THREEPIO_RUN_ID=run_id)
    place.state_dir.journal("odd").chmod(0)
    return place


def test_a_umask_that_forbids_all_keeps_nobody_from_what_was_written(place: Place) -> None:
    place.suite("import os\nos.umask(0o777)", "conftest.py")
    place.suite("def test_one(): assert 0")
    suite = f"{sys.executable} -m pytest -q -p no:cacheprovider"

    place.shell(f"umask 777; {PLAIN}env THREEPIO_RUN_ID=run {sys.executable} -m threepio_client.cli run -- {suite}")
    said = plain(place, "threepio_client.cli", "failures")

    assert (said.returncode, said.stderr) == (1, "")
    assert said.stdout.startswith("run run: failed, 1 failure")
    made = {
        path: stat.S_IMODE(path.stat().st_mode) for path in (place.state_dir.path, *place.state_dir.path.rglob("*"))
    }
    assert {path: mode for path, mode in made.items() if mode != (0o700 if path.is_dir() else 0o600)} == {}
    assert place.state_dir.output("run") in made
    assert place.state_dir.observed("run") in made


@pytest.mark.parametrize("has_daemon", [False, True])
def test_a_journal_that_cannot_be_read_hides_no_other_run(odd: Place, has_daemon: bool) -> None:
    if has_daemon:
        plain(odd, "threepiod", "start")
    why = f"the journal {odd.state_dir.journal('odd')} cannot be read: Permission denied"

    status, good, runs, verified = (
        plain(odd, "threepio_client.cli", *words.split()) for words in ("status", "status good", "runs", "verify --all")
    )

    assert status.returncode == 1
    assert status.stdout.startswith(f"run odd: incomplete - {why}")
    waited = plain(odd, "threepio_client.cli", "wait", "odd")
    assert (waited.returncode, waited.stdout) == (1, status.stdout)
    assert (good.returncode, good.stdout.splitlines()[0]) == (1, "run good: failed - tests failed")
    assert [line.split()[0] for line in runs.stdout.splitlines()] == ["odd", "good"]
    assert verified.stdout.splitlines()[:2] == [
        "run odd: NOT whole - 0 events in the journal, 0 stored, 0 missing, 0 duplicates, 0 corrupt",
        f"  {why}",
    ]
    assert f"run good: {'' if has_daemon else 'NOT '}whole" in verified.stdout


@pytest.mark.parametrize("has_daemon", [False, True])
@pytest.mark.parametrize("words", ["failures", "never-ran", "slow", "show test_one", "diff", "rerun"])
def test_of_what_cannot_be_read_nothing_is_said(odd: Place, words: str, has_daemon: bool) -> None:
    if has_daemon:
        plain(odd, "threepiod", "start")

    done, doctor = plain(odd, "threepio_client.cli", words), plain(odd, "threepio_client.cli", "doctor")

    path = odd.state_dir.journal("odd")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        f"threepio: the journal {path} cannot be read: Permission denied",
        f"threepio: {path}: Permission denied. What is wrong with files and directories says: threepio doctor",
    ]
    assert doctor.returncode == 1
    told = f"{path} of the state directory cannot be read. Do: chmod -R u+rwX {odd.state_dir.path}"
    assert told in doctor.stdout


def test_an_earlier_run_that_cannot_be_read_is_passed_over(odd: Place) -> None:
    odd.pytest("-q", THREEPIO_RUN_ID="later")
    why = f"threepio: the journal {odd.state_dir.journal('odd')} cannot be read: Permission denied\n"

    history, compared, flaky = (
        plain(odd, "threepio_client.cli", words) for words in ("history test_one", "diff", "flaky")
    )

    assert history.stdout.startswith("test_it.py::test_one: bad in 2 of 2 runs"), history.stderr
    assert (compared.returncode, compared.stdout) == (0, "run later against run good: 1 still failing\n")
    assert flaky.stdout == "no flaky test in 2 runs\n"
    assert {history.stderr, compared.stderr, flaky.stderr} == {why}
