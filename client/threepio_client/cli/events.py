"""`threepio events`: the events of a run as its journal has them, one line each."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Annotated, Final

import typer

from threepio_client.cli.options import RunReference
from threepio_client.cli.output import flush, say
from threepio_client.cli.source import open_source
from threepio_client.printable import json_text
from threepio_client.runjournal import RunJournal
from threepio_client.runstate import LIVE_STATES

EXAMPLE = "Example: threepio events latest --follow --type testCase"
POLL_S: Final = 0.1


def events(
    run: RunReference = "latest",
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the run is over.")] = False,
    event_type: Annotated[str, typer.Option("--type", metavar="TYPE", help="Only events of this type.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="They are JSON anyway.")] = False,
) -> None:
    """Print a run's events: the journal's own JSON lines, in their order (docs/protocol.md)."""
    seq = 0
    with open_source() as source:
        run_id = source.find(run)
        with closing(RunJournal(source.state_dir, run_id)) as journal:
            while True:
                is_live = follow and source.status(run_id)["state"] in LIVE_STATES
                journal.look()
                for step in journal.steps(seq, final=not is_live):
                    journal.offsets[step.file] = step.end
                    if step.event is None:
                        continue
                    seq = step.event.seq
                    if event_type in ("", step.event.type):
                        say(json_text(step.raw.decode("ascii", "backslashreplace")), whole=True)
                if not is_live:
                    return
                flush()
                time.sleep(POLL_S)
