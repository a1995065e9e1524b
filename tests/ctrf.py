"""The rules of CTRF that its published JSON schema sets for what we write: fields, types, what must be there.

Written from https://github.com/ctrf-io/ctrf/blob/main/schema/ctrf.schema.json; a field that is not listed here is an
error, as the schema allows no others.
"""

from __future__ import annotations

import re
from typing import Any, Final

Rules = dict[str, tuple[type | tuple[type, ...], bool]]
"""Type of a field, and whether it must be there."""

_ROOT: Final[Rules] = {
    "reportFormat": (str, True),
    "specVersion": (str, True),
    "timestamp": (str, False),
    "generatedBy": (str, False),
    "extra": (dict, False),
    "results": (dict, True),
}
_RESULTS: Final[Rules] = {
    "tool": (dict, True),
    "summary": (dict, True),
    "tests": (list, True),
    "environment": (dict, False),
    "extra": (dict, False),
}
_TOOL: Final[Rules] = {"name": (str, True), "version": (str, False), "extra": (dict, False)}
_SUMMARY: Final[Rules] = {
    **dict.fromkeys(("tests", "passed", "failed", "skipped", "pending", "other", "start", "stop"), (int, True)),
    **dict.fromkeys(("flaky", "suites", "duration"), (int, False)),
    "extra": (dict, False),
}
_ENVIRONMENT: Final[Rules] = {
    **dict.fromkeys(
        ("reportName", "buildId", "buildName", "buildUrl", "commit", "branchName", "osPlatform"), (str, False)
    ),
    "healthy": (bool, False),
    "extra": (dict, False),
}
_TEST: Final[Rules] = {
    "name": (str, True),
    "status": (str, True),
    "duration": (int, True),
    **dict.fromkeys(("start", "stop", "retries"), (int, False)),
    **dict.fromkeys(("message", "trace", "rawStatus", "filePath", "threadId"), (str, False)),
    **dict.fromkeys(("suite", "stdout", "stderr", "retryAttempts"), (list, False)),
    "flaky": (bool, False),
    "extra": (dict, False),
}
_ATTEMPT: Final[Rules] = {
    "attempt": (int, True),
    "status": (str, True),
    "duration": (int, False),
    **dict.fromkeys(("message", "trace"), (str, False)),
    **dict.fromkeys(("stdout", "stderr"), (list, False)),
    "extra": (dict, False),
}
STATUSES: Final = frozenset({"passed", "failed", "skipped", "pending", "other"})


def check(document: Any) -> None:
    """Raise AssertionError where a document breaks a rule."""
    _check(document, _ROOT, "document")
    assert document["reportFormat"] == "CTRF"
    assert re.fullmatch(r"\d+\.\d+\.\d+", document["specVersion"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", document["timestamp"])
    results = document["results"]
    _check(results, _RESULTS, "results")
    _check(results["tool"], _TOOL, "tool")
    assert results["tool"]["name"], "a tool without a name"
    _check(results["summary"], _SUMMARY, "summary")
    _check(results["environment"], _ENVIRONMENT, "environment")
    for test in results["tests"]:
        _check(test, _TEST, "test")
        assert test["name"], "a test without a name"
        assert test["status"] in STATUSES
        assert test["suite"], "a suite without a name"
        for name in ("suite", "stdout", "stderr"):
            assert all(isinstance(item, str) for item in test.get(name, ()))
        for number, attempt in enumerate(test.get("retryAttempts", ()), start=1):
            _check(attempt, _ATTEMPT, "attempt")
            assert attempt["attempt"] == number
            assert attempt["status"] in STATUSES
        assert len(test.get("retryAttempts", ())) == test.get("retries", 0)


def _check(found: Any, rules: Rules, where: str) -> None:
    assert isinstance(found, dict), f"{where} is no object"
    for name, (kind, is_needed) in rules.items():
        assert name in found or not is_needed, f"{where} has no {name}"
        if name in found:
            is_kind = isinstance(found[name], kind) and (kind is bool or not isinstance(found[name], bool))
            assert is_kind, f"{where}.{name} is {found[name]!r}"
    assert found.keys() <= rules.keys(), f"{where} has {found.keys() - rules.keys()}"
