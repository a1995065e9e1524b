"""The daemon as a whole, in this process: what it finds at its start and between, and how it ends."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.daemon_here import KEEP_ALL, Client, Served, serving
from tests.place import Place
from tests.scripted import STARTED, case, frame_of, in_trio, living, run_lines, sleeper, until, write_journal
from tests.two_runs import restamped
from threepio_client import runfiles
from threepio_client.archive import Archive, StoredRun
from threepio_client.errors import ThreepioError
from threepio_client.events import ObservationType
from threepio_client.journal import append_observation
from threepio_client.paths import StateDir
from threepio_client.protocol import Ack, Unjournaled
from threepio_client.runjournal import RunJournal
from threepio_client.verification import verify_run
from threepiod import daemon, housekeeping
from threepiod.batch import Batch
from threepiod.queries import live_view
from threepiod.run import Run
from threepiod.store import Store, StoreError


class SlowStore(Store):
    """A store on a slow disk."""

    def write(self, batches: list[Batch]) -> None:
        time.sleep(0.2)
        super().write(batches)


def is_whole(place: Place, run_id: str) -> bool:
    archive = Archive(place.state_dir)
    return bool(archive.run_ids() and verify_run(archive, run_id)["whole"])


# What it finds


@in_trio
async def test_every_journal_of_before_the_start_is_stored(place: Place) -> None:
    for number in range(5):
        write_journal(place.state_dir, f"run-{number}", run_lines(f"run-{number}", number))

    async with serving(place) as served:
        await until(lambda: not served.daemon.runs and is_whole(place, "run-4"))

    assert all(is_whole(place, f"run-{number}") for number in range(5))


@in_trio
async def test_a_journal_that_appears_is_found_by_the_tick(place: Place) -> None:
    async with serving(place) as served:
        for run_id in ("one", "two"):
            write_journal(place.state_dir, run_id, run_lines(run_id, 3))
            await until(lambda run_id=run_id: is_whole(place, run_id))  # type: ignore[misc]
        await until(lambda: not served.daemon.runs)


@in_trio
async def test_it_is_at_its_limit_while_many_events_come(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "LIMIT_EVENTS_PER_S", 10.0)

    async with serving(place) as served:
        assert not served.daemon.is_at_limit
        write_journal(place.state_dir, "run", run_lines("run", 20))
        await until(lambda: served.daemon.is_at_limit)
        await until(lambda: not served.daemon.is_at_limit)


@in_trio
async def test_a_run_of_which_a_power_cut_left_only_the_second_file_is_taken_up(place: Place) -> None:
    lines = run_lines("run", 3)
    place.state_dir.journals.mkdir(mode=0o700, parents=True, exist_ok=True)
    place.state_dir.journal("run").write_bytes(b"")
    place.state_dir.journal("run", 1).write_bytes(b"".join(lines))

    async with serving(place):
        await until(lambda: is_whole(place, "run"))


@in_trio
async def test_what_is_no_journal_disturbs_nobody(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    journals = place.state_dir.journals
    journals.mkdir(parents=True)
    (journals / "directory.jsonl").mkdir()
    (journals / "empty.jsonl").touch()
    (journals / "link.jsonl").symlink_to(journals / "nowhere")
    (journals / "notes.txt").write_text("hello")
    (journals / "garbage.jsonl").write_bytes(b"\xff\n" * 100)

    with caplog.at_level(logging.INFO, "threepiod"):
        async with serving(place) as served:
            write_journal(place.state_dir, "run", run_lines("run", 3))
            await until(lambda: is_whole(place, "run"))
            for _ in range(3):  # ticks
                await trio.sleep(0.26)
            assert served.daemon.self_status()["pid"]

    told = [record.getMessage() for record in caplog.records if "directory.jsonl" in record.getMessage()]
    assert len(told) == 1, told


@pytest.fixture
def abandoned_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal without a first line is taken for abandoned after half a second."""
    monkeypatch.setattr(daemon, "FIRST_LINE_S", 0.0)
    for module in (daemon, runfiles):
        monkeypatch.setattr(module, "ABANDONED_S", 0.5)


