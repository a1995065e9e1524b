from __future__ import annotations

from benchmarks.reportlog import Timeline


def _timeline() -> Timeline:
    """Test a: setup 10-11, call 11.5-12, teardown 12-13. Test b: setup 14-15 (failed), teardown 15-16."""
    timeline = Timeline()
    for nodeid, when, start, stop in (
        ("a", "setup", 10.0, 11.0),
        ("a", "call", 11.5, 12.0),
        ("a", "teardown", 12.0, 13.0),
        ("b", "setup", 14.0, 15.0),
        ("b", "teardown", 15.0, 16.0),
    ):
        timeline.add({"nodeid": nodeid, "when": when, "start": start, "stop": stop})
    return timeline


def test_the_test_that_ran_from_question_to_answer_is_known() -> None:
    timeline = _timeline()
    assert (timeline.tests, timeline.begin, timeline.end) == (2, 10.0, 16.0)
    assert timeline.surely_running(9.9, 10.1) is None
    assert timeline.surely_running(11.2, 11.3) == "a"
    assert timeline.surely_running(12.9, 13.1) is None
    assert timeline.surely_running(15.5, 15.6) == "b"


def test_a_test_can_be_in_flight_only_between_its_neighbours() -> None:
    timeline = _timeline()
    assert timeline.may_be_running("a", 13.5, 13.6, 0)
    assert timeline.may_be_running("b", 13.5, 13.6, 0)
    assert not timeline.may_be_running("b", 12.5, 12.6, 0)
    assert timeline.may_be_running("b", 12.5, 12.6, 0.5)
    assert not timeline.may_be_running("a", 14.1, 14.2, 0)
    assert not timeline.may_be_running("c", 14.1, 14.2, 0)


def test_a_phase_lasts_until_the_next_begins() -> None:
    timeline = _timeline()
    assert timeline.may_be_in_phase("a", "setup", 11.2, 11.3, 0)
    assert timeline.may_be_in_phase("a", "call", 11.2, 11.3, 0)
    assert not timeline.may_be_in_phase("a", "teardown", 11.2, 11.3, 0)
    assert not timeline.may_be_in_phase("b", "call", 15.2, 15.3, 0)
