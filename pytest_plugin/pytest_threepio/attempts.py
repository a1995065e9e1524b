"""Tests that are run again: which attempt an outcome is of, and what earlier ones told that is not counted any more."""

from __future__ import annotations

from collections.abc import Callable

from threepio_client.events import Payload, Phase, Status

Subtests = list[tuple[str, object]]
"""Of the subtests of one attempt: where pytest's terminal counted them, and their reports."""


class Attempts:
    """What is to be remembered of the tests of a session so that each is counted once. Workers' names are empty without any.

    Attributes:
        decided: the test that each worker decided last: it may be run again for its teardown.
        outcomes: where a test may be run several times without a word: those that have an outcome; else None.
        died_in: tests in which a worker died: they may be given to another one.
    """

    def __init__(self, is_counted: Callable[[str, object], bool], *, repeats_xfails: bool) -> None:
        """Begin with none.

        Args:
            is_counted: whether pytest's terminal has a report in that category.
            repeats_xfails: whether a test that fails as expected is reported for each attempt, as plugin flaky does it.
        """
        self.decided: dict[str, str] = {}
        self.outcomes: set[str] | None = None
        self.died_in: set[str] = set()
        self._is_counted = is_counted
        self._again: dict[str, int] = {}  # tests whose next attempt is to come, with its number
        self._flaky: dict[str, str] = {}  # of each worker: the last test that passed at a later attempt
        self._xfailed: set[str] | None = set() if repeats_xfails else None
        self._subtests: dict[str, Subtests] = {}
        self._subtests_decided: dict[str, tuple[str, Subtests]] = {}
        self._superseded: dict[str, Subtests] = {}

    @property
    def matter(self) -> bool:
        """Whether of the next test that passes there may be more to say than that."""
        return bool(self._again or self.died_in or self.outcomes is not None or self._superseded or self._subtests)

    def ends_one(self, nodeid: str) -> bool:
        """Return whether what is over was an attempt of the test, and the next one follows."""
        return nodeid in self._again

    def add_subtest(self, nodeid: str, category: str, report: object) -> None:
        """Note a subtest's report, counted in that category."""
        self._subtests.setdefault(nodeid, []).append((category, report))

    def told(self, payload: Payload) -> Payload:
        """Return `attempt` and `takenBack` of an outcome, as far as there is something to say: docs/protocol.md, testCase.

        Args:
            payload: the rest of the testCase.
        """
        taken_back = self._subtests_taken_back(payload)
        attempt = payload.get("attempt") or self._again.get(payload["nodeid"], 1)  # rerunfailures says it itself
        if self._is_decided_again(payload):
            taken_back["finished"] = 1
        if self._is_no_more_flaky(payload, attempt):
            taken_back["flaky"] = 1
        found: Payload = {"attempt": attempt} if attempt > 1 else {}
        return found | {"takenBack": taken_back} if taken_back else found

    def _subtests_taken_back(self, payload: Payload) -> dict[str, int]:
        """Return the counts of subtests that are not counted any more, because their test was run again."""
        nodeid, worker = payload["nodeid"], payload.get("worker", "")
        taken_back: dict[str, int] = {}
        for category, report in self._superseded.pop(nodeid, ()):
            if category and not self._is_counted(category, report):
                name = category.replace(" ", "_")
                taken_back[name] = taken_back.get(name, 0) + 1
        subtests = self._subtests.pop(nodeid, None)
        decided, earlier = self._subtests_decided.pop(worker, ("", []))
        if payload["status"] is Status.RERUN:
            subtests = subtests or (earlier if decided == nodeid else None)
            if subtests:
                self._superseded[nodeid] = subtests
        elif subtests:
            self._subtests_decided[worker] = nodeid, subtests
        return taken_back

    def _is_decided_again(self, payload: Payload) -> bool:
        """Return whether a test that had its outcome is decided again, or is run again because its teardown failed."""
        worker, nodeid = payload.get("worker", ""), payload["nodeid"]
        if payload["status"] is Status.RERUN:
            self._again[nodeid] = self._again.get(nodeid, 1) + 1
            was_decided = bool(payload["phase"] == Phase.TEARDOWN and self.decided.pop(worker, "") == nodeid)
            if was_decided and self.outcomes is not None:
                self.outcomes.discard(nodeid)
            return was_decided
        if payload["phase"] == Phase.TEARDOWN:
            return False
        self.decided[worker] = nodeid
        self._again.pop(nodeid, None)
        if self.outcomes is not None:
            is_again = nodeid in self.outcomes
            self.outcomes.add(nodeid)
            return is_again
        is_again = self._xfailed is not None and nodeid in self._xfailed
        if self._xfailed is not None and payload["status"] is Status.XFAIL:
            self._xfailed.add(nodeid)
        return is_again or nodeid in self.died_in

    def _is_no_more_flaky(self, payload: Payload, attempt: int) -> bool:
        """Return whether a test that passed at a later attempt broke afterwards, in its teardown."""
        worker, nodeid = payload.get("worker", ""), payload["nodeid"]
        if payload["status"] is Status.PASS and attempt > 1:
            self._flaky[worker] = nodeid
            return False
        is_broken = payload["phase"] == Phase.TEARDOWN and payload["status"] in {Status.ERROR, Status.RERUN}
        return is_broken and self._flaky.pop(worker, "") == nodeid
