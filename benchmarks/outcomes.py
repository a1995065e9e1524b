"""What pytest counts: the categories of its last line, and how that line is read.

The rules are pytest's own (`pytest_report_teststatus` of its runner and skipping plugins); nothing here knows of
threepiod.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

CATEGORIES: Final = (
    "failed",
    "passed",
    "skipped",
    "deselected",
    "xfailed",
    "xpassed",
    "warnings",
    "errors",
    "subtests_passed",
    "subtests_failed",
    "subtests_skipped",
    "rerun",
    "subtests_xfailed",
    "subtests_xpassed",
)
"""The parts of pytest's last line in the order in which it prints them; it writes a space where these names have `_`."""

_SINGULAR: Final = {"warnings": "warning", "errors": "error"}
_NAME_OF: Final = {name.replace("_", " "): name for name in CATEGORIES} | {"warning": "warnings", "error": "errors"}

_PART: Final = rf"\d+ (?:{'|'.join(_NAME_OF)})"
_LAST_LINE: Final = re.compile(rf"=*\s*(no tests ran|{_PART}(?:, {_PART})*) in [\d.]+s(?: \([\d:, day]+\))?\s*=*")

_TAIL: Final = 256 * 1024
"""Bytes of pytest's output that are searched for its last line; a plugin may print a little after it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counts:
    """One number for each category of pytest's last line."""

    failed: int = 0
    passed: int = 0
    skipped: int = 0
    deselected: int = 0
    xfailed: int = 0
    xpassed: int = 0
    warnings: int = 0
    errors: int = 0
    subtests_passed: int = 0
    subtests_failed: int = 0
    subtests_skipped: int = 0
    rerun: int = 0
    subtests_xfailed: int = 0
    subtests_xpassed: int = 0

    @classmethod
    def of(cls, numbers: Mapping[str, int]) -> Counts:
        """Counts from a mapping; categories that it lacks are 0, other keys are passed over."""
        return cls(**{category: numbers.get(category, 0) for category in CATEGORIES})

    def as_dict(self) -> dict[str, int]:
        """Category to number, in pytest's order."""
        return {category: getattr(self, category) for category in CATEGORIES}

    def line(self) -> str:
        """The counts as pytest's last line says them, without the time."""
        said = [
            f"{n} {_SINGULAR.get(name, name) if n == 1 else name}".replace("_", " ")
            for name, n in self.as_dict().items()
            if n
        ]
        return ", ".join(said) or "no tests ran"


def parse_line(text: str) -> Counts | None:
    """The counts that one line of pytest's output states, or None if it is not a last line."""
    match = _LAST_LINE.fullmatch(text.strip())
    if match is None:
        return None
    numbers: dict[str, int] = {}
    if match[1] != "no tests ran":
        for part in match[1].split(", "):
            number, name = part.split(" ", 1)
            numbers[_NAME_OF[name]] = int(number)
    return Counts.of(numbers)


def last_line(output: Path) -> tuple[str, Counts] | None:
    """pytest's last line in a file of its output: the text and what it states, or None if there is no such line."""
    with output.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
        tail = file.read().decode("utf-8", "replace")
    for text in reversed(tail.splitlines()):
        counts = parse_line(text)
        if counts is not None:
            return text.strip(), counts
    return None


def category_of(report: Mapping[str, Any]) -> str | None:
    """The category in which pytest counts a serialized report, or None for one that it does not count.

    Args:
        report: a TestReport or CollectReport as pytest-reportlog writes it.
    """
    outcome = report["outcome"]
    if report["$report_type"] == "CollectReport":
        return {"failed": "errors", "skipped": "skipped"}.get(outcome)
    if "wasxfail" in report and outcome in ("skipped", "passed"):
        return "xfailed" if outcome == "skipped" else "xpassed"
    if outcome == "failed":
        return "failed" if report["when"] == "call" else "errors"
    if outcome == "passed":
        return "passed" if report["when"] == "call" else None
    return str(outcome)  # skipped in any phase; rerun, where pytest-rerunfailures is in use


def subtest_category_of(report: Mapping[str, Any], built_in: bool) -> str:
    """The category in which a quiet pytest counts a serialized SubTestReport (a plain one counts only those that failed).

    Args:
        report: as pytest-reportlog writes it.
        built_in: the subtests are pytest's own (since 9), not those of pytest-subtests.
    """
    outcome: str = report["outcome"]
    if "wasxfail" in report:
        outcome = "xfailed" if outcome == "skipped" else "xpassed"
        return outcome if built_in else f"subtests_{outcome}"
    return "subtests_passed" if outcome == "passed" else outcome
