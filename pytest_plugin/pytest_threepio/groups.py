"""Groups: the files of a session, as events. A file is discovered when a test of it is collected, starts with its first
outcome, and has a result when its last test is over.

A group's duration is the sum of its own tests', never wall time: under xdist its tests run at several places at once.
"""

from __future__ import annotations

from collections.abc import Callable

from threepio_client.events import EventType, Payload, Status

Emit = Callable[[str, Payload], None]


def group_name(nodeid: str) -> str:
    """Return the name of the group that a test belongs to: its file."""
    return nodeid.partition("::")[0]


class Group:
    """Totals of one file.

    Attributes:
        name: the file, as node ids begin with it.
        remaining: tests of it that are not over yet.
        started: whether one of its tests has an outcome.
        duration: sum of its tests' durations, milliseconds.
        passed: how many of them passed plainly, at the first attempt.
        totals: the other outcomes by status, subtests left out.
    """

    __slots__ = ("duration", "name", "passed", "remaining", "started", "totals")

    def __init__(self, name: str) -> None:
        self.name = name
        self.remaining = 0
        self.started = False
        self.duration = 0.0
        self.passed = 0
        self.totals: dict[str, int] = {}


class Groups:
    """Keeps the totals of each file; its size is that of the number of files."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._groups: dict[str, Group] = {}

    def of(self, nodeid: str) -> Group:
        """Return the group that a test belongs to."""
        return self._named(group_name(nodeid))

    def collected(self, name: str, number: int) -> None:
        """Note tests of the group of this name that are to run."""
        group = self._named(name)
        if not group.remaining:
            self._emit(EventType.GROUP_DISCOVERED, {"groupName": name, "parentNames": []})
        group.remaining += number

    def counted(self, group: Group, status: Status, duration: float) -> None:
        """Note an outcome; `duration` in milliseconds."""
        if not group.started:
            self.start(group)
        group.totals[status] = group.totals.get(status, 0) + 1
        group.duration += duration

    def start(self, group: Group) -> None:
        """Note that a test of it is about to have an outcome, the first one."""
        group.started = True
        self._emit(EventType.GROUP_START, {"groupName": group.name, "parentNames": []})

    def over(self, group: Group) -> None:
        """Note that a test is over."""
        group.remaining -= 1
        if group.remaining == 0:
            self._result(group)

    def _named(self, name: str) -> Group:
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = Group(name)
        return group

    def close(self) -> None:
        """State what is known of the files whose tests did not all run, or of which more was told after their result."""
        for group in self._groups.values():
            if group.started and (group.remaining > 0 or group.passed or group.totals):
                self._result(group)

    def _result(self, group: Group) -> None:
        if group.passed:
            group.totals[Status.PASS] = group.totals.get(Status.PASS, 0) + group.passed
        bad = any(group.totals.get(status) for status in (Status.FAIL, Status.ERROR))
        self._emit(
            EventType.GROUP_RESULT,
            {
                "groupName": group.name,
                "parentNames": [],
                "status": Status.FAIL if bad else Status.PASS,
                "duration": round(group.duration, 3),
                "totals": group.totals,
                "remaining": max(group.remaining, 0),
            },
        )
        group.totals = {}
        group.passed = 0
