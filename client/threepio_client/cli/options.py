"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from threepio_client import settings
from threepio_client.cli.completion import nodeids, run_references
from threepio_client.line import plain_text
from threepio_client.printable import BYTES_PER_TOKEN

RunReference = Annotated[
    str,
    typer.Argument(
        metavar="[RUN]",
        help="Run id, a unique prefix of one, or 'latest': the newest that did more than collect, of this checkout "
        "if there is one.",
        show_default="latest",
        parser=plain_text,  # bytes that are no text become what they are in a journal
        autocompletion=run_references,
    ),
]
NodeId = Annotated[
    str,
    typer.Argument(
        metavar="NODEID",
        help="A test's node id, as threepio failures shows it.",
        parser=plain_text,
        autocompletion=nodeids,
    ),
]
Budget = Annotated[
    int | None,
    typer.Option(metavar="TOKENS", min=1, help=f"Keep the answer within so many tokens of {BYTES_PER_TOKEN} bytes."),
]

ShowAll = Annotated[bool, typer.Option("--all", help="List every test.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON (docs/json.md).")]


def length_of_time(text: str) -> float:
    """Return the seconds of a text like 30s, 9m, 1h or 30d."""
    try:
        return settings.length_of_time(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def check_budget(budget: int | None, as_json: bool) -> None:
    """Raise BadParameter where an answer in JSON is to be cut: it would be none any more."""
    if budget is not None and as_json:
        raise typer.BadParameter("it is for the answer as text, and JSON is whole", param_hint="--budget")
