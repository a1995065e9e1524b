"""Housekeeping: what is compressed and removed, what is left alone, and that being killed in it loses nothing."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Call
from tests.outputs import locked
from tests.place import Place, wait_until
from tests.scripted import case, flip_bit, gone, in_trio, made_state_dir, run_lines, write_journal
from threepio_client import clock
from threepio_client.archive import Archive
from threepio_client.events import ObservationType
from threepio_client.journal import append_observation
from threepio_client.paths import StateDir
from threepio_client.runfiles import journal_files
from threepio_client.settings import load_daemons
from threepio_client.verification import verify_run
from threepiod.committer import Committer
from threepiod.housekeeping import EVERY_S, PACK_AFTER_S, Housekeeping
from threepiod.packing import CHUNK, pack, remove_parts
from threepiod.rebuild import rebuild
from threepiod.store import Store, StoreError

DAY = 86_400.0


class Daemon:
    """What housekeeping sees of a daemon."""

    is_busy = False

    def __init__(self) -> None:
        self.works: set[str] = set()
        self.forgotten: list[str] = []
        self.without_report: list[str] = []

    async def remove_report(self, run_id: str) -> None:
        self.without_report.append(run_id)

    def works_on(self, run_id: str) -> bool:
        return run_id in self.works

    def unseen(self) -> dict[str, float]:
        return {}

    async def give_up(self, run_id: str) -> None:
        raise AssertionError

    def forget(self, run_id: str) -> None:
        self.forgotten.append(run_id)


class Bench:
    """A state directory with a store, and housekeeping in it."""

    def __init__(self, place: Place) -> None:
        self.state_dir = made_state_dir(place.state_dir.path)
        self.archive = Archive(self.state_dir)
        self.daemon = Daemon()
        self.keep_s = 90 * DAY

    def add(self, run_id: str, tests: int = 3, **more: Any) -> Path:
        """Write the journal of a run that was over long ago."""
        return write_journal(self.state_dir, run_id, run_lines(run_id, tests, **more))

    def age(self, seconds: float) -> None:
        """Let every file look as if it had been changed so long ago."""
        for path in self.state_dir.journals.iterdir():
            os.utime(path, (clock.wall() - seconds, clock.wall() - seconds))

    def fill_store(self) -> None:
        rebuild(self.state_dir)

    async def round(self) -> None:
        with closing(Store(self.state_dir.store)) as store:
            await Housekeeping(self.daemon, self.state_dir, Committer(store), self.keep_s).round()

    def names(self) -> list[str]:
        return sorted(path.name for path in self.state_dir.journals.iterdir())

    def rows(self, table: str) -> int:
        with closing(sqlite3.connect(self.state_dir.store)) as db:
            return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


@pytest.fixture
def bench(place: Place) -> Bench:
    return Bench(place)


@in_trio
async def test_a_journal_is_compressed_when_its_run_has_been_over_for_ten_minutes(bench: Bench) -> None:
    plain = bench.add("run").read_bytes()
    bench.fill_store()
    await bench.round()
    assert bench.names() == ["run.jsonl"]

    bench.age(PACK_AFTER_S + 1)
    changed = bench.state_dir.journal("run").stat().st_mtime_ns
    await bench.round()

    assert bench.names() == ["run.jsonl.gz"]
    packed = bench.state_dir.journals / "run.jsonl.gz"
    assert packed.stat().st_mode & 0o777 == 0o600
    assert packed.stat().st_mtime_ns == changed
    assert subprocess.run(["gzip", "-dc", packed], capture_output=True, check=True).stdout == plain


@in_trio
async def test_what_is_not_fully_stored_is_left_alone(bench: Bench) -> None:
    for run_id in ("more", "busy", "torn", "unknown", "bad-later", "cut"):
        bench.add(run_id)
    bench.add("living", exit_code=None)
    append_observation(
        bench.state_dir.observed("cut"), ObservationType.EXIT_STATUS, {"pid": gone().pid, "signal": 9}, 1.0
    )
    bench.fill_store()
    write_journal(bench.state_dir, "more", [case(7, "test_it.py::test_late")])
    write_journal(bench.state_dir, "bad-later", [b"nonsense\n"])
    write_journal(bench.state_dir, "torn", [b'{"seq":8,"eventTy'])  # its writer is gone: nothing that could be stored
    bench.add("new")
    with closing(sqlite3.connect(bench.state_dir.store)) as db:
        db.execute("DELETE FROM runs WHERE run_id = 'unknown'")
        db.commit()
    bench.age(100 * DAY)
    bench.keep_s = float("inf")
    bench.daemon.works.add("busy")

    await bench.round()

    assert [name for name in bench.names() if name.endswith(".gz")] == ["cut.jsonl.gz", "torn.jsonl.gz"]
    bench.keep_s = 90 * DAY
    await bench.round()
    assert bench.names() == [f"{name}.jsonl" for name in ("bad-later", "busy", "living", "more", "new", "unknown")]
    assert sorted(bench.daemon.forgotten) == ["cut", "torn"]


ZEROS = bytes(700)
CUT: dict[str, list[bytes]] = {
    "a line of zeros": [ZEROS + b"\n"],
    "zeros without an end": [ZEROS],
    "many zeros": [bytes(700 * 1024)],
    "zeros, then a line": [ZEROS + b"\n", case(9, "test_it.py::test_lost")],
    "half a line, then zeros": [b'{"seq":7,"ev' + ZEROS],
}


@pytest.mark.parametrize("left", CUT)
@in_trio
async def test_what_a_power_cut_left_behind_the_last_line_keeps_no_run(bench: Bench, left: str) -> None:
    bench.add("cut-off", exit_code=None, identity=gone())
    write_journal(bench.state_dir, "cut-off", CUT[left])
    append_observation(
        bench.state_dir.observed("cut-off"), ObservationType.PROCESS_GONE, {"pid": gone().pid, "inFlight": None}, 1.0
    )
    bench.fill_store()
    bench.age(91 * DAY)

    await bench.round()

    assert (bench.names(), bench.rows("runs")) == ([], 0)


@in_trio
async def test_nothing_is_compressed_before_the_store_is_on_the_disk(bench: Bench) -> None:
    bench.add("run")
    bench.fill_store()
    bench.age(PACK_AFTER_S + 1)
    reader = sqlite3.connect(bench.state_dir.store)  # keeps an older state of the store in use
    with closing(reader), closing(Store(bench.state_dir.store)) as store:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM runs").fetchone()
        store.open_run("other", "producer")
        assert not store.checkpoint()
        await bench.round()
        assert bench.names() == ["run.jsonl"]
        reader.rollback()
        assert store.checkpoint()
    await bench.round()
    assert bench.names() == ["run.jsonl.gz"]


def test_commands_read_compressed_journals(bench: Bench, place: Place, call: Call) -> None:
    lines = run_lines("run", 5, exit_code=None)
    lines.append(case(8, "test_it.py::test_bad", "FAIL", error={"message": "it broke"}))
    write_journal(bench.state_dir, "run", lines)
    bench.fill_store()
    before = [call(place, *words, "run", "--json").stdout for words in (["status"], ["failures"], ["verify"])]

    pack(bench.state_dir.journal("run"), lambda: None)

    assert [call(place, *words, "run", "--json").stdout for words in (["status"], ["failures"], ["verify"])] == before
    bench.state_dir.store.unlink()
    alone = [call(place, *words, "run").stdout for words in (["status"], ["failures"])]
    assert "crashed" in alone[0]
    assert "test_bad" in alone[1]
    assert rebuild(bench.state_dir).events == 8
    assert call(place, "verify", "run").exit_code == 0


def test_verify_names_the_line_of_a_compressed_journal(bench: Bench) -> None:
    bench.add("run")
    bench.fill_store()
    flip_bit(bench.state_dir.journal("run"), bench.state_dir.journal("run").read_bytes().index(b"test_1") + 2)
    pack(bench.state_dir.journal("run"), lambda: None)

    found = verify_run(bench.archive, "run")

    assert not found["whole"]
    assert found["problems"][0].startswith("line 4 of run.jsonl.gz is corrupt")


KILLED = """
import os, signal, sys
from pathlib import Path
from threepiod.packing import pack

