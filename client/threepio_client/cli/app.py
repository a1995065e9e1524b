"""The commands of `threepio`, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from threepio_client import __version__
from threepio_client.cli import (
    diff,
    events,
    failures,
    flaky,
    history,
    never_ran,
    prune,
    rerun,
    run_command,
    runs,
    show,
    slow,
    stacks,
    status,
    verify,
    wait,
)
from threepio_client.cli.output import Commands, guarded, say

_guarded = guarded("threepio")
app = typer.Typer(
    name="threepio",
    cls=Commands,
    help="What happened to your test runs: what runs, what failed and why, what never ran.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("run", epilog=run_command.EXAMPLE, context_settings={"ignore_unknown_options": True})(
    _guarded(run_command.run)
)
app.command("status", epilog=status.EXAMPLE)(_guarded(status.status))
app.command("runs", epilog=runs.EXAMPLE)(_guarded(runs.runs))
app.command("failures", epilog=failures.EXAMPLE)(_guarded(failures.failures))
app.command("show", epilog=show.EXAMPLE)(_guarded(show.show))
app.command("diff", epilog=diff.EXAMPLE)(_guarded(diff.diff))
app.command("slow", epilog=slow.EXAMPLE)(_guarded(slow.slow))
app.command("flaky", epilog=flaky.EXAMPLE)(_guarded(flaky.flaky))
app.command("history", epilog=history.EXAMPLE)(_guarded(history.history))
app.command("wait", epilog=wait.EXAMPLE)(_guarded(wait.wait))
app.command("events", epilog=events.EXAMPLE)(_guarded(events.events))
app.command("never-ran", epilog=never_ran.EXAMPLE)(_guarded(never_ran.never_ran))
app.command("rerun", epilog=rerun.EXAMPLE, context_settings={"ignore_unknown_options": True})(_guarded(rerun.rerun))
app.command("stacks", epilog=stacks.EXAMPLE)(_guarded(stacks.stacks))
app.command("prune", epilog=prune.EXAMPLE)(_guarded(prune.prune))
app.command("verify", epilog=verify.EXAMPLE)(_guarded(verify.verify))


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"threepio {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """What happened to your test runs: what runs, what failed and why, what never ran."""


def run() -> None:
    """Run the command."""
    app()
