"""The reducer: what a run's lines and observations make of it, and that only a whole, passed run is green."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from threepio_client.events import EventType, ObservationType, Status
from threepio_client.line import Event
from threepio_client.runstate import COUNTS, RunState, State

PID = 4711
START = ("runStart", {"runId": "r", "process": {"pid": PID}})


def outcome(status: str, phase: str = "call", **more: object) -> tuple[str, dict[str, Any]]:
    return "testCase", {"nodeid": "test_it.py::test_one", "status": status, "phase": phase, **more}


def collected(number: int, deselected: int = 0) -> tuple[str, dict[str, Any]]:
    return "collectionFinish", {"collected": number, "deselected": deselected}


def complete(code: object, **more: object) -> tuple[str, dict[str, Any]]:
    return "runComplete", {"exitCode": code, **more}


def numbered(facts: list[tuple[str, dict[str, Any]]]) -> list[Event]:
    return [Event(seq, kind, payload, 1000.0 + seq, seq) for seq, (kind, payload) in enumerate(facts, start=1)]


def folded(*facts: tuple[str, dict[str, Any]]) -> RunState:
    state = RunState()
    for event in numbered(list(facts)):
        state.fold(event)
    return state


def gone(state: RunState, **how: Any) -> RunState:
    """Let the process end, as its parent saw it where it is said how."""
    if how:
        state.observe(Event(1, ObservationType.EXIT_STATUS, {"pid": PID, **how}, 2000.0, 0))
    state.observe(Event(2, ObservationType.PROCESS_GONE, {"pid": PID}, 2001.0, 0))
    return state


def verdict(state: RunState) -> tuple[str, str]:
    found = state.verdict()
    return found.state.value, found.kind


P = outcome("PASS")
F = outcome("FAIL")

ENDS: dict[str, tuple[list[tuple[str, dict[str, Any]]], tuple[str, str], str]] = {
    "passed": ([P, P, complete(0)], ("passed", "passed"), "passed"),
    "failed": ([P, F, complete(1)], ("failed", "tests-failed"), "tests failed"),
    "failed, with another exit code": (
        [P, F, complete(0)],
        ("failed", "tests-failed"),
        "tests failed, though the runner ended with exit code 0",
    ),
    "a broken teardown, with another exit code": (
        [P, P, outcome("ERROR", "teardown"), complete(0)],
        ("failed", "tests-failed"),
        "tests failed, though the runner ended with exit code 0",
    ),
    "teardown error": (
        [P, P, outcome("ERROR", "teardown"), complete(1)],
        ("failed", "tests-failed"),
        "tests failed",
    ),
    "setup errors": ([P, outcome("ERROR", "setup"), complete(1)], ("failed", "tests-failed"), "tests failed"),
    "subtests": (
        [P, outcome("FAIL", subtest={}, countedAs="subtests_failed"), P, complete(1)],
        ("failed", "tests-failed"),
        "tests failed",
    ),
    "coverage gate": ([P, P, complete(1)], ("failed", "error"), "though no test failed"),
    "internal error": ([P, P, complete(3)], ("failed", "internal-error"), "internal error"),
    "usage": ([P, P, complete(4)], ("failed", "usage"), "wrong way"),
    "usage, after the collection": ([P, complete(4)], ("failed", "usage"), "wrong way; 1 of 2 tests never ran"),
    "other code": ([P, P, complete(77)], ("failed", "error"), "exit code 77"),
    "no code": ([P, P, complete(None)], ("failed", "error"), "without an exit code"),
    "interrupted code": ([P, P, complete(2)], ("interrupted", "user"), "interrupted"),
    "user": (
        [P, complete(2, stopped={"kind": "user", "text": "KeyboardInterrupt"})],
        ("interrupted", "user"),
        "KeyboardInterrupt; 1 of 2 tests never ran",
    ),
    "user after the last test": (
        [P, P, complete(2, stopped={"kind": "user", "text": "KeyboardInterrupt"})],
        ("interrupted", "user"),
        "KeyboardInterrupt",
    ),
    "pytest.exit with code 0": (
        [P, complete(0, stopped={"kind": "exit", "text": "enough"})],
        ("interrupted", "exit"),
        "enough; 1 of 2 tests never ran",
    ),
    "maxfail": (
        [F, complete(1, stopped={"kind": "maxfail", "text": "stopping after 1 failures"})],
        ("interrupted", "maxfail"),
        "stopping after 1 failures; 1 of 2 tests never ran",
    ),
    "maxfail at the last test": (
        [P, F, complete(1, stopped={"kind": "maxfail", "text": "stopping after 1 failures"})],
        ("failed", "tests-failed"),
        "tests failed",
    ),
    "collection": (
        [complete(2, stopped={"kind": "collection", "text": "1 error during collection"})],
        ("failed", "collection"),
        "1 error during collection",
    ),
    "runner broke": (
        [P, complete(3, stopped={"kind": "internal-error", "text": "KeyError"})],
        ("failed", "internal-error"),
        "KeyError; 1 of 2 tests never ran",
    ),
    "ended early with code 0": ([P, complete(0)], ("incomplete", "unfinished"), "1 of 2 tests have an outcome"),
    "ended early with code 1": ([F, complete(1)], ("incomplete", "unfinished"), "1 of 2 tests have an outcome"),
}


@pytest.mark.parametrize("name", ENDS)
def test_what_became_of_a_run_that_ended(name: str) -> None:
    facts, expected, text = ENDS[name]
    state = folded(START, collected(2), *facts)

    assert verdict(state) == expected
    assert text in state.verdict().text
    before = state.verdict()
    after = gone(state, exitCode=99).verdict()  # after runComplete the outcome stands
    assert (after.state, after.kind) == (before.state, before.kind)
    assert after.text == before.text + "; afterwards the process exited with code 99"


def test_no_tests_are_a_failure() -> None:
    assert verdict(folded(START, collected(0), complete(5))) == ("failed", "no-tests")


def test_a_run_goes_on_until_something_says_otherwise() -> None:
    state = folded(START, collected(3), P)

    assert verdict(state) == ("running", "running")
    assert (state.started, state.updated, state.pid) == (1001.0, 1003.0, PID)
    assert (state.collected, state.finished, state.never_ran) == (3, 1, 2)


DEATHS: dict[str, tuple[dict[str, int], tuple[str, str], str]] = {
    "killed": ({"signal": int(signal.SIGKILL)}, ("crashed", "signal"), "killed by SIGKILL; 2 of 3"),
    "segfault": ({"signal": int(signal.SIGSEGV)}, ("crashed", "signal"), "SIGSEGV"),
    "unknown signal": ({"signal": 250}, ("crashed", "signal"), "signal 250"),
    "exit 0": ({"exitCode": 0}, ("crashed", "exit"), "exited with code 0; 2 of 3"),
    "exit 3": ({"exitCode": 3}, ("crashed", "exit"), "exited with code 3"),
    "ctrl-c": ({"signal": int(signal.SIGINT)}, ("interrupted", "signal"), "ended by SIGINT; 2 of 3"),
    "terminated": ({"signal": int(signal.SIGTERM)}, ("interrupted", "signal"), "ended by SIGTERM"),
    "hung up": ({"signal": int(signal.SIGHUP)}, ("interrupted", "signal"), "ended by SIGHUP"),
    "nobody knows": ({}, ("crashed", "gone"), f"the process {PID} is gone"),
}


@pytest.mark.parametrize("name", DEATHS)
def test_what_became_of_a_run_whose_process_ended(name: str) -> None:
    how, expected, text = DEATHS[name]
    state = gone(folded(START, collected(3), P), **how)

    assert verdict(state) == expected
    assert text in state.verdict().text


def test_a_death_before_the_first_line_is_a_crash() -> None:
    state = RunState()
    state.observe(Event(1, ObservationType.PROCESS_GONE, {"pid": PID}, 1.0, 0))

    assert verdict(state) == ("crashed", "gone")


def test_nothing_is_said_of_tests_where_nobody_knows_how_many_there_are() -> None:
    early = folded(START)
    broken = folded(START, complete(3, stopped={"kind": "internal-error", "text": "KeyError"}))

    assert (early.never_ran, early.verdict().text) == (0, "running")
    assert gone(early, exitCode=3).verdict().text == "the process exited with code 3"
    assert broken.verdict().text == "the runner broke: KeyError"


@pytest.mark.parametrize("told", ["3", 3.0, True, None, [3]])
def test_an_end_that_is_told_with_no_number_is_not_known(told: Any) -> None:
    state = gone(folded(START, collected(1), P), exitCode=told, signal=told)

    assert (state.exit_code, state.exit_signal) == (None, None)
    assert verdict(state) == ("crashed", "gone")


def test_an_exit_status_alone_is_no_verdict() -> None:
    """Its parent may tell of it before the journal is read to its end, and before it is known what was in flight."""
    state = folded(START, collected(3), P)
    state.observe(Event(1, ObservationType.EXIT_STATUS, {"pid": PID, "signal": 11}, 2000.0, 0))

    assert verdict(state) == ("running", "running")
    assert verdict(gone(state)) == ("crashed", "signal")


@pytest.mark.parametrize(("how", "kind"), [({"exitCode": 3}, "exit"), ({"signal": 11}, "signal")])
def test_what_was_no_kill_was_not_for_memory(how: dict[str, int], kind: str) -> None:
    state = folded(START, collected(3), P)
    state.observe(Event(1, ObservationType.EXIT_STATUS, {"pid": PID, **how, "outOfMemory": True}, 2000.0, 0))

    assert verdict(gone(state)) == ("crashed", kind)
    assert "memory" not in state.verdict().text


def test_the_exit_status_of_another_process_says_nothing() -> None:
    state = folded(START, collected(3), P)
    state.observe(Event(1, ObservationType.EXIT_STATUS, {"pid": PID + 1, "exitCode": 3}, 1.0, 0))

    assert verdict(state) == ("running", "running")


@pytest.mark.parametrize(("seen", "told"), [(50.0, 40.0), (40.0, 50.0)])
def test_what_was_in_flight_and_when_it_ended_is_kept(seen: float, told: float) -> None:
    state = folded(START, collected(3), P)
    slot = {"nodeid": "test_it.py::test_two", "phase": "call", "since": 5.0, "worker": ""}
    state.observe(Event(1, ObservationType.PROCESS_GONE, {"pid": PID, "inFlight": [slot, "nonsense"]}, seen, 0))
    state.observe(Event(2, ObservationType.EXIT_STATUS, {"pid": PID, "exitCode": 1}, told, 0))

    assert state.in_flight == [slot]
    assert state.gone == 40.0
    assert state.exit_code == 1


# Counting


@pytest.mark.parametrize(
    ("fact", "count", "finished"),
    [
        (outcome("PASS"), "passed", 1),
        (outcome("FAIL"), "failed", 1),
        (outcome("SKIP", "setup"), "skipped", 1),
        (outcome("SKIP", "collect"), "skipped", 0),  # a whole file: none of its tests was collected
        (outcome("XFAIL"), "xfailed", 1),
        (outcome("XPASS"), "xpassed", 1),
        (outcome("ERROR", "setup"), "errors", 1),
        (outcome("ERROR", "teardown"), "errors", 0),
        (outcome("RERUN"), "rerun", 0),
        (outcome("FAIL", subtest={}, countedAs="failed"), "failed", 0),
        (outcome("FAIL", subtest={}, countedAs="subtests_failed"), "subtests_failed", 0),
        (outcome("PASS", subtest={}, countedAs="subtests_passed"), "subtests_passed", 0),
        (outcome("SKIP", subtest={}, countedAs="subtests_skipped"), "subtests_skipped", 0),
        (outcome("XFAIL", subtest={}, countedAs="subtests_xfailed"), "subtests_xfailed", 0),
        (outcome("XPASS", subtest={}, countedAs="subtests_xpassed"), "subtests_xpassed", 0),
        (("collectionError", {"nodeid": "test_it.py"}), "errors", 0),
    ],
)
def test_each_outcome_is_counted_once(fact: tuple[str, dict[str, Any]], count: str, finished: int) -> None:
    state = folded(START, fact)

    assert {name: number for name, number in state.counts.items() if number} == {count: 1}
    assert state.finished == finished
    assert state.unknown == 0


@pytest.mark.parametrize("code", [1, 3, 6])
def test_what_the_runner_ended_with_after_all_counts(code: int) -> None:
    state = folded(START, P, complete(0))
    state.observe(Event(1, ObservationType.RUNNER_END, {"exitCode": code}, 2000.0, 0))
    state.observe(Event(2, ObservationType.EXIT_STATUS, {"pid": PID, "exitCode": code}, 2001.0, 0))

    found = state.verdict()
    assert (found.state, state.told_code) == (State.FAILED, code)
    assert "afterwards" not in found.text


def test_no_failure_is_forgiven_for_what_the_runner_ended_with_after_all() -> None:
    state = folded(START, F, complete(1))
    state.observe(Event(1, ObservationType.RUNNER_END, {"exitCode": 0}, 2000.0, 0))

    assert verdict(state) == ("failed", "tests-failed")


def test_a_test_that_is_run_again_after_its_teardown_is_finished_once() -> None:
    again = outcome("RERUN", "teardown", takenBack={"finished": 1})

    assert folded(START, outcome("PASS"), again).finished == 0
    assert folded(START, outcome("PASS"), again, outcome("PASS")).finished == 1


def test_every_status_has_a_count() -> None:
    state = folded(START, *(outcome(status) for status in Status))

    assert sum(state.counts.values()) == len(Status)


def test_counts_that_are_told() -> None:
    state = folded(START, collected(3, 2), ("adapterStats", {"warnings": 4, "eventsLost": 0}))
    assert (state.counts["deselected"], state.counts["warnings"]) == (2, 4)

    state = folded(START, collected(3, 2), complete(0, deselected=5, stats={"warnings": 6}))
    assert (state.counts["deselected"], state.counts["warnings"]) == (5, 6)
    assert tuple(state.counts) == COUNTS


def test_known_events_that_change_nothing_are_not_unknown() -> None:
    quiet = set(EventType) - {EventType.TEST_CASE}
    state = folded(*((kind, {}) for kind in quiet))
    assert state.unknown == 0

    state = folded(START, ("fromTheFuture", {"x": 1}), outcome("MAYBE"), outcome("PASS", countedAs="nonsense"))
    assert state.unknown == 3
    assert verdict(state) == ("running", "running")


# Never green


WHOLE = numbered([START, ("collectionStart", {}), collected(2), P, ("testTeardown", {}), P, complete(0)])


@pytest.mark.parametrize("left_out", range(len(WHOLE)))
@pytest.mark.parametrize("is_there", [True, False], ids=["unreadable", "not there"])
def test_a_run_without_one_of_its_lines_is_never_green(left_out: int, is_there: bool) -> None:
    state = RunState()
    for number, event in enumerate(WHOLE):
        if number != left_out:
            state.fold(event)
        elif is_there:
            state.fold_bad_line()
    gone(state, exitCode=0)

    assert state.verdict().state in {State.INCOMPLETE, State.CRASHED}
    if left_out < len(WHOLE) - 1:
        assert state.holes == 1


def test_damage_is_told() -> None:
    state = folded(START, collected(1), P, complete(0, stats={"eventsLost": 3}))
    state.fold_bad_line()
    state.conflicts = 2

    assert verdict(state) == ("incomplete", "damaged")
    text = state.verdict().text
    assert "1 line of its journal cannot be read" in text
    assert "2 lines came twice" in text
    assert "3 events lost" in text


def test_a_run_that_only_collects_is_green_where_its_journal_is_whole() -> None:
    start = ("runStart", {"runId": "r", "process": {"pid": PID}, "collectOnly": True})
    lost = folded(start, collected(2), complete(0, stats={"eventsLost": 3}))
    unread = folded(start, collected(2), complete(0))
    unread.fold_bad_line()

    assert verdict(folded(start, collected(2), complete(0))) == ("passed", "collect-only")
    assert verdict(folded(start, collected(2), complete(1))) == ("failed", "error")
    assert verdict(lost) == verdict(unread) == ("incomplete", "damaged")


@pytest.mark.parametrize("code", [1, 3, 4])
def test_damage_does_not_hide_a_failure(code: int) -> None:
    state = folded(START, collected(1), F, complete(code, stats={"eventsLost": 3}))

    assert state.verdict().state is State.FAILED
    assert "3 events lost" in state.verdict().text


facts = st.lists(
    st.sampled_from(
        [
            START,
            P,
            F,
            outcome("ERROR", "teardown"),
            outcome("RERUN"),
            outcome("SKIP", "collect"),
            collected(3, 1),
            ("collectionError", {}),
            ("adapterStats", {"warnings": 1, "eventsLost": 0}),
            ("adapterStats", {"eventsLost": 2}),
            ("fromTheFuture", {}),
            complete(0),
            complete(1, stats={"warnings": 2}),
            complete(2, stopped={"kind": "user", "text": "ctrl-c"}),
        ]
    ),
    max_size=12,
)


@examples(max_examples=60, deadline=None)
@given(facts=facts, data=st.data())
def test_a_state_does_not_depend_on_how_its_lines_came(
    facts: list[tuple[str, dict[str, Any]]], data: st.DataObject
) -> None:
    events = numbered(facts)
    missing = data.draw(st.sets(st.integers(0, 12), max_size=2))
    events = [event for number, event in enumerate(events) if number not in missing]
    at_once = RunState()
    for event in events:
        at_once.fold(event)

    in_pieces = RunState()
    for number, event in enumerate(events):
        if data.draw(st.booleans()):
            in_pieces = RunState.from_snapshot(json.loads(json.dumps(in_pieces.to_snapshot())))
        in_pieces.fold(event)
        again = data.draw(st.integers(0, number))
        in_pieces.fold(events[again])  # came by another way before

    assert in_pieces == at_once
    assert in_pieces.verdict() == at_once.verdict()


def how_it_ended(**how: int) -> list[Event]:
    slot = {"nodeid": "test_it.py::test_two", "phase": "call", "since": 5.0, "worker": ""}
    return [
        Event(1, ObservationType.PROCESS_GONE, {"pid": PID, "inFlight": [slot]}, 2001.0, 0),
        Event(2, ObservationType.EXIT_STATUS, {"pid": PID, **how}, 2000.0, 0),
        Event(3, ObservationType.EXIT_STATUS, {"pid": PID + 1, "exitCode": 7}, 1999.0, 0),
        Event(4, "fromTheFuture", {}, 1998.0, 0),
    ]


@examples(max_examples=60, deadline=None)
@given(
    facts=facts,
    seen=st.sampled_from([{"exitCode": 1}, {"exitCode": 0}, {"signal": 9}, {"signal": 15}])
    .map(lambda how: how_it_ended(**how))
    .flatmap(lambda observed: st.lists(st.sampled_from(observed), unique_by=lambda event: event.seq)),
    data=st.data(),
)
def test_one_verdict_comes_of_observations_in_any_order(
    facts: list[tuple[str, dict[str, Any]]], seen: list[Event], data: st.DataObject
) -> None:
    events = numbered([START, *facts])  # whose exit status it is, the first line tells
    in_order = RunState()
    for event in events:
        in_order.fold(event)
    for observation in sorted(seen):
        in_order.observe(observation)

    mixed = RunState()
    mixed.fold(events[0])
    waiting = data.draw(st.permutations(seen))
    for event in events[1:]:
        while data.draw(st.booleans()) and waiting:
            mixed.observe(waiting.pop())
        mixed.fold(event)
    for observation in waiting:
        mixed.observe(observation)

    assert mixed == in_order
    assert mixed.verdict() == in_order.verdict()


def test_a_snapshot_holds_everything_and_a_newer_one_can_be_read() -> None:
    state = gone(folded(START, collected(3), P, F, ("new", {}), complete(1, stats={"warnings": 2})), exitCode=1)
    state.fold_bad_line()
    snapshot = json.loads(json.dumps(state.to_snapshot()))

    assert RunState.from_snapshot(snapshot) == state
    assert RunState.from_snapshot({**snapshot, "from the future": 1}) == state


def test_a_snapshot_of_an_older_version_has_the_counts_that_it_lacks() -> None:
    state = folded(START, P)
    snapshot = json.loads(json.dumps(state.to_snapshot()))
    del snapshot["counts"]["subtests_xfailed"]

    assert RunState.from_snapshot(snapshot) == state


def test_a_snapshot_is_not_changed_by_later_lines() -> None:
    state = folded(START, P)
    snapshot = state.to_snapshot()
    state.fold(Event(3, *outcome("FAIL"), 1.0, 0))

    assert RunState.from_snapshot(snapshot) == folded(START, P)


any_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from(["PASS", "call", "x", "passed"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
KEYS = [
    *("status", "phase", "countedAs", "subtest"),
    *("collected", "deselected", "stats", "warnings", "eventsLost"),
    *("exitCode", "stopped", "kind", "text"),
    *("process", "pid", "signal", "inFlight"),
]


@examples(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([*EventType, *ObservationType, "other"]),
            st.dictionaries(st.sampled_from(KEYS), any_json, max_size=6),
        ),
        max_size=4,
    )
)
def test_no_payload_breaks_the_reducer(facts: list[tuple[str, dict[str, Any]]]) -> None:
    state = RunState()
    for event in numbered(facts):
        state.fold(event)
        state.observe(event)
        state.verdict()
    json.dumps(state.to_snapshot())


@pytest.mark.parametrize("value", [[], {}, None, 1.5, True])
@pytest.mark.parametrize("key", KEYS)
def test_no_single_value_breaks_the_reducer(key: str, value: object) -> None:
    state = RunState()
    for event in numbered([(kind, {"status": "PASS", key: value}) for kind in [*EventType, *ObservationType]]):
        state.fold(event)
        state.observe(event)
        state.verdict()


@pytest.mark.parametrize("code", [False, 0.0, "0", None, [], {}])
def test_only_the_number_0_is_success(code: object) -> None:
    assert folded(START, collected(1), P, complete(code)).verdict().state is not State.PASSED


# What is said of a death


SLOT = {"nodeid": "test_it.py::test_one", "phase": "call", "worker": ""}


@pytest.mark.parametrize(
    ("slots", "place"),
    [
        (None, ""),
        ([], " while no test was in flight"),
        ([SLOT], " in the call of test_it.py::test_one"),
        ([{**SLOT, "phase": "teardown"}], " in the teardown of test_it.py::test_one"),
        ([{"nodeid": "test_it.py", "phase": "collect"}], " while collecting test_it.py"),
        ([{"nodeid": "", "phase": "session end"}], " at the session's end"),
        ([SLOT, SLOT, SLOT], " with 3 in flight"),
    ],
)
def test_the_place_of_a_death(slots: list[dict[str, Any]] | None, place: str) -> None:
    state = folded(START, collected(1))
    state.observe(Event(1, ObservationType.EXIT_STATUS, {"pid": PID, "signal": int(signal.SIGSEGV)}, 2000.0, 0))
    state.observe(Event(2, ObservationType.PROCESS_GONE, {"pid": PID, "inFlight": slots}, 2001.0, 0))

    assert state.verdict().text == f"the process was killed by SIGSEGV{place}; 1 of 1 tests have no outcome"


def test_a_kill_for_memory_is_said_as_such_whoever_told_it_first() -> None:
    kill = {"pid": PID, "signal": int(signal.SIGKILL)}
    for reports in ([{**kill, "outOfMemory": True}, kill], [kill, {**kill, "outOfMemory": True}]):
        state = folded(START, collected(1))
        for number, payload in enumerate(reports, start=1):
            state.observe(Event(number, ObservationType.EXIT_STATUS, payload, 2000.0, 0))

        assert verdict(gone(state)) == ("crashed", "memory")
        assert "ran out of memory" in state.verdict().text


def test_an_end_is_noted_beside_the_outcome_where_it_is_another_one() -> None:
    for how, note in (({"exitCode": 0}, ""), ({"signal": 11}, "; afterwards the process was killed by SIGSEGV")):
        state = gone(folded(START, collected(1), P, complete(0)), **how)

        assert state.verdict().text == f"passed{note}"
        assert state.verdict().state is State.PASSED


def test_an_error_of_the_plugin_is_never_green() -> None:
    state = folded(START, collected(1), P, complete(0, pluginErrors=1))

    assert verdict(state) == ("incomplete", "damaged")
    assert "1 error in the plugin" in state.verdict().text


# Workers, attempts, the checkout


def test_workers_come_and_go() -> None:
    came = [("workerStart", {"worker": f"gw{n}", "process": {"pid": 100 + n}}) for n in range(2)]
    died = ("workerGone", {"worker": "gw0", "signal": 9, "nodeid": "t.py::test_one", "phase": "call"})

    state = folded(START, *came, died)

    assert state.workers == {"gw1": {"pid": 101}}
    assert (state.workers_died, state.worker_deaths) == (1, [died[1]])
    ended = folded(START, collected(1), died, P, complete(0)).verdict()
    assert (ended.state, ended.text) == (State.PASSED, "passed; 1 worker died")
    assert folded(START, *came, complete(0)).workers == {}


def test_only_the_first_deaths_of_workers_are_kept_and_all_are_counted() -> None:
    state = folded(START, *(("workerGone", {"worker": f"gw{n}"}) for n in range(50)))

    assert state.workers_died == 50
    assert [death["worker"] for death in state.worker_deaths] == [f"gw{n}" for n in range(20)]


def test_a_test_that_passed_only_after_another_attempt_is_flaky() -> None:
    again = outcome("RERUN")

    state = folded(
        START, collected(3), again, outcome("PASS", attempt=2), again, outcome("FAIL", attempt=2), outcome("PASS")
    )

    assert (state.flaky, state.finished, state.counts["rerun"]) == (1, 3, 2)


def test_what_is_taken_back_is_not_counted_any_more_and_never_below_0() -> None:
    part = outcome("FAIL", subtest={}, countedAs="subtests_failed")
    again = outcome("PASS", attempt=2, takenBack={"subtests_failed": 1, "subtests_passed": 1, "nonsense": 1})
    broken = outcome("ERROR", "teardown", takenBack={"flaky": 1})

    state = folded(START, collected(1), part, part, outcome("RERUN"), again)
    assert (state.counts["subtests_failed"], state.counts["subtests_passed"], state.flaky) == (1, 0, 1)

    state = folded(START, collected(1), part, outcome("RERUN"), again, broken)
    assert (state.counts["subtests_failed"], state.flaky, state.finished) == (0, 0, 1)


def test_the_checkout_is_kept_as_it_was_at_start_and_end() -> None:
    state = folded(START)
    for number, when in enumerate(("start", "end"), start=1):
        state.observe(Event(number, ObservationType.WORK_TREE, {"when": when, "digest": when}, 1.0, 0))

    assert (state.tree["digest"], state.tree_at_end["digest"]) == ("start", "end")
    assert state.gone is None
    assert state.verdict().state is State.RUNNING


def test_a_snapshot_can_be_made_of_what_is_nested_deeply() -> None:
    deep: dict[str, object] = {}
    for _ in range(800):
        deep = {"in": deep}
    state = RunState()
    state.fold(Event(1, EventType.RUN_START, {"runner": deep}, 1.0, 0))

    assert json.loads(json.dumps(state.to_snapshot()))["start"] == {"runner": deep}
