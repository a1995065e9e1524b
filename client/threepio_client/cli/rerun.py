"""`threepio rerun`: run again what failed and what never ran."""

from __future__ import annotations

import re
import shlex
from typing import Annotated

import typer

from threepio_client.cli.options import RunReference
from threepio_client.cli.output import say
from threepio_client.cli.run import run_and_report
from threepio_client.cli.same_command import say_bad_others
from threepio_client.cli.source import open_source
from threepio_client.comparing import BY_WHAT_WAS, ONLY_FAILED
from threepio_client.errors import NoSuchRun, ThreepioError
from threepio_client.events import Status
from threepio_client.here import Here, current
from threepio_client.printable import number_of, one_line
from threepio_client.results import collected, not_collected, outcomes, results
from threepio_client.selection import Selection
from threepio_client.views import is_good

EXAMPLE = "Example: threepio rerun latest -- -x"
SHOWN = 10
OPTION = "--threepio-rerun"
_NOT_KEPT = {ONLY_FAILED, *BY_WHAT_WAS, "--sw-skip", "--stepwise-skip", "--pdb", "--trace"}
"""Options with which the same arguments mean other tests the next time, and those that wait for somebody who types."""
_WITH_VALUE = (f"{OPTION}=", "--picked=")
_OF_AN_EDITOR = "vscode_pytest"
"""A plugin that only the editor can import."""


def rerun(
    run: RunReference = "latest",
    more: Annotated[
        list[str] | None, typer.Argument(metavar="[-- OPTIONS...]", help="Further options of pytest.")
    ] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Only what failed; also of a run that still goes on.")
    ] = False,
) -> None:
    """Run again what failed in a run and what never ran there; what presumably killed it comes last.

    Uses the command, the arguments and the directory of that run, and says at the end what `threepio run` says. With
    nothing to run again the exit code is 0 if that run passed, and the others of its command, else 1; it is 1, too, where a
    test is not there any more, or one that failed is skipped. A run of another directory is to be named.
    """
    if run.startswith("-"):  # `threepio rerun -- -x`: no run, and an option of pytest
        run, more = "latest", [run, *(more or [])]
    with open_source() as source:
        run_id = source.find(run)
        found = source.archive.selection(run_id)
        if run == "latest" and not Here(current()).has(found.start):
            raise NoSuchRun(f"no run of this directory is known; to run again that one: threepio rerun {run_id}")
        view = source.archive.view(run_id)
        is_other_bad = say_bad_others(source, view)
    if failed:
        found = found.only_failed()
    elif found.is_alive:
        raise ThreepioError(
            f"run {run_id} is not over yet: wait for it, or stop it; what failed so far: threepio rerun {run_id} --failed"
        )
    if not found:
        rest = " so far" if found.is_alive else "" if failed else f", and {found.rest}"
        say(f"nothing to run again: nothing failed in run {run_id}{rest}")
        if not is_good(view) and not found.is_alive:
            say(one_line(f"but it did not pass: {view['state']} - {view['verdict']['text']}"))
            raise typer.Exit(1)
        if is_other_bad:
            raise typer.Exit(1)
        return
    again, cwd = _command_again(found, run_id, [*([ONLY_FAILED] if failed else []), *(more or [])])
    say(one_line(f"in {cwd}: {shlex.join(again)}"))
    run_ids, code = run_and_report(again, cwd)
    if more:
        raise typer.Exit(code)  # further options may leave tests out
    gone, skipped = _gone(found, run_ids), _skipped(found, run_ids)
    for line in (*_lines(gone, "not there any more, or left out by a plugin"), *_lines(skipped, "skipped this time")):
        say(one_line(line))
    raise typer.Exit(code or (1 if gone or skipped else 0))


def _command_again(found: Selection, run_id: str, more: list[str]) -> tuple[list[str], str]:
    """Return the command that runs again what is selected of a run, with further options, and its working directory.

    Raises:
        ThreepioError: it is not known how the run was started.
    """
    if found.start.get("cut"):
        raise ThreepioError(
            f"the command of run {run_id} was too long to be kept whole. Start it yourself: ... {OPTION}={run_id}"
        )
    command, argv, cwd = (found.start.get(name) for name in ("command", "argv", "cwd"))
    if not isinstance(command, list) or not isinstance(argv, list) or not isinstance(cwd, str):
        raise ThreepioError(
            f"how the run {run_id} was started is not in its journal. Start it yourself: pytest {OPTION}={run_id}"
        )
    if found.start.get("masked"):
        raise ThreepioError(
            f"the command of run {run_id} held a masked secret, so it is not known. Start it yourself: ... {OPTION}={run_id}"
        )
    as_given = _as_given if found.start.get("notText") else str
    kept = _without_editor(
        [one for one in map(as_given, argv) if one not in _NOT_KEPT and not one.startswith(_WITH_VALUE)]
    )
    return [*map(as_given, command), *kept, f"{OPTION}={run_id}", *more], as_given(cwd)


def _gone(found: Selection, run_ids: list[str]) -> list[str]:
    """Return the tests that were to be run again and were collected in none of these runs."""
    if not run_ids or not found.is_whole:
        return []
    wanted = [nodeid for nodeid in (*found.failed, *found.never_ran, *found.suspects) if "::" in nodeid]
    with open_source() as source:
        if any(source.archive.run(run_id).state.collected is None for run_id in run_ids):
            return []  # which ones are there is not known
        there = {nodeid for run_id in run_ids for nodeid in collected(source.archive, run_id)}
        bad = {result.nodeid for run_id in run_ids for result in not_collected(source.archive, run_id)}
    return [one for one in wanted if one not in there and one.partition("::")[0] not in bad]


def _skipped(found: Selection, run_ids: list[str]) -> list[str]:
    """Return the tests that failed and were only skipped in these runs: what they depend on may not have been run."""
    failed = [*found.failed, *(nodeid for nodeid in found.suspects if nodeid in found.suspects_failed)]
    said: dict[str, set[str]] = {}
    with open_source() as source:
        for run_id in run_ids if failed else ():
            for nodeid, outcome in outcomes(results(source.archive, run_id)).items():
                said.setdefault(nodeid, set()).add(outcome.status)
    return [nodeid for nodeid in failed if said.get(nodeid) == {Status.SKIP}]


def _lines(nodeids: list[str], what: str) -> list[str]:
    """Return what to say of tests that were not run again, if there are any."""
    if not nodeids:
        return []
    lines = [
        f"{number_of(len(nodeids), 'test')} of those to be run again {'is' if len(nodeids) == 1 else 'are'} {what}:"
    ]
    lines += [f"  {nodeid}" for nodeid in nodeids[:SHOWN]]
    return lines + ([f"  and {len(nodeids) - SHOWN} more"] if len(nodeids) > SHOWN else [])


def _without_editor(arguments: list[str]) -> list[str]:
    """Return the arguments without `-p vscode_pytest`."""
    if _OF_AN_EDITOR not in arguments:
        return arguments
    at = arguments.index(_OF_AN_EDITOR)
    return arguments[: max(at - 1, 0)] + arguments[at + 1 :]


def _as_given(text: object) -> str:
    """Return a part of a command as it was: bytes that are no text stand in a journal as `plain_text` shows them."""
    return re.sub(r"\\udc([89a-f][0-9a-f])", lambda found: chr(0xDC00 + int(found[1], 16)), str(text))
