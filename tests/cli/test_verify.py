"""`threepio verify`: exit code 0 only for what is whole, and a sentence for each thing that is not."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.commands import Call
from tests.place import Place, wait_until
from tests.scripted import case, event, flip_bit, run_lines, write_journal
from threepio_client.archive import Archive
from threepio_client.events import EventType
from threepio_client.verification import verify_run

FIELDS = {"journal_events", "stored_events", "missing", "duplicates", "corrupt"}


@pytest.fixture(scope="module")
def stored(shared: Place) -> Place:
    """A place whose run `whole` is stored."""
    write_journal(shared.state_dir, "whole", run_lines("whole", 5))
    archive = Archive(shared.state_dir)
    wait_until(lambda: archive.stored("whole") is not None and verify_run(archive, "whole")["whole"])
    return shared


def without_daemon(place: Place) -> dict[str, str]:
    return {"THREEPIO_SOCKET": str(place.path / "nobody listens here")}


def test_what_is_whole_is_exit_code_0_with_and_without_the_daemon(stored: Place, call: Call) -> None:
    for environ in ({}, without_daemon(stored)):
        result = call(stored, "verify", "whole", "--json", **environ)
        found = json.loads(result.stdout)
        assert result.exit_code == 0
        assert found.keys() >= FIELDS
        assert [found[name] for name in sorted(FIELDS)] == [0, 0, 8, 0, 8]
        assert found["whole"] is True
    assert call(stored, "verify", "whole").stdout.startswith("run whole: whole - 8 events in the journal, 8 stored")


def test_a_run_that_nobody_stored_says_how_to_store_it(place: Place, call: Call) -> None:
    write_journal(place.state_dir, "run", run_lines("run", 5))

    result = call(place, "verify")

    assert result.exit_code == 1
    assert "run run: NOT whole" in result.stdout
    assert "8 events of the journal are not stored" in result.stdout
    assert "threepiod start" in result.stdout


def cut_out(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3] + lines[4:]))


def repeat(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:4], lines[3], *lines[4:]]))


def say_other(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], case(4, "test_it.py::test_other"), *lines[4:]]))


@pytest.mark.parametrize(
    ("damage", "field", "sentence"),
    [
        (lambda path: flip_bit(path, 700), "corrupt", "whole.jsonl is corrupt: checksum does not match"),
        (cut_out, "missing", "1 events up to number 8 are not in the journal"),
        (repeat, "duplicates", ""),
        (say_other, "missing", "1 events are stored with other content than the journal's"),
        (Path.unlink, "missing", "is not there"),
    ],
    ids=["flipped bit", "line cut out", "line repeated", "other content", "no journal"],
)
def test_damage_to_the_journal_is_found_after_it_was_stored(
    stored: Place, call: Call, damage: Callable[[Path], None], field: str, sentence: str
) -> None:
    path = stored.state_dir.journal("whole")
    before = path.read_bytes()
    damage(path)
    try:
        result = call(stored, "verify", "whole", "--json", **without_daemon(stored))
        as_text = call(stored, "verify", "whole", **without_daemon(stored))
    finally:
        path.write_bytes(before)

    found = json.loads(result.stdout)
    assert (result.exit_code, as_text.exit_code) == (1, 1)
    assert not found["whole"]
    assert found[field] > 0
    assert sentence in as_text.stdout
    assert as_text.stderr == ""


def test_damage_to_the_store_is_found(place: Place, call: Call) -> None:
    write_journal(place.state_dir, "run", run_lines("run", 5))
    place.start_daemon()
    wait_until(lambda: call(place, "verify").exit_code == 0)
    place.stop_daemon()
    with closing(sqlite3.connect(place.state_dir.store)) as db:
        db.execute("DELETE FROM results WHERE seq = 4")
        db.commit()

    result = call(place, "verify")

    assert result.exit_code == 1
    assert "1 events of the journal are not stored" in result.stdout


def test_what_the_runner_counted_is_compared(place: Place, call: Call) -> None:
    lines = run_lines("run", 5, exit_code=None)
    totals = {"passed": 6, "failed": 1}
    end = {"exitCode": 1, "totals": totals, "deselected": 0, "stopped": None, "stats": {}}
    write_journal(place.state_dir, "run", [*lines, event(8, EventType.RUN_COMPLETE, end)])

    text = call(place, "verify").stdout

    assert "the runner counted 6 passed, the journal has 5" in text
    assert "the runner counted 1 failed, the journal has 0" in text


def test_all_runs_are_verified_at_once(stored: Place, call: Call) -> None:
    result = call(stored, "verify", "--all", "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 0
    assert [run["run_id"] for run in found["runs"]] == ["whole"]


def test_with_no_run_at_all_that_is_said(place: Place, call: Call) -> None:
    result = call(place, "verify", "--all")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "there are no runs yet" in result.stderr
