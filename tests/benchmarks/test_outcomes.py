from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.outcomes import Counts, category_of, last_line, parse_line, subtest_category_of


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        (
            "944 failed, 188846 passed, 24937 skipped, 677 xfailed, 731 errors in 846.12s (0:14:06)",
            Counts(failed=944, passed=188846, skipped=24937, xfailed=677, errors=731),
        ),
        (
            "== 1 failed, 2 deselected, 3 xpassed, 1 warning, 1 error in 0.05s ==",
            Counts(failed=1, deselected=2, xpassed=3, warnings=1, errors=1),
        ),
        (
            "1 passed, 2 subtests passed, 1 subtests failed, 3 rerun in 0.05s",
            Counts(passed=1, subtests_passed=2, subtests_failed=1, rerun=3),
        ),
        ("3 passed, 2 rerun in 90001.00s (1 day, 1:00:01)", Counts(passed=3, rerun=2)),
        ("no tests ran in 0.01s", Counts()),
    ],
)
def test_a_last_line_is_read(line: str, counts: Counts) -> None:
    assert parse_line(line) == counts


@pytest.mark.parametrize(
    "line", ["", "3 passed", "3 tests collected in 0.1s", "I say 3 passed in 0.1s", "3 lost in 1s"]
)
def test_other_lines_are_not_taken_for_it(line: str) -> None:
    assert parse_line(line) is None


def test_counts_are_said_as_pytest_says_them() -> None:
    counts = Counts(errors=1, warnings=1, failed=2, rerun=3)
    assert counts.line() == "2 failed, 1 warning, 1 error, 3 rerun"
    assert parse_line(f"{counts.line()} in 0.10s") == counts
    assert Counts().line() == "no tests ran"


def test_the_last_of_several_counts(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.write_bytes(b"9 failed in 0.10s\n...\n\x1b[32m\xff\n1 passed in 0.20s\nthe plugin says something\n")
    assert last_line(output) == ("1 passed in 0.20s", Counts(passed=1))
    output.write_text("usage error\n")
    assert last_line(output) is None


@pytest.mark.parametrize(
    ("when", "outcome", "xfail", "category"),
    [
        ("setup", "passed", False, None),
        ("call", "passed", False, "passed"),
        ("call", "failed", False, "failed"),
        ("setup", "failed", False, "errors"),
        ("teardown", "failed", False, "errors"),
        ("setup", "skipped", False, "skipped"),
        ("setup", "skipped", True, "xfailed"),
        ("call", "passed", True, "xpassed"),
        ("call", "rerun", False, "rerun"),
    ],
)
def test_a_report_is_counted_as_pytest_counts_it(when: str, outcome: str, xfail: bool, category: str | None) -> None:
    report = {"$report_type": "TestReport", "when": when, "outcome": outcome} | ({"wasxfail": ""} if xfail else {})
    assert category_of(report) == category


def test_collection_counts_too() -> None:
    said = {o: category_of({"$report_type": "CollectReport", "outcome": o}) for o in ("passed", "failed", "skipped")}
    assert said == {"passed": None, "failed": "errors", "skipped": "skipped"}


@pytest.mark.parametrize(
    ("outcome", "xfail", "built_in", "plugin"),
    [
        ("passed", False, "subtests_passed", "subtests_passed"),
        ("failed", False, "failed", "failed"),
        ("skipped", False, "skipped", "skipped"),
        ("skipped", True, "xfailed", "subtests_xfailed"),
    ],
)
def test_subtests_are_counted_as_pytest_or_the_plugin_counts_them(
    outcome: str, xfail: bool, built_in: str, plugin: str
) -> None:
    report = {"$report_type": "SubTestReport", "outcome": outcome} | ({"wasxfail": ""} if xfail else {})
    assert (subtest_category_of(report, True), subtest_category_of(report, False)) == (built_in, plugin)
