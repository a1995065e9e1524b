"""What pytest-reportlog wrote of the same suite: outcomes test by test, found by nobody of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from threepio_client.line import plain_text

Outcomes = dict[str, list[str]]
"""Statuses of each node id, in their order; a collection error is one too."""


def of_reportlog(path: Path) -> Outcomes:
    """Return the outcomes that a report log tells. What its writer had begun when it died is no line."""
    found: Outcomes = {}
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if not line.endswith("\n"):
            break
        report = json.loads(line)
        status = _status_of(report)
        if status:
            found.setdefault(plain_text(report["nodeid"]), []).append(status)
    return found


def of_events(events: list[dict[str, Any]]) -> Outcomes:
    """Return the outcomes that a journal tells."""
    found: Outcomes = {}
    for event in events:
        payload = event["payload"]
        if event["type"] == "testCase":
            found.setdefault(payload["nodeid"], []).append(payload["status"])
        elif event["type"] == "collectionError":
            found.setdefault(payload["nodeid"], []).append("ERROR")
    return found


def _status_of(report: dict[str, Any]) -> str:
    kind = report.get("$report_type")
    outcome = report.get("outcome")
    if kind == "CollectReport":
        return {"failed": "ERROR", "skipped": "SKIP"}.get(str(outcome), "")
    if kind not in {"TestReport", "SubTestReport", "SubtestReport"}:
        return ""
    if outcome == "rerun":
        return "RERUN"
    is_subtest = kind != "TestReport"
    known = "wasxfail" in report
    if outcome == "failed":
        # xdist's report of a test whose worker died has a phase of its own.
        return "ERROR" if report["when"] in {"setup", "teardown"} and not is_subtest else "FAIL"
    if outcome == "skipped":
        return "XFAIL" if known else "SKIP"
    return ("XPASS" if known else "PASS") if report["when"] == "call" else ""
