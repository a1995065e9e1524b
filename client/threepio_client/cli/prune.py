"""`threepio prune`: remove runs that nobody needs any more."""

from __future__ import annotations

import time
from typing import Annotated, Any, Final

import typer

from threepio_client import answers
from threepio_client.cli.command_settings import load_settings
from threepio_client.cli.completion import run_references
from threepio_client.cli.options import AsJson, length_of_time
from threepio_client.cli.output import say, say_json
from threepio_client.cli.source import MOST, Source, open_source
from threepio_client.errors import NoDaemon, NoSuchRun, ThreepioError
from threepio_client.line import plain_text
from threepio_client.printable import number_of
from threepio_client.process import Liveness, ProcessIdentity
from threepio_client.query import QueryClient
from threepio_client.runstate import LIVE_STATES, State
from threepio_client.views import VIEW_VERSION
from threepio_client.wording import duration

EXAMPLE = "Example: threepio prune --older-than 30d --keep 10"
PATIENCE_S: Final = 600.0
"""A large run has hundreds of thousands of rows, which go in small steps, so that others are not delayed."""


def prune(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN...]",
            parser=plain_text,
            autocompletion=run_references,
            help="Whole ids of the runs; by default all.",
        ),
    ] = None,
    older_than: Annotated[
        float, typer.Option(metavar="TIME", parser=length_of_time, help="Only those that began longer ago: 12h, 30d.")
    ] = "0s",  # type: ignore[assignment]  # typer parses the default as it parses what is given
    keep: Annotated[int, typer.Option(min=0, help="Never the newest so many.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove runs that are over: journal, stored rows and output together. Needs the daemon, which owns the store.

    Without RUN, --older-than or --keep must say which. The daemon removes runs by itself after THREEPIO_KEEP_DAYS. One
    that is detached is removed where it is named and nothing came of it for an hour.
    """
    if not runs and not older_than and not keep:
        raise typer.BadParameter("say which runs: RUN..., --older-than or --keep")
    with open_source() as source:
        wanted = {_whole(source, reference) for reference in runs or ()}
        for run_id in wanted:
            if _lives(source.status(run_id)):
                raise ThreepioError(f"run {run_id} is not over: wait for it, or stop it")
        found = [
            row["run_id"]
            for row in source.runs(MOST)[keep:]
            if (row["run_id"] in wanted if wanted else row["state"] not in LIVE_STATES)
            and time.time() - row["started"] >= older_than
        ]
    began = time.monotonic()
    stays: list[ThreepioError] = []
    if found and not dry_run:
        found, stays = _remove(found)
    if as_json:
        answer: answers.Pruned = {"schema_version": VIEW_VERSION, "dry_run": dry_run, "runs": found}
        say_json(answer)
    elif not found and not stays:
        say("no run is to be removed")
    elif found:
        _say_removed(found, dry_run, time.monotonic() - began)
    for why in stays:
        say(f"threepio: {why}", to_stderr=True)
    if stays:
        raise typer.Exit(1)


def _remove(run_ids: list[str]) -> tuple[list[str], list[ThreepioError]]:
    """Have the daemon remove runs; return those that are removed, and why others are not.

    Raises:
        NoDaemon: there is none, or it does not answer.
    """
    removed: list[str] = []
    stays: list[ThreepioError] = []
    found = load_settings()
    with QueryClient.connect(found.socket, state_dir=found.state_dir) as client:
        client.wait_longer(PATIENCE_S)
        for run_id in run_ids:
            try:
                client.ask("remove", {"run": run_id, "exact": True})
            except NoDaemon:
                raise
            except ThreepioError as error:
                stays.append(error)
            else:
                removed.append(run_id)
    return removed, stays


def _say_removed(found: list[str], dry_run: bool, took_s: float) -> None:
    names = ", ".join(found[:10]) + (f" and {len(found) - 10} more" if len(found) > 10 else "")
    if dry_run:
        say(f"would remove {number_of(len(found), 'run')}: {names}")
    else:
        say(f"removed {number_of(len(found), 'run')} in {duration(took_s)}: {names}")


def _lives(view: dict[str, Any]) -> bool:
    """Return whether a run goes on, as far as that can be seen; of others the daemon decides."""
    identity = ProcessIdentity.from_payload(view["process"])
    is_alive = identity is not None and identity.liveness() is Liveness.ALIVE
    return view["state"] == State.RUNNING or (view["state"] == State.DETACHED and is_alive)


def _whole(source: Source, reference: str) -> str:
    """Return the id of a run if it is given whole, or as `latest`: what is removed by mistake is gone."""
    run_id = source.find(reference)
    if reference not in (run_id, "latest"):
        raise NoSuchRun(
            f"no run is named {reference!r}; {run_id} begins with it: what is to be removed has to be named whole"
        )
    return run_id
