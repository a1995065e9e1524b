"""CTRF JSON, the Common Test Report Format (ctrf.io): streamed, a line for each entry of `entries.py`.

Texts stay as they are: JSON escapes what a terminal could act on, and who shows them has to do the same in their way.
"""

from __future__ import annotations

import json
from typing import Any, Final, TextIO

from threepio_client import __version__
from threepio_client.printable import json_text
from threepio_client.report.entries import Entries, Entry, Kind, is_flaky, sums, verdict_text
from threepio_client.report.model import Case, Report
from threepio_client.report.texts import iso_time
from threepio_client.results import Result
from threepio_client.runstate import State

SPEC_VERSION: Final = "0.0.0"
"""Of the schema's first line, whose fields all later ones have."""
_STATUS_OF: Final = {
    Kind.PASSED: "passed",
    Kind.FAILED: "failed",
    Kind.ERROR: "failed",
    Kind.SKIPPED: "skipped",
    Kind.UNFINISHED: "pending",
}
_STATUSES: Final = ("passed", "failed", "skipped", "pending", "other")
_LONGEST_MS: Final = 10.0**15
"""Some thirty thousand years: a foreign writer may have put anything there."""


def write(report: Report, out: TextIO) -> None:
    """Write the report of a run.

    Args:
        report: of any run, of a running one too.
        out: a text file; what is written is ASCII.
    """
    made = Entries(report)
    listed = [(case, made.of(case)) for case in report.tests]
    verdict = made.verdict
    flat = [entry for _, entries in listed for entry in entries] + ([verdict] if verdict is not None else [])
    head = {
        "reportFormat": "CTRF",
        "specVersion": SPEC_VERSION,
        "generatedBy": f"threepiod {__version__}",
        "timestamp": iso_time(_ended(report)),
    }
    results = {"tool": _tool(report), "summary": _summary(report, flat), "environment": _environment(report)}
    # The tests are the last thing in it, so that they can be written one by one.
    out.write(_json({**head, "results": results})[:-2] + ', "tests": [')
    separator = "\n"
    if verdict is not None:
        out.write(separator + _json(_run(report, verdict)))
        separator = ",\n"
    for case, entries in listed:
        parents, name = case.names
        for entry in entries:
            out.write(separator + _json(_test(case, entry, parents or [case.nodeid], name)))
            separator = ",\n"
    out.write("\n]}}\n")


def _tool(report: Report) -> dict[str, Any]:
    runner = report.start.get("runner")
    found = runner if isinstance(runner, dict) else {}
    tool = {"name": str(found.get("name") or "pytest")}
    return {**tool, "version": str(found["version"])} if found.get("version") else tool


def _summary(report: Report, entries: list[Entry]) -> dict[str, Any]:
    found = dict.fromkeys(_STATUSES, 0)
    for kind, number in sums(entries).items():
        found[_STATUS_OF[kind]] += number
    view = report.view
    return {
        "tests": len(entries),
        **found,
        "flaky": sum(map(is_flaky, entries)),
        "suites": len(report.files),
        "start": _ms(view["started"] * 1000),
        "stop": _ms(_ended(report) * 1000),
        "extra": {"counts": view["counts"]},
    }


def _environment(report: Report) -> dict[str, Any]:
    view = report.view
    git, ci = view["git"], view["ci"] or {}
    found = {
        "buildName": ci.get("job"),
        "buildId": ci.get("build"),
        "buildUrl": ci.get("url"),
        "commit": git.get("commit"),
        "branchName": git.get("branch"),
        "osPlatform": report.start.get("platform"),
    }
    extra = {
        "run_id": view["run_id"],
        "state": view["state"],
        "verdict": view["verdict"],
        "exit_code": view["exit_code"],
        "collected": view["collected"],
        "finished": view["finished"],
        "never_ran": view["never_ran"],
        "in_flight": view["in_flight"],
        "dirty": git.get("dirty"),
        "host": report.start.get("host"),
        "python": report.start.get("python"),
        "argv": view["argv"],
        "rootdir": view["rootdir"],
    }
    told = {name: str(value) for name, value in found.items() if value}
    return {**told, "healthy": view["state"] == State.PASSED, "extra": extra}


def _run(report: Report, verdict: Entry) -> dict[str, Any]:
    """Return the entry of the run as a whole."""
    return {
        "name": "the whole run",
        "status": _STATUS_OF[verdict.kind],
        "duration": 0,
        "suite": ["threepio"],
        "message": verdict.reason,
        "trace": verdict_text(report),
        "rawStatus": report.view["state"],
    }


def _test(case: Case, entry: Entry, parents: list[str], name: str) -> dict[str, Any]:
    result = entry.result
    duration = _ms(case.duration_ms if result is None else result.duration_ms)
    found: dict[str, Any] = {
        "name": f"{name} {entry.label}" if entry.label else name or "(no name)",
        "status": _STATUS_OF[entry.kind],
        "duration": duration,
        "suite": parents,
        "filePath": case.file,
        "rawStatus": entry.counted,
    }
    started = case.started if result is None else result.started
    if started is not None:
        found["start"] = _ms(started * 1000)
        found["stop"] = found["start"] + duration
    worker = case.worker if result is None else result.worker
    if worker:
        found["threadId"] = str(worker)
    if entry.reruns:
        found["retries"] = len(entry.reruns)
        found["flaky"] = is_flaky(entry)
        found["retryAttempts"] = [
            {"attempt": number, "status": "failed", "duration": _ms(attempt.duration_ms), **_told(attempt)}
            for number, attempt in enumerate(entry.reruns, start=1)
        ]
    if result is not None:
        found.update(_told(result))
    elif entry.reason:
        found["message"] = entry.reason
    return found


def _told(result: Result) -> dict[str, Any]:
    """Return what is said of an outcome beside its status."""
    error = result.error
    found: dict[str, Any] = {}
    message = str(error.get("message") or "") or result.reason
    if message:
        found["message"] = message
    if error.get("stack"):
        found["trace"] = str(error["stack"])
    for name in ("stdout", "stderr"):
        is_err = name == "stderr"
        lines = [line for title, text in result.output if ("stderr" in title) == is_err for line in text.splitlines()]
        if lines:
            found[name] = lines
    extra: dict[str, Any] = {name: str(error[name]) for name in ("errorType", "location") if error.get(name)}
    if extra or result.subtest is not None:
        extra["phase"] = result.phase
    if result.subtest:
        extra["subtest"] = result.subtest
    if result.reason and error:
        extra["reason"] = result.reason
    return {**found, "extra": extra} if extra else found


def _ended(report: Report) -> float:
    return float(report.view["started"] + report.view["duration_s"])


def _ms(value: float) -> int:
    return round(min(max(value, 0.0), _LONGEST_MS))


def _json(value: dict[str, Any]) -> str:
    return json_text(json.dumps(value))