calls = 0
def count(*_):
    global calls
    calls += 1
    if calls == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
def before(name):
    call = getattr(os, name)
    setattr(os, name, lambda *a, **k: (count(), call(*a, **k))[1])
for name in ("open", "fsync", "rename", "unlink", "utime"):
    before(name)
pack(Path(sys.argv[1]), count)
"""


def test_a_packing_killed_at_any_moment_leaves_a_whole_file(bench: Bench) -> None:
    path = bench.add("run", tests=3_000)
    bench.fill_store()
    kills = 0
    while (
        done := subprocess.run([sys.executable, "-c", KILLED, str(path), str(kills + 1)], check=False).returncode
    ) != 0:
        kills += 1
        assert done == -signal.SIGKILL
        assert verify_run(bench.archive, "run")["whole"]
        remove_parts(bench.state_dir.journals)
        assert set(bench.names()) <= {"run.jsonl", "run.jsonl.gz"}
        if not path.exists():
            break
    assert kills >= 8
    assert verify_run(bench.archive, "run")["whole"]


def test_where_both_files_are_there_the_plain_one_counts(bench: Bench) -> None:
    path = bench.add("run")
    shutil.copy(path, path.with_name("kept"))
    pack(path, lambda: None)
    packed = path.with_name("run.jsonl.gz")
    path.with_name("kept").rename(path)
    packed.write_bytes(packed.read_bytes()[:40])
    bench.fill_store()

    assert journal_files(bench.state_dir, "run") == {0: path}
    assert verify_run(bench.archive, "run")["whole"]
    assert pack(path, lambda: None)
    assert verify_run(bench.archive, "run")["whole"]


@pytest.mark.parametrize("at", [1, 2], ids=["while it is compressed", "while that is read back"])
def test_a_file_that_grows_is_not_compressed(bench: Bench, at: int) -> None:
    path = bench.add("run")
    grown = path.read_bytes() + b"more\n"
    pauses = 0

    def write_more() -> None:
        nonlocal pauses
        pauses += 1
        if pauses == at:
            write_journal(bench.state_dir, "run", [b"more\n"])

    assert not pack(path, write_more)
    assert bench.names() == ["run.jsonl"]
    assert path.read_bytes() == grown


@pytest.mark.parametrize(
    "change",
    [lambda part: flip_bit(part, 1_000), lambda part: flip_bit(part, 10), lambda part: os.truncate(part, 1_000)],
    ids=["a bit", "what it is", "its end"],
)
def test_what_does_not_read_back_as_it_was_replaces_no_file(bench: Bench, change: Callable[[Path], None]) -> None:
    plain = os.urandom(16 * CHUNK)  # random: it is stored as it is, and a changed bit is found by the checksum alone
    path = write_journal(bench.state_dir, "run", [plain])
    part = bench.state_dir.journals / "run.jsonl.gz.part"
    pauses = 0

    def spoil() -> None:
        nonlocal pauses
        pauses += 1
        if pauses == 8:  # the first ones are in a buffer yet
            change(part)

    with pytest.raises(OSError, match="does not read back"):
        pack(path, spoil)
    assert bench.names() == ["run.jsonl"]
    assert path.read_bytes() == plain


def test_a_full_disk_leaves_the_plain_file(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bench.add("run")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("threepiod.packing.os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        pack(path, lambda: None)
    assert bench.names() == ["run.jsonl"]


@in_trio
async def test_a_run_is_removed_with_everything(bench: Bench) -> None:
    for run_id in ("old", "young"):
        bench.add(run_id, nodeids=["test_it.py::test_both", f"test_it.py::test_{run_id}"])
    append_observation(bench.state_dir.observed("old"), ObservationType.EXIT_STATUS, {"pid": 1, "exitCode": 0}, 1.0)
    bench.state_dir.now_page("old").write_bytes(b"page")
    bench.state_dir.journal("old", 1).write_bytes(run_lines("old", 0)[0])
    bench.state_dir.output("old").parent.mkdir()
    bench.state_dir.output("old").write_text("printed")
    bench.fill_store()
    bench.age(91 * DAY)
    os.utime(bench.state_dir.journal("young"))

    await bench.round()

    assert bench.names() == ["young.jsonl"]
    assert not bench.state_dir.output("old").exists()
    assert bench.archive.run_ids() == ["young"]
    assert (bench.rows("runs"), bench.rows("results"), bench.rows("tests"), bench.rows("events")) == (1, 2, 2, 3)
    assert verify_run(bench.archive, "young")["whole"]
    assert bench.daemon.forgotten == ["old"]


@in_trio
async def test_a_clock_that_was_ahead_at_the_start_and_is_set_right_removes_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.add("young")
    bench.fill_store()
    monkeypatch.setattr("threepiod.housekeeping.clock.wall", lambda: time.time() + 100 * DAY)

    await bench.round()

    assert bench.archive.run_ids() == ["young"]


@in_trio
async def test_a_removal_that_somebody_asked_for_and_that_was_cut_short_is_finished(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.add("young", 20)
    bench.add("other")
    bench.fill_store()
    bench.keep_s = float("inf")

    def fail(*_: object, **__: object) -> bool:
        raise StoreError("the daemon stops, says the test")

    with monkeypatch.context() as stopping:
        stopping.setattr(Store, "remove_rows", fail)
        with closing(Store(bench.state_dir.store)) as store, pytest.raises(StoreError):
            await Housekeeping(bench.daemon, bench.state_dir, Committer(store), bench.keep_s).remove("young")
    assert (bench.names(), bench.rows("runs")) == (["other.jsonl"], 2)

    await bench.round()

    assert (bench.names(), bench.rows("runs")) == (["other.jsonl"], 1)
    assert bench.archive.run_ids() == ["other"]


@in_trio
async def test_the_output_of_a_command_that_began_no_run_is_removed_when_it_is_old(bench: Bench) -> None:
    bench.add("run")
    bench.fill_store()
    outputs = [bench.state_dir.output(name) for name in ("old", "young", "goes-on", "run")]
    outputs[0].parent.mkdir()
    for path in outputs:
        path.write_text("printed")
        if path.stem != "young":
            os.utime(path, (clock.wall() - 91 * DAY, clock.wall() - 91 * DAY))
    with locked(outputs[2]):
        await bench.round()

    assert [path.exists() for path in outputs] == [False, True, True, True]


@in_trio
async def test_stacks_of_a_run_whose_id_begins_with_that_of_a_removed_one_are_kept(bench: Bench) -> None:
    for run_id in ("nightly", "nightly.2"):
        bench.add(run_id)
    mine, other = bench.state_dir.stacks("nightly", 17), bench.state_dir.stacks("nightly.2", 17)
    mine.parent.mkdir()
    for path in (mine, other):
        path.write_text("stacks")
    bench.fill_store()
    bench.age(91 * DAY)
    os.utime(bench.state_dir.journal("nightly.2"))

    await bench.round()

    assert bench.archive.run_ids() == ["nightly.2"]
    assert [path.exists() for path in (mine, other)] == [False, True]


@pytest.mark.parametrize("steps", [0, 1, 2])
@in_trio
async def test_a_removal_that_was_cut_short_is_finished(bench: Bench, steps: int) -> None:
    bench.add("old", tests=30)
    bench.add("young", tests=30)
    bench.fill_store()
    bench.age(91 * DAY)
    os.utime(bench.state_dir.journal("young"))
    bench.state_dir.journal("old").unlink()
    with closing(Store(bench.state_dir.store)) as store:
        found = store.find_run("old")
        assert found is not None
        for _ in range(steps):
            store.remove_rows(found.key, 20)
    assert sorted(bench.archive.run_ids()) == ["old", "young"]

    await bench.round()

    assert bench.archive.run_ids() == ["young"]
    assert (bench.rows("runs"), bench.rows("results"), bench.rows("tests")) == (1, 30, 30)


@pytest.mark.parametrize(("text", "seconds"), [("", 90 * DAY), ("1.5", 1.5 * DAY), ("inf", float("inf"))])
def test_how_long_runs_are_kept(text: str, seconds: float) -> None:
    assert load_daemons({"THREEPIO_KEEP_DAYS": text}).keep_s == seconds


@pytest.mark.parametrize("text", ["0", "-1", "nan", "a week"])
def test_a_bad_number_of_days_is_said_by_the_daemon_and_nobody_else(place: Place, text: str) -> None:
    start = place.threepiod("start", THREEPIO_KEEP_DAYS=text)

    assert start.returncode == 2
    assert f"THREEPIO_KEEP_DAYS={text!r}: must be a number of days" in start.stderr


@pytest.fixture
def brisk(place: Place) -> Place:
    place.path.joinpath("sitecustomize.py").write_text(
        "from threepiod import housekeeping\nhousekeeping.FIRST_S = housekeeping.EVERY_S = 0.1\n"
    )
    place.environ["PYTHONPATH"] = f"{place.path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    return place


def test_a_real_daemon_keeps_house(brisk: Place) -> None:
    state_dir = made_state_dir(brisk.state_dir.path)
    for run_id in ("old", "over", "fresh"):
        write_journal(state_dir, run_id, run_lines(run_id, 3))
    (state_dir.journals / "over.jsonl.gz.part").write_bytes(b"half of it")
    for run_id, age in (("old", 2 * DAY), ("over", PACK_AFTER_S + EVERY_S)):
        os.utime(state_dir.journal(run_id), (clock.wall() - age,) * 2)
    brisk.environ["THREEPIO_KEEP_DAYS"] = "1"
    brisk.environ["COVERAGE_PROCESS_START"] = ""

    brisk.start_daemon()

    def names() -> list[str]:
        return sorted(path.name for path in state_dir.journals.iterdir())

    wait_until(lambda: names() == ["fresh.jsonl", "over.jsonl.gz"])
    wait_until(lambda: sorted(Archive(state_dir).run_ids()) == ["fresh", "over"])
    assert brisk.verify("over")["whole"]
    assert StateDir(state_dir.path).store.exists()
