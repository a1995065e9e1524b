"""`threepio show`: everything that is known of one test in one run."""

from __future__ import annotations

from typing import Any, cast

import typer

from threepio_client import answers
from threepio_client.cli.finding import find_test
from threepio_client.cli.options import AsJson, NodeId, RunReference
from threepio_client.cli.output import say, say_json
from threepio_client.cli.source import open_source
from threepio_client.cli.without_outcome import without_outcome, words_of
from threepio_client.events import BAD, Phase
from threepio_client.printable import one_line
from threepio_client.results import (
    Details,
    Entry,
    Result,
    history_of,
    not_collected,
    outcomes,
    results,
)
from threepio_client.views import VIEW_VERSION

EXAMPLE = "Example: threepio show tests/test_shop.py::test_order latest"
HISTORY_SHOWN = 10
INDENT = "    "
"""Before every line of a text of several lines: these are whole."""


def show(nodeid: NodeId, run: RunReference = "latest", as_json: AsJson = False) -> None:
    """Show a test's traceback, captured output, attempts and history. Exit code 0 if it is fine, else 1.

    NODEID may be a part of a node id, if only one test of the run has it, or a file that could not be collected. Of a
    test without an outcome it says whether it is in flight, what it died in, or that it never ran, with exit code 0.
    Exit code 4 if there is no such test.
    """
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
        if not found:
            known = without_outcome(source.archive, view, nodeid)
        outcome = outcomes(found).get(nodeid)
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
        say(one_line(f"{nodeid}: {what} in run {run_id}"))
        for result in found:
            for line in _lines(result):
                say(line, whole=line.startswith(INDENT))
        say(_history_line(earlier))
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


def _lines(result: Result) -> list[str]:
    row = _row(result)
    after = "" if result.phase == Phase.COLLECT else f" after {row['duration_s']:.3f} s"
    parts = [f"{result.status} in {result.phase}{after}"]
    if row["attempt"] > 1:
        parts.append(f"attempt {row['attempt']}")
    if row["worker"]:
        parts.append(f"on {row['worker']}")
    if row["subtest"]:
        given = ", ".join(f"{name}={value}" for name, value in row["subtest"].get("parameters", {}).items())
        parts.append(f"subtest {row['subtest'].get('message', '')} {given}".rstrip())
    if row["reason"]:
        parts.append(row["reason"])
    lines = [one_line(f"  {', '.join(parts)}")]
    stack = str(row["error"].get("stack", ""))
    lines += [f"{INDENT}{line}" for line in stack.splitlines()]
    for title, text in row["output"]:
        lines.append(one_line(f"    -- {title}"))
        lines += [f"{INDENT}{line}" for line in str(text).splitlines()]
    return lines


def _history_line(earlier: list[Entry]) -> str:
    if not earlier:
        return "  no other run has an outcome of it"
    bad = sum(entry.outcome.status in BAD for entry in earlier)
    last = ", ".join(f"{entry.outcome.status} in {entry.run_id}" for entry in earlier[:3])
    return f"  in other runs: bad in {bad} of {len(earlier)}; {last}"
