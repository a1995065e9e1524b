"""`threepio prune`: only what was asked for, only what is over, and all of it."""

from __future__ import annotations

import os
import re
import time
from typing import Any

import pytest

from tests.commands import Call
from tests.place import Place, wait_until
from tests.scripted import living, run_lines, write_journal
from tests.two_runs import restamped
from threepio_client.errors import ThreepioError
from threepio_client.query import QueryClient


@pytest.fixture
def three(served: Place) -> Place:
    """A place with three runs that are stored, the oldest called `run0`, and one that lives."""
    for number in range(3):
        lines = [restamped(line, number * 1000) for line in run_lines(f"run{number}", 2)]
        write_journal(served.state_dir, f"run{number}", lines)
    write_journal(served.state_dir, "live", run_lines("live", 1, exit_code=None, identity=living()))
    wait_until(lambda: is_stored(served))
    return served


def is_stored(place: Place) -> bool:
    return all(place.verify(run_id)["whole"] for run_id in ("run0", "run1", "run2", "live"))


def known(place: Place, call: Call) -> set[str]:
    return {line.split()[0] for line in call(place, "runs").stdout.splitlines()}


def test_only_what_was_asked_for_is_removed(three: Place, call: Call) -> None:
    said = call(three, "prune", "run1", "--dry-run")
    assert said.stdout == "would remove 1 run: run1\n"
    assert known(three, call) == {"run0", "run1", "run2", "live"}

    done = call(three, "prune", "run1")

    assert done.exit_code == 0
    assert done.stdout.startswith("removed 1 run in ")
    assert known(three, call) == {"run0", "run2", "live"}
    assert not three.state_dir.journal("run1").exists()
    assert call(three, "status", "run1").exit_code == 4


def test_the_beginning_of_an_id_removes_nothing(three: Place, call: Call) -> None:
    result = call(three, "prune", "run", "--dry-run"), call(three, "prune", "liv"), call(three, "prune", "run1", "run")

    assert [one.exit_code for one in result] == [4, 4, 4]
    assert "no run is named 'liv'; live begins with it" in result[1].stderr
    assert known(three, call) == {"run0", "run1", "run2", "live"}


def test_the_newest_are_kept_and_one_that_lives_is_left_alone(three: Place, call: Call) -> None:
    call(three, "prune", "--keep", "1")
    kept = known(three, call)
    call(three, "prune", "--older-than", "1d")

    assert "live" in kept
    assert len(kept) == 2
    assert known(three, call) == {"live"}


@pytest.mark.parametrize("more", [(), ("run1",), ("--dry-run",), ("--keep", "9")], ids=" ".join)
def test_one_that_lives_is_not_removed_and_that_is_said(three: Place, call: Call, more: tuple[str, ...]) -> None:
    result = call(three, "prune", "live", *more)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "threepio: run live is not over: wait for it, or stop it\n"
    assert known(three, call) == {"run0", "run1", "run2", "live"}


def test_without_a_daemon_one_that_lives_is_said_to_live(place: Place, call: Call) -> None:
    write_journal(place.state_dir, "live", run_lines("live", 1, exit_code=None, identity=living()))

    result = call(place, "prune", "live")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "threepio: run live is not over: wait for it, or stop it\n"


@pytest.mark.parametrize("age_s", [0.0, 2 * 3600.0])
def test_one_of_which_nothing_can_be_seen_is_removed_if_nothing_came_for_an_hour(
    place: Place, call: Call, age_s: float
) -> None:
    elsewhere = living()._replace(pid_namespace="pid:[1]")
    journal = write_journal(place.state_dir, "elsewhere", run_lines("elsewhere", 1, exit_code=None, identity=elsewhere))
    os.utime(journal, (time.time() - age_s, time.time() - age_s))
    place.start_daemon()
    wait_until(lambda: place.status("elsewhere")["events"]["stored"] == 3)

    everything = call(place, "prune", "--older-than", "1s")
    result = call(place, "prune", "elsewhere")

    assert everything.stdout == "no run is to be removed\n"
    if age_s:
        assert (result.exit_code, known(place, call)) == (0, set()), result.stderr
        assert not journal.exists()
    else:
        assert (result.exit_code, known(place, call)) == (1, {"elsewhere"})
        assert "something came of it 0 minutes ago: it can be removed when nothing came for 60" in result.stderr


def test_one_that_cannot_be_removed_keeps_no_other(three: Place, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = QueryClient.ask

    def refuse(client: QueryClient, name: str, params: dict[str, Any] | None = None) -> Any:
        if params is not None and name == "remove" and params["run"] == "run1":
            raise ThreepioError("cannot remove the run run1: says the test")
        return ask(client, name, params)

    monkeypatch.setattr(QueryClient, "ask", refuse)
    result = call(three, "prune", "--older-than", "1s")

    assert result.exit_code == 1
    assert re.fullmatch(r"removed 2 runs in .*: run2, run0\n", result.stdout)
    assert result.stderr == "threepio: cannot remove the run run1: says the test\n"
    assert known(three, call) == {"run1", "live"}


def test_it_must_be_said_which(three: Place, call: Call) -> None:
    result = call(three, "prune")

    assert result.exit_code == 2
    assert "say which runs" in result.stderr


def test_without_a_daemon_nothing_is_removed(place: Place, call: Call) -> None:
    write_journal(place.state_dir, "run", run_lines("run", 1))

    result = call(place, "prune", "run")

    assert result.exit_code == 5
    assert "start one with: threepiod start" in result.stderr
    assert place.state_dir.journal("run").exists()
