"""What must hold of a suite of which nobody knows beforehand what comes of it: it follows from what pytest did.

The rest - output, counts, outcomes, journal, store, reports - the checker compares as with every other suite.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.suites import truth
from tests.suites.output import last_line_counts
from tests.suites.variant import Variant

if TYPE_CHECKING:
    from tests.suites.checker import Compared

_STOPPED: Final = ("!!!!!!", "Exit: ", "INTERNALERROR>")
"""What pytest prints where somebody or something stopped it."""
_BAD: Final = frozenset({"FAIL", "ERROR"})


def seen(variant: Variant, printed: str, log: Path, journal: Path) -> Variant:
    """Return the variant with what is known of it now: whether there is a run, whether it died, an end out of order."""
    began, ended = (_has(log, kind) for kind in ("SessionStart", "SessionFinish"))
    return replace(
        variant,
        has_run=began or journal.exists(),
        dies=began and not ended and not _is_stopped(printed),
        kind="" if ended and not _is_stopped(printed) else "internal-error",
    )


def check_verdict(result: Compared, printed: str, log: Path) -> None:
    """Check the state: `passed` if and only if pytest ended with 0, no test failed and every collected one has an outcome.

    A test that was collected twice needs two outcomes. What was stopped when all was over, or printed no last line,
    may be called something else.
    """
    failed = [nodeid for nodeid, statuses in truth.of_reportlog(log).items() if _BAD & set(_last_attempt(statuses))]
    only_collects = any(start.get("collectOnly") for start in result.of_type("runStart"))
    missing = [] if only_collects else sorted(Counter(result.collected()) - _finished(result))
    state, text = result.status["state"], result.status["verdict"]["text"]
    why = f"{state}: {text}; exit code {result.exit_code}, failed {failed[:5]}, without outcome {missing[:5]}"
    is_good = result.exit_code == 0 and not failed and not missing and _has(log, "SessionFinish")
    assert is_good or state != "passed", f"{result.name}: green, but {why}"
    is_through = not _is_stopped(printed) and last_line_counts(printed) is not None
    assert state == "passed" or not (is_good and is_through), f"{result.name}: not green: {why}"


def _is_stopped(printed: str) -> bool:
    return any(mark in printed for mark in _STOPPED)


def _finished(result: Compared) -> Counter[str]:
    """Return how often each test came to an outcome."""
    found: Counter[str] = Counter()
    for payload in result.of_type("testCase"):
        if payload["phase"] != "teardown" and "subtest" not in payload and payload["status"] != "RERUN":
            found[payload["nodeid"]] += 1
    return found


def _has(log: Path, kind: str) -> bool:
    """Return whether a report log has a whole line of this kind."""
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True) if log.exists() else []
    return any(json.loads(line).get("$report_type") == kind for line in lines if line.endswith("\n"))


def _last_attempt(statuses: list[str]) -> list[str]:
    """Return the statuses after the last one that was taken back."""
    after = [number for number, status in enumerate(statuses, 1) if status == "RERUN"]
    return statuses[after[-1] if after else 0 :]
