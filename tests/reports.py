"""Every format of one run, written and read back by readers of others: well-formed, inert, and with the sums of `counts`.

`check` is what tests/suites asks of every suite, and what the tests of the formats begin with.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Collection
from io import BytesIO, StringIO
from typing import Any, Final

import junitparser
import xunitparser
from junitparser import xunit2

from tests import ctrf
from threepio_client.archive import Archive
from threepio_client.report import github
from threepio_client.report.formats import FORMATS
from threepio_client.report.model import Report, read

QUIET: Final = frozenset({"passed", "tests-failed", "collect-only"})
"""Verdicts that the tests tell themselves: docs/reports.md."""


def loaded(archive: Archive, run_id: str) -> Report:
    """Return the report of a run."""
    return read(archive, run_id)


def written(report: Report, name: str) -> str:
    """Return a report in a format."""
    out = StringIO()
    FORMATS[name].writer()(report, out)
    return out.getvalue()


def expected(view: dict[str, Any], over: Collection[str] | None = None, named: Collection[str] = ()) -> dict[str, int]:
    """Return the sums that a file for machines must have: docs/reports.md says how.

    Args:
        view: the status answer.
        over: node ids that have an outcome; by default the phases of what is in flight tell whether it has one.
        named: node ids that were collected.
    """
    counts, slots = view["counts"], [slot for slot in view["in_flight"] if slot["nodeid"]]
    if over is None:
        running = {slot["nodeid"] for slot in slots if slot["phase"] != "teardown"}
        files = {slot["nodeid"] for slot in slots if slot["phase"] == "collect"}
        unfinished = max((view["collected"] or 0) - view["finished"], 0) + len(files)
    else:
        running = {slot["nodeid"] for slot in slots} - {*over}
        unfinished = len({*named, *running} - {*over})
    suspects = len(running) if view["state"] == "crashed" else 0
    return {
        "passed": sum(counts[name] for name in ("passed", "xpassed", "subtests_passed", "subtests_xpassed")),
        "failures": counts["failed"] + counts["subtests_failed"],
        "errors": counts["errors"] + (view["verdict"]["kind"] not in QUIET) + suspects,
        "skipped": sum(counts[name] for name in ("skipped", "xfailed", "subtests_skipped", "subtests_xfailed")),
        "unfinished": unfinished - suspects,
        "reruns": counts["rerun"],
    }


def check(archive: Archive, run_id: str, over: Collection[str] | None = None, named: Collection[str] = ()) -> Report:
    """Write a run in every format, read each, and return the report; `over` and `named` as for `expected`.

    Raises:
        AssertionError: something is not as it must be.
    """
    report = loaded(archive, run_id)
    check_form(report)
    wanted = expected(report.view, over, named)
    check_junit(written(report, "junit"), wanted)
    check_ctrf(written(report, "ctrf"), wanted)
    return report


def check_form(report: Report) -> None:
    """Write a run in every format, and check that each is well-formed and inert, whatever its sums are."""
    for name in FORMATS:
        text = written(report, name)
        odd = {char for char in text if not char.isprintable() and char not in "\n\t"}
        assert not odd, f"{name}: control characters {odd}"
    ElementTree.fromstring(written(report, "junit").encode())
    ctrf.check(json.loads(written(report, "ctrf")))
    check_github(report)


def check_junit(text: str, wanted: dict[str, int]) -> None:
    """Read JUnit XML by two readers, which count elements, and compare with its attributes and with what is wanted."""
    by_others = {"junitparser": _by_junitparser(text), "xunitparser": _by_xunitparser(text)}
    of_elements = {
        "passed": wanted["passed"],
        "failures": wanted["failures"],
        "errors": wanted["errors"],
        "skipped": wanted["skipped"] + wanted["unfinished"],
    }
    for reader, found in by_others.items():
        assert found == of_elements, f"{reader}: {found}, not {of_elements}"
    root = ElementTree.fromstring(text.encode())
    for suite in [*root]:
        tags = [child.tag for case in suite.iter("testcase") for child in case]
        own = {
            "tests": len(suite.findall("testcase")),
            "failures": tags.count("failure"),
            "errors": tags.count("error"),
        }
        own["skipped"] = tags.count("skipped")
        assert {name: int(suite.attrib[name]) for name in own} == own, suite.attrib
    totals = {
        name: sum(int(suite.attrib[name]) for suite in root) for name in ("tests", "failures", "errors", "skipped")
    }
    assert {name: int(root.attrib[name]) for name in totals} == totals
    reruns = [element for element in root.iter() if element.tag.startswith(("rerun", "flaky"))]
    assert len(reruns) == wanted["reruns"]


def _by_junitparser(text: str) -> dict[str, int]:
    found = {"passed": 0, "failures": 0, "errors": 0, "skipped": 0}
    for suite in junitparser.JUnitXml.fromstring(text.encode()):
        for case in suite:
            assert len(case.result) <= 1, f"{case.name} has {case.result}"
            found["passed"] += case.is_passed
            found["failures"] += case.is_failure
            found["errors"] += case.is_error
            found["skipped"] += case.is_skipped
    return found


def _by_xunitparser(text: str) -> dict[str, int]:
    suite, result = xunitparser.parse(BytesIO(text.encode()))  # it compares the root's attributes with what it finds
    tests = [*suite]
    return {
        "passed": sum(test.success for test in tests),
        "failures": len(result.failures),
        "errors": len(result.errors),
        "skipped": len(result.skipped),
    }


def reruns_by_junitparser(text: str) -> list[tuple[str, list[str]]]:
    """Return the tests that have attempts before the one that counts, with the kinds of those."""
    found = []
    for suite in junitparser.JUnitXml.fromstring(text.encode()):
        for case in suite:
            attempts = [type(one).__name__ for one in xunit2.TestCase.fromelem(case).interim_result]  # type: ignore[no-untyped-call]
            if attempts:
                found.append((case.name, attempts))
    return found


def check_ctrf(text: str, wanted: dict[str, int]) -> None:
    """Compare the sums of CTRF with its tests and with what is wanted."""
    document = json.loads(text)
    summary, tests = document["results"]["summary"], document["results"]["tests"]
    found = {status: sum(test["status"] == status for test in tests) for status in ctrf.STATUSES}
    assert {status: summary[status] for status in ctrf.STATUSES} == found
    assert summary["tests"] == len(tests)
    assert summary["flaky"] == sum(test.get("flaky", False) for test in tests)
    assert found == {
        "passed": wanted["passed"],
        "failed": wanted["failures"] + wanted["errors"],
        "skipped": wanted["skipped"],
        "pending": wanted["unfinished"],
        "other": 0,
    }
    assert sum(test.get("retries", 0) for test in tests) == wanted["reruns"]


def check_github(report: Report) -> None:
    """Check that the summary fits, and that every line of stdout is an annotation of ours and nothing else."""
    text = written(report, "github")
    assert len(text.encode()) <= github.SUMMARY_LIMIT
    lines = [*github.commands(report)]
    assert len(lines) <= github.ERRORS_SHOWN
    for line in lines:
        assert line.startswith("::error ")
        assert line.isprintable(), "a character that acts on a log"
    for line in text.splitlines():
        assert not line.strip().startswith("::"), f"a command of a workflow: {line}"
        assert "##[" not in line, f"a command of a workflow: {line}"
    is_bad = bool(report.causes) or report.view["verdict"]["kind"] not in QUIET
    assert bool(lines) == is_bad
