"""Pages of a stored run: whatever they are made of, they are those that a report of the run has."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import trees
from tests.place import Place
from tests.report.test_model import ERROR, Cases, write_run
from threepio_client.archive import Archive
from threepio_client.events import EventType
from threepio_client.report import tree
from threepio_client.report.markdown import RESULTS_SHOWN
from threepio_client.report.model import read
from threepio_client.runstate import RunState
from threepiod import grouppage, keptrows, pages
from threepiod.batch import Batch
from threepiod.pages import Pages, Rows, prepare
from threepiod.rebuild import rebuild

NAMES = [
    *(f"a.py::test_{number}" for number in range(30)),
    "a.py::TestIt::test_x[`tick`]",
    "a.py::test_x[a|b]",
    "a.py::test_x[\0nul]",
    "a.py::test_x[new\nline]",
    "a.py::test_x[\x7f]",
    "a.py:: ::test_blank",
    "a.py::::error::x",
    "a.py::",
    "a.py::test_##[error]",
    "b/ü.py::test_é",
    "../up.py::test_one",
    "::test_of_nothing",
]
OTHERS: Cases = [
    ("a.py::test_3b", "FAIL", {"error": ERROR, "output": [["Captured stdout call", "x" * 2_000]]}),
    ("a.py::test_4b", "SKIP", {"skipReason": "no need", "phase": "setup"}),
    ("a.py::test_4c", "SKIP", {"skipReason": 'a "reason"\nof two lines'}),
    ("a.py::test_4d", "SKIP", {"skipReason": ""}),
    ("a.py::test_4e", "SKIP", {"skipReason": "`tick`"}),
    ("a.py::test_5b", "XFAIL", {"xfailReason": "known", "error": ERROR}),
    ("a.py::test_6b", "RERUN", {"error": ERROR}),
    ("a.py::test_6b", "PASS", {"attempt": 2}),
    ("a.py::test_6c", "FAIL", {"attempt": 2, "error": ERROR}),
    ("a.py::test_6d", "FAIL", {"subtest": {"message": "one"}, "error": ERROR}),
    ("a.py::test_7", "ERROR", {"phase": "teardown", "error": ERROR}),
    ("a.py::test_8", "PASS", {}),
    ("a.py::test_9b", "PASS", {"worker": "gw1"}),
    ("a.py::test_9c", "PASS", {"worker": "`gw` 1"}),
    ("a.py::test_9d", "PASS", {"duration": "soon"}),
    ("a.py::test_9e", "PASS", {"duration": 1e300}),
    ("a.py::test_9f", "UNKNOWN", {}),
    ("a.py::test_9g", "RERUN", {"error": ERROR}),
    ("c.py", "SKIP", {"skipReason": "the whole file", "phase": "collect", "duration": None}),
    *[
        ("d.py::test_many", "FAIL" if number == RESULTS_SHOWN + 3 else "PASS", {"subtest": {"message": str(number)}})
        for number in range(RESULTS_SHOWN + 9)
    ],
    ("d.py::test_many", "FAIL", {"error": ERROR}),
]
GROUPS = ["a.py", "b/ü.py", "../up.py", "", "d.py"]


def write_all(place: Place, *, exit_code: int | None = 1, with_groups: bool = True) -> None:
    """Write a run with everything that can become of a test."""
    cases: Cases = [(name, "PASS", {}) for name in NAMES] + OTHERS
    before: list[tuple[str, dict[str, Any]]] = [
        (EventType.COLLECTION_ERROR, {"nodeid": name, "error": ERROR}) for name in ("e.py", "a.py", "a.py::Broken")
    ]
    if with_groups:
        before += [(EventType.GROUP_START, {"groupName": name, "parentNames": []}) for name in GROUPS]
    collected = [*dict.fromkeys(name for name, _, _ in cases), "a.py::test_left", "f.py::test_left[\n]"]
    write_run(place, collected, cases, exit_code=exit_code, before=before)
    rebuild(place.state_dir)


@contextmanager
def written(place: Place) -> Iterator[tuple[Pages, Path]]:
    archive = Archive(place.state_dir)
    with archive.reading() as store:
        assert store is not None
        prepare(store)
        stored = archive.stored("run")
        assert stored is not None
        base = place.path / "base"
        found = Pages(store, stored.key, "run", tree.open_run(base, "run"), place.path)
        yield found, base / "runs/run"
        found.close()


def finish(place: Place, found: Pages) -> None:
    archive = Archive(place.state_dir)
    stored = archive.stored("run")
    assert stored is not None
    while found.finish(archive.view("run"), stored.seq, None):
        pass


def is_as_reported(place: Place, folder: Path) -> None:
    archive = Archive(place.state_dir)
    report = read(archive, "run")
    trees.write(report, place.path / "reported")
    assert trees.same(folder, place.path / "reported") == []
    trees.check_folder(folder, report)


def rows_of(place: Place) -> list[tuple[int, Rows]]:
    """Return the rows of the run as batches of three lines of its journal, each with its last line."""
    events = list(Archive(place.state_dir).beyond("run", None))
    state = RunState()
    found = []
    for at in range(0, len(events), 3):
        batch = Batch(key=1)
        batch.take(events[at : at + 3], 0, state)
        found.append((state.seq, Rows(batch.passed, batch.results, batch.groups, batch.failures)))
    return found


def take_all(place: Place, found: Pages) -> None:
    """Give the pages all rows of the run as they were stored, none of them lost."""
    found.keep_from(0)
    for _, rows in rows_of(place):
        found.take(rows)


REASON = {"skipReason": "no need"}
SKIPPED: dict[str, Cases] = {
    "alone": [("::1", "SKIP", REASON), ("::0", "SKIP", REASON)],
    "for several reasons": [(f"::{number}", "SKIP", {"skipReason": f"no {number % 3}"}) for number in range(9)],
    "beside others": [("::1", "SKIP", REASON), ("::2", "PASS", {}), ("::0", "FAIL", {"error": ERROR})],
    "whose name is not inert": [("::new\nline", "SKIP", REASON), ("::`tick`", "SKIP", REASON), ("::é", "SKIP", REASON)],
    "whose name begins oddly": [(f"::{name}", "SKIP", REASON) for name in ("::x", " y", "7", "-", "z")],
    "whose name is a command": [("::##[error]", "SKIP", REASON), ("::#", "SKIP", REASON)],
    "with more to be told": [("::1", "SKIP", REASON), ("::0", "SKIP", {**REASON, "output": [["Captured", "x"]]})],
    "for no reason": [("::1", "SKIP", REASON), ("::0", "SKIP", {"skipReason": ""})],
    "for a reason with a quote": [("::1", "SKIP", REASON), ("::0", "SKIP", {"skipReason": 'a "reason"'})],
    "for a reason that is not inert": [("::1", "SKIP", REASON), ("::0", "SKIP", {"skipReason": "a `reason`"})],
    "on a worker": [("::1", "SKIP", REASON), ("::0", "SKIP", {**REASON, "worker": "gw1"})],
    "after long": [("::1", "SKIP", REASON), ("::0", "SKIP", {**REASON, "duration": 123_456.789})],
    "in no time that is known": [("::1", "SKIP", REASON), ("::0", "SKIP", {**REASON, "duration": "soon"})],
    "before the beginning": [("::1", "SKIP", REASON), ("::0", "SKIP", {**REASON, "duration": -1.0})],
    "twice": [("::1", "SKIP", REASON), ("::0", "SKIP", REASON), ("::0", "SKIP", REASON)],
    "after an attempt": [("::1", "SKIP", REASON), ("::0", "RERUN", {"error": ERROR}), ("::0", "SKIP", REASON)],
    "with a long name": [("::1", "SKIP", REASON), *((f"::{n}" + "x" * 9_000, "SKIP", REASON) for n in range(30))],
    "as a whole file": [("::1", "SKIP", REASON), ("", "SKIP", {**REASON, "phase": "collect"})],
}


PASSED: dict[str, Cases] = {
    "whose name JSON escapes": [
        (f"::{name}", "PASS", {}) for name in ("1", 'a"b', "new\nline", "nul\0", "é", "\\", "z")
    ],
    "whose name is a command": [(f"::{name}", "PASS", {}) for name in ("##[error]\\", "::x\\", "`t`\\", "\x7f\\")],
    "named like their file": [("", "PASS", {}), ('::"', "PASS", {})],
    "twice, and JSON escapes them": [("::1", "PASS", {}), ('::"', "PASS", {}), ('::"', "PASS", {})],
    "after an attempt": [("::1", "PASS", {}), ('::"', "RERUN", {"error": ERROR}), ('::"', "PASS", {})],
    "in two phases": [("::1", "PASS", {}), ("::0", "PASS", {"phase": "setup"}), ("::0", "PASS", {})],
    "in parts of a microsecond": [("::1", "PASS", {}), ("::0", "PASS", {"duration": 0.0499999})],
    "in a whole number of milliseconds": [("::1", "PASS", {}), ("::0", "PASS", {"duration": 7})],
    "before the beginning": [("::1", "PASS", {}), ("::0", "PASS", {"duration": -1.0})],
    "after an eternity": [("::1", "PASS", {}), ("::0", "PASS", {"duration": 1e300})],
    "in no time that is known": [("::1", "PASS", {}), ("::0", "PASS", {"duration": "soon"})],
    "on a worker": [("::1", "PASS", {}), ('::"', "PASS", {"worker": "gw1"})],
    "on a worker that is a number": [("::1", "PASS", {}), ("::0", "PASS", {"worker": 7})],
    "with a long name": [("::1", "PASS", {}), ("::" + "x" * 9_000, "PASS", {})],
    "with more to be told": [("::1", "PASS", {}), ('::"', "PASS", {"output": [["Captured", "x"]]})],
}


@pytest.mark.parametrize("rows", [*SKIPPED.values(), *PASSED.values()], ids=[*SKIPPED, *PASSED])
def test_tests_that_ran_are_told_as_those_of_the_store(place: Place, rows: Cases) -> None:
    cases: Cases = [(f"a.py{rest}", status, more) for rest, status, more in rows]
    collected = list(dict.fromkeys(nodeid for nodeid, _, _ in cases if nodeid != "a.py"))
    write_run(place, collected, cases, exit_code=0, before=[(EventType.GROUP_START, {"groupName": "a.py"})])
    rebuild(place.state_dir)

    with written(place) as (found, folder):
        take_all(place, found)
        finish(place, found)
        is_as_reported(place, folder)


@pytest.mark.parametrize("longest_ms", [99.9, 123_456.789, 999_999_999.999])
def test_durations_are_told_and_summed_as_those_of_the_store(place: Place, longest_ms: float) -> None:
    durations = [us / 1000 for us in range(0, 100_000, 50)] + [0.049, 0.051, longest_ms]
    names = [f"a.py::test_{number}" for number in range(len(durations))]
    cases: Cases = [(name, "PASS", {"duration": ms}) for name, ms in zip(names, durations, strict=True)]
    write_run(place, names, cases, before=[(EventType.GROUP_START, {"groupName": "a.py"})])
    rebuild(place.state_dir)

    with written(place) as (found, folder):
        take_all(place, found)
        finish(place, found)
        is_as_reported(place, folder)


@pytest.mark.parametrize("together", [0, 10_000_000])
def test_a_page_that_could_not_be_written_has_all_tests_later(
    place: Place, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    monkeypatch.setattr(pages, "TOGETHER", together)
    write_all(place)

    with written(place) as (found, folder):
        take_all(place, found)
        (folder / "groups").mkdir()
        (folder / "groups/d.py.md").mkdir()  # where a page belongs
        for _ in range(2):
            with pytest.raises(IsADirectoryError):
                finish(place, found)
        (folder / "groups/d.py.md").rmdir()
        finish(place, found)
        is_as_reported(place, folder)


def test_many_groups_are_looked_at_a_few_at_a_time(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "ROWS", 2)
    write_all(place)

    with written(place) as (found, folder):
        take_all(place, found)
        last = Archive(place.state_dir).stored("run")
        assert last is not None
        assert found.advance(last.seq)  # there is more
        assert found.seq < last.seq
        finish(place, found)
        is_as_reported(place, folder)


@pytest.mark.parametrize("exit_code", [1, None])
@pytest.mark.parametrize("with_groups", [True, False])
def test_a_run_in_the_store_is_told_as_a_report_tells_it(
    place: Place, exit_code: int | None, with_groups: bool
) -> None:
    write_all(place, exit_code=exit_code, with_groups=with_groups)

    with written(place) as (found, folder):
        finish(place, found)
        is_as_reported(place, folder)


@pytest.mark.parametrize(("kept", "details"), [(100_000, 10_000_000), (100_000, 0), (20, 10_000_000)])
def test_rows_that_were_kept_are_told_as_those_of_the_store(
    place: Place, monkeypatch: pytest.MonkeyPatch, kept: int, details: int
) -> None:
    monkeypatch.setattr(keptrows, "ROWS_KEPT", kept)
    monkeypatch.setattr(keptrows, "DETAILS_KEPT", details)
    monkeypatch.setattr(keptrows, "SHORT", 0)
    monkeypatch.setattr(grouppage, "LINES", 4)
    monkeypatch.setattr(grouppage, "SPOOL_SIZE", 100)
    write_all(place)

    with written(place) as (found, folder):
        found.keep_from(0)
        for seq, rows in rows_of(place):
            found.take(rows)
            found.advance(seq)
        finish(place, found)
        is_as_reported(place, folder)


def test_rows_that_come_late_are_of_no_harm(place: Place) -> None:
    write_all(place)
    batches = rows_of(place)

    with written(place) as (found, folder):
        found.keep_from(batches[5][0])
        for _, rows in batches[6:]:
            found.take(rows)
        finish(place, found)
        is_as_reported(place, folder)


def test_what_was_observed_later_is_told_then(place: Place) -> None:
    write_all(place)

    with written(place) as (found, folder):
        finish(place, found)
        page = folder / "groups/a.py.md"
        before = page.stat().st_mtime_ns
        archive = Archive(place.state_dir)
        view = archive.view("run")
        view["verdict"]["text"] += "; afterwards the process was killed by SIGSEGV"
        assert not found.finish(view, found.seq, None)

        assert "killed by SIGSEGV" in (folder / tree.RUN_PAGE).read_text()
        assert page.stat().st_mtime_ns == before


def test_results_that_come_after_all_are_told_too(place: Place) -> None:
    write_run(place, ["a.py::1"], [("a.py::1", "PASS", {})])
    rebuild(place.state_dir)

    with written(place) as (found, folder):
        finish(place, found)
        cases: Cases = [("a.py::1", "PASS", {}), ("b.py::2", "FAIL", {"error": ERROR})]
        place.state_dir.journal("run").unlink()
        write_run(place, ["a.py::1", "b.py::2"], cases, exit_code=1)
        with closing(sqlite3.connect(place.state_dir.store)) as db:
            db.execute("INSERT INTO tests VALUES (2, 'b.py::2')")
            db.execute("INSERT INTO results SELECT run, 2, seq + 1, 'FAIL', phase, started, duration, worker, crc, ? FROM "
                       "results", (json.dumps({"error": ERROR}),))  # fmt: skip
            db.commit()
        archive = Archive(place.state_dir)
        while found.finish(archive.view("run"), found.seq + 1, None):
            pass

        assert found.is_complete
        assert "`2`" in (folder / "groups/b.py.md").read_text()
        assert "b.py" in (folder / tree.RUN_PAGE).read_text()


def test_a_group_that_was_let_go_before_anybody_spoke_of_it_is_told_whole(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keptrows, "ROWS_KEPT", 5)
    names = [f"a.py::{number}" for number in range(9)]
    write_run(
        place, names, [(name, "PASS", {}) for name in names], before=[(EventType.GROUP_START, {"groupName": "a.py"})]
    )
    rebuild(place.state_dir)
    batches = rows_of(place)
    passed = [row for _, rows in batches for row in rows.passed]
    groups = [row for _, rows in batches for row in rows.groups]

    with written(place) as (found, folder):
        monkeypatch.setattr(pages, "PAGE_S", 0.0)
        found.keep_from(0)
        found.take(Rows(passed[:6], [], groups, []))  # the group is let go, and not among the pages yet
        found.take(Rows(passed[6:], [], [], []))
        found.advance(batches[-1][0])
        found.refresh(Archive(place.state_dir).view("run"), None)

        assert "tests: 9" in (folder / "groups/a.py.md").read_text()


def test_a_test_that_several_workers_have_in_flight_is_told_once(place: Place) -> None:
    write_run(place, ["a.py::1"], [], exit_code=None)
    rebuild(place.state_dir)
    view = Archive(place.state_dir).view("run")
    slot = {"nodeid": "a.py::1", "phase": "call", "elapsed_s": 1.0, "worker": "gw0", "whole": True}
    view["in_flight"] = [slot, {**slot, "worker": "gw1"}]

    with written(place) as (found, folder):
        while found.finish(view, 10, None):
            pass

        assert (folder / "groups/a.py.md").read_text().count("`1`") == 1


def test_a_page_that_nobody_told_of_is_found_by_the_number_of_results(place: Place) -> None:
    write_all(place, with_groups=False)

    with written(place) as (found, folder):
        assert found.advance(10_000) is False
        finish(place, found)

    assert {path.name for path in (folder / "groups").rglob("*.md")} >= {"a.py.md", "c.py.md", "d.py.md"}
    assert json.dumps(sorted(os_names(folder))) == json.dumps(sorted({*os_names(folder)}))


def os_names(folder: Path) -> list[str]:
    return [path.name.lower() for path in folder.rglob("*.md")]


def test_what_is_in_flight_is_counted_while_the_run_goes_on(place: Place) -> None:
    write_run(place, ["a.py::1", "a.py::2"], [("a.py::1", "PASS", {})], exit_code=None)
    rebuild(place.state_dir)
    view = Archive(place.state_dir).view("run")
    slot = {"nodeid": "a.py::2", "phase": "call", "elapsed_s": 1.0, "worker": "", "since": 1.0}

    with written(place) as (found, folder):
        take_all(place, found)
        found.refresh({**view, "state": "running", "in_flight": [slot]}, None)
        text = (folder / tree.RUN_PAGE).read_text()
        found.refresh({**view, "state": "running", "in_flight": [{**slot, "nodeid": "a.py", "phase": "collect"}]}, None)

        assert "IN_FLIGHT | 1" in text
        assert "IN_FLIGHT | 0" in (folder / tree.RUN_PAGE).read_text()
