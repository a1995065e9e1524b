"""`threepio report`: a run as a file that other programs, people and agents read."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Final, TextIO

import typer

from threepio_client.archive import Archive
from threepio_client.cli.options import RunReference
from threepio_client.cli.output import say
from threepio_client.cli.source import open_source
from threepio_client.errors import ThreepioError
from threepio_client.report.formats import FORMATS, Format
from threepio_client.report.model import Report, load

EXAMPLE = "Example: threepio report latest --format junit --output junit.xml"
STDOUT: Final = "-"
SUMMARY: Final = "GITHUB_STEP_SUMMARY"
"""Environment of a step of GitHub Actions: the file of its summary."""


class NotWritten(ThreepioError):
    """The report cannot be written where it is wanted."""


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

    Exit code 0 when it is written, whatever became of the run: ask threepio status for that. Exit code 1, and no file,
    where it cannot be written. With --format github the annotations go to stdout, and the summary to $GITHUB_STEP_SUMMARY
    unless --output says where.
    """
    with open_source() as source:
        archive, run_id = source.archive, source.find(run)
        try:
            found = _load(archive, run_id)
        except OSError as error:
            raise NotWritten(f"the journal of run {run_id} cannot be read: {error.strerror or error}") from error
    write = output_format.writer()
    if open_it and output in ("", STDOUT):
        output = f"threepio-{run_id}.{output_format.ending}"
    if output_format is FORMATS.get("github"):
        _report_to_github(found, output)
    elif output in ("", STDOUT) and not (output_format.needs_file and not output):
        _to_stdout(lambda out: write(found, out))
    else:
        path = Path(output or f"threepio-{run_id}.{output_format.ending}")
        _to_file(path, lambda out: write(found, out))
        if not output:
            say(f"threepio: the report of run {run_id} is in {path}", to_stderr=True)
    if open_it:
        webbrowser.open(Path(output).resolve().as_uri())


def _load(archive: Archive, run_id: str) -> Report:
    """Return the report by store and journals themselves: of a run that goes on the daemon may know another moment."""
    return load(archive, archive.view(run_id))


def _report_to_github(found: Report, output: str) -> None:
    from threepio_client.report import github

    summary = os.environ.get(SUMMARY, "")
    if output == STDOUT:
        _to_stdout(lambda out: github.write(found, out))
    elif output:
        _to_file(Path(output), lambda out: github.write(found, out))
    elif summary:
        _append(Path(summary), found)
    else:
        say(f"threepio: {SUMMARY} is not set, so the summary is left out: --output says where to", to_stderr=True)
    _to_stdout(lambda out: out.writelines(f"{line}\n" for line in github.commands(found)))


def _append(path: Path, found: Report) -> None:
    """Append to the summary of the step, of which others may have written a part."""
    from threepio_client.report import github

    try:
        with path.open("a", encoding="utf-8", newline="\n") as file:
            before = file.seek(0, os.SEEK_END)
            if before:
                file.write("\n")
            github.write(found, file, github.SUMMARY_LIMIT - before)
    except OSError as error:
        raise NotWritten(_why(path, error)) from error


def _to_stdout(write: Callable[[TextIO], object]) -> None:
    """Write to stdout in UTF-8, whatever the terminal's encoding is: the formats say that they are."""
    sys.stdout.flush()
    out = TextIOWrapper(sys.stdout.buffer, encoding="utf-8", errors="backslashreplace", newline="\n")
    try:
        write(out)
        out.flush()
    finally:
        with suppress(OSError):  # what cannot be flushed was told by the flush before
            out.detach()


def _to_file(path: Path, write: Callable[[TextIO], object]) -> None:
    """Write a file that is there whole or not at all; what was there before stays until then."""
    if path.is_dir():
        raise NotWritten(f"{path} is a directory: --output takes the name of a file")
    if path.exists() and not path.is_file():  # /dev/stderr, a pipe
        try:
            with path.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
                write(file)
        except OSError as error:
            raise NotWritten(_why(path, error)) from error
        return
    path = path.resolve()  # of a link, the file that it means
    try:
        number, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
    except OSError as error:
        raise NotWritten(_why(path, error)) from error
    try:
        with open(number, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            write(file)
            file.flush()
            os.fchmod(number, path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(name)
        if isinstance(error, OSError):
            raise NotWritten(_why(path, error)) from error
        raise


def _umask() -> int:
    found = os.umask(0o077)
    os.umask(found)
    return found


def _why(path: Path, error: OSError) -> str:
    advice = {
        errno.ENOENT: f"there is no directory {path.parent}",
        errno.ENOTDIR: f"{path.parent} is no directory",
        errno.ENOSPC: "the disk is full",
        errno.ENAMETOOLONG: "its name is too long",
    }
    return f"the report cannot be written to {path}: {advice.get(error.errno or 0, error.strerror or str(error))}"
