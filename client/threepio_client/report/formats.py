"""The formats that `threepio report` writes: one line each."""

from __future__ import annotations

from importlib import import_module
from typing import Final, NamedTuple, Protocol, TextIO, cast

from threepio_client.report.model import Report


class Write(Protocol):
    """Writes a report in a format."""

    def __call__(self, report: Report, out: TextIO) -> None:
        """Write the report to a text file whose encoding is UTF-8."""


class Format(NamedTuple):
    """A format.

    Attributes:
        module: what has its `write`.
        ending: of the names of its files.
        meaning: one line.
        needs_file: it is no text for a terminal: without --output it is written to a file of its own.
        history: earlier runs that it shows.
    """

    module: str
    ending: str
    meaning: str
    needs_file: bool = False
    history: int = 0

    def writer(self) -> Write:
        """Return what writes it."""
        return cast(Write, import_module(f"threepio_client.report.{self.module}").write)


FORMATS: Final = {
    "html": Format(
        "html", "html", "one HTML file for a browser, with all of the run in it", needs_file=True, history=20
    ),
    "md": Format("markdown", "md", "one Markdown document"),
    "junit": Format("junit", "xml", "JUnit XML, for Jenkins, GitLab and the like"),
    "ctrf": Format("ctrf", "json", "CTRF JSON (ctrf.io)"),
    "github": Format("github", "md", "summary and annotations of a step of GitHub Actions"),
}
"""By name, in the order of the help."""
