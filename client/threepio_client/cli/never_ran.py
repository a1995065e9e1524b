"""`threepio never-ran`: which tests were collected and have no outcome."""

from __future__ import annotations

import typer

from threepio_client import answers
from threepio_client.cli.options import AsJson, RunReference, ShowAll
from threepio_client.cli.output import say, say_json
from threepio_client.cli.same_command import say_bad_others
from threepio_client.cli.source import open_source
from threepio_client.printable import number_of, one_line
from threepio_client.views import VIEW_VERSION

EXAMPLE = "Example: threepio never-ran latest --all"
SHOWN = 20


def never_ran(
    run: RunReference = "latest",
    as_json: AsJson = False,
    show_all: ShowAll = False,
) -> None:
    """List the tests that a run collected and did not finish. Exit code 0 if there are none, else 1.

    What was running when the process or a worker died, or when the run was stopped, is listed first. They are run again,
    together with what failed, by: threepio rerun.
    """
    with open_source() as source:
        run_id = source.find(run)
        found = source.archive.selection(run_id)
        if found.start.get("commandId"):
            say_bad_others(source, source.archive.view(run_id))
    suspects = [nodeid for nodeid in found.suspects if nodeid not in found.suspects_over]
    nodeids = [*suspects, *found.never_ran]
    if as_json:
        answer: answers.NeverRan = {
            "schema_version": VIEW_VERSION,
            "run_id": run_id,
            "collection_finished": found.is_whole,
            "suspects": found.suspects,
            "never_ran": found.never_ran,
        }
        say_json(answer)
    else:
        verb = "without an outcome yet" if found.is_alive else "never ran"
        if nodeids:
            none = f"{number_of(len(nodeids), 'test')} {verb}"
        elif found.start.get("collectOnly"):
            none = "it only collected, nothing was to run"
        elif not found.has_tests:
            none = "it collected no test" if found.is_whole else "no test has run"
        else:
            none = "every collected test has run"
        say(f"run {run_id}: {none}")
        if not found.is_whole:
            say("  its collection was not over: how many more there are is not known")
        for number, nodeid in enumerate(nodeids if show_all else nodeids[:SHOWN]):
            say(one_line(f"  {nodeid}" + (" (was running when it ended)" if number < len(suspects) else "")))
        if len(nodeids) > SHOWN and not show_all:
            say(f"  and {len(nodeids) - SHOWN} more: threepio never-ran {run_id} --all")
    if nodeids or not found.is_whole:
        raise typer.Exit(1)
