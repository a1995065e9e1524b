"""`threepio rerun`: run again what failed and what never ran."""

from __future__ import annotations

from typing import Annotated

import typer

from threepio_client.cli.options import RunReference
from threepio_client.cli.output import one_line, say
from threepio_client.cli.run_command import run_and_report
from threepio_client.cli.source import open_source
from threepio_client.errors import ThreepioError

EXAMPLE = "Example: threepio rerun latest -- -x"
OPTION = "--threepio-rerun"


def rerun(
    run: RunReference = "latest",
    more: Annotated[
        list[str] | None, typer.Argument(metavar="[-- OPTIONS...]", help="Further options of pytest.")
    ] = None,
) -> None:
    """Run again what failed in a run and what never ran there; what presumably killed it comes last.

    Uses the command, the arguments and the directory of that run, and says at the end what `threepio run` says. With
    nothing to run again the exit code is 0.
    """
    with open_source() as source:
        run_id = source.find(run)
        found = source.archive.selection(run_id)
    if found.is_alive:
        raise ThreepioError(f"the run {run_id} is not over yet: wait for it, or stop it")
    if not found:
        say(f"nothing to run again: nothing failed in run {run_id}, and everything ran")
        return
    command, argv, cwd = (found.start.get(name) for name in ("command", "argv", "cwd"))
    if not isinstance(command, list) or not isinstance(argv, list) or not isinstance(cwd, str):
        raise ThreepioError(
            f"how the run {run_id} was started is not in its journal. Start it yourself: pytest {OPTION}={run_id}"
        )
    kept = [argument for argument in map(str, argv) if not argument.startswith(f"{OPTION}=")]
    again = [*map(str, command), *kept, f"{OPTION}={run_id}", *(more or [])]
    say(one_line(f"in {cwd}: {' '.join(again)}"))
    run_and_report(again, cwd)
