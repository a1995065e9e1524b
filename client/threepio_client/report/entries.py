"""What the formats for machines list of a run: an entry for every number in pytest's own last line.

So the sums of a file are those of `counts` in the status answer: a test that passed and whose teardown broke has two
entries there and here, an attempt that was followed by another one is told with the entry that followed. What has no
outcome has an entry too, and so has the run itself where it did not come to its end. Not here: how a format writes them.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final, NamedTuple

from threepio_client.events import Phase, Status
from threepio_client.report.model import IN_FLIGHT, NEVER_RAN, Case, Report
from threepio_client.results import Result
from threepio_client.wording import IN_FLIGHT_SHOWN, status_lines


class Kind(StrEnum):
    """What a format for machines makes of an entry."""

    __hash__ = str.__hash__  # the one of Enum is written in Python, and every test is looked up

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    SKIPPED = "skipped"
    UNFINISHED = "unfinished"


KIND_OF: Final = {
    "passed": Kind.PASSED,
    "failed": Kind.FAILED,
    "errors": Kind.ERROR,
    "skipped": Kind.SKIPPED,
    "xfailed": Kind.SKIPPED,
    "xpassed": Kind.PASSED,
    "subtests_passed": Kind.PASSED,
    "subtests_failed": Kind.FAILED,
    "subtests_skipped": Kind.SKIPPED,
    "subtests_xfailed": Kind.SKIPPED,
    "subtests_xpassed": Kind.PASSED,
}
"""Of the names of counts; `rerun`, `deselected` and `warnings` have no entries of their own."""
VERDICT: Final = "verdict"
"""Count of the entry that tells how the run ended."""
_SAYS_ITSELF: Final = frozenset({"passed", "tests-failed", "collect-only"})
"""Verdicts that the entries of the tests tell already."""


class Entry(NamedTuple):
    """One line of a test's.

    Attributes:
        kind: what it is.
        counted: name of the count that it is in, IN_FLIGHT, NEVER_RAN or VERDICT.
        label: what tells it from the other entries of its test, empty for its outcome.
        result: the event that says it, None where none does, or where it has no more to say than that it passed.
        reruns: the attempts before it.
        reason: why there is no outcome.
        is_broken: whether it passed and its test broke afterwards, in its teardown.
    """

    kind: Kind
    counted: str
    label: str = ""
    result: Result | None = None
    reruns: tuple[Result, ...] = ()
    reason: str = ""
    is_broken: bool = False


PASSED: Final = [Entry(Kind.PASSED, "passed")]
"""The entries of a test that passed at once and has no more to say, as most."""


class Entries:
    """The entries of a run.

    Attributes:
        verdict: the entry of the run itself; None where those of its tests say all, as of a run that ended well.
    """

    def __init__(self, report: Report) -> None:
        kinds = {IN_FLIGHT: Kind.ERROR if report.is_crash else Kind.UNFINISHED, NEVER_RAN: Kind.UNFINISHED}
        self._unfinished = {
            standing: Entry(kind, standing, reason=report.why_no_outcome(standing)) for standing, kind in kinds.items()
        }
        verdict = report.view["verdict"]
        reason = f"{report.view['state']}: {verdict['text']}"
        if report.is_live:
            reason = "it was running when this report was written"
        self.verdict = None if verdict["kind"] in _SAYS_ITSELF else Entry(Kind.ERROR, VERDICT, reason=reason)

    def of(self, case: Case) -> list[Entry]:
        """Return the entries of a test, in the order in which it was told."""
        if not case.results:
            return PASSED if case.standing == Status.PASS else [self._unfinished[case.standing]]
        found: list[Entry] = []
        reruns: list[Result] = []
        for result in case.results:
            count = result.counted or ""
            _take_back(found, result)
            if count == "rerun":
                reruns.append(result)
            elif count in KIND_OF:
                is_outcome = result.subtest is None and result.phase != Phase.TEARDOWN
                found.append(Entry(KIND_OF[count], count, _label(result), result, tuple(reruns) if is_outcome else ()))
                if is_outcome:
                    reruns = []
        if case.standing in self._unfinished:
            found.append(self._unfinished[case.standing]._replace(reruns=tuple(reruns)))
        return found


def verdict_text(report: Report) -> str:
    """Return what is to be said of a run as a whole, in several lines."""
    view = report.view
    lines = status_lines(view)
    more = view["in_flight"][IN_FLIGHT_SHOWN:]  # those before are among the lines
    lines += [f"  and {slot['nodeid'] or 'the session'} ({slot['phase']})" for slot in more]
    trace = (view["death"] or {}).get("trace")
    return "\n".join([*lines, trace] if trace else lines)


def sums(entries: Iterable[Entry]) -> dict[Kind, int]:
    """Return how many entries of each kind there are."""
    found = dict.fromkeys(Kind, 0)
    for entry in entries:
        found[entry.kind] += 1
    return found


def is_flaky(entry: Entry) -> bool:
    """Return whether it passed only after another attempt."""
    return bool(entry.reruns) and entry.kind is Kind.PASSED and not entry.is_broken


def _label(result: Result) -> str:
    """Return what is behind a test's name: the subtest as pytest names it, or the teardown."""
    subtest = result.subtest
    if subtest is None:
        return "(teardown)" if result.phase == Phase.TEARDOWN else ""
    message, given = str(subtest.get("message") or ""), subtest.get("parameters")
    parts = [f"[{message}]"] if message else []
    parts += (
        [f"({', '.join(f'{name}={value}' for name, value in given.items())})"]
        if isinstance(given, dict) and given
        else []
    )
    return " ".join(parts) or "(<subtest>)"


def _take_back(found: list[Entry], result: Result) -> None:
    """Remove the entries of subtests that pytest does not count any more, and note a test that broke after it had passed."""
    taken: Any = result.details.get("takenBack")
    if isinstance(taken, dict) and taken.get("flaky"):
        found[:] = [entry._replace(is_broken=True) for entry in found]
    for count, number in taken.items() if isinstance(taken, dict) else ():
        for _ in range(number if type(number) is int else 0):
            at = next((at for at, entry in enumerate(found) if entry.counted == count and entry.label), None)
            if at is not None:
                del found[at]
