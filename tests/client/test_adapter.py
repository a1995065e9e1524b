"""The adapter: every event is in the journal once, whatever daemon, disk and suite do; what goes wrong is said once."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.fake_daemon import FakeDaemon
from tests.scripted import file_size_limit
from threepio_client import adapter as adapter_module
from threepio_client import clock, journal, newfiles, nowpage
from threepio_client.adapter import NEXT_FILE_EVERY_S, STATS_EVERY_EVENTS, STATS_EVERY_S, Adapter
from threepio_client.errors import NoDaemon, NoPlace, SettingsError
from threepio_client.events import EventType, Phase
from threepio_client.journal import JournalError, JournalWriter, records
from threepio_client.line import Event
from threepio_client.link import Link
from threepio_client.nowpage import NoPage
from threepio_client.paths import SPARE_FROM
from threepio_client.protocol import WINDOW, Ack
from threepio_client.runfiles import journal_files
from threepio_client.runjournal import RunJournal
from threepio_client.runstate import RunState, State
from threepio_client.settings import load
from threepio_client.syncing import CONNECTED_SYNC_WINDOW_S, SYNC_WINDOW_S

PASS = {"nodeid": "test_it.py::test_one", "status": "PASS", "phase": "call"}
DONE = {"exitCode": 0}

Start = Callable[..., Adapter]
real_write = os.write


class Interrupted(BaseException):
    """What a signal handler throws in."""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a short path, for a socket."""
    path = Path(tempfile.mkdtemp(prefix="3p-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def start(place: Path) -> Iterator[Start]:
    """Return a function that starts a run in the place; it is ended with the test."""
    adapters = []

    def start(**environ: str) -> Adapter:
        environ = {
            "THREEPIO_STATE_DIR": str(place / "state"),
            "THREEPIO_SOCKET": str(place / "socket"),
            "THREEPIO_BLOCK_MS": "20000",
            "THREEPIO_BLOCK_TOTAL_MS": "20000",
            **environ,
        }
        made = Adapter(load(environ), {"runner": "pytest"})
        adapters.append(made)
        return made

    yield start
    for made in adapters:
        made.forget()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connect again at every emit instead of once a second."""
    monkeypatch.setattr(adapter_module, "RECONNECT_EVERY_S", 0.0)


def events(made: Adapter) -> list[Event]:
    """Return the events of a run's journal; it must be whole and numbered without gaps."""
    found: dict[int, Event] = {}
    with closing(RunJournal(made._state_dir, made.run_id)) as read:
        read.look()
        for step in read.steps(0, final=True):
            assert step.event is not None, step
            assert found.setdefault(step.event.seq, step.event) == step.event
    assert list(found) == list(range(1, len(found) + 1))
    return list(found.values())


def types(made: Adapter) -> list[str]:
    return [event.type for event in events(made)]


def folded(made: Adapter) -> RunState:
    state = RunState()
    for event in events(made):
        state.fold(event)
    return state


def final_stats(made: Adapter) -> dict[str, Any]:
    return dict(events(made)[-1].payload["stats"])


def test_a_run_without_a_daemon_is_in_its_journal(start: Start) -> None:
    made = start(THREEPIO_RUN_ID="alone")
    for n in range(10):
        made.emit(EventType.TEST_CASE, {**PASS, "n": n})

    assert not made.close(DONE)

    assert types(made) == ["runStart", *["testCase"] * 10, "runComplete"]
    assert [event.payload.get("n") for event in events(made)[1:-1]] == list(range(10))
    first = events(made)[0].payload
    assert (first["runId"], first["runner"], first["process"]["pid"]) == ("alone", "pytest", os.getpid())
    assert made.complaints == []
    assert final_stats(made)["spilled"] == 11
    assert final_stats(made)["eventsLost"] == 0


def test_events_of_several_threads_are_all_in_the_journal(start: Start, place: Path) -> None:
    with FakeDaemon(place / "socket") as daemon:
        made = start()

        def emit(thread: int) -> None:
            for n in range(300):
                made.emit(EventType.TEST_CASE, {**PASS, "n": [thread, n]})

        threads = [threading.Thread(target=emit, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert made.close(DONE)

    lines = events(made)
    assert [event.seq for event in lines] == list(range(1, len(lines) + 1))
    told = sorted(event.payload["n"] for event in lines if event.type == EventType.TEST_CASE)
    assert told == [[thread, n] for thread in range(8) for n in range(300)]
    assert (daemon.events, daemon.errors, made.complaints) == (lines, [], [])


def test_a_daemon_gets_every_line_of_the_journal(start: Start, place: Path) -> None:
    with FakeDaemon(place / "socket") as daemon:
        made = start()
        assert made.is_connected
        for _ in range(200):
            made.emit(EventType.TEST_CASE, PASS)

        assert made.close(DONE)

        assert daemon.events == events(made)
        assert daemon.hellos[0].place == str(made.journal_path)
        assert daemon.errors == []
        stats = final_stats(made)
        assert (stats["spilled"], stats["connections"]) == (0, 1)
        assert made.complaints == []


def test_everything_in_the_state_directory_is_private(start: Start, place: Path) -> None:
    old = os.umask(0)
    try:
        made = start()
        made.complain("something")
        made.close(DONE)
    finally:
        os.umask(old)

    for path in [place / "state", *(place / "state").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.parametrize("ends", ["by number", "by time"])
def test_nothing_follows_run_complete(start: Start, monkeypatch: pytest.MonkeyPatch, ends: str) -> None:
    made = start()
    if ends == "by number":
        for _ in range(STATS_EVERY_EVENTS - 2):
            made.emit(EventType.TEST_CASE, PASS)
    else:
        now = clock.monotonic() + 2 * STATS_EVERY_S
        monkeypatch.setattr(clock, "monotonic", lambda: now)

    made.close(DONE)
    made.emit(EventType.TEST_CASE, PASS)
    assert not made.close(DONE)

    assert types(made)[-1] == "runComplete"
    assert types(made).count("runComplete") == 1


def test_statistics_come_by_number_and_by_time(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    made = start()
    made.warnings = 7
    for _ in range(2 * STATS_EVERY_EVENTS):
        made.emit(EventType.TEST_CASE, PASS)
    by_number = [event for event in events(made) if event.type == "adapterStats"]
    assert len(by_number) == 2
    assert by_number[0].payload["warnings"] == 7
    assert by_number[0].payload["written"] == by_number[0].seq - 1

    now = clock.monotonic() + STATS_EVERY_S + 1
    monkeypatch.setattr(clock, "monotonic", lambda: now)
    made.emit(EventType.TEST_CASE, PASS)
    made.emit(EventType.TEST_CASE, PASS)

    assert types(made)[-3:] == ["testCase", "adapterStats", "testCase"]


# The run id and the place


def test_a_run_id_that_is_taken_gets_a_number(start: Start) -> None:
    made = [start(THREEPIO_RUN_ID="nightly") for _ in range(3)]

    assert [one.run_id for one in made] == ["nightly", "nightly-2", "nightly-3"]
    assert [one.journal_path.name for one in made] == ["nightly.jsonl", "nightly-2.jsonl", "nightly-3.jsonl"]
    assert [len(one.complaints) for one in made] == [0, 1, 1]
    assert "nightly is taken already: this run is nightly-2" in made[1].complaints[0]
    assert events(made[1])[0].payload["runId"] == "nightly-2"


def test_a_number_does_not_make_the_id_too_long(start: Start) -> None:
    made = [start(THREEPIO_RUN_ID="n" * 64) for _ in range(2)]

    assert [len(one.run_id) for one in made] == [64, 64]
    assert made[1].run_id.endswith("nn-2")


def test_ids_that_nobody_chose_differ(start: Start) -> None:
    made = [start() for _ in range(20)]

    assert len({one.run_id for one in made}) == 20
    assert all(one.complaints == [] for one in made)


def test_a_place_that_cannot_be_used_is_named(start: Start, place: Path) -> None:
    (place / "state").write_text("a file")

    with pytest.raises(NoPlace, match=str(place / "state")):
        start()


def test_a_state_directory_that_is_no_text_is_used(start: Start, place: Path) -> None:
    with FakeDaemon(place / "socket"):
        made = start(THREEPIO_STATE_DIR=os.fsdecode(bytes(place) + b"/\xff"))

        assert not made.is_connected
        made.emit(EventType.TEST_CASE, PASS)
        made.close(DONE)

        assert types(made) == ["runStart", "testCase", "runComplete"]


def test_a_run_without_a_now_page_goes_on(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(adapter_module, "NowPage", fail)
    made = start()
    made.close(DONE)

    assert isinstance(made.now, NoPage)
    assert "no now page" in made.complaints[0]
    assert types(made) == ["runStart", "runComplete"]


def test_the_now_page_states_the_last_event(start: Start) -> None:
    made = start()
    made.now.set("test_it.py::test_one", Phase.CALL, 1.0)
    made.emit(EventType.TEST_CASE, PASS)

    seq, (slot,), *_ = nowpage.read(made.now_path)

    assert (seq, slot.seq, slot.text) == (2, 1, "test_it.py::test_one")


# A daemon is required


def test_a_required_daemon_that_is_not_there_leaves_no_run(start: Start, place: Path) -> None:
    with pytest.raises(NoDaemon, match="threepiod start"):
        start(THREEPIO="require")

    assert list((place / "state" / "journals").iterdir()) == []


def test_a_required_daemon_that_refuses_leaves_no_run(start: Start, place: Path) -> None:
    with FakeDaemon(place / "socket") as daemon:
        daemon.refusal = ("too-many", "too many runs")
        with pytest.raises(NoDaemon, match="too many runs"):
            start(THREEPIO="require")

    assert list((place / "state" / "journals").iterdir()) == []


def test_a_required_daemon_that_does_not_answer_is_not_waited_for_longer_than_allowed(
    start: Start, place: Path
) -> None:
    with FakeDaemon(place / "socket", welcomes=False), pytest.raises(NoDaemon, match="does not answer"):
        start(THREEPIO="require", THREEPIO_BLOCK_MS="10")


def test_a_required_daemon_is_used(start: Start, place: Path) -> None:
    with FakeDaemon(place / "socket") as daemon:
        made = start(THREEPIO="require")
        assert made.close(DONE)
        assert daemon.events == events(made)


def test_a_socket_path_that_is_too_long(start: Start, place: Path) -> None:
    long = str(place / ("s" * 120))

    with pytest.raises(SettingsError, match="THREEPIO_SOCKET"):
        start(THREEPIO="require", THREEPIO_SOCKET=long)
    assert list((place / "state" / "journals").iterdir()) == []

    made = start(THREEPIO_SOCKET=long)
    made.emit(EventType.TEST_CASE, PASS)
    assert "THREEPIO_SOCKET" in made.complaints[0]
    assert types(made) == ["runStart", "testCase"]


# The daemon is slow, ends, comes back


def test_a_daemon_that_takes_nothing_is_waited_for_and_then_left(start: Start, place: Path) -> None:
    with FakeDaemon(place / "socket", acks=False) as daemon:
        made = start(THREEPIO_BLOCK_MS="1", THREEPIO_BLOCK_TOTAL_MS="5", THREEPIO_EVENT_BUFFER_SIZE="3")
        daemon.wait_until(lambda: daemon.hellos)
        for _ in range(100):
            made.emit(EventType.TEST_CASE, PASS)

        assert not made.close(DONE)

        assert types(made) == ["runStart", *["testCase"] * 100, "runComplete"]
        stats = final_stats(made)
        assert stats["spilled"] >= 98
        assert stats["blockedMs"] > 0
        (said,) = [text for text in made.complaints if "spilled" in text]
        assert "journal" in said


def test_a_daemon_that_ends_is_said_once_and_one_that_comes_back_is_used(
    start: Start, place: Path, at_once: None
) -> None:
    with FakeDaemon(place / "socket") as daemon:
        made = start()
        made.emit(EventType.TEST_CASE, PASS)
        daemon.wait_until(lambda: daemon.seqs == [1, 2])
    for _ in range(50):
        made.emit(EventType.TEST_CASE, PASS)

    with FakeDaemon(place / "socket") as daemon:
        assert daemon.clients == 0
        while not made.is_connected:
            made.emit(EventType.TEST_CASE, PASS)
        first = len(events(made))
        made.emit(EventType.TEST_CASE, PASS)

        assert made.close(DONE)

        assert daemon.events == [event for event in events(made) if event.seq in daemon.seqs]
        assert daemon.seqs[-2:] == [first + 1, first + 2]
        assert final_stats(made)["connections"] == 2
        assert len([text for text in made.complaints if "connection" in text]) == 1


def test_what_was_acked_and_spilled_is_counted_over_all_connections(start: Start, place: Path, at_once: None) -> None:
    with FakeDaemon(place / "socket") as daemon:
        made = start(THREEPIO_BLOCK_MS="1", THREEPIO_BLOCK_TOTAL_MS="5", THREEPIO_EVENT_BUFFER_SIZE="3")
        while made.stats()["acked"] < 2:
            made.emit(EventType.TEST_CASE, PASS)
        daemon.acks = False
        while made.stats()["spilled"] < 50:
            made.emit(EventType.TEST_CASE, PASS)
        before = made.stats()
    with FakeDaemon(place / "socket", welcomes=False):
        while made.stats()["connections"] < 2:
            made.emit(EventType.TEST_CASE, PASS)
        after = made.stats()

    assert after["acked"] >= before["acked"]
    assert after["spilled"] >= before["spilled"]


def test_a_daemon_that_ends_after_the_last_event_is_said(start: Start, place: Path) -> None:
    with FakeDaemon(place / "socket", acks=False) as daemon:
        made = start()

        def end_at_bye() -> None:
            daemon.wait_until(lambda: daemon.byes)
            daemon.hang_up()

        ender = threading.Thread(target=end_at_bye)
        ender.start()

        assert not made.close(DONE)

        ender.join()
    assert len([text for text in made.complaints if text.startswith("the connection to threepiod ended: ")]) == 1


def test_a_connection_that_is_not_there_is_not_tried_at_every_event(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def link(*args: Any) -> Link:
        tried.append(args)
        return Link(*args)

    now = clock.monotonic()
    monkeypatch.setattr(adapter_module, "Link", link)
    monkeypatch.setattr(clock, "monotonic", lambda: now)
    made = start()
    for _ in range(10):
        made.emit(EventType.TEST_CASE, PASS)
    assert len(tried) == 1

    now += 1.0
    for _ in range(10):
        made.emit(EventType.TEST_CASE, PASS)
    assert len(tried) == 2


def test_an_exception_while_connecting_costs_no_event_and_no_later_connection(
    start: Start, place: Path, monkeypatch: pytest.MonkeyPatch, at_once: None
) -> None:
    class Alarm(Exception):
        pass

    def link(*args: Any) -> Link:
        raise Alarm  # by a signal's handler

    made = start()
    with monkeypatch.context() as patched:
        patched.setattr(adapter_module, "Link", link)
        for _ in range(3):
            with pytest.raises(Alarm):
                made.emit(EventType.TEST_CASE, PASS)
    with FakeDaemon(place / "socket") as daemon:
        while not made.is_connected:
            made.emit(EventType.TEST_CASE, PASS)
        assert made.close(DONE)
        daemon.wait_until(lambda: daemon.byes)

    assert made.stats()["eventsLost"] == 0
    assert types(made)[:5] == ["runStart", *["testCase"] * 4]


def test_a_daemon_that_refuses_is_not_asked_again(start: Start, place: Path, at_once: None) -> None:
    with FakeDaemon(place / "socket") as daemon:
        daemon.refusal = ("run-taken", "another process has this run")
        made = start()
        for _ in range(10):
            made.emit(EventType.TEST_CASE, PASS)

        assert not made.close(DONE)

        assert len(daemon.hellos) == 1
        assert len([text for text in made.complaints if "another process has this run" in text]) == 1
        assert types(made)[-1] == "runComplete"


def test_a_daemon_that_is_busy_is_asked_again(start: Start, place: Path, at_once: None) -> None:
    with FakeDaemon(place / "socket") as daemon:
        daemon.refusal = ("busy", "64 runs are connected already")
        made = start()
        assert any("64 runs are connected already" in text for text in made.complaints)
        daemon.refusal = None
        while not made.is_connected:
            made.emit(EventType.TEST_CASE, PASS)

        assert made.close(DONE)


def test_a_complaint_is_kept_in_the_log_once(start: Start, place: Path) -> None:
    made = start(THREEPIO_RUN_ID="noted")
    for n in range(3):
        made.complain(f"number {n} \udcff", key="number")
    made.complain("another")

    log = (place / "state" / "logs" / "adapter.log").read_text()
    assert made.complaints == ["number 0 \udcff", "another"]
    assert log.count("\n") == 2
    assert "run noted" in log
    assert "number 0 \\udcff" in log


def test_a_log_that_cannot_be_written_is_said(start: Start, place: Path) -> None:
    made = start()
    (place / "state" / "logs").rmdir()

    made.complain("something")

    assert made.complaints[0] == "something"
    assert "adapter.log" in made.complaints[1]


def test_patched_functions_do_not_reach_the_tests(start: Start, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError

    with FakeDaemon(place / "socket") as daemon:
        made = start()
        daemon.wait_until(lambda: daemon.hellos)
        daemon.stop()
        with monkeypatch.context() as patched:
            for name in ("open", "write", "close", "fstat", "fsync", "fdatasync", "getpid", "getuid"):
                patched.setattr(os, name, refuse)
            patched.setattr(json, "dumps", refuse)
            patched.setattr("builtins.open", refuse)
            for _ in range(3):
                made.emit(EventType.TEST_CASE, PASS)
        made.close(DONE)

    assert types(made) == ["runStart", *["testCase"] * 3, "runComplete"]
    assert len([text for text in made.complaints if "connection" in text]) == 1


# Syncing


class Syncs:
    """Counts syncs of the journal, each of which takes some time of a clock that stands still otherwise."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.takes = 0.0
        self.now = clock.monotonic()
        monkeypatch.setattr(journal, "_fdatasync", self._sync)
        monkeypatch.setattr(clock, "monotonic", lambda: self.now)

    def _sync(self, fd: int) -> None:
        self.count += 1
        self.now += self.takes

    def after(self, made: Adapter, seconds: float) -> int:
        """Return how many syncs an event makes after so many seconds."""
        self.now += seconds
        before = self.count
        made.emit(EventType.TEST_CASE, PASS)
        return self.count - before


def test_alone_the_journal_is_synced_when_the_window_has_passed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs = Syncs(monkeypatch)
    made = start()

    assert [syncs.after(made, seconds) for seconds in (0.0, 0.04, 0.05, 0.02, 0.0, 0.05)] == [0, 0, 0, 1, 0, 0]
    made.close(DONE)

    assert syncs.count == 2  # the end of a run always syncs
    assert final_stats(made)["syncs"] == 1


def test_a_slow_disk_is_synced_less_often(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs = Syncs(monkeypatch)
    syncs.takes = 0.5
    made = start()
    assert syncs.after(made, SYNC_WINDOW_S + 0.01) == 1

    # A sync took half a second, so that it is worth 50 s: not more than 1 % of the time.
    assert [syncs.after(made, 4.9) for _ in range(11)] == [0] * 10 + [1]


@pytest.mark.parametrize(("policy", "expected"), [("always", [1, 1, 1]), ("exit", [0, 0, 0])])
def test_sync_policies(start: Start, monkeypatch: pytest.MonkeyPatch, policy: str, expected: list[int]) -> None:
    syncs = Syncs(monkeypatch)
    made = start(THREEPIO_SYNC=policy)

    assert [syncs.after(made, seconds) for seconds in (0.0, 0.0, 5.0)] == expected
    before = syncs.count
    made.close(DONE)
    assert syncs.count > before


@pytest.mark.parametrize("acks", [True, False])
def test_a_daemon_that_acks_saves_the_syncs(
    start: Start, place: Path, monkeypatch: pytest.MonkeyPatch, acks: bool
) -> None:
    syncs = Syncs(monkeypatch)
    with FakeDaemon(place / "socket", acks=acks) as daemon:
        made = start()
        made_syncs: list[int] = []
        while len(made_syncs) < 10:
            daemon.wait_until(lambda: len(daemon.seqs) > len(made_syncs))
            made_syncs.append(syncs.after(made, CONNECTED_SYNC_WINDOW_S * 0.6))

    assert made_syncs == ([0] * 10 if acks else [0, 1] * 5)


def test_a_failed_sync_is_said_once_and_the_run_goes_on(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(journal, "_fdatasync", fail)
    made = start(THREEPIO_SYNC="always")
    for _ in range(3):
        made.emit(EventType.TEST_CASE, PASS)
    made.close(DONE)

    assert types(made) == ["runStart", *["testCase"] * 3, "runComplete"]
    assert len(made.complaints) == 1
    assert "power cut" in made.complaints[0]
    assert final_stats(made)["writeFailures"] == 1  # not tried again: what a later sync says means nothing
    assert not made.journal_path.with_name(f"{made.run_id}.1.jsonl").exists()


# What suites do


@pytest.mark.parametrize("written", [0, 30, 10_000], ids=["nothing", "a part", "all"])
def test_an_exception_thrown_into_an_event_costs_no_line_and_no_number(
    start: Start, place: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    def write(fd: int, data: bytes) -> int:
        real_write(fd, data[:written])
        raise Interrupted

    with FakeDaemon(place / "socket") as daemon:
        made = start()
        with monkeypatch.context() as patched:
            patched.setattr(journal, "_write", write)
            with pytest.raises(Interrupted):
                made.emit(EventType.TEST_CASE, {**PASS, "n": "interrupted"})
        made.emit(EventType.TEST_CASE, {**PASS, "n": "next"})

        assert made.close(DONE)

        assert [event.payload.get("n") for event in events(made)] == [None, "interrupted", "next", None]
        assert daemon.seqs == [1, 3, 4]  # what was interrupted, the daemon reads from the journal
        assert daemon.errors == []
        assert folded(made).events_lost == 0


def test_an_id_whose_journal_is_in_the_spare_directory_is_taken(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, number: int = 0) -> JournalWriter:
        if number < SPARE_FROM:
            raise JournalError(f"cannot make {path}: Read-only file system")
        return JournalWriter(path, number)

    with monkeypatch.context() as read_only:
        read_only.setattr(newfiles, "JournalWriter", fail)
        first = start(THREEPIO_RUN_ID="nightly")
        first.close(DONE)
    second = start(THREEPIO_RUN_ID="nightly")
    second.close(DONE)

    assert (first.run_id, second.run_id) == ("nightly", "nightly-2")
    assert first.journal_path.parent == first._state_dir.spare


@contextmanager
def no_other_file(made: Adapter) -> Iterator[None]:
    """Let no other file of the journal be made: files of its name are in the way."""
    assert made._state_dir.spare is not None
    directories = {1: made._state_dir.journals, SPARE_FROM: made._state_dir.spare}
    made._state_dir.spare.mkdir(mode=0o700, exist_ok=True)
    paths = [
        directory / f"{made.run_id}.{first + n}.jsonl" for first, directory in directories.items() for n in range(100)
    ]
    for path in paths:
        path.touch()
    yield
    for path in paths:
        path.unlink()


def test_events_that_nobody_could_write_are_counted_said_once_and_never_green(start: Start) -> None:
    made = start()
    for _ in range(100):
        made.emit(EventType.TEST_CASE, PASS)
    with file_size_limit(10):
        for n in range(10):
            made.emit(EventType.TEST_CASE, {**PASS, "n": n})
    made.close(DONE)

    assert [event.payload["n"] for event in events(made) if "n" in event.payload] == [0]  # the end finished this one
    state = folded(made)
    assert state.events_lost == 9
    assert state.verdict().state is State.INCOMPLETE
    assert "9 events lost" in state.verdict().text
    assert len(made.complaints) == 1
    assert "File too large" in made.complaints[0]
    assert "never be called green" in made.complaints[0]


def test_where_the_end_is_lost_too_the_count_is_said(start: Start) -> None:
    made = start()
    with file_size_limit(10):
        for _ in range(10):
            made.emit(EventType.TEST_CASE, PASS)
        made.close(DONE)

    in_journal = len(events(made))
    assert f"{12 - in_journal} events were lost, because nothing could be written" in made.complaints


def test_a_disk_that_fails_in_several_ways_is_said_once(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = itertools.cycle([errno.ENOSPC, errno.EIO, errno.EDQUOT])

    def write(fd: int, data: bytes) -> int:
        code = next(codes)
        raise OSError(code, os.strerror(code))

    made = start()
    with monkeypatch.context() as patched:
        patched.setattr(journal, "_write", write)
        for _ in range(3):
            made.emit(EventType.TEST_CASE, PASS)
    made.close(DONE)

    assert len(made.complaints) == 1
    assert "No space left on device" in made.complaints[0]
    assert folded(made).events_lost == 2


def test_a_line_that_the_next_event_finishes_is_not_lost(start: Start) -> None:
    made = start()
    for _ in range(100):
        made.emit(EventType.TEST_CASE, PASS)
    with file_size_limit(made.journal_path.stat().st_size + 30), no_other_file(made):
        made.emit(EventType.TEST_CASE, {**PASS, "n": "begun"})
    made.emit(EventType.TEST_CASE, PASS)
    made.close(DONE)

    assert [event.payload.get("n") for event in events(made)].count("begun") == 1
    assert folded(made).events_lost == 0


@contextmanager
def failing_syncs_of(made: Adapter, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let no sync of the file succeed that the journal is in now."""
    failing = made._journal._fd

    def sync(fd: int) -> None:
        if fd == failing:
            raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(journal, "_fdatasync", sync)
        yield


def test_after_a_failed_sync_the_journal_goes_on_in_another_file_with_what_was_not_synced(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = start(THREEPIO_SYNC="exit")
    for n in range(3):
        made.emit(EventType.TEST_CASE, {**PASS, "n": n})
    made._sync()
    for n in range(3, 6):
        made.emit(EventType.TEST_CASE, {**PASS, "n": n})
    synced: list[int] = []
    poisoned = made._journal._fd

    def sync(fd: int) -> None:
        synced.append(fd)
        if fd == poisoned:
            raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(journal, "_fdatasync", sync)
        made._sync()
        made.emit(EventType.TEST_CASE, {**PASS, "n": 6})
        made.close(DONE)

    assert synced.count(poisoned) == 1
    second = made._state_dir.journal(made.run_id, 1)
    in_second = [record.event for record in records(second) if record.event is not None]
    assert [event.seq for event in in_second] == [1, 5, 6, 7, 8, 9]
    assert [event.payload.get("n") for event in events(made)] == [None, *range(7), None]
    assert folded(made).verdict().state is State.PASSED
    assert len(made.complaints) == 1
    assert "cannot sync the journal" in made.complaints[0]
    assert str(second) in made.complaints[0]
    assert final_stats(made)["writeFailures"] == 1


def test_where_nothing_was_synced_before_the_next_file_has_each_line_once_all_the_same(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = start(THREEPIO_SYNC="exit")
    made.emit(EventType.TEST_CASE, PASS)
    with failing_syncs_of(made, monkeypatch):
        made._sync()
    made.close(DONE)

    second = made._state_dir.journal(made.run_id, 1)
    assert [record.event.seq for record in records(second) if record.event is not None] == [1, 2, 3]


def test_what_the_suite_did_to_a_file_is_said_though_the_journal_went_on_in_another(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = start(THREEPIO_SYNC="exit")
    os.close(made._journal._fd)
    made.emit(EventType.TEST_CASE, PASS)
    with made.journal_path.open("ab") as file:
        file.write(b"of the suite\n")
    made.emit(EventType.TEST_CASE, PASS)
    with failing_syncs_of(made, monkeypatch):
        made._sync()
    made.close(DONE)

    assert list(journal_files(made._state_dir, made.run_id)) == [0, 1]
    *_, end = (record.event for record in records(made._state_dir.journal(made.run_id, 1)))
    assert end is not None
    assert end.payload["stats"]["reopened"] == 1
    assert any("something else changed it" in text for text in made.complaints)
    assert any("it was opened again 1 times" in text for text in made.complaints)


def test_an_event_after_one_that_was_begun_is_not_lost_where_both_go_to_another_file(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = start()
    first = str(made.journal_path)
    left = 30

    def write(fd: int, data: bytes) -> int:
        nonlocal left
        if os.readlink(f"/proc/self/fd/{fd}") != first:
            return real_write(fd, data)
        if not left:
            raise OSError(errno.ENOSPC, "No space left on device")
        size, left = left, 0
        return real_write(fd, data[:size])

    monkeypatch.setattr(adapter_module, "NEXT_FILE_EVERY_S", 0.0)
    with monkeypatch.context() as patched:
        patched.setattr(journal, "_write", write)
        with no_other_file(made):
            made.emit(EventType.TEST_CASE, {**PASS, "n": "begun"})
        made.emit(EventType.TEST_CASE, {**PASS, "n": "next"})
        made.close(DONE)

    assert [event.payload.get("n") for event in events(made)] == [None, "begun", "next", None]
    assert final_stats(made)["eventsLost"] == 0


def test_another_file_is_tried_once_a_second_and_not_at_every_event(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def write(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def make_next_file(*arguments: Any) -> JournalWriter:
        tried.append(arguments)
        return newfiles.make_next_file(*arguments)

    made = start()
    now = clock.monotonic()
    monkeypatch.setattr(clock, "monotonic", lambda: now)
    monkeypatch.setattr(adapter_module, "make_next_file", make_next_file)
    with monkeypatch.context() as patched:
        patched.setattr(journal, "_write", write)
        for expected in (1, 2):
            for _ in range(10):
                made.emit(EventType.TEST_CASE, PASS)
            assert len(tried) == expected
            now += NEXT_FILE_EVERY_S


@pytest.mark.parametrize("more", [300, 330])
def test_a_journal_that_may_not_grow_goes_on_in_other_files(start: Start, more: int) -> None:
    made = start()
    made.emit(EventType.TEST_CASE, PASS)
    with file_size_limit(made.journal_path.stat().st_size + more):
        for n in range(40):
            made.emit(EventType.TEST_CASE, {**PASS, "n": n})
    made.close(DONE)

    assert [event.payload["n"] for event in events(made) if "n" in event.payload] == list(range(40))
    assert len(journal_files(made._state_dir, made.run_id)) > 3
    assert final_stats(made)["eventsLost"] == 0
    assert folded(made).verdict().state is State.PASSED
    assert len(made.complaints) == 1


def test_where_the_state_directory_takes_nothing_the_journal_goes_on_beside_the_socket(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = start()
    full = made._state_dir.journals.stat().st_dev, str(made._state_dir.journals)

    def write(fd: int, data: bytes) -> int:
        if os.readlink(f"/proc/self/fd/{fd}").startswith(full[1]):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_write(fd, data)

    with monkeypatch.context() as patched:
        patched.setattr(journal, "_write", write)
        for n in range(5):
            made.emit(EventType.TEST_CASE, {**PASS, "n": n})
        made.close(DONE)

    files = journal_files(made._state_dir, made.run_id)
    assert list(files) == [0, SPARE_FROM]
    assert files[SPARE_FROM].parent == made._state_dir.spare
    assert stat.S_IMODE(files[SPARE_FROM].parent.stat().st_mode) == 0o700
    assert [event.payload["n"] for event in events(made) if "n" in event.payload] == list(range(5))
    assert "No space left on device" in made.complaints[0]


def has_unjournaled(daemon: FakeDaemon, count: int) -> bool:
    return len(daemon.unjournaled) >= count


@pytest.mark.parametrize("begun", [0, 30], ids=["nothing begun", "half a line begun"])
def test_what_no_file_takes_is_sent_unjournaled(
    start: Start, place: Path, monkeypatch: pytest.MonkeyPatch, begun: int
) -> None:
    def write(fd: int, data: bytes) -> int:
        nonlocal begun
        if begun:
            size, begun = begun, 0
            return real_write(fd, data[:size])
        raise OSError(errno.ENOSPC, "No space left on device")

    with FakeDaemon(place / "socket") as daemon:
        made = start()
        made.emit(EventType.TEST_CASE, PASS)
        with monkeypatch.context() as patched:
            patched.setattr(journal, "_write", write)
            for n in range(5):
                made.emit(EventType.TEST_CASE, {**PASS, "n": n})
                daemon.wait_until(partial(has_unjournaled, daemon, n + 1))
            assert made.close(DONE)
        daemon.wait_until(lambda: daemon.byes)

    assert daemon.seqs == list(range(1, 9))
    assert [event.seq for event in daemon.unjournaled] == list(range(3, 9))
    assert [event.payload.get("n") for event in daemon.unjournaled] == [*range(5), None]
    assert daemon.events[-1].payload["stats"]["unjournaled"] == 5
    assert daemon.events[-1].payload["stats"]["eventsLost"] == 0
    assert len(made.complaints) == 1
    assert "sent to threepiod instead" in made.complaints[0]


def test_what_no_file_takes_is_sent_to_the_next_daemon_too(
    start: Start, place: Path, monkeypatch: pytest.MonkeyPatch, at_once: None
) -> None:
    def write(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        with FakeDaemon(place / "socket") as first:
            made = start()
            patched.setattr(journal, "_write", write)
            made.emit(EventType.TEST_CASE, PASS)
            first.wait_until(partial(has_unjournaled, first, 1))
        made.emit(EventType.TEST_CASE, PASS)  # to nobody
        with FakeDaemon(place / "socket") as second:
            made.emit(EventType.TEST_CASE, PASS)
            second.wait_until(partial(has_unjournaled, second, 1))
            assert made.is_connected

    assert made.stats()["eventsLost"] == 1


def test_the_journal_goes_on_when_the_daemon_has_what_was_sent_unjournaled(
    start: Start, place: Path, monkeypatch: pytest.MonkeyPatch, at_once: None
) -> None:
    def write(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(adapter_module, "NEXT_FILE_EVERY_S", 0.0)
    with FakeDaemon(place / "socket") as daemon:
        made = start()
        daemon.wait_until(lambda: daemon.seqs)
        daemon.acks = False
        with monkeypatch.context() as patched:
            patched.setattr(journal, "_write", write)
            made.emit(EventType.TEST_CASE, {**PASS, "n": 1})
        made.emit(EventType.TEST_CASE, {**PASS, "n": 2})
        daemon.wait_until(
            lambda: len(daemon.unjournaled) == 2
        )  # a journaled line would make the first look like a hole
        daemon.acks = True
        daemon.send(Ack(seq=3, window=WINDOW))
        made.emit(EventType.TEST_CASE, {**PASS, "n": 3})
        assert made.close(DONE)

    assert [event.seq for event in daemon.unjournaled] == [2, 3]
    assert [record.event.seq for record in records(made._state_dir.journal(made.run_id, 1)) if record.event] == [
        1,
        4,
        5,
    ]


def test_what_was_sent_unjournaled_and_is_not_stored_is_said(
    start: Start, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with FakeDaemon(place / "socket", acks=False) as daemon:
        made = start(THREEPIO_BLOCK_MS="10")
        with monkeypatch.context() as patched:
            patched.setattr(journal, "_write", write)
            made.emit(EventType.TEST_CASE, PASS)
            daemon.wait_until(lambda: daemon.unjournaled)
            daemon.hang_up()
            made.emit(EventType.TEST_CASE, PASS)
            assert not made.close(DONE)

    assert any("nobody says that they are stored" in text for text in made.complaints)
    assert made.stats()["eventsLost"] == 3


def test_a_run_that_cannot_write_its_end_is_never_green(start: Start) -> None:
    made = start()
    for _ in range(100):
        made.emit(EventType.TEST_CASE, PASS)
    with file_size_limit(made.journal_path.stat().st_size + 30), no_other_file(made):
        made.close(DONE)

    state = RunState()
    for record in records(made.journal_path):
        assert record.event is not None
        state.fold(record.event)
    assert state.verdict().state is State.RUNNING
    state.observe(Event(1, "processGone", {"pid": os.getpid()}, 1.0, 0))
    assert state.verdict().state is State.CRASHED


def run_script(place: Path, script: str) -> list[str]:
    """Run a suite's hostile act in a process of its own; return the lines that it printed."""
    head = """
        import os, sys
        from pathlib import Path
        from threepio_client.adapter import Adapter
        from threepio_client.settings import load
        place = Path(sys.argv[1])
        adapter = Adapter(
            load({
                "THREEPIO_STATE_DIR": str(place / "state"),
                "THREEPIO_SOCKET": str(place / "socket"),
                "THREEPIO_RUN_ID": "run",
                "THREEPIO_BLOCK_MS": "20000",
                "THREEPIO_BLOCK_TOTAL_MS": "20000",
            }),
            {},
        )
        def emit(n):
            adapter.emit("testCase", {"status": "PASS", "phase": "call", "n": n})
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(script), str(place)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def numbers(place: Path) -> list[object]:
    """Return what the journal of the script's run has, event by event."""
    found = []
    for number, record in enumerate(records(place / "state" / "journals" / "run.jsonl"), start=1):
        assert record.event is not None, record
        assert record.event.seq == number
        found.append(record.event.payload.get("n", record.event.type))
    return found


def test_closed_and_reused_descriptors_get_no_byte_of_ours(place: Path) -> None:
    with FakeDaemon(place / "socket") as daemon:
        script = """
            emit(1)
            os.closerange(3, 4096)
            own = [open(place / f"own {n}", "wb", buffering=0) for n in range(20)]
            emit(2)
            emit(3)
            for file in own:
                file.write(b"own text")
            adapter.close({"exitCode": 0})
            for file in own:
                file.write(b", still open")
            print(len([text for text in adapter.complaints if "descriptor" in text]))
        """
        printed = run_script(place, script)

        assert numbers(place) == ["runStart", 1, 2, 3, "runComplete"]
        assert {path.read_bytes() for path in place.glob("own *")} == {b"own text, still open"}
        assert len(list(place.glob("own *"))) == 20
        assert printed == ["2"]  # of the journal, and of the connection
        assert daemon.errors == []


def test_a_forked_child_emits_nothing_and_lets_go_of_the_socket(place: Path) -> None:
    with FakeDaemon(place / "socket") as daemon:
        script = """
            import socket
            from threepio_client import nowpage
            adapter.now.set("the parent's test", "call", 1.0)
            emit(1)
            sockets = lambda: [fd for fd in os.listdir("/proc/self/fd") if "socket:" in link(fd)]
            def link(fd):
                try:
                    return os.readlink("/proc/self/fd/" + fd)
                except OSError:
                    return ""
            print("parent", len(sockets()), flush=True)
            child = os.fork()
            if not child:
                print("child", len(sockets()), flush=True)
                emit("from the child")
                adapter.now.set("the child's test", "setup", 2.0)
                adapter.now.set_phase("teardown", 2.0)
                adapter.now.clear()
                adapter.now.set_seq(99)
                print("stored", adapter.close({"exitCode": 0}), flush=True)
                sys.stdout.flush()
                os._exit(0)
            os.waitpid(child, 0)
            seq, slots, *_ = nowpage.read(adapter.now_path)
            print(seq, [(slot.text, slot.phase.value) for slot in slots])
            emit(2)
            print("stored", adapter.close({"exitCode": 0}))
        """
        printed = run_script(place, script)

        assert printed == [
            "parent 1",
            "child 0",
            "stored False",
            """2 [("the parent's test", 'call')]""",
            "stored True",
        ]
        assert numbers(place) == ["runStart", 1, 2, "runComplete"]
        assert daemon.seqs == [1, 2, 3, 4]
        assert len(daemon.hellos) == 1


def test_a_child_that_python_knows_nothing_of_emits_nothing(place: Path) -> None:
    script = """
        import ctypes
        emit(1)
        child = ctypes.PyDLL(None).fork()  # no hook runs
        if not child:
            emit("from the child")
            adapter.close({"exitCode": 0})
            os._exit(0)
        os.waitpid(child, 0)
        emit(2)
        adapter.close({"exitCode": 0})
    """
    run_script(place, script)

    assert numbers(place) == ["runStart", 1, 2, "runComplete"]


def test_the_end_of_the_parent_is_seen_while_its_child_lives_on(place: Path) -> None:
    with FakeDaemon(place / "socket") as daemon:
        script = """
            read, write = os.pipe()
            if not os.fork():
                os.close(write)
                for fd in (0, 1, 2):
                    os.close(fd)
                os.set_blocking(read, True)
                import time
                while place.exists() and not (place / "go").exists():
                    time.sleep(0.01)
                os._exit(0)
            emit(1)
            os._exit(0)
        """
        try:
            run_script(place, script)
            daemon.wait_until(lambda: daemon.ended == 1)
        finally:
            (place / "go").touch()

        assert daemon.seqs == [1, 2]


def test_a_process_that_ends_without_ado_leaves_every_event_that_was_emitted(place: Path) -> None:
    script = """
        for n in range(500):
            emit(n)
        os._exit(0)  # no handler, no flush, no close
    """
    run_script(place, script)

    assert numbers(place) == ["runStart", *range(500)]


def test_an_environment_that_a_test_changes_does_not_matter(place: Path) -> None:
    with FakeDaemon(place / "socket") as daemon:
        script = """
            gone = place / "gone"
            gone.mkdir()
            os.chdir(gone)
            gone.rmdir()
            os.environ.clear()
            os.umask(0o777)
            out, sys.stdout = sys.stdout, None
            sys.stderr = None
            emit(1)
            os.closerange(3, 4096)
            emit(2)
            adapter.close({"exitCode": 0})
            sys.stdout = out
        """
        run_script(place, script)

        assert numbers(place) == ["runStart", 1, 2, "runComplete"]
        assert daemon.errors == []
