"""Questions about the runs of a history, and what is wrong with an answer, by the oracle."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from tests.histories.oracle import BAD, Run, again_of, file_of, is_below, kinds_of, latest, run_before, tests_in

Question = tuple[str, ...]
"""A command with its arguments, without `--json`. What names a test comes after `--`."""
Answer = tuple[Any, int]
"""What the command said, read as JSON where it is some, and its exit code."""
Wrong = Iterator[tuple[str, object, object]]
"""What is wrong: its name, what was said, and what is so."""

_KINDS: Final = (
    "newly_failing",
    "new_failing",
    "fixed",
    "excused",
    "other_reason",
    "still_failing",
    "new",
    "ran_now",
    "never_ran",
    "gone",
    "left_out",
)
_WORSE: Final = frozenset({"newly_failing", "new_failing", "gone", "never_ran"})
_NO_SUCH: Final = 4
_NO_PHASE: Final = "???"
"""That a worker died pytest-xdist reports with this one: the report of the phase before may not have come."""


def questions(runs: Sequence[Run], seed: int) -> list[Question]:
    """Return what to ask about these runs: everything about each, and some pairs, files and tests by chance."""
    chance = random.Random(seed)
    asked: list[Question] = [("runs",), ("flaky",), ("status",), ("failures",), ("never-ran",), ("slow",), ("diff",)]
    nodeids = sorted({nodeid for run in runs for nodeid in (*run.known, *(run.collected or ()), *run.uncollected)})
    for number, run in enumerate(runs):
        other = chance.choice(runs).run_id
        asked += [(command, run.run_id) for command in ("status", "wait", "failures", "never-ran")]
        asked += [("slow", run.run_id, "-n", "1000"), ("failures", run.run_id, "--since", other)]
        asked += [("diff", "", run.run_id), ("diff", other, run.run_id)]
        asked += [("diff", runs[number - 1].run_id, run.run_id)] if number else []
        if nodeids:
            nodeid = chance.choice(nodeids)
            asked += [("show", "--", nodeid, run.run_id), ("failures", run.run_id, "--file", file_of(nodeid))]
    asked += [("history", "--", nodeid) for nodeid in chance.sample(nodeids, min(4, len(nodeids)))]
    return list(dict.fromkeys(asked))


def wrong_in(question: Question, answer: Answer, runs: Sequence[Run]) -> Wrong:
    """Find what is wrong with an answer."""
    said, exit_code = answer
    if not isinstance(said, dict):
        if exit_code != _NO_SUCH or _is_known(question, runs):
            yield "no answer", f"{exit_code}: {said}", "an answer"
        return
    command, *rest = question
    if command in _OF_ALL:
        yield from _OF_ALL[command](said, exit_code, [one for one in rest if one != "--"], runs)
        return
    named = [run for run in runs if run.run_id == (rest[2] if command == "show" else rest[0] if rest else "")]
    run = named[0] if named else latest(runs)
    if said["run_id"] != run.run_id:
        yield "run_id", said["run_id"], run.run_id
    else:
        yield from _OF_ONE[command](said, exit_code, rest, run, runs)


def _is_known(question: Question, runs: Sequence[Run]) -> bool:
    """Return whether a question has an answer: none about an unknown test, or what came before the first run."""
    match question:
        case ("show", "--", nodeid, run_id):
            return any(
                run.run_id == run_id and (run.standing(nodeid) or nodeid in (run.collected or ())) for run in runs
            )
        case ("history", "--", nodeid):
            return any(nodeid in run.known for run in runs)
        case ("diff", "", run_id):
            return any(run.run_id == run_id and run_before(runs, run) for run in runs)
        case ("diff",):
            return run_before(runs, latest(runs)) is not None
    return True


def _differing(said: Mapping[str, Any], so: Mapping[str, Any]) -> Wrong:
    for name, value in so.items():
        if said[name] != value:
            yield name, said[name], value


def _runs(said: dict[str, Any], exit_code: int, rest: Sequence[str], runs: Sequence[Run]) -> Wrong:
    yield from _differing(
        {"runs": [row["run_id"] for row in said["runs"]]}, {"runs": [run.run_id for run in runs[::-1]]}
    )
    for row, run in zip(said["runs"], reversed(runs), strict=False):
        yield from _standing(row, run)


def _standing(said: dict[str, Any], run: Run) -> Wrong:
    collected = None if run.collected is None else len(run.collected)
    yield from _differing(said, {"collected": collected, "finished": run.finished})
    if said["state"] not in run.states:
        yield "state", said["state"], run.states


def _status(said: dict[str, Any], exit_code: int, rest: Sequence[str], run: Run, runs: Sequence[Run]) -> Wrong:
    yield from _standing(said, run)
    yield from _differing(said, {"never_ran": len(run.unfinished), "rerun_of": run.again or None})
    if run.exit_code is not None:
        yield from _differing(said, {"exit_code": run.exit_code})
    yield from _code(exit_code, said["state"] != "passed")


def _wait(said: dict[str, Any], exit_code: int, rest: Sequence[str], run: Run, runs: Sequence[Run]) -> Wrong:
    yield from _code(exit_code, said["state"] != "passed")


def _code(said: int, is_bad: object) -> Wrong:
    if said != int(bool(is_bad)):
        yield "exit code", said, int(bool(is_bad))


def _failures(said: dict[str, Any], exit_code: int, rest: Sequence[str], run: Run, runs: Sequence[Run]) -> Wrong:
    so = [(nodeid, "ERROR", "collect") for nodeid in run.uncollected]
    so += [(nodeid, *bad) for nodeid, outcome in run.known.items() for bad in outcome.bad]
    match rest:
        case [_, "--since", since]:
            known = next(run.failed for run in runs if run.run_id == since)
            so = [one for one in so if one[0] not in known]
        case [_, "--file", file]:
            so = [one for one in so if is_below(one[0], file)]
    without_phase = {(nodeid, status) for nodeid, status, phase in so if phase == _NO_PHASE}
    found = Counter(
        (*told, _NO_PHASE if told in without_phase else row["phase"])
        for row in said["failures"]
        for told in [(row["nodeid"], row["status"])]
    )
    if found != Counter(so):
        yield "failures", "more: " + str(found - Counter(so)), "also: " + str(Counter(so) - found)
    yield from _code(exit_code, so)


def _never_ran(said: dict[str, Any], exit_code: int, rest: Sequence[str], run: Run, runs: Sequence[Run]) -> Wrong:
    suspects, listed = {*run.suspects}, said["suspects"]
    so = [nodeid for nodeid in run.unfinished if nodeid not in listed]
    yield from _differing(said, {"never_ran": so, "collection_finished": run.collected is not None})
    # Of workers it is not known which ones a signal met, nor of a collection where it was.
    if run.collected is not None and not run.with_workers and suspects != {*listed}:
        yield "suspects", listed, suspects
    yield from _code(exit_code, run.unfinished or run.collected is None)


def _show(said: dict[str, Any], exit_code: int, rest: Sequence[str], run: Run, runs: Sequence[Run]) -> Wrong:
    nodeid = rest[1]
    if said["nodeid"] != nodeid:  # one that a part of a name means, where the run knows none of the whole name
        if run.standing(nodeid) or nodeid in (run.collected or ()):
            yield "nodeid", said["nodeid"], nodeid
        return
    outcome = run.known.get(nodeid)
    if outcome is not None:
        yield from _differing(said, {"status": outcome.final, "attempts": outcome.attempts})
    yield from _code(exit_code, run.standing(nodeid) == "bad")


def _slow(said: dict[str, Any], exit_code: int, rest: Sequence[str], run: Run, runs: Sequence[Run]) -> Wrong:
    durations = [row["duration_s"] for row in said["tests"]]
    yield from _differing({"durations": durations}, {"durations": sorted(durations, reverse=True)})
    found = {row["nodeid"]: row["status"] for row in said["tests"]}
    so = {nodeid: outcome.final for nodeid, outcome in run.known.items() if rest or nodeid in found}
    yield from _differing({"tests": found}, {"tests": so})


def _history(said: dict[str, Any], exit_code: int, rest: Sequence[str], runs: Sequence[Run]) -> Wrong:
    (nodeid,) = rest
    so = [(run, run.known[nodeid]) for run in reversed(runs) if nodeid in run.known]
    found = [(row["run_id"], row["status"], row["attempts"], row["commit"]) for row in said["runs"]]
    known = [(run.run_id, outcome.final, outcome.attempts, run.commit) for run, outcome in so]
    if said["nodeid"] == nodeid and "::" in nodeid:
        yield from _differing({"runs": found}, {"runs": known})


def _flaky(said: dict[str, Any], exit_code: int, rest: Sequence[str], runs: Sequence[Run]) -> Wrong:
    attempts: Counter[str] = Counter()
    kinds: dict[tuple[str, str], set[bool]] = defaultdict(set)
    for run in runs:
        for nodeid, outcome in run.known.items():
            attempts[nodeid] += outcome.attempts > 1 and outcome.final == "PASS"
            if outcome.final in (BAD | {"PASS"}) and run.is_clean:
                kinds[nodeid, run.commit].add(not outcome.bad)
    found = {row["nodeid"]: row["needed_attempts"] for row in said["tests"] if row["needed_attempts"]}
    yield from _differing({**said, "attempts": found}, {"runs": len(runs), "attempts": dict(+attempts)})
    changing = {row["nodeid"] for row in said["tests"] if row["changed_at_one_commit"]}
    may = {nodeid for (nodeid, _), both in kinds.items() if len(both) > 1}
    if not changing <= may:
        yield "changed at one commit", changing, may


def _diff(said: dict[str, Any], exit_code: int, rest: Sequence[str], runs: Sequence[Run]) -> Wrong:
    after = next((run for run in runs if rest[1:] == [run.run_id]), latest(runs))
    before = next((run for run in runs if rest and run.run_id == rest[0]), None) or run_before(runs, after)
    if before is None or (said["before"], said["after"]) != (before.run_id, after.run_id):
        yield "runs", (said["before"], said["after"]), (before and before.run_id, after.run_id)
        return
    found = {nodeid: kind for kind in _KINDS for nodeid in said[kind]}
    for run in (before, after):
        for nodeid in (*run.known, *run.collectors, *run.unfinished):
            found.setdefault(nodeid, "")
    for nodeid, kind in found.items():
        if kind not in (so := kinds_of(nodeid, before, after)) and before is not after:
            yield nodeid, kind, so
    yield from _code(exit_code, _WORSE & {*found.values()})


_OF_ALL: Final[dict[str, Callable[..., Wrong]]] = {"runs": _runs, "history": _history, "flaky": _flaky, "diff": _diff}
_OF_ONE: Final[dict[str, Callable[..., Wrong]]] = {
    "status": _status,
    "wait": _wait,
    "failures": _failures,
    "never-ran": _never_ran,
    "show": _show,
    "slow": _slow,
}


def wrong_in_rerun(again: Run, run: Run | None, *, only_failed: bool) -> Wrong:
    """Find what is wrong with what was run again of a run; None: nothing was."""
    wanted = again_of(again, only_failed=only_failed)
    if again.collected is None and not only_failed:
        return  # then all that was not come to is run, too
    if run is None:
        if wanted and not again.only_collects:
            yield "rerun", "nothing to run again", wanted
        return
    if run.collected is None or run.there is None:
        return
    so, found = tests_in(wanted, run.there), {*run.collected}
    if again.arguments:  # which may leave out what it had not collected
        so &= {*(again.collected or ())} | found
    if found != so:
        yield "rerun", f"more: {found - so}", f"also: {so - found}"
    last = [nodeid in again.suspects for nodeid in run.collected]
    if not (only_failed or run.with_workers) and last != sorted(last):
        yield "order of a rerun", run.collected, f"at the end: {again.suspects}"
