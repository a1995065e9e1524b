"""`threepio show`: everything that is known of one test in one run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, cast

import typer

from threepio_client import answers
from threepio_client.cli.options import AsJson, Budget, NodeId, RunReference, check_budget
from threepio_client.cli.output import say, say_json
from threepio_client.cli.source import open_source
from threepio_client.cli.testname import find_test
from threepio_client.cli.without_outcome import without_outcome, words_of
from threepio_client.events import BAD, Phase, Status
from threepio_client.line import clip
from threepio_client.printable import BYTES_PER_TOKEN, inert, number_of, one_line, size_of
from threepio_client.results import Details, Result, not_collected, outcomes, results
from threepio_client.testhistory import Entry, history_of
from threepio_client.views import VIEW_VERSION

EXAMPLE = "Example: threepio show tests/test_shop.py::test_order latest"
HISTORY_SHOWN = 10
SUBTESTS_SHOWN = 10
"""So many subtests that passed without a word are told one by one."""
INDENT = "    "
"""Before every line of a text of several lines: without `--budget` these are whole."""


@dataclass(frozen=True, slots=True)
class _Block:
    """A part of the answer: a line that says what it is, and a text of which `--budget` leaves out the middle."""

    heading: str
    text: list[str]


def show(nodeid: NodeId, run: RunReference = "latest", as_json: AsJson = False, budget: Budget = None) -> None:
    """Show a test's traceback, captured output, attempts and history. Exit code 0 if it is fine, else 1.

    NODEID may be a part of a node id, if only one test of the run has it, or a file that could not be collected. Of a
    test without an outcome it says whether it is in flight, what it died in, or that it never ran, with exit code 0.
    Exit code 4 if there is no such test.
    """
    check_budget(budget, as_json)
    with open_source() as source:
        run_id = source.find(run)
        view: dict[str, Any] = {}
        known = None
        found = list(results(source.archive, run_id, nodeid, details=Details.ALL))
        if not found:
            view = source.archive.view(run_id)
            nodeid = find_test(source.archive, nodeid, [view])
            found = list(results(source.archive, run_id, nodeid, details=Details.ALL))
        if not found:
            found = [result for result in not_collected(source.archive, run_id) if result.nodeid == nodeid]
        outcome = outcomes(found).get(nodeid)
        if outcome is None:
            view = view or source.archive.view(run_id)
            known = without_outcome(source.archive, view, nodeid)
        rootdir = source.archive.beginning(run_id).start.get("rootdir")
        earlier = history_of(source.archive, nodeid, HISTORY_SHOWN, rootdir, without=run_id)
    if as_json:
        answer: answers.Shown = {
            "schema_version": VIEW_VERSION,
            "run_id": run_id,
            "nodeid": nodeid,
            "status": outcome.status if outcome is not None else None,
            "without_outcome": known,
            "attempts": outcome.attempts if outcome is not None else 0,
            "results": [_row(result) for result in found],
            "history": [{"run_id": entry.run_id, "status": entry.outcome.status} for entry in earlier],
        }
        say_json(answer)
    else:
        words = f"{words_of(known, view)}," if known is not None else ""
        what = outcome.status if outcome is not None else words
        first, last = one_line(f"{nodeid}: {what} in run {run_id}"), _history_line(earlier)
        if budget is None:
            blocks = _all_but_silent(found)
        else:
            blocks = _fitting(found, budget * BYTES_PER_TOKEN - size_of(first) - size_of(last))
        say(first)
        for block in blocks:
            say(block.heading)
            for line in block.text:
                say(line, whole=True)
        say(last)
    if outcome is not None and outcome.status in BAD:
        raise typer.Exit(1)


def _row(result: Result) -> answers.ShownResult:
    return {
        "status": result.status,
        "phase": result.phase,
        "attempt": result.attempt,
        "duration_s": round(result.duration_ms / 1000, 6),
        "worker": result.worker,
        "subtest": cast("answers.Subtest | None", result.subtest),
        "error": cast("answers.Error", result.error),
        "output": [[title, text] for title, text in result.output],
        "reason": result.reason or None,
    }


def _blocks(result: Result) -> list[_Block]:
    row = _row(result)
    after = "" if result.phase == Phase.COLLECT else f" after {row['duration_s']:.3f} s"
    parts = [f"{result.status} in {result.phase}{after}"]
    if row["attempt"] > 1:
        parts.append(f"attempt {row['attempt']}")
    if row["worker"]:
        parts.append(f"on {row['worker']}")
    if result.subtest:
        parts.append(f"subtest {result.subtest_text}".rstrip())
    if row["reason"]:
        parts.append(row["reason"])
    stack = str(row["error"].get("stack", ""))
    blocks = [_Block(one_line(f"  {', '.join(parts)}"), _indented(stack))]
    return blocks + [_Block(one_line(f"    -- {title}"), _indented(str(text))) for title, text in row["output"]]


def _indented(text: str) -> list[str]:
    return [f"{INDENT}{line}" for line in text.splitlines()]


def _all_but_silent(found: list[Result]) -> list[_Block]:
    """Return what there is of each result; many subtests of which nothing but their passing is known are counted."""
    silent = [result for result in found if result.subtest and result.status == Status.PASS and not result.output]
    if len(silent) <= SUBTESTS_SHOWN:
        return [block for result in found for block in _blocks(result)]
    left_out = set(map(id, silent))
    blocks = [block for result in found if id(result) not in left_out for block in _blocks(result)]
    return [*blocks, _Block(f"  [... and {len(silent)} subtests that passed, see each with --json ...]", [])]


def _fitting(found: list[Result], room: int) -> list[_Block]:
    """Return so much of the results that it takes `room` bytes: what is short stays whole, what is bad is told first."""
    chosen, blocks = _chosen(found, room // 2)
    left = room - sum(size_of(block.heading) for block in blocks)
    sizes = [sum(map(size_of, block.text)) for block in blocks]
    texts: dict[int, list[str]] = {}
    for done, at in enumerate(sorted(range(len(blocks)), key=sizes.__getitem__)):
        share = max(left, 0) // (len(blocks) - done)
        texts[at] = blocks[at].text if sizes[at] <= max(share, size_of(_left_out(1))) else _ends(blocks[at].text, share)
        left -= sum(map(size_of, texts[at]))
    shown = [_Block(block.heading, texts[at]) for at, block in enumerate(blocks)]
    if len(chosen) < len(found):
        others = Counter(result.status for result in found if id(result) not in chosen)
        told = ", ".join(f"{count} {status}" for status, count in sorted(others.items()))
        shown.append(_Block(f"  [... and {told}, see each with --json ...]", []))
    return shown


def _chosen(found: list[Result], room: int) -> tuple[set[int], list[_Block]]:
    """Return the ids of the results whose headings take at most `room` bytes, bad ones before others, and their blocks."""
    blocks = {id(result): _blocks(result) for result in found}
    chosen: set[int] = set()
    for result in sorted(found, key=lambda result: result.status not in BAD):
        room -= sum(size_of(block.heading) for block in blocks[id(result)])
        if room < 0 and chosen:
            break
        chosen.add(id(result))
    return chosen, [block for result in found if id(result) in chosen for block in blocks[id(result)]]


def _ends(lines: list[str], room: int) -> list[str]:
    """Return the beginning of a text and three times as much of its end, with a line between that counts the others."""
    room -= size_of(_left_out(len(lines)))
    lines = [_clipped(line, room // 4) for line in lines]
    head, tail = _as_many(lines, room // 4), _as_many(lines[::-1], room - room // 4)
    return [*lines[:head], _left_out(len(lines) - head - tail), *lines[len(lines) - tail :]]


def _clipped(line: str, room: int) -> str:
    """Return a line as it is printed, cut in the middle where that takes more than `room` bytes."""
    whole = shown = inert(line)
    limit = room
    while size_of(shown) > room and limit > 0:
        shown = clip(whole, limit)
        limit -= max((size_of(shown) - room) // 4, 1)  # a character is four bytes at most
    return shown


def _as_many(lines: list[str], room: int) -> int:
    """Return how many of the lines, from the first one on, take at most `room` bytes."""
    return sum(size <= room for size in accumulate(map(size_of, lines)))


def _left_out(count: int) -> str:
    return f"{INDENT}[... {number_of(count, 'line')} left out, see all without --budget ...]"


def _history_line(earlier: list[Entry]) -> str:
    if not earlier:
        return "  no other run has an outcome of it"
    bad = sum(entry.outcome.status in BAD for entry in earlier)
    last = ", ".join(f"{entry.outcome.status} in {entry.run_id}" for entry in earlier[:3])
    return f"  in other runs: bad in {bad} of {len(earlier)}; {last}"
