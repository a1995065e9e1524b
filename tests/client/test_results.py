"""What the store sums up is what reading every line says: the same questions with the store, and with journals alone."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.scripted import STARTED, made_state_dir, write_journal
from threepio_client.archive import Archive
from threepio_client.comparing import compare
from threepio_client.events import EventType, Phase, Status
from threepio_client.line import encode
from threepio_client.results import Result, collected, not_collected, odd_tests, outcomes, results
from threepio_client.testhistory import history_of
from threepio_client.testtimes import times_of
from threepiod.rebuild import rebuild

TESTS = [*(f"t{number % 3}.py::test_{number}" for number in range(12)), "no_file"]
ROOTDIR = "/r"
RUNS = [f"run-{number}" for number in range(4)]


def write_run(
    archive: Archive,
    run_id: str,
    number: int,
    results: list[dict[str, Any]],
    *,
    is_over: bool = True,
    names: list[str] = TESTS,
    argv: object = (),
    broken: str = "",
    **more: object,
) -> None:
    """Write a journal with these testCases, of a run that collected these tests, and could not collect this file.

    What is given in addition stands in its runStart.
    """
    start = {
        "runId": run_id,
        "producerId": run_id,
        "rootdir": ROOTDIR,
        "git": {"commit": f"c{number}"},
        "argv": argv,
        **more,
    }
    events: list[tuple[EventType, dict[str, Any]]] = [(EventType.RUN_START, start)]
    events += [(EventType.COLLECTION_ERROR, {"nodeid": broken, "error": {}})] if broken else []
    events += [(EventType.TESTS_COLLECTED, {"nodeids": names})]
    events += [(EventType.COLLECTION_FINISH, {"collected": len(names), "deselected": 0})]
    events += [(EventType.TEST_CASE, result) for result in results]
    events += [(EventType.RUN_COMPLETE, {"exitCode": 0})] if is_over else []
    at = STARTED + 100 * number
    write_journal(
        archive.state_dir,
        run_id,
        (encode(seq, kind, payload, at) for seq, (kind, payload) in enumerate(events, start=1)),
    )


def any_results(chance: random.Random) -> list[dict[str, Any]]:
    """Return results of most tests: mostly one that passed, quickly; some repeated, failing, in any phase, slow, unknown."""
    found = []
    for nodeid in chance.sample(TESTS, chance.choice([len(TESTS), len(TESTS) // 2])):
        for _ in range(chance.choice([1, 1, 1, 2, 3])):
            is_plain = chance.random() < 0.6
            result: dict[str, Any] = {
                "nodeid": nodeid,
                "status": Status.PASS if is_plain else chance.choice([*Status]),
                "phase": Phase.CALL if is_plain else chance.choice([*Phase, None]),
                "duration": chance.choice([1.0, 2.0, 99.0, 100.0, 150.0, 250.0, 400.0, None, "soon"]),
                "started": chance.choice([None, STARTED + 5]),
                "worker": chance.choice([None, None, "gw0", "gw1", ["gw0"]]),
                "subtest": {} if chance.random() < 0.15 else None,
                "error": {"errorType": chance.choice(["A", "B"]), "message": "m"},
            }
            found.append({name: value for name, value in result.items() if value is not None})
    return found


def answers(archive: Archive) -> list[Any]:
    """Return the answers to all that the store sums up, where the order of equals is not said."""
    found: list[Any] = []
    for before, after in itertools.pairwise(RUNS):
        difference = compare(archive, before, after)._asdict()
        found.append({name: sorted(listed) for name, listed in difference.items()})
    for nodeid in (*TESTS, "unknown"):
        found.append(history_of(archive, nodeid, 2, ROOTDIR))
        assert len(found[-1]) <= 2
        found.append(history_of(archive, nodeid, 9, ROOTDIR, without=RUNS[0]))
    for run_id in RUNS:
        found += [times_of(archive, run_id, number) for number in (5, 99)]
    return found


@pytest.mark.parametrize("status", [Status.SKIP, Status.XFAIL, Status.PASS])
def test_a_teardown_that_is_not_bad_changes_nothing(status: Status) -> None:
    call = Result("t", 4, Status.PASS, Phase.CALL, None, 2.0, None, {})
    failed = call._replace(status=Status.FAIL)
    teardown = call._replace(seq=5, status=status, phase=Phase.TEARDOWN)

    assert outcomes([call, teardown]) == outcomes([call])
    assert outcomes([failed, teardown]) == outcomes([failed])


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_what_failed_on_one_worker_is_bad_whatever_others_do(order: tuple[int, ...]) -> None:
    """`--dist=each`: the attempts of one worker say nothing of those of another."""
    call = Result("t", 0, Status.FAIL, Phase.CALL, None, 2.0, "gw0", {})
    again = call._replace(status=Status.RERUN, worker="gw1"), call._replace(status=Status.PASS, worker="gw1")
    results = [(call, *again)[number]._replace(seq=seq) for seq, number in enumerate(order, start=1)]

    found = outcomes(results)["t"]

    assert (found.status, found.bad_seq, found.attempts) == (Status.FAIL, order.index(0) + 1, 2)


def test_only_what_a_test_itself_said_at_last_is_its_outcome() -> None:
    passed = Result("t", 4, Status.PASS, Phase.CALL, None, 9.0, None, {})
    part = passed._replace(seq=2, duration_ms=2.0, details={"subtest": {}})
    again = passed._replace(seq=3, status=Status.RERUN)

    assert outcomes([part]) == outcomes([again]) == outcomes([passed, again, part]) == {}
    assert outcomes([part, passed]) == outcomes([passed])
    assert outcomes([again, part], with_unfinished=True)["t"].attempts == 2


def test_a_subtest_that_is_bad_is_its_tests_outcome_and_not_its_duration() -> None:
    part = Result("t", 2, Status.FAIL, Phase.CALL, None, 2.0, None, {"subtest": {}})
    whole = part._replace(seq=4, status=Status.PASS, duration_ms=9.0, details={})
    teardown = whole._replace(seq=5, status=Status.ERROR, phase=Phase.TEARDOWN, duration_ms=1.0)

    assert outcomes([part])["t"].status == Status.FAIL
    assert outcomes([part, whole, teardown])["t"][:3] == (Status.FAIL, 1, 9.0)


@pytest.mark.parametrize("seed", range(25))
def test_store_and_journals_say_the_same(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    archive = Archive(made_state_dir(tmp_path))
    for number, run_id in enumerate(RUNS):
        write_run(archive, run_id, number, any_results(chance), is_over=seed % 5 > 0 or number > 1)
    by_journals = answers(archive)

    rebuild(archive.state_dir)

    assert answers(archive) == by_journals
    assert not archive.trouble


def test_of_runs_that_are_over_few_tests_are_read(tmp_path: Path) -> None:
    archive = Archive(made_state_dir(tmp_path))
    plain = [{"nodeid": nodeid, "status": Status.PASS, "phase": Phase.CALL} for nodeid in TESTS]
    for number, run_id in enumerate(RUNS[:2]):
        write_run(archive, run_id, number, [*plain[:-1], {**plain[-1], "status": Status.FAIL}])
    write_run(archive, RUNS[2], 2, plain, is_over=False)
    rebuild(archive.state_dir)
    with archive.reading() as store:
        assert store is not None
        failed = {number for (number,) in store.execute("SELECT id FROM tests WHERE nodeid = ?", TESTS[-1:])}

    assert odd_tests(archive, RUNS[:2]) == failed
    assert odd_tests(archive, [*RUNS[:2], "unknown"]) is None


def test_what_passed_in_both_runs_is_not_among_what_never_ran(tmp_path: Path) -> None:
    archive = Archive(made_state_dir(tmp_path))
    plain = [{"nodeid": nodeid, "status": Status.PASS, "phase": Phase.CALL} for nodeid in TESTS]
    write_run(archive, RUNS[0], 0, plain)
    write_run(archive, RUNS[1], 1, plain[:-2])
    rebuild(archive.state_dir)

    assert compare(archive, *RUNS[:2]).never_ran == TESTS[-2:]
    assert compare(archive, *RUNS[1::-1]).ran_now == TESTS[-2:]


def test_a_test_that_never_ran_and_is_not_there_any_more_is_gone(tmp_path: Path) -> None:
    archive = Archive(made_state_dir(tmp_path))
    plain = [{"nodeid": nodeid, "status": Status.PASS, "phase": Phase.CALL} for nodeid in TESTS]
    write_run(archive, RUNS[0], 0, plain[:-3])
    write_run(archive, RUNS[1], 1, plain[:-2], names=TESTS[:-2])
    write_run(archive, RUNS[2], 2, plain[:-2], names=TESTS[:-2], argv=["other.py"])

    assert compare(archive, *RUNS[:2]).gone == TESTS[-2:]
    of_file, other = compare(archive, RUNS[0], RUNS[2]).gone, compare(archive, RUNS[0], RUNS[2]).left_out
    assert (of_file, other) == (TESTS[-2:-1], [])


def test_what_never_ran_and_is_asked_for_again_is_gone_where_it_is_not_there(tmp_path: Path) -> None:
    archive = Archive(made_state_dir(tmp_path))
    names = ["a.py::test_bad", "a.py::test_never"]
    bad, good = ({"nodeid": names[0], "status": status, "phase": Phase.CALL} for status in (Status.FAIL, Status.PASS))
    write_run(archive, RUNS[0], 0, [bad], names=names)
    write_run(archive, RUNS[1], 1, [good], names=names[:1], rerunOf=RUNS[0])
    write_run(archive, RUNS[2], 2, [good], names=names[:1], rerunOf=RUNS[0], argv=["--threepio-rerun-failed"])

    again, only_failed = (compare(archive, RUNS[0], run_id) for run_id in RUNS[1:3])

    assert (again.fixed, again.gone, again.left_out) == (names[:1], names[1:], [])
    assert (only_failed.fixed, only_failed.gone, only_failed.left_out) == (names[:1], [], [])


@pytest.mark.parametrize("argv", [None, "-k one", 5, {"-k": "one"}])
def test_a_run_of_another_adapter_that_tells_no_arguments_can_be_compared(tmp_path: Path, argv: object) -> None:
    archive = Archive(made_state_dir(tmp_path))
    fine = [{"nodeid": nodeid, "status": Status.PASS, "phase": Phase.CALL} for nodeid in TESTS]
    for number, names in enumerate((TESTS, TESTS[:-1])):
        write_run(archive, RUNS[number], number, fine[: len(names)], names=names, argv=argv)

    assert compare(archive, *RUNS[:2]).gone == TESTS[-1:]


def test_a_run_that_goes_on_is_compared_with_one_that_is_over(tmp_path: Path) -> None:
    archive = Archive(made_state_dir(tmp_path))
    plain = [{"nodeid": nodeid, "status": Status.PASS, "phase": Phase.CALL} for nodeid in TESTS]
    write_run(archive, RUNS[0], 0, plain)
    write_run(archive, RUNS[1], 1, [*plain[:-1], {**plain[-1], "status": Status.FAIL}], is_over=False)
    rebuild(archive.state_dir)

    assert compare(archive, *RUNS[:2]).newly_failing == TESTS[-1:]
    assert compare(archive, *RUNS[1::-1]).fixed == TESTS[-1:]


def test_what_became_slower_by_more_comes_first(tmp_path: Path) -> None:
    archive = Archive(made_state_dir(tmp_path))
    times = {TESTS[0]: (100.0, 300.0), TESTS[1]: (1000.0, 2500.0), TESTS[2]: (5.0, 500.0)}
    for number in range(2):
        write_run(
            archive,
            RUNS[number],
            number,
            [
                {"nodeid": nodeid, "status": Status.PASS, "phase": Phase.CALL, "duration": took[number]}
                for nodeid, took in times.items()
            ],
        )

    assert [nodeid for nodeid, *_ in compare(archive, *RUNS[:2]).slower] == [TESTS[1], TESTS[2], TESTS[0]]


def test_what_never_ran_and_cannot_be_collected_now_is_named(tmp_path: Path) -> None:
    archive = Archive(made_state_dir(tmp_path))
    write_run(archive, RUNS[0], 0, [])
    write_run(archive, RUNS[1], 1, [], names=[], broken="t0.py")

    found = compare(archive, *RUNS[:2])

    assert found.newly_failing == ["t0.py"]
    assert found.never_ran == [nodeid for nodeid in TESTS if nodeid.startswith("t0.py::")]


def test_a_directory_that_can_be_collected_again_is_fixed(tmp_path: Path) -> None:
    archive = Archive(made_state_dir(tmp_path))
    names = ["a/b/t.py::test_it"]
    fine = [{"nodeid": names[0], "status": Status.PASS, "phase": Phase.CALL}]
    write_run(archive, RUNS[0], 0, fine, names=names)
    write_run(archive, RUNS[1], 1, [], names=[], broken="a/b")
    write_run(archive, RUNS[2], 2, fine, names=names)
    write_run(archive, RUNS[3], 3, [], names=[])

    broken, mended, gone = (compare(archive, *pair) for pair in itertools.pairwise(RUNS))

    assert (broken.newly_failing, broken.never_ran) == (["a/b"], names)
    assert (mended.fixed, mended.new, mended.gone) == (["a/b"], names, [])
    assert (gone.fixed, gone.gone) == ([], names)


def test_a_test_that_only_became_slower_or_was_repeated_is_read(tmp_path: Path) -> None:
    archive = Archive(made_state_dir(tmp_path))
    plain = [{"nodeid": nodeid, "status": Status.PASS, "phase": Phase.CALL, "duration": 5.0} for nodeid in TESTS]
    write_run(archive, RUNS[0], 0, plain)
    write_run(archive, RUNS[1], 1, [*plain[:-1], {**plain[-1], "duration": 500.0}])
    write_run(archive, RUNS[2], 2, [{**plain[0], "status": Status.RERUN}, *plain])
    rebuild(archive.state_dir)

    assert compare(archive, *RUNS[:2]).slower == [(TESTS[-1], 5.0, 500.0)]
    assert len(odd_tests(archive, RUNS[2:3]) or ()) == 1


def test_what_is_stored_while_somebody_reads_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive(made_state_dir(tmp_path / "state"))
    start = {"runId": "run", "producerId": "run", "rootdir": "/r", "git": {}, "argv": []}
    case = {"nodeid": "a.py::t", "phase": Phase.CALL, "duration": 1.0}
    lines = [
        encode(1, EventType.RUN_START, start, STARTED),
        encode(2, EventType.TESTS_COLLECTED, {"nodeids": ["a.py::t"]}, STARTED),
        encode(3, EventType.COLLECTION_ERROR, {"nodeid": "b.py", "error": {"message": "m"}}, STARTED),
        encode(4, EventType.TEST_CASE, {**case, "status": Status.RERUN}, STARTED),
        encode(5, EventType.TEST_CASE, {**case, "status": Status.PASS, "attempt": 2}, STARTED),
    ]
    write_journal(archive.state_dir, "run", lines)
    rebuild(archive.state_dir)
    now = archive.stored("run")
    assert now is not None
    assert now.seq == 5
    before = replace(now, seq=1, offsets={0: len(lines[0])})
    monkeypatch.setattr(archive, "stored", lambda _: before)  # the rest is stored between this look and the next

    assert [result.seq for result in results(archive, "run", with_collection=True)] == [3, 4, 5]
    assert [result.seq for result in not_collected(archive, "run")] == [3]
    assert list(collected(archive, "run")) == ["a.py::t"]
    assert archive.selection("run").failed == ["b.py"]