@in_trio
async def test_a_run_that_ended_before_its_first_line_is_over_and_can_be_removed(
    place: Place, monkeypatch: pytest.MonkeyPatch, abandoned_soon: None
) -> None:
    journal = write_journal(place.state_dir, "headless", [b'{"seq":1,"eventTy'])

    async with serving(place) as served:
        await until(lambda: [run.run_id for run in Archive(place.state_dir).runs_over()] == ["headless"])
        verdict = Archive(place.state_dir).view("headless")["verdict"]
        await until(lambda: not served.daemon.works_on("headless"))
        looks: list[StateDir] = []
        list_runs = runfiles.runs_of

        def watched(state_dir: StateDir) -> dict[str, dict[int, Path]]:
            looks.append(state_dir)
            return list_runs(state_dir)

        monkeypatch.setattr(daemon, "runs_of", watched)
        await trio.sleep(2 * daemon.TICK_S)  # what was noted of its end is a change
        seen = len(looks)
        await trio.sleep(3 * daemon.TICK_S)
        assert len(looks) == seen
        await served.daemon.remove("headless")

    assert verdict == {"kind": "gone", "text": "the process is gone, and was so before its first event"}
    assert not journal.exists()
    assert Archive(place.state_dir).run_ids() == []


@in_trio
async def test_a_run_that_was_given_up_before_its_first_line_is_taken_up_when_that_comes(
    place: Place, abandoned_soon: None
) -> None:
    write_journal(place.state_dir, "late", [])

    async with serving(place) as served:
        await until(lambda: [run.run_id for run in Archive(place.state_dir).runs_over()] == ["late"])
        await until(lambda: not served.daemon.works_on("late"))
        write_journal(place.state_dir, "late", run_lines("late", 2))
        write_journal(place.state_dir, "other", run_lines("other", 1))  # the directory changes
        await until(lambda: is_whole(place, "late"))

    assert Archive(place.state_dir).view("late")["state"] == "passed"


