"""`threepiod rebuild`: the same store from the journals, with all that only the old one still had."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import made_place
from tests.place import Place, wait_until
from tests.scripted import case, flip_bit, gone, made_state_dir, run_lines, write_journal
from tests.test_docs import cells, section
from threepio_client.archive import Archive
from threepio_client.errors import ThreepioError
from threepio_client.events import EventType, ObservationType
from threepio_client.journal import append_observation
from threepio_client.line import encode
from threepio_client.paths import StateDir
from threepio_client.verification import verify_run
from threepiod import oldstore
from threepiod.batch import Batch
from threepiod.rebuild import Rebuilt, rebuild
from threepiod.store import Store

RUNS = 50
TABLES = {
    "runs": "SELECT id, run_id, producer_id, seq, observed, started, state, final FROM runs ORDER BY id",
    "results": "SELECT r.run, t.nodeid, r.seq, status, phase, started, duration, worker, crc, details "
    "FROM results r JOIN tests t ON t.id = r.test ORDER BY r.run, r.seq",
    "tests": "SELECT nodeid FROM tests ORDER BY nodeid",
    "events": "SELECT * FROM events ORDER BY run, seq",
    "conflicts": "SELECT * FROM conflicts ORDER BY run, seq, line",
}


def content(path: Path) -> dict[str, list[Any]]:
    """Return every table of a store, JSON read and node ids resolved."""
    with closing(sqlite3.connect(path)) as db:
        found = {name: db.execute(query).fetchall() for name, query in TABLES.items()}
        found["state"] = [
            tuple(json.loads(column) for column in row)
            for row in db.execute("SELECT offsets, ingest, snapshot FROM runs ORDER BY id")
        ]
    return found


def ids_of(path: Path) -> list[str]:
    return [row[1] for row in content(path)["runs"]]


def write_runs(state_dir: StateDir, rng: random.Random) -> None:
    """Write journals of every kind: whole, cut short, with holes, with conflicts, in several files, with observations."""
    for number in range(RUNS):
        run_id = f"run-{number}"
        lines = run_lines(run_id, rng.randrange(0, 60), exit_code=None if number % 7 == 1 else 0)
        if number % 5 == 2 and len(lines) > 8:
            del lines[5]  # nobody has this line
        if number % 5 == 3 and len(lines) > 8:
            lines.insert(6, case(4, "test_it.py::another", "FAIL", error={"message": "other content"}))
        if number % 5 == 4 and len(lines) > 8:
            lines[7] = lines[7].replace(b"PASS", b"FAIL")  # its checksum tells
        cut = rng.randrange(1, len(lines)) if number % 3 == 0 else len(lines)
        write_journal(state_dir, run_id, lines[:cut])
        if cut < len(lines):
            state_dir.journal(run_id, 1).write_bytes(lines[0] + b"".join(lines[cut - 1 :]))
        if number % 4 == 1:
            append_observation(
                state_dir.observed(run_id), ObservationType.EXIT_STATUS, {"pid": gone().pid, "signal": 9}, 1.0
            )


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    """The state directory of a daemon that took fifty runs and was stopped."""
    with made_place() as place:
        write_runs(made_state_dir(place.state_dir.path), random.Random(7))
        place.start_daemon()
        wait_until(lambda: json.loads(place.threepiod("status", "--json").stdout)["runs_active"] == 0)
        place.stop_daemon()
        assert sorted(ids_of(place.state_dir.store)) == sorted(f"run-{number}" for number in range(RUNS))
        yield place.state_dir.path


@pytest.fixture
def stored(place: Place, template: Path) -> Place:
    """A place with a state directory like that."""
    shutil.copytree(template, place.state_dir.path)
    return place


def make_again(place: Place) -> Rebuilt:
    return rebuild(place.state_dir)


def remove_store(place: Place) -> None:
    for path in place.state_dir.path.glob("store.sqlite3*"):
        path.unlink()


def test_a_store_made_again_is_equal_table_by_table(stored: Place) -> None:
    before = content(stored.state_dir.store)
    assert before["conflicts"]
    assert any(row[2] == "hole" for row in before["events"])

    made = make_again(stored)

    assert content(stored.state_dir.store) == before
    assert (made.runs, made.old_events, made.unreadable, made.kept) == (RUNS, 0, [], None)
    assert made.events == len(before["results"]) + sum(row[2] != "hole" for row in before["events"])
    assert sorted(path.name for path in stored.state_dir.path.glob("store*")) == ["store.sqlite3"]


def test_a_store_that_is_not_there_is_made_from_the_journals(stored: Place) -> None:
    before = content(stored.state_dir.store)
    remove_store(stored)

    made = make_again(stored)

    after = content(stored.state_dir.store)
    assert (made.runs, made.old_runs) == (RUNS, 0)
    for name in ("results", "events", "tests", "conflicts"):
        assert len(after[name]) == len(before[name]), name
    by_id = {row[1]: row[2:] for row in before["runs"]}
    assert {row[1]: row[2:] for row in after["runs"]} == by_id


def test_the_daemon_goes_on_with_a_store_made_again(stored: Place) -> None:
    remove_store(stored)
    make_again(stored)
    before = content(stored.state_dir.store)

    stored.start_daemon()
    write_journal(stored.state_dir, "later", run_lines("later", 5))
    wait_until(lambda: stored.verify("later")["whole"])
    stored.stop_daemon()

    after = content(stored.state_dir.store)
    assert [row for row in after["results"] if row[0] <= RUNS] == before["results"]
    assert after["state"][:RUNS] == before["state"]


@pytest.mark.parametrize("at_once", [(3, 3), (1_000, 50_000)])
@pytest.mark.parametrize("lost", ["journal", "end", "middle", "every third line"])
def test_what_only_the_old_store_has_is_kept(
    stored: Place, monkeypatch: pytest.MonkeyPatch, lost: str, at_once: tuple[int, int]
) -> None:
    monkeypatch.setattr(oldstore, "ROWS", at_once)
    before = content(stored.state_dir.store)
    for number in (5, 10):
        path = stored.state_dir.journal(f"run-{number}")
        lines = path.read_bytes().splitlines(keepends=True)
        if lost == "journal":
            path.unlink()
            stored.state_dir.observed(f"run-{number}").unlink(missing_ok=True)
        elif lost == "end":
            path.write_bytes(b"".join(lines[:4]))
        else:
            for line in range(2, len(lines) - 1 if lost == "every third line" else 3, 3):
                flip_bit(path, sum(map(len, lines[:line])) + 20)

    made = make_again(stored)

    after = content(stored.state_dir.store)
    offsets = [row[0] for row in after.pop("state")], [row[0] for row in before.pop("state")]
    assert lost == "end" or offsets[0] == offsets[1]
    assert after == before
    assert made.old_runs == 2
    assert made.old_events > 0
    assert (made.unreadable, made.kept) == ([], None)


def test_a_stored_conflict_that_came_over_the_socket_is_kept(place: Place) -> None:
    state_dir = made_state_dir(place.state_dir.path)
    write_journal(state_dir, "run", run_lines("run", 3))
    make_again(place)
    with closing(Store(state_dir.store)) as store:
        found = store.open_run("run", "producer")
        batch = Batch(key=found.key)
        batch.take_conflict(3, "socket", b"what else came", found.state)
        batch.close(
            seq=found.seq, offsets=found.offsets, observed=0, final=True, ingest=found.ingest, state=found.state
        )
        store.write([batch])

    make_again(place)

    assert content(state_dir.store)["conflicts"] == [(found.key, 3, "socket", b"what else came")]
    assert place.status("run")["state"] == "incomplete"


def overwrite(path: Path, seed: int, share: float) -> None:
    rng, size = random.Random(seed), path.stat().st_size
    with path.open("r+b") as file:
        for page in rng.sample(range(size // 4096), max(1, int(size // 4096 * share))):
            file.seek(page * 4096)
            file.write(rng.randbytes(4096))


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_store_is_made_again_and_kept_beside(stored: Place, seed: int) -> None:
    before = content(stored.state_dir.store)
    overwrite(stored.state_dir.store, seed, share=0.1 + seed / 10)
    damaged = stored.state_dir.store.read_bytes()

    made = make_again(stored)

    after = content(stored.state_dir.store)
    rows = []
    for found in (before, after):
        name = {row[0]: row[1] for row in found["runs"]}
        rows.append(sorted((name[row[0]], *map(str, row[1:])) for row in found["results"] + found["events"]))
    assert rows[1] == rows[0]
    with closing(sqlite3.connect(stored.state_dir.store)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert made.kept is not None
    assert made.kept.read_bytes() == damaged


def test_what_is_no_store_at_all_is_kept_beside_and_said(stored: Place) -> None:
    stored.state_dir.store.write_bytes(b"no store at all" * 1000)

    done = stored.threepiod("rebuild")

    assert done.returncode == 1
    assert "could not be read: the old store's list of runs" in done.stderr
    assert f"store made again: {RUNS} runs" in done.stdout
    (kept,) = stored.state_dir.path.glob("store-*.sqlite3")
    assert str(kept) in done.stdout
    assert kept.read_bytes() == b"no store at all" * 1000


def test_a_store_of_a_newer_version_is_left_alone(stored: Place) -> None:
    with closing(sqlite3.connect(stored.state_dir.store)) as db:
        db.execute("INSERT INTO migrations VALUES ('7777-of-tomorrow', 'later')")
        db.commit()
    before = content(stored.state_dir.store)

    done = stored.threepiod("rebuild")

    assert done.returncode == 5
    assert "newer threepiod" in done.stderr
    assert content(stored.state_dir.store) == before


def test_a_running_daemon_keeps_its_store(served: Place) -> None:
    done = served.threepiod("rebuild")

    assert done.returncode == 2
    assert "threepiod stop" in done.stderr
    assert done.stdout == ""
    assert served.threepiod("status").returncode == 0


def test_a_journal_copied_to_another_place_is_the_same_run_there(stored: Place, tmp_path: Path) -> None:
    other = made_state_dir(tmp_path / "other")
    for path in stored.state_dir.journals.glob("run-*"):
        shutil.copy(path, other.journals)
        if path.suffix == ".jsonl" and not path.name.endswith(".observed.jsonl"):  # and a compressed one is as good
            copied = other.journals / path.name
            copied.with_name(path.name + ".gz").write_bytes(gzip.compress(copied.read_bytes()))
            copied.unlink()

    rebuild(other)

    ours, theirs = content(stored.state_dir.store), content(other.store)
    assert {row[1:] for row in theirs["runs"]} == {row[1:] for row in ours["runs"]}
    names = [{row[0]: row[1] for row in found["runs"]} for found in (ours, theirs)]
    for table in ("results", "events"):
        rows = [
            sorted((name[row[0]], *map(str, row[1:])) for row in found[table])
            for found, name in zip((ours, theirs), names, strict=True)
        ]
        assert rows[0] == rows[1]


def test_new_runs_are_numbered_by_their_start(place: Place) -> None:
    state_dir = made_state_dir(place.state_dir.path)
    for started, run_id in enumerate(("c", "a", "b")):
        start = {"schemaVersion": 1, "runId": run_id, "producerId": "producer", "process": gone().to_payload()}
        write_journal(state_dir, run_id, [encode(1, EventType.RUN_START, start, float(started + 1))])

    make_again(place)

    assert ids_of(state_dir.store) == ["c", "a", "b"]


KILLED = """
import os, signal, sys
from pathlib import Path
from threepio_client.paths import StateDir
from threepiod import rebuild

