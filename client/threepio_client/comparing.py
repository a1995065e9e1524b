"""Two runs compared: what is newly failing, fixed, failing for another reason, new, gone or much slower.

What could not be collected is compared like a test that is bad, by the name of the file.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator
from typing import Final, NamedTuple

from threepio_client.archive import Archive
from threepio_client.causes import reason
from threepio_client.events import BAD
from threepio_client.results import (
    EXCUSED,
    Details,
    Outcome,
    Result,
    collected,
    numbers_in,
    numbers_of,
    outcomes,
    results,
)
from threepio_client.runstate import RunState, State

BY_WHAT_WAS: Final = ("--lf", "--last-failed", "--sw", "--stepwise", "--testmon", "--picked")
"""Options of pytest and of plugins with which the same arguments mean other tests the next time."""
ONLY_FAILED: Final = "--threepio-rerun-failed"
"""Option of our plugin with which a rerun does not ask for what never ran."""
_SELECTING: Final = (*BY_WHAT_WAS, "-k", "-m", "--deselect")
"""Options with which not all tests of a file are run."""
_WITH_VALUE: Final = re.compile(
    r"-[nrW]|--(?:numprocesses|dist|maxfail|reruns|reruns-delay|timeout|tb|durations|color|verbosity|capture)"
)
_CHOOSING_NONE: Final = re.compile(
    r"-[xqvsl]+|-n(?:\d+|auto|logical)|-[rW].+|--(?:exitfirst|quiet|verbose|showlocals|full-trace|no-header|no-summary)"
)
"""Arguments with which the same tests are asked for as without: how many may fail, on how many workers, what is printed."""
SLOWER_FACTOR: Final = 2.0
SLOWER_MS: Final = 100.0
"""A test is much slower if it takes twice as long and at least that much more: what is shorter is noise."""


class Difference(NamedTuple):
    """What differs, as node ids in the order of the later run; each list is empty where there is nothing.

    Attributes:
        newly_failing: bad now, and fine or without an outcome before.
        new_failing: bad now, and not there before.
        fixed: fine now, and bad before.
        excused: skipped or failing as expected now, and neither before: nobody saw them pass.
        other_reason: bad in both, with another type or message of the error.
        still_failing: bad in both for the same reason.
        new: fine now, and not there before.
        ran_now: fine now, and without an outcome before.
        never_ran: collected now, without an outcome; or there before, and now in a file that could not be collected, or
            where collection was not over.
        gone: there before, and not collected now.
        left_out: with an outcome before, and not among what was asked for now: other arguments, a rerun, or only collected.
        slower: much slower, with milliseconds before and now.
        state: how the later run stands.
    """

    newly_failing: list[str]
    new_failing: list[str]
    fixed: list[str]
    excused: list[str]
    other_reason: list[str]
    still_failing: list[str]
    new: list[str]
    ran_now: list[str]
    never_ran: list[str]
    gone: list[str]
    left_out: list[str]
    slower: list[tuple[str, float, float]]
    state: State


def compare(archive: Archive, before: str, after: str) -> Difference:
    """Return what differs between two runs."""
    earlier, later = (archive.run(run_id).state for run_id in (before, after))
    # Which tests have no outcome is known by all that have one.
    tests = None if earlier.never_ran or later.never_ran else _to_be_read(archive, before, after)
    (old, was), (new, now) = (_read(archive, run_id, tests) for run_id in (before, after))
    found = Difference([], [], [], [], [], [], [], [], [], [], [], [], later.verdict().state)
    unfinished = _unfinished(archive, before, old) if earlier.never_ran or earlier.start.get("collectOnly") else {}
    places = _places_of((*old, *unfinished))
    for nodeid, outcome in new.items():
        previous = old.get(nodeid)
        if nodeid in unfinished:
            (found.newly_failing if nodeid in now else found.ran_now).append(nodeid)
        elif previous is None:
            # A file or a directory that could be collected before is nothing new.
            kind = found.newly_failing if nodeid in places else found.new_failing
            (kind if nodeid in now else found.new).append(nodeid)
        elif nodeid in now:
            kind = found.newly_failing if nodeid not in was else found.still_failing
            (found.other_reason if nodeid in was and was[nodeid] != now[nodeid] else kind).append(nodeid)
        elif outcome.status in EXCUSED and (nodeid in was or previous.status not in EXCUSED):
            found.excused.append(nodeid)
        elif nodeid in was:
            found.fixed.append(nodeid)
        elif _is_slower(previous, outcome):
            found.slower.append((nodeid, previous.duration_ms, outcome.duration_ms))
    missing = [nodeid for nodeid in (*old, *unfinished) if nodeid not in new]
    if missing:
        names = frozenset(collected(archive, after))
        _tell_apart(missing, (earlier, later), names, before, was, now, unfinished, found)
    known = frozenset(found.never_ran)
    if later.never_ran:
        found.never_ran.extend(nodeid for nodeid in _unfinished(archive, after, new) if nodeid not in known)
    found.slower.sort(key=lambda item: item[1] - item[2])
    return found


def _unfinished(archive: Archive, run_id: str, finished: Container[str]) -> dict[str, None]:
    """Return the tests that a run collected and that have no outcome, in their order."""
    return dict.fromkeys(nodeid for nodeid in collected(archive, run_id) if nodeid not in finished)


def _tell_apart(
    missing: list[str],
    states: tuple[RunState, RunState],
    names: frozenset[str],
    before: str,
    was: dict[str, str],
    now: dict[str, str],
    unfinished: Container[str],
    found: Difference,
) -> None:
    """Say of tests that have no outcome now why they have none.

    Args:
        missing: the tests.
        states: of the earlier and the later run.
        names: what the later one collected.
        before: id of the earlier one.
        was: why tests were bad there.
        now: why tests are bad now.
        unfinished: tests that had no outcome in the earlier one either: of these only what is bad news is said.
        found: where to say it.
    """
    earlier, later = states
    places = _places_of(names)
    argv = _arguments_of(later)
    is_rerun = bool(later.start.get("rerunOf"))
    is_alike = _choosing(_arguments_of(earlier)) == _choosing(argv)
    is_same = is_alike and earlier.start.get("cwd") == later.start.get("cwd")
    is_all = is_same and not is_rerun and not any(argument.startswith(BY_WHAT_WAS) for argument in argv)
    # What workers deselect nobody tells the controller, and a test that is named deselects nothing.
    is_selected = any(argument.startswith(_SELECTING) or "::" in argument for argument in argv)
    is_all_of_files = not (later.counts["deselected"] or is_rerun or is_selected)
    # What failed or never ran there was asked for again, unless further options leave it out.
    is_rerun_of_it = later.start.get("rerunOf") == before and not is_selected
    is_of_never_ran = earlier.never_ran > 0 and ONLY_FAILED not in argv
    left_out: list[str] = []
    for nodeid in missing:
        is_again = is_rerun_of_it and (nodeid in was or (nodeid in unfinished and is_of_never_ran))
        if nodeid in was and nodeid in places:
            found.fixed.append(nodeid)  # a file or a directory that could not be collected
        elif later.start.get("collectOnly"):
            left_out.append(nodeid)
        elif nodeid in names or _is_below(_file_of(nodeid), now) or later.collected is None:
            found.never_ran.append(nodeid)
        elif is_all or is_again or (is_all_of_files and _file_of(nodeid) in places):
            found.gone.append(nodeid)
        else:
            left_out.append(nodeid)
    found.left_out.extend(nodeid for nodeid in left_out if nodeid not in unfinished)


def _choosing(argv: list[str]) -> list[str]:
    """Return the arguments that choose tests, or that may do so for all that is known here."""
    chosen = []
    words = iter(argv)
    for word in words:
        if _WITH_VALUE.fullmatch(word):
            next(words, None)
        elif not _WITH_VALUE.fullmatch(word.partition("=")[0]) and not _CHOOSING_NONE.fullmatch(word):
            chosen.append(word)
    return chosen


def _arguments_of(state: RunState) -> list[str]:
    argv = state.start.get("argv")
    return [str(argument) for argument in argv] if isinstance(argv, list) else []


def _file_of(nodeid: str) -> str:
    return nodeid.partition("::")[0]


def _places_of(nodeids: Iterable[str]) -> set[str]:
    """Return the files of tests, and the directories that these are in."""
    places = {_file_of(nodeid) for nodeid in nodeids}
    for path in [*places]:
        while (path := path.rpartition("/")[0]) and path not in places:
            places.add(path)
    return places


def _is_below(path: str, names: Container[str]) -> bool:
    """Return whether a file or a directory that it is in is among these."""
    while path and path not in names:
        path = path.rpartition("/")[0]
    return bool(path)


def _to_be_read(archive: Archive, before: str, after: str) -> set[int] | None:
    """Return the numbers of the tests of which one can differ; None: of all. Two runs differ in few of their tests."""
    old, new = (numbers_of(archive, run_id) for run_id in (before, after))
    if old is None or new is None:
        return None
    with archive.reading() as store:
        if store is None:
            return None
        # Most tests take no time: of the others only the times are compared.
        slower = store.execute(
            "SELECT n.test FROM runs a CROSS JOIN runs b CROSS JOIN results n ON n.run = a.id "
            "CROSS JOIN results o ON o.run = b.id AND o.test = n.test WHERE a.run_id = ? AND b.run_id = ? "
            "AND n.duration >= ? AND n.duration >= ? * ifnull(o.duration, 0)",
            (after, before, SLOWER_MS, SLOWER_FACTOR),
        ).fetchall()
    found = old.odd | new.odd | {test for (test,) in slower}
    if old.excused != new.excused:
        found |= numbers_in(new.excused) - numbers_in(old.excused)
    return found if old.all == new.all else found | (numbers_in(old.all) ^ numbers_in(new.all))


def _read(archive: Archive, run_id: str, tests: set[int] | None) -> tuple[dict[str, Outcome], dict[str, str]]:
    """Return what became of tests of a run and why each bad one is bad, with the run read once."""
    reasons: dict[int, str] = {}

    def noted() -> Iterator[Result]:
        for result in results(archive, run_id, tests=tests, details=Details.BAD, with_collection=True):
            if result.status in BAD:
                reasons[result.seq] = reason(result.error)
            yield result

    found = outcomes(noted())
    bad = {nodeid: outcome.bad_seq for nodeid, outcome in found.items() if outcome.bad_seq or outcome.status in BAD}
    return found, {nodeid: reasons.get(seq, "") for nodeid, seq in bad.items()}


def _is_slower(before: Outcome, after: Outcome) -> bool:
    more = after.duration_ms - before.duration_ms
    return more >= SLOWER_MS and after.duration_ms >= before.duration_ms * SLOWER_FACTOR
