"""The tracebacks at the end of a huge run are spared, and nothing else is."""

from __future__ import annotations

import pytest

from tests.place import Place, last_line

MANY = """
import pytest
@pytest.mark.parametrize("n", range(750))
def test_n(n): assert n < 0, "nothing is below zero"
"""
OTHER = "def pytest_terminal_summary(terminalreporter): terminalreporter.line('said by another plugin')"


@pytest.mark.parametrize("is_wanted", [True, False])
def test_only_the_tracebacks_of_many_failures_are_left_out(place: Place, is_wanted: bool) -> None:
    place.suite(MANY)
    place.suite(OTHER, "conftest.py")
    environ = {"THREEPIO_SPARE_TRACEBACKS": "1"} if is_wanted else {}

    done = place.pytest(**environ)

    assert done.returncode == 1
    assert ("= FAILURES =" in done.stdout) is not is_wanted
    assert ("threepio: 750 tracebacks are left out here" in done.stdout) is is_wanted
    assert done.stdout.count("FAILED test_it.py::test_n[") == 750
    assert "said by another plugin" in done.stdout
    assert "750 failed in" in last_line(done)
    assert all(event["payload"]["error"]["stack"] for event in cases(place))


def test_a_few_failures_are_shown_as_ever(place: Place) -> None:
    place.suite("def test_one(): assert 0")

    done = place.pytest(THREEPIO_SPARE_TRACEBACKS="1")

    assert "= FAILURES =" in done.stdout


def cases(place: Place) -> list[dict[str, dict[str, dict[str, str]]]]:
    run_id = place.status()["run_id"]
    return [event for event in place.journal_events(run_id) if event["eventType"] == "testCase"]