def watch(name, args):
    global calls
    if name in {"os.link", "os.rename", "os.remove", "sqlite3.connect"}:
        calls += 1
        if calls == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

for line in sys.stdin:
    calls, kill_at = 0, int(line)
    pid = os.fork()  # it has imported everything
    if not pid:
        sys.addaudithook(watch)
        rebuild.rebuild(StateDir(Path(sys.argv[1])))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.mark.parametrize("damaged", [False, True], ids=["whole", "damaged"])
def test_killed_at_any_moment_it_leaves_a_store_that_works(stored: Place, damaged: bool) -> None:
    if damaged:
        stored.state_dir.store.with_name("store.sqlite3-wal").write_bytes(b"the log of another store" * 1000)
        overwrite(stored.state_dir.store, 3, share=0.3)
    kills = 0
    command = [sys.executable, "-c", KILLED, str(stored.state_dir.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as again:
        assert again.stdin is not None
        assert again.stdout is not None
        while True:
            again.stdin.write(f"{kills + 1}\n")
            again.stdin.flush()
            code = int(again.stdout.readline())
            if code == 0:
                break
            kills += 1
            assert code == -9
            assert stored.state_dir.store.exists()
            if not damaged:
                assert len(ids_of(stored.state_dir.store)) == RUNS
    assert kills >= 5
    with closing(sqlite3.connect(stored.state_dir.store)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert len(ids_of(stored.state_dir.store)) == RUNS
    if not damaged:
        assert verify_run(Archive(stored.state_dir), "run-5")["whole"]


def test_the_answer_as_json(stored: Place) -> None:
    done = stored.threepiod("rebuild", "--json")

    answer = json.loads(done.stdout)
    assert answer.pop("seconds") > 0
    events = answer.pop("events")
    assert events > RUNS
    assert {row[0].strip("`") for row in cells(section("json.md", "threepiod rebuild --json")) if "`" in row[0]} == set(
        answer
    ) | {"seconds", "events"}
    assert answer == {
        "schema_version": 5,
        "runs": RUNS,
        "old_runs": 0,
        "old_events": 0,
        "unreadable": [],
        "kept": None,
    }


def test_an_error_is_one_of_ours(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    made_state_dir(place.state_dir.path)
    raise_full: Callable[..., None] = lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))  # noqa: E731
    monkeypatch.setattr(os, "replace", raise_full)

    with pytest.raises(ThreepioError, match=r"cannot make the store again: .*No space left"):
        make_again(place)

    assert list(place.state_dir.path.glob("*.new*")) == []


def test_a_schema_that_is_no_text_is_damage_like_any_other(stored: Place) -> None:
    data = stored.state_dir.store.read_bytes()
    stored.state_dir.store.write_bytes(data.replace(b"CREATE TABLE runs", b"CREATE \x9c\x9c\x9c\x9c\x9c runs", 1))

    assert stored.threepio("verify", "run-5").returncode == 1
    assert "cannot open the store" in stored.threepiod("start").stderr
    assert make_again(stored).kept is not None
    assert verify_run(Archive(stored.state_dir), "run-5")["whole"]
