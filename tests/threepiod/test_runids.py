"""RunIds: lists again when there may be something new, and only then."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from threepio_client.archive import Archive
from threepio_client.paths import StateDir
from threepiod.run import Run
from threepiod.runids import RunIds


class Counted(Archive):
    """An archive that counts how often it is listed, and says what a test wants."""

    def __init__(self, state_dir: StateDir) -> None:
        super().__init__(state_dir)
        self.known = {"old": 1.0, "new": 2.0}
        self.listings = 0
        self.meanwhile: Callable[[], object] = lambda: None

    def started(self) -> dict[str, float]:
        self.listings += 1
        found = dict(self.known)
        self.meanwhile()
        return found


@pytest.fixture
def archive(tmp_path: Path) -> Counted:
    """An archive whose directory changed long ago."""
    found = Counted(StateDir(tmp_path))
    found.state_dir.journals.mkdir()
    change(found, 10.0)
    return found


def change(archive: Archive, seconds_ago: float) -> None:
    """Have the directory changed at a certain time."""
    at = time.time() - seconds_ago
    os.utime(archive.state_dir.journals, (at, at))


def live(**started: float) -> dict[str, Run]:
    runs = {run_id: SimpleNamespace(state=SimpleNamespace(started=at)) for run_id, at in started.items()}
    return cast(dict[str, Run], runs)


def ask(archive: Counted, *steps: Callable[[RunIds], Any], runs: dict[str, Run] | None = None) -> list[list[str]]:
    """Ask, and again after each step; the answers."""

    async def asked() -> list[list[str]]:
        run_ids = RunIds(archive, trio.CapacityLimiter(1))
        answers = [await run_ids.latest_first(runs or {})]
        for step in steps:
            step(run_ids)
            answers.append(await run_ids.latest_first(runs or {}))
        return answers

    return trio.run(asked)


def test_while_nothing_changes_it_lists_once(archive: Counted) -> None:
    assert ask(archive, lambda _: None, lambda _: None) == [["new", "old"]] * 3
    assert archive.listings == 1


def test_a_run_of_which_there_is_only_a_journal_is_found(archive: Counted) -> None:
    def add(_: RunIds) -> None:
        archive.known["newest"] = 3.0
        (archive.state_dir.journals / "newest.jsonl").touch()

    assert ask(archive, add) == [["new", "old"], ["newest", "new", "old"]]


def test_a_second_change_within_the_same_step_of_the_clock_is_seen(archive: Counted) -> None:
    change(archive, 0.0)

    def add(_: RunIds) -> None:
        archive.known["newest"] = 3.0

    assert ask(archive, add)[-1] == ["newest", "new", "old"]


@pytest.mark.parametrize("when", ["after", "while it is listed"])
def test_a_run_that_was_removed_is_not_named(archive: Counted, when: str) -> None:
    def remove(run_ids: RunIds) -> None:
        archive.known = {"old": 1.0}
        run_ids.forget()

    async def asked() -> list[str]:
        run_ids = RunIds(archive, trio.CapacityLimiter(1))
        if when == "after":
            await run_ids.latest_first({})
            remove(run_ids)
        else:
            archive.meanwhile = lambda: remove(run_ids)
            await run_ids.latest_first({})
            archive.meanwhile = lambda: None
        return await run_ids.latest_first({})

    assert trio.run(asked) == ["old"]


def test_of_a_run_that_lives_the_daemon_knows_when_it_began(archive: Counted) -> None:
    assert ask(archive, runs=live(old=3.0, unknown=0.0)) == [["old", "new"]]


def test_when_a_run_is_over_it_lists_again(archive: Counted) -> None:
    runs = live(here=3.0)

    def end(_: RunIds) -> None:
        del runs["here"]
        archive.known["here"] = 3.0

    assert ask(archive, end, runs=runs) == [["here", "new", "old"]] * 2
    assert archive.listings == 2


def test_what_is_known_without_the_store_is_not_kept(archive: Counted) -> None:
    archive.trouble = "the store cannot be read"

    ask(archive, lambda _: None)

    assert archive.listings == 2
