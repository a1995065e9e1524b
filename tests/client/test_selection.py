"""What of a run is worth running again, by its journal and what was observed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.scripted import gone, living, made_state_dir
from threepio_client.archive import Archive
from threepio_client.events import EventType, ObservationType, Phase, Status
from threepio_client.journal import append_observation
from threepio_client.line import encode
from threepio_client.nowpage import NowPage
from threepio_client.paths import StateDir
from threepio_client.process import ProcessIdentity
from threepio_client.results import collected as collected_in
from threepio_client.selection import Selection, select
from threepiod.rebuild import rebuild

RUN = "run"
A, B, C, D = (f"test_it.py::test_{name}" for name in "abcd")
COMPLETE = (EventType.RUN_COMPLETE, {"exitCode": 1})


def case(nodeid: str, status: Status, phase: Phase = Phase.CALL, **more: object) -> tuple[str, dict[str, Any]]:
    return EventType.TEST_CASE, {"nodeid": nodeid, "status": status, "phase": phase, **more}


def collected(*nodeids: str) -> list[tuple[str, dict[str, Any]]]:
    return [
        (EventType.TESTS_COLLECTED, {"nodeids": list(nodeids)}),
        (EventType.COLLECTION_FINISH, {"collected": len(nodeids), "deselected": 0}),
    ]


@pytest.fixture
def state_dir(tmp_path: Path) -> StateDir:
    return made_state_dir(tmp_path / "state")


def selected(
    state_dir: StateDir, *facts: tuple[str, dict[str, Any]], process: ProcessIdentity | None = None
) -> Selection:
    """Return what is selected of a run with these facts behind its runStart."""
    start = {"runId": RUN, "producerId": "p", "process": (process or gone()).to_payload(), "argv": ["-q"]}
    lines = [
        encode(seq, kind, payload, 1.0) for seq, (kind, payload) in enumerate([("runStart", start), *facts], start=1)
    ]
    state_dir.journal(RUN).write_bytes(b"".join(line + b"\n" for line in lines))
    found = select(state_dir, RUN)
    rebuild(state_dir)
    assert Archive(state_dir).selection(RUN) == found, "the store says otherwise"
    return found


def test_what_failed_and_what_never_ran_in_the_order_of_collection(state_dir: StateDir) -> None:
    found = selected(
        state_dir,
        *collected(A, B, C, D),
        case(D, Status.FAIL),
        case(B, Status.ERROR, Phase.SETUP),
        case(A, Status.PASS),
    )

    assert (found.failed, found.never_ran, found.suspects) == ([B, D], [C], [])
    assert (found.is_whole, found.is_alive) == (True, False)
    assert found.start["argv"] == ["-q"]


def test_nothing_where_everything_ran_and_passed(state_dir: StateDir) -> None:
    outcomes = [case(A, Status.PASS), case(B, Status.SKIP, Phase.SETUP), case(C, Status.XFAIL), case(D, Status.XPASS)]

    found = selected(state_dir, *collected(A, B, C, D), *outcomes, COMPLETE)

    assert not found
    assert (found.failed, found.never_ran, found.suspects) == ([], [], [])


def test_an_error_in_teardown_is_a_failure_of_a_test_that_passed(state_dir: StateDir) -> None:
    found = selected(state_dir, *collected(A), case(A, Status.PASS), case(A, Status.ERROR, Phase.TEARDOWN), COMPLETE)

    assert found.failed == [A]


def test_only_the_last_attempt_counts(state_dir: StateDir) -> None:
    subtest = case(A, Status.FAIL, subtest={"message": "part"})
    again = [subtest, case(A, Status.RERUN), case(A, Status.PASS, attempt=2)]
    hopeless = [case(B, Status.RERUN), case(B, Status.FAIL, attempt=2)]
    unfinished = [case(C, Status.RERUN)]

    found = selected(state_dir, *collected(A, B, C), *again, *hopeless, *unfinished)

    assert (found.failed, found.never_ran) == ([B], [C])


def test_what_failed_on_one_worker_is_not_mended_by_another(state_dir: StateDir) -> None:
    again = case(A, Status.RERUN, worker="gw1"), case(A, Status.PASS, worker="gw1")

    assert selected(state_dir, *collected(A), case(A, Status.FAIL, worker="gw0"), *again, COMPLETE).failed == [A]
    assert selected(state_dir, *collected(A), case(A, Status.FAIL, worker="gw1"), *again, COMPLETE).failed == []


def test_a_test_that_passed_and_is_repeated_for_its_teardown_has_no_outcome_until_then(state_dir: StateDir) -> None:
    again = case(A, Status.PASS), case(A, Status.RERUN, Phase.TEARDOWN)

    assert selected(state_dir, *collected(A), *again).never_ran == [A]
    assert selected(state_dir, *collected(A), *again, case(A, Status.PASS, attempt=2)).never_ran == []


@pytest.mark.parametrize("names", [5, None, [[A]], {"a": A}, A])
def test_what_a_foreign_writer_takes_for_names_and_phases(state_dir: StateDir, names: object) -> None:
    odd: list[tuple[str, dict[str, Any]]] = [
        (EventType.TESTS_COLLECTED, {"nodeids": names}),
        (EventType.TEST_CASE, {"nodeid": B, "phase": ["call"]}),
    ]

    found = selected(state_dir, *odd, *collected(A, B), case(A, Status.PASS), COMPLETE)

    assert (found.failed, found.never_ran) == ([], [B])
    assert list(collected_in(Archive(state_dir), RUN)) == [A, B]


@pytest.mark.parametrize("slot", [5, None, [A], {}, {"nodeid": None}, {"nodeid": [A]}, {"nodeid": {"a": A}}])
def test_what_a_foreign_writer_takes_for_what_was_in_flight(state_dir: StateDir, slot: Any) -> None:
    died = (EventType.WORKER_GONE, slot if isinstance(slot, dict) else {})
    end = (EventType.RUN_COMPLETE, {"exitCode": 2, "stopped": {"kind": "user", "inFlight": [slot, {"nodeid": B}]}})

    found = selected(state_dir, *collected(A, B), died, end)

    assert (found.never_ran, found.suspects) == ([A], [B])


def test_a_failed_subtest_is_a_failure_of_its_test(state_dir: StateDir) -> None:
    found = selected(
        state_dir, *collected(A), case(A, Status.FAIL, subtest={"message": ""}), case(A, Status.PASS), COMPLETE
    )

    assert found.failed == [A]


def test_a_subtest_that_passed_is_no_outcome_of_its_test(state_dir: StateDir) -> None:
    found = selected(state_dir, *collected(A), case(A, Status.PASS, subtest={"message": "part"}))
    assert found.never_ran == [A]


def test_a_file_that_could_not_be_collected(state_dir: StateDir) -> None:
    found = selected(state_dir, (EventType.COLLECTION_ERROR, {"nodeid": "test_bad.py"}), *collected(A), COMPLETE)

    assert (found.failed, found.never_ran, found.is_whole) == (["test_bad.py"], [A], True)


def test_what_failed_comes_in_the_order_of_collection_behind_what_could_not_be_collected(state_dir: StateDir) -> None:
    bad = (EventType.COLLECTION_ERROR, {"nodeid": "z/test_bad.py"})
    outcomes = [case(name, Status.FAIL) for name in (A, B, C)]

    assert selected(state_dir, bad, *collected(C, A, B), *outcomes, COMPLETE).failed == ["z/test_bad.py", C, A, B]


def test_a_collection_of_which_not_all_names_are_known_leaves_more_than_can_be_named(state_dir: StateDir) -> None:
    names, end = collected(A, B)[0], collected(A, B, C)[1]

    found = selected(state_dir, names, end, case(A, Status.PASS), case(B, Status.PASS), COMPLETE)

    assert not found.is_whole
    assert found
    assert (found.failed, found.never_ran) == ([], [])


def test_a_collection_that_did_not_end_leaves_more_than_can_be_named(state_dir: StateDir) -> None:
    found = selected(state_dir, (EventType.COLLECTION_START, {}))

    assert not found.is_whole
    assert found
    assert (found.failed, found.never_ran, found.suspects) == ([], [], [])


def test_what_was_in_flight_comes_apart_by_the_observation(state_dir: StateDir) -> None:
    slots = [{"nodeid": B, "phase": "call"}, {"nodeid": "", "phase": "session end"}]
    append_observation(state_dir.observed(RUN), ObservationType.PROCESS_GONE, {"pid": 1, "inFlight": slots}, 2.0)

    found = selected(state_dir, *collected(A, B, C), case(A, Status.PASS))

    assert (found.never_ran, found.suspects) == ([C], [B])


def test_what_was_in_flight_is_known_without_a_daemon_too(state_dir: StateDir) -> None:
    page = NowPage(state_dir.now_page(RUN), 0, create=True)
    page.set(B, Phase.CALL, 1.0)
    page.close()

    dead = selected(state_dir, *collected(A, B))
    alive = selected(state_dir, *collected(A, B), process=living())
    complete = selected(state_dir, *collected(A, B), COMPLETE)

    assert (dead.never_ran, dead.suspects, dead.is_alive) == ([A], [B], False)
    assert (alive.never_ran, alive.suspects, alive.is_alive) == ([A, B], [], True)
    assert (complete.never_ran, complete.suspects) == ([A, B], [])


def test_a_name_that_was_too_long_for_the_page_is_none_to_run_again(state_dir: StateDir) -> None:
    name = f"test_it.py::test_{'long' * 2000}"
    page = NowPage(state_dir.now_page(RUN), 0, create=True)
    page.set(name, Phase.CALL, 1.0)
    page.close()

    found = selected(state_dir, *collected(A, name), case(A, Status.PASS))

    assert (found.never_ran, found.suspects) == ([name], [])


def test_a_run_that_is_complete_is_not_alive_whatever_its_process_does_yet(state_dir: StateDir) -> None:
    assert not selected(state_dir, *collected(A), COMPLETE, process=living()).is_alive


def test_of_a_run_that_goes_on_nothing_is_seen_beyond_what_all_are_told_of(state_dir: StateDir) -> None:
    selected(state_dir, *collected(A, B, C), case(A, Status.FAIL), case(B, Status.FAIL), process=living())

    found = select(state_dir, RUN, up_to=4)

    assert (found.failed, found.never_ran, found.seq) == ([A], [B, C], 4)


def test_the_page_of_another_time_is_not_believed(state_dir: StateDir) -> None:
    page = NowPage(state_dir.now_page(RUN), 0, create=True)
    page.set_seq(99)  # a power cut took the end of the journal
    page.set(B, Phase.CALL, 1.0)
    page.close()

    assert selected(state_dir, *collected(A, B)).suspects == []


def test_the_test_of_a_worker_that_died_is_suspect_and_not_twice_in_the_list(state_dir: StateDir) -> None:
    died = (EventType.WORKER_GONE, {"worker": "gw0", "nodeid": B, "phase": "call"})

    found = selected(state_dir, *collected(A, B), died, case(B, Status.FAIL), case(A, Status.PASS), COMPLETE)

    assert (found.failed, found.never_ran, found.suspects) == ([], [], [B])


def test_only_what_failed_has_the_test_in_which_a_worker_died_and_none_that_passed_or_was_stopped(
    state_dir: StateDir,
) -> None:
    died = (EventType.WORKER_GONE, {"worker": "gw0", "nodeid": B, "phase": "call"})
    in_flight = [{"nodeid": name, "phase": "call"} for name in (C, D)]
    end = (EventType.RUN_COMPLETE, {"exitCode": 2, "stopped": {"kind": "user", "inFlight": in_flight}})
    outcomes = [case(A, Status.FAIL), case(B, Status.FAIL, worker="gw0"), case(C, Status.PASS)]

    found = selected(state_dir, *collected(A, B, C, D), *outcomes, died, end).only_failed()

    assert (found.failed, found.suspects, found.never_ran) == ([A], [B], [])


def test_a_journal_that_is_not_there_is_an_empty_run(state_dir: StateDir) -> None:
    found = select(state_dir, "nothing")

    assert (found.start, found.is_whole) == ({}, False)
