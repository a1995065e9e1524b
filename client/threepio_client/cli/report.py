"""`threepio report`: a run as a file that other programs, people and agents read."""

from __future__ import annotations

import os
import webbrowser
from pathlib import Path
from typing import Annotated, Final

import typer

from threepio_client.cli.options import RunReference
from threepio_client.cli.output import say
from threepio_client.cli.source import open_source
from threepio_client.here import current
from threepio_client.report import github
from threepio_client.report.formats import FORMATS, Format, Write
from threepio_client.report.model import Report, read
from threepio_client.report.writing import NotWritten, append_to_file, to_file, to_stdout

EXAMPLE = "Example: threepio report latest --format junit --output junit.xml"
STDOUT: Final = "-"
SUMMARY: Final = "GITHUB_STEP_SUMMARY"
"""Environment of a step of GitHub Actions: the file of its summary."""


def _format(text: str) -> Format:
    if text not in FORMATS:
        raise typer.BadParameter(f"{text!r} is none of {', '.join(FORMATS)}")
    return FORMATS[text]


def _formats(incomplete: str) -> list[tuple[str, str]]:
    return [(name, found.meaning) for name, found in FORMATS.items() if name.startswith(incomplete)]


def report(
    run: RunReference = "latest",
    output_format: Annotated[
        Format,
        typer.Option(
            "--format",
            metavar="|".join(FORMATS),
            parser=_format,
            autocompletion=_formats,
            help="; ".join(f"{name}: {found.meaning}" for name, found in FORMATS.items()) + ".",
        ),
    ] = ...,  # type: ignore[assignment]  # typer's word for: it must be given
    output: Annotated[
        str,
        typer.Option(metavar="FILE", help="Where to write it; '-' is stdout, which is the default of formats of text."),
    ] = "",
    open_it: Annotated[bool, typer.Option("--open", help="Show the file in a browser.")] = False,
) -> None:
    """Write a report of a run: of one that is over, one that runs and one that crashed.

    Exit code 0 when it is written, whatever became of the run; 1, and no file, where it cannot be.

    With --format github the annotations go to stdout, the summary to $GITHUB_STEP_SUMMARY or to --output.
    """
    with open_source() as source:
        archive, run_id = source.archive, source.archive.find(run, current())  # a report says itself where its run was
        if run == "latest":
            source.say_what_came_later(archive.beginning(run_id).started)
        try:
            # By store and journals themselves: of a run that goes on, the daemon may know another moment than they do.
            found = read(archive, run_id, history=output_format.history)
        except OSError as error:
            raise NotWritten(f"the journal of run {run_id} cannot be read: {error.strerror or error}") from error
    is_named = bool(output)
    if not output:
        own_name = f"threepio-{run_id}.{output_format.ending}"
        output = own_name if output_format.needs_file or open_it else STDOUT
    if open_it and output == STDOUT:
        raise typer.BadParameter("a browser cannot be shown what goes to stdout", param_hint="--open")
    if output_format.module == "github":
        _write_for_github(found, output if is_named or open_it else "")
    else:
        _write(output, output_format.writer(), found)
    if not is_named and output != STDOUT:
        say(f"threepio: the report of run {run_id} is in {output}", to_stderr=True)
    if open_it and not webbrowser.open(Path(output).resolve().as_uri()):
        say(f"threepio: no browser could be started to show {output}", to_stderr=True)


def _write(output: str, write: Write, found: Report) -> None:
    if output == STDOUT:
        to_stdout(lambda out: write(found, out))
    else:
        to_file(Path(output), lambda out: write(found, out))


def _write_for_github(found: Report, output: str) -> None:
    """Write the summary to where it is wanted, else to where GitHub wants it, and the annotations to stdout."""
    summary = os.environ.get(SUMMARY, "")
    if output:
        _write(output, github.write, found)
    elif summary:
        append_to_file(Path(summary), lambda out, before: github.write(found, out, github.SUMMARY_LIMIT - before))
    else:
        say(f"threepio: {SUMMARY} is not set, so the summary is left out: --output says where to", to_stderr=True)
    to_stdout(lambda out: out.writelines(f"{line}\n" for line in github.commands(found)))