@in_trio
async def test_a_run_that_is_given_up_and_connects_before_it_is_over_goes_on(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = living()._replace(pid_namespace="pid:[1]")
    write_journal(place.state_dir, "run", run_lines("run", 2, exit_code=None, identity=elsewhere))
    read = RunJournal.read

    def read_slowly(*args: Any, **more: Any) -> Any:
        time.sleep(0.3)
        return read(*args, **more)

    async with serving(place) as served:
        await until(lambda: len(Archive(place.state_dir).stored_lines("run")) == 4)
        run = served.daemon.runs["run"]
        with monkeypatch.context() as slow:
            slow.setattr(RunJournal, "read", read_slowly)
            write_journal(place.state_dir, "run", [case(5, "test_it.py::test_more")])
            run.give_up()
            await served.adapter("run")
        await until(lambda: run.stored == 5)
        await trio.sleep(0.3)

        assert served.daemon.works_on("run")
        assert not run.state.process_gone
        assert served.daemon.unseen() == {}
        await served.daemon.give_up("run")  # nothing, as it is seen
        assert not run.state.process_gone


@in_trio
async def test_what_a_daemon_noted_of_an_end_before_it_was_killed_is_the_end(place: Place) -> None:
    elsewhere = living()._replace(pid_namespace="pid:[1]")
    write_journal(place.state_dir, "run", run_lines("run", 2, exit_code=None, identity=elsewhere))
    append_observation(place.state_dir.observed("run"), ObservationType.PROCESS_GONE, {"inFlight": []}, 1.0)

    async with serving(place):
        await until(lambda: [run.run_id for run in Archive(place.state_dir).runs_over()] == ["run"])


@in_trio
async def test_a_run_whose_journal_somebody_removed_is_no_older_for_that(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "FIRST_S", 0.0)
    monkeypatch.setattr(housekeeping, "EVERY_S", 0.1)
    elsewhere = living()._replace(pid_namespace="pid:[1]")
    lines = [restamped(line, time.time() - STARTED) for line in run_lines("run", 2, exit_code=None, identity=elsewhere)]
    journal = write_journal(place.state_dir, "run", lines)
    async with serving(place):
        await until(lambda: len(Archive(place.state_dir).stored_lines("run")) == 4)
    journal.unlink()

    async with serving(place, limits=KEEP_ALL._replace(keep_s=7200.0)) as served:
        await until(lambda: served.daemon.works_on("run"))
        await trio.sleep(0.5)
        with pytest.raises(ThreepioError, match="something came of it 0 minutes ago"):
            await served.daemon.remove("run")

    assert len(Archive(place.state_dir).stored_lines("run")) == 4


@in_trio
async def test_a_torn_end_is_not_looked_at_again_whenever_a_journal_appears(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    write_journal(place.state_dir, "torn", [*run_lines("torn", 2, exit_code=None), b'{"seq":5,"ev'])

    with caplog.at_level(logging.INFO, "threepiod"):
        async with serving(place) as served:
            for run_id in ("one", "two", "three"):
                write_journal(place.state_dir, run_id, run_lines(run_id, 1))
                await until(lambda run_id=run_id: is_whole(place, run_id))  # type: ignore[misc]
            await until(lambda: not served.daemon.runs)

    assert sum("run torn: over" in record.getMessage() for record in caplog.records) == 1


@in_trio
async def test_a_run_whose_first_line_may_still_come_is_not_given_up(place: Place) -> None:
    write_journal(place.state_dir, "late", [])

    async with serving(place):
        await trio.sleep(2.5 * daemon.TICK_S)
        write_journal(place.state_dir, "late", run_lines("late", 1))
        write_journal(place.state_dir, "other", run_lines("other", 1))
        await until(lambda: is_whole(place, "late"))


@in_trio
async def test_a_run_whose_journal_somebody_removed_is_over_when_its_process_is_gone(place: Place) -> None:
    with sleeper() as (identity, kill):
        journal = write_journal(place.state_dir, "run", run_lines("run", 2, identity=identity, exit_code=None))
        async with serving(place):
            await until(lambda: len(Archive(place.state_dir).stored_lines("run")) == 4)
        journal.unlink()
        kill()

    async with serving(place) as served:
        await until(lambda: [run.run_id for run in Archive(place.state_dir).runs_over()] == ["run"])
        await until(lambda: not served.daemon.works_on("run"))
        await served.daemon.remove("run")

    assert Archive(place.state_dir).run_ids() == []


@in_trio
async def test_a_run_of_which_not_all_is_stored_is_not_removed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = write_journal(place.state_dir, "run", run_lines("run", 2))
    async with serving(place) as served:
        await until(lambda: is_whole(place, "run"))
    monkeypatch.setattr(daemon.Daemon, "_has_grown", lambda *_: False)
    write_journal(place.state_dir, "run", [case(6, "test_it.py::test_late")])

    async with serving(place) as served:
        with pytest.raises(ThreepioError, match="not all of the journal of run run is stored: see threepio verify run"):
            await served.daemon.remove("run")

    assert len(journal.read_bytes().splitlines()) == 6


@in_trio
async def test_a_run_of_which_nothing_can_be_seen_keeps_no_idle_daemon(place: Place) -> None:
    elsewhere = living()._replace(pid_namespace="pid:[1]")
    write_journal(place.state_dir, "run", run_lines("run", 2, exit_code=None, identity=elsewhere))

    async with serving(place, limits=KEEP_ALL._replace(idle_exit_s=1.0)) as served:
        await until(lambda: len(Archive(place.state_dir).stored_lines("run")) == 4)
        assert served.daemon.works_on("run")
        await served.daemon.stopped()

    assert not Archive(place.state_dir).runs_over()


@in_trio
async def test_a_run_that_lives_keeps_an_idle_daemon(place: Place) -> None:
    with sleeper() as (identity, kill):
        write_journal(place.state_dir, "run", run_lines("run", 2, exit_code=None, identity=identity))

        async with serving(place, limits=KEEP_ALL._replace(idle_exit_s=0.5)) as served:
            await until(lambda: len(Archive(place.state_dir).stored_lines("run")) == 4)
            with trio.move_on_after(1.5):
                await served.daemon.stopped()
                raise AssertionError
            kill()
            await served.daemon.stopped()


@in_trio
async def test_an_old_run_of_which_nothing_can_be_seen_is_removed_in_time(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "FIRST_S", 0.0)
    monkeypatch.setattr(housekeeping, "EVERY_S", 0.1)
    elsewhere = living()._replace(pid_namespace="pid:[1]")
    for run_id, age_s in (("old", 9000.0), ("young", 500.0)):
        path = write_journal(place.state_dir, run_id, run_lines(run_id, 2, exit_code=None, identity=elsewhere))
        os.utime(path, (time.time() - age_s, time.time() - age_s))

    async with serving(place, limits=KEEP_ALL._replace(keep_s=7200.0)) as served:
        await until(lambda: Archive(place.state_dir).run_ids() == ["young"])
        assert served.daemon.works_on("young")


class FullStore(Store):
    """A store for whose next run there is no room until `is_full` is taken back."""

    is_full = True

    def open_run(self, run_id: str, producer_id: str) -> StoredRun:
        if self.is_full:
            raise StoreError("there is no room, says the test")
        return super().open_run(run_id, producer_id)


@in_trio
async def test_a_store_that_takes_no_run_is_an_error_once_and_the_run_is_tried_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_journal(place.state_dir, "run", run_lines("run", 2))

    async with serving(place, FullStore) as served:
        await until(lambda: served.daemon.self_status()["errors"])
        await trio.sleep(3 * daemon.TICK_S)
        assert served.daemon.self_status()["errors"] == 1
        assert served.last_error() == "there is no room, says the test"
        monkeypatch.setattr(FullStore, "is_full", False)
        await until(lambda: is_whole(place, "run"))


@in_trio
async def test_what_keeps_housekeeping_from_its_work_is_the_last_error(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> bool:
        raise OSError("the disk is broken, says the test")

    monkeypatch.setattr(housekeeping, "FIRST_S", 0.0)
    monkeypatch.setattr(housekeeping, "EVERY_S", 0.1)
    monkeypatch.setattr(housekeeping, "PACK_AFTER_S", 0.0)
    monkeypatch.setattr(housekeeping, "is_stored", fails)
    write_journal(place.state_dir, "run", run_lines("run", 2))

    async with serving(place) as served:
        await until(lambda: served.daemon.self_status()["errors"])
        assert served.last_error() == "run run: housekeeping: the disk is broken, says the test"
        await trio.sleep(0.3)
        assert served.daemon.self_status()["errors"] == 1  # said once


@in_trio
async def test_a_journal_of_another_run_with_a_stored_id_is_said_and_left_alone(place: Place) -> None:
    write_journal(place.state_dir, "run", run_lines("run", 3))
    async with serving(place):
        await until(lambda: is_whole(place, "run"))
    place.state_dir.journal("run").unlink()
    write_journal(place.state_dir, "run", run_lines("run", 8, producer="another"))

    async with serving(place) as served:
        await until(lambda: served.last_error())
        assert "is of another run" in served.last_error()

    place.state_dir.journal("run").unlink()
    assert len(Archive(place.state_dir).stored_lines("run")) == 6


@in_trio
async def test_an_error_in_the_work_on_one_run_ends_neither_the_daemon_nor_other_runs(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_serve = Run.serve

    async def serve(run: Run) -> None:
        if run.run_id == "cursed":
            raise ZeroDivisionError("a bug, says the test")
        await really_serve(run)

    monkeypatch.setattr(Run, "serve", serve)
    for run_id in ("blessed", "cursed"):
        write_journal(place.state_dir, run_id, run_lines(run_id, 3))
    async with serving(place) as served:
        await until(lambda: is_whole(place, "blessed"))
        await until(lambda: "cursed" in served.last_error())
        assert "its journal keeps everything" in served.last_error()
    monkeypatch.undo()

    async with serving(place):
        await until(lambda: is_whole(place, "cursed"))


# What it says of itself


@in_trio
async def test_its_status_has_what_the_contract_names(place: Place) -> None:
    async with serving(place) as served:
        await served.adapter("run")
        status = (await (await served.query()).ask("daemon"))["result"]

    assert {
        "pid",
        "uptime_s",
        "socket",
        "state_dir",
        "version",
        "runs_active",
        "events_per_s",
        "backlog",
        "rss_bytes",
        "last_error",
    } <= status.keys()
    assert (status["runs_active"], status["runs_connected"], status["last_error"]) == (1, 1, None)
    assert status["rss_bytes"] > 2**20


@in_trio
async def test_a_trouble_with_the_journal_is_its_last_error(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(journal: RunJournal, number: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(RunJournal, "sync", fail)
    async with serving(place) as served:
        write_journal(place.state_dir, "run", run_lines("run", 3))
        await until(lambda: "Input/output error" in served.last_error())
        assert served.last_error().startswith("run run: ")


@in_trio
async def test_what_happened_to_events_is_counted_while_a_run_goes_on_and_after(place: Place) -> None:
    lines = run_lines("run", 10, identity=living())
    async with serving(place) as served:
        write_journal(place.state_dir, "run", lines[:6])
        client = await served.adapter("run")
        await until(lambda: served.daemon.runs["run"].stored == 6)
        await client.say(frame_of(lines, 5, 1))  # comes again
        await client.say(Unjournaled(first_seq=7, lines=[lines[6][:-1]]))
        await until(lambda: served.daemon.runs["run"].stored == 7)
        during = served.daemon.self_status()["events"]
        view = live_view(served.daemon.runs["run"], Archive(place.state_dir))
        write_journal(place.state_dir, "run", lines[7:])
        await until(lambda: not served.daemon.runs)
        after = served.daemon.self_status()["events"]

    expected = {"received": 7, "stored": 7, "duplicates": 2, "conflicts": 0, "corrupt": 0, "kept": 1, "failures": 0}
    assert during == expected  # the file of the daemon's own begins with the runStart again
    assert after == {**expected, "received": 13, "stored": 13}
    assert view["events"].items() >= {"received": 7, "stored": 7, "synced": 7, "acked": 7, "duplicates": 2}.items()


@in_trio
async def test_the_log_speaks_the_words_of_the_design(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "threepiod"):
        async with serving(place) as served:
            lines = run_lines("run", 3, identity=living())
            client = await served.adapter("run")
            write_journal(place.state_dir, "run", lines)
            await client.say(frame_of(lines, 1, 6))
            await client.hear()
            await client.stream.aclose()
            await until(lambda: not served.daemon.runs and "the connection ended" in caplog.text)

    text = "\n".join(record.getMessage() for record in caplog.records)
    for line in (
        "run run: connected, stored up to 0",
        "run run: over, passed: passed; stored up to 6",
        "run run: the connection ended, received up to 6",
        "stopping",
    ):
        assert line in text
    assert text.index("ready: pid") < text.index("connected")
    for wrong in ("drain", "flush", "flood", "persist", "buffered", "message"):
        assert wrong not in text.lower()


# How it ends


async def send_for_ever(client: Client, served: Served) -> None:
    """Send a line every 5 ms, as a suite does that knows nothing of the daemon's end."""
    lines = run_lines("busy", 10_000, identity=living(), exit_code=None)
    for seq, line in enumerate(lines, start=1):
        write_journal(served.state_dir, "busy", [line])
        try:
            await client.say(frame_of(lines[:seq], seq))
        except trio.BrokenResourceError:
            await trio.sleep_forever()
        await trio.sleep(0.005)


@in_trio
async def test_a_stop_does_not_wait_for_a_suite_that_goes_on(place: Place) -> None:
    async with trio.open_nursery() as nursery:
        async with serving(place) as served:
            client = await served.adapter("busy")
            nursery.start_soon(send_for_ever, client, served)
            await until(lambda: served.daemon.runs["busy"].stored > 10)
            start = trio.current_time()
            before = served.daemon.runs["busy"].cursor
        took = trio.current_time() - start
        nursery.cancel_scope.cancel()

    assert took < 3.0
    assert len(Archive(place.state_dir).stored_lines("busy")) >= before


@in_trio
async def test_a_stop_waits_until_all_received_is_stored(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    really_sync = RunJournal.sync

    def sync(journal: RunJournal, number: int) -> None:
        time.sleep(0.2)
        really_sync(journal, number)

    monkeypatch.setattr(RunJournal, "sync", sync)
    lines = run_lines("run", 40, identity=living(), exit_code=None)
    async with serving(place, SlowStore) as served:
        write_journal(place.state_dir, "run", lines)
        client = await served.adapter("run")
        await client.say(frame_of(lines, 1, 20))
        await until(lambda: served.daemon.runs["run"].cursor >= 20)
        await client.say(frame_of(lines, 21, 22))
        await until(lambda: served.daemon.runs["run"].cursor == 42)

    assert len(Archive(place.state_dir).stored_lines("run")) == 42


@in_trio
async def test_a_stop_does_not_wait_for_half_a_line(place: Place) -> None:
    lines = run_lines("run", 3, identity=living(), exit_code=None)
    async with serving(place) as served:
        write_journal(place.state_dir, "run", [*lines, b'{"seq":6'])
        await until(lambda: "run" in served.daemon.runs and served.daemon.runs["run"].stored == 5)
        start = trio.current_time()
    assert trio.current_time() - start < 3.0


def test_a_heavy_question_does_not_delay_what_is_stored(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    going_on = threading.Event()
    really_view = Archive.view

    def view(archive: Archive, *arguments: Any) -> dict[str, Any]:
        assert going_on.wait(20)
        return really_view(archive, *arguments)

    monkeypatch.setattr(Archive, "view", view)

    @in_trio
    async def test() -> None:
        write_journal(place.state_dir, "old", run_lines("old", 1))
        async with serving(place) as served, trio.open_nursery() as nursery:
            await until(lambda: not served.daemon.runs and is_whole(place, "old"))
            for _ in range(8):
                nursery.start_soon((await served.query()).ask, "status")
            lines = run_lines("run", 3, identity=living(), exit_code=None)
            write_journal(place.state_dir, "run", lines)
            client = await served.adapter("run")
            await client.say(frame_of(lines, 1, 5))
            answer = await client.hear()
            assert isinstance(answer, Ack)
            assert (await (await served.query()).ask("daemon"))["result"]["backlog"] == 0
            going_on.set()

    test()


@in_trio
async def test_what_is_kept_of_a_run_does_not_grow_with_its_tests(place: Place) -> None:
    names = [f"test_{number}.py::test" for number in range(500)]
    write_journal(place.state_dir, "run", run_lines("run", 0, nodeids=names))
    async with serving(place) as served:
        await until(lambda: not served.daemon.runs and is_whole(place, "run"))
    stored = Archive(place.state_dir).stored("run")
    assert stored is not None
    assert len(str(stored.state.to_snapshot())) < 4_000


@in_trio
async def test_a_directory_of_journals_that_cannot_be_read_for_a_while_ends_nothing(place: Place) -> None:
    async with serving(place) as served:
        served.state_dir.journals.rename(place.path / "away")
        await until(lambda: "cannot look for journals" in served.last_error())
        errors = served.daemon.self_status()["errors"]
        (place.path / "away").rename(served.state_dir.journals)
        write_journal(served.state_dir, "run", run_lines("run", 1, identity=living(), exit_code=None))

        await until(lambda: "run" in served.daemon.runs)

        assert served.daemon.self_status()["errors"] == errors


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to make a file of another user")
@in_trio
async def test_a_journal_that_another_user_made_is_not_taken(place: Place) -> None:
    async with serving(place) as served:
        path = served.state_dir.journals / "planted.jsonl"
        made = place.path / "made"
        made.write_bytes(b"".join(run_lines("planted", 1)))
        os.chown(made, 65534, 65534)
        made.rename(path)
        await until(lambda: "belongs to another user" in served.last_error())

        write_journal(served.state_dir, "run", run_lines("run", 1, identity=living(), exit_code=None))
        await until(lambda: "run" in served.daemon.runs)
        assert "planted" not in served.daemon.runs


# How a process ends after its run was over


@in_trio
async def test_a_process_that_is_killed_after_its_run_was_over_is_noted_beside_the_outcome(place: Place) -> None:
    with sleeper() as (identity, kill):
        write_journal(place.state_dir, "run", run_lines("run", 1, identity=identity))
        async with serving(place) as served:
            archive = Archive(place.state_dir)
            await until(lambda: not served.daemon.runs and is_whole(place, "run"))
            assert archive.view("run")["verdict"]["text"] == "passed"

            kill()
            await trio.to_thread.run_sync(os.waitpid, identity.pid, 0)

            await until(lambda: archive.view("run")["death"])
            view = archive.view("run")
            assert (view["state"], view["verdict"]["text"]) == (
                "passed",
                "passed; afterwards the process was killed by SIGKILL",
            )
            assert view["death"]["signal"] == "SIGKILL"
