"""`threepio slow`: where the time of a run went."""

from __future__ import annotations

from typing import Annotated

import typer

from threepio_client import answers
from threepio_client.cli.options import AsJson, RunReference
from threepio_client.cli.output import say, say_json
from threepio_client.cli.source import open_source
from threepio_client.printable import one_line
from threepio_client.testtimes import times_of
from threepio_client.views import VIEW_VERSION

EXAMPLE = "Example: threepio slow latest -n 10"
SHOWN = 20


def slow(
    run: RunReference = "latest",
    number: Annotated[int, typer.Option("-n", min=1, help="How many tests and files to list.")] = SHOWN,
    as_json: AsJson = False,
) -> None:
    """List the slowest tests and files of a run. Durations are of setup and call; with workers of the call alone."""
    with open_source() as source:
        run_id = source.find(run)
        tests, files = times_of(source.archive, run_id, number)
    slowest = sorted(files.items(), key=lambda item: (-item[1][0], item[0]))[:number]
    if as_json:
        listed: list[answers.SlowTest] = [
            {"nodeid": test.nodeid, "status": test.status, "duration_s": round(test.duration_ms / 1000, 6)}
            for test in tests
        ]
        by_file: list[answers.SlowFile] = [
            {"file": name, "tests": count, "duration_s": round(spent / 1000, 6)} for name, (spent, count) in slowest
        ]
        answer: answers.Slow = {
            "schema_version": VIEW_VERSION,
            "run_id": run_id,
            "tests": listed,
            "files": by_file,
        }
        say_json(answer)
        return
    total, count = (sum(numbers) for numbers in zip(*files.values(), strict=True)) if files else (0.0, 0)
    say(f"run {run_id}: {count} tests took {total / 1000:.1f} s in {len(files)} files")
    for test in tests:
        say(one_line(f"  {test.duration_ms / 1000:9.3f} s  {test.nodeid}"))
    if len(files) > 1:
        say("by file:")
        for name, (spent, count) in slowest:
            say(one_line(f"  {spent / 1000:9.3f} s  {name} ({count} tests)"))
