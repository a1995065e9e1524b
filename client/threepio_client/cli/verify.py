"""`threepio verify`: journal against store and against the runner's own totals."""

from __future__ import annotations

from typing import Annotated, Any, cast

import typer

from threepio_client import answers
from threepio_client.cli.options import AsJson, RunReference
from threepio_client.cli.output import say, say_json
from threepio_client.cli.source import open_source
from threepio_client.printable import one_line
from threepio_client.runfiles import NO_RUNS
from threepio_client.verification import settle_and_verify
from threepio_client.views import VIEW_VERSION

EXAMPLE = "Example: threepio verify latest"
PROBLEMS_SHOWN = 10


def verify(
    run: RunReference = "latest",
    every: Annotated[bool, typer.Option("--all", help="Verify every run.")] = False,
    as_json: AsJson = False,
) -> None:
    """Prove that the store has what the journal has, and the journal what the runner counted. Exit code 0 only if whole."""
    with open_source() as source:
        run_ids = source.archive.run_ids() if every else [source.find(run)]
        results = [settle_and_verify(source.archive, run_id, wait=source.has_daemon) for run_id in run_ids]
    if as_json:
        whole: answers.Verifications = {
            "schema_version": VIEW_VERSION,
            "runs": cast(list[answers.Verification], results),
        }
        say_json(whole if every else results[0])
    else:
        if not results:
            say(NO_RUNS, to_stderr=True)
        for result in results:
            for line in _lines(result):
                say(one_line(line))
    if not all(result["whole"] for result in results):
        raise typer.Exit(1)


def _lines(result: dict[str, Any]) -> list[str]:
    numbers = ", ".join(
        f"{result[name]} {label}"
        for name, label in (
            ("journal_events", "events in the journal"),
            ("stored_events", "stored"),
            ("missing", "missing"),
            ("duplicates", "duplicates"),
            ("corrupt", "corrupt"),
        )
    )
    pending = f", {result['pending']} not stored yet" if result["pending"] else ""
    lines = [f"run {result['run_id']}: {'whole' if result['whole'] else 'NOT whole'} - {numbers}{pending}"]
    lines += [f"  {problem}" for problem in result["problems"][:PROBLEMS_SHOWN]]
    if len(result["problems"]) > PROBLEMS_SHOWN:
        lines.append(f"  and {len(result['problems']) - PROBLEMS_SHOWN} more")
    return lines
